//! No client can make the broker write where Giliran reads.
//!
//! A broker looks at the subject of a publication, not at where the answer is to go,
//! and answers for JetStream itself. So every user that is not Giliran's own sends
//! whatever it may send, with every reply subject that could do harm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::rig::config;
use crate::site::{Site, User};

const EVENTS: &str = "GILIRAN_V1_EVENTS";
const PLACES: &str = "KV_giliran-v1-availability";
const OPENINGS: &str = "KV_giliran-v1-openings";
const LEASE: &str = "KV_giliran-v1-lease";
const LEDGER: &str = "GILIRAN_V1_LEDGER_1";
const STREAMS: [&str; 5] = [EVENTS, PLACES, OPENINGS, LEASE, LEDGER];
const TEAMS: [&str; 2] = ["reader", "ledger-team"];

/// All that stands in the account of the streams, but for what clients may change:
/// where they have come in reading, and who watches free places.
#[derive(Debug)]
struct Standing {
    /// Each stream's configuration, number of messages and last sequence; of the lease,
    /// which its holders renew, who they are.
    streams: BTreeMap<String, Value>,
    /// Each consumer's configuration, and what it has acknowledged.
    consumers: BTreeMap<String, Value>,
}

impl Standing {
    /// What is there no more, or otherwise, or new.
    fn moved(&self, now: &Self) -> Vec<String> {
        let mut moved = Vec::new();
        let pairs = [(&self.streams, &now.streams), (&self.consumers, &now.consumers)];
        for (before, now) in pairs {
            let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
            let otherwise = names.into_iter().filter(|name| before.get(*name) != now.get(*name));
            moved.extend(otherwise.map(|name| {
                let shown =
                    |of: &BTreeMap<_, Value>| of.get(name).map(|value| value[1].to_string());
                format!("{name}: {:?}, was {:?}", shown(now), shown(before))
            }));
        }
        moved
    }
}

/// Who holds a lease. One that ran out while the broker was busy with the attack is waited
/// for: its holder takes it again.
async fn holder(stream: &Stream, subject: &str) -> String {
    let since = Instant::now();
    loop {
        let held = stream.get_last_raw_message_by_subject(subject).await.unwrap();
        if held.headers.get("Nats-Marker-Reason").is_none() {
            return String::from_utf8(held.payload.to_vec()).unwrap();
        }
        assert!(since.elapsed() < Duration::from_secs(20), "nobody holds {subject}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn standing(context: &Context) -> Standing {
    let (mut streams, mut consumers) = (BTreeMap::new(), BTreeMap::new());
    let mut found = context.streams();
    while let Some(info) = found.next().await {
        let info = info.unwrap();
        let name = info.config.name.clone();
        let stream = context.get_stream(&name).await.unwrap();
        let mut holds = json!([info.state.messages, info.state.last_sequence]);
        if name == LEASE {
            let holders = ["engine", "feed"].map(|key| format!("$KV.giliran-v1-lease.{key}"));
            let mut values = Vec::new();
            for subject in holders {
                values.push(holder(&stream, &subject).await);
            }
            holds = json!(values);
        }
        streams.insert(name.clone(), json!([info.config, holds]));
        let mut there = stream.consumers();
        while let Some(consumer) = there.next().await {
            let consumer = consumer.unwrap();
            if name == PLACES || name == OPENINGS {
                let to = consumer.config.deliver_subject.unwrap_or_default();
                assert!(to.starts_with("_INBOX."), "{to}");
                continue;
            }
            // The engine's and the auditor's own readers come and go.
            let Some(durable) = consumer.config.durable_name.clone() else { continue };
            let kept = consumer.ack_floor.stream_sequence;
            consumers.insert(format!("{name}/{durable}"), json!([consumer.config, kept]));
        }
    }
    Standing { streams, consumers }
}

/// Reply subjects that would do harm if the broker wrote there.
fn targets() -> Vec<String> {
    let mut targets: Vec<String> = [
        "giliran.v1.ledger.1",
        "giliran.v1.ledger.2",
        "$KV.giliran-v1-lease.engine",
        "$KV.giliran-v1-lease.feed",
        "giliran.v1.event.confirmed.alpha.2030-01-07",
        "$KV.giliran-v1-availability.w.alpha.2030-01-07.all",
        "giliran.v1.book",
        "giliran.v1.book.vouched",
        "giliran.v1.confirm",
        "giliran.v1.admin.roll",
        "giliran.v1.watch.availability",
        "giliran.v1.watch.openings",
        "$KV.giliran-v1-openings.w",
        "_INBOX_engine.x",
        "_INBOX",
    ]
    .map(str::to_owned)
    .to_vec();
    for api in ["$JS.API", "$JS.giliran.API"] {
        for stream in STREAMS {
            for action in ["DELETE", "PURGE", "UPDATE", "MSG.DELETE", "SNAPSHOT"] {
                targets.push(format!("{api}.STREAM.{action}.{stream}"));
            }
            targets.push(format!("{api}.CONSUMER.CREATE.{stream}.evil"));
        }
        targets.push(format!("{api}.STREAM.CREATE.EVIL"));
        for team in TEAMS {
            targets.push(format!("{api}.CONSUMER.DELETE.{EVENTS}.{team}"));
            targets.push(format!("{api}.CONSUMER.MSG.NEXT.{EVENTS}.{team}"));
        }
        targets.push(format!("{api}.CONSUMER.DELETE.{LEDGER}.giliran-feed"));
    }
    for (stream, consumer) in [
        (EVENTS, TEAMS[0]),
        (EVENTS, TEAMS[1]),
        (LEDGER, "giliran-feed"),
        (LEDGER, "giliran-persist"),
    ] {
        targets.push(format!("$JS.ACK.{stream}.{consumer}.1.1.1.1795881306596821980.0"));
    }
    targets
}

/// Bodies that some service answers.
fn bodies(subject: &str) -> Vec<Vec<u8>> {
    let consumer = |to: &str| {
        let stream = if subject.contains("openings") { OPENINGS } else { PLACES };
        let name = "evil";
        json!({ "stream_name": stream, "config": { "name": name, "deliver_subject": to,
            "deliver_policy": "all", "ack_policy": "none", "idle_heartbeat": 100_000_000 } })
    };
    if subject.contains("CONSUMER.CREATE") || subject.contains(".watch.") {
        return targets().iter().map(|to| consumer(to).to_string().into_bytes()).collect();
    }
    let book =
        json!({ "request_id": "evil", "applicants": ["eve"], "choices": [{ "office": "alpha" }] });
    let mut bodies: Vec<Vec<u8>> = [
        json!({}),
        json!({ "seq": 1 }),
        json!({ "next_by_subj": ">", "seq": 1 }),
        json!({ "batch": 5, "no_wait": true }),
        json!({ "batch": 5, "expires": 1_000_000_000_u64, "idle_heartbeat": 100_000_000 }),
        json!({ "operator": "eve", "reason": "evil", "request_id": "evil" }),
        book,
        consumer("giliran.v1.ledger.1"),
    ]
    .map(|body| body.to_string().into_bytes())
    .to_vec();
    bodies.push(Vec::new());
    bodies.push(b"\x01".to_vec());
    bodies
}

/// What a permission stands for: its wildcards filled in, each in every way that
/// matters. Of a whole API, what its account has of it.
fn filled(user: &User) -> Vec<String> {
    let mut subjects = Vec::new();
    for allowed in &user.publish {
        let head = allowed.trim_end_matches('>');
        let imported = user.imports.iter().filter(|import| import.starts_with(head));
        let imported: Vec<String> = imported.cloned().collect();
        subjects.extend(if allowed.ends_with("API.>") { imported } else { vec![allowed.clone()] });
    }
    let ways = |subject: &String| -> Vec<String> {
        let place = "$KV.giliran-v1-availability.w.alpha.2030-01-07.all";
        let rests: &[&str] = match subject {
            s if s.contains("DIRECT.GET") => &[place, "$KV.giliran-v1-openings.w", "nothing"],
            s if s.contains("admin") => &["roll", "quota"],
            s if s.contains("$SRV") => &["PING", "INFO", "STATS", "PING.giliran-feed"],
            s if s.contains("$JS.ACK") => &["1.1.1.1795881306596821980.0"],
            _ => &["evil"],
        };
        let names: &[&str] = if subject.contains(".CONSUMER.") { &TEAMS } else { &STREAMS };
        let with = |rest: &&str| match subject.strip_suffix('>') {
            Some(head) => format!("{head}{rest}"),
            None => subject.clone(),
        };
        let rests = rests.iter().map(with);
        let named = |subject: String| names.iter().map(move |name| subject.replace('*', name));
        rests.flat_map(named).collect()
    };
    let mut all: Vec<String> = subjects.iter().flat_map(ways).collect();
    all.sort();
    all.dedup();
    all
}

/// Sends everything that this user may send to every target, by reply subject and as
/// the place where the broker reports how a message went.
async fn attack(client: &Client, administrator: &Client, user: &User) -> usize {
    let targets = targets();
    let mut sent = 0;
    for subject in filled(user) {
        // What one acknowledges itself is one's own affair.
        let own = subject.starts_with("$JS.ACK");
        for body in bodies(&subject) {
            for to in &targets {
                let (subject, body) = (subject.clone(), body.clone());
                if !own {
                    client.publish_with_reply(subject, to.clone(), body.into()).await.unwrap();
                    sent += 1;
                }
            }
        }
        for to in &targets {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Trace-Dest", to.as_str());
            client.publish_with_headers(subject.clone(), headers, "{}".into()).await.unwrap();
        }
        // The broker has taken it all in, and has answered what was asked before this.
        client.flush().await.unwrap();
        administrator.request("$JS.API.INFO", "".into()).await.unwrap();
    }
    sent
}

/// Where the engine's ledger, the events and the store must stand: so many bookings.
async fn until_booked(context: &Context, bookings: u64) {
    let since = Instant::now();
    let events = context.get_stream(EVENTS).await.unwrap();
    while events.get_info().await.unwrap().state.last_sequence != bookings {
        assert!(since.elapsed() < Duration::from_secs(20), "the events do not follow");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_can_make_the_broker_write_where_giliran_reads() {
    let site = Site::start();
    std::fs::write(site.path("giliran.toml"), config(20)).unwrap();
    site.run("setup", &["init"]);
    let _engine = site.role("engine", &["serve", "--config", "giliran.toml", "--data", "data"]);
    let store = "sqlite:bookings.sqlite";
    let _persist = site.role("persist", &["persist", "--store", store]);
    let _feed = site.role("feed", &["feed"]);
    let book = |who| ["book", "--office", "alpha", "--date", "2030-01-07", who];
    site.until("gateway", &book("ann"));
    for team in TEAMS {
        site.until("setup", &["reader", "add", team]);
    }
    site.until("auditor", &["audit", "--store", store]);
    let administrator = site.connect("administrator").await;
    let context = jetstream::new(administrator.clone());
    until_booked(&context, 1).await;
    let before = standing(&context).await;
    assert_eq!(before.streams.len(), STREAMS.len(), "{before:#?}");
    assert_eq!(before.consumers.len(), 4, "{before:#?}");
    for user in site.users.iter().filter(|user| user.is_client()) {
        let client = site.connect(&user.name).await;
        let sent = attack(&client, &administrator, user).await;
        assert!(sent > 0, "{} may do nothing", user.name);
        let moved = before.moved(&standing(&context).await);
        assert!(moved.is_empty(), "{}, after {sent} messages: {moved:#?}", user.name);
    }
    site.run("gateway", &book("ben"));
    until_booked(&context, 2).await;
    let said = site.until("auditor", &["audit", "--store", store]);
    assert!(said.contains("2 bookings"), "{said}");
    let after = standing(&context).await;
    for stream in [EVENTS, LEDGER] {
        let (before, after) = (&before.streams[stream][1], &after.streams[stream][1]);
        assert_eq!(after[1].as_u64(), before[1].as_u64().map(|last| last + 1), "{stream}");
    }
}

/// A client may name one reply subject in many requests, and tell the answers apart by
/// their ids. Each is answered, and none of it is a refusal in the engine's log.
#[tokio::test(flavor = "multi_thread")]
async fn many_requests_may_name_one_reply_subject() {
    const REQUESTS: usize = 2_000;
    let site = Site::start();
    std::fs::write(site.path("giliran.toml"), config(20)).unwrap();
    site.run("setup", &["init"]);
    let _engine = site.role("engine", &["serve", "--config", "giliran.toml", "--data", "data"]);
    site.until("gateway", &["book", "--office", "alpha", "ann"]);
    let client = site.connect("gateway").await;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    for n in 0..REQUESTS {
        let request = json!({ "request_id": n.to_string(), "applicants": ["ann"], "choices": [] });
        let body = request.to_string().into();
        client.publish_with_reply("giliran.v1.book", inbox.clone(), body).await.unwrap();
    }
    let mut answered = BTreeSet::new();
    while answered.len() < REQUESTS {
        let answer = tokio::time::timeout(Duration::from_secs(20), answers.next()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{} answers", answered.len())).unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        answered.insert(answer["request_id"].as_str().unwrap().to_owned());
    }
    let said = std::fs::read_to_string(site.path("engine.log")).unwrap();
    assert!(!said.contains("NATS server refuses"), "{said}");
}

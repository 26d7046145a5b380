//! Every role with the permissions that `deploy/nats/giliran.conf` gives it, from
//! the ledger's first block to an archived generation.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::Client;
use futures_util::StreamExt;
use giliran_wire::Digest;
use giliran_wire::service::{Answer, Standing};
use serde_json::{Value, json};

use crate::rig::{Role, config, get, post, text};
use crate::site::{Process, Site, password};

fn read(said: &str) -> Value {
    serde_json::from_str(said).unwrap()
}

#[test]
fn the_shipped_permissions_suffice() {
    let site = Site::start();
    let folder = site.folder.path();
    std::fs::write(folder.join("giliran.toml"), config(20)).unwrap();
    site.run("setup", &["init"]);
    let engine = ["serve", "--config", "giliran.toml", "--data", "data"];
    let _engine = site.role("engine", &engine);
    let store = "sqlite:bookings.sqlite";
    let _persist = site.role("persist", &["persist", "--store", store]);
    let _feed = site.role("feed", &["feed"]);
    let book = |who| ["book", "--office", "alpha", "--date", "2030-01-07", who, "--json"];
    let first = read(&site.until("gateway", &book("ann")));
    let id = first["booking"]["id"].as_str().unwrap();
    let signed = ["--operator", "siti", "--reason", "test"];
    site.run("operator", &[&["admin", "roll"], &signed[..]].concat());
    site.run("gateway", &book("ben"));
    site.run("trusted", &["find", "--opening", "w", "ann"]);
    site.run("gateway", &["cancel", id, "ann"]);
    let archived = folder.join("archive");
    site.until("archivist", &["archive", "--to", text(&archived)]);
    let audit = ["audit", "--archive", text(&archived), "--store", store];
    let said = site.until("auditor", &audit);
    assert!(said.contains("2 bookings"), "{said}");
    let log = site.run("auditor", &["journal", "--archive", text(&archived)]);
    assert!(log.contains("goes on in GILIRAN_V1_LEDGER_2. siti: test"), "{log}");
    for team in ["reader", "ledger-team"] {
        site.until("setup", &["reader", "add", team]);
    }
    read_with_standard_clients(&site);

    let refused = site.command("gateway", &[&["admin", "roll"], &signed[..]].concat()).output();
    assert!(!refused.unwrap().status.success(), "a gateway is no operator");
    for role in ["engine", "persist", "feed"] {
        let said = std::fs::read_to_string(folder.join(format!("{role}.log"))).unwrap();
        assert!(!said.contains("NATS server refuses"), "{role}: {said}");
    }
}

/// Gateways open, list and watch free places, and two teams read every event side by
/// side: with the client library that everybody uses.
fn read_with_standard_clients(site: &Site) {
    let library = std::env::var_os("GILIRAN_TEST_PYTHONPATH")
        .expect("GILIRAN_TEST_PYTHONPATH: `cargo xtask test` and `cargo xtask env …` provide it");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/opening/clients.py");
    let mut python = Command::new("python3");
    let output =
        python.args([script, site.url("reader")]).env("PYTHONPATH", library).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let seen = read(std::str::from_utf8(&output.stdout).unwrap());
    // ann and ben confirmed, ann cancelled; and what the watching gateway books.
    for team in ["reader", "ledger-team"] {
        let events = seen[team].as_array().unwrap();
        assert_eq!(events.len(), 4, "{seen:#}");
    }
    assert_eq!(seen["reader"], seen["ledger-team"]);
    assert!(seen["keys"].as_u64() > Some(0), "{seen:#}");
    assert_eq!(seen["opening"]["offices"][0]["name"], "Alpha", "{seen:#}");
    assert_eq!(seen["got"]["free"], seen["watched"]["free"].as_i64().unwrap() + 1, "{seen:#}");
}

/// A gateway hears events with a plain subscription, each with its sequence, and how far
/// the feed is; whoever only says what was paid hears nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_hears_events_without_a_consumer() {
    let site = Site::start();
    std::fs::write(site.path("giliran.toml"), config(20)).unwrap();
    site.run("setup", &["init"]);
    let _engine = site.role("engine", &["serve", "--config", "giliran.toml", "--data", "data"]);
    let _feed = site.role("feed", &["feed"]);
    let (gateway, payment) = (site.connect("gateway").await, site.connect("payment").await);
    let mut heard = gateway.subscribe("giliran.v1.feed.>").await.unwrap();
    let mut denied = payment.subscribe("giliran.v1.feed.>").await.unwrap();
    let mut next = async || {
        let message = tokio::time::timeout(Duration::from_secs(30), heard.next()).await;
        message.expect("something is heard").unwrap()
    };
    assert_eq!(&*next().await.subject, "giliran.v1.feed.position");
    let book = |who| ["book", "--office", "alpha", "--date", "2030-01-07", who];
    for who in ["ann", "ben"] {
        site.until("gateway", &book(who));
    }
    let (mut sequences, mut last) = (Vec::new(), 0);
    while last < 2 {
        let message = next().await;
        let told: Value = serde_json::from_slice(&message.payload).unwrap();
        if &*message.subject == "giliran.v1.feed.position" {
            last = told["events"].as_u64().unwrap();
            continue;
        }
        assert_eq!(&*message.subject, "giliran.v1.feed.events");
        for (sequence, event) in
            (told["first"].as_u64().unwrap()..).zip(told["events"].as_array().unwrap())
        {
            assert_eq!(event["data"]["booking"]["status"], "confirmed");
            sequences.push(sequence);
        }
    }
    assert_eq!(sequences, [1, 2]);
    a_gateway_confirms_as_the_payment_side(&site).await;
    let silence = tokio::time::timeout(Duration::from_millis(100), denied.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    let said = std::fs::read_to_string(site.path("feed.log")).unwrap();
    assert!(!said.contains("NATS server refuses"), "{said}");
}

/// The shipped permissions let a gateway's payment side confirm, and its public side not; a
/// login that both would share is refused.
async fn a_gateway_confirms_as_the_payment_side(site: &Site) {
    let listen = ["--listen", "127.0.0.1:0", "--payments-listen", "127.0.0.1:0"];
    let gateway = || site.command("gateway", &[&["gateway"], &listen[..]].concat());
    let output = gateway().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--payments-nats-user"), "{said}");
    for (user, secret, status) in [
        ("payment", password("payment"), 404),
        ("trusted", password("trusted"), 504),
        ("payment", "wrong".to_owned(), 503),
    ] {
        let log = site.path(&format!("payments-of-{user}-{status}.log"));
        let mut command = gateway();
        command.env("GILIRAN_PAYMENTS_NATS_USER", user);
        command.env("GILIRAN_PAYMENTS_NATS_PASSWORD", secret);
        let inbox = site.user(user).inbox.as_deref().unwrap();
        command.env("GILIRAN_PAYMENTS_NATS_INBOX_PREFIX", inbox);
        command.args(["--patience", "1s"]).stdout(Stdio::null());
        let child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let gateway = Role { child, log };
        let since = Instant::now();
        let shown = if status == 503 { "\"state\": \"unsuitable\"" } else { "\"ready\": true" };
        let payments = loop {
            if let Some(payments) = gateway.payments()
                && let Some(standing) = get(&payments, "/readyz").await
                && standing.contains(shown)
            {
                assert_eq!(standing.contains("--payments-nats-user with"), status == 503);
                break payments;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "{}", gateway.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let path = "/v1/bookings/0000-0000-0000-0000/confirmation";
        let body = json!({ "reference": "invoice-1" });
        let answer = post(&payments, path, Some("pay"), &body).await;
        assert_eq!(answer.0, status, "{user}: {answer:?}; {}", gateway.said());
    }
}

/// Everybody who answers a question, once `enough` says that all have.
async fn answers(
    client: &Client,
    subject: &str,
    enough: impl Fn(&[Answer]) -> bool,
) -> Vec<(Answer, Standing)> {
    let since = Instant::now();
    loop {
        let inbox = client.new_inbox();
        let mut heard = client.subscribe(inbox.clone()).await.unwrap();
        client.publish_with_reply(subject.to_owned(), inbox, "".into()).await.unwrap();
        let mut told: Vec<Answer> = Vec::new();
        let pause = Duration::from_millis(500);
        while let Ok(Some(message)) = tokio::time::timeout(pause, heard.next()).await {
            if message.status.is_none() {
                told.push(serde_json::from_slice(&message.payload).unwrap());
            }
        }
        if enough(&told) {
            told.sort_by(|a, b| {
                (&a.name, &a.metadata["state"]).cmp(&(&b.name, &b.metadata["state"]))
            });
            return told.into_iter().map(|a| (a.clone(), Standing::of(&a).unwrap())).collect();
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{subject}: {told:#?}");
    }
}

/// An operator asks all processes at once how they stand, standbys too, as every tool for
/// NATS micro services does; a gateway may not.
#[tokio::test(flavor = "multi_thread")]
async fn every_process_says_how_it_stands() {
    let site = Site::start();
    let config = config(20);
    std::fs::write(site.path("giliran.toml"), &config).unwrap();
    site.run("setup", &["init"]);
    let monitor = ["--nats-monitor", &site.monitors];
    let serve = |data| {
        let files = ["serve", "--config", "giliran.toml", "--data", data, "--name", data];
        [&files[..], &monitor].concat()
    };
    let first = site.role("engine", &serve("a"));
    site.until("gateway", &["book", "--office", "alpha", "ann"]);
    let _second = site.role("engine", &serve("b"));
    let _persist = site.role("persist", &["persist", "--store", "sqlite:bookings.sqlite"]);
    let _feed = site.role("feed", &["feed"]);
    let operator = site.connect("operator").await;
    let stands = |told: &[Answer], state: &str| {
        let of = |answer: &&Answer| answer.metadata["state"] == state;
        told.iter().filter(of).count()
    };
    let all = |told: &[Answer]| {
        told.len() == 4
            && (stands(told, "active"), stands(told, "standby")) == (1, 1)
            && stands(told, "following") == 2
            && told
                .iter()
                .all(|answer| answer.metadata.get("lag_blocks").is_some_and(|lag| lag == "0"))
    };
    let told = answers(&operator, "$SRV.PING", all).await;
    let names: Vec<&str> = told.iter().map(|(answer, _)| answer.name.as_str()).collect();
    assert_eq!(names, ["giliran-engine", "giliran-engine", "giliran-feed", "giliran-persist"]);
    let [active, standby, feed, _] = [0, 1, 2, 3].map(|i| &told[i].1);
    assert_eq!((active.instance.as_deref(), standby.instance.as_deref()), (Some("a"), Some("b")));
    assert_eq!((active.ready, standby.ready, feed.ready), (true, false, true));
    let (prefix, digest) = ("giliran.v1", Digest::of(config.as_bytes()).to_string());
    for (answer, standing) in &told {
        assert_eq!((standing.epoch, standing.prefix.as_str()), (Some(1), prefix), "{answer:?}");
        assert_eq!(standing.seq, active.seq);
        assert!(standing.clock_offset_ms.is_some(), "{answer:?}");
    }
    assert!(active.key.is_some() && active.key == standby.key && feed.key.is_none());
    assert_eq!(active.config.as_ref(), Some(&digest));
    assert_eq!(active.config, standby.config);

    let info = answers(&operator, "$SRV.INFO.giliran-feed", |told| told.len() == 1).await;
    assert_eq!(info[0].0.description.as_deref(), Some("Giliran's feed"));
    assert_eq!(info[0].0.kind, "io.nats.micro.v1.info_response");
    let one = format!("$SRV.STATS.giliran-engine.{}", told[1].0.id);
    let stats = answers(&operator, &one, |told| told.len() == 1).await;
    assert_eq!(stats[0].1.instance.as_deref(), Some("b"));
    assert!(stats[0].0.started.is_some() && stats[0].0.endpoints == Some(vec![]));

    those_who_look_see_everything(&site);

    // The standby takes over, and says so.
    drop(first);
    let after = |told: &[Answer]| told.len() == 3 && stands(told, "active") == 1;
    let told = answers(&operator, "$SRV.PING", after).await;
    let active = &told[0].1;
    assert_eq!((active.instance.as_deref(), active.epoch), (Some("b"), Some(2)));

    let gateway = site.connect("gateway").await;
    let nobody =
        tokio::time::timeout(Duration::from_secs(1), gateway.request("$SRV.PING", "".into()));
    assert!(!matches!(nobody.await, Ok(Ok(_))), "a gateway is no operator");
}

/// A login that may change nothing sees all that there is to see; one that acts is asked for
/// nothing less.
fn those_who_look_see_everything(site: &Site) {
    let seen = read(&site.run("watcher", &["status", "--json"]));
    let picture = &seen["picture"];
    assert_eq!(picture["processes"]["known"].as_array().unwrap().len(), 4, "{seen:#}");
    assert_eq!(picture["streams"]["known"].as_array().unwrap().len(), 5, "{seen:#}");
    assert!(picture["storage"]["known"]["used"].as_u64() > Some(0), "{seen:#}");
    assert_eq!(picture["openings"]["known"]["openings"][0]["offers"]["id"], "w", "{seen:#}");
    let files = ["--config", "giliran.toml", "--nats-monitor", &site.monitors];
    let preflight = [&["preflight", "--opening", "w"], &files[..]].concat();
    let said = site.until("console", &preflight);
    assert!(said.contains("go      operators"), "{said}");
    let output = site.command("watcher", &preflight).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("?       operators"), "{said}");
    let waived = [&preflight[..], &["--waive", "operators"]].concat();
    site.run("watcher", &waived);
    // Gateways log in to another account, and answer all the same.
    let mut gateway = site.command("gateway", &["gateway", "--listen", "127.0.0.1:0"]);
    let gateway = Process(gateway.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    site.until("watcher", &[&waived[..], &["--expect", "gateway=1"]].concat());
    drop(gateway);
    assert!(site.run("watcher", &["journal"]).contains("took over"));
    let signed = ["--operator", "siti", "--reason", "test"];
    let refused = site.command("watcher", &[&["admin", "roll"], &signed[..]].concat()).output();
    assert!(!refused.unwrap().status.success(), "a watcher is no operator");
    let dry = site.run("operator", &[&["admin", "roll", "--dry-run"], &signed[..]].concat());
    assert!(dry.contains("roll: GILIRAN_V1_LEDGER_1 → GILIRAN_V1_LEDGER_2"), "{dry}");
    // An operator who may not look at streams sees the rest.
    let half = read(&site.run("operator", &["status", "--json"]));
    assert!(half["picture"]["streams"]["unknown"].is_string(), "{half:#}");
    assert_eq!(half["picture"]["processes"]["known"].as_array().unwrap().len(), 4, "{half:#}");
}

/// The same in a cluster, every role at another server than those it speaks to.
#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_permissions_suffice_in_a_cluster() {
    let site = Site::of(3);
    std::fs::write(site.path("giliran.toml"), config(20)).unwrap();
    site.until("setup", &["init", "--replicas", "3"]);
    for role in ["engine", "feed"] {
        site.answers(role).await;
    }
    let _engine = site.role("engine", &["serve", "--config", "giliran.toml", "--data", "data"]);
    let _feed = site.role("feed", &["feed"]);
    let book = |who| ["book", "--office", "alpha", "--date", "2030-01-07", who, "--json"];
    let first = read(&site.until("gateway", &book("ann")));
    site.run("trusted", &book("ben"));
    let id = first["booking"]["id"].as_str().unwrap();
    site.run("gateway", &["cancel", id, "ann"]);
    for team in ["reader", "ledger-team"] {
        site.until("setup", &["reader", "add", team]);
    }
    site.until("auditor", &["audit"]);
    read_with_standard_clients(&site);
}

#[test]
fn a_rehearsal_has_a_ledger_of_its_own() {
    let site = Site::start();
    let rules = "[rules]\nhold = \"2h\"";
    let rehearsal = format!("subject_prefix = \"rehearsal.v1\"\n{}{rules}\n", config(20));
    std::fs::write(site.path("giliran.toml"), rehearsal).unwrap();
    let prefix = ["--subject-prefix", "rehearsal.v1"];
    site.run("rehearsal", &[&["init"], &prefix[..]].concat());
    let engine = ["serve", "--config", "giliran.toml", "--data", "data"];
    let _engine = site.role("rehearsal", &engine);
    let book = ["book", "--office", "alpha", "--date", "2030-01-07", "ann", "--json"];
    let held = read(&site.until("rehearsal", &[&book[..], &prefix[..]].concat()));
    assert_eq!(held["booking"]["status"], "held");
    let confirm = ["confirm", held["booking"]["id"].as_str().unwrap(), "--json"];
    let paid = read(&site.run("rehearsal", &[&confirm[..], &prefix[..]].concat()));
    assert_eq!(paid["booking"]["status"], "confirmed");
    let streams = ["audit", "--subject-prefix", "rehearsal.v1"];
    let refused = site.command("auditor", &streams).output().unwrap();
    assert!(!refused.status.success(), "the rehearsal is not in the account that is audited");
}

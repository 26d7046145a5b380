//! Openings that are drawn, over NATS: entries and receipts, the draw at the
//! close, what winners and losers are told. At the end ledger, stores and events
//! are held against each other.

use std::time::{Duration, Instant};

use giliran_nats::clock;
use serde_json::{Value, json};

use crate::rig::{Rig, database, get, text};
use crate::told::line;
use crate::verifying::{prove, python, verify};

const MON: &str = "2030-01-07";
const TUE: &str = "2030-01-08";
const WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn config(quota: u32, lasts_ms: u64, rules: &str) -> String {
    let now = clock::now();
    format!(
        "[[opening]]\nid = \"w\"\nopens_at = \"{now}\"\ncloses_at = \"{}\"\n\
         dates = [\"{MON}\", \"{TUE}\"]\n{rules}\n\
         [[office]]\nid = \"alpha\"\nname = \"Alpha\"\nquota = {quota}\n",
        now.plus_millis(lasts_ms)
    )
}

pub(crate) fn enter(n: usize, people: &[&str], days: &[&str]) -> Value {
    let choice = |day: &&str| json!({ "office": "alpha", "date": day });
    let choices: Vec<Value> = days.iter().map(choice).collect();
    json!({
        "request_id": format!("r{n}"), "applicants": people, "choices": choices,
        "opening": "w", "ref": format!("order-{n}"),
    })
}

pub(crate) fn receipt(answer: &Value) -> String {
    assert_eq!(answer["outcome"], "entered", "{answer}");
    answer["entry"]["receipt"].as_str().unwrap().to_owned()
}

impl Rig {
    pub(crate) async fn until_closed(&self) {
        let since = Instant::now();
        loop {
            let answer = self.ask("availability", "{}").await;
            if answer.as_ref().is_some_and(|answer| answer["openings"][0]["state"] == "closed") {
                return;
            }
            assert!(since.elapsed() < WITHIN, "not closed: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks until somebody answers.
    pub(crate) async fn waited(&self, operation: &str, request: &Value) -> Value {
        let since = Instant::now();
        loop {
            if let Some(answer) = self.ask(operation, request.to_string()).await {
                return answer;
            }
            assert!(since.elapsed() < WITHIN, "nobody answers");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What became of an entry once it is one no more: its booking, if it won.
    pub(crate) async fn drawn(&self, receipt: &str, who: &str) -> Value {
        let since = Instant::now();
        let ask = json!({ "booking": receipt, "applicant": who });
        loop {
            let answer = self.waited("lookup", &ask).await;
            if answer["outcome"] != "entered" {
                return answer;
            }
            assert!(since.elapsed() < WITHIN, "{answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Of these entries, each with one of its people: who won, with their bookings, and
    /// the entries that did not.
    async fn told_apart<'a>(
        &self,
        entries: impl Iterator<Item = (&'a String, &'a str)>,
    ) -> (Vec<(String, Value)>, Vec<String>) {
        let mut winners: Vec<(String, Value)> = Vec::new();
        let mut losers = Vec::new();
        for (receipt, who) in entries {
            let answer = self.drawn(receipt, who).await;
            if answer["outcome"] == "granted" {
                assert_eq!(answer["booking"]["id"], *receipt);
                winners.push((who.to_owned(), answer["booking"].clone()));
            } else {
                assert_eq!(answer["reason"], "not_found");
                losers.push(receipt.clone());
            }
        }
        (winners, losers)
    }
}

/// Everybody enters, one withdraws, the engine dies before the close; the standby
/// draws. Who won has a booking under the receipt; the others are told.
#[tokio::test(flavor = "multi_thread")]
async fn a_draw_gives_every_place_to_those_who_entered() {
    let rig = Rig::new(&config(3, 12_000, "[rules]\norder = \"draw\"")).await;
    rig.init();
    let mut engine = rig.serve("a");
    let sqlite = rig.sqlite();
    let postgres = database().await;
    let (_one, _two, _feed) = (rig.persist(&sqlite), rig.persist(&postgres), rig.feed());
    rig.open().await;
    let standby = rig.serve("b");

    let people: Vec<String> = (0..10).map(|n| format!("p{n}")).collect();
    let mut receipts = Vec::new();
    for (n, who) in people.iter().enumerate() {
        receipts.push(receipt(&rig.book(&enter(n, &[who], &[MON, TUE])).await));
    }
    let party = ["fam1", "fam2", "fam3"];
    let family = receipt(&rig.book(&enter(20, &party, &[TUE, MON])).await);
    // The same request again: the same receipt. Another one of anybody in it: not
    // a second entry. The same id with other content: a conflict.
    assert_eq!(receipt(&rig.book(&enter(0, &["p0"], &[MON, TUE])).await), receipts[0]);
    for again in [enter(30, &["p0"], &[MON]), enter(31, &["new", "fam2"], &[MON])] {
        assert_eq!(rig.book(&again).await["reason"], "already_booked");
    }
    assert_eq!(rig.book(&enter(0, &["p0"], &[TUE])).await["reason"], "conflict");
    let looked = rig.ask("lookup", json!({ "booking": family, "applicant": "fam3" }).to_string());
    assert_eq!(receipt(&looked.await.unwrap()), family);
    // One leaves, and enters again by another request.
    let leave = json!({ "request_id": "x9", "booking": receipts[9], "applicant": "p9" });
    assert_eq!(receipt(&rig.ask("cancel", leave.to_string()).await.unwrap()), receipts[9]);
    let back = receipt(&rig.book(&enter(40, &["p9"], &[TUE])).await);
    assert_ne!(back, receipts[9]);
    receipts[9] = back;

    engine.kill();
    rig.until_closed().await;
    let late = rig.book(&enter(50, &["late"], &[MON])).await;
    assert_eq!(late["reason"], "closed", "{late}");

    let entries = receipts.iter().zip(people.iter().map(String::as_str));
    let (winners, losers) = rig.told_apart(entries.chain([(&family, "fam1")])).await;
    // Three places a day, and more wanted: with or without the family of three.
    let seats: usize = winners.iter().map(|(_, b)| b["numbers"].as_array().unwrap().len()).sum();
    assert!(seats == 6 || seats == 5 || seats == 4, "{winners:?}");
    let got_family = winners.iter().any(|(who, _)| who == "fam1");
    assert!(seats == 6 || !got_family, "a place is left though singles would have taken it");
    // The request that won finds its booking, as ever.
    let (who, booking) = &winners[0];
    let by_request = json!({ "request_id": booking["request_id"], "applicant": who });
    let found = rig.ask("lookup", by_request.to_string()).await.unwrap();
    assert_eq!(found["booking"]["id"], booking["id"]);
    let facts = rig.audit(&[&sqlite, &postgres]).await;
    assert_eq!(facts.bookings(), winners.len());
    assert_eq!(rig.stored(&sqlite).await, winners.len());
    for loser in &losers {
        assert_eq!(rig.told(loser).await, ["entered", "not_drawn"]);
    }
    assert_eq!(rig.told(booking["id"].as_str().unwrap()).await, ["entered", "confirmed"]);
    // The successor's log goes on where the other one's ended.
    line(&standby, &["the opening has closed; its draw follows", "opening=\"w\""]).await;
    let drawn = line(&standby, &["the opening is drawn", "opening=\"w\""]).await;
    assert!(drawn.contains(&format!("taken={seats} free={}", 6 - seats)), "{drawn}");
    for before in ["an opening is on record", "the opening has opened"] {
        assert!(!standby.said().contains(before), "{}", standby.said());
    }

    let secrets = receipts.iter().chain(&people).map(String::as_str).chain(["order-", "\"r1\""]);
    let secrets: Vec<&str> = secrets.collect();
    anybody_recomputes_it(&rig, &secrets, (&family, got_family), &receipts[0]).await;
    changes_are_noticed(&rig);
}

/// Anybody recomputes the draw, and finds the own entry, `family`; `other`: another one
/// of it. None of the `secrets` is published.
async fn anybody_recomputes_it(
    rig: &Rig,
    secrets: &[&str],
    (family, got_family): (&str, bool),
    other: &str,
) {
    let extract = rig.path("draw.json");
    let (code, told, said) = rig.run(&["draw", "export", "--opening", "w", text(&extract)]);
    assert_eq!(code, 0, "{said}");
    assert!(told.contains("11 entries"), "{told}");
    let published = std::fs::read_to_string(&extract).unwrap();
    a_gateway_serves_it(rig, &published).await;
    for secret in secrets {
        assert!(!published.contains(secret), "{secret} is published");
    }
    assert!(rig.told_of_draw("stage").starts_with("over"));
    let root = rig.told_of_draw("root");
    let told = rig.ask("availability", r#"{"describe":true}"#).await.unwrap();
    let told = &told["catalogue"][0]["order"];
    assert_eq!((&told["root"], &told["entries"]), (&root.clone().into(), &11.into()), "{told}");
    assert_eq!((&told["drawn"], told["seed"].as_str().map(str::len)), (&true.into(), Some(64)));
    assert!(verify(&extract, &["--root", &root]).0 == Some(0), "the root is told before the draw");
    // A verifier that somebody else could have written agrees.
    let (code, shown) = python(&extract, &["--receipt", family, "--request-id", "r20"]);
    assert!(code == Some(0) && shown.contains("in the draw"), "{shown}");
    let (code, shown) = python(&extract, &["--receipt", family, "--request-id", "r0"]);
    assert!(code == Some(1) && shown.contains("another request"), "{shown}");
    let (code, shown) = verify(&extract, &["--receipt", family, "--request-id", "r20"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("the operator must be trusted"), "{shown}");
    assert!(shown.contains("3 places: in the draw"), "{shown}");
    assert_eq!(shown.contains("got alpha"), got_family, "{shown}");
    let (code, shown) = verify(&extract, &["--receipt", family, "--request-id", "r0"]);
    assert!(code == Some(1) && shown.contains("another request"), "{shown}");
    let (code, shown) =
        verify(&extract, &["--receipt", "0000-0000-0000-0000", "--request-id", "r0"]);
    assert!(code == Some(1) && shown.contains("another opening"), "{shown}");
    prove(&extract, &root, (family, "r20"), other);
}

/// A gateway serves what the commands have written into its folder, as they wrote it.
async fn a_gateway_serves_it(rig: &Rig, extract: &str) {
    let folder = rig.path("published");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("w.draw.json"), extract).unwrap();
    let statement = folder.join("w.statement");
    rig.done(&["statement", "--opening", "w", "--out", text(&statement)]);
    let gateway = rig.gateway(&["--published", text(&folder)]);
    gateway.until("gateway", "following", WITHIN).await;
    let (at, since) = (gateway.http().unwrap(), Instant::now());
    let draw = loop {
        let draw: Value = serde_json::from_str(&get(&at, "/v1/draws/w").await.unwrap()).unwrap();
        if draw["stage"] == "over" {
            break draw;
        }
        assert!(since.elapsed() < WITHIN, "{draw}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((&draw["root"], &draw["entries"]), (&rig.told_of_draw("root").into(), &11.into()));
    let served = get(&at, draw["extract"].as_str().unwrap()).await.unwrap();
    assert!(served == extract, "{served}");
    let says: Value = serde_json::from_str(&get(&at, "/v1/statements/w").await.unwrap()).unwrap();
    assert_eq!((&says["opening"], &says["oversold"]), (&"w".into(), &0.into()), "{says}");
    let served = get(&at, says["file"].as_str().unwrap()).await.unwrap();
    assert_eq!(served, std::fs::read_to_string(&statement).unwrap());
}

/// A draw that was changed, cut off, or another one is none.
fn changes_are_noticed(rig: &Rig) {
    let extract = rig.path("draw.json");
    let published = std::fs::read_to_string(&extract).unwrap();
    let tampered = rig.path("tampered.json");
    std::fs::write(&tampered, published.replacen("\"places\": 3", "\"places\": 4", 1)).unwrap();
    let (code, shown) = verify(&tampered, &[]);
    assert!(code == Some(1) && shown.contains("changed, added or dropped"), "{shown}");
    std::fs::write(&tampered, &published[..published.len() / 2]).unwrap();
    let (code, shown) = verify(&tampered, &[]);
    assert!(code == Some(1) && shown.contains("ends too early"), "{shown}");
    let (code, shown) = verify(&extract, &["--root", &"0".repeat(64)]);
    assert!(code == Some(1) && shown.contains("another one was published"), "{shown}");
}

/// A crowd in rounds, while the engine is killed and another takes over: nobody
/// is told too early, and within each round the order is that of its hash.
#[tokio::test(flavor = "multi_thread")]
async fn rounds_are_decided_at_their_ends_whoever_dies() {
    let rules = "[rules]\norder = { rounds = \"300ms\" }\n\
                 [rules.returns]\ncancelled = \"immediate\"\nexpired = \"immediate\"";
    let config = crate::rig::config(40).replacen("[[office]]", &format!("{rules}\n[[office]]"), 1);
    let rig = Rig::new(&config).await;
    rig.init();
    let mut engine = rig.serve("a");
    let sqlite = rig.sqlite();
    let (_persist, _feed) = (rig.persist(&sqlite), rig.feed());
    rig.open().await;
    let _standby = rig.serve("b");
    let asked = Instant::now();
    let early = json!({
        "request_id": "early", "applicants": ["early"], "choices": [{ "office": "alpha" }],
    });
    assert_eq!(rig.book(&early).await["outcome"], "granted");
    assert_eq!(rig.book(&early).await["outcome"], "granted");
    assert!(asked.elapsed() < Duration::from_secs(5));
    let (_, surge) = rig.surge(2_000, 200);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    engine.kill();
    surge.await.unwrap();
    let shown = rig.ask("availability", "{}").await.unwrap();
    let slots = shown["slots"].as_array().unwrap();
    let plain: Vec<_> = slots.iter().filter(|slot| slot["session"] == "all").collect();
    assert!(plain.len() == 3 && plain.iter().all(|slot| slot["free"] == 0), "{shown}");
    rig.audit(&[&sqlite]).await;
}

//! What is answered to whom, over NATS.

use std::time::Duration;

use futures_util::StreamExt;
use giliran_wire::answer::{self, Answer, Reason, Verdict};
use giliran_wire::request::{Availability, Book, Choice, write_binary};
use serde_json::{Value, json};

use crate::rig::{Rig, config};

fn ask(n: usize, choices: &Value) -> Value {
    json!({ "request_id": format!("r{n}"), "applicants": [format!("p{n}")], "choices": choices })
}

/// `describe` shows what the openings offer, from the record; of one office alone where
/// one is named. The binary form has no such field.
#[tokio::test(flavor = "multi_thread")]
async fn availability_describes_the_openings_on_request() {
    let rig = Rig::new(&config(20)).await;
    rig.init();
    let _engine = rig.serve("a");
    rig.open().await;
    let plain = rig.ask("availability", "{}").await.unwrap();
    assert!(plain["catalogue"].is_null(), "{plain}");
    let told = rig.ask("availability", r#"{"describe":true}"#).await.unwrap();
    let week = &told["catalogue"][0];
    assert_eq!((&week["id"], &week["order"]["kind"]), (&json!("w"), &json!("first_come")));
    let names: Vec<_> = week["offices"].as_array().unwrap().iter().map(|o| &o["name"]).collect();
    assert_eq!(names, [&json!("Alpha"), &json!("Beta")]);
    let sessions = &week["offices"][1]["sessions"];
    assert_eq!(
        (&sessions[1]["label"], &sessions[1]["restricted"]),
        (&json!("priority"), &json!(true))
    );
    assert_eq!(sessions[0]["quotas"], json!({ "2030-01-07": 20 }));
    assert_eq!(told["slots"], plain["slots"]);
    let one = r#"[{"office":"beta","describe":true},{"describe":null}]"#;
    let one = rig.ask("availability", one).await.unwrap();
    assert_eq!(one[0]["catalogue"][0]["offices"].as_array().map(Vec::len), Some(1), "{one}");
    assert_eq!(one[0]["catalogue"][0]["offices"][0]["id"], "beta");
    assert!(one[1]["catalogue"].is_null());
    let asked = Availability { office: Some("beta".into()), describe: true };
    let binary = rig.client.request("giliran.v1.availability", write_binary(&[asked]).into());
    let binary = binary.await.unwrap().payload;
    let shown = answer::read_binary::<answer::Overview<'_>>(&binary).unwrap();
    let answer::Overview::Shown(shown) = &shown[0] else { panic!("{shown:?}") };
    assert!(shown.catalogue.is_none() && !shown.slots.is_empty());
    let unknown = Availability { office: Some("gamma".into()), describe: false };
    let binary = rig.client.request("giliran.v1.availability", write_binary(&[unknown]).into());
    let binary = binary.await.unwrap().payload;
    let rejected = answer::read_binary::<answer::Overview<'_>>(&binary).unwrap();
    let answer::Overview::Rejected(rejected) = &rejected[0] else { panic!("{rejected:?}") };
    assert_eq!(rejected.reason, Reason::UnknownSlot);
    let shown = rig.done(&["availability", "--describe"]);
    assert!(shown.contains("w: first come, times of day in "), "{shown}");
    assert!(shown.contains("    priority: priority, restricted"), "{shown}");
}

/// Everybody asks for anything: no restricted place goes, all others do. Who
/// was rejected, or asks late, or asks again, gets what the contract says.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_takes_no_restricted_place_and_retries_are_safe() {
    let rig = Rig::new(&config(20)).await;
    rig.init();
    let _engine = rig.serve("a");
    rig.open().await;
    let any = json!([{ "office": "beta" }]);
    let first = rig.book(&ask(0, &any)).await;
    let (mut granted, mut rejected) = (1, 0);
    for n in 1..60 {
        match rig.book(&ask(n, &any)).await {
            answer if answer["outcome"] == "granted" => granted += 1,
            answer => {
                assert_eq!(answer["reason"], "sold_out", "{answer}");
                rejected += 1;
            }
        }
    }
    assert_eq!((granted, rejected), (20, 40));
    let free = rig.ask("availability", r#"{"office":"beta"}"#).await.unwrap();
    let slots: Vec<_> = free["slots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["session"].clone(), s["free"].clone()))
        .collect();
    assert!(slots.contains(&(json!("priority"), json!(5))), "{slots:?}");
    assert!(slots.contains(&(json!("all"), json!(0))), "{slots:?}");

    let named = json!([{ "office": "beta", "session": "priority" }]);
    assert_eq!(rig.book(&ask(70, &named)).await["reason"], "not_permitted");
    let vouched = rig.ask("book.vouched", ask(71, &named).to_string()).await.unwrap();
    assert_eq!(vouched["booking"]["session"], "priority", "{vouched}");

    // After sell-out, and after its own deadline, the same request gets the same.
    let mut again = ask(0, &any);
    again["expires_at"] = json!("2020-01-01T00:00:00.000Z");
    assert_eq!(rig.book(&again).await["booking"], first["booking"]);
    // A new one is late.
    let mut late = ask(72, &any);
    late["expires_at"] = json!("2020-01-01T00:00:00.000Z");
    assert_eq!(rig.book(&late).await["reason"], "expired");
    // The same id, another content.
    let other = ask(0, &json!([{ "office": "alpha" }]));
    assert_eq!(rig.book(&other).await["reason"], "conflict");
    // Another id, the same person.
    let mut twice = ask(0, &any);
    twice["request_id"] = json!("another");
    assert_eq!(rig.book(&twice).await["reason"], "already_booked");
}

/// Every bad input gets its reason and says where; nothing is granted.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_what_and_where() {
    let rig = Rig::new(&config(20)).await;
    rig.init();
    let engine = rig.serve("a");
    rig.open().await;
    let choice = json!({ "office": "alpha" });
    for (payload, reason, detail) in &bad_requests(&choice) {
        let answer = rig.ask("book", payload.clone()).await.expect("an answer");
        assert_eq!(answer["reason"], *reason, "{payload}: {answer}");
        let told = answer["detail"].as_str().unwrap_or_default();
        assert!(told.contains(detail), "{payload}: {answer}");
        assert!(*reason != "malformed" || !told.is_empty(), "{payload}: {answer}");
    }
    let batch: Vec<Value> = (0..1_025).map(|n| ask(n, &json!([choice]))).collect();
    let answer = rig.ask("book", json!(batch).to_string()).await.unwrap();
    assert!(answer["detail"].as_str().unwrap().contains("1025"), "{answer}");
    let answer = rig.ask("book", b"{\"request_id\":\"\xff\"}".to_vec()).await.unwrap();
    assert_eq!(answer["reason"], "malformed");
    // One bad request does not spoil its batch.
    let mixed = json!([ask(90, &json!([choice])), { "request_id": "bad" }]);
    let answer = rig.ask("book", mixed.to_string()).await.unwrap();
    assert_eq!(answer[0]["outcome"], "granted", "{answer}");
    assert_eq!(answer[1]["reason"], "malformed", "{answer}");

    malformed_bytes(&rig).await;
    // Nobody to answer, or somewhere that is no inbox: dropped, and nothing granted.
    let payload = ask(92, &json!([choice])).to_string();
    let mut outside = rig.client.subscribe("elsewhere").await.unwrap();
    let subject = rig.namespace.request("book");
    rig.client.publish(subject.clone(), payload.clone().into()).await.unwrap();
    rig.client.publish_with_reply(subject, "elsewhere", payload.into()).await.unwrap();
    rig.client.flush().await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(500), outside.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    let found = rig.ask("find", r#"{"applicant":"p92","opening":"w"}"#).await.unwrap();
    assert_eq!(found["reason"], "not_found");
    assert!(!engine.said().contains("panicked"), "{}", engine.said());
    let facts = rig.audit(&[]).await;
    assert_eq!(facts.bookings(), 1, "only the good one of the mixed batch");
}

/// Requests for `choice` with something wrong in each, its reason and where it is.
fn bad_requests(choice: &Value) -> Vec<(String, &'static str, &'static str)> {
    let with = |field: &str, value: Value| {
        let mut request = ask(1, &json!([choice]));
        request[field] = value;
        request.to_string()
    };
    let many = |n: usize| vec![choice.clone(); n];
    let people = |n: usize| (0..n).map(|i| format!("x{i}")).collect::<Vec<_>>();
    vec![
        ("{".to_owned(), "malformed", ""),
        ("hello".to_owned(), "malformed", ""),
        (with("chioces", json!(1)), "malformed", "chioces"),
        (with("applicants", json!("p")), "malformed", "applicants"),
        (with("choices", json!(many(17))), "malformed", "choices: 17 given, at most 16"),
        (with("applicants", json!(people(6))), "malformed", "applicants: 6 given, at most 5"),
        (with("applicants", json!(["a", "a"])), "malformed", "applicants"),
        (with("applicants", json!([""])), "malformed", "applicants[0]"),
        (with("applicants", json!(["a".repeat(65)])), "malformed", "applicants[0]"),
        (with("request_id", json!("")), "malformed", "request_id"),
        (with("request_id", json!("a b")), "malformed", "request_id"),
        (with("request_id", json!("r".repeat(65))), "malformed", "request_id"),
        (with("channel", json!("Mobile")), "malformed", "channel"),
        (with("ref", json!("naïve")), "malformed", "ref"),
        (with("opening", json!("nowhere")), "unknown_opening", ""),
        (with("choices", json!([{ "office": "gamma" }])), "unknown_slot", "choices[0].office"),
        (
            with("choices", json!([choice, { "office": "alpha", "date": "2030-01-09" }])),
            "unknown_slot",
            "choices[1].date",
        ),
        (
            with("choices", json!([{ "office": "alpha", "session": "night" }])),
            "unknown_slot",
            "choices[0].session",
        ),
        (
            with("choices", json!([{ "office": "alpha", "date": "2030-13-01" }])),
            "malformed",
            "choices[0].date",
        ),
        (with("expires_at", json!("2020-01-01T00:00:00Z")), "expired", ""),
    ]
}

/// Binary: trailing bytes, and a length that promises the world.
async fn malformed_bytes(rig: &Rig) {
    let good = write_binary(&[book(91)]);
    let trailing = [&good[..], b"x"].concat();
    let bomb = [&[1_u8][..], &[0xff; 8]].concat();
    for payload in [trailing, bomb, vec![2, 0], Vec::new()] {
        let request = async_nats::Request::new().payload(payload.clone().into());
        let message =
            rig.client.send_request(rig.namespace.request("book"), request).await.unwrap().payload;
        let answers: Vec<Answer<'_>> = match message.first() {
            Some(1) => answer::read_binary(&message).unwrap(),
            _ => vec![serde_json::from_slice(&message).unwrap()],
        };
        let [Answer { verdict: Verdict::Rejected(rejection), .. }] = &answers[..] else {
            panic!("{payload:?}: {answers:?}")
        };
        assert_eq!(rejection.reason.name(), "malformed", "{payload:?}");
    }
}

fn book(n: u64) -> Book<'static> {
    Book {
        request_id: format!("m{n}").into(),
        applicants: [format!("{:016}", 2_171_000_000_000_000 + n).into()].into(),
        choices: [Choice { office: "beta".into(), date: None, session: None }].into(),
        opening: None,
        expires_at: None,
        account: None,
        channel: None,
        reference: None,
        wait: false,
    }
}

/// A million requests for one slot of 1,000 places, in batches: exactly 1,000
/// grants, the numbers 1 to 1,000 once each.
#[tokio::test(flavor = "multi_thread")]
async fn a_million_for_a_thousand() {
    const BATCH: u64 = 1_000;
    let rig = Rig::new(&config(1_000)).await;
    rig.init();
    let _engine = rig.serve("a");
    rig.open().await;
    let batch = |i: u64| {
        let (client, subject) = (rig.client.clone(), rig.namespace.request("book"));
        async move {
            let requests: Vec<_> = (i * BATCH..(i + 1) * BATCH).map(book).collect();
            let payload = write_binary(&requests);
            loop {
                let request = async_nats::Request::new()
                    .payload(payload.clone().into())
                    .timeout(Some(Duration::from_secs(60)));
                let message = client.send_request(subject.clone(), request).await.unwrap();
                let answers = answer::read_binary::<Answer<'_>>(&message.payload).unwrap();
                let mut numbers = Vec::new();
                let mut busy = false;
                for answer in answers {
                    match answer.verdict {
                        Verdict::Granted { booking, .. } => numbers.extend(booking.numbers),
                        Verdict::Rejected(r) if r.reason.worth_a_retry() => busy = true,
                        Verdict::Rejected(r) => assert_eq!(r.reason.name(), "sold_out"),
                        Verdict::Entered { .. } => panic!("no draw here"),
                    }
                }
                if !busy {
                    return numbers;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let mut numbers: Vec<u16> = futures_util::stream::iter(0..1_000)
        .map(batch)
        .buffer_unordered(8)
        .collect::<Vec<_>>()
        .await
        .concat();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=1_000).collect::<Vec<u16>>());
    rig.audit(&[]).await;
}

/// An answer that no message takes is rejected in words, and a small batch does not
/// make the engine write hundreds of megabytes.
#[tokio::test(flavor = "multi_thread")]
async fn places_that_fit_no_message() {
    let days: Vec<String> = (1..=20).map(|day| format!("\"2030-01-{day:02}\"")).collect();
    let mut file = config(1).replace("\"2030-01-07\", \"2030-01-08\"", &days.join(", "));
    for office in 0..210 {
        file.push_str(&format!("[[office]]\nid = \"office-{office}\"\nname = \"O\"\n"));
        for session in 0..3 {
            file.push_str(&format!(
                "[[office.session]]\nid = \"s{session}\"\nlabel = \"s\"\nquota = 1\n"
            ));
        }
    }
    let rig = Rig::new(&file).await;
    rig.init();
    let _engine = rig.serve("a");
    let since = std::time::Instant::now();
    let all = loop {
        match rig.ask("availability", "{}").await {
            Some(answer) if answer["reason"] == "malformed" => break answer,
            other => assert!(since.elapsed() < Duration::from_secs(20), "{}", other.is_some()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(all["detail"].as_str().unwrap().contains("office by office"), "{all}");
    let one = rig.ask("availability", r#"{"office":"office-7"}"#).await.unwrap();
    assert_eq!(one["slots"].as_array().unwrap().len(), 60);
    let many = format!("[{}]", vec![r#"{"office":"office-7"}"#; 1_000].join(","));
    let many = rig.ask("availability", many).await.unwrap();
    assert_eq!(many[0]["reason"].as_str().or(many["reason"].as_str()), Some("malformed"), "{many}");
}

//! From a body to an answer, by whatever detours.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use giliran_wire::answer::Reason;
use giliran_wire::request::{Lookup, Payload, read};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Rig, books, grant_all, granted, message, rejected, reply, settings, shown};

const BOOKINGS: &str = "/v1/openings/w/bookings";
const KEY: (&str, &str) = ("idempotency-key", "a3f1");

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_created_and_its_address_finds_it_again() {
    let rig = Rig::new(|operation, payload| match operation {
        "book" => grant_all(operation, payload),
        _ => {
            let Ok(Payload::Many(_, lookups)) = read::<Lookup<'_>>(payload) else { panic!() };
            let lookup = lookups[0].clone().unwrap();
            assert_eq!(lookup.applicant.as_str(), "2171012345678901");
            assert_eq!(lookup.opening.as_deref(), Some("w"));
            Some(vec![granted(&lookup.request_id.unwrap())])
        }
    })
    .await
    .told()
    .await;
    let reply = rig.book("\"a3f1\"").await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let body = reply.json();
    assert_eq!((&body["request_id"], &body["outcome"]), (&"a3f1".into(), &"granted".into()));
    assert_eq!(body["booking"]["numbers"][0], 17);
    let location = &reply.headers["location"];
    assert!(location.starts_with("/v1/requests/"), "{location}");
    assert!(!location.contains("2171012345678901"));
    let again = rig.get(location).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["booking"], body["booking"]);
    assert_eq!(rig.get("/v1/requests/00ff").await.problem(), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_is_asked_again_with_the_same_bytes() {
    let tries = AtomicUsize::new(0);
    let rig = Rig::new(move |_, payload| {
        let id = books(payload)[0].request_id.to_string();
        match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Some(vec![rejected(&id, Reason::Busy)]),
            1 => Some(vec![rejected(&id, Reason::Unavailable)]),
            _ => Some(vec![granted(&id)]),
        }
    })
    .await
    .told()
    .await;
    assert_eq!(rig.book("a3f1").await.status, 201);
    let messages = rig.messages();
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|message| *message == messages[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_busy_is_told_so_and_what_is_silent_is_in_doubt() {
    let rig = Rig::new(|_, payload| {
        let book = &books(payload)[0];
        let id = book.request_id.to_string();
        id.starts_with("busy").then(|| vec![rejected(&id, Reason::Busy)])
    })
    .await
    .told()
    .await;
    let body = r#"{"applicants":["1"],"choices":[{"office":"alpha"}]}"#;
    for (key, status, problem) in [("busy", 503, "busy"), ("silent", 504, "in_doubt")] {
        let began = Instant::now();
        let headers = [("idempotency-key", key), ("prefer", "wait=1")];
        let reply = rig.post(BOOKINGS, &headers, body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (status, problem));
        assert!(
            began.elapsed() >= Duration::from_secs(1) && began.elapsed() < Duration::from_secs(4)
        );
        let after: u64 = reply.headers["retry-after"].parse().unwrap();
        assert!((1..=10).contains(&after), "{after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_engine_is_the_caller_is_told_that_nothing_is_settled() {
    let mut settings = settings();
    settings.patience = Duration::from_secs(1);
    let rig = Rig::with(settings, None, shown()).await;
    let reply = rig.book("a3f1").await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "unavailable"));
    assert!(reply.json()["detail"].as_str().unwrap().contains("the same key is safe"));
    let openings = rig.get("/v1/openings/w").await;
    assert_eq!(openings.problem(), "unavailable", "nothing is known, rather than: there is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_comes_late_still_settles_it() {
    let mut settings = settings();
    settings.patience = Duration::from_secs(20);
    let rig = Rig::with(settings, None, shown()).await;
    let client = rig.broker.connect("engine", &Default::default()).await;
    let namespace = rig.broker.namespace.clone();
    let late = tokio::spawn(async move {
        use futures_util::StreamExt as _;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let mut requests = client.subscribe(namespace.request("book")).await.unwrap();
        let message = requests.next().await.unwrap();
        let answers = grant_all("book", &message.payload).unwrap();
        let mut out = Vec::new();
        giliran_wire::answer::write(giliran_wire::request::Form::Binary, &answers, &mut out);
        client.publish(message.reply.unwrap(), out.into()).await.unwrap();
        client.flush().await.unwrap();
    });
    assert_eq!(rig.book("a3f1").await.status, 201);
    late.await.unwrap();
}

/// The first attempt is answered after the second was sent: that settles it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_to_an_earlier_attempt_counts() {
    let first = Arc::new(Mutex::new(None::<async_nats::Message>));
    let rig = Rig::with(settings(), None, shown()).await;
    let client = rig.broker.connect("engine", &Default::default()).await;
    let mut requests = client.subscribe(rig.broker.namespace.request("book")).await.unwrap();
    client.flush().await.unwrap();
    let engine = tokio::spawn(async move {
        use futures_util::StreamExt as _;
        let early = requests.next().await.unwrap();
        let again = requests.next().await.unwrap();
        assert_eq!(early.payload, again.payload);
        let answers = grant_all("book", &early.payload).unwrap();
        let mut out = Vec::new();
        giliran_wire::answer::write(giliran_wire::request::Form::Binary, &answers, &mut out);
        client.publish(early.reply.clone().unwrap(), out.into()).await.unwrap();
        client.flush().await.unwrap();
        *first.lock().unwrap() = Some(early);
    });
    let began = Instant::now();
    assert_eq!(rig.book("a3f1").await.status, 201);
    assert!(began.elapsed() >= Duration::from_secs(2), "an attempt has at least two seconds");
    engine.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_refuses_is_a_problem_by_its_reason() {
    let rig = Rig::new(|_, payload| {
        let book = &books(payload)[0];
        let id = book.request_id.to_string();
        let reason = Reason::from_name(&id).unwrap();
        Some(vec![rejected(&id, reason)])
    })
    .await
    .told()
    .await;
    let statuses = [
        ("sold_out", 409),
        ("already_booked", 409),
        ("conflict", 422),
        ("not_permitted", 403),
        ("unknown_slot", 404),
        ("not_open", 409),
    ];
    for (reason, status) in statuses {
        let reply = rig.book(reason).await;
        assert_eq!((reply.status, reply.problem().as_str()), (status, reason));
        let body = reply.json();
        assert_eq!((&body["reason"], &body["request_id"]), (&reason.into(), &reason.into()));
        assert_eq!(body["as_of"]["seq"], 1841);
        assert_eq!(body.get("opens_at").is_some(), reason == "not_open");
    }
    assert_eq!(rig.messages().len(), statuses.len(), "none of them is asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_goes_in_few_messages() {
    let rig = Arc::new(Rig::new(grant_all).await.told().await);
    let people = (0..400).map(|n| {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move { rig.book(&format!("r{n}")).await })
    });
    for person in people.collect::<Vec<_>>() {
        let reply = person.await.unwrap();
        assert_eq!(reply.status, 201);
    }
    let messages = rig.messages();
    let asked: usize = messages.iter().map(|(_, payload)| books(payload).len()).sum();
    assert_eq!(asked, 400, "each of them once");
    assert!(messages.len() < 300, "{} messages", messages.len());
}

/// Somebody closes the page: the request goes on under the same id.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_is_asked_for_to_the_end() {
    let rig = Rig::new(|_, _| None).await.told().await;
    let body = br#"{"applicants":["1"],"choices":[{"office":"alpha"}]}"#;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(&message("POST", BOOKINGS, &[KEY], body)).await.unwrap();
    let since = Instant::now();
    while rig.messages().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stream);
    while rig.messages().len() < 2 {
        assert!(since.elapsed() < Duration::from_secs(10), "it was given up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_what_where_and_what_is_right() {
    let rig = Rig::new(|_, _| panic!("the engine is asked")).await.told().await;
    let good = r#"{"applicants":["1"],"choices":[{"office":"alpha"}]}"#;
    let wrong = async |headers: &[(&str, &str)], body: &str| {
        let reply = rig.post(BOOKINGS, headers, body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "malformed"), "{body}");
        reply.json()["detail"].as_str().unwrap().to_owned()
    };
    assert!(wrong(&[], good).await.starts_with("Idempotency-Key: missing"));
    assert!(wrong(&[("idempotency-key", "ä b")], good).await.starts_with("request_id"));
    for (body, told) in [
        ("", "payload: empty"),
        ("[]", "payload: one request"),
        ("{", "payload cannot be read"),
        ("{}", "missing field `applicants`"),
        (r#"{"applicants":["1"]}"#, "missing field `choices`"),
        (
            r#"{"applicants":["1"],"choices":[{"office":"alpha"}],"chanel":"x"}"#,
            "unknown field `chanel`",
        ),
        (
            r#"{"applicants":["1"],"choices":[{"office":"alpha"}],"opening":"x"}"#,
            "duplicate field `opening`",
        ),
        (r#"{"applicants":["1"],"choices":[{"office":"alpha"}"#, "cannot be read"),
    ] {
        let detail = wrong(&[KEY], body).await;
        assert!(detail.contains(told), "{body}: {detail}");
    }
    let long = format!("{good}{}", " ".repeat(70_000));
    let reply = rig.post(BOOKINGS, &[KEY], &long).await;
    assert_eq!((reply.status, reply.problem().as_str()), (413, "too_large"));
    assert_eq!(rig.get("/v1/openings/%ff").await.problem(), "malformed");
    assert_eq!(rig.get("/v1/nothing").await.problem(), "no_such_address");
    assert_eq!(rig.get(BOOKINGS).await.problem(), "no_such_method");
}

/// A gateway with one place, and an engine that answers once it may.
async fn with_one_place() -> (Arc<Rig>, Arc<AtomicBool>) {
    let mut settings = settings();
    settings.in_flight = 1;
    let answers = Arc::new(AtomicBool::new(false));
    let may_answer = Arc::clone(&answers);
    let script = move |_: &str, payload: &[u8]| {
        while !may_answer.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        grant_all("book", payload)
    };
    let rig = Arc::new(Rig::with(settings, Some(Arc::new(script)), shown()).await.told().await);
    (rig, answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_told_so_and_takes_nobody_s_place() {
    let (rig, answers) = with_one_place().await;
    let other = Arc::clone(&rig);
    let waits = tokio::spawn(async move { other.book("first").await });
    while rig.messages().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reply = rig.book("second").await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "busy"));
    assert!(reply.headers.contains_key("retry-after"));
    answers.store(true, Ordering::Relaxed);
    assert_eq!(waits.await.unwrap().status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_the_way_come_to_their_end_when_it_is_stopped() {
    let tries = AtomicUsize::new(0);
    let rig = Rig::new(move |_, payload| {
        // The second attempt is answered.
        (tries.fetch_add(1, Ordering::Relaxed) > 0).then(|| grant_all("book", payload).unwrap())
    })
    .await
    .told()
    .await;
    let body = br#"{"applicants":["1"],"choices":[{"office":"alpha"}]}"#;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(&message("POST", BOOKINGS, &[KEY], body)).await.unwrap();
    while rig.messages().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(rig.address).await.is_err(), "nothing new is taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(reply(&answer).status, 201);
    let served = tokio::time::timeout(Duration::from_secs(5), rig.served).await;
    rig.gateway.end(served.unwrap().unwrap()).await.unwrap();
}

/// A phone that sends again while its first attempt is on the way takes no other place, and is
/// told the same, by an answer that is no older than its second attempt.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_booking_is_asked_for_once_at_a_time_however_often_it_is_sent() {
    let (rig, answers) = with_one_place().await;
    let asked = |rig: &Rig| -> usize {
        rig.messages().iter().map(|(_, payload)| books(payload).len()).sum()
    };
    let book = |rig: &Arc<Rig>| {
        let rig = Arc::clone(rig);
        tokio::spawn(async move { rig.book("a3f1").await })
    };
    let first = book(&rig);
    while rig.messages().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let again = book(&rig);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!again.is_finished(), "it waits with the first");
    assert_eq!(asked(&rig), 1);
    answers.store(true, Ordering::Relaxed);
    let (first, again) = (first.await.unwrap(), again.await.unwrap());
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!(asked(&rig), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_wait_is_asked_for_once_all_the_same() {
    let rig = Rig::new(grant_all).await.told().await;
    let body = r#"{"applicants":["1"],"choices":[{"office":"alpha"}]}"#;
    let reply = rig.post(BOOKINGS, &[KEY, ("prefer", "wait=0")], body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_on_their_way_have_a_bound_together() {
    let mut settings = settings();
    settings.body_bytes = 100_000;
    let rig = Rig::with(settings, Some(Arc::new(grant_all)), shown()).await.told().await;
    // Somebody says that much comes, and sends a little.
    let long = vec![b' '; 60_000];
    let mut slow = TcpStream::connect(rig.address).await.unwrap();
    let bytes = message("POST", BOOKINGS, &[KEY], &long);
    slow.write_all(&bytes[..bytes.len() - 59_000]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let padded = |to: usize| {
        let body = r#"{"applicants":["1"],"choices":[{"office":"alpha"}]}"#;
        format!("{body}{}", " ".repeat(to))
    };
    let reply = rig.post(BOOKINGS, &[("idempotency-key", "b")], &padded(50_000)).await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "busy"));
    let reply = rig.post(BOOKINGS, &[("idempotency-key", "b")], &padded(1_000)).await;
    assert_eq!(reply.status, 201);
}

//! What the payment side alone may ask.

use giliran_wire::answer::Reason;
use giliran_wire::request::{Confirm, Payload, read};

use crate::rig::{Rig, granted, rejected, send};

const PATH: &str = "/v1/bookings/PN14-D2PF-2DBS-QQG1/confirmation";
const KEY: (&str, &str) = ("idempotency-key", "paid-1");
const PAID: &str = r#"{"reference":"invoice-4711"}"#;

/// Confirms one booking, and knows no other.
async fn rig() -> Rig {
    Rig::new(|operation, payload| {
        assert_eq!(operation, "confirm");
        let Ok(Payload::Many(_, confirms)) = read::<Confirm<'_>>(payload) else { panic!() };
        let answers = confirms.iter().map(|confirm| {
            let confirm = confirm.as_ref().unwrap();
            assert_eq!(confirm.reference.as_deref(), Some("invoice-4711"));
            match confirm.booking.as_str() {
                "PN14-D2PF-2DBS-QQG1" => granted(&confirm.request_id),
                _ => rejected(&confirm.request_id, Reason::NotFound),
            }
        });
        Some(answers.collect())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_confirmed_on_its_own_listener_and_nowhere_else() {
    let rig = rig().await.told().await;
    let payments = rig.payments().await;
    let post = async |path, headers: &[_], body: &str| {
        send(payments, "POST", path, headers, body.as_bytes()).await
    };
    let paid = post(PATH, &[KEY], PAID).await;
    assert_eq!((paid.status, &paid.json()["outcome"]), (200, &"granted".into()), "{paid:?}");
    let unknown = post("/v1/bookings/X/confirmation", &[KEY], PAID).await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "not_found"));
    // A page whose name leads here has everything that a program has, and says what it is.
    for page in [("origin", "http://evil.example:8081"), ("sec-fetch-site", "same-origin")] {
        let refused = post(PATH, &[KEY, page], PAID).await;
        assert_eq!((refused.status, refused.problem().as_str()), (403, "not_permitted"));
    }
    // Neither listener has what is the other one's.
    let public = rig.post(PATH, &[KEY], PAID).await;
    assert_eq!((public.status, public.problem().as_str()), (404, "no_such_address"));
    let body = r#"{"applicants":["1"],"choices":[{"office":"alpha"}]}"#;
    for (path, body) in [
        ("/v1/openings/w/bookings", body),
        ("/v1/lookups", r#"{"request_id":"a","applicant":"1"}"#),
        ("/v1/bookings/X/cancellation", r#"{"applicant":"1"}"#),
    ] {
        assert_eq!(post(path, &[KEY], body).await.problem(), "no_such_address", "{path}");
    }
    for path in ["/", "/o/w", "/v1/openings", "/openapi.json", "/assets/page.js"] {
        let reply = send(payments, "GET", path, &[], b"").await;
        assert_eq!(reply.problem(), "no_such_address", "{path}");
    }
    let looked = send(payments, "GET", PATH, &[], b"").await;
    assert_eq!((looked.status, looked.problem().as_str()), (405, "no_such_method"));
    assert_eq!(rig.messages().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_nobody_could_tell_from_another_is_not_sent() {
    let rig = rig().await;
    let payments = rig.payments().await;
    for (headers, body, why) in [
        (&[KEY][..], "{}", "reference: missing"),
        (&[KEY], r#"{"reference":null}"#, "reference: missing"),
        (&[KEY], r#"{"reference":""}"#, "reference"),
        (&[KEY], r#"{"reference":"a","applicant":"1"}"#, "applicant"),
        (&[KEY], r#"{"reference":"a","booking":"X"}"#, "booking"),
        (&[KEY], "invoice-4711", "payload"),
        (&[], PAID, "Idempotency-Key"),
    ] {
        let reply = send(payments, "POST", PATH, headers, body.as_bytes()).await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "malformed"), "{body}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{body}: {detail}");
    }
    let long = format!("{{\"reference\":\"{}\"}}", "x".repeat(64 * 1024));
    let reply = send(payments, "POST", PATH, &[KEY], long.as_bytes()).await;
    assert_eq!((reply.status, reply.problem().as_str()), (413, "too_large"));
    assert!(rig.messages().is_empty());
}

//! Who asks, and how often.

use std::sync::Arc;

use axum::http::HeaderName;
use giliran_gateway::Identity;

use crate::rig::{Rig, books, grant_all, settings, shown};

const BOOKINGS: &str = "/v1/openings/w/bookings";
const BODY: &str = r#"{"applicants":["2171012345678901"],"choices":[{"office":"alpha"}]}"#;

fn behind() -> Identity {
    Identity {
        proxies: "127.0.0.0/8".parse().unwrap(),
        account: Some(HeaderName::from_static("x-account")),
        applicant: Some(HeaderName::from_static("x-applicant")),
    }
}

async fn behind_a_proxy() -> Rig {
    let mut settings = settings();
    settings.identity = behind();
    Rig::with(settings, Some(Arc::new(grant_all)), shown()).await.told().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_the_proxy_s_word_and_not_the_client_s() {
    let rig = behind_a_proxy().await;
    let said =
        [("idempotency-key", "a"), ("x-account", "u-\"1"), ("x-applicant", "2171012345678901")];
    assert_eq!(rig.post(BOOKINGS, &said, BODY).await.status, 201);
    let messages = rig.messages();
    assert_eq!(books(&messages[0].1)[0].account.as_deref(), Some("u-\"1"));
    let own = BODY.replace("\"choices\"", "\"account\":\"u-2\",\"choices\"");
    let reply = rig.post(BOOKINGS, &said, &own).await;
    assert_eq!(reply.problem(), "malformed");
    let twice = [said[0], said[1], ("x-account", "u-2"), said[2]];
    let reply = rig.post(BOOKINGS, &twice, BODY).await;
    assert_eq!((reply.status, reply.problem().as_str()), (400, "malformed"));
    let unknown = rig.post(BOOKINGS, &said[..1], BODY).await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (403, "not_permitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_proxy_has_verified_asks_for_nobody_else() {
    let rig = behind_a_proxy().await;
    let said = [("idempotency-key", "a"), ("x-account", "u"), ("x-applicant", "2171099999999999")];
    let others = [
        (BOOKINGS, BODY),
        ("/v1/lookups", r#"{"request_id":"a","applicant":"2171012345678901"}"#),
        ("/v1/bookings/X/cancellation", r#"{"applicant":"2171012345678901"}"#),
        (
            "/v1/bookings/X/reschedule",
            r#"{"applicant":"2171012345678901","choices":[{"office":"alpha"}]}"#,
        ),
    ];
    for (path, body) in others {
        let reply = rig.post(path, &said, body).await;
        assert_eq!(reply.problem(), "not_permitted", "{path}");
        assert!(!reply.body.contains("21710"), "{}", reply.body);
    }
    assert!(rig.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_an_address_have_their_rates() {
    for by in ["account", "address"] {
        let mut settings = settings();
        let rate = Some("0.1:3".parse().unwrap());
        settings.identity = Identity { applicant: None, ..behind() };
        match by {
            "account" => settings.account_rate = rate,
            _ => settings.address_rate = rate,
        }
        let rig = Rig::with(settings, Some(Arc::new(grant_all)), shown()).await.told().await;
        let mut statuses = Vec::new();
        for n in 0..5 {
            let (key, account) = (format!("r{n}"), if n == 4 { "other" } else { "u" });
            let said = [("idempotency-key", key.as_str()), ("x-account", account)];
            let reply = rig.post(BOOKINGS, &said, BODY).await;
            if reply.status == 429 {
                assert_eq!(reply.problem(), "too_many_requests");
                assert!(reply.headers["retry-after"].parse::<u64>().unwrap() >= 10);
            }
            statuses.push(reply.status);
        }
        let last = if by == "account" { 201 } else { 429 };
        assert_eq!(statuses, [201, 201, 201, 429, last], "{by}");
    }
}

/// Whoever names another's account uses up nothing of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_nobody_vouches_for_has_no_rate() {
    let mut settings = settings();
    settings.account_rate = Some("0.1:1".parse().unwrap());
    let rig = Rig::with(settings, Some(Arc::new(grant_all)), shown()).await.told().await;
    let body = BODY.replace("\"choices\"", "\"account\":\"u\",\"choices\"");
    for key in ["r0", "r1", "r2"] {
        assert_eq!(rig.post(BOOKINGS, &[("idempotency-key", key)], &body).await.status, 201);
    }
}

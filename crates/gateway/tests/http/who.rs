//! Who asks, and how often.

use std::sync::Arc;

use axum::http::HeaderName;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use giliran_gateway::{Identity, IdentityKey, SignedTokens, TokenRules};
use ring::hmac;
use serde_json::{Value, json};

use crate::rig::{Rig, books, grant_all, settings, shown};

const BOOKINGS: &str = "/v1/openings/w/bookings";
const BODY: &str = r#"{"applicants":["2171012345678901"],"choices":[{"office":"alpha"}]}"#;

fn behind() -> Identity {
    Identity {
        proxies: "127.0.0.0/8".parse().unwrap(),
        account: Some(HeaderName::from_static("x-account")),
        applicant: Some(HeaderName::from_static("x-applicant")),
        tokens: None,
    }
}

const SECRET: &str = "a secret of thirty-two characters";

/// Tokens by a secret, whose claim `nik` is the applicant.
fn tokens() -> Option<SignedTokens> {
    let rules = TokenRules {
        audience: None,
        issuer: None,
        account_claim: "sub".to_owned(),
        applicant_claim: Some("nik".to_owned()),
    };
    Some(SignedTokens::new(IdentityKey::from_secret(SECRET).unwrap(), rules))
}

/// `Authorization` of somebody with this account, of 2171012345678901, for so many seconds.
fn bearer(account: &str, for_s: i64) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let until = giliran_nats::clock::now().as_millis() / 1_000 + for_s;
    let claims = json!({ "sub": account, "nik": "2171012345678901", "exp": until });
    let signed = format!("{}.{}", part(&json!({ "alg": "HS256" })), part(&claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("Bearer {signed}.{signature}")
}

async fn with(identity: Identity) -> Rig {
    let mut settings = settings();
    settings.identity = identity;
    Rig::with(settings, Some(Arc::new(grant_all)), shown()).await.told().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_who_asks_and_nobody_else_may() {
    let rig = with(Identity { tokens: tokens(), ..Identity::default() }).await;
    let (right, old) = (bearer("u-1", 600), bearer("u-1", -600));
    let (key, stranger) =
        (("idempotency-key", "a"), bearer("u-1", 600).replace("Bearer ", "Basic "));
    // A forger knows everything but the key.
    let forged = format!("{}AAAA", &right[..right.len() - 4]);
    let change = "/v1/bookings/PN14-D2PF-2DBS-QQG1/cancellation";
    let lookup = r#"{"request_id":"a","applicant":"2171012345678901"}"#;
    for (path, body) in [
        (BOOKINGS, BODY),
        ("/v1/lookups", lookup),
        (change, r#"{"applicant":"2171012345678901"}"#),
        (
            "/v1/bookings/PN14-D2PF-2DBS-QQG1/reschedule",
            r#"{"applicant":"2171012345678901","choices":[{"office":"alpha"}]}"#,
        ),
    ] {
        for (said, problem, challenge) in [
            (None, "unauthenticated", "Bearer realm=\"giliran\""),
            (Some(&stranger), "unauthenticated", "Bearer realm=\"giliran\""),
            (Some(&old), "invalid_token", "Bearer realm=\"giliran\", error=\"invalid_token\""),
            (Some(&forged), "invalid_token", "Bearer realm=\"giliran\", error=\"invalid_token\""),
        ] {
            let mut headers = vec![key, ("x-account", "u-2")];
            headers.extend(said.map(|said| ("authorization", said.as_str())));
            let reply = rig.post(path, &headers, body).await;
            assert_eq!((reply.status, reply.problem().as_str()), (401, problem), "{path}");
            assert_eq!(reply.headers["www-authenticate"], challenge, "{path}");
            assert_eq!(reply.headers["cache-control"], "no-store");
        }
    }
    assert!(rig.messages().is_empty(), "an engine is asked for those who are known");
    let said = [key, ("authorization", right.as_str())];
    let reply = rig.post(BOOKINGS, &said, BODY).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(books(&rig.messages()[0].1)[0].account.as_deref(), Some("u-1"));
    let own = BODY.replace("\"choices\"", "\"account\":\"u-2\",\"choices\"");
    assert_eq!(rig.post(BOOKINGS, &said, &own).await.problem(), "malformed");
    let other = BODY.replace("2171012345678901", "2171099999999999");
    assert_eq!(rig.post(BOOKINGS, &said, &other).await.problem(), "not_permitted");
    let twice = [key, said[1], said[1]];
    assert_eq!(rig.post(BOOKINGS, &twice, BODY).await.problem(), "malformed");
    // What became of it, for programs and for people.
    let tracked = reply.headers["location"].clone();
    for (path, is_page) in [
        (tracked.clone(), false),
        (format!("{tracked}/stream"), false),
        (tracked.replace("/v1/requests", "/r"), true),
        (tracked.replace("/v1/requests", "/r") + "/booking.ics", true),
    ] {
        let reply = rig.get(&path).await;
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"giliran\"", "{path}");
        assert_eq!(reply.body.contains("<h1>"), is_page, "{path}");
    }
    let asked = rig.form("/o/w?lang=en", "office0=alpha&applicant0=2171012345678901&key=b").await;
    assert_eq!(asked.status, 401);
    assert!(asked.body.contains("sign in"), "{}", asked.body);
    assert!(!asked.headers.contains_key("giliran-settled"), "the wish keeps its number");
    // What there is to book anybody may see.
    assert_eq!(rig.get("/v1/openings/w/places").await.status, 200);
    assert_ne!(rig.get("/o/w").await.status, 401);
}

/// An app that has tokens, and the page behind a proxy that knows who asks.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_token_is_known_by_it_and_others_by_the_proxy() {
    let rig = with(Identity { tokens: tokens(), ..behind() }).await;
    let (token, old) = (bearer("app", 600), bearer("app", -600));
    let key = |key| ("idempotency-key", key);
    let proxy = [("x-account", "web"), ("x-applicant", "2171012345678901")];
    let by_proxy = rig.post(BOOKINGS, &[key("a"), proxy[0], proxy[1]], BODY).await;
    assert_eq!(by_proxy.status, 201, "{by_proxy:?}");
    let both = [key("b"), proxy[0], proxy[1], ("authorization", token.as_str())];
    assert_eq!(rig.post(BOOKINGS, &both, BODY).await.status, 201);
    // A token that does not count is not made good by a header.
    let spoiled = [key("c"), proxy[0], proxy[1], ("authorization", old.as_str())];
    assert_eq!(rig.post(BOOKINGS, &spoiled, BODY).await.problem(), "invalid_token");
    assert_eq!(rig.post(BOOKINGS, &[key("d")], BODY).await.problem(), "unauthenticated");
    let messages = rig.messages();
    let accounts: Vec<_> = messages
        .iter()
        .flat_map(|(_, payload)| books(payload))
        .map(|book| book.account.map(|account| account.to_string()))
        .collect();
    assert_eq!(accounts, [Some("web".to_owned()), Some("app".to_owned())]);
}

async fn behind_a_proxy() -> Rig {
    with(behind()).await
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

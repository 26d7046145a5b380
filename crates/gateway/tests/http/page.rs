//! The page without a browser: what is in it, and what its forms do.

use std::sync::Arc;
use std::time::Duration;

use giliran_wire::answer::{Answer, Availability, Phase, Reason, Status, Verdict};
use giliran_wire::request::{Lookup, Payload, read};
use giliran_wire::{BookingId, Timestamp};
use serde_json::json;

use crate::rig::{AS_OF, Reader, Reply, Rig, books, granted, rejected, send, settings, shown};

/// Its one office has a name that nobody should take for markup.
const NAME: &str = "Kantor <b>Alpha</b> & Batam";

pub(crate) fn described(order: &serde_json::Value) -> Availability<'static> {
    let mut told = shown();
    let (opens_at, closes_at) = (told.openings[0].opens_at, told.openings[0].closes_at);
    let offers = json!({
        "id": "w", "state": told.openings[0].state, "timezone": "Asia/Jakarta",
        "opens_at": opens_at, "closes_at": closes_at, "order": order,
        "rules": { "max_party": 3, "max_bookings": 3, "max_changes": 3, "across_openings": false,
                   "cancelled": { "kind": "at", "times": ["07:00"] },
                   "expired": { "kind": "immediate" }, "leftovers": "none" },
        "next_release": "2030-01-06T00:00:00.000Z",
        "days": [{ "date": "2030-01-07", "bookable_until": "2030-01-06T17:00:00.000Z" }],
        "offices": [{ "id": "alpha", "name": NAME, "sessions": [
            { "id": "all", "label": "", "restricted": false, "explicit": false,
              "quotas": { "2030-01-07": 80 } },
            { "id": "vip", "label": "Lansia", "restricted": true, "explicit": false,
              "quotas": { "2030-01-07": 5 } }] }],
        "as_of": { "epoch": 3, "seq": 1841, "time": opens_at },
    });
    told.catalogue = Some(vec![serde_json::from_value(offers).unwrap()]);
    told
}

fn first_come() -> Availability<'static> {
    described(&json!({ "kind": "first_come" }))
}

async fn rig(
    places: Availability<'static>,
    script: impl Fn(&str, &[u8]) -> Option<Vec<Answer<'static>>> + Send + Sync + 'static,
) -> Rig {
    let rig = Rig::with(settings(), Some(Arc::new(script)), places).await.told().await;
    for _ in 0..100 {
        if rig.get("/o/w").await.status == 200 {
            return rig;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the opening is not described");
}

async fn fill(rig: &Rig, path: &str, fields: &str) -> Reply {
    rig.form(path, fields).await
}

/// The value of a hidden field.
fn hidden(reply: &Reply, name: &str) -> String {
    let (_, behind) = reply.body.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    behind.split('"').next().unwrap().to_owned()
}

/// A booking as it was granted, and found.
fn held(operation: &str, payload: &[u8]) -> Option<Vec<Answer<'static>>> {
    let id = match operation {
        "book" => books(payload)[0].request_id.to_string(),
        _ => match read::<Lookup<'_>>(payload) {
            Ok(Payload::Many(_, lookups)) => lookups[0]
                .as_ref()
                .unwrap()
                .request_id
                .as_ref()
                .map_or("a3f1".to_owned(), |id| id.to_string()),
            other => panic!("{other:?}"),
        },
    };
    let mut answer = granted(&id);
    if let Verdict::Granted { booking, .. } = &mut answer.verdict {
        booking.status = Status::Held;
        booking.hold_expires_at = Some("2026-11-27T09:00:00.000Z".parse::<Timestamp>().unwrap());
    }
    Some(vec![answer])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_offers_what_there_is_in_both_languages() {
    let rig = rig(first_come(), |_, _| None).await;
    let english = rig.get("/o/w?lang=en").await;
    assert!(english.body.contains("<html lang=\"en\">"));
    let indonesian = rig.get("/").await;
    assert!(indonesian.body.contains("<html lang=\"id\">"), "the only opening, in Indonesian");
    for page in [&english, &indonesian] {
        assert!(page.body.contains("Kantor &lt;b&gt;Alpha&lt;/b&gt; &amp; Batam"));
        assert!(!page.body.contains("<b>"));
        assert_eq!(page.headers["cache-control"], "no-store");
        let policy = &page.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(hidden(page, "key").len(), 20);
        // Three of a family, and no more.
        assert!(page.body.contains("name=\"applicant2\"") && !page.body.contains("applicant3"));
    }
    assert_ne!(hidden(&english, "key"), hidden(&indonesian, "key"));
    assert!(english.body.contains("needs an entitlement"));
    assert!(indonesian.body.contains("Sen 7 Jan 2030"));
    assert!(english.body.contains("Next draw: Sun 6 Jan 2030, 07:00 WIB"));
    let assets = english.body.split('"').filter(|part| part.starts_with("/assets/"));
    for asset in assets.collect::<Vec<_>>() {
        let reply = rig.get(asset).await;
        assert_eq!(reply.status, 200, "{asset}");
        assert!(reply.headers["cache-control"].contains("immutable"));
    }
    assert_eq!(rig.get("/assets/0000.js").await.status, 404);
    assert_eq!(rig.get("/o/x").await.status, 404);
}

/// Whoever was not drawn was once told that the request may still be on its way: a look-up
/// finds nothing in both cases.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_not_drawn_is_told_so_once_the_draw_is_over() {
    let nothing = |operation: &str, payload: &[u8]| {
        Some(vec![match operation {
            "book" => granted(&books(payload)[0].request_id),
            _ => rejected("a3f1", Reason::NotFound),
        }])
    };
    for (drawn, goes_on, problem, words) in [
        (false, true, "not_found", ["It may still be on its way", "Mungkin masih diproses"]),
        (true, true, "not_drawn", ["this number got no place", "nomor ini tidak mendapat tempat"]),
        (true, false, "not_drawn", ["this number got no place", "nomor ini tidak mendapat tempat"]),
    ] {
        let mut places = described(&json!({ "kind": "draw", "drawn": drawn }));
        if !goes_on {
            places.catalogue.as_mut().unwrap()[0].next_release = None;
        }
        let rig = rig(places, nothing).await;
        let location = rig.book("a3f1").await.headers["location"].clone();
        let found = rig.get(&location).await;
        assert_eq!((found.status, found.problem().as_str()), (404, problem), "{drawn}");
        let own = location.replace("/v1/requests/", "/r/");
        for (language, words) in ["en", "id"].iter().zip(words) {
            let page = rig.get(&format!("{own}?lang={language}")).await;
            assert_eq!(page.status, 404);
            assert!(page.body.contains(words), "{words}: {}", page.body);
            assert_eq!(page.body.contains("data-request"), goes_on, "{}", page.body);
        }
        let mut reader = Reader::open(&rig, &format!("{location}/stream"), &[]).await;
        let (_, told) = reader.event("request").await;
        assert_eq!(told["type"], format!("urn:giliran:problem:{problem}"));
        if !goes_on {
            tokio::time::timeout(Duration::from_secs(5), reader.end()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_becomes_a_place_at_an_address_of_its_own() {
    let rig = rig(first_come(), held).await;
    let fields =
        "key=a3f1&office0=alpha%2Fall&day0=2030-01-07&applicant0=2171012345678901&applicant1=7";
    let reply = fill(&rig, "/o/w?lang=en", fields).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let messages = rig.messages();
    let book = &books(&messages[0].1)[0];
    assert_eq!(book.applicants.len(), 2);
    assert_eq!(book.choices[0].session.as_deref(), Some("all"));
    let own = rig.get(&reply.headers["location"]).await;
    assert_eq!(own.status, 200);
    assert!(own.headers.contains_key("giliran-settled"), "its number is forgotten");
    let minutes = own.body.split("</span> left").next().unwrap();
    let minutes = minutes.rsplit('>').next().unwrap().strip_suffix(" minutes").unwrap();
    assert!(minutes.parse::<u64>().is_ok(), "without the script too: {minutes}");
    for words in ["Your place is held", ">17<", "Fri 27 Nov 2026, 16:00 WIB", "Mon 7 Jan 2030"] {
        assert!(own.body.contains(words), "{words}: {}", own.body);
    }
    assert!(!own.body.contains("2171012345678901"), "nobody's number is on the page");
    let calendar = reply.headers["location"].replace("?", "/booking.ics?");
    let calendar = rig.get(&calendar).await;
    assert_eq!(calendar.headers["content-type"], "text/calendar; charset=utf-8");
    assert!(calendar.body.contains("DTSTART;VALUE=DATE:20300107\r\n"), "{}", calendar.body);
    // By the booking's id and an applicant it is the same page.
    let found = fill(&rig, "/b?lang=en", "booking=x&applicant=2171012345678901").await;
    assert_eq!(found.headers["location"], reply.headers["location"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_words_and_the_next_wish_has_another_number() {
    let rig = rig(first_come(), |_, payload| {
        Some(vec![rejected(&books(payload)[0].request_id, Reason::SoldOut)])
    })
    .await;
    let reply = fill(&rig, "/o/w?lang=en", "key=a3f1&office0=alpha&applicant0=1").await;
    assert_eq!(reply.status, 409);
    assert!(reply.body.contains("All your wishes are full"), "{}", reply.body);
    assert_ne!(hidden(&reply, "key"), "a3f1");
    assert!(reply.headers.contains_key("giliran-settled"), "its number is forgotten");
    assert!(reply.body.contains("value=\"1\""), "what was filled in stays");
    let no_day = "key=a3f1&office0=alpha&day0=someday&applicant0=1";
    assert_eq!(fill(&rig, "/o/w?lang=en", no_day).await.status, 400);
    let empty = fill(&rig, "/o/w?lang=en", "key=a3f1&office0=alpha").await;
    assert_eq!(empty.status, 400);
    assert!(empty.body.contains("not filled in correctly"));
    assert_eq!(rig.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_settled_the_same_number_goes_on() {
    let rig = rig(first_come(), |_, _| None).await;
    let reply = fill(&rig, "/o/w?lang=en", "key=a3f1&office0=alpha&applicant0=1").await;
    assert_eq!(reply.status, 504);
    assert!(reply.body.contains("Nothing is lost") && reply.body.contains("data-sent"));
    assert_eq!(hidden(&reply, "key"), "a3f1");
    assert!(reply.headers.contains_key("retry-after"));
    assert!(!reply.headers.contains_key("giliran-settled"));
    // The page has answered; the request goes on.
    let before = rig.messages().len();
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert!(rig.messages().len() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_on_somebody_else_s_page_is_none_of_ours() {
    let rig = rig(first_come(), |_, _| panic!("the engine is asked")).await;
    let body = b"key=a3f1&office0=alpha&applicant0=1&booking=x&applicant=1";
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("referer", "https://evil.example/http://gateway/"),
        ("x-nothing", "said"),
    ] {
        for path in ["/o/w", "/b"] {
            let reply = send(rig.address, "POST", path, &[(name, value)], body).await;
            assert_eq!(reply.status, 403, "{path} {name}: {value}");
            assert!(!reply.headers.contains_key("giliran-settled"));
        }
    }
    for (name, value) in [
        ("sec-fetch-site", "same-origin"),
        ("origin", "https://Gateway"),
        ("referer", "http://gateway/o/w?lang=en"),
    ] {
        // It is read, and refused for what is in it.
        let reply = send(rig.address, "POST", "/o/w", &[(name, value)], b"key=a3f1").await;
        assert_eq!(reply.status, 400, "{name}: {value}");
    }
}

/// Two offices more than one answer has room for, and a page all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_one_answer_is_described_office_by_office() {
    let mut large = first_come();
    for name in ["beta", "gamma", "delta"] {
        let mut slot = large.slots[0].clone();
        slot.office = name.into();
        large.slots.push(slot);
        let offers = &mut large.catalogue.as_mut().unwrap()[0];
        let mut office = offers.offices[0].clone();
        (office.id, office.name) = (name.into(), format!("Kantor {name}"));
        offers.offices.push(office);
    }
    let rig = rig(large, |_, _| None).await;
    let offers = rig.get("/v1/openings/w").await.json()["offers"]["offices"].clone();
    let names: Vec<_> = offers.as_array().unwrap().iter().map(|o| o["id"].clone()).collect();
    assert_eq!(names, ["alpha", "beta", "gamma", "delta"]);
}

/// It was once told that there is no such opening.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_described_yet_is_not_gone_and_the_wish_keeps_its_number() {
    let rig = Rig::with(settings(), Some(Arc::new(|_: &str, _: &[u8]| None)), shown()).await;
    let rig = rig.told().await;
    let page = rig.get("/o/w?lang=en").await;
    assert_eq!(page.status, 503);
    assert!(page.headers.contains_key("retry-after"));
    assert_eq!(rig.get("/v1/draws/w").await.problem(), "unavailable");
    let fields = "key=a3f1&office0=alpha&day0=2030-01-07&applicant0=1";
    let reply = fill(&rig, "/o/w?lang=en", fields).await;
    assert_eq!(reply.status, 504);
    assert!(reply.headers.contains_key("retry-after"));
    for (name, value) in [("key", "a3f1"), ("office0", "alpha"), ("day0", "2030-01-07")] {
        assert_eq!(hidden(&reply, name), value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_enters_a_draw_gets_a_receipt_and_what_checks_it() {
    let commitment = "5a".repeat(32);
    let draw = json!({
        "kind": "draw", "commitment": commitment, "drawn": false,
        "root": "6d".repeat(32), "entries": 7,
    });
    let rig = rig(described(&draw), |_, _| {
        let verdict = Verdict::Entered {
            opening: "w".into(),
            receipt: BookingId::from_random(7),
            as_of: AS_OF,
        };
        Some(vec![Answer { request_id: Some("a3f1".into()), verdict }])
    })
    .await;
    assert!(rig.get("/o/w?lang=en").await.body.contains("There is no need to hurry"));
    let reply = fill(&rig, "/o/w?lang=en", "key=a3f1&office0=alpha&applicant0=1").await;
    let own = rig.get(&reply.headers["location"]).await;
    assert!(own.body.contains("You are entered") && own.body.contains(&commitment), "{}", own.body);
    assert!(own.body.contains(&BookingId::from_random(7).to_string()));
    assert!(own.body.contains("href=\"/v1/draws/w\""), "{}", own.body);
    let published = rig.get("/v1/draws/w").await;
    assert_eq!(published.status, 200, "{published:?}");
    let known = [("if-none-match", published.headers["etag"].as_str())];
    assert_eq!(send(rig.address, "GET", "/v1/draws/w", &known, b"").await.status, 304);
    let published = published.json();
    assert_eq!((&published["commitment"], &published["entries"]), (&commitment.into(), &7.into()));
    assert_eq!(
        (&published["root"], &published["stage"]),
        (&"6d".repeat(32).into(), &"before".into())
    );
    assert!(published.get("seed").is_none(), "{published}");
    assert_eq!(rig.get("/v1/draws/x").await.problem(), "unknown_opening");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_opening_there_is_a_countdown() {
    let mut early = first_come();
    early.openings[0].state = Phase::Scheduled;
    early.openings[0].opens_at = giliran_nats::clock::now().plus_millis(3_600_000);
    if let Some(catalogue) = &mut early.catalogue {
        catalogue[0].state = Phase::Scheduled;
    }
    let rig = rig(early, |_, _| panic!("the engine is asked")).await;
    let page = rig.get("/?lang=en").await;
    assert!(page.body.contains("Opens in") && page.body.contains("data-until="));
    assert_eq!(rig.get("/v1/draws/w").await.problem(), "not_published", "it has no draw");
    let reply = fill(&rig, "/o/w?lang=en", "key=a3f1&office0=alpha&applicant0=1").await;
    assert_eq!(reply.status, 409);
    assert_eq!(hidden(&reply, "key"), "a3f1", "it is asked again later");
    assert!(reply.headers["retry-after"].parse::<u64>().unwrap() > 3_000);
}

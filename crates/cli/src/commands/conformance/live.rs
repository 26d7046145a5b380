//! Second part: a client against a real engine, with a relay between that loses, delays and
//! refuses.

use std::time::Duration;

use giliran_wire::answer::Reason;
use serde_json::{Value, json};

use super::cast::{Cast, PATIENCE, Told};
use super::client::{Ended, contains, expect, failed};
use super::formats;
use super::relay::{Detour, GAINED, Relay};
use super::stage::{DRAWN, Ground, OFFICES, OPEN, SINGLE, Stage};

/// The name of a case, and what it is about.
pub(super) type Case = (&'static str, &'static str);

/// The live cases, those first that wait for something.
pub(super) const CASES: [Case; 26] = [
    ("not_open", "too early: the same request when the opening has begun"),
    ("lost_answer", "the answer is lost: the same request gets the same booking, once"),
    ("lost_request", "the request is lost: it is sent again"),
    ("unsettled", "no answer until the patience ends: nothing is claimed, a look-up tells"),
    ("always_busy", "busy until the patience ends: nothing is claimed"),
    ("busy", "busy twice: the same request after `retry_after_ms`"),
    ("unavailable", "unavailable: the same"),
    ("nobody_there", "no responders for a second: the same request until there is an engine"),
    ("granted", "a booking"),
    ("repeated", "the same request again: the same booking"),
    ("conflict", "the same id with other content is final"),
    ("already_booked", "a second wish of one applicant is final"),
    ("sold_out", "no place is left, which is final"),
    ("malformed", "a request that cannot be read is final, or not sent at all"),
    ("unknown_opening", "an opening that does not exist is final"),
    ("unknown_slot", "an office that does not exist is final"),
    ("not_found", "a look-up of nothing is final"),
    ("gained_fields", "fields that answers gain are passed over"),
    ("party", "a family books, one of it leaves"),
    ("other_scripts", "ids in other scripts come through as they are"),
    ("rescheduled", "a booking moves"),
    ("cancelled", "a booking that is given back is gone, for its own request too"),
    ("found", "an applicant's booking in an opening"),
    ("places", "openings and free places"),
    ("drawn", "an entry into a draw, its receipt, and the booking it becomes"),
    ("events", "what becomes of a booking is heard, each change once"),
];

/// Plays a case.
pub(super) async fn play(name: &str, stage: &Stage, cast: &mut Cast) -> Result<(), Ended> {
    match name {
        "not_open" => not_open(stage, cast).await,
        "lost_answer" => lost_answer(stage, cast).await,
        "lost_request" => comes_through(cast, "lost_request", 2).await,
        "unsettled" => unsettled(cast).await,
        "always_busy" => always_busy(cast).await,
        "busy" => comes_through(cast, "busy", 3).await,
        "unavailable" => comes_through(cast, "unavailable", 2).await,
        "granted" => comes_through(cast, "granted", 1).await,
        "repeated" => repeated(cast).await,
        "conflict" => conflict(cast).await,
        "already_booked" => already_booked(cast).await,
        "sold_out" => sold_out(stage, cast).await,
        "malformed" => malformed(cast).await,
        "unknown_opening" => {
            let mut wish = wish("unknown_opening");
            wish["opening"] = json!("no-such-week");
            cast.rejected("book", &wish, Reason::UnknownOpening).await
        }
        "unknown_slot" => {
            let mut wish = wish("unknown_slot");
            wish["choices"] = json!([{ "office": "gamma" }]);
            cast.rejected("book", &wish, Reason::UnknownSlot).await
        }
        "not_found" => {
            let nothing = json!({ "booking": "PN14-D2PF-2DBS-QQG1", "applicant": "nobody" });
            cast.rejected("lookup", &nothing, Reason::NotFound).await
        }
        "gained_fields" => gained_fields(cast).await,
        "party" => party(cast).await,
        "other_scripts" => other_scripts(cast).await,
        "rescheduled" => rescheduled(cast).await,
        "cancelled" => cancelled(cast).await,
        "found" => found(cast).await,
        "places" => places(cast).await,
        "drawn" => drawn(stage, cast).await,
        "events" => events(cast).await,
        other => failed(format!("there is no case {other}")),
    }
}

/// What happens to a case's attempts to book.
pub(super) fn detours(name: &str) -> Vec<Detour> {
    match name {
        "lost_answer" => vec![Detour::LoseAnswer, Detour::Pass],
        "lost_request" => vec![Detour::LoseRequest, Detour::Pass],
        "unsettled" => vec![Detour::LoseAnswer],
        "always_busy" => vec![Detour::Refuse(Reason::Busy, 300)],
        "busy" => {
            let busy = |ms| Detour::Refuse(Reason::Busy, ms);
            vec![busy(300), busy(700), Detour::Pass]
        }
        "unavailable" => vec![Detour::Refuse(Reason::Unavailable, 500), Detour::Pass],
        "gained_fields" => vec![Detour::GainFields],
        _ => vec![Detour::Pass],
    }
}

pub(super) fn ground(name: &str) -> Ground {
    if name == "drawn" { Ground::Draw } else { Ground::FirstCome }
}

/// A wish of a case's own person.
fn wish(case: &str) -> Value {
    json!({
        "request_id": format!("{case}.1"), "applicants": [format!("{case}-1")],
        "choices": [{ "office": OFFICES[0] }], "opening": OPEN, "ref": format!("kit/{case}"),
    })
}

/// It is granted with exactly so many attempts.
async fn comes_through(cast: &mut Cast, case: &str, attempts: usize) -> Result<(), Ended> {
    let booking = cast.booking("book", &wish(case)).await?;
    expect(booking["status"] == "confirmed", || format!("`confirmed` is expected: {booking}"))?;
    let made = cast.attempts().len();
    expect(made == attempts, || format!("{attempts} attempts are expected, not {made}"))
}

/// Nobody is there for a second; the relay begins later than the client.
pub(super) async fn nobody_there(
    cast: &mut Cast,
    begin: impl Future<Output = Result<Relay, Ended>>,
) -> Result<(), Ended> {
    let line = json!({
        "do": "ask", "operation": "book", "request": wish("nobody_there"),
        "patience_ms": PATIENCE.as_millis() as u64,
    });
    let asked = cast.client.tell_within(&line, PATIENCE * 2);
    let later = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        begin.await
    };
    let (told, relay) = tokio::join!(asked, later);
    cast.relay = Some(relay?);
    let told = told?;
    expect(told["answer"]["outcome"] == "granted" && told["then"] == "done", || {
        format!("a booking is expected as soon as an engine is there, not {told}")
    })
}

async fn not_open(stage: &Stage, cast: &mut Cast) -> Result<(), Ended> {
    // A gateway answers itself until two seconds before.
    let early = Duration::from_millis(3_500);
    let Some((opening, left)) = stage.next_later(early) else {
        return failed("no opening is left that is not open yet");
    };
    tokio::time::sleep(left - early).await;
    let mut early = wish("not_open");
    early["opening"] = json!(opening);
    cast.booking("book", &early).await?;
    let too_early = |answered: &Value| answered["reason"] == Reason::NotOpen.name();
    let attempts = cast.attempts();
    let early = attempts.iter().filter_map(|a| a.answered.as_ref()).any(|(a, _)| too_early(a));
    expect(early || cast.is_over_http(), || "it was not too early for this client".to_owned())
}

async fn lost_answer(stage: &Stage, cast: &mut Cast) -> Result<(), Ended> {
    let wish = wish("lost_answer");
    let booking = cast.booking("book", &wish).await?;
    let attempts = cast.attempts().len();
    expect(attempts == 2, || format!("2 attempts are expected, not {attempts}"))?;
    let find = json!({ "applicant": wish["applicants"][0], "opening": OPEN });
    let found = stage.ask(Ground::FirstCome, "find", &find).await.map_err(Ended::Failed)?;
    expect(found["booking"]["id"] == booking["id"] && found["booking"]["version"] == 1, || {
        format!("the engine has another booking: {found}")
    })
}

async fn unsettled(cast: &mut Cast) -> Result<(), Ended> {
    let wish = wish("unsettled");
    match cast.ask("book", &wish, Duration::from_millis(3_500)).await? {
        Told::Unsettled => {}
        other => return failed(format!("`unsettled` is expected, not {other:?}")),
    }
    let lookup = json!({
        "request_id": wish["request_id"], "applicant": wish["applicants"][0], "opening": OPEN,
    });
    let booking = cast.booking("lookup", &lookup).await?;
    expect(booking["request_id"] == wish["request_id"], || format!("another one: {booking}"))
}

async fn always_busy(cast: &mut Cast) -> Result<(), Ended> {
    match cast.ask("book", &wish("always_busy"), Duration::from_millis(2_500)).await? {
        Told::Unsettled => {}
        other => return failed(format!("`unsettled` is expected, not {other:?}")),
    }
    let attempts = cast.attempts().len();
    expect((2..=9).contains(&attempts), || {
        format!("{attempts} attempts in 2.5 s, with a pause of 300 ms or more between two")
    })
}

async fn repeated(cast: &mut Cast) -> Result<(), Ended> {
    let first = cast.booking("book", &wish("repeated")).await?;
    let again = cast.booking("book", &wish("repeated")).await?;
    expect(contains(&again, &first), || format!("{first} at first, then {again}"))?;
    let attempts = cast.attempts().len();
    expect(attempts == 2, || format!("2 attempts are expected, not {attempts}"))
}

async fn conflict(cast: &mut Cast) -> Result<(), Ended> {
    cast.booking("book", &wish("conflict")).await?;
    let mut other = wish("conflict");
    other["choices"] = json!([{ "office": OFFICES[1] }]);
    cast.rejected("book", &other, Reason::Conflict).await
}

async fn already_booked(cast: &mut Cast) -> Result<(), Ended> {
    cast.booking("book", &wish("already_booked")).await?;
    let mut second = wish("already_booked");
    second["request_id"] = json!("already_booked.2");
    cast.rejected("book", &second, Reason::AlreadyBooked).await
}

async fn sold_out(stage: &Stage, cast: &mut Cast) -> Result<(), Ended> {
    let single = json!([{ "office": OFFICES[0], "session": SINGLE }]);
    for n in 1..=2 {
        let taken = json!({
            "request_id": format!("taken.{n}"), "applicants": [format!("taken-{n}")],
            "choices": single, "opening": OPEN,
        });
        let answer = stage.ask(Ground::FirstCome, "book", &taken).await.map_err(Ended::Failed)?;
        expect(answer["outcome"] == "granted", || format!("the kit's own wish: {answer}"))?;
    }
    let mut wish = wish("sold_out");
    wish["choices"] = single;
    cast.rejected("book", &wish, Reason::SoldOut).await
}

async fn malformed(cast: &mut Cast) -> Result<(), Ended> {
    let mut wish = wish("malformed");
    wish["channel"] = json!("No Channel!");
    match cast.ask("book", &wish, PATIENCE).await? {
        Told::Refused => return Ok(()),
        Told::Unsettled => return failed("`unsettled`, although the engine has answered"),
        Told::Settled(answer) => {
            expect(answer["reason"] == Reason::Malformed.name(), || {
                format!("`malformed` is expected, not {answer}")
            })?;
        }
    }
    let attempts = cast.attempts().len();
    expect(attempts <= 1, || format!("{attempts} attempts, although the first was final"))
}

async fn gained_fields(cast: &mut Cast) -> Result<(), Ended> {
    cast.booking("book", &wish("gained_fields")).await?;
    let attempts = cast.attempts();
    if attempts.iter().all(|attempt| attempt.binary) {
        return Err(Ended::LeftOut("the binary form does not gain fields".to_owned()));
    }
    let gained = attempts.iter().filter_map(|a| a.answered.as_ref());
    expect(gained.into_iter().any(|(answer, _)| answer.get(GAINED).is_some()), || {
        "the relay did not add a field".to_owned()
    })
}

async fn party(cast: &mut Cast) -> Result<(), Ended> {
    let mut family = wish("party");
    family["applicants"] = json!(["party-1", "party-2", "party-3"]);
    let booking = cast.booking("book", &family).await?;
    let numbers = |booking: &Value| booking["numbers"].as_array().map_or(0, Vec::len);
    expect(numbers(&booking) == 3, || format!("three numbers are expected: {booking}"))?;
    let leaves = json!({
        "request_id": "party.leaves", "booking": booking["id"], "applicant": "party-2",
    });
    let left = cast.booking("cancel", &leaves).await?;
    expect(numbers(&left) == 2 && left["status"] == "confirmed", || {
        format!("two of three stay: {left}")
    })
}

async fn other_scripts(cast: &mut Cast) -> Result<(), Ended> {
    let mut wish = wish("other_scripts");
    let applicant = "Ágústa \"ஆகஸ்ட்\" \\ 八月 🛂";
    wish["applicants"] = json!([applicant]);
    wish["ref"] = json!(r#"a "quoted" \ ref"#);
    let booking = cast.booking("book", &wish).await?;
    expect(booking["ref"] == wish["ref"], || format!("`ref` came back as {}", booking["ref"]))?;
    let lookup = json!({ "booking": booking["id"], "applicant": applicant });
    cast.booking("lookup", &lookup).await?;
    Ok(())
}

async fn rescheduled(cast: &mut Cast) -> Result<(), Ended> {
    let wish = wish("rescheduled");
    let booking = cast.booking("book", &wish).await?;
    let moves = json!({
        "request_id": "rescheduled.moves", "booking": booking["id"],
        "applicant": wish["applicants"][0], "choices": [{ "office": OFFICES[1] }],
    });
    let moved = cast.booking("reschedule", &moves).await?;
    expect(moved["office"] == OFFICES[1] && moved["version"] == 2, || {
        format!("the booking did not move: {moved}")
    })
}

async fn cancelled(cast: &mut Cast) -> Result<(), Ended> {
    let wish = wish("cancelled");
    let booking = cast.booking("book", &wish).await?;
    let gives_back = json!({
        "request_id": "cancelled.back", "booking": booking["id"],
        "applicant": wish["applicants"][0],
    });
    // What the client says of them is looked at by whoever asks: `gone`.
    for (operation, request) in [("cancel", &gives_back), ("cancel", &gives_back), ("book", &wish)]
    {
        let gone = cast.booking(operation, request).await?;
        expect(gone["status"] == "cancelled", || format!("{operation}: {gone}"))?;
    }
    let mut anew = gives_back.clone();
    anew["request_id"] = json!("cancelled.back-again");
    cast.rejected("cancel", &anew, Reason::WrongState).await
}

async fn found(cast: &mut Cast) -> Result<(), Ended> {
    let wish = wish("found");
    let booking = cast.booking("book", &wish).await?;
    let find = json!({ "applicant": wish["applicants"][0], "opening": OPEN });
    let found = cast.booking("find", &find).await?;
    expect(contains(&found, &booking), || format!("{booking} was booked, and found is {found}"))
}

async fn places(cast: &mut Cast) -> Result<(), Ended> {
    let line = json!({
        "do": "ask", "operation": "availability", "request": { "office": OFFICES[0] },
        "patience_ms": PATIENCE.as_millis() as u64,
    });
    let told = cast.client.tell_within(&line, PATIENCE * 2).await?;
    let slots = told["answer"]["slots"].as_array().cloned().unwrap_or_default();
    expect(!slots.is_empty() && slots.iter().all(|slot| slot["office"] == OFFICES[0]), || {
        format!("the places of office {:?} are expected", OFFICES[0])
    })?;
    let attempts = cast.all_attempts();
    let told_here = attempts.iter().filter_map(|a| a.answered.as_ref());
    expect(told_here.into_iter().any(|(given, _)| contains(&told["answer"], given)), || {
        "not what was answered".to_owned()
    })
}

async fn drawn(stage: &Stage, cast: &mut Cast) -> Result<(), Ended> {
    let mut wish = wish("drawn");
    wish["opening"] = json!(DRAWN);
    let entered = cast.settled("book", &wish).await?;
    let receipt = &entered["entry"]["receipt"];
    expect(entered["outcome"] == "entered" && receipt.is_string(), || {
        format!("`entered` is expected, not {entered}")
    })?;
    let again = cast.settled("book", &wish).await?;
    expect(again["entry"]["receipt"] == *receipt, || {
        format!("the same request has the receipt {receipt}, not {again}")
    })?;
    let mut second = wish.clone();
    second["request_id"] = json!("drawn.2");
    cast.rejected("book", &second, Reason::AlreadyBooked).await?;
    let closed = stage.close_draw().await.map_err(Ended::Failed)?;
    expect(closed["outcome"] == "done", || format!("the kit closes the draw: {closed}"))?;
    // The winner's booking has the receipt as its id.
    let lookup = json!({ "booking": receipt, "applicant": wish["applicants"][0] });
    let mut tries = 0;
    loop {
        let answer = stage.ask(Ground::Draw, "lookup", &lookup).await.map_err(Ended::Failed)?;
        if answer["outcome"] == "granted" {
            break;
        }
        tries += 1;
        expect(tries < 200, || format!("the draw does not come to its end: {answer}"))?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let won = cast.booking("lookup", &lookup).await?;
    expect(won["status"] == "held" && won["id"] == *receipt, || format!("not held: {won}"))?;
    let confirm = json!({
        "request_id": "drawn.paid", "booking": receipt, "reference": "invoice 4711",
    });
    match cast.booking("confirm", &confirm).await {
        Ok(booking) if booking["status"] == "confirmed" => Ok(()),
        Ok(booking) => failed(format!("`confirmed` is expected: {booking}")),
        // The payment side is often another program.
        Err(Ended::LeftOut(_)) => Ok(()),
        Err(wrong) => Err(wrong),
    }
}

/// The client hears of its booking, although messages come that are not the feed's, of entries, of
/// types it does not know, and twice.
async fn events(cast: &mut Cast) -> Result<(), Ended> {
    cast.client.tell(&json!({ "do": "listen" })).await?;
    let wish = wish("events");
    let booking = cast.booking("book", &wish).await?;
    let confirmed = heard(cast, &booking["id"], 1).await?;
    let samples = formats::events();
    let sample = |name: &str| {
        samples.iter().find(|sample| sample.name == name).map_or(Value::Null, |s| s.json.clone())
    };
    let Some(relay) = &cast.relay else { return failed("no relay") };
    // As the feed says what is in the stream, under a sequence that is old by now.
    let stored = |event: &Value| json!({ "first": 1, "events": [event] });
    let mut forged = sample("cancelled");
    forged["id"] = json!("of-nobody");
    forged["data"]["booking"] = booking.clone();
    forged["data"]["booking"]["status"] = json!("cancelled");
    forged["data"]["booking"]["version"] = json!(2);
    relay.tell(&forged).await?;
    relay.tell(&stored(&sample("entered"))).await?;
    let mut unknown = sample("confirmed");
    unknown["type"] = json!("giliran.booking.praised");
    unknown["data"] = json!({ "booking": null, "praise": "very good" });
    relay.tell(&stored(&unknown)).await?;
    relay.tell(&stored(&confirmed[0])).await?;
    let gives_back = json!({
        "request_id": "events.back", "booking": booking["id"], "applicant": wish["applicants"][0],
    });
    cast.booking("cancel", &gives_back).await?;
    // Whoever has taken the forged one may have passed over the true one for it.
    let heard = heard(cast, &booking["id"], 2).await?;
    expect(heard.iter().all(|event| event["id"].is_string() && event["id"] != forged["id"]), || {
        format!("`events`: one was taken that is not the feed's: {}", forged["id"])
    })
}

/// The events that the client has heard of a booking, as soon as there are so many: confirmed,
/// then cancelled.
async fn heard(cast: &mut Cast, booking: &Value, number: usize) -> Result<Vec<Value>, Ended> {
    let line = json!({
        "do": "heard", "booking": booking, "number": number,
        "within_ms": PATIENCE.as_millis() as u64,
    });
    let told = cast.client.tell_within(&line, PATIENCE * 2).await?;
    let events = told["events"].as_array().cloned().unwrap_or_default();
    let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    let expected = ["giliran.booking.confirmed", "giliran.booking.cancelled"];
    expect(types == expected[..number], || {
        format!("`events`: {:?} are expected, not {types:?}", &expected[..number])
    })?;
    let versions: Vec<u64> =
        events.iter().filter_map(|event| event["data"]["booking"]["version"].as_u64()).collect();
    expect(versions.len() == number && versions.is_sorted(), || {
        format!("`events`: whole events are expected, with their bookings; versions {versions:?}")
    })?;
    Ok(events)
}

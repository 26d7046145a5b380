//! An operator's action as a form has it, as a request, and what it came to.

use std::collections::BTreeMap;
use std::time::Duration;

use giliran_nats::RequestErrorKind;
use giliran_wire::admin::{self, Answer, Beacon, Bookings, ClosesAt, Halt, Quota, Reserve, Roll};
use giliran_wire::answer::Reason;
use giliran_wire::request::Request;
use giliran_wire::{Date, Text, Timestamp};

use crate::console::Console;

/// How long an engine may take.
const WITHIN: Duration = Duration::from_secs(10);

/// The names of the actions, as their forms have them.
pub(crate) const ACTIONS: [&str; 7] =
    ["quota", "reserve", "halt", "resume", "closes_at", "beacon", "roll"];

/// What a form has in it.
pub(crate) type Fields = BTreeMap<String, String>;

/// An action, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Its subject, without the prefix.
    pub(crate) operation: &'static str,
    pub(crate) payload: Vec<u8>,
    /// What has to be typed first, where it cannot be undone.
    pub(crate) confirm: Option<String>,
}

impl Ready {
    /// What to know before the same is sent again, while nobody knows what became of it.
    pub(crate) fn again(&self) -> &'static str {
        match self.operation {
            "admin.roll" => {
                "Do not order it again before you have looked: each order begins a further stream"
            }
            _ => "The same again is safe: an action sets, it does not add",
        }
    }
}

/// Why an action has not come to an end that is known to be good.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It was refused, or nobody heard it: nothing was done.
    NotDone(String),
    /// No answer settles it: it may be done, or under way.
    NotKnown(String),
}

fn field<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, String> {
    let value = fields.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    value.ok_or_else(|| format!("{name}: is missing"))
}

fn read<T: std::str::FromStr>(fields: &Fields, name: &str, right: &str) -> Result<T, String> {
    let value = field(fields, name)?;
    value.parse().map_err(|_| format!("{name}: is to be {right}"))
}

fn text(fields: &Fields, name: &str) -> Result<Text<'static>, String> {
    Ok(field(fields, name)?.to_owned().into())
}

/// What a form is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For<'a> {
    /// To know what it would do.
    Trial,
    /// To do it; `stream`: which one a roll is to leave, as it was shown.
    Doing { stream: Option<&'a str> },
}

/// The request of a form; `operator`: who has logged in.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(crate) fn ready(fields: &Fields, operator: &str, what: For<'_>) -> Result<Ready, String> {
    let dry_run = what == For::Trial;
    let action = field(fields, "action")?;
    let operator = || Text::from(operator.to_owned());
    let reason = text(fields, "reason")?;
    if action == "roll" {
        return roll(operator(), reason, what);
    }
    let opening = text(fields, "opening")?;
    let named = Some(opening.to_string());
    match action {
        "closes_at" => {
            let closes_at: Timestamp =
                read(fields, "closes_at", "a time, as 2026-11-29T18:00:00+07:00")?;
            let action = ClosesAt { operator: operator(), reason, opening, closes_at, dry_run };
            // An opening by rounds or draw that has ended does not open again.
            return checked("admin.closes_at", &action, named);
        }
        "beacon" => {
            let signature = text(fields, "signature")?;
            let action = Beacon { operator: operator(), reason, opening, signature, dry_run };
            return checked("admin.beacon", &action, named);
        }
        _ => {}
    }
    let office = text(fields, "office")?;
    let date: Date = read(fields, "date", "a day, as 2026-11-30")?;
    let session = fields.get("session").map(|text| text.trim()).filter(|text| !text.is_empty());
    let session = session.map(|session| Text::from(session.to_owned()));
    let places = || read::<u16>(fields, "places", "a number from 0 to 65535");
    let operator = operator();
    match action {
        "quota" => {
            let quota = places()?;
            let action = Quota { operator, reason, opening, office, date, session, quota, dry_run };
            checked("admin.quota", &action, None)
        }
        "reserve" => {
            let places = places()?;
            let action =
                Reserve { operator, reason, opening, office, date, session, places, dry_run };
            checked("admin.reserve", &action, None)
        }
        "halt" | "resume" => {
            let halted = action == "halt";
            let fate = fields.get("bookings").map(String::as_str).filter(|_| halted);
            let bookings = match fate {
                None | Some("keep" | "") => Bookings::Keep,
                Some("move") => Bookings::Move,
                Some("cancel") => Bookings::Cancel,
                Some(_) => return Err("bookings: is to be keep, move or cancel".to_owned()),
            };
            let confirm = named.filter(|_| bookings != Bookings::Keep);
            let action = Halt {
                operator,
                reason,
                opening,
                office,
                date,
                session,
                halted,
                bookings,
                dry_run,
            };
            checked("admin.halt", &action, confirm)
        }
        _ => Err(format!("action: is to be one of {}", ACTIONS.join(", "))),
    }
}

fn roll(operator: Text<'_>, reason: Text<'_>, what: For<'_>) -> Result<Ready, String> {
    let from = match what {
        For::Trial => None,
        For::Doing { stream } => stream.map(|stream| Text::from(stream.to_owned())),
    };
    let roll = Roll { operator, reason, dry_run: what == For::Trial, from };
    checked("admin.roll", &roll, Some("roll".to_owned()))
}

fn checked<'a>(
    operation: &'static str,
    action: &(impl Request<'a> + serde::Serialize),
    confirm: Option<String>,
) -> Result<Ready, String> {
    action.validate()?;
    let payload = serde_json::to_vec(action).map_err(|error| error.to_string())?;
    Ok(Ready { operation, payload, confirm })
}

/// Sends an action, and reads what it came to with `read`.
///
/// # Errors
///
/// Why it came to nothing, or why nobody knows.
pub(crate) async fn send<T>(
    console: &Console,
    ready: &Ready,
    read: impl FnOnce(&admin::Report<'_>) -> T,
) -> Result<T, Failed> {
    let operation = ready.operation;
    let subject = console.namespace.request(operation);
    let asked = console.client.request(subject, ready.payload.clone().into());
    let message = match tokio::time::timeout(WITHIN, asked).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
            let why = format!("{operation}: no engine is active: nobody listens");
            return Err(Failed::NotDone(why));
        }
        Ok(Err(error)) => return Err(Failed::NotKnown(format!("{operation}: {error}"))),
        Err(_) => {
            let within = WITHIN.as_secs();
            return Err(Failed::NotKnown(format!("{operation}: no answer within {within} s")));
        }
    };
    settled(operation, &message.payload, read)
}

/// What an answer settles.
fn settled<T>(
    operation: &str,
    answer: &[u8],
    read: impl FnOnce(&admin::Report<'_>) -> T,
) -> Result<T, Failed> {
    match serde_json::from_slice::<Answer<'_>>(answer) {
        Ok(Answer::Done(report)) => Ok(read(&report)),
        Ok(Answer::Rejected(rejection)) => {
            let reason = rejection.reason.name();
            let why = match rejection.detail {
                Some(detail) => format!("{reason}: {detail}"),
                None => reason.to_owned(),
            };
            Err(match rejection.reason {
                // The engine ceased to wait for it; the ledger may have it all the same.
                Reason::Busy | Reason::Unavailable => Failed::NotKnown(why),
                _ => Failed::NotDone(why),
            })
        }
        Err(error) => {
            Err(Failed::NotKnown(format!("{operation}: the answer cannot be read: {error}")))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use giliran_wire::answer::Rejection;
    use serde_json::Value;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let base = [("reason", "power cut"), ("opening", "2026-W49")];
        let all = base.iter().chain(pairs);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const SLOT: [(&str, &str); 2] = [("office", "alpha"), ("date", "2026-11-30")];

    fn with_slot(pairs: &[(&str, &str)]) -> Fields {
        let mut all = fields(&SLOT);
        all.extend(fields(pairs));
        all
    }

    #[test]
    fn the_operator_on_record_is_who_has_logged_in() {
        let form = with_slot(&[("action", "quota"), ("places", "60"), ("operator", "mallory")]);
        let ready = ready(&form, "siti", For::Trial).unwrap();
        let sent: Value = serde_json::from_slice(&ready.payload).unwrap();
        assert_eq!((&sent["operator"], &sent["dry_run"]), (&"siti".into(), &true.into()));
        assert_eq!((ready.operation, ready.confirm), ("admin.quota", None));
    }

    #[test]
    fn what_cannot_be_undone_is_typed_first() {
        let confirm =
            |form: &Fields| ready(form, "siti", For::Doing { stream: None }).unwrap().confirm;
        let halt = |fate| with_slot(&[("action", "halt"), ("bookings", fate)]);
        assert_eq!(confirm(&halt("keep")), None);
        assert_eq!(confirm(&halt("cancel")).as_deref(), Some("2026-W49"));
        assert_eq!(confirm(&halt("move")).as_deref(), Some("2026-W49"));
        assert_eq!(confirm(&fields(&[("action", "roll")])).as_deref(), Some("roll"));
        let ends = fields(&[("action", "closes_at"), ("closes_at", "2026-11-29T18:00:00+07:00")]);
        assert_eq!(confirm(&ends).as_deref(), Some("2026-W49"));
        let resume = with_slot(&[("action", "resume"), ("bookings", "cancel")]);
        assert_eq!(confirm(&resume), None, "a day that opens cancels nothing");
    }

    #[test]
    fn what_is_wrong_with_a_form_is_told_with_its_field() {
        let wrong = |form: &Fields| ready(form, "siti", For::Doing { stream: None }).unwrap_err();
        assert!(wrong(&fields(&[])).starts_with("action: "));
        assert!(wrong(&fields(&[("action", "drop")])).contains("office"));
        assert!(wrong(&with_slot(&[("action", "drop")])).contains("quota, reserve"));
        assert!(wrong(&with_slot(&[("action", "quota"), ("places", "-1")])).starts_with("places"));
        assert!(
            wrong(&with_slot(&[("action", "quota"), ("places", "1"), ("reason", " ")]))
                .starts_with("reason")
        );
        let beacon = fields(&[("action", "beacon"), ("signature", "0x12")]);
        assert!(wrong(&beacon).starts_with("signature"));
        let wicked = with_slot(&[("action", "resume"), ("office", "<img>")]);
        assert!(wrong(&wicked).starts_with("office"), "{}", wrong(&wicked));
    }

    #[test]
    fn what_nobody_knows_is_told_from_what_was_not_done() {
        let came = |text: &str| settled("admin.quota", text.as_bytes(), |report| report.as_of.seq);
        let done = include_str!("../../wire/tests/fixtures/answers/admin_done.json");
        assert_eq!(came(done), Ok(1841));
        let rejected = |reason| {
            let answer = Answer::Rejected(Rejection::new(reason).detail("x"));
            came(&serde_json::to_string(&answer).unwrap())
        };
        let refused = Failed::NotDone("closed: x".to_owned());
        assert_eq!(rejected(Reason::Closed), Err(refused));
        for (reason, words) in [(Reason::Busy, "busy: x"), (Reason::Unavailable, "unavailable: x")]
        {
            assert_eq!(rejected(reason), Err(Failed::NotKnown(words.to_owned())));
        }
        assert!(matches!(came("?"), Err(Failed::NotKnown(_))));
        let again =
            |form: &Fields| ready(form, "siti", For::Doing { stream: None }).unwrap().again();
        assert!(again(&with_slot(&[("action", "resume")])).contains("is safe"));
        assert!(!again(&fields(&[("action", "roll")])).contains("is safe"));
    }
}

//! `giliran admin`: an operator's hand on the `admin` subjects.

use std::io::IsTerminal as _;
use std::path::Path;

use giliran_wire::admin::{Beacon, Bookings, ClosesAt, DONE, Halt, Quota, Reserve, Roll, WOULD};
use giliran_wire::{Date, Timestamp};
use serde_json::Value;

use crate::commands::requests::{Common, ask};
use crate::failure::Failure;

/// What somebody at a terminal is told who would cancel bookings.
const ASK_BACK: &str = "--bookings cancel takes their places from everybody who has one there, and \
                        cannot be undone: nothing was changed. Look whom it concerns with \
                        --dry-run, then say --yes";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran admin quota --opening 2026-W49 --office batam-harbourbay --date 2026-11-30 \\\n      \
    --operator siti --reason \"two desks closed\" 60\n  \
    giliran admin halt --opening 2026-W49 --office batam-center --date 2026-12-01 \\\n      \
    --operator siti --reason \"power cut\" --bookings move\n  \
    giliran admin closes-at --opening 2026-W49 --operator siti --reason \"outage\" \\\n      \
    2026-11-29T18:00:00+07:00\n  \
    giliran admin roll --operator siti --reason \"before the new year\"\n  \
    giliran journal --opening 2026-W49                  who did what, and what stood before\n\n\
    Every action is a ledger record with the operator's name and reason.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Set a slot's quota; lists the bookings beyond a lowered one.
    Quota {
        #[command(flatten)]
        signed: Signed,
        #[command(flatten)]
        slot: Slot,
        #[command(flatten)]
        trial: Trial,
        /// Places in all from here on, 0 to 65535.
        quota: u16,
    },
    /// Keep places of a slot back from everybody.
    Reserve {
        #[command(flatten)]
        signed: Signed,
        #[command(flatten)]
        slot: Slot,
        #[command(flatten)]
        trial: Trial,
        /// How many are kept back from here on.
        places: u16,
    },
    /// Close an office's day for grants at once.
    Halt {
        #[command(flatten)]
        signed: Signed,
        #[command(flatten)]
        slot: Slot,
        #[command(flatten)]
        trial: Trial,
        /// What becomes of the bookings there.
        #[arg(long, value_enum, default_value_t = Fate::Keep)]
        bookings: Fate,
        /// Cancel them without asking back; a terminal asks.
        #[arg(long)]
        yes: bool,
    },
    /// Open an office's day again.
    Resume {
        #[command(flatten)]
        signed: Signed,
        #[command(flatten)]
        slot: Slot,
        #[command(flatten)]
        trial: Trial,
    },
    /// Extend an opening, or end it.
    ClosesAt {
        #[command(flatten)]
        signed: Signed,
        #[command(flatten)]
        trial: Trial,
        /// From here on; one that has passed ends it at once.
        closes_at: Timestamp,
    },
    /// Give the public value that an opening's draw waits for.
    Beacon {
        #[command(flatten)]
        signed: Signed,
        #[command(flatten)]
        trial: Trial,
        /// The round as its network publishes it, JSON with a `signature`.
        file: std::path::PathBuf,
    },
    /// Seal the ledger's stream; the ledger goes on in the next one.
    Roll {
        #[command(flatten)]
        signer: Signer,
        #[command(flatten)]
        trial: Trial,
        /// The stream that it is to leave, as a dry run names it; where the ledger is in another
        /// one, nothing is done.
        #[arg(long, value_name = "STREAM")]
        from: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Signer {
    #[command(flatten)]
    common: Common,
    /// Your name, for the record.
    #[arg(long)]
    operator: String,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct Signed {
    #[command(flatten)]
    signer: Signer,
    /// Id of the opening that the action is about, as `2026-W49`.
    #[arg(long)]
    opening: String,
}

#[derive(Debug, clap::Args)]
struct Trial {
    /// Change nothing; show what stands before and would stand after, and which bookings
    /// it would concern.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct Slot {
    /// Id of the office, as the configuration has it.
    #[arg(long)]
    office: String,
    /// Day of the slot, as 2026-11-30.
    #[arg(long)]
    date: Date,
    /// The session; left out: `all`, and for halt and resume every one of the day.
    #[arg(long)]
    session: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Fate {
    /// They stay, and are listed.
    Keep,
    /// They are cancelled, with event and reason.
    Cancel,
    /// Each moves to the first slot of its office with room, the same session
    /// first, then by date; whom nothing fits stays.
    Move,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.action {
        Action::Quota { signed, slot, trial, quota } => {
            let request = Quota {
                operator: signed.signer.operator.into(),
                reason: signed.signer.reason.into(),
                opening: signed.opening.into(),
                office: slot.office.into(),
                date: slot.date,
                session: slot.session.map(Into::into),
                quota,
                dry_run: trial.dry_run,
            };
            send(&signed.signer.common, "admin.quota", serde_json::to_vec(&request)?).await
        }
        Action::Reserve { signed, slot, trial, places } => {
            let request = Reserve {
                operator: signed.signer.operator.into(),
                reason: signed.signer.reason.into(),
                opening: signed.opening.into(),
                office: slot.office.into(),
                date: slot.date,
                session: slot.session.map(Into::into),
                places,
                dry_run: trial.dry_run,
            };
            send(&signed.signer.common, "admin.reserve", serde_json::to_vec(&request)?).await
        }
        Action::Halt { signed, slot, trial, bookings, yes } => {
            let at_hand = std::io::stdin().is_terminal();
            if is_to_be_asked(bookings, yes || trial.dry_run, at_hand) {
                return Err(Failure::Usage(ASK_BACK.to_owned()));
            }
            halt(signed, slot, trial, true, bookings).await
        }
        Action::Resume { signed, slot, trial } => {
            halt(signed, slot, trial, false, Fate::Keep).await
        }
        Action::ClosesAt { signed, trial, closes_at } => {
            let request = ClosesAt {
                operator: signed.signer.operator.into(),
                reason: signed.signer.reason.into(),
                opening: signed.opening.into(),
                closes_at,
                dry_run: trial.dry_run,
            };
            send(&signed.signer.common, "admin.closes_at", serde_json::to_vec(&request)?).await
        }
        Action::Beacon { signed, trial, file } => beacon(signed, trial, &file).await,
        Action::Roll { signer, trial, from } => {
            let (operator, reason) = (signer.operator.into(), signer.reason.into());
            let (dry_run, from) = (trial.dry_run, from.map(Into::into));
            let request = serde_json::to_vec(&Roll { operator, reason, dry_run, from })?;
            send(&signer.common, "admin.roll", request).await
        }
    }
}

/// Hands in a round of the beacon, as the network's HTTP service gives it.
async fn beacon(signed: Signed, trial: Trial, file: &Path) -> Result<(), Failure> {
    let shown = file.display();
    let wrong = |what: String| Failure::Usage(format!("{shown}: {what}"));
    let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    let round: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let signature = round["signature"].as_str();
    let signature = signature.ok_or_else(|| wrong("no `signature` in it".to_owned()))?;
    let request = Beacon {
        operator: signed.signer.operator.into(),
        reason: signed.signer.reason.into(),
        opening: signed.opening.into(),
        signature: signature.into(),
        dry_run: trial.dry_run,
    };
    send(&signed.signer.common, "admin.beacon", serde_json::to_vec(&request)?).await
}

/// Whether a person has to say first that they mean it.
fn is_to_be_asked(fate: Fate, sure: bool, at_hand: bool) -> bool {
    fate == Fate::Cancel && !sure && at_hand
}

async fn halt(
    signed: Signed,
    slot: Slot,
    trial: Trial,
    halted: bool,
    fate: Fate,
) -> Result<(), Failure> {
    let request = Halt {
        operator: signed.signer.operator.into(),
        reason: signed.signer.reason.into(),
        opening: signed.opening.into(),
        office: slot.office.into(),
        date: slot.date,
        session: slot.session.map(Into::into),
        halted,
        bookings: match fate {
            Fate::Keep => Bookings::Keep,
            Fate::Cancel => Bookings::Cancel,
            Fate::Move => Bookings::Move,
        },
        dry_run: trial.dry_run,
    };
    send(&signed.signer.common, "admin.halt", serde_json::to_vec(&request)?).await
}

async fn send(common: &Common, operation: &str, request: Vec<u8>) -> Result<(), Failure> {
    let answer = ask(common, operation, request).await?;
    let value: Value = serde_json::from_slice(&answer)?;
    if common.json {
        outln!("{}", String::from_utf8_lossy(&answer));
    }
    let would = value["outcome"] == WOULD;
    if value["outcome"] != DONE && !would {
        let reason = value["reason"].as_str().unwrap_or("rejected");
        return Err(Failure::Wrong(match value["detail"].as_str() {
            Some(detail) => format!("{reason}: {detail}"),
            None => reason.to_owned(),
        }));
    }
    if common.json {
        return Ok(());
    }
    if would {
        outln!(
            "nothing was changed; as of ledger sequence {} it would mean:",
            value["as_of"]["seq"]
        );
    } else {
        outln!("on record at ledger sequence {}", value["as_of"]["seq"]);
    }
    for change in value["changes"].as_array().into_iter().flatten() {
        outln!("{}", change_line(change));
    }
    for slot in value["slots"].as_array().into_iter().flatten() {
        let halted = if slot["halted"] == true { ", halted" } else { "" };
        outln!(
            "{} {} {}: quota {}, free {}, withheld {}, of them reserved {}{halted}",
            text(&slot["office"]),
            text(&slot["date"]),
            text(&slot["session"]),
            slot["quota"],
            slot["free"],
            slot["withheld"],
            slot["reserved"]
        );
    }
    show_bookings(&value, would);
    Ok(())
}

/// The bookings that an action concerns.
fn show_bookings(value: &Value, would: bool) {
    for (what, done, dry) in [
        ("concerned", "bookings it concerns, which stay as they are", None),
        ("moved", "bookings moved", Some("bookings would move")),
        ("cancelled", "bookings cancelled", Some("bookings would be cancelled")),
    ] {
        let words = dry.filter(|_| would).unwrap_or(done);
        let listed = value[what].as_array().map_or(&[][..], Vec::as_slice);
        let count = value[format!("{what}_count")].as_u64().unwrap_or(0);
        if count == 0 {
            continue;
        }
        outln!("{count} {words}:");
        for booking in listed {
            outln!(
                "  {}  {} {} {}  numbers {}  ref {}  channel {}",
                text(&booking["id"]),
                text(&booking["office"]),
                text(&booking["date"]),
                text(&booking["session"]),
                booking["numbers"],
                text(&booking["ref"]),
                text(&booking["channel"])
            );
        }
        if (listed.len() as u64) < count {
            outln!("  and {} more", count - listed.len() as u64);
        }
    }
}

/// What stands before an action and after it.
fn change_line(change: &Value) -> String {
    let place = ["office", "date", "session"].map(|name| change[name].as_str());
    let place: Vec<&str> = place.into_iter().flatten().collect();
    let (before, after) = (text(&change["before"]), text(&change["after"]));
    let words = [&[text(&change["action"])][..], &place].concat().join(" ");
    format!("{words}: {before} → {after}")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_with_its_place_and_both_values() {
        let quota = serde_json::json!({ "action": "quota", "office": "alpha", "date": "2030-01-07",
                                        "session": "all", "before": "80", "after": "60" });
        assert_eq!(change_line(&quota), "quota alpha 2030-01-07 all: 80 → 60");
        let roll = serde_json::json!({ "action": "roll", "before": "L_1", "after": "L_2" });
        assert_eq!(change_line(&roll), "roll: L_1 → L_2");
    }

    /// A script means what it says; a hand may slip.
    #[test]
    fn only_a_person_who_cancels_is_asked() {
        assert!(is_to_be_asked(Fate::Cancel, false, true));
        assert!(!is_to_be_asked(Fate::Cancel, true, true));
        assert!(!is_to_be_asked(Fate::Cancel, false, false));
        assert!(!is_to_be_asked(Fate::Move, false, true));
        assert!(!is_to_be_asked(Fate::Keep, false, true));
    }
}

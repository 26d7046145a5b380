//! A person's hand on the request subjects: `book`, `confirm`, `cancel`,
//! `reschedule`, `lookup`, `find`, `availability`.

use std::time::Duration;

use giliran_wire::answer::{self, Answer, Verdict};
use giliran_wire::catalogue::{OpeningDescription, Order};
use giliran_wire::request;
use giliran_wire::subject::Namespace;
use giliran_wire::{Date, Text};
use serde_json::Value;

use crate::connect::Nats;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    nats: Nats,
    /// The engine's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Print the answer as JSON, as it came.
    #[arg(long)]
    pub(crate) json: bool,
    /// How long to wait for the answer.
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    timeout_ms: u64,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran book --office batam-harbourbay 2171012345678901\n  \
    giliran book --office batam-center --date 2026-11-30 --session 0800 --request-id r-1 ID1 ID2\n\n\
    Exit code 0: granted. 1: rejected, or no answer.")]
pub(crate) struct BookArgs {
    #[command(flatten)]
    common: Common,
    /// Applicants' ids, 1 to 5: all get a place in one slot, or none does.
    #[arg(required = true)]
    applicants: Vec<String>,
    /// Id of the office at which a place is wanted.
    #[arg(long)]
    office: String,
    /// The day; any, if left out.
    #[arg(long)]
    date: Option<Date>,
    /// The session; any that need not be named, if left out.
    #[arg(long)]
    session: Option<String>,
    /// The opening; needed when several are open.
    #[arg(long)]
    opening: Option<String>,
    /// The idempotency key: the same again gets the same booking. Made up if
    /// left out.
    #[arg(long)]
    request_id: Option<String>,
    /// Handed back in the booking and its events.
    #[arg(long = "ref")]
    reference: Option<String>,
    /// The account that asks.
    #[arg(long)]
    account: Option<String>,
    /// Ask as one who has checked entitlements.
    #[arg(long)]
    vouched: bool,
    /// Where all is sold out, wait for returned places: the next release draws
    /// among those who wait.
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    giliran confirm 7K3F-9QXM-2B4C-PW8D --reference invoice-4711\n\n\
    Exit code 0: confirmed. 1: rejected, or no answer.")]
pub(crate) struct ConfirmArgs {
    #[command(flatten)]
    common: Common,
    /// Id of the booking to confirm.
    booking: String,
    /// Reference of the payment, 1 to 64 of printable ASCII; events show it.
    #[arg(long)]
    reference: Option<String>,
    /// The idempotency key. Made up if left out.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    giliran cancel 7K3F-9QXM-2B4C-PW8D 2171012345678901\n\n\
    The first applicant gives back the whole booking, another one leaves it alone. With an\n\
    entry's receipt: leaves the waiting list.")]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    common: Common,
    /// The booking's id, or an entry's receipt.
    booking: String,
    /// One of its applicants.
    applicant: String,
    /// The idempotency key. Made up if left out.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    giliran reschedule 7K3F-9QXM-2B4C-PW8D 2171012345678901 --office batam-center --date 2026-12-01\n\n\
    The old place is kept if the new one is not available.")]
pub(crate) struct RescheduleArgs {
    #[command(flatten)]
    common: Common,
    /// Id of the booking to move.
    booking: String,
    /// One of its applicants; the whole party moves.
    applicant: String,
    /// Id of the office to move it to.
    #[arg(long)]
    office: String,
    /// The day; any, if left out.
    #[arg(long)]
    date: Option<Date>,
    /// The session; any that need not be named, if left out.
    #[arg(long)]
    session: Option<String>,
    /// The idempotency key. Made up if left out.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran lookup --booking 7K3F-9QXM-2B4C-PW8D 2171012345678901\n  \
    giliran lookup --request-id r-1 2171012345678901")]
pub(crate) struct LookupArgs {
    #[command(flatten)]
    common: Common,
    /// One of its applicants.
    applicant: String,
    /// Id of the booking to look up.
    #[arg(long, required_unless_present = "request_id", conflicts_with = "request_id")]
    booking: Option<String>,
    /// The id of the request that made it.
    #[arg(long)]
    request_id: Option<String>,
    /// The opening, with --request-id.
    #[arg(long)]
    opening: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  giliran find --opening 2026-W49 2171012345678901")]
pub(crate) struct FindArgs {
    #[command(flatten)]
    common: Common,
    /// Id of the applicant whose bookings are listed.
    applicant: String,
    /// Id of the opening to look in.
    #[arg(long)]
    opening: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  giliran availability --office batam-center\n  \
                  giliran availability --describe --json")]
pub(crate) struct AvailabilityArgs {
    #[command(flatten)]
    common: Common,
    /// Id of the one office to show; left out, all of them.
    #[arg(long)]
    office: Option<String>,
    /// Also what the openings offer: offices and sessions by name, order, rules.
    #[arg(long)]
    describe: bool,
}

pub(crate) async fn book(args: BookArgs) -> Result<(), Failure> {
    let request = request::Book {
        request_id: request_id(args.request_id),
        applicants: args.applicants.into_iter().map(Text::from).collect(),
        choices: [request::Choice {
            office: args.office.into(),
            date: args.date,
            session: args.session.map(Text::from),
        }]
        .into(),
        opening: args.opening.map(Text::from),
        expires_at: None,
        account: args.account.map(Text::from),
        channel: Some("cli".into()),
        reference: args.reference.map(Text::from),
        wait: args.wait,
    };
    let operation = if args.vouched { "book.vouched" } else { "book" };
    let payload = serde_json::to_vec(&request)?;
    show_booking(&args.common, &ask(&args.common, operation, payload).await?)
}

fn request_id(given: Option<String>) -> Text<'static> {
    given.unwrap_or_else(|| format!("cli-{:016x}", rand::random::<u64>())).into()
}

pub(crate) async fn confirm(args: ConfirmArgs) -> Result<(), Failure> {
    let request = request::Confirm {
        request_id: request_id(args.request_id),
        booking: args.booking.into(),
        reference: args.reference.map(Text::from),
    };
    let payload = serde_json::to_vec(&request)?;
    show_booking(&args.common, &ask(&args.common, "confirm", payload).await?)
}

pub(crate) async fn cancel(args: CancelArgs) -> Result<(), Failure> {
    let request = request::Cancel {
        request_id: request_id(args.request_id),
        booking: args.booking.into(),
        applicant: args.applicant.into(),
    };
    let payload = serde_json::to_vec(&request)?;
    show_booking(&args.common, &ask(&args.common, "cancel", payload).await?)
}

pub(crate) async fn reschedule(args: RescheduleArgs) -> Result<(), Failure> {
    let request = request::Reschedule {
        request_id: request_id(args.request_id),
        booking: args.booking.into(),
        applicant: args.applicant.into(),
        choices: vec![request::Choice {
            office: args.office.into(),
            date: args.date,
            session: args.session.map(Text::from),
        }],
    };
    let payload = serde_json::to_vec(&request)?;
    show_booking(&args.common, &ask(&args.common, "reschedule", payload).await?)
}

pub(crate) async fn lookup(args: LookupArgs) -> Result<(), Failure> {
    let request = request::Lookup {
        booking: args.booking.map(Text::from),
        request_id: args.request_id.map(Text::from),
        applicant: args.applicant.into(),
        opening: args.opening.map(Text::from),
    };
    let payload = serde_json::to_vec(&request)?;
    show_booking(&args.common, &ask(&args.common, "lookup", payload).await?)
}

pub(crate) async fn find(args: FindArgs) -> Result<(), Failure> {
    let request = request::Find { applicant: args.applicant.into(), opening: args.opening.into() };
    let payload = serde_json::to_vec(&request)?;
    show_booking(&args.common, &ask(&args.common, "find", payload).await?)
}

pub(crate) async fn availability(args: AvailabilityArgs) -> Result<(), Failure> {
    let request =
        request::Availability { office: args.office.map(Text::from), describe: args.describe };
    let payload = serde_json::to_vec(&request)?;
    let answer = ask(&args.common, "availability", payload).await?;
    if args.common.json {
        outln!("{}", String::from_utf8_lossy(&answer));
        return Ok(());
    }
    let Ok(availability) = serde_json::from_slice::<answer::Availability<'_>>(&answer) else {
        return show_booking(&args.common, &answer);
    };
    for opening in &availability.openings {
        let state = serde_json::to_value(opening.state)?;
        outln!(
            "opening {}: {}, {} to {}",
            opening.id,
            state.as_str().unwrap_or_default(),
            opening.opens_at,
            opening.closes_at
        );
    }
    availability.catalogue.iter().flatten().for_each(show_description);
    outln!(
        "{:<12} {:<20} {:<10} {:<10} {:>6} {:>8} {:>8} {:>6}",
        "opening",
        "office",
        "date",
        "session",
        "free",
        "withheld",
        "reserved",
        "quota"
    );
    for slot in &availability.slots {
        let line = format!(
            "{:<12} {:<20} {:<10} {:<10} {:>6} {:>8} {:>8} {:>6} {}",
            slot.opening.as_str(),
            slot.office.as_str(),
            slot.date.to_string(),
            slot.session.as_str(),
            slot.free,
            slot.withheld,
            slot.reserved,
            slot.quota,
            remark(slot)
        );
        outln!("{}", line.trim_end());
    }
    Ok(())
}

/// What an opening offers, beside its times.
fn show_description(opening: &OpeningDescription) {
    let order = match &opening.order {
        Order::FirstCome => "first come".to_owned(),
        Order::Rounds { length_ms, .. } => format!("rounds of {length_ms} ms"),
        Order::Draw { public_value: Some(name), .. } => format!("a draw with {name}"),
        Order::Draw { .. } => "a draw".to_owned(),
    };
    outln!("{}: {order}, times of day in {}", opening.id, opening.timezone);
    for office in &opening.offices {
        outln!("  {}: {}", office.id, office.name);
        for session in &office.sessions {
            let only = match (session.restricted, session.explicit) {
                (true, _) => ", restricted",
                (false, true) => ", only if named",
                (false, false) => "",
            };
            outln!("    {}: {}{only}", session.id, session.label);
        }
    }
}

/// What else there is to say of a slot.
fn remark(slot: &answer::SlotState<'_>) -> String {
    let mut remarks = Vec::new();
    if slot.halted {
        remarks.push("halted".to_owned());
    }
    if !slot.bookable {
        remarks.push("too late to book".to_owned());
    }
    if let Some(at) = slot.next_release {
        remarks.push(format!("next release {at}"));
    }
    remarks.join(", ")
}

/// Sends a request and waits for its answer.
pub(crate) async fn ask(
    common: &Common,
    operation: &str,
    payload: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    let namespace =
        Namespace::new(&common.subject_prefix).map_err(|e| Failure::Usage(e.to_string()))?;
    let client = common.nats.connect("giliran cli").await?;
    let subject = namespace.request(operation);
    let request = async_nats::Request::new()
        .payload(payload.into())
        .timeout(Some(Duration::from_millis(common.timeout_ms)));
    match client.send_request(subject, request).await {
        Ok(message) => Ok(message.payload.to_vec()),
        Err(error) => Err(Failure::Wrong(match error.kind() {
            async_nats::RequestErrorKind::NoResponders => {
                "no engine is active: nobody listens to the request".to_owned()
            }
            async_nats::RequestErrorKind::TimedOut => format!(
                "no answer within {} ms; the same again is safe (with the same --request-id, where there \
                 is one)",
                common.timeout_ms
            ),
            _ => error.to_string(),
        })),
    }
}

fn show_booking(common: &Common, answer: &[u8]) -> Result<(), Failure> {
    if common.json {
        outln!("{}", String::from_utf8_lossy(answer));
        let value: Value = serde_json::from_slice(answer)?;
        return match value["outcome"].as_str() {
            Some("rejected") => {
                Err(Failure::Wrong(value["reason"].as_str().unwrap_or("rejected").to_owned()))
            }
            _ => Ok(()),
        };
    }
    let answer: Answer<'_> = serde_json::from_slice(answer)?;
    match answer.verdict {
        Verdict::Granted { booking, .. } => {
            outln!(
                "booking {} ({}, version {})",
                booking.id,
                booking.status.name(),
                booking.version
            );
            outln!("  {} on {}, session {}", booking.office, booking.date, booking.session);
            let numbers: Vec<String> = booking.numbers.iter().map(u16::to_string).collect();
            outln!("  queue number {}", numbers.join(", "));
            outln!("  request {}, granted {}", booking.request_id, booking.granted_at);
            if let Some(until) = booking.hold_expires_at {
                outln!("  held until {until}; confirm it before");
            }
            Ok(())
        }
        Verdict::Entered { receipt, .. } => {
            outln!("entered; receipt {receipt}");
            Ok(())
        }
        Verdict::Rejected(rejection) => {
            let mut words = rejection.reason.name().to_owned();
            if let Some(detail) = rejection.detail {
                words = format!("{words}: {detail}");
            }
            if let Some(ms) = rejection.retry_after_ms {
                words = format!("{words} (worth another try after {ms} ms)");
            }
            Err(Failure::Wrong(words))
        }
    }
}

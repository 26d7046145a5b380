//! An opening in words, for people who check a configuration.

use std::collections::BTreeMap;
use std::fmt::Write;

use giliran_allocator::Calendar;
use giliran_wire::Date;
use giliran_wire::ledger::{BookableUntil, Leftovers, OpeningRecord, Order, ReturnRule, Rules};

/// What an opening offers: window, rules, places per office and day.
pub fn describe(record: &OpeningRecord) -> String {
    let mut out = String::new();
    let calendar = Calendar::of(&record.timezone);
    let local = |t: giliran_wire::Timestamp| {
        let instant = jiff::Timestamp::from_millisecond(t.as_millis()).ok();
        match instant.zip(calendar.as_ref()) {
            Some((instant, calendar)) => {
                let zoned = instant.to_zoned_datetime(calendar.zone().clone());
                zoned.strftime("%a %Y-%m-%d %H:%M %Z").to_string()
            }
            None => t.to_string(),
        }
    };
    let _ = writeln!(out, "opening {}", record.id);
    let _ = writeln!(out, "  from {} to {}", local(record.opens_at), local(record.closes_at));
    describe_rules(&record.rules, &mut out);
    let mut dates: Vec<Date> = record.slots.iter().map(|slot| slot.date).collect();
    dates.sort_unstable();
    dates.dedup();
    for (i, office) in record.offices.iter().enumerate() {
        let _ = writeln!(out, "  {} ({})", office.id, office.name);
        for (s, session) in (0..).zip(&office.sessions) {
            let quotas: BTreeMap<Date, u16> = record
                .slots
                .iter()
                .filter(|slot| slot.office as usize == i && slot.session == s)
                .map(|slot| (slot.date, slot.quota))
                .collect();
            let mark = match (session.restricted, session.explicit) {
                (true, _) => " (restricted)",
                (_, true) => " (only if named)",
                _ => "",
            };
            let days: Vec<String> = dates
                .iter()
                .map(|date| quotas.get(date).map_or("-".to_owned(), u16::to_string))
                .collect();
            let _ = writeln!(out, "    {:<12}{} {}", session.id, days.join(" "), mark);
        }
    }
    let total: u64 = record.slots.iter().map(|slot| u64::from(slot.quota)).sum();
    let days: Vec<String> = dates.iter().map(Date::to_string).collect();
    let _ = writeln!(out, "  {} slots, {total} places on {}", record.slots.len(), days.join(", "));
    out
}

/// All rules are named, so that a new one is described, or left out on purpose.
fn describe_rules(rules: &Rules, out: &mut String) {
    let Rules {
        order: by,
        max_party,
        max_per_account,
        hold_ms,
        cancelled,
        expired,
        across_openings: _,
        max_changes,
        bookable_until,
        max_bookings,
        leftovers,
    } = rules;
    let account = match max_per_account {
        Some(most) => format!(", at most {most} an account"),
        None => String::new(),
    };
    let hold = match hold_ms {
        Some(_) => format!(", {}", hold(*hold_ms)),
        None => String::new(),
    };
    let _ = writeln!(out, "  {}, parties of at most {max_party}{account}{hold}", order(by));
    let left = match leftovers {
        Leftovers::None => "nobody gets what is left after the window",
        Leftovers::FirstCome => "what is left after the window goes to whoever asks",
    };
    let _ = writeln!(out, "  a place can be booked until {}; {left}", until(*bookable_until));
    let _ = writeln!(
        out,
        "  at most {max_bookings} bookings for one applicant, {max_changes} moves of each"
    );
    for (cause, rule) in [("cancelled", cancelled), ("expired", expired)] {
        let _ = writeln!(out, "  {cause} places come back {}", returns(rule));
    }
}

pub(crate) fn order(order: &Order) -> String {
    match order {
        Order::FirstCome => "first come".to_owned(),
        Order::Rounds { length_ms } => format!("rounds of {length_ms} ms"),
        Order::Draw => "draw".to_owned(),
    }
}

pub(crate) fn hold(ms: Option<u64>) -> String {
    match ms {
        Some(ms) => format!("held for {} s until confirmed", ms / 1_000),
        None => "firm at once".to_owned(),
    }
}

pub(crate) fn until(rule: BookableUntil) -> String {
    match rule {
        BookableUntil::DayBegins => "its day begins".to_owned(),
        BookableUntil::TimeOfDay { minute } => {
            format!("{:02}:{:02} of its day", minute / 60, minute % 60)
        }
        BookableUntil::Before { ms } => format!("{} min before its day begins", ms / 60_000),
    }
}

pub(crate) fn returns(rule: &ReturnRule) -> String {
    match rule {
        ReturnRule::Immediate => "at once".to_owned(),
        ReturnRule::Delayed { from_ms, to_ms } => {
            format!("after {} to {} s", from_ms / 1_000, to_ms / 1_000)
        }
        ReturnRule::At { minutes } => {
            let times: Vec<String> =
                minutes.iter().map(|m| format!("{:02}:{:02}", m / 60, m % 60)).collect();
            format!("by draw at {}", times.join(", "))
        }
    }
}

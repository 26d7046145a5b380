//! `[rules]`: order, limits, holds, returned places.

use giliran_allocator::Calendar;
use giliran_wire::ledger::{BookableUntil, Leftovers, Order, ReturnRule, Rules};
use giliran_wire::{Date, Timestamp};
use jiff::SignedDuration;
use toml::de::DeValue;

use crate::config::Config;
use crate::offices::Office;
use crate::problems::{Report, Section};

/// When collected places are offered where nothing is said: early enough to
/// come the same day, and before the next.
const RELEASES: [u16; 2] = [7 * 60, 17 * 60];
/// Reschedules of a booking where nothing is said: each keeps a place from
/// everybody until its release.
const MAX_CHANGES: u16 = 3;
/// Bookings that an applicant is ever granted in an opening where nothing is said.
const MAX_BOOKINGS: u16 = 3;
const DAY_BEGINS: BookableUntil = BookableUntil::DayBegins;
const ORDERS: &str = "\"first-come\", \"draw\" or { rounds = \"500ms\" }";
const RETURNS: &str = "\"immediate\", { delayed = [\"10m\", \"60m\"] } or { at = [\"07:00\"] }";

/// Where the rules on returned places stand, for what is found out later.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    cancelled: Option<std::ops::Range<usize>>,
    expired: Option<std::ops::Range<usize>>,
    hold: Option<std::ops::Range<usize>>,
    max_party: Option<std::ops::Range<usize>>,
}

pub(crate) fn read(root: &mut Section<'_>, report: &mut Report<'_>) -> (Rules, Spans) {
    let mut spans = Spans::default();
    let collected = || ReturnRule::At { minutes: RELEASES.to_vec() };
    let mut rules = Rules {
        order: Order::FirstCome,
        max_party: 5,
        max_per_account: None,
        hold_ms: None,
        cancelled: collected(),
        expired: collected(),
        across_openings: false,
        max_changes: MAX_CHANGES,
        bookable_until: DAY_BEGINS,
        max_bookings: MAX_BOOKINGS,
        leftovers: Leftovers::None,
    };
    let Some(mut section) = root.section("rules", report) else { return (rules, spans) };
    if let Some(order) = order(&mut section, report) {
        rules.order = order;
    }
    spans.max_party = section.has("max_party").then(|| section.span().clone());
    if let Some(most) = section.number("max_party", 1..=5, report) {
        rules.max_party = most as u8;
    }
    rules.max_per_account =
        section.number("max_per_account", 1..=1_000_000, report).map(|n| n as u32);
    if let Some(most) = section.number("max_changes", 0..=1_000, report) {
        rules.max_changes = most as u16;
    }
    if let Some(most) = section.number("max_bookings", 1..=100, report) {
        rules.max_bookings = most as u16;
    }
    rules.across_openings = section.flag("across_openings", report);
    if let Some((text, span)) = section.text("bookable_until", report) {
        let path = section.path("bookable_until");
        rules.bookable_until = bookable_until(text, &span, &path, report).unwrap_or(DAY_BEGINS);
    }
    if let Some((text, span)) = section.text("leftovers", report) {
        match text {
            "first-come" => rules.leftovers = Leftovers::FirstCome,
            "none" => rules.leftovers = Leftovers::None,
            _ => {
                let message = "expected \"none\" or \"first-come\"".to_owned();
                report.add(&span, &section.path("leftovers"), message);
            }
        }
    }
    if let Some((text, span)) = section.text("hold", report) {
        rules.hold_ms = duration(text, &span, &section.path("hold"), report);
        spans.hold = Some(span);
    }
    if let Some(mut returns) = section.section("returns", report) {
        for (field, rule, span) in [
            ("cancelled", &mut rules.cancelled, &mut spans.cancelled),
            ("expired", &mut rules.expired, &mut spans.expired),
        ] {
            *span = returns.has(field).then(|| returns.span().clone());
            if let Some(read) = return_rule(&mut returns, field, report) {
                *rule = read;
            }
        }
        returns.finish(report);
    }
    section.finish(report);
    (rules, spans)
}

/// `12:00` on the day, or `-18h`: so long before it begins.
fn bookable_until(
    text: &str,
    span: &std::ops::Range<usize>,
    path: &str,
    report: &mut Report<'_>,
) -> Option<BookableUntil> {
    if let Some(before) = text.strip_prefix('-') {
        return duration(before, span, path, report).map(|ms| BookableUntil::Before { ms });
    }
    match minute(text) {
        Some(minute) => Some(BookableUntil::TimeOfDay { minute }),
        None => {
            let message = format!(
                "`{text}` is neither a time of the day, as 12:00, nor one before it, as -18h"
            );
            report.add(span, path, message);
            None
        }
    }
}

/// Reports rules under which a place of this opening, returned as early as can
/// be, would come back when it is too late for it. What was not asked for is not
/// reported.
pub(crate) fn check_returns(
    rules: &Rules,
    spans: &Spans,
    (opening, calendar, opens_at, dates): (&str, &Calendar, Timestamp, &[Date]),
    report: &mut Report<'_>,
) {
    let held_until = opens_at.plus_millis(rules.hold_ms.unwrap_or(0));
    let expires = rules.hold_ms.is_some();
    let expired = (&rules.expired, &spans.expired);
    for (field, (rule, span), earliest) in [
        ("rules.returns.cancelled", (&rules.cancelled, &spans.cancelled), Some(opens_at)),
        ("rules.returns.expired", expired, expires.then_some(held_until)),
        // The hold alone may outlast the day, whatever becomes of the place then.
        ("rules.hold", (&ReturnRule::Immediate, &spans.hold), expires.then_some(held_until)),
    ] {
        let (Some(earliest), Some(span)) = (earliest, span) else { continue };
        let back = match rule {
            ReturnRule::Immediate => earliest,
            ReturnRule::Delayed { from_ms, .. } => earliest.plus_millis(*from_ms),
            ReturnRule::At { minutes } => calendar.next(minutes, earliest).unwrap_or(earliest),
        };
        let until = |date: &Date| calendar.bookable_until(rules.bookable_until, *date);
        if let Some(date) = dates.iter().find(|date| until(date) <= back) {
            let until = until(date);
            report.add(
                span,
                field,
                format!(
                    "a returned place of {date} in opening {opening} could only come back at \
                     {back}, and be booked until {until}: nobody could have it any more"
                ),
            );
        }
    }
}

fn order(rules: &mut Section<'_>, report: &mut Report<'_>) -> Option<Order> {
    let path = rules.path("order");
    let value = rules.value("order")?;
    match value.get_ref() {
        DeValue::String(name) if name == "first-come" => Some(Order::FirstCome),
        DeValue::String(name) if name == "draw" => Some(Order::Draw),
        DeValue::Table(table) if table.contains_key("rounds") => {
            let mut section = Section::new(table, path, value.span());
            let rounds = section.text("rounds", report);
            let length_ms = rounds
                .and_then(|(text, span)| duration(text, &span, &section.path("rounds"), report));
            section.finish(report);
            Some(Order::Rounds { length_ms: length_ms? })
        }
        _ => {
            report.add(&value.span(), &path, format!("expected {ORDERS}"));
            None
        }
    }
}

fn return_rule(
    returns: &mut Section<'_>,
    field: &'static str,
    report: &mut Report<'_>,
) -> Option<ReturnRule> {
    let path = returns.path(field);
    let value = returns.value(field)?;
    let DeValue::Table(table) = value.get_ref() else {
        if matches!(value.get_ref(), DeValue::String(name) if name == "immediate") {
            return Some(ReturnRule::Immediate);
        }
        report.add(&value.span(), &path, format!("expected {RETURNS}"));
        return None;
    };
    let mut section = Section::new(table, path.clone(), value.span());
    let rule = if section.has("delayed") {
        let (texts, span) = section.texts("delayed", report)?;
        let read: Vec<u64> =
            texts.iter().filter_map(|(text, span)| duration(text, span, &path, report)).collect();
        match read[..] {
            [from_ms, to_ms] if from_ms <= to_ms => Some(ReturnRule::Delayed { from_ms, to_ms }),
            _ => {
                report.add(
                    &span,
                    &path,
                    "expected shortest and longest delay, in this order".into(),
                );
                None
            }
        }
    } else if section.has("at") {
        let (texts, span) = section.texts("at", report)?;
        let mut minutes: Vec<u16> = texts
            .iter()
            .filter_map(|(text, span)| minute_of_day(text, span, &path, report))
            .collect();
        minutes.sort_unstable();
        minutes.dedup();
        if minutes.is_empty() {
            report.add(&span, &path, "no time: returned places would never come back".into());
        }
        Some(ReturnRule::At { minutes })
    } else {
        report.add(&value.span(), &path, format!("expected {RETURNS}"));
        None
    };
    section.finish(report);
    rule
}

fn minute_of_day(
    text: &str,
    span: &std::ops::Range<usize>,
    path: &str,
    report: &mut Report<'_>,
) -> Option<u16> {
    match minute(text) {
        Some(minute) => Some(minute),
        None => {
            report.add(
                span,
                path,
                format!("`{text}` is not a time of day; expected one like 07:00"),
            );
            None
        }
    }
}

/// `HH:MM` in minutes after midnight.
fn minute(text: &str) -> Option<u16> {
    time(text).map(|time| time.hour() as u16 * 60 + time.minute() as u16)
}

/// Reads a time of day, `HH:MM` with two digits each; none: it is something else.
pub(crate) fn time(text: &str) -> Option<jiff::civil::Time> {
    let (hour, minute) = text.split_once(':')?;
    // A sign is none of the two digits.
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
    let number = |text: &str| text.parse::<i8>().ok().filter(|_| digits(text));
    jiff::civil::Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

/// Warns of what means nothing.
pub(crate) fn warn(config: &Config, spans: &Spans, report: &mut Report<'_>) {
    let rules = &config.rules;
    let at_once = |rule: &ReturnRule| !matches!(rule, ReturnRule::At { .. });
    let returns = [
        ("rules.returns.cancelled", &rules.cancelled, &spans.cancelled, true),
        ("rules.returns.expired", &rules.expired, &spans.expired, rules.hold_ms.is_some()),
    ];
    let collects = !at_once(&rules.cancelled) || !at_once(&rules.expired);
    for (field, rule, span, happens) in returns {
        let Some(span) = span else { continue };
        if !happens {
            report.warn(span, field, "without rules.hold nothing expires".to_owned());
        } else if at_once(rule) && rules.leftovers == Leftovers::None {
            let who = if collects { "nobody but those who wait" } else { "nobody" };
            report.warn(
                span,
                field,
                format!(
                    "a place that comes back after the window goes to {who}: set leftovers = \
                     \"first-come\" in [rules] to give it to whoever asks"
                ),
            );
        }
    }
    let Some(span) = &spans.max_party else { return };
    let largest = config.offices.iter().filter_map(Office::largest).max();
    let account = rules.max_per_account.unwrap_or(u32::MAX);
    for (most, what) in
        [(largest.map_or(u32::MAX, u32::from), "quota"), (account, "max_per_account")]
    {
        if most < u32::from(rules.max_party) {
            let message =
                format!("larger than any {what} ({most}): such a party is always rejected");
            report.warn(span, "rules.max_party", message);
        }
    }
}

/// A length of time above zero, in ms: `500ms`, `10m`, `2h`, `48h`.
pub(crate) fn duration(
    text: &str,
    span: &std::ops::Range<usize>,
    path: &str,
    report: &mut Report<'_>,
) -> Option<u64> {
    let parsed =
        text.parse::<SignedDuration>().ok().and_then(|d| u64::try_from(d.as_millis()).ok());
    match parsed {
        Some(ms) if (1..=366 * 24 * 3_600_000).contains(&ms) => Some(ms),
        _ => {
            let message = format!(
                "`{text}` is not a duration above zero; expected one like 500ms, 10m or 48h"
            );
            report.add(span, path, message);
            None
        }
    }
}

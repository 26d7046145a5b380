//! Reading `[schedule]` and `[[opening]]`.

use giliran_allocator::Calendar;
use giliran_wire::ledger::Rules;
use giliran_wire::request::is_opening_id;
use giliran_wire::{Date, NotADate, NotAnInstant, Timestamp};
use jiff::SignedDuration;
use jiff::civil::Weekday;

use crate::offices::{Office, Quota, Session, has_places, weekday};
use crate::problems::{Report, Section};
use crate::rules;
use crate::schedule::{Explicit, Schedule, calendar_of, is_week};

pub(crate) fn read(
    root: &mut Section<'_>,
    offices: &[Office],
    rules: &Rules,
    report: &mut Report<'_>,
) -> (Option<Schedule>, Vec<Explicit>) {
    let schedule = root.section("schedule", report).and_then(|s| read_schedule(s, offices, report));
    let mut openings: Vec<Explicit> = Vec::new();
    for mut section in root.sections("opening", report) {
        let Some(opening) = read_opening(&mut section, report) else {
            section.finish(report);
            continue;
        };
        for other in &openings {
            if other.id == opening.id {
                report.add(
                    section.span(),
                    &section.path("id"),
                    format!("a second opening `{}`", opening.id),
                );
            } else if let Some(date) = opening.dates.iter().find(|date| other.dates.contains(date))
            {
                let message = format!(
                    "{date} belongs to opening `{}` already: its places could be booked twice",
                    other.id
                );
                report.add(section.span(), &section.path("dates"), message);
            }
        }
        let twice = schedule.as_ref().and_then(|schedule| twice(schedule, &opening, offices));
        if let Some(date) = twice {
            let message =
                format!("the schedule opens {date} as well: its places could be booked twice");
            report.add(section.span(), &section.path("dates"), message);
        }
        let calendar = calendar_of(&opening, schedule.as_ref());
        let until = |date: &Date| calendar.bookable_until(rules.bookable_until, *date);
        if let Some(date) = opening.dates.iter().find(|date| until(date) <= opening.opens_at) {
            let until = until(date);
            let message = format!(
                "{date} could be booked until {until}, which is before the opening begins: nobody \
                 could have its places"
            );
            report.add(section.span(), &section.path("dates"), message);
        }
        if schedule.is_some() && is_week(&opening.id) {
            report.add(
                section.span(),
                &section.path("id"),
                format!("`{}` is an id that the schedule gives its openings", opening.id),
            );
        }
        if complete(offices) && !opening.dates.iter().any(|date| has_places(offices, *date)) {
            report.add(
                section.span(),
                &section.path("dates"),
                "no office has places on these days".into(),
            );
        }
        openings.push(opening);
        section.finish(report);
    }
    warn(root, schedule.as_ref(), &openings, offices, report);
    if !root.has("schedule") && root.has_none("opening") {
        report.add(&(0..0), "schedule", "missing: a [schedule] or an [[opening]] is needed".into());
    }
    (schedule, openings)
}

/// A day that the schedule also offers: a slot belongs to one opening, whenever
/// their windows are.
fn twice(schedule: &Schedule, opening: &Explicit, offices: &[Office]) -> Option<Date> {
    let offered = |date: &&Date| schedule.offers(**date) && has_places(offices, **date);
    opening.dates.iter().find(offered).copied()
}

/// Warns of closed days that close nothing, and of quotas for weekdays that no
/// opening is for.
fn warn(
    root: &Section<'_>,
    schedule: Option<&Schedule>,
    openings: &[Explicit],
    offices: &[Office],
    report: &mut Report<'_>,
) {
    let covers = schedule.map_or(&[][..], |schedule| &schedule.covers);
    if let Some(span) = root.span_of("schedule") {
        let closed = schedule.map_or(&[][..], |schedule| &schedule.closed);
        for day in closed.iter().filter(|day| !covers.contains(&day.civil().weekday())) {
            let message = format!("{day} closes nothing: the schedule does not cover its weekday");
            report.warn(&span, "schedule.closed", message);
        }
    }
    if !complete(offices) || (schedule.is_none() && openings.is_empty()) {
        return;
    }
    let used = |weekday: &Weekday| {
        let explicit = openings.iter().flat_map(|opening| &opening.dates);
        covers.contains(weekday) || explicit.into_iter().any(|d| d.civil().weekday() == *weekday)
    };
    let Some(span) = root.span_of("office") else { return };
    for office in offices {
        for session in &office.sessions {
            let Quota::ByWeekday(days) = &session.quota else { continue };
            for (weekday, _) in days.iter().filter(|(weekday, _)| !used(weekday)) {
                let message = format!(
                    "office `{}`, session `{}`: places on {weekday:?}s, and no opening is for one",
                    office.id, session.id
                );
                report.warn(&span, "office.quota", message);
            }
        }
    }
}

/// Offices that were read without a problem: others have been reported already.
fn complete(offices: &[Office]) -> bool {
    !offices.is_empty() && offices.iter().all(|office| !office.sessions.is_empty())
}

fn read_schedule(
    mut section: Section<'_>,
    offices: &[Office],
    report: &mut Report<'_>,
) -> Option<Schedule> {
    let timezone = section
        .needed_text("timezone", report)
        .and_then(|(name, span)| timezone(name, &span, &section.path("timezone"), report));
    let opens = section.needed_text("opens", report).and_then(|(text, span)| {
        let parsed = text
            .split_once(' ')
            .and_then(|(day, time)| Some((weekday(day)?, rules::time(time.trim())?)));
        if parsed.is_none() {
            let message =
                format!("`{text}` is not a weekday and time; expected one like \"Fri 14:00\"");
            report.add(&span, &section.path("opens"), message);
        }
        parsed
    });
    let lasts = section
        .needed_text("lasts", report)
        .and_then(|(text, span)| rules::duration(text, &span, &section.path("lasts"), report))
        .map(|ms| SignedDuration::from_millis(ms as i64));
    let covers = covers(&mut section, report);
    let mut closed = Vec::new();
    if let Some((days, _)) = section.texts("closed", report) {
        closed = dates(&days, &section.path("closed"), report);
    }
    let span = section.span().clone();
    section.finish(report);
    let (opens_on, opens_at) = opens?;
    let schedule = Schedule {
        calendar: timezone?,
        opens_on,
        opens_at,
        lasts: lasts?,
        covers: covers?,
        closed,
    };
    let yields = |office: &Office| {
        let some =
            |session: &Session| schedule.covers.iter().any(|day| session.quota.on(*day).is_some());
        office.sessions.iter().any(some)
    };
    if complete(offices) && !offices.iter().any(yields) {
        let message = "yields no day: no office has places on the weekdays it covers".into();
        report.add(&span, "schedule.covers", message);
    }
    if schedule.lasts > SignedDuration::from_hours(7 * 24) {
        let message = "longer than a week: openings would overlap".into();
        report.add(&span, "schedule.lasts", message);
    }
    Some(schedule)
}

fn timezone(
    name: &str,
    span: &std::ops::Range<usize>,
    path: &str,
    report: &mut Report<'_>,
) -> Option<Calendar> {
    let Some(calendar) = Calendar::of(name) else {
        let message = format!(
            "`{name}` is not a time zone; expected an IANA name like Asia/Jakarta (time zone data {})",
            Calendar::data()
        );
        report.add(span, path, message);
        return None;
    };
    // In these names the sign is that of POSIX.
    let hours = |sign| calendar.name().strip_prefix("Etc/GMT")?.strip_prefix(sign);
    for (sign, words) in [('+', "behind"), ('-', "ahead of")] {
        if let Some(hours) = hours(sign).filter(|hours| *hours != "0") {
            let message = format!("`{}` is {hours} hours {words} UTC", calendar.name());
            report.warn(span, path, message);
        }
    }
    Some(calendar)
}

fn covers(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Vec<Weekday>> {
    let path = section.path("covers");
    let Some((names, span)) = section.texts("covers", report) else {
        if !section.has("covers") {
            report.add(section.span(), &path, "missing: the weekdays that can be asked for".into());
        }
        return None;
    };
    let mut days = Vec::new();
    for (name, span) in &names {
        match weekday(name) {
            Some(day) if days.contains(&day) => {
                report.add(span, &path, format!("`{name}` is listed twice"));
            }
            Some(day) => days.push(day),
            None => {
                report.add(
                    span,
                    &path,
                    format!(
                        "`{name}` is not a weekday; expected Mon, Tue, Wed, Thu, Fri, Sat, Sun"
                    ),
                );
            }
        }
    }
    if names.is_empty() {
        report.add(&span, &path, "no day: the schedule yields nothing".into());
    }
    Some(days)
}

fn read_opening(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Explicit> {
    let id = section.needed_text("id", report).and_then(|(id, span)| {
        if is_opening_id(id) {
            return Some(id.to_owned());
        }
        let message = format!("`{id}` is not an id; expected 1 to 40 of A-Z, a-z, 0-9 and -");
        report.add(&span, &section.path("id"), message);
        None
    });
    let opens_at = instant(section, "opens_at", report);
    let closes_at = instant(section, "closes_at", report);
    if let (Some(opens_at), Some(closes_at)) = (opens_at, closes_at)
        && closes_at <= opens_at
    {
        report.add(section.span(), &section.path("closes_at"), "not after opens_at".into());
    }
    let timezone = section
        .text("timezone", report)
        .and_then(|(name, span)| timezone(name, &span, &section.path("timezone"), report));
    let path = section.path("dates");
    let days = match section.texts("dates", report) {
        Some((days, span)) => {
            if days.is_empty() {
                report.add(&span, &path, "no day: the opening has no places".into());
            }
            dates(&days, &path, report)
        }
        None => {
            if !section.has("dates") {
                report.add(section.span(), &path, "missing".into());
            }
            return None;
        }
    };
    let (opens_at, closes_at) = (opens_at?, closes_at?);
    Some(Explicit { id: id?, opens_at, closes_at, calendar: timezone, dates: days })
}

fn instant(
    section: &mut Section<'_>,
    field: &'static str,
    report: &mut Report<'_>,
) -> Option<Timestamp> {
    let (text, span) = section.needed_text(field, report)?;
    match text.parse() {
        Ok(instant) => Some(instant),
        Err(error) => {
            let message = match error {
                NotAnInstant::Unreadable => {
                    format!(
                        "`{text}` is not an instant; expected one like 2026-11-27T14:00:00+07:00"
                    )
                }
                NotAnInstant::OutOfBounds => format!("`{text}` is {error}"),
            };
            report.add(&span, &section.path(field), message);
            None
        }
    }
}

fn dates(
    days: &[(&str, std::ops::Range<usize>)],
    path: &str,
    report: &mut Report<'_>,
) -> Vec<Date> {
    let mut dates: Vec<Date> = Vec::new();
    for (day, span) in days {
        match day.parse() {
            Ok(date) if dates.contains(&date) => {
                report.add(span, path, format!("{day} is listed twice"));
            }
            Ok(date) => dates.push(date),
            Err(NotADate::Unreadable) => {
                report.add(
                    span,
                    path,
                    format!("`{day}` is not a date; expected one like 2026-11-30"),
                );
            }
            Err(error) => report.add(span, path, format!("`{day}` is {error}")),
        }
    }
    dates.sort_unstable();
    dates
}

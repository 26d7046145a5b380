//! `[schedule]` and `[[opening]]`, and what they resolve to.

use giliran_core::Calendar;
use giliran_wire::ledger::{self, OpeningRecord, Order};
use giliran_wire::request::is_opening_id;
use giliran_wire::{Date, Timestamp};
use jiff::ToSpan;
use jiff::civil::{self, Weekday};
use jiff::tz::TimeZone;

use crate::file::{Report, Section};
use crate::offices::weekday;
use crate::{Config, Explicit, Office, Schedule, Session, rules};

/// Weeks looked ahead for one that has a day at all.
const WEEKS_AHEAD: i32 = 60;

pub(crate) fn read(
    root: &mut Section<'_>,
    offices: &[Office],
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
            } else if overlap(other, &opening) {
                report.add(
                    section.span(),
                    &section.path("dates"),
                    format!(
                        "overlaps opening `{}`: the same day could be had in both at once",
                        other.id
                    ),
                );
            }
        }
        let twice = schedule.as_ref().and_then(|schedule| twice(schedule, &opening, offices));
        if let Some(date) = twice {
            report.add(
                section.span(),
                &section.path("dates"),
                format!(
                    "the schedule opens {date} as well, in a window that overlaps: its places \
                     could be had twice"
                ),
            );
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
    if !root.has("schedule") && !root.has("opening") {
        report.add(&(0..0), "schedule", "missing: a [schedule] or an [[opening]] is needed".into());
    }
    (schedule, openings)
}

fn overlap(one: &Explicit, other: &Explicit) -> bool {
    one.opens_at < other.closes_at
        && other.opens_at < one.closes_at
        && one.dates.iter().any(|date| other.dates.contains(date))
}

/// A day that the schedule also offers while this opening is open.
fn twice(schedule: &Schedule, opening: &Explicit, offices: &[Office]) -> Option<Date> {
    let offered = |date: &&Date| {
        let week_before = date.civil().checked_sub(7.days()).ok();
        let of_week = week_before.and_then(|day| schedule.opening_of_week(day));
        of_week.is_some_and(|(opens_at, monday)| {
            opening.opens_at < opens_at.plus_millis(schedule.lasts_ms)
                && opens_at < opening.closes_at
                && schedule.days(monday).contains(date)
                && has_places(offices, **date)
        })
    };
    opening.dates.iter().find(offered).copied()
}

/// Offices that were read without a problem: others have been reported already.
fn complete(offices: &[Office]) -> bool {
    !offices.is_empty() && offices.iter().all(|office| !office.sessions.is_empty())
}

fn has_places(offices: &[Office], date: Date) -> bool {
    let on = |session: &Session| session.quota.on(date.civil().weekday()).is_some();
    offices.iter().any(|office| office.sessions.iter().any(on))
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
            let message = format!("`{text}` is no weekday and time, as \"Fri 14:00\"");
            report.add(&span, &section.path("opens"), message);
        }
        parsed
    });
    let lasts_ms = section
        .needed_text("lasts", report)
        .and_then(|(text, span)| rules::duration(text, &span, &section.path("lasts"), report));
    let covers = covers(&mut section, report);
    let mut closed = Vec::new();
    if let Some((days, _)) = section.texts("closed", report) {
        closed = dates(&days, &section.path("closed"), report);
    }
    let span = section.span().clone();
    section.finish(report);
    let (timezone, timezone_name) = timezone?;
    let (opens_on, opens_at) = opens?;
    let schedule = Schedule {
        timezone,
        timezone_name,
        opens_on,
        opens_at,
        lasts_ms: lasts_ms?,
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
    if schedule.lasts_ms > 7 * 24 * 3_600_000 {
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
) -> Option<(TimeZone, String)> {
    match TimeZone::get(name) {
        Ok(timezone) => Some((timezone, name.to_owned())),
        Err(_) => {
            let message = format!("`{name}` is no time zone; an IANA name is, as Asia/Jakarta");
            report.add(span, path, message);
            None
        }
    }
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
                report.add(span, &path, format!("`{name}` stands twice"));
            }
            Some(day) => days.push(day),
            None => {
                report.add(
                    span,
                    &path,
                    format!("`{name}` is no weekday: Mon, Tue, Wed, Thu, Fri, Sat, Sun"),
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
        let message = format!("`{id}` is no id: 1 to 40 of A-Z, a-z, 0-9 and -");
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
        .and_then(|(name, span)| timezone(name, &span, &section.path("timezone"), report))
        .map(|(_, name)| name);
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
    Some(Explicit { id: id?, opens_at: opens_at?, closes_at: closes_at?, timezone, dates: days })
}

fn instant(
    section: &mut Section<'_>,
    field: &'static str,
    report: &mut Report<'_>,
) -> Option<Timestamp> {
    let (text, span) = section.needed_text(field, report)?;
    match text.parse() {
        Ok(instant) => Some(instant),
        Err(_) => {
            let message = format!("`{text}` is no instant, as 2026-11-27T14:00:00+07:00");
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
                report.add(span, path, format!("{day} stands twice"));
            }
            Ok(date) => dates.push(date),
            Err(_) => report.add(span, path, format!("`{day}` is no day, as 2026-11-30")),
        }
    }
    dates.sort_unstable();
    dates
}

/// True for ids as a schedule gives them: `2026-W49`.
fn is_week(id: &str) -> bool {
    let shape: String = id.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    shape.eq_ignore_ascii_case("9999-w99")
}

impl Config {
    /// Whether the public value of an opening's draw comes soon after its close.
    ///
    /// # Errors
    ///
    /// In words, when it would come instead.
    pub fn draws_in_time(&self, record: &OpeningRecord) -> Result<(), String> {
        let network = self.beacon.as_ref().filter(|_| record.rules.order == Order::Draw);
        match network.and_then(|network| network.is_late(record.closes_at)) {
            None => Ok(()),
            Some(comes) => Err(format!(
                "opening {}: the public value that its draw would wait for comes at {comes}, more \
                 than an hour after the close: see genesis and period_s of [beacon]",
                record.id
            )),
        }
    }

    /// The openings that should be on record at `now`: those not over yet that
    /// begin within `horizon_ms`, and the next scheduled one however far it is.
    /// Ordinals are 0: the ledger's writer gives them.
    pub fn due(&self, now: Timestamp, horizon_ms: u64) -> Vec<OpeningRecord> {
        let until = now.plus_millis(horizon_ms);
        let mut due: Vec<OpeningRecord> = self
            .openings
            .iter()
            .filter(|opening| opening.closes_at > now && opening.opens_at <= until)
            .map(|o| self.record(&o.id, self.zone(o), o.opens_at, o.closes_at, &o.dates))
            .collect();
        if let Some(schedule) = &self.schedule {
            due.extend(self.scheduled(schedule, now, until));
        }
        due
    }

    /// Openings to try rules on: every explicit one, and one of the schedule. Id,
    /// time zone, begin, days.
    pub(crate) fn samples(&self) -> Vec<(String, &str, Timestamp, Vec<Date>)> {
        let mut samples = Vec::new();
        for o in &self.openings {
            samples.push((o.id.clone(), self.zone(o), o.opens_at, o.dates.clone()));
        }
        if let Some(schedule) = &self.schedule
            && let Some((opens_at, monday)) = schedule.opening_of_week(civil::date(2026, 1, 7))
        {
            let week = format!("of the week of {monday}");
            let zone = schedule.timezone_name.as_str();
            samples.push((week, zone, opens_at, schedule.days(monday)));
        }
        samples
    }

    /// The time zone of an opening's days and times.
    fn zone<'a>(&'a self, opening: &'a Explicit) -> &'a str {
        let of_schedule = self.schedule.as_ref().map(|s| s.timezone_name.as_str());
        opening.timezone.as_deref().or(of_schedule).unwrap_or("UTC")
    }

    fn scheduled(
        &self,
        schedule: &Schedule,
        now: Timestamp,
        until: Timestamp,
    ) -> Vec<OpeningRecord> {
        let mut records = Vec::new();
        let Ok(instant) = jiff::Timestamp::from_millisecond(now.as_millis()) else {
            return records;
        };
        let today = instant.to_zoned_datetime(schedule.timezone.clone()).date();
        let mut begun = false;
        for week in -2..WEEKS_AHEAD {
            let Ok(day) = today.checked_add((7 * week).days()) else { continue };
            let Some((opens_at, monday)) = schedule.opening_of_week(day) else { continue };
            let closes_at = opens_at.plus_millis(schedule.lasts_ms);
            let dates: Vec<Date> = schedule
                .days(monday)
                .into_iter()
                .filter(|date| has_places(&self.offices, *date))
                .collect();
            if closes_at <= now || dates.is_empty() {
                continue;
            }
            if opens_at > until && begun {
                break;
            }
            begun |= opens_at > now;
            let week = monday.iso_week_date();
            let id = format!("{}-W{:02}", week.year(), week.week());
            records.push(self.record(&id, &schedule.timezone_name, opens_at, closes_at, &dates));
        }
        records
    }

    fn record(
        &self,
        id: &str,
        timezone: &str,
        opens_at: Timestamp,
        closes_at: Timestamp,
        dates: &[Date],
    ) -> OpeningRecord {
        let (calendar, until) = (Calendar::new(timezone), self.rules.bookable_until);
        let mut slots = Vec::new();
        for (o, office) in self.offices.iter().enumerate() {
            for date in dates {
                for (s, session) in office.sessions.iter().enumerate() {
                    if let Some(quota) = session.quota.on(date.civil().weekday()) {
                        let (office, session) = (o as u32, s as u32);
                        let bookable_until = calendar.bookable_until(until, *date);
                        let date = *date;
                        slots.push(ledger::Slot { office, session, date, quota, bookable_until });
                    }
                }
            }
        }
        let session = |session: &Session| ledger::Session {
            id: session.id.clone(),
            label: session.label.clone(),
            restricted: session.restricted,
            explicit: session.explicit,
        };
        let office = |office: &Office| ledger::Office {
            id: office.id.clone(),
            name: office.name.clone(),
            sessions: office.sessions.iter().map(session).collect(),
        };
        OpeningRecord {
            ordinal: 0,
            id: id.to_owned(),
            timezone: timezone.to_owned(),
            opens_at,
            closes_at,
            rules: self.rules.clone(),
            offices: self.offices.iter().map(office).collect(),
            slots,
        }
    }

    /// A configuration for trying things out: the Batam offices, one opening that
    /// is open from `now` on for a day, for the next five working days.
    pub fn dev(now: Timestamp) -> Self {
        let mut config =
            crate::parse(crate::BATAM, "batam.toml").expect("the shipped example is tested");
        let instant = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or_default();
        let mut day = instant.to_zoned_datetime(TimeZone::UTC).date();
        let mut dates = Vec::new();
        while dates.len() < 5 {
            let Ok(next) = day.tomorrow() else { break };
            day = next;
            if !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) {
                dates.push(Date::from(day));
            }
        }
        config.schedule = None;
        config.applicant_pattern = None;
        config.openings = vec![Explicit {
            id: "dev".to_owned(),
            opens_at: now,
            closes_at: now.plus_millis(24 * 3_600_000),
            timezone: None,
            dates,
        }];
        config
    }
}

impl Schedule {
    /// When the opening of the week that holds `day` begins, and the Monday of
    /// the week it is for.
    fn opening_of_week(&self, day: civil::Date) -> Option<(Timestamp, civil::Date)> {
        let monday =
            day.checked_sub(i32::from(day.weekday().to_monday_zero_offset()).days()).ok()?;
        let offset = i32::from(self.opens_on.to_monday_zero_offset());
        let opening_day = monday.checked_add(offset.days()).ok()?;
        let opens =
            opening_day.to_datetime(self.opens_at).to_zoned_datetime(self.timezone.clone()).ok()?;
        let opens_at = Timestamp::from_millis(opens.timestamp().as_millisecond());
        Some((opens_at, monday.checked_add(7.days()).ok()?))
    }

    /// The covered days of the week of `monday` that are not closed.
    fn days(&self, monday: civil::Date) -> Vec<Date> {
        (0..7)
            .filter_map(|offset: i32| monday.checked_add(offset.days()).ok())
            .filter(|day| self.covers.contains(&day.weekday()))
            .map(Date::from)
            .filter(|day| !self.closed.contains(day))
            .collect()
    }
}

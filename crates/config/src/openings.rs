//! `[schedule]` and `[[opening]]`, and what they resolve to.

use giliran_allocator::Calendar;
use giliran_wire::ledger::{self, OpeningRecord, Order, Rules};
use giliran_wire::request::is_opening_id;
use giliran_wire::{Date, NotADate, NotAnInstant, Timestamp};
use jiff::civil::{self, Weekday};
use jiff::{SignedDuration, ToSpan};

use crate::offices::weekday;
use crate::problems::{Report, Section};
use crate::{Config, Explicit, Office, Quota, Schedule, Session, rules};

/// Weeks looked ahead for one that has a day at all.
const WEEKS_AHEAD: i32 = 60;

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
    if !root.has("schedule") && !root.has("opening") {
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

/// The zone that an opening written out goes by.
fn calendar_of(opening: &Explicit, schedule: Option<&Schedule>) -> Calendar {
    let own = opening.calendar.clone();
    own.or(schedule.map(|schedule| schedule.calendar.clone())).unwrap_or_else(Calendar::utc)
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

/// True for ids as a schedule gives them: `2026-W49`.
fn is_week(id: &str) -> bool {
    let shape: String = id.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    shape.eq_ignore_ascii_case("9999-w99")
}

/// A day of the week in which the schedule's opening of this id begins.
fn week_before(id: &str) -> Option<civil::Date> {
    let (year, week) = id.split_once("-W").filter(|_| is_week(id))?;
    let (year, week) = (year.parse().ok()?, week.parse().ok()?);
    let monday = civil::ISOWeekDate::new(year, week, Weekday::Monday).ok()?;
    monday.date().checked_sub(7.days()).ok()
}

impl Config {
    /// In words, why the public value of an opening's draw would come too late.
    fn draws_late(&self, record: &OpeningRecord) -> Option<String> {
        let network = self.beacon.as_ref().filter(|_| record.rules.order == Order::Draw);
        let comes = network?.is_late(record.closes_at)?;
        Some(format!(
            "the public value that its draw would wait for comes at {comes}, more than an hour \
             after the close: see genesis and period_s of [beacon]"
        ))
    }

    /// The opening of this id as the file has it, whenever it is.
    pub fn opening(&self, id: &str) -> Option<OpeningRecord> {
        if let Some(o) = self.openings.iter().find(|opening| opening.id == id) {
            let window = (o.opens_at, o.closes_at);
            return Some(self.record(&o.id, &self.calendar(o), window, &o.dates));
        }
        let schedule = self.schedule.as_ref()?;
        let week = schedule.week_of(week_before(id)?)?;
        self.scheduled_in(schedule, &week)
    }

    /// The openings written out whose window has ended by `now`, and when it did.
    pub fn over(&self, now: Timestamp) -> impl Iterator<Item = (&str, Timestamp)> {
        let over = self.openings.iter().filter(move |opening| opening.closes_at <= now);
        over.map(|opening| (opening.id.as_str(), opening.closes_at))
    }

    /// The openings written out that are not over yet, however far they are, and the
    /// next of the schedule, so many, whether they could be served or not.
    pub fn ahead(&self, now: Timestamp, weeks: usize) -> Vec<OpeningRecord> {
        let ahead = self.openings.iter().filter(|opening| opening.closes_at > now);
        let explicit = ahead.filter_map(|opening| self.opening(&opening.id));
        explicit.chain(self.weeks(now, weeks)).collect()
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
            .map(|o| self.record(&o.id, &self.calendar(o), (o.opens_at, o.closes_at), &o.dates))
            .collect();
        if let Some(schedule) = &self.schedule {
            due.extend(self.scheduled(schedule, now, until));
        }
        due
    }

    /// Openings to try rules on: every explicit one, and one of the schedule. Id,
    /// time zone, begin, days.
    pub(crate) fn samples(&self) -> Vec<(String, &Calendar, Timestamp, Vec<Date>)> {
        const UTC: &Calendar = &Calendar::utc();
        let mut samples = Vec::new();
        let of_schedule = self.schedule.as_ref().map(|schedule| &schedule.calendar);
        for o in &self.openings {
            let calendar = o.calendar.as_ref().or(of_schedule).unwrap_or(UTC);
            samples.push((o.id.clone(), calendar, o.opens_at, o.dates.clone()));
        }
        if let Some(schedule) = &self.schedule
            && let Some(week) = schedule.week_of(civil::date(2026, 1, 7))
        {
            let name = format!("of the week of {}", week.monday);
            samples.push((name, &schedule.calendar, week.opens_at, schedule.days(week.monday)));
        }
        samples
    }

    /// The time zone of an opening's days and times.
    fn calendar(&self, opening: &Explicit) -> Calendar {
        calendar_of(opening, self.schedule.as_ref())
    }

    /// The next openings of the schedule.
    fn weeks(&self, now: Timestamp, most: usize) -> Vec<OpeningRecord> {
        let Some(schedule) = &self.schedule else { return Vec::new() };
        let Some(today) = schedule.today(now) else { return Vec::new() };
        let weeks = (0..2 * most as i32).filter_map(|week| {
            let week = schedule.week_of(today.checked_add((7 * week).days()).ok()?)?;
            self.scheduled_in(schedule, &week).filter(|record| record.closes_at > now)
        });
        weeks.take(most).collect()
    }

    /// In words, why no engine would serve this opening; empty: it would.
    pub fn objections(&self, record: &OpeningRecord) -> Vec<String> {
        let mut objections = Vec::new();
        if let Err(error) = giliran_allocator::Opening::supported(record) {
            objections.push(format!("{} is not served by this release", error.what));
        }
        objections.extend(self.draws_late(record));
        if record.closes_at <= record.opens_at {
            let (from, to) = (record.opens_at, record.closes_at);
            objections.push(format!("it would close at {to}, and open at {from}"));
        }
        if let Some(slot) = record.slots.iter().find(|s| s.bookable_until <= record.opens_at) {
            let (date, until) = (slot.date, slot.bookable_until);
            objections
                .push(format!("{date} could be booked until {until}, before the opening begins"));
        }
        objections
    }

    fn scheduled(
        &self,
        schedule: &Schedule,
        now: Timestamp,
        until: Timestamp,
    ) -> Vec<OpeningRecord> {
        let mut records = Vec::new();
        let Some(today) = schedule.today(now) else { return records };
        let mut begun = false;
        for week in -2..WEEKS_AHEAD {
            let Ok(day) = today.checked_add((7 * week).days()) else { continue };
            let record = schedule.week_of(day).and_then(|w| self.scheduled_in(schedule, &w));
            let Some(record) = record.filter(|record| record.closes_at > now) else { continue };
            if record.opens_at > until && begun {
                break;
            }
            begun |= record.opens_at > now;
            records.push(record);
        }
        records
    }

    /// The schedule's opening of a week; none: it has no day.
    fn scheduled_in(&self, schedule: &Schedule, week: &Week) -> Option<OpeningRecord> {
        let mut dates = schedule.days(week.monday);
        dates.retain(|date| has_places(&self.offices, *date));
        if dates.is_empty() {
            return None;
        }
        let iso = week.monday.iso_week_date();
        let id = format!("{}-W{:02}", iso.year(), iso.week());
        let window = (week.opens_at, week.closes_at);
        Some(self.record(&id, &schedule.calendar, window, &dates))
    }

    fn record(
        &self,
        id: &str,
        calendar: &Calendar,
        (opens_at, closes_at): (Timestamp, Timestamp),
        dates: &[Date],
    ) -> OpeningRecord {
        let until = self.rules.bookable_until;
        let mut slots = Vec::new();
        for (o, office) in self.offices.iter().enumerate() {
            for date in dates {
                for (s, session) in (0..).zip(&office.sessions) {
                    if let Some(quota) = session.quota.on(date.civil().weekday()) {
                        let (office, session) = (o as u32, s);
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
            timezone: calendar.name().to_owned(),
            opens_at,
            closes_at,
            rules: self.rules.clone(),
            offices: self.offices.iter().map(office).collect(),
            slots,
        }
    }

    /// A configuration for trying things out: the Batam offices, one opening that
    /// is open from `now` on for a day, for the next five working days that begin after
    /// that.
    pub fn dev(now: Timestamp) -> Self {
        let mut config =
            crate::parse(crate::BATAM, "batam.toml").expect("the shipped example is tested");
        let closes_at = now.plus_millis(24 * 3_600_000);
        // Days that begin once it has closed.
        let last = jiff::Timestamp::from_millisecond(closes_at.as_millis()).unwrap_or_default();
        let today = last.to_zoned_datetime(Calendar::utc().zone().clone()).date();
        let workday =
            |day: &civil::Date| !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        let days = today.series(1.day()).skip(1).filter(workday).take(5);
        let dates = days.map(Date::from).collect();
        config.made_up = true;
        config.schedule = None;
        config.applicant_pattern = None;
        config.openings = vec![Explicit {
            id: "dev".to_owned(),
            opens_at: now,
            closes_at,
            calendar: None,
            dates,
        }];
        config
    }
}

/// The opening of one week.
struct Week {
    opens_at: Timestamp,
    closes_at: Timestamp,
    /// Of the week it is for.
    monday: civil::Date,
}

impl Schedule {
    /// The day at the offices.
    fn today(&self, now: Timestamp) -> Option<civil::Date> {
        let now = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
        Some(now.to_zoned_datetime(self.calendar.zone().clone()).date())
    }

    /// The opening that begins in the week that holds `day`. It lasts by the clock
    /// on the wall, and ends where the next one begins.
    fn week_of(&self, day: civil::Date) -> Option<Week> {
        let monday =
            day.checked_sub(i32::from(day.weekday().to_monday_zero_offset()).days()).ok()?;
        let offset = i32::from(self.opens_on.to_monday_zero_offset());
        let opens = monday.checked_add(offset.days()).ok()?.to_datetime(self.opens_at);
        let next = self.calendar.instant(opens.checked_add(7.days()).ok()?);
        let closes = opens.checked_add(self.lasts).ok()?;
        Some(Week {
            opens_at: self.calendar.instant(opens),
            closes_at: self.calendar.instant(closes).min(next),
            monday: monday.checked_add(7.days()).ok()?,
        })
    }

    /// True if an opening of it is for this day.
    fn offers(&self, date: Date) -> bool {
        self.covers.contains(&date.civil().weekday()) && !self.closed.contains(&date)
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

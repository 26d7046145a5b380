//! A configuration, and the openings that it resolves to.

use giliran_allocator::Calendar;
use giliran_drand::Network;
use giliran_wire::ledger::{self, OpeningRecord, Order, Rules};
use giliran_wire::subject::Namespace;
use giliran_wire::{Date, Digest, Timestamp};
use jiff::ToSpan;
use jiff::civil;

use crate::applicant_pattern::ApplicantPattern;
use crate::offices::{Office, Session, has_places};
use crate::problems::Problem;
use crate::schedule::{Explicit, Schedule, Week, calendar_of, week_before};

/// Weeks looked ahead for one that has a day at all.
const WEEKS_AHEAD: i32 = 60;

#[derive(Debug, Clone)]
pub struct Config {
    /// Subjects, streams and buckets.
    pub namespace: Namespace,
    /// What applicant ids must look like, where given.
    pub applicant_pattern: Option<ApplicantPattern>,
    /// Where reply subjects may lie: string prefixes.
    pub reply_prefixes: Vec<String>,
    /// Blocks after which the ledger goes on in its next stream, as soon as no
    /// opening is open; at twice as many in any case.
    pub generation_blocks: u64,
    /// Openings that come by themselves.
    pub schedule: Option<Schedule>,
    pub openings: Vec<Explicit>,
    /// The rules of all of them.
    pub rules: Rules,
    /// The network whose rounds are mixed into draws; none: the operator's seed
    /// alone decides them.
    pub beacon: Option<Network>,
    /// The offices, in configured order.
    pub offices: Vec<Office>,
    /// What of the file means nothing, or hardly what was meant.
    pub warnings: Vec<Problem>,
    /// Of the file's text, so that the same file is known elsewhere.
    pub digest: Digest,
    /// True: of no file, so what is on record need not be as it says.
    pub made_up: bool,
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
}

//! When openings are: week after week, or written out.

use giliran_allocator::Calendar;
use giliran_wire::{Date, Timestamp};
use jiff::civil::{self, Weekday};
use jiff::{SignedDuration, ToSpan};

/// Openings that come by themselves, week after week.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub(crate) calendar: Calendar,
    pub(crate) opens_on: Weekday,
    pub(crate) opens_at: jiff::civil::Time,
    /// On the wall clock.
    pub(crate) lasts: SignedDuration,
    pub(crate) covers: Vec<Weekday>,
    pub(crate) closed: Vec<Date>,
}

/// An opening written out.
#[derive(Debug, Clone)]
pub struct Explicit {
    pub(crate) id: String,
    pub(crate) opens_at: Timestamp,
    pub(crate) closes_at: Timestamp,
    /// Of its own; none: the schedule's, or UTC.
    pub(crate) calendar: Option<Calendar>,
    pub(crate) dates: Vec<Date>,
}

/// The opening of one week.
pub(crate) struct Week {
    pub(crate) opens_at: Timestamp,
    pub(crate) closes_at: Timestamp,
    /// Of the week it is for.
    pub(crate) monday: civil::Date,
}

impl Schedule {
    /// The day at the offices.
    pub(crate) fn today(&self, now: Timestamp) -> Option<civil::Date> {
        let now = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
        Some(now.to_zoned_datetime(self.calendar.zone().clone()).date())
    }

    /// The opening that begins in the week that holds `day`. It lasts by the clock
    /// on the wall, and ends where the next one begins.
    pub(crate) fn week_of(&self, day: civil::Date) -> Option<Week> {
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
    pub(crate) fn offers(&self, date: Date) -> bool {
        self.covers.contains(&date.civil().weekday()) && !self.closed.contains(&date)
    }

    /// The covered days of the week of `monday` that are not closed.
    pub(crate) fn days(&self, monday: civil::Date) -> Vec<Date> {
        (0..7)
            .filter_map(|offset: i32| monday.checked_add(offset.days()).ok())
            .filter(|day| self.covers.contains(&day.weekday()))
            .map(Date::from)
            .filter(|day| !self.closed.contains(day))
            .collect()
    }
}

/// The zone that an opening written out goes by.
pub(crate) fn calendar_of(opening: &Explicit, schedule: Option<&Schedule>) -> Calendar {
    let own = opening.calendar.clone();
    own.or(schedule.map(|schedule| schedule.calendar.clone())).unwrap_or_else(Calendar::utc)
}

/// True for ids as a schedule gives them: `2026-W49`.
pub(crate) fn is_week(id: &str) -> bool {
    let shape: String = id.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    shape.eq_ignore_ascii_case("9999-w99")
}

/// A day of the week in which the schedule's opening of this id begins.
pub(crate) fn week_before(id: &str) -> Option<civil::Date> {
    let (year, week) = id.split_once("-W").filter(|_| is_week(id))?;
    let (year, week) = (year.parse().ok()?, week.parse().ok()?);
    let monday = civil::ISOWeekDate::new(year, week, Weekday::Monday).ok()?;
    monday.date().checked_sub(7.days()).ok()
}

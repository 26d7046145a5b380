//! Days and times of day at the office: pure arithmetic on the opening's zone.

use giliran_wire::ledger::BookableUntil;
use giliran_wire::{Date, Timestamp};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};

/// The offices' time zone. Only decisions look at it, never the fold: what was
/// decided is in the ledger.
#[derive(Debug)]
pub struct Calendar(TimeZone);

impl Calendar {
    /// Of this IANA name; UTC where the time zone database does not know it.
    pub fn new(timezone: &str) -> Self {
        Self(TimeZone::get(timezone).unwrap_or(TimeZone::UTC))
    }

    /// When a day begins at the office.
    pub fn begins(&self, date: Date) -> Timestamp {
        self.time_of(date.civil(), 0)
    }

    /// From when on nobody can book a slot of this day.
    pub fn bookable_until(&self, rule: BookableUntil, date: Date) -> Timestamp {
        match rule {
            BookableUntil::DayBegins => self.begins(date),
            BookableUntil::TimeOfDay { minute } => self.time_of(date.civil(), minute),
            BookableUntil::Before { ms } => self.begins(date).minus_millis(ms),
        }
    }

    /// This minute of a day; where daylight saving skips it, as much later.
    fn time_of(&self, day: jiff::civil::Date, minute: u16) -> Timestamp {
        let minutes = SignedDuration::from_mins(minute.into());
        let time = day.at(0, 0, 0, 0).checked_add(minutes);
        let at = time.and_then(|time| time.to_zoned_datetime(self.0.clone()));
        at.map_or(Timestamp::LATEST, |at| Timestamp::from_millis(at.timestamp().as_millisecond()))
    }

    /// The first of these minutes of the day, on any day, that comes after
    /// `after`. None where there is none.
    pub fn next(&self, minutes: &[u16], after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(after.as_millis()).ok()?;
        let mut day = after.to_zoned_datetime(self.0.clone()).date();
        // A day of which daylight saving skips the time has a later one.
        for _ in 0..3 {
            let of_day = minutes.iter().filter_map(|minute| {
                let time =
                    day.at(0, 0, 0, 0).checked_add(SignedDuration::from_mins((*minute).into()));
                let at = time.ok()?.to_zoned_datetime(self.0.clone()).ok()?.timestamp();
                (at > after).then_some(at)
            });
            if let Some(at) = of_day.min() {
                return Some(Timestamp::from_millis(at.as_millisecond()));
            }
            day = day.checked_add(1.day()).ok()?;
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_release_is_a_time_of_the_offices_day() {
        let jakarta = Calendar::new("Asia/Jakarta");
        let minutes = [7 * 60, 17 * 60];
        let next = |after| jakarta.next(&minutes, at(after)).unwrap();
        assert_eq!(next("2026-11-27T07:00:00Z"), at("2026-11-27T10:00:00Z"));
        assert_eq!(next("2026-11-27T10:00:00Z"), at("2026-11-28T00:00:00Z"));
        assert_eq!(next("2026-11-27T23:59:59Z"), at("2026-11-28T00:00:00Z"));
        assert_eq!(jakarta.next(&[], at("2026-11-27T10:00:00Z")), None);
        assert_eq!(jakarta.begins("2026-11-30".parse().unwrap()), at("2026-11-29T17:00:00Z"));
    }
}

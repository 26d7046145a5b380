//! Days and times as people read them, in the time zone of what they are about.

use jiff::civil;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::language::{Language, Text};
use crate::text;

const DAYS: [Text; 7] = [
    text!("Sunday" | "Minggu"),
    text!("Monday" | "Senin"),
    text!("Tuesday" | "Selasa"),
    text!("Wednesday" | "Rabu"),
    text!("Thursday" | "Kamis"),
    text!("Friday" | "Jumat"),
    text!("Saturday" | "Sabtu"),
];

const MONTHS: [Text; 12] = [
    text!("January" | "Januari"),
    text!("February" | "Februari"),
    text!("March" | "Maret"),
    text!("April" | "April"),
    text!("May" | "Mei"),
    text!("June" | "Juni"),
    text!("July" | "Juli"),
    text!("August" | "Agustus"),
    text!("September" | "September"),
    text!("October" | "Oktober"),
    text!("November" | "November"),
    text!("December" | "Desember"),
];

/// `Friday, 4 December 2026`.
pub fn day(language: Language, date: civil::Date) -> String {
    let weekday = DAYS[date.weekday().to_sunday_zero_offset() as usize % 7].of(language);
    let month = MONTHS[date.month().unsigned_abs() as usize % 13 - 1].of(language);
    format!("{weekday}, {} {month} {}", date.day(), date.year())
}

/// `Fri 4 Dec`, for the head of a column.
pub fn short_day(language: Language, date: civil::Date) -> String {
    let weekday = DAYS[date.weekday().to_sunday_zero_offset() as usize % 7].of(language);
    let month = MONTHS[date.month().unsigned_abs() as usize % 13 - 1].of(language);
    let [weekday, month] = [weekday, month].map(|name| name.chars().take(3).collect::<String>());
    format!("{weekday} {} {month}", date.day())
}

/// A time zone, from the data in this program.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// By its IANA name; UTC where there is none of this name.
    pub fn named(name: &str) -> Self {
        Self(TimeZoneDatabase::bundled().get(name).unwrap_or(TimeZone::UTC))
    }

    /// `Friday, 4 December 2026, 14:00:07 WIB`; `at_ms` since 1970.
    pub fn moment(&self, language: Language, at_ms: i64) -> String {
        let day = day(language, self.local(at_ms).date());
        format!("{day}, {} {}", self.clock(language, at_ms), self.abbreviation(at_ms))
    }

    /// `4 Dec 14:00:07`, for rows and marks.
    pub fn short(&self, language: Language, at_ms: i64) -> String {
        format!("{} {}", self.date(language, at_ms), self.clock(language, at_ms))
    }

    /// `14:00:07`; in Indonesian `14.00.07`.
    pub fn clock(&self, language: Language, at_ms: i64) -> String {
        let at = self.local(at_ms);
        let between = match language {
            Language::English => ':',
            Language::Indonesian => '.',
        };
        format!("{:02}{between}{:02}{between}{:02}", at.hour(), at.minute(), at.second())
    }

    /// `14:05`; in Indonesian `14.05`.
    pub fn minute(&self, language: Language, at_ms: i64) -> String {
        let clock = self.clock(language, at_ms);
        clock.get(..5).map_or(clock.clone(), str::to_owned)
    }

    /// `4 Dec`.
    pub fn date(&self, language: Language, at_ms: i64) -> String {
        let date = self.local(at_ms).date();
        let month = MONTHS[date.month().unsigned_abs() as usize % 13 - 1].of(language);
        let month: String = month.chars().take(3).collect();
        format!("{} {month}", date.day())
    }

    /// `WIB`, `WITA`, `WIT`, `UTC`.
    pub fn abbreviation(&self, at_ms: i64) -> String {
        self.0.to_offset_info(instant(at_ms)).abbreviation().to_owned()
    }

    fn local(&self, at_ms: i64) -> civil::DateTime {
        self.0.to_datetime(instant(at_ms))
    }
}

fn instant(at_ms: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_each_of_the_three_zones() {
        // 2026-12-04T07:00:07Z.
        const AT_MS: i64 = 1_796_367_607_000;
        let [english, indonesian] = Language::ALL;
        for (zone, said) in [
            ("Asia/Jakarta", "Jumat, 4 Desember 2026, 14.00.07 WIB"),
            ("Asia/Makassar", "Jumat, 4 Desember 2026, 15.00.07 WITA"),
            ("Asia/Jayapura", "Jumat, 4 Desember 2026, 16.00.07 WIT"),
            ("no such", "Jumat, 4 Desember 2026, 07.00.07 UTC"),
        ] {
            assert_eq!(Zone::named(zone).moment(indonesian, AT_MS), said);
        }
        let jakarta = Zone::named("Asia/Jakarta");
        assert_eq!(jakarta.moment(english, AT_MS), "Friday, 4 December 2026, 14:00:07 WIB");
        assert_eq!(jakarta.short(indonesian, AT_MS), "4 Des 14.00.07");
        assert_eq!(short_day(indonesian, civil::date(2026, 8, 17)), "Sen 17 Agu");
    }
}

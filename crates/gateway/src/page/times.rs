//! Days and times as people read them, in the opening's time zone.

use giliran_wire::{Date, Timestamp};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::words::Language;

/// A time zone by its IANA name, from the data in this program; UTC where there is none.
pub(crate) fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap_or(TimeZone::UTC)
}

/// `Fri 27 Nov 2026`.
pub(crate) fn day(language: Language, date: Date) -> String {
    civil_day(language, date.civil())
}

fn civil_day(language: Language, date: jiff::civil::Date) -> String {
    let weekday = date.weekday().to_sunday_zero_offset() as usize;
    let month = date.month() as usize - 1;
    let name = |names: &'static str, at: usize| names.split(' ').nth(at).unwrap_or_default();
    format!(
        "{} {} {} {}",
        name(language.days_short(), weekday),
        date.day(),
        name(language.months_short(), month),
        date.year()
    )
}

/// `Fri 27 Nov 2026, 14:00 WIB`.
pub(crate) fn moment(language: Language, zone: &TimeZone, time: Timestamp) -> String {
    let at = local(zone, time);
    let zone = zone.to_offset_info(instant(time)).abbreviation().to_owned();
    let separator = separator(language);
    let day = civil_day(language, at.date());
    format!("{day}, {:02}{separator}{:02} {zone}", at.hour(), at.minute())
}

/// `14:00:07`.
pub(crate) fn clock(language: Language, zone: &TimeZone, time: Timestamp) -> String {
    let (at, separator) = (local(zone, time), separator(language));
    format!("{:02}{separator}{:02}{separator}{:02}", at.hour(), at.minute(), at.second())
}

/// `119 minutes`: whole ones, of so many milliseconds.
pub(crate) fn minutes(language: Language, ms: u64) -> String {
    let unit = language.units().split(' ').nth(2).unwrap_or_default();
    format!("{} {unit}", ms / 60_000)
}

const fn separator(language: Language) -> char {
    match language {
        Language::Indonesian => '.',
        Language::English => ':',
    }
}

fn local(zone: &TimeZone, time: Timestamp) -> jiff::civil::DateTime {
    zone.to_datetime(instant(time))
}

/// Times of the wire lie within what is a time here.
fn instant(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_office() {
        let time: Timestamp = "2026-11-27T07:00:07.123Z".parse().unwrap();
        let jakarta = zone("Asia/Jakarta");
        let english = moment(Language::English, &jakarta, time);
        assert_eq!(english, "Fri 27 Nov 2026, 14:00 WIB");
        let indonesian = moment(Language::Indonesian, &jakarta, time);
        assert_eq!(indonesian, "Jum 27 Nov 2026, 14.00 WIB");
        assert_eq!(clock(Language::English, &zone("Asia/Jayapura"), time), "16:00:07");
        assert_eq!(clock(Language::English, &zone("nowhere"), time), "07:00:07");
        assert_eq!(minutes(Language::English, 7_199_999), "119 minutes");
        assert_eq!(minutes(Language::Indonesian, 0), "0 menit");
        let date = "2026-12-06".parse().unwrap();
        assert_eq!(day(Language::Indonesian, date), "Min 6 Des 2026");
    }
}

//! Times of day in an opening's time zone.

use giliran_wire::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A time zone by its IANA name, from the data in this program; UTC where there is none.
fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap_or(TimeZone::UTC)
}

fn instant(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or_default()
}

/// When this is where the offices are: `2026-11-27 14:00 WIB`. UTC where there is no such zone.
pub fn local(name: &str, time: Timestamp) -> String {
    let (zone, instant) = (zone(name), instant(time));
    let at = zone.to_datetime(instant);
    let abbreviation = zone.to_offset_info(instant).abbreviation().to_owned();
    format!("{} {:02}:{:02} {abbreviation}", at.date(), at.hour(), at.minute())
}

/// The last of these times of day (`HH:MM`) in this zone that is not after `until`; none:
/// there is no such time.
pub(crate) fn last_before(name: &str, times: &[String], until: Timestamp) -> Option<Timestamp> {
    let zone = zone(name);
    let last_day = zone.to_datetime(instant(until)).date();
    let mut latest = None;
    for day in [last_day, last_day.yesterday().ok()?] {
        for time in times {
            let (hours, minutes) = time.split_once(':')?;
            let at = day.at(hours.parse().ok()?, minutes.parse().ok()?, 0, 0);
            let at = zone.to_ambiguous_timestamp(at).compatible().ok()?.as_millisecond();
            let at = Timestamp::from_millis(at);
            if at <= until {
                latest = latest.max(Some(at));
            }
        }
    }
    latest
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_as_the_offices_have_it() {
        let opens = "2026-11-27T07:00:00Z".parse().unwrap();
        assert_eq!(local("Asia/Jakarta", opens), "2026-11-27 14:00 WIB");
        assert_eq!(local("Europe/Berlin", opens), "2026-11-27 08:00 CET");
        assert_eq!(local("nowhere", opens), "2026-11-27 07:00 UTC");
    }

    #[test]
    fn the_last_release_is_of_the_office_s_day() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let times = ["07:00".to_owned(), "17:00".to_owned()];
        // Monday begins at 17:00 UTC of Sunday in Jakarta; the last release was at 17:00 there.
        let last = last_before("Asia/Jakarta", &times, at("2026-11-29T17:00:00Z"));
        assert_eq!(last, Some(at("2026-11-29T10:00:00Z")));
        let last = last_before("Asia/Jakarta", &times, at("2026-11-30T00:30:00Z"));
        assert_eq!(last, Some(at("2026-11-30T00:00:00Z")), "on the day itself");
        assert_eq!(last_before("Asia/Jakarta", &[], at("2026-11-30T00:30:00Z")), None);
    }
}

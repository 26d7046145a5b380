//! A configuration for trying things out.

use giliran_allocator::Calendar;
use giliran_wire::{Date, Timestamp};
use jiff::ToSpan;
use jiff::civil::{self, Weekday};

use crate::config::Config;
use crate::file::parse;
use crate::schedule::Explicit;
use crate::shipped::BATAM;

/// A configuration for trying things out: the Batam offices, one opening that
/// is open from `now` on for a day, for the next five working days that begin after
/// that.
pub fn dev(now: Timestamp) -> Config {
    let mut config = parse(BATAM, "batam.toml").expect("the shipped example is tested");
    let closes_at = now.plus_millis(24 * 3_600_000);
    // Days that begin once it has closed.
    let last = jiff::Timestamp::from_millisecond(closes_at.as_millis()).unwrap_or_default();
    let today = last.to_zoned_datetime(Calendar::utc().zone().clone()).date();
    let workday = |day: &civil::Date| !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
    let days = today.series(1.day()).skip(1).filter(workday).take(5);
    let dates = days.map(Date::from).collect();
    config.made_up = true;
    config.schedule = None;
    config.applicant_pattern = None;
    config.openings =
        vec![Explicit { id: "dev".to_owned(), opens_at: now, closes_at, calendar: None, dates }];
    config
}

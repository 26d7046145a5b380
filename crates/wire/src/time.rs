//! Instants and calendar days as they stand on the wire.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The bounds of what is taken for a time or a day, in words.
pub(crate) const OUT_OF_BOUNDS: &str = "not from 2000-01-01 to 9999-12-29";

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
///
/// JSON shows RFC 3339 in UTC with milliseconds; binary an `i64`.
///
/// Whoever reads one from text or JSON gets none outside of [`EARLIEST`] and
/// [`LATEST`]; of those in binary requests see to it themselves. In the ledger
/// stands what an engine's clock said, and what it computed from that:
/// [`plus_millis`] does not go beyond [`LATEST`].
///
/// [`EARLIEST`]: Self::EARLIEST
/// [`LATEST`]: Self::LATEST
/// [`plus_millis`]: Self::plus_millis
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, bincode::Encode, bincode::Decode,
)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Earliest time that is accepted, 2000-01-01T00:00:00.000Z.
    pub const EARLIEST: Self = Self(946_684_800_000);
    /// 9999-12-29T23:59:59.999Z: a day later every store, zone and library can
    /// still show it.
    pub const LATEST: Self = Self(253_402_127_999_999);

    /// True from [`EARLIEST`](Self::EARLIEST) to [`LATEST`](Self::LATEST).
    pub const fn is_within_bounds(self) -> bool {
        Self::EARLIEST.0 <= self.0 && self.0 <= Self::LATEST.0
    }

    /// The instant `ms` milliseconds after the Unix epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; 0 if `earlier` is not earlier.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        let ms = self.0.saturating_sub(earlier.0);
        if ms < 0 { 0 } else { ms as u64 }
    }

    /// The instant `ms` milliseconds later, at most [`LATEST`](Self::LATEST).
    #[must_use]
    pub const fn plus_millis(self, ms: u64) -> Self {
        let ms = if ms > i64::MAX as u64 { i64::MAX } else { ms as i64 };
        let later = self.0.saturating_add(ms);
        Self(if later > Self::LATEST.0 { Self::LATEST.0 } else { later })
    }

    /// The instant `ms` milliseconds earlier, at least [`EARLIEST`](Self::EARLIEST).
    #[must_use]
    pub const fn minus_millis(self, ms: u64) -> Self {
        let ms = if ms > i64::MAX as u64 { i64::MAX } else { ms as i64 };
        let earlier = self.0.saturating_sub(ms);
        Self(if earlier < Self::EARLIEST.0 { Self::EARLIEST.0 } else { earlier })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text of the instant that was asked for last: mostly a block's facts have one time.
#[derive(Debug, Clone, Default)]
pub struct TimeText(Option<(Timestamp, String)>);

impl TimeText {
    /// The text of this instant, as [`Timestamp`] shows it.
    pub fn of(&mut self, at: Timestamp) -> &str {
        let last = self.0.take().filter(|(last, _)| *last == at);
        &self.0.insert(last.unwrap_or_else(|| (at, at.to_string()))).1
    }
}

/// A text that is no instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnInstant {
    /// It cannot be read.
    #[error("not an instant, as 2026-11-27T14:00:00+07:00")]
    Unreadable,
    /// It is one that nothing can mean.
    #[error("{OUT_OF_BOUNDS}")]
    OutOfBounds,
}

impl FromStr for Timestamp {
    type Err = NotAnInstant;

    fn from_str(s: &str) -> Result<Self, NotAnInstant> {
        let instant = s.parse::<jiff::Timestamp>().map_err(|_| unreadable(s))?;
        let instant = Self(instant.as_millisecond());
        if instant.is_within_bounds() { Ok(instant) } else { Err(NotAnInstant::OutOfBounds) }
    }
}

/// Why the time library takes no instant: its own end lies between the last day that
/// can be given and the last one that can be written.
fn unreadable(text: &str) -> NotAnInstant {
    match text.get(..10).map(str::parse::<jiff::civil::Date>) {
        Some(Ok(day)) if day > LAST_DAY && is_rfc_3339(text) => NotAnInstant::OutOfBounds,
        _ => NotAnInstant::Unreadable,
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an instant in RFC 3339, as 2026-11-27T07:00:05.000Z")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Timestamp, E> {
                match v.parse() {
                    Ok(instant) if is_rfc_3339(v) => Ok(instant),
                    Err(NotAnInstant::OutOfBounds) if is_rfc_3339(v) => {
                        Err(E::custom(OUT_OF_BOUNDS))
                    }
                    _ => Err(E::invalid_value(de::Unexpected::Str(v), &self)),
                }
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// The shape of an instant in RFC 3339: `YYYY-MM-DDThh:mm:ss`, perhaps a
/// fraction of up to nine digits, `Z` or `±hh:mm`. The time library reads
/// further notations, which the wire does not know.
fn is_rfc_3339(text: &str) -> bool {
    let follows = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(c, s)| match s {
                b'0' => c.is_ascii_digit(),
                other => c.to_ascii_uppercase() == *other,
            })
    };
    let Some((seconds, rest)) = text.as_bytes().split_at_checked(19) else { return false };
    let digits = |rest: &[u8]| rest.iter().take_while(|c| c.is_ascii_digit()).count();
    let zone = match rest {
        [b'.', fraction @ ..] if (1..=9).contains(&digits(fraction)) => {
            &fraction[digits(fraction)..]
        }
        whole => whole,
    };
    follows(seconds, b"0000-00-00T00:00:00")
        && (follows(zone, b"Z") || follows(zone, b"+00:00") || follows(zone, b"-00:00"))
}

const FIRST_DAY: jiff::civil::Date = jiff::civil::date(2000, 1, 1);
const LAST_DAY: jiff::civil::Date = jiff::civil::date(9999, 12, 29);

/// A calendar day in the office's own time zone.
///
/// In JSON and in binary the ten characters `YYYY-MM-DD`; none outside of
/// 2000-01-01 to 9999-12-29.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(jiff::civil::Date);

impl Date {
    /// The calendar day as the time library knows it.
    pub const fn civil(self) -> jiff::civil::Date {
        self.0
    }

    /// The ten characters `YYYY-MM-DD`.
    pub fn to_ascii(self) -> [u8; 10] {
        let (year, month, day) = (self.0.year() as u16, self.0.month() as u8, self.0.day() as u8);
        let digit = |n: u8| b'0' + n % 10;
        let (century, rest) = ((year / 100) as u8, (year % 100) as u8);
        [
            digit(century / 10),
            digit(century),
            digit(rest / 10),
            digit(rest),
            b'-',
            digit(month / 10),
            digit(month),
            b'-',
            digit(day / 10),
            digit(day),
        ]
    }
}

impl From<jiff::civil::Date> for Date {
    fn from(day: jiff::civil::Date) -> Self {
        Self(day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), self.0.month(), self.0.day())
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotADate {
    /// It is not one written as `YYYY-MM-DD`.
    #[error("not a day written as YYYY-MM-DD")]
    Unreadable,
    /// It is one that nothing can mean.
    #[error("{OUT_OF_BOUNDS}")]
    OutOfBounds,
}

impl FromStr for Date {
    type Err = NotADate;

    fn from_str(s: &str) -> Result<Self, NotADate> {
        let b = s.as_bytes();
        if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
            return Err(NotADate::Unreadable);
        }
        let number = |range: std::ops::Range<usize>| {
            b[range].iter().try_fold(0i16, |n, c| {
                c.is_ascii_digit().then(|| n * 10 + i16::from(c - b'0')).ok_or(NotADate::Unreadable)
            })
        };
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        // Two digits fit an i8: at most 99.
        let date = jiff::civil::Date::new(year, month as i8, day as i8)
            .map_err(|_| NotADate::Unreadable)?;
        if FIRST_DAY <= date && date <= LAST_DAY {
            Ok(Self(date))
        } else {
            Err(NotADate::OutOfBounds)
        }
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Date;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a day as YYYY-MM-DD")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Date, E> {
                v.parse().map_err(|error| match error {
                    NotADate::Unreadable => E::invalid_value(de::Unexpected::Str(v), &self),
                    NotADate::OutOfBounds => E::custom(OUT_OF_BOUNDS),
                })
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl bincode::Encode for Date {
    fn encode<E: bincode::enc::Encoder>(
        &self,
        encoder: &mut E,
    ) -> Result<(), bincode::error::EncodeError> {
        self.to_ascii().as_slice().encode(encoder)
    }
}

impl<C> bincode::Decode<C> for Date {
    fn decode<D: bincode::de::Decoder<Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        let length = u64::decode(decoder)?;
        if length != 10 {
            return Err(bincode::error::DecodeError::Other("a day is 10 characters"));
        }
        let text = <[u8; 10]>::decode(decoder)?;
        std::str::from_utf8(&text).ok().and_then(|s| s.parse().ok()).ok_or(
            bincode::error::DecodeError::Other(
                "a day is written as YYYY-MM-DD, from 2000-01-01 to 9999-12-29",
            ),
        )
    }
}
bincode::impl_borrow_decode!(Date);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_shows_milliseconds_in_utc() {
        let t: Timestamp = "2026-11-27T14:00:00.123+07:00".parse().unwrap();
        assert_eq!(t.to_string(), "2026-11-27T07:00:00.123Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn nobody_gives_a_time_or_day_that_nothing_can_mean() {
        assert_eq!(Timestamp::EARLIEST.to_string(), "2000-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::LATEST.to_string(), "9999-12-29T23:59:59.999Z");
        for last in [Timestamp::EARLIEST, Timestamp::LATEST] {
            assert_eq!(last.to_string().parse(), Ok(last));
            assert_eq!(serde_json::from_value::<Timestamp>(last.to_string().into()).unwrap(), last);
        }
        for beyond in [
            "1999-12-31T23:59:59.999Z",
            "9999-12-30T00:00:00Z",
            // Later than the time library can tell.
            "9999-12-31T00:00:00Z",
            "9999-12-31T23:59:59.999+07:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(beyond.parse::<Timestamp>(), Err(NotAnInstant::OutOfBounds), "{beyond}");
            let error = serde_json::from_value::<Timestamp>(beyond.into()).unwrap_err();
            assert_eq!(error.to_string(), OUT_OF_BOUNDS, "{beyond}");
        }
        assert_eq!(Timestamp::LATEST.plus_millis(1), Timestamp::LATEST);
        assert_eq!(Timestamp::EARLIEST.minus_millis(u64::MAX), Timestamp::EARLIEST);
        for beyond in ["1999-12-31", "9999-12-30", "0000-01-01"] {
            assert_eq!(beyond.parse::<Date>(), Err(NotADate::OutOfBounds), "{beyond}");
            let error = serde_json::from_value::<Date>(beyond.into()).unwrap_err();
            assert_eq!(error.to_string(), OUT_OF_BOUNDS, "{beyond}");
        }
        for none in ["9999-12-31", "9999-12-31 00:00:00Z", "9999-13-31T00:00:00Z"] {
            assert_eq!(none.parse::<Timestamp>(), Err(NotAnInstant::Unreadable), "{none}");
        }
        assert!("9999-12-29".parse::<Date>().is_ok() && "2000-01-01".parse::<Date>().is_ok());
    }

    #[test]
    fn the_wire_takes_rfc_3339_and_nothing_like_it() {
        let read = |text: &str| serde_json::from_value::<Timestamp>(text.into()).ok();
        let t = "2026-11-27T07:00:00.123Z";
        for same in [
            "2026-11-27T14:00:00.123+07:00",
            "2026-11-27t07:00:00.123z",
            "2026-11-27T07:00:00.123000+00:00",
            "2026-11-27T07:00:00.123999999-00:00",
        ] {
            assert_eq!(read(same).unwrap().to_string(), t, "{same}");
        }
        assert_eq!(read("2026-11-27T07:00:00Z").unwrap().to_string(), "2026-11-27T07:00:00.000Z");
        for bad in [
            "",
            "2026-11-27",
            "2026-11-27T07:00:00",
            "2026-11-27T07:00Z",
            "2026-11-27 07:00:00Z",
            "2026-11-27T07:00:00.Z",
            "2026-11-27T07:00:00.1234567890Z",
            "2026-11-27T07:00:00+07",
            "2026-11-27T07:00:00Z[Asia/Jakarta]",
            "2026-02-30T07:00:00Z",
            "2026-11-27T25:00:00Z",
            "+02026-11-27T07:00:00Z",
            "1764226800000",
            "2026-11-27T07:00:0é",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_date_is_strict() {
        assert_eq!("2026-11-30".parse::<Date>().unwrap().to_string(), "2026-11-30");
        for bad in
            ["2026-13-01", "2026-02-30", "2026-2-03", "20261130", "", "2026-11-3é", "+026-11-30"]
        {
            assert_eq!(bad.parse::<Date>(), Err(NotADate::Unreadable), "{bad}");
        }
    }
}

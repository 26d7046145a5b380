//! Orders and rules of return by name: as reports print them, and as commands take them.

use std::str::FromStr;

use super::{Order, ReturnRule};

/// Longest round that a command takes, ms.
const LONGEST_ROUND_MS: u64 = 3_600_000;
/// Longest delay of a returned place that a command takes, s.
const LONGEST_DELAY_S: u64 = 86_400;

/// Why a text names no order or rule of return: what was found, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARule {
    /// There is no such order.
    #[error("expected first-come, rounds=500ms or draw")]
    Order,
    /// The length of a round cannot be read, or is out of bounds.
    #[error(
        "{0:?} is not the length of a round; expected one like rounds=500ms, at most {longest}s",
        longest = LONGEST_ROUND_MS / 1_000
    )]
    RoundLength(String),
    /// There is no such rule of return.
    #[error("expected immediate, delayed:FROM-TO or at:HH:MM")]
    Returns,
    /// The delay cannot be read, or is out of bounds.
    #[error("{0:?} is not a range of seconds; expected one like delayed:600-3600")]
    Delay(String),
    /// The time of day cannot be read.
    #[error("{0:?} is not a time of day; expected one like at:17:00")]
    TimeOfDay(String),
}

impl Order {
    /// As reports and statements print it: `first-come`, `rounds 500 ms`, `draw`.
    pub fn name(&self) -> String {
        match self {
            Self::FirstCome => "first-come".to_owned(),
            Self::Rounds { length_ms } => format!("rounds {length_ms} ms"),
            Self::Draw => "draw".to_owned(),
        }
    }
}

/// `first-come`, `draw`, `rounds=500ms`, `rounds=2s`; a plain number is of ms.
impl FromStr for Order {
    type Err = NotARule;

    fn from_str(text: &str) -> Result<Self, NotARule> {
        let length = |text: &str| match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(ms), _) => ms.parse::<u64>().ok(),
            (None, Some(s)) => s.parse::<u64>().ok().and_then(|s| s.checked_mul(1_000)),
            (None, None) => text.parse().ok(),
        };
        match text.split_once(['=', ':']) {
            None if text == "first-come" => Ok(Self::FirstCome),
            None if text == "draw" => Ok(Self::Draw),
            Some(("rounds", text)) => match length(text) {
                Some(length_ms @ 1..=LONGEST_ROUND_MS) => Ok(Self::Rounds { length_ms }),
                _ => Err(NotARule::RoundLength(text.to_owned())),
            },
            _ => Err(NotARule::Order),
        }
    }
}

impl ReturnRule {
    /// As reports and statements print it: `immediate`, `delayed:10-60s`, `at:17:00`.
    pub fn name(&self) -> String {
        match self {
            Self::Immediate => "immediate".to_owned(),
            Self::Delayed { from_ms, to_ms } => {
                format!("delayed:{}-{}s", from_ms / 1_000, to_ms / 1_000)
            }
            Self::At { minutes } => {
                let times: Vec<String> =
                    minutes.iter().map(|m| format!("{:02}:{:02}", m / 60, m % 60)).collect();
                format!("at:{}", times.join("+"))
            }
        }
    }
}

/// `immediate`, `delayed:600-3600` in seconds, `at:17:00`.
impl FromStr for ReturnRule {
    type Err = NotARule;

    fn from_str(text: &str) -> Result<Self, NotARule> {
        let seconds = |text: &str| text.parse::<u64>().ok().filter(|s| *s <= LONGEST_DELAY_S);
        match text.split_once(':') {
            None if text == "immediate" => Ok(Self::Immediate),
            Some(("delayed", range)) => {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                match (seconds(from), seconds(to)) {
                    (Some(from), Some(to)) if from <= to => {
                        Ok(Self::Delayed { from_ms: from * 1_000, to_ms: to * 1_000 })
                    }
                    _ => Err(NotARule::Delay(range.to_owned())),
                }
            }
            Some(("at", time)) => {
                let (hour, minute) = time.split_once(':').unwrap_or((time, "0"));
                match (hour.parse::<u16>(), minute.parse::<u16>()) {
                    (Ok(hour @ 0..24), Ok(minute @ 0..60)) => {
                        Ok(Self::At { minutes: vec![hour * 60 + minute] })
                    }
                    _ => Err(NotARule::TimeOfDay(time.to_owned())),
                }
            }
            _ => Err(NotARule::Returns),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_or_refused_with_what_there_is() {
        let order = |text: &str| text.parse::<Order>();
        let refused = |text: &str| order(text).unwrap_err().to_string();
        assert_eq!(order("first-come"), Ok(Order::FirstCome));
        assert_eq!(order("draw"), Ok(Order::Draw));
        for half in ["rounds=500ms", "rounds:500ms", "rounds:500", "rounds=500"] {
            assert_eq!(order(half), Ok(Order::Rounds { length_ms: 500 }), "{half}");
        }
        assert_eq!(order("rounds=2s"), Ok(Order::Rounds { length_ms: 2_000 }));
        assert!(refused("rounds").contains("rounds=500ms"));
        for wrong in ["rounds=0ms", "rounds:fast", "rounds=3601s"] {
            assert!(refused(wrong).contains("not the length of a round"), "{wrong}");
            assert!(refused(wrong).contains("at most 3600s"), "{wrong}");
        }
        assert!(refused("lottery").contains("draw"));
    }

    #[test]
    fn rules_of_return_are_read_or_refused_with_what_there_is() {
        let returns = |text: &str| text.parse::<ReturnRule>();
        let refused = |text: &str| returns(text).unwrap_err().to_string();
        assert_eq!(returns("immediate"), Ok(ReturnRule::Immediate));
        let delayed = ReturnRule::Delayed { from_ms: 5_000, to_ms: 9_000 };
        assert_eq!(returns("delayed:5-9"), Ok(delayed));
        assert_eq!(returns("at:17:30"), Ok(ReturnRule::At { minutes: vec![1_050] }));
        assert!(refused("delayed:9-5").contains("not a range"));
        assert!(refused("at:24:00").contains("not a time of day"));
        assert!(refused("never").contains("immediate"));
    }
}

//! `--order`, wherever a command takes one.

use giliran_wire::ledger::Order;

/// Longest round that is read, ms.
const LONGEST_MS: u64 = 3_600_000;

/// `first-come`, `draw`, `rounds=500ms`, `rounds=2s`; a plain number is of ms.
pub(crate) fn order(text: &str) -> Result<Order, String> {
    let length = |text: &str| match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(ms), _) => ms.parse::<u64>().ok(),
        (None, Some(s)) => s.parse::<u64>().ok().and_then(|s| s.checked_mul(1_000)),
        (None, None) => text.parse().ok(),
    };
    match text.split_once(['=', ':']) {
        None if text == "first-come" => Ok(Order::FirstCome),
        None if text == "draw" => Ok(Order::Draw),
        Some(("rounds", text)) => match length(text) {
            Some(length_ms @ 1..=LONGEST_MS) => Ok(Order::Rounds { length_ms }),
            _ => Err(format!(
                "{text:?} is not the length of a round; expected one like rounds=500ms, at most 3600s"
            )),
        },
        _ => Err("expected first-come, rounds=500ms or draw".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_or_refused_with_what_there_is() {
        assert_eq!(order("first-come"), Ok(Order::FirstCome));
        assert_eq!(order("draw"), Ok(Order::Draw));
        for half in ["rounds=500ms", "rounds:500ms", "rounds:500", "rounds=500"] {
            assert_eq!(order(half), Ok(Order::Rounds { length_ms: 500 }), "{half}");
        }
        assert_eq!(order("rounds=2s"), Ok(Order::Rounds { length_ms: 2_000 }));
        assert!(order("rounds").unwrap_err().contains("rounds=500ms"));
        for wrong in ["rounds=0ms", "rounds:fast", "rounds=3601s"] {
            assert!(order(wrong).unwrap_err().contains("not the length of a round"), "{wrong}");
        }
        assert!(order("lottery").unwrap_err().contains("draw"));
    }
}

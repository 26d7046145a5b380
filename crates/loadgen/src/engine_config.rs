//! An engine's configuration that fits a scenario.

use std::fmt::Write as _;

use giliran_fairness::scenario::Scenario;
use giliran_wire::ledger::Order;
use giliran_wire::subject::Namespace;
use giliran_wire::{Date, Timestamp};

/// Time to start the engine and the surge before it opens.
const OPENS_AFTER_MS: u64 = 60_000;
/// How long it stays open; a rehearsal may begin later.
const LASTS_MS: u64 = 24 * 3_600_000;
/// A draw is waited for: it is held when the scenario's window ends, but not sooner.
const DRAWN_AFTER_MS: u64 = 10_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// The configuration, for an opening that opens in a minute. The order is the
/// engine's, as it is named; what the scenario says of times passes `speed` times as
/// fast.
pub fn configuration(
    scenario: &Scenario,
    namespace: &Namespace,
    order: Order,
    speed: f64,
    now: Timestamp,
) -> String {
    let ms = |scenario_s: f64| ((scenario_s * 1e3 / speed) as u64).max(1);
    let opens = now.plus_millis(OPENS_AFTER_MS);
    let lasts_ms = match order {
        Order::FirstCome | Order::Rounds { .. } => LASTS_MS,
        Order::Draw => ms(scenario.opening.window_s).max(DRAWN_AFTER_MS),
    };
    let order = match order {
        Order::FirstCome => "\"first-come\"".to_owned(),
        Order::Rounds { length_ms } => format!("{{ rounds = \"{length_ms}ms\" }}"),
        Order::Draw => "\"draw\"".to_owned(),
    };
    let dates: Vec<String> = (0..scenario.offices.days)
        .filter_map(|day| date(opens.plus_millis(LASTS_MS + (u64::from(day) + 1) * DAY_MS)))
        .map(|date| format!("\"{date}\""))
        .collect();
    let mut text = format!(
        "# An engine for `giliran surge --scenario {}`.\nsubject_prefix = \"{namespace}\"\n\n\
         [rules]\norder = {order}\nmax_party = {}\n",
        scenario.name, scenario.opening.max_party
    );
    if let Some(most) = scenario.opening.max_per_account {
        let _ = writeln!(text, "max_per_account = {most}");
    }
    if let Some(hold_s) = scenario.opening.hold_s {
        let _ = writeln!(text, "hold = \"{}ms\"", ms(hold_s));
    }
    let _ = write!(
        text,
        "\n[[opening]]\nid = \"surge\"\nopens_at = \"{opens}\"\ncloses_at = \"{}\"\ndates = [{}]\n",
        opens.plus_millis(lasts_ms),
        dates.join(", ")
    );
    for (rank, id) in scenario.offices.names().iter().enumerate() {
        let quota = scenario.offices.quota_of(rank);
        let _ = write!(
            text,
            "\n[[office]]\nid = \"{id}\"\nname = \"Office {}\"\nquota = {quota}\n",
            rank + 1
        );
    }
    text
}

fn date(at: Timestamp) -> Option<Date> {
    at.to_string().get(..10)?.parse().ok()
}

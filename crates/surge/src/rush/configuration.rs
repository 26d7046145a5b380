//! An engine's configuration that fits a scenario.

use std::fmt::Write as _;

use giliran_wire::subject::Domain;
use giliran_wire::{Date, Timestamp};

use crate::fairness::scenario::Scenario;

/// Time to start the engine and the surge before it opens.
const OPENS_AFTER_MS: u64 = 60_000;
/// How long it stays open; a rehearsal may begin later.
const LASTS_MS: u64 = 24 * 3_600_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// The configuration, for an opening that opens in a minute.
pub fn configuration(scenario: &Scenario, domain: &Domain, now: Timestamp) -> String {
    let opens = now.plus_millis(OPENS_AFTER_MS);
    let dates: Vec<String> = (0..scenario.offices.days)
        .filter_map(|day| date(opens.plus_millis(LASTS_MS + (u64::from(day) + 1) * DAY_MS)))
        .map(|date| format!("\"{date}\""))
        .collect();
    let mut text = format!(
        "# An engine for `giliran surge --scenario {}`. For rounds: order = {{ rounds = \"500ms\" \
         }}. For a\n# draw: order = \"draw\", and a `closes_at` that can be waited for.\n\
         subject_prefix = \"{domain}\"\n\n[rules]\norder = \"first-come\"\nmax_party = {}\n",
        scenario.name, scenario.opening.max_party
    );
    if let Some(most) = scenario.opening.max_per_account {
        let _ = writeln!(text, "max_per_account = {most}");
    }
    if let Some(hold_s) = scenario.opening.hold_s {
        let _ = writeln!(text, "hold = \"{}ms\"", (hold_s * 1e3) as u64);
    }
    let _ = write!(
        text,
        "\n[[opening]]\nid = \"surge\"\nopens_at = \"{opens}\"\ncloses_at = \"{}\"\ndates = [{}]\n",
        opens.plus_millis(LASTS_MS),
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

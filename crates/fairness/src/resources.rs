//! What attackers buy, and how they find out what pays.

use crate::scenario::{Attacker, Scenario};

/// What an attacker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Resources {
    /// Identities it asks under.
    pub identities: u64,
    /// Accounts it asks through.
    pub accounts: u64,
    pub connections: u64,
}

/// Shares of a budget, in quarters: identities, accounts, connections.
pub(crate) type Split = [u8; 3];

impl Resources {
    /// What an attacker that does not choose has; one that does, split evenly.
    pub(crate) fn at_first(attacker: &Attacker) -> Self {
        match attacker.budget {
            Some(_) => Self::bought(attacker, [2, 1, 1]),
            None => Self {
                // A replayer has none, and asks under none.
                identities: attacker.identities.unwrap_or(0),
                accounts: attacker.accounts.unwrap_or(1),
                connections: attacker.connections.unwrap_or(0),
            },
        }
    }

    /// What the budget buys; always an identity and an account.
    pub(crate) fn bought(attacker: &Attacker, split: Split) -> Self {
        let budget = attacker.budget.unwrap_or(0.0);
        let buy = |quarters: u8, price: f64| (budget * f64::from(quarters) / 4.0 / price) as u64;
        let [identities, accounts, connections] = split;
        Self {
            identities: buy(identities, attacker.identity_price).max(1),
            accounts: buy(accounts, attacker.account_price).max(1),
            connections: buy(connections, attacker.connection_price),
        }
    }
}

/// The splits an attacker weighs: every way to spend four quarters, one at least
/// on identities.
pub(crate) fn splits() -> impl Iterator<Item = Split> {
    (1..=4_u8).flat_map(|identities| {
        (0..=4 - identities).map(move |accounts| [identities, accounts, 4 - identities - accounts])
    })
}

/// Means that pay best under some order: each attacker that has a budget tries
/// every split, the others' means being what they are just then. `payoff` runs
/// the scenario with these means and says what each attacker got; none: it was asked
/// to stop.
pub(crate) fn best(
    scenario: &Scenario,
    mut payoff: impl FnMut(&[Resources]) -> Option<Vec<f64>>,
) -> Option<Vec<Resources>> {
    let mut means: Vec<Resources> = scenario.attackers.iter().map(Resources::at_first).collect();
    for (i, attacker) in scenario.attackers.iter().enumerate() {
        if attacker.budget.is_none() {
            continue;
        }
        let mut best: Option<(f64, Resources)> = None;
        for split in splits() {
            let tried = Resources::bought(attacker, split);
            means[i] = tried;
            let got = payoff(&means)?[i];
            if best.is_none_or(|(most, _)| got > most) {
                best = Some((got, tried));
            }
        }
        if let Some((_, found)) = best {
            means[i] = found;
        }
    }
    Some(means)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::scenario::shipped;

    #[test]
    fn every_split_spends_the_budget_and_has_an_identity() {
        let all: Vec<Split> = splits().collect();
        assert_eq!(all.len(), 10);
        assert!(all.iter().all(|s| s.iter().sum::<u8>() == 4 && s[0] > 0));
        let scenario = shipped("batam").unwrap();
        let means = Resources::bought(&scenario.attackers[0], [2, 1, 1]);
        assert_eq!(means, Resources { identities: 200, accounts: 50, connections: 10 });
    }

    #[test]
    fn an_attacker_buys_what_pays() {
        let scenario = shipped("batam").unwrap();
        let by = |of: fn(&Resources) -> u64| {
            best(&scenario, |all| Some(all.iter().map(|m| of(m) as f64).collect())).unwrap()
        };
        let speed = by(|means| means.connections);
        assert_eq!(speed[0], Resources::bought(&scenario.attackers[0], [1, 0, 3]));
        let people = by(|means| means.identities);
        assert_eq!(people[1], Resources::bought(&scenario.attackers[1], [4, 0, 0]));
    }
}

//! The same comparison along a parameter.

use giliran_wire::ledger::Order;

use crate::compare::Plan;
use crate::scenario::Kind;

/// What can be swept, and what its values are.
pub const PARAMETERS: [(&str, &str); 8] = [
    ("rounds_ms", "length of every order that has rounds, ms"),
    ("people", "factor on the parties of people"),
    ("places", "factor on the places of every office"),
    ("scalpers", "factor on what scalpers have or can spend"),
    ("distance", "factor on people's round trips"),
    ("decay_s", "time constant of the decay after the opening second, s"),
    ("tries", "sets of entries that an insider can try"),
    ("looks", "share of the rejected who look for returned places"),
];

/// The plan with `parameter` at `value`.
///
/// # Errors
///
/// Where there is no such parameter, or the value makes no sense for it.
pub fn at(plan: &Plan, parameter: &str, value: f64) -> Result<Plan, String> {
    let mut plan = plan.clone();
    let scenario = &mut plan.scenario;
    let most = match parameter {
        "looks" => 1.0,
        "rounds_ms" => 3_600_000.0,
        "tries" => 1_000_000.0,
        _ => 10_000.0,
    };
    let zero_is_fine = matches!(parameter, "looks" | "distance");
    if !(value >= 0.0 && value <= most && (value > 0.0 || zero_is_fine)) {
        let from = if zero_is_fine { "from 0" } else { "above 0" };
        return Err(format!("{parameter} = {value}: is to be {from}, up to {most}"));
    }
    let count = |n: u64| ((n as f64 * value).round() as u64).max(1);
    match parameter {
        "rounds_ms" => {
            let mut any = false;
            for arm in &mut plan.arms {
                if let Order::Rounds { length_ms } = &mut arm.order {
                    *length_ms = (value as u64).max(1);
                    any = true;
                }
            }
            if !any {
                return Err("rounds_ms: no order has rounds; add --orders rounds:500".to_owned());
            }
        }
        "people" => scenario.people.parties = count(scenario.people.parties),
        "places" => {
            for quota in &mut scenario.offices.quota {
                *quota = count(u64::from(*quota)).min(u64::from(u16::MAX)) as u16;
            }
        }
        "scalpers" => {
            for attacker in &mut scenario.attackers {
                attacker.identities = attacker.identities.map(count);
                attacker.accounts = attacker.accounts.map(count);
                attacker.enters = attacker.enters.map(count);
                attacker.requests = attacker.requests.map(count);
                attacker.connections =
                    attacker.connections.map(|n| if n == 0 { 0 } else { count(n) });
                attacker.budget = attacker.budget.map(|budget| budget * value);
            }
        }
        "distance" => {
            for cohort in &mut scenario.cohorts {
                cohort.rtt_ms = cohort.rtt_ms.map(|ms| ms * value);
            }
        }
        "tries" => {
            let insiders =
                scenario.attackers.iter_mut().filter(|attacker| attacker.kind == Kind::Insider);
            let set = insiders.map(|insider| insider.tries = Some((value as u64).max(1))).count();
            if set == 0 {
                return Err("tries: the scenario has no insider".to_owned());
            }
        }
        "decay_s" => scenario.people.decay_s = value,
        "looks" => scenario.aftermath.looks = value,
        _ => {
            let names: Vec<&str> = PARAMETERS.iter().map(|(name, _)| *name).collect();
            return Err(format!("{parameter}: no such parameter; there are {}", names.join(", ")));
        }
    }
    plan.scenario.check().map_err(|problems| format!("{parameter} = {value}: {problems}"))?;
    Ok(plan)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::Arm;
    use crate::scenario::{Scenario, shipped};
    use giliran_wire::ledger::ReturnRule;

    fn plan(order: Order) -> Plan {
        let arms = vec![Arm::new(order, ReturnRule::Immediate)];
        let scenario = shipped("batam").unwrap();
        Plan { scenario, arms, seeds: 1, seed: 1, threads: 1, pilot_parties: 1 }
    }

    /// Batam, with an insider among its scalpers.
    fn with_insider() -> Scenario {
        let mut scenario = shipped("batam").unwrap();
        scenario.attackers.extend(shipped("insiders").unwrap().attackers);
        scenario
    }

    #[test]
    fn every_parameter_changes_what_it_says() {
        let rounds = plan(Order::Rounds { length_ms: 500 });
        assert!(at(&rounds, "tries", 5.0).unwrap_err().contains("no insider"));
        let rounds = Plan { scenario: with_insider(), ..rounds };
        for (parameter, _) in PARAMETERS {
            let changed = at(&rounds, parameter, 0.5).unwrap_or_else(|e| panic!("{e}"));
            let same = changed.scenario == rounds.scenario && changed.arms == rounds.arms;
            assert!(!same, "{parameter} changes nothing");
        }
        let half = at(&rounds, "places", 0.5).unwrap();
        assert_eq!(half.scenario.offices.places() * 2, rounds.scenario.offices.places());
    }

    #[test]
    fn what_cannot_be_swept_is_refused() {
        let draw = plan(Order::Draw);
        assert!(at(&draw, "rounds_ms", 500.0).unwrap_err().contains("no order has rounds"));
        assert!(at(&draw, "luck", 1.0).unwrap_err().contains("there are rounds_ms"));
        assert!(at(&draw, "people", -1.0).unwrap_err().contains("above 0"));
        assert!(at(&draw, "people", f64::NAN).is_err());
        assert!(at(&draw, "people", 9_999.0).unwrap_err().contains("people.parties"));
    }
}

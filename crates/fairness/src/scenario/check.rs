//! Whether a scenario can be run.

use super::{Kind, MOST_PARTIES, Scenario};

/// What is wrong: the field, and what would be right.
pub(super) fn problems(scenario: &Scenario) -> Vec<(String, String)> {
    let mut found = Found(Vec::new());
    opening(scenario, &mut found);
    offices(scenario, &mut found);
    people(scenario, &mut found);
    cohorts(scenario, &mut found);
    attackers(scenario, &mut found);
    let after = &scenario.aftermath;
    found.at_least_zero("aftermath.lasts_s", after.lasts_s, 86_400.0);
    found.probability("aftermath.looks", after.looks);
    found.positive("aftermath.every_s", after.every_s);
    found.0
}

struct Found(Vec<(String, String)>);

impl Found {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push((field.to_owned(), message.into()));
    }

    fn probability(&mut self, field: &str, p: f64) {
        if !(0.0..=1.0).contains(&p) {
            self.add(field, format!("{p} is not a share; expected 0 to 1"));
        }
    }

    fn positive(&mut self, field: &str, x: f64) {
        if !(x > 0.0 && x.is_finite()) {
            self.add(field, format!("{x} is not above 0"));
        }
    }

    fn at_least_zero(&mut self, field: &str, x: f64, most: f64) {
        if !(0.0..=most).contains(&x) {
            self.add(field, format!("{x} is not from 0 to {most}"));
        }
    }

    fn range(&mut self, field: &str, [from, to]: [f64; 2]) {
        if !(from >= 0.0 && to >= from && to <= 60_000.0) {
            self.add(
                field,
                format!(
                    "[{from}, {to}] is not a range; expected two numbers from 0 to 60000, rising"
                ),
            );
        }
    }

    fn weights(&mut self, field: &str, weights: &[f64], most: usize) {
        let fine = weights.iter().all(|w| *w >= 0.0 && w.is_finite());
        if !fine || weights.iter().sum::<f64>() <= 0.0 {
            self.add(field, "is to hold shares from 0 on, one at least above it");
        } else if weights.len() > most {
            self.add(field, format!("{} shares, but there are at most {most}", weights.len()));
        }
    }
}

fn opening(scenario: &Scenario, found: &mut Found) {
    let opening = &scenario.opening;
    found.positive("opening.window_s", opening.window_s);
    if opening.window_s > 86_400.0 {
        found.add("opening.window_s", format!("{} is more than a day", opening.window_s));
    }
    if !(1..=5).contains(&opening.max_party) {
        found.add("opening.max_party", format!("{} is not from 1 to 5", opening.max_party));
    }
    if opening.max_per_account == Some(0) {
        found.add("opening.max_per_account", "0 lets nobody book; leave it out for no limit");
    }
    if let Some(hold) = opening.hold_s {
        found.positive("opening.hold_s", hold);
    }
    found.positive("opening.capacity_per_s", opening.capacity_per_s);
    found.at_least_zero("opening.backlog_ms", opening.backlog_ms, 600_000.0);
    found.at_least_zero("opening.commit_ms", opening.commit_ms, 60_000.0);
}

fn offices(scenario: &Scenario, found: &mut Found) {
    let offices = &scenario.offices;
    if offices.count == 0 {
        found.add("offices.count", "0 is not a number of offices; expected from 1 on");
    }
    if !(1..=7).contains(&offices.days) {
        found.add("offices.days", format!("{} is not from 1 to 7", offices.days));
    }
    if u32::from(offices.count) * u32::from(offices.days) > 10_000 {
        found
            .add("offices.count", "more than 10000 slots: an opening's record would not hold them");
    }
    if offices.quota.is_empty() || offices.quota.contains(&0) {
        found.add("offices.quota", "an office without places; expected from 1 to 65535 a day");
    }
    found.at_least_zero("offices.zipf", offices.zipf, 10.0);
    if !offices.ids.is_empty() {
        if offices.ids.len() != usize::from(offices.count) {
            let message = format!("{} ids for {} offices", offices.ids.len(), offices.count);
            found.add("offices.ids", message);
        }
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        for (i, id) in offices.ids.iter().enumerate() {
            if !(1..=40).contains(&id.len()) || !id.bytes().all(legal) {
                found.add(
                    "offices.ids",
                    format!("{id:?} is not an id; expected 1 to 40 of a-z, 0-9 and -"),
                );
            }
            if offices.ids[..i].contains(id) {
                found.add("offices.ids", format!("{id:?} is there twice"));
            }
        }
    }
}

fn people(scenario: &Scenario, found: &mut Found) {
    let people = &scenario.people;
    if people.parties == 0 {
        found.add("people.parties", "nobody asks; from 1 on");
    }
    if people.parties > MOST_PARTIES {
        found.add("people.parties", format!("{} are more than {MOST_PARTIES}", people.parties));
    }
    found.weights("people.families", &people.families, scenario.opening.max_party.into());
    found.weights("people.acceptable_days", &people.acceptable_days, scenario.offices.days.into());
    found.positive("people.decay_s", people.decay_s);
    found.at_least_zero("people.early_rate", people.early_rate, 10.0);
    found.at_least_zero("people.early_s", people.early_s, 3_600.0);
    for (field, p) in [
        ("people.second_office", people.second_office),
        ("people.duplicates", people.duplicates),
        ("people.retries", people.retries),
        ("people.pays", people.pays),
        ("people.cancels", people.cancels),
        ("people.no_show", people.no_show),
    ] {
        found.probability(field, p);
    }
    found.range("people.retry_after_s", people.retry_after_s);
    found.positive("people.retry_after_s", people.retry_after_s[1]);
    if people.most_tries == 0 {
        found.add("people.most_tries", "0 tries: nobody asks; from 1 on");
    }
    found.positive("people.patience_s", people.patience_s);
}

fn cohorts(scenario: &Scenario, found: &mut Found) {
    let weights: Vec<f64> = scenario.cohorts.iter().map(|cohort| cohort.share).collect();
    found.weights("cohorts", &weights, 100);
    for (i, cohort) in scenario.cohorts.iter().enumerate() {
        let field = |name: &str| format!("cohorts[{i}].{name}");
        if cohort.name.trim().is_empty() {
            found.add(&field("name"), "is empty");
        }
        if scenario.cohorts[..i].iter().any(|other| other.name == cohort.name) {
            found.add(&field("name"), format!("{:?} is there twice", cohort.name));
        }
        found.range(&field("rtt_ms"), cohort.rtt_ms);
        found.probability(&field("lost"), cohort.lost);
    }
}

fn attackers(scenario: &Scenario, found: &mut Found) {
    if scenario.attackers.len() > 50 {
        found.add("attackers", "more than 50");
    }
    for (i, attacker) in scenario.attackers.iter().enumerate() {
        let field = |name: &str| format!("attackers[{i}].{name}");
        let fixed = attacker.identities.is_some()
            || attacker.accounts.is_some()
            || attacker.connections.is_some();
        match (attacker.budget, attacker.identities) {
            (None, None) if attacker.kind == Kind::Replayer => {}
            (None, None) => found.add(
                &format!("attackers[{i}]"),
                "has neither `budget` (it chooses what to buy) nor `identities` (it has them)",
            ),
            (Some(_), _) if fixed => found.add(
                &field("budget"),
                "is given beside `identities`, `accounts` or `connections`: either it chooses or not",
            ),
            (Some(budget), _) => found.positive(&field("budget"), budget),
            (None, Some(0)) => found.add(&field("identities"), "without one it cannot ask"),
            (None, Some(n)) if n > MOST_PARTIES => {
                found.add(&field("identities"), format!("{n} are more than {MOST_PARTIES}"));
            }
            (None, Some(_)) => {}
        }
        insider(scenario, i, found);
        forgeries(scenario, i, found);
        found.probability(&field("valid_ids"), attacker.valid_ids);
        if attacker.accounts == Some(0) {
            found.add(&field("accounts"), "without one it cannot ask; from 1 on");
        }
        found.positive(&field("identity_price"), attacker.identity_price);
        found.positive(&field("account_price"), attacker.account_price);
        found.positive(&field("connection_price"), attacker.connection_price);
        if let Some(budget) = attacker.budget
            && budget / attacker.identity_price > MOST_PARTIES as f64
        {
            found.add(&field("budget"), format!("buys more than {MOST_PARTIES} identities"));
        }
        found.range(&field("rtt_ms"), attacker.rtt_ms);
        found.range(&field("slow_rtt_ms"), attacker.slow_rtt_ms);
        found.probability(&field("pays"), attacker.pays);
        if let Some(every) = attacker.looks_every_s {
            found.positive(&field("looks_every_s"), every);
            if every < 0.05 {
                found.add(&field("looks_every_s"), format!("{every} is below 0.05"));
            }
        }
        if scenario.attackers[..i].iter().any(|other| other.name == attacker.name) {
            found.add(&field("name"), format!("{:?} is there twice", attacker.name));
        }
    }
}

/// Most sets of entries that an insider tries: each is a whole draw.
const MOST_TRIES: u64 = 1_000_000;

fn insider(scenario: &Scenario, i: usize, found: &mut Found) {
    let attacker = &scenario.attackers[i];
    let field = |name: &str| format!("attackers[{i}].{name}");
    if attacker.kind != Kind::Insider {
        for (name, given) in [("enters", attacker.enters), ("tries", attacker.tries)] {
            if given.is_some() {
                found.add(&field(name), "only an insider has it");
            }
        }
        return;
    }
    if attacker.budget.is_some() {
        found.add(&field("budget"), "an insider has its means: `identities`, and no budget");
    }
    if scenario.attackers[..i].iter().any(|other| other.kind == Kind::Insider) {
        found.add(&field("kind"), "a second insider: whoever moves last decides, so give one");
    }
    if !(1..=attacker.identities.unwrap_or(u64::MAX)).contains(&attacker.enters.unwrap_or(1)) {
        found.add(&field("enters"), "is to be from 1 up to `identities`");
    }
    if !(1..=MOST_TRIES).contains(&attacker.tries.unwrap_or(1)) {
        found.add(&field("tries"), format!("is to be from 1 to {MOST_TRIES}"));
    }
}

fn forgeries(scenario: &Scenario, i: usize, found: &mut Found) {
    let attacker = &scenario.attackers[i];
    let field = |name: &str| format!("attackers[{i}].{name}");
    if !matches!(attacker.kind, Kind::Replayer | Kind::Forger) {
        if attacker.requests.is_some() {
            found.add(&field("requests"), "only a replayer or a forger has it");
        }
        return;
    }
    if !(1..=MOST_PARTIES).contains(&attacker.requests.unwrap_or(0)) {
        let message = format!("how many does it send? From 1 to {MOST_PARTIES}");
        found.add(&field("requests"), message);
    }
    if attacker.budget.is_some() {
        found.add(&field("budget"), "a replayer or forger has its means, and no budget");
    }
    if attacker.kind == Kind::Replayer && attacker.identities.is_some() {
        found.add(&field("identities"), "a replayer sends others' requests, none of its own");
    }
}

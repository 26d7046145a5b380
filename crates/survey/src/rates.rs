//! Answers a second, from what engines have counted at two moments.

use std::collections::BTreeMap;

use giliran_wire::picture::{Process, Rates, Took};

/// What engines answered between two moments, `over_ms` apart. A process that was there at
/// one of them alone counts for nothing; none: no time passed, or no process was there at
/// both.
pub fn rates(before: &[Process], after: &[Process], over_ms: u64) -> Option<Rates> {
    let same = |process: &Process| before.iter().find(|earlier| earlier.id == process.id);
    let pairs: Vec<_> = after.iter().filter_map(|now| Some((same(now)?, now))).collect();
    if over_ms == 0 || pairs.is_empty() {
        return None;
    }
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let mut within: BTreeMap<u64, u64> = BTreeMap::new();
    for (earlier, now) in pairs {
        grants_between(&earlier.standing.grants_within, &now.standing.grants_within, &mut within);
        for (outcome, count) in &now.standing.answers {
            let known = earlier.standing.answers.get(outcome).copied().unwrap_or(0);
            *counted.entry(outcome.clone()).or_default() += count.saturating_sub(known);
        }
    }
    // To a tenth: more than that nobody can read while it changes.
    let a_second = |count: u64| (count as f64 * 10_000.0 / over_ms as f64).round() / 10.0;
    let rates = counted.into_iter().filter(|(_, count)| *count > 0);
    let per_second = rates.map(|(o, count)| (o, a_second(count))).collect();
    Some(Rates { over_ms, per_second, grants: took(&within) })
}

/// Counts in the grants between two counts of one engine, by how long they took at most.
fn grants_between(earlier: &[[u64; 2]], now: &[[u64; 2]], within: &mut BTreeMap<u64, u64>) {
    // A bucket that was empty was left out: it had as many as the one before it.
    let until = |counts: &[[u64; 2]], us: u64| {
        counts.iter().rev().find(|[at, _]| *at <= us).map_or(0, |[_, count]| *count)
    };
    let mut before = 0;
    for [us, count] in now {
        let new = count.saturating_sub(until(earlier, *us));
        *within.entry(*us).or_default() += new.saturating_sub(before);
        before = new;
    }
}

fn took(within: &BTreeMap<u64, u64>) -> Option<Took> {
    let all: u64 = within.values().sum();
    let at = |percent: u64| {
        let mut left = (all * percent).div_ceil(100);
        within.iter().find(|(_, count)| {
            left = left.saturating_sub(**count);
            left == 0
        })
    };
    if all == 0 {
        return None;
    }
    Some(Took { p50_us: *at(50)?.0, p99_us: *at(99)?.0 })
}

#[cfg(test)]
mod tests {
    use giliran_wire::service::Standing;

    use super::*;

    fn process(id: &str, answers: &[(&str, u64)]) -> Process {
        let answers = answers.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let standing = Standing { answers, ..Standing::default() };
        Process { id: id.to_owned(), version: "1".to_owned(), started: None, standing }
    }

    #[test]
    fn rates_are_of_those_who_were_there_all_the_time() {
        let before = [process("a", &[("granted", 100)]), process("gone", &[("granted", 7)])];
        let after = [
            process("a", &[("granted", 150), ("rejected.sold_out", 3)]),
            process("new", &[("granted", 9_000)]),
        ];
        let found = rates(&before, &after, 2_000);
        let per_second = [("granted".to_owned(), 25.0), ("rejected.sold_out".to_owned(), 1.5)];
        let per_second = per_second.into();
        assert_eq!(found, Some(Rates { over_ms: 2_000, per_second, grants: None }));
        assert_eq!(rates(&before, &after, 0), None, "no time has passed");
        assert_eq!(rates(&before, &after[1..], 2_000), None, "nobody was there at both");
    }

    #[test]
    fn how_long_grants_took_is_of_those_between() {
        let with = |id: &str, within: &[[u64; 2]]| {
            let mut process = process(id, &[]);
            process.standing.grants_within = within.to_vec();
            process
        };
        // 1,000 fast ones long ago; since then 90 within 2 ms and 10 within 8 ms.
        let before = [with("a", &[[1_024, 1_000]])];
        let after = [with("a", &[[1_024, 1_000], [2_048, 1_090], [4_096, 1_090], [8_192, 1_100]])];
        let took = rates(&before, &after, 1_000).and_then(|rates| rates.grants);
        assert_eq!(took, Some(Took { p50_us: 2_048, p99_us: 8_192 }));
        assert_eq!(rates(&after, &after, 1_000).and_then(|rates| rates.grants), None);
    }
}

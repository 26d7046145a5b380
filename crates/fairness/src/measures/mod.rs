//! Measures of an allocation, each a pure function of what happened.
//!
//! A applicants, W winners, Q places. What a measure says, where it ends, and
//! who it is by stands with each; `docs/fairness.md` explains them to readers.

mod distribution;
mod measure;
pub mod run;
mod sample;

pub use distribution::{chi_square_tail, kolmogorov_tail, normal_two_sided, t_95};
pub use measure::Measure;
pub use sample::{Estimate, holm};

/// `part / whole`; none without a whole.
pub fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Places granted beyond the quota: max(0, grants − Q). Must be 0.
pub fn oversell(live: u64, quota: u64) -> u64 {
    live.saturating_sub(quota)
}

/// Places in scalper hands over all places, 0..=1: the size of the black market.
/// None where there are no places.
pub fn scalper_share(in_scalper_hands: u64, quota: u64) -> Option<f64> {
    share(in_scalper_hands, quota)
}

/// How one cohort fared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CohortRatio {
    /// r = (w_c / a_c) / (W / A): 1 is even, 2 twice the usual chance; bounded by
    /// 0 and A / W.
    pub ratio: f64,
    /// Standard deviations from an even hand: w_c is hypergeometric under it,
    /// z = (w_c − W p) / √(W p (1 − p) (A − W) / (A − 1)), p = a_c / A.
    pub z: f64,
}

/// |z| beyond which a cohort is flagged, where only one is looked at.
pub const FLAG_Z: f64 = 3.0;

/// A cohort's ratio and z. None where nobody applied in it, or nobody won, or
/// it is everybody: there is nothing to compare. Where everybody won, z is 0.
pub fn cohort_ratio(won: u64, applied: u64, winners: u64, applicants: u64) -> Option<CohortRatio> {
    if applied == 0 || winners == 0 || applied >= applicants || winners > applicants {
        return None;
    }
    let (w, a) = (winners as f64, applicants as f64);
    let p = applied as f64 / a;
    let ratio = (won as f64 / applied as f64) / (w / a);
    let variance = w * p * (1.0 - p) * (a - w) / (a - 1.0);
    let z = if variance > 0.0 { (won as f64 - w * p) / variance.sqrt() } else { 0.0 };
    Some(CohortRatio { ratio, z })
}

/// One who asked, for [`inversion_rate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Whom it is compared with: those of the same group wanted the same.
    pub group: u64,
    /// When it came first.
    pub at: i64,
    pub won: bool,
}

/// The share of (winner, loser) pairs of a group in which the loser came first;
/// equal times count half. 1 − AUC of arrival as a predictor of winning (Hanley
/// and McNeil, Radiology 143, 1982), pooled over the groups by their pairs.
///
/// 0 is pure first-come, 0.5 a lottery, 1 last-come. None where there is no
/// pair. O(n log n).
pub fn inversion_rate(mut arrivals: Vec<Arrival>) -> Option<f64> {
    arrivals.sort_unstable_by_key(|a| (a.group, a.at));
    let (mut inverted, mut pairs) = (0.0, 0.0);
    for group in arrivals.chunk_by(|a, b| a.group == b.group) {
        let (mut losers, mut winners) = (0_u64, 0_u64);
        for tie in group.chunk_by(|a, b| a.at == b.at) {
            let won = tie.iter().filter(|a| a.won).count() as u64;
            let lost = tie.len() as u64 - won;
            inverted += won as f64 * (losers as f64 + lost as f64 / 2.0);
            losers += lost;
            winners += won;
        }
        pairs += winners as f64 * losers as f64;
    }
    (pairs > 0.0).then(|| inverted / pairs)
}

/// Success by round trip.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencySlope {
    /// The success rate of each tenth, the fastest first, 0..=1.
    pub by_decile: Vec<f64>,
    /// The least-squares slope over the tenths, as the difference between the
    /// fastest and the slowest tenth it stands for, over the mean success rate:
    /// 0 means that speed buys nothing, 1 that the fastest tenth is ahead by as
    /// much as the average chance.
    pub premium: f64,
}

/// Success by round-trip tenth of (round trip, won). None for fewer than ten, or
/// where nobody won. Sorts by round trip, equal ones by their place in the list.
pub fn latency_slope(mut asked: Vec<(u32, bool)>) -> Option<LatencySlope> {
    let n = asked.len();
    let wins = asked.iter().filter(|(_, won)| *won).count();
    if n < 10 || wins == 0 {
        return None;
    }
    asked.sort_by_key(|(round_trip, _)| *round_trip);
    let tenth = |i: usize| &asked[i * n / 10..(i + 1) * n / 10];
    let rate = |tenth: &[(u32, bool)]| {
        tenth.iter().filter(|(_, won)| *won).count() as f64 / tenth.len() as f64
    };
    let by_decile: Vec<f64> = (0..10).map(|i| rate(tenth(i))).collect();
    // Σ (x − x̄)² over 0..=9 is 82.5; from first to last are nine steps.
    let slope: f64 = by_decile.iter().zip(0..).map(|(y, x)| (f64::from(x) - 4.5) * y).sum();
    let premium = -slope / 82.5 * 9.0 / (wins as f64 / n as f64);
    Some(LatencySlope { by_decile, premium })
}

/// How concentrated holdings are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concentration {
    /// The share of the k largest holders, 0..=1.
    pub top: f64,
    /// Herfindahl and Hirschman's index, Σ s² over holders' shares s: 1 / holders
    /// where all have the same, 1 where one has all. (A. O. Hirschman, American
    /// Economic Review 54, 1964.)
    pub hhi: f64,
}

/// Concentration over holders' numbers of places, of the `k` largest. None where
/// nobody holds any.
pub fn concentration(mut held: Vec<u64>, k: usize) -> Option<Concentration> {
    let all: u64 = held.iter().sum();
    if all == 0 {
        return None;
    }
    held.sort_unstable_by(|a, b| b.cmp(a));
    let top: u64 = held.iter().take(k).sum();
    let square = |held: &u64| {
        let s = *held as f64 / all as f64;
        s * s
    };
    Some(Concentration { top: top as f64 / all as f64, hhi: held.iter().map(square).sum() })
}

/// Gini's coefficient of rates per cohort, or of places per account: 0 where all
/// have the same, towards 1 where one has all. Says nothing of single 0/1
/// outcomes, where it is 1 − W/A whoever wins. None for none, or all zero, or a
/// negative value. (G = Σ (2i − n − 1) x_i / (n Σ x), x rising.)
pub fn gini(mut values: Vec<f64>) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    if sum <= 0.0 || values.iter().any(|v| *v < 0.0) {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len() as f64;
    let weighed: f64 =
        values.iter().enumerate().map(|(i, v)| (2.0 * (i as f64 + 1.0) - n - 1.0) * v).sum();
    Some(weighed / (n * sum))
}

/// Jain's index (Σx)² / (n Σx²) of rates per cohort, or of places per account:
/// 1 where all have the same, 1/n where one has all. On single 0/1 outcomes it is
/// W/A whoever wins. None for none, or all zero. (R. Jain, D. Chiu, W. Hawe, DEC
/// Research Report TR-301, 1984.)
pub fn jain(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|v| v * v).sum();
    (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

/// A statistic and the probability of one as large under an even hand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Uniformity {
    /// χ², or Kolmogorov's distance.
    pub statistic: f64,
    /// The p value, 0..=1.
    pub p: f64,
}

/// Pearson's χ² of counts that should all be the same. None for fewer than two
/// classes, or where fewer than five are expected in each: the approximation is
/// not good there.
pub fn chi_square_uniform(counts: &[u64]) -> Option<Uniformity> {
    let all: u64 = counts.iter().sum();
    let expected = all as f64 / counts.len() as f64;
    if counts.len() < 2 || expected < 5.0 {
        return None;
    }
    let statistic = counts.iter().map(|c| (*c as f64 - expected).powi(2) / expected).sum();
    Some(Uniformity { statistic, p: chi_square_tail(statistic, counts.len() - 1) })
}

/// Kolmogorov's distance of ranks, as fractions in 0..1, from the uniform
/// distribution. None for fewer than five.
pub fn ks_uniform(mut ranks: Vec<f64>) -> Option<Uniformity> {
    let n = ranks.len();
    if n < 5 {
        return None;
    }
    ranks.sort_unstable_by(f64::total_cmp);
    let apart = |(i, rank): (usize, &f64)| {
        (rank - i as f64 / n as f64).max((i + 1) as f64 / n as f64 - rank)
    };
    let statistic = ranks.iter().enumerate().map(apart).fold(0.0, f64::max);
    Some(Uniformity { statistic, p: kolmogorov_tail(statistic, n) })
}

/// Places that came back and went to the party that gave them, over those it gave
/// back, 0..=1: the cancel-and-rebook channel. None where none came back.
pub fn recycle_capture(recaptured: u64, given_back: u64) -> Option<f64> {
    share(recaptured, given_back)
}

/// Places nobody used over all places, 0..=1: unsold, expired without being sold
/// again, and no-shows. The price of holds. None where there are no places.
pub fn waste(unused: u64, no_shows: u64, quota: u64) -> Option<f64> {
    share(unused + no_shows, quota)
}

/// Terminal answers before the deadline over requests, 0..=1. None without
/// requests.
pub fn answered_in_time(in_time: u64, requests: u64) -> Option<f64> {
    share(in_time, requests)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn shares_and_what_must_be_zero() {
        assert_eq!(oversell(12, 10), 2);
        assert_eq!(oversell(9, 10), 0);
        assert_eq!(scalper_share(30, 120), Some(0.25));
        assert_eq!(scalper_share(0, 0), None);
        assert_eq!(recycle_capture(3, 4), Some(0.75));
        assert_eq!(recycle_capture(0, 0), None);
        assert_eq!(waste(3, 1, 16), Some(0.25));
        assert_eq!(answered_in_time(7, 8), Some(0.875));
        assert_eq!(answered_in_time(0, 0), None);
    }

    #[test]
    fn a_cohort_with_twice_the_usual_chance() {
        // 100 apply and 20 win; of the cohort's 10, 4 do.
        let c = cohort_ratio(4, 10, 20, 100).unwrap();
        near(c.ratio, 2.0);
        // Expected 2, variance 20 · 0.1 · 0.9 · 80 / 99.
        near(c.z, 2.0 / (1.8_f64 * 80.0 / 99.0).sqrt());
        let even = cohort_ratio(2, 10, 20, 100).unwrap();
        assert_eq!((even.ratio, even.z), (1.0, 0.0));
        let all = cohort_ratio(10, 10, 100, 100).unwrap();
        assert_eq!((all.ratio, all.z), (1.0, 0.0));
        assert_eq!(cohort_ratio(0, 0, 20, 100), None);
        assert_eq!(cohort_ratio(0, 10, 0, 100), None);
        assert_eq!(cohort_ratio(20, 100, 20, 100), None, "everybody is one cohort");
    }

    fn arrivals(of: &[(u64, i64, bool)]) -> Vec<Arrival> {
        of.iter().map(|(group, at, won)| Arrival { group: *group, at: *at, won: *won }).collect()
    }

    #[test]
    fn inversions_by_hand_and_by_all_pairs() {
        let first = [(0, 1, true), (0, 2, true), (0, 3, false)];
        assert_eq!(inversion_rate(arrivals(&first)), Some(0.0));
        let last = [(0, 3, true), (0, 1, false), (0, 2, false)];
        assert_eq!(inversion_rate(arrivals(&last)), Some(1.0));
        // Winners at 1 and 4, losers at 2 and 4: of four pairs one is inverted and
        // one a tie.
        let tie = [(0, 1, true), (0, 2, false), (0, 4, true), (0, 4, false)];
        assert_eq!(inversion_rate(arrivals(&tie)), Some(0.375));
        // Pairs across groups do not count: 1 of 1 and 0 of 1.
        let groups = [(0, 1, false), (0, 2, true), (1, 3, true), (1, 4, false)];
        assert_eq!(inversion_rate(arrivals(&groups)), Some(0.5));
        assert_eq!(inversion_rate(arrivals(&[(0, 1, true), (1, 0, false)])), None);
        let mut x = 1_u64;
        let many: Vec<(u64, i64, bool)> = (0..300)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((x >> 40) % 3, ((x >> 33) % 50) as i64, (x >> 60).is_multiple_of(3))
            })
            .collect();
        let (mut inverted, mut pairs) = (0.0, 0.0);
        for w in many.iter().filter(|w| w.2) {
            for l in many.iter().filter(|l| !l.2 && l.0 == w.0) {
                pairs += 1.0;
                inverted += if l.1 < w.1 {
                    1.0
                } else if l.1 == w.1 {
                    0.5
                } else {
                    0.0
                };
            }
        }
        near(inversion_rate(arrivals(&many)).unwrap(), inverted / pairs);
    }

    #[test]
    fn speed_that_pays_and_speed_that_does_not() {
        let fast: Vec<(u32, bool)> = (0..100).map(|i| (i, i < 50)).collect();
        let slope = latency_slope(fast).unwrap();
        assert_eq!(slope.by_decile, [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        // Σ (x − 4.5) over 0..=4 is −12.5; 12.5 / 82.5 · 9 / 0.5.
        near(slope.premium, 12.5 / 82.5 * 9.0 / 0.5);
        let even: Vec<(u32, bool)> = (0..100).map(|i| (i, i % 10 == 3)).collect();
        near(latency_slope(even).unwrap().premium, 0.0);
        // Falling by 0.1 a tenth from 0.95: fastest to slowest 0.9, mean 0.5.
        let line: Vec<(u32, bool)> = (0..200).map(|i| (i, i % 20 < 19 - 2 * (i / 20))).collect();
        near(latency_slope(line).unwrap().premium, 0.9 / 0.5);
        assert_eq!(latency_slope(vec![(1, true); 9]), None);
        assert_eq!(latency_slope(vec![(1, false); 10]), None);
    }

    #[test]
    fn concentration_by_hand() {
        let c = concentration(vec![1, 5, 2, 2], 1).unwrap();
        near(c.top, 0.5);
        near(c.hhi, 0.01 + 0.25 + 0.04 + 0.04);
        let one = concentration(vec![7, 0], 1).unwrap();
        assert_eq!((one.top, one.hhi), (1.0, 1.0));
        assert_eq!(concentration(vec![0, 0], 1), None);
    }

    #[test]
    fn gini_and_jain_by_hand() {
        near(gini(vec![3.0, 3.0, 3.0]).unwrap(), 0.0);
        // One of four has all: (n − 1) / n.
        near(gini(vec![0.0, 8.0, 0.0, 0.0]).unwrap(), 0.75);
        // 1, 2, 3: Σ (2i − 4) x = −2 + 0 + 6 = 4, over 3 · 6.
        near(gini(vec![3.0, 1.0, 2.0]).unwrap(), 4.0 / 18.0);
        assert_eq!(gini(vec![]), None);
        assert_eq!(gini(vec![-1.0, 2.0]), None);
        near(jain(&[5.0, 5.0]).unwrap(), 1.0);
        near(jain(&[0.0, 8.0, 0.0, 0.0]).unwrap(), 0.25);
        near(jain(&[1.0, 2.0, 3.0]).unwrap(), 36.0 / 42.0);
        assert_eq!(jain(&[0.0]), None);
        // On 0/1 outcomes both say no more than W/A.
        let outcomes = vec![1.0, 0.0, 0.0, 1.0, 0.0];
        near(jain(&outcomes).unwrap(), 0.4);
        near(gini(outcomes).unwrap(), 0.6);
    }

    #[test]
    fn uniformity_by_hand() {
        // Expected 10 each: (4 + 4 + 0 + 0) / 10.
        let u = chi_square_uniform(&[12, 8, 10, 10]).unwrap();
        near(u.statistic, 0.8);
        // χ² of 3 degrees: Q = erfc(√(x/2)) + √(2x/π) e^(−x/2).
        let closed = normal_two_sided(0.8_f64.sqrt())
            + (2.0 * 0.8 / std::f64::consts::PI).sqrt() * (-0.4_f64).exp();
        near(u.p, closed);
        assert_eq!(chi_square_uniform(&[9, 9]).unwrap().p, 1.0);
        assert_eq!(chi_square_uniform(&[4, 4]), None, "too few");
        assert_eq!(chi_square_uniform(&[400]), None);
        // Five ranks in the middle of their fifths: 0.1 apart.
        near(ks_uniform(vec![0.9, 0.1, 0.3, 0.5, 0.7]).unwrap().statistic, 0.1);
        // All in the lowest tenth: 0.95 from the step to one.
        near(ks_uniform(vec![0.05; 5]).unwrap().statistic, 0.95);
        assert_eq!(ks_uniform(vec![0.5; 4]), None);
    }
}

//! Figures over seeds, and many checks at once.

use serde::Serialize;

use super::t_95;

/// A mean over seeds and its 95 % confidence interval: Student's t, since the
/// spread is estimated from the same few runs. A single run has no interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: f64,
    /// Half the width of the interval; none: one run.
    pub half: Option<f64>,
    /// Runs it was taken over.
    pub runs: usize,
}

impl Estimate {
    /// Over runs; none without any. Runs that have no such figure are left out by
    /// the caller.
    pub fn over(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let half = (n > 1).then(|| {
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            t_95(n - 1) * (squares / (n - 1) as f64 / n as f64).sqrt()
        });
        Some(Self { mean, half, runs: n })
    }

    /// The interval's lower end.
    pub fn low(&self) -> f64 {
        self.mean - self.half.unwrap_or(0.0)
    }

    /// The interval's upper end.
    pub fn high(&self) -> f64 {
        self.mean + self.half.unwrap_or(0.0)
    }
}

/// Which of many checks fail at a level that holds for all of them together:
/// Holm's step-down of Bonferroni's correction. (S. Holm, Scand. J. Statist. 6,
/// 1979.)
pub fn holm(p_values: &[f64], level: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_unstable_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut fails = vec![false; p_values.len()];
    for (step, i) in order.iter().enumerate() {
        if p_values[*i] > level / (p_values.len() - step) as f64 {
            break;
        }
        fails[*i] = true;
    }
    fails
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_interval_by_hand() {
        // Mean 4, variance ((−2)² + 0 + 2²) / 2 = 4; 4.303 · √(4 / 3).
        let e = Estimate::over(&[2.0, 4.0, 6.0]).unwrap();
        assert_eq!(e.mean, 4.0);
        assert!((e.half.unwrap() - 4.303 * (4.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((e.high() + e.low() - 8.0).abs() < 1e-12);
        let one = Estimate::over(&[3.0]).unwrap();
        assert_eq!((one.half, one.low()), (None, 3.0));
        assert_eq!(Estimate::over(&[]), None);
    }

    #[test]
    fn holm_goes_down_step_by_step() {
        // 0.01 <= 0.05 / 4, 0.015 <= 0.05 / 3, 0.03 > 0.05 / 2: it stops there,
        // although 0.04 <= 0.05.
        assert_eq!(holm(&[0.03, 0.01, 0.04, 0.015], 0.05), [false, true, false, true]);
        assert_eq!(holm(&[0.02, 0.03], 0.05), [true, true]);
        assert_eq!(holm(&[0.03, 0.04], 0.05), [false, false]);
        assert!(holm(&[], 0.05).is_empty());
    }
}

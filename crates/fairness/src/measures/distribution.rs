//! The few distribution functions the measures need, each with its source.

/// Two-sided 95 % quantiles of Student's t for 1..=30 degrees of freedom.
/// NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The two-sided 95 % quantile of Student's t; beyond 30 degrees of freedom that
/// of 30, 40, 60 or 120, whichever is next below: the interval errs on the wide
/// side. Infinite without a degree of freedom.
pub fn t_95(degrees: usize) -> f64 {
    match degrees {
        0 => f64::INFINITY,
        1..=30 => T_95[degrees - 1],
        31..=39 => 2.042,
        40..=59 => 2.021,
        60..=119 => 2.000,
        _ => 1.980,
    }
}

/// ln Γ(x) for x > 0, by Lanczos's series (g = 7, n = 9; relative error below
/// 1e-14). C. Lanczos, SIAM J. Numer. Anal. B 1 (1964); coefficients of P.
/// Godfrey.
fn ln_gamma(x: f64) -> f64 {
    const SERIES: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let t = x + 7.5;
    let sum =
        SERIES[1..].iter().enumerate().fold(SERIES[0], |a, (i, c)| a + c / (x + i as f64 + 1.0));
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The regularised upper incomplete gamma function Q(a, x), for a > 0, x >= 0: by
/// the series for x < a + 1, else by the continued fraction. Abramowitz and
/// Stegun 6.5.29 and 6.5.31; the fraction is evaluated by Lentz's method.
fn gamma_q(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let mut term = 1.0 / a;
        let mut sum = term;
        let mut n = a;
        while term > sum * 1e-16 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / tiny;
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..10_000 {
        let i = f64::from(i);
        let an = -i * (i - a);
        b += 2.0;
        let next = |v: f64| if v.abs() < tiny { tiny } else { v };
        d = 1.0 / next(an * d + b);
        c = next(b + an / c);
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * h).clamp(0.0, 1.0)
}

/// P(χ² >= x) with so many degrees of freedom; 1 without any.
pub fn chi_square_tail(x: f64, degrees: usize) -> f64 {
    if degrees == 0 { 1.0 } else { gamma_q(degrees as f64 / 2.0, x / 2.0) }
}

/// P(|Z| >= |z|) of a standard normal Z: erfc(|z| / √2) = Q(1/2, z² / 2).
pub fn normal_two_sided(z: f64) -> f64 {
    gamma_q(0.5, z * z / 2.0)
}

/// P(D_n >= d) of Kolmogorov's distance of n observations from a known
/// continuous distribution: his limit series at (√n + 0.12 + 0.11 / √n) d, which
/// is good from n = 5 on. M. A. Stephens, J. R. Statist. Soc. B 32 (1970).
pub fn kolmogorov_tail(d: f64, n: usize) -> f64 {
    let root = (n as f64).sqrt();
    let x = (root + 0.12 + 0.11 / root) * d;
    if x < 0.2 {
        // The series' sum is one to sixteen digits.
        return 1.0;
    }
    let term = |k: i32| {
        let k = f64::from(k);
        (-2.0 * k * k * x * x).exp()
    };
    let sum: f64 = (1..=100).map(|k| if k % 2 == 1 { term(k) } else { -term(k) }).sum();
    (2.0 * sum).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, within: f64) {
        assert!((a - b).abs() < within, "{a} is not {b}");
    }

    #[test]
    fn values_of_printed_tables() {
        // Abramowitz and Stegun, tables 26.1, 26.8 and 26.10; Γ(1/2) = √π.
        near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln(), 1e-12);
        near(ln_gamma(11.0), 3_628_800_f64.ln(), 1e-10);
        near(chi_square_tail(3.841_459, 1), 0.05, 1e-7);
        near(chi_square_tail(18.307_04, 10), 0.05, 1e-7);
        near(chi_square_tail(135.807, 100), 0.01, 1e-5);
        near(chi_square_tail(0.0, 5), 1.0, 1e-15);
        near(chi_square_tail(2.0, 2), (-1.0_f64).exp(), 1e-14);
        near(normal_two_sided(1.959_964), 0.05, 1e-7);
        near(normal_two_sided(-3.0), 0.002_699_796, 1e-9);
        assert_eq!(chi_square_tail(7.0, 0), 1.0);
        assert_eq!(t_95(1), 12.706);
        assert_eq!(t_95(19), 2.093);
        assert_eq!((t_95(45), t_95(1_000)), (2.021, 1.980));
        assert!(t_95(0).is_infinite());
    }

    #[test]
    fn kolmogorovs_tail_at_its_well_known_points() {
        // 1.3581 and 1.6276 are the 5 % and 1 % points of the limit.
        let at = |x: f64| {
            let n = 1_000_000;
            let root = (n as f64).sqrt();
            kolmogorov_tail(x / (root + 0.12 + 0.11 / root), n)
        };
        near(at(1.358_1), 0.05, 1e-5);
        near(at(1.627_6), 0.01, 1e-5);
        near(at(0.1), 1.0, 1e-12);
        // The exact 5 % point for n = 10 is 0.40925 (Miller's table).
        near(kolmogorov_tail(0.409_25, 10), 0.05, 0.003);
    }
}

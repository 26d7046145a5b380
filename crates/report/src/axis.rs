//! How the ticks of an axis are written.

/// A share, in tenths of a percent.
pub fn percent(share: f64) -> String {
    format!("{} %", (share * 1_000.0).round() / 10.0)
}

/// To the second decimal.
pub fn hundredths(value: f64) -> String {
    // No zero below zero.
    format!("{}", (value * 100.0).round() / 100.0 + 0.0)
}

/// From 1,000 on in thousands, as `12.5k`; below that to the second decimal.
pub fn thousands(value: f64) -> String {
    if value >= 1_000.0 { format!("{}k", value / 1_000.0) } else { hundredths(value) }
}

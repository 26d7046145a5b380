//! Numbers as text.

/// Three digits that count, for what is below a thousand.
pub fn digits(value: f64) -> String {
    match value.abs() {
        x if x >= 99.95 => format!("{value:.0}"),
        x if x >= 9.995 => format!("{value:.1}"),
        x if x >= 0.095 || x == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The same; a dash where there is no such number.
pub fn or_dash(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), digits)
}

/// A share on an axis, in tenths of a percent.
pub fn percent(share: f64) -> String {
    format!("{} %", (share * 1_000.0).round() / 10.0)
}

/// A number on an axis, to the second decimal.
pub fn hundredths(value: f64) -> String {
    // No zero below zero.
    format!("{}", (value * 100.0).round() / 100.0 + 0.0)
}

/// A large number on an axis.
pub fn thousands(value: f64) -> String {
    if value >= 1_000.0 { format!("{}k", value / 1_000.0) } else { hundredths(value) }
}

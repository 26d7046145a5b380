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

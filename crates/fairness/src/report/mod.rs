//! What a comparison says: as words and tables for a terminal, one HTML file that
//! needs no network, JSON, and tidy CSV.

mod charts;
mod csv;
pub mod html;
mod json;
mod table;
mod words;

use giliran_report::digits;

use super::{Comparison, Measure};

pub use csv::tables;
pub use html::html;
pub use json::json;
pub use table::table;
pub use words::{arm_name, ordered, verdict};

/// A comparison, or several of them along a parameter.
#[derive(Debug, Clone)]
pub struct Report {
    /// The parameter that was swept; none: there is one comparison.
    pub swept: Option<String>,
    /// The comparisons, each with the parameter's value.
    pub comparisons: Vec<(String, Comparison)>,
}

impl Report {
    /// The one comparison, or the sweep's first; none: there is none.
    pub fn first(&self) -> Option<&Comparison> {
        self.comparisons.first().map(|(_, comparison)| comparison)
    }
}

/// A figure as people read it: shares in percent.
fn shown(measure: Measure, value: f64) -> String {
    match measure {
        _ if measure.is_share() => format!("{} %", digits(value * 100.0)),
        Measure::Oversell
        | Measure::Undersell
        | Measure::Replayed
        | Measure::Forged
        | Measure::Requests => format!("{value:.0}"),
        _ => digits(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_long_as_they_need_to_be() {
        let share = |value| shown(Measure::Waste, value);
        assert_eq!(share(1.0), "100 %");
        assert_eq!(share(0.1234), "12.3 %");
        assert_eq!(share(0.01234), "1.23 %");
        assert_eq!(share(0.0), "0.00 %");
        assert_eq!(shown(Measure::Requests, 12_345.4), "12345");
        assert_eq!(shown(Measure::Hhi, 0.01234), "0.012");
    }
}

//! Numbers as text, by language: `1,234.5` in English, `1.234,5` in Indonesian.

use crate::language::Language;

/// Three digits that count, for what is below a thousand; as JSON and log have it.
pub fn digits(value: f64) -> String {
    match value.abs() {
        x if x >= 99.95 => format!("{value:.0}"),
        x if x >= 9.995 => format!("{value:.1}"),
        x if x >= 0.095 || x == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

impl Language {
    /// Three digits that count; from a thousand on all of them, in groups of three.
    pub fn digits(self, value: f64) -> String {
        self.written(&digits(value))
    }

    /// The same; a dash where there is no such number.
    pub fn or_dash(self, value: Option<f64>) -> String {
        value.map_or("–".to_owned(), |value| self.digits(value))
    }

    /// A whole number, in groups of three.
    pub fn count(self, n: impl std::fmt::Display) -> String {
        self.written(&n.to_string())
    }

    /// A share in percent.
    pub fn percent(self, share: f64) -> String {
        format!("{} %", self.digits(share * 100.0))
    }

    /// With so many digits behind the point.
    pub fn fixed(self, value: f64, behind: usize) -> String {
        self.written(&format!("{value:.behind$}"))
    }

    /// A number in digits with a point, as this language writes it.
    pub fn written(self, plain: &str) -> String {
        let (group, point) = match self {
            Self::English => (',', '.'),
            Self::Indonesian => ('.', ','),
        };
        let (sign, plain) = plain.strip_prefix('-').map_or(("", plain), |rest| ("-", rest));
        let (whole, behind) = plain.split_once('.').map_or((plain, None), |(w, b)| (w, Some(b)));
        let mut text = sign.to_owned();
        for (place, digit) in whole.chars().enumerate() {
            if place > 0 && (whole.len() - place).is_multiple_of(3) {
                text.push(group);
            }
            text.push(digit);
        }
        if let Some(behind) = behind {
            text.push(point);
            text.push_str(behind);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_language_has_them() {
        let [english, indonesian] = Language::ALL;
        for (value, in_english, in_indonesian) in [
            (1_234_567.0, "1,234,567", "1.234.567"),
            (1_234.4, "1,234", "1.234"),
            (999.0, "999", "999"),
            (12.34, "12.3", "12,3"),
            (-0.01234, "-0.012", "-0,012"),
            (-4_321.0, "-4,321", "-4.321"),
        ] {
            assert_eq!(english.digits(value), in_english);
            assert_eq!(indonesian.digits(value), in_indonesian);
        }
        assert_eq!(indonesian.fixed(1_234.5, 1), "1.234,5");
        assert_eq!(indonesian.count(57_440), "57.440");
        assert_eq!(indonesian.percent(0.192), "19,2 %");
        assert_eq!(indonesian.or_dash(None), "–");
    }
}

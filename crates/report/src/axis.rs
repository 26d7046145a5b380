//! What an axis counts in: which ticks there can be, and how they are written.

use crate::language::Language;

/// What an axis counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Parts of a whole: from 0 to 1, in percent, and never beyond.
    Share,
    /// A number of things: whole ones, none below 0.
    Count,
    /// Never below 0.
    Amount,
    /// Any number.
    Signed,
}

impl Scale {
    /// A tick as people read it.
    pub fn written(self, value: f64, language: Language) -> String {
        match self {
            Self::Share => {
                let tenths = (value * 1_000.0).round() / 10.0;
                format!("{} %", language.written(&format!("{}", tenths + 0.0)))
            }
            Self::Count | Self::Amount | Self::Signed => thousands(value, language),
        }
    }

    /// Distance of ticks and end of an axis from 0 that holds `highest`: 1, 2 or 5 times a
    /// power of ten, at most eight ticks; whole where things are counted.
    pub(crate) fn steps(self, highest: f64) -> (f64, f64) {
        let step = self.step(highest);
        if highest.is_nan() || highest <= 0.0 {
            return (step, 1.0);
        }
        let end = (highest / step * 0.999_9).ceil().max(1.0) * step;
        (step, self.within(end))
    }

    fn step(self, highest: f64) -> f64 {
        let least = if self == Self::Count { 1.0 } else { 0.0 };
        if highest.is_nan() || highest <= 0.0 {
            return if self == Self::Count { 1.0 } else { 0.5 };
        }
        let raw = highest / 4.0;
        let power = 10.0_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power);
        let step = step.into_iter().find(|step| *step >= raw * 0.999).unwrap_or(power * 10.0);
        step.max(least)
    }

    /// The value, or the end of what there can be that is nearest to it.
    pub fn within(self, value: f64) -> f64 {
        match self {
            Self::Share => value.clamp(0.0, 1.0),
            Self::Count | Self::Amount => value.max(0.0),
            Self::Signed => value,
        }
    }
}

/// To the second decimal; from 10,000 on in thousands.
fn thousands(value: f64, language: Language) -> String {
    let hundredths = |value: f64| {
        // No zero below zero.
        language.written(&format!("{}", (value * 100.0).round() / 100.0 + 0.0))
    };
    if value < 10_000.0 {
        return hundredths(value);
    }
    match language {
        Language::English => format!("{}k", hundredths(value / 1_000.0)),
        Language::Indonesian => format!("{} rb", hundredths(value / 1_000.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_figures_beyond_the_highest_and_never_where_nothing_can_be() {
        for (scale, highest, step, end) in [
            (Scale::Share, 1.0, 0.5, 1.0),
            (Scale::Share, 1.65, 0.5, 1.0),
            (Scale::Share, 0.192, 0.05, 0.2),
            (Scale::Amount, 7.0, 2.0, 8.0),
            (Scale::Amount, 0.9, 0.5, 1.0),
            (Scale::Count, 2_600.0, 1_000.0, 3_000.0),
            (Scale::Count, 1.0, 1.0, 1.0),
            (Scale::Count, 3.0, 1.0, 3.0),
            (Scale::Count, 0.0, 1.0, 1.0),
            (Scale::Signed, 0.0, 0.5, 1.0),
        ] {
            let (got_step, got_end) = scale.steps(highest);
            assert!((got_step - step).abs() < 1e-9 * step, "{highest}: step {got_step}");
            assert!((got_end - end).abs() < 1e-9 * end, "{highest}: end {got_end}");
        }
    }

    #[test]
    fn ticks_are_written_as_the_language_has_them() {
        let [english, indonesian] = Language::ALL;
        assert_eq!(Scale::Share.written(0.125, english), "12.5 %");
        assert_eq!(Scale::Share.written(0.125, indonesian), "12,5 %");
        assert_eq!(Scale::Count.written(12_500.0, english), "12.5k");
        assert_eq!(Scale::Count.written(12_500.0, indonesian), "12,5 rb");
        assert_eq!(Scale::Count.written(1_500.0, indonesian), "1.500");
        assert_eq!(Scale::Signed.written(-0.001, english), "0");
    }
}

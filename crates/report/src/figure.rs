//! Figures with their meaning.

use crate::numbers::digits;

/// What a figure counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// A share of a whole, from 0 to 1.
    Share,
    /// A ratio or an index.
    Ratio,
    Seconds,
}

impl Unit {
    /// As JSON and CSV have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Share => "share",
            Self::Ratio => "ratio",
            Self::Seconds => "seconds",
        }
    }

    /// A value as people read it: shares in percent.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Count => format!("{value:.0}"),
            Self::Share => format!("{} %", digits(value * 100.0)),
            Self::Ratio => digits(value),
            Self::Seconds => match value {
                s if s > 0.0 && s < 0.1 => format!("{} ms", digits(s * 1e3)),
                s if s < 120.0 => format!("{} s", digits(s)),
                s if s < 7_200.0 => format!("{} min", digits(s / 60.0)),
                s if s < 172_800.0 => format!("{} h", digits(s / 3_600.0)),
                s => format!("{} days", digits(s / 86_400.0)),
            },
        }
    }
}

/// A figure, or why it is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// As JSON and CSV have it.
    pub name: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub unit: Unit,
    /// An error: why there is none.
    pub value: Known,
}

impl Figure {
    /// Says what it means, in a sentence.
    pub const fn about(&mut self, about: &'static str) {
        self.about = about;
    }

    /// As people read it; none: it is not known.
    pub fn shown(&self) -> Option<String> {
        self.value.ok().map(|value| self.unit.shown(value))
    }
}

/// A study's figures, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(Vec<Figure>);

/// A value, or why it is not known.
pub type Known = Result<f64, &'static str>;

/// A figure is added by its name in files, its title for people, and its value.
impl Figures {
    pub fn count(&mut self, name: &'static str, title: &'static str, value: Known) -> &mut Figure {
        self.add(name, title, Unit::Count, value)
    }

    pub fn share(&mut self, name: &'static str, title: &'static str, value: Known) -> &mut Figure {
        self.add(name, title, Unit::Share, value)
    }

    pub fn ratio(&mut self, name: &'static str, title: &'static str, value: Known) -> &mut Figure {
        self.add(name, title, Unit::Ratio, value)
    }

    pub fn seconds(
        &mut self,
        name: &'static str,
        title: &'static str,
        value: Known,
    ) -> &mut Figure {
        self.add(name, title, Unit::Seconds, value)
    }

    pub fn add(
        &mut self,
        name: &'static str,
        title: &'static str,
        unit: Unit,
        value: Known,
    ) -> &mut Figure {
        self.0.push_mut(Figure { name, title, about: "", unit, value })
    }

    /// # Errors
    ///
    /// Why it is not known.
    pub fn of(&self, name: &str) -> Known {
        let found = self.0.iter().find(|figure| figure.name == name);
        found.map_or(Err("there is no such figure"), |figure| figure.value)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Figure> {
        self.0.iter()
    }
}

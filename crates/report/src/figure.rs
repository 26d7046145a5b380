//! Figures with their meaning.

use crate::language::{Language, Text};
use crate::text;

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

    /// A value as people read it: shares in percent, lengths of time in words.
    pub fn shown(self, value: f64, language: Language) -> String {
        match self {
            Self::Count => language.fixed(value, 0),
            Self::Share => language.percent(value),
            Self::Ratio => language.digits(value),
            Self::Seconds => time(value, language),
        }
    }
}

/// A length of time, in the unit that suits it.
fn time(seconds: f64, language: Language) -> String {
    let (value, unit) = match seconds {
        s if s > 0.0 && s < 0.1 => (s * 1e3, text!("ms" | "milidetik")),
        s if s < 120.0 => (s, text!("s" | "detik")),
        s if s < 7_200.0 => (s / 60.0, text!("min" | "menit")),
        s if s < 172_800.0 => (s / 3_600.0, text!("h" | "jam")),
        s => (s / 86_400.0, text!("days" | "hari")),
    };
    format!("{} {}", language.digits(value), unit.of(language))
}

/// A figure, or why it is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// As JSON and CSV have it.
    pub name: &'static str,
    pub title: Text,
    pub about: Text,
    pub unit: Unit,
    /// An error: why there is none.
    pub value: Known,
}

impl Figure {
    /// Says what it means, in a sentence.
    pub const fn about(&mut self, about: Text) {
        self.about = about;
    }

    /// As people read it; none: it is not known.
    pub fn shown(&self, language: Language) -> Option<String> {
        self.value.ok().map(|value| self.unit.shown(value, language))
    }
}

/// A study's figures, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(Vec<Figure>);

/// A value, or why it is not known.
pub type Known = Result<f64, Text>;

/// A figure is added by its name in files, its title for people, and its value.
impl Figures {
    pub fn count(&mut self, name: &'static str, title: Text, value: Known) -> &mut Figure {
        self.add(name, title, Unit::Count, value)
    }

    pub fn share(&mut self, name: &'static str, title: Text, value: Known) -> &mut Figure {
        self.add(name, title, Unit::Share, value)
    }

    pub fn ratio(&mut self, name: &'static str, title: Text, value: Known) -> &mut Figure {
        self.add(name, title, Unit::Ratio, value)
    }

    pub fn seconds(&mut self, name: &'static str, title: Text, value: Known) -> &mut Figure {
        self.add(name, title, Unit::Seconds, value)
    }

    pub fn add(
        &mut self,
        name: &'static str,
        title: Text,
        unit: Unit,
        value: Known,
    ) -> &mut Figure {
        self.0.push_mut(Figure { name, title, about: Text::NONE, unit, value })
    }

    /// # Errors
    ///
    /// Why it is not known.
    pub fn of(&self, name: &str) -> Known {
        const NONE: Text = text!("there is no such figure" | "angka ini tidak ada");
        let found = self.0.iter().find(|figure| figure.name == name);
        found.map_or(Err(NONE), |figure| figure.value)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Figure> {
        self.0.iter()
    }
}

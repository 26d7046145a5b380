//! A document: what one reads, part by part.

use crate::figure::Figures;
use crate::language::{Language, Text};

/// Parts in the order in which they are read.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub(crate) language: Language,
    pub(crate) title: String,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// The level, 1 to 3, and the words.
    Heading(u8, String),
    Head(Box<Head>),
    Lead(String),
    Text(String),
    /// Names with their values.
    Facts(Vec<(String, String)>),
    Points(Vec<String>),
    /// Terms with what is said of them.
    Terms(Vec<(String, String)>),
    Charts(Vec<Chart>),
    Table(Table),
}

/// What is read by whoever reads nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// What was simulated and what was measured.
    pub basis: String,
    /// Three sentences, each behind what it is about.
    pub said: [(String, String); 3],
    pub picture: Option<Chart>,
}

/// A chart with its title, and in words what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    pub title: String,
    pub about: String,
    /// None: `about` says why there is no chart.
    pub svg: Option<String>,
}

impl Document {
    /// A document in this language.
    pub fn new(language: Language) -> Self {
        Self { language, ..Self::default() }
    }

    /// The same, by the title of its page.
    pub fn titled(language: Language, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::new(language) }
    }

    /// What it says in short: the basis, three sentences, a picture.
    pub fn head(&mut self, head: Head) {
        self.parts.push(Part::Head(Box::new(head)));
    }

    pub fn title(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Heading(1, text.into()));
    }

    pub fn heading(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Heading(2, text.into()));
    }

    pub fn subheading(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Heading(3, text.into()));
    }

    /// What it is all about.
    pub fn lead(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Lead(text.into()));
    }

    pub fn text(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Text(text.into()));
    }

    pub fn facts<N: Into<String>>(&mut self, facts: impl IntoIterator<Item = (N, String)>) {
        self.parts.push(Part::Facts(facts.into_iter().map(|(n, v)| (n.into(), v)).collect()));
    }

    pub fn points(&mut self, points: impl IntoIterator<Item = String>) {
        self.parts.push(Part::Points(points.into_iter().collect()));
    }

    pub fn terms<T: Into<String>, A: Into<String>>(
        &mut self,
        terms: impl IntoIterator<Item = (T, A)>,
    ) {
        let terms = terms.into_iter().map(|(term, about)| (term.into(), about.into()));
        self.parts.push(Part::Terms(terms.collect()));
    }

    /// Those charts that there are.
    pub fn charts(&mut self, charts: impl IntoIterator<Item = Option<Chart>>) {
        let charts: Vec<Chart> = charts.into_iter().flatten().collect();
        if !charts.is_empty() {
            self.parts.push(Part::Charts(charts));
        }
    }

    pub fn table(&mut self, table: Table) {
        self.parts.push(Part::Table(table));
    }
}

/// Rows of cells, each with its name.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What stands over the rows' names.
    pub corner: String,
    /// None: the cells need no heads.
    pub heads: Vec<String>,
    pub rows: Vec<(String, Vec<Cell>)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    /// Half the width of its interval.
    pub half: Option<String>,
    /// Marked for whoever reads: ⚑ on a page, ! on a terminal.
    pub is_flagged: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl Table {
    pub fn new<H: Into<String>>(heads: impl IntoIterator<Item = H>) -> Self {
        Self { heads: heads.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    pub fn row<C: Into<Cell>>(
        &mut self,
        name: impl Into<String>,
        cells: impl IntoIterator<Item = C>,
    ) {
        self.rows.push((name.into(), cells.into_iter().map(Into::into).collect()));
    }

    /// Adds a row for each figure: its title and its value. Those that are not known have
    /// this value; none: they are left out.
    pub fn figures(&mut self, figures: &Figures, unknown: Option<Text>, language: Language) {
        for figure in figures.iter() {
            let unknown = || unknown.map(|text| text.of(language).to_owned());
            if let Some(shown) = figure.shown(language).or_else(unknown) {
                self.row(figure.title.of(language), [shown]);
            }
        }
    }

    /// With rows as columns, and columns as rows.
    #[must_use]
    pub fn transposed(self) -> Self {
        let (heads, mut columns): (Vec<String>, Vec<std::vec::IntoIter<Cell>>) =
            self.rows.into_iter().map(|(name, cells)| (name, cells.into_iter())).unzip();
        let cells = |name| (name, columns.iter_mut().filter_map(Iterator::next).collect());
        Self { corner: self.corner, heads, rows: self.heads.into_iter().map(cells).collect() }
    }
}

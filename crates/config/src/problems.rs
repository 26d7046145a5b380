//! Reading a TOML file: every problem at once, with its place.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Something wrong in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// Column in the line, counted in characters from 1.
    pub column: usize,
    /// The field, as `office[1].quota`; empty for the file as a whole.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Every problem of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// The file's name, as given.
    pub file: String,
    /// In order of the lines; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, field, message } = self;
        let separator = if field.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {field}{separator}{message}")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let end = if i + 1 < self.problems.len() { "\n" } else { "" };
            write!(f, "{}:{problem}{end}", self.file)?;
        }
        Ok(())
    }
}

/// Reads a TOML file; `file` is what problems call it. `read` takes what it needs from
/// the table and adds what is wrong to the report; it may give none only where something
/// is. Beside what it read: what can stay, but means nothing.
///
/// # Errors
///
/// Every problem found.
pub fn parse<T>(
    text: &str,
    file: &str,
    read: impl FnOnce(&DeTable<'_>, &mut Report<'_>) -> Option<T>,
) -> Result<(T, Vec<Problem>), Problems> {
    let mut report = Report { text, problems: Vec::new(), warnings: Vec::new() };
    let found = match DeTable::parse(text) {
        Err(error) => {
            report.add(&error.span().unwrap_or(0..0), "", error.message().to_owned());
            None
        }
        Ok(table) => read(table.get_ref(), &mut report),
    };
    let Report { mut problems, mut warnings, .. } = report;
    let place = |problem: &Problem| (problem.line, problem.column);
    problems.sort_by_key(place);
    warnings.sort_by_key(place);
    match found {
        Some(found) if problems.is_empty() => Ok((found, warnings)),
        _ => Err(Problems { file: file.to_owned(), problems }),
    }
}

/// What is wrong with a file, as far as it was read.
#[derive(Debug)]
pub struct Report<'a> {
    text: &'a str,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'a> Report<'a> {
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// What was added, in that order.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Adds a problem of what stands at `span`, in bytes.
    pub fn add(&mut self, span: &Range<usize>, field: &str, message: String) {
        let problem = self.problem(span, field, message);
        self.problems.push(problem);
    }

    /// What can stay, but means nothing.
    pub(crate) fn warn(&mut self, span: &Range<usize>, field: &str, message: String) {
        let problem = self.problem(span, field, message);
        self.warnings.push(problem);
    }

    fn problem(&self, span: &Range<usize>, field: &str, message: String) -> Problem {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &self.text[..start];
        Problem {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1,
            field: field.to_owned(),
            message,
        }
    }
}

/// A table that is read field by field; what is left over is unknown.
pub(crate) struct Section<'a> {
    table: &'a DeTable<'a>,
    path: String,
    span: Range<usize>,
    known: Vec<&'static str>,
}

type Placed<T> = (T, Range<usize>);

impl<'a> Section<'a> {
    pub(crate) fn new(table: &'a DeTable<'a>, path: String, span: Range<usize>) -> Self {
        Self { table, path, span, known: Vec::new() }
    }

    /// Where the table stands.
    pub(crate) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// The full name of a field.
    pub(crate) fn path(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    pub(crate) fn value(&mut self, field: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(field);
        self.table.get(field)
    }

    /// Where a field's value stands.
    pub(crate) fn span_of(&self, field: &str) -> Option<Range<usize>> {
        self.table.get(field).map(Spanned::span)
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.table.contains_key(field)
    }

    /// True where no `[[field]]` is written, nor anything else in its place but an empty list.
    pub(crate) fn has_none(&self, field: &str) -> bool {
        match self.table.get(field).map(Spanned::get_ref) {
            None => true,
            Some(DeValue::Array(items)) => items.is_empty(),
            Some(_) => false,
        }
    }

    fn wrong(
        &self,
        field: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        report: &mut Report<'_>,
    ) {
        let path = self.path(field);
        report.add(&value.span(), &path, format!("{}, expected {expected}", given(value)));
    }

    pub(crate) fn text(
        &mut self,
        field: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Placed<&'a str>> {
        let value = self.value(field)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.as_ref(), value.span())),
            _ => {
                self.wrong(field, value, "a string", report);
                None
            }
        }
    }

    pub(crate) fn needed_text(
        &mut self,
        field: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Placed<&'a str>> {
        if !self.has(field) {
            self.known.push(field);
            report.add(&self.span.clone(), &self.path(field), "missing".into());
            return None;
        }
        self.text(field, report)
    }

    pub(crate) fn flag(&mut self, field: &'static str, report: &mut Report<'_>) -> bool {
        match self.value(field) {
            None => false,
            Some(value) => match value.get_ref() {
                DeValue::Boolean(flag) => *flag,
                _ => {
                    self.wrong(field, value, "true or false", report);
                    false
                }
            },
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(
        &mut self,
        field: &'static str,
        bounds: RangeInclusive<i64>,
        report: &mut Report<'_>,
    ) -> Option<i64> {
        let value = self.value(field)?;
        let path = self.path(field);
        number(value, &path, bounds, report)
    }

    pub(crate) fn texts(
        &mut self,
        field: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Placed<Vec<Placed<&'a str>>>> {
        let value = self.value(field)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(field, value, "a list of strings", report);
            return None;
        };
        let path = self.path(field);
        Some((texts(items, &path, report), value.span()))
    }

    pub(crate) fn section(
        &mut self,
        field: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Section<'a>> {
        let value = self.value(field)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(table, self.path(field), value.span())),
            _ => {
                self.wrong(field, value, "a table", report);
                None
            }
        }
    }

    pub(crate) fn sections(
        &mut self,
        field: &'static str,
        report: &mut Report<'_>,
    ) -> Vec<Section<'a>> {
        let Some(value) = self.value(field) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(field, value, &format!("tables, written [[{field}]]"), report);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let name = format!("{field}[{i}]");
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Section::new(table, self.path(&name), item.span()));
                }
                _ => self.wrong(&name, item, "a table", report),
            }
        }
        sections
    }

    /// Reports what nobody asked for.
    pub(crate) fn finish(self, report: &mut Report<'_>) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                let known = self.known.join(", ");
                let path = self.path(name);
                report.add(&key.span(), &path, format!("unknown field; known are {known}"));
            }
        }
    }
}

/// What was given instead of something else.
fn given(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::Datetime(time) => {
            format!("{time} without quotes given; put it in quotes, as \"{time}\"")
        }
        other => format!("{} given", other.type_str()),
    }
}

pub(crate) fn texts<'a>(
    items: &'a DeArray<'a>,
    path: &str,
    report: &mut Report<'_>,
) -> Vec<Placed<&'a str>> {
    let mut texts = Vec::new();
    for (i, item) in items.iter().enumerate() {
        match item.get_ref() {
            DeValue::String(text) => texts.push((text.as_ref(), item.span())),
            _ => report.add(
                &item.span(),
                &format!("{path}[{i}]"),
                format!("{}, expected a string", given(item)),
            ),
        }
    }
    texts
}

pub(crate) fn number(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    bounds: RangeInclusive<i64>,
    report: &mut Report<'_>,
) -> Option<i64> {
    let allowed = format!("{} to {} allowed", bounds.start(), bounds.end());
    let DeValue::Integer(integer) = value.get_ref() else {
        report.add(&value.span(), path, format!("{}, a number {allowed}", given(value)));
        return None;
    };
    let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
    match number.filter(|number| bounds.contains(number)) {
        Some(number) => Some(number),
        None => {
            report.add(&value.span(), path, format!("{} given, {allowed}", integer.as_str()));
            None
        }
    }
}

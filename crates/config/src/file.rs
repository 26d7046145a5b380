//! Reading the file: every problem at once, with its place.

use std::fmt;
use std::ops::Range;

use giliran_drand::Network;
use giliran_wire::Timestamp;
use giliran_wire::subject::Namespace;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::{ApplicantPattern, Config, offices, openings, rules};

/// Blocks of a generation where none are given: a long one is read in some
/// seconds.
const GENERATION_BLOCKS: u64 = 100_000;
/// Fewer would roll all the time.
const MIN_GENERATION_BLOCKS: i64 = 100;
/// Where reply subjects may lie where nothing is given: inboxes of clients, and what
/// a service import of the broker puts in their place.
const REPLY_PREFIXES: [&str; 2] = ["_INBOX.", "_R_."];

/// Something wrong in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
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

/// Reads a configuration; `file` is what problems call it.
///
/// # Errors
///
/// Every problem found.
pub fn parse(text: &str, file: &str) -> Result<Config, Problems> {
    let mut report = Report { text, problems: Vec::new(), warnings: Vec::new() };
    let config = match DeTable::parse(text) {
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
    match config {
        Some(config) if problems.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(Problems { file: file.to_owned(), problems }),
    }
}

fn read(table: &DeTable<'_>, report: &mut Report<'_>) -> Option<Config> {
    let mut root = Section::new(table, String::new(), 0..0);
    let domain = match root.text("subject_prefix", report) {
        None => Some(Namespace::default()),
        Some((prefix, span)) => match Namespace::new(prefix) {
            Ok(domain) => Some(domain),
            Err(error) => {
                report.add(&span, "subject_prefix", error.to_string());
                None
            }
        },
    };
    let applicant_pattern = root.text("applicant_pattern", report).and_then(|(text, span)| {
        if text.is_empty() {
            report.add(&span, "applicant_pattern", "empty: no id is as it says".into());
        }
        ApplicantPattern::new(text)
            .map_err(|error| {
                report.add(
                    &span,
                    "applicant_pattern",
                    format!("no regular expression over ASCII classes: {error}"),
                );
            })
            .ok()
    });
    let reply_prefixes = reply_prefixes(&mut root, domain.as_ref(), report);
    let generation_blocks = generation_blocks(&mut root, report);
    let beacon = beacon(&mut root, report);
    let offices = offices::read(&mut root, report);
    let (rules, spans) = rules::read(&mut root, report);
    let (schedule, openings) = openings::read(&mut root, &offices, &rules, report);
    root.finish(report);
    let config = Config {
        domain: domain?,
        applicant_pattern,
        reply_prefixes,
        generation_blocks,
        schedule,
        openings,
        rules,
        beacon,
        offices,
        warnings: Vec::new(),
        made_up: false,
    };
    for (id, calendar, opens_at, dates) in config.samples() {
        let opening = (id.as_str(), calendar, opens_at, &dates[..]);
        rules::check_returns(&config.rules, &spans, opening, report);
    }
    rules::warn(&config, &spans, report);
    Some(config)
}

/// Where answers may go. The engine may publish onto the ledger, and a broker may let
/// it answer anywhere: whoever asks chooses the subject, within these.
fn reply_prefixes(
    root: &mut Section<'_>,
    domain: Option<&Namespace>,
    report: &mut Report<'_>,
) -> Vec<String> {
    let Some((prefixes, span)) = root.texts("reply_prefixes", report) else {
        return REPLY_PREFIXES.map(str::to_owned).to_vec();
    };
    if prefixes.is_empty() {
        report.add(&span, "reply_prefixes", "at least one is needed".into());
    }
    for (prefix, span) in &prefixes {
        if let Some(wrong) = no_inbox(prefix, domain) {
            report.add(span, "reply_prefixes", format!("{prefix:?}: {wrong}"));
        }
    }
    prefixes.into_iter().map(|(prefix, _)| prefix.to_owned()).collect()
}

/// Why subjects that begin so are not inboxes alone.
fn no_inbox(prefix: &str, domain: Option<&Namespace>) -> Option<String> {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|c| c.is_ascii_graphic() && c != b'*' && c != b'>')
    };
    let whole = prefix.strip_suffix('.').is_some_and(|words| words.split('.').all(word));
    if !whole {
        let example = "words without wildcards and a dot behind each, as \"_INBOX.gateway.\"";
        return Some(format!("expected {example}; without the dot other subjects begin so too"));
    }
    if prefix.starts_with('$') {
        return Some("subjects of the broker's own begin so, and no inbox".to_owned());
    }
    let own = domain?.request("");
    (own.starts_with(prefix) || prefix.starts_with(&own))
        .then(|| format!("Giliran's own subjects begin with {own:?}, the ledger's among them"))
}

fn generation_blocks(root: &mut Section<'_>, report: &mut Report<'_>) -> u64 {
    let Some(mut ledger) = root.section("ledger", report) else { return GENERATION_BLOCKS };
    let blocks = ledger.number("generation_blocks", MIN_GENERATION_BLOCKS..=i64::MAX, report);
    ledger.finish(report);
    blocks.map_or(GENERATION_BLOCKS, |blocks| blocks as u64)
}

/// The public values that draws mix in: `network = "quicknet"`, or a network of
/// one's own.
fn beacon(root: &mut Section<'_>, report: &mut Report<'_>) -> Option<Network> {
    let mut section = root.section("beacon", report)?;
    let network = section.text("network", report);
    let key = section.text("key", report);
    let genesis = section.number("genesis", 0..=4_000_000_000, report);
    let period_s = section.number("period_s", 1..=3_600, report);
    let span = section.span().clone();
    section.finish(report);
    match (network, key, genesis, period_s) {
        (Some(("quicknet", _)), None, None, None) => Some(Network::quicknet()),
        (None, Some((key, span)), Some(genesis), Some(period_s)) => {
            let digits = |i: usize| u8::from_str_radix(key.get(2 * i..2 * i + 2)?, 16).ok();
            let bytes: Option<Vec<u8>> = (0..key.len() / 2).map(digits).collect();
            let Some(key) = bytes.and_then(|bytes| bytes.try_into().ok()) else {
                let expected = "expected the 192 hexadecimal digits of a key on G2";
                report.add(&span, "beacon.key", expected.to_owned());
                return None;
            };
            let genesis = Timestamp::from_millis(genesis * 1_000);
            let network = Network { key, genesis, period_ms: period_s as u64 * 1_000 };
            if !network.has_a_key() {
                let wrong = "these digits are not a key on G2: no round could ever be checked";
                report.add(&span, "beacon.key", wrong.to_owned());
                return None;
            }
            Some(network)
        }
        _ => {
            let expected = "expected network = \"quicknet\", or key, genesis and period_s";
            report.add(&span, "beacon", expected.to_owned());
            None
        }
    }
}

pub(crate) struct Report<'a> {
    text: &'a str,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report<'_> {
    pub(crate) fn add(&mut self, span: &Range<usize>, field: &str, message: String) {
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
        bounds: std::ops::RangeInclusive<i64>,
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
    bounds: std::ops::RangeInclusive<i64>,
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

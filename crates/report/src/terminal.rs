//! A document as text for a terminal.

use std::fmt::Write as _;

use crate::document::{Cell, Document, Part, Table};

/// Most characters in a line of a table; further columns stand beneath.
const WIDEST: usize = 140;

impl Document {
    pub fn as_text(&self) -> String {
        text(self)
    }
}

fn text(document: &Document) -> String {
    let tables = document.parts.iter().filter_map(|part| match part {
        Part::Table(table) => Some(table),
        _ => None,
    });
    // The names of all tables take the same room: their columns stand under each other.
    let named = tables.flat_map(Table::names).map(width).max().unwrap_or(0);
    let mut out = String::new();
    let mut before: Option<&Part> = None;
    for part in &document.parts {
        let is_apart = match (before, part) {
            (None | Some(Part::Heading(..)), _) => false,
            (Some(Part::Lead(_) | Part::Text(_)), Part::Lead(_) | Part::Text(_)) => false,
            (Some(_), _) => true,
        };
        if is_apart {
            out.push('\n');
        }
        before = Some(part);
        match part {
            Part::Heading(_, text) | Part::Lead(text) | Part::Text(text) => {
                let _ = writeln!(out, "{text}");
            }
            Part::Head(head) => {
                let _ = writeln!(out, "{}\n", head.basis);
                for (place, (about, sentence)) in (1..).zip(&head.said) {
                    let _ = writeln!(out, "{place}. {about} {sentence}");
                }
            }
            Part::Facts(facts) => {
                let longest = facts.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
                for (name, value) in facts {
                    let _ = writeln!(out, "{name:<longest$}  {value}");
                }
            }
            Part::Points(points) => {
                points.iter().for_each(|point| {
                    let _ = writeln!(out, "- {point}");
                });
            }
            Part::Terms(terms) => {
                for (term, about) in terms {
                    let _ = writeln!(out, "- {term}: {about}");
                }
            }
            Part::Charts(_) => {}
            Part::Table(table) => table_as_text(table, named, &mut out),
        }
    }
    out
}

fn width(text: &str) -> usize {
    text.chars().count()
}

impl Table {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|(name, _)| name.as_str()).chain([self.corner.as_str()])
    }
}

/// `12.3 ±0.4 %!`; an interval without width is left out.
fn content(cell: &Cell) -> String {
    let flag = if cell.is_flagged { "!" } else { "" };
    match &cell.half {
        Some(half) if half.contains(|digit: char| matches!(digit, '1'..='9')) => {
            format!("{} ±{half}{flag}", cell.text.trim_end_matches(" %"))
        }
        _ => format!("{}{flag}", cell.text),
    }
}

fn table_as_text(table: &Table, named: usize, out: &mut String) {
    let cells: Vec<Vec<String>> =
        table.rows.iter().map(|(_, cells)| cells.iter().map(content).collect()).collect();
    let all = cells.iter().map(Vec::len).max().unwrap_or(0).max(table.heads.len());
    let head = |column: usize| table.heads.get(column).map_or("", String::as_str);
    let widths: Vec<usize> = (0..all)
        .map(|column| {
            let cells = cells.iter().filter_map(|row| row.get(column)).map(String::as_str);
            cells.chain([head(column)]).map(width).max().unwrap_or(0)
        })
        .collect();
    let mut from = 0;
    while from < all {
        let mut room = WIDEST.saturating_sub(named);
        let fits = widths[from..].iter().take_while(|width| {
            let needed = **width + 2;
            let fits = needed <= room;
            room = room.saturating_sub(needed);
            fits
        });
        let to = from + fits.count().max(1);
        if from > 0 {
            out.push('\n');
        }
        let mut line = |name: &str, cell: &dyn Fn(usize) -> String| {
            let _ = write!(out, "{name:<named$}");
            for (column, width) in (from..to).zip(&widths[from..]) {
                let _ = write!(out, "  {:>width$}", cell(column));
            }
            out.push('\n');
        };
        if !table.heads.is_empty() {
            line(&table.corner, &|column| head(column).to_owned());
        }
        for ((name, _), row) in table.rows.iter().zip(&cells) {
            line(name, &|column| row.get(column).cloned().unwrap_or_default());
        }
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_a_document_stand_under_each_other() {
        let mut document = Document::default();
        document.lead("calm: a scenario");
        document.text("Two tables.");
        let mut figures = Table { corner: "at the close".into(), ..Table::new(["held", "waste"]) };
        let held = Cell { text: "12.3 %".into(), half: Some("0.4 %".into()), is_flagged: true };
        let even = Cell { text: "1.00".into(), half: Some("0.00".into()), is_flagged: false };
        figures.row("draw", [held, even]);
        document.table(figures);
        let mut alone = Table::default();
        alone.row("a long name of a row", ["7".to_owned()]);
        document.table(alone);
        document.heading("Not known");
        document.terms([("who", "nobody said")]);
        document.points(["Said.".to_owned()]);
        let expected = "\
calm: a scenario
Two tables.

at the close                  held  waste
draw                  12.3 ±0.4 %!   1.00

a long name of a row  7

Not known
- who: nobody said

- Said.
";
        assert_eq!(text(&document), expected);
    }

    #[test]
    fn columns_beyond_the_widest_line_stand_beneath() {
        let mut table = Table::new((0..30).map(|n| format!("column {n:02}")));
        table.row("row", (0..30).map(|n| n.to_string()));
        let mut document = Document::default();
        document.table(table);
        let text = text(&document);
        assert!(text.lines().all(|line| width(line) <= WIDEST), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("row")).count(), 3, "{text}");
        for n in 0..30 {
            assert_eq!(text.matches(&format!("column {n:02}")).count(), 1, "{text}");
        }
    }

    #[test]
    fn a_table_can_be_turned() {
        let mut table = Table::new(["a", "b"]);
        table.row("x", ["1".to_owned(), "2".to_owned()]);
        table.row("y", ["3".to_owned(), "4".to_owned()]);
        let turned = table.transposed();
        assert_eq!(turned.heads, ["x", "y"]);
        let cells = |row: usize| turned.rows[row].1.iter().map(|cell| cell.text.as_str());
        assert_eq!((turned.rows[0].0.as_str(), cells(0).collect::<String>()), ("a", "13".into()));
        assert_eq!((turned.rows[1].0.as_str(), cells(1).collect::<String>()), ("b", "24".into()));
    }
}

//! A document as an HTML page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::document::{Cell, Chart, Document, Head, Part, Table};

/// The style of every page, and of the charts in it.
pub(crate) const STYLE: &str = include_str!("style.css");

pub(crate) fn html(document: &Document) -> String {
    let page = html! {
        (DOCTYPE)
        html lang=(document.language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (document.title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { @for part in &document.parts { (one(part)) } } }
        }
    };
    page.into_string() + "\n"
}

/// A number stays with its percent sign.
fn words(text: &str) -> Markup {
    html! { (text.replace(" %", "\u{202f}%")) }
}

fn one(part: &Part) -> Markup {
    match part {
        Part::Heading(1, text) => html! { h1 { (words(text)) } },
        Part::Heading(2, text) => html! { h2 { (words(text)) } },
        Part::Heading(_, text) => html! { h3 { (words(text)) } },
        Part::Head(head) => in_short(head),
        Part::Lead(text) => html! { p.lead { (words(text)) } },
        Part::Text(text) => html! { p { (words(text)) } },
        Part::Facts(facts) => html! {
            dl.facts {
                @for (name, value) in facts { div { dt { (words(name)) } dd { (words(value)) } } }
            }
        },
        Part::Points(points) => html! {
            ul.verdict { @for point in points { li { (words(point)) } } }
        },
        Part::Terms(terms) => html! {
            dl.meanings {
                @for (term, about) in terms { dt { (words(term)) } dd { (words(about)) } }
            }
        },
        Part::Charts(charts) => html! { div.charts { @for chart in charts { (figure(chart)) } } },
        Part::Table(table) => html! { div.wide tabindex="0" { (rows(table)) } },
    }
}

fn in_short(head: &Head) -> Markup {
    html! {
        section.head {
            p.basis { (words(&head.basis)) }
            div {
                ol {
                    @for (about, sentence) in &head.said {
                        li { strong { (words(about)) } " " (words(sentence)) }
                    }
                }
                @if let Some(picture) = &head.picture { (figure(picture)) }
            }
        }
    }
}

fn figure(chart: &Chart) -> Markup {
    html! {
        figure {
            h3 { (words(&chart.title)) }
            @if let Some(svg) = &chart.svg { (PreEscaped(svg)) }
            figcaption { (words(&chart.about)) }
        }
    }
}

fn rows(table: &Table) -> Markup {
    html! {
        table {
            @if !table.heads.is_empty() {
                thead {
                    tr {
                        th { (words(&table.corner)) }
                        @for head in &table.heads { th { (words(head)) } }
                    }
                }
            }
            tbody {
                @for (name, cells) in &table.rows {
                    tr { th { (words(name)) } @for cell in cells { td { (content(cell)) } } }
                }
            }
        }
    }
}

fn content(cell: &Cell) -> Markup {
    html! {
        (words(&cell.text))
        @if cell.is_flagged { " ⚑" }
        @if let Some(half) = &cell.half { small { "±\u{202f}" (words(half)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Language;

    #[test]
    fn no_text_breaks_out_of_the_page() {
        const EVIL: &str = "<script>\"&";
        let mut document = Document::titled(Language::English, EVIL);
        let evil = || EVIL.to_owned();
        let said = [(evil(), evil()), (evil(), evil()), (evil(), evil())];
        document.head(Head { basis: evil(), said, picture: None });
        document.title(EVIL);
        document.heading(EVIL);
        document.subheading(EVIL);
        document.lead(EVIL);
        document.text(EVIL);
        document.facts([(EVIL, EVIL.to_owned())]);
        document.points([EVIL.to_owned()]);
        document.terms([(EVIL, EVIL)]);
        document.charts([Some(Chart { title: EVIL.into(), about: EVIL.into(), svg: None })]);
        let cell = Cell { text: EVIL.into(), half: Some(EVIL.into()), is_flagged: true };
        let mut table = Table { corner: EVIL.into(), ..Table::new([EVIL]) };
        table.row(EVIL, [cell]);
        document.table(table);
        let page = html(&document);
        assert!(!page.contains("<script"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;&quot;&amp;").count(), 25, "{page}");
    }

    #[test]
    fn a_number_stays_with_its_percent_sign() {
        let mut document = Document::titled(Language::Indonesian, "t");
        document.text("Half, 50 %, of 2 % each.");
        let page = html(&document);
        assert!(page.contains("<p>Half, 50\u{202f}%, of 2\u{202f}% each.</p>"));
        assert!(page.contains("<html lang=\"id\">"));
    }
}

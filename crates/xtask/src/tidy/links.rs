//! Links of documents lead somewhere: to a file that is there, and to a heading of it. So do
//! the paths of code that they name.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::tree::{Tree, beside};

/// Documents that keep the paths of their time.
const RECORDS: [&str; 2] = ["CHANGELOG.md", "docs/internals/adr/"];

pub(super) fn check(tree: &Tree, wrong: &mut Vec<String>) {
    let pages: BTreeMap<&str, BTreeSet<String>> =
        tree.files(&["md"]).map(|(path, text)| (path, anchors(text))).collect();
    for (path, text) in tree.files(&["md"]) {
        let records = RECORDS.iter().any(|record| path.starts_with(record));
        for (number, line) in lines(text) {
            for link in links(&prose(line)) {
                if let Some(reason) = broken(tree, &pages, path, link) {
                    wrong.push(format!("{path}:{number}: {link} {reason}"));
                }
            }
            for code in
                paths_of_code(tree, line).filter(|code| !records && !leads(tree, path, code))
            {
                wrong.push(format!("{path}:{number}: there is no `{code}`"));
            }
        }
    }
}

/// Lines outside fences, counted from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// A line without what stands between backticks.
fn prose(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// What stands between backticks and begins as a path of a crate does: `nats/ledger/`,
/// `crates/wire/src/lib.rs`.
fn paths_of_code<'a>(tree: &'a Tree, line: &'a str) -> impl Iterator<Item = &'a str> {
    line.split('`').skip(1).step_by(2).filter(|code| {
        let path = code.strip_prefix("crates/").unwrap_or(code);
        let begins = path.split_once('/').is_some_and(|(name, _)| tree.crates().contains(&name));
        begins && !code.contains(['*', ' ', '<'])
    })
}

/// True if a path leads to a file: from the root, from a crate or its sources, or from the
/// page. A module counts without its ending; of `{a,b}` each must be there.
fn leads(tree: &Tree, page: &str, code: &str) -> bool {
    if let Some((before, rest)) = code.split_once('{')
        && let Some((names, after)) = rest.split_once('}')
    {
        return names
            .split(',')
            .all(|name| leads(tree, page, &format!("{before}{}{after}", name.trim())));
    }
    let path = code.strip_prefix("crates/").unwrap_or(code).trim_end_matches('/');
    let (name, inner) = path.split_once('/').unwrap_or((path, ""));
    let places = [format!("crates/{path}"), format!("crates/{name}/src/{inner}")];
    let mut places = places.into_iter().chain(beside(page, code));
    places.any(|place| tree.has(&place) || tree.has(&format!("{place}.rs")))
}

/// The targets of a line's links, `[text](target)` and `[name]: target`.
fn links(line: &str) -> Vec<&str> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let defined = line.strip_prefix('[').and_then(|line| Some(line.split_once("]: ")?.1));
    inline.chain(defined).filter_map(|target| target.split_whitespace().next()).collect()
}

/// Why a relative link leads nowhere; nothing if it does lead somewhere, or is not relative.
fn broken(
    tree: &Tree,
    pages: &BTreeMap<&str, BTreeSet<String>>,
    page: &str,
    link: &str,
) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, a)| (file, Some(a)));
    let target = if file.is_empty() { Some(page.to_owned()) } else { beside(page, file) };
    let Some(target) = target.filter(|target| tree.has(target)) else {
        return Some("does not exist");
    };
    let headings = pages.get(target.as_str())?;
    (!headings.contains(anchor?))
        .then_some("is not a heading of that page; expected one of its headings")
}

/// The anchors that a page's headings get.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in lines(text) {
        let heading = line.trim_start_matches('#');
        let level = line.len() - heading.len();
        if !(1..=6).contains(&level) || !heading.starts_with(' ') {
            continue;
        }
        let anchor = anchor(heading);
        let mut again = (1..).map(|number| format!("{anchor}-{number}"));
        let mut free = anchor.clone();
        while !anchors.insert(free.clone()) {
            free = again.next().unwrap_or_default();
        }
    }
    anchors
}

/// A heading in small letters, with hyphens for spaces and without punctuation; of a link,
/// its text.
fn anchor(heading: &str) -> String {
    let mut shown = String::new();
    for (index, part) in heading.trim().split("](").enumerate() {
        let text =
            if index == 0 { part } else { part.split_once(')').map_or("", |(_, text)| text) };
        shown.push_str(text);
    }
    let kept = shown.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    #[test]
    fn links_to_nothing_are_found() {
        let page = "[a](b.md), [b](https://a.b/), `[c](gone.md)`\n```\n[d](gone.md)\n```\n\
                    ![e](images/x.svg \"title\") [f](gone.md#x)\n\n[g]: lost.md\n[h](../outside.md)\n";
        let files = [("a.md", page), ("b.md", ""), ("images/x.svg", "")];
        assert_eq!(
            findings(check, &files),
            [
                "a.md:5: gone.md#x does not exist",
                "a.md:7: lost.md does not exist",
                "a.md:8: ../outside.md does not exist"
            ]
        );
    }

    #[test]
    fn paths_of_code_that_lead_nowhere_are_found() {
        let page = "`nats/ledger/` `nats/lease` `nats/src/lease.rs` `crates/nats/src/`\n`nats/{lease,gone}.rs` `nats/x.conf`\n\
                    `nats/gone.rs` `a/gone.rs`\n";
        let files = [
            ("docs/a.md", page),
            ("CHANGELOG.md", "`nats/gone.rs`\n"),
            ("crates/nats/Cargo.toml", ""),
            ("docs/nats/x.conf", ""),
            ("crates/nats/src/lease.rs", ""),
            ("crates/nats/src/ledger/mod.rs", ""),
        ];
        assert_eq!(
            findings(check, &files),
            [
                "docs/a.md:2: there is no `nats/{lease,gone}.rs`",
                "docs/a.md:3: there is no `nats/gone.rs`"
            ]
        );
    }

    #[test]
    fn anchors_that_no_heading_has_are_found() {
        let files = [
            ("docs/a.md", "# One\n[a](#one) [b](#two) [c](b.md#three-more) [d](b.md#gone)\n"),
            ("docs/b.md", "## Three, `more`\n```\n# gone\n```\n"),
        ];
        assert_eq!(
            findings(check, &files),
            [
                "docs/a.md:2: #two is not a heading of that page; expected one of its headings",
                "docs/a.md:2: b.md#gone is not a heading of that page; expected one of its headings"
            ]
        );
    }

    #[test]
    fn anchors_are_made_as_readers_of_markdown_make_them() {
        let check = |heading: &str, expected: &str| {
            assert_eq!(anchor(heading), expected, "{heading}");
        };
        check(" A booking's life", "a-bookings-life");
        check(" `giliran.toml` – the file", "gilirantoml--the-file");
        check(" See [the page](page.md#x) too", "see-the-page-too");
        check(" Größe_1", "größe_1");
        let twice = anchors("# A\n# A\n");
        assert_eq!(twice, BTreeSet::from(["a".to_owned(), "a-1".to_owned()]));
    }
}

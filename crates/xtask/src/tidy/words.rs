//! Names and phrases that the project does not use, from one list.

use crate::tidy::rust::word;
use crate::tidy::tree::Tree;

/// A line each: where it is banned (endings of files, or `crate` for a crate's name), the
/// phrase, and what to write instead, between bars.
const LIST: &str = "crates/xtask/src/tidy/banned_words.txt";

/// Records of what was keep the words of their time.
const RECORDS: [&str; 2] = ["CHANGELOG.md", "docs/internals/adr/"];

/// What comments of the languages here begin with.
const COMMENTS: [&str; 3] = ["//", "#", "--"];

/// The place of a crate's name.
const CRATE: &str = "crate";

#[derive(Debug)]
struct Ban<'a> {
    places: Vec<&'a str>,
    phrase: &'a str,
    instead: &'a str,
}

pub(super) fn check(tree: &Tree, wrong: &mut Vec<String>) {
    let bans = bans(tree.text(LIST).unwrap_or_default(), wrong);
    for ban in &bans {
        if ban.places.contains(&CRATE) && tree.crates().contains(&ban.phrase) {
            wrong.push(format!("crates/{}: {}", ban.phrase, ban.instead));
        }
        let records = |path: &str| RECORDS.iter().any(|record| path.starts_with(record));
        for (path, text) in tree.files(&ban.places).filter(|(path, _)| !records(path)) {
            for number in lines_with(text, ban.phrase) {
                let (phrase, instead) = (ban.phrase, ban.instead);
                wrong.push(format!("{path}:{number}: `{phrase}` is not used here: {instead}"));
            }
        }
    }
}

/// The numbers, from 1, of the lines in which the phrase stands, or begins where it goes on
/// in the next line.
fn lines_with(text: &str, phrase: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    let mut number = 0;
    while let Some(line) = lines.next() {
        number += 1;
        let next = lines.peek().copied().unwrap_or_default();
        let wraps = || {
            let ends = phrase.rsplit_once(' ').is_some_and(|(_, last)| next.contains(last));
            let whole = if ends && !says(next, phrase) { joined(line, next) } else { None };
            whole.is_some_and(|whole| says(&whole, phrase))
        };
        if says(line, phrase) || wraps() {
            found.push(number);
        }
    }
    found
}

/// A line and the next one as one, where a comment or a string goes on from one to the other.
fn joined(line: &str, next: &str) -> Option<String> {
    let next = next.trim_start();
    if let Some(text) = line.strip_suffix('\\') {
        return Some(format!("{text}{next}"));
    }
    COMMENTS.iter().find(|begin| line.trim_start().starts_with(**begin)).and_then(|begin| {
        let text = next.strip_prefix(begin)?.trim_start_matches(['/', '!']).trim_start();
        Some(format!("{} {text}", line.trim_end()))
    })
}

/// True if a line has the phrase as whole words; its first letter may be large.
fn says(line: &str, phrase: &str) -> bool {
    let mut large = phrase.to_owned();
    if let Some(first) = large.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    [phrase, &large].iter().any(|phrase| {
        line.match_indices(*phrase).any(|(at, found)| {
            !line[..at].ends_with(word) && !line[at + found.len()..].starts_with(word)
        })
    })
}

fn bans<'a>(list: &'a str, wrong: &mut Vec<String>) -> Vec<Ban<'a>> {
    let mut bans = Vec::new();
    let lines = list.lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        match parts.as_slice() {
            [places, phrase, instead] if !phrase.is_empty() => {
                bans.push(Ban { places: places.split(' ').collect(), phrase, instead });
            }
            _ => wrong.push(format!(
                "{LIST}:{}: expected places | phrase | what instead, found `{line}`",
                number + 1
            )),
        }
    }
    bans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    fn of(path: &str, text: &str) -> Vec<String> {
        let list = "# Why.\n\ncrate | junk | a noun\nrs md | the wug | say what it is\n";
        findings(check, &[(LIST, list), (path, text)])
    }

    #[test]
    fn banned_phrases_are_found_where_they_are_banned() {
        let line = "crates/a/src/lib.rs:2: `the wug` is not used here: say what it is";
        assert_eq!(of("crates/a/src/lib.rs", "\n// See The wug.\n"), [line.to_owned()]);
        assert_eq!(
            of("docs/a.md", "the wug's"),
            ["docs/a.md:1: `the wug` is not used here: say what it is"]
        );
        assert_eq!(of("docs/a.md", "the wugs, bathe wug, the wug_"), Vec::<String>::new());
        assert_eq!(of("a.toml", "the wug"), Vec::<String>::new());
        assert_eq!(of("docs/internals/adr/0001.md", "the wug"), Vec::<String>::new());
    }

    #[test]
    fn banned_phrases_that_wrap_are_found_where_they_begin() {
        let at =
            |line: usize| vec![format!("a.rs:{line}: `the wug` is not used here: say what it is")];
        assert_eq!(of("a.rs", "//! Of the\n//! wug.\n"), at(1));
        assert_eq!(of("a.rs", "\n    /// Of the\n    /// wug's.\n"), at(2));
        assert_eq!(of("a.rs", "say(\"the \\\n     wug\")\n"), at(1));
        // Once, where it stands in one line as well as over two.
        assert_eq!(of("a.rs", "// Of the\n// wug, the wug.\n"), at(2));
        let apart =
            ["// Of the\nwug();\n", "the()\n// wug\n", "// the\n\n// wug\n", "\"the\\\n wug\""];
        for text in apart {
            assert_eq!(of("a.rs", text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn banned_names_of_crates_are_found() {
        assert_eq!(of("crates/junk/Cargo.toml", ""), ["crates/junk: a noun"]);
        assert_eq!(of("crates/junkyard/Cargo.toml", ""), Vec::<String>::new());
    }

    #[test]
    fn a_line_of_the_list_that_cannot_be_read_is_told() {
        let wrong = findings(check, &[(LIST, "rs | phrase\n")]);
        assert!(wrong[0].contains(":1: expected places"), "{wrong:?}");
    }
}

//! Names and phrases that the project does not use, from one list.

use crate::tidy::rust::word;
use crate::tidy::tree::Tree;

/// A line each: where it is banned (endings of files, or `crate` for a crate's name), the
/// phrase, and what to write instead, between bars.
const LIST: &str = "crates/xtask/src/tidy/banned_words.txt";

/// Records of what was keep the words of their time.
const RECORDS: [&str; 2] = ["CHANGELOG.md", "docs/internals/adr/"];

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
            for (number, _) in text.lines().enumerate().filter(|(_, line)| says(line, ban.phrase)) {
                let (phrase, instead, number) = (ban.phrase, ban.instead, number + 1);
                wrong.push(format!("{path}:{number}: `{phrase}` is not used here: {instead}"));
            }
        }
    }
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

//! Files hold one subject, and are short; those that are not yet stand in a list that may
//! only shrink.

use std::collections::BTreeMap;

use crate::tidy::rust;
use crate::tidy::tree::Tree;

/// Lines of a file, those of its unit tests left out.
const LONGEST: usize = 600;

/// Lines of a file of tests: it is read one test at a time.
const LONGEST_OF_TESTS: usize = 800;

/// A line each: lines, file.
const LIST: &str = "crates/xtask/src/tidy/long_files.txt";

pub(super) fn check(tree: &Tree, wrong: &mut Vec<String>) {
    let mut long = BTreeMap::<&str, (usize, usize)>::new();
    for (path, code) in tree.codes() {
        let most = if is_of_tests(path) { LONGEST_OF_TESTS } else { LONGEST };
        let tests = rust::test_items(code).into_iter().map(|item| code[item].lines().count());
        let lines = code.lines().count() - tests.sum::<usize>();
        if lines > most {
            long.insert(path, (lines, most));
        }
    }
    let allowed = allowed(tree.text(LIST).unwrap_or_default(), wrong);
    for (path, (lines, most)) in &long {
        match allowed.get(path) {
            None => wrong.push(format!(
                "{path}: {lines} lines without unit tests; {most} are the most: part it along its \
                 subjects"
            )),
            Some(before) if lines > before => wrong.push(format!(
                "{path}: has grown from {before} lines to {lines}; {most} are the most"
            )),
            Some(_) => {}
        }
    }
    for path in allowed.keys().filter(|path| !long.contains_key(*path)) {
        wrong.push(format!(
            "{LIST}: {path} is not a long file any more; expected long ones alone: take the line out"
        ));
    }
}

fn is_of_tests(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn allowed<'a>(list: &'a str, wrong: &mut Vec<String>) -> BTreeMap<&'a str, usize> {
    let mut allowed = BTreeMap::new();
    for (number, line) in list.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let entry =
            line.split_once(' ').and_then(|(lines, path)| Some((path, lines.parse().ok()?)));
        match entry {
            Some((path, lines)) => {
                allowed.insert(path, lines);
            }
            None => wrong
                .push(format!("{LIST}:{}: expected lines and file, found `{line}`", number + 1)),
        }
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    fn of(path: &str, lines: usize, list: &str) -> Vec<String> {
        let tests = "#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n";
        let text = format!("{}{tests}", "const A: u8 = 1;\n".repeat(lines));
        findings(check, &[(path, &text), (LIST, list)])
    }

    #[test]
    fn a_long_file_is_found_unless_the_list_has_it() {
        let file = "crates/a/src/lib.rs";
        assert_eq!(of(file, LONGEST, ""), Vec::<String>::new());
        assert_eq!(of(file, LONGEST + 1, "").len(), 1);
        assert_eq!(of(file, 700, "# reasons\n700 crates/a/src/lib.rs\n"), Vec::<String>::new());
        assert!(of(file, 701, "700 crates/a/src/lib.rs\n")[0].contains("has grown from 700"));
    }

    #[test]
    fn files_of_tests_may_be_longer() {
        for file in ["crates/a/tests/b.rs", "crates/a/src/tests.rs", "crates/a/tests/b/c.rs"] {
            assert_eq!(of(file, LONGEST_OF_TESTS, ""), Vec::<String>::new());
            assert_eq!(of(file, LONGEST_OF_TESTS + 1, "").len(), 1);
        }
    }

    #[test]
    fn the_list_may_only_shrink() {
        let file = "crates/a/src/lib.rs";
        assert!(of(file, 5, "700 crates/a/src/lib.rs\n")[0].contains("take the line out"));
        assert!(of(file, 5, "many\n")[0].contains(":1: expected lines"));
    }
}

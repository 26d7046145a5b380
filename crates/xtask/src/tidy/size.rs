//! Functions are short; those that are not yet stand in a list that may only shrink.

use std::collections::BTreeMap;

use crate::tidy::rust;
use crate::tidy::tree::Tree;

/// Lines of a function, its head and closing brace included.
const LONGEST: usize = 70;

/// A line each: lines, file, function.
const LIST: &str = "crates/xtask/src/tidy/long_functions.txt";

/// What a line of the list is about: path of the file, name of the function.
type Key<'a> = (&'a str, &'a str);

pub(super) fn check(tree: &Tree, wrong: &mut Vec<String>) {
    let mut long = BTreeMap::<Key<'_>, usize>::new();
    for (path, code) in tree.codes() {
        for function in rust::functions(code).iter().filter(|one| one.lines > LONGEST) {
            let lines = long.entry((path, function.name)).or_default();
            *lines = function.lines.max(*lines);
        }
    }
    let allowed = allowed(tree.text(LIST).unwrap_or_default(), wrong);
    for ((path, name), lines) in &long {
        match allowed.get(&(*path, *name)) {
            None => {
                wrong.push(format!("{path}: fn {name} has {lines} lines; {LONGEST} are the most"));
            }
            Some(most) if lines > most => wrong.push(format!(
                "{path}: fn {name} has grown from {most} lines to {lines}; {LONGEST} are the most"
            )),
            Some(_) => {}
        }
    }
    for (path, name) in allowed.keys().filter(|key| !long.contains_key(*key)) {
        wrong.push(format!("{LIST}: {path} has no long fn {name} any more: take the line out"));
    }
}

fn allowed<'a>(list: &'a str, wrong: &mut Vec<String>) -> BTreeMap<Key<'a>, usize> {
    let mut allowed = BTreeMap::new();
    for (number, line) in list.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let entry = match parts.as_slice() {
            [lines, path, name] => lines.parse().ok().map(|lines| ((*path, *name), lines)),
            _ => None,
        };
        match entry {
            Some((key, lines)) => {
                allowed.insert(key, lines);
            }
            None => wrong.push(format!(
                "{LIST}:{}: expected lines, file and function, found `{line}`",
                number + 1
            )),
        }
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    fn of(lines: usize, list: &str) -> Vec<String> {
        let text = format!("fn long() {{\n{}}}\n", "    a();\n".repeat(lines - 2));
        findings(check, &[("crates/a/src/lib.rs", &text), (LIST, list)])
    }

    #[test]
    fn a_long_function_is_found_unless_the_list_has_it() {
        assert_eq!(of(LONGEST, ""), Vec::<String>::new());
        assert_eq!(of(LONGEST + 1, "").len(), 1);
        assert_eq!(of(80, "# reasons\n80 crates/a/src/lib.rs long\n"), Vec::<String>::new());
        assert!(of(81, "80 crates/a/src/lib.rs long\n")[0].contains("has grown from 80"));
    }

    #[test]
    fn the_list_may_only_shrink() {
        assert!(of(LONGEST, "80 crates/a/src/lib.rs long\n")[0].contains("take the line out"));
        assert!(of(LONGEST, "80 gone.rs long\n")[0].contains("take the line out"));
        assert!(of(LONGEST, "many crates/a/src/lib.rs long\n")[0].contains(":1: expected lines"));
    }
}

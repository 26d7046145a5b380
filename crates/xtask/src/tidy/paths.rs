//! The paths that Rust code names: in `use`, and where it uses a path in full.

use crate::tidy::rust::word;

/// A path that is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Its segments; a `*` at its end is left out.
    pub(super) path: Vec<String>,
    /// What a `use` calls it; none: it is no `use`, or one of all that a module has.
    pub(super) name: Option<String>,
    /// Counts from 1.
    pub(super) line: usize,
}

/// Heads of paths that lead to modules of the same crate.
const HEADS: [&str; 3] = ["crate", "super", "self"];

/// What is named in a text that [`code`](crate::tidy::rust::code) has blanked.
pub(super) fn named(code: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let begins = word_begins(code, at);
        if begins && let Some(tree) = rest.strip_prefix("use ") {
            let tree = tree.split(';').next().unwrap_or_default();
            let line = line_of(code, at);
            found.extend(leaves(tree).into_iter().filter_map(|leaf| used(&leaf, line)));
            at += "use ".len() + tree.len();
        } else if begins && HEADS.iter().any(|head| has_head(rest, head)) {
            let end = rest.find(|c| !word(c) && c != ':').unwrap_or(rest.len());
            let path = segments(rest[..end].trim_end_matches(':'));
            found.push(Named { path, name: None, line: line_of(code, at) });
            at += end;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    found
}

/// Types that an `impl` without a trait adds to: the path as it stands there.
pub(super) fn extended(code: &str) -> Vec<Vec<String>> {
    let begins =
        code.match_indices("impl").filter(|(at, _)| code[..*at].ends_with('\n') || *at == 0);
    begins
        .filter_map(|(at, keyword)| {
            let head = code[at + keyword.len()..].split(['{', ';']).next()?;
            let head = skip_generics(head).trim();
            let is_of_trait = head.split_whitespace().any(|word| word == "for");
            let end = head.find(|c| !word(c) && c != ':').unwrap_or(head.len());
            let path = segments(&head[..end]);
            (!is_of_trait && !path.is_empty()).then_some(path)
        })
        .collect()
}

/// What stands behind the `<…>` that a text begins with.
fn skip_generics(head: &str) -> &str {
    if !head.starts_with('<') {
        return head;
    }
    let mut depth = 0_usize;
    for (at, c) in head.char_indices() {
        match c {
            '<' => depth += 1,
            // Of an arrow it is none.
            '>' if !head[..at].ends_with('-') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &head[at + 1..];
        }
    }
    ""
}

fn word_begins(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c| word(c) || c == ':')
}

fn has_head(rest: &str, head: &str) -> bool {
    rest.strip_prefix(head).is_some_and(|rest| rest.starts_with("::"))
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The paths of a `use`, its braces undone; each with its `as`.
fn leaves(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else { return vec![tree.trim().to_owned()] };
    let (before, group) = tree.split_at(open);
    let (mut depth, mut begin, mut found) = (0_usize, 1, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {}
            _ => continue,
        }
        let ends = (c == ',' && depth == 1) || depth == 0;
        if ends {
            let one = group[begin..at].trim();
            let whole = |leaf: String| format!("{}{leaf}", before.trim());
            found.extend(leaves(one).into_iter().filter(|leaf| !leaf.is_empty()).map(whole));
            begin = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// A leaf of a `use`.
fn used(leaf: &str, line: usize) -> Option<Named> {
    let (path, alias) = match leaf.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim().to_owned())),
        None => (leaf, None),
    };
    let mut path = segments(path);
    let last = path.last()?.clone();
    // All of a module, or the module itself.
    if last == "*" || (last == "self" && path.len() > 1) {
        path.pop();
    }
    let name = if last == "*" { None } else { alias.or_else(|| path.last().cloned()) };
    Some(Named { path, name, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(code: &str) -> Vec<String> {
        let show = |one: Named| {
            let name = one.name.map_or_else(String::new, |name| format!(" as {name}"));
            format!("{}: {}{name}", one.line, one.path.join("::"))
        };
        named(code).into_iter().map(show).collect()
    }

    #[test]
    fn a_use_is_undone_into_its_paths() {
        let code = "use std::fmt;\n\npub(crate) use crate::a::{\n    self, b::{C, D as E},\n    f::*,\n};\nlet reuse = 1;\n";
        assert_eq!(
            shown(code),
            [
                "1: std::fmt as fmt",
                "3: crate::a as a",
                "3: crate::a::b::C as C",
                "3: crate::a::b::D as E",
                "3: crate::a::f",
            ]
        );
    }

    #[test]
    fn a_path_in_full_is_found() {
        let code =
            "fn a(b: &crate::c::D) {\n    super::e::f(self::g::<u8>());\n    x::crate_::y();\n}\n";
        assert_eq!(shown(code), ["1: crate::c::D", "2: super::e::f", "2: self::g"]);
    }

    #[test]
    fn what_is_added_to_a_type_is_told_from_a_trait() {
        let code = "impl A {\n}\nimpl<'a, T: Fn(u8) -> u8> B<'a, T>\nwhere\n    T: X,\n{\n}\nimpl C for D {\n}\n\
                    impl crate::e::F {}\n";
        let found: Vec<String> = extended(code).iter().map(|path| path.join("::")).collect();
        assert_eq!(found, ["A", "B", "crate::e::F"]);
    }
}

//! Rust as far as tidy reads it: text without comments and literals, its functions and its
//! modules. No parser: what rustfmt has laid out is regular enough.

use std::ops::Range;

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    /// From the line of its `fn` to the line of its closing brace, both included.
    pub(super) lines: usize,
}

/// A module in a file of its own, as `mod name;` declares it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module<'a> {
    pub(super) name: &'a str,
    /// What a `#[path = "…"]` above it says.
    pub(super) path: Option<&'a str>,
}

/// The same lines, with comments, strings and characters blanked.
pub(super) fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blank = literal(rest, out.chars().next_back());
        let (taken, after) = rest.split_at(blank.max(first.len_utf8()));
        if blank == 0 {
            out.push(first);
        } else {
            out.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    out
}

/// The length in bytes of the comment or literal that begins here; 0 if none does.
fn literal(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest);
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    if before.is_some_and(word) { 0 } else { raw_string(rest).unwrap_or(0) }
}

/// Length of the block comment that `rest` begins with, bytes; comments in it nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut inside = rest.char_indices().skip(1);
    let escaped = inside.next().is_some_and(|(_, c)| c == '\\');
    if escaped {
        inside.next();
        return inside.find(|(_, c)| *c == '\'').map_or(rest.len(), |(at, _)| at + 1);
    }
    inside.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
}

/// `r"…"`, `r#"…"#` and those of bytes and C strings.
fn raw_string(rest: &str) -> Option<usize> {
    let body = ["br", "cr", "r"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let quote = body.trim_start_matches('#');
    let hashes = &body[..body.len() - quote.len()];
    let inside = quote.strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(rest.len() - inside.len() + length)
}

pub(super) fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The functions of a text that [`code`] has blanked, in its order; those inside of others too.
pub(super) fn functions(code: &str) -> Vec<Function<'_>> {
    let begins = code.match_indices("fn ").filter(|(at, _)| !code[..*at].ends_with(word));
    begins
        .filter_map(|(at, keyword)| {
            let signature = &code[at + keyword.len()..];
            let name = signature.split(|c| !word(c)).next().filter(|name| !name.is_empty())?;
            let open = at + keyword.len() + body(signature)?;
            let end = open + closing(&code[open..])?;
            Some(Function { name, lines: code[at..=end].lines().count() })
        })
        .collect()
}

/// Where the body of a function opens; nothing if it has none.
fn body(signature: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in signature.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Where the brace that the text begins with is closed.
fn closing(block: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in block.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The same text without the items that only tests compile, given as [`code`] blanks it.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut done = 0;
    for item in test_items(code) {
        out.push_str(&code[done..item.start]);
        out.extend(code[item.clone()].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        done = item.end;
    }
    out.push_str(&code[done..]);
    out
}

/// Where the items stand that only tests compile.
pub(super) fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = code[at..].find("#[cfg(").map(|begin| at + begin) {
        let rest = &code[begin..];
        at = begin + if only_tests(rest) { item(rest) } else { "#[cfg(".len() };
        if only_tests(rest) {
            found.push(begin..at);
        }
    }
    found
}

/// True for `#[cfg(test)]` and `#[cfg(all(test, …))]`.
fn only_tests(attribute: &str) -> bool {
    ["#[cfg(test)", "#[cfg(all(test,"].iter().any(|only| attribute.starts_with(only))
}

/// The length of an item, its attributes included: to its `;`, or to where its braces are
/// closed.
fn item(text: &str) -> usize {
    let end = body(text).map(|open| (open, closing(&text[open..])));
    match (end, text.find(';')) {
        (Some((open, Some(close))), semicolon) if semicolon.is_none_or(|at| open < at) => {
            open + close + 1
        }
        (_, Some(semicolon)) => semicolon + 1,
        _ => text.len(),
    }
}

/// The `mod name;` of a file, given as it is and as [`code`] blanks it.
pub(super) fn modules<'a>(text: &'a str, code: &str) -> Vec<Module<'a>> {
    let (mut found, mut path) = (Vec::new(), None);
    for (line, blanked) in text.lines().zip(code.lines()) {
        let plain = line.trim();
        if let Some(rest) = plain.strip_prefix("#[path = \"") {
            path = rest.split('"').next();
            continue;
        }
        if let Some(name) = declared(plain).filter(|_| !blanked.trim().is_empty()) {
            found.push(Module { name, path });
        }
        path = path.filter(|_| plain.starts_with("#["));
    }
    found
}

/// The name in `pub(crate) mod name;`.
fn declared(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("mod ")?;
    let (name, _) = rest.split_once(';')?;
    let visibility = before.is_empty() || (before.starts_with("pub") && before.ends_with(' '));
    (visibility && !name.is_empty() && name.chars().all(word)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let check = |text: &str, expected: &str| {
            let blanked = code(text);
            let shown: String = blanked.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(shown, expected, "{text}");
            assert_eq!(blanked.lines().count(), text.lines().count(), "{text}");
        };
        check("a // {\nb", "a b");
        check("a /* { /* } */ { */ b", "a b");
        check(r#"a "\"{" b"#, "a b");
        check(r##"a r#"{"}"# b"##, "a b");
        check(r##"a br#"{"# b"##, "a b");
        check("a b\"{\" c", "a b c");
        check(r"a '{' '\'' '\\' '\u{7b}' b", "a b");
        check("fn a<'b>(c: &'b str) {", "fn a<'b>(c: &'b str) {");
        check("r#type attr\"\"", "r#type attr");
        check("a \"{\n}\" é '…' b", "a é b");
    }

    #[test]
    fn functions_are_measured_from_head_to_brace() {
        let text = "pub fn a(\n    x: [u8; 4],\n) -> u8 {\n    if y { \"}\" }\n    fn b() {}\n}\n\
                    trait T {\n    fn none(&self);\n}\ntype F = fn (u8);\n";
        let named: Vec<(String, usize)> = functions(&code(text))
            .into_iter()
            .map(|function| (function.name.to_owned(), function.lines))
            .collect();
        assert_eq!(named, [("a".to_owned(), 6), ("b".to_owned(), 1)]);
    }

    #[test]
    fn what_only_tests_compile_is_blanked() {
        let text = "a\n#[cfg(test)]\n#[allow(b)]\nmod tests {\n    fn c() {}\n}\nd\n#[cfg(test)]\nmod e;\n\
                    #[cfg(all(test, not(loom)))]\nuse f;\n#[cfg(unix)]\nfn g() {}\n";
        let blanked = without_tests(text);
        let shown: Vec<&str> = blanked.split_whitespace().collect();
        assert_eq!(shown, ["a", "d", "#[cfg(unix)]", "fn", "g()", "{}"]);
        assert_eq!(blanked.lines().count(), text.lines().count());
    }

    #[test]
    fn modules_are_those_declared_and_not_those_spoken_of() {
        let text = "// mod no;\npub(crate) mod a;\nmod inline {\n}\n#[path = \"../x/b.rs\"]\n#[cfg(test)]\n\
                    mod b;\nmod c;\nlet modem = 1;\n";
        let module = |name, path| Module { name, path };
        assert_eq!(
            modules(text, &code(text)),
            [module("a", None), module("b", Some("../x/b.rs")), module("c", None)]
        );
    }
}

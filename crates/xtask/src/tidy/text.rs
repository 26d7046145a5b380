//! Spaces at the ends of lines, and files that have to be there.

use crate::tidy::tree::Tree;

/// Files that people write; what programs write (fixtures, results, statements) is theirs.
const WRITTEN: [&str; 12] =
    ["rs", "md", "toml", "sql", "py", "txt", "css", "conf", "service", "yaml", "json", "example"];

const NEEDED: [&str; 9] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "deny.toml",
    "_typos.toml",
    "rust-toolchain.toml",
];

pub(super) fn check(tree: &Tree, wrong: &mut Vec<String>) {
    for (path, text) in tree.files(&WRITTEN) {
        for (number, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                wrong.push(format!("{path}:{}: ends with a space", number + 1));
            }
        }
    }
    for needed in NEEDED {
        if !tree.has(needed) {
            wrong.push(format!("{needed} is missing"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    #[test]
    fn spaces_at_the_end_and_missing_files_are_found() {
        let mut files: Vec<(&str, &str)> = NEEDED.iter().map(|path| (*path, "text\n")).collect();
        assert_eq!(findings(check, &files), Vec::<String>::new());
        files[0].1 = "text\nmore  \n";
        assert_eq!(findings(check, &files), ["README.md:2: ends with a space"]);
        files.remove(0);
        assert_eq!(findings(check, &files), ["README.md is missing"]);
    }
}

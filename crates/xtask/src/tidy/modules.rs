//! Every Rust file is compiled, and begins with what it is for.

use std::collections::BTreeSet;

use crate::tidy::rust;
use crate::tidy::tree::{Tree, beside};

/// Files that cargo finds without a `mod`, in the folder of a crate.
const ROOTS: [&str; 3] = ["src/lib.rs", "src/main.rs", "build.rs"];

/// Folders of a crate in which each file, and the `main.rs` of each folder, is a program.
const PROGRAMS: [&str; 4] = ["src/bin/", "tests/", "examples/", "benches/"];

pub(super) fn check(tree: &Tree, wrong: &mut Vec<String>) {
    for (path, text) in tree.files(&["rs"]) {
        if !text.starts_with("//! ") {
            wrong.push(format!("{path}: begins without a `//! ` that says what it is for"));
        }
    }
    let compiled = compiled(tree);
    for (path, _) in tree.files(&["rs"]) {
        if !compiled.contains(path) {
            wrong.push(format!(
                "{path}: no `mod` and no manifest names it, so it is never compiled"
            ));
        }
    }
}

/// What can be reached from the files that cargo finds.
fn compiled(tree: &Tree) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = roots(tree);
    while let Some(file) = next.pop() {
        if let Some((text, code)) = tree.rust(&file)
            && !found.contains(&file)
        {
            let modules = rust::modules(text, code);
            next.extend(modules.iter().flat_map(|module| homes(tree, &file, module)));
            found.insert(file);
        }
    }
    found
}

/// Folders with a manifest, each with its `/`; one may lie in another.
fn packages(tree: &Tree) -> Vec<&str> {
    let manifests = tree.files(&["toml"]).filter_map(|(path, _)| path.strip_suffix("Cargo.toml"));
    manifests.filter(|folder| folder.ends_with('/')).collect()
}

fn roots(tree: &Tree) -> Vec<String> {
    let mut roots = Vec::new();
    for folder in packages(tree) {
        roots.extend(ROOTS.iter().map(|root| format!("{folder}{root}")));
        roots.extend(tree.files(&["rs"]).filter_map(|(path, _)| {
            path.strip_prefix(folder).filter(|inner| program(inner)).map(|_| path.to_owned())
        }));
        let manifest = format!("{folder}Cargo.toml");
        let lines = tree.text(&manifest).unwrap_or_default().lines();
        roots.extend(lines.filter_map(|line| {
            let path = line.strip_prefix("path = \"")?.strip_suffix('"')?;
            beside(&manifest, path)
        }));
    }
    roots
}

/// True for a file that cargo makes a program of, by its place in a crate.
fn program(inner: &str) -> bool {
    PROGRAMS.iter().filter_map(|folder| inner.strip_prefix(folder)).any(|rest| {
        !rest.contains('/') || (rest.ends_with("/main.rs") && rest.matches('/').count() == 1)
    })
}

/// Where the file of a module may be.
fn homes(tree: &Tree, file: &str, module: &rust::Module) -> Vec<String> {
    if let Some(path) = module.path {
        return beside(file, path).into_iter().collect();
    }
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let own = matches!(name, "lib.rs" | "main.rs" | "mod.rs") || is_program(tree, file);
    let folder = if own { folder } else { file.trim_end_matches(".rs") };
    vec![format!("{folder}/{}.rs", module.name), format!("{folder}/{}/mod.rs", module.name)]
}

fn is_program(tree: &Tree, file: &str) -> bool {
    packages(tree).iter().any(|folder| file.strip_prefix(folder).is_some_and(program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    const MANIFEST: (&str, &str) =
        ("crates/a/Cargo.toml", "[[bench]]\npath = \"../../benches/b.rs\"\n");

    #[test]
    fn a_file_without_a_head_is_found() {
        let files = [MANIFEST, ("crates/a/src/lib.rs", "use std::fs;\n")];
        assert_eq!(findings(check, &files).len(), 1);
        let files = [MANIFEST, ("crates/a/src/lib.rs", "//! What a is.\n")];
        assert_eq!(findings(check, &files), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_no_mod_names_is_found() {
        let files = [
            MANIFEST,
            ("benches/b.rs", "//! A bench.\n"),
            ("crates/a/fuzz/Cargo.toml", "[[bin]]\npath = \"targets/t.rs\"\n"),
            ("crates/a/fuzz/targets/t.rs", "//! A target.\n"),
            ("crates/a/src/lib.rs", "//! A.\nmod b;\nmod d;\n// mod left;\n"),
            ("crates/a/src/b.rs", "//! B.\nmod c;\n"),
            ("crates/a/src/b/c.rs", "//! C.\n"),
            ("crates/a/src/d/mod.rs", "//! D.\n"),
            ("crates/a/src/left.rs", "//! Left.\n"),
            ("crates/a/tests/t/main.rs", "//! T.\n#[path = \"../parts/rig.rs\"]\nmod rig;\n"),
            ("crates/a/tests/one.rs", "//! One.\nmod parts;\n"),
            ("crates/a/tests/parts/mod.rs", "//! Parts.\n"),
            ("crates/a/tests/parts/rig.rs", "//! Rig.\n"),
            ("crates/a/tests/t/gone.rs", "//! Gone.\n"),
        ];
        let wrong = findings(check, &files);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("crates/a/src/left.rs: "), "{wrong:?}");
        assert!(wrong[1].starts_with("crates/a/tests/t/gone.rs: "), "{wrong:?}");
    }
}

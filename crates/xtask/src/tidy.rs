//! What formatters and lints do not look at: links between documents, and
//! pages that would only work on one machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::Failure;
use crate::workspace::Workspace;

/// Folders that are not the project's own text.
const SKIPPED: [&str; 5] = ["target", ".git", ".tools", ".venv", "node_modules"];

/// Checks every document; fails with a list.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut pages = Vec::new();
    collect(workspace.root(), &mut pages);
    let mut wrong = Vec::new();
    for page in &pages {
        let Ok(text) = fs::read_to_string(page) else { continue };
        let shown = page.strip_prefix(workspace.root()).unwrap_or(page).display().to_string();
        for (number, line) in text.lines().enumerate() {
            for link in links(line) {
                if broken(page, link) {
                    wrong.push(format!("{shown}:{}: {link} does not exist", number + 1));
                }
            }
            if line.ends_with(' ') && !line.ends_with("  ") {
                wrong.push(format!("{shown}:{}: ends with a space", number + 1));
            }
        }
    }
    code_map(workspace.root(), &mut wrong);
    for needed in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "deny.toml"] {
        if !workspace.root().join(needed).is_file() {
            wrong.push(format!("{needed} is missing"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Broken(wrong.join("\n"))) }
}

/// The table of crates in `docs/internals/architecture.md` names what each may name; the
/// manifests say what it does.
fn code_map(root: &Path, wrong: &mut Vec<String>) {
    let page = "docs/internals/architecture.md";
    let text = fs::read_to_string(root.join(page)).unwrap_or_default();
    let table = text.split("\n## Code map\n").nth(1).unwrap_or_default();
    let table = table.split("\n## ").next().unwrap_or_default();
    let mut crates: Vec<String> = fs::read_dir(root.join("crates"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    crates.sort();
    for name in &crates {
        let manifest = fs::read_to_string(root.join(format!("crates/{name}/Cargo.toml")));
        let own = |other: &&String| manifest.as_deref().is_ok_and(|text| depends(text, other));
        let row = table.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let Some(names) = row.and_then(|row| row.trim_end_matches(" |").rsplit(" | ").next())
        else {
            wrong.push(format!("{page}: the code map has no row for {name}"));
            continue;
        };
        // It runs everything.
        if name == "cli" {
            continue;
        }
        for other in crates.iter().filter(|other| *other != name) {
            let (says, does) = (names.contains(&format!("`{other}`")), own(&other));
            if says != does {
                let not = if does { "does not say" } else { "says" };
                wrong.push(format!("{page}: the code map {not} that {name} names {other}"));
            }
        }
    }
}

/// True if a manifest has this crate among what the crate itself needs.
fn depends(manifest: &str, other: &str) -> bool {
    let needs = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let needs = needs.split("\n[").next().unwrap_or_default();
    needs.lines().any(|line| line.starts_with(&format!("giliran-{other}.")))
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                collect(&path, pages);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

/// The targets of a line's Markdown links.
fn links(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// True for a relative link to nothing.
fn broken(page: &Path, link: &str) -> bool {
    let file = link.split('#').next().unwrap_or_default();
    if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
        return false;
    }
    !page.parent().is_some_and(|folder| folder.join(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_needs_what_its_manifest_says_and_not_what_its_tests_do() {
        let manifest = "[package]\n\n[dependencies]\ngiliran-wire.workspace = true\n\n\
                        [dev-dependencies]\ngiliran-allocator.workspace = true\n";
        assert!(depends(manifest, "wire"));
        assert!(!depends(manifest, "allocator"));
    }

    #[test]
    fn links_are_found_and_looked_up() {
        let line = "see [a](Cargo.toml#x), [b](https://a.b/) and [c](gone.md)";
        assert_eq!(links(line), ["Cargo.toml#x", "https://a.b/", "gone.md"]);
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("page.md");
        assert_eq!(
            links(line).iter().map(|l| broken(&page, l)).collect::<Vec<_>>(),
            [false, false, true]
        );
    }
}

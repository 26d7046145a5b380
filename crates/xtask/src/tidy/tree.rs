//! The checkout, read once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::tidy::rust;

/// Folders that are not the project's own text.
const SKIPPED: [&str; 6] = ["target", ".git", ".tools", ".venv", "node_modules", "__pycache__"];

/// Paths are relative to the root, with `/`.
#[derive(Default)]
pub(super) struct Tree {
    /// Every file that is text, with its text.
    texts: BTreeMap<String, String>,
    /// Every Rust file, as [`rust::code`] blanks it.
    codes: BTreeMap<String, String>,
    /// Every file and folder.
    paths: BTreeSet<String>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.collect(root, "");
        tree
    }

    fn collect(&mut self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            let (path, relative) = (entry.path(), format!("{prefix}{name}"));
            if path.is_dir() {
                self.collect(&path, &format!("{relative}/"));
            } else if let Ok(text) = fs::read_to_string(&path) {
                self.add(&relative, text);
            }
            self.paths.insert(relative);
        }
    }

    fn add(&mut self, path: &str, text: String) {
        if path.ends_with(".rs") {
            self.codes.insert(path.to_owned(), rust::code(&text));
        }
        self.texts.insert(path.to_owned(), text);
    }

    /// A tree of these files alone.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.add(path, (*text).to_owned());
            tree.paths.extend(path.match_indices('/').map(|(end, _)| path[..end].to_owned()));
            tree.paths.insert((*path).to_owned());
        }
        tree
    }

    /// Text files whose name ends in `.` and one of these, in the order of their paths.
    pub(super) fn files<'a>(
        &'a self,
        extensions: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts.iter().filter_map(move |(path, text)| {
            let (_, extension) = path.rsplit_once('.')?;
            extensions.contains(&extension).then_some((path.as_str(), text.as_str()))
        })
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Rust files without comments and literals, in the order of their paths.
    pub(super) fn codes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.codes.iter().map(|(path, code)| (path.as_str(), code.as_str()))
    }

    /// A file's text, and the same without comments and literals.
    pub(super) fn rust(&self, path: &str) -> Option<(&str, &str)> {
        Some((self.text(path)?, self.codes.get(path)?))
    }

    /// The same, with the path as the tree has it.
    pub(super) fn rust_file(&self, path: &str) -> Option<(&str, &str, &str)> {
        let (path, code) = self.codes.get_key_value(path)?;
        Some((path, self.text(path)?, code))
    }

    /// True for a file or folder that is there.
    pub(super) fn has(&self, path: &str) -> bool {
        path.is_empty() || self.paths.contains(path)
    }

    /// The names of the folders under `crates/`.
    pub(super) fn crates(&self) -> Vec<&str> {
        let names = self.paths.iter().filter_map(|path| path.strip_prefix("crates/"));
        names
            .filter_map(|path| path.strip_suffix("/Cargo.toml"))
            .filter(|name| !name.contains('/'))
            .collect()
    }
}

/// The path that `target` means in the folder of `file`, without `.` and `..`; nothing if
/// it lies outside the tree.
pub(super) fn beside(file: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_from_the_folder_of_a_file() {
        assert_eq!(beside("docs/a/b.md", "../c.md#d").as_deref(), Some("docs/c.md#d"));
        assert_eq!(beside("docs/b.md", "./c/").as_deref(), Some("docs/c"));
        assert_eq!(beside("b.md", "../c.md"), None);
    }

    #[test]
    fn a_checkout_is_read_without_what_is_built_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in ["crates/wire/src/lib.rs", "crates/wire/Cargo.toml", "target/debug/x.rs"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "text").expect("written");
        }
        let tree = Tree::read(folder.path());
        let found: Vec<&str> = tree.files(&["rs"]).map(|(path, _)| path).collect();
        assert_eq!(found, ["crates/wire/src/lib.rs"]);
        assert_eq!(tree.crates(), ["wire"]);
        assert!(tree.has("crates/wire/src") && !tree.has("target"));
    }
}

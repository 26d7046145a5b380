//! What a `Cargo.toml` names, as far as tidy asks.

use std::collections::BTreeSet;

/// The prefix of the workspace's own packages; `wire` is the crate `giliran-wire`.
const OWN: &str = "giliran-";

/// The packages that a crate names.
#[derive(Debug, Default)]
pub(super) struct Manifest<'a> {
    /// For itself and its build script, whatever the target.
    pub(super) normal: BTreeSet<&'a str>,
    /// For its tests and benches.
    pub(super) dev: BTreeSet<&'a str>,
}

impl<'a> Manifest<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        let (mut manifest, mut section) = (Self::default(), "");
        for line in text.lines().map(str::trim) {
            if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = header;
                // `[dependencies.name]` is a table of its own.
                if let Some((table, name)) = header.rsplit_once("dependencies.") {
                    manifest.add(table, name);
                    section = "";
                }
            } else if let Some(table) = section.strip_suffix("dependencies")
                && !line.is_empty()
                && !line.starts_with('#')
            {
                manifest.add(table, package(line));
            }
        }
        manifest
    }

    fn add(&mut self, table: &str, name: &'a str) {
        let list = if table.ends_with("dev-") { &mut self.dev } else { &mut self.normal };
        list.insert(name);
    }
}

/// The names of the workspace's own crates among packages.
pub(super) fn own<'a>(packages: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    packages.iter().filter_map(|package| package.strip_prefix(OWN)).collect()
}

/// The package that a line asks for, renamed or not.
fn package(line: &str) -> &str {
    let renamed = line.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next());
    renamed.unwrap_or_else(|| line.split(['.', '=', ' ']).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_names_what_any_of_its_tables_says() {
        let text = "[package]\nname = \"giliran-a\"\n\n[dependencies]\n# Why.\ngiliran-wire.workspace = true\n\
                    blake3 = \"1\"\nrenamed = { package = \"giliran-nats\", path = \"x\" }\n\n\
                    [target.'cfg(loom)'.dependencies]\nloom.workspace = true\n\n\
                    [dependencies.bytes]\nversion = \"1\"\n\n[build-dependencies]\ncc = \"1\"\n\n\
                    [dev-dependencies]\ngiliran-allocator.workspace = true\n";
        let manifest = Manifest::read(text);
        let expected = ["blake3", "bytes", "cc", "giliran-nats", "giliran-wire", "loom"];
        assert_eq!(manifest.normal, BTreeSet::from(expected));
        assert_eq!(own(&manifest.normal), BTreeSet::from(["nats", "wire"]));
        assert_eq!(own(&manifest.dev), BTreeSet::from(["allocator"]));
    }
}

//! The toolchain that rustup is told, and that the image builds with, beside the version that
//! the manifests promise.

use crate::tidy::tree::Tree;

const PAGE: &str = "rust-toolchain.toml";

const IMAGE: &str = "deploy/compose/Dockerfile";

/// What the steps of `cargo xtask test` run.
const COMPONENTS: [&str; 2] = ["rustfmt", "clippy"];

pub(super) fn check(tree: &Tree, wrong: &mut Vec<String>) {
    let Some(text) = tree.text(PAGE) else { return };
    let manifest = tree.text("Cargo.toml").unwrap_or_default();
    let (channel, promised) = (value(text, "channel"), value(manifest, "rust-version"));
    let Some(promised) = promised else {
        wrong.push("Cargo.toml: has no rust-version".to_owned());
        return;
    };
    // With its last number: a short `1.95` is another toolchain than `1.95.0`.
    let begin = format!("{promised}.");
    if !channel.is_some_and(|channel| channel.starts_with(&begin)) {
        wrong.push(format!(
            "{PAGE}: channel is {}; expected the full version of rust-version, as {begin}0",
            channel.unwrap_or("missing")
        ));
    }
    let image = format!("FROM rust:{promised}-");
    if tree.text(IMAGE).is_some_and(|text| !text.contains(&image)) {
        wrong.push(format!("{IMAGE}: expected `{image}…`, as rust-version says"));
    }
    for component in COMPONENTS {
        if !text.contains(&format!("\"{component}\"")) {
            wrong.push(format!("{PAGE}: {component} is missing, which `cargo xtask test` runs"));
        }
    }
}

/// The text behind `key = "…"`.
fn value<'a>(toml: &'a str, key: &str) -> Option<&'a str> {
    let line = toml.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
    line.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    #[test]
    fn the_image_builds_with_the_promised_version() {
        let of = |image: &str| {
            let files = [
                (PAGE, "channel = \"1.95.0\"\ncomponents = [\"rustfmt\", \"clippy\"]\n"),
                ("Cargo.toml", "rust-version = \"1.95\"\n"),
                (IMAGE, image),
            ];
            findings(check, &files).len()
        };
        assert_eq!(of("FROM rust:1.95-slim-bookworm AS build\n"), 0);
        assert_eq!(of("FROM rust:1.94-slim-bookworm AS build\n"), 1);
    }

    #[test]
    fn the_toolchain_is_the_promised_version_in_full() {
        let of = |text: &str| {
            let manifest = ("Cargo.toml", "[workspace.package]\nrust-version = \"1.95\"\n");
            findings(check, &[(PAGE, text), manifest]).len()
        };
        assert_eq!(of("channel = \"1.95.0\"\ncomponents = [\"rustfmt\", \"clippy\"]\n"), 0);
        assert_eq!(of("channel = \"1.95\"\ncomponents = [\"rustfmt\", \"clippy\"]\n"), 1);
        assert_eq!(of("channel = \"1.96.0\"\ncomponents = [\"rustfmt\", \"clippy\"]\n"), 1);
        assert_eq!(of("channel = \"1.95.1\"\ncomponents = [\"rustfmt\"]\n"), 1);
        assert_eq!(of("components = [\"rustfmt\", \"clippy\"]\n"), 1);
    }
}

//! What formatters and lints do not look at: the habits of this code base that a program
//! can check.
//!
//! Everything is read once into a [`Tree`]; each check is a function of it that adds to a
//! list of findings, so that one run shows all that is wrong.

mod circles;
mod file_size;
mod floors;
mod links;
mod manifest;
mod modules;
mod paths;
mod rust;
mod size;
mod text;
mod toolchain;
mod tree;
mod words;

use crate::process::Failure;
use crate::tidy::tree::Tree;
use crate::workspace::Workspace;

/// Adds what it finds wrong, a line each: where, what, and what is expected.
type Check = fn(&Tree, &mut Vec<String>);

const CHECKS: [Check; 9] = [
    text::check,
    links::check,
    floors::check,
    modules::check,
    circles::check,
    size::check,
    file_size::check,
    words::check,
    toolchain::check,
];

/// Runs every check; fails with the list of findings.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let tree = Tree::read(workspace.root());
    let mut wrong = Vec::new();
    for check in CHECKS {
        check(&tree, &mut wrong);
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Broken(wrong.join("\n"))) }
}

/// What a check says of a tree of these files; for tests.
#[cfg(test)]
fn findings(check: Check, files: &[(&str, &str)]) -> Vec<String> {
    let mut wrong = Vec::new();
    check(&Tree::of(files), &mut wrong);
    wrong
}

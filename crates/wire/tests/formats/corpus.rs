//! What fuzzing has kept is read by an ordinary test: each file of `fuzz/corpus` by its target.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use crate::targets;

/// Files that a target has at least; fewer and something is not where it was.
const FEWEST: usize = 8;

/// Reads every file of a folder with a target; how many there were.
fn replay(folder: &str, target: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(folder);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in &paths {
        let bytes = fs::read(path).unwrap();
        // The name of a file at which a decoder panics is what is looked for first.
        let read = std::panic::catch_unwind(|| target(&bytes));
        assert!(read.is_ok(), "{}", path.display());
    }
    paths.len()
}

#[test]
fn every_input_of_the_corpus_is_read_or_refused() {
    for (folder, target) in [
        ("request", targets::request as fn(&[u8])),
        ("block", targets::block),
        ("snapshot", targets::snapshot),
        ("client_log", targets::client_log),
    ] {
        let files = replay(folder, target);
        assert!(files >= FEWEST, "{folder} has {files} files");
    }
}

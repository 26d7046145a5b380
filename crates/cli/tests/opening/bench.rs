//! `giliran bench` measures, writes down what it has measured, and makes a table of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> String {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_giliran"));
    let done = bench.arg("bench").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn every_pass_is_written_down_and_the_table_comes_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let results: PathBuf = folder.path().join("results.json");
    let results = results.to_str().unwrap();
    let accounts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats/giliran.conf");
    let accounts = accounts.to_str().unwrap();
    let rows = ["--rows", "S2,S12,shipped,H1,H2", "--accounts", accounts];
    let small = ["--passes", "1", "--scale", "0.001", "--json", results];
    let said = bench(&[&rows[..], &small[..]].concat());
    let written: Value = serde_json::from_str(&std::fs::read_to_string(results).unwrap()).unwrap();
    for (list, row) in [
        ("passes", "echo U"),
        ("passes", "S2"),
        ("passes_of_figures", "S4, book 10000"),
        ("passes_of_figures", "S2, slots 1"),
        ("passes_of_figures", "S2, slots 5000"),
        ("passes_of_figures", "S2, as shipped"),
        ("passes_of_figures", "H1 grants, gateway"),
        ("passes_of_figures", "H1 sold out, bare"),
        ("figures", "S12"),
        ("figures", "H1"),
        ("figures", "H2"),
    ] {
        let all = written[list].as_array().unwrap();
        let found: Vec<&Value> = all.iter().filter(|pass| pass["row"] == row).collect();
        assert!(!found.is_empty(), "{row} is missing: {said}");
        // Each request was answered as its row wants.
        assert!(found.iter().all(|pass| pass["others"].as_u64().unwrap_or(0) == 0), "{found:?}");
    }
    let table = bench(&["--table", results]);
    assert!(table.lines().any(|line| line.starts_with("| S2 | durable grants")), "{table}");
    assert!(table.lines().any(|line| line.starts_with("| S12 |")), "{table}");
}

//! Files that are not, or not quite, what was published of a draw: both verifiers
//! say what is wrong, and where.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/verify/draw.json");

fn shown(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout) + &text(output.stderr))
}

pub(crate) fn verify(file: &Path, more: &[&str]) -> (Option<i32>, String) {
    shown(Command::new(env!("CARGO_BIN_EXE_giliran")).arg("verify").arg(file).args(more))
}

/// The verifier under `docs/examples`.
pub(crate) fn python(file: &Path, more: &[&str]) -> (Option<i32>, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/verify/verify.py");
    shown(Command::new("python3").arg(script).arg(file).args(more))
}

/// An entry of this draw of eleven, a party of three's, is shown to be in it without
/// the others. `other`: another entry's receipt.
pub(crate) fn prove(extract: &Path, root: &str, (own, request): (&str, &str), other: &str) {
    let (proof, changed) = (extract.with_extension("proof"), extract.with_extension("changed"));
    let proving = |request: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_giliran"));
        command.args(["draw", "proof"]).args([extract, &proof]);
        shown(command.args(["--receipt", own, "--request-id", request]))
    };
    let (code, said) = proving("another");
    assert!(code == Some(1) && said.contains("another request"), "{said}");
    let (code, said) = proving(request);
    assert!(code == Some(0) && said.contains("of 11"), "{said}");
    let proven = std::fs::read_to_string(&proof).unwrap();
    let index = proven.lines().find(|line| line.contains("\"index\"")).unwrap();
    let against = ["--proof", "--root", root];
    for verifier in [verify, python] {
        let with = |receipt, request| {
            verifier(
                &proof,
                &[&against[..], &["--receipt", receipt, "--request-id", request]].concat(),
            )
        };
        let (code, shown) = with(own, request);
        assert!(code == Some(0) && shown.contains("is one of the 11"), "{shown}");
        let (code, shown) = with(other, request);
        assert!(code == Some(1) && shown.contains("not that of this receipt"), "{shown}");
        let (code, shown) = with(own, "another");
        assert!(code == Some(1) && shown.contains("another request"), "{shown}");
        let (code, shown) = verifier(&proof, &["--proof", "--root", &"0".repeat(64)]);
        assert!(code == Some(1) && shown.contains("another one was published"), "{shown}");
        let (code, shown) = verifier(&proof, &["--proof"]);
        assert!(code == Some(2) && shown.contains("--root"), "{shown}");
        let (code, shown) = verifier(extract, &against);
        assert!(code == Some(1) && shown.contains("format"), "{shown}");
        for (from, to, says) in [
            (
                "\"places\": 3,\n    \"slots\"",
                "\"places\": 4,\n    \"slots\"",
                "one of them was changed",
            ),
            ("\"entries\": 11", "\"entries\": 3", ""),
            (index, "\"index\": 11,", "there are 11 entries"),
            ("\"ordinal\"", "\"ordinary\"", "ordina"),
        ] {
            std::fs::write(&changed, proven.replacen(from, to, 1)).unwrap();
            let (code, shown) = verifier(&changed, &against);
            assert!(code == Some(1) && shown.contains(says), "{from}: {shown}");
        }
    }
}

type Change = Box<dyn Fn(&mut Value)>;

/// A field is gone.
fn without(path: &'static [&str], field: &'static str) -> Change {
    Box::new(move |draw| {
        let within = path.iter().fold(draw, |value, step| match step.parse::<usize>() {
            Ok(i) => &mut value[i],
            Err(_) => &mut value[*step],
        });
        within.as_object_mut().unwrap().remove(field).unwrap();
    })
}

/// Changes to this draw, and what is said of each.
fn changes(draw: &Value) -> [(&'static str, Change); 28] {
    let won = draw["ballots"].as_array().unwrap().iter().position(|b| b["drawn"] == 0).unwrap();
    [
        (
            "changed, added or dropped",
            Box::new(|d| drop(d["ballots"].as_array_mut().unwrap().remove(3))),
        ),
        (
            "changed, added or dropped",
            Box::new(|d| {
                let mut more = d["ballots"][0].clone();
                more["number"] = json!("07ffffffffffffffffff");
                d["ballots"].as_array_mut().unwrap().push(more);
            }),
        ),
        ("changed, added or dropped", Box::new(|d| d["ballots"][2]["places"] = json!(5))),
        ("changed, added or dropped", Box::new(|d| d["slots"][0]["places"] = json!(50))),
        ("changed, added or dropped", Box::new(|d| d["opening"] = json!("other"))),
        ("the draw gives it", Box::new(move |d| d["ballots"][won]["drawn"] = json!(1))),
        ("committed to", Box::new(|d| d["seed"] = json!("0".repeat(64)))),
        ("digits are needed", Box::new(|d| d["root"] = json!("00"))),
        ("missing field `ballots`", without(&[], "ballots")),
        ("missing field `beacon`", without(&[], "beacon")),
        ("missing field `holder`", without(&["ballots", "2"], "holder")),
        ("missing field `drawn`", without(&["ballots", "2"], "drawn")),
        ("not an extract", Box::new(|d| d["more"] = json!(1))),
        ("not an extract", Box::new(|d| d["ballots"][1]["places"] = json!(70_000))),
        ("not an extract", Box::new(|d| d["ballots"][1]["places"] = json!(-1))),
        ("not an extract", Box::new(|d| d["ballots"][1]["places"] = json!(true))),
        ("not an extract", Box::new(|d| *d = json!([]))),
        ("/1", Box::new(|d| *d = json!({ "format": "giliran-draw/2", "entries": [] }))),
        ("at least 1", Box::new(|d| d["ballots"][1]["places"] = json!(0))),
        ("there are 2 slots", Box::new(|d| d["ballots"][1]["slots"] = json!([0, 2]))),
        (
            "ballots[4].number: a second time",
            Box::new(|d| {
                let ballots = d["ballots"].as_array_mut().unwrap();
                ballots.insert(3, ballots[3].clone());
            }),
        ),
        (
            "ballots[1].number: out of order",
            Box::new(|d| {
                d["ballots"].as_array_mut().unwrap().swap(0, 1);
            }),
        ),
        (
            "not hexadecimal in lower case",
            Box::new(|d| {
                d["ballots"][0]["number"] = json!("0205BCFFE4AEE9B9948E");
            }),
        ),
        ("committed to", Box::new(|d| d["commitment"] = json!("1".repeat(64)))),
        // Another public value has another name, or is none's.
        (
            "changed, added or dropped",
            Box::new(|d| {
                d["beacon"] = json!({ "name": "drand 00 1", "value": "00" });
            }),
        ),
        ("changed, added or dropped", Box::new(|d| d["slots"][0]["office"] = json!("beta"))),
        ("changed, added or dropped", Box::new(|d| d["slots"][0]["date"] = json!("2030-01-09"))),
        ("not an extract", Box::new(|d| d["slots"][0]["session"] = json!(1))),
    ]
}

/// The draw that ships with the documents: both verifiers find it right, and say
/// of every change to it what is wrong.
#[test]
fn both_verifiers_agree_on_the_shipped_draw() {
    let text = std::fs::read_to_string(SHIPPED).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("draw.json");
    for verifier in [verify, python] {
        let (code, shown) = verifier(Path::new(SHIPPED), &[]);
        assert_eq!(code, Some(0), "{shown}");
        let (code, shown) = verifier(Path::new(SHIPPED), &["--root", &"0".repeat(64)]);
        assert!(code == Some(1) && shown.contains("another one was published"), "{shown}");
    }
    let draw: Value = serde_json::from_str(&text).unwrap();
    for (says, change) in changes(&draw) {
        let mut changed = draw.clone();
        change(&mut changed);
        std::fs::write(&file, changed.to_string()).unwrap();
        for verifier in [verify, python] {
            let (code, shown) = verifier(&file, &[]);
            assert!(code == Some(1) && shown.contains(says), "{says}: {shown}");
        }
    }
    let deep = "[".repeat(100_000);
    let no_json = [&text.as_bytes()[..text.len() / 2], b"", b"\xff", b"null", deep.as_bytes()];
    for bytes in no_json {
        std::fs::write(&file, bytes).unwrap();
        for verifier in [verify, python] {
            let (code, shown) = verifier(&file, &[]);
            assert!(code == Some(1) && shown.contains("not an extract"), "{shown}");
        }
    }
}

/// What cannot be meant so is a matter of the command line, not of the file.
#[test]
fn verifiers_say_what_they_were_asked_wrongly() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.json");
    for verifier in [verify, python] {
        for file in [folder.path(), &none] {
            let (code, shown) = verifier(file, &[]);
            assert!(code == Some(2) && shown.contains("directory"), "{shown}");
        }
        // The last symbol checks the others.
        let receipt = ["--receipt", "0000-0000-0000-0001", "--request-id", "r"];
        for (more, says) in [
            (&receipt[..], "is not a receipt"),
            (&["--receipt", "", "--request-id", "r"], "is not a receipt"),
            (&receipt[..2], "--request-id"),
            (&["--root", "5f0c"], "64 hexadecimal digits"),
            (&["--commitment", "5f0c"], "64 hexadecimal digits"),
        ] {
            let (code, shown) = verifier(Path::new(SHIPPED), more);
            assert!(code == Some(2) && shown.contains(says), "{more:?}: {shown}");
        }
        let other = ["--receipt", "0000-0000-0000-0000", "--request-id", "r"];
        let (code, shown) = verifier(Path::new(SHIPPED), &other);
        assert!(code == Some(1) && shown.contains("another opening"), "{shown}");
        let (code, shown) = verifier(Path::new(SHIPPED), &["--commitment", &"0".repeat(64)]);
        assert!(code == Some(1) && shown.contains("another one was published"), "{shown}");
    }
}

//! The conformance kit, on the clients of `docs/examples` and on clients with planted faults.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use giliran_nats::server;
use serde_json::{Value, json};

use crate::rig::{Rig, config, text};

/// The live cases that a gateway and an HTTP client can get wrong; the others are about what is
/// passed on.
const OF_GATEWAYS: [&str; 8] = [
    "live/lost_answer",
    "live/unsettled",
    "live/always_busy",
    "live/busy",
    "live/granted",
    "live/conflict",
    "live/sold_out",
    "live/cancelled",
];

fn examples(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(name)
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opening").join(name)
}

/// How each case ended.
struct Verdicts(Vec<Value>);

impl Verdicts {
    fn of(&self, word: &str) -> Vec<&str> {
        let ended = self.0.iter().filter(|line| line["verdict"] == word);
        ended.map(|line| line["case"].as_str().unwrap()).collect()
    }
}

/// Runs the kit on a client: exit code, verdicts, and what it said.
fn kit(options: &[&str], client: &[&str], environment: &[(&str, &str)]) -> (i32, Verdicts, String) {
    let library = std::env::var_os("GILIRAN_TEST_PYTHONPATH")
        .expect("GILIRAN_TEST_PYTHONPATH: `cargo xtask test` and `cargo xtask env …` provide it");
    let output = Command::new(env!("CARGO_BIN_EXE_giliran"))
        .args(["conformance", "--json"])
        .args(options)
        .arg("--")
        .args(client)
        .env(server::BINARY_VARIABLE, server::locate().unwrap())
        .env("PYTHONPATH", library)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let verdicts = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), Verdicts(verdicts), said + &errors)
}

/// It passes all that it does not leave out.
fn conforms(options: &[&str], client: &[&str]) -> Verdicts {
    let (code, verdicts, said) = kit(options, client, &[]);
    assert_eq!((code, verdicts.of("FAILED").len()), (0, 0), "{client:?}: {said}");
    verdicts
}

fn only(cases: &[&'static str]) -> Vec<&'static str> {
    cases.iter().flat_map(|case| ["--only", case]).collect()
}

/// Those of a gateway, of whichever client.
fn of_gateways(more: &[&'static str]) -> Vec<&'static str> {
    [more, &only(&OF_GATEWAYS)].concat()
}

#[test]
fn the_python_client_conforms() {
    let client = examples("python/conformance.py");
    let verdicts = conforms(&[], &["python3", text(&client)]);
    let left_out = verdicts.of("LEFT OUT");
    assert!(left_out.iter().all(|case| case.ends_with("/binary")), "{left_out:?}");
    assert_eq!(verdicts.of("passed").iter().filter(|case| case.starts_with("live/")).count(), 26);
}

#[test]
fn the_python_client_conforms_over_http_and_through_the_small_gateway() {
    let (client, gateway) = (examples("python/conformance.py"), examples("python/gateway.py"));
    let http = ["python3", text(&client), "--http"];
    let verdicts = conforms(&of_gateways(&["--http"]), &http);
    assert_eq!(verdicts.of("passed").len(), OF_GATEWAYS.len());
    let behind = beside("behind.py");
    let through = ["python3", text(&behind), "python3", text(&gateway), "--"];
    let verdicts = conforms(&of_gateways(&[]), &[&through[..], &http].concat());
    assert_eq!(verdicts.of("passed").len(), OF_GATEWAYS.len());
}

/// Written from the documents alone; it speaks both forms.
#[test]
fn the_perl_client_conforms() {
    let there = Command::new("perl").args(["-MJSON::PP", "-MTime::HiRes", "-e", "1"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("LEFT OUT: Perl with its usual modules is not installed");
        return;
    }
    let client = examples("perl/conformance.pl");
    let verdicts = conforms(&[], &["perl", text(&client)]);
    assert!(verdicts.of("LEFT OUT").is_empty(), "{:?}", verdicts.of("LEFT OUT"));
}

/// The TypeScript examples without their types, and Node; none where there is no Node. A loader
/// would take the types away at each of a hundred starts.
fn typescript() -> Option<(tempfile::TempDir, String)> {
    let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(node), Some(modules)) = (given("GILIRAN_NODE"), given("GILIRAN_TEST_NODE_MODULES"))
    else {
        println!("LEFT OUT: there is no Node of 20.6 or newer, or npm could not install packages");
        return None;
    };
    // A module's packages are looked for beside it.
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
    let strip = folder.path().join("strip.mjs");
    std::fs::copy(beside("strip.mjs"), &strip).unwrap();
    let mut stripping = Command::new(&node);
    stripping.arg(&strip).arg(examples("typescript")).arg(folder.path());
    let stripped = stripping.output().unwrap();
    assert!(stripped.status.success(), "{}", String::from_utf8_lossy(&stripped.stderr));
    Some((folder, node))
}

/// Over NATS, over HTTP, and through the small gateway.
#[test]
fn the_typescript_clients_conform() {
    let Some((folder, node)) = typescript() else { return };
    let program = |name: &str| text(&folder.path().join(name)).to_owned();
    let (client, gateway) = (program("conformance.mjs"), program("gateway.mjs"));
    conforms(&[], &[&node, &client]);
    let http = [&*node, &client, "--http"];
    conforms(&of_gateways(&["--http"]), &http);
    let behind = beside("behind.py");
    let through = ["python3", text(&behind), &node, &gateway, "--"];
    conforms(&of_gateways(&[]), &[&through[..], &http].concat());
}

/// Books with a client, gives the booking back, and sees that the client tells it and ends.
async fn follows(rig: &Rig, applicant: &str, client: &mut Command) {
    let mut running = client.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&said.next()?.unwrap()).ok();
    let answer = next().unwrap();
    let booking = &answer["booking"]["id"];
    let gives_back = json!({ "request_id": "back", "booking": booking, "applicant": applicant });
    let gone = rig.ask("cancel", gives_back.to_string()).await.unwrap();
    assert_eq!(gone["booking"]["status"], "cancelled", "{answer}");
    let news: Vec<Value> = std::iter::from_fn(next).collect();
    assert_eq!(news.last().unwrap()["booking"]["status"], "cancelled", "{news:?}");
    assert_eq!(news.last().unwrap()["booking"]["id"], *booking);
    assert!(running.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_clients_tell_what_becomes_of_a_booking() {
    let rig = Rig::new(&config(5)).await;
    rig.init();
    let (_engine, _feed) = (rig.serve("a"), rig.feed());
    let gateway = rig.gateway(&[]);
    rig.open().await;
    gateway.until("gateway", "following", Duration::from_secs(20)).await;
    let url = format!("http://{}", gateway.http().unwrap());
    let mut python = Command::new("python3");
    python.arg(examples("python/http_client.py")).args(["--follow", "--opening", "w"]);
    python.args(["--office", "alpha", "1"]).env("GILIRAN_URL", &url);
    follows(&rig, "1", python.env("PYTHONDONTWRITEBYTECODE", "1")).await;
    let Some((folder, node)) = typescript() else { return };
    let mut typescript = Command::new(node);
    typescript.arg(folder.path().join("client.mjs")).args(["--http", "w", "alpha", "2"]);
    follows(&rig, "2", typescript.env("GILIRAN_URL", &url)).await;
}

/// The Python client with a fault planted: which cases fail, and no others of those asked for.
fn caught(fault: &str, fails: &[&'static str], passes: &[&'static str]) {
    let client = beside("faulty.py");
    let folder = examples("python");
    let options = only(&[fails, passes].concat());
    let environment = [("FAULT", fault), ("EXAMPLES", text(&folder))];
    let (code, verdicts, said) = kit(&options, &["python3", text(&client)], &environment);
    assert_eq!(code, 1, "{fault}: {said}");
    assert_eq!(verdicts.of("FAILED"), fails, "{fault}: {said}");
    assert_eq!(verdicts.of("passed"), passes, "{fault}: {said}");
}

/// Whoever has mistyped something, or misses a library, is told.
#[test]
fn a_client_that_does_not_start_is_told_why() {
    let (code, verdicts, said) = kit(&[], &["no-such-client"], &[]);
    assert_eq!((code, verdicts.0.len()), (2, 0));
    assert!(said.contains("no-such-client: no such program"), "{said}");
    for case in ["live/granted", "fold/events"] {
        let broken = ["python3", "-c", "raise SystemExit('there is no nats-py here')"];
        let output = Command::new(env!("CARGO_BIN_EXE_giliran"))
            .args(["conformance", "--only", case, "--"])
            .args(broken)
            .env(server::BINARY_VARIABLE, server::locate().unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains("there is no nats-py here"), "{case}: {said}");
    }
}

#[test]
fn clients_that_misread_are_caught() {
    caught(
        "takes granted for done",
        &["read/granted_held/json", "read/granted_cancelled/json"],
        &["read/granted_confirmed/json"],
    );
}

#[test]
fn clients_that_misbehave_are_caught() {
    caught("new id at each retry", &["live/lost_answer", "live/busy"], &["live/granted"]);
    caught("claims that it is sold out", &["live/unsettled"], &["live/lost_answer"]);
    // Cases that do not count attempts.
    caught("asks twice at once", &["live/unsettled", "live/party"], &["live/places"]);
    caught("believes everybody", &["live/events"], &["live/granted"]);
    caught("believes whoever comes first", &["live/events"], &["live/granted"]);
}

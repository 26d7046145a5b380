//! The demo that is kept open: a booking by hand after its crowd.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use giliran_nats::server;
use serde_json::json;

use crate::rig::{get, post};

/// A crowd, partly through the gateway; then a place for whoever books one, until somebody ends
/// it, and nobody complains then.
#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_kept_open_has_places_for_who_comes_by() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_giliran"))
        .args(["demo", "--people", "300", "--rate", "300", "--via-gateway", "0.5", "--keep"])
        .args(["--page", "127.0.0.1:0", "--console", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("demo"))
        .env(server::BINARY_VARIABLE, server::locate().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    // As `20 places were added at OFFICE, DATE, SESSION. Book one at http://ADDRESS/`.
    let added = said.find(|line| line.contains("places were added")).unwrap();
    let (slot, address) = added.split_once(". Book one at http://").unwrap();
    let slot: Vec<&str> = slot.split_once(" at ").unwrap().1.split(", ").collect();
    let choice = json!({ "office": slot[0], "date": slot[1], "session": slot[2] });
    let body = json!({ "applicants": ["3171234567890001"], "choices": [choice] });
    let address = address.trim_end_matches('/');
    let (status, granted) = post(address, "/v1/openings/dev/bookings", Some("key"), &body).await;
    assert_eq!(status, 201, "{granted}");
    // The console shows what was added, and by whom.
    let ends = said.next().unwrap();
    let console = ends.strip_prefix("and see it at http://").unwrap();
    let console = console.strip_suffix("/; Ctrl-C ends it.").unwrap();
    let journal = get(console, "/journal").await.unwrap();
    assert!(journal.contains("places to book by hand"), "{journal}");
    // Half of the crowd came the same way.
    let metrics = get(address, "/metrics").await.unwrap();
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    let attempts =
        metrics.lines().filter(|line| line.starts_with("giliran_gateway_attempts_total"));
    let attempts: u64 = attempts.map(count).sum();
    assert!((100..=400).contains(&attempts), "{attempts}");
    let sent = Command::new("kill").arg("-INT").arg(demo.id().to_string()).status().unwrap();
    assert!(sent.success());
    let mut complained = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
    let ended = demo.wait().unwrap();
    assert!(ended.success(), "{ended}: {complained}");
    assert!(!complained.contains("lost"), "{complained}");
}

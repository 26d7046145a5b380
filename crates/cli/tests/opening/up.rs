//! Everything on one machine, and a client in another language.

use std::fs::{Permissions, set_permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use giliran_nats::server;

pub(crate) struct Up {
    child: Child,
    pub(crate) nats: String,
    health: String,
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn giliran() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_giliran"));
    command.env(server::BINARY_VARIABLE, server::locate().unwrap()).stdin(Stdio::null());
    command
}

pub(crate) fn up(data: &Path) -> Up {
    let mut child = giliran()
        .args(["up", "--dev", "--data"])
        .arg(data)
        .args(["--http", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut nats, mut health) = (String::new(), String::new());
    while health.is_empty() {
        let line = said.next().expect("it says where it listens").unwrap();
        let word = |n: usize| line.split_whitespace().nth(n).unwrap_or_default().to_owned();
        if line.contains("requests") {
            nats = word(1).trim_end_matches(',').to_owned();
        } else if line.contains("health") {
            health = word(1);
        }
    }
    Up { child, nats, health }
}

pub(crate) fn stop(mut up: Up) -> Duration {
    let since = Instant::now();
    Command::new("kill").arg("-TERM").arg(up.child.id().to_string()).status().unwrap();
    let status = up.child.wait().unwrap();
    assert!(status.success(), "{status}");
    since.elapsed()
}

/// Books through the Python example, which repeats itself and reads the feed;
/// after a clean stop and a new start the booking is there, in the store too.
#[test]
fn a_python_client_books_retries_and_reads_the_feed() {
    let library = std::env::var_os("GILIRAN_TEST_PYTHONPATH")
        .expect("GILIRAN_TEST_PYTHONPATH: `cargo xtask test` and `cargo xtask env …` provide it");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let running = up(&data);
    // Somebody waits in another office: an event of no booking comes first.
    let ask = |arguments: &[&str]| {
        let output = giliran().args(arguments).args(["--nats", &running.nats]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let since = Instant::now();
    let shown = loop {
        match ask(&["availability", "--office", "batam-batuaji", "--json"]) {
            (true, shown) if shown.contains("\"date\"") => break shown,
            // No engine yet, or no opening on record: nobody has heard of this office.
            (_, said) => assert!(since.elapsed() < Duration::from_secs(20), "{said}"),
        }
    };
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let day = shown["slots"][0]["date"].as_str().unwrap();
    let place = ["--office", "batam-batuaji", "--date", day];
    let signed = ["--opening", "dev", "--operator", "siti", "--reason", "delegation"];
    let reserve = [&["admin", "reserve"], &signed[..], &place, &["30"]].concat();
    assert!(ask(&reserve).0);
    let (entered, said) = ask(&[&["book", "--wait"], &place[..], &["person-1"]].concat());
    assert!(entered && said.contains("receipt"), "{said}");
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/python/client.py");
    let python = |arguments: &[&str]| {
        let output = Command::new("python3")
            .arg(client)
            .args(arguments)
            .env("PYTHONPATH", &library)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NATS_URL", &running.nats)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let books = ["--office", "batam-harbourbay", "--events", "2171012345678901"];
    let (booked, said) = python(&books);
    assert!(booked && said.contains("giliran.booking.confirmed"), "{said}");
    // The same request of a booking that was given back: granted, and done with.
    let same = ["--request-id", "once", "--office", "batam-harbourbay", "2171012345678902"];
    let (booked, said) = python(&same);
    assert!(booked, "{said}");
    let id = said.split("booked ").nth(1).unwrap().split(':').next().unwrap();
    assert!(ask(&["cancel", id, "2171012345678902"]).0);
    let (booked, said) = python(&same);
    assert!(!booked && said.contains("is cancelled: for another place"), "{said}");
    let (waits, said) = python(&[&place[..], &["--wait", "2171012345678903"]].concat());
    assert!(waits && said.contains("entered; receipt"), "{said}");
    assert!(running.health.ends_with("/readyz"), "{}", running.health);
    assert!(stop(running) < Duration::from_secs(12));

    let again = up(&data);
    finds_its_booking_again(&again, &data);
    stop(again);
}

/// The booking of before is there, and in the store too.
fn finds_its_booking_again(again: &Up, data: &Path) {
    let find = |nats: &str| {
        let arguments = ["find", "--opening", "dev", "--json", "--nats", nats, "2171012345678901"];
        giliran().args(arguments).output().unwrap()
    };
    let since = Instant::now();
    let found = loop {
        let found = find(&again.nats);
        if found.status.success() || since.elapsed() > Duration::from_secs(10) {
            break String::from_utf8_lossy(&found.stdout).into_owned();
        }
    };
    assert!(found.contains("batam-harbourbay"), "{found}");
    let store = format!("sqlite:{}", data.join("bookings.sqlite").display());
    let audit =
        giliran().args(["audit", "--store", &store, "--nats", &again.nats]).output().unwrap();
    let told = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(audit.status.success(), "{told}");
    assert!(told.contains("P9") && told.contains("holds"), "{told}");
}

/// Two on one folder would sell the same places, and what lies there is nobody
/// else's to read; one that was killed leaves its
/// broker behind, which the next one ends before it starts its own.
#[test]
fn a_data_folder_belongs_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let (data, key) = (folder.path().join("data"), "applicant.key");
    let mut first = up(&data);
    let mut second = giliran();
    second.args(["up", "--dev", "--http", "127.0.0.1:0", "--data"]).arg(&data);
    let output = second.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("another giliran runs on this folder"), "{said}");

    for (name, mode) in [("", 0o700), (key, 0o600), ("bookings.sqlite", 0o600), ("nats", 0o700)] {
        let found = std::fs::metadata(data.join(name)).unwrap().mode() & 0o777;
        assert_eq!(found, mode, "{name}: {found:o}");
    }

    let pid = std::fs::read_to_string(data.join("nats/nats.pid")).unwrap();
    let alive = |pid: &str| std::path::Path::new("/proc").join(pid.trim()).join("exe").exists();
    assert!(alive(&pid));
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    set_permissions(data.join(key), Permissions::from_mode(0o644)).unwrap();
    let output = second.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("(mode 0644)") && said.contains("`chmod 0600 "), "{said}");
    set_permissions(data.join(key), Permissions::from_mode(0o600)).unwrap();
    let next = up(&data);
    assert_ne!(std::fs::read_to_string(data.join("nats/nats.pid")).unwrap(), pid);
    assert!(!alive(&pid), "the broker of the killed one still runs");
    stop(next);
}

/// Whoever ends between key and ledger, or between ledger and the key's name, goes on
/// with that key. A key that has its name had a ledger, which is not made again.
#[test]
fn a_key_whose_ledger_was_never_made_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (key, unused) = (data.join("applicant.key"), data.join("applicant.key.unused"));
    std::fs::create_dir(&data).unwrap();
    let secret = "5a".repeat(32);
    let put_back = |digits: &str| {
        std::fs::write(&unused, digits).unwrap();
        set_permissions(&unused, Permissions::from_mode(0o600)).unwrap();
        let _ = std::fs::remove_file(&key);
    };
    for _ in ["no ledger yet", "the ledger is made"] {
        put_back(&secret);
        stop(up(&data));
        assert_eq!(std::fs::read_to_string(&key).unwrap(), secret);
        assert!(!unused.exists());
    }
    let refused = || {
        let output =
            giliran().args(["up", "--dev", "--http", "127.0.0.1:0", "--data"]).arg(&data).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    put_back(&"5b".repeat(32));
    let said = refused();
    assert!(said.contains("the broker has a ledger already"), "another one's: {said}");
    std::fs::remove_file(&unused).unwrap();
    let said = refused();
    assert!(said.contains("the broker has a ledger already"), "no key: {said}");
    put_back(&secret);
    std::fs::rename(&unused, &key).unwrap();
    std::fs::remove_dir_all(data.join("nats/jetstream")).unwrap();
    let said = refused();
    assert!(said.contains("there is no ledger"), "a stream that vanished: {said}");
}

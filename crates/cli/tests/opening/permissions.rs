//! Every role with the permissions that `deploy/nats/giliran.conf` gives it, from
//! the ledger's first block to an archived generation.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use giliran_broker::server;

use crate::rig::{config, text};

const ROLES: [&str; 11] = [
    "gateway",
    "trusted",
    "payment",
    "operator",
    "engine",
    "persist",
    "feed",
    "reader",
    "auditor",
    "archivist",
    "setup",
];

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site {
    folder: tempfile::TempDir,
    url: String,
    _server: Process,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Site {
    /// A broker with the shipped configuration, but for its places.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats/giliran.conf");
        let port = free_port();
        let mut conf = std::fs::read_to_string(shipped).unwrap();
        for (ours, here) in [
            ("port: 4222", format!("host: 127.0.0.1\nport: {port}")),
            ("http_port: 8222", format!("http_port: {}", free_port())),
            ("/var/lib/nats", folder.path().join("nats").display().to_string()),
        ] {
            assert!(conf.contains(ours), "{ours}");
            conf = conf.replacen(ours, &here, 1);
        }
        let file = folder.path().join("giliran.conf");
        std::fs::write(&file, conf).unwrap();
        let log = std::fs::File::create(folder.path().join("nats.log")).unwrap();
        let mut command = Command::new(server::locate().unwrap());
        command.arg("-c").arg(&file).env("GILIRAN_NATS_NAME", "test").stderr(log);
        for role in ROLES {
            let name = format!("GILIRAN_{}_PASSWORD", role.to_uppercase());
            command.env(name, format!("secret-of-{role}"));
        }
        let server = Process(command.stdin(Stdio::null()).spawn().unwrap());
        let since = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(since.elapsed() < Duration::from_secs(10), "the broker does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { folder, url: format!("nats://127.0.0.1:{port}"), _server: server }
    }

    fn as_role(&self, role: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_giliran"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("GILIRAN_NATS", &self.url)
            .env("GILIRAN_NATS_USER", role)
            .env("GILIRAN_NATS_PASSWORD", format!("secret-of-{role}"))
            .env("GILIRAN_NATS_INBOX_PREFIX", format!("_INBOX_{role}"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, role: &str, arguments: &[&str]) -> String {
        let output = self.as_role(role, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{role} {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn role(&self, role: &str, arguments: &[&str]) -> Process {
        let log = std::fs::File::create(self.folder.path().join(format!("{role}.log"))).unwrap();
        let mut command = self.as_role(role, arguments);
        command.args(["--http", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(log);
        Process(command.spawn().unwrap())
    }

    /// Again until it succeeds: what follows the ledger may be a moment behind.
    fn until(&self, role: &str, arguments: &[&str]) -> String {
        let since = Instant::now();
        loop {
            let output = self.as_role(role, arguments).output().unwrap();
            if output.status.success() {
                return String::from_utf8(output.stdout).unwrap();
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(since.elapsed() < Duration::from_secs(30), "{role} {arguments:?}: {said}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn the_shipped_permissions_suffice() {
    let site = Site::start();
    let folder = site.folder.path();
    std::fs::write(folder.join("giliran.toml"), config(20)).unwrap();
    site.run("setup", &["init"]);
    let engine = ["serve", "--config", "giliran.toml", "--data", "data"];
    let _engine = site.role("engine", &engine);
    let store = "sqlite:bookings.sqlite";
    let _persist = site.role("persist", &["persist", "--store", store]);
    let _feed = site.role("feed", &["feed"]);
    let book = |who| ["book", "--office", "alpha", "--date", "2030-01-07", who, "--json"];
    let first = site.until("gateway", &book("ann"));
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    let id = first["booking"]["id"].as_str().unwrap();
    let signed = ["--operator", "siti", "--reason", "test"];
    site.run("operator", &[&["admin", "roll"], &signed[..]].concat());
    site.run("gateway", &book("ben"));
    site.run("trusted", &["find", "--opening", "w", "ann"]);
    site.run("gateway", &["cancel", id, "ann"]);
    let archived = folder.join("archive");
    site.until("archivist", &["archive", "--to", text(&archived)]);
    let audit = ["audit", "--archive", text(&archived), "--store", store];
    let said = site.until("auditor", &audit);
    assert!(said.contains("2 bookings"), "{said}");

    let refused = site.as_role("gateway", &[&["admin", "roll"], &signed[..]].concat()).output();
    assert!(!refused.unwrap().status.success(), "a gateway is no operator");
    for role in ["engine", "persist", "feed"] {
        let said = std::fs::read_to_string(folder.join(format!("{role}.log"))).unwrap();
        assert!(!said.contains("NATS server refuses"), "{role}: {said}");
    }
}

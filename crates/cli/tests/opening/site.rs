//! A broker with the configuration as it is shipped, and every role with the
//! permissions that it has there.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::Client;
use giliran_nats::connection::{self, Login};
use giliran_nats::server;

/// Giliran's own roles: trusted with the account that has the streams.
const OWN: [&str; 6] = ["engine", "persist", "feed", "archivist", "setup", "administrator"];

pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A user as the configuration has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct User {
    pub(crate) name: String,
    /// What its account may ask of others, as this account names it.
    pub(crate) imports: Vec<String>,
    /// Subjects that it may publish, with wildcards.
    pub(crate) publish: Vec<String>,
    /// Prefix of its inboxes.
    pub(crate) inbox: Option<String>,
}

impl User {
    /// True for those who may be anybody.
    pub(crate) fn is_client(&self) -> bool {
        !OWN.contains(&self.name.as_str()) && self.name != "rehearsal"
    }
}

pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    urls: Vec<String>,
    /// The servers' monitoring addresses, joined by commas.
    pub(crate) monitors: String,
    pub(crate) users: Vec<User>,
    _servers: Vec<Process>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The shipped file, with the administrator, and a second team beside `reader` under
/// the name `ledger-team`, both made as the file says it is done.
fn shipped() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats/giliran.conf");
    let conf = std::fs::read_to_string(file).unwrap();
    let mark = "# { user: administrator";
    assert!(conf.contains(mark), "no administrator");
    let conf = conf.replacen(mark, "{ user: administrator", 1);
    let begin = conf.find("  READER {").unwrap();
    let end = begin + conf[begin..].find("\n  }\n").unwrap() + "\n  }\n".len();
    let team = conf[begin..end].replace("READER", "LEDGER_TEAM").replace("reader", "ledger-team");
    format!("{}{team}{}", &conf[..end], &conf[end..])
}

/// The quoted words of the first list that follows `head`.
fn list(text: &str, head: &str) -> Vec<String> {
    let Some(at) = text.find(head) else { return Vec::new() };
    let list = text[at + head.len()..].split(']').next().unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every user of the configuration.
fn users(conf: &str) -> Vec<User> {
    let lines = conf.lines().filter(|line| !line.trim_start().starts_with('#'));
    let conf: String = lines.map(|line| format!("{line}\n")).collect();
    let accounts = conf.split("\naccounts {").nth(1).unwrap();
    let mut users = Vec::new();
    for account in accounts.split("\n  }\n") {
        let mut imports = Vec::new();
        for line in account.lines().filter(|line| line.contains("{ service: { account:")) {
            let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            imports.push(words.last().unwrap().to_string());
        }
        for user in account.split("user: ").skip(1) {
            let inbox = list(user, "subscribe: { allow: [").into_iter().next_back();
            users.push(User {
                name: user.split(',').next().unwrap().to_owned(),
                imports: imports.clone(),
                publish: list(user, "publish: { allow: ["),
                inbox: inbox.map(|inbox| inbox.trim_end_matches(".>").to_owned()),
            });
        }
    }
    users
}

/// The names of the passwords that the configuration asks for.
fn passwords(conf: &str) -> impl Iterator<Item = &str> {
    let word = |text: &'static str| move |c: char| !c.is_ascii_alphanumeric() && !text.contains(c);
    conf.split("password: $").skip(1).map(move |rest| rest.split(word("_")).next().unwrap())
}

pub(crate) fn password(user: &str) -> String {
    format!("secret-of-{user}")
}

/// The server of this number, once it listens.
fn server(folder: &Path, n: usize, conf: &str, port: u16) -> Process {
    let file = folder.join(format!("giliran-{n}.conf"));
    std::fs::write(&file, conf).unwrap();
    let log = std::fs::File::create(folder.join(format!("nats-{n}.log"))).unwrap();
    let mut command = Command::new(server::locate().unwrap());
    command.arg("-c").arg(&file).env("GILIRAN_NATS_NAME", format!("test-{n}")).stderr(log);
    for variable in passwords(conf) {
        let user = variable.trim_start_matches("GILIRAN_").trim_end_matches("_PASSWORD");
        command.env(variable, password(&user.to_lowercase().replace('_', "-")));
    }
    let server = Process(command.stdin(Stdio::null()).spawn().unwrap());
    let since = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(since.elapsed() < Duration::from_secs(10), "the broker does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::of(1)
    }

    /// A cluster of so many servers, as `deploy/README.md` has it.
    pub(crate) fn of(size: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let conf = shipped();
        let users = users(&conf);
        let ports: Vec<[u16; 3]> =
            (0..size).map(|_| [free_port(), free_port(), free_port()]).collect();
        let routes: Vec<String> =
            ports.iter().map(|[.., route]| format!("\"nats://127.0.0.1:{route}\"")).collect();
        let servers = ports.iter().enumerate().map(|(n, [port, http, route])| {
            let mut conf = conf.clone();
            for (ours, here) in [
                ("port: 4222", format!("host: 127.0.0.1\nport: {port}")),
                ("127.0.0.1:8222", format!("127.0.0.1:{http}")),
                ("/var/lib/nats", folder.path().join(format!("nats-{n}")).display().to_string()),
            ] {
                assert!(conf.contains(ours), "{ours}");
                conf = conf.replace(ours, &here);
            }
            if size > 1 {
                conf += &format!(
                    "cluster {{\n name: giliran\n listen: \"127.0.0.1:{route}\"\n routes: [{}]\n}}\n",
                    routes.join(", ")
                );
            }
            server(folder.path(), n, &conf, *port)
        });
        let servers = servers.collect();
        let urls = ports.iter().map(|[port, ..]| format!("nats://127.0.0.1:{port}")).collect();
        let monitors: Vec<String> =
            ports.iter().map(|[_, http, _]| format!("http://127.0.0.1:{http}")).collect();
        Self { folder, urls, monitors: monitors.join(","), users, _servers: servers }
    }

    /// The server that this user is connected to: of a cluster, not everybody to the
    /// same.
    pub(crate) fn url(&self, user: &str) -> &str {
        let at = self.users.iter().position(|one| one.name == user).unwrap();
        &self.urls[at % self.urls.len()]
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn user(&self, name: &str) -> &User {
        self.users.iter().find(|user| user.name == name).unwrap()
    }

    /// A connection of this user.
    pub(crate) async fn connect(&self, name: &str) -> Client {
        let login = Login {
            user: Some(name.to_owned()),
            password: Some(password(name)),
            inbox_prefix: self.user(name).inbox.clone(),
            ..Login::default()
        };
        connection::connect(self.url(name), "test", &login).await.unwrap()
    }

    /// Waits until JetStream answers this user: a cluster that has just been started
    /// takes a while to have leaders.
    pub(crate) async fn answers(&self, name: &str) {
        let since = Instant::now();
        let client = self.connect(name).await;
        let info = "$JS.API.STREAM.INFO.KV_giliran-v1-lease";
        while client.request(info, "".into()).await.is_err() {
            assert!(since.elapsed() < Duration::from_secs(30), "JetStream does not answer {name}");
        }
    }

    /// What a program needs to be this user.
    pub(crate) fn login<'a>(&self, name: &str, command: &'a mut Command) -> &'a mut Command {
        let user = self.user(name);
        command.env("GILIRAN_NATS", self.url(name));
        command.env("GILIRAN_NATS_USER", name).env("GILIRAN_NATS_PASSWORD", password(name));
        if let Some(inbox) = &user.inbox {
            command.env("GILIRAN_NATS_INBOX_PREFIX", inbox);
        }
        if user.is_client() {
            command.env("GILIRAN_NATS_DOMAIN", "giliran");
        }
        command.stdin(Stdio::null())
    }

    pub(crate) fn command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_giliran"));
        self.login(user, command.args(arguments).current_dir(self.folder.path()));
        command
    }

    pub(crate) fn run(&self, user: &str, arguments: &[&str]) -> String {
        let output = self.command(user, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{user} {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A role that runs on; its log is `<user>.log`.
    pub(crate) fn role(&self, user: &str, arguments: &[&str]) -> Process {
        let log = std::fs::File::create(self.path(&format!("{user}.log"))).unwrap();
        let mut command = self.command(user, arguments);
        command.args(["--http", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(log);
        Process(command.spawn().unwrap())
    }

    /// Again until it succeeds: what follows the ledger may be a moment behind.
    pub(crate) fn until(&self, user: &str, arguments: &[&str]) -> String {
        let since = Instant::now();
        loop {
            let output = self.command(user, arguments).output().unwrap();
            if output.status.success() {
                return String::from_utf8(output.stdout).unwrap();
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if since.elapsed() > Duration::from_secs(30) {
                let engine = std::fs::read_to_string(self.path("engine.log"));
                panic!("{user} {arguments:?}: {said}; the engine: {}", engine.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

//! A broker, the roles as processes of their own, and the audit at the end.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use giliran_audit::{self as audit, AuditError, Check, Facts, Sources, Verdict};
use giliran_fairness::scenario::shipped;
use giliran_loadgen::{Ended, GatewayAddress, LoadTest, SharedStats, Steady};
use giliran_nats::ledger::archive::Archive;
use giliran_nats::server::{Server, ServerOptions};
use giliran_nats::{clock, connection, ledger};
use giliran_persist::{Store, StoreUrl};
use giliran_testkit::{postgres, server_options};
use giliran_wire::client_log::{self, Attempt};
use giliran_wire::subject::Namespace;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A process; killed when dropped.
pub(crate) struct Role {
    pub(crate) child: Child,
    pub(crate) log: PathBuf,
}

impl Role {
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").arg(name).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; exit code and what it said.
    pub(crate) fn ended(&mut self, within: Duration) -> (i32, String) {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code().unwrap_or(-1), self.said());
            }
            assert!(since.elapsed() < within, "still runs; it said: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has said these words in its log.
    pub(crate) async fn says(&self, words: &str) {
        let since = Instant::now();
        while !self.said().contains(words) {
            assert!(since.elapsed() < Duration::from_secs(20), "{words}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where its health and metrics are, once it has said so.
    pub(crate) fn http(&self) -> Option<String> {
        let said = self.said();
        let (_, address) = said.split_once(": http://")?;
        Some(address.split_once('/')?.0.to_owned())
    }

    /// Where the payment side's listener of a gateway is, once it has said so.
    pub(crate) fn payments(&self) -> Option<String> {
        let said = self.said();
        let (_, address) = said.split_once("payments at http://")?;
        Some(address.split_once('/')?.0.to_owned())
    }

    /// What `/readyz` says at this moment; none: nobody answers.
    pub(crate) async fn health(&self) -> Option<Value> {
        serde_json::from_str(&get(&self.http()?, "/readyz").await?).ok()
    }

    /// Waits until this part says that it is in this state; what else it says.
    pub(crate) async fn until(&self, part: &str, state: &str, within: Duration) -> Value {
        let since = Instant::now();
        loop {
            let health = self.health().await;
            if let Some(health) = health.as_ref().filter(|health| health[part]["state"] == state) {
                return health[part].clone();
            }
            assert!(
                since.elapsed() < within,
                "{part} is not {state} within {within:?}: {health:?}; it said: {}",
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The body that an address answers with, whatever its status; none: it does not.
pub(crate) async fn get(address: &str, path: &str) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    };
    tokio::time::timeout(Duration::from_secs(1), ask).await.ok().flatten()
}

/// Posts JSON to a gateway, with an idempotency key where one is given: status and body.
pub(crate) async fn post(
    address: &str,
    path: &str,
    key: Option<&str>,
    body: &Value,
) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let key = key.map_or(String::new(), |key| format!("Idempotency-Key: {key}\r\n"));
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\n{key}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Rig {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: Server,
    /// Where the roles find the broker.
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) namespace: Namespace,
}

impl Rig {
    /// A broker that syncs before it acknowledges, and this configuration.
    pub(crate) async fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(ServerOptions {
            sync_always: true,
            ..server_options(&folder.path().join("nats"))
        })
        .await
        .unwrap();
        let url = server.url();
        Self::with(folder, config, server, &url).await
    }

    pub(crate) async fn with(
        folder: tempfile::TempDir,
        config: &str,
        server: Server,
        url: &str,
    ) -> Self {
        std::fs::write(folder.path().join("giliran.toml"), config).unwrap();
        let client = connection::connect(url, "test", &Default::default()).await.unwrap();
        Self { folder, server, url: url.to_owned(), client, namespace: Namespace::default() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_giliran"));
        command.args(arguments).args(["--nats", &self.url]).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end: exit code, standard output, standard error.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// A command that must succeed; what it printed.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let (code, out, said) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{said}");
        out
    }

    pub(crate) fn role(&self, name: &str, arguments: &[&str]) -> Role {
        self.started(name, &[arguments, &["--http", "127.0.0.1:0"]].concat())
    }

    /// A gateway on any free port.
    pub(crate) fn gateway(&self, more: &[&str]) -> Role {
        self.started("gateway", &[&["gateway", "--listen", "127.0.0.1:0"], more].concat())
    }

    /// A console on any free port.
    pub(crate) fn console(&self, more: &[&str]) -> Role {
        self.started("console", &[&["console", "--listen", "127.0.0.1:0"], more].concat())
    }

    fn started(&self, name: &str, arguments: &[&str]) -> Role {
        let log = self.path(&format!("{name}-{:08x}.log", rand::random::<u32>()));
        let errors = std::fs::File::create(&log).unwrap();
        let child = self.command(arguments).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        Role { child, log }
    }

    pub(crate) fn init(&self) {
        let key = self.path("applicant.key");
        let (code, _, said) = self.run(&["init", "--key", text(&key)]);
        assert_eq!(code, 0, "{said}");
    }

    pub(crate) fn serve(&self, name: &str) -> Role {
        self.serve_with(name, &self.path("applicant.key"), &self.path(&format!("data-{name}")))
    }

    pub(crate) fn serve_with(&self, name: &str, key: &Path, data: &Path) -> Role {
        let config = self.path("giliran.toml");
        let arguments = ["serve", "--config", text(&config), "--data", text(data)];
        self.role(name, &[&arguments[..], &["--key", text(key), "--name", name]].concat())
    }

    pub(crate) fn persist(&self, store: &str) -> Role {
        self.persist_with(store, &[])
    }

    pub(crate) fn persist_with(&self, store: &str, more: &[&str]) -> Role {
        self.role("persist", &[&["persist", "--store", store], more].concat())
    }

    pub(crate) fn feed(&self) -> Role {
        self.role("feed", &["feed"])
    }

    pub(crate) fn sqlite(&self) -> String {
        format!("sqlite:{}", self.path("bookings.sqlite").display())
    }

    /// Asks and waits; none: no answer within two seconds.
    pub(crate) async fn ask(&self, operation: &str, payload: impl Into<Vec<u8>>) -> Option<Value> {
        let request = async_nats::Request::new()
            .payload(payload.into().into())
            .timeout(Some(Duration::from_secs(2)));
        let message =
            self.client.send_request(self.namespace.request(operation), request).await.ok()?;
        Some(serde_json::from_slice(&message.payload).unwrap())
    }

    /// Books until there is an answer that settles it.
    pub(crate) async fn book(&self, request: &Value) -> Value {
        let since = Instant::now();
        loop {
            let answer = self.ask("book", request.to_string()).await;
            let reason = answer.as_ref().map(|answer| answer["reason"].clone());
            match answer {
                Some(answer)
                    if !["busy", "unavailable", "not_open"]
                        .iter()
                        .any(|r| reason == Some((*r).into())) =>
                {
                    return answer;
                }
                other => assert!(since.elapsed() < Duration::from_secs(20), "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an engine answers and its opening is open.
    pub(crate) async fn open(&self) {
        let since = Instant::now();
        loop {
            let answer = self.ask("availability", "{}").await;
            if answer.as_ref().is_some_and(|answer| answer["openings"][0]["state"] == "open") {
                return;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "not open: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A surge on all places that anybody can ask for: those of the first day, and, for
    /// whoever finds nothing in their own office, any of the other one's.
    pub(crate) fn surge(&self, people: u64, per_second: u64) -> (Arc<SharedStats>, Surge) {
        self.surge_through(None, people, per_second)
    }

    /// The same, through a gateway where one is named.
    pub(crate) fn surge_through(
        &self,
        via: Option<GatewayAddress>,
        people: u64,
        per_second: u64,
    ) -> (Arc<SharedStats>, Surge) {
        let mut scenario = shipped("calm").unwrap();
        scenario.attackers.clear();
        let offices = &mut scenario.offices;
        (offices.count, offices.days, offices.zipf) = (2, 1, 0.0);
        offices.ids = ["alpha", "beta"].map(str::to_owned).to_vec();
        let crowd = &mut scenario.people;
        (crowd.parties, crowd.patience_s, crowd.most_tries) = (people, 3.0, 200);
        crowd.families = vec![0.85, 0.0375, 0.0375, 0.0375, 0.0375];
        (crowd.acceptable_days, crowd.second_office) = (vec![1.0], 1.0);
        crowd.retries = 0.6;
        scenario.check().unwrap();
        let load = LoadTest {
            steady: Some(Steady { per_s: per_second as f64, asks_anew: 0.02 }),
            log: Some(self.path("clients.jsonl")),
            gone_after: Duration::from_secs(60),
            via,
            ..LoadTest::new(self.namespace.clone(), scenario, 7)
        };
        let live = Arc::new(SharedStats::default());
        let (url, shared) = (self.url.clone(), Arc::clone(&live));
        let task = tokio::spawn(async move {
            let client = connection::connect(&url, "clients", &Default::default()).await.unwrap();
            let stopped = CancellationToken::new();
            let run = giliran_loadgen::run(client, load, shared, stopped).await.unwrap();
            assert_eq!((run.ended, run.log_failed), (Ended::Complete, None));
        });
        (live, task)
    }

    /// Waits until the stores stand at the ledger's end and every event is out;
    /// then every check that can be made must hold.
    pub(crate) async fn audit(&self, stores: &[&str]) -> Facts {
        let ledger = ledger::open(&self.client, &self.namespace).await.unwrap();
        let stores: Vec<StoreUrl> = stores.iter().map(|url| url.parse().unwrap()).collect();
        let log = self.path("clients.jsonl");
        let since = Instant::now();
        loop {
            let sources = Sources {
                stores: stores.clone(),
                log: log.exists().then(|| attempts(&log)),
                key: key::read(&self.path("applicant.key")),
                archive: Some(Archive::new(self.path("archive"))),
            };
            let context = async_nats::jetstream::new(self.client.clone());
            let auditing = audit::run(&context, &self.namespace, &ledger, sources);
            let (facts, checks) = match Box::pin(auditing).await {
                // Its persister has only just been started.
                Err(AuditError::Store(..)) if since.elapsed() < Duration::from_secs(20) => {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    continue;
                }
                audited => audited.unwrap(),
            };
            let broken: Vec<&Check> =
                checks.iter().filter(|c| matches!(c.verdict, Verdict::Broken(..))).collect();
            if broken.is_empty() {
                return facts;
            }
            // What follows the ledger may be a moment behind; nothing else heals.
            assert!(since.elapsed() < Duration::from_secs(20), "{broken:#?}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Bookings in a store; none where its persister has not made it yet.
    pub(crate) async fn stored(&self, store: &str) -> usize {
        let Ok(mut store) = Store::open_to_read(&store.parse().unwrap()).await else { return 0 };
        store.bookings().await.map_or(0, |(_, bookings)| bookings.len())
    }
}

mod key {
    /// The key that `init` made.
    pub(crate) fn read(file: &std::path::Path) -> Option<giliran_wire::ApplicantKey> {
        let text = std::fs::read_to_string(file).ok()?;
        let digits = text.trim().as_bytes().chunks(2).map(|two| std::str::from_utf8(two).ok());
        let bytes =
            digits.map(|two| u8::from_str_radix(two?, 16).ok()).collect::<Option<Vec<u8>>>();
        Some(giliran_wire::ApplicantKey::new(&bytes?.try_into().ok()?))
    }
}

pub(crate) type Surge = tokio::task::JoinHandle<()>;

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Two offices, three slots of `quota` places, open in a moment.
pub(crate) fn config(quota: u32) -> String {
    let now = clock::now();
    format!(
        "[[opening]]\nid = \"w\"\nopens_at = \"{now}\"\ncloses_at = \"{}\"\n\
         dates = [\"2030-01-07\", \"2030-01-08\"]\n\
         [[office]]\nid = \"alpha\"\nname = \"Alpha\"\nquota = {quota}\n\
         [[office]]\nid = \"beta\"\nname = \"Beta\"\n\
         [[office.session]]\nid = \"all\"\nlabel = \"all day\"\nquota = {{ Mon = {quota} }}\n\
         [[office.session]]\nid = \"priority\"\nlabel = \"priority\"\nrestricted = true\nquota = 5\n",
        now.plus_millis(3_600_000)
    )
}

/// A database of its own on the PostgreSQL that the tests get.
pub(crate) async fn database() -> String {
    let url = postgres::database("").await;
    let client = postgres::connect(&postgres::server()).await;
    let (_, name) = url.rsplit_once('/').unwrap();
    // Settings under which days and times are written otherwise than usual.
    for setting in ["datestyle = 'German'", "timezone = 'Asia/Kathmandu'"] {
        client.batch_execute(&format!("ALTER DATABASE {name} SET {setting}")).await.unwrap();
    }
    url
}

/// What clients wrote down.
pub(crate) fn attempts(log: &Path) -> Vec<Attempt> {
    client_log::read(BufReader::new(File::open(log).unwrap()), "the log").unwrap()
}

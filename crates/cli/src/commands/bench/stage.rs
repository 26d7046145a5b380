//! What every measurement runs on: a broker that syncs, a new ledger, an opening of
//! 500 slots, and an engine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use giliran_nats::connection::{self, Login};
use giliran_nats::ledger::{self, Ledger};
use giliran_nats::server::{self, Server, ServerOptions};
use giliran_nats::suitability;
use giliran_wire::subject::Namespace;
use tokio::process::{Child, Command};

use super::requests::is_granted;
use crate::commands::init;
use crate::failure::Failure;
use crate::key_file;

/// The priority of store and feed beside an engine, as their systemd units have it: grants
/// go first.
pub(super) const NICE: u8 = 10;
/// How long an engine may take to its first grant.
const READY_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Stage {
    server: Server,
    folder: PathBuf,
    accounts: Option<Accounts>,
    pub(super) client: Client,
    pub(super) namespace: Namespace,
    pub(super) ledger: Ledger,
    pub(super) engine: Child,
}

impl Stage {
    /// Everything runs, and the engine has granted the first request.
    pub(super) async fn start(
        folder: &Path,
        configuration: &str,
        first: Bytes,
    ) -> Result<Self, Failure> {
        Self::start_with(folder, configuration, first, None).await
    }

    /// Likewise, at a broker with the accounts and permissions of this configuration file.
    pub(super) async fn start_with(
        folder: &Path,
        configuration: &str,
        first: Bytes,
        accounts: Option<&Path>,
    ) -> Result<Self, Failure> {
        let accounts = accounts.map(Accounts::read).transpose()?;
        let server = Server::start(ServerOptions {
            binary: server::locate()?,
            folder: folder.join("nats"),
            port: None,
            sync_always: true,
            more: accounts.as_ref().map(|accounts| accounts.text.clone()).unwrap_or_default(),
        })
        .await?;
        let url = server.url();
        let login = |user, inbox| accounts.as_ref().map(|_| login(user, inbox)).unwrap_or_default();
        let namespace = Namespace::default();
        let key = key_file::make(&folder.join(key_file::FILE))?;
        let setup = login("setup", "_INBOX_setup");
        let setup = connection::connect(&url, "giliran bench setup", &setup).await?;
        init::make(&setup, &namespace, &key, 1).await?;
        let reader = login("engine", "_INBOX_engine");
        let reader = connection::connect(&url, "giliran bench reader", &reader).await?;
        let ledger = ledger::open(&reader, &namespace).await?;
        let gateway = login("gateway", "_INBOX.gateway");
        let client = connection::connect(&url, "giliran bench", &gateway).await?;
        std::fs::write(folder.join("giliran.toml"), configuration)?;
        let folder = folder.to_owned();
        let engine = engine(&folder, &url, accounts.is_some())?;
        let stage = Self { server, folder, accounts, client, namespace, ledger, engine };
        stage.ready(first).await?;
        Ok(stage)
    }

    /// An answer before it is durable would be worth nothing: asks the broker whether it
    /// syncs before it acknowledges.
    pub(super) async fn expect_durable(&self) -> Result<(), Failure> {
        match suitability::syncs_always(&self.server.monitor_url()).await {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::Wrong(
                "VOID: the broker acknowledges before it syncs; expected sync_interval: always"
                    .to_owned(),
            )),
            None => Err(Failure::Wrong(format!(
                "VOID: the broker does not say at {} whether it syncs",
                self.server.monitor_url()
            ))),
        }
    }

    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// The server's process.
    pub(super) fn server_pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// The engine's snapshot, where it has written one.
    pub(super) fn snapshot(&self) -> PathBuf {
        data(&self.folder).join("snapshot.bin")
    }

    /// Starts the engine that was ended.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        self.engine = engine(&self.folder, &self.url(), self.accounts.is_some())?;
        Ok(())
    }

    /// A role of this binary, ended when it is dropped.
    pub(super) fn role(&self, arguments: &[&str]) -> Result<Child, Failure> {
        role(arguments, &self.url()).spawn().map_err(Into::into)
    }

    /// The same at a lower priority, [`NICE`].
    pub(super) fn nice_role(&self, arguments: &[&str]) -> Result<Child, Failure> {
        let mut nice = Command::new("nice");
        nice.arg(format!("-n{NICE}")).arg(binary());
        role_by(nice, arguments, &self.url()).spawn().map_err(Into::into)
    }

    /// Asks until the engine grants it.
    async fn ready(&self, request: Bytes) -> Result<(), Failure> {
        let since = Instant::now();
        let book = self.namespace.request("book");
        loop {
            let answer = self.client.request(book.clone(), request.clone()).await;
            if answer.is_ok_and(|answer| is_granted(&answer.payload)) {
                return Ok(());
            }
            if since.elapsed() > READY_WITHIN {
                return Err(Failure::Wrong("the engine did not become ready in 30 s".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        let Self { server, client, ledger, engine, .. } = self;
        // Or their connections look for a server that is gone.
        drop((client, ledger, engine));
        Ok(server.stop().await?)
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Accounts and permissions of a broker, as its configuration file has them.
struct Accounts {
    text: String,
}

impl Accounts {
    fn read(file: &Path) -> Result<Self, Failure> {
        let at = |error: &dyn std::fmt::Display| {
            Failure::Usage(format!("--accounts {}: {error}", file.display()))
        };
        let text = std::fs::read_to_string(file).map_err(|error| at(&error))?;
        let begin = text.find("\naccounts {").ok_or_else(|| at(&"it has no `accounts {`"))?;
        Ok(Self { text: with_passwords(&text[begin..]) })
    }
}

/// The words that the environment would have, in their places.
fn with_passwords(text: &str) -> String {
    let mut parts = text.split("$GILIRAN_");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(part.len());
        let user = part[..end].trim_end_matches("_PASSWORD").to_lowercase();
        whole.push_str(&password(&user));
        whole.push_str(&part[end..]);
    }
    whole
}

/// Of a user; the broker of a benchmark is on loopback and lives as long as that.
fn password(user: &str) -> String {
    format!("bench-{user}")
}

fn login(user: &str, inbox: &str) -> Login {
    Login {
        user: Some(user.to_owned()),
        password: Some(password(user)),
        inbox_prefix: Some(inbox.to_owned()),
        ..Login::default()
    }
}

fn engine(folder: &Path, url: &str, with_accounts: bool) -> Result<Child, Failure> {
    let [config, data, key] =
        [folder.join("giliran.toml"), data(folder), folder.join(key_file::FILE)]
            .map(|path| path.display().to_string());
    let mut serve = role(&["serve", "--config", &config, "--data", &data, "--key", &key], url);
    if with_accounts {
        serve.env("GILIRAN_NATS_USER", "engine");
        serve.env("GILIRAN_NATS_PASSWORD", password("engine"));
        serve.env("GILIRAN_NATS_INBOX_PREFIX", "_INBOX_engine");
    }
    Ok(serve.spawn()?)
}

/// This binary in that role, ended when it is dropped.
fn role(arguments: &[&str], url: &str) -> Command {
    role_by(Command::new(binary()), arguments, url)
}

fn binary() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "giliran".into())
}

/// The same by a command that goes on as this binary.
fn role_by(mut command: Command, arguments: &[&str], url: &str) -> Command {
    command
        .args(arguments)
        .args(["--http", "127.0.0.1:0", "--nats", url])
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_password_of_its_own() {
        let text = "{ user: engine, password: $GILIRAN_ENGINE_PASSWORD }\n\
                    { user: feed, password: $GILIRAN_FEED_PASSWORD";
        let expected = "{ user: engine, password: bench-engine }\n\
                        { user: feed, password: bench-feed";
        assert_eq!(with_passwords(text), expected);
    }
}

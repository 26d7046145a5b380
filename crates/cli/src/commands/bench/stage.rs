//! What every measurement runs on: a broker that syncs, a new ledger, an opening of
//! 500 slots, and an engine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use giliran_nats::ledger::Ledger;
use giliran_nats::server::{self, Server, ServerOptions};
use giliran_nats::{clock, connection};
use giliran_wire::subject::Namespace;
use tokio::process::{Child, Command};

use super::{DAYS, OFFICES};
use crate::commands::init;
use crate::failure::Failure;
use crate::key_file;

/// How long an engine may take to its first grant.
const READY_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Stage {
    server: Server,
    folder: PathBuf,
    pub(super) client: Client,
    pub(super) domain: Namespace,
    pub(super) ledger: Ledger,
}

impl Stage {
    pub(super) async fn set(folder: &Path, configuration: &str) -> Result<Self, Failure> {
        let server = Server::start(ServerOptions {
            binary: server::locate()?,
            folder: folder.join("nats"),
            port: None,
            sync_always: true,
            more: String::new(),
        })
        .await?;
        let client =
            connection::connect(&server.url(), "giliran bench", &Default::default()).await?;
        let domain = Namespace::default();
        let key = key_file::make(&folder.join(key_file::FILE))?;
        let ledger = init::make(&client, &domain, &key, 1).await?;
        std::fs::write(folder.join("giliran.toml"), configuration)?;
        Ok(Self { server, folder: folder.to_owned(), client, domain, ledger })
    }

    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// The engine's data folder.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn engine(&self) -> Result<Child, Failure> {
        let [config, data, key] =
            [self.folder.join("giliran.toml"), self.data(), self.folder.join(key_file::FILE)]
                .map(|path| path.display().to_string());
        self.role(&["serve", "--config", &config, "--data", &data, "--key", &key])
    }

    /// A role of this binary, ended when it is dropped.
    pub(super) fn role(&self, arguments: &[&str]) -> Result<Child, Failure> {
        Ok(Command::new(std::env::current_exe()?)
            .args(arguments)
            .args(["--http", "127.0.0.1:0", "--nats", &self.url()])
            .env("RUST_LOG", "error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?)
    }

    /// Asks until an answer is a grant.
    pub(super) async fn ready(
        &self,
        mut request: impl FnMut() -> Bytes,
        is_grant: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Failure> {
        let since = Instant::now();
        let book = self.domain.request("book");
        while !self
            .client
            .request(book.clone(), request())
            .await
            .is_ok_and(|message| is_grant(&message.payload))
        {
            if since.elapsed() > READY_WITHIN {
                return Err(Failure::Wrong("the engine did not become ready in 30 s".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        Ok(self.server.stop().await?)
    }
}

/// An opening of 500 slots that is open now, with these rules; its offices stand last.
pub(super) fn opening(rules: &str) -> String {
    let now = clock::now();
    let days: Vec<String> = (1..=DAYS).map(|day| format!("\"2030-01-{day:02}\"")).collect();
    let mut text = format!(
        "[[opening]]\nid = \"bench\"\nopens_at = \"{now}\"\ncloses_at = \"{}\"\ndates = [{}]\n{rules}",
        now.plus_millis(86_400_000),
        days.join(", ")
    );
    for office in 0..OFFICES {
        text.push_str(&format!(
            "[[office]]\nid = \"office-{office}\"\nname = \"Office {office}\"\nquota = 65535\n"
        ));
    }
    text
}

//! What every measurement runs on: a broker that syncs, a new ledger, an opening of
//! 500 slots, and an engine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use giliran_nats::connection;
use giliran_nats::ledger::Ledger;
use giliran_nats::server::{self, Server, ServerOptions};
use giliran_wire::subject::Namespace;
use tokio::process::{Child, Command};

use super::requests::is_granted;
use crate::commands::init;
use crate::failure::Failure;
use crate::key_file;

/// How long an engine may take to its first grant.
const READY_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Stage {
    server: Server,
    folder: PathBuf,
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
        let server = Server::start(ServerOptions {
            binary: server::locate()?,
            folder: folder.join("nats"),
            port: None,
            sync_always: true,
            more: String::new(),
        })
        .await?;
        let url = server.url();
        let client = connection::connect(&url, "giliran bench", &Default::default()).await?;
        let namespace = Namespace::default();
        let key = key_file::make(&folder.join(key_file::FILE))?;
        let ledger = init::make(&client, &namespace, &key, 1).await?;
        std::fs::write(folder.join("giliran.toml"), configuration)?;
        let (folder, engine) = (folder.to_owned(), engine(folder, &url)?);
        let stage = Self { server, folder, client, namespace, ledger, engine };
        stage.ready(first).await?;
        Ok(stage)
    }

    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// Id of the server's process; none once it has ended.
    pub(super) fn server_pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// The engine's snapshot, where it has written one.
    pub(super) fn snapshot(&self) -> PathBuf {
        data(&self.folder).join("snapshot.bin")
    }

    /// Starts the engine that was ended.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        self.engine = engine(&self.folder, &self.url())?;
        Ok(())
    }

    /// A role of this binary, ended when it is dropped.
    pub(super) fn role(&self, arguments: &[&str]) -> Result<Child, Failure> {
        role(arguments, &self.url())
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
        drop(self.client);
        drop(self.engine);
        Ok(self.server.stop().await?)
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn engine(folder: &Path, url: &str) -> Result<Child, Failure> {
    let [config, data, key] =
        [folder.join("giliran.toml"), data(folder), folder.join(key_file::FILE)]
            .map(|path| path.display().to_string());
    role(&["serve", "--config", &config, "--data", &data, "--key", &key], url)
}

fn role(arguments: &[&str], url: &str) -> Result<Child, Failure> {
    Ok(Command::new(std::env::current_exe()?)
        .args(arguments)
        .args(["--http", "127.0.0.1:0", "--nats", url])
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?)
}

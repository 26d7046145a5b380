//! A real NATS server.

use std::path::Path;

use async_nats::Client;
use giliran_nats::connection::{self, Login};
use giliran_nats::ledger::append::AppendOutcome;
use giliran_nats::ledger::{self, Ledger};
use giliran_nats::server::{Server, ServerOptions, locate};
use giliran_wire::ledger::Block;
use giliran_wire::subject::Namespace;
use tempfile::TempDir;

use crate::genesis;

/// A server on any free port with its files in this folder, which does not wait for the
/// disk.
///
/// # Panics
///
/// Where there is no nats-server: `cargo xtask test` and `cargo xtask env …` provide one.
pub fn server_options(folder: &Path) -> ServerOptions {
    ServerOptions {
        binary: locate().unwrap(),
        folder: folder.into(),
        port: None,
        sync_always: false,
        more: String::new(),
    }
}

/// A server, a connection to it and the default namespace; all of it goes when dropped.
#[derive(Debug)]
pub struct Broker {
    pub server: Server,
    /// A connection as whom it was started for.
    pub client: Client,
    /// The names of everything in it.
    pub namespace: Namespace,
    /// Its files are in `nats`; room for a test's own beside them.
    pub folder: TempDir,
}

impl Broker {
    pub async fn start() -> Self {
        Self::with(|_| {}, &Login::default()).await
    }

    /// Starts one by other options, and connects with this login.
    ///
    /// # Panics
    ///
    /// Where the server does not start, or refuses the login.
    pub async fn with(change: impl FnOnce(&mut ServerOptions), login: &Login) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = server_options(&folder.path().join("nats"));
        change(&mut options);
        let server = Server::start(options).await.unwrap();
        let client = connection::connect(&server.url(), "test", login).await.unwrap();
        Self { server, client, namespace: Namespace::default(), folder }
    }

    /// Makes these blocks its ledger, the first of them as [`genesis_block`](crate::genesis_block) makes it.
    ///
    /// # Panics
    ///
    /// Where the first is another one, or a block is not stored.
    pub async fn store(&self, blocks: &[impl AsRef<[u8]>]) -> Ledger {
        let (first, _) = Block::open(blocks[0].as_ref()).unwrap();
        let (id, time) = (first.ledger, first.time);
        let ledger = ledger::init(&self.client, &self.namespace, genesis(), id, time, 1).await;
        let ledger = ledger.unwrap();
        assert_eq!(ledger.read_at(1).await.unwrap().unwrap(), blocks[0].as_ref());
        let mut appender = ledger.appender(&self.client).await.unwrap();
        for (last, block) in (1..).zip(&blocks[1..]) {
            let bytes = block.as_ref().to_vec().into();
            appender.send(&ledger, last, last, bytes).await.unwrap();
            let stored = AppendOutcome::Stored { seq: last + 1 };
            assert_eq!(appender.next().await, (last, stored));
        }
        ledger
    }

    /// One more connection.
    ///
    /// # Panics
    ///
    /// Where the server refuses it.
    pub async fn connect(&self, name: &str, login: &Login) -> Client {
        connection::connect(&self.server.url(), name, login).await.unwrap()
    }
}

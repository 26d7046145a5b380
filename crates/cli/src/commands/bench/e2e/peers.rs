//! The peers' program, as the bench gives it orders (`benches/peers/main.rs`).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::processes::Process;
use super::yardsticks::Answers;
use crate::failure::Failure;

/// Subject of orders, and of requests where a peer is behind NATS.
const ORDERS: &str = "bench.peers";
pub(super) const BOOK: &str = "bench.peers.book";
/// How long an order may take.
const DONE_WITHIN: Duration = Duration::from_secs(900);
/// How long the program may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two questions whether somebody is there.
const PAUSE: Duration = Duration::from_millis(50);

/// A peer, and how it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// Connections; for the mutex, requests at once.
    pub(super) lanes: u32,
    /// Requests that a connection sends at once.
    pub(super) pipeline: u32,
    pub(super) behind_nats: bool,
}

impl Peer {
    /// The server that it needs: the first word of its name.
    fn server(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or_default()
    }

    fn order(&self) -> Value {
        json!({ "peer": self.name, "lanes": self.lanes, "pipeline": self.pipeline })
    }
}

/// The program runs, and its peers have their book.
pub(super) struct Peers {
    client: Client,
    /// Settings and process of each that is there, and why others are not.
    found: Value,
    program: Child,
}

impl Peers {
    pub(super) async fn start(
        program: &Path,
        folder: &Path,
        (client, url): (&Client, &str),
        answers: &Answers,
        book: u64,
    ) -> Result<Self, Failure> {
        let folder = folder.join("peers");
        // It ends its servers and itself once this side of its input is gone.
        let started = Command::new(program).arg(url).arg(&folder).stdin(Stdio::piped()).spawn();
        let mut program = started.map_err(|error| {
            Failure::Usage(format!(
                "--peers {}: {error}; `cargo xtask bench peers` builds it and names it",
                program.display()
            ))
        })?;
        for (name, answer) in [("grant", &answers.granted), ("rejection", &answers.sold_out)] {
            let subject = format!("{ORDERS}.{name}");
            while client.request(subject.clone(), answer.clone()).await.is_err() {
                if let Some(status) = program.try_wait()? {
                    return Err(Failure::Wrong(format!("the peers' program ended with {status}")));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        let mut peers = Self { client: client.clone(), found: Value::Null, program };
        eprintln!("making {book} bookings of each peer …");
        // The subscription to orders stands before those to answers.
        peers.found = peers.order(&json!({ "do": "prepare", "book": book })).await?;
        Ok(peers)
    }

    async fn order(&self, order: &Value) -> Result<Value, Failure> {
        let request = async_nats::Request::new()
            .payload(Bytes::from(order.to_string()))
            .timeout(Some(DONE_WITHIN));
        let done = self.client.send_request(ORDERS, request).await.map_err(|error| {
            Failure::Wrong(format!("the peers' program did not carry out {order}: {error}"))
        })?;
        Ok(serde_json::from_slice(&done.payload)?)
    }

    /// Whether the peer's server is there.
    pub(super) fn has(&self, peer: Peer) -> bool {
        self.found["there"].get(peer.server()).is_some()
    }

    /// What is there and with which settings, and why others are not.
    pub(super) fn found(&self) -> &Value {
        &self.found
    }

    /// The program and the servers. PostgreSQL is as many processes as it has connections.
    pub(super) fn processes(&self) -> Vec<Process> {
        let mut all: Vec<Process> =
            self.program.id().map(|pid| Process::one("peers", pid)).into_iter().collect();
        let pid = |server: &str| u32::try_from(self.found["there"][server]["pid"].as_u64()?).ok();
        all.extend(pid("redis").map(|pid| Process::one("redis", pid)));
        all.extend(pid("postgres").map(|pid| Process::with_children("postgres", pid)));
        all
    }

    /// Has the peer's connections made, and so many requests by applicants from `first` on,
    /// which do not go over NATS.
    pub(super) async fn ready(
        &self,
        peer: Peer,
        requests: u64,
        first: u64,
        hot: bool,
    ) -> Result<(), Failure> {
        let order = json!({
            "do": "ready", "by": peer.order(), "requests": requests, "first": first, "hot": hot,
        });
        self.order(&order).await.map(|_| ())
    }

    /// What is ready is sent: how long it took, and how many were granted.
    pub(super) async fn direct(&self) -> Result<(Duration, u64), Failure> {
        let done = self.order(&json!({ "do": "direct" })).await?;
        let took = Duration::from_secs_f64(done["took_s"].as_f64().unwrap_or_default());
        Ok((took, done["granted"].as_u64().unwrap_or_default()))
    }

    /// So many at a fixed rate, not over NATS: latencies from when each was due.
    pub(super) async fn paced(
        &self,
        peer: Peer,
        requests: u64,
        first: u64,
        per_s: u32,
    ) -> Result<Value, Failure> {
        let order = json!({
            "do": "paced", "by": peer.order(), "requests": requests, "first": first,
            "per_s": per_s,
        });
        self.order(&order).await
    }

    /// Ends it, and the servers that it has started.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        drop(self.program.stdin.take());
        tokio::time::timeout(ENDED_WITHIN, self.program.wait()).await??;
        Ok(())
    }

    /// From now on it answers what comes to [`BOOK`].
    pub(super) async fn serve(&self, peer: Peer) -> Result<(), Failure> {
        self.order(&json!({ "do": "serve", "by": peer.order() })).await.map(|_| ())
    }
}

//! The peers: what people would use instead of the engine, doing the same job. Each gives
//! an applicant one booking, a slot no more than its quota, and answers once that is
//! durable: Redis by one Lua script into its append-only file, PostgreSQL by one statement
//! a transaction, and a mutex around plain maps with a log that is synced.
//!
//! `giliran bench --peers PATH` starts it with the broker's address and a folder, and gives
//! it orders at `bench.peers`. It makes the requests itself where a peer is used directly,
//! as an application would; behind NATS it answers what comes to `bench.peers.book`, the
//! engine's own requests with the engine's own answers. `cargo xtask bench peers` builds it
//! and names the servers: `GILIRAN_REDIS_SERVER` a program, `GILIRAN_BENCH_POSTGRES` a
//! database that it may empty. It ends, and Redis with it, when its standard input closes. A peer whose server is missing, or does not make durable
//! what it acknowledges, is left out, with the reason.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

mod behind_nats;
mod direct;
mod job;
mod memory;
mod postgres;
mod redis_server;

use std::io::Read as _;
use std::path::PathBuf;

use futures_util::StreamExt;
use giliran_nats::connection;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use self::behind_nats::Responder;
use self::job::Lane;
use self::memory::Memory;
use self::postgres::Postgres;
use self::redis_server::Redis;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the bench asks for.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Order {
    /// Every peer with a book of so many bookings and nothing else.
    Prepare { book: u64 },
    /// Connections to a peer, and so many requests by applicants from `first` on, to be
    /// sent with [`Order::Direct`].
    Ready { by: By, requests: u64, first: u64, hot: bool },
    /// What is ready is sent.
    Direct,
    /// So many requests at a fixed rate; latency counts from when each was due.
    Paced { by: By, requests: u64, first: u64, per_s: u32 },
    /// From now on this peer answers what comes over NATS.
    Serve { by: By },
}

/// A peer, and how it is used.
#[derive(Debug, Clone, Deserialize)]
struct By {
    peer: String,
    /// Connections; for the mutex, requests at once.
    lanes: usize,
    /// Requests that a connection sends at once.
    pipeline: usize,
}

/// Those that are there.
struct Peers {
    redis: Option<Redis>,
    postgres: Option<Postgres>,
    memory: Memory,
    /// Why another one is not.
    left_out: Vec<String>,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the broker's address");
    let folder = PathBuf::from(arguments.next().expect("a folder"));
    let client = connection::connect(&url, "peers", &Default::default()).await.unwrap();
    let mut orders = client.subscribe("bench.peers").await.unwrap();
    let mut responder = Responder::new(client.clone()).await;
    let mut peers = Peers::start(folder).await;
    let mut ended = when_input_closes();
    let mut ready = None;
    loop {
        let message = tokio::select! {
            Some(message) = orders.next() => message,
            _ = &mut ended => break,
        };
        responder.stop();
        let done = match serde_json::from_slice(&message.payload).unwrap() {
            Order::Prepare { book } => peers.prepare(book).await,
            Order::Ready { by, requests, first, hot } => {
                let lanes = peers.lanes(&by).await;
                ready = Some(direct::Ready::new(lanes, by.pipeline, requests, first, hot));
                json!({})
            }
            Order::Direct => ready.take().expect("something is ready").closed_loop().await,
            Order::Paced { by, requests, first, per_s } => {
                direct::open_loop(peers.lanes(&by).await, requests, first, per_s).await
            }
            Order::Serve { by } => {
                responder.serve(peers.lanes(&by).await, by.pipeline);
                json!({})
            }
        };
        client.publish(message.reply.unwrap(), done.to_string().into()).await.unwrap();
    }
}

/// Whoever started this program has ended, however that came.
fn when_input_closes() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended);
    });
    end
}

impl Peers {
    async fn start(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let mut left_out = Vec::new();
        let mut kept = |name: &str, reason: String| left_out.push(format!("{name}: {reason}"));
        let redis = Redis::start(&folder.join("redis")).await;
        let redis = redis.map_err(|reason| kept("Redis", reason)).ok();
        let postgres = Postgres::connect().await;
        let postgres = postgres.map_err(|reason| kept("PostgreSQL", reason)).ok();
        Self { redis, postgres, memory: Memory::new(folder.join("log")), left_out }
    }

    /// Fills their books; what is there, with which settings, in which processes.
    async fn prepare(&mut self, book: u64) -> Value {
        let mut there = json!({ "memory": { "settings": self.memory.prepare(book) } });
        if let Some(redis) = &mut self.redis {
            redis.prepare(book).await;
            there["redis"] = json!({ "settings": redis.settings().await, "pid": redis.pid() });
        }
        if let Some(postgres) = &mut self.postgres {
            postgres.prepare(book).await;
            there["postgres"] =
                json!({ "settings": postgres.settings().await, "pid": postgres.pid().await });
        }
        json!({ "there": there, "left_out": self.left_out })
    }

    async fn lanes(&self, by: &By) -> Vec<Lane> {
        let mut lanes = Vec::with_capacity(by.lanes);
        let fsync = by.peer.strip_prefix("redis ");
        if let (Some(redis), Some(fsync)) = (&self.redis, fsync) {
            redis.sync(fsync).await;
        }
        for _ in 0..by.lanes {
            lanes.push(match (by.peer.as_str(), &self.redis, &self.postgres) {
                ("memory", ..) => Lane::Memory(self.memory.clone()),
                ("postgres", _, Some(postgres)) => Lane::Postgres(postgres.lane().await),
                (_, Some(redis), _) if fsync.is_some() => Lane::Redis(redis.lane().await),
                (other, ..) => panic!("{other}: there is no such peer here"),
            });
        }
        lanes
    }
}

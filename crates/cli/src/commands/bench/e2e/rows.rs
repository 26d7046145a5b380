//! The rows: what is asked, of whom, and what the rate is held against.

use giliran_loadgen::closed_loop::Replies;
use giliran_wire::request::Form;

use super::peers::Peer;

/// Most places of a slot.
const SLOT: u64 = 65_535;

/// Which program answers the requests of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The no-op echo, with as many bytes as the row's answer has.
    Echo,
    /// The program that does the least (`benches/bare.rs`).
    Bare,
    Engine,
    /// What people would use instead (`benches/peers/main.rs`).
    Peer(Peer),
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A place of the office that is full.
    SoldOut,
    /// A slot of the 500.
    Spread,
    /// A place of one slot, which all ask for.
    Hot,
    /// One in ten a slot of the 500, the others a place of the office that is full.
    Mixed,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) by: By,
    pub(super) wanted: Wanted,
    pub(super) form: Form,
    pub(super) replies: Replies,
    /// Requests in a message.
    pub(super) batch: u64,
    /// Requests of a pass.
    pub(super) requests: u64,
}

/// Requests in a message that holds several.
pub(super) const BATCH: u64 = 1_000;

/// Grants by the engine, one a message, as a client of its own asks.
pub(super) const SINGLE: Row = Row {
    name: "",
    what: "",
    by: By::Engine,
    wanted: Wanted::Spread,
    form: Form::Binary,
    replies: Replies::Unique,
    batch: 1,
    requests: 300_000,
};
const REFUSED: Row = Row { wanted: Wanted::SoldOut, requests: 500_000, ..SINGLE };
/// The same, a thousand a message.
pub(super) const BATCHED: Row = Row { batch: BATCH, requests: 1_000_000, ..SINGLE };
const BATCHED_REFUSED: Row = Row { wanted: Wanted::SoldOut, requests: 2_000_000, ..BATCHED };

/// In the order of the table; each pass begins with another one.
pub(super) const ROWS: [Row; 16] = [
    Row {
        name: "echo C, 60 B",
        what: "constant reply",
        by: By::Echo,
        replies: Replies::Constant,
        ..REFUSED
    },
    Row { name: "echo U, 60 B", what: "a reply of its own", by: By::Echo, ..REFUSED },
    Row { name: "S1", what: "sold out", ..REFUSED },
    Row {
        name: "echo C",
        what: "constant reply",
        by: By::Echo,
        replies: Replies::Constant,
        ..SINGLE
    },
    Row { name: "echo U", what: "a reply of its own", by: By::Echo, ..SINGLE },
    Row { name: "bare", what: "the least that grants", by: By::Bare, ..SINGLE },
    Row { name: "S2", what: "durable grants, 500 slots", ..SINGLE },
    Row {
        name: "S3",
        what: "durable grants, one slot",
        wanted: Wanted::Hot,
        requests: SLOT - 1_000,
        ..SINGLE
    },
    Row { name: "S6 single", what: "S2 in JSON", form: Form::JsonOne, ..SINGLE },
    Row { name: "bare, batched", what: "1,000 a message, grants", by: By::Bare, ..BATCHED },
    Row { name: "S4", what: "the same, by the engine", ..BATCHED },
    Row {
        name: "bare, batched, full",
        what: "1,000 a message, sold out",
        by: By::Bare,
        ..BATCHED_REFUSED
    },
    Row { name: "S5", what: "the same, by the engine", ..BATCHED_REFUSED },
    Row {
        name: "S6 grants",
        what: "S4 in JSON",
        form: Form::JsonMany,
        requests: 500_000,
        ..BATCHED
    },
    Row {
        name: "S6 sold out",
        what: "S5 in JSON",
        form: Form::JsonMany,
        requests: 1_000_000,
        ..BATCHED_REFUSED
    },
    Row { name: "mixed", what: "one grant in ten, 500 slots", wanted: Wanted::Mixed, ..REFUSED },
];

const fn peer(name: &'static str, pipeline: u32, behind_nats: bool) -> By {
    By::Peer(Peer { name, lanes: CONNECTIONS, pipeline, behind_nats })
}

/// What does the same job, each directly and behind NATS.
pub(super) const PEERS: [Row; 10] = [
    Row {
        name: "redis always",
        what: "AOF always, 64 connections",
        by: peer("redis always", 1, false),
        requests: 60_000,
        ..SINGLE
    },
    Row {
        name: "redis pipelined",
        what: "AOF always, pipelined × 32",
        by: peer("redis always", 32, false),
        requests: 120_000,
        ..SINGLE
    },
    Row {
        name: "redis everysec",
        what: "AOF synced once a second",
        by: peer("redis everysec", 1, false),
        requests: 60_000,
        ..SINGLE
    },
    Row {
        name: "postgres",
        what: "500 rows, 64 connections",
        by: peer("postgres", 1, false),
        requests: 30_000,
        ..SINGLE
    },
    Row {
        name: "postgres hot",
        what: "one row, 64 connections",
        by: peer("postgres", 1, false),
        wanted: Wanted::Hot,
        requests: 6_000,
        ..SINGLE
    },
    Row { name: "mutex", what: "plain maps, log synced", by: MUTEX, ..SINGLE },
    Row {
        name: "redis, NATS",
        what: "AOF always, behind NATS",
        by: peer("redis always", 1, true),
        requests: 60_000,
        ..SINGLE
    },
    Row {
        name: "redis × 32, NATS",
        what: "pipelined, behind NATS",
        by: peer("redis always", 32, true),
        requests: 120_000,
        ..SINGLE
    },
    Row {
        name: "postgres, NATS",
        what: "500 rows, behind NATS",
        by: peer("postgres", 1, true),
        requests: 30_000,
        ..SINGLE
    },
    Row { name: "mutex, NATS", what: "the mutex, behind NATS", by: MUTEX_BEHIND, ..SINGLE },
];

/// Connections to a peer's server.
const CONNECTIONS: u32 = 64;
const MUTEX: By = By::Peer(Peer { name: "memory", lanes: 4_096, pipeline: 1, behind_nats: false });
const MUTEX_BEHIND: By =
    By::Peer(Peer { name: "memory", lanes: 4_096, pipeline: 1, behind_nats: true });

/// What a row's rate is held against, and how much of that it is to reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub(super) row: &'static str,
    pub(super) over: &'static str,
    pub(super) at_least: f64,
}

pub(super) const GOALS: [Goal; 9] = [
    Goal { row: "S1", over: "echo U, 60 B", at_least: 0.9 },
    Goal { row: "S2", over: "echo U", at_least: 0.8 },
    Goal { row: "S2", over: "bare", at_least: 0.85 },
    Goal { row: "S3", over: "S2", at_least: 1.0 },
    Goal { row: "S4", over: "bare, batched", at_least: 1.0 },
    Goal { row: "S5", over: "bare, batched, full", at_least: 1.3 },
    Goal { row: "S6 single", over: "S2", at_least: 0.95 },
    Goal { row: "S6 grants", over: "S4", at_least: 0.5 },
    Goal { row: "S6 sold out", over: "S5", at_least: 0.5 },
];

/// Held against what people would use instead.
pub(super) const PEER_GOALS: [Goal; 6] = [
    Goal { row: "S2", over: "redis always", at_least: 5.0 },
    Goal { row: "S2", over: "redis pipelined", at_least: 2.5 },
    Goal { row: "S2", over: "postgres", at_least: 10.0 },
    Goal { row: "S3", over: "postgres hot", at_least: 65.0 },
    Goal { row: "S4", over: "redis pipelined", at_least: 10.0 },
    Goal { row: "S4", over: "postgres", at_least: 40.0 },
];

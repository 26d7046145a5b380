//! A surge against a running engine: the people and scalpers of a scenario, over
//! NATS or through a gateway, and what came of it.
//!
//! [`run()`] learns what the engine offers, lays the scenario on it, sends what its
//! people send and measures from what they see. Times of the scenario are µs from
//! the opening second; `speed` of them pass in one. [`closed_loop`] measures how much an
//! engine can do, [`http_loop`] the same through a gateway, [`open_loop`] sends at a fixed rate,
//! and [`stream_readers`] read what a gateway tells.
//!
//! What always holds of [`run()`]: open loop, each request is sent when it is due, whatever the
//! others wait for, and latency counts from then; memory is bounded by who is on
//! the way at once and by the places that are granted, not by who asks.
//!
//! Deliberately not here: the engine's own counters (what it says of itself proves
//! nothing), and files but for the clients' log; the command writes those.

pub mod closed_loop;
mod doubts;
mod ended;
mod engine_config;
mod error;
mod forgers;
mod generator;
pub mod http_loop;
mod live;
mod load_test;
pub mod open_loop;
pub mod report;
mod run;
mod stats;
pub mod stream_readers;
mod summary;
mod target;
mod via;

pub use doubts::{OrderDenied, Void};
pub use ended::Ended;
pub use engine_config::configuration;
pub use error::LoadError;
pub use forgers::Forgeries;
pub use live::{LiveStats, SharedStats};
pub use load_test::{LoadTest, Steady};
pub use run::run;
pub use stats::{Bin, Payments};
pub use summary::{GroupRecord, Latency, RunSummary, Stretch};
pub use via::{GatewayAddress, NotAGateway};

//! What Giliran needs of NATS, and the real clocks.
//!
//! [`server`] runs a nats-server child, [`connection`] connects, [`suitability`]
//! says whether a server can carry a ledger, [`ledger`] makes and opens the
//! ledger's streams, [`ledger::reader`] reads them, [`ledger::append`] writes to them under their
//! fence, [`lease`] says which engine should try to serve, [`private`] reads
//! secrets.
//!
//! Whoever follows the ledger for long does so through [`follower`], beside a
//! [`watch`] that looks whether it is still the same ledger, and says how it stands
//! in the words of [`state`]; through [`service`] it says so to whoever asks all
//! processes.
//!
//! What always holds: an append names the sequence it expects; a reader gets
//! every sequence once and in order, or an error; a follower never goes on behind
//! a loss of the connection without having found its last block unchanged.
//!
//! Deliberately not here: the meaning of a block beyond genesis.

pub mod clock;
pub mod connection;
mod error;
pub mod follower;
pub mod lease;
pub mod ledger;
mod login;
pub mod private;
mod refusals;
pub mod server;
pub mod service;
pub mod state;
pub mod suitability;
pub mod watch;

/// A connection to a NATS server, for those who only hand one on.
pub use async_nats::{Client, RequestErrorKind};
pub use error::{Error, ErrorKind};

//! What Giliran needs of NATS, and the real clocks.
//!
//! [`server`] runs a nats-server child, [`connection`] connects, [`suitability`]
//! says whether a server can carry a ledger, [`ledger`] makes, opens and reads
//! the ledger's stream, [`append`] writes to it under its fence, [`lease`] says
//! which engine should try to serve, [`private`] reads secrets.
//!
//! What always holds: an append names the sequence it expects; a reader gets
//! every sequence once and in order, or an error.
//!
//! Deliberately not here: the meaning of a block beyond genesis.

pub mod append;
pub mod archive;
pub mod clock;
pub mod connection;
mod error;
pub mod lease;
pub mod ledger;
mod login;
pub mod private;
pub mod server;
pub mod suitability;

pub use error::{Error, ErrorKind};

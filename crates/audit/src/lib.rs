//! Ledger, stores, events and client log against the promises.

mod audit;
mod check;
mod clients;
mod error;
mod facts;
mod followers;
mod generations;
mod limits;
mod orders;

pub use audit::{Sources, run};
pub use check::{Check, Verdict};
pub use error::AuditError;
pub use facts::Facts;
pub use orders::{PublishedSeed, Stage};

//! The formats of Giliran, and their only owner.
//!
//! Whatever crosses a process boundary is defined here: requests and answers
//! ([`request`], [`answer`], [`admin`]), what openings offer ([`catalogue`]), what processes say of themselves
//! ([`service`]), how all of them stand together ([`picture`]),
//! confirmation events ([`event`]), ledger blocks ([`ledger`]), and the names of subjects, streams and buckets ([`subject`]).
//! JSON goes through serde, binary through [`codec`], which is the only module
//! that names bincode's configuration.
//!
//! What always holds:
//!
//! - A decoder survives any bytes: it returns a value or a
//!   [`Malformed`](request::Malformed) that says what and where; it never
//!   panics and never allocates more than its input's size justifies.
//! - A raw applicant id exists in [`request`] alone. What leaves it is a keyed
//!   [`Pseudonym`].
//! - The bytes of a ledger block are frozen per format version; golden fixtures
//!   under `tests/` fail when they move.
//!
//! Deliberately not here: any decision, any state of bookings, any I/O, any
//! clock.

#![warn(missing_docs)]

pub mod admin;
pub mod answer;
pub mod archive;
pub mod catalogue;
pub mod client_log;
pub mod codec;
pub mod event;
mod id;
mod key;
pub mod ledger;
mod phase;
pub mod picture;
pub mod request;
pub mod service;
pub mod snapshot;
mod snapshot_error;
mod status;
pub mod subject;
mod text;
mod time;

pub use id::{
    AsOf, BlockHash, BookingId, Digest, LedgerId, NotHex, Position, Pseudonym, WriterNonce, unhex,
};
pub use key::{ApplicantKey, KeyFingerprint, OrderKey};
pub use text::{Text, is_printable};
pub use time::{Date, NotADate, NotAnInstant, TimeText, Timestamp};

//! What every role has that serves people over HTTP: connections with their bounds
//! ([`listen`], [`serve`], [`serve_while`]), proxies that are trusted to say who asks ([`Proxies`]), names by which it may be
//! asked ([`hosts`]), pages that let nothing in from elsewhere ([`page`]), and streams of events
//! ([`events`]).
//!
//! What always holds: a header that says who somebody is counts from a trusted proxy alone,
//! and once; whatever a stranger can make grow has a bound; a page runs nothing that is not
//! a file of ours, and stands in nobody's frame.
//!
//! Deliberately not here: openings, bookings, and any address.

#![warn(missing_docs)]

pub mod events;
mod head_timer;
pub mod hosts;
pub mod page;
mod proxies;
mod server;
mod written;

pub use proxies::{NotANetwork, Proxies, Unsaid};
pub use server::{Peer, listen, serve, serve_while};

/// Names bytes: 16 hexadecimal digits of their SHA-256.
pub fn tag(bytes: &[u8]) -> String {
    const_hex::encode(&ring::digest::digest(&ring::digest::SHA256, bytes).as_ref()[..8])
}

//! Public values that a draw mixes in: rounds of a drand network.
//!
//! A network signs its rounds' numbers, one every few seconds, each at a time that
//! follows from its number. Nobody knows a signature before, and there is only one
//! that is right. Networks of the scheme `bls-unchained-g1-rfc9380` are read, as
//! `quicknet` is: signatures of 48 bytes on G1, public keys of 96 on G2.
//!
//! A round goes by a name that says all that is needed to check it:
//! `drand <public key, hexadecimal> <number>`.
//!
//! Non-goals: fetching a round.

mod network;
mod round;

pub use network::Network;
pub use round::{NoRound, Round};

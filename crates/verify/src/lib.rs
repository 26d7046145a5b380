//! What a citizen runs: a draw recomputed, a proof checked, a statement checked, each
//! from what is published alone.
//!
//! - [`draw`]: an extract of a draw, recomputed ([`draw::Extract`]).
//! - [`proof`]: one entry's proof against the published root.
//! - [`statement`]: an opening's statement, whose sums are made again from its lines.
//!
//! Invariants: nothing here shares code with those who decide or draw. The manifest
//! names neither the allocator nor NATS nor a store, so the compiler refuses them.
//!
//! Non-goals: fetching what is published; writing a statement, which needs the ledger.

pub mod draw;
pub mod proof;
pub mod statement;

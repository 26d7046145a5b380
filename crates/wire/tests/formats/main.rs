//! The formats, from outside: golden bytes, round trips, the contract's rules,
//! the ledger's reading rule, the page that describes it all, and JSON Schemas.

mod bytes;
mod conformance;
mod corpus;
mod golden;
mod page;
mod samples;
mod schemas;
#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library where it is fuzzed")]
mod targets;

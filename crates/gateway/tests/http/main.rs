//! The gateway between real HTTP and a real broker, with an engine that says what a test wants.

#![allow(clippy::unwrap_used, reason = "tests")]

mod asking;
mod own;
mod page;
mod payments;
mod published;
mod rig;
mod shown;
mod who;

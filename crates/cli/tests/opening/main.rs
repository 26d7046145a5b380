//! The opening as a whole: real nats-server, real PostgreSQL, every role a
//! process of its own, real kills. The oracle is what clients saw.

#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod beacon;
mod bench;
mod beside;
mod browser;
mod conformance;
mod console;
mod demo;
mod documented;
mod draws;
mod faults;
mod gateway;
mod generations;
mod isolation;
mod lifecycle;
mod page;
mod permissions;
mod rig;
mod site;
mod statement;
mod status;
mod surge;
mod told;
mod up;
mod verifying;

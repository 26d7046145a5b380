//! The commands of the one binary, one module each.

pub(crate) mod admin;
pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod conformance;
pub(crate) mod demo;
pub(crate) mod draw;
pub(crate) mod fairness;
pub(crate) mod gateway;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod journal;
pub(crate) mod ledger;
pub(crate) mod reader;
pub(crate) mod replay;
pub(crate) mod requests;
pub(crate) mod statement;
pub(crate) mod surge;
pub(crate) mod survey;
pub(crate) mod up;
pub(crate) mod verify;

//! An opening that really took place, as the ledger tells it.
//!
//! [`RecordedOpening`] is read from the ledger's blocks; [`OpeningMeasures`] are its measures, with
//! an optional [`Gateway`] log for what the ledger cannot know: who was rejected, and
//! when anybody asked; and the engines' own [`Metrics`]. [`report`] shows them, [`statement`] is the extract for the
//! public, [`replay`] has the same requests decided in another order.
//!
//! What always holds: what cannot be known is said to be unknown, with the reason,
//! and nothing stands in its place. No pseudonym, booking id or request id leaves
//! this module: figures are counts.

pub mod gateway_log;
mod measures;
mod metrics_page;
mod reader;
mod recorded;
pub mod replay;
pub mod report;
pub mod statement;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

pub use gateway_log::Gateway;
pub use measures::{Chart, CountBasis, Group, GroupShare, OpeningMeasures};
pub use metrics_page::{Metrics, MetricsError};
pub use reader::{Reader, RecordedError};
pub use recorded::{RecordedBlock, RecordedOpening, State};

//! The job: who asks for what, and whoever does it.

use crate::memory::Memory;
use crate::postgres;
use crate::redis_server;

/// Slots that requests are spread over; one more is the hot one.
pub(crate) const SLOTS: usize = 500;
pub(crate) const HOT: usize = SLOTS;
/// Places of each, as the engine's slots have.
pub(crate) const QUOTA: i32 = 65_535;

/// One applicant's request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: String,
    /// 16 digits.
    pub(crate) applicant: String,
    pub(crate) slot: usize,
}

impl Request {
    /// The `n`-th applicant's, as the engine's load makes it.
    pub(crate) fn new(n: u64, hot: bool) -> Self {
        let applicant = format!("{:016}", 2_171_000_000_000_000 + n);
        let slot = if hot { HOT } else { n as usize % SLOTS };
        Self { id: format!("bench-{n:010}"), applicant, slot }
    }
}

/// The applicants of the book, whom nobody else asks for.
pub(crate) const BOOKED: u64 = 1_000_000_000_000_000;

/// One way to a peer.
pub(crate) enum Lane {
    Redis(redis_server::Lane),
    Postgres(postgres::Lane),
    Memory(Memory),
}

impl Lane {
    /// Books for all of them, and says once that is durable for whom there was a place.
    pub(crate) async fn book(&mut self, requests: &[Request]) -> Vec<bool> {
        match self {
            Self::Redis(lane) => lane.book(requests).await,
            Self::Postgres(lane) => lane.book(requests).await,
            Self::Memory(memory) => memory.book(requests).await,
        }
    }
}

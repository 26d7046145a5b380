//! What happened in a run.

use super::BINS;
use crate::fairness::population::Party;

/// What happened, for the measures.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) parties: Vec<Party>,
    pub(crate) requests: u64,
    pub(crate) in_time: u64,
    pub(crate) oversell: u64,
    /// Refusals while a fitting slot had room for the party.
    pub(crate) undersell: u64,
    /// Places in attackers' hands at the end of the window.
    pub(crate) scalped: u64,
    /// Places without a live booking at the end.
    pub(crate) unused: u64,
    pub(crate) no_shows: u64,
    /// Places that recyclers gave back, and those of them their clients got.
    pub(crate) recycled: u64,
    pub(crate) recaptured: u64,
    /// All places that came back.
    pub(crate) came_back: u64,
    /// Requests that were sent again, and forged cancellations and moves.
    pub(crate) replays: u64,
    pub(crate) forgeries: u64,
    /// Places that one request was given a second time, and places of bookings that
    /// somebody else than their owner changed.
    pub(crate) replayed: u64,
    pub(crate) forged: u64,
    /// People's parties that won in the window: the sum of their waits, s, and those
    /// of them that got their best day.
    pub(crate) waited_s: f64,
    pub(crate) first_choice: u64,
    /// Ranks of the draw, as fractions of 1.
    pub(crate) ranks: Vec<f64>,
    pub(crate) arrivals: Vec<u64>,
    pub(crate) grants: Vec<u64>,
    pub(crate) free: Vec<f64>,
    /// Places per attacker at its best moment.
    pub(crate) payoff: Vec<f64>,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) fn none(attackers: usize) -> Self {
        Self {
            parties: Vec::new(),
            requests: 0,
            in_time: 0,
            oversell: 0,
            undersell: 0,
            scalped: 0,
            unused: 0,
            no_shows: 0,
            recycled: 0,
            recaptured: 0,
            came_back: 0,
            replays: 0,
            forgeries: 0,
            replayed: 0,
            forged: 0,
            waited_s: 0.0,
            first_choice: 0,
            ranks: Vec::new(),
            arrivals: vec![0; BINS],
            grants: vec![0; BINS],
            free: vec![0.0; BINS],
            payoff: vec![0.0; attackers],
        }
    }
}

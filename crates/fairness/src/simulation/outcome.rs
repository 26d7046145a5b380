//! What happened in a run.

use super::BINS;
use crate::population::Party;

/// What happened, for the measures.
#[derive(Debug)]
pub struct Outcome {
    pub parties: Vec<Party>,
    pub requests: u64,
    pub in_time: u64,
    pub oversell: u64,
    /// Rejections while a fitting slot had room for the party.
    pub undersell: u64,
    /// Places in attackers' hands at the end of the window.
    pub scalped: u64,
    /// Places without a live booking at the end.
    pub unused: u64,
    pub no_shows: u64,
    /// Places that recyclers gave back, and those of them their clients got.
    pub recycled: u64,
    pub recaptured: u64,
    /// All places that came back.
    pub came_back: u64,
    /// Requests that were sent again, and forged cancellations and moves.
    pub replays: u64,
    pub forgeries: u64,
    /// Places that one request was given a second time, and places of bookings that
    /// somebody else than their owner changed.
    pub replayed: u64,
    pub forged: u64,
    /// People's parties that won in the window: the sum of their waits, s, and those
    /// of them that got their best day.
    pub waited_s: f64,
    pub first_choice: u64,
    /// Ranks of the draw, as fractions of 1.
    pub ranks: Vec<f64>,
    pub arrivals: Vec<u64>,
    pub grants: Vec<u64>,
    pub free: Vec<f64>,
    /// Places per attacker at its best moment.
    pub payoff: Vec<f64>,
}

impl Outcome {
    pub fn none(attackers: usize) -> Self {
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

//! Who has, or is about to have, a place.
//!
//! A claim is *deciding* from the moment a request takes it until its grant is
//! durable or given up, then *granted* or gone. Nobody is refused because of a
//! deciding claim: whoever meets one waits. Parties claim in sorted order and
//! give up what they have when they meet a foreign claim, so no two wait for
//! each other.
//!
//! No guard of the map is held across another operation: each is one step.

use std::hash::{BuildHasherDefault, Hasher};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use giliran_wire::{BookingId, Pseudonym};

/// Hashes keys that are already uniformly random: keyed pseudonyms and booking
/// ids, neither of which a client can choose.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Uniform(u64);

impl Hasher for Uniform {
    fn write(&mut self, bytes: &[u8]) {
        // The last eight: a booking id's first bits are zero.
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map keyed by something already uniformly random.
pub(crate) type UniformMap<K, V> = DashMap<K, V, BuildHasherDefault<Uniform>>;

/// A claim on an applicant's one booking of an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A grant is being decided or on its way into the ledger.
    Deciding,
    /// Durably granted.
    Granted(BookingId),
}

/// Why a party cannot be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A member's claim is being decided: wait.
    Deciding,
    /// A member durably has a booking.
    Granted,
}

/// The claims of one opening.
#[derive(Debug, Default)]
pub(crate) struct Claims(UniformMap<Pseudonym, Claim>);

impl Claims {
    pub(crate) fn of(&self, applicant: &Pseudonym) -> Option<Claim> {
        step();
        self.0.get(applicant).map(|claim| *claim)
    }

    /// Claims every one of `party`, which is sorted, or none.
    pub(crate) fn take(&self, party: &[Pseudonym]) -> Result<(), Taken> {
        for (i, applicant) in party.iter().enumerate() {
            step();
            let taken = match self.0.entry(*applicant) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Claim::Deciding);
                    continue;
                }
                Entry::Occupied(claim) => match claim.get() {
                    Claim::Deciding => Taken::Deciding,
                    Claim::Granted(_) => Taken::Granted,
                },
            };
            self.give(&party[..i]);
            return Err(taken);
        }
        Ok(())
    }

    /// Gives up claims that were taken and are still being decided.
    pub(crate) fn give<'a>(&self, party: impl IntoIterator<Item = &'a Pseudonym>) {
        for applicant in party {
            step();
            self.0.remove(applicant);
        }
    }

    /// Makes an applicant's claim durable; returns what was there before.
    pub(crate) fn grant(&self, applicant: Pseudonym, booking: BookingId) -> Option<Claim> {
        step();
        self.0.insert(applicant, Claim::Granted(booking))
    }
}

/// A point at which the model checker may switch threads; the map's own locks
/// are unknown to it.
fn step() {
    #[cfg(loom)]
    {
        use crate::sync::{AtomicU8, Ordering};
        loom::lazy_static! { static ref STEP: AtomicU8 = AtomicU8::new(0); }
        STEP.fetch_add(1, Ordering::AcqRel);
    }
}

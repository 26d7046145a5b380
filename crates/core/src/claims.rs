//! Who has, or is about to have, a place.
//!
//! A claim is *deciding* from the moment a request takes it until its grant is
//! durable or given up, then *granted* or gone. Nobody is refused because of a
//! deciding claim: whoever meets one waits. Parties claim in sorted order and
//! give up what they have when they meet a foreign claim, so no two wait for
//! each other.

use std::sync::Arc;

use giliran_wire::Pseudonym;

use crate::Booking;
use crate::table::Table;

/// A claim on an applicant's one booking of an opening.
#[derive(Debug)]
pub(crate) enum Claim {
    /// A grant is being decided or on its way into the ledger.
    Deciding,
    /// Durably granted.
    Granted(Arc<Booking>),
}

/// A member of the party has, or is about to have, a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken;

/// The claims of one opening.
#[derive(Debug, Default)]
pub(crate) struct Claims(Table<Pseudonym, Claim>);

impl Claims {
    /// Shows an applicant's claim to `see`, which looks at it and nothing else.
    pub(crate) fn look<R>(
        &self,
        applicant: &Pseudonym,
        see: impl FnOnce(Option<&Claim>) -> R,
    ) -> R {
        self.0.look(applicant, see)
    }

    /// The applicant's durable booking.
    pub(crate) fn booking_of(&self, applicant: &Pseudonym) -> Option<Arc<Booking>> {
        self.0.look(applicant, |claim| match claim {
            Some(Claim::Granted(booking)) => Some(Arc::clone(booking)),
            Some(Claim::Deciding) | None => None,
        })
    }

    /// Claims every one of `party`, which is sorted, or none.
    pub(crate) fn take(&self, party: &[Pseudonym]) -> Result<(), Taken> {
        for (i, applicant) in party.iter().enumerate() {
            if self.0.occupy(*applicant, Claim::Deciding, |_| ()).is_err() {
                self.give(&party[..i]);
                return Err(Taken);
            }
        }
        Ok(())
    }

    /// Gives up claims that were taken and are still being decided. One that
    /// the ledger granted meanwhile, to another writer, stays.
    pub(crate) fn give<'a>(&self, party: impl IntoIterator<Item = &'a Pseudonym>) {
        for applicant in party {
            self.0.remove_if(applicant, |claim| matches!(claim, Claim::Deciding));
        }
    }

    /// Makes an applicant's claim durable; returns what was there before.
    pub(crate) fn grant(&self, applicant: Pseudonym, booking: Arc<Booking>) -> Option<Claim> {
        self.0.insert(applicant, Claim::Granted(booking))
    }
}

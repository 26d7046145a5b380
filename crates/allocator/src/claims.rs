//! Who has, or is about to have, a place.
//!
//! A claim is *deciding* from the moment a request takes it until its grant is
//! durable or given up, then *granted* or gone. Nobody is rejected because of a
//! deciding claim: whoever meets one waits. Parties claim in sorted order and
//! give up what they have when they meet a foreign claim, so no two wait for
//! each other.
//!
//! A booking that was given back or ran out leaves its applicants free to book
//! again, and stays with them as a tombstone, so that a late duplicate of its
//! request finds it.

use std::sync::Arc;

use giliran_wire::Pseudonym;

use crate::sync::sharded_map::ShardedMap;
use crate::{Booking, DrawEntry};

/// What an opening knows of an applicant.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    /// State of the booking that counts now.
    pub(crate) standing: ClaimState,
    /// Ended bookings and a draw entry; most applicants have neither.
    rest: Option<Box<Rest>>,
}

/// Where an applicant's one booking of an opening stands.
#[derive(Debug, Default)]
pub(crate) enum ClaimState {
    /// The applicant has no booking, and none is being decided.
    #[default]
    Free,
    /// A grant is being decided or on its way into the ledger.
    Deciding,
    /// The grant is in the ledger.
    Granted(Arc<Booking>),
}

#[derive(Debug, Default)]
struct Rest {
    /// Bookings that were given back or ran out, in the order in which they were
    /// made.
    past: Vec<Arc<Booking>>,
    /// The entry into the next release's draw, perhaps withdrawn.
    waiting: Option<Arc<DrawEntry>>,
}

impl Claim {
    /// Bookings that were given back or ran out.
    pub(crate) fn past(&self) -> &[Arc<Booking>] {
        self.rest.as_ref().map_or(&[], |rest| &rest.past)
    }

    /// The entry of those who wait.
    pub(crate) fn waiting(&self) -> Option<&Arc<DrawEntry>> {
        self.rest.as_ref()?.waiting.as_ref()
    }

    /// Bookings that were ever granted for this applicant in this opening.
    pub(crate) fn granted(&self) -> usize {
        self.past().len() + usize::from(matches!(self.standing, ClaimState::Granted(_)))
    }

    fn is_nothing(&self) -> bool {
        matches!(self.standing, ClaimState::Free)
            && self.rest.as_ref().is_none_or(|r| r.past.is_empty() && r.waiting.is_none())
    }
}

/// A member of the party has, or is about to have, a booking, or had as many as one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken;

/// The claims of one opening.
#[derive(Debug, Default)]
pub(crate) struct Claims(ShardedMap<Pseudonym, Claim>);

impl Claims {
    /// Shows an applicant's claim to `see`, which looks at it and nothing else.
    pub(crate) fn look<R>(
        &self,
        applicant: &Pseudonym,
        see: impl FnOnce(Option<&Claim>) -> R,
    ) -> R {
        self.0.look(applicant, see)
    }

    /// The applicant's durable bookings, the live one first, then the latest.
    pub(crate) fn bookings_of(&self, applicant: &Pseudonym) -> Vec<Arc<Booking>> {
        self.0.look(applicant, |claim| {
            let live = claim.and_then(|claim| match &claim.standing {
                ClaimState::Granted(booking) => Some(booking),
                ClaimState::Free | ClaimState::Deciding => None,
            });
            let past = claim.map_or(&[][..], Claim::past).iter().rev();
            live.into_iter().chain(past).map(Arc::clone).collect()
        })
    }

    /// Claims every one of `party`, which is sorted, or none.
    pub(crate) fn take(&self, party: &[Pseudonym]) -> Result<(), Taken> {
        self.take_below(party, usize::MAX)
    }

    /// The same, if each of them was granted fewer than `most` bookings so far.
    pub(crate) fn take_below(&self, party: &[Pseudonym], most: usize) -> Result<(), Taken> {
        for (i, applicant) in party.iter().enumerate() {
            let claim = Claim { standing: ClaimState::Deciding, rest: None };
            let taken = self.0.occupy(*applicant, claim, |there| {
                if matches!(there.standing, ClaimState::Free) && there.granted() < most {
                    there.standing = ClaimState::Deciding;
                    false
                } else {
                    true
                }
            });
            if taken == Err(true) {
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
            self.0.remove_if(applicant, |claim| {
                if matches!(claim.standing, ClaimState::Deciding) {
                    claim.standing = ClaimState::Free;
                }
                claim.is_nothing()
            });
        }
    }

    /// Makes an applicant's claim durable; returns what was there before.
    pub(crate) fn grant(&self, applicant: Pseudonym, booking: Arc<Booking>) -> ClaimState {
        self.0.change(applicant, |claim| {
            std::mem::replace(&mut claim.standing, ClaimState::Granted(booking))
        })
    }

    /// Puts a booking's next version in its place, wherever it stands with this
    /// applicant.
    pub(crate) fn renew(&self, applicant: Pseudonym, booking: &Arc<Booking>) {
        self.0.change(applicant, |claim| {
            if let ClaimState::Granted(granted) = &mut claim.standing
                && granted.id == booking.id
            {
                *granted = Arc::clone(booking);
            }
            let past = claim.rest.iter_mut().flat_map(|rest| &mut rest.past);
            for past in past.filter(|past| past.id == booking.id) {
                *past = Arc::clone(booking);
            }
        });
    }

    /// The applicant's booking has ended, or the applicant has left it: free to
    /// book again.
    pub(crate) fn end(&self, applicant: Pseudonym, booking: &Arc<Booking>) {
        self.0.change(applicant, |claim| {
            if matches!(&claim.standing, ClaimState::Granted(granted) if granted.id == booking.id) {
                claim.standing = ClaimState::Free;
            }
            let past = &mut claim.rest.get_or_insert_default().past;
            past.retain(|past| past.id != booking.id);
            // In one order for all who hold this state, however they came by it.
            let place = past.partition_point(|past| past.made_before(booking));
            past.insert(place, Arc::clone(booking));
        });
    }

    /// A tombstone that lives again; see [`grant`](Self::grant).
    pub(crate) fn revive(&self, applicant: Pseudonym, booking: &Arc<Booking>) -> ClaimState {
        self.0.change(applicant, |claim| {
            if let Some(rest) = &mut claim.rest {
                rest.past.retain(|past| past.id != booking.id);
            }
            std::mem::replace(&mut claim.standing, ClaimState::Granted(Arc::clone(booking)))
        })
    }

    /// Makes an applicant's entry into an opening's draw durable. `claimed`: the
    /// claim was taken for it, and is free again.
    pub(crate) fn enter(&self, applicant: Pseudonym, waiting: &Arc<DrawEntry>, claimed: bool) {
        self.0.change(applicant, |claim| {
            if claimed && matches!(claim.standing, ClaimState::Deciding) {
                claim.standing = ClaimState::Free;
            }
            claim.rest.get_or_insert_default().waiting = Some(Arc::clone(waiting));
        });
    }

    /// Puts an applicant's entry there.
    pub(crate) fn wait(&self, applicant: Pseudonym, waiting: Arc<DrawEntry>) {
        self.0.change(applicant, |claim| {
            claim.rest.get_or_insert_default().waiting = Some(waiting);
        });
    }

    /// An applicant's entry is no more.
    pub(crate) fn leave(&self, applicant: &Pseudonym) {
        self.0.remove_if(applicant, |claim| {
            if let Some(rest) = &mut claim.rest {
                rest.waiting = None;
            }
            claim.is_nothing()
        });
    }
}

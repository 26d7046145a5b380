//! Who has, or is about to have, a place.
//!
//! A claim is *deciding* from the moment a request takes it until its grant is
//! durable or given up, then *granted* or gone. Nobody is rejected because of a
//! deciding claim: whoever meets one waits. Parties claim in sorted order and
//! give up what they have when they meet a foreign claim, so no two wait for
//! each other.
//!
//! A grant's booking stands in the claim as soon as it is staged, while its block is
//! on its way. What a claim says therefore depends on the position of the look: until
//! that covers the booking's block, the claim is deciding. Nobody can see a booking
//! otherwise than through [`Claim::state`].
//!
//! A booking that was given back or ran out leaves its applicants free to book
//! again, and stays with them as a tombstone, so that a late duplicate of its
//! request finds it.

use std::sync::Arc;

use giliran_wire::Pseudonym;

use crate::sync::seqlock::Durable;
use crate::sync::sharded_map::{Batch, ShardedMap};
use crate::{Booking, DrawEntry};

/// What an opening knows of an applicant; 16 bytes, for there may be tens of millions.
#[derive(Debug)]
pub(crate) struct Claim(Kept);

const _: () = assert!(size_of::<Claim>() == 16);

#[derive(Debug)]
enum Kept {
    /// Most applicants have nothing else.
    Standing(Standing),
    All(Box<All>),
}

impl Default for Claim {
    fn default() -> Self {
        Self(Kept::Standing(Standing::Free))
    }
}

#[derive(Debug, Default)]
enum Standing {
    #[default]
    Free,
    Deciding,
    /// Granted by the block that the booking names, which may be on its way.
    Booked(Arc<Booking>),
}

/// Where an applicant's one booking of an opening stands, at one position.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ClaimState<'a> {
    /// The applicant has no booking, and none is being decided.
    Free,
    /// A grant is being decided or on its way into the ledger.
    Deciding,
    /// The grant is in the ledger.
    Granted(&'a Arc<Booking>),
}

/// Somebody has a booking already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Booked;

#[derive(Debug, Default)]
struct All {
    standing: Standing,
    /// Bookings that were given back or ran out, in the order in which they were
    /// made.
    past: Vec<Arc<Booking>>,
    /// The entry into the next release's draw, perhaps withdrawn.
    waiting: Option<Arc<DrawEntry>>,
}

impl Claim {
    /// What was claimed, or granted, last.
    fn standing(&self) -> &Standing {
        match &self.0 {
            Kept::Standing(standing) => standing,
            Kept::All(all) => &all.standing,
        }
    }

    fn standing_mut(&mut self) -> &mut Standing {
        match &mut self.0 {
            Kept::Standing(standing) => standing,
            Kept::All(all) => &mut all.standing,
        }
    }

    fn all_mut(&mut self) -> &mut All {
        if let Kept::Standing(standing) = &mut self.0 {
            let standing = std::mem::take(standing);
            self.0 = Kept::All(Box::new(All { standing, ..All::default() }));
        }
        match &mut self.0 {
            Kept::All(all) => all,
            Kept::Standing(_) => unreachable!("put there above"),
        }
    }

    fn there(&mut self) -> Option<&mut All> {
        match &mut self.0 {
            Kept::All(all) => Some(all),
            Kept::Standing(_) => None,
        }
    }

    /// Bookings that were given back or ran out.
    pub(crate) fn past(&self) -> &[Arc<Booking>] {
        match &self.0 {
            Kept::All(all) => &all.past,
            Kept::Standing(_) => &[],
        }
    }

    /// The entry of those who wait.
    pub(crate) fn waiting(&self) -> Option<&Arc<DrawEntry>> {
        match &self.0 {
            Kept::All(all) => all.waiting.as_ref(),
            Kept::Standing(_) => None,
        }
    }

    /// How it stands at this position.
    pub(crate) fn state(&self, at: Durable) -> ClaimState<'_> {
        match self.standing() {
            Standing::Free => ClaimState::Free,
            Standing::Booked(booking) if at.covers(booking.block) => ClaimState::Granted(booking),
            Standing::Deciding | Standing::Booked(_) => ClaimState::Deciding,
        }
    }

    /// Bookings that were ever granted for this applicant in this opening, up to this
    /// position.
    pub(crate) fn granted(&self, at: Durable) -> usize {
        self.past().len() + usize::from(matches!(self.state(at), ClaimState::Granted(_)))
    }

    fn is_nothing(&self) -> bool {
        matches!(self.standing(), Standing::Free)
            && self.past().is_empty()
            && self.waiting().is_none()
    }
}

/// A member of the party has, or is about to have, a booking, or had as many as one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken;

/// The claims of one opening.
#[derive(Debug, Default)]
pub(crate) struct Claims(ShardedMap<Pseudonym, Claim>);

impl Claims {
    /// Of nobody, with room for about so many people before a part of the table has to grow.
    pub(crate) fn with_room_for(people: usize) -> Self {
        let claims = ShardedMap::default();
        claims.reserve(people);
        Self(claims)
    }

    /// An applicant's claim will be looked at soon.
    pub(crate) fn fetch(&self, applicant: &Pseudonym) {
        self.0.fetch(applicant);
    }

    /// Shows an applicant's claim to `see`, which looks at it and nothing else.
    pub(crate) fn look<R>(
        &self,
        applicant: &Pseudonym,
        see: impl FnOnce(Option<&Claim>) -> R,
    ) -> R {
        self.0.look(applicant, see)
    }

    /// The applicant's bookings that are durable at this position, the live one first,
    /// then the latest.
    pub(crate) fn bookings_of(&self, applicant: &Pseudonym, at: Durable) -> Vec<Arc<Booking>> {
        self.0.look(applicant, |claim| {
            let live = claim.and_then(|claim| match claim.state(at) {
                ClaimState::Granted(booking) => Some(booking),
                ClaimState::Free | ClaimState::Deciding => None,
            });
            let past = claim.map_or(&[][..], Claim::past).iter().rev();
            live.into_iter().chain(past).map(Arc::clone).collect()
        })
    }

    /// Whether an applicant has a booking at this position; none: it is being decided.
    pub(crate) fn is_booked(&self, applicant: &Pseudonym, at: Durable) -> Option<bool> {
        self.0.look(applicant, |claim| match claim.map(|claim| claim.state(at)) {
            None | Some(ClaimState::Free) => Some(false),
            Some(ClaimState::Deciding) => None,
            Some(ClaimState::Granted(_)) => Some(true),
        })
    }

    /// Claims every one of `party`, which is sorted, or none.
    pub(crate) fn take(&self, party: &[Pseudonym]) -> Result<(), Taken> {
        self.take_below(party, usize::MAX)
    }

    /// The same, if each of them was granted fewer than `most` bookings so far.
    pub(crate) fn take_below(&self, party: &[Pseudonym], most: usize) -> Result<(), Taken> {
        for (i, applicant) in party.iter().enumerate() {
            let claim = Claim(Kept::Standing(Standing::Deciding));
            let taken = self.0.occupy(*applicant, claim, |there| {
                if matches!(there.standing(), Standing::Free) && there.past().len() < most {
                    *there.standing_mut() = Standing::Deciding;
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
                if matches!(claim.standing(), Standing::Deciding) {
                    *claim.standing_mut() = Standing::Free;
                }
                claim.is_nothing()
            });
        }
    }

    /// Puts a booking in the place of the claims that were taken for its party; until its
    /// block is published they go on as being decided. `Err`: one of the claims is not
    /// there any more, and nothing was staged.
    pub(crate) fn stage(&self, booking: &Arc<Booking>) -> Result<(), Taken> {
        for (i, seat) in booking.seats.iter().enumerate() {
            let staged = self.0.change(seat.applicant, |claim| {
                let standing = claim.standing_mut();
                let deciding = matches!(standing, Standing::Deciding);
                if deciding {
                    *standing = Standing::Booked(Arc::clone(booking));
                }
                deciding
            });
            if !staged {
                let before = booking.seats[..i].iter().map(|seat| &seat.applicant);
                before.for_each(|applicant| self.unstage(applicant, booking, Standing::Deciding));
                return Err(Taken);
            }
        }
        Ok(())
    }

    /// Gives up the claims of a booking whose block will never be in the ledger.
    pub(crate) fn give_staged(&self, booking: &Booking) {
        for seat in &booking.seats {
            self.unstage(&seat.applicant, booking, Standing::Free);
        }
    }

    fn unstage(&self, applicant: &Pseudonym, booking: &Booking, then: Standing) {
        let mut then = Some(then);
        self.0.remove_if(applicant, |claim| {
            if matches!(claim.standing(), Standing::Booked(staged) if staged.id == booking.id) {
                *claim.standing_mut() = then.take().unwrap_or_default();
            }
            claim.is_nothing()
        });
    }

    /// Makes an applicant's claim durable. `claimed`: it was taken for that; else the ledger
    /// alone says so, and a claim that is being decided loses to it.
    ///
    /// # Errors
    ///
    /// [`Booked`] where the applicant has another booking, or the claim was not taken.
    pub(crate) fn grant(
        &self,
        applicant: Pseudonym,
        booking: Arc<Booking>,
        claimed: bool,
    ) -> Result<(), Booked> {
        self.0.change(applicant, |claim| {
            match std::mem::replace(claim.standing_mut(), Standing::Booked(booking)) {
                Standing::Deciding => Ok(()),
                Standing::Free if !claimed => Ok(()),
                Standing::Free | Standing::Booked(_) => Err(Booked),
            }
        })
    }

    /// Makes claims durable that a snapshot has; see [`grant`](Self::grant). None of them is
    /// left in the batch.
    ///
    /// # Errors
    ///
    /// A booking whose applicant has another one.
    pub(crate) fn fill(
        &self,
        claims: &mut Batch<Pseudonym, Arc<Booking>>,
    ) -> Result<(), Arc<Booking>> {
        let mut second = Ok(());
        let claim = |booking| Claim(Kept::Standing(Standing::Booked(booking)));
        self.0.fill(claims, claim, |there, booking| {
            if matches!(there.standing(), Standing::Booked(_)) {
                second = Err(booking);
            } else {
                *there.standing_mut() = Standing::Booked(booking);
            }
        });
        second
    }

    /// Puts a booking's next version in its place, wherever it stands with this
    /// applicant.
    pub(crate) fn renew(&self, applicant: Pseudonym, booking: &Arc<Booking>) {
        self.0.change(applicant, |claim| {
            if let Standing::Booked(granted) = claim.standing_mut()
                && granted.id == booking.id
            {
                *granted = Arc::clone(booking);
            }
            let past = claim.there().into_iter().flat_map(|all| &mut all.past);
            for past in past.filter(|past| past.id == booking.id) {
                *past = Arc::clone(booking);
            }
        });
    }

    /// The applicant's booking has ended, or the applicant has left it: free to
    /// book again.
    pub(crate) fn end(&self, applicant: Pseudonym, booking: &Arc<Booking>) {
        self.0.change(applicant, |claim| {
            let standing = claim.standing_mut();
            if matches!(standing, Standing::Booked(granted) if granted.id == booking.id) {
                *standing = Standing::Free;
            }
            let past = &mut claim.all_mut().past;
            past.retain(|past| past.id != booking.id);
            // In one order for all who hold this state, however they came by it.
            let place = past.partition_point(|past| past.made_before(booking));
            past.insert(place, Arc::clone(booking));
        });
    }

    /// A tombstone that lives again; see [`grant`](Self::grant).
    pub(crate) fn revive(
        &self,
        applicant: Pseudonym,
        booking: &Arc<Booking>,
    ) -> Result<(), Booked> {
        self.0.change(applicant, |claim| {
            if let Some(all) = claim.there() {
                all.past.retain(|past| past.id != booking.id);
            }
        });
        self.grant(applicant, Arc::clone(booking), false)
    }

    /// Makes an applicant's entry into an opening's draw durable. `claimed`: the
    /// claim was taken for it, and is free again.
    pub(crate) fn enter(&self, applicant: Pseudonym, waiting: &Arc<DrawEntry>, claimed: bool) {
        self.0.change(applicant, |claim| {
            let standing = claim.standing_mut();
            if claimed && matches!(standing, Standing::Deciding) {
                *standing = Standing::Free;
            }
            claim.all_mut().waiting = Some(Arc::clone(waiting));
        });
    }

    /// Puts an applicant's entry there.
    pub(crate) fn wait(&self, applicant: Pseudonym, waiting: Arc<DrawEntry>) {
        self.0.change(applicant, |claim| {
            claim.all_mut().waiting = Some(waiting);
        });
    }

    /// An applicant's entry is no more.
    pub(crate) fn leave(&self, applicant: &Pseudonym) {
        self.0.remove_if(applicant, |claim| {
            if let Some(all) = claim.there() {
                all.waiting = None;
            }
            claim.is_nothing()
        });
    }
}

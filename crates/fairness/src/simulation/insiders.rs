//! One who knows the operator's secrets before the close.
//!
//! Under rounds it knows the key: it has every identity's rank in every round, and
//! enters those that lead. Under a draw it knows the operator's seed and all
//! entries: it changes its last one (withdraws it and enters again, or enters
//! another identity) until the seed that follows from the entries suits it. What it
//! cannot know is a public value that is published after the close.

use giliran_allocator::ballot::{self, Ballot, Hash, Tree};
use giliran_allocator::order::{self, Entrant};
use giliran_wire::BookingId;
use giliran_wire::ledger::Order;

use super::{Arm, Run, Ticket, What, slots_of};
use crate::population::{Insider, Party, pseudonym};
use crate::random::Random;
use crate::simulation::virtual_engine::{LEDGER, ORDINAL};

/// So long before the close an insider makes its last entry for good, µs: everybody
/// else's are durable by then, and its own still gets into a block.
pub(super) const BEFORE_CLOSE_US: i64 = 100_000;

/// The party whose entry into a draw an insider changes until the close: the last to
/// come of those that it enters.
pub(super) fn last_entry(
    insider: Option<&Insider>,
    (arm, parties): (&Arm, &[Party]),
    planned: &[(i64, u32)],
    close_us: i64,
) -> Option<u32> {
    let insider = insider.filter(|insider| arm.order == Order::Draw && insider.tries > 1)?;
    let comes = |(at, party): &&(i64, u32)| {
        *at < close_us && insider.parties.contains(party) && !parties[*party as usize].lost
    };
    planned.iter().rfind(comes).map(|(_, party)| *party)
}

/// Everybody's entries as they are published, and what an insider makes of them.
struct Entries<'a> {
    ballots: Vec<Ballot>,
    /// Which of them are the insider's.
    own: Vec<usize>,
    head: Hash,
    quotas: Vec<u32>,
    /// What it takes for the operator's seed.
    secret: &'a Hash,
}

impl Run<'_> {
    /// Under rounds: an insider's request goes out under the identity that leads in its
    /// round of those that are left.
    pub(super) fn choose_for_round(&mut self, party: u32) {
        let is_own = self.insider.as_ref().is_some_and(|own| own.parties.contains(&party));
        if !is_own || !matches!(self.arm.order, Order::Rounds { .. }) {
            return;
        }
        let (key, round) = (self.engine.operator_seed(), self.engine.round());
        let rank = |identity: u32| {
            order::round_rank(&key, round, &[pseudonym(self.salt, identity.into())])
        };
        let leads = (0..self.at_hand.len()).min_by_key(|i| rank(self.at_hand[*i]));
        if let Some(leads) = leads {
            self.parties[party as usize].first = self.at_hand.swap_remove(leads);
        }
    }

    /// Under a draw: an insider's last entry, once it has changed it as often as it
    /// could and kept the best. Every change gives it another receipt; the bench has
    /// the engine give it the one that was kept.
    pub(super) fn makes_last_entry(&mut self, index: u32, at: i64) {
        if let Some(lands_at) = self.engine.lands_at() {
            return self.plan(lands_at.max(at), What::LastEntry(index));
        }
        if let Some(insider) = self.insider.clone() {
            let bits = self.best_receipt(&insider, index);
            self.engine.choose_bits(Some(bits));
        }
        // It was not made to wait.
        self.parties[index as usize].asked = at;
        self.asks(Ticket::Party(index), index, at);
        self.engine.choose_bits(None);
    }

    /// The receipt, of as many as an insider can try, with which most of its entries
    /// would get places.
    fn best_receipt(&self, insider: &Insider, last: u32) -> u128 {
        let mut random = Random::new(self.salt, 4);
        // With a public value the seed of the draw is none that it could know.
        let secret = if self.arm.beacon { random.bytes() } else { self.engine.operator_seed() };
        let mut best = random.wide();
        let mut entries = self.entries(insider, (last, best), &secret);
        // All others' leaves in their order; the insider's last one is put among them.
        let place = entries.ballots.len() - 1;
        let others = &entries.ballots[..place];
        let mut leaves: Vec<(BookingId, Hash)> =
            others.iter().map(|ballot| (ballot.number, ballot.leaf())).collect();
        leaves.sort_unstable();
        let mut most = entries.wins(&leaves);
        for _ in 1..insider.tries {
            if most == entries.own.len() || self.progress.is_stopped() {
                break;
            }
            let bits = random.wide();
            entries.ballots[place] = self.ballot(last, &BookingId::from_random(bits));
            let got = entries.wins(&leaves);
            if got > most {
                (most, best) = (got, bits);
            }
        }
        best
    }

    /// All that have entered, and at the end the one that is about to.
    fn entries<'a>(
        &self,
        insider: &Insider,
        (last, bits): (u32, u128),
        secret: &'a Hash,
    ) -> Entries<'a> {
        let all = self.entered.iter().copied().chain([(last, BookingId::from_random(bits))]);
        let all: Vec<(u32, BookingId)> = all.collect();
        let own = (0..all.len()).filter(|i| insider.parties.contains(&all[*i].0)).collect();
        let quotas: Vec<u32> = (0..self.live.len() as u32).map(|slot| self.quota(slot)).collect();
        let ballots = all.iter().map(|(index, receipt)| self.ballot(*index, receipt)).collect();
        Entries { ballots, own, head: self.engine.head(&quotas), quotas, secret }
    }

    /// A party's entry as it is published.
    fn ballot(&self, index: u32, receipt: &BookingId) -> Ballot {
        let party = self.party(index);
        let mut slots: Vec<u32> = Vec::new();
        for slot in slots_of(party, self.scenario) {
            if !slots.contains(&slot) {
                slots.push(slot);
            }
        }
        Ballot {
            number: ballot::number(LEDGER, ORDINAL, receipt),
            holder: ballot::holder(receipt, &index.to_string()),
            places: party.size.into(),
            slots,
        }
    }
}

impl Entries<'_> {
    /// How many of the insider's would get places, were there no public value.
    /// `others`: the leaves of all but the last, in their order.
    fn wins(&self, others: &[(BookingId, Hash)]) -> usize {
        let last = self.ballots.last().map(|ballot| (ballot.number, ballot.leaf()));
        let at = last.map_or(0, |last| others.partition_point(|leaf| *leaf < last));
        let mut tree = Tree::default();
        let all = others[..at].iter().chain(&last).chain(&others[at..]);
        all.for_each(|(_, leaf)| tree.push(*leaf));
        let root = ballot::root(&self.head, self.ballots.len() as u64, &tree.top());
        let seed = ballot::seed(&root, self.secret, None);
        let entrant = |ballot| {
            let Ballot { number, places, slots, .. }: &Ballot = ballot;
            Entrant { receipt: *number, places: (*places).into(), slots }
        };
        let entrants: Vec<Entrant<'_>> = self.ballots.iter().map(entrant).collect();
        let got = order::draw(&seed, &entrants, &mut self.quotas.clone());
        self.own.iter().filter(|i| got[**i].is_some()).count()
    }
}

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

use super::{Run, slots_of};
use crate::population::{Insider, pseudonym};
use crate::random::Random;
use crate::simulation::virtual_engine::LEDGER;

impl Run<'_> {
    /// Under rounds: each of an insider's requests, in the order they come, goes
    /// out under the identity that leads in its round of those that are left.
    pub(super) fn choose_for_rounds(&mut self, planned: &[(i64, u32)]) {
        let (Some(insider), Order::Rounds { length_ms }) = (&self.insider, self.arm.order) else {
            return;
        };
        let length_us = length_ms.max(1) as i64 * 1_000;
        let mut left: Vec<u32> = insider.identities.clone().collect();
        let own = planned.iter().filter(|(at, party)| *at >= 0 && insider.parties.contains(party));
        for (at, party) in own {
            if self.progress.is_stopped() {
                break;
            }
            let round = (at / length_us) as u64;
            let rank = |identity: u32| {
                order::round_rank(&self.round_key, round, &[pseudonym(self.salt, identity.into())])
            };
            let leads = (0..left.len()).min_by_key(|i| rank(left[*i]));
            if let Some(leads) = leads {
                self.parties[*party as usize].first = left.swap_remove(leads);
            }
        }
    }

    /// Under a draw: the ballot numbers and the seed, once an insider has changed
    /// its last entry as often as it could and kept the best.
    pub(super) fn chosen_draw(
        &self,
        insider: &Insider,
        entered: &[u32],
        receipts: &[BookingId],
        secret: &Hash,
    ) -> (Vec<BookingId>, Hash) {
        let mut random = Random::new(self.salt, 4);
        let public = random.bytes();
        let quotas = (0..self.live.len() as u32).map(|slot| self.quota(slot)).collect();
        let draw = Entered::new(self, insider, entered, receipts, quotas);
        let mut numbers: Vec<BookingId> =
            receipts.iter().map(|receipt| ballot::number(LEDGER, 0, receipt)).collect();
        let mut best_root = draw.root(draw.last.as_ref());
        if let Some(last) = draw.own.last().filter(|_| insider.tries > 1) {
            // What the seed would be, were there no public value.
            let mut most = draw.wins(&numbers, &ballot::seed(&best_root, secret, None));
            let mut tried = numbers.clone();
            for _ in 1..insider.tries {
                if most == draw.own.len() || self.progress.is_stopped() {
                    break;
                }
                let other = draw.ballot(*last, &BookingId::from_random(random.wide()));
                tried[*last] = other.number;
                let root = draw.root(Some(&(other.number, other.leaf())));
                let got = draw.wins(&tried, &ballot::seed(&root, secret, None));
                if got > most {
                    (most, best_root) = (got, root);
                    numbers[*last] = other.number;
                }
            }
        }
        let public = self.arm.beacon.then_some(public.as_slice());
        (numbers, ballot::seed(&best_root, secret, public))
    }
}

/// A ballot's number and its leaf.
type Leaf = (BookingId, Hash);

/// The entries of a draw, of which an insider may change its last one.
struct Entered<'a> {
    entered: &'a [u32],
    sizes: Vec<u8>,
    wishes: Vec<Vec<u32>>,
    /// Places of each slot.
    quotas: Vec<u32>,
    head: Hash,
    /// Which of the entries are the insider's.
    own: Vec<usize>,
    /// All others' leaves in their order; the insider's last one is put among them.
    leaves: Vec<Leaf>,
    last: Option<Leaf>,
}

impl<'a> Entered<'a> {
    fn new(
        run: &Run<'_>,
        insider: &Insider,
        entered: &'a [u32],
        receipts: &[BookingId],
        quotas: Vec<u32>,
    ) -> Self {
        let parties = || entered.iter().map(|index| run.party(*index));
        let own = (0..entered.len()).filter(|i| insider.parties.contains(&entered[*i]));
        let mut draw = Self {
            entered,
            sizes: parties().map(|party| party.size).collect(),
            wishes: parties().map(|party| slots_of(party, run.scenario).collect()).collect(),
            head: run.desk.head(&quotas),
            quotas,
            own: own.collect(),
            leaves: Vec::new(),
            last: None,
        };
        let ballots = receipts.iter().enumerate().map(|(i, receipt)| draw.ballot(i, receipt));
        draw.leaves = ballots.map(|ballot| (ballot.number, ballot.leaf())).collect();
        draw.last = draw.own.last().map(|last| draw.leaves.swap_remove(*last));
        draw.leaves.sort_unstable();
        draw
    }

    fn ballot(&self, i: usize, receipt: &BookingId) -> Ballot {
        Ballot {
            number: ballot::number(LEDGER, 0, receipt),
            holder: ballot::holder(receipt, &self.entered[i].to_string()),
            places: self.sizes[i].into(),
            slots: self.wishes[i].clone(),
        }
    }

    /// The root of all entries, where the insider's last one has this leaf.
    fn root(&self, last: Option<&Leaf>) -> Hash {
        let mut all = self.leaves.clone();
        if let Some(last) = last {
            let at = all.partition_point(|leaf| leaf < last);
            all.insert(at, *last);
        }
        let mut tree = Tree::default();
        all.into_iter().for_each(|(_, leaf)| tree.push(leaf));
        ballot::root(&self.head, self.entered.len() as u64, &tree.top())
    }

    /// How many of the insider's entries win under a seed.
    fn wins(&self, numbers: &[BookingId], seed: &Hash) -> usize {
        let entrants: Vec<Entrant<'_>> = (0..self.entered.len())
            .map(|i| Entrant {
                receipt: numbers[i],
                places: self.sizes[i].into(),
                slots: &self.wishes[i],
            })
            .collect();
        let got = order::draw(seed, &entrants, &mut self.quotas.clone());
        self.own.iter().filter(|i| got[**i].is_some()).count()
    }
}

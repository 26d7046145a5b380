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
        let wishes: Vec<Vec<u32>> = entered
            .iter()
            .map(|index| slots_of(self.party(*index), self.scenario).collect())
            .collect();
        let ballot = |i: usize, receipt: &BookingId| Ballot {
            number: ballot::number(LEDGER, 0, receipt),
            holder: ballot::holder(receipt, &entered[i].to_string()),
            places: self.party(entered[i]).size.into(),
            slots: wishes[i].clone(),
        };
        let quotas: Vec<u32> = (0..self.live.len() as u32).map(|slot| self.quota(slot)).collect();
        let head = self.desk.head(&quotas);
        let count = entered.len() as u64;
        let ballots: Vec<Ballot> =
            receipts.iter().enumerate().map(|(i, receipt)| ballot(i, receipt)).collect();
        let mut numbers: Vec<BookingId> = ballots.iter().map(|ballot| ballot.number).collect();
        let mut leaves: Vec<(BookingId, Hash)> =
            ballots.iter().map(|ballot| (ballot.number, ballot.leaf())).collect();
        let own: Vec<usize> =
            (0..entered.len()).filter(|i| insider.parties.contains(&entered[*i])).collect();
        let last = own.last().copied();
        // All others' leaves in their order; the insider's last one is put among them.
        let moved = last.map(|last| leaves.swap_remove(last));
        leaves.sort_unstable();
        let root = |changed: Option<(BookingId, Hash)>| {
            let mut all = leaves.clone();
            if let Some(changed) = changed {
                let at = all.partition_point(|leaf| *leaf < changed);
                all.insert(at, changed);
            }
            let mut tree = Tree::default();
            all.into_iter().for_each(|(_, leaf)| tree.push(leaf));
            ballot::root(&head, count, &tree.top())
        };
        let wins = |numbers: &[BookingId], seed: &Hash| {
            let entrants: Vec<Entrant<'_>> = (0..entered.len())
                .map(|i| Entrant {
                    receipt: numbers[i],
                    places: self.party(entered[i]).size.into(),
                    slots: &wishes[i],
                })
                .collect();
            let got = order::draw(seed, &entrants, &mut quotas.clone());
            own.iter().filter(|i| got[**i].is_some()).count()
        };
        let mut best_root = root(moved);
        if let Some(last) = last.filter(|_| insider.tries > 1) {
            // What the seed would be, were there no public value.
            let mut most = wins(&numbers, &ballot::seed(&best_root, secret, None));
            let mut tried = numbers.clone();
            for _ in 1..insider.tries {
                if most == own.len() || self.progress.is_stopped() {
                    break;
                }
                let other = ballot(last, &BookingId::from_random(random.wide()));
                tried[last] = other.number;
                let root = root(Some((other.number, other.leaf())));
                let got = wins(&tried, &ballot::seed(&root, secret, None));
                if got > most {
                    (most, best_root) = (got, root);
                    numbers[last] = other.number;
                }
            }
        }
        let public = self.arm.beacon.then_some(public.as_slice());
        (numbers, ballot::seed(&best_root, secret, public))
    }
}

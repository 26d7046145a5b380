//! The orders in which requests that waited are decided: pure, public, and to
//! be recomputed by anybody.
//!
//! `first-come` needs no function: it is the order of arrival. The two others
//! are these, and nothing else goes into them.
//!
//! **Rounds.** A round is decided at its end. A request's rank in round `r` is
//!
//! ```text
//! rank = BLAKE3-keyed(key, LE64(r) ‖ p)
//! ```
//!
//! where `key` is the opening's secret of 32 bytes, `LE64(r)` the round's number
//! as eight bytes, least significant first, and `p` the 16 bytes of the smallest
//! pseudonym of the party, compared byte by byte. Ranks are compared as 32 bytes,
//! the first one weighing most; the lowest is decided first. Since `p` does not
//! depend on the order in which a party names itself, nor on how often it asks,
//! whoever has `k` identities has at most `k` ranks in a round. Equal ranks (the
//! same people asking twice) keep the order in which they came.
//!
//! **Draw.** Every entry has a receipt. Its rank is
//!
//! ```text
//! rank = BLAKE3-keyed(seed, receipt)
//! ```
//!
//! with the draw's seed of 32 bytes and the 10 bytes of the receipt. In the order
//! of rising ranks (equal ones: of rising receipts) each party gets the first of
//! its acceptable slots that still has room for all of it, or nothing: random
//! serial dictatorship. Nobody can do better by naming other choices than the
//! true ones, in their true order.
//!
//! What must hold before: no person stands in two entries of a draw. The claims
//! of the opening see to that when entries are made.
//!
//! The test vectors at the end of this file are the ones in `docs/fairness.md`.

use giliran_wire::{BookingId, Pseudonym};

/// A place in line: 32 bytes, the lowest first.
pub type Rank = [u8; 32];

/// The rank of a party in a round; see the module.
///
/// A party has at least one member. Of one without, the rank is that of the
/// round's number alone.
pub fn round_rank(key: &[u8; 32], round: u64, party: &[Pseudonym]) -> Rank {
    let mut message = [0; 24];
    message[..8].copy_from_slice(&round.to_le_bytes());
    let length = match party.iter().min() {
        Some(first) => {
            message[8..].copy_from_slice(first.as_bytes());
            24
        }
        None => 8,
    };
    *blake3::keyed_hash(key, &message[..length]).as_bytes()
}

/// The order of a round: indexes into `parties`, which stand in the order they
/// came, the first to be decided first.
pub fn round_order<'a>(
    key: &[u8; 32],
    round: u64,
    parties: impl IntoIterator<Item = &'a [Pseudonym]>,
) -> Vec<usize> {
    let ranks = parties.into_iter().map(|party| round_rank(key, round, party));
    in_order(ranks.enumerate().map(|(i, rank)| (rank, i)).collect())
}

/// The rank of an entry in a draw; see the module.
pub fn draw_rank(seed: &[u8; 32], receipt: &BookingId) -> Rank {
    *blake3::keyed_hash(seed, receipt.as_bytes()).as_bytes()
}

/// The order of a draw: indexes into `receipts`, the first to choose first.
pub fn draw_order(seed: &[u8; 32], receipts: &[BookingId]) -> Vec<usize> {
    let ranked = receipts.iter().enumerate();
    let mut ranked: Vec<_> =
        ranked.map(|(i, receipt)| (draw_rank(seed, receipt), *receipt, i)).collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(.., i)| i).collect()
}

fn in_order(mut ranked: Vec<(Rank, usize)>) -> Vec<usize> {
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, i)| i).collect()
}

/// A party's entry, as far as a draw looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrant<'a> {
    /// The receipt, from which the rank follows.
    pub receipt: BookingId,
    /// How many places it needs, all in one slot.
    pub places: u32,
    /// Acceptable slots, in order of preference.
    pub slots: &'a [u32],
}

/// A whole draw: the slot each entrant gets, in the order they were given; none:
/// not drawn. `free` holds every slot's free places, and is left with those that
/// nobody got. A slot beyond its end has no places.
pub fn draw(seed: &[u8; 32], entrants: &[Entrant<'_>], free: &mut [u32]) -> Vec<Option<u32>> {
    let receipts: Vec<BookingId> = entrants.iter().map(|entrant| entrant.receipt).collect();
    let mut got = vec![None; entrants.len()];
    for i in draw_order(seed, &receipts) {
        let Entrant { places, slots, .. } = entrants[i];
        let room = |slot: &&u32| free.get(**slot as usize).is_some_and(|free| *free >= places);
        if let Some(slot) = slots.iter().find(room) {
            free[*slot as usize] -= places;
            got[i] = Some(*slot);
        }
    }
    got
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(n: u8) -> Pseudonym {
        Pseudonym::from_bytes([n; 16])
    }

    fn receipt(n: u128) -> BookingId {
        BookingId::from_random(n)
    }

    /// Computed apart from this code, by a Python binding of BLAKE3; see
    /// `docs/fairness.md`.
    #[test]
    fn vectors() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(const_hex::encode(round_rank(&key, 7, &[person(0x11)])), ROUND_7_OF_11);
        assert_eq!(const_hex::encode(draw_rank(&key, &receipt(1))), DRAW_OF_RECEIPT_1);
        let receipts: Vec<BookingId> = (1..=6).map(receipt).collect();
        assert_eq!(draw_order(&key, &receipts), [0, 4, 5, 2, 3, 1]);
    }

    const ROUND_7_OF_11: &str = "ccd292723f57036783116caf9db955db3221de52fda5680179ce75501d51d606";
    const DRAW_OF_RECEIPT_1: &str =
        "14e103aebc729a748de67a74d31803c0d71546c1d799d0c250e91a09e5e89568";

    #[test]
    fn a_party_has_one_rank_however_it_names_itself() {
        let (a, b, c) = (person(1), person(2), person(3));
        let key = [9; 32];
        assert_eq!(round_rank(&key, 1, &[a, b, c]), round_rank(&key, 1, &[c, a, b]));
        assert_eq!(round_rank(&key, 1, &[c, a]), round_rank(&key, 1, &[a]));
        assert_ne!(round_rank(&key, 1, &[a]), round_rank(&key, 2, &[a]));
        assert_ne!(round_rank(&key, 1, &[a]), round_rank(&[8; 32], 1, &[a]));
        assert_ne!(round_rank(&key, 1, &[]), round_rank(&key, 2, &[]));
    }

    #[test]
    fn a_round_is_in_the_order_of_ranks_and_equal_ones_in_that_of_arrival() {
        let people: Vec<Pseudonym> = (0..50).map(person).collect();
        // Everybody asks twice.
        let parties = || people.iter().chain(&people).map(std::slice::from_ref);
        let order = round_order(&[1; 32], 3, parties());
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..100), "everybody once");
        for pair in order.chunks(2) {
            assert_eq!(pair[0] + 50, pair[1], "the second request right behind the first");
        }
        let rank = |i: usize| round_rank(&[1; 32], 3, &people[i % 50..=i % 50]);
        assert!(order.windows(2).all(|w| rank(w[0]) <= rank(w[1])));
        assert_ne!(order, round_order(&[1; 32], 4, parties()), "another round, another order");
    }

    #[test]
    fn a_draw_serves_in_line_all_of_a_party_or_none_of_it() {
        let seed = [3; 32];
        let line = draw_order(&seed, &[receipt(1), receipt(2), receipt(3)]);
        // Slot 0 has three places; the first in line takes two, the second wants
        // two and falls back on slot 1, the last takes the single one left.
        let mut entrants = [Entrant { receipt: receipt(0), places: 0, slots: &[] }; 3];
        let wants: [(u32, &[u32]); 3] = [(2, &[0]), (2, &[0, 1]), (1, &[0, 1])];
        for (i, (places, slots)) in line.iter().zip(wants) {
            entrants[*i] = Entrant { receipt: receipt(*i as u128 + 1), places, slots };
        }
        let mut free = [3, 2];
        let got = draw(&seed, &entrants, &mut free);
        assert_eq!((got[line[0]], got[line[1]], got[line[2]]), (Some(0), Some(1), Some(0)));
        assert_eq!(free, [0, 0]);
        let beyond = [Entrant { receipt: receipt(1), places: 1, slots: &[9, 1] }];
        assert_eq!(draw(&seed, &beyond, &mut [1, 0]), [None]);
    }
}

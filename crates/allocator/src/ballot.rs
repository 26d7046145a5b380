//! What of a draw is published, and how it is sealed: ballot numbers, leaves,
//! the root, the seed. Pure, and described for those who want to recompute it in
//! `docs/draw.md`.
//!
//! Every hash here is BLAKE3 over a tag of sixteen bytes and what the tag stands
//! for, so that no value of one kind can pass for one of another. Numbers are
//! little endian.
//!
//! A ballot number stands for an entry in public. It follows from the receipt,
//! whose 75 random bits nobody else knows, from the ledger and from the opening:
//! the same person has another one in every draw, and from the number nobody
//! finds the receipt.

use giliran_wire::ledger::OpeningRecord;
use giliran_wire::{BookingId, LedgerId};

/// A BLAKE3 hash, 32 bytes.
pub type Hash = [u8; 32];

const NUMBER: &[u8; 16] = b"giliran ballot 1";
const HOLDER: &[u8; 16] = b"giliran holder 1";
const LEAF: &[u8; 16] = b"giliran leaf   1";
const NODE: &[u8; 16] = b"giliran node   1";
const HEAD: &[u8; 16] = b"giliran head   1";
const ROOT: &[u8; 16] = b"giliran root   1";
const SEED: &[u8; 16] = b"giliran seed   1";

fn hash(tag: &[u8; 16], parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tag);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// An entry's number: the first ten bytes of a hash, the five highest bits zero.
pub fn number(ledger: LedgerId, opening: u32, receipt: &BookingId) -> BookingId {
    let hash = hash(NUMBER, &[&ledger.0, &opening.to_le_bytes(), receipt.as_bytes()]);
    let mut bits = [0; 16];
    bits[6..].copy_from_slice(&hash[..10]);
    BookingId::from_random(u128::from_be_bytes(bits))
}

/// Binds an entry to its request, so that one entry cannot be shown to two people
/// as theirs; salted by the receipt.
pub fn holder(receipt: &BookingId, request_id: &str) -> Hash {
    hash(HOLDER, &[receipt.as_bytes(), request_id.as_bytes()])
}

/// An entry as it stands in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// Names the entry in public; follows from its receipt ([`number`]).
    pub number: BookingId,
    /// Binds the entry to its request without naming it ([`holder`]).
    pub holder: Hash,
    /// How many places it wants, all in one slot.
    pub places: u16,
    /// The slots that fit, by preference.
    pub slots: Vec<u32>,
}

impl Ballot {
    /// The leaf of this ballot in the tree of all entries.
    pub fn leaf(&self) -> Hash {
        let slots: Vec<u8> = self.slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        let places = self.places.to_le_bytes();
        hash(LEAF, &[self.number.as_bytes(), &self.holder, &places, &slots])
    }
}

/// The tree over leaves in the order of their numbers: two neighbours make a node,
/// one that is left over goes up as it is. It grows leaf by leaf.
#[derive(Debug, Default)]
pub struct Tree {
    /// Tops of complete trees, each smaller than the one before: one for every bit
    /// of the number of leaves.
    tops: Vec<Hash>,
    leaves: u64,
}

impl Tree {
    /// Appends a leaf; leaves count in ledger order.
    pub fn push(&mut self, leaf: Hash) {
        let mut top = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            if let Some(left) = self.tops.pop() {
                top = hash(NODE, &[&left, &top]);
            }
        }
        self.tops.push(top);
        self.leaves += 1;
    }

    /// How many there are.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Its top. No leaf at all: zeros.
    pub fn top(&self) -> Hash {
        let tops = self.tops.iter().rev().copied();
        tops.reduce(|right, left| hash(NODE, &[&left, &right])).unwrap_or_default()
    }
}

/// What a draw is about: which opening, the public value that will be mixed in, by
/// name (none: empty), and its slots, with the places that each has.
pub fn head(
    ledger: LedgerId,
    opening: &OpeningRecord,
    beacon: Option<&str>,
    places: impl Iterator<Item = u32>,
) -> Hash {
    let mut about = Vec::new();
    about.extend_from_slice(&ledger.0);
    about.extend_from_slice(&opening.ordinal.to_le_bytes());
    text(&mut about, &opening.id);
    text(&mut about, beacon.unwrap_or_default());
    for (slot, places) in (0..).zip(places) {
        let Some((slot, office, session)) = opening.place(slot) else { continue };
        text(&mut about, &office.id);
        text(&mut about, &slot.date.to_string());
        text(&mut about, &session.id);
        about.extend_from_slice(&places.to_le_bytes());
    }
    hash(HEAD, &[&about])
}

/// A text with its length before it, so that no two lists of texts read alike.
fn text(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(&(text.len() as u32).to_le_bytes());
    into.extend_from_slice(text.as_bytes());
}

/// What is put on record once the entries are complete.
pub fn root(head: &Hash, entries: u64, tree: &Hash) -> Hash {
    hash(ROOT, &[head, &entries.to_le_bytes(), tree])
}

/// The seed that the draw goes by: fixed by the entries, the operator's seed and
/// the public value, if there is one.
pub fn seed(root: &Hash, operator: &Hash, beacon: Option<&[u8]>) -> Hash {
    hash(SEED, &[root, operator, beacon.unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_by_ledger_opening_and_receipt_and_hide_the_receipt() {
        let (ledger, receipt) = (LedgerId([1; 16]), BookingId::from_random(7));
        let all = [
            number(ledger, 0, &receipt),
            number(LedgerId([2; 16]), 0, &receipt),
            number(ledger, 1, &receipt),
            number(ledger, 0, &BookingId::from_random(8)),
            receipt,
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
    }

    fn tree(leaves: Vec<Hash>) -> Hash {
        let mut tree = Tree::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree.top()
    }

    #[test]
    fn a_tree_that_grows_is_the_one_built_level_by_level() {
        for leaves in 0..70 {
            let leaves: Vec<Hash> = (0..leaves).map(|n| [n; 32]).collect();
            let mut level = leaves.clone();
            while level.len() > 1 {
                let node = |pair: &[Hash]| match pair {
                    [left, right] => hash(NODE, &[left, right]),
                    rest => rest[0],
                };
                level = level.chunks(2).map(node).collect();
            }
            assert_eq!(tree(leaves), level.pop().unwrap_or_default());
        }
    }

    #[test]
    fn every_leaf_and_its_place_counts_for_the_root() {
        let leaves: Vec<Hash> = (0..7).map(|n| [n; 32]).collect();
        let whole = tree(leaves.clone());
        for i in 0..leaves.len() {
            let mut changed = leaves.clone();
            changed[i][31] ^= 1;
            assert_ne!(tree(changed), whole, "leaf {i} changed");
            let mut dropped = leaves.clone();
            dropped.remove(i);
            assert_ne!(tree(dropped), whole, "leaf {i} dropped");
            let mut moved = leaves.clone();
            moved.swap(i, (i + 1) % 7);
            assert_ne!(tree(moved), whole, "leaf {i} moved");
        }
        let mut added = leaves;
        added.push([6; 32]);
        assert_ne!(tree(added), whole);
        assert_eq!(tree(Vec::new()), [0; 32]);
        assert_eq!(tree(vec![[3; 32]]), [3; 32]);
    }

    #[test]
    fn a_leaf_binds_all_of_its_entry() {
        let ballot = Ballot {
            number: BookingId::from_random(1),
            holder: holder(&BookingId::from_random(9), "r1"),
            places: 2,
            slots: vec![0, 5],
        };
        let leaf = ballot.leaf();
        let others = [
            Ballot { number: BookingId::from_random(2), ..ballot.clone() },
            Ballot { holder: holder(&BookingId::from_random(9), "r2"), ..ballot.clone() },
            Ballot { places: 1, ..ballot.clone() },
            Ballot { slots: vec![5, 0], ..ballot.clone() },
            Ballot { slots: vec![0], ..ballot },
        ];
        assert!(others.iter().all(|other| other.leaf() != leaf));
    }

    #[test]
    fn the_seed_mixes_all_three() {
        let plain = seed(&[1; 32], &[2; 32], None);
        assert_ne!(plain, seed(&[3; 32], &[2; 32], None));
        assert_ne!(plain, seed(&[1; 32], &[3; 32], None));
        assert_ne!(plain, seed(&[1; 32], &[2; 32], Some(b"value")));
    }
}

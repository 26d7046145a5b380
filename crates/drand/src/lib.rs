//! Public values that a draw mixes in: rounds of a drand network.
//!
//! A network signs its rounds' numbers, one every few seconds, each at a time that
//! follows from its number. Nobody knows a signature before, and there is only one
//! that is right. Networks of the scheme `bls-unchained-g1-rfc9380` are read, as
//! `quicknet` is: signatures of 48 bytes on G1, public keys of 96 on G2.
//!
//! A round goes by a name that says all that is needed to check it:
//! `drand <public key, hexadecimal> <number>`.
//!
//! Non-goals: fetching a round.

use std::fmt;
use std::str::FromStr;

use blst::BLST_ERROR;
use blst::min_sig::{PublicKey, Signature};
use giliran_wire::{Timestamp, unhex};
use sha2::{Digest, Sha256};

const SUITE: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";

/// From a close to the time from which on a round's value may be the draw's, ms:
/// clocks may differ, and nobody may know it while entries can still be made.
const AFTER_CLOSE_MS: u64 = 60_000;
/// From a close to the latest time at which the value may come, ms.
const WITHIN_MS: u64 = 3_600_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub key: [u8; 96],
    /// When its first round was published.
    pub genesis: Timestamp,
    /// From one round to the next, ms.
    pub period_ms: u64,
}

const QUICKNET: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b\
    6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a\
    4bc09e76eae8991ef5ece45a";

impl Network {
    /// The League of Entropy's network of a round every three seconds.
    pub fn quicknet() -> Self {
        let key = const_hex::decode_to_array(QUICKNET).unwrap_or([0; 96]);
        Self { key, genesis: Timestamp::from_millis(1_692_803_367_000), period_ms: 3_000 }
    }

    /// True if its key can be one: otherwise no round's signature is ever right.
    pub fn has_a_key(&self) -> bool {
        PublicKey::key_validate(&self.key).is_ok()
    }

    /// The first round that is published at this time or later.
    pub fn first_from(&self, at: Timestamp) -> Round {
        let past = at.millis_since(self.genesis);
        Round { key: self.key, number: past.div_ceil(self.period_ms.max(1)) + 1 }
    }

    /// The round that the draw of an opening mixes in, by its close.
    pub fn of_draw(&self, closes_at: Timestamp) -> Round {
        self.first_from(closes_at.plus_millis(AFTER_CLOSE_MS))
    }

    /// When that round comes, where it is later than an hour after the close.
    pub fn is_late(&self, closes_at: Timestamp) -> Option<Timestamp> {
        let comes = self.published_at(&self.of_draw(closes_at))?;
        (comes > closes_at.plus_millis(WITHIN_MS)).then_some(comes)
    }

    /// When a round is published; none: it is another network's.
    pub fn published_at(&self, round: &Round) -> Option<Timestamp> {
        let rounds = round.number.checked_sub(1)?;
        let after = self.period_ms.checked_mul(rounds)?;
        (round.key == self.key).then(|| self.genesis.plus_millis(after))
    }
}

/// One round of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The network's public key.
    pub key: [u8; 96],
    /// Its number; a network counts its rounds from 1.
    pub number: u64,
}

impl Round {
    /// True if this is the round's signature.
    pub fn is_signed_by(&self, signature: &[u8]) -> bool {
        let message = Sha256::digest(self.number.to_be_bytes());
        let (Ok(key), Ok(signature)) =
            (PublicKey::key_validate(&self.key), Signature::sig_validate(signature, true))
        else {
            return false;
        };
        signature.verify(true, &message, SUITE, &[], &key, false) == BLST_ERROR::BLST_SUCCESS
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drand {} {}", const_hex::encode(self.key), self.number)
    }
}

/// A text that names no round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names no round of a drand network")]
pub struct NoRound;

impl FromStr for Round {
    type Err = NoRound;

    fn from_str(text: &str) -> Result<Self, NoRound> {
        let mut words = text.split(' ');
        let (Some("drand"), Some(key), Some(number), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NoRound);
        };
        let key = unhex(key).map_err(|_| NoRound)?;
        Ok(Self { key, number: number.parse().map_err(|_| NoRound)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A round of the real network.
    const NUMBER: u64 = 657_413;
    const SIGNATURE: &str = "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be\
        41076862b98fad56e91a6b85b89cd97b";

    #[test]
    fn a_round_of_quicknet_is_known_by_its_signature_alone() {
        let signature: [u8; 48] = const_hex::decode_to_array(SIGNATURE).unwrap();
        let round = Round { key: Network::quicknet().key, number: NUMBER };
        assert!(round.is_signed_by(&signature));
        let next = Round { key: round.key, number: NUMBER + 1 };
        assert!(!next.is_signed_by(&signature));
        let mut other = signature;
        other[47] ^= 1;
        assert!(!round.is_signed_by(&other));
        assert!(!round.is_signed_by(&signature[..47]));
        assert!(!Round { key: [0; 96], number: NUMBER }.is_signed_by(&signature));
    }

    #[test]
    fn the_named_round_is_the_first_from_a_time_on() {
        let network = Network::quicknet();
        let genesis = network.genesis;
        for (after_ms, number) in [(0, 1), (1, 2), (3_000, 2), (3_001, 3)] {
            let round = network.first_from(genesis.plus_millis(after_ms));
            assert_eq!(round.number, number);
            assert!(network.published_at(&round).unwrap() >= genesis.plus_millis(after_ms));
        }
        let round = network.first_from(genesis.plus_millis(10_000));
        assert_eq!(round.to_string().parse::<Round>(), Ok(round.clone()));
        assert_eq!(Network { key: [1; 96], ..network }.published_at(&round), None);
        assert!(network.has_a_key());
        // A minute after the close, and not hours.
        let close = genesis.plus_millis(1_000_000);
        assert_eq!(network.of_draw(close), network.first_from(close.plus_millis(60_000)));
        assert_eq!(network.is_late(close), None);
        let later = Network { genesis: close.plus_millis(7_200_000), ..network };
        assert_eq!(later.is_late(close), Some(later.genesis));
        assert!(!Network { key: [10; 96], ..network }.has_a_key());
        assert!(!Network { key: [0; 96], ..network }.has_a_key());
        assert_eq!("drand 00 1".parse::<Round>(), Err(NoRound));
    }
}

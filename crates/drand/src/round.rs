//! A round: its name, and its signature.

use std::fmt;
use std::str::FromStr;

use blst::BLST_ERROR;
use blst::min_sig::{PublicKey, Signature};
use giliran_wire::unhex;
use sha2::{Digest, Sha256};

const SUITE: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";

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
    use crate::network::Network;

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
}

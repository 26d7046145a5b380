//! The key that turns applicant ids into pseudonyms.

mod lanes;

use std::fmt;

use lanes::LANES;

use crate::{LedgerId, Pseudonym};

/// A deployment's secret: 32 bytes that turn raw applicant ids into
/// [`Pseudonym`]s.
///
/// National ids have few values; an unkeyed hash of one is reversed in minutes.
/// With the key destroyed, ledger and store hold nothing personal.
#[derive(Clone)]
pub struct ApplicantKey {
    applicant: [u8; 32],
    account: [u8; 32],
    order: [u8; 32],
    fingerprint: KeyFingerprint,
}

/// Makes the seeds of rounds and draws: every engine of a deployment makes the
/// same, and nobody else makes any before it is revealed.
#[derive(Clone)]
pub struct OrderKey([u8; 32]);

impl OrderKey {
    /// The key made of these secret bytes.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The seed of an opening: BLAKE3, keyed, over the ledger's id and the
    /// opening's ordinal as four bytes, least significant first.
    pub fn seed(&self, ledger: LedgerId, opening: u32) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&ledger.0).update(&opening.to_le_bytes());
        *hasher.finalize().as_bytes()
    }
}

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrderKey(..)")
    }
}

/// What the ledger's genesis remembers of the key: enough to refuse another
/// key, nothing that helps to find this one.
#[derive(Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct KeyFingerprint(pub [u8; 16]);

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

impl ApplicantKey {
    /// How many [applicants](Self::applicants) are hashed at once; what is left of them is
    /// hashed one by one.
    pub const AT_ONCE: usize = LANES;

    /// The key made of these secret bytes.
    ///
    /// Sub-keys for applicants, accounts and the fingerprint are derived with
    /// BLAKE3's `derive_key`, so that the same text as applicant and as account
    /// gives unrelated pseudonyms.
    pub fn new(secret: &[u8; 32]) -> Self {
        let fingerprint = blake3::derive_key("giliran v1 applicant key fingerprint", secret);
        let mut short = [0; 16];
        short.copy_from_slice(&fingerprint[..16]);
        Self {
            applicant: blake3::derive_key("giliran v1 applicant pseudonym", secret),
            account: blake3::derive_key("giliran v1 account pseudonym", secret),
            order: blake3::derive_key("giliran v1 order seed", secret),
            fingerprint: KeyFingerprint(short),
        }
    }

    /// What genesis records of this key.
    pub fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }

    /// What the seeds of rounds and draws are made with.
    pub const fn order(&self) -> OrderKey {
        OrderKey(self.order)
    }

    /// The pseudonym of an applicant id, taken verbatim.
    pub fn applicant(&self, id: &str) -> Pseudonym {
        pseudonym(&self.applicant, id)
    }

    /// The pseudonyms of some applicant ids, in their order: cheaper than
    /// [one by one](Self::applicant) where there are [`AT_ONCE`](Self::AT_ONCE) and more.
    pub fn applicants(&self, ids: &[&str], mut each: impl FnMut(Pseudonym)) {
        let (together, rest) = ids.as_chunks::<LANES>();
        for eight in together {
            match lanes::keyed_hashes(&self.applicant, eight) {
                Some(hashes) => hashes.into_iter().for_each(|hash| each(Pseudonym(hash))),
                None => eight.iter().for_each(|id| each(self.applicant(id))),
            }
        }
        rest.iter().for_each(|id| each(self.applicant(id)));
    }

    /// The pseudonym of an account.
    pub fn account(&self, id: &str) -> Pseudonym {
        pseudonym(&self.account, id)
    }
}

impl fmt::Debug for ApplicantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApplicantKey({})", self.fingerprint)
    }
}

fn pseudonym(key: &[u8; 32], id: &str) -> Pseudonym {
    let hash = blake3::keyed_hash(key, id.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hash.as_bytes()[..16]);
    Pseudonym(short)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever is hashed beside others has the same pseudonym alone: else one person
        /// would be two.
        #[test]
        fn ids_together_have_the_pseudonyms_that_each_has_alone(
            secret in any::<[u8; 32]>(),
            ids in prop::collection::vec("[ -~]{0,64}|\\PC{0,20}|[0-9]{16}|[0-9]{65,70}", 0..40),
        ) {
            let key = ApplicantKey::new(&secret);
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let mut together = Vec::new();
            key.applicants(&ids, |pseudonym| together.push(pseudonym));
            let alone: Vec<_> = ids.iter().map(|id| key.applicant(id)).collect();
            prop_assert_eq!(together, alone);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn ids_are_hashed_together_where_the_processor_can() {
        let can = std::arch::is_x86_feature_detected!("avx2");
        assert_eq!(lanes::keyed_hashes(&[0; 32], &["1"; LANES]).is_some(), can);
        let long = "1".repeat(65);
        let ids = [&long, "", "", "", "", "", "", ""];
        assert_eq!(lanes::keyed_hashes(&[0; 32], &ids), None, "two blocks");
    }

    #[test]
    fn pseudonyms_differ_by_key_kind_and_id() {
        let (a, b) = (ApplicantKey::new(&[1; 32]), ApplicantKey::new(&[2; 32]));
        let all = [a.applicant("x"), a.applicant("y"), a.account("x"), b.applicant("x")];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_eq!(format!("{:?}", a.applicant("x")), "Pseudonym(..)");
    }

    #[test]
    fn seeds_differ_by_key_ledger_and_opening() {
        let (a, b) = (ApplicantKey::new(&[1; 32]).order(), ApplicantKey::new(&[2; 32]).order());
        let (one, other) = (LedgerId([1; 16]), LedgerId([2; 16]));
        let all = [a.seed(one, 0), a.seed(one, 1), a.seed(other, 0), b.seed(one, 0)];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
        assert_eq!(a.seed(one, 0), ApplicantKey::new(&[1; 32]).order().seed(one, 0));
        assert_eq!(format!("{a:?}"), "OrderKey(..)");
    }
}

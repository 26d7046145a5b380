//! The token of a request: an address under which whoever asked finds out what became of it,
//! without their id in it.
//!
//! It holds opening, request id and first applicant, sealed under the gateways' key
//! (ChaCha20-Poly1305). So every gateway with that key can look the request up, none has to
//! keep anything, and nobody can guess or make one. The nonce is the HMAC of what is sealed:
//! the same request has the same token.

use std::borrow::Cow;
use std::fmt;

use giliran_wire::{NotHex, unhex};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

/// Longest token that is looked at, in characters: that of the longest fields.
const MAX_CHARACTERS: usize = 480;
/// What is sealed is bound to its use.
const AAD: &[u8] = b"giliran request token 1";

/// The gateways' key; all that stand side by side have the same.
pub struct TokenKey {
    seal: LessSafeKey,
    nonce: hmac::Key,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tracked<'a> {
    pub(crate) opening: Option<Cow<'a, str>>,
    pub(crate) request_id: Cow<'a, str>,
    pub(crate) applicant: Cow<'a, str>,
}

impl TokenKey {
    /// The key of 32 secret bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        // Each use has a key of its own.
        let master = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let (seal, nonce) = (hmac::sign(&master, b"seal"), hmac::sign(&master, b"nonce"));
        let Ok(seal) = UnboundKey::new(&CHACHA20_POLY1305, seal.as_ref()) else {
            unreachable!("a SHA-256 has the length of the key")
        };
        Self {
            seal: LessSafeKey::new(seal),
            nonce: hmac::Key::new(hmac::HMAC_SHA256, nonce.as_ref()),
        }
    }

    /// The key in a file: 64 hexadecimal digits, white space around them ignored.
    ///
    /// # Errors
    ///
    /// [`NotHex`] for any other text.
    pub fn from_hex(text: &str) -> Result<Self, NotHex> {
        unhex(text.trim()).map(Self::new)
    }

    pub(crate) fn token(&self, tracked: &Tracked<'_>) -> String {
        self.token_behind("", tracked)
    }

    /// The token, behind the rest of its address.
    pub(crate) fn token_behind(&self, address: &str, tracked: &Tracked<'_>) -> String {
        let mut token = Vec::with_capacity(MAX_CHARACTERS / 2);
        token.resize(NONCE_LEN, 0);
        tracked.write(&mut token);
        let (nonce, text) = token.split_at_mut(NONCE_LEN);
        nonce.copy_from_slice(&hmac::sign(&self.nonce, text).as_ref()[..NONCE_LEN]);
        let Ok(unique) = Nonce::try_assume_unique_for_key(nonce) else {
            unreachable!("it has the length of one")
        };
        let Ok(tag) = self.seal.seal_in_place_separate_tag(unique, Aad::from(AAD), text) else {
            unreachable!("so few bytes can be sealed")
        };
        token.extend_from_slice(tag.as_ref());
        [address, &const_hex::encode(&token)].concat()
    }

    /// What a token stands for; none: it is none of ours.
    pub(crate) fn read(&self, token: &str) -> Option<Tracked<'static>> {
        if token.len() > MAX_CHARACTERS {
            return None;
        }
        let mut bytes = const_hex::decode(token).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.seal.open_in_place(nonce, Aad::from(AAD), sealed).ok()?;
        Tracked::read(opened)
    }
}

impl Tracked<'_> {
    /// Each text behind its length, since it may hold anything.
    fn write(&self, out: &mut Vec<u8>) {
        for text in [self.opening.as_deref().unwrap_or_default(), &self.request_id, &self.applicant]
        {
            // The wire's bounds are far below a byte's.
            out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Option<Tracked<'static>> {
        let mut rest = bytes;
        let mut text = || {
            let (length, behind) = rest.split_first()?;
            let (text, behind) = behind.split_at_checked(usize::from(*length))?;
            rest = behind;
            Some(Cow::from(std::str::from_utf8(text).ok()?.to_owned()))
        };
        let (opening, request_id, applicant) = (text()?, text()?, text()?);
        let opening = (!opening.is_empty()).then_some(opening);
        Some(Tracked { opening, request_id, applicant })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn tracked(applicant: &str) -> Tracked<'_> {
        Tracked {
            opening: Some("2026-W49".into()),
            request_id: "a3f1".into(),
            applicant: applicant.into(),
        }
    }

    #[test]
    fn a_token_is_read_by_every_gateway_with_the_key_and_by_no_other() {
        let hex = "5a".repeat(32);
        let (one, other) = (TokenKey::new([0x5a; 32]), TokenKey::from_hex(&hex).unwrap());
        let token = one.token(&tracked("2171012345678901"));
        assert_eq!(token, other.token(&tracked("2171012345678901")));
        assert_eq!(other.read(&token), Some(tracked("2171012345678901")));
        assert_eq!(TokenKey::new([1; 32]).read(&token), None);
        let none = Tracked { opening: None, ..tracked("x") };
        assert_eq!(one.read(&one.token(&none)), Some(none));
    }

    #[test]
    fn a_token_shows_nobody_and_cannot_be_changed() {
        let key = TokenKey::new([7; 32]);
        let token = key.token(&tracked("2171012345678901"));
        let shown = const_hex::decode(&token).unwrap();
        assert!(!shown.windows(4).any(|four| four == b"2171"));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(key.read(std::str::from_utf8(&changed).unwrap()), None, "at {at}");
        }
        for wrong in ["", "00", "zz", &"00".repeat(5_000), &token[..token.len() - 2]] {
            assert_eq!(key.read(wrong), None);
        }
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn the_longest_fields_have_a_token_too() {
        let key = TokenKey::new([7; 32]);
        let longest = Tracked {
            opening: Some("o".repeat(40).into()),
            request_id: "r".repeat(64).into(),
            applicant: "a".repeat(64).into(),
        };
        let token = key.token(&longest);
        assert!(token.len() <= MAX_CHARACTERS, "{}", token.len());
        assert_eq!(key.read(&token), Some(longest));
    }
}

//! Identities: bookings, ledgers, writers, people under pseudonym.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Timestamp;

/// A place in the ledger: the writer's epoch and the block's stream sequence.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    bincode::Encode,
    bincode::Decode,
)]
pub struct Position {
    /// Counts take-overs, from 1.
    pub epoch: u64,
    /// The stream sequence of the last block taken into account.
    pub seq: u64,
}

/// Since when something told apart from the ledger is so: a position, and the ledger's
/// time there. JSON alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// See [`Position::epoch`].
    pub epoch: u64,
    /// See [`Position::seq`].
    pub seq: u64,
    /// Time of the block at that position.
    pub time: Timestamp,
}

impl AsOf {
    /// This position, whose block is of this time.
    pub const fn new(position: Position, time: Timestamp) -> Self {
        Self { epoch: position.epoch, seq: position.seq, time }
    }

    /// The position without its time.
    pub const fn position(self) -> Position {
        Position { epoch: self.epoch, seq: self.seq }
    }
}

/// A person (or an account) under a keyed 128-bit pseudonym.
///
/// Neither `Debug` nor `Display` shows it, so that it cannot end in a log by
/// accident; [`to_hex`](Self::to_hex) is for the store and says so in its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct Pseudonym(pub(crate) [u8; 16]);

impl Pseudonym {
    /// The pseudonym with these bytes, as read from ledger or store.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes; uniformly distributed.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 32 lower-case hexadecimal digits, the form it has in the store.
    pub fn to_hex(&self) -> String {
        const_hex::encode(self.0)
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonym(..)")
    }
}

/// A short digest of a content: same content, same digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Of these bytes: the first 16 of their BLAKE3 hash.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = [0; 16];
        digest.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        Self(digest)
    }
}

/// BLAKE3 of a whole block: its checksum, and the link of the next one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub struct BlockHash(pub [u8; 32]);

impl BlockHash {
    /// What genesis names as its predecessor.
    pub const ZERO: Self = Self([0; 32]);
}

/// Identifies one ledger for good; random, made by genesis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub struct LedgerId(pub [u8; 16]);

/// Identifies one start of one engine; random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub struct WriterNonce(pub [u8; 16]);

macro_rules! shown_as_hex {
    ($($name:ident($length:literal)),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&const_hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = NotHex;
            fn from_str(s: &str) -> Result<Self, NotHex> {
                unhex(s).map(Self)
            }
        }
    )*};
}
shown_as_hex!(BlockHash(32), Digest(16), LedgerId(16), WriterNonce(16));

/// A text that is not the hexadecimal form of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not hexadecimal, or of the wrong length")]
pub struct NotHex;

/// The bytes of a text of two hexadecimal digits for each, with no prefix and nothing
/// around them.
///
/// # Errors
///
/// [`NotHex`] for any other text.
pub fn unhex<const N: usize>(s: &str) -> Result<[u8; N], NotHex> {
    // The library would pass over a prefix `0x`.
    let decoded = (s.len() == 2 * N).then(|| const_hex::decode_to_array(s).ok()).flatten();
    decoded.ok_or(NotHex)
}

/// A booking's id: 75 unguessable bits.
///
/// Shown as fifteen Crockford base32 symbols and a check symbol in groups of
/// four, `7K3F-9QXM-2B4C-PW8…`. The check symbol is a weighted sum over
/// GF(32); unlike Crockford's own modulo 37 it stays inside the 32 symbols, and
/// it finds every single wrong symbol and every swap of two neighbours.
/// Parsing ignores case and hyphens, and reads `O` as 0, `I` and `L` as 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode)]
pub struct BookingId([u8; 10]);

impl<C> bincode::Decode<C> for BookingId {
    fn decode<D: bincode::de::Decoder<Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        let id = <[u8; 10]>::decode(decoder)?;
        // Else two ids would share one text.
        if id[0] >> 3 != 0 {
            return Err(bincode::error::DecodeError::Other("a booking id has 75 bits"));
        }
        Ok(Self(id))
    }
}
bincode::impl_borrow_decode!(BookingId);

const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: usize = 15;

impl BookingId {
    /// The id made of the low 75 bits of `random`.
    pub const fn from_random(random: u128) -> Self {
        let bits = (random & ((1 << 75) - 1)).to_be_bytes();
        let mut id = [0; 10];
        let mut i = 0;
        while i < 10 {
            id[i] = bits[6 + i];
            i += 1;
        }
        Self(id)
    }

    /// Its ten bytes; the top five bits are zero.
    pub const fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }

    fn bits(self) -> u128 {
        self.0.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte))
    }

    /// The text form, without allocation: 19 ASCII characters.
    pub fn to_text(self) -> BookingIdText {
        let bits = self.bits();
        let mut text = [b'-'; 19];
        let mut check = 0;
        for i in 0..DIGITS {
            let digit = (bits >> (5 * (DIGITS - 1 - i))) as u8 & 31;
            check = gf32_double(check) ^ digit;
            text[i + i / 4] = SYMBOLS[usize::from(digit)];
        }
        text[18] = SYMBOLS[usize::from(gf32_double(check))];
        BookingIdText(text)
    }
}

/// The text form of a [`BookingId`].
#[derive(Clone, Copy)]
pub struct BookingIdText([u8; 19]);

impl BookingIdText {
    /// The id as its printable text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("every symbol is ASCII")
    }
}

/// Multiplies by x in GF(2⁵) modulo x⁵ + x² + 1, a primitive polynomial.
const fn gf32_double(a: u8) -> u8 {
    let doubled = a << 1;
    if doubled & 32 == 0 { doubled } else { doubled ^ 0b10_0101 }
}

/// A text that is no booking id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a booking id: sixteen letters and digits, the last a check symbol")]
pub struct NotABookingId;

impl FromStr for BookingId {
    type Err = NotABookingId;

    fn from_str(s: &str) -> Result<Self, NotABookingId> {
        let (mut bits, mut check, mut count) = (0u128, 0u8, 0);
        for c in s.bytes().filter(|c| *c != b'-') {
            let symbol = match c.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let digit = SYMBOLS.iter().position(|s| *s == symbol).ok_or(NotABookingId)? as u8;
            check = gf32_double(check);
            if count < DIGITS {
                check ^= digit;
                bits = bits << 5 | u128::from(digit);
            } else if count > DIGITS || digit != check {
                return Err(NotABookingId);
            }
            count += 1;
        }
        if count == DIGITS + 1 { Ok(Self::from_random(bits)) } else { Err(NotABookingId) }
    }
}

impl fmt::Display for BookingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_text().as_str())
    }
}

impl fmt::Debug for BookingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BookingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.to_text().as_str())
    }
}

impl<'de> Deserialize<'de> for BookingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = BookingId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a booking id")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<BookingId, E> {
                v.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_booking_id_survives_its_text() {
        for random in [0, 1, (1 << 75) - 1, 0x0123_4567_89ab_cdef_0123, u128::MAX] {
            let id = BookingId::from_random(random);
            let text = id.to_string();
            assert_eq!(text.len(), 19);
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(text.to_lowercase().replace('-', "").parse(), Ok(id));
        }
    }

    #[test]
    fn a_wrong_or_swapped_symbol_is_noticed() {
        let text: Vec<u8> = BookingId::from_random(0x7357_1234_9876_fedc).to_string().into_bytes();
        let parse = |t: &[u8]| std::str::from_utf8(t).unwrap().parse::<BookingId>();
        for i in (0..19).filter(|i| text[*i] != b'-') {
            for symbol in SYMBOLS.iter().filter(|s| **s != text[i]) {
                let mut wrong = text.clone();
                wrong[i] = *symbol;
                assert_eq!(parse(&wrong), Err(NotABookingId));
            }
        }
        let flat: Vec<u8> = text.into_iter().filter(|c| *c != b'-').collect();
        for i in (0..15).filter(|i| flat[*i] != flat[i + 1]) {
            let mut swapped = flat.clone();
            swapped.swap(i, i + 1);
            assert_eq!(parse(&swapped), Err(NotABookingId), "at {i}");
        }
    }

    #[test]
    fn foreign_text_is_no_booking_id() {
        for bad in ["", "7K3F", "7K3F-9QXM-2B4C-PW8U", "é", "0000-0000-0000-0000-0"] {
            assert_eq!(bad.parse::<BookingId>(), Err(NotABookingId), "{bad}");
        }
    }
}

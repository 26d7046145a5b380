//! The binary encoding, in one place.
//!
//! bincode 2.0.1 in its `legacy` configuration: little endian, integers at
//! their full width, lengths as `u64`, an enum's variant as `u32`, `Option` as
//! one byte. That is byte-identical to what `wincode` writes, so this module is
//! all that changes should the crate be swapped; `docs/internals/adr` has the reasons and
//! `tests/` the golden bytes.

use bincode::config::{self, Config};
use bincode::de::read::{BorrowReader, Reader};
use bincode::de::{BorrowDecoder, DecoderImpl};
use bincode::error::DecodeError as Cause;
use bincode::{BorrowDecode, Encode};

/// The most bytes a decoder may account for, lengths of containers in memory
/// included. Above any legal message (the broker's default payload limit is
/// 1 MiB), far below what would hurt.
pub const MAX_DECODED_BYTES: usize = 16 * 1024 * 1024;

/// Why bytes are not the value they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes do not follow the format.
    #[error("not in the binary format at byte {at}: {}", in_words(.cause))]
    Format {
        /// How many bytes of the value had been read.
        at: usize,
        /// What does not fit there.
        #[source]
        cause: Cause,
    },
    /// The value is complete, but bytes are left over.
    #[error("bytes are left over: {trailing} follow the end of the value")]
    Trailing {
        /// Bytes left behind the value.
        trailing: usize,
    },
}

fn in_words(cause: &Cause) -> String {
    match cause {
        Cause::UnexpectedEnd { .. } => "it ends too early".to_owned(),
        Cause::LimitExceeded | Cause::OutsideUsizeRange(_) => {
            "a length far beyond any legal message".to_owned()
        }
        Cause::UnexpectedVariant { found, .. } => format!("there is no variant {found}"),
        Cause::InvalidBooleanValue(found) => format!("0 or 1 expected, {found} found"),
        Cause::Utf8 { .. } => "text that is not UTF-8".to_owned(),
        Cause::Other(what) => (*what).to_owned(),
        other => other.to_string(),
    }
}

/// The same for what was written here and is read back, pieces of a snapshot: they
/// hold what many messages have left behind.
const MAX_KEPT_BYTES: usize = 512 * 1024 * 1024;

/// Appends the encoding of `value` to `out`.
pub fn encode_into<T: Encode>(value: &T, out: &mut Vec<u8>) {
    struct Appending<'a>(&'a mut Vec<u8>);
    impl bincode::enc::write::Writer for Appending<'_> {
        #[inline(always)]
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    bincode::encode_into_writer(value, Appending(out), config::legacy())
        .expect("encoding into memory has no way to fail");
}

/// How many bytes [`encode_into`] appends for `value`; nothing is written.
pub fn encoded_len<T: Encode>(value: &T) -> usize {
    struct Counting<'a>(&'a mut usize);
    impl bincode::enc::write::Writer for Counting<'_> {
        #[inline(always)]
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            *self.0 += bytes.len();
            Ok(())
        }
    }
    let mut length = 0;
    bincode::encode_into_writer(value, Counting(&mut length), config::legacy())
        .expect("counting has no way to fail");
    length
}

/// Decodes one value that spans all of `bytes`, borrowing from it.
///
/// # Errors
///
/// [`DecodeError`] for bytes that do not follow the format, exceed
/// [`MAX_DECODED_BYTES`], or go on after the value.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    decode_within(bytes, config::legacy().with_limit::<MAX_DECODED_BYTES>())
}

/// Decodes one value that was written here, whatever its size; else as [`decode`].
///
/// # Errors
///
/// As [`decode`].
pub(crate) fn decode_kept<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    decode_within(bytes, config::legacy().with_limit::<MAX_KEPT_BYTES>())
}

/// Decodes a vector that spans all of `bytes`, borrowing from it, and hands each value to
/// `each` as it is read: no vector of them is made. What was handed over before an error is
/// not to be used.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_each<'a, T: BorrowDecode<'a, ()>>(
    bytes: &'a [u8],
    mut each: impl FnMut(T),
) -> Result<(), DecodeError> {
    decode_by(bytes, config::legacy().with_limit::<MAX_DECODED_BYTES>(), |decoder| {
        for _ in 0..u64::borrow_decode(decoder)? {
            each(T::borrow_decode(decoder)?);
        }
        Ok(())
    })
}

/// The same for what was written here, whatever its size, up to the first value that `each`
/// refuses.
///
/// # Errors
///
/// As [`decode`], and the first that `each` gives.
pub(crate) fn decode_each_kept<'a, T: BorrowDecode<'a, ()>, E: From<DecodeError>>(
    bytes: &'a [u8],
    mut each: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let mut refused = None;
    decode_by(bytes, config::legacy().with_limit::<MAX_KEPT_BYTES>(), |decoder| {
        for _ in 0..u64::borrow_decode(decoder)? {
            if let Err(why) = each(T::borrow_decode(decoder)?) {
                refused = Some(why);
                return Err(Cause::Other("refused"));
            }
        }
        Ok(())
    })
    .map_err(|error| refused.take().unwrap_or_else(|| error.into()))
}

fn decode_within<'a, T: BorrowDecode<'a, ()>>(
    bytes: &'a [u8],
    config: impl Config,
) -> Result<T, DecodeError> {
    decode_by(bytes, config, |decoder| T::borrow_decode(decoder))
}

fn decode_by<'a, T, C: Config>(
    bytes: &'a [u8],
    config: C,
    decode: impl FnOnce(&mut DecoderImpl<Rest<'a>, C, ()>) -> Result<T, Cause>,
) -> Result<T, DecodeError> {
    let mut decoder = DecoderImpl::new(Rest(bytes), config, ());
    let value = decode(&mut decoder);
    let rest = decoder.borrow_reader().0.len();
    match value {
        Err(cause) => Err(DecodeError::Format { at: bytes.len() - rest, cause }),
        Ok(_) if rest > 0 => Err(DecodeError::Trailing { trailing: rest }),
        Ok(value) => Ok(value),
    }
}

/// What is still to be read. bincode's own slice reader does the same, but does
/// not tell how far it came.
struct Rest<'a>(&'a [u8]);

impl Reader for Rest<'_> {
    #[inline(always)]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Cause> {
        bytes.copy_from_slice(self.take_bytes(bytes.len())?);
        Ok(())
    }

    #[inline]
    fn peek_read(&mut self, n: usize) -> Option<&[u8]> {
        self.0.get(..n)
    }

    #[inline]
    fn consume(&mut self, n: usize) {
        self.0 = self.0.get(n..).unwrap_or_default();
    }
}

impl<'a> BorrowReader<'a> for Rest<'a> {
    #[inline(always)]
    fn take_bytes(&mut self, length: usize) -> Result<&'a [u8], Cause> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| Cause::UnexpectedEnd { additional: length - self.0.len() })?;
        self.0 = rest;
        Ok(taken)
    }
}

//! The binary encoding, in one place.
//!
//! bincode 2.0.1 in its `legacy` configuration: little endian, integers at
//! their full width, lengths as `u64`, an enum's variant as `u32`, `Option` as
//! one byte. That is byte-identical to what `wincode` writes, so this module is
//! all that changes should the crate be swapped; `docs/adr` has the reasons and
//! `tests/` the golden bytes.

use bincode::config::{self, Config};
use bincode::{BorrowDecode, Encode};

/// The most bytes a decoder may account for, lengths of containers in memory
/// included. Above any legal message (the broker's default payload limit is
/// 1 MiB), far below what would hurt.
pub const MAX_DECODED_BYTES: usize = 16 * 1024 * 1024;

/// Why bytes are not the value they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes do not follow the format.
    #[error("not in the binary format: {0}")]
    Format(#[from] bincode::error::DecodeError),
    /// The value is complete, but bytes are left over.
    #[error("{trailing} bytes follow the end of the value")]
    Trailing {
        /// How many.
        trailing: usize,
    },
}

fn configuration() -> impl Config {
    config::legacy().with_limit::<MAX_DECODED_BYTES>()
}

/// Appends the encoding of `value` to `out`.
pub fn encode_into<T: Encode>(value: &T, out: &mut Vec<u8>) {
    struct Appending<'a>(&'a mut Vec<u8>);
    impl bincode::enc::write::Writer for Appending<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    bincode::encode_into_writer(value, Appending(out), config::legacy())
        .expect("encoding into memory has no way to fail");
}

/// Decodes one value that spans all of `bytes`, borrowing from it.
///
/// # Errors
///
/// [`DecodeError`] for bytes that do not follow the format, exceed
/// [`MAX_DECODED_BYTES`], or go on after the value.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let (value, read) = bincode::borrow_decode_from_slice(bytes, configuration())?;
    match bytes.len() - read {
        0 => Ok(value),
        trailing => Err(DecodeError::Trailing { trailing }),
    }
}

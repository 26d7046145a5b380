//! The statement for the public: what happened to the places of an opening, block
//! by block, without any of those who asked in it.
//!
//! Text, one line after the other, each `HASH JSON`: HASH is the SHA-256 of the
//! previous line's hash, a space and the JSON, so that no line can be changed, left
//! out or moved without the last hash, the seal, becoming another. The lines name
//! the ledger's blocks by their hashes, so that the ledger cannot be rewritten
//! behind a published statement either. `docs/statement.md` is the format, word for
//! word.

mod account;
mod check;
mod lines;
mod places;

pub use account::Account;
pub use check::{Checked, Tampered, check};
pub use lines::{
    BlockLine, ChangeLine, Closing, End, Head, Lines, SOLD_OUT, SlotLine, Totals, VERSION, ZERO,
    hashed,
};
pub use places::{Cause, Change, Offered, Places, Room, SETTLES_MS};

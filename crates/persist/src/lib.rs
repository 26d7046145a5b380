//! The ledger's bookings in a database: SQLite or PostgreSQL.
//!
//! The way of a block: [`Persist`] reads it from the ledger, [`Rows`] turns its
//! entries into rows, [`Store`] writes rows and ledger position in one
//! transaction, and only then is the block acknowledged to the broker.
//!
//! What always holds: the store is the fold of the ledger up to the position
//! that stands in it, whatever was killed when; a block is never skipped and
//! never applied twice; a second copy waits for the first to end.
//!
//! Deliberately not here: decisions. A row that the database's own constraints
//! refuse is damage, and stops.

mod error;
mod follow;
mod rows;
mod store;

pub use error::{Mismatch, Misplaced, PersistError};
pub use follow::Persist;
pub use rows::{Rows, Stored, StoredAction, hash};
pub use store::{Store, StoreError, StoreUrl};

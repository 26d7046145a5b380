//! SQLite, in a file.
//!
//! Write-ahead log with `synchronous = NORMAL`: after a power failure the file is
//! whole, though perhaps some blocks behind; its position says so, and they are
//! read from the ledger again.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use giliran_nats::private;
use giliran_wire::TimeText;
use giliran_wire::ledger::{Chain, OpeningRecord};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, params};

use super::{
    PositionRow, SCHEMA, StoreError, actions, decode_record, encode_record, expect_schema, new_id,
    position_fields,
};
use crate::rows::{
    Adjusted, Batch, BookingRow, EndedSeats, EntryRow, Run, Stored, StoredAction, Update,
};

/// How long a reader or writer waits for another.
const BUSY_FOR: Duration = Duration::from_secs(10);
/// Most memory for pages of the file, in KiB: the indexes by id and by applicant, which
/// are written all over, stay in it up to some millions of bookings.
const CACHE_KIB: i64 = 256 * 1024;
/// Pages in the write-ahead log from which a commit carries it over into the file: many,
/// since a page that is written all over is then carried over once for many bookings.
const CHECKPOINT_PAGES: i64 = 65_536;
/// Statements that stay prepared.
const STATEMENTS: usize = 32;

pub(super) struct Sqlite {
    /// Moves to a blocking thread and back with each call.
    connection: Option<Connection>,
    /// The store's own; empty where it was opened to be read.
    id: String,
    path: PathBuf,
    /// Which file was opened; none: the system does not tell.
    file: Option<FileId>,
    /// Held while this process writes; released by the system however it ends.
    _lock: Option<File>,
    /// What of the write-ahead log is not in the file yet.
    log: Log,
}

/// How the write-ahead log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// All of it is in the file.
    CarriedOver,
    /// Something was written since somebody looked.
    Growing,
    /// Nothing was.
    Idle,
}

/// What tells a file from another one that lies at the same path later.
type FileId = (u64, u64);

#[cfg(unix)]
fn file_id(path: &Path) -> std::io::Result<Option<FileId>> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path)?;
    Ok(Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn file_id(path: &Path) -> std::io::Result<Option<FileId>> {
    std::fs::metadata(path).map(|_| None)
}

impl Sqlite {
    pub(super) async fn open(path: PathBuf) -> Result<Option<Self>, StoreError> {
        blocking(move || {
            let at = |error: &dyn std::fmt::Display| unavailable(&path, error);
            if path.is_dir() {
                let folder = path.display();
                return Err(StoreError::Unsuitable(format!(
                    "{folder} is a folder: name a file in it, as in sqlite:{}",
                    path.join("bookings.sqlite").display()
                )));
            }
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).map_err(|error| at(&error))?;
            }
            let mut lock = path.clone().into_os_string();
            lock.push(".lock");
            let lock = File::create(lock).map_err(|error| at(&error))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(at(&error)),
            }
            let connection = Connection::open(&path).map_err(|error| at(&error))?;
            let made = connection
                .busy_timeout(BUSY_FOR)
                .and_then(|()| connection.pragma_update(None, "journal_mode", "WAL"))
                .and_then(|()| connection.pragma_update(None, "synchronous", "NORMAL"))
                .and_then(|()| connection.pragma_update(None, "cache_size", -CACHE_KIB))
                .and_then(|()| {
                    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
                });
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            made.map_err(failed).and_then(|()| make_tables(&connection)).map_err(|error| {
                match error {
                    StoreError::Unavailable(why) => at(&why),
                    StoreError::Unsuitable(why) => {
                        StoreError::Unsuitable(format!("{}: {why}", path.display()))
                    }
                    other => other,
                }
            })?;
            // Not before it is known to be a store, which is tried again and again.
            private::warn_if_open(&path);
            let id = identity(&connection).map_err(failed)?;
            let file = file_id(&path).map_err(|error| at(&error))?;
            let (connection, log) = (Some(connection), Log::Growing);
            Ok(Some(Self { connection, id, path, file, _lock: Some(lock), log }))
        })
        .await
    }

    pub(super) async fn open_to_read(path: PathBuf) -> Result<Self, StoreError> {
        blocking(move || {
            let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)
                .and_then(|connection| {
                    connection.busy_timeout(BUSY_FOR)?;
                    connection.pragma_update(None, "query_only", true)?;
                    Ok(connection)
                })
                .map_err(|error| unavailable(&path, &error))?;
            let file = file_id(&path).map_err(|error| unavailable(&path, &error))?;
            let id = String::new();
            let (connection, log) = (Some(connection), Log::CarriedOver);
            Ok(Self { connection, id, path, file, _lock: None, log })
        })
        .await
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// A file that was deleted goes on taking what is written, and nobody sees it. Where
    /// nothing was written since the last look, what is in the log goes into the file.
    pub(super) async fn look(&mut self) -> Result<(), StoreError> {
        self.log = match self.log {
            Log::Growing => Log::Idle,
            Log::Idle => {
                self.with(|connection| carry_over(connection).map_err(failed)).await?;
                Log::CarriedOver
            }
            Log::CarriedOver => Log::CarriedOver,
        };
        let (path, file) = (self.path.clone(), self.file);
        blocking(move || match file_id(&path) {
            Ok(found) if found == file => Ok(()),
            Ok(_) => Err(unavailable(&path, &"another file lies there than was opened")),
            Err(error) => Err(unavailable(&path, &format!("the file is gone: {error}"))),
        })
        .await
    }

    pub(super) async fn position(
        &mut self,
    ) -> Result<Option<(Chain, Vec<OpeningRecord>)>, StoreError> {
        self.with(|connection| {
            let transaction = connection.transaction().map_err(failed)?;
            let Some(chain) = position(&transaction)? else { return Ok(None) };
            let mut select = transaction
                .prepare("SELECT record FROM openings ORDER BY ordinal")
                .map_err(failed)?;
            let records = select
                .query_map([], |row| row.get::<_, Vec<u8>>(0))
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(failed)?;
            let openings = records.iter().map(|record| decode_record(record));
            Ok(Some((chain, openings.collect::<Result<_, _>>()?)))
        })
        .await
    }

    pub(super) async fn bookings(&mut self) -> Result<(Chain, Vec<Stored>), StoreError> {
        self.with(|connection| {
            let transaction = connection.transaction().map_err(failed)?;
            let chain = position(&transaction)?.unwrap_or_default();
            let mut bookings = read_bookings(&transaction).map_err(failed)?;
            read_seats(&transaction, &mut bookings).map_err(failed)?;
            Ok((chain, bookings))
        })
        .await
    }

    pub(super) async fn actions(&mut self) -> Result<Vec<StoredAction>, StoreError> {
        self.with(|connection| actions::of_sqlite(connection).map_err(failed)).await
    }

    pub(super) async fn apply(
        &mut self,
        from: u64,
        to: Chain,
        batch: Arc<Batch>,
    ) -> Result<(), StoreError> {
        self.log = Log::Growing;
        self.with(move |connection| {
            let transaction = connection.transaction().map_err(failed)?;
            let stands = stands(&transaction).map_err(failed)?;
            if stands != from {
                return Err(StoreError::Contradiction(format!(
                    "its position is {stands}, not {from}: somebody else writes this file"
                )));
            }
            write(&transaction, &batch).map_err(failed)?;
            write_position(&transaction, &to).map_err(failed)?;
            transaction.commit().map_err(failed)
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(mut connection) = self.connection.take() else {
            return Err(StoreError::Unavailable("the connection was lost".to_owned()));
        };
        let (connection, done) = blocking(move || {
            let done = work(&mut connection);
            Ok((connection, done))
        })
        .await?;
        self.connection = Some(connection);
        done
    }
}

/// Makes the tables, unless they are there, or are of another version.
fn make_tables(connection: &Connection) -> Result<(), StoreError> {
    if connection.table_exists(None, "ledger_position").map_err(failed)? {
        schema(connection)?.map_or(Ok(()), expect_schema)?;
    }
    connection.execute_batch(include_str!("sqlite.sql")).map_err(failed)
}

/// Carries the write-ahead log over into the file, as far as no reader needs it.
fn carry_over(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// The store's own id; made where it has none yet.
fn identity(connection: &Connection) -> rusqlite::Result<String> {
    connection.execute("INSERT OR IGNORE INTO store_identity VALUES (1, ?)", [new_id()])?;
    connection.query_row("SELECT id FROM store_identity", [], |row| row.get(0))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
}

fn unavailable(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => StoreError::Contradiction(error.to_string()),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Unsuitable(error.to_string())
        }
        Some(ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
            StoreError::Unstorable(error.to_string())
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// The version of its tables; none: nothing was ever written.
fn schema(connection: &Connection) -> Result<Option<i64>, StoreError> {
    let schema = "SELECT schema FROM ledger_position";
    connection.query_row(schema, [], |row| row.get(0)).optional().map_err(failed)
}

/// The sequence it stands at; 0: nothing was ever written.
fn stands(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let mut select = transaction.prepare_cached("SELECT seq FROM ledger_position")?;
    let seq = select.query_row([], |row| row.get::<_, i64>(0)).optional()?;
    Ok(seq.unwrap_or(0) as u64)
}

fn position(transaction: &Transaction<'_>) -> Result<Option<Chain>, StoreError> {
    let Some(schema) = schema(transaction)? else { return Ok(None) };
    expect_schema(schema)?;
    let row = |row: &Row<'_>| {
        Ok(PositionRow {
            ledger: row.get(0)?,
            generation: row.get(1)?,
            epoch: row.get(2)?,
            seq: row.get(3)?,
            valid_seq: row.get(4)?,
            number: row.get(5)?,
            hash: row.get(6)?,
            writer: row.get(7)?,
            time_ms: row.get(8)?,
        })
    };
    let position = "SELECT ledger_id, generation, epoch, seq, valid_seq, number, hash, writer, \
                    time_ms FROM ledger_position";
    transaction.query_row(position, [], row).map_err(failed)?.chain().map(Some)
}

fn write_position(transaction: &Transaction<'_>, chain: &Chain) -> rusqlite::Result<()> {
    let Some((ledger, hash, writer)) = position_fields(chain) else { return Ok(()) };
    let mut insert = transaction.prepare_cached(
        "INSERT INTO ledger_position VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (one) DO UPDATE SET generation = excluded.generation, \
         epoch = excluded.epoch, seq = excluded.seq, valid_seq = excluded.valid_seq, \
         number = excluded.number, \
         hash = excluded.hash, writer = excluded.writer, time_ms = excluded.time_ms",
    )?;
    insert.execute(params![
        SCHEMA,
        ledger,
        chain.generation,
        chain.epoch as i64,
        chain.seq as i64,
        chain.valid_seq as i64,
        chain.number as i64,
        hash,
        writer,
        chain.time.as_millis()
    ])?;
    Ok(())
}

fn write(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    for record in &batch.openings {
        transaction.execute(
            "INSERT INTO openings VALUES (?, ?, ?, ?, ?, 'scheduled', ?)",
            params![
                record.ordinal,
                record.id,
                record.timezone,
                record.opens_at.to_string(),
                record.closes_at.to_string(),
                encode_record(record)
            ],
        )?;
    }
    for slot in &batch.slots {
        transaction.execute(
            "INSERT INTO slots VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
            params![
                slot.opening_ordinal,
                slot.slot,
                slot.opening,
                slot.office,
                slot.date,
                slot.session,
                slot.quota,
                slot.bookable_until.to_string()
            ],
        )?;
    }
    for state in &batch.states {
        transaction.execute(
            "UPDATE openings SET state = ? WHERE ordinal = ?",
            params![state.state, state.ordinal],
        )?;
    }
    for run in &batch.runs {
        match run {
            Run::Grants(rows) => write_grants(transaction, rows)?,
            Run::Updates(updates) => write_updates(transaction, updates)?,
        }
    }
    for adjusted in &batch.adjusted {
        write_adjusted(transaction, adjusted)?;
    }
    actions::into_sqlite(transaction, &batch.actions)?;
    for entry in &batch.entries {
        match entry {
            EntryRow::New { receipt, opening, request_id, reference, seq } => transaction
                .prepare_cached("INSERT INTO entries VALUES (?, ?, 'waiting', ?, ?, ?)")?
                .execute(params![
                    receipt.to_text().as_str(),
                    opening,
                    request_id,
                    reference,
                    *seq as i64
                ]),
            EntryRow::Now { receipt, status, seq } => transaction
                .prepare_cached("UPDATE entries SET status = ?, ledger_seq = ? WHERE receipt = ?")?
                .execute(params![status, *seq as i64, receipt.to_text().as_str()]),
        }?;
    }
    Ok(())
}

fn write_adjusted(transaction: &Transaction<'_>, adjusted: &Adjusted) -> rusqlite::Result<usize> {
    match adjusted {
        Adjusted::Quota { opening, slot, quota } => transaction.execute(
            "UPDATE slots SET quota = ? WHERE opening_ordinal = ? AND slot = ?",
            params![quota, opening, slot],
        ),
        Adjusted::Reserved { opening, slot, places } => transaction.execute(
            "UPDATE slots SET reserved = ? WHERE opening_ordinal = ? AND slot = ?",
            params![places, opening, slot],
        ),
        Adjusted::Halted { opening, slot, halted } => transaction.execute(
            "UPDATE slots SET halted = ? WHERE opening_ordinal = ? AND slot = ?",
            params![halted, opening, slot],
        ),
        Adjusted::ClosesAt { opening, closes_at } => transaction.execute(
            "UPDATE openings SET closes_at = ? WHERE ordinal = ?",
            params![closes_at.to_string(), opening],
        ),
    }
}

fn write_grants(transaction: &Transaction<'_>, rows: &[BookingRow]) -> rusqlite::Result<()> {
    let mut booking = transaction.prepare_cached(
        "INSERT INTO booking_rows VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0, ?)",
    )?;
    let mut seat =
        transaction.prepare_cached("INSERT INTO seat_rows VALUES (?, ?, ?, ?, 1, ?, ?)")?;
    // Mostly a block's grants have one time, and their holds end at one time.
    let (mut granted_at, mut hold_expires_at) = (TimeText::default(), TimeText::default());
    for row in rows {
        let (ord, grant) = (row.ord(), &row.grant);
        booking.execute(params![
            ord,
            grant.booking.to_text().as_str(),
            row.slot.opening_ordinal,
            row.slot.slot,
            row.status().name(),
            grant.request_id,
            grant.content.0.as_slice(),
            grant.reference,
            grant.account.as_ref().map(|account| account.as_bytes().as_slice()),
            grant.channel,
            granted_at.of(row.granted_at),
            grant.hold_expires_at.map(|at| hold_expires_at.of(at)),
            row.seq as i64
        ])?;
        for (i, taken) in grant.seats.iter().enumerate() {
            seat.execute(params![
                ord,
                i as i64,
                taken.applicant.as_bytes().as_slice(),
                taken.number,
                row.slot.opening_ordinal,
                row.slot.slot
            ])?;
        }
    }
    Ok(())
}

/// Seats are given up before any is taken: two bookings of a run may swap.
fn write_updates(transaction: &Transaction<'_>, updates: &[Update]) -> rusqlite::Result<()> {
    let mut find = transaction.prepare_cached("SELECT ord FROM booking_rows WHERE id = ?")?;
    let mut all_off =
        transaction.prepare_cached("UPDATE seat_rows SET active = 0 WHERE ord = ?")?;
    let mut one_off = transaction
        .prepare_cached("UPDATE seat_rows SET active = 0 WHERE ord = ? AND applicant = ?")?;
    let mut on = transaction.prepare_cached(
        "UPDATE seat_rows SET active = 1, number = ?, slot = coalesce(?, slot) \
         WHERE ord = ? AND applicant = ?",
    )?;
    let mut booking = transaction.prepare_cached(
        "UPDATE booking_rows SET version = version + 1 + ?5, ledger_seq = ?2, \
         payment = CASE WHEN ?3 = 'confirmed' OR (?3 = 'paid' AND status = 'held') \
             THEN ?4 ELSE payment END, \
         refunds = refunds + (?3 = 'paid' AND status <> 'held') + ?5, \
         hold_expires_at = CASE WHEN ?3 = 'stays' THEN coalesce(?6, hold_expires_at) END, \
         status = CASE WHEN ?3 = 'stays' OR (?3 = 'paid' AND status <> 'held') THEN status \
             WHEN ?3 = 'paid' THEN 'confirmed' ELSE ?3 END, \
         slot = coalesce(?7, slot) \
         WHERE ord = ?1",
    )?;
    // None: the store does not have it, which an audit tells.
    let ords: Vec<Option<i64>> = updates
        .iter()
        .map(|update| find.query_row([update.id.to_text().as_str()], |row| row.get(0)).optional())
        .collect::<Result<_, _>>()?;
    let found = || ords.iter().zip(updates).filter_map(|(ord, update)| Some(((*ord)?, update)));
    for (ord, update) in found() {
        match &update.off {
            EndedSeats::All => {
                all_off.execute([ord])?;
            }
            EndedSeats::Of(people) => {
                for applicant in people {
                    one_off.execute(params![ord, applicant.as_bytes().as_slice()])?;
                }
            }
        }
    }
    for (ord, update) in found() {
        booking.execute(params![
            ord,
            update.seq as i64,
            update.turn.name(),
            update.payment,
            update.refund,
            update.hold.map(|at| at.to_string()),
            update.slot
        ])?;
        for seat in &update.on {
            let applicant = seat.applicant.as_bytes().as_slice();
            on.execute(params![seat.number, update.slot, ord, applicant])?;
        }
    }
    Ok(())
}

fn read_bookings(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Stored>> {
    let mut select = transaction.prepare(
        "SELECT id, version, opening, office, date, session, status, request_id, content, ref, \
         account, channel, granted_at, hold_expires_at, payment, refunds, ledger_seq FROM bookings",
    )?;
    let rows = select.query_map([], |row| {
        Ok(Stored {
            id: row.get(0)?,
            version: row.get(1)?,
            opening: row.get(2)?,
            office: row.get(3)?,
            date: row.get(4)?,
            session: row.get(5)?,
            status: row.get(6)?,
            request_id: row.get(7)?,
            content: row.get(8)?,
            reference: row.get(9)?,
            account: row.get(10)?,
            channel: row.get(11)?,
            granted_at: row.get(12)?,
            hold_expires_at: row.get(13)?,
            payment: row.get(14)?,
            refunds: row.get(15)?,
            ledger_seq: row.get::<_, i64>(16)? as u64,
            seats: Vec::new(),
        })
    })?;
    rows.collect()
}

/// Adds the seats to their bookings, and puts these in the order of their ids. A seat of
/// no booking goes to one that it is not of, so that whoever compares sees it.
fn read_seats(transaction: &Transaction<'_>, bookings: &mut [Stored]) -> rusqlite::Result<()> {
    bookings.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    // The view shows them in the order of their table: those of a booking follow each other,
    // in its order.
    let mut select =
        transaction.prepare("SELECT booking_id, applicant, number, active FROM seats")?;
    let (mut rows, mut at) = (select.query([])?, 0);
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_str_or_null()?;
        if bookings.get(at).is_none_or(|booking| Some(&*booking.id) != id) {
            let found = id.and_then(|id| bookings.binary_search_by(|of| (*of.id).cmp(id)).ok());
            at = found.unwrap_or(bookings.len().saturating_sub(1));
        }
        let seat = (row.get(1)?, row.get(2)?, row.get(3)?);
        if let Some(booking) = bookings.get_mut(at) {
            booking.seats.push(seat);
        }
    }
    Ok(())
}

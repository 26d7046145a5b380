//! PostgreSQL.

use std::collections::HashMap;
use std::sync::Arc;

use giliran_wire::ledger::{Chain, OpeningRecord};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Transaction};

use super::copy::Copy;
use super::session::{self, Statements, WriteTransaction, failed};
use super::{
    PositionRow, SCHEMA, StoreError, actions, decode_record, encode_record, expect_schema, new_id,
    position_fields, texts,
};
use crate::rows::{
    Adjusted, Batch, BookingRow, EndedSeats, EntryRow, Run, SlotRow, Stored, StoredAction, Update,
};

/// Rows of one COPY: the server stops a statement that takes a minute.
const COPY_ROWS: usize = 16_384;

/// Encodings of a database that hold every text.
const ENCODINGS: [&str; 2] = ["UTF8", "SQL_ASCII"];

pub(super) struct Postgres {
    client: Client,
    statements: Statements,
    /// The store's own; empty where it was opened to be read.
    id: String,
}

impl Postgres {
    pub(super) async fn open(url: &str) -> Result<Option<Self>, StoreError> {
        let Some(client) = session::to_write(url).await? else { return Ok(None) };
        check_encoding(&client).await?;
        make_tables(&client).await?;
        let made = "INSERT INTO store_identity VALUES (1, $1) ON CONFLICT (one) DO NOTHING";
        client.execute(made, &[&new_id()]).await.map_err(failed)?;
        let row = client.query_one("SELECT id FROM store_identity", &[]).await.map_err(failed)?;
        Ok(Some(Self { client, statements: Statements::default(), id: row.get(0) }))
    }

    pub(super) async fn open_to_read(url: &str) -> Result<Self, StoreError> {
        let client = session::connect(url).await?;
        Ok(Self { client, statements: Statements::default(), id: String::new() })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn look(&mut self) -> Result<(), StoreError> {
        session::look(&self.client).await
    }

    pub(super) async fn position(
        &mut self,
    ) -> Result<Option<(Chain, Vec<OpeningRecord>)>, StoreError> {
        let transaction = self.client.transaction().await.map_err(failed)?;
        let Some(chain) = position(&transaction).await? else { return Ok(None) };
        let rows = transaction
            .query("SELECT record FROM openings ORDER BY ordinal", &[])
            .await
            .map_err(failed)?;
        let openings = rows.iter().map(|row| decode_record(row.get(0))).collect::<Result<_, _>>();
        Ok(Some((chain, openings?)))
    }

    pub(super) async fn bookings(&mut self) -> Result<(Chain, Vec<Stored>), StoreError> {
        let transaction = self
            .client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(failed)?;
        let chain = position(&transaction).await?.unwrap_or_default();
        let rows = transaction.query(READ, &[]).await.map_err(failed)?;
        Ok((chain, rows.iter().map(stored).collect()))
    }

    pub(super) async fn actions(&mut self) -> Result<Vec<StoredAction>, StoreError> {
        let rows = self.client.query(actions::READ_POSTGRES, &[]).await.map_err(failed)?;
        Ok(rows.iter().map(actions::of_postgres).collect())
    }

    pub(super) async fn apply(
        &mut self,
        from: u64,
        to: Chain,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        let last = to.seq;
        match self.write(from, to, batch).await {
            Err(StoreError::Unstorable(why)) => {
                let what = self.unstorable(batch).await?;
                let what = what.unwrap_or_else(|| format!("of sequences {} to {last}", from + 1));
                Err(StoreError::Unstorable(format!("{what}: {why}")))
            }
            done => done,
        }
    }

    async fn write(&mut self, from: u64, to: Chain, batch: &Batch) -> Result<(), StoreError> {
        let transaction = self.client.transaction().await.map_err(failed)?;
        let mut transaction = WriteTransaction::new(transaction, &mut self.statements);
        let position = transaction.query_opt("SELECT seq FROM ledger_position", &[]).await?;
        let stands = position.map_or(0, |row| row.get::<_, i64>(0) as u64);
        if stands != from {
            return Err(StoreError::Contradiction(format!(
                "its position is {stands}, not {from}: somebody else writes this database"
            )));
        }
        write(&mut transaction, batch).await?;
        write_position(&mut transaction, &to).await?;
        transaction.commit().await
    }

    /// Which value of a batch the database cannot hold, by field and sequence.
    async fn unstorable(&self, batch: &Batch) -> Result<Option<String>, StoreError> {
        for suspect in texts::suspects(batch) {
            let probe = format!("SELECT $1::text::{}", suspect.kind);
            match self.client.query_one(&probe, &[&suspect.value]).await.map_err(failed) {
                Ok(_) => {}
                Err(StoreError::Unstorable(_)) => return Ok(Some(suspect.place)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// A database that lacks a character would stop at the first name that has it.
async fn check_encoding(client: &Client) -> Result<(), StoreError> {
    let row = client.query_one("SHOW server_encoding", &[]).await.map_err(failed)?;
    let encoding: &str = row.get(0);
    if ENCODINGS.contains(&encoding) {
        return Ok(());
    }
    Err(StoreError::Unsuitable(format!(
        "its encoding is {encoding}, which lacks characters that names, references and reasons \
         may have: make the database anew with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE \
         template0; it fills from the ledger"
    )))
}

/// Makes the tables, unless they are there, or are of another version. A view is not made
/// again: that would wait for whoever reads it.
async fn make_tables(client: &Client) -> Result<(), StoreError> {
    let there = "SELECT to_regclass('ledger_position') IS NOT NULL, \
                 to_regclass('booking_rows') IS NOT NULL";
    let there = client.query_one(there, &[]).await.map_err(failed)?;
    if there.get(0) {
        let schema = client.query_opt(SCHEMA_THERE, &[]).await.map_err(failed)?;
        schema.map_or(Ok(()), |row| expect_schema(row.get(0)))?;
    }
    if there.get(1) {
        return Ok(());
    }
    client.batch_execute(include_str!("postgres.sql")).await.map_err(failed)
}

const SCHEMA_THERE: &str = "SELECT schema FROM ledger_position";

async fn position(transaction: &Transaction<'_>) -> Result<Option<Chain>, StoreError> {
    let Some(row) = transaction.query_opt(SCHEMA_THERE, &[]).await.map_err(failed)? else {
        return Ok(None);
    };
    expect_schema(row.get(0))?;
    let position = "SELECT ledger_id, generation, epoch, seq, valid_seq, number, hash, writer, \
                    time_ms FROM ledger_position";
    let row = transaction.query_one(position, &[]).await.map_err(failed)?;
    let row = PositionRow {
        ledger: row.get(0),
        generation: row.get(1),
        epoch: row.get(2),
        seq: row.get(3),
        valid_seq: row.get(4),
        number: row.get(5),
        hash: row.get(6),
        writer: row.get(7),
        time_ms: row.get(8),
    };
    row.chain().map(Some)
}

async fn write_position(
    transaction: &mut WriteTransaction<'_>,
    chain: &Chain,
) -> Result<(), StoreError> {
    let Some((ledger, hash, writer)) = position_fields(chain) else { return Ok(()) };
    transaction
        .execute(
            "INSERT INTO ledger_position VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (one) DO UPDATE SET generation = excluded.generation, \
             epoch = excluded.epoch, seq = excluded.seq, valid_seq = excluded.valid_seq, \
             number = excluded.number, \
             hash = excluded.hash, writer = excluded.writer, time_ms = excluded.time_ms",
            &[
                &SCHEMA,
                &ledger,
                &i64::from(chain.generation),
                &(chain.epoch as i64),
                &(chain.seq as i64),
                &(chain.valid_seq as i64),
                &(chain.number as i64),
                &hash,
                &writer,
                &chain.time.as_millis(),
            ],
        )
        .await
}

async fn write(transaction: &mut WriteTransaction<'_>, batch: &Batch) -> Result<(), StoreError> {
    for record in &batch.openings {
        transaction
            .execute(
                "INSERT INTO openings VALUES ($1, $2, $3, $4::text::timestamptz, \
                 $5::text::timestamptz, 'scheduled', $6)",
                &[
                    &i64::from(record.ordinal),
                    &record.id,
                    &record.timezone,
                    &record.opens_at.to_string(),
                    &record.closes_at.to_string(),
                    &encode_record(record),
                ],
            )
            .await?;
    }
    write_slots(transaction, &batch.slots).await?;
    for state in &batch.states {
        transaction
            .execute(
                "UPDATE openings SET state = $1 WHERE ordinal = $2",
                &[&state.state, &i64::from(state.ordinal)],
            )
            .await?;
    }
    for run in &batch.runs {
        match run {
            Run::Grants(rows) => {
                for rows in rows.chunks(COPY_ROWS) {
                    write_grants(transaction, rows).await?;
                }
            }
            Run::Updates(updates) => write_updates(transaction, updates).await?,
        }
    }
    write_adjusted(transaction, &batch.adjusted).await?;
    actions::into_postgres(transaction, &batch.actions).await?;
    write_entries(transaction, &batch.entries).await
}

async fn write_slots(
    transaction: &mut WriteTransaction<'_>,
    slots: &[Arc<SlotRow>],
) -> Result<(), StoreError> {
    if slots.is_empty() {
        return Ok(());
    }
    let numbers = |of: fn(&SlotRow) -> i64| slots.iter().map(|slot| of(slot)).collect::<Vec<_>>();
    let texts = |of: fn(&SlotRow) -> &str| slots.iter().map(|slot| of(slot)).collect::<Vec<_>>();
    let until: Vec<String> = slots.iter().map(|slot| slot.bookable_until.to_string()).collect();
    transaction
        .execute(
            "INSERT INTO slots SELECT u.ordinal, u.slot, u.opening, u.office, u.date::date, \
             u.session, u.quota, u.until::timestamptz, 0, FALSE \
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], \
             $6::text[], $7::bigint[], $8::text[]) \
             AS u(ordinal, slot, opening, office, date, session, quota, until)",
            &[
                &numbers(|slot| slot.opening_ordinal.into()),
                &numbers(|slot| slot.slot.into()),
                &texts(|slot| &slot.opening),
                &texts(|slot| &slot.office),
                &texts(|slot| &slot.date),
                &texts(|slot| &slot.session),
                &numbers(|slot| slot.quota.into()),
                &until,
            ],
        )
        .await
}

async fn write_grants(
    transaction: &mut WriteTransaction<'_>,
    granted: &[BookingRow],
) -> Result<(), StoreError> {
    let mut rows = Copy::begin(transaction, "COPY booking_rows FROM STDIN BINARY").await?;
    for row in granted {
        let grant = &row.grant;
        rows.row(16);
        rows.int8(row.ord());
        rows.text(Some(grant.booking.to_text().as_str()));
        rows.int4(1);
        rows.int8(row.slot.opening_ordinal.into());
        rows.int8(row.slot.slot.into());
        rows.text(Some(row.status().name()));
        rows.text(Some(&grant.request_id));
        rows.bytes(Some(&grant.content.0));
        rows.text(grant.reference.as_deref());
        rows.bytes(grant.account.as_ref().map(|account| account.as_bytes().as_slice()));
        rows.text(grant.channel.as_deref());
        rows.time(Some(row.granted_at));
        rows.time(grant.hold_expires_at);
        rows.text(None);
        rows.int4(0);
        rows.int8(row.seq as i64);
        rows.send_if_full().await?;
    }
    rows.finish().await?;
    let mut rows = Copy::begin(transaction, "COPY seat_rows FROM STDIN BINARY").await?;
    for row in granted {
        for (i, seat) in row.grant.seats.iter().enumerate() {
            rows.row(7);
            rows.int8(row.ord());
            rows.int2(i as i16);
            rows.bytes(Some(seat.applicant.as_bytes()));
            rows.int4(seat.number.into());
            rows.bool(true);
            rows.int8(row.slot.opening_ordinal.into());
            rows.int8(row.slot.slot.into());
        }
        rows.send_if_full().await?;
    }
    rows.finish().await
}

const ALL_OFF: &str = "\
    UPDATE seat_rows s SET active = FALSE FROM booking_rows b \
    WHERE b.id = ANY($1::text[]) AND s.ord = b.ord";
const SOME_OFF: &str = "\
    UPDATE seat_rows s SET active = FALSE FROM unnest($1::text[], $2::bytea[]) AS u(id, who) \
    JOIN booking_rows b ON b.id = u.id \
    WHERE s.ord = b.ord AND s.applicant = u.who";
const ON: &str = "\
    UPDATE seat_rows s SET active = TRUE, number = u.number, slot = coalesce(u.slot, s.slot) \
    FROM unnest($1::text[], $2::bytea[], $3::int[], $4::bigint[]) AS u(id, who, number, slot) \
    JOIN booking_rows b ON b.id = u.id \
    WHERE s.ord = b.ord AND s.applicant = u.who";
const CHANGED: &str = "\
    UPDATE booking_rows b SET version = b.version + 1 + u.refund::int, ledger_seq = u.seq, \
    payment = CASE WHEN u.turn = 'confirmed' OR (u.turn = 'paid' AND b.status = 'held') \
        THEN u.payment ELSE b.payment END, \
    refunds = b.refunds + (u.turn = 'paid' AND b.status <> 'held')::int + u.refund::int, \
    hold_expires_at = CASE WHEN u.turn = 'stays' \
        THEN coalesce(u.hold::timestamptz, b.hold_expires_at) END, \
    status = CASE WHEN u.turn = 'stays' OR (u.turn = 'paid' AND b.status <> 'held') THEN b.status \
        WHEN u.turn = 'paid' THEN 'confirmed' ELSE u.turn END, \
    slot = coalesce(u.slot, b.slot) \
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bool[], \
        $7::text[]) AS u(id, seq, turn, payment, slot, refund, hold) \
    WHERE b.id = u.id";

/// Seats are given up before any is taken: two bookings of a run may swap.
async fn write_updates(
    transaction: &mut WriteTransaction<'_>,
    updates: &[Update],
) -> Result<(), StoreError> {
    let id = |update: &Update| update.id.to_string();
    let all_off: Vec<String> =
        updates.iter().filter(|u| u.off == EndedSeats::All).map(id).collect();
    if !all_off.is_empty() {
        transaction.execute(ALL_OFF, &[&all_off]).await?;
    }
    let (mut ids, mut people) = (Vec::new(), Vec::new());
    for update in updates {
        if let EndedSeats::Of(off) = &update.off {
            ids.extend(off.iter().map(|_| id(update)));
            people.extend(off.iter().map(|applicant| applicant.as_bytes().as_slice()));
        }
    }
    if !ids.is_empty() {
        transaction.execute(SOME_OFF, &[&ids, &people]).await?;
    }
    let ids: Vec<String> = updates.iter().map(id).collect();
    let seqs: Vec<i64> = updates.iter().map(|update| update.seq as i64).collect();
    let turns: Vec<&str> = updates.iter().map(|update| update.turn.name()).collect();
    let payments: Vec<Option<&str>> = updates.iter().map(|u| u.payment.as_deref()).collect();
    let slots: Vec<Option<i64>> = updates.iter().map(|u| u.slot.map(i64::from)).collect();
    let refunds: Vec<bool> = updates.iter().map(|u| u.refund).collect();
    let holds: Vec<Option<String>> =
        updates.iter().map(|u| u.hold.map(|at| at.to_string())).collect();
    transaction
        .execute(CHANGED, &[&ids, &seqs, &turns, &payments, &slots, &refunds, &holds])
        .await?;
    let (mut ids, mut people, mut numbers, mut slots) = (vec![], vec![], vec![], vec![]);
    for update in updates {
        for seat in &update.on {
            ids.push(id(update));
            people.push(seat.applicant.as_bytes().as_slice());
            numbers.push(i32::from(seat.number));
            slots.push(update.slot.map(i64::from));
        }
    }
    if !ids.is_empty() {
        transaction.execute(ON, &[&ids, &people, &numbers, &slots]).await?;
    }
    Ok(())
}

async fn write_adjusted(
    transaction: &mut WriteTransaction<'_>,
    adjusted: &[Adjusted],
) -> Result<(), StoreError> {
    for adjusted in adjusted {
        match *adjusted {
            Adjusted::Quota { opening, slot, quota } => {
                let statement =
                    "UPDATE slots SET quota = $1 WHERE opening_ordinal = $2 AND slot = $3";
                let (quota, opening, slot) =
                    (i32::from(quota), i64::from(opening), i64::from(slot));
                transaction.execute(statement, &[&quota, &opening, &slot]).await
            }
            Adjusted::Reserved { opening, slot, places } => {
                let statement =
                    "UPDATE slots SET reserved = $1 WHERE opening_ordinal = $2 AND slot = $3";
                let (places, opening, slot) =
                    (i32::from(places), i64::from(opening), i64::from(slot));
                transaction.execute(statement, &[&places, &opening, &slot]).await
            }
            Adjusted::Halted { opening, slot, halted } => {
                let statement =
                    "UPDATE slots SET halted = $1 WHERE opening_ordinal = $2 AND slot = $3";
                let (opening, slot) = (i64::from(opening), i64::from(slot));
                transaction.execute(statement, &[&halted, &opening, &slot]).await
            }
            Adjusted::ClosesAt { opening, closes_at } => {
                let statement =
                    "UPDATE openings SET closes_at = $1::text::timestamptz WHERE ordinal = $2";
                let (closes_at, opening) = (closes_at.to_string(), i64::from(opening));
                transaction.execute(statement, &[&closes_at, &opening]).await
            }
        }?;
    }
    Ok(())
}

const ENTERED: &str = "\
    INSERT INTO entries SELECT u.receipt, u.opening, 'waiting', u.request_id, u.ref, u.seq \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[]) \
        AS u(receipt, opening, request_id, ref, seq)";
const ENTRIES_CHANGED: &str = "\
    UPDATE entries e SET status = u.status, ledger_seq = u.seq \
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS u(receipt, status, seq) \
    WHERE e.receipt = u.receipt";

/// What follows each other of one kind is one statement.
async fn write_entries(
    transaction: &mut WriteTransaction<'_>,
    entries: &[EntryRow],
) -> Result<(), StoreError> {
    let is_new = |entry: &EntryRow| matches!(entry, EntryRow::New { .. });
    for entries in entries.chunk_by(|one, other| is_new(one) == is_new(other)) {
        let (mut receipts, mut openings, mut requests) = (vec![], vec![], vec![]);
        let (mut references, mut new_seqs) = (vec![], vec![]);
        // Of one that changes twice the last change counts.
        let mut changed = HashMap::new();
        for entry in entries {
            match entry {
                EntryRow::New { receipt, opening, request_id, reference, seq } => {
                    receipts.push(receipt.to_string());
                    openings.push(opening);
                    requests.push(request_id);
                    references.push(reference.as_deref());
                    new_seqs.push(*seq as i64);
                }
                EntryRow::Now { receipt, status, seq } => {
                    changed.insert(*receipt, (*status, *seq as i64));
                }
            }
        }
        if !receipts.is_empty() {
            let rows: [&(dyn ToSql + Sync); 5] =
                [&receipts, &openings, &requests, &references, &new_seqs];
            transaction.execute(ENTERED, &rows).await?;
        }
        if !changed.is_empty() {
            let receipts: Vec<String> = changed.keys().map(ToString::to_string).collect();
            let (statuses, seqs): (Vec<&str>, Vec<i64>) = changed.into_values().unzip();
            transaction.execute(ENTRIES_CHANGED, &[&receipts, &statuses, &seqs]).await?;
        }
    }
    Ok(())
}

/// Days and times in the form the wire has (UTC, milliseconds), whatever DateStyle
/// and time zone the database is set to.
const READ: &str = "\
    SELECT b.id, b.version, b.opening, b.office, to_char(b.date, 'YYYY-MM-DD'), b.session, b.status, b.request_id, \
        b.content, b.ref, b.account, b.channel, \
        to_char(b.granted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
        to_char(b.hold_expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
        b.payment, b.refunds, b.ledger_seq, s.applicants, s.numbers, s.active \
    FROM bookings b LEFT JOIN ( \
        SELECT booking_id, array_agg(applicant ORDER BY seat) AS applicants, \
            array_agg(number ORDER BY seat) AS numbers, array_agg(active ORDER BY seat) AS active \
        FROM seats GROUP BY booking_id) s ON s.booking_id = b.id \
    ORDER BY b.id COLLATE \"C\"";

fn stored(row: &Row) -> Stored {
    let applicants: Option<Vec<String>> = row.get(17);
    let numbers: Option<Vec<i32>> = row.get(18);
    let active: Option<Vec<bool>> = row.get(19);
    let seats = applicants.into_iter().flatten().zip(numbers.into_iter().flatten());
    Stored {
        id: row.get(0),
        version: row.get::<_, i32>(1) as u32,
        opening: row.get(2),
        office: row.get(3),
        date: row.get(4),
        session: row.get(5),
        status: row.get(6),
        request_id: row.get(7),
        content: row.get(8),
        reference: row.get(9),
        account: row.get(10),
        channel: row.get(11),
        granted_at: row.get(12),
        hold_expires_at: row.get(13),
        payment: row.get(14),
        refunds: row.get::<_, i32>(15) as u32,
        ledger_seq: row.get::<_, i64>(16) as u64,
        seats: seats
            .zip(active.into_iter().flatten())
            .map(|((applicant, number), active)| (applicant, number as u16, active))
            .collect(),
    }
}

//! The table `actions`: few rows, written one by one.

use rusqlite::{Connection, params};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::StoreError;
use super::session::WriteTransaction;
use crate::rows::StoredAction;

/// Days and times as the wire has them, whatever the database is set to.
pub(super) const READ_POSTGRES: &str = "\
    SELECT ledger_seq, place, \
        to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), action, opening, \
        office, to_char(date, 'YYYY-MM-DD'), session, value, operator, reason \
    FROM actions ORDER BY ledger_seq, place";
const READ_SQLITE: &str = "\
    SELECT ledger_seq, place, at, action, opening, office, date, session, value, operator, reason \
    FROM actions ORDER BY ledger_seq, place";

pub(super) async fn into_postgres(
    transaction: &mut WriteTransaction<'_>,
    actions: &[StoredAction],
) -> Result<(), StoreError> {
    let insert = "INSERT INTO actions VALUES ($1, $2, $3::text::timestamptz, $4, $5, $6, \
                  $7::text::date, $8, $9, $10, $11)";
    for action in actions {
        let [office, date, session] = slot(action);
        let (operator, reason) = signed(action);
        let (seq, place) = (action.ledger_seq as i64, action.place as i32);
        let row: [&(dyn ToSql + Sync); 11] = [
            &seq,
            &place,
            &action.at,
            &action.action,
            &action.opening,
            &office,
            &date,
            &session,
            &action.value,
            &operator,
            &reason,
        ];
        transaction.execute(insert, &row).await?;
    }
    Ok(())
}

pub(super) fn of_postgres(row: &Row) -> StoredAction {
    let slot: [Option<String>; 3] = [row.get(5), row.get(6), row.get(7)];
    StoredAction {
        ledger_seq: row.get::<_, i64>(0) as u64,
        place: row.get::<_, i32>(1) as u32,
        at: row.get(2),
        action: row.get(3),
        opening: row.get(4),
        slot: all(slot),
        value: row.get(8),
        signed: row.get::<_, Option<String>>(9).zip(row.get(10)),
    }
}

pub(super) fn into_sqlite(
    transaction: &Connection,
    actions: &[StoredAction],
) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare_cached("INSERT INTO actions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    for action in actions {
        let [office, date, session] = slot(action);
        let (operator, reason) = signed(action);
        insert.execute(params![
            action.ledger_seq as i64,
            action.place,
            action.at,
            action.action,
            action.opening,
            office,
            date,
            session,
            action.value,
            operator,
            reason
        ])?;
    }
    Ok(())
}

pub(super) fn of_sqlite(connection: &Connection) -> rusqlite::Result<Vec<StoredAction>> {
    let mut select = connection.prepare(READ_SQLITE)?;
    let rows = select.query_map([], |row| {
        let operator: Option<String> = row.get(9)?;
        Ok(StoredAction {
            ledger_seq: row.get::<_, i64>(0)? as u64,
            place: row.get(1)?,
            at: row.get(2)?,
            action: row.get(3)?,
            opening: row.get(4)?,
            slot: all([row.get(5)?, row.get(6)?, row.get(7)?]),
            value: row.get(8)?,
            signed: operator.zip(row.get(10)?),
        })
    })?;
    rows.collect()
}

fn slot(action: &StoredAction) -> [Option<&str>; 3] {
    match &action.slot {
        None => [None; 3],
        Some(slot) => slot.each_ref().map(|text| Some(text.as_str())),
    }
}

fn signed(action: &StoredAction) -> (Option<&str>, Option<&str>) {
    action.signed.as_ref().map(|(operator, reason)| (operator.as_str(), reason.as_str())).unzip()
}

fn all(slot: [Option<String>; 3]) -> Option<[String; 3]> {
    let [office, date, session] = slot;
    Some([office?, date?, session?])
}

//! The yardstick of a store: a bare load of the same rows, into the same tables with the
//! same indexes and settings, in the same order and in transactions of as many bookings.
//!
//! ```text
//! bare_store load FROM TO      reads all rows of a store, then loads them into a new one
//! bare_store database SERVER   makes a database there (PostgreSQL)
//! bare_store remove SERVER DATABASE
//! ```
//!
//! It reads no ledger, checks nothing and converts nothing: rows lie in memory as the
//! database takes them. What `giliran persist` takes beyond that, decoding, checking and
//! converting cost. It prints one object of JSON.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::time::Instant;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, pin_mut};
use giliran_persist::Store;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tokio_postgres::{Client, NoTls};

/// Bookings of a transaction, as `giliran persist` has where it is far behind.
const BOOKINGS: usize = 262_144;
/// Rows of one COPY, and SQLite's cache in KiB and pages between two checkpoints, as
/// `giliran persist` has them.
const COPY_ROWS: usize = 16_384;
const CACHE_KIB: i64 = 256 * 1024;
const CHECKPOINT_PAGES: i64 = 65_536;
/// Tables that a load fills, in this order within a transaction.
const TABLES: [&str; 2] = ["booking_rows", "seat_rows"];
/// Tables that are small and filled once.
const FIRST: [&str; 2] = ["openings", "slots"];
/// How much of a COPY is sent at once, as `giliran persist` does.
const COPY_CHUNK: usize = 1 << 20;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["load", from, to] => {
            // Tables and indexes are the store's own.
            drop(Store::open(&to.parse().unwrap()).await.unwrap().unwrap());
            let took_s = match (from.strip_prefix("sqlite:"), to.strip_prefix("sqlite:")) {
                (Some(from), Some(to)) => sqlite(from, to),
                _ => postgres(from, to).await,
            };
            println!("{{ \"took_s\": {took_s} }}");
        }
        ["database", server] => println!("{{ \"url\": \"{}\" }}", database(server).await),
        ["remove", server, database] => remove(server, database).await,
        other => panic!("expected `load`, `database` or `remove`, got {other:?}"),
    }
}

/// Rows of a table of SQLite, each as its values.
type Rows = Vec<Vec<Value>>;

fn sqlite(from: &str, to: &str) -> f64 {
    let from = Connection::open(from).unwrap();
    let first = FIRST.map(|table| read(&from, &format!("SELECT * FROM {table}")));
    let bookings = read(&from, "SELECT * FROM booking_rows ORDER BY ord");
    let seats = read(&from, "SELECT * FROM seat_rows ORDER BY ord, seat");
    let mut to = Connection::open(to).unwrap();
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "NORMAL")] {
        to.pragma_update(None, pragma, value).unwrap();
    }
    to.pragma_update(None, "cache_size", -CACHE_KIB).unwrap();
    to.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).unwrap();
    let since = Instant::now();
    let transaction = to.transaction().unwrap();
    FIRST.iter().zip(&first).for_each(|(table, rows)| write(&transaction, table, rows));
    transaction.commit().unwrap();
    let seats_of_one = seats.len().div_ceil(bookings.len().max(1)).max(1);
    let chunks = bookings.chunks(BOOKINGS).zip(seats.chunks(BOOKINGS * seats_of_one));
    for (bookings, seats) in chunks {
        let transaction = to.transaction().unwrap();
        write(&transaction, TABLES[0], bookings);
        write(&transaction, TABLES[1], seats);
        transaction.commit().unwrap();
    }
    since.elapsed().as_secs_f64()
}

fn read(from: &Connection, select: &str) -> Rows {
    let mut select = from.prepare(select).unwrap();
    let columns = select.column_count();
    let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
    select.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
}

fn write(to: &Connection, table: &str, rows: &[Vec<Value>]) {
    let Some(first) = rows.first() else { return };
    let values = vec!["?"; first.len()].join(", ");
    let mut insert = to.prepare_cached(&format!("INSERT INTO {table} VALUES ({values})")).unwrap();
    for row in rows {
        insert.execute(params_from_iter(row)).unwrap();
    }
}

async fn postgres(from: &str, to: &str) -> f64 {
    let from = connect(from).await;
    let mut first = Vec::new();
    for table in FIRST {
        first.push(lines(&from, table).await);
    }
    let (bookings, seats) = (lines(&from, TABLES[0]).await, lines(&from, TABLES[1]).await);
    let mut to = connect(to).await;
    let since = Instant::now();
    for (table, lines) in FIRST.iter().zip(&first) {
        copy(&to, table, lines).await;
    }
    let seats_of_one = seats.len().div_ceil(bookings.len().max(1)).max(1);
    let chunks = bookings.chunks(BOOKINGS).zip(seats.chunks(BOOKINGS * seats_of_one));
    for (bookings, seats) in chunks {
        let transaction = to.transaction().await.unwrap();
        for (table, lines) in TABLES.into_iter().zip([bookings, seats]) {
            for lines in lines.chunks(COPY_ROWS) {
                copy(transaction.client(), table, lines).await;
            }
        }
        transaction.commit().await.unwrap();
    }
    since.elapsed().as_secs_f64()
}

/// A table's rows in the order in which they were written, as COPY takes them.
async fn lines(from: &Client, table: &str) -> Vec<String> {
    let copy = format!("COPY (SELECT * FROM {table} ORDER BY ctid) TO STDOUT");
    let chunks = from.copy_out(&copy).await.unwrap();
    pin_mut!(chunks);
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(text).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

async fn copy(to: &Client, table: &str, lines: &[String]) {
    let sink = to.copy_in::<_, Bytes>(&format!("COPY {table} FROM STDIN")).await.unwrap();
    pin_mut!(sink);
    let mut chunk = Vec::with_capacity(COPY_CHUNK);
    for line in lines {
        if chunk.len() + line.len() > COPY_CHUNK {
            sink.send(std::mem::take(&mut chunk).into()).await.unwrap();
        }
        chunk.extend_from_slice(line.as_bytes());
    }
    sink.send(chunk.into()).await.unwrap();
    sink.finish().await.unwrap();
}

/// A new database on the server that an address names; its address.
async fn database(server: &str) -> String {
    let name = format!("bench_{:016x}", rand::random::<u64>());
    let client = connect(server).await;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (address, _) = server.rsplit_once('/').expect("postgres://…/database");
    format!("{address}/{name}")
}

/// Whoever is still connected is cut off.
async fn remove(server: &str, database: &str) {
    let (_, name) = database.rsplit_once('/').expect("postgres://…/database");
    let client = connect(server).await;
    client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    println!("{{}}");
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

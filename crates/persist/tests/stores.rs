//! One ledger, as the sequencer wrote it, in both databases: every table holds the same,
//! and that is what the state says which the ledger folds to.
//!
//! Seen to fail: a version that is not counted up; a seat that stays active in one of
//! the two databases; a payment's reference that is not kept.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use giliran_allocator::StateMachine;
use giliran_nats::ledger::Ledger;
use giliran_persist::{Persist, Store, StoreUrl, Stored};
use giliran_testkit::{Broker, eventful, folded, postgres};
use tokio_util::sync::CancellationToken;

const WITHIN: Duration = Duration::from_secs(30);
const TABLES: [&str; 9] = [
    "ledger_position",
    "openings",
    "slots",
    "booking_rows",
    "seat_rows",
    "bookings",
    "seats",
    "entries",
    "actions",
];

/// Writes the ledger into a store, up to this sequence.
async fn persist(broker: &Broker, ledger: &Ledger, url: &StoreUrl, tail: u64) {
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let persist = Persist::new(url.clone(), None, &broker.client, &broker.domain);
    let (view, ledger) = (persist.view(), ledger.clone());
    let task = tokio::spawn(async move { persist.run(ledger, asked).await });
    let since = Instant::now();
    while view.look().1.seq < tail {
        assert!(since.elapsed() < WITHIN, "{:?}", view.look());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    task.await.unwrap().unwrap();
}

/// The rows of every table as text, sorted; dates and times as both databases can say
/// them.
type Rows = BTreeMap<&'static str, Vec<Vec<Option<String>>>>;

fn sqlite_rows(path: &std::path::Path) -> Rows {
    let database = rusqlite::Connection::open(path).unwrap();
    let rows = |table: &str| {
        let columns = format!("SELECT name, type FROM pragma_table_info('{table}')");
        let mut columns = database.prepare(&columns).unwrap();
        let text = |row: &rusqlite::Row<'_>| {
            let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
            let shown =
                if kind == "BLOB" { format!("nullif(lower(hex({name})), '')") } else { name };
            Ok(format!("CAST({shown} AS TEXT)"))
        };
        let columns: Result<Vec<String>, _> = columns.query_map([], text).unwrap().collect();
        let columns = columns.unwrap();
        let asked = format!("SELECT {} FROM {table}", columns.join(", "));
        let mut asked = database.prepare(&asked).unwrap();
        let row = |row: &rusqlite::Row<'_>| (0..columns.len()).map(|i| row.get(i)).collect();
        let rows: Result<Vec<Vec<Option<String>>>, _> = asked.query_map([], row).unwrap().collect();
        let mut rows = rows.unwrap();
        rows.sort_unstable();
        rows
    };
    TABLES.into_iter().map(|table| (table, rows(table))).collect()
}

async fn postgres_rows(url: &str) -> Rows {
    let client = postgres::connect(url).await;
    let mut all = Rows::new();
    for table in TABLES {
        let columns = "SELECT column_name::text, data_type::text FROM information_schema.columns \
                       WHERE table_name = $1 ORDER BY ordinal_position";
        let columns = client.query(columns, &[&table]).await.unwrap();
        let text = |row: &tokio_postgres::Row| {
            let (name, kind): (String, String) = (row.get(0), row.get(1));
            match &*kind {
                "boolean" => format!("{name}::int::text"),
                "bytea" => format!("encode({name}, 'hex')"),
                "timestamp with time zone" => format!(
                    "to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
                ),
                _ => format!("{name}::text"),
            }
        };
        let columns: Vec<String> = columns.iter().map(text).collect();
        let asked = format!("SELECT {} FROM {table}", columns.join(", "));
        let rows = client.query(&asked, &[]).await.unwrap();
        let row = |row: &tokio_postgres::Row| (0..columns.len()).map(|i| row.get(i)).collect();
        let mut rows: Vec<Vec<Option<String>>> = rows.iter().map(row).collect();
        rows.sort_unstable();
        all.insert(table, rows);
    }
    all
}

/// Holds a stored booking against the state that the ledger folds to.
fn check(state: &StateMachine, stored: &Stored) {
    let found = state.found(&stored.id.parse().unwrap()).unwrap();
    let (booking, view) = (&found.booking, found.booking.view(&found.opening));
    assert_eq!(stored.status, booking.status.name(), "{stored:?}");
    assert_eq!(stored.version, booking.version, "{stored:?}");
    assert_eq!((&*stored.office, &*stored.session), (&*view.office, &*view.session));
    assert_eq!(stored.date, view.date.to_string());
    assert_eq!(
        (&*stored.request_id, &*stored.content),
        (&*view.request_id, &*booking.content.to_string())
    );
    assert_eq!(stored.reference.as_deref(), view.reference.as_deref());
    assert_eq!(stored.channel.as_deref(), view.channel.as_deref());
    let active = stored.seats.iter().filter(|(.., active)| *active);
    let active: Vec<u16> = active.map(|(_, number, _)| *number).collect();
    let live = booking.status.is_live();
    let numbers: Vec<u16> = booking.seats.iter().map(|seat| seat.number).collect();
    assert_eq!(active, if live { numbers } else { Vec::new() }, "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_hold_what_the_ledger_says() {
    let (stream, broker) = (eventful(), Broker::start().await);
    let (state, tail) = (folded(&stream), stream.len() as u64);
    let ledger = broker.store(&stream).await;
    let path = broker.folder.path().join("bookings.sqlite");
    let address = postgres::database("").await;
    let (sqlite, server) = (StoreUrl::Sqlite(path.clone()), StoreUrl::Postgres(address.clone()));
    let mut read = Vec::new();
    for url in [&sqlite, &server] {
        persist(&broker, &ledger, url, tail).await;
        let mut store = Store::open_to_read(url).await.unwrap();
        let (chain, openings) = store.position().await.unwrap().unwrap();
        assert_eq!((chain.seq, chain.hash), (tail, state.chain().hash));
        assert_eq!(openings.len(), 1);
        let mut bookings = store.bookings().await.unwrap().1;
        bookings.sort_unstable();
        read.push((bookings, store.actions().await.unwrap()));
    }
    assert_eq!(read[0], read[1], "SQLite and PostgreSQL");
    let (bookings, actions) = &read[0];
    bookings.iter().for_each(|stored| check(&state, stored));
    let mut statuses: Vec<&str> = bookings.iter().map(|stored| &*stored.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, ["cancelled", "confirmed", "confirmed", "confirmed", "expired", "held"]);
    let payments: Vec<&str> = bookings.iter().filter_map(|of| of.payment.as_deref()).collect();
    assert_eq!((payments.len(), actions.len()), (3, 4), "{payments:?} {actions:?}");
    let (sqlite, server) = (sqlite_rows(&path), postgres_rows(&address).await);
    for table in TABLES {
        assert!(!sqlite[table].is_empty(), "{table}");
        assert_eq!(sqlite[table], server[table], "{table}");
    }
}

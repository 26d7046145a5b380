//! What a database can hold, tried on real ones.

use std::sync::Arc;

use giliran_testkit::{grant, postgres};
use giliran_wire::ledger::{Chain, Grant, Seat, Stage};
use giliran_wire::{LedgerId, Pseudonym, Timestamp};

use super::{SCHEMA, Store, StoreError, StoreUrl};
use crate::rows::{Batch, BookingRow, Run, SlotRow, Stored};

/// A database of its own, made with these options; and a session in it.
async fn database(options: &str) -> (StoreUrl, tokio_postgres::Client) {
    let url = postgres::database(options).await;
    (url.parse().unwrap(), postgres::connect(&url).await)
}

/// Where the ledger stands with block 7.
fn chain() -> Chain {
    let ledger = Some(LedgerId([1; 16]));
    Chain { ledger, seq: 7, valid_seq: 7, epoch: 1, stage: Stage::Open, ..Chain::default() }
}

/// One booking of block 7, with this reference.
fn batch(reference: &str) -> Arc<Batch> {
    granted_at(reference, "2029-12-28T07:00:00.123Z".parse().unwrap())
}

/// The same, at another time.
fn granted_at(reference: &str, granted_at: Timestamp) -> Arc<Batch> {
    let slot = SlotRow {
        opening_ordinal: 0,
        slot: 0,
        opening: "w".to_owned(),
        office: "alpha".to_owned(),
        date: "2030-01-07".to_owned(),
        session: "all".to_owned(),
        quota: 3,
        bookable_until: Timestamp::LATEST,
    };
    let seat = Seat { applicant: Pseudonym::from_bytes([1; 16]), number: 1 };
    let grant = Grant { reference: Some(reference.to_owned()), ..grant(5, 0, seat) };
    let slot = Arc::new(slot);
    let slots = vec![Arc::clone(&slot)];
    let row = BookingRow { grant, slot, granted_at, seq: 7, place: 0 };
    Arc::new(Batch { slots, runs: vec![Run::Grants(vec![row])], changes: 1, ..Batch::default() })
}

async fn stored(store: &mut Store) -> Stored {
    let (_, mut bookings) = store.bookings().await.unwrap();
    assert_eq!(bookings.len(), 1);
    bookings.remove(0)
}

/// A store that an older release made lacks what this one writes: it must be refused, not
/// written into.
#[test]
fn other_tables_have_another_schema() {
    // Comments and spaces do not count.
    let tables = |sql: &str| -> String {
        let code = sql.lines().map(|line| line.split_once("--").map_or(line, |(code, _)| code));
        code.flat_map(str::split_whitespace).map(|word| format!("{word} ")).collect()
    };
    let both = [include_str!("sqlite.sql"), include_str!("postgres.sql")].map(tables).concat();
    let hash = blake3::hash(both.as_bytes()).to_hex();
    assert_eq!(
        (SCHEMA, hash.as_str()),
        (5, "e9248a813b7ce2e6d5538351a60b3d1c3ba72b2721b32d517de2bbbdeb2155f2"),
        "`sqlite.sql` or `postgres.sql` has changed: count `SCHEMA` up, then put it and the new \
         hash here"
    );
}

#[tokio::test]
async fn a_text_that_no_database_holds_is_told_with_sequence_and_field() {
    let (url, _) = database("").await;
    let mut store = Store::open(&url).await.unwrap().unwrap();
    let refused = store.apply(0, chain(), &batch("inv\0-1")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unstorable(_)), "{refused:?}");
    let said = refused.to_string();
    assert!(said.contains("`ref` of sequence 7"), "{said}");
    assert!(said.contains("--store sqlite:PATH"), "{said}");
    // SQLite holds it, and gives it back.
    let folder = tempfile::tempdir().unwrap();
    let file = StoreUrl::Sqlite(folder.path().join("bookings.sqlite"));
    let mut sqlite = Store::open(&file).await.unwrap().unwrap();
    sqlite.apply(0, chain(), &batch("inv\0-1")).await.unwrap();
    assert_eq!(stored(&mut sqlite).await.reference.as_deref(), Some("inv\0-1"));
    // A time that PostgreSQL has no calendar for: far beyond what the door lets in.
    let absurd = granted_at("x", Timestamp::from_millis(-300_000_000_000_000));
    let refused = store.apply(0, chain(), &absurd).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unstorable(_)), "{refused:?}");
    assert!(refused.to_string().contains("`granted_at` of sequence 7"), "{refused}");
    // And the database goes on with what it can hold.
    store.apply(0, chain(), &batch("Señor 預約")).await.unwrap();
    assert_eq!(stored(&mut store).await.reference.as_deref(), Some("Señor 預約"));
}

#[tokio::test]
async fn a_database_whose_encoding_lacks_characters_is_refused_in_words() {
    let options = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    let (url, _) = database(options).await;
    let refused = Store::open(&url).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unsuitable(_)), "{refused:?}");
    assert!(refused.to_string().contains("encoding is LATIN1"), "{refused}");
    assert!(refused.to_string().contains("ENCODING 'UTF8'"), "{refused}");
    // One that looks at no encoding keeps every byte.
    let (url, _) = database(&options.replace("LATIN1", "SQL_ASCII")).await;
    let mut store = Store::open(&url).await.unwrap().unwrap();
    store.apply(0, chain(), &batch("Señor 預約")).await.unwrap();
    assert_eq!(stored(&mut store).await.reference.as_deref(), Some("Señor 預約"));
}

/// Settings of a database that change how values read and are written there.
#[tokio::test]
async fn what_is_read_does_not_depend_on_the_databases_settings() {
    let (url, usual) = database("").await;
    let mut store = Store::open(&url).await.unwrap().unwrap();
    store.apply(0, chain(), &batch("a\\b'c")).await.unwrap();
    let before = stored(&mut store).await;
    drop(store);
    assert_eq!(before.date, "2030-01-07");
    assert_eq!(before.granted_at, "2029-12-28T07:00:00.123Z");
    let name: String =
        usual.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    for setting in [
        "datestyle = 'German'",
        "timezone = 'Asia/Kathmandu'",
        "standard_conforming_strings = off",
        "bytea_output = 'escape'",
        "default_transaction_isolation = 'serializable'",
        "lc_numeric = 'C'",
        "escape_string_warning = off",
    ] {
        let alter = format!("ALTER DATABASE {name} SET {setting}");
        usual.batch_execute(&alter).await.unwrap();
    }
    let mut store = Store::open_to_read(&url).await.unwrap();
    assert_eq!(stored(&mut store).await, before);
    drop(store);
    let mut store = Store::open(&url).await.unwrap().unwrap();
    let (chain, _) = store.position().await.unwrap().unwrap();
    assert_eq!(chain.seq, 7);
    usual
        .batch_execute("DELETE FROM booking_rows; DELETE FROM seat_rows; DELETE FROM slots")
        .await
        .unwrap();
    let next = Chain { seq: 8, valid_seq: 8, ..chain };
    store.apply(7, next, &batch("a\\b'c")).await.unwrap();
    assert_eq!(stored(&mut store).await, before);
}

/// One that a release before this made is left as it is.
#[tokio::test]
async fn tables_of_another_version_are_refused_before_any_is_made() {
    let (url, usual) = database("").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bookings.sqlite");
    let before = "CREATE TABLE ledger_position (schema BIGINT); \
                  INSERT INTO ledger_position VALUES (4); CREATE TABLE bookings (id TEXT)";
    usual.batch_execute(before).await.unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch(before).unwrap();
    for url in [url, StoreUrl::Sqlite(path.clone())] {
        let refused = Store::open(&url).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unsuitable(_)), "{refused:?}");
        let said = refused.to_string();
        assert!(said.contains("version 4") && said.contains("empty store"), "{said}");
    }
    let made = usual.query_one("SELECT to_regclass('booking_rows') IS NOT NULL", &[]).await;
    assert!(!made.unwrap().get::<_, bool>(0));
    let sqlite = rusqlite::Connection::open(&path).unwrap();
    assert!(!sqlite.table_exists(None, "booking_rows").unwrap());
}

/// Readers name the views: whoever asks for one booking does not read them all. Seen to
/// fail: a view that computes the id.
#[tokio::test]
async fn a_view_finds_one_booking_by_its_id() {
    let asked = ["bookings WHERE id = 'x'", "seats WHERE booking_id = 'x'"];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bookings.sqlite");
    Store::open(&StoreUrl::Sqlite(path.clone())).await.unwrap().unwrap();
    let sqlite = rusqlite::Connection::open(&path).unwrap();
    for asked in asked {
        let plan = format!("EXPLAIN QUERY PLAN SELECT * FROM {asked}");
        let mut plan = sqlite.prepare(&plan).unwrap();
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        assert!(steps.iter().all(|step| step.starts_with("SEARCH")), "{asked}: {steps:?}");
    }
    let (url, usual) = database("").await;
    Store::open(&url).await.unwrap().unwrap();
    // Tables that are empty would be read as a whole.
    usual.batch_execute("SET enable_seqscan = off").await.unwrap();
    for asked in asked {
        let plan = usual.query(&format!("EXPLAIN SELECT * FROM {asked}"), &[]).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        assert!(!steps.iter().any(|step| step.contains("Seq Scan")), "{asked}: {steps:?}");
    }
}

/// An operator has to mend these: trying again for ever would not.
#[tokio::test]
async fn a_database_without_a_schema_is_refused() {
    let (url, usual) = database("").await;
    let name: String =
        usual.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    usual.batch_execute(&format!("ALTER DATABASE {name} SET search_path = ''")).await.unwrap();
    let refused = Store::open(&url).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unsuitable(_)), "{refused:?}");
}

/// A persister that vanishes keeps its lock no longer than the server needs to see
/// that it is gone.
#[tokio::test]
async fn the_server_ends_sessions_from_which_it_hears_nothing() {
    let (url, usual) = database("").await;
    let store = Store::open(&url).await.unwrap().unwrap();
    assert!(Store::open(&url).await.unwrap().is_none(), "a second one waits");
    let StoreUrl::Postgres(text) = &url else { unreachable!("as it was made") };
    let client = super::session::to_write(text).await.unwrap();
    assert!(client.is_none(), "the lock is held");
    drop(store);
    let client = loop {
        if let Some(client) = super::session::to_write(text).await.unwrap() {
            break client;
        }
    };
    for (name, value) in [
        ("statement_timeout", "1min"),
        ("idle_session_timeout", "20s"),
        ("tcp_user_timeout", "10000"),
        ("tcp_keepalives_idle", "5"),
        ("client_connection_check_interval", "2s"),
    ] {
        let row = client.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), value, "{name}");
    }
    drop(usual);
}

/// Two files of one path on two machines are two stores; a store keeps its name.
#[test]
fn a_store_in_a_file_is_named_by_its_path() {
    for good in ["sqlite:b.sqlite", "sqlite:/var/lib/b.sqlite", "sqlite:./file:b"] {
        assert_eq!(good.parse::<StoreUrl>().unwrap().to_string(), good);
    }
    for bad in [
        "sqlite:",
        "sqlite::memory:",
        "sqlite:file:b?mode=memory",
        "sqlite://b.sqlite",
        "sqlite:///var/lib/b.sqlite",
    ] {
        let told = bad.parse::<StoreUrl>().unwrap_err();
        assert!(told.contains("as in sqlite:bookings.sqlite"), "{told}");
    }
}

#[tokio::test]
async fn a_folder_is_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let url: StoreUrl = format!("sqlite:{}", folder.path().display()).parse().unwrap();
    match Store::open(&url).await {
        Err(StoreError::Unsuitable(told)) => assert!(told.contains("is a folder"), "{told}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_store_has_a_name_of_its_own() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut names = Vec::new();
    for folder in [&one, &other, &one] {
        let file = StoreUrl::Sqlite(folder.path().join("bookings.sqlite"));
        let store = Store::open(&file).await.unwrap().unwrap();
        let durable = store.consumer(&file);
        assert!(durable.name.starts_with("giliran-persist-sqlite-"), "{durable:?}");
        assert!(durable.description.contains("bookings.sqlite on "), "{durable:?}");
        names.push(durable.name);
    }
    assert_ne!(names[0], names[1]);
    assert_eq!(names[0], names[2]);
    let (url, _) = database("").await;
    let first = Store::open(&url).await.unwrap().unwrap().consumer(&url).name;
    let again = loop {
        if let Some(store) = Store::open(&url).await.unwrap() {
            break store.consumer(&url).name;
        }
    };
    assert_eq!(first, again);
}

//! PostgreSQL: one statement takes the place and writes the booking, a transaction each;
//! the second booking of an applicant violates the primary key and takes nothing.

use futures_util::future::join_all;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};

use crate::job::{BOOKED, QUOTA, Request, SLOTS};

const URL: &str = "GILIRAN_BENCH_POSTGRES";
/// Rows that change all the time leave room on their page for their next version.
const TABLES: &str = "\
    DROP TABLE IF EXISTS bookings, slots;
    CREATE TABLE slots (id integer PRIMARY KEY, quota integer NOT NULL, free integer NOT NULL)
        WITH (fillfactor = 10);
    CREATE TABLE bookings (applicant text PRIMARY KEY, slot integer NOT NULL,
        number integer NOT NULL, request_id text NOT NULL,
        granted_at timestamptz NOT NULL DEFAULT now());";
const BOOK: &str = "\
    WITH taken AS (UPDATE slots SET free = free - 1 WHERE id = $2 AND free > 0
        RETURNING quota - free AS number)
    INSERT INTO bookings (applicant, slot, number, request_id)
        SELECT $1, $2, number, $3 FROM taken";
/// What the table of results says of the server.
const SETTINGS: [&str; 9] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "autovacuum",
];
/// What has to be on, or an acknowledged booking can be lost.
const DURABLE: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

pub(crate) struct Postgres {
    url: String,
    client: Client,
}

pub(crate) struct Lane {
    client: Client,
    book: Statement,
}

impl Postgres {
    /// The server that the environment names, if it makes durable what it acknowledges.
    pub(crate) async fn connect() -> Result<Self, String> {
        let url = std::env::var(URL).map_err(|_| format!("{URL} names no database"))?;
        let client = connect(&url).await.map_err(|error| format!("{URL}: {error}"))?;
        let postgres = Self { url, client };
        for setting in DURABLE {
            let value = postgres.shown(setting).await;
            if value != "on" {
                return Err(format!(
                    "{URL}: {setting} is {value}, so what it acknowledges is not durable; \
                     expected on"
                ));
            }
        }
        Ok(postgres)
    }

    async fn shown(&self, setting: &str) -> String {
        self.client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0)
    }

    pub(crate) async fn prepare(&mut self, book: u64) {
        self.client.batch_execute(TABLES).await.unwrap();
        let fill = format!(
            "INSERT INTO slots SELECT n, {QUOTA}, {QUOTA} FROM generate_series(0, {SLOTS}) AS n;
             INSERT INTO bookings SELECT lpad(({BOOKED} + n)::text, 16, '0'), 0, 0,
                 'book-' || lpad(n::text, 10, '0') FROM generate_series(1, {book}) AS n;
             VACUUM ANALYZE slots; VACUUM ANALYZE bookings; CHECKPOINT"
        );
        // One by one: neither VACUUM nor CHECKPOINT goes into a transaction with others.
        for statement in fill.split(';') {
            self.client.batch_execute(statement).await.unwrap();
        }
    }

    pub(crate) async fn settings(&self) -> String {
        let mut said = Vec::new();
        for setting in SETTINGS {
            said.push(format!("{setting} {}", self.shown(setting).await));
        }
        said.join(", ")
    }

    /// Of the process that all the others are children of, where that is on this machine.
    pub(crate) async fn pid(&self) -> Option<u32> {
        let row = self.client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", row.get::<_, i32>(0))).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    }

    pub(crate) async fn lane(&self) -> Lane {
        let client = connect(&self.url).await.unwrap();
        let book = client.prepare(BOOK).await.unwrap();
        Lane { client, book }
    }
}

impl Lane {
    /// All at once, one behind the other on the connection.
    pub(crate) async fn book(&mut self, requests: &[Request]) -> Vec<bool> {
        join_all(requests.iter().map(|request| self.one(request))).await
    }

    async fn one(&self, request: &Request) -> bool {
        let slot = request.slot as i32;
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&request.applicant, &slot, &request.id];
        match self.client.execute(&self.book, &row).await {
            Ok(rows) => rows == 1,
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => false,
            Err(error) => panic!("PostgreSQL: {error}"),
        }
    }
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

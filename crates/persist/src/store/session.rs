//! A session with PostgreSQL: made within bounds, kept alive from both sides, and
//! the server's own.
//!
//! A host that vanishes sends no last word. So the client counts how long what it
//! sent stays unacknowledged, and asks an idle server every second whether it is
//! there; and the server ends a session from which it hears nothing, since the lock
//! by which one process alone writes a store lives as long as its session.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::config::Host;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, CopyInSink, Row, SimpleQueryMessage, Statement, Transaction};

use super::{StoreError, tls};

/// Where PostgreSQL listens if its address does not say otherwise.
const DEFAULT_PORT: u16 = 5_432;
/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The same with the login; also where the server takes the connection, and hangs.
const LOGIN_WITHIN: Duration = Duration::from_secs(8);
/// How long what was sent may stay unacknowledged by the server's host.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// After so much silence the server's host is asked whether it is there, and again
/// so often, so many times.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVES: u32 = 3;
/// How long an idle server may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The server's side, for sessions that write. A session that lives says something
/// every second.
const SETTINGS: [(&str, &str); 8] = [
    ("statement_timeout", "60s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "20s"),
    ("idle_session_timeout", "20s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10s"),
];
/// Also in the middle of a statement. Not every system can look.
const CHECK: &str = "SET client_connection_check_interval = '2s'";

/// Held by the one that writes, for as long as its session lives.
const WRITER_LOCK: i64 = 0x6769_6c69_7261_6e01;

/// A session that writes; none: another process does.
///
/// # Errors
///
/// Where the server cannot be reached, or a pooler stands before it whose sessions
/// are not the client's own.
pub(super) async fn to_write(url: &str) -> Result<Option<Client>, StoreError> {
    let client = connect(url).await?;
    refuse_pooler(url, &client).await?;
    let mut set = "SELECT ".to_owned();
    for (name, value) in SETTINGS {
        // A setting that this server does not have yet is left out.
        let _ = write!(
            set,
            "(SELECT set_config(name, '{value}', false) FROM pg_settings WHERE name = '{name}'), "
        );
    }
    let held = format!("{set} pg_try_advisory_lock({WRITER_LOCK}) AS held");
    let held = answer(&client, &held, "held").await?;
    if let Err(error) = client.batch_execute(CHECK).await {
        tracing::debug!(error = %words(&error), "PostgreSQL does not look after its clients");
    }
    Ok((held == "t").then_some(client))
}

/// A session.
///
/// # Errors
///
/// Where the server cannot be reached.
pub(super) async fn connect(url: &str) -> Result<Client, StoreError> {
    let (mut config, tls) = tls::split(url).map_err(StoreError::Unsuitable)?;
    // A certificate may be on its way to be replaced.
    let tls = tls.connector().map_err(StoreError::Unavailable)?;
    config.application_name("giliran");
    config.connect_timeout(CONNECT_WITHIN);
    config.tcp_user_timeout(UNACKNOWLEDGED);
    config.keepalives(true);
    config.keepalives_idle(KEEPALIVE_IDLE);
    config.keepalives_interval(KEEPALIVE_EVERY);
    config.keepalives_retries(KEEPALIVES);
    let connected = tokio::time::timeout(LOGIN_WITHIN, config.connect(tls)).await;
    let place = place(&config);
    let silent = |_| {
        let seconds = LOGIN_WITHIN.as_secs();
        StoreError::Unavailable(format!("{place} did not take the login within {seconds} s"))
    };
    let refused = |error| match failed(error) {
        StoreError::Unavailable(why) => StoreError::Unavailable(format!("{place}: {why}")),
        other => other,
    };
    let (client, connection) = connected.map_err(silent)?.map_err(refused)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(error = %words(&error), "the connection to PostgreSQL ended");
        }
    });
    Ok(client)
}

/// Which servers are meant, in words: a connection that is refused does not say by whom.
fn place(config: &tokio_postgres::Config) -> String {
    let port = |i: usize| config.get_ports().get(i).or(config.get_ports().last()).copied();
    let host = |(i, host): (usize, &Host)| match host {
        Host::Tcp(name) => format!("{name}:{}", port(i).unwrap_or(DEFAULT_PORT)),
        Host::Unix(folder) => folder.display().to_string(),
    };
    let hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
    format!("PostgreSQL at {}", hosts.join(", "))
}

/// Whether an idle server answers.
///
/// # Errors
///
/// [`StoreError::Unavailable`] where it does not.
pub(super) async fn look(client: &Client) -> Result<(), StoreError> {
    match tokio::time::timeout(ANSWERS_WITHIN, client.simple_query("SELECT 1")).await {
        Ok(answer) => answer.map(drop).map_err(failed),
        Err(_) => {
            let seconds = ANSWERS_WITHIN.as_secs();
            Err(StoreError::Unavailable(format!("PostgreSQL has not answered for {seconds} s")))
        }
    }
}

/// A pooler that hands a server's session from client to client, one transaction
/// each, takes the lock and the settings with it. Such a one is known by what no
/// server does: a second client finds itself in the first one's session, or the
/// first one in another.
async fn refuse_pooler(url: &str, client: &Client) -> Result<(), StoreError> {
    const SESSION: &str = "SELECT pg_backend_pid() AS pid";
    let first = answer(client, SESSION, "pid").await?;
    // Where there is no second connection to be had nothing is found out.
    let Ok(other) = connect(url).await else { return Ok(()) };
    other.batch_execute("BEGIN").await.map_err(failed)?;
    let second = answer(&other, SESSION, "pid").await?;
    // Who is in the first one's session keeps it from answering.
    if first == second || first != answer(client, SESSION, "pid").await? {
        return Err(StoreError::Unsuitable(POOLED.to_owned()));
    }
    Ok(())
}

const POOLED: &str = "between this process and PostgreSQL stands a pooler that shares sessions \
    between clients (transaction or statement mode): the lock by which one process alone writes a \
    store would not hold. Name PostgreSQL itself, or a pool in session mode";

/// A column of a question's one row.
async fn answer(client: &Client, question: &str, column: &str) -> Result<String, StoreError> {
    let messages = client.simple_query(question).await.map_err(failed)?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(column),
        _ => None,
    });
    let silent = || StoreError::Unavailable("PostgreSQL answered without a row".to_owned());
    row.map(str::to_owned).ok_or_else(silent)
}

/// Statements that a session has prepared, by their text.
#[derive(Default)]
pub(super) struct Statements(HashMap<&'static str, Statement>);

/// A transaction that writes. Its statements are prepared once a session.
pub(super) struct WriteTransaction<'a> {
    transaction: Transaction<'a>,
    statements: &'a mut Statements,
}

type Params<'a> = [&'a (dyn ToSql + Sync)];

impl<'a> WriteTransaction<'a> {
    pub(super) fn new(transaction: Transaction<'a>, statements: &'a mut Statements) -> Self {
        Self { transaction, statements }
    }

    async fn prepared(&mut self, text: &'static str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.0.get(text) {
            return Ok(statement.clone());
        }
        let statement = self.transaction.prepare(text).await.map_err(failed)?;
        self.statements.0.insert(text, statement.clone());
        Ok(statement)
    }

    pub(super) async fn execute(
        &mut self,
        text: &'static str,
        params: &Params<'_>,
    ) -> Result<(), StoreError> {
        let statement = self.prepared(text).await?;
        self.transaction.execute(&statement, params).await.map_err(failed)?;
        Ok(())
    }

    pub(super) async fn query_opt(
        &mut self,
        text: &'static str,
        params: &Params<'_>,
    ) -> Result<Option<Row>, StoreError> {
        let statement = self.prepared(text).await?;
        self.transaction.query_opt(&statement, params).await.map_err(failed)
    }

    pub(super) async fn copy_in(
        &mut self,
        text: &'static str,
    ) -> Result<CopyInSink<Bytes>, StoreError> {
        let statement = self.prepared(text).await?;
        self.transaction.copy_in(&statement).await.map_err(failed)
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(failed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn failed(error: tokio_postgres::Error) -> StoreError {
    let words = words(&error);
    let code = error.code().map(tokio_postgres::error::SqlState::code).unwrap_or_default();
    match (code, code.get(..2).unwrap_or_default()) {
        // A prepared statement that is there already, or is not there any more: the
        // session is not this client's own.
        ("42P05" | "26000", _) => StoreError::Unsuitable(format!("{words}: {POOLED}")),
        // Integrity constraint violation.
        (_, "23") => StoreError::Contradiction(words),
        // Data exception: the same rows would be refused for ever.
        (_, "22") => StoreError::Unstorable(words),
        // No such table.
        ("42P01", _) => StoreError::Unsuitable(format!(
            "{words}; has `giliran persist` ever written into this database?"
        )),
        // Syntax error, access rule violation, or no such schema: an operator has to
        // mend it.
        (_, "42" | "3F") => StoreError::Unsuitable(words),
        _ => StoreError::Unavailable(words),
    }
}

/// An error with its causes; its own words are a category alone.
pub(super) fn words(error: &tokio_postgres::Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let _ = write!(words, ": {cause}");
        source = cause.source();
    }
    if let Some(detail) = error.as_db_error().and_then(|error| error.detail()) {
        let _ = write!(words, " ({detail})");
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::place;

    #[test]
    fn a_server_that_refuses_is_named() {
        for (url, named) in [
            ("postgres://giliran@db.example/giliran", "PostgreSQL at db.example:5432"),
            ("postgres://giliran@a:1,b:2/giliran", "PostgreSQL at a:1, b:2"),
            ("postgres:///giliran?host=/run/postgresql", "PostgreSQL at /run/postgresql"),
        ] {
            assert_eq!(place(&url.parse().unwrap()), named, "{url}");
        }
    }
}

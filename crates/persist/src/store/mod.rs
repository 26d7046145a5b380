//! The two databases behind one face.

mod actions;
mod copy;
mod postgres;
mod session;
mod sqlite;
#[cfg(test)]
mod tests;
mod texts;
mod tls;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use giliran_nats::ledger::reader::Durable;
use giliran_wire::ledger::{Chain, OpeningRecord, Stage};

use crate::rows::{Batch, Stored, StoredAction};

/// The tables' version, counted up with every change of a table; a store of another one
/// is refused.
const SCHEMA: i64 = 5;

/// How long opening a store may take.
const OPENS_WITHIN: Duration = Duration::from_secs(20);
/// How long reading its position may take.
const READS_WITHIN: Duration = Duration::from_secs(20);
/// How long a transaction may take: longer than the server lets a statement run.
const WRITES_WITHIN: Duration = Duration::from_secs(90);

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    Postgres(String),
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("sqlite:") {
            Some("") => Err("sqlite: a path is missing, as in sqlite:bookings.sqlite".to_owned()),
            // What SQLite keeps in memory, or opens otherwise than as a file.
            Some(path) if path.starts_with(':') || path.starts_with("file:") => Err(format!(
                "{text:?} names no file on a disk: its path is needed, as in sqlite:bookings.sqlite"
            )),
            Some(path) if path.starts_with("//") => Err(format!(
                "{text:?}: a path follows the colon without `//`, as in sqlite:bookings.sqlite or \
                 sqlite:/var/lib/giliran/bookings.sqlite"
            )),
            Some(path) => Ok(Self::Sqlite(path.into())),
            None if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                let shown = without_password(text);
                let config = tls::split(text).map(|(config, _)| config);
                let config = config.map_err(|error| format!("{shown}: {error}"))?;
                // Without one every try to connect would fail, for ever.
                if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
                    return Err(format!(
                        "{shown}: a host is missing, as in postgres://giliran@db/giliran or \
                         postgres:///giliran?host=/run/postgresql"
                    ));
                }
                Ok(Self::Postgres(text.to_owned()))
            }
            None => Err(format!(
                "{:?} is not a store; expected sqlite:PATH or postgres://USER@HOST/DATABASE",
                without_password(text)
            )),
        }
    }
}

/// Without its password, if it has one.
impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl StoreUrl {
    /// Which kind of database it is, in a word.
    fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }
}

/// A store's name for itself: two files of one path on two machines are two stores.
fn new_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{user}@{host}")
        }
        None => rest.to_owned(),
    };
    // A password may also stand among the parameters.
    format!("{scheme}://{}", rest.split('?').next().unwrap_or_default())
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not now; the same may work later.
    #[error("{0}")]
    Unavailable(String),
    /// The rows contradict what the database holds: a number or an applicant
    /// twice, or another writer's position.
    #[error("{0}")]
    Contradiction(String),
    /// A value of the ledger that the database cannot hold, by sequence and field:
    /// trying again would not help.
    #[error(
        "it cannot hold {0}. The ledger is whole; a store in SQLite (--store sqlite:PATH) holds \
         every text, and a release after this one may hold this"
    )]
    Unstorable(String),
    /// The database is not one of Giliran's, or of another version.
    #[error("{0}")]
    Unsuitable(String),
}

pub struct Store(Kind);

enum Kind {
    Sqlite(sqlite::Sqlite),
    Postgres(Box<postgres::Postgres>),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Sqlite(_) => "Store(SQLite)",
            Kind::Postgres(_) => "Store(PostgreSQL)",
        })
    }
}

impl Store {
    /// Opens the database to write; makes its tables if there are none. None:
    /// another process writes it.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached or is not suitable.
    pub async fn open(url: &StoreUrl) -> Result<Option<Self>, StoreError> {
        let open = async {
            Ok(match url {
                StoreUrl::Sqlite(path) => {
                    sqlite::Sqlite::open(path.clone()).await?.map(|store| Self(Kind::Sqlite(store)))
                }
                StoreUrl::Postgres(url) => postgres::Postgres::open(url)
                    .await?
                    .map(|store| Self(Kind::Postgres(Box::new(store)))),
            })
        };
        within(OPENS_WITHIN, open).await
    }

    /// The consumer by which the broker knows this store, and what is said of it to
    /// people.
    pub(crate) fn consumer(&self, url: &StoreUrl) -> Durable {
        let (id, place) = match &self.0 {
            Kind::Sqlite(store) => (store.id(), format!("{url} on {}", host())),
            Kind::Postgres(store) => (store.id(), url.to_string()),
        };
        Durable { name: format!("giliran-persist-{}-{id}", url.kind()), description: place }
    }

    /// Opens the database to read, beside its writer.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached, or does not exist.
    pub async fn open_to_read(url: &StoreUrl) -> Result<Self, StoreError> {
        Ok(Self(match url {
            StoreUrl::Sqlite(path) => {
                Kind::Sqlite(sqlite::Sqlite::open_to_read(path.clone()).await?)
            }
            StoreUrl::Postgres(url) => {
                Kind::Postgres(Box::new(postgres::Postgres::open_to_read(url).await?))
            }
        }))
    }

    /// Its ledger position and the openings on record up to there; none: empty.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub async fn position(&mut self) -> Result<Option<(Chain, Vec<OpeningRecord>)>, StoreError> {
        match &mut self.0 {
            Kind::Sqlite(store) => within(READS_WITHIN, store.position()).await,
            Kind::Postgres(store) => within(READS_WITHIN, store.position()).await,
        }
    }

    /// Whether the database that was opened is still there, and answers.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] where it does not, or is not where it was.
    pub(crate) async fn look(&mut self) -> Result<(), StoreError> {
        match &mut self.0 {
            Kind::Sqlite(store) => store.look().await,
            Kind::Postgres(store) => store.look().await,
        }
    }

    /// Every booking and the position they are true at, in one transaction.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub async fn bookings(&mut self) -> Result<(Chain, Vec<Stored>), StoreError> {
        match &mut self.0 {
            Kind::Sqlite(store) => store.bookings().await,
            Kind::Postgres(store) => store.bookings().await,
        }
    }

    /// What operators and engines did, in the ledger's order.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub async fn actions(&mut self) -> Result<Vec<StoredAction>, StoreError> {
        match &mut self.0 {
            Kind::Sqlite(store) => store.actions().await,
            Kind::Postgres(store) => store.actions().await,
        }
    }

    /// Writes rows and position, all or nothing; the position must stand at
    /// `from`.
    pub(crate) async fn apply(
        &mut self,
        from: u64,
        to: Chain,
        batch: &std::sync::Arc<Batch>,
    ) -> Result<(), StoreError> {
        match &mut self.0 {
            Kind::Sqlite(store) => store.apply(from, to, std::sync::Arc::clone(batch)).await,
            Kind::Postgres(store) => within(WRITES_WITHIN, store.apply(from, to, batch)).await,
        }
    }
}

/// What a store does, within so long.
async fn within<T>(
    longest: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable(format!("no answer for {} s", longest.as_secs()));
    tokio::time::timeout(longest, work).await.map_err(late)?
}

/// This machine's name, for people.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "this machine".to_owned() } else { name.to_owned() }
}

/// The position's fields as text and numbers, in the order of both tables.
fn position_fields(chain: &Chain) -> Option<(String, String, String)> {
    Some((chain.ledger?.to_string(), chain.hash.to_string(), chain.writer.to_string()))
}

/// The position a row of `ledger_position` tells, once [`expect_schema`] has let it pass.
struct PositionRow {
    ledger: String,
    generation: i64,
    epoch: i64,
    seq: i64,
    valid_seq: i64,
    number: i64,
    hash: String,
    writer: String,
    time_ms: i64,
}

/// Refuses tables of another version; their columns are not known.
fn expect_schema(found: i64) -> Result<(), StoreError> {
    if found == SCHEMA {
        return Ok(());
    }
    Err(StoreError::Unsuitable(format!(
        "its tables are of version {found}, this release writes version {SCHEMA}: begin with an \
         empty store, it is written anew from the ledger"
    )))
}

impl PositionRow {
    fn chain(self) -> Result<Chain, StoreError> {
        let unreadable = || StoreError::Unsuitable("ledger_position cannot be read".to_owned());
        Ok(Chain {
            ledger: Some(self.ledger.parse().map_err(|_| unreadable())?),
            generation: u32::try_from(self.generation).map_err(|_| unreadable())?,
            seq: self.seq as u64,
            valid_seq: self.valid_seq as u64,
            number: self.number as u64,
            hash: self.hash.parse().map_err(|_| unreadable())?,
            epoch: self.epoch as u64,
            writer: self.writer.parse().map_err(|_| unreadable())?,
            time: giliran_wire::Timestamp::from_millis(self.time_ms),
            // No store stands between a seal and the next generation's facts.
            stage: Stage::Open,
            // Nor behind what may become void.
            doubt: None,
        })
    }
}

fn encode_record(record: &OpeningRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    giliran_wire::codec::encode_into(record, &mut bytes);
    bytes
}

fn decode_record(bytes: &[u8]) -> Result<OpeningRecord, StoreError> {
    giliran_wire::codec::decode(bytes)
        .map_err(|error| StoreError::Unsuitable(format!("an opening's record: {error}")))
}

#[cfg(test)]
mod urls {
    use super::*;

    #[test]
    fn a_store_is_named_without_its_password() {
        let url: StoreUrl =
            "postgres://giliran:se@cret@db/giliran?sslmode=disable".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://giliran@db/giliran");
        let url: StoreUrl = "sqlite:/var/lib/b.sqlite".parse().unwrap();
        assert_eq!(url, StoreUrl::Sqlite("/var/lib/b.sqlite".into()));
        for fine in
            ["postgres://db", "postgres:///giliran?host=/run/postgresql", "postgresql://[::1]/x"]
        {
            assert!(fine.parse::<StoreUrl>().is_ok(), "{fine}");
        }
        for hostless in ["postgres://", "postgres:///giliran", "postgres://giliran@/giliran"] {
            let refused = hostless.parse::<StoreUrl>().unwrap_err();
            assert!(refused.contains("a host is missing"), "{hostless}: {refused}");
        }
        for bad in ["mysql://x", "sqlite:", "bookings.sqlite", ""] {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad}");
        }
    }
}

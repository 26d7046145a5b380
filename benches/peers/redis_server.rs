//! Redis: one script takes the place and writes the booking; its append-only file is the
//! log, synced before the answers of each turn or once a second.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, cmd, pipe};
use tokio::process::{Child, Command};

use crate::job::{BOOKED, QUOTA, Request, SLOTS};

const PROGRAM: &str = "GILIRAN_REDIS_SERVER";
/// Bookings that one call of [`FILL`] makes.
const FILLED_AT_ONCE: u64 = 10_000;
/// How often, and how many times, it is asked whether the server is there.
const PAUSE: Duration = Duration::from_millis(50);
const TRIES: u32 = 200;

const BOOK: &str = "\
    if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end \
    local free = tonumber(redis.call('GET', KEYS[2])) \
    if not free or free <= 0 then return 0 end \
    redis.call('DECR', KEYS[2]) \
    redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. KEYS[2] .. ' ' .. free) \
    return 1";
const FILL: &str = "\
    for n = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do \
        redis.call('SET', 'a:' .. string.format('%016.0f', n), 'booked s:0 0') \
    end";
/// What the table of results says of the server.
const SETTINGS: [&str; 5] = [
    "appendonly",
    "no-appendfsync-on-rewrite",
    "save",
    "auto-aof-rewrite-percentage",
    "io-threads",
];

pub(crate) struct Redis {
    server: Child,
    client: Client,
    connection: MultiplexedConnection,
    version: String,
}

pub(crate) struct Lane {
    connection: MultiplexedConnection,
    script: String,
}

impl Redis {
    /// Starts the server that the environment names; it ends with this process.
    pub(crate) async fn start(folder: &Path) -> Result<Self, String> {
        let program =
            std::env::var_os(PROGRAM).ok_or_else(|| format!("{PROGRAM} names no redis-server"))?;
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let port = port.map_err(|error| error.to_string())?.port().to_string();
        // As its manual says where every acknowledged write is to stay: the append-only
        // file alone, no snapshots beside it. A rewrite would fall into some passes only.
        let server = Command::new(&program)
            .args(["--bind", "127.0.0.1", "--port", &port, "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--save", "", "--dir"])
            .arg(folder)
            .args(["--auto-aof-rewrite-percentage", "0"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{PROGRAM} names {}: {error}", program.display()))?;
        let client = Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
        for _ in 0..TRIES {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let info: String =
                    cmd("INFO").arg("server").query_async(&mut connection).await.unwrap();
                let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
                let version = version.unwrap_or("?").to_owned();
                return Ok(Self { server, client, connection, version });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(format!("{} does not answer on port {port}", program.display()))
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.server.id()
    }

    pub(crate) async fn prepare(&mut self, book: u64) {
        self.sync("everysec").await;
        let mut connection = self.connection.clone();
        let () = cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
        for first in (0..book).step_by(FILLED_AT_ONCE as usize) {
            let range = [BOOKED + first, BOOKED + book.min(first + FILLED_AT_ONCE)];
            let () = cmd("EVAL")
                .arg(FILL)
                .arg(0)
                .arg(&range)
                .query_async(&mut connection)
                .await
                .unwrap();
        }
        let mut slots = pipe();
        (0..=SLOTS).for_each(|slot| {
            slots.cmd("SET").arg(format!("s:{slot}")).arg(QUOTA).ignore();
        });
        let () = slots.query_async(&mut connection).await.unwrap();
    }

    /// Has the file synced so, and asks whether it is.
    pub(crate) async fn sync(&self, how: &str) {
        let mut connection = self.connection.clone();
        let () = cmd("CONFIG")
            .arg(&["SET", "appendfsync", how])
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(
            (self.get("appendfsync").await, self.get("appendonly").await),
            (how.into(), "yes".into())
        );
    }

    async fn get(&self, setting: &str) -> String {
        let mut connection = self.connection.clone();
        let said: Vec<String> =
            cmd("CONFIG").arg(&["GET", setting]).query_async(&mut connection).await.unwrap();
        said.into_iter().nth(1).unwrap_or_default()
    }

    pub(crate) async fn settings(&self) -> String {
        let mut said = vec![format!("version {}", self.version)];
        for setting in SETTINGS {
            said.push(format!("{setting} {:?}", self.get(setting).await));
        }
        said.join(", ")
    }

    pub(crate) async fn lane(&self) -> Lane {
        let mut connection = self.client.get_multiplexed_async_connection().await.unwrap();
        let script = cmd("SCRIPT").arg(&["LOAD", BOOK]).query_async(&mut connection).await;
        Lane { connection, script: script.unwrap() }
    }
}

impl Lane {
    pub(crate) async fn book(&mut self, requests: &[Request]) -> Vec<bool> {
        let mut all = pipe();
        for Request { id, applicant, slot } in requests {
            let keys = [format!("a:{applicant}"), format!("s:{slot}")];
            all.cmd("EVALSHA").arg(&self.script).arg(2).arg(&keys).arg(id);
        }
        all.query_async(&mut self.connection).await.unwrap()
    }
}

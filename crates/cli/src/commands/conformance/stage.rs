//! What the live cases play on: a broker of their own, and two engines, one whose openings are
//! first come, first served, and one whose opening is drawn.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::Client;
use giliran_config::Config;
use giliran_nats::clock;
use giliran_nats::server::{self, Server, ServerOptions};
use giliran_wire::Timestamp;
use giliran_wire::subject::Namespace;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::commands::init;
use crate::connect::Access;
use crate::daemons::{EngineSetup, start_engine, start_feed};
use crate::failure::Failure;
use crate::health::{Health, HealthRegistry};
use crate::key_file;

/// The opening that is open.
pub(super) const OPEN: &str = "open";
/// The one that is drawn.
pub(super) const DRAWN: &str = "drawn";
/// An office with places for everybody, and one with a single place.
pub(super) const OFFICES: [&str; 2] = ["alpha", "beta"];
/// Session of the single place.
pub(super) const SINGLE: &str = "single";
/// After how many seconds openings open that are not open yet: a case takes the next one that it
/// can still come too early for.
const LATER_S: [u64; 5] = [6, 12, 24, 48, 96];
/// How many days ahead the places are; each opening has days of its own.
const DAYS_AHEAD: u64 = 20;
const DAY_MS: u64 = 86_400_000;
/// How long openings stay open.
const LASTS_MS: u64 = 6 * 3_600_000;
/// How long a role may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Which of the two engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    FirstCome,
    Draw,
}

/// Broker and engines; what runs ends when dropped.
pub(super) struct Stage {
    server: Option<Server>,
    folder: PathBuf,
    pub(super) client: Client,
    pub(super) url: String,
    later: Vec<(String, Timestamp)>,
    stop: CancellationToken,
    _shown: Vec<HealthRegistry>,
}

impl Stage {
    pub(super) async fn start() -> Result<Self, Failure> {
        let folder =
            std::env::temp_dir().join(format!("giliran-kit-{:08x}", rand::random::<u32>()));
        std::fs::create_dir_all(&folder)?;
        let server = Server::start(ServerOptions {
            binary: server::locate()?,
            folder: folder.join("nats"),
            port: None,
            sync_always: false,
            more: String::new(),
        })
        .await?;
        let url = server.url();
        let client = Access::default().connect(&url, "giliran conformance").await?;
        let stop = CancellationToken::new();
        let begins = clock::now();
        let mut shown = Vec::new();
        for ground in [Ground::FirstCome, Ground::Draw] {
            let name = ground.namespace();
            let config = config(ground, begins)?;
            let data = folder.join(name.prefix());
            shown.push(play(&client, config, data, stop.clone()).await?);
        }
        let later = LATER_S.map(|s| (later_id(s), begins.plus_millis(s * 1_000))).into();
        Ok(Self { server: Some(server), folder, client, url, later, stop, _shown: shown })
    }

    /// The opening that is not open for a while yet, and when it opens; waits where there is only
    /// a later one for longer than needed.
    pub(super) fn next_later(&self, at_least: Duration) -> Option<(&str, Duration)> {
        let now = clock::now();
        self.later.iter().find_map(|(id, opens_at)| {
            let left = Duration::from_millis(opens_at.millis_since(now));
            (left > at_least).then_some((id.as_str(), left))
        })
    }

    /// Asks an engine, without a relay between.
    pub(super) async fn ask(
        &self,
        ground: Ground,
        operation: &str,
        request: &Value,
    ) -> Result<Value, String> {
        let subject = ground.namespace().request(operation);
        let asked = self.client.request(subject, request.to_string().into()).await;
        let message =
            asked.map_err(|error| format!("the engine was asked {operation}: {error}"))?;
        serde_json::from_slice(&message.payload).map_err(|error| error.to_string())
    }

    /// Closes the drawn opening, so that it is drawn.
    pub(super) async fn close_draw(&self) -> Result<Value, String> {
        let request = json!({
            "operator": "conformance kit", "reason": "everybody has entered", "opening": DRAWN,
            "closes_at": clock::now().to_string(),
        });
        self.ask(Ground::Draw, "admin.closes_at", &request).await
    }

    pub(super) async fn end(mut self) {
        self.stop.cancel();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _ = self.client.drain().await;
        if let Some(server) = self.server.take() {
            let _ = server.stop().await;
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Ground {
    pub(super) fn namespace(self) -> Namespace {
        let prefix = match self {
            Self::FirstCome => "kit-engine.v1",
            Self::Draw => "kit-draw.v1",
        };
        Namespace::new(prefix).unwrap_or_default()
    }
}

fn later_id(seconds: u64) -> String {
    format!("later-{seconds}")
}

/// The day so many days from now.
fn day(begins: Timestamp, ahead: u64) -> String {
    let text = begins.plus_millis((DAYS_AHEAD + ahead) * DAY_MS).to_string();
    text.chars().take("2026-11-30".len()).collect()
}

fn config(ground: Ground, begins: Timestamp) -> Result<Config, Failure> {
    let opening = |id: &str, opens_s: u64, ahead: u64| {
        let opens_at = begins.plus_millis(opens_s * 1_000);
        format!(
            "[[opening]]\nid = \"{id}\"\nopens_at = \"{opens_at}\"\ncloses_at = \"{}\"\n\
             dates = [\"{}\", \"{}\"]\n",
            opens_at.plus_millis(LASTS_MS),
            day(begins, ahead),
            day(begins, ahead + 1),
        )
    };
    let (rules, openings) = match ground {
        Ground::FirstCome => {
            let later = LATER_S.iter().zip(1..);
            let later = later.map(|(s, n): (_, u64)| opening(&later_id(*s), *s, 2 * n));
            (String::new(), opening(OPEN, 0, 0) + &later.collect::<String>())
        }
        Ground::Draw => {
            let rules = "[rules]\norder = \"draw\"\nhold = \"2h\"\n".to_owned();
            (rules, opening(DRAWN, 0, 0))
        }
    };
    let offices: String = OFFICES
        .map(|office| {
            let session = |id: &str, quota: u16, explicit: bool| {
                format!(
                    "[[office.session]]\nid = \"{id}\"\nquota = {quota}\nexplicit = {explicit}\n"
                )
            };
            let sessions = session("morning", 500, false) + &session(SINGLE, 1, true);
            format!("[[office]]\nid = \"{office}\"\nname = \"Kantor {office}\"\n{sessions}")
        })
        .concat();
    let prefix = ground.namespace();
    let text = format!("subject_prefix = \"{prefix}\"\n{rules}{openings}{offices}");
    giliran_config::parse(&text, "the kit's configuration")
        .map_err(|problems| Failure::Wrong(problems.to_string()))
}

/// An engine and its feed, ready.
async fn play(
    client: &Client,
    config: Config,
    data: PathBuf,
    stop: CancellationToken,
) -> Result<HealthRegistry, Failure> {
    std::fs::create_dir_all(&data)?;
    let shown = HealthRegistry::new(stop.clone())?;
    let namespace = config.namespace.clone();
    let key = key_file::make(&data.join(key_file::FILE))?;
    let ledger = init::make(client, &namespace, &key, 1).await?;
    let setup = EngineSetup {
        client: client.clone(),
        config,
        key,
        data,
        name: "kit".to_owned(),
        workers: Some(1),
        trust_clock: None,
        ledger: ledger.clone(),
    };
    start_engine(setup, &shown, stop.clone())?;
    start_feed(client.clone(), namespace.clone(), ledger, &shown, stop)?;
    let ready = async {
        loop {
            let all = shown.look().iter().all(Health::is_ready);
            let asked = client.request(namespace.request("availability"), "{}".into()).await;
            let shown = asked.is_ok_and(|message| {
                let answer = serde_json::from_slice::<Value>(&message.payload);
                answer.is_ok_and(|answer| answer["openings"][0]["state"] == "open")
            });
            if all && shown {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, ready).await.map_err(|_| {
        let s = READY_WITHIN.as_secs();
        Failure::Wrong(format!("the kit's own engine is not ready after {s} s"))
    })?;
    Ok(shown)
}

//! What every role says at every moment.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use giliran_nats::server::Server;
use serde_json::Value;

use crate::WITHIN;
use crate::promise::{Promise, stalled};
use crate::rig::{Rig, Role, get};

/// How often every role is asked how it stands.
const EVERY: Duration = Duration::from_millis(250);

/// Two engines, a store and a feed, each with what it has said.
pub(crate) struct Everybody {
    pub(crate) engines: [Role; 2],
    pub(crate) persist: Role,
    pub(crate) feed: Role,
}

/// What a part said, and when.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) part: &'static str,
    pub(crate) at: Instant,
    /// What the machine had kept others waiting by then.
    pub(crate) stalled: Duration,
    /// Its state; empty: nobody answered.
    pub(crate) state: String,
    pub(crate) ready: bool,
}

impl Everybody {
    /// Starts them, and waits until each does what it is for.
    pub(crate) async fn start(rig: &Rig, store: &str) -> Self {
        let active = rig.serve("a");
        rig.open().await;
        let standby = rig.serve("b");
        let all =
            Self { engines: [active, standby], persist: rig.persist(store), feed: rig.feed() };
        all.engines[1].until("engine", "standby", WITHIN).await;
        all.persist.until("persist", "following", WITHIN).await;
        all.feed.until("feed", "following", WITHIN).await;
        all
    }

    fn parts(&self) -> [(&'static str, &Role); 4] {
        let [a, b] = &self.engines;
        [("engine", a), ("engine", b), ("persist", &self.persist), ("feed", &self.feed)]
    }

    /// Waits until every one of them says this.
    pub(crate) async fn all_say(&self, state: &str, within: Duration) {
        let since = Instant::now();
        for (part, role) in self.parts() {
            role.until(part, state, within.saturating_sub(since.elapsed())).await;
        }
    }

    /// The same, as promised.
    pub(crate) async fn all_say_in_time(&self, state: &str, promise: &Promise) {
        for (part, role) in self.parts() {
            role.in_time(part, state, promise).await;
        }
    }

    /// All of them say this now.
    pub(crate) async fn all_still_say(&self, state: &str) {
        for (part, role) in self.parts() {
            role.still(part, state).await;
        }
    }

    /// Waits until one engine decides, and store and feed follow.
    pub(crate) async fn all_work(&self, within: Duration) {
        let since = Instant::now();
        self.work(|| since.elapsed() < within).await;
    }

    /// The same, as promised.
    pub(crate) async fn all_work_in_time(&self, promise: &Promise) {
        self.work(|| promise.stands()).await;
    }

    async fn work(&self, is_time: impl Fn() -> bool) {
        loop {
            let is_time = is_time();
            let mut ready = 0;
            for (part, role) in self.parts() {
                let health = role.health().await.unwrap_or_default();
                ready += usize::from(health[part]["ready"] == true);
            }
            if ready == 3 {
                return;
            }
            assert!(is_time, "{ready} of 3 are ready: {:#?}", self.say().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until all stand at this sequence.
    pub(crate) async fn all_stand_at(&self, seq: u64) {
        for (part, role) in self.parts() {
            let since = Instant::now();
            loop {
                let health = role.health().await.unwrap_or_default();
                if health[part]["seq"].as_u64() >= Some(seq) {
                    break;
                }
                assert!(since.elapsed() < WITHIN, "{part} does not come to {seq}: {health}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn say(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for (_, role) in self.parts() {
            all.push(role.health().await.unwrap_or_default());
        }
        all
    }

    /// No process has ended.
    pub(crate) fn all_live(&mut self) {
        let [a, b] = &mut self.engines;
        for role in [a, b, &mut self.persist, &mut self.feed] {
            assert!(role.is_alive(), "it ended; it said: {}", role.said());
        }
    }

    /// Writes down what every one of them says, until `stop` is dropped.
    pub(crate) fn listen(&self) -> Listener {
        let said = Arc::new(Mutex::new(Vec::new()));
        let tasks = self.parts().map(|(part, role)| {
            let (said, address) = (Arc::clone(&said), role.http().unwrap());
            tokio::spawn(async move {
                loop {
                    let (at, stalled) = (Instant::now(), stalled());
                    let page = get(&address, "/readyz").await;
                    let health: Value =
                        page.and_then(|page| serde_json::from_str(&page).ok()).unwrap_or_default();
                    let state = health[part]["state"].as_str().unwrap_or_default().to_owned();
                    let ready = health[part]["ready"] == true;
                    said.lock().unwrap().push(Said { part, at, stalled, state, ready });
                    tokio::time::sleep_until((at + EVERY).into()).await;
                }
            })
        });
        Listener { said, tasks }
    }
}

/// Writes down until it is dropped.
pub(crate) struct Listener {
    said: Arc<Mutex<Vec<Said>>>,
    tasks: [tokio::task::JoinHandle<()>; 4],
}

impl Listener {
    /// What was said from one moment to another.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Vec<Said> {
        let said = self.said.lock().unwrap();
        said.iter().filter(|said| said.at >= from && said.at < to).cloned().collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Role {
    /// False once it has ended.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until this part says that it is in this state, as promised.
    pub(crate) async fn in_time(&self, part: &str, state: &str, promise: &Promise) {
        self.until(part, state, WITHIN).await;
        let after = promise.since.elapsed();
        assert!(promise.stands(), "{part} says {state} after {after:?}, too late: {promise:?}");
    }

    /// It says so now.
    pub(crate) async fn still(&self, part: &str, state: &str) {
        let since = Instant::now();
        let health = loop {
            match self.health().await {
                Some(health) => break health,
                None => assert!(since.elapsed() < WITHIN, "{part} does not answer"),
            }
        };
        assert_eq!(health[part]["state"], state, "{health}");
    }

    /// The value of a metric without labels, or with these.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let page = get(&self.http()?, "/metrics").await?;
        let line = page
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|value| value.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Rig {
    /// The same, of a broker that is there, perhaps among others.
    pub(crate) async fn at(config: &str, server: Server, url: &str) -> Self {
        Self::with(tempfile::tempdir().unwrap(), config, server, url).await
    }

    /// Sends the broker's process a signal.
    pub(crate) fn signal_server(&self, name: &str) {
        let pid = self.server.pid().unwrap().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

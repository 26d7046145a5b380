//! Ledger, stores, events and client log against the promises.

mod clients;
mod facts;
mod generations;
mod limits;
mod orders;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use futures_util::{StreamExt, stream};
use giliran_nats::ledger::Ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_persist::{Store, StoreUrl};
use giliran_wire::answer::FreePlaces;
use giliran_wire::subject::Namespace;
use giliran_wire::{ApplicantKey, event};

pub use facts::Facts;
pub use orders::{PublishedSeed, Stage};

use giliran_nats::ledger::scan::ScanError;
use giliran_wire::client_log::Attempt;

/// How long those who follow the ledger may take to stand where it ended when
/// the audit began.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events asked for at once.
const EVENTS_AT_ONCE: usize = 64;
/// Most examples told of a broken promise.
const EXAMPLES: usize = 5;

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The promise, as `P1`; or `events`.
    pub promise: &'static str,
    /// What was looked at.
    pub what: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds, over so many things looked at.
    Holds(u64),
    /// It does not: some examples, and how many there are.
    Broken(Vec<String>, u64),
    /// It could not be looked at, and why.
    NotChecked(&'static str),
}

/// What stands to be audited.
#[derive(Debug, Default)]
pub struct Sources {
    /// Stores to hold against the ledger.
    pub stores: Vec<StoreUrl>,
    pub log: Option<Vec<Attempt>>,
    /// Turns the log's applicants into the ledger's pseudonyms.
    pub key: Option<ApplicantKey>,
    /// Where generations lie whose streams are gone.
    pub archive: Option<Archive>,
}

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Broker(#[from] giliran_nats::Error),
    /// A store cannot be read.
    #[error("{0}: {1}")]
    Store(StoreUrl, giliran_persist::StoreError),
}

/// Collects what is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Findings {
    looked_at: u64,
    wrong: u64,
    examples: Vec<String>,
}

impl Findings {
    pub(crate) fn new() -> Self {
        Self { looked_at: 0, wrong: 0, examples: Vec::new() }
    }

    pub(crate) fn look(&mut self, fine: bool, what: impl FnOnce() -> String) {
        self.looked_at += 1;
        if !fine {
            self.wrong += 1;
            if self.examples.len() < EXAMPLES {
                self.examples.push(what());
            }
        }
    }

    pub(crate) fn check(self, promise: &'static str, what: impl Into<String>) -> Check {
        let verdict = if self.wrong == 0 {
            Verdict::Holds(self.looked_at)
        } else {
            Verdict::Broken(self.examples, self.wrong)
        };
        Check { promise, what: what.into(), verdict }
    }
}

/// Reads everything and checks every promise that it can show.
///
/// # Errors
///
/// [`AuditError`] where something cannot be read at all.
pub async fn run(
    context: &Context,
    namespace: &Namespace,
    ledger: &Ledger,
    sources: Sources,
) -> Result<(Facts, Vec<Check>), AuditError> {
    let facts = Box::pin(Facts::of(ledger, sources.archive.as_ref())).await?;
    let mut checks = facts.checks();
    for url in &sources.stores {
        checks.push(store(url, &facts).await?);
    }
    if sources.stores.is_empty() {
        checks.push(not_checked("P9", "store = fold(ledger)", "no store was named"));
    }
    checks.push(events(context, namespace, &facts).await?);
    checks.push(availability(context, namespace, ledger, &facts).await);
    match &sources.log {
        Some(log) => checks.extend(clients::checks(log, &facts, sources.key.as_ref())),
        None => {
            for (promise, what) in clients::WHAT {
                checks.push(not_checked(promise, what, "no client log was given"));
            }
        }
    }
    let simulated = "shown by the simulation and the fault tests";
    checks.push(not_checked("P10", "service comes back by itself", simulated));
    Ok((facts, checks))
}

fn not_checked(promise: &'static str, what: &str, why: &'static str) -> Check {
    Check { promise, what: what.to_owned(), verdict: Verdict::NotChecked(why) }
}

async fn store(url: &StoreUrl, facts: &Facts) -> Result<Check, AuditError> {
    let failed = |error| AuditError::Store(url.clone(), error);
    let mut store = Store::open_to_read(url).await.map_err(failed)?;
    let since = Instant::now();
    let (position, mut stored) = loop {
        let (position, stored) = store.bookings().await.map_err(failed)?;
        if position.seq >= facts.tail() || since.elapsed() >= PATIENCE {
            break (position, stored);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    let mut findings = Findings::new();
    findings.look(position.seq >= facts.tail(), || {
        format!("it stands at sequence {}, the ledger ends at {}", position.seq, facts.tail())
    });
    // What came while the audit reads is for the next one.
    let later = |booking: &&giliran_persist::Stored| booking.ledger_seq > facts.tail();
    let later: HashSet<String> = stored.iter().filter(later).map(|b| b.id.clone()).collect();
    stored.retain(|booking| !later.contains(&booking.id));
    let mut expected = facts.stored();
    expected.retain(|booking| !later.contains(&booking.id));
    let hashes = (giliran_persist::hash(&mut expected), giliran_persist::hash(&mut stored));
    let by_id: HashMap<&str, _> = stored.iter().map(|b| (b.id.as_str(), b)).collect();
    for booking in &expected {
        findings.look(by_id.get(booking.id.as_str()) == Some(&booking), || {
            format!("{}: another row than the ledger says, or none", booking.id)
        });
    }
    findings.look(stored.len() == expected.len(), || {
        format!("{} bookings, the ledger has {}", stored.len(), expected.len())
    });
    findings.look(hashes.0 == hashes.1, || format!("hash {}, not {}", hashes.1, hashes.0));
    let mut actions = store.actions().await.map_err(failed)?;
    actions.retain(|action| action.ledger_seq <= facts.tail());
    let expected = facts.actions();
    findings.look(actions.len() == expected.len(), || {
        format!(
            "{} operators' and engines' actions, the ledger has {}",
            actions.len(),
            expected.len()
        )
    });
    for (expected, stored) in expected.iter().zip(&actions) {
        findings.look(expected == stored, || {
            let seq = expected.ledger_seq;
            format!(
                "action `{}` of sequence {seq}: another row than the ledger says",
                expected.action
            )
        });
    }
    Ok(findings.check("P9", format!("{url}: store = fold(ledger)")))
}

async fn events(
    context: &Context,
    namespace: &Namespace,
    facts: &Facts,
) -> Result<Check, AuditError> {
    const WHAT: &str = "events: each change once, in ledger order";
    let Ok(events) = context.get_stream(namespace.events_stream()).await else {
        return Ok(not_checked("events", WHAT, "there is no event stream"));
    };
    let broker = |what: &str, error: &dyn std::fmt::Display| {
        giliran_nats::Error::plain(format!("{what}: {error}"))
    };
    let expected = facts.event_ids();
    let since = Instant::now();
    let there = loop {
        let info = events.get_info().await.map_err(|e| broker("look at the events", &e))?;
        if info.state.messages >= expected.len() as u64 || since.elapsed() >= PATIENCE {
            break info.state;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    // One by one: an auditor may make no consumer.
    let sequences = there.first_sequence..=there.last_sequence;
    let read = stream::iter(sequences).map(|seq| events.get_raw_message(seq));
    let mut messages = read.buffered(EVENTS_AT_ONCE);
    let mut findings = Findings::new();
    for n in 0..there.messages as usize {
        let Some(message) = messages.next().await else { break };
        let message = message.map_err(|e| broker("read the events", &e))?;
        let event: Result<event::Event<'_>, _> = serde_json::from_slice(&message.payload);
        let id = expected.get(n);
        match (event, id) {
            (Ok(event), Some((id, booking))) => findings
                .look(event.id == *id && event.booking_id() == Some(*booking), || {
                    format!("event {} where {id} belongs", event.id)
                }),
            (Ok(event), None) => {
                let id = event.id.parse::<event::EventId>();
                findings.look(id.is_ok_and(|id| id.seq > facts.tail()), || {
                    format!("event {} is none of the ledger's", event.id)
                });
            }
            (Err(error), _) => findings.look(false, || format!("event number {n}: {error}")),
        }
    }
    let there = there.messages;
    findings.look(there as usize >= expected.len(), || {
        format!("{there} events, the ledger has {} changes", expected.len())
    });
    Ok(findings.check("events", WHAT))
}

async fn availability(
    context: &Context,
    namespace: &Namespace,
    ledger: &Ledger,
    facts: &Facts,
) -> Check {
    const WHAT: &str = "quota = active + withheld + free, as the availability bucket tells";
    let Ok(bucket) = context.get_key_value(namespace.availability_bucket()).await else {
        return not_checked("P11", WHAT, "there is no availability bucket");
    };
    let since = Instant::now();
    loop {
        let mut findings = Findings::new();
        for (key, slot) in facts.free_places() {
            let value = bucket.get(&key).await.ok().flatten();
            let shown: Option<FreePlaces> =
                value.as_ref().and_then(|value| serde_json::from_slice(value).ok());
            let fine = shown.is_some_and(|shown| slot.is(&shown));
            let said = || String::from_utf8_lossy(value.as_deref().unwrap_or_default());
            findings.look(fine, || format!("{key}: {} is published, but {slot} is right", said()));
        }
        if findings.wrong == 0 || since.elapsed() >= PATIENCE {
            return findings.check("P11", WHAT);
        }
        let tail = async { ledger.newest().await?.tail().await };
        if tail.await.is_ok_and(|(_, tail)| tail > facts.tail()) {
            return not_checked("P11", WHAT, "the ledger went on while it was audited");
        }
        // Free places are told a few times a second.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

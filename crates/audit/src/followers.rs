//! What follows the ledger, held against it: stores, events, free places.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use futures_util::{StreamExt, stream};
use giliran_nats::ledger::Ledger;
use giliran_persist::{Store, StoreUrl};
use giliran_wire::answer::FreePlaces;
use giliran_wire::event;
use giliran_wire::subject::Namespace;

use crate::check::{Check, Findings, not_checked};
use crate::error::AuditError;
use crate::facts::Facts;

/// How long those who follow the ledger may take to stand where it ended when
/// the audit began.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events asked for at once.
const EVENTS_AT_ONCE: usize = 64;
/// A store against the ledger: bookings, and who did what.
pub(crate) async fn store(url: &StoreUrl, facts: &Facts) -> Result<Check, AuditError> {
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

/// The event stream against the ledger.
pub(crate) async fn events(
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
                    format!(
                        "event {} is not an event of the ledger; expected its changes alone",
                        event.id
                    )
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

/// The bucket of free places against the ledger.
pub(crate) async fn availability(
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
            let told: Option<FreePlaces> =
                value.as_ref().and_then(|value| serde_json::from_slice(value).ok());
            let fine = told.is_some_and(|told| slot.is(&told));
            let said = || String::from_utf8_lossy(value.as_deref().unwrap_or_default());
            findings.look(fine, || format!("{key}: {} is published, but {slot} is right", said()));
        }
        if findings.hold() || since.elapsed() >= PATIENCE {
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

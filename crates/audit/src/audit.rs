//! All checks, one after the other.

use async_nats::jetstream::Context;
use giliran_nats::ledger::Ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_persist::StoreUrl;
use giliran_wire::ApplicantKey;
use giliran_wire::client_log::Attempt;
use giliran_wire::subject::Namespace;

use crate::check::{Check, not_checked};
use crate::clients;
use crate::error::AuditError;
use crate::facts::Facts;
use crate::followers::{availability, events, store};

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

//! What the roles of this process say of themselves to whoever asks all processes
//! (`$SRV`): the same as `/readyz`, and what has to be equal in all of them.

use std::sync::Arc;

use async_nats::Client;
use giliran_nats::{clock, service};
use giliran_wire::service::{Identity, Standing};
use giliran_wire::subject::Namespace;
use tokio::task::AbortHandle;

use crate::health::{Health, HealthRegistry};
use crate::{COMMIT, RELEASE};

/// What of a role does not change while it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fixed {
    /// An engine's name in ledger and lease.
    pub(crate) instance: Option<String>,
    /// Fingerprint of its applicant key.
    pub(crate) key: Option<String>,
    /// Digest of its configuration file.
    pub(crate) config: Option<String>,
}

/// Answers for `role`, a part of what is shown, until it is aborted or the process ends.
pub(crate) fn answer(
    client: &Client,
    namespace: &Namespace,
    role: &'static str,
    fixed: Fixed,
    shown: &Arc<HealthRegistry>,
) -> AbortHandle {
    let identity = Identity {
        name: format!("giliran-{role}"),
        id: format!("{:016x}", rand::random::<u64>()),
        version: RELEASE.to_owned(),
        started: clock::now(),
    };
    let (shown, prefix) = (Arc::clone(shown), namespace.to_string());
    let look = move || {
        let part = shown.look().into_iter().find(|part| part.name == role);
        let warnings = shown.warnings();
        standing(role, prefix.clone(), fixed.clone(), part, warnings)
    };
    tokio::spawn(service::serve(client.clone(), identity, look)).abort_handle()
}

fn standing(
    role: &str,
    prefix: String,
    Fixed { instance, key, config }: Fixed,
    part: Option<Health>,
    mut warnings: Vec<String>,
) -> Standing {
    let known = Standing {
        role: role.to_owned(),
        prefix,
        instance,
        key,
        config,
        commit: Some(COMMIT.to_owned()),
        ..Standing::default()
    };
    let Some(part) = part else {
        return Standing { state: "starting".to_owned(), ..known };
    };
    warnings.extend(part.warnings.iter().cloned());
    let progress = part.progress.filter(|progress| progress.seq > 0);
    let seq = progress.map(|progress| progress.seq);
    let work = part.work.as_ref();
    Standing {
        state: part.report.state.word().to_owned(),
        ready: part.is_ready(),
        epoch: progress.map(|progress| progress.epoch),
        seq,
        tail: part.seen.as_ref().map(|seen| seen.tail.max(seq.unwrap_or(0))),
        lag_blocks: part.seen.as_ref().map(|seen| seen.lag_blocks),
        lag_ms: part.seen.as_ref().map(|seen| seen.lag().as_millis() as u64),
        clock_offset_ms: part.seen.as_ref().and_then(|seen| seen.clock_offset_ms),
        detail: Some(part.report.detail).filter(|detail| !detail.is_empty()),
        queue: work.map(|work| work.queue),
        backlog: work.map(|work| work.backlog),
        answers: work.map(|work| work.answers.clone()).unwrap_or_default(),
        grants_within: work.map(|work| work.grants_within.clone()).unwrap_or_default(),
        warnings: (!warnings.is_empty()).then(|| warnings.join("; ")),
        ..known
    }
}

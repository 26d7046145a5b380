//! Appends to the ledger under its fence.
//!
//! The client's own `request` keeps an entry for every answer that never comes,
//! so appends use one wildcard inbox; each attempt has its own reply subject,
//! and a late answer to an earlier attempt is told apart by it.

use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::Error;
use crate::error::Doing;
use crate::ledger::Ledger;

/// The server's code for an append that expected another last sequence.
const WRONG_LAST_SEQUENCE: u64 = 10_071;
/// How long handing a message to the connection may take; it blocks while the
/// connection is down.
const SEND_DEADLINE: Duration = Duration::from_millis(500);

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Stored at this sequence.
    Stored { seq: u64 },
    /// The stream's last sequence is another than was expected.
    WrongLastSequence,
    /// Not stored now, for another reason; perhaps later, if repeated.
    Refused { code: u64, description: String },
}

/// The one publisher of a ledger's streams.
#[derive(Debug)]
pub struct Appender {
    client: Client,
    inbox: String,
    answers: Subscriber,
}

impl Appender {
    pub(crate) async fn open(client: &Client) -> Result<Self, Error> {
        let inbox = client.new_inbox();
        let answers =
            client.subscribe(format!("{inbox}.*")).await.doing("subscribe to append outcomes")?;
        Ok(Self { client: client.clone(), inbox, answers })
    }

    /// Sends a block into a generation's stream; its outcome comes from [`next`](Self::next), or never.
    ///
    /// # Errors
    ///
    /// Where it could not be handed to the connection in time.
    pub async fn send(
        &self,
        ledger: &Ledger,
        attempt: u64,
        expected_last: u64,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", expected_last.to_string().as_str());
        let reply = format!("{}.{attempt}", self.inbox);
        let subject = ledger.subject().to_owned();
        let publish = self.client.publish_with_reply_and_headers(subject, reply, headers, bytes);
        tokio::time::timeout(SEND_DEADLINE, publish)
            .await
            .doing("append to the ledger")?
            .doing("append to the ledger")
    }

    /// The next outcome and the attempt it belongs to. Safe to cancel.
    pub async fn next(&mut self) -> (u64, AppendOutcome) {
        loop {
            let Some(message) = self.answers.next().await else {
                // The connection is closed for good: no outcome will come.
                return std::future::pending().await;
            };
            let attempt = message.subject.rsplit('.').next().and_then(|n| n.parse().ok());
            match attempt {
                Some(attempt) => return (attempt, outcome(&message)),
                None => tracing::warn!(subject = %message.subject, "an outcome of no attempt"),
            }
        }
    }
}

fn outcome(message: &async_nats::Message) -> AppendOutcome {
    let refused = |code, description: &str| AppendOutcome::Refused {
        code,
        description: description.to_owned(),
    };
    if message.status.is_some() && message.payload.is_empty() {
        return refused(503, "no responders: no leader for the ledger's stream just now");
    }
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&message.payload) else {
        return refused(0, "the acknowledgement is not JSON; expected one of JetStream");
    };
    let error = &answer["error"];
    if error.is_null() {
        return match answer["seq"].as_u64() {
            Some(seq) => AppendOutcome::Stored { seq },
            None => refused(0, "an outcome without sequence"),
        };
    }
    match error["err_code"].as_u64().or(error["code"].as_u64()) {
        Some(WRONG_LAST_SEQUENCE) => AppendOutcome::WrongLastSequence,
        code => refused(code.unwrap_or(0), error["description"].as_str().unwrap_or("")),
    }
}

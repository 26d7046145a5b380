//! Stands between a client and the engine: writes down what was asked and answered, and does what
//! networks and busy engines do.
//!
//! Each case has subjects of its own, so that cases can run side by side and nobody hears another's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Client, Message, Request};
use futures_util::StreamExt as _;
use giliran_wire::answer::{self, Answer, Reason, Rejection, Verdict};
use giliran_wire::request::Form;
use giliran_wire::subject::Namespace;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::bytes;
use super::client::{Ended, failed};

/// How long the engine may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// The field that answers gain.
pub(super) const GAINED: &str = "gained_later";

/// What happens to an attempt to book on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detour {
    /// The engine is asked, and its answer comes.
    Pass,
    /// The engine is not reached: this reason, and when to ask again.
    Refuse(Reason, u64),
    /// The request does not arrive.
    LoseRequest,
    /// The engine is asked, and its answer does not come.
    LoseAnswer,
    /// The answer comes with fields that no version has yet.
    GainFields,
}

/// One sending of a request.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) operation: String,
    pub(super) at: Instant,
    pub(super) binary: bool,
    /// As the engine reads it, or why it does not.
    pub(super) request: Result<Value, String>,
    /// Where the answer is to go.
    pub(super) reply: String,
    /// What the client was answered, and when.
    pub(super) answered: Option<(Value, Instant)>,
}

/// Where a case's client finds the engine.
pub(super) struct Relay {
    client: Client,
    own: Namespace,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Lets `own` subjects lead to the engine's; the n-th attempt to book takes the n-th detour,
    /// those beyond the last.
    pub(super) async fn start(
        client: &Client,
        engine: &Namespace,
        own: &Namespace,
        detours: Vec<Detour>,
    ) -> Result<Self, Ended> {
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let subscribe = async |subject: String| {
            client.subscribe(subject).await.map_err(|e| Ended::Failed(e.to_string()))
        };
        let mut asked = subscribe(own.request("*")).await?;
        let mut told = subscribe(engine.request("feed.>")).await?;
        // Whoever asks from here on is heard.
        client.flush().await.map_err(|e| Ended::Failed(e.to_string()))?;
        let (to, kept) = (client.clone(), Arc::clone(&attempts));
        let (engine, here) = (engine.clone(), own.clone());
        let task = tokio::spawn(async move {
            let mut booked = 0;
            loop {
                tokio::select! {
                    Some(message) = asked.next() => {
                        let detour = if message.subject.as_str() == here.request("book") {
                            booked += 1;
                            detours.get(booked - 1).or(detours.last()).copied()
                        } else {
                            None
                        };
                        let before = here.request("");
                        let operation = message.subject.strip_prefix(&before).unwrap_or_default();
                        let passage = Passage {
                            client: to.clone(),
                            engine: engine.clone(),
                            operation: operation.to_owned(),
                            message,
                            detour: detour.unwrap_or(Detour::Pass),
                        };
                        tokio::spawn(passage.made(Arc::clone(&kept)));
                    }
                    Some(event) = told.next() => {
                        let rest = event.subject.as_str().strip_prefix(engine.prefix());
                        let subject = format!("{}{}", here.prefix(), rest.unwrap_or_default());
                        let _ = to.publish(subject, event.payload).await;
                    }
                    else => break,
                }
            }
        });
        Ok(Self { client: client.clone(), own: own.clone(), attempts, task })
    }

    /// What was sent so far.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says something where events are heard.
    pub(super) async fn tell(&self, payload: &Value) -> Result<(), Ended> {
        let (subject, payload) = (self.own.feed_events(), payload.to_string());
        match self.client.publish(subject, payload.into()).await {
            Ok(()) => Ok(()),
            Err(error) => failed(error.to_string()),
        }
    }
}

/// One message on its way.
struct Passage {
    client: Client,
    engine: Namespace,
    operation: String,
    message: Message,
    detour: Detour,
}

impl Passage {
    /// Writes down what is asked and answered on it.
    async fn made(self, attempts: Arc<Mutex<Vec<Attempt>>>) {
        let Some(requests) = bytes::requests(&self.operation, &self.message.payload) else {
            return;
        };
        let reply = self.message.reply.clone();
        let binary = requests.form == Form::Binary;
        let first = {
            let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
            let first = attempts.len();
            attempts.extend(requests.read.iter().map(|request| Attempt {
                operation: self.operation.clone(),
                at: Instant::now(),
                binary,
                request: request.clone(),
                reply: reply.as_ref().map(ToString::to_string).unwrap_or_default(),
                answered: None,
            }));
            first
        };
        let Some(reply) = reply else { return };
        let Some(payload) = self.answer(requests.form, &requests.read).await else { return };
        let told = bytes::answers(&self.operation, &payload).unwrap_or_default();
        // Written down before the client can have read it.
        {
            let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
            for (attempt, answer) in attempts[first..].iter_mut().zip(told) {
                attempt.answered = Some((answer, Instant::now()));
            }
        }
        let _ = self.client.publish(reply, payload.into()).await;
        let _ = self.client.flush().await;
    }

    /// What the client gets.
    async fn answer(&self, form: Form, requests: &[Result<Value, String>]) -> Option<Vec<u8>> {
        match self.detour {
            Detour::LoseRequest => None,
            Detour::Refuse(reason, ms) => Some(refusal(form, requests, reason, ms)),
            Detour::LoseAnswer => {
                self.ask_engine().await;
                None
            }
            Detour::Pass => self.ask_engine().await,
            Detour::GainFields => {
                let payload = self.ask_engine().await?;
                match serde_json::from_slice::<Value>(&payload) {
                    Ok(mut answer) => {
                        gain_fields(&mut answer);
                        Some(answer.to_string().into_bytes())
                    }
                    Err(_) => Some(payload),
                }
            }
        }
    }

    async fn ask_engine(&self) -> Option<Vec<u8>> {
        let payload = self.message.payload.clone();
        let request = Request::new().payload(payload).timeout(Some(ANSWERED_WITHIN));
        let subject = self.engine.request(&self.operation);
        Some(self.client.send_request(subject, request).await.ok()?.payload.to_vec())
    }
}

/// Every request gets this reason, in the form in which it came.
fn refusal(form: Form, requests: &[Result<Value, String>], reason: Reason, ms: u64) -> Vec<u8> {
    let answers: Vec<Answer<'_>> = requests
        .iter()
        .map(|request| {
            let request_id = request.as_ref().ok().and_then(|r| r["request_id"].as_str());
            let verdict = Verdict::Rejected(Rejection::new(reason).retry_after_ms(ms));
            Answer { request_id: request_id.map(Into::into), verdict }
        })
        .collect();
    let mut out = Vec::new();
    answer::write(form, &answers, &mut out);
    out
}

/// Every object gets a field that nobody knows, in front of the others and behind them.
pub(super) fn gain_fields(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(gain_fields),
        Value::Object(fields) => {
            fields.values_mut().for_each(gain_fields);
            fields.insert(GAINED.to_owned(), json!({ "of": ["a later", 1, null] }));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_form_of_what_it_refuses() {
        let request = Ok(json!({ "request_id": "a" }));
        for form in [Form::JsonOne, Form::JsonMany, Form::Binary] {
            let bytes = refusal(form, std::slice::from_ref(&request), Reason::Busy, 300);
            assert_eq!(bytes.first() == Some(&1), form == Form::Binary);
            let read = bytes::answers("book", &bytes).unwrap();
            assert_eq!(read[0]["request_id"], "a");
            assert_eq!(bytes::next_step("book", &read[0]), Some("again"));
        }
    }
}

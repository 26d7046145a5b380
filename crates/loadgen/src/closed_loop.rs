//! Closed loop: so many requests are on their way at once, and each answer makes room
//! for the next. It says how much an engine can do, not how long anybody would wait.

use std::time::{Duration, Instant};

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::error::LoadError;

/// Answers that are counted before the window is filled again.
const CHUNK: usize = 1_024;
/// How long the next answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How long the answers are counted of which [`Throughput::worst_per_s`] tells.
const WINDOW: Duration = Duration::from_millis(100);
/// Pause before a request is sent again whose answer did not settle it.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The reply subjects that the load names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// To one subject in each run: the server looks up once who listens there.
    Constant,
    /// To a subject of each message's own, as a real client's.
    Unique,
}

/// Messages of one or more requests each, on one connection.
#[derive(Debug)]
pub struct ClosedLoop {
    client: Client,
    answers: Subscriber,
    inbox: String,
    /// Most messages on their way.
    window: usize,
    replies: Replies,
    /// How often it has run.
    runs: u64,
}

/// How many answers came, and in which time.
#[derive(Debug, Clone, Copy)]
pub struct Throughput {
    pub took: Duration,
    /// Answers that were right, and the others.
    pub right: u64,
    pub others: u64,
    /// Answers a second in the worst 100 ms; none: it was over sooner.
    pub worst_per_s: Option<f64>,
}

/// The worst stretch of 100 ms, or longer where no answer came.
#[derive(Debug, Default)]
struct Worst {
    /// Since when answers are counted, and how many there were.
    since: Duration,
    answers: u64,
    per_s: Option<f64>,
}

impl Worst {
    /// So many more answers, so long after the begin.
    fn count(&mut self, at: Duration, answers: u64) {
        self.answers += answers;
        let counted = at.saturating_sub(self.since);
        if counted >= WINDOW {
            let per_s = self.answers as f64 / counted.as_secs_f64();
            let worst = self.per_s.map_or(per_s, |worst| worst.min(per_s));
            *self = Self { since: at, answers: 0, per_s: Some(worst) };
        }
    }
}

impl Throughput {
    /// Right answers a second.
    pub fn per_s(&self) -> f64 {
        self.right as f64 / self.took.as_secs_f64()
    }
}

impl ClosedLoop {
    /// Of this many requests at once.
    ///
    /// # Errors
    ///
    /// Where the connection takes no subscription.
    pub async fn new(client: Client, window: usize) -> Result<Self, LoadError> {
        let inbox = client.new_inbox();
        let answers =
            client.subscribe(format!("{inbox}.*")).await.map_err(std::io::Error::other)?;
        Ok(Self { client, answers, inbox, window, replies: Replies::Constant, runs: 0 })
    }

    /// From the next run on.
    pub fn set(&mut self, window: usize, replies: Replies) {
        (self.window, self.replies) = (window, replies);
    }

    /// Keeps the window full until `lasts` is over or `most` requests are sent, and waits
    /// for the answers to all of them.
    ///
    /// # Errors
    ///
    /// [`LoadError::Silent`] where no answer comes any more.
    pub async fn run(
        &mut self,
        subject: &str,
        (lasts, most): (Duration, u64),
        mut make: impl FnMut() -> Bytes,
        mut is_right: impl FnMut(&[u8]) -> bool,
    ) -> Result<Throughput, LoadError> {
        self.runs += 1;
        let reply = format!("{}.{}", self.inbox, self.runs);
        let (window, replies) = (self.window, self.replies);
        let started = Instant::now();
        let (mut sent, mut open, mut right, mut others) = (0, 0, 0, 0);
        let mut worst = Worst::default();
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            if started.elapsed() < lasts {
                while open < window && sent < most {
                    let reply = match replies {
                        Replies::Constant => reply.clone(),
                        Replies::Unique => format!("{reply}-{sent}"),
                    };
                    let subject = subject.to_owned();
                    let published = self.client.publish_with_reply(subject, reply, make()).await;
                    published.map_err(std::io::Error::other)?;
                    open += 1;
                    sent += 1;
                }
            }
            if open == 0 {
                let (took, worst_per_s) = (started.elapsed(), worst.per_s);
                return Ok(Throughput { took, right, others, worst_per_s });
            }
            let answer = tokio::time::timeout(ANSWERED_WITHIN, self.answers.next()).await;
            let Ok(Some(answer)) = answer else {
                return Err(LoadError::Silent(subject.to_owned(), ANSWERED_WITHIN.as_secs()));
            };
            chunk.push(answer);
            while chunk.len() < CHUNK {
                let Some(Some(answer)) = self.answers.next().now_or_never() else { break };
                chunk.push(answer);
            }
            worst.count(started.elapsed(), chunk.len() as u64);
            for answer in chunk.drain(..) {
                open -= 1;
                *if is_right(&answer.payload) { &mut right } else { &mut others } += 1;
            }
        }
    }
}

/// Sends each of these until its answer is right, `window` of them at once; `settled` is
/// told how many are.
pub async fn settle(
    client: &Client,
    subject: &str,
    window: usize,
    payloads: impl Iterator<Item = Bytes>,
    is_right: impl Fn(&[u8]) -> bool,
    mut settled: impl FnMut(usize),
) {
    let is_right = &is_right;
    let asked = payloads.map(|payload| async move {
        loop {
            let answer = client.request(subject.to_owned(), payload.clone()).await;
            if answer.is_ok_and(|answer| is_right(&answer.payload)) {
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    });
    let mut asked = futures_util::stream::iter(asked).buffer_unordered(window).enumerate();
    while let Some((before, ())) = asked.next().await {
        settled(before + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_the_worst_stretch() {
        let mut worst = Worst::default();
        let ms = Duration::from_millis;
        worst.count(ms(50), 400);
        assert_eq!(worst.per_s, None);
        worst.count(ms(100), 600);
        assert_eq!(worst.per_s, Some(10_000.0));
        // Nothing came for 400 ms.
        worst.count(ms(500), 100);
        assert_eq!(worst.per_s, Some(250.0));
        worst.count(ms(600), 1_000);
        assert_eq!(worst.per_s, Some(250.0));
    }
}

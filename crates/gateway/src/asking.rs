//! Asking until it is settled: the same bytes again and again, until the engine's answer says
//! what became of the request or the caller's patience ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use giliran_nats::clock::Moment;
use giliran_wire::answer::{Answer, Reason, Rejection, Verdict};
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::client_log::{ClientLog, Wish};
use crate::lanes::{Heard, Lane, Lanes};
use crate::metrics::{Metrics, Said};

/// An attempt that is not answered after so long is made again; the contract asks clients to
/// wait at least 2 s.
const AGAIN_AFTER: Duration = Duration::from_millis(2_500);
/// First pause where nobody is there; it doubles up to the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause that an engine's `retry_after_ms` brings about.
const LONGEST_BUSY: Duration = Duration::from_secs(5);

/// What came of asking.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The engine's answer: granted, entered, or a rejection that a repetition does not change;
    /// `not_open` too, since the wait may be long.
    Settled(Box<Answer<'static>>),
    /// Of a look-up: nothing is found, and the opening's draw was over before it was asked.
    /// `for_good`: nor can the opening give a place any more.
    NotDrawn { for_good: bool },
    /// Nothing is settled; the same request may be sent again.
    Unsettled(Unsettled),
}

/// Why nothing is settled.
#[derive(Debug, Clone)]
pub(crate) enum Unsettled {
    /// No engine was active all the time.
    NobodyThere,
    /// The engine had too much to do.
    Busy(Rejection<'static>),
    /// An attempt was not answered: it may have been granted.
    InDoubt,
}

/// What asking needs.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) log: Option<ClientLog>,
    pub(crate) metrics: Metrics,
}

/// One sending of a request.
struct Attempt {
    sent: Moment,
    heard: oneshot::Receiver<Heard>,
}

/// The sendings that are not answered yet: mostly one.
#[derive(Default)]
struct Open(SmallVec<[Attempt; 1]>);

impl Open {
    /// The next answer, with when its request was sent; none: none will come to that sending.
    /// Waits for ever where nothing is open.
    async fn next(&mut self) -> (Moment, Option<Heard>) {
        poll_fn(|context| {
            for at in 0..self.0.len() {
                if let Poll::Ready(heard) = self.0[at].heard.poll_unpin(context) {
                    return Poll::Ready((self.0.remove(at).sent, heard.ok()));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Asker {
    /// Asks until it is settled or the deadline has come, once at least. `wish` is what a client log says of
    /// the request.
    pub(crate) async fn ask(
        &self,
        lane: Lane,
        request: &[u8],
        deadline: Instant,
        wish: Option<&Wish>,
    ) -> Outcome {
        let (mut open, mut pause) = (Open::default(), FIRST_PAUSE);
        let (mut last, mut lost) = (Unsettled::NobodyThere, false);
        loop {
            let sent = Moment::now();
            open.0.push(Attempt { sent, heard: self.lanes.send(lane, request) });
            let mut next = Instant::now() + AGAIN_AFTER;
            // What is heard before it is to be sent again.
            while let Ok((sent, heard)) = timeout_at(next.min(deadline), open.next()).await {
                let Some(heard) = heard else {
                    lost = true;
                    self.written(wish, sent, None);
                    continue;
                };
                self.written(wish, sent, Some(&heard));
                match heard {
                    Heard::Answer(answer, _) => match unsettled(answer) {
                        Ok(answer) => {
                            self.given_up(wish, open);
                            return Outcome::Settled(answer);
                        }
                        Err(busy) => {
                            next = Instant::now() + busy_pause(&busy);
                            last = Unsettled::Busy(busy);
                        }
                    },
                    Heard::NobodyThere => {
                        self.metrics.attempt(Said::NobodyThere);
                        next = Instant::now() + scattered(pause);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        last = Unsettled::NobodyThere;
                    }
                }
            }
            if Instant::now() >= deadline {
                let in_doubt = lost || !open.0.is_empty();
                self.given_up(wish, open);
                let why = if in_doubt { Unsettled::InDoubt } else { last };
                return Outcome::Unsettled(why);
            }
        }
    }

    /// Writes down the attempts that nobody waits for any more.
    fn given_up(&self, wish: Option<&Wish>, open: Open) {
        for mut attempt in open.0 {
            // It may have been answered this moment.
            let heard = attempt.heard.try_recv().ok();
            self.written(wish, attempt.sent, heard.as_ref());
        }
    }

    fn written(&self, wish: Option<&Wish>, sent: Moment, heard: Option<&Heard>) {
        self.metrics.attempt(match heard {
            Some(Heard::Answer(answer, _)) => match &answer.verdict {
                Verdict::Granted { .. } => Said::Granted,
                Verdict::Entered { .. } => Said::Entered,
                Verdict::Rejected(rejection) => Said::Rejected(rejection.reason),
            },
            Some(Heard::NobodyThere) => return,
            None => Said::Nothing,
        });
        if let (Some(log), Some(wish)) = (&self.log, wish) {
            log.write(wish, sent, heard, &self.metrics);
        }
    }
}

/// The answer, where it settles the request; else why it is to be sent again.
fn unsettled(answer: Box<Answer<'static>>) -> Result<Box<Answer<'static>>, Rejection<'static>> {
    match &answer.verdict {
        Verdict::Rejected(rejection)
            if matches!(rejection.reason, Reason::Busy | Reason::Unavailable) =>
        {
            Err(rejection.clone())
        }
        _ => Ok(answer),
    }
}

/// How long a busy engine wants to be left alone.
fn busy_pause(busy: &Rejection<'_>) -> Duration {
    let asked = Duration::from_millis(busy.retry_after_ms.unwrap_or(250));
    scattered(asked.min(LONGEST_BUSY))
}

/// A pause between this and one and a half times this: a crowd does not come back at once.
fn scattered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(1.0..1.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(reason: Reason) -> Answer<'static> {
        let rejection = Rejection::new(reason).retry_after_ms(100);
        Answer { request_id: None, verdict: Verdict::Rejected(rejection) }
    }

    #[test]
    fn only_what_settles_nothing_is_asked_again() {
        for reason in Reason::ALL {
            let again = unsettled(Box::new(answered(*reason))).is_err();
            assert_eq!(again, matches!(reason, Reason::Busy | Reason::Unavailable), "{reason:?}");
        }
    }

    #[test]
    fn a_busy_engine_is_left_alone_for_as_long_as_it_asks_and_not_for_ever() {
        let asks = |ms| busy_pause(&Rejection::new(Reason::Busy).retry_after_ms(ms));
        for _ in 0..100 {
            let pause = asks(100).as_millis();
            assert!((100..150).contains(&pause), "{pause}");
            assert!(asks(3_600_000) < LONGEST_BUSY * 2);
        }
    }
}

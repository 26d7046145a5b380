//! Asking until it is settled: the same bytes again and again, until the engine's answer says
//! what became of the request or the caller's patience ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use giliran_nats::clock::Moment;
use giliran_wire::answer::{Answer, Reason, Rejection, Verdict};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::client_log::{ClientLog, Wish};
use crate::lanes::{Heard, Lane, Lanes};
use crate::metrics::Metrics;

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

/// Tells what came of a request; none as long as it is asked.
pub(crate) type Coming = watch::Receiver<Option<Outcome>>;

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

impl Future for Attempt {
    /// When it was sent and what was heard; none: no answer will come.
    type Output = (Moment, Option<Heard>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let heard = ready!(Pin::new(&mut self.heard).poll(context));
        Poll::Ready((self.sent, heard.ok()))
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
        let (mut open, mut pause) = (FuturesUnordered::new(), FIRST_PAUSE);
        let (mut next, mut last, mut lost) = (Instant::now(), Unsettled::NobodyThere, false);
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                Some((sent, heard)) = open.next() => {
                    let Some(heard) = heard else {
                        lost = true;
                        self.written(wish, sent, None);
                        continue;
                    };
                    self.written(wish, sent, Some(&heard));
                    match heard {
                        Heard::Answer(answer, _) => match unsettled(*answer) {
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
                            self.metrics.attempt("nobody_there");
                            next = Instant::now() + scattered(pause);
                            pause = (pause * 2).min(LONGEST_PAUSE);
                            last = Unsettled::NobodyThere;
                        }
                    }
                }
                () = sleep_until(next.min(deadline)) => {
                    if asked && Instant::now() >= deadline {
                        let in_doubt = lost || !open.is_empty();
                        self.given_up(wish, open);
                        let why = if in_doubt { Unsettled::InDoubt } else { last };
                        return Outcome::Unsettled(why);
                    }
                    asked = true;
                    let sent = Moment::now();
                    match self.lanes.send(lane, request.to_vec()) {
                        Some(heard) => open.push(Attempt { sent, heard }),
                        None => last = Unsettled::Busy(Rejection::new(Reason::Busy)),
                    }
                    next = Instant::now() + AGAIN_AFTER;
                }
            }
        }
    }

    /// Writes down the attempts that nobody waits for any more.
    fn given_up(&self, wish: Option<&Wish>, open: FuturesUnordered<Attempt>) {
        for mut attempt in open {
            // It may have been answered this moment.
            let heard = attempt.heard.try_recv().ok();
            self.written(wish, attempt.sent, heard.as_ref());
        }
    }

    fn written(&self, wish: Option<&Wish>, sent: Moment, heard: Option<&Heard>) {
        self.metrics.attempt(match heard {
            Some(Heard::Answer(answer, _)) => match &answer.verdict {
                Verdict::Granted { .. } => "granted",
                Verdict::Entered { .. } => "entered",
                Verdict::Rejected(rejection) => rejection.reason.name(),
            },
            Some(Heard::NobodyThere) => return,
            None => "unanswered",
        });
        if let (Some(log), Some(wish)) = (&self.log, wish) {
            log.write(wish, sent, heard, &self.metrics);
        }
    }
}

/// The answer, where it settles the request; else why it is to be sent again.
fn unsettled(answer: Answer<'static>) -> Result<Box<Answer<'static>>, Rejection<'static>> {
    match answer.verdict {
        Verdict::Rejected(rejection)
            if matches!(rejection.reason, Reason::Busy | Reason::Unavailable) =>
        {
            Err(rejection)
        }
        verdict => Ok(Box::new(Answer { request_id: answer.request_id, verdict })),
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
            let again = unsettled(answered(*reason)).is_err();
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

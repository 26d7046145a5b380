//! The looks themselves.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::connection::State as Connection;
use async_nats::jetstream::stream::RawMessageErrorKind;
use giliran_wire::Timestamp;
use serde_json::Value;

use super::judge::{Extent, Found, behind, judge};
use super::{Mark, Seen, Shared, SnapshotHeader};
use crate::Error;
use crate::clock::{self, Moment, offset_ms, stored_at};
use crate::connection::connects;
use crate::state::{Report, State};

/// How often the ledger is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often while something is amiss: its end is to be seen soon.
const EVERY_IN_TROUBLE: Duration = Duration::from_millis(250);
/// A loss that might still turn out to be none is looked at again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Looks without an answer before that is told: one may get lost with a connection.
const SILENT_LOOKS: u32 = 2;
/// The last block is read back with every so many looks, whether or not anything
/// has changed.
const READ_BACK_EVERY: u64 = 10;
/// A connection over which nothing is answered for so long is made anew: it may be
/// dead, or lead to a server that is cut off from its cluster.
const RECONNECT_AFTER: Duration = Duration::from_secs(10);
/// Most generations that are looked at beyond the one the process stands in.
const MOST_GENERATIONS: usize = 64;
/// The server's code for a stream that is not there.
const STREAM_NOT_FOUND: u64 = 10_059;

/// Looks until nobody holds the watch any more.
pub(super) async fn on(shared: Weak<Shared>) {
    let mut looks = Looks::default();
    loop {
        let Some(watch) = shared.upgrade() else { return };
        let before = watch.seen.borrow().clone();
        let seen = Box::pin(looks.look(&watch)).await;
        tell(&watch, before.trouble.as_ref(), seen.trouble.as_ref());
        let wake = Arc::clone(&watch.wake);
        let pause = if looks.suspected {
            AGAIN_AFTER
        } else if looks.silent > 0 {
            // The second one follows at once.
            Duration::ZERO
        } else if seen.trouble.is_some() {
            EVERY_IN_TROUBLE
        } else {
            EVERY
        };
        watch.seen.send_replace(seen);
        drop(watch);
        let _ = tokio::time::timeout(pause, wake.notified()).await;
    }
}

/// Logs what has changed.
fn tell(watch: &Shared, before: Option<&Report>, now: Option<&Report>) {
    let state = |report: Option<&Report>| report.map(|report| report.state);
    match now {
        _ if state(before) == state(now) => {}
        Some(report) => report.log(watch.part),
        None => tracing::info!(part = watch.part, "NATS and the ledger are there"),
    }
}

/// Why a look has no answer.
enum Unanswered {
    /// No answer came in time; the words of the client.
    Silent(String),
    /// The server says that it cannot.
    Refused(String),
}

/// When a stream was made, and who leads it.
type Identity = (String, String);

/// A stream as the server tells of it.
struct Info {
    extent: Extent,
    identity: Identity,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    server_clock: Option<Timestamp>,
    /// How far this machine's clock is ahead of it, in ms.
    clock_offset_ms: Option<i64>,
}

/// What is kept from look to look.
#[derive(Default)]
struct Looks {
    /// Looks that were answered.
    answered: u64,
    /// Looks in a row that were not.
    silent: u32,
    silent_since: Option<Moment>,
    /// The connection and the streams over which the mark was judged last.
    confirmed: Option<(u64, Vec<Identity>)>,
    /// The last look found blocks missing.
    suspected: bool,
    /// Where the ledger ended when it was first seen; stands in for a place that is
    /// not known.
    begun_at: Option<(u32, u64)>,
    /// The first block that is not done yet, and when the broker stored it.
    waiting: Option<((u32, u64), Option<Timestamp>)>,
}

impl Looks {
    async fn look(&mut self, watch: &Shared) -> Seen {
        let before = watch.seen.borrow().clone();
        let stand = *watch.stand();
        let connected = watch.client.connection_state() == Connection::Connected;
        if !connected {
            let detail = "the connection to NATS is lost; it is tried again and again".to_owned();
            (self.confirmed, self.suspected) = (None, false);
            return in_trouble(&before, Report { state: State::NatsUnavailable, detail });
        }
        // Before the question: what was asked over an older connection counts for that.
        let connects = connects(&watch.client);
        match self.ask(watch, &stand).await {
            Ok(infos) => {
                (self.silent, self.silent_since) = (0, None);
                self.answered += 1;
                self.weigh(watch, &stand, &infos, connects, before).await
            }
            Err(Unanswered::Refused(detail)) => {
                in_trouble(&before, Report { state: State::LedgerUnavailable, detail })
            }
            Err(Unanswered::Silent(detail)) => self.unanswered(watch, before, detail).await,
        }
    }

    async fn unanswered(&mut self, watch: &Shared, before: Seen, why: String) -> Seen {
        self.silent += 1;
        let since = *self.silent_since.get_or_insert_with(Moment::now);
        if self.silent < SILENT_LOOKS {
            return before;
        }
        if since.elapsed() >= RECONNECT_AFTER {
            self.silent_since = None;
            // It fails where the client has ended, and then everything does.
            let _ = watch.client.force_reconnect().await;
        }
        let detail = format!(
            "NATS takes the connection, and no answer comes about the ledger's stream ({why}): \
             the server hangs, its cluster has no leader for the stream, or this login may not ask"
        );
        in_trouble(&before, Report { state: State::LedgerUnavailable, detail })
    }

    /// The streams from the generation on in which the process stands, as far as they
    /// are there.
    async fn ask(
        &mut self,
        watch: &Shared,
        stand: &SnapshotHeader,
    ) -> Result<Vec<Info>, Unanswered> {
        let marked = stand.mark.map(|mark| mark.generation);
        let done = stand.done.or(self.begun_at).map(|done| done.0);
        let first = marked.into_iter().chain(done).min().unwrap_or(1);
        let mut infos = Vec::new();
        for generation in first.. {
            match info(watch, generation).await? {
                Some(info) => infos.push(info),
                None if infos.is_empty() => break,
                None => return Ok(infos),
            }
            if infos.len() >= MOST_GENERATIONS {
                return Ok(infos);
            }
        }
        // The first one may be archived.
        let generations = crate::ledger::generations(&watch.context, &watch.namespace).await;
        let generations = generations.map_err(|error| Unanswered::Silent(error.to_string()))?;
        for generation in generations.into_iter().filter(|generation| *generation >= first) {
            infos.extend(info(watch, generation).await?);
        }
        Ok(infos)
    }

    /// What the streams' ends mean for the process.
    async fn weigh(
        &mut self,
        watch: &Shared,
        stand: &SnapshotHeader,
        infos: &[Info],
        connects: u64,
        before: Seen,
    ) -> Seen {
        let extents: Vec<Extent> = infos.iter().map(|info| info.extent).collect();
        let end = extents.iter().rev().find(|extent| extent.first <= extent.last);
        let mut seen = Seen { turns: before.turns, ..Seen::default() };
        if let Some(info) = infos.first() {
            seen.clock_offset_ms = info.clock_offset_ms;
            seen.broker_clock = info.server_clock.map(|time| (time, Moment::now()));
        }
        if let Some(end) = end {
            seen.tail = end.last;
            seen.last_stored = infos.iter().rev().find_map(|info| info.last_at);
            let begun_at = *self.begun_at.get_or_insert((end.generation, end.last));
            let done = stand.done.unwrap_or(begun_at);
            let next;
            (seen.lag_blocks, next) = behind(done, &extents);
            seen.waiting_since = self.waiting_since(watch, next, infos).await;
        }
        let ground = (connects, infos.iter().map(|info| info.identity.clone()).collect());
        let same = self.confirmed.as_ref() == Some(&ground);
        let Some(mark) = stand.mark else {
            seen.trouble = no_ledger(watch, stand, infos);
            self.turn(&mut seen, same, ground);
            return seen;
        };
        let of_mark = infos.iter().find(|info| info.extent.generation == mark.generation);
        let short = of_mark.is_none_or(|info| info.extent.last < mark.seq);
        let amiss = before.trouble.is_some() || self.suspected || short;
        if same && !amiss && !self.answered.is_multiple_of(READ_BACK_EVERY) {
            return seen;
        }
        let found = match (of_mark, read_back(watch, &mark).await) {
            (None, _) => Found::NoStream { later: !infos.is_empty() },
            (Some(_), Ok(found)) => found,
            (Some(_), Err(error)) => {
                return self.unanswered(watch, before, error.to_string()).await;
            }
        };
        let judged = judge(&mark, &found, &watch.namespace.ledger_stream(mark.generation));
        // It may have had the mark of a moment before, and the stream be ahead of it.
        let believed = found.is_certain() || self.suspected;
        match judged {
            Ok(()) => {
                self.suspected = false;
                self.turn(&mut seen, same, ground);
            }
            Err(report) if believed => {
                self.suspected = true;
                seen.trouble = Some(report);
                self.turn(&mut seen, same, ground);
            }
            Err(_) => {
                self.suspected = true;
                seen.trouble = before.trouble;
            }
        }
        seen
    }

    /// Notes over which connection and stream the last judgement came about.
    fn turn(&mut self, seen: &mut Seen, same: bool, ground: (u64, Vec<Identity>)) {
        if !same {
            seen.turns += 1;
            self.confirmed = Some(ground);
        }
    }

    /// When the broker stored the block that comes next, asked once a block.
    async fn waiting_since(
        &mut self,
        watch: &Shared,
        next: Option<(u32, u64)>,
        infos: &[Info],
    ) -> Option<Timestamp> {
        let Some(next) = next else {
            self.waiting = None;
            return None;
        };
        match self.waiting {
            Some((of, Some(time))) if of == next => return Some(time),
            _ => {}
        }
        let first = infos.iter().find(|info| (info.extent.generation, info.extent.first) == next);
        let time = match first.and_then(|info| info.first_at) {
            Some(time) => Some(time),
            None => time_of(watch, next.0, next.1).await,
        };
        self.waiting = Some((next, time));
        time
    }
}

/// What was seen before, and this trouble.
fn in_trouble(before: &Seen, trouble: Report) -> Seen {
    Seen { trouble: Some(trouble), ..*before }
}

/// What to say where a process that has read nothing yet finds no stream.
fn no_ledger(watch: &Shared, stand: &SnapshotHeader, infos: &[Info]) -> Option<Report> {
    if !infos.is_empty() || stand.mark.is_some() {
        return None;
    }
    let stream = watch.namespace.ledger_stream(1);
    let detail = format!(
        "there is no ledger: stream {stream} does not exist. Make it once with `giliran init`; if \
         there was one, restore it instead"
    );
    Some(Report { state: State::NoLedger, detail })
}

/// What stands at a mark's place, told by the stream's leader.
pub(super) async fn read_back(watch: &Shared, mark: &Mark) -> Result<Found, Error> {
    let stream = watch.namespace.ledger_stream(mark.generation);
    let doing = format!("read sequence {} of {stream} back", mark.seq);
    let unanswered = |error: Unanswered| match error {
        Unanswered::Silent(why) | Unanswered::Refused(why) => Error::new(&doing, why),
    };
    let handle = watch.context.get_stream_no_info(&stream).await;
    let handle = handle.map_err(|error| Error::new(&doing, error))?;
    match handle.get_raw_message(mark.seq).await {
        Ok(message) => Ok(Found::of(&message.payload)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
            match info(watch, mark.generation).await.map_err(unanswered)? {
                Some(Info { extent: Extent { first, last, .. }, .. }) if first <= last => {
                    // A stream made anew tells by its first block whose it is.
                    let begin = handle.get_raw_message(first).await.map(|m| Found::of(&m.payload));
                    match begin {
                        Ok(Found::Block(ledger, hash)) if ledger != mark.ledger => {
                            Ok(Found::Block(ledger, hash))
                        }
                        _ => Ok(Found::Nothing { tail: last }),
                    }
                }
                Some(info) => Ok(Found::Nothing { tail: info.extent.last }),
                None => Ok(Found::NoStream { later: false }),
            }
        }
        Err(error) => match info(watch, mark.generation).await.map_err(unanswered)? {
            Some(_) => Err(Error::new(&doing, error)),
            None => {
                let generations =
                    crate::ledger::generations(&watch.context, &watch.namespace).await?;
                let later = generations.into_iter().any(|one| one > mark.generation);
                Ok(Found::NoStream { later })
            }
        },
    }
}

/// When the broker stored a block.
async fn time_of(watch: &Shared, generation: u32, seq: u64) -> Option<Timestamp> {
    let stream = watch.namespace.ledger_stream(generation);
    let stream = watch.context.get_stream_no_info(&stream).await.ok()?;
    stream.get_raw_message(seq).await.ok().map(|message| stored_at(&message))
}

/// A generation's stream as its leader tells of it; none: there is no such stream.
async fn info(watch: &Shared, generation: u32) -> Result<Option<Info>, Unanswered> {
    let name = watch.namespace.ledger_stream(generation);
    let asked = clock::now();
    let answer = watch.context.request(format!("STREAM.INFO.{name}"), &()).await;
    let answer: Value = answer.map_err(|error| Unanswered::Silent(error.to_string()))?;
    let answered = clock::now();
    let error = &answer["error"];
    if !error.is_null() {
        return match error["err_code"].as_u64() {
            Some(STREAM_NOT_FOUND) => Ok(None),
            _ => Err(Unanswered::Refused(format!(
                "{name}: {}",
                error["description"].as_str().unwrap_or("the server refuses to tell of it")
            ))),
        };
    }
    let state = &answer["state"];
    let number = |field: &str| state[field].as_u64().unwrap_or(0);
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let server_clock = time(&answer["ts"]);
    let (messages, last) = (number("messages"), number("last_seq"));
    let first = if messages > 0 { number("first_seq") } else { last + 1 };
    Ok(Some(Info {
        extent: Extent { generation, first, last },
        identity: (text(&answer["created"]), text(&answer["cluster"]["leader"])),
        first_at: time(&state["first_ts"]).filter(|_| messages > 0),
        last_at: time(&state["last_ts"]).filter(|_| messages > 0),
        server_clock,
        clock_offset_ms: server_clock.map(|server| offset_ms(asked, server, answered)),
    }))
}

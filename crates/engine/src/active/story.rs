//! What happens to openings, in the log: one line each, in words, at info.
//!
//! It looks at the book a few times a second and tells what has changed since; so a
//! line costs deciding nothing, and what happens twice within a moment is logged
//! once. An engine that takes over tells what happens from then on.

use std::collections::HashMap;
use std::sync::Arc;

use giliran_allocator::{Opening, Openings};
use giliran_sequencer::{Acted, Came};
use giliran_wire::Timestamp;
use giliran_wire::answer::Phase;
use giliran_wire::ledger::Order;

/// An opening that sells out again and again is logged so often at most, ms.
const SOLD_OUT_EVERY_MS: u64 = 60_000;

/// What was logged so far.
#[derive(Debug)]
pub(crate) struct Story(HashMap<u32, LoggedState>);

/// What was logged of an opening.
#[derive(Debug)]
struct LoggedState {
    phase: Phase,
    drawn: bool,
    /// Nothing was left for those who name no session, or for anybody.
    plain: SoldOut,
    all: SoldOut,
}

/// Whether the log says that nothing is left, and when it last began to, ms.
#[derive(Debug, Default, Clone, Copy)]
struct SoldOut {
    logged: bool,
    at_ms: Option<u64>,
}

impl SoldOut {
    /// True where it is to be logged now.
    fn look(&mut self, nothing_left: bool, now_ms: u64) -> bool {
        if !nothing_left {
            self.logged = false;
            return false;
        }
        let rested = self.at_ms.is_none_or(|at| now_ms.saturating_sub(at) >= SOLD_OUT_EVERY_MS);
        if self.logged || !rested {
            return false;
        }
        *self = Self { logged: true, at_ms: Some(now_ms) };
        true
    }
}

/// An opening's places, over all slots.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sums {
    quota: i64,
    taken: i64,
    /// Available to anybody who fits, and not too late to book.
    free: i64,
    /// Of these, of sessions that need not be named.
    plain: i64,
    reserved: i64,
    /// Neither booked nor available, in slots that are halted.
    halted: i64,
}

impl Sums {
    fn of(opening: &Opening, now: Timestamp) -> Self {
        let mut sums = Self::default();
        for slot in 0..opening.slots() {
            let quota = i64::from(opening.slot(slot).quota);
            let (free, withheld) = (opening.durably_free(slot), opening.withheld(slot));
            let taken = quota - i64::from(free) - i64::from(withheld);
            sums.quota += quota;
            sums.taken += taken;
            sums.reserved += i64::from(opening.reserved(slot));
            if opening.is_halted(slot) {
                sums.halted += quota - taken;
                continue;
            }
            // Nobody can have what it is too late for.
            let free = if opening.is_bookable(slot, now) { i64::from(free.max(0)) } else { 0 };
            sums.free += free;
            sums.plain += if is_plain(opening, slot) { free } else { 0 };
        }
        sums
    }
}

/// True for a session that nobody has to name or to be entitled to.
fn is_plain(opening: &Opening, slot: u32) -> bool {
    let place = opening.record().place(slot);
    place.is_some_and(|(_, _, session)| !session.restricted && !session.explicit)
}

impl Story {
    /// As things stand: nothing of this is logged.
    pub(crate) fn new(openings: &Openings, now: Timestamp) -> Self {
        let logged = |opening: &Arc<Opening>| {
            let sums = Sums::of(opening, now);
            let gone = |left: i64| SoldOut { logged: left == 0, at_ms: None };
            let (plain, all) = (gone(sums.plain), gone(sums.free));
            let logged =
                LoggedState { phase: opening.phase(), drawn: opening.is_drawn(), plain, all };
            (opening.record().ordinal, logged)
        };
        Self(openings.iter().map(logged).collect())
    }

    /// Tells what has changed; `now`: engine time; `now_ms`: by a clock that does not
    /// jump.
    pub(crate) fn look(&mut self, openings: &Openings, now: Timestamp, now_ms: u64) {
        self.0.retain(|ordinal, _| openings.get(*ordinal).is_some());
        for opening in openings.iter() {
            let logged = self.0.entry(opening.record().ordinal).or_insert_with(|| {
                tell_scheduled(opening);
                let (plain, all) = (SoldOut::default(), SoldOut::default());
                LoggedState { phase: Phase::Scheduled, drawn: false, plain, all }
            });
            logged.look(opening, now, now_ms);
        }
    }
}

impl LoggedState {
    fn look(&mut self, opening: &Opening, now: Timestamp, now_ms: u64) {
        let (phase, drawn) = (opening.phase(), opening.is_drawn());
        if self.phase == Phase::Scheduled && phase != Phase::Scheduled {
            tell_opened(opening);
            self.phase = Phase::Open;
        }
        if self.phase != Phase::Scheduled && !opening.draws() {
            self.look_at_what_is_left(opening, now, now_ms);
        }
        match (self.phase, phase) {
            (Phase::Open, Phase::Closed) => tell_closed(opening, now),
            (Phase::Closed, Phase::Open) => {
                let closes_at = opening.window().1;
                tracing::info!(opening = opening.id(), %closes_at, "the opening is open again");
            }
            _ => {}
        }
        if drawn && !self.drawn {
            let Sums { taken, free, .. } = Sums::of(opening, now);
            tracing::info!(opening = opening.id(), taken, free, "the opening is drawn");
        }
        (self.phase, self.drawn) = (phase, drawn);
    }

    fn look_at_what_is_left(&mut self, opening: &Opening, now: Timestamp, now_ms: u64) {
        let sums = Sums::of(opening, now);
        let Sums { quota, taken, free, plain, reserved, halted } = sums;
        let id = opening.id();
        if self.all.look(free == 0, now_ms) {
            // Whoever names no session has nothing left either.
            self.plain.look(true, now_ms);
            tracing::info!(opening = id, taken, quota, reserved, halted, "the opening is sold out");
        } else if free > 0 && self.plain.look(plain == 0, now_ms) {
            tracing::info!(
                opening = id,
                taken,
                quota,
                left = free,
                reserved,
                halted,
                "the opening is sold out for whoever names no session"
            );
        }
    }
}

fn tell_scheduled(opening: &Opening) {
    let record = opening.record();
    let places: u64 = record.slots.iter().map(|slot| u64::from(slot.quota)).sum();
    let order = match record.rules.order {
        Order::FirstCome => "first come".to_owned(),
        Order::Rounds { length_ms } => format!("rounds of {length_ms} ms"),
        Order::Draw => "a draw at the close".to_owned(),
    };
    tracing::info!(
        opening = opening.id(),
        opens_at = %record.opens_at,
        closes_at = %record.closes_at,
        slots = opening.slots(),
        places,
        order,
        "an opening is on record"
    );
}

fn tell_opened(opening: &Opening) {
    let closes_at = opening.window().1;
    tracing::info!(opening = opening.id(), %closes_at, "the opening has opened");
}

fn tell_closed(opening: &Opening, now: Timestamp) {
    let Sums { quota, taken, free, halted, .. } = Sums::of(opening, now);
    let what = if opening.draws() {
        "the opening has closed; its draw follows"
    } else {
        "the opening has closed"
    };
    tracing::info!(opening = opening.id(), taken, quota, free, halted, "{what}");
}

/// One line of an operator's action, and what came of it.
pub(crate) fn log_acted(acted: &Acted) {
    let opening = acted.opening.as_ref();
    let record = opening.map(|opening| opening.record());
    let words: Vec<String> = acted.changes.iter().map(|change| change.words(record)).collect();
    let words = words.join("; ");
    let opening = opening.map(|opening| opening.id());
    let (operator, reason) = (&acted.operator, &acted.reason);
    match &acted.came {
        Ok(Came { position, stay, moved, cancelled }) => tracing::info!(
            opening,
            operator,
            reason,
            seq = position.seq,
            bookings_concerned = stay,
            moved,
            cancelled,
            "an operator's action is on record: {words}"
        ),
        Err(rejection) => tracing::info!(
            opening,
            operator,
            reason,
            refused = rejection.reason.name(),
            detail = rejection.detail,
            "an operator's action was rejected: {words}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sells_out_again_and_again_is_logged_once_a_minute() {
        let mut sold_out = SoldOut::default();
        let mut look = |left: bool, at: u64| sold_out.look(!left, at);
        assert!(!look(true, 0));
        assert!(look(false, 200), "logged at once");
        assert!(!look(false, 400), "and not again while nothing comes back");
        assert!(!look(true, 600));
        assert!(!look(false, 800), "sold out again within the minute");
        assert!(!look(true, 1_000));
        assert!(!look(false, 60_199));
        assert!(look(false, 60_200), "logged once it has passed, where that is still so");
        assert!(!look(false, 999_999), "but only once");
    }
}

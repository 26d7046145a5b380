//! A schedule that opens and closes by itself, week after week, at the hours of
//! the office: nobody asks for an opening, and nothing of the old ones stays.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::{Deref, DerefMut};

use giliran_allocator::{BookingRequest, ChangeKind, ChangeRequest, Decision, Settled};
use giliran_config::Config;
use giliran_sequencer::{Outcome, Sequencer};
use giliran_testkit::{SequencerHarness, person, request};
use giliran_wire::answer::{Phase, Reason, Status};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Text, Timestamp};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
const HORIZON_MS: u64 = DAY_MS;

/// Two openings are open at once: the next week's from Friday on, and an extra
/// day's.
const FILE: &str = r#"
[schedule]
timezone = "Europe/Berlin"
opens    = "Fri 14:00"
lasts    = "48h"
covers   = ["Mon", "Tue"]
[rules]
hold            = "30m"
across_openings = ACROSS
[rules.returns]
cancelled = "immediate"
expired   = "immediate"
[[opening]]
id        = "extra"
opens_at  = "2026-10-23T10:00:00Z"
closes_at = "2026-10-25T10:00:00Z"
dates     = ["2026-10-28"]
[[office]]
id    = "a"
quota = 2
"#;

struct Bench {
    config: Config,
    harness: SequencerHarness,
}

impl Deref for Bench {
    type Target = SequencerHarness;

    fn deref(&self) -> &SequencerHarness {
        &self.harness
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut SequencerHarness {
        &mut self.harness
    }
}

impl Bench {
    fn new(across: bool, begin: &str) -> Self {
        let config = FILE.replace("ACROSS", if across { "true" } else { "false" });
        let config = giliran_config::parse(&config, "weeks.toml").unwrap();
        Self { config, harness: SequencerHarness::beginning(begin.parse().unwrap()) }
    }

    /// What the engine does a few times a second, once.
    fn housekeeping(&mut self) {
        self.input(Sequencer::tick);
        if !self.sequencer.records_openings() {
            let (state, now) = (self.sequencer.state(), self.now.wall);
            let (openings, known) =
                (state.allocator().openings(), |id: &str| state.knows_opening(id));
            let compared = self.config.compare(now, HORIZON_MS, &openings, known);
            assert_eq!(compared.findings, [], "the file is as what came of it");
            self.record(compared.new);
        }
        self.run();
    }

    /// Time passes up to this moment.
    fn until(&mut self, moment: &str) {
        let moment: Timestamp = moment.parse().unwrap();
        while self.now.wall < moment {
            let step = MINUTE_MS.min(moment.millis_since(self.now.wall));
            self.now.wall = self.now.wall.plus_millis(step);
            self.now.mono_ms += step;
            self.housekeeping();
        }
    }

    fn book(&mut self, who: u64, opening: Option<&str>) -> Result<BookingId, Reason> {
        let choices = [Choice { office: Text::from("a"), date: None, session: None }];
        let applicants = [person(who)];
        let ask = BookingRequest { opening, ..request("r", &applicants, &choices) };
        match self.sequencer.allocator().decide(&ask, self.now.wall) {
            Decision::Settled(Settled::Rejected(rejection, _)) => return Err(rejection.reason),
            Decision::Settled(Settled::Repeat(found, _)) => return Ok(found.booking.id),
            Decision::Granted(grant) => {
                self.input(|sequencer, now| sequencer.submit_grants([(grant, who)], [], now));
            }
            other => panic!("{other:?}"),
        }
        self.run();
        match self.answers.pop() {
            Some((_, Outcome::Granted(found, _))) => Ok(found.booking.id),
            other => panic!("{other:?}"),
        }
    }

    fn confirm(&mut self, id: BookingId) -> Result<Status, Reason> {
        let kind = ChangeKind::Confirm { reference: Some("inv".into()) };
        let ask = ChangeRequest { request_id: "c".into(), target: Some(id), kind };
        self.input(|sequencer, now| sequencer.submit_changes([(ask, 0)], now));
        self.run();
        match self.answers.pop() {
            Some((_, Outcome::Changed(found, _))) => Ok(found.booking.status),
            Some((_, Outcome::Settled(Settled::Rejected(rejection, _)))) => Err(rejection.reason),
            other => panic!("{other:?}"),
        }
    }

    fn phases(&self) -> Vec<(String, Phase)> {
        let openings = self.sequencer.allocator().openings();
        openings.iter().map(|o| (o.id().to_owned(), o.phase())).collect()
    }

    fn phase(&self, id: &str) -> Option<Phase> {
        self.phases().into_iter().find(|(of, _)| of == id).map(|(_, phase)| phase)
    }

    /// A replay knows what is known live.
    fn check_replay(&self) {
        assert_eq!(self.replayed().state_hash(), self.sequencer.state().state_hash());
    }
}

/// Set back by an hour, engine time stands still: what was due stays due, what is
/// held stays held, nobody is rejected beside a free place.
#[test]
fn a_clock_that_is_set_back_by_an_hour_undoes_nothing() {
    let mut bench = Bench::new(false, "2026-10-16T11:59:00Z");
    bench.until("2026-10-16T12:20:00Z");
    let id = Some("2026-W43");
    let held = bench.book(1, id).unwrap();
    let back = |bench: &mut Bench, ms: u64| {
        bench.now.wall = Timestamp::from_millis(bench.now.wall.as_millis() - ms as i64);
        bench.housekeeping();
    };
    back(&mut bench, 60 * MINUTE_MS);
    assert_eq!(bench.phase("2026-W43"), Some(Phase::Open), "it has opened, that is on record");
    let second = bench.book(2, id).unwrap();
    assert_eq!(bench.confirm(second), Ok(Status::Confirmed));
    assert_eq!(bench.book(1, id), Ok(held));
    // The hold's half hour is over on no clock yet; then it is, once.
    let status = |bench: &Bench| {
        let (found, _) = bench.sequencer.allocator().lookup(&held, &person(1)).unwrap();
        (found.as_ref().unwrap().booking.status, found.unwrap().booking.version)
    };
    bench.until("2026-10-16T12:49:00Z");
    assert_eq!(status(&bench), (Status::Held, 1));
    bench.until("2026-10-16T12:50:00Z");
    assert_eq!(status(&bench), (Status::Expired, 2));
    // Back to before it opened, and it closes none the less.
    back(&mut bench, 60 * MINUTE_MS);
    bench.until("2026-10-18T12:00:00Z");
    assert_eq!(bench.phase("2026-W43"), Some(Phase::Closed));
    bench.check_replay();
}

/// A clock that leaps ahead is not followed: no hold ends, nothing closes.
#[test]
fn a_clock_that_leaps_ahead_is_not_believed() {
    let mut bench = Bench::new(false, "2026-10-16T11:59:00Z");
    bench.until("2026-10-16T12:20:00Z");
    let id = Some("2026-W43");
    let held = bench.book(1, id).unwrap();
    bench.now.wall = bench.now.wall.plus_millis(7 * DAY_MS);
    bench.input(Sequencer::tick);
    bench.run();
    assert!(bench.sequencer.clock_is_ahead());
    assert_eq!(bench.phase("2026-W43"), Some(Phase::Open));
    bench.now.wall = Timestamp::from_millis(bench.now.wall.as_millis() - 7 * DAY_MS as i64);
    bench.housekeeping();
    assert_eq!(bench.confirm(held), Ok(Status::Confirmed));
    bench.check_replay();
}

/// Across the end of summer time: 14:00 in Berlin is 12:00Z, then 13:00Z.
#[test]
fn the_schedule_opens_and_closes_by_itself_and_old_openings_leave_memory() {
    let mut bench = Bench::new(false, "2026-10-09T11:00:00Z");
    bench.housekeeping();
    let weeks = [
        ("2026-W42", "2026-10-09T12:00:00Z", "2026-10-11T12:00:00Z", "2026-10-15T00:00:00Z"),
        ("2026-W43", "2026-10-16T12:00:00Z", "2026-10-18T12:00:00Z", "2026-10-22T00:00:00Z"),
        ("2026-W44", "2026-10-23T12:00:00Z", "2026-10-25T13:00:00Z", "2026-10-29T00:00:00Z"),
        ("2026-W45", "2026-10-30T13:00:00Z", "2026-11-01T13:00:00Z", "2026-11-05T00:00:00Z"),
        ("2026-W46", "2026-11-06T13:00:00Z", "2026-11-08T13:00:00Z", "2026-11-12T00:00:00Z"),
    ];
    let mut made = Vec::new();
    for (who, (id, opens, closes, retires)) in weeks.into_iter().enumerate() {
        let who = who as u64;
        let before = |moment: &str| {
            let moment: Timestamp = moment.parse().unwrap();
            Timestamp::from_millis(moment.as_millis() - 1).to_string()
        };
        bench.until(&before(opens));
        assert_eq!(bench.phase(id), Some(Phase::Scheduled));
        assert_eq!(bench.book(who, Some(id)), Err(Reason::NotOpen));
        bench.until(opens);
        assert_eq!(bench.phase(id), Some(Phase::Open));
        let booking = bench.book(who, Some(id)).unwrap();
        // Not paid: the place is free again, for somebody else.
        assert_eq!(
            bench.book(100 + who, Some(id)).and_then(|b| bench.confirm(b)),
            Ok(Status::Confirmed)
        );
        bench.until(closes);
        assert_eq!(bench.phase(id), Some(Phase::Closed));
        assert_eq!(bench.book(200 + who, Some(id)), Err(Reason::Closed));
        assert_eq!(bench.book(who, Some(id)), Ok(booking), "the tombstone of the hold");
        assert_eq!(bench.confirm(booking), Ok(Status::Confirmed), "paid late, still free");
        made.push(booking);
        // The first block after the days are over takes it out of memory.
        bench.until(retires);
        let wrong = ChangeRequest {
            request_id: "x".into(),
            target: None,
            kind: ChangeKind::Cancel { applicant: person(0) },
        };
        bench.input(|sequencer, now| sequencer.submit_changes([(wrong, 0)], now));
        bench.run();
        bench.answers.clear();
    }
    bench.until("2026-11-13T13:00:00Z");
    bench.until("2026-11-13T13:02:00Z");
    let known = bench.phases();
    assert!(known.len() <= 2, "{known:?}");
    assert!(bench.sequencer.allocator().bookings() <= 4);
    assert_eq!(bench.confirm(made[0]), Err(Reason::NotFound));
    assert_eq!(bench.book(0, Some("2026-W42")), Err(Reason::UnknownOpening));
    assert!(bench.sequencer.state().knows_opening("2026-W42"), "its id is not given again");
    bench.check_replay();
}

#[test]
fn with_several_openings_one_has_to_be_named_and_one_may_count_against_the_other() {
    for across in [false, true] {
        let mut bench = Bench::new(across, "2026-10-23T09:59:00Z");
        bench.until("2026-10-23T12:30:00Z");
        assert_eq!(bench.book(1, None), Err(Reason::UnknownOpening));
        bench.book(1, Some("extra")).unwrap();
        let again = bench.book(1, Some("2026-W44"));
        assert_eq!(again.is_err(), across, "{again:?}");
        if across {
            assert_eq!(again, Err(Reason::AlreadyBooked));
            // The hold ends: nothing counts any more.
            bench.until("2026-10-23T13:01:00Z");
            bench.book(1, Some("2026-W44")).unwrap();
        }
        bench.check_replay();
    }
}

//! A schedule that opens and closes by itself, week after week, at the hours of
//! the office: nobody asks for an opening, and nothing of the old ones stays.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_allocator::{
    BookingRequest, ChangeKind, ChangeRequest, Decision, Settled, StateMachine,
};
use giliran_config::Config;
use giliran_sequencer::{Appended, Continuation, Effect, Now, Outcome, ReadOutcome, Sequencer};
use giliran_wire::answer::{Phase, Reason, Status};
use giliran_wire::ledger::{Block, Entry, FORMAT, Genesis, TakeOver};
use giliran_wire::request::Choice;
use giliran_wire::{
    BlockHash, BookingId, Digest, KeyFingerprint, LedgerId, Pseudonym, Text, Timestamp, WriterNonce,
};

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
    sequencer: Sequencer<u32>,
    now: Now,
    told: Vec<Outcome>,
    blocks: Vec<Vec<u8>>,
}

fn person(i: u32) -> Pseudonym {
    let hash = blake3::hash(&i.to_le_bytes());
    Pseudonym::from_bytes(hash.as_bytes()[..16].try_into().unwrap())
}

impl Bench {
    fn new(across: bool, begin: &str) -> Self {
        let config = FILE.replace("ACROSS", if across { "true" } else { "false" });
        let config = giliran_config::parse(&config, "weeks.toml").unwrap();
        let genesis = Genesis {
            prefix: "giliran.v1".into(),
            applicant_key: KeyFingerprint([0; 16]),
            release: "0".into(),
            continues: None,
            rebuilt: None,
        };
        let now = Now { wall: begin.parse().unwrap(), mono_ms: 1_000_000 };
        let block = Block {
            format: FORMAT,
            ledger: LedgerId([1; 16]),
            generation: 1,
            number: 1,
            epoch: 0,
            writer: WriterNonce([0; 16]),
            time: now.wall,
            previous: BlockHash::ZERO,
            entries: vec![Entry::Genesis(genesis)],
        };
        let mut keeper = StateMachine::new();
        let blocks = vec![block.seal().bytes];
        keeper.fold(1, &blocks[0]).unwrap();
        let take_over = TakeOver { engine: "t".into(), release: "0".into(), forced: None };
        let mut bits = 0u128;
        let random = Box::new(move || {
            bits += 1;
            bits
        });
        let writer = WriterNonce([1; 16]);
        let next = Continuation::default();
        let sequencer = Sequencer::take_over(keeper, writer, take_over, random, next, now);
        let mut bench = Self { config, sequencer, now, told: Vec::new(), blocks };
        bench.run();
        bench
    }

    fn run(&mut self) {
        loop {
            let effects = self.sequencer.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Append { attempt, expected_last, bytes, .. } => {
                        self.blocks.push(bytes.to_vec());
                        let stored = Appended::Stored { seq: expected_last + 1 };
                        self.sequencer.appended(attempt, stored, self.now);
                    }
                    Effect::Answer { outcome, .. } => self.told.push(outcome),
                    Effect::Read { attempt, seq, .. } => {
                        let found =
                            ReadOutcome::Found(self.blocks[seq as usize - 1].clone().into());
                        self.sequencer.read(attempt, &found, self.now);
                    }
                    Effect::Active(_) | Effect::Foreign(_) => {}
                    Effect::Idle(why) => panic!("{why:?}"),
                }
            }
        }
    }

    /// What the engine does a few times a second, once.
    fn keep_house(&mut self) {
        self.sequencer.tick(self.now);
        if !self.sequencer.records_openings() {
            let (keeper, now) = (self.sequencer.keeper(), self.now.wall);
            let (openings, known) = (keeper.book().openings(), |id: &str| keeper.knows_opening(id));
            let compared = self.config.compare(now, HORIZON_MS, &openings, known);
            assert_eq!(compared.findings, [], "the file is as what came of it");
            self.sequencer.record_openings(compared.new, self.now);
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
            self.keep_house();
        }
    }

    fn book(&mut self, who: u32, opening: Option<&str>) -> Result<BookingId, Reason> {
        let choices = [Choice { office: Text::from("a"), date: None, session: None }];
        let applicants = [person(who)];
        let ask = BookingRequest {
            request_id: "r",
            applicants: &applicants,
            content: Digest([1; 16]),
            choices: &choices,
            opening,
            expires_at: None,
            account: None,
            channel: None,
            reference: None,
            vouched: false,
            wait: false,
        };
        match self.sequencer.book().decide(&ask, self.now.wall) {
            Decision::Settled(Settled::Refused(refusal, _)) => return Err(refusal.reason),
            Decision::Settled(Settled::Repeat(found, _)) => return Ok(found.booking.id),
            Decision::Granted(grant) => self.sequencer.decided([(grant, who)], [], self.now),
            other => panic!("{other:?}"),
        }
        self.run();
        match self.told.pop() {
            Some(Outcome::Granted(found, _)) => Ok(found.booking.id),
            other => panic!("{other:?}"),
        }
    }

    fn confirm(&mut self, id: BookingId) -> Result<Status, Reason> {
        let deed = ChangeKind::Confirm { reference: Some("inv".into()) };
        let ask = ChangeRequest { request_id: "c".into(), target: Some(id), deed };
        self.sequencer.changes([(ask, 0)], self.now);
        self.run();
        match self.told.pop() {
            Some(Outcome::Changed(found, _)) => Ok(found.booking.status),
            Some(Outcome::Settled(Settled::Refused(refusal, _))) => Err(refusal.reason),
            other => panic!("{other:?}"),
        }
    }

    fn phases(&self) -> Vec<(String, Phase)> {
        let openings = self.sequencer.book().openings();
        openings.iter().map(|o| (o.id().to_owned(), o.phase())).collect()
    }

    fn phase(&self, id: &str) -> Option<Phase> {
        self.phases().into_iter().find(|(of, _)| of == id).map(|(_, phase)| phase)
    }

    /// A replay knows what is known live.
    fn check_replay(&self) {
        let mut keeper = StateMachine::new();
        for (i, bytes) in self.blocks.iter().enumerate() {
            keeper.fold(i as u64 + 1, bytes).unwrap();
        }
        assert_eq!(keeper.state_hash(), self.sequencer.keeper().state_hash());
    }
}

/// Set back by an hour, engine time stands still: what was due stays due, what is
/// held stays held, nobody is refused what there is.
#[test]
fn a_clock_that_is_set_back_by_an_hour_undoes_nothing() {
    let mut bench = Bench::new(false, "2026-10-16T11:59:00Z");
    bench.until("2026-10-16T12:20:00Z");
    let id = Some("2026-W43");
    let held = bench.book(1, id).unwrap();
    let back = |bench: &mut Bench, ms: u64| {
        bench.now.wall = Timestamp::from_millis(bench.now.wall.as_millis() - ms as i64);
        bench.keep_house();
    };
    back(&mut bench, 60 * MINUTE_MS);
    assert_eq!(bench.phase("2026-W43"), Some(Phase::Open), "it has opened, that is on record");
    let second = bench.book(2, id).unwrap();
    assert_eq!(bench.confirm(second), Ok(Status::Confirmed));
    assert_eq!(bench.book(1, id), Ok(held));
    // The hold's half hour is over on no clock yet; then it is, once.
    let status = |bench: &Bench| {
        let (found, _) = bench.sequencer.book().lookup(&held, &person(1)).unwrap();
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
    bench.sequencer.tick(bench.now);
    bench.run();
    assert!(bench.sequencer.clock_is_ahead());
    assert_eq!(bench.phase("2026-W43"), Some(Phase::Open));
    bench.now.wall = Timestamp::from_millis(bench.now.wall.as_millis() - 7 * DAY_MS as i64);
    bench.keep_house();
    assert_eq!(bench.confirm(held), Ok(Status::Confirmed));
    bench.check_replay();
}

/// Across the end of summer time: 14:00 in Berlin is 12:00Z, then 13:00Z.
#[test]
fn the_schedule_opens_and_closes_by_itself_and_old_openings_leave_memory() {
    let mut bench = Bench::new(false, "2026-10-09T11:00:00Z");
    bench.keep_house();
    let weeks = [
        ("2026-W42", "2026-10-09T12:00:00Z", "2026-10-11T12:00:00Z", "2026-10-15T00:00:00Z"),
        ("2026-W43", "2026-10-16T12:00:00Z", "2026-10-18T12:00:00Z", "2026-10-22T00:00:00Z"),
        ("2026-W44", "2026-10-23T12:00:00Z", "2026-10-25T13:00:00Z", "2026-10-29T00:00:00Z"),
        ("2026-W45", "2026-10-30T13:00:00Z", "2026-11-01T13:00:00Z", "2026-11-05T00:00:00Z"),
        ("2026-W46", "2026-11-06T13:00:00Z", "2026-11-08T13:00:00Z", "2026-11-12T00:00:00Z"),
    ];
    let mut made = Vec::new();
    for (who, (id, opens, closes, retires)) in weeks.into_iter().enumerate() {
        let who = who as u32;
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
            deed: ChangeKind::Cancel { applicant: person(0) },
        };
        bench.sequencer.changes([(wrong, 0)], bench.now);
        bench.run();
        bench.told.clear();
    }
    bench.until("2026-11-13T13:00:00Z");
    bench.until("2026-11-13T13:02:00Z");
    let known = bench.phases();
    assert!(known.len() <= 2, "{known:?}");
    assert!(bench.sequencer.book().bookings() <= 4);
    assert_eq!(bench.confirm(made[0]), Err(Reason::NotFound));
    assert_eq!(bench.book(0, Some("2026-W42")), Err(Reason::UnknownOpening));
    assert!(bench.sequencer.keeper().knows_opening("2026-W42"), "its id is not given again");
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

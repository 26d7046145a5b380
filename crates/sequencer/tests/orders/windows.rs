//! Several openings of the same offices: whose window ends when.

use giliran_sequencer::{AdminCommand, AdminOp, Outcome};
use giliran_wire::Timestamp;
use giliran_wire::ledger::{OpeningRecord, Order};

use crate::{BEGIN, Bench, CLOSES, opening};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn named(id: &str, office: &str, (from, to): (i64, i64)) -> OpeningRecord {
    let mut record = opening(Order::FirstCome, &[3]);
    record.id = id.into();
    record.offices[0].id = office.into();
    (record.opens_at, record.closes_at) = (at(from), at(to));
    record
}

/// Three openings: the first of the office `o`, the second of it as well, the third of
/// another one.
fn bench() -> Bench {
    let mut bench = Bench::unopened();
    let records = vec![
        named("first", "o", (BEGIN, CLOSES)),
        named("second", "o", (CLOSES + 60_000, CLOSES + 120_000)),
        named("other", "p", (CLOSES + 1_000, CLOSES + 2_000)),
    ];
    bench.record(records);
    bench
}

impl Bench {
    /// What becomes of an operator's action; of one that was rejected, the reason.
    fn act(&mut self, opening: u32, act: AdminOp) -> Result<(), String> {
        let (operator, reason) = ("o".into(), "r".into());
        let action = AdminCommand { opening, operator, reason, act, dry_run: false };
        self.input(|sequencer, now| sequencer.submit_admin(action, 900, now));
        self.run();
        match self.answers.remove(&900).unwrap() {
            Outcome::Adjusted(..) => Ok(()),
            Outcome::NotAdjusted(rejection, _) => Err(rejection.detail.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn ends(&mut self, opening: u32, closes_at: i64) -> Result<(), String> {
        self.act(opening, AdminOp::ClosesAt { closes_at: at(closes_at) })
    }
}

/// While both are open nobody could tell which one a request means that names none.
#[test]
fn an_opening_cannot_end_within_another_one_of_its_offices() {
    let mut bench = bench();
    assert_eq!(bench.ends(0, CLOSES + 60_000), Ok(()), "where the next one begins");
    let said = bench.ends(0, CLOSES + 60_001).unwrap_err();
    assert!(said.contains("opening second of the same offices begins at"), "{said}");
    assert_eq!(bench.ends(2, CLOSES + 300_000), Ok(()), "another office");
    // The later one has ended: there is nothing to be beside.
    bench.tick((CLOSES + 60_000 - BEGIN) as u64);
    assert_eq!(bench.ends(1, BEGIN), Ok(()));
    assert_eq!(bench.ends(0, CLOSES + 90_000), Ok(()));
    // The first is open anew; the second would be beside it.
    let said = bench.ends(1, CLOSES + 120_000).unwrap_err();
    assert!(said.contains("opening first of the same offices"), "{said}");
}

#[test]
fn no_more_places_are_kept_back_than_there_are() {
    let mut bench = bench();
    let reserve = |places| AdminOp::Reserve { slot: 0, places };
    assert_eq!(bench.act(0, reserve(3)), Ok(()));
    let said = bench.act(0, reserve(4)).unwrap_err();
    assert_eq!(said, "places: 4 is more than the quota, 3");
}

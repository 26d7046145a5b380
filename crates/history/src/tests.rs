//! Ledgers written out by hand, and what they must come to.

use giliran_report::Language;
use giliran_testkit::{LedgerBuilder, genesis, office, rules, slot, take_over};
use giliran_wire::admin::Bookings;
use giliran_wire::ledger::{
    Adjust, Adjustment, Block, Cancel, CancelCause, Chain, Confirm, DrawEntryRecord, DrawRecord,
    Entry, Expire, Genesis, Grant, Office, OpeningRecord, Order, RejectionCount, RejectionDigest,
    Released, Reschedule, ReturnRule, Rules, Seat,
};
use giliran_wire::{
    BookingId, Digest, KeyFingerprint, LedgerId, Pseudonym, Timestamp, WriterNonce,
};

use giliran_wire::client_log::{Choice, SeenBooking};

use super::*;
use crate::gateway_log::GatewayLine;

/// When the opening opens, ms: 2026-11-27T07:00:00Z.
pub(super) const OPENS: i64 = 1_795_762_800_000;

/// A ledger in memory.
pub(super) struct Ledger(LedgerBuilder);

impl Ledger {
    /// With these openings on record, none open.
    pub(super) fn with(records: Vec<OpeningRecord>) -> Self {
        let now = Timestamp::from_millis(OPENS - 9_000);
        let mut ledger = LedgerBuilder { chain: Chain::new(), blocks: Vec::new(), now };
        // Ids written out, as the shipped example of a statement has them.
        let applicant_key = KeyFingerprint([7; 16]);
        let genesis = Entry::Genesis(Genesis { applicant_key, ..genesis() });
        let (id, writer) = (LedgerId([5; 16]), WriterNonce([3; 16]));
        ledger.write(&Block { ledger: id, epoch: 0, writer, ..ledger.next(vec![genesis]) });
        let entries = vec![Entry::TakeOver(take_over())];
        ledger.write(&Block { epoch: 1, ..ledger.next(entries) });
        ledger.append(records.into_iter().map(|of| Entry::Opening(Box::new(of))).collect());
        Self(ledger)
    }

    /// One open opening of two slots, of 3 and 2 places.
    pub(super) fn open() -> Self {
        let mut ledger = Self::with(vec![record(0, "w")]);
        ledger.append(0, vec![Entry::Opened { opening: 0 }]);
        ledger
    }

    /// A block, so many ms from the opening.
    pub(super) fn append(&mut self, ms: i64, entries: Vec<Entry>) -> u64 {
        self.0.now = Timestamp::from_millis(OPENS + ms);
        self.0.append(entries)
    }

    pub(super) fn read(&self, opening: &str) -> Result<RecordedOpening, RecordedError> {
        let mut reader = Reader::new(opening);
        for (i, bytes) in self.0.blocks.iter().enumerate() {
            reader.block(i as u64 + 1, bytes)?;
        }
        reader.end()
    }

    fn figures(&self) -> OpeningMeasures {
        OpeningMeasures::new(&self.read("w").unwrap(), None, None)
    }
}

pub(super) fn record(ordinal: u32, id: &str) -> OpeningRecord {
    OpeningRecord {
        ordinal,
        id: id.into(),
        timezone: "Asia/Jakarta".into(),
        opens_at: Timestamp::from_millis(OPENS),
        closes_at: Timestamp::from_millis(OPENS + 600_000),
        rules: Rules {
            max_party: 2,
            expired: ReturnRule::Delayed { from_ms: 60_000, to_ms: 60_000 },
            ..rules()
        },
        offices: vec![Office { name: "Batam".into(), ..office("batam", &["all"]) }],
        slots: vec![slot(0, 0, "2026-11-30", 3), slot(0, 0, "2026-12-01", 2)],
    }
}

pub(super) fn person(n: u8) -> Pseudonym {
    Pseudonym::from_bytes([n; 16])
}

pub(super) fn booking(n: u8) -> BookingId {
    BookingId::from_random(u128::from(n))
}

fn at(ms: i64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(OPENS + ms))
}

/// Booking `n` of people `n`, `n + 100`, … with these numbers.
pub(super) fn grant(n: u8, slot: u32, numbers: &[u16], account: Option<u8>) -> Entry {
    let seats = numbers.iter().zip(0..);
    let seats = seats.map(|(number, i)| Seat { applicant: person(n + 100 * i), number: *number });
    Entry::Grant(Grant {
        booking: booking(n),
        opening: 0,
        slot,
        seats: seats.collect(),
        request_id: format!("r{n}"),
        content: Digest([n; 16]),
        reference: Some("secret-ref".into()),
        account: account.map(|n| Pseudonym::from_bytes([n ^ 0xaa; 16])),
        channel: Some(if n.is_multiple_of(2) { "mobile" } else { "web" }.into()),
        hold_expires_at: None,
    })
}

pub(super) fn cancel(n: u8, release_at: Option<Timestamp>) -> Entry {
    Entry::Cancel(Cancel {
        booking: booking(n),
        request_id: "c".into(),
        seats: Vec::new(),
        cause: CancelCause::Applicant,
        release_at,
        reason: None,
        refund_due: false,
    })
}

pub(super) fn rejected(second: i64, slot: Option<u32>, count: u64) -> Entry {
    let tally = RejectionCount { slot, reason: 11, second, channel: Some("web".into()), count };
    Entry::Rejections(RejectionDigest { opening: 0, tallies: vec![tally] })
}

fn enter(n: u8, slots: &[u32], waits: bool) -> Entry {
    Entry::Draw(DrawRecord::Entered(Box::new(DrawEntryRecord {
        applicants: vec![person(n)],
        content: Digest([n; 16]),
        channel: Some(if n.is_multiple_of(2) { "mobile" } else { "web" }.into()),
        waits,
        ..giliran_testkit::entry(n.into(), slots)
    })))
}

fn value(figures: &OpeningMeasures, name: &str) -> f64 {
    figures.of(name).unwrap_or_else(|why| panic!("{name}: {why:?}"))
}

#[test]
fn sold_out_is_reason_11() {
    assert_eq!(giliran_wire::answer::Reason::SoldOut.number(), 11);
}

/// Five places; four granted, one cancelled at once and had again, one lapsed and
/// waiting, one moved, one never had.
#[test]
fn counts_are_those_of_the_ledger() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 0, &[1, 2], Some(1)), grant(2, 0, &[3], Some(2))]);
    ledger.append(20, vec![grant(3, 1, &[1], Some(3))]);
    // 3 cancels at 30 s, 4 has its place at 90 s.
    ledger.append(30_000, vec![cancel(3, at(30_000))]);
    ledger.append(90_000, vec![grant(4, 1, &[1], Some(3))]);
    // The hold of 2 runs out; its place waits until 200 s.
    let expire = Expire { booking: booking(2), release_at: at(200_000) };
    ledger.append(140_000, vec![Entry::Expire(expire)]);
    let figures = ledger.figures();
    for (name, expected) in [
        ("quota", 5.0),
        ("bookings", 4.0),
        ("granted", 5.0),
        ("live", 3.0),
        ("cancelled", 1.0),
        ("expired", 1.0),
        ("moved", 0.0),
        ("withheld", 1.0),
        ("free", 1.0),
        ("oversold", 0.0),
        ("came_back", 2.0),
        ("released", 1.0),
        ("regranted", 1.0),
        // Accounts 3 and 3: what 3 gave back it got again; one of one released.
        ("recapture", 1.0),
        ("to_release_s", 0.0),
        ("to_regrant_s", 60.0),
        ("after_release_s", 60.0),
        ("shortest_regrant_s", 60.0),
        // Two of five without a booking.
        ("waste", 0.4),
        // Held: 2 by account 1, 1 by account 3.
        ("accounts", 2.0),
        ("without_account", 0.0),
        ("largest", 2.0),
        ("top_ten", 1.0),
        ("hhi", 5.0 / 9.0),
        ("gini", 1.0 / 6.0),
    ] {
        assert!((value(&figures, name) - expected).abs() < 1e-12, "{name}: {:?}", figures.of(name));
    }
    assert_eq!(figures.chart.granted.iter().sum::<u64>(), 5);
    assert_eq!(figures.chart.returned.iter().sum::<u64>(), 2);
    assert_eq!((figures.chart.free[0], *figures.chart.free.last().unwrap()), (1, 1));
    assert!(!figures.is_final && !figures.is_wrong());

    // Released at 200 s, and nobody comes.
    let released = Released { opening: 0, slot: 0, numbers: vec![3] };
    ledger.append(200_000, vec![Entry::Released(released)]);
    let figures = ledger.figures();
    assert_eq!((value(&figures, "withheld"), value(&figures, "free")), (0.0, 2.0));
    // Waits of 0 and 60 s; the lower of the two in the middle.
    assert_eq!((value(&figures, "released"), value(&figures, "to_release_s")), (2.0, 0.0));
    assert_eq!(value(&figures, "recapture"), 0.5);
}

#[test]
fn what_the_ledger_cannot_know_is_said_with_its_reason() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 0, &[1], None)]);
    let recorded = ledger.read("w").unwrap();
    let figures = OpeningMeasures::new(&recorded, None, None);
    for name in [
        "scalper_share",
        "no_shows",
        "speed",
        "inversion",
        "first_choice",
        "wait_s",
        "undersold",
        "unclear",
        "refused",
        "parties",
        "top_ten",
        "hhi",
        "recapture",
        "families",
    ] {
        assert!(figures.of(name).is_err(), "{name}");
    }
    let report = report::report(&recorded, &figures, Language::English);
    let (shown, html, json) = (report.text(), report.html(), report.data);
    assert!(shown.contains("cannot be judged") && shown.contains("PRELIMINARY"), "{shown}");
    assert!(shown.contains("Groups of people (network, device, place)"), "{shown}");
    assert!(json["measures"]["scalper_share"].is_null());
    assert!(json["unknown"]["scalper_share"].as_str().unwrap().contains("cannot know"));
    assert_eq!((&json["preliminary"], &json["asked_are"]), (&true.into(), &"unknown".into()));
    assert!(html.contains("not known") && html.contains("PRELIMINARY"));
    // Nothing that names anybody.
    for text in [shown, json.to_string(), html] {
        for secret in
            [person(1).to_hex(), booking(1).to_string(), "secret-ref".into(), "r1\"".into()]
        {
            assert!(!text.contains(&secret), "{secret}");
        }
    }
}

/// Slot 0 is full from 10 ms on and gets a place back at 60 s, free to the end;
/// slot 1 has two places throughout.
#[test]
fn rejections_beside_free_places_are_counted_as_far_as_they_can_be_judged() {
    let judged = |second, slot| {
        let mut ledger = Ledger::open();
        ledger.append(10, vec![grant(1, 0, &[1, 2], None), grant(2, 0, &[3], None)]);
        ledger.append(60_000, vec![cancel(2, at(60_000))]);
        ledger.append(90_000, vec![rejected(OPENS / 1_000 + second, slot, 7)]);
        let figures = ledger.figures();
        (value(&figures, "undersold"), value(&figures, "unclear"))
    };
    // While it was full, and some seconds after it got a place, which may not have
    // been durable yet.
    for second in [1, 30, 59, 60, 64] {
        assert_eq!(judged(second, Some(0)), (0.0, 0.0), "{second}");
    }
    // One place is not enough for a party of two, and who was rejected is not known.
    assert_eq!(judged(65, Some(0)), (0.0, 7.0));
    // Two are.
    assert_eq!(judged(30, Some(1)), (7.0, 0.0));
    // No single slot was named.
    assert_eq!(judged(30, None), (0.0, 7.0));
}

#[test]
fn halted_and_reserved_places_are_not_to_be_had() {
    let adjust = |change| {
        Entry::Adjust(Adjust {
            opening: 0,
            operator: "siti".into(),
            reason: "flood".into(),
            change,
        })
    };
    let undersold = |change| {
        let mut ledger = Ledger::open();
        ledger.append(1_000, vec![adjust(change)]);
        ledger.append(90_000, vec![rejected(OPENS / 1_000 + 30, Some(1), 7)]);
        value(&ledger.figures(), "undersold")
    };
    assert_eq!(
        undersold(Adjustment::Halt { slot: 1, halted: true, bookings: Bookings::Keep }),
        0.0
    );
    assert_eq!(undersold(Adjustment::Reserve { slot: 1, places: 2 }), 0.0);
    assert_eq!(undersold(Adjustment::Quota { slot: 1, quota: 0 }), 0.0);
    assert_eq!(undersold(Adjustment::Quota { slot: 1, quota: 9 }), 7.0);
}

#[test]
fn a_place_beyond_the_quota_is_oversold_and_one_beyond_a_lowered_quota_is_not() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 1, &[1, 2], None)]);
    let change = Adjustment::Quota { slot: 1, quota: 1 };
    let (operator, reason) = ("siti".into(), "fewer desks".into());
    ledger.append(20, vec![Entry::Adjust(Adjust { opening: 0, operator, reason, change })]);
    assert_eq!(
        (value(&ledger.figures(), "oversold"), value(&ledger.figures(), "free")),
        (0.0, 2.0)
    );
    ledger.append(30, vec![grant(2, 1, &[3], None)]);
    let recorded = ledger.read("w").unwrap();
    let figures = OpeningMeasures::new(&recorded, None, None);
    assert_eq!(value(&figures, "oversold"), 1.0);
    assert!(figures.is_wrong());
    assert!(
        report::verdict(&recorded, &figures, Language::English)[1].starts_with("Wrong: 1 places")
    );
}

#[test]
fn moves_late_payments_and_draws_keep_the_places_together() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 0, &[1], Some(1)), grant(2, 0, &[2], Some(2))]);
    // 1 moves to slot 1; its old place waits for a draw.
    let swap = Reschedule {
        booking: booking(1),
        request_id: "m".into(),
        content: Digest([0; 16]),
        slot: 1,
        seats: vec![Seat { applicant: person(1), number: 1 }],
        release_at: None,
        reason: None,
        hold_expires_at: None,
    };
    ledger.append(20, vec![Entry::Reschedule(swap)]);
    // 2 lapses and pays late: its number, withheld, comes back to it.
    let expire = Expire { booking: booking(2), release_at: None };
    ledger.append(30, vec![Entry::Expire(expire)]);
    let revived = Some(vec![Seat { applicant: person(2), number: 2 }]);
    let confirm = Confirm { booking: booking(2), request_id: "p".into(), reference: None, revived };
    ledger.append(40, vec![Entry::Confirm(confirm)]);
    // 3 entered and is drawn the place that 1 left; 4 is not.
    ledger.append(50, vec![enter(3, &[0], true), enter(4, &[0], true)]);
    ledger.append(
        60_050,
        vec![
            Entry::Draw(DrawRecord::GroupBegin { opening: 0, round: 1, grants: 1 }),
            grant(3, 0, &[1], Some(1)),
            Entry::Draw(DrawRecord::GroupEnd { opening: 0, round: 1 }),
            Entry::Draw(DrawRecord::NotDrawn { receipt: booking(4) }),
        ],
    );
    ledger.append(70_000, vec![Entry::Closed { opening: 0 }]);
    let figures = ledger.figures();
    for (name, expected) in [
        ("moved", 1.0),
        ("expired", 1.0),
        ("withheld", 0.0),
        ("live", 3.0),
        ("free", 2.0),
        // The revived place never came back; the moved one did, to the same account.
        ("came_back", 1.0),
        ("regranted", 1.0),
        ("recapture", 1.0),
        ("to_regrant_s", 60.03),
        ("after_release_s", 0.0),
        ("entries", 2.0),
        ("drawn", 1.0),
        ("not_drawn", 1.0),
        ("withdrawn", 0.0),
        ("oversold", 0.0),
    ] {
        assert!((value(&figures, name) - expected).abs() < 1e-9, "{name}: {:?}", figures.of(name));
    }
    assert!(figures.is_final);
}

#[test]
fn a_member_who_leaves_gives_back_one_place_and_the_authority_is_told_apart() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 0, &[1, 2], None), grant(2, 1, &[1], None)]);
    let leave = Cancel {
        booking: booking(1),
        request_id: "c".into(),
        seats: vec![person(101)],
        cause: CancelCause::Applicant,
        release_at: at(20),
        reason: None,
        refund_due: false,
    };
    let revoke = Cancel {
        booking: booking(2),
        request_id: "x".into(),
        seats: Vec::new(),
        cause: CancelCause::Authority,
        release_at: at(20),
        reason: Some("flood".into()),
        refund_due: false,
    };
    ledger.append(20, vec![Entry::Cancel(leave), Entry::Cancel(revoke)]);
    let figures = ledger.figures();
    assert_eq!((value(&figures, "cancelled"), value(&figures, "revoked")), (1.0, 1.0));
    assert_eq!((value(&figures, "live"), value(&figures, "free")), (1.0, 4.0));
}

/// web: 2 granted, 6 rejected; mobile: 1 granted, 1 rejected. Together 3 of 10.
#[test]
fn channels_are_compared_by_requests_where_refusals_were_counted() {
    let mut ledger = Ledger::open();
    ledger.append(
        10,
        vec![grant(1, 0, &[1], None), grant(3, 0, &[2], None), grant(2, 0, &[3], None)],
    );
    let tally = |channel: &str, reason, count| RejectionCount {
        slot: Some(0),
        reason,
        second: OPENS / 1_000 + 5,
        channel: Some(channel.into()),
        count,
    };
    // `not_open` (3) is no rejection of a place.
    let tallies = vec![tally("web", 11, 6), tally("mobile", 11, 1), tally("mobile", 3, 50)];
    ledger.append(9_000, vec![Entry::Rejections(RejectionDigest { opening: 0, tallies })]);
    let figures = ledger.figures();
    assert_eq!(figures.answered, CountBasis::Requests);
    let of = |name: &str| figures.groups.iter().find(|group| group.name == name).unwrap().fared;
    let web = of("web");
    assert_eq!((web.asked, web.won, web.z), (Some(8), 2, None));
    assert!((web.ratio.unwrap() - (2.0 / 8.0) / (3.0 / 10.0)).abs() < 1e-12);
    assert!((of("mobile").ratio.unwrap() - 0.5 / 0.3).abs() < 1e-12);
    assert_eq!(value(&figures, "refused"), 57.0);
    assert_eq!(figures.chart.rejected.as_ref().unwrap().iter().sum::<u64>(), 57);
}

fn line(n: u8, sent_ms: u64, booking_of: Option<u8>, seq: u64) -> GatewayLine {
    let seen =
        booking_of.map(|n| SeenBooking { id: booking(n).to_string(), ..SeenBooking::default() });
    let choice =
        |date: &str| Choice { office: "batam".into(), date: Some(date.into()), session: None };
    GatewayLine {
        sent_us: sent_ms * 1_000,
        answered_us: Some(sent_ms * 1_000 + 4_000),
        request_id: format!("r{n}"),
        applicants: vec![format!("p{n}")],
        choices: vec![choice("2026-11-30"), choice("2026-12-01")],
        opening: Some("w".into()),
        channel: Some(if n.is_multiple_of(2) { "mobile" } else { "web" }.into()),
        cohort: Some(if n < 4 { "fibre" } else { "islands" }.into()),
        outcome: Some(if seen.is_some() { "granted" } else { "rejected" }.into()),
        reason: seen.is_none().then(|| "sold_out".into()),
        booking: seen,
        seq: Some(seq),
        ..GatewayLine::default()
    }
}

#[test]
fn a_log_that_cannot_be_of_the_opening_is_refused() {
    let mut ledger = Ledger::open();
    let full = ledger.append(10, vec![grant(1, 0, &[1], None)]);
    let recorded = ledger.read("w").unwrap();
    let refused = |line: GatewayLine| Gateway::of(vec![line], &recorded).unwrap_err().to_string();
    let nameless = GatewayLine { opening: None, ..line(2, 1, None, full) };
    assert!(refused(nameless).contains("may be of any opening"));
    let elsewhere = Choice { office: "mars".into(), date: None, session: None };
    let elsewhere = GatewayLine { choices: vec![elsewhere], ..line(2, 1, None, full) };
    assert!(refused(elsewhere).contains("asks at mars"));
    assert!(refused(line(2, 1, None, full + 1)).contains("the ledger of opening \"w\" ends at"));
}

#[test]
fn lines_that_no_gateway_can_have_seen_are_refused_by_their_number() {
    let refused = |more: &str| {
        let good = r#"{"sent_us":1,"request_id":"x","opening":"w"}"#;
        let log = format!("{good}\n{{\"sent_us\":1,\"request_id\":\"y\",{more}}}\n");
        gateway_log::parse(log.as_bytes()).unwrap_err().to_string()
    };
    for more in [
        "\"places\":0",
        "\"places\":4294967295",
        "\"applicants\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"]",
    ] {
        let said = refused(more);
        assert!(said.starts_with("line 2: a party of") && said.ends_with("1..=5"), "{said}");
    }
    assert!(refused("\"outcome\":\"won\"").contains("one of granted"));
    assert!(refused("\"reason\":\"full\"").contains("not a reason of the contract"));
}

/// Of the pairs with a loser who wanted the same, none is inverted: 2 refreshed early
/// but asked an open engine last, 3 was over its account's limit, 4 asked for two.
#[test]
fn inversions_are_of_those_who_could_have_been_served_alike() {
    let mut ledger = Ledger::open();
    let full = ledger.append(10, vec![grant(1, 0, &[1], None)]);
    let recorded = ledger.read("w").unwrap();
    let told = |n: u8, sent_ms, reason: &str| GatewayLine {
        reason: Some(reason.into()),
        ..line(n, sent_ms, None, full)
    };
    let family =
        GatewayLine { applicants: vec!["p4".into(), "p5".into()], ..line(4, 11, None, full) };
    let lines = vec![
        line(1, 12, Some(1), full),
        told(2, 1, "not_open"),
        told(2, 20, "sold_out"),
        told(3, 11, "account_limit"),
        family,
    ];
    let gateway = Gateway::of(lines, &recorded).unwrap();
    assert_eq!(value(&OpeningMeasures::new(&recorded, Some(&gateway), None), "inversion"), 0.0);
}

/// Five of seven win; 6 was first of all, was rejected, and asked again.
#[test]
fn a_gateway_log_adds_who_lost_and_when_they_asked() {
    let mut ledger = Ledger::open();
    let full = ledger.append(
        10,
        vec![
            grant(1, 0, &[1], None),
            grant(2, 0, &[2], None),
            grant(3, 0, &[3], None),
            grant(4, 1, &[1], None),
            grant(5, 1, &[2], None),
        ],
    );
    let recorded = ledger.read("w").unwrap();
    let mut lines: Vec<GatewayLine> =
        (1..=5).map(|n| line(n, 10 + u64::from(n), Some(n), full)).collect();
    lines.push(line(6, 2, None, full));
    lines.push(line(6, 900, None, full));
    lines.push(line(7, 13, None, full));
    lines.push(GatewayLine { opening: Some("other".into()), ..line(8, 1, None, full) });
    let gateway = Gateway::of(lines.clone(), &recorded).unwrap();
    assert_eq!((gateway.elsewhere, gateway.missing, gateway.unseen), (1, 0, 0));
    let figures = OpeningMeasures::new(&recorded, Some(&gateway), None);
    for (name, expected) in [
        ("parties", 7.0),
        ("refused", 3.0),
        ("per_place", 7.0 / 5.0),
        ("undersold", 0.0),
        ("unclear", 0.0),
        // 6 came before all five; 7 at the time of 3, before 4 and 5: (5 + 2.5) / 10.
        ("inversion", 0.75),
        // 1, 2, 3 of five.
        ("first_choice", 0.6),
        ("wait_s", 0.004),
        ("answered", 1.0),
    ] {
        assert!((value(&figures, name) - expected).abs() < 1e-9, "{name}: {:?}", figures.of(name));
    }
    let of = |name: &str| figures.groups.iter().find(|group| group.name == name).unwrap().fared;
    assert_eq!((of("fibre").asked, of("fibre").won), (Some(3), 3));
    assert_eq!((of("islands").asked, of("islands").won), (Some(4), 2));
    assert!((of("islands").ratio.unwrap() - 0.5 / (5.0 / 7.0)).abs() < 1e-12);
    // p = 4/7; variance 5 p (1 − p) (7 − 5) / 6.
    let p = 4.0 / 7.0_f64;
    let z = (2.0 - 5.0 * p) / (5.0 * p * (1.0 - p) * 2.0 / 6.0).sqrt();
    assert!((of("islands").z.unwrap() - z).abs() < 1e-12);

    // Told of a booking that is not there; rejected while there was room (before the
    // block of the grants).
    lines[0].booking = Some(SeenBooking { id: booking(99).to_string(), ..SeenBooking::default() });
    lines[5].seq = Some(full - 1);
    let gateway = Gateway::of(lines, &recorded).unwrap();
    let figures = OpeningMeasures::new(&recorded, Some(&gateway), None);
    assert_eq!((figures.missing, value(&figures, "undersold"), gateway.unseen), (1, 1.0, 1));
    assert!(figures.is_wrong());
}

#[test]
fn a_gateway_log_of_another_opening_is_refused() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 0, &[1], None)]);
    let recorded = ledger.read("w").unwrap();
    let other = GatewayLine { opening: Some("v".into()), ..line(1, 1, Some(1), 5) };
    let refused = Gateway::of(vec![other], &recorded).unwrap_err().to_string();
    assert!(refused.contains("\"w\"") && refused.contains('v'), "{refused}");
    let strange = GatewayLine { opening: None, ..line(9, 1, Some(9), 5) };
    let refused = Gateway::of(vec![strange], &recorded).unwrap_err().to_string();
    assert!(refused.contains("none of the 1 bookings"), "{refused}");
}

#[test]
fn an_unknown_opening_is_told_with_those_there_are() {
    let ledger = Ledger::with(vec![record(0, "a"), record(1, "b")]);
    let said = ledger.read("w").unwrap_err().to_string();
    assert!(said.contains("\"w\"") && said.contains("a, b"), "{said}");
    let none = Ledger::with(Vec::new()).read("w").unwrap_err().to_string();
    assert!(none.contains("has none"), "{none}");
    // Another opening's entries are not its own.
    let mut ledger = Ledger::with(vec![record(0, "a"), record(1, "b")]);
    ledger.append(0, vec![Entry::Opened { opening: 0 }, grant(1, 0, &[1], None), cancel(1, None)]);
    let recorded = ledger.read("b").unwrap();
    assert_eq!((recorded.blocks.len(), recorded.state), (0, State::Scheduled));
    let said =
        report::verdict(&recorded, &OpeningMeasures::new(&recorded, None, None), Language::English);
    assert!(said[0].contains("not opened yet"), "{said:?}");
}

fn replayed(
    recorded: &RecordedOpening,
    gateway: Option<&Gateway>,
    order: Order,
    seed: u64,
) -> replay::Replay {
    replay::replay(recorded, gateway, &[order], seed).unwrap()
}

/// Ten who want one of two places of slot 1, a millisecond apart; the two first ones
/// got them.
fn ten_for_two() -> (RecordedOpening, Gateway) {
    let mut ledger = Ledger::open();
    let full = ledger.append(15, vec![grant(1, 1, &[1], None), grant(2, 1, &[2], None)]);
    let recorded = ledger.read("w").unwrap();
    let lines = (1..=10).map(|n| {
        let got = (n <= 2).then_some(n);
        let mut line = line(n, 10 + u64::from(n), got, full);
        line.choices.remove(0);
        line
    });
    let gateway = Gateway::of(lines.collect(), &recorded).unwrap();
    (recorded, gateway)
}

#[test]
fn first_come_replayed_gives_the_same_people_the_same_places() {
    let (recorded, gateway) = ten_for_two();
    let same = replayed(&recorded, Some(&gateway), Order::FirstCome, 1);
    assert_eq!((same.requests, same.won, same.places), (10, 2, 2));
    assert_eq!((same.arms[0].both, same.arms[0].lost, same.arms[0].gained), (2, 0, 0));
    let first = same.rows.iter().find(|row| row.kind == "asked" && row.name == "1 tenth").unwrap();
    assert_eq!((first.asked, &first.won[..]), (1, &[1, 1][..]));
}

/// Over many seeds a draw gives each of ten the same chance of two places, and so
/// does one round that holds them all; rounds of a millisecond change nothing.
#[test]
fn another_order_gives_the_places_to_others() {
    let (recorded, gateway) = ten_for_two();
    let fast = replayed(&recorded, Some(&gateway), Order::Rounds { length_ms: 1 }, 1);
    assert_eq!((fast.arms[0].both, fast.arms[0].gained), (2, 0));
    for order in [Order::Draw, Order::Rounds { length_ms: 1_000 }] {
        let mut kept = 0;
        for seed in 0..200 {
            let replay = replayed(&recorded, Some(&gateway), order, seed);
            let arm = &replay.arms[0];
            assert_eq!((arm.both + arm.gained, arm.both + arm.lost, arm.places), (2, 2, 2));
            kept += arm.both;
        }
        // 400 places, each with a chance of 2 in 10 of its old holder: 80, within five
        // standard deviations of 8.
        assert!((40..=120).contains(&kept), "{order:?}: {kept}");
    }
    let again = replayed(&recorded, Some(&gateway), Order::Draw, 5);
    assert_eq!(again, replayed(&recorded, Some(&gateway), Order::Draw, 5));
}

#[test]
fn without_a_gateway_log_the_rejected_are_said_to_be_missing() {
    let (recorded, _) = ten_for_two();
    let replay = replayed(&recorded, None, Order::Draw, 1);
    assert_eq!((replay.requests, replay.arms[0].both, replay.arms[0].lost), (2, 2, 0));
    assert_eq!(replay.unsaid[0], replay::Unsaid::RejectedMissing);
    assert!(report::replayed(&replay, Language::English).contains("rejected are missing"));
    assert!(report::replayed_json(&replay)["cannot_tell"][0].is_string());
    let none = Ledger::open().read("w").unwrap();
    let said = replay::replay(&none, None, &[Order::Draw], 1).unwrap_err();
    assert!(said.contains("no request is known"), "{said}");
}

/// A halted day has no places in the replay either; a place that had come back is
/// nobody's there.
#[test]
fn a_replay_has_the_places_that_there_were() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 0, &[1], None), grant(2, 0, &[2], None)]);
    ledger.append(20, vec![cancel(2, at(20))]);
    ledger.append(30, vec![grant(3, 0, &[2], None)]);
    let replay = replayed(&ledger.read("w").unwrap(), None, Order::FirstCome, 1);
    // Three asked; 3 took what 2 had given back. In the replay there are three places.
    assert_eq!((replay.requests, replay.won), (3, 2));
    assert_eq!((replay.arms[0].both, replay.arms[0].gained), (2, 1));
    assert!(replay.unsaid.contains(&replay::Unsaid::Again(1)));
    let change = Adjustment::Quota { slot: 0, quota: 2 };
    let (operator, reason) = ("siti".into(), "counter".into());
    ledger.append(40, vec![Entry::Adjust(Adjust { opening: 0, operator, reason, change })]);
    let replay = replayed(&ledger.read("w").unwrap(), None, Order::FirstCome, 1);
    assert_eq!((replay.arms[0].both, replay.arms[0].gained, replay.arms[0].places), (2, 0, 2));
    let change = Adjustment::Halt { slot: 0, halted: true, bookings: Bookings::Keep };
    let (operator, reason) = ("siti".into(), "flood".into());
    ledger.append(50, vec![Entry::Adjust(Adjust { opening: 0, operator, reason, change })]);
    let replay = replayed(&ledger.read("w").unwrap(), None, Order::FirstCome, 1);
    assert_eq!((replay.arms[0].both, replay.arms[0].places), (0, 0));
}

/// Four enter for two places of slot 1, one leaves, two are drawn when the window has
/// closed; one place comes back after that.
#[test]
fn a_draws_holdings_are_those_after_it_and_its_replay_misses_nobody() {
    let mut ledger = {
        let mut record = record(0, "w");
        record.rules.order = Order::Draw;
        Ledger::with(vec![record])
    };
    ledger.append(0, vec![Entry::Opened { opening: 0 }]);
    ledger.append(10, (1..=4).map(|n| enter(n, &[1], false)).collect());
    let left = DrawRecord::Withdrawn { receipt: booking(4), request_id: "x".into() };
    ledger.append(20, vec![Entry::Draw(left)]);
    ledger.append(600_000, vec![Entry::Closed { opening: 0 }]);
    ledger.append(
        610_000,
        vec![
            Entry::Draw(DrawRecord::GroupBegin { opening: 0, round: 1, grants: 2 }),
            grant(3, 1, &[1], Some(9)),
            grant(1, 1, &[2], Some(9)),
            Entry::Draw(DrawRecord::GroupEnd { opening: 0, round: 1 }),
            Entry::Draw(DrawRecord::NotDrawn { receipt: booking(2) }),
        ],
    );
    ledger.append(620_000, vec![cancel(3, None)]);
    // Too late for the draw; waits for what came back.
    ledger.append(630_000, vec![enter(5, &[1], true)]);
    let recorded = ledger.read("w").unwrap();
    let figures = OpeningMeasures::new(&recorded, None, None);
    assert_eq!(figures.answered, CountBasis::Entries);
    let of = |kind: &str, name: &str| {
        let found = figures.groups.iter().find(|g| g.kind == kind && g.name == name);
        found.map(|group| (group.fared.asked, group.fared.won)).unwrap()
    };
    assert_eq!((of("channel", "web"), of("channel", "mobile")), ((Some(2), 2), (Some(1), 0)));
    assert_eq!(of("party of", "1"), (Some(3), 2));
    // All at one time: as under a lottery.
    assert_eq!(value(&figures, "inversion"), 0.5);
    let why = figures.of("to_release_s").unwrap_err();
    assert_eq!(why.english, "no place that came back was released yet");
    assert_eq!(replayed(&recorded, None, Order::FirstCome, 1).requests, 3);
    for (name, expected) in [
        ("entries", 5.0),
        ("drawn", 2.0),
        ("not_drawn", 1.0),
        ("withdrawn", 1.0),
        ("largest", 2.0),
        ("hhi", 1.0),
        ("withheld", 1.0),
    ] {
        assert_eq!(value(&figures, name), expected, "{name}");
    }
    assert!(
        report::report(&recorded, &figures, Language::English).text().contains("giliran verify")
    );
    let first = replayed(&recorded, None, Order::FirstCome, 1);
    assert_eq!((first.requests, first.won, first.arms[0].both, first.arms[0].gained), (3, 2, 1, 1));
    assert_eq!(first.unsaid[0], replay::Unsaid::NobodyMissing);
}

#[test]
fn every_name_in_a_file_is_in_the_document() {
    let document = include_str!("../../../docs/fairness.md");
    let has = |name: &str| assert!(document.contains(&format!("`{name}`")), "{name}");
    let ledger = Ledger::open();
    let (recorded, figures) = (ledger.read("w").unwrap(), ledger.figures());
    figures.figures.iter().for_each(|figure| {
        has(figure.name);
        assert_ne!(figure.title.english, "", "{}", figure.name);
    });
    let report = report::report(&recorded, &figures, Language::English);
    for sheet in &report.sheets {
        has(sheet.name);
        sheet.text().lines().next().unwrap().split(',').for_each(has);
    }
    let json = report.data;
    let fields = |object: &serde_json::Value| -> Vec<String> {
        object.as_object().unwrap().keys().cloned().collect()
    };
    for object in [&json, &json["series"]] {
        fields(object).iter().for_each(|name| has(name));
    }
}

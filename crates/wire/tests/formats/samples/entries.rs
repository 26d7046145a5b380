//! A ledger with every kind of entry, in every variant, chained as it would
//! stand in the stream.

use giliran_wire::admin::Bookings;
use giliran_wire::ledger::{
    Adjust, Adjustment, Block, BookableUntil, Cancel, CancelCause, Confirm, DrawEntryRecord,
    DrawRecord, Entry, Expire, FORMAT, Genesis, Grant, Leftovers, Office, OpeningRecord, Order,
    Rebuilt, RejectionCount, RejectionDigest, Released, Reschedule, ReturnRule, Rules, Seal, Seat,
    Session, Signed, Slot, SnapshotPart, TakeOver,
};
use giliran_wire::{BlockHash, Digest, KeyFingerprint, Pseudonym, Timestamp, WriterNonce};

use super::{LEDGER, at, booking_id, day, other_booking_id};

macro_rules! kinds {
    ($($pattern:pat => $name:literal),* $(,)?) => {
        /// What an entry is called in a fixture's name. No wildcard: who adds a
        /// variant meets this first, and then the test that every name has its
        /// fixture.
        pub(crate) fn kind(entry: &Entry) -> &'static str {
            match entry { $($pattern => $name),* }
        }

        pub(crate) const KINDS: &[&str] = &[$($name),*];
    };
}

kinds! {
    Entry::Genesis(_) => "genesis",
    Entry::TakeOver(_) => "take_over",
    Entry::Opening(_) => "opening",
    Entry::Opened { .. } => "opened",
    Entry::Closed { .. } => "closed",
    Entry::Grant(_) => "grant",
    Entry::Confirm(_) => "confirm",
    Entry::Cancel(_) => "cancel",
    Entry::Expire(_) => "expire",
    Entry::Reschedule(_) => "reschedule",
    Entry::Released(_) => "released",
    Entry::Adjust(Adjust { change: Adjustment::Quota { .. }, .. }) => "adjust_quota",
    Entry::Adjust(Adjust { change: Adjustment::Reserve { .. }, .. }) => "adjust_reserve",
    Entry::Adjust(Adjust { change: Adjustment::Halt { .. }, .. }) => "adjust_halt",
    Entry::Adjust(Adjust { change: Adjustment::ClosesAt { .. }, .. }) => "adjust_closes_at",
    Entry::Adjust(Adjust { change: Adjustment::Beacon { .. }, .. }) => "adjust_beacon",
    Entry::Draw(DrawRecord::Committed { .. }) => "draw_committed",
    Entry::Draw(DrawRecord::Entered(_)) => "draw_entered",
    Entry::Draw(DrawRecord::Withdrawn { .. }) => "draw_withdrawn",
    Entry::Draw(DrawRecord::Root { .. }) => "draw_root",
    Entry::Draw(DrawRecord::Revealed { .. }) => "draw_revealed",
    Entry::Draw(DrawRecord::GroupBegin { .. }) => "draw_drawing",
    Entry::Draw(DrawRecord::GroupEnd { .. }) => "draw_drawn",
    Entry::Draw(DrawRecord::NotDrawn { .. }) => "draw_not_drawn",
    Entry::Rejections(_) => "refusals",
    Entry::Snapshot(_) => "snapshot",
    Entry::Seal(_) => "seal",
}

fn person(n: u8) -> Pseudonym {
    Pseudonym::from_bytes([n; 16])
}

fn seat(n: u8, number: u16) -> Seat {
    Seat { applicant: person(n), number }
}

fn signed() -> Signed {
    Signed { operator: "siti".into(), reason: "the clock of engine-b was set".into() }
}

const CONTENT: Digest = Digest([0xc0; 16]);

fn returns() -> [ReturnRule; 3] {
    [
        ReturnRule::Immediate,
        ReturnRule::Delayed { from_ms: 600_000, to_ms: 3_600_000 },
        ReturnRule::At { minutes: vec![420, 1_020] },
    ]
}

/// Three openings: each order and each return rule, options given and left out.
fn openings() -> Vec<Entry> {
    rules().into_iter().enumerate().map(opening).collect()
}

fn rules() -> [Rules; 3] {
    let [immediate, delayed, collected] = returns();
    let plain = Rules {
        order: Order::FirstCome,
        max_party: 5,
        max_per_account: Some(5),
        hold_ms: None,
        cancelled: collected.clone(),
        expired: delayed.clone(),
        across_openings: false,
        max_changes: 3,
        bookable_until: BookableUntil::DayBegins,
        max_bookings: 3,
        leftovers: Leftovers::None,
    };
    let rounds = Rules {
        order: Order::Rounds { length_ms: 500 },
        max_party: 1,
        max_per_account: None,
        hold_ms: Some(7_200_000),
        cancelled: immediate.clone(),
        expired: collected,
        across_openings: true,
        max_changes: 2,
        bookable_until: BookableUntil::TimeOfDay { minute: 720 },
        max_bookings: 1,
        leftovers: Leftovers::FirstCome,
    };
    let draw = Rules {
        order: Order::Draw,
        cancelled: delayed,
        expired: immediate,
        bookable_until: BookableUntil::Before { ms: 64_800_000 },
        ..plain
    };
    [plain, rounds, draw]
}

fn opening((ordinal, rules): (usize, Rules)) -> Entry {
    let session = |id: &str, restricted, explicit| Session {
        id: id.into(),
        label: format!("Session {id}"),
        restricted,
        explicit,
    };
    let slot = |office, session, date, quota, bookable_until| {
        let (date, bookable_until) = (day(date), at(bookable_until));
        Slot { office, session, date, quota, bookable_until }
    };
    // As the rules say it, in Jakarta.
    let [first, second] = [
        ["2026-11-29T17:00:00.000Z", "2026-11-30T17:00:00.000Z"],
        ["2026-11-30T05:00:00.000Z", "2026-12-01T05:00:00.000Z"],
        ["2026-11-28T23:00:00.000Z", "2026-11-29T23:00:00.000Z"],
    ][ordinal];
    Entry::Opening(Box::new(OpeningRecord {
        ordinal: ordinal as u32,
        id: format!("2026-W{}", 49 + ordinal),
        timezone: "Asia/Jakarta".into(),
        opens_at: at("2026-11-27T07:00:00.000Z"),
        closes_at: at("2026-11-29T07:00:00.000Z"),
        rules,
        offices: vec![
            Office {
                id: "batam-center".into(),
                name: "Kantor Imigrasi Kelas I Khusus TPI Batam".into(),
                sessions: vec![session("0800", false, false), session("priority", true, true)],
            },
            Office {
                id: "batam-harbourbay".into(),
                name: "ULP Harbour Bay, Batam".into(),
                sessions: vec![session("all", false, false)],
            },
        ],
        slots: vec![
            slot(0, 0, "2026-11-30", 100, first),
            slot(0, 1, "2026-11-30", 50, first),
            slot(1, 0, "2026-12-01", u16::MAX, second),
        ],
    }))
}

fn grants() -> Vec<Entry> {
    let grant = Grant {
        booking: booking_id(),
        opening: 0,
        slot: 2,
        seats: vec![seat(1, 17), seat(2, 18)].into(),
        request_id: "a3f1".into(),
        content: CONTENT,
        reference: Some("order-77".into()),
        account: Some(person(9)),
        channel: Some("mobile".into()),
        hold_expires_at: Some(at("2026-11-27T09:00:00.123Z")),
    };
    let bare = Grant {
        booking: other_booking_id(),
        seats: [seat(3, u16::MAX)].into(),
        reference: None,
        account: None,
        channel: None,
        hold_expires_at: None,
        ..grant.clone()
    };
    vec![Entry::Grant(grant), Entry::Grant(bare)]
}

fn changes() -> Vec<Entry> {
    let (booking, request_id) = (booking_id(), || "a3f2".to_owned());
    let confirm = Confirm {
        booking,
        request_id: request_id(),
        reference: Some("pay-1".into()),
        revived: Some(vec![seat(1, 19), seat(2, 20)]),
    };
    let plain = Confirm { reference: None, revived: None, ..confirm.clone() };
    let cancel = Cancel {
        booking,
        request_id: request_id(),
        seats: vec![person(2)],
        cause: CancelCause::Applicant,
        release_at: Some(at("2026-11-28T00:00:00.000Z")),
        reason: None,
        refund_due: false,
    };
    let closed_office = Cancel {
        seats: vec![],
        cause: CancelCause::Authority,
        release_at: None,
        reason: Some("office closed".into()),
        refund_due: true,
        ..cancel.clone()
    };
    let expire = Expire { booking, release_at: Some(at("2026-11-27T09:10:00.000Z")) };
    let reschedule = Reschedule {
        booking,
        request_id: request_id(),
        content: CONTENT,
        slot: 0,
        seats: vec![seat(1, 4)],
        release_at: None,
        reason: Some("moved by the office".into()),
        hold_expires_at: Some(at("2026-11-27T09:00:00.123Z")),
    };
    vec![
        Entry::Confirm(confirm),
        Entry::Confirm(plain),
        Entry::Cancel(cancel),
        Entry::Cancel(closed_office),
        Entry::Expire(Expire { release_at: None, ..expire.clone() }),
        Entry::Expire(expire),
        Entry::Reschedule(Reschedule {
            release_at: Some(at("2026-11-28T00:00:00.000Z")),
            reason: None,
            hold_expires_at: None,
            ..reschedule.clone()
        }),
        Entry::Reschedule(reschedule),
        Entry::Released(Released { opening: 0, slot: 2, numbers: vec![17, 18] }),
    ]
}

fn adjustments() -> Vec<Entry> {
    [
        Adjustment::Quota { slot: 2, quota: 60 },
        Adjustment::Reserve { slot: 2, places: 5 },
        Adjustment::Halt { slot: 0, halted: true, bookings: Bookings::Move },
        Adjustment::Halt { slot: 0, halted: false, bookings: Bookings::Keep },
        Adjustment::ClosesAt { closes_at: at("2026-11-30T07:00:00.000Z") },
        Adjustment::Beacon { value: vec![1, 2, 3] },
    ]
    .into_iter()
    .map(|change| {
        let (operator, reason) = ("siti".to_owned(), "counter 3 is out of order".to_owned());
        Entry::Adjust(Adjust { opening: 0, operator, reason, change })
    })
    .collect()
}

fn draws() -> Vec<Entry> {
    let ballot = DrawEntryRecord {
        receipt: other_booking_id(),
        opening: 2,
        applicants: vec![person(4), person(5)],
        slots: vec![2, 0],
        request_id: "a3f3".into(),
        content: CONTENT,
        reference: Some("order-78".into()),
        account: Some(person(9)),
        channel: Some("web".into()),
        waits: false,
    };
    let waiting = DrawEntryRecord {
        reference: None,
        account: None,
        channel: None,
        waits: true,
        ..ballot.clone()
    };
    let (opening, receipt) = (2, other_booking_id());
    let beacon = || Some("drand quicknet 14000000".to_owned());
    vec![
        DrawRecord::Committed { opening, commitment: [0x11; 32], beacon: beacon() },
        DrawRecord::Committed { opening, commitment: [0x12; 32], beacon: None },
        DrawRecord::Entered(Box::new(ballot)),
        DrawRecord::Entered(Box::new(waiting)),
        DrawRecord::Withdrawn { receipt, request_id: "a3f4".into() },
        DrawRecord::Root { opening, root: [0x13; 32], entries: 2 },
        DrawRecord::Revealed { opening, seed: [0x14; 32], beacon: Some(vec![1, 2, 3]) },
        DrawRecord::Revealed { opening, seed: [0x15; 32], beacon: None },
        DrawRecord::GroupBegin { opening, round: 1, grants: 1 },
        DrawRecord::GroupEnd { opening, round: 1 },
        DrawRecord::NotDrawn { receipt },
    ]
    .into_iter()
    .map(Entry::Draw)
    .collect()
}

fn last_things() -> Vec<Entry> {
    let tally = |slot, channel| RejectionCount {
        slot,
        reason: 11,
        second: 1_795_762_800,
        channel,
        count: 250_000,
    };
    vec![
        Entry::Rejections(RejectionDigest {
            opening: 0,
            tallies: vec![tally(Some(2), Some("mobile".into())), tally(None, None)],
        }),
        Entry::Seal(Seal {
            ledger: LEDGER,
            next: "GILIRAN_V1_LEDGER_2".into(),
            snapshot: BlockHash([0x5a; 32]),
            ordered: Some(signed()),
        }),
    ]
}

/// The blocks of one ledger, by name, each naming the one before. Entries of
/// one kind share a block.
pub(crate) fn blocks() -> Vec<(String, Block)> {
    let genesis = Genesis {
        prefix: "giliran.v1".into(),
        applicant_key: KeyFingerprint([0x6b; 16]),
        version: "0.1.0".into(),
        continues: None,
        rebuilt: None,
    };
    let take_over =
        TakeOver { engine: "engine-a".into(), version: "0.1.0".into(), forced: Some(signed()) };
    let mut entries = vec![Entry::Genesis(genesis.clone()), Entry::TakeOver(take_over)];
    entries.extend(openings());
    entries.extend([Entry::Opened { opening: 0 }, Entry::Closed { opening: 0 }]);
    entries.extend(grants());
    entries.extend(changes());
    entries.extend(adjustments());
    entries.extend(draws());
    entries.extend(last_things());

    let mut blocks: Vec<(String, Block)> = Vec::new();
    let mut previous = BlockHash::ZERO;
    let begin = at("2026-11-27T06:59:00.000Z").as_millis();
    for group in entries.chunk_by(|a, b| kind(a) == kind(b)) {
        let seq = blocks.len() as i64;
        // A seal has the time of the block before.
        let sealed = matches!(group[0], Entry::Seal(_));
        let block = Block {
            format: FORMAT,
            ledger: LEDGER,
            generation: 1,
            number: seq as u64 + 1,
            epoch: u64::from(seq > 0),
            writer: WriterNonce([if seq > 0 { 0xa1 } else { 0x01 }; 16]),
            time: Timestamp::from_millis(begin + (seq - i64::from(sealed)) * 1_000),
            previous,
            entries: group.to_vec(),
        };
        previous = block.seal().hash;
        blocks.push((format!("{:02}_{}", seq + 1, kind(&group[0])), block));
    }
    blocks.extend(second_generation(genesis, &blocks));
    blocks
}

/// How a generation begins behind one that was damaged; it stands in no chain here.
pub(crate) fn rebuilt() -> (String, Block) {
    let (_, first) = blocks().remove(0);
    let Some(Entry::Genesis(genesis)) = first.entries.first() else { panic!("a genesis") };
    let rebuilt = Rebuilt {
        operator: "siti".into(),
        reason: "disk of nats-2 replaced".into(),
        damaged_at: 1_842,
    };
    let genesis = Genesis {
        continues: Some(BlockHash([0x6c; 32])),
        rebuilt: Some(rebuilt),
        ..genesis.clone()
    };
    let block = Block { generation: 2, entries: vec![Entry::Genesis(genesis)], ..first };
    ("genesis_rebuilt".to_owned(), block)
}

/// How a second generation begins: the writer goes on, at the seal's time.
fn second_generation(genesis: Genesis, first: &[(String, Block)]) -> Vec<(String, Block)> {
    let (_, seal) = first.last().expect("a seal");
    let genesis = Genesis { continues: Some(seal.seal().hash), ..genesis };
    let part = |part| {
        Entry::Snapshot(SnapshotPart {
            part,
            parts: 2,
            state: BlockHash([0x5a; 32]),
            bytes: vec![0xde, 0xad, 0xbe, 0xef],
        })
    };
    let next = |previous: &Block, entries| Block {
        generation: 2,
        number: previous.number + 1,
        previous: previous.seal().hash,
        entries,
        ..previous.clone()
    };
    let begin = next(seal, vec![Entry::Genesis(genesis), part(0)]);
    let snapshot = next(&begin, vec![part(1)]);
    vec![("27_generation_2".to_owned(), begin), ("28_snapshot".to_owned(), snapshot)]
}

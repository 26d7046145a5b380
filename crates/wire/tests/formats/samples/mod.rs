//! One value of every kind that crosses a process boundary, with a name. The
//! fixtures are these values written down; the page shows some of them.

mod catalogue;
mod entries;
mod picture;
mod snapshot;

pub(crate) use catalogue::descriptions;
pub(crate) use entries::{KINDS, blocks, kind, rebuilt};
pub(crate) use picture::judged;
pub(crate) use snapshot::{PIECE_KINDS, piece_kind, pieces};

use giliran_wire::admin;
use giliran_wire::answer::{
    Answer, Availability as Places, Booking, OpeningState, Overview, Phase, Reason, Rejection,
    SlotState, Status, Verdict,
};
use giliran_wire::event::{self, Event, EventId, Kind};
use giliran_wire::request::{self, Availability, Book, Choice, Find, Lookup};
use giliran_wire::service::{Identity, Standing};
use giliran_wire::subject::Namespace;
use giliran_wire::{AsOf, BookingId, Date, LedgerId, Position, Timestamp};

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

pub(crate) fn day(text: &str) -> Date {
    text.parse().expect("a day")
}

pub(crate) fn booking_id() -> BookingId {
    BookingId::from_random(0x5_55aa_1234_5678_9abc_def0)
}

pub(crate) fn other_booking_id() -> BookingId {
    BookingId::from_random(0x7_0123_4567_89ab_cdef_0123)
}

pub(crate) const LEDGER: LedgerId =
    LedgerId([0x4c, 0x45, 0x44, 0x47, 0x45, 0x52, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);

fn choice<'a>(office: &'a str, date: Option<&str>, session: Option<&'a str>) -> Choice<'a> {
    Choice { office: office.into(), date: date.map(day), session: session.map(Into::into) }
}

/// Requests of the operation `book`, by the name of their fixture.
pub(crate) fn books() -> Vec<(&'static str, Book<'static>)> {
    let minimal = Book {
        request_id: "a3f1".into(),
        applicants: ["2171012345678901".into()].into(),
        choices: [choice("batam-harbourbay", None, None)].into(),
        opening: None,
        expires_at: None,
        account: None,
        channel: None,
        reference: None,
        wait: false,
    };
    let full = Book {
        request_id: "a3f1:retry_1.b-2".into(),
        applicants: vec!["2171012345678901".into(), "2171012345678902".into()].into(),
        choices: vec![
            choice("batam-harbourbay", Some("2026-11-30"), Some("all")),
            choice("batam-center", Some("2026-12-01"), None),
            choice("batam-center", None, Some("0800")),
            choice("batam-harbourbay", None, None),
        ]
        .into(),
        opening: Some("2026-W49".into()),
        expires_at: Some(at("2026-11-27T07:00:05.000Z")),
        account: Some("u-9912".into()),
        channel: Some("mobile".into()),
        reference: Some("order-77".into()),
        wait: true,
    };
    let bounds = Book {
        request_id: "r".repeat(64).into(),
        applicants: (0..5).map(|i| format!("{i}{}", "é".repeat(31)).into()).collect(),
        choices: (0..16).map(|i| choice(["a", "0-z"][i % 2], None, None)).collect(),
        opening: Some("W".repeat(40).into()),
        expires_at: Some(Timestamp::EARLIEST),
        account: Some("\"\\\u{1f600}".into()),
        channel: Some("abcdefghij-01234".into()),
        reference: Some("".into()),
        wait: false,
    };
    vec![("book_minimal", minimal), ("book_full", full), ("book_bounds", bounds)]
}

/// Requests of the operation `lookup`, by the name of their fixture.
pub(crate) fn lookups() -> Vec<(&'static str, Lookup<'static>)> {
    let by_booking = Lookup {
        booking: Some(booking_id().to_string().into()),
        request_id: None,
        applicant: "2171012345678901".into(),
        opening: None,
    };
    let by_request = Lookup {
        booking: None,
        request_id: Some("a3f1".into()),
        applicant: "2171012345678901".into(),
        opening: Some("2026-W49".into()),
    };
    vec![("lookup_booking", by_booking), ("lookup_request", by_request)]
}

/// Requests of the operation `find`, by the name of their fixture.
pub(crate) fn finds() -> Vec<(&'static str, Find<'static>)> {
    vec![("find", Find { applicant: "2171012345678901".into(), opening: "2026-W49".into() })]
}

/// Requests of the operation `availability`, by the name of their fixture.
pub(crate) fn availabilities() -> Vec<(&'static str, Availability<'static>)> {
    vec![
        ("availability_all", Availability::default()),
        (
            "availability_office",
            Availability { office: Some("batam-center".into()), describe: false },
        ),
    ]
}

/// The same in JSON alone.
pub(crate) fn describing() -> (&'static str, Availability<'static>) {
    let asked = Availability { office: Some("batam-center".into()), describe: true };
    ("availability_describe", asked)
}

pub(crate) fn booking(status: Status) -> Booking<'static> {
    Booking {
        id: booking_id(),
        version: if status == Status::Confirmed { 1 } else { 2 },
        status,
        opening: "2026-W49".into(),
        office: "batam-harbourbay".into(),
        date: day("2026-11-30"),
        session: "all".into(),
        numbers: vec![17].into(),
        request_id: "a3f1".into(),
        reference: Some("order-77".into()),
        channel: Some("mobile".into()),
        granted_at: at("2026-11-27T07:00:00.123Z"),
        hold_expires_at: None,
    }
}

fn held() -> Booking<'static> {
    Booking {
        version: 1,
        numbers: vec![80, 1].into(),
        reference: None,
        channel: None,
        hold_expires_at: Some(at("2026-11-27T09:00:00.123Z")),
        ..booking(Status::Held)
    }
}

pub(crate) const AS_OF: Position = Position { epoch: 3, seq: 1841 };

/// The same where its time is told as well.
pub(crate) fn since() -> AsOf {
    AsOf::new(AS_OF, at("2026-11-27T07:00:00.123Z"))
}

fn rejection(reason: Reason) -> Rejection<'static> {
    let plain = Rejection::new(reason);
    match reason {
        Reason::Malformed => plain.detail("choices: 17 given, at most 16"),
        Reason::UnknownOpening => {
            plain.detail("opening: several are open, name one of them").as_of(AS_OF)
        }
        Reason::Busy | Reason::Unavailable => plain.retry_after_ms(412),
        Reason::NotOpen => Rejection {
            now: Some(at("2026-11-27T06:59:58.750Z")),
            ..plain.retry_after_ms(1_250).as_of(AS_OF)
        },
        Reason::UnknownSlot => {
            plain.detail("choices[0].office: the opening has no such office").as_of(AS_OF)
        }
        _ => plain.as_of(AS_OF),
    }
}

/// Answers to `book`, `lookup` and `find`, by name.
pub(crate) fn answers() -> Vec<(String, Answer<'static>)> {
    let granted = |booking: Booking<'static>| Verdict::Granted { booking, as_of: AS_OF };
    let entered =
        Verdict::Entered { opening: "2026-W49".into(), receipt: other_booking_id(), as_of: AS_OF };
    let answer = |name: &str, verdict| {
        (name.to_owned(), Answer { request_id: Some("a3f1".into()), verdict })
    };
    let mut all = vec![
        answer("granted_confirmed", granted(booking(Status::Confirmed))),
        answer("granted_held", granted(held())),
        answer("granted_cancelled", granted(booking(Status::Cancelled))),
        answer("granted_expired", granted(booking(Status::Expired))),
        answer("entered", entered),
    ];
    for reason in Reason::ALL {
        let name = format!("rejected_{:02}_{}", reason.number(), reason.name());
        let request_id = (*reason != Reason::Malformed).then(|| "a3f1".into());
        let verdict = Verdict::Rejected(rejection(*reason));
        all.push((name, Answer { request_id, verdict }));
    }
    all
}

/// Answers to `availability`, by name.
pub(crate) fn overviews() -> Vec<(&'static str, Overview<'static>)> {
    let opening = |id: &'static str, state, opens_at, closes_at| OpeningState {
        id: id.into(),
        state,
        opens_at: at(opens_at),
        closes_at: at(closes_at),
    };
    let slot = |office: &'static str, session: &'static str, quota, free, withheld| SlotState {
        opening: "2026-W49".into(),
        office: office.into(),
        date: day("2026-11-30"),
        session: session.into(),
        quota,
        free,
        withheld,
        reserved: 0,
        halted: false,
        bookable: true,
        next_release: None,
    };
    let full = Places {
        now: at("2026-11-27T07:00:03.250Z"),
        openings: vec![
            opening(
                "2026-W48",
                Phase::Closed,
                "2026-11-20T07:00:00.000Z",
                "2026-11-22T07:00:00.000Z",
            ),
            opening(
                "2026-W49",
                Phase::Open,
                "2026-11-27T07:00:00.000Z",
                "2026-11-29T07:00:00.000Z",
            ),
            opening(
                "2026-W50",
                Phase::Scheduled,
                "2026-12-04T07:00:00.000Z",
                "2026-12-06T07:00:00.000Z",
            ),
        ],
        slots: vec![
            SlotState {
                reserved: 1,
                next_release: Some(at("2026-11-28T00:00:00.000Z")),
                ..slot("batam-center", "0800", 100, 41, 3)
            },
            SlotState { halted: true, ..slot("batam-center", "1000", 100, 0, 20) },
            SlotState { bookable: false, ..slot("batam-harbourbay", "all", 80, -3, 0) },
        ],
        as_of: AS_OF,
        catalogue: None,
    };
    let none = Places {
        now: at("2026-11-27T07:00:03.250Z"),
        openings: vec![],
        slots: vec![],
        as_of: Position { epoch: 1, seq: 2 },
        catalogue: None,
    };
    let unknown = Rejection::new(Reason::UnknownSlot)
        .detail("office: no opening has an office `batam-centre`")
        .as_of(AS_OF);
    vec![
        ("availability", Overview::Shown(full)),
        ("availability_none", Overview::Shown(none)),
        ("availability_refused", Overview::Rejected(unknown)),
    ]
}

/// An answer to [`describing`].
pub(crate) fn described() -> (&'static str, Overview<'static>) {
    let (_, first_come) = descriptions().swap_remove(0);
    let slots = vec![SlotState {
        opening: "2026-W49".into(),
        office: "batam-center".into(),
        date: day("2026-11-30"),
        session: "0800".into(),
        quota: 100,
        free: 41,
        withheld: 3,
        reserved: 1,
        halted: false,
        bookable: true,
        next_release: Some(at("2026-11-28T00:00:00.000Z")),
    }];
    let shown = Places {
        now: at("2026-11-27T07:00:03.250Z"),
        openings: vec![OpeningState {
            id: first_come.id.clone().into(),
            state: first_come.state,
            opens_at: first_come.opens_at,
            closes_at: first_come.closes_at,
        }],
        slots,
        as_of: AS_OF,
        catalogue: Some(vec![first_come]),
    };
    ("availability_described", Overview::Shown(shown))
}

/// Requests that change a booking, by name.
pub(crate) fn confirms() -> Vec<(&'static str, request::Confirm<'static>)> {
    let plain = request::Confirm {
        request_id: "c1".into(),
        booking: "PN14-D2PF-2DBS-QQG1".into(),
        reference: None,
    };
    let paid = request::Confirm { reference: Some("invoice-4711".into()), ..plain.clone() };
    vec![("confirm", plain), ("confirm_paid", paid)]
}

pub(crate) fn cancels() -> Vec<(&'static str, request::Cancel<'static>)> {
    vec![(
        "cancel",
        request::Cancel {
            request_id: "x1".into(),
            booking: "PN14-D2PF-2DBS-QQG1".into(),
            applicant: "2171012345678901".into(),
        },
    )]
}

pub(crate) fn reschedules() -> Vec<(&'static str, request::Reschedule<'static>)> {
    let choice = request::Choice {
        office: "batam-harbourbay".into(),
        date: Some(day("2026-12-01")),
        session: None,
    };
    vec![(
        "reschedule",
        request::Reschedule {
            request_id: "m1".into(),
            booking: "PN14-D2PF-2DBS-QQG1".into(),
            applicant: "2171012345678901".into(),
            choices: vec![choice],
        },
    )]
}

/// Operators' actions, by name.
pub(crate) fn quotas() -> Vec<(&'static str, admin::Quota<'static>)> {
    vec![(
        "admin_quota",
        admin::Quota {
            operator: "siti".into(),
            reason: "two desks closed".into(),
            opening: "2026-W49".into(),
            office: "batam-harbourbay".into(),
            date: day("2026-11-30"),
            session: None,
            quota: 60,
            dry_run: false,
        },
    )]
}

pub(crate) fn reserves() -> Vec<(&'static str, admin::Reserve<'static>)> {
    vec![(
        "admin_reserve",
        admin::Reserve {
            operator: "siti".into(),
            reason: "hospital visits".into(),
            opening: "2026-W49".into(),
            office: "batam-center".into(),
            date: day("2026-11-30"),
            session: Some("0800".into()),
            places: 5,
            dry_run: false,
        },
    )]
}

pub(crate) fn halts() -> Vec<(&'static str, admin::Halt<'static>)> {
    vec![(
        "admin_halt",
        admin::Halt {
            operator: "siti".into(),
            reason: "power cut".into(),
            opening: "2026-W49".into(),
            office: "batam-center".into(),
            date: day("2026-11-30"),
            session: None,
            halted: true,
            bookings: admin::Bookings::Move,
            dry_run: true,
        },
    )]
}

pub(crate) fn ends() -> Vec<(&'static str, admin::ClosesAt<'static>)> {
    vec![(
        "admin_closes_at",
        admin::ClosesAt {
            operator: "siti".into(),
            reason: "outage".into(),
            opening: "2026-W49".into(),
            closes_at: at("2026-11-29T11:00:00.000Z"),
            dry_run: false,
        },
    )]
}

pub(crate) fn beacons() -> Vec<(&'static str, admin::Beacon<'static>)> {
    let beacon = admin::Beacon {
        operator: "siti".into(),
        reason: "the draw of week 49".into(),
        opening: "2026-W49".into(),
        signature: "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be\
                    41076862b98fad56e91a6b85b89cd97b"
            .into(),
        dry_run: false,
    };
    vec![("admin_beacon", beacon)]
}

pub(crate) fn rolls() -> Vec<(&'static str, admin::Roll<'static>)> {
    let roll = admin::Roll {
        operator: "siti".into(),
        reason: "before the new year".into(),
        dry_run: true,
        from: Some("GILIRAN_V1_LEDGER_3".into()),
    };
    vec![("admin_roll", roll)]
}

/// Answers to operators' actions, by name.
pub(crate) fn reports() -> Vec<(&'static str, admin::Answer<'static>)> {
    let slot = SlotState {
        opening: "2026-W49".into(),
        office: "batam-harbourbay".into(),
        date: day("2026-11-30"),
        session: "all".into(),
        quota: 60,
        free: -1,
        withheld: 0,
        reserved: 0,
        halted: false,
        bookable: true,
        next_release: None,
    };
    let change = admin::Change {
        action: "quota".into(),
        office: Some("batam-harbourbay".into()),
        date: Some(day("2026-11-30")),
        session: Some("all".into()),
        before: "80".into(),
        after: "60".into(),
    };
    let done = admin::Report {
        outcome: admin::DONE.into(),
        slots: vec![slot],
        concerned_count: 1,
        concerned: vec![booking(Status::Confirmed)],
        moved_count: 0,
        moved: vec![],
        cancelled_count: 0,
        cancelled: vec![],
        as_of: AS_OF,
        changes: vec![change],
    };
    let would = admin::Report {
        outcome: admin::WOULD.into(),
        concerned_count: 0,
        concerned: vec![],
        cancelled_count: 1,
        cancelled: vec![booking(Status::Confirmed)],
        changes: vec![admin::Change {
            action: "closes_at".into(),
            office: None,
            date: None,
            session: None,
            before: "2026-11-29T17:00:00.000Z".into(),
            after: "2026-11-29T18:00:00.000Z".into(),
        }],
        ..done.clone()
    };
    let rejected = Rejection::new(Reason::UnknownOpening)
        .detail("opening: there is none of this id")
        .as_of(AS_OF);
    vec![
        ("admin_done", admin::Answer::Done(done)),
        ("admin_would", admin::Answer::Done(would)),
        ("admin_refused", admin::Answer::Rejected(rejected)),
    ]
}

/// An engine, and how it stands.
pub(crate) fn engine() -> (Identity, Standing) {
    let identity = Identity {
        name: "giliran-engine".into(),
        id: "8f2b6a10c4d97e35".into(),
        version: "0.1.0".into(),
        started: at("2026-11-27T06:30:00.000Z"),
    };
    let standing = Standing {
        role: "engine".into(),
        prefix: "giliran.v1".into(),
        instance: Some("a".into()),
        state: "active".into(),
        detail: Some("epoch 3".into()),
        warnings: None,
        ready: true,
        epoch: Some(3),
        seq: Some(1_841),
        tail: Some(1_841),
        lag_blocks: Some(0),
        lag_ms: Some(0),
        clock_offset_ms: Some(-2),
        commit: Some("339b23733e0c".into()),
        key: Some("0c9ab2f35d1e4877a6c0d2e98b174f60".into()),
        config: Some("b53e064b3ba80167db842afac2aed1d8".into()),
        queue: Some(0),
        backlog: Some(12),
        answers: [("granted".into(), 1_205), ("rejected.sold_out".into(), 88_210)].into(),
        grants_within: vec![[4_096, 1_100], [8_192, 1_205]],
    };
    (identity, standing)
}

pub(crate) fn events() -> Vec<(&'static str, Event<'static>)> {
    let event = |kind: Kind, seq, booking, previous| {
        let id = EventId { ledger: LEDGER, seq, n: 4 };
        let time = at("2026-11-27T07:00:00.123Z");
        (kind.name(), Event::new(&Namespace::default(), id, kind, time, booking, previous))
    };
    let payment = |(name, event): (_, Event<'static>)| (name, event.payment(Some("invoice-4711")));
    let entry = |kind: Kind| {
        let id = EventId { ledger: LEDGER, seq: 1847, n: 0 };
        let time = at("2026-11-27T07:00:00.123Z");
        let entry = event::Entry {
            receipt: other_booking_id(),
            opening: "2026-W49".into(),
            request_id: "w1".into(),
            reference: Some("order-78".into()),
        };
        (kind.name(), Event::of_entry(&Namespace::default(), id, kind, time, entry))
    };
    let confirmed = || booking(Status::Confirmed);
    let moved =
        Booking { version: 2, date: day("2026-12-01"), numbers: vec![3].into(), ..confirmed() };
    let family = Booking { numbers: vec![17, 18].into(), ..confirmed() };
    let without_one = Booking { version: 2, numbers: vec![17].into(), ..confirmed() };
    let expired = Booking { status: Status::Expired, version: 2, hold_expires_at: None, ..held() };
    let paid_late = Booking { version: 3, ..expired.clone() };
    vec![
        event(Kind::Held, 1841, held(), None),
        event(Kind::Confirmed, 1841, confirmed(), None),
        event(Kind::Cancelled, 1842, booking(Status::Cancelled), Some(confirmed())),
        event(Kind::Expired, 1843, expired.clone(), Some(held())),
        event(Kind::Rescheduled, 1844, moved, Some(confirmed())),
        event(Kind::Amended, 1845, without_one, Some(family)),
        payment(event(Kind::RefundDue, 1846, paid_late, Some(expired))),
        entry(Kind::Entered),
        entry(Kind::NotDrawn),
    ]
}

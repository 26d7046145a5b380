//! What a world has beside engines, clients and the usual faults.

use std::str::FromStr;

use giliran_wire::Timestamp;
use giliran_wire::ledger::Order;

/// A family of worlds. Each has what [`Plain`](Self::Plain) has, and something of its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Crashes, pauses, clean stops, clocks that jump, a lease that is taken early, a
    /// full disk, appends and outcomes that are lost or repeated, generations; workers
    /// that are aborted.
    Plain,
    /// Messages that no writer wrote, and blocks of deposed ones, anywhere.
    Foreign,
    /// Answers that are lost, requests that come twice, reads that lag, a lease that
    /// two engines hold, a broker that is away, for up to a minute.
    Network,
    /// A stream that is cut back, or lacks a block, under living engines.
    Ground,
    /// Clocks that are wrong by days when their engine is to take over.
    Clocks,
    /// Operators' actions, accounts and limits; what is left goes to whoever asks.
    Operators,
    /// People who wait for returned places, and a release.
    Waiting,
    /// An opening that leaves memory meanwhile.
    Retiring,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Foreign,
        Self::Network,
        Self::Ground,
        Self::Clocks,
        Self::Operators,
        Self::Waiting,
        Self::Retiring,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Foreign => "foreign",
            Self::Network => "network",
            Self::Ground => "ground",
            Self::Clocks => "clocks",
            Self::Operators => "operators",
            Self::Waiting => "waiting",
            Self::Retiring => "retiring",
        }
    }

    /// When its worlds begin.
    pub(crate) const fn begin(self) -> Timestamp {
        Timestamp::from_millis(match self {
            // Seven seconds before a full minute.
            Self::Waiting => 1_795_000_013_000,
            // Ten seconds before midnight.
            Self::Retiring => 1_795_046_390_000,
            _ => 1_795_000_000_000,
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            format!("{text:?} is not a kind of world; there are {}", names.join(", "))
        })
    }
}

/// A fault planted in the world, to see the oracle find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The stream stores appends whatever last sequence they expect.
    NoFence,
    /// Grants are told before their block is stored.
    ReplyBeforeAck,
    /// Rejections are sent whether or not the lease stands.
    NoLease,
    /// The stream forgets a block it has acknowledged.
    ForgetsBlock,
    /// Terms share their channels, and number their attempts alike.
    AttemptsShared,
    /// Somebody appends blocks that count.
    ForeignIsValid,
    /// An engine finds its last block wherever it looks, and the tail where it left it.
    LostTailIgnored,
    /// What a worker had taken when it was aborted stays taken.
    GiveBackForgotten,
    /// An engine takes over whatever its clock shows.
    ClockUnchecked,
    /// Who asks is told again what somebody was told who asked for the same.
    StaleRejections,
}

impl Mutant {
    /// Every mutant, and the kind of worlds in which it is found.
    pub const ALL: [(Self, Kind); 10] = [
        (Self::NoFence, Kind::Plain),
        (Self::ReplyBeforeAck, Kind::Plain),
        (Self::NoLease, Kind::Plain),
        (Self::ForgetsBlock, Kind::Plain),
        (Self::AttemptsShared, Kind::Network),
        (Self::ForeignIsValid, Kind::Foreign),
        (Self::LostTailIgnored, Kind::Ground),
        (Self::GiveBackForgotten, Kind::Plain),
        (Self::ClockUnchecked, Kind::Clocks),
        (Self::StaleRejections, Kind::Network),
    ];
}

#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The order of its opening.
    pub order: Order,
    /// What else it has.
    pub kind: Kind,
    /// What is wrong in it.
    pub mutant: Option<Mutant>,
}

impl Setup {
    /// A world of this order and kind in which nothing is wrong.
    pub const fn new(order: Order, kind: Kind) -> Self {
        Self { order, kind, mutant: None }
    }
}

/// The orders that worlds have, by name.
pub const ORDERS: [(&str, Order); 3] = [
    ("first-come", Order::FirstCome),
    ("rounds", Order::Rounds { length_ms: 400 }),
    ("draw", Order::Draw),
];

//! What can stand in a block. The order of variants and fields is the format.

use bincode::{Decode, Encode};

use super::bookings::Bookings;
use super::grant::{Grant, Seat};
use crate::{BlockHash, BookingId, Date, Digest, KeyFingerprint, LedgerId, Pseudonym, Timestamp};

/// One fact of a block; the codec stores its variant by position.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Entry {
    /// The first entry of a generation's first block.
    Genesis(Genesis),
    /// The first entry of a new writer's first block; that block's epoch is
    /// higher than every one before.
    TakeOver(TakeOver),
    /// An opening is put on record, with everything resolved.
    Opening(Box<OpeningRecord>),
    /// The opening accepts requests from here on.
    Opened {
        /// Ordinal of the opening, unique in the ledger.
        opening: u32,
    },
    /// The opening accepts no more requests.
    Closed {
        /// Ordinal of the opening, unique in the ledger.
        opening: u32,
    },
    /// A party got its places, all of them in one slot.
    Grant(Grant),
    /// A held booking was paid or approved.
    Confirm(Confirm),
    /// A booking, or single seats of it, was given back.
    Cancel(Cancel),
    /// A hold ran out.
    Expire(Expire),
    /// A booking moved to another slot.
    Reschedule(Reschedule),
    /// Withheld places became free.
    Released(Released),
    /// An operator changed something.
    Adjust(Adjust),
    /// Entries, rounds and draws.
    Draw(DrawRecord),
    /// Counts of rejected requests, by slot, reason, second and channel.
    Rejections(RejectionDigest),
    /// A part of the state a generation begins with.
    Snapshot(SnapshotPart),
    /// The last entry of a generation.
    Seal(Seal),
}

impl Entry {
    /// What it is, for messages: `a grant`.
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Genesis(_) => "genesis",
            Self::TakeOver(_) => "a take-over",
            Self::Opening(_) => "an opening",
            Self::Opened { .. } => "an opening's begin",
            Self::Closed { .. } => "an opening's end",
            Self::Grant(_) => "a grant",
            Self::Confirm(_) => "a confirmation",
            Self::Cancel(_) => "a cancellation",
            Self::Expire(_) => "an expiry",
            Self::Reschedule(_) => "a reschedule",
            Self::Released(_) => "a release of places",
            Self::Adjust(_) => "an operator's adjustment",
            Self::Draw(_) => "a draw record",
            Self::Rejections(_) => "a rejection digest",
            Self::Snapshot(_) => "a snapshot",
            Self::Seal(_) => "a seal",
        }
    }
}

/// First entry of a generation: names ledger, key and what it continues.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Genesis {
    /// The subject prefix the ledger was made for.
    pub prefix: String,
    /// Fingerprint of the applicant key; an engine with another key refuses.
    pub applicant_key: KeyFingerprint,
    /// The version of Giliran that made it, as `0.1.0`.
    pub version: String,
    /// From generation 2 on: hash of the block that sealed the one before, or
    /// where that was rebuilt, of its last good block.
    pub continues: Option<BlockHash>,
    /// Where an operator had the ledger go on behind a generation that was
    /// damaged.
    pub rebuilt: Option<Rebuilt>,
}

/// How a ledger came to go on behind a damaged generation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rebuilt {
    /// Who ordered the rebuild, 1 to 64 bytes.
    pub operator: String,
    /// Why, 1 to 256 bytes.
    pub reason: String,
    /// The sequence at which the generation before is damaged.
    pub damaged_at: u64,
}

/// An operator's name and reason.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Signed {
    /// Who answers for it, 1 to 64 bytes.
    pub operator: String,
    /// Why, 1 to 256 bytes.
    pub reason: String,
}

/// A new writer begins.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TakeOver {
    /// The engine's name, for people.
    pub engine: String,
    /// Version of Giliran that the engine was built from.
    pub version: String,
    /// Who ordered it to take over although something spoke against that.
    pub forced: Option<Signed>,
}

/// A window in which a set of slots can be asked for; fully resolved, so that
/// no configuration file is needed to read the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OpeningRecord {
    /// Its place among the ledger's openings, from 0.
    pub ordinal: u32,
    /// Its id, as clients name it; unique in the ledger.
    pub id: String,
    /// IANA name of the time zone its days and times were resolved in.
    pub timezone: String,
    /// When it should open.
    pub opens_at: Timestamp,
    /// When it should close.
    pub closes_at: Timestamp,
    /// The rules in force.
    pub rules: Rules,
    /// The offices, in configured order.
    pub offices: Vec<Office>,
    /// The slots; the index is the slot's number in grants. Ordered by office,
    /// then date, then configured order of sessions.
    pub slots: Vec<Slot>,
}

impl OpeningRecord {
    /// Office and session of a slot; none where it is not on record.
    pub fn place(&self, slot: u32) -> Option<(&Slot, &Office, &Session)> {
        let slot = self.slots.get(slot as usize)?;
        let office = self.offices.get(slot.office as usize)?;
        Some((slot, office, office.sessions.get(slot.session as usize)?))
    }
}

/// The rules of an opening.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rules {
    /// How requests are ordered.
    pub order: Order,
    /// Most applicants in a request, 1..=5.
    pub max_party: u8,
    /// Most applicants with places per account.
    pub max_per_account: Option<u32>,
    /// How long a grant stays held before it must be confirmed; none: granted
    /// straight to confirmed.
    pub hold_ms: Option<u64>,
    /// What happens to cancelled places.
    pub cancelled: ReturnRule,
    /// What happens to expired ones.
    pub expired: ReturnRule,
    /// One live booking per applicant across all openings, not only in this.
    pub across_openings: bool,
    /// Most changes (reschedules) of a booking.
    pub max_changes: u16,
    /// Until when a slot can be booked; each slot has the instant.
    pub bookable_until: BookableUntil,
    /// Most bookings that an applicant is ever granted in this opening, at least
    /// 1; what was given back or ran out counts.
    pub max_bookings: u16,
    /// What becomes of places that are free once the window has closed, or the
    /// draw is over.
    pub leftovers: Leftovers,
}

/// Until when a slot can be booked, by its day at its office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum BookableUntil {
    /// When the slot's day begins, in the opening's time zone.
    DayBegins,
    /// This time of its day.
    TimeOfDay {
        /// Minutes on the wall clock after midnight, 0..=1,439.
        minute: u16,
    },
    /// So long before its day begins.
    Before {
        /// This long before the slot's day begins, ms.
        ms: u64,
    },
}

/// What becomes of places that are free once the window has closed, or the draw
/// is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Leftovers {
    /// Nobody gets them but those who wait for a release.
    None,
    /// Whoever asks gets them, as they arrive.
    FirstCome,
}

/// How the requests of an opening are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Order {
    /// Each request is decided when it arrives.
    FirstCome,
    /// Decided at the end of short rounds, in the order of a keyed hash.
    Rounds {
        /// Length of a round, ms.
        length_ms: u64,
    },
    /// Everybody enters; one draw at the close.
    Draw,
}

/// When a returned place becomes available again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ReturnRule {
    /// With the block that returns it.
    Immediate,
    /// After a random time within a range.
    Delayed {
        /// Shortest time that a returned place is withheld, ms.
        from_ms: u64,
        /// Longest time that a returned place is withheld, ms.
        to_ms: u64,
    },
    /// Collected, and offered at these times of the office's day, by draw.
    At {
        /// Minutes after local midnight, ascending.
        minutes: Vec<u16>,
    },
}

/// An office of an opening.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Office {
    /// Unique in the opening, 1 to 40 of `a-z 0-9 -`.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// Its sessions, in configured order.
    pub sessions: Vec<Session>,
}

/// A part of an office's day.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Session {
    /// Its id; `all` where the day is not divided.
    pub id: String,
    /// What it is called, for people.
    pub label: String,
    /// Only for vouched requests.
    pub restricted: bool,
    /// Only for requests that name it.
    pub explicit: bool,
}

/// An office's session on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Slot {
    /// Index into the opening's offices.
    pub office: u32,
    /// Index into that office's sessions.
    pub session: u32,
    /// Date of the slot in the opening's time zone.
    pub date: Date,
    /// Places at the record's time, 1..=65,535.
    pub quota: u16,
    /// From here on nobody can book it; resolved by the opening's rules, so that
    /// no reader needs time zone data for it.
    pub bookable_until: Timestamp,
}

/// A held booking was paid or approved.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Confirm {
    /// The booking that becomes firm.
    pub booking: BookingId,
    /// The confirming request's id.
    pub request_id: String,
    /// Names the payment; opaque to Giliran.
    pub reference: Option<String>,
    /// The numbers it has again, where it had already expired.
    pub revived: Option<Vec<Seat>>,
}

/// Why places were given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum CancelCause {
    /// An applicant of the party asked for it.
    Applicant,
    /// An operator cancelled bookings of a halted slot.
    Authority,
}

/// A booking, or single seats of it, was given back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Cancel {
    /// The booking that loses places.
    pub booking: BookingId,
    /// The cancelling request's id.
    pub request_id: String,
    /// The seats given back; empty: all.
    pub seats: Vec<Pseudonym>,
    /// Whether an applicant or the authority wanted it.
    pub cause: CancelCause,
    /// When the places are released; none: at the next collected release.
    pub release_at: Option<Timestamp>,
    /// The operator's words, where the authority decided.
    pub reason: Option<String>,
    /// True: it had been paid for, and is to be paid back; counts as a further
    /// change of the booking.
    pub refund_due: bool,
}

/// A hold ran out.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Expire {
    /// The booking whose hold ran out.
    pub booking: BookingId,
    /// When the places are released; none: at the next collected release.
    pub release_at: Option<Timestamp>,
}

/// A booking moved to another slot of its opening.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reschedule {
    /// The booking that moves.
    pub booking: BookingId,
    /// Id that the client chose; a repeat is recognised by it.
    pub request_id: String,
    /// Digest of the request's content.
    pub content: Digest,
    /// Index of the new slot in the opening's record.
    pub slot: u32,
    /// Seats in the new slot, one an applicant.
    pub seats: Vec<Seat>,
    /// When the old places are released; none: at the next collected release.
    pub release_at: Option<Timestamp>,
    /// The operator's words, where the authority moved it.
    pub reason: Option<String>,
    /// When the hold ends, where it is held: not after the new slot can be booked.
    pub hold_expires_at: Option<Timestamp>,
}

/// Withheld places of a slot became free.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Released {
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// Index of the slot.
    pub slot: u32,
    /// Queue numbers that become free again.
    pub numbers: Vec<u16>,
}

/// What an operator changed of an opening, with name and reason.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Adjust {
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// Who ordered it, 1 to 64 bytes.
    pub operator: String,
    /// Why, 1 to 256 bytes.
    pub reason: String,
    /// The value that counts from this block on.
    pub change: Adjustment,
}

/// What an operator can change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Adjustment {
    /// How many places a slot has.
    Quota {
        /// Index of the slot.
        slot: u32,
        /// Places the slot has from this block on.
        quota: u16,
    },
    /// Places kept back from everybody.
    Reserve {
        /// Index of the slot.
        slot: u32,
        /// How many, from here on.
        places: u16,
    },
    /// A slot opened or closed for grants.
    Halt {
        /// Index of the slot.
        slot: u32,
        /// True: no more grants.
        halted: bool,
        /// What becomes of the bookings there; their own entries follow.
        bookings: Bookings,
    },
    /// When the opening's window ends.
    ClosesAt {
        /// End of the window from this block on.
        closes_at: Timestamp,
    },
    /// The public value that the opening's draw waits for; what it reveals
    /// follows.
    Beacon {
        /// The value as it was published.
        value: Vec<u8>,
    },
}

/// An applicant entered a draw, or the next release's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DrawEntryRecord {
    /// The receipt's id; the booking's, if it wins.
    pub receipt: BookingId,
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// The applicants, in the request's order.
    pub applicants: Vec<Pseudonym>,
    /// The slots that fit, by preference.
    pub slots: Vec<u32>,
    /// Id that the client chose; a repeat is recognised by it.
    pub request_id: String,
    /// Digest of the request's content.
    pub content: Digest,
    /// Handed back in the booking.
    pub reference: Option<String>,
    /// The account that asked.
    pub account: Option<Pseudonym>,
    /// The channel it asked through.
    pub channel: Option<String>,
    /// True: waits for returned places; false: for the opening's draw.
    pub waits: bool,
}

/// Entries, rounds and draws.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum DrawRecord {
    /// The seed's commitment, before the opening.
    Committed {
        /// Ordinal of the opening, unique in the ledger.
        opening: u32,
        /// BLAKE3 of the operator's seed.
        commitment: [u8; 32],
        /// The public value that will be mixed in, by name.
        beacon: Option<String>,
    },
    /// A party takes part in a draw.
    Entered(Box<DrawEntryRecord>),
    /// An entry was withdrawn.
    Withdrawn {
        /// Receipt of the entry that is withdrawn.
        receipt: BookingId,
        /// Id of the request that withdraws it.
        request_id: String,
    },
    /// The entries are complete.
    Root {
        /// Ordinal of the opening, unique in the ledger.
        opening: u32,
        /// Merkle root over the salted entries.
        root: [u8; 32],
        /// Number of leaves under the root.
        entries: u64,
    },
    /// The seed is revealed; what follows can be recomputed.
    Revealed {
        /// Ordinal of the opening, unique in the ledger.
        opening: u32,
        /// The seed that was committed to when the opening was recorded.
        seed: [u8; 32],
        /// The public value, as published.
        beacon: Option<Vec<u8>>,
    },
    /// A group of grants follows: complete up to its `GroupEnd`, or void.
    GroupBegin {
        /// Ordinal of the opening, unique in the ledger.
        opening: u32,
        /// Number of the round or release, from 1.
        round: u64,
        /// How many grants follow.
        grants: u64,
    },
    /// The group is complete.
    GroupEnd {
        /// Ordinal of the opening, unique in the ledger.
        opening: u32,
        /// Number of the round or release.
        round: u64,
    },
    /// An entry got no place.
    NotDrawn {
        /// Receipt of the entry that gets nothing.
        receipt: BookingId,
    },
}

/// Rejected requests of one opening, counted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RejectionDigest {
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// One count for each slot, reason, second and channel.
    pub tallies: Vec<RejectionCount>,
}

/// One count of rejections.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RejectionCount {
    /// The slot asked for first; none where it named no single one.
    pub slot: Option<u32>,
    /// Number of the reason, as on the wire.
    pub reason: u16,
    /// The second, since 1970.
    pub second: i64,
    /// Channel of the requests, 1 to 16 bytes; `None` where they named none.
    pub channel: Option<String>,
    /// Requests that were rejected for this reason.
    pub count: u64,
}

/// A part of the state a generation begins with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotPart {
    /// Number of the part, from 0.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// Hash of the whole state.
    pub state: BlockHash,
    /// This part of the state, at most 480 KiB.
    pub bytes: Vec<u8>,
}

/// Last block of a generation: nothing counts behind it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Seal {
    /// Id of the ledger, the same in every generation.
    pub ledger: LedgerId,
    /// The stream that goes on.
    pub next: String,
    /// Hash of the snapshot it begins with.
    pub snapshot: BlockHash,
    /// Who ordered it; none: the ledger's length.
    pub ordered: Option<Signed>,
}

//! What an entry can contradict: each way in which it does not follow from those before it.

use crate::BookingId;
use crate::phase::Phase;
use crate::status::Status;

/// An entry that does not follow from the entries before it: no engine writes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Contradiction {
    /// The record of an opening contradicts itself, or the openings before it.
    #[error("opening {id}: {what}")]
    Opening {
        /// Id of the opening, as the record has it.
        id: String,
        /// What is wrong with the record.
        what: RecordContradiction,
    },
    /// An entry is about an opening that is not in memory: never recorded, or retired.
    #[error("opening number {0} is not there")]
    UnknownOpening(u32),
    /// An opening opens or closes where it cannot.
    #[error("opening number {opening} becomes {to:?} from {from:?}")]
    Phase {
        /// Ordinal of the opening.
        opening: u32,
        /// The phase that it is in.
        from: Phase,
        /// The phase that the entry gives it.
        to: Phase,
    },
    /// An opening by rounds or draw opens, and its seed is not committed to.
    #[error("opening number {0} opens without its seed's commitment")]
    NotCommitted(u32),
    /// A commitment comes a second time, after the begin, or where no seed is needed.
    #[error("a seed of opening number {0} out of place")]
    SeedOutOfPlace(u32),
    /// A root comes a second time, outside a draw, or over another number of entries.
    #[error("a root of opening number {0} out of place")]
    RootOutOfPlace(u32),
    /// A seed is revealed that is not the committed one, or that it is not time for.
    #[error("the seed of opening number {0} is another")]
    OtherSeed(u32),
    /// An entry is about a slot that its opening does not have.
    #[error("slot {slot} of opening number {opening} is not on record")]
    UnknownSlot {
        /// Ordinal of the opening.
        opening: u32,
        /// Index of the slot in it.
        slot: u32,
    },
    /// A grant or a change of a booking does not fit what the booking, or its slot, is.
    #[error("booking {id}: {what}")]
    Booking {
        /// Id of the booking.
        id: BookingId,
        /// What does not fit.
        what: BookingContradiction,
    },
    /// A change of a booking that was never granted, or that has left memory.
    #[error("booking {0} is changed, but is not there")]
    UnknownBooking(BookingId),
    /// A change of a booking that has ended.
    #[error("booking {id} is {} and changed", .status.name())]
    EndedBooking {
        /// Id of the booking.
        id: BookingId,
        /// How it has ended.
        status: Status,
    },
    /// A hold ends of a booking that is confirmed.
    #[error("booking {0} is not held and expires")]
    NotHeld(BookingId),
    /// A move to the same slot, to one that is not there, or of other people.
    #[error("booking {0} cannot move like this")]
    Move(BookingId),
    /// A move that begins or ends a hold.
    #[error("booking {0} is held, or its move not")]
    HoldOfMove(BookingId),
    /// Places are released in a slot that is not there.
    #[error("places are released in no slot of their opening")]
    ReleaseInNoSlot,
    /// A place is released that nobody withheld.
    #[error("number {0} is released and was not withheld")]
    NotWithheld(u16),
    /// An operator's action is about a slot that is not there.
    #[error("an adjustment of no slot of its opening")]
    AdjustmentOfNoSlot,
    /// An entry into the draw of returned places does not fit.
    #[error("entry {receipt} {what}")]
    WaitlistEntry {
        /// Receipt of the entry.
        receipt: BookingId,
        /// What does not fit.
        what: EntryContradiction,
    },
    /// An entry into an opening's draw does not fit.
    #[error("entry {receipt}: {what}")]
    DrawEntry {
        /// Receipt of the entry.
        receipt: BookingId,
        /// What does not fit.
        what: EntryContradiction,
    },
    /// A draw passes over an entry that was never made, or has ended.
    #[error("not drawn, and not entered")]
    NotDrawnNotEntered,
    /// A withdrawal of an entry that was never made, or has ended.
    #[error("withdrawn, and not entered")]
    WithdrawnNotEntered,
    /// A withdrawal from an opening's draw once nobody may leave it.
    #[error("withdrawn from a draw after its close")]
    WithdrawnAfterClose,
    /// A group begins within another one, or is not the next.
    #[error("group {0} begins out of order")]
    GroupOutOfOrder(u64),
    /// A group ends that has not begun, or with other than its number of grants.
    #[error("group {0} is not what it began as")]
    OtherGroup(u64),
    /// A block ends within a group.
    #[error("group {round} of opening number {opening} is not complete")]
    GroupIncomplete {
        /// Ordinal of the opening.
        opening: u32,
        /// Number of the group's round or release.
        round: u64,
    },
    /// A sequence has no message, and a later one has.
    #[error("nothing stands there, and something behind it")]
    Gap,
}

/// What is wrong with the record of an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordContradiction {
    /// Its ordinal is not the next one.
    #[error("its ordinal is out of order")]
    Ordinal,
    /// An opening of this id is on record, or was.
    #[error("recorded twice")]
    Twice,
    /// Two of its offices have the same id.
    #[error("two offices of one id")]
    TwinOffices,
    /// Two sessions of an office have the same id.
    #[error("two sessions of one id")]
    TwinSessions,
    /// Two of its slots are the same office, date and session.
    #[error("two slots of one office, date and session")]
    TwinSlots,
    /// A slot names an office or a session that the record lacks, or has no place.
    #[error("a slot of no office, no session or no quota")]
    Slot,
}

/// What does not fit in a grant, or in a change of a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BookingContradiction {
    /// Its slot is not one of its opening.
    #[error("granted in no slot of its opening")]
    NoSlot,
    /// The group that has begun is another opening's, or has all its grants.
    #[error("does not belong into its group")]
    OtherGroup,
    /// A draw gives it, and nobody entered with its id.
    #[error("was drawn without having entered")]
    NotEntered,
    /// Only a round or a draw of its opening could grant it.
    #[error("was granted outside of a group")]
    NoGroup,
    /// Its opening does not accept requests.
    #[error("granted while the opening is {0:?}")]
    Phase(Phase),
    /// It has not a single seat.
    #[error("has no applicant")]
    NoApplicant,
    /// The engine that commits it has given it neither id nor queue numbers.
    #[error("was not numbered here")]
    NotNumbered,
    /// Somebody has this queue number, or it is beyond the quota.
    #[error("number {0} is not free in its slot")]
    NumberTaken(u16),
    /// More places are taken than the slot has available.
    #[error("granted beyond what its slot has")]
    Oversold,
    /// A booking of this id is on record.
    #[error("granted twice")]
    Twice,
    /// One of its applicants has a live booking of the opening.
    #[error("an applicant already has a booking")]
    SecondBooking,
    /// A late payment revives it, and one of its applicants has booked since.
    #[error("revived, its applicant has another")]
    RevivedBesideAnother,
    /// A late payment revives it, and it has not expired, or had other seats.
    #[error("revived from {0:?}")]
    Revived(Status),
    /// It is cancelled for people none of whom is in it.
    #[error("nobody of it leaves")]
    NobodyLeaves,
    /// A refund is due, and it was not paid for, or was not cancelled.
    #[error("a refund of nothing")]
    RefundOfNothing,
}

/// What does not fit in an entry into a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryContradiction {
    /// It has no applicant, or names a slot that is not there.
    #[error("has nobody, or wants no slot")]
    Nobody,
    /// Its opening has no draw, or is not open.
    #[error("enters where nothing is to be drawn")]
    NoDraw,
    /// One of its applicants has a live entry.
    #[error("is an applicant's second")]
    Second,
    /// An entry of this receipt is on record.
    #[error("entered twice")]
    Twice,
}

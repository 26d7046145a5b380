//! The answer to `availability`, and what the bucket of free places says of a slot.

use bincode::de::BorrowDecoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Encode};
use serde::{Deserialize, Serialize};

use crate::catalogue::OpeningDescription;
use crate::{AsOf, Date, Position, Text, Timestamp};

/// Openings and slots, as `availability` answers with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability<'a> {
    /// Engine time of the answer, for clients whose clock is wrong.
    pub now: Timestamp,
    /// The openings in memory.
    #[serde(borrow)]
    pub openings: Vec<OpeningState<'a>>,
    /// Their slots, or those of the office asked for.
    #[serde(borrow)]
    pub slots: Vec<SlotState<'a>>,
    /// The ledger position this was true at.
    pub as_of: Position,
    /// What the openings offer, where that was asked for. JSON alone: the binary form
    /// of this version does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<Vec<OpeningDescription>>,
}

impl Encode for Availability<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Self { now, openings, slots, as_of, catalogue: _ } = self;
        now.encode(encoder)?;
        openings.encode(encoder)?;
        slots.encode(encoder)?;
        as_of.encode(encoder)
    }
}

impl<'de: 'a, 'a, C> BorrowDecode<'de, C> for Availability<'a> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            now: BorrowDecode::borrow_decode(decoder)?,
            openings: BorrowDecode::borrow_decode(decoder)?,
            slots: BorrowDecode::borrow_decode(decoder)?,
            as_of: BorrowDecode::borrow_decode(decoder)?,
            catalogue: None,
        })
    }
}

/// Whether an opening accepts requests.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, bincode::Decode,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its window has not begun.
    Scheduled,
    /// Its window has begun and is not over: it accepts requests.
    Open,
    /// Its window is over.
    Closed,
}

/// An opening as `availability` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
pub struct OpeningState<'a> {
    /// Id of the opening, unique in the ledger.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// Whether it accepts requests.
    pub state: Phase,
    /// Begin of the window, on record.
    pub opens_at: Timestamp,
    /// End of the window; an operator may move it.
    pub closes_at: Timestamp,
}

/// A slot as `availability` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
pub struct SlotState<'a> {
    /// Id of the opening, unique in the ledger.
    #[serde(borrow)]
    pub opening: Text<'a>,
    /// Id of the office, unique in the opening.
    #[serde(borrow)]
    pub office: Text<'a>,
    /// Date of the slot in the opening's time zone.
    pub date: Date,
    /// Id of the session, unique in its office.
    #[serde(borrow)]
    pub session: Text<'a>,
    /// All places of the slot, whoever holds them.
    pub quota: u32,
    /// Places that can be booked; negative after a quota was lowered.
    pub free: i32,
    /// Places neither booked nor free: returned and not released yet, reserved,
    /// or halted.
    pub withheld: u32,
    /// Places kept back from everybody.
    pub reserved: u32,
    /// True: no grants, whatever else it has.
    pub halted: bool,
    /// False: it is too late to book it.
    pub bookable: bool,
    /// When the next returned place is released, or drawn for; none: none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_release: Option<Timestamp>,
}

impl SlotState<'_> {
    /// What the bucket of free places says of it.
    pub const fn places(&self, as_of: AsOf) -> FreePlaces {
        FreePlaces {
            quota: self.quota,
            free: self.free,
            withheld: self.withheld,
            reserved: self.reserved,
            halted: self.halted,
            bookable: self.bookable,
            next_release: self.next_release,
            as_of,
        }
    }
}

/// A value in the bucket of free places; its key names the slot. JSON alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreePlaces {
    /// See [`SlotState::quota`].
    pub quota: u32,
    /// See [`SlotState::free`].
    pub free: i32,
    /// See [`SlotState::withheld`].
    pub withheld: u32,
    /// See [`SlotState::reserved`].
    pub reserved: u32,
    /// See [`SlotState::halted`].
    pub halted: bool,
    /// See [`SlotState::bookable`].
    pub bookable: bool,
    /// See [`SlotState::next_release`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_release: Option<Timestamp>,
    /// Since when it is so.
    pub as_of: AsOf,
}

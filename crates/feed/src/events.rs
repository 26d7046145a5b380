//! Ledger entries as events: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::Subject;
use bytes::{Bytes, BytesMut};
use giliran_allocator::{Folded, FoundBooking, StateChange, StateMachine};
use giliran_wire::answer::Booking;
use giliran_wire::event::{self, Event, EventId, EventWriter, Kind, SlotJson};
use giliran_wire::ledger::{Block, Chain, Foreign};
use giliran_wire::subject::Namespace;
use giliran_wire::{AsOf, Timestamp};
use rustc_hash::FxHashMap;

use crate::availability::AvailabilityTracker;
use crate::catalogue::CatalogueTracker;
use crate::{FeedError, Mismatch};

/// An event as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) id: EventId,
    /// The id as text.
    pub(crate) id_text: String,
    pub(crate) subject: Subject,
    pub(crate) payload: Bytes,
}

/// Bytes of memory in which events lie behind each other: it is made and given back once for
/// many of them.
const ROOM: usize = 64 << 10;
/// Most slots of which what their events have in common is kept.
const MAX_SLOTS: usize = 65_536;

/// Folds blocks into events, on the state that the ledger's fold keeps.
#[derive(Debug)]
pub(crate) struct EventBuilder {
    namespace: Namespace,
    state: StateMachine,
    places: AvailabilityTracker,
    catalogue: CatalogueTracker,
    writer: EventWriter,
    slots: SlotTexts,
    /// The event that is being written.
    text: String,
    /// What the next events are put into.
    room: BytesMut,
    /// Foreign messages met since they were last asked for.
    foreign: Vec<Foreign>,
    /// An event that was told before, and whom it is about: the ledger has to say the
    /// same there.
    expected: Option<(EventId, String)>,
}

impl EventBuilder {
    /// Begins with this generation.
    pub(crate) fn new(namespace: Namespace, generation: u32) -> Self {
        let state = StateMachine::beginning_with(generation);
        let (places, catalogue, foreign, expected) = Default::default();
        let (writer, slots) = (EventWriter::new(&namespace), SlotTexts::default());
        let (text, room) = Default::default();
        Self { namespace, state, places, catalogue, writer, slots, text, room, foreign, expected }
    }

    /// This event was told before; `about`: the booking or the receipt in it.
    pub(crate) fn expecting(self, id: EventId, about: String) -> Self {
        Self { expected: Some((id, about)), ..self }
    }

    pub(crate) fn chain(&self) -> &Chain {
        self.state.chain()
    }

    /// Takes the foreign messages met since the last call.
    pub(crate) fn take_foreign(&mut self) -> Vec<Foreign> {
        std::mem::take(&mut self.foreign)
    }

    /// Changes since the ledger's first block: as many events there are.
    pub(crate) fn published(&self) -> u64 {
        self.state.changes()
    }

    /// Whether the ledger goes on in the next generation from here on, although this one
    /// is not sealed.
    pub(crate) fn goes_on_in(&mut self, begin: &Block) -> Result<bool, FeedError> {
        Ok(self.state.goes_on_in(begin)?)
    }

    /// Reads the message stored at `seq`; `after`: the last event that is told
    /// already. The events that are not come back in order.
    pub(crate) fn fold(
        &mut self,
        seq: u64,
        bytes: &[u8],
        after: Option<EventId>,
    ) -> Result<Vec<Outgoing>, FeedError> {
        let changes = match self.state.fold(seq, bytes)? {
            Folded::Applied(changes) => changes,
            Folded::Void => Vec::new(),
            Folded::Foreign(foreign) => {
                self.foreign.push(foreign);
                Vec::new()
            }
        };
        let (Some(ledger), time) = (self.chain().ledger, self.chain().time) else {
            return Ok(Vec::new());
        };
        self.check_expected(seq, &changes)?;
        let published = |id: &EventId| after.is_some_and(|a| (id.seq, id.n) <= (a.seq, a.n));
        let mut events = Vec::with_capacity(changes.len());
        for (n, change) in (0..).zip(&changes) {
            let id = EventId { ledger, seq, n };
            if !published(&id) {
                events.push(self.event(change, id, time));
            }
        }
        Ok(events)
    }

    /// What was told of this block must be what the block says.
    fn check_expected(&mut self, seq: u64, changes: &[StateChange]) -> Result<(), FeedError> {
        let Some((id, about)) = self.expected.take_if(|(id, _)| id.seq == seq) else {
            return Ok(());
        };
        let found = changes.get(id.n as usize).map(whom);
        if found.as_ref() == Some(&about) {
            return Ok(());
        }
        let found = found.unwrap_or_else(|| "nobody".to_owned());
        Err(Mismatch::OtherEvent { event: id, about, found }.into())
    }

    fn event(&mut self, change: &StateChange, id: EventId, time: Timestamp) -> Outgoing {
        let id_text = self.writer.id(id);
        let (subject, payload) = match change {
            StateChange::Booking { kind, before, after, payment, reason } => {
                let FoundBooking { booking, opening } = after;
                let (view, previous) =
                    (opening.view(booking), before.as_ref().map(|before| opening.view(before)));
                let ordinal = opening.record().ordinal;
                let was = before.as_ref().zip(previous.as_ref()).map(|(before, previous)| {
                    (previous, self.slots.json((ordinal, before.slot), previous))
                });
                let slot = self.slots.of((ordinal, booking.slot), &view);
                let subject = slot.subject(&self.namespace, *kind, &view);
                self.text.clear();
                self.writer.write(
                    &mut self.text,
                    (id, *kind, time),
                    (&view, &*slot.json),
                    was.as_ref().map(|(previous, json)| (*previous, &**json)),
                    payment.as_deref(),
                    reason.as_deref(),
                );
                (subject, put_into(&mut self.room, self.text.as_bytes()))
            }
            StateChange::Entry { kind, waiting, opening } => {
                let entry = event::Entry {
                    receipt: waiting.entry.receipt,
                    opening: opening.id().into(),
                    request_id: waiting.entry.request_id.as_str().into(),
                    reference: waiting.entry.reference.as_deref().map(Into::into),
                };
                let event = Event::of_entry(&self.namespace, id, *kind, time, entry);
                let payload = serde_json::to_vec(&event).expect("an event is always JSON");
                (self.namespace.event(kind.name(), "-", "-").into(), payload.into())
            }
        };
        Outgoing { id, id_text, subject, payload }
    }

    /// Slots whose free places changed since the last call: key and value; see
    /// [`AvailabilityTracker::take`].
    pub(crate) fn take_places(
        &mut self,
        clock: Timestamp,
        horizon: Timestamp,
    ) -> BTreeMap<String, Vec<u8>> {
        let at = self.at(clock);
        self.places.take(&self.state.allocator().openings(), at, horizon)
    }

    /// Openings that changed since the last call: id and description; see
    /// [`CatalogueTracker::take`].
    pub(crate) fn take_catalogue(
        &mut self,
        clock: Timestamp,
        horizon: Timestamp,
    ) -> BTreeMap<String, Vec<u8>> {
        let at = self.at(clock);
        self.catalogue.take(&self.state.allocator().openings(), at, horizon)
    }

    /// The bucket of openings has these ids.
    pub(crate) fn found_in_catalogue(&mut self, ids: impl IntoIterator<Item = String>) {
        self.catalogue.found(ids);
    }

    /// How far the ledger was read, and where that is said.
    pub(crate) fn position(&self) -> (String, AsOf) {
        (self.namespace.feed_position(), self.as_of())
    }

    fn as_of(&self) -> AsOf {
        let chain = self.state.chain();
        AsOf::new(chain.position(), chain.time)
    }

    /// Engine time, and how far the ledger was read.
    fn at(&self, clock: Timestamp) -> (Timestamp, AsOf) {
        (self.state.allocator().engine_time(clock), self.as_of())
    }
}

/// What the events of slots have in common, by opening and slot.
#[derive(Debug, Default)]
struct SlotTexts {
    known: FxHashMap<(u32, u32), SlotText>,
}

#[derive(Debug)]
struct SlotText {
    json: Arc<SlotJson>,
    /// The subjects of its events, by their kind.
    subjects: Vec<(Kind, Subject)>,
}

impl SlotTexts {
    /// Of this booking's slot.
    fn of(&mut self, key: (u32, u32), booking: &Booking<'_>) -> &mut SlotText {
        if self.known.len() >= MAX_SLOTS && !self.known.contains_key(&key) {
            self.known.clear();
        }
        self.known.entry(key).or_insert_with(|| SlotText {
            json: Arc::new(SlotJson::of(booking)),
            subjects: Vec::new(),
        })
    }

    fn json(&mut self, key: (u32, u32), booking: &Booking<'_>) -> Arc<SlotJson> {
        Arc::clone(&self.of(key, booking).json)
    }
}

impl SlotText {
    /// The subject of an event of this kind about this booking, which is of the slot.
    fn subject(&mut self, namespace: &Namespace, kind: Kind, booking: &Booking<'_>) -> Subject {
        if let Some((_, subject)) = self.subjects.iter().find(|(of, _)| *of == kind) {
            return subject.clone();
        }
        let date = booking.date.to_string();
        let subject: Subject = namespace.event(kind.name(), &booking.office, &date).into();
        self.subjects.push((kind, subject.clone()));
        subject
    }
}

/// A copy of this in `room`, which is made anew where it is full.
fn put_into(room: &mut BytesMut, bytes: &[u8]) -> Bytes {
    if room.capacity() < bytes.len() {
        *room = BytesMut::with_capacity(ROOM.max(bytes.len()));
    }
    room.extend_from_slice(bytes);
    room.split().freeze()
}

/// The booking or the receipt that a change is about.
fn whom(change: &StateChange) -> String {
    match change {
        StateChange::Booking { after, .. } => after.booking.id.to_string(),
        StateChange::Entry { waiting, .. } => waiting.entry.receipt.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use giliran_testkit::{self as testkit, LEDGER, LedgerBuilder, session, slot, take_over};
    use giliran_wire::ledger::{
        Adjust, Adjustment, Block, BookingContradiction, Cancel, CancelCause, Confirm,
        Contradiction, Damage, DamageKind, DrawRecord, Entry, Expire, Grant, Office, OpeningRecord,
        RecordContradiction, Reschedule, Seat, Session,
    };
    use giliran_wire::{BookingId, Digest, Pseudonym, WriterNonce};
    use serde_json::{Value, json};

    use super::*;

    const CLOSES: i64 = 1_000_000;

    /// Writes blocks as an engine does, and folds them.
    struct Bench {
        changes: EventBuilder,
        after: Option<EventId>,
        ledger: LedgerBuilder,
    }

    impl Bench {
        fn new(after: Option<(u64, u32)>) -> Self {
            let after = after.map(|(seq, n)| EventId { ledger: LEDGER, seq, n });
            let changes = EventBuilder::new(Namespace::default(), 1);
            let ledger = LedgerBuilder::new(LEDGER, Timestamp::from_millis(5));
            let mut bench = Self { changes, after, ledger };
            bench.fold(1).unwrap();
            let writer = WriterNonce([1; 16]);
            let entries =
                vec![Entry::TakeOver(take_over()), opening(0), Entry::Opened { opening: 0 }];
            bench.ledger.write(&Block { epoch: 1, writer, ..bench.ledger.next(entries) });
            bench.fold(2).unwrap();
            bench
        }

        fn fold(&mut self, seq: u64) -> Result<Vec<Outgoing>, FeedError> {
            self.changes.fold(seq, &self.ledger.blocks[seq as usize - 1], self.after)
        }

        fn block(&mut self, entries: Vec<Entry>) -> Result<Vec<Outgoing>, FeedError> {
            let seq = self.ledger.append(entries);
            self.fold(seq)
        }

        /// A block of a writer that was deposed.
        fn void_block(&mut self, entries: Vec<Entry>) -> Result<Vec<Outgoing>, FeedError> {
            let seq = self.ledger.void(entries);
            self.fold(seq)
        }

        fn places(&mut self, horizon: i64) -> Vec<String> {
            let now = Timestamp::from_millis(5);
            let places = self.changes.take_places(now, Timestamp::from_millis(horizon));
            let shown = |(key, value)| format!("{key} {}", String::from_utf8(value).unwrap());
            places.into_iter().map(shown).collect()
        }

        /// Openings that are told: id, and the description; null: taken back.
        fn catalogue(&mut self, horizon: i64) -> Vec<(String, Value)> {
            let now = Timestamp::from_millis(5);
            let published = self.changes.take_catalogue(now, Timestamp::from_millis(horizon));
            let read = |value: Vec<u8>| serde_json::from_slice(&value).unwrap_or_default();
            published.into_iter().map(|(id, value)| (id, read(value))).collect()
        }
    }

    fn opening(ordinal: u32) -> Entry {
        let session = Session { label: "All day".into(), ..session("all") };
        Entry::Opening(Box::new(OpeningRecord {
            ordinal,
            id: format!("week-{ordinal}"),
            timezone: "Asia/Jakarta".into(),
            opens_at: Timestamp::from_millis(1),
            closes_at: Timestamp::from_millis(CLOSES),
            offices: vec![Office {
                id: "harbour".into(),
                name: "Harbour".into(),
                sessions: vec![session],
            }],
            slots: vec![slot(0, 0, "2026-11-30", 10), slot(0, 0, "2026-12-01", 10)],
            ..testkit::opening(&[])
        }))
    }

    fn booking(number: u16) -> BookingId {
        BookingId::from_random(u128::from(number))
    }

    fn grant(slot: u32, number: u16) -> Grant {
        let seat = Seat { applicant: Pseudonym::from_bytes([number as u8; 16]), number };
        let request_id = format!("request-{number}");
        Grant { request_id, ..testkit::grant(number.into(), slot, seat) }
    }

    /// What is told of a slot that so many places of its ten are free of.
    fn places(date: &str, free: i32, seq: u64) -> String {
        format!(
            "week-0.harbour.{date}.all {{\"quota\":10,\"free\":{free},\"withheld\":0,\"reserved\":0,\
             \"halted\":false,\"bookable\":true,\"as_of\":{{\"epoch\":1,\"seq\":{seq},\
             \"time\":\"1970-01-01T00:00:00.005Z\"}}}}"
        )
    }

    fn ids(events: &[Outgoing]) -> Vec<(u64, u32)> {
        events.iter().map(|event| (event.id.seq, event.id.n)).collect()
    }

    #[test]
    fn a_grant_becomes_one_event() {
        let mut bench = Bench::new(None);
        let events = bench.block(vec![Entry::Grant(grant(1, 3))]).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(&*events[0].subject, "giliran.v1.event.confirmed.harbour.2026-12-01");
        let event: serde_json::Value = serde_json::from_slice(&events[0].payload).unwrap();
        assert_eq!(event["id"], format!("{LEDGER}/3/0"));
        assert_eq!(event["type"], "giliran.booking.confirmed");
        assert_eq!(event["subject"], "harbour/2026-12-01");
        assert_eq!(event["data"]["previous"], serde_json::Value::Null);
        let booking = &event["data"]["booking"];
        assert_eq!(booking["version"], 1);
        assert_eq!(booking["status"], "confirmed");
        assert_eq!(booking["opening"], "week-0");
        assert_eq!(booking["numbers"], serde_json::json!([3]));
        assert_eq!(booking["request_id"], "request-3");
    }

    #[test]
    fn a_grant_that_must_be_confirmed_is_held() {
        let mut bench = Bench::new(None);
        let hold_expires_at = Some(Timestamp::from_millis(9_000));
        let held = Grant { hold_expires_at, ..grant(0, 1) };
        let events = bench.block(vec![Entry::Grant(held)]).unwrap();
        assert_eq!(&*events[0].subject, "giliran.v1.event.held.harbour.2026-11-30");
        let event: serde_json::Value = serde_json::from_slice(&events[0].payload).unwrap();
        assert_eq!(event["data"]["booking"]["status"], "held");
        assert!(event["data"]["booking"]["hold_expires_at"].is_string());
    }

    #[test]
    fn events_are_numbered_within_their_block() {
        let mut bench = Bench::new(None);
        let first = vec![Entry::Grant(grant(0, 1)), Entry::Grant(grant(1, 2))];
        assert_eq!(ids(&bench.block(first).unwrap()), [(3, 0), (3, 1)]);
        assert_eq!(ids(&bench.block(vec![Entry::Grant(grant(0, 3))]).unwrap()), [(4, 0)]);
    }

    #[test]
    fn what_is_told_is_not_told_again() {
        let mut bench = Bench::new(Some((3, 1)));
        let three = (1..4).map(|number| Entry::Grant(grant(0, number))).collect();
        assert_eq!(ids(&bench.block(three).unwrap()), [(3, 2)]);
        assert_eq!(ids(&bench.block(vec![Entry::Grant(grant(0, 4))]).unwrap()), [(4, 0)]);
        assert_eq!(bench.places(0)[0], places("2026-11-30", 6, 4));
    }

    #[test]
    fn a_deposed_writers_block_is_skipped() {
        let mut bench = Bench::new(None);
        assert_eq!(ids(&bench.void_block(vec![Entry::Grant(grant(0, 1))]).unwrap()), []);
        assert_eq!(ids(&bench.block(vec![Entry::Grant(grant(0, 2))]).unwrap()), [(4, 0)]);
        assert_eq!(bench.places(0)[0], places("2026-11-30", 9, 4));
    }

    #[test]
    fn a_foreign_message_is_skipped_and_told_of() {
        let mut bench = Bench::new(None);
        bench.ledger.message(b"no block".into());
        let events = bench.fold(3).unwrap();
        assert!(events.is_empty() && bench.changes.chain().doubt.is_some());
        assert_eq!(bench.changes.chain().position().seq, 2);
        assert_eq!(ids(&bench.block(vec![Entry::Grant(grant(0, 2))]).unwrap()), [(4, 0)]);
        assert!(bench.changes.chain().doubt.is_none());
        let foreign: Vec<u64> = bench.changes.take_foreign().iter().map(|f| f.seq).collect();
        assert_eq!(foreign, [3]);
    }

    #[test]
    fn every_change_of_a_booking_is_told_with_what_was_before() {
        let mut bench = Bench::new(None);
        let hold_expires_at = Some(Timestamp::from_millis(9_000));
        let held = |number| Entry::Grant(Grant { hold_expires_at, ..grant(0, number) });
        bench.block(vec![held(1), held(2)]).unwrap();
        let reference = Some("invoice-1".to_owned());
        let confirm =
            Confirm { booking: booking(1), request_id: "c".into(), reference, revived: None };
        let swap = Reschedule {
            booking: booking(1),
            request_id: "m".into(),
            content: Digest([0; 16]),
            slot: 1,
            seats: vec![Seat { applicant: Pseudonym::from_bytes([1; 16]), number: 1 }],
            release_at: Some(Timestamp::from_millis(5)),
            reason: None,
            hold_expires_at: None,
        };
        let cancel = Cancel {
            booking: booking(1),
            request_id: "x".into(),
            seats: Vec::new(),
            cause: CancelCause::Applicant,
            release_at: None,
            reason: None,
            refund_due: false,
        };
        let late = Confirm { booking: booking(2), request_id: "l".into(), ..confirm.clone() };
        let expire = Expire { booking: booking(2), release_at: None };
        let events = bench
            .block(vec![
                Entry::Confirm(confirm),
                Entry::Reschedule(swap),
                Entry::Cancel(cancel),
                Entry::Expire(expire),
                Entry::Confirm(late),
            ])
            .unwrap();
        let published: Vec<serde_json::Value> =
            events.iter().map(|event| serde_json::from_slice(&event.payload).unwrap()).collect();
        let kinds: Vec<&str> =
            published.iter().filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(
            kinds,
            [
                "giliran.booking.confirmed",
                "giliran.booking.rescheduled",
                "giliran.booking.cancelled",
                "giliran.booking.expired",
                "giliran.booking.refund_due"
            ]
        );
        assert_eq!(published[0]["data"]["payment"], "invoice-1");
        assert_eq!(published[0]["data"]["previous"]["status"], "held");
        assert_eq!(published[1]["data"]["previous"]["date"], "2026-11-30");
        assert_eq!(published[1]["data"]["booking"]["date"], "2026-12-01");
        assert_eq!(published[2]["data"]["booking"]["version"], 4);
        assert_eq!(published[4]["data"]["booking"]["status"], "expired");
        assert_eq!(published[4]["data"]["payment"], "invoice-1");
        assert_eq!(&*events[2].subject, "giliran.v1.event.cancelled.harbour.2026-12-01");
    }

    #[test]
    fn a_seed_out_of_place_stops_the_feed() {
        let record = DrawRecord::Committed { opening: 0, commitment: [0; 32], beacon: None };
        let mut bench = Bench::new(None);
        let error = bench.block(vec![Entry::Grant(grant(0, 1)), Entry::Draw(record)]).unwrap_err();
        assert_eq!(contradiction(&error), Some(&Contradiction::SeedOutOfPlace(0)), "{error}");
    }

    #[test]
    fn damage_stops_the_feed() {
        let mut bench = Bench::new(None);
        let ahead = bench.ledger.next(Vec::new());
        let ahead = Block { number: ahead.number + 1, ..ahead };
        let error = bench.changes.fold(3, &ahead.seal().bytes, None).unwrap_err();
        assert!(matches!(error, FeedError::Damage(_)), "{error}");
        let mut bench = Bench::new(None);
        let nowhere = Grant { slot: 2, ..grant(0, 1) };
        let (id, what) = (nowhere.booking, BookingContradiction::NoSlot);
        let error = bench.block(vec![Entry::Grant(nowhere)]).unwrap_err();
        assert_eq!(contradiction(&error), Some(&Contradiction::Booking { id, what }), "{error}");
        let error = Bench::new(None).block(vec![opening(2)]).unwrap_err();
        let (id, what) = ("week-2".to_owned(), RecordContradiction::Ordinal);
        assert_eq!(contradiction(&error), Some(&Contradiction::Opening { id, what }), "{error}");
    }

    fn contradiction(error: &FeedError) -> Option<&Contradiction> {
        match error {
            FeedError::Damage(Damage { kind: DamageKind::Contradiction(what), .. }) => Some(what),
            _ => None,
        }
    }

    #[test]
    fn places_are_told_once_per_change() {
        let mut bench = Bench::new(None);
        assert_eq!(bench.places(0).len(), 2);
        assert!(bench.places(0).is_empty());
        bench.block(vec![Entry::Grant(grant(1, 1)), Entry::Grant(grant(1, 2))]).unwrap();
        let published = bench.places(0);
        assert_eq!(published, [places("2026-12-01", 8, 3)]);
        // Once its days are over, what was told of it is taken back, once.
        bench.block(vec![Entry::Closed { opening: 0 }]).unwrap();
        bench.ledger.now = "2026-12-10T00:00:00Z".parse().unwrap();
        bench.block(Vec::new()).unwrap();
        assert_eq!(
            bench.places(0),
            ["week-0.harbour.2026-11-30.all ", "week-0.harbour.2026-12-01.all "]
        );
        assert!(bench.places(0).is_empty());
    }

    #[test]
    fn an_opening_is_told_once_per_change_and_not_with_its_bookings() {
        let mut bench = Bench::new(None);
        let published = bench.catalogue(0);
        assert_eq!(published.len(), 1);
        let (id, week) = &published[0];
        assert_eq!((id.as_str(), &week["state"]), ("week-0", &json!("open")));
        assert_eq!(week["offices"][0]["name"], "Harbour");
        assert_eq!(week["offices"][0]["sessions"][0]["label"], "All day");
        let quotas = json!({ "2026-11-30": 10, "2026-12-01": 10 });
        assert_eq!(week["offices"][0]["sessions"][0]["quotas"], quotas);
        assert_eq!(week["as_of"]["seq"], 2);
        assert_eq!(week["as_of"]["time"], "1970-01-01T00:00:00.005Z");
        bench.block(vec![Entry::Grant(grant(1, 1))]).unwrap();
        assert!(bench.catalogue(0).is_empty());
        let change = Adjustment::Quota { slot: 1, quota: 7 };
        let (operator, reason) = ("siti".to_owned(), "one counter".to_owned());
        bench.block(vec![Entry::Adjust(Adjust { opening: 0, operator, reason, change })]).unwrap();
        let published = bench.catalogue(0);
        assert_eq!(published[0].1["offices"][0]["sessions"][0]["quotas"]["2026-12-01"], 7);
        assert_eq!(published[0].1["as_of"]["seq"], 4);
        bench.block(vec![Entry::Closed { opening: 0 }]).unwrap();
        assert_eq!(bench.catalogue(0)[0].1["state"], "closed");
        bench.ledger.now = "2026-12-10T00:00:00Z".parse().unwrap();
        bench.block(Vec::new()).unwrap();
        assert_eq!(bench.catalogue(0), [("week-0".to_owned(), Value::Null)]);
        assert!(bench.catalogue(0).is_empty());
    }

    #[test]
    fn openings_of_the_bucket_that_have_left_memory_are_taken_back_at_a_start() {
        let mut bench = Bench::new(None);
        bench.changes.found_in_catalogue(["last-week".to_owned(), "week-0".to_owned()]);
        // Closed for long, and in memory: what was told of it stays.
        assert_eq!(bench.catalogue(CLOSES + 1), [("last-week".to_owned(), Value::Null)]);
        assert!(bench.catalogue(CLOSES + 1).is_empty());
        assert_eq!(Bench::new(None).catalogue(CLOSES).len(), 1);
    }

    #[test]
    fn an_opening_closed_for_long_is_told_of_only_where_something_is_new() {
        let mut bench = Bench::new(Some((3, 0)));
        bench.block(vec![Entry::Grant(grant(0, 1))]).unwrap();
        assert!(bench.places(CLOSES + 1).is_empty());
        bench.block(vec![Entry::Grant(grant(1, 2))]).unwrap();
        let published = bench.places(CLOSES + 1);
        assert_eq!(published, [places("2026-12-01", 9, 4)]);
        let mut bench = Bench::new(Some((3, 0)));
        assert_eq!(bench.places(CLOSES).len(), 2);
    }
}

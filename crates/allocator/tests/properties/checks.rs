//! What must hold after every step, and at the end of a history.

use giliran_allocator::StateMachine;
use giliran_wire::Pseudonym;
use giliran_wire::answer::SlotState;

use crate::harness::{Harness, snapshot_of};
use crate::history::person;
use crate::model::{Had, ModelOpening};

impl Harness {
    /// P11 for every slot, and every opening's phase.
    pub(crate) fn check_sums(&self) {
        let openings = self.allocator().openings();
        for (o, model) in self.model.openings.iter().enumerate() {
            let Some(opening) = openings.get(o as u32) else {
                assert!(model.retired, "an opening left memory too early");
                continue;
            };
            assert!(!model.retired, "an opening stays in memory");
            assert_eq!(opening.phase(), model.phase);
            for slot in 0..opening.slots() {
                let (free, durably) = (opening.free(slot), opening.durably_free(slot));
                assert_eq!(free, self.model.free(o, slot, false), "free of {slot}");
                assert_eq!(durably, self.model.free(o, slot, true), "durably free of {slot}");
                let quota = opening.slot(slot).quota;
                assert_eq!(quota, model.places[slot as usize].quota);
                let live = self.model.live(o, slot).len() as i32;
                assert_eq!(live + opening.withheld(slot) + durably, i32::from(quota), "P11");
                self.check_shown(model, &opening.slot_state(slot, self.time()), slot, live);
            }
        }
        assert_eq!(self.allocator().bookings(), self.model.had.len());
        let live = self.model.waits.iter().filter(|waits| waits.live).count();
        assert_eq!(self.allocator().entries(), live as u64);
    }

    /// A slot as clients see it.
    fn check_shown(&self, model: &ModelOpening, shown: &SlotState<'_>, slot: u32, live: i32) {
        let places = &model.places[slot as usize];
        assert_eq!(live + shown.withheld as i32 + shown.free, shown.quota as i32, "P11 as shown");
        assert_eq!(shown.bookable, !model.too_late(slot, self.time()));
        assert!(shown.bookable || shown.free <= 0);
        assert_eq!((shown.reserved, shown.halted), (places.reserved.into(), places.halted));
        assert_eq!(shown.next_release, places.withheld.values().map(|until| until.at()).min());
    }

    pub(crate) fn check_end(&mut self) {
        self.give_up_block();
        for grant in std::mem::take(&mut self.queue) {
            self.give_up(grant);
        }
        self.check_sums();
        let replayed = self.replayed().unwrap();
        assert_eq!(replayed.state_hash(), self.state.state_hash(), "P6");
        assert_eq!(replayed.chain(), self.state.chain());
        let restored = snapshot_of(&replayed);
        assert_eq!(restored.state_hash(), replayed.state_hash(), "a snapshot says it all");
        assert_eq!(restored.chain(), replayed.chain());
        for state in [&self.state, &replayed, &restored] {
            self.check_questions(state);
        }
        self.check_bookings();
    }

    /// What can be asked for is what the rules say.
    fn check_questions(&self, state: &StateMachine) {
        let allocator = state.allocator();
        let at_end = |at: giliran_allocator::Durable| {
            assert_eq!(at.position().seq, self.settled_at());
        };
        for who in (0..12).map(person) {
            for (o, opening) in self.model.openings.iter().enumerate() {
                let mut has: Vec<&Had> =
                    self.model.had.iter().filter(|h| h.opening == o && h.is_of(&who)).collect();
                has.sort_by_key(|had| (had.is_live(), had.granted_at, had.id));
                let (found, at) = allocator.find(&who, &opening.record.id).unwrap();
                at_end(at);
                assert_eq!(found.map(|f| f.booking.id), has.last().map(|had| had.id));
                for had in &has {
                    let found = allocator.lookup(&had.id, &who).unwrap().0.unwrap();
                    let booking = &found.booking;
                    assert_eq!((booking.status, booking.version), (had.status, had.version));
                    let id = Some(opening.record.id.as_str());
                    let request_id = &had.request.request_id;
                    let (found, _) = allocator.lookup_request(request_id, &who, id).unwrap();
                    let same = |other: &&&Had| other.request.request_id == *request_id;
                    let last = has.iter().rev().find(same).map(|had| had.id);
                    assert_eq!(found.map(|f| f.booking.id), last);
                    assert!(allocator.lookup(&had.id, &person(99)).unwrap().0.is_none());
                }
            }
        }
        for waits in &self.model.waits {
            for who in &waits.request.applicants {
                let (found, at) = allocator.lookup_entry(&waits.receipt, who).unwrap();
                at_end(at);
                let live = waits.live.then_some(waits.receipt);
                assert_eq!(found.map(|entered| entered.waiting.entry.receipt), live);
            }
        }
    }

    /// P1 and P3 on what there is.
    fn check_bookings(&self) {
        let live = || self.model.had.iter().filter(|had| had.is_live());
        let seats = |had: &Had| had.seats.clone().into_iter();
        let mut numbers: Vec<(usize, u32, u16)> = live()
            .flat_map(|had| seats(had).map(|(_, number)| (had.opening, had.slot, number)))
            .collect();
        let mut people: Vec<(usize, Pseudonym)> =
            live().flat_map(|had| seats(had).map(|(who, _)| (had.opening, who))).collect();
        let (places, all) = (numbers.len(), people.len());
        numbers.sort_unstable();
        numbers.dedup();
        people.sort_unstable();
        people.dedup();
        assert_eq!(numbers.len(), places, "a number twice");
        assert_eq!(people.len(), all, "a person twice");
    }
}

//! The places of every slot, as metrics: read from the allocator when they are asked for,
//! so that no scrape sees half of them, and none of what has left memory.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use giliran_allocator::{Allocator, Opening};
use giliran_nats::clock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

/// Labels of a slot's figures.
const SLOT: [&str; 4] = ["opening", "office", "date", "session"];
const OPENING: [&str; 1] = ["opening"];
const MILLIS: i64 = 1_000;

/// A figure of every slot: its name, what it is, and how it is read at a time.
type Figure = (&'static str, &'static str, fn(&Opening, u32, giliran_wire::Timestamp) -> i64);

const FIGURES: [Figure; 5] = [
    ("giliran_free_places", "Places of a slot that no durable grant holds", |opening, slot, _| {
        opening.durably_free(slot).into()
    }),
    (
        "giliran_withheld_places",
        "Places of a slot that are neither booked nor free: returned and not released yet, \
         reserved, or halted",
        |opening, slot, _| opening.withheld(slot).into(),
    ),
    (
        "giliran_reserved_places",
        "Places of a slot that an operator keeps back from everybody",
        |opening, slot, _| opening.reserved(slot).into(),
    ),
    ("giliran_slot_halted", "1 while an operator has closed the slot", |opening, slot, _| {
        opening.is_halted(slot).into()
    }),
    ("giliran_slot_bookable", "1 until it is too late to book the slot", |opening, slot, now| {
        opening.is_bookable(slot, now).into()
    }),
];
const NEXT_RELEASE: (&str, &str) = (
    "giliran_next_release_timestamp_seconds",
    "When the next returned places of an opening are released or drawn for, where any wait",
);

/// What is shown of every slot and opening in memory.
#[derive(Clone)]
pub(crate) struct Places {
    /// None: no ledger has been read yet.
    allocator: Arc<Mutex<Option<Arc<Allocator>>>>,
    descriptions: Vec<Desc>,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Places")
    }
}

impl Places {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let slots = FIGURES.iter().map(|(name, help, _)| vec(name, help, &SLOT));
        let all = slots.chain([vec(NEXT_RELEASE.0, NEXT_RELEASE.1, &OPENING)]);
        let mut descriptions = Vec::new();
        for gauges in all {
            descriptions.extend(gauges?.desc().into_iter().cloned());
        }
        Ok(Self { allocator: Arc::default(), descriptions })
    }

    /// The allocator whose places are shown from here on.
    pub(crate) fn show(&self, allocator: &Arc<Allocator>) {
        // A panic elsewhere cannot leave the pointer half changed.
        *self.allocator.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::clone(allocator));
    }

    fn gather(&self, allocator: &Allocator) -> Result<Vec<MetricFamily>, prometheus::Error> {
        let now = allocator.engine_time(clock::now());
        let openings = allocator.openings();
        let mut families = Vec::new();
        for (name, help, read) in &FIGURES {
            let gauges = vec(name, help, &SLOT)?;
            for opening in openings.iter() {
                for index in 0..opening.slots() {
                    let slot = opening.slot(index);
                    let date = slot.date.to_string();
                    let labels = [opening.id(), slot.office, &date, slot.session];
                    gauges.with_label_values(&labels).set(read(opening, index, now));
                }
            }
            families.extend(gauges.collect());
        }
        let gauges = vec(NEXT_RELEASE.0, NEXT_RELEASE.1, &OPENING)?;
        for opening in openings.iter() {
            let next = (0..opening.slots()).filter_map(|slot| opening.next_release(slot)).min();
            if let Some(next) = next {
                gauges.with_label_values(&[opening.id()]).set(next.as_millis() / MILLIS);
            }
        }
        families.extend(gauges.collect());
        families.retain(|family| !family.get_metric().is_empty());
        Ok(families)
    }
}

fn vec(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(Opts::new(name, help), labels)
}

impl Collector for Places {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let allocator = self.allocator.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The names are fixed, and were accepted when this was made.
        allocator.and_then(|allocator| self.gather(&allocator).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use giliran_testkit::{LedgerBuilder, office, opening, rules, session, slot};
    use giliran_wire::Timestamp;
    use giliran_wire::ledger::{Entry, Office, OpeningRecord, Rules, Session};

    use super::*;

    /// Offices of each opening: what a scrape is to see all or nothing of.
    const OFFICES: u32 = 6;
    const OPENINGS: u32 = 84;

    fn date(ordinal: u32) -> String {
        format!("2030-{:02}-{:02}", 1 + ordinal / 28, 1 + ordinal % 28)
    }

    fn record(ordinal: u32, now: Timestamp) -> OpeningRecord {
        let office = |n| Office {
            name: format!("Office {n}"),
            sessions: vec![Session { label: "All day".to_owned(), ..session("all") }],
            ..office(&format!("office-{n}"), &[])
        };
        let slot = |office| slot(office, 0, &date(ordinal), 3);
        OpeningRecord {
            ordinal,
            id: format!("opening-{ordinal}"),
            opens_at: now,
            closes_at: now.plus_millis(1),
            rules: Rules { max_changes: 1, max_bookings: 1, ..rules() },
            offices: (0..OFFICES).map(office).collect(),
            slots: (0..OFFICES).map(slot).collect(),
            ..opening(&[])
        }
    }

    /// A ledger of openings that are closed, each on a day of its own.
    fn closed() -> LedgerBuilder {
        let time: Timestamp = "2029-12-01T00:00:00Z".parse().unwrap();
        let mut ledger = LedgerBuilder::with((0..OPENINGS).map(|of| record(of, time)), time);
        let over = |opening| [Entry::Opened { opening }, Entry::Closed { opening }];
        ledger.append((0..OPENINGS).flat_map(over).collect());
        ledger
    }

    /// Openings leave memory while they are scraped: each scrape has all figures of all
    /// slots of those that it has.
    #[test]
    fn a_scrape_sees_all_figures_of_the_same_slots() {
        let mut ledger = closed();
        let mut state = ledger.folded();
        let places = Places::new().unwrap();
        assert!(places.collect().is_empty());
        places.show(state.allocator());
        let scraping = {
            let allocator = Arc::clone(state.allocator());
            std::thread::spawn(move || {
                let mut seen = BTreeSet::new();
                while allocator.openings().iter().next().is_some() {
                    seen.insert(check(&places.collect()));
                }
                seen
            })
        };
        for ordinal in 0..OPENINGS {
            let day: Timestamp = format!("{}T00:00:00Z", date(ordinal)).parse().unwrap();
            ledger.now = day.plus_millis(2 * 24 * 3_600_000);
            let seq = ledger.append(Vec::new());
            state.fold(seq, &ledger.blocks[seq as usize - 1]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let seen = scraping.join().unwrap();
        assert!(seen.len() > 2, "all were gone before it was looked: {seen:?}");
    }

    /// How many slots a scrape has.
    fn check(families: &[MetricFamily]) -> usize {
        let slots = |family: &MetricFamily| {
            let of = |metric: &prometheus::proto::Metric| {
                metric.get_label().iter().map(|label| label.value().to_owned()).collect()
            };
            family.get_metric().iter().map(of).collect::<BTreeSet<Vec<String>>>()
        };
        let Some(first) = families.first().map(slots) else { return 0 };
        assert_eq!(families.len(), FIGURES.len());
        for family in families {
            assert!(slots(family) == first, "{}: other slots", family.name());
        }
        assert_eq!(first.len() % OFFICES as usize, 0);
        first.len()
    }
}

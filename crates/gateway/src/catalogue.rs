//! What there is to book: openings and free places, as the engine told them last. It is asked
//! once a second; everybody else is answered from here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use giliran_nats::clock::{self, Moment};
use giliran_web::events::event;
use giliran_web::tag;
use giliran_wire::answer::{self, Availability, OpeningState, Overview, Phase, Reason, SlotState};
use giliran_wire::catalogue::{Leftovers, OpeningDescription, Order};
use giliran_wire::request::{self, Choice, write_binary};
use giliran_wire::subject::Namespace;
use giliran_wire::{Date, Position, Timestamp};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the engine is asked, about: several gateways do not ask in step.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long its answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is asked what the openings offer; and at once where one has opened.
const DESCRIBED_EVERY: Duration = Duration::from_secs(30);
/// The same while one of them is drawn: root, seed and end come one after the other.
const DRAWING_EVERY: Duration = Duration::from_secs(5);
/// Least time between two such questions; it doubles while they are not answered.
const DESCRIBED_AGAIN: Duration = Duration::from_secs(1);
/// What was told longer ago than this is shown as stale.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// A slot with its places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Slot {
    pub(crate) office: String,
    pub(crate) date: Date,
    pub(crate) session: String,
    pub(crate) quota: u32,
    pub(crate) free: i32,
    pub(crate) withheld: u32,
    pub(crate) reserved: u32,
    pub(crate) halted: bool,
    pub(crate) bookable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_release: Option<Timestamp>,
}

impl Slot {
    fn of(slot: &SlotState<'_>) -> Self {
        Self {
            office: slot.office.to_string(),
            date: slot.date,
            session: slot.session.to_string(),
            quota: slot.quota,
            free: slot.free,
            withheld: slot.withheld,
            reserved: slot.reserved,
            halted: slot.halted,
            bookable: slot.bookable,
            next_release: slot.next_release,
        }
    }

    /// Whether somebody may get a place there.
    pub(crate) fn has_room(&self) -> bool {
        self.free > 0 && self.bookable && !self.halted
    }
}

/// An opening and its places.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) id: String,
    pub(crate) state: Phase,
    pub(crate) opens_at: Timestamp,
    pub(crate) closes_at: Timestamp,
    /// What it offers and under which rules; none: no engine has described it yet.
    pub(crate) offers: Option<Arc<OpeningDescription>>,
    pub(crate) slots: Vec<Slot>,
    /// Which of them are thought to have room, by office: every booking looks.
    with_room: HashMap<String, Vec<usize>>,
    pub(crate) places: Places,
}

/// Free places as they are sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// JSON of all of them.
    pub(crate) body: Bytes,
    /// Names what the body says: the same at every gateway.
    pub(crate) tag: String,
    /// All of them as an event.
    pub(crate) frame: Bytes,
    /// The tag before this one, and what is other than there as an event.
    pub(crate) change: Option<(String, Bytes)>,
}

#[derive(Serialize)]
struct PlacesBody<'a> {
    opening: &'a str,
    /// The ledger position at which they were first seen so; none: what is named by its tag,
    /// which gateways that began at other positions are to have alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Position>,
    /// Since when nobody has confirmed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_since: Option<Timestamp>,
    slots: &'a [&'a Slot],
}

impl Opening {
    /// Whether one of these choices is thought to have room.
    pub(crate) fn may_grant(&self, choices: &[Choice<'_>]) -> bool {
        choices.iter().any(|choice| {
            let slots = self.with_room.get(choice.office.as_str()).into_iter().flatten();
            slots.map(|at| &self.slots[*at]).any(|slot| {
                choice.date.is_none_or(|date| date == slot.date)
                    && choice.session.as_ref().is_none_or(|s| s.as_str() == slot.session)
            })
        })
    }

    /// Whether its draw is over.
    pub(crate) fn is_drawn(&self) -> bool {
        let order = self.offers.as_ref().map(|offers| &offers.order);
        matches!(order, Some(Order::Draw { drawn: true, .. }))
    }

    /// Whether somebody may still ask after the window, or after the draw: for what is left,
    /// or for what comes back.
    pub(crate) fn gives_leftovers(&self) -> bool {
        self.offers.as_ref().is_some_and(|offers| {
            let drawn = !matches!(offers.order, Order::Draw { drawn: false, .. });
            offers.rules.leftovers == Leftovers::FirstCome && drawn || offers.next_release.is_some()
        })
    }

    fn is_as(&self, other: &Self) -> bool {
        self.state == other.state
            && self.opens_at == other.opens_at
            && self.closes_at == other.closes_at
            && self.slots == other.slots
            && self.offers == other.offers
    }
}

/// All openings, as they were told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) openings: Vec<Arc<Opening>>,
    pub(crate) as_of: Position,
    /// Since when nobody has confirmed it; none: it is fresh.
    pub(crate) stale_since: Option<Timestamp>,
}

impl Told {
    pub(crate) fn opening(&self, id: &str) -> Option<&Arc<Opening>> {
        self.openings.iter().find(|opening| opening.id == id)
    }

    /// The opening that a request without one means, as far as that is plain.
    pub(crate) fn only(&self) -> Option<&Arc<Opening>> {
        let mut open = self.openings.iter().filter(|opening| opening.state == Phase::Open);
        match (open.next(), open.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }
}

/// The engine's clock: what it said, and when.
#[derive(Debug, Clone, Copy)]
struct EngineClock {
    now: Timestamp,
    told: Moment,
}

/// The copy; clones show the same one.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    told: watch::Receiver<Arc<Told>>,
    clock: Arc<Mutex<Option<EngineClock>>>,
}

impl Catalogue {
    /// Begins to ask, until it is told to stop.
    pub(crate) fn start(client: Client, namespace: &Namespace, stop: CancellationToken) -> Self {
        let (sender, told) = watch::channel(Arc::new(Told::default()));
        let clock = Arc::new(Mutex::new(None));
        let copy = Self { told, clock: Arc::clone(&clock) };
        let asking = Asking {
            client,
            subject: namespace.request("availability"),
            sender,
            clock,
            offers: Offers::new(),
            describe_at: Instant::now(),
            described: Instant::now(),
            pause: DESCRIBED_AGAIN,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = asking.run() => {}
                () = stop.cancelled() => {}
            }
        });
        copy
    }

    pub(crate) fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told.borrow())
    }

    /// Says when something has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Told>> {
        self.told.clone()
    }

    /// The engine's time; this machine's before any engine has told it.
    pub(crate) fn now(&self) -> Timestamp {
        match *held(&self.clock) {
            Some(clock) => clock.now.plus_millis(clock.told.elapsed().as_millis() as u64),
            None => clock::now(),
        }
    }

    /// How long ago an engine told it; none: never.
    pub(crate) fn age(&self) -> Option<Duration> {
        held(&self.clock).map(|clock| clock.told.elapsed())
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.age().is_some_and(|age| age < STALE_AFTER)
    }
}

/// A panic elsewhere cannot leave the clock half changed.
fn held(clock: &Mutex<Option<EngineClock>>) -> std::sync::MutexGuard<'_, Option<EngineClock>> {
    clock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Descriptions by opening.
type Offers = BTreeMap<String, Arc<OpeningDescription>>;

/// The same, as an answer has them.
type Described = BTreeMap<String, OpeningDescription>;

/// Whether its window has closed and its draw is not over.
fn is_drawing(offers: &OpeningDescription) -> bool {
    offers.state == Phase::Closed && matches!(offers.order, Order::Draw { drawn: false, .. })
}

/// Why it is not known what the openings offer.
enum NotDescribed {
    /// Nobody has answered in time.
    Silent,
    Rejected(Reason, String),
    Unreadable(serde_json::Error),
}

impl NotDescribed {
    fn say(&self) {
        match self {
            Self::Silent => tracing::debug!("no engine describes the openings"),
            Self::Rejected(reason, detail) => {
                tracing::error!("openings are not described: {}: {detail}", reason.name());
            }
            Self::Unreadable(error) => tracing::error!(%error, "descriptions that cannot be read"),
        }
    }
}

/// Adds what openings offer at one more office.
fn join(all: &mut Described, more: Described) {
    for (id, offers) in more {
        match all.get_mut(&id) {
            Some(known) => known.offices.extend(offers.offices),
            None => {
                all.insert(id, offers);
            }
        }
    }
}

struct Asking {
    client: Client,
    subject: String,
    sender: watch::Sender<Arc<Told>>,
    clock: Arc<Mutex<Option<EngineClock>>>,
    offers: Offers,
    /// When the descriptions are due.
    describe_at: Instant,
    /// When they were asked for last.
    described: Instant,
    /// Least time from then to the next time.
    pause: Duration,
}

impl Asking {
    async fn run(mut self) {
        let mut said = None;
        loop {
            if Instant::now() >= self.describe_at {
                self.describe().await;
            }
            let asked = Moment::now();
            match self.ask().await {
                Ok(payload) => {
                    let wrong = self.take(&payload, asked).err();
                    if let Some(wrong) =
                        wrong.as_ref().filter(|wrong| said.as_ref() != Some(*wrong))
                    {
                        tracing::error!("openings cannot be shown: {wrong}");
                    }
                    said = wrong;
                }
                Err(error) => tracing::debug!(%error, "no engine tells what there is"),
            }
            self.show_age();
            tokio::time::sleep(ASKED_EVERY.mul_f64(rand::random_range(0.9..1.1))).await;
        }
    }

    /// Asks what the openings offer, office by office where one answer would be too large. That
    /// changes seldom.
    async fn describe(&mut self) {
        self.described = Instant::now();
        let told = match self.offered(None).await {
            Err(NotDescribed::Rejected(Reason::Malformed, _)) => self.offered_by_office().await,
            told => told,
        };
        match told {
            Ok(offers) => {
                self.offers = offers.into_iter().map(|(id, told)| (id, Arc::new(told))).collect();
                self.pause = DESCRIBED_AGAIN;
                let draws = self.offers.values().any(|offers| is_drawing(offers));
                let again = if draws { DRAWING_EVERY } else { DESCRIBED_EVERY };
                self.describe_at = Instant::now() + again;
            }
            Err(why) => {
                why.say();
                self.pause = (self.pause * 2).min(DESCRIBED_EVERY);
                self.describe_at = Instant::now() + self.pause;
            }
        }
    }

    /// The same, put together from an answer for each office that has places.
    async fn offered_by_office(&self) -> Result<Described, NotDescribed> {
        let told = Arc::clone(&self.sender.borrow());
        let slots = told.openings.iter().flat_map(|opening| &opening.slots);
        let (mut seen, mut all) = (BTreeSet::new(), Described::new());
        for slot in slots {
            if seen.insert(&slot.office) {
                join(&mut all, self.offered(Some(&slot.office)).await?);
            }
        }
        if seen.is_empty() { Err(NotDescribed::Silent) } else { Ok(all) }
    }

    /// What the openings offer at this office, or at all of them; JSON alone has it.
    async fn offered(&self, office: Option<&str>) -> Result<Described, NotDescribed> {
        let asked = request::Availability { office: office.map(Into::into), describe: true };
        // It can be written.
        let payload = serde_json::to_vec(&asked).unwrap_or_default();
        let told = self.send(payload).await.map_err(|_| NotDescribed::Silent)?;
        match serde_json::from_slice::<Overview<'_>>(&told) {
            Ok(Overview::Shown(shown)) => {
                let offers = shown.catalogue.into_iter().flatten();
                Ok(offers.map(|offers| (offers.id.clone(), offers)).collect())
            }
            Ok(Overview::Rejected(refused)) => {
                let detail = refused.detail.as_deref().unwrap_or_default().to_owned();
                Err(NotDescribed::Rejected(refused.reason, detail))
            }
            Err(error) => Err(NotDescribed::Unreadable(error)),
        }
    }

    async fn ask(&self) -> Result<Bytes, async_nats::RequestError> {
        self.send(write_binary(&[request::Availability::default()])).await
    }

    async fn send(&self, payload: Vec<u8>) -> Result<Bytes, async_nats::RequestError> {
        let asked = async_nats::Request::new().payload(payload.into()).timeout(Some(PATIENCE));
        Ok(self.client.send_request(self.subject.clone(), asked).await?.payload)
    }

    fn take(&mut self, payload: &[u8], asked: Moment) -> Result<(), String> {
        let mut answers =
            answer::read_binary::<Overview<'_>>(payload).map_err(|error| error.to_string())?;
        match answers.pop() {
            Some(Overview::Shown(shown)) => {
                // The answer's way is not known; a time too early opens nothing too early.
                *held(&self.clock) = Some(EngineClock { now: shown.now, told: asked });
                let known = |opening: &OpeningState<'_>| {
                    let offers = self.offers.get(opening.id.as_str());
                    offers.is_some_and(|offers| offers.state == opening.state)
                };
                // An opening that is new, or has opened or closed.
                if !shown.openings.iter().all(known) {
                    self.describe_at = self.describe_at.min(self.described + self.pause);
                }
                self.show(&shown);
                Ok(())
            }
            Some(Overview::Rejected(refused)) => {
                let detail = refused.detail.as_deref().unwrap_or_default();
                Err(format!("{}: {detail}", refused.reason.name()))
            }
            None => Err("an answer without an answer".to_owned()),
        }
    }

    fn show(&self, shown: &Availability<'_>) {
        let next = next(&self.sender.borrow(), shown, &self.offers);
        if let Some(next) = next {
            self.sender.send_replace(Arc::new(next));
        }
    }

    /// Marks what nobody has confirmed for long.
    fn show_age(&self) {
        let Some(clock) = *held(&self.clock) else { return };
        let before = Arc::clone(&self.sender.borrow());
        if clock.told.elapsed() >= STALE_AFTER && before.stale_since.is_none() {
            self.sender.send_replace(Arc::new(stale(&before, clock.now)));
        }
    }
}

/// What is shown after an engine has told this; none: the same as before.
fn next(before: &Told, shown: &Availability<'_>, offers: &Offers) -> Option<Told> {
    let openings = shown.openings.iter().map(|state| {
        let slots = shown.slots.iter().filter(|slot| slot.opening == state.id).map(Slot::of);
        let old = before.opening(&state.id);
        let opening = Opening {
            id: state.id.to_string(),
            state: state.state,
            opens_at: state.opens_at,
            closes_at: state.closes_at,
            offers: offers.get(state.id.as_str()).cloned(),
            slots: slots.collect(),
            with_room: HashMap::new(),
            places: Places::default(),
        };
        match old.filter(|old| before.stale_since.is_none() && old.is_as(&opening)) {
            Some(old) => Arc::clone(old),
            None => Arc::new(written(opening, old, shown.as_of, None)),
        }
    });
    let openings: Vec<Arc<Opening>> = openings.collect();
    let same = before.stale_since.is_none()
        && before.openings.len() == openings.len()
        && before.openings.iter().zip(&openings).all(|(old, new)| Arc::ptr_eq(old, new));
    (!same).then_some(Told { openings, as_of: shown.as_of, stale_since: None })
}

/// The same, marked as not confirmed since then.
fn stale(before: &Told, since: Timestamp) -> Told {
    let stale_since = Some(since);
    let openings = before.openings.iter();
    let openings = openings
        .map(|old| Arc::new(written((**old).clone(), Some(old), before.as_of, stale_since)));
    Told { openings: openings.collect(), as_of: before.as_of, stale_since }
}

/// The opening with its places as they are sent.
fn written(
    mut opening: Opening,
    old: Option<&Arc<Opening>>,
    as_of: Position,
    stale_since: Option<Timestamp>,
) -> Opening {
    let body = |slots: &[&Slot], as_of: Option<Position>| {
        let body = PlacesBody { opening: &opening.id, as_of, stale_since, slots };
        // Texts and numbers: they can be written.
        Bytes::from(serde_json::to_vec(&body).unwrap_or_default())
    };
    let all: Vec<&Slot> = opening.slots.iter().collect();
    let tag = tag(&body(&all, None));
    let whole = body(&all, Some(as_of));
    let since = old.map(|old| {
        let is_new = |(index, slot): &(usize, &&Slot)| {
            let at = |old: &&Slot| {
                (&old.office, old.date, &old.session) == (&slot.office, slot.date, &slot.session)
            };
            // Slots stand where they stood, mostly.
            let old = old.slots.get(*index).filter(at).or_else(|| old.slots.iter().find(at));
            old != Some(**slot)
        };
        let other: Vec<&Slot> =
            all.iter().enumerate().filter(is_new).map(|(_, slot)| *slot).collect();
        (old.places.tag.clone(), body(&other, Some(as_of)))
    });
    // A slot that went away is shown by everything.
    let change = since.filter(|_| old.is_some_and(|old| old.slots.len() <= all.len()));
    let change = change.map(|(since, change)| (since, event(&tag, "change", &change)));
    let frame = event(&tag, "places", &whole);
    opening.places = Places { body: whole, tag, frame, change };
    opening.with_room.clear();
    for (at, slot) in opening.slots.iter().enumerate().filter(|(_, slot)| slot.has_room()) {
        opening.with_room.entry(slot.office.clone()).or_default().push(at);
    }
    opening
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::Value;

    const NOW: &str = "2026-11-27T07:00:00.000Z";

    fn shown(free: [i32; 2], seq: u64) -> Availability<'static> {
        let now: Timestamp = NOW.parse().unwrap();
        let slot = |office: &'static str, free| SlotState {
            opening: "w".into(),
            office: office.into(),
            date: "2026-11-30".parse().unwrap(),
            session: "all".into(),
            quota: 80,
            free,
            withheld: 0,
            reserved: 0,
            halted: false,
            bookable: true,
            next_release: None,
        };
        Availability {
            now,
            openings: vec![OpeningState {
                id: "w".into(),
                state: Phase::Open,
                opens_at: now,
                closes_at: now.plus_millis(1_000),
            }],
            slots: vec![slot("alpha", free[0]), slot("beta", free[1])],
            as_of: Position { epoch: 1, seq },
            catalogue: None,
        }
    }

    fn json(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn what_has_not_changed_keeps_its_tag_and_wakes_nobody() {
        let first = next(&Told::default(), &shown([80, 80], 1), &Offers::new()).unwrap();
        assert!(next(&first, &shown([80, 80], 9), &Offers::new()).is_none());
        let second = next(&first, &shown([80, 79], 10), &Offers::new()).unwrap();
        let (old, new) = (&first.openings[0].places, &second.openings[0].places);
        assert_ne!(old.tag, new.tag);
        let (since, change) = new.change.clone().unwrap();
        assert_eq!(since, old.tag);
        let change = String::from_utf8(change.to_vec()).unwrap();
        let begin = format!("id: {}\nevent: change\ndata: ", new.tag);
        let change: Value = serde_json::from_str(change.strip_prefix(&begin).unwrap()).unwrap();
        assert_eq!(change["slots"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&change["slots"][0]["office"], &change["slots"][0]["free"]),
            (&"beta".into(), &79.into())
        );
        assert_eq!(change["as_of"]["seq"], 10);
        assert_eq!(json(&new.body)["slots"].as_array().unwrap().len(), 2);
        // Another gateway, which has seen them so at another position, names them alike.
        let other = next(&Told::default(), &shown([80, 79], 99), &Offers::new()).unwrap();
        assert_eq!(other.openings[0].places.tag, new.tag);
    }

    #[test]
    fn what_nobody_confirms_is_marked_and_the_mark_goes_with_the_next_word() {
        let first = next(&Told::default(), &shown([80, 80], 1), &Offers::new()).unwrap();
        let old = stale(&first, NOW.parse().unwrap());
        assert_eq!(json(&old.openings[0].places.body)["stale_since"], NOW);
        let fresh = next(&old, &shown([80, 80], 1), &Offers::new()).unwrap();
        assert_eq!(json(&fresh.openings[0].places.body).get("stale_since"), None);
        assert_eq!(fresh.openings[0].places.tag, first.openings[0].places.tag);
    }

    #[test]
    fn a_grant_is_expected_where_a_choice_has_room() {
        let told = next(&Told::default(), &shown([0, 1], 1), &Offers::new()).unwrap();
        let choice = |office: &'static str, date: Option<&str>| {
            vec![Choice {
                office: office.into(),
                date: date.map(|date| date.parse().unwrap()),
                session: None,
            }]
        };
        let may = |choices: Vec<Choice<'_>>| told.openings[0].may_grant(&choices);
        assert!(may(choice("beta", None)) && may(choice("beta", Some("2026-11-30"))));
        assert!(!may(choice("alpha", None)) && !may(choice("beta", Some("2026-12-01"))));
    }
}

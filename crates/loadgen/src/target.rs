//! What the engine offers, and how a scenario's offices and days lie on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::{Client, jetstream};
use futures_util::StreamExt;
use giliran_fairness::scenario::Scenario;
use giliran_wire::answer::{Availability, Overview, Phase, Reason};
use giliran_wire::subject::Namespace;
use giliran_wire::{Date, Timestamp, request};

use super::error::LoadError;

/// How long an engine may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the engine does not say which time zone it is.
const UNKNOWN_ZONE: &str = "UTC";
/// Most names in a message.
const NAMED: usize = 12;

/// What the engine offers.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) openings: Vec<Opening>,
    /// The engine's time, and when the engine said so.
    now: Timestamp,
    as_of: Instant,
    /// Whether all of it fits one message: then it can be looked at often.
    pub(crate) fits: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) id: String,
    pub(crate) phase: Phase,
    opens_at: Timestamp,
    closes_at: Timestamp,
    /// In the engine's order.
    offices: Vec<Office>,
}

#[derive(Debug, Clone)]
struct Office {
    id: String,
    dates: BTreeSet<Date>,
    quota: i64,
    free: i64,
}

/// A scenario's offices and days, as the engine calls them.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) opening: String,
    /// By the scenario's order of offices.
    pub(crate) offices: Vec<TargetOffice>,
    /// Offices of the opening that nobody will ask at.
    pub(crate) unasked: usize,
    /// Places at those that are asked at; restricted and explicit sessions
    /// included, since the engine does not tell them apart.
    pub(crate) places: i64,
    /// Of these, free when it began.
    pub(crate) free: i64,
    /// When it opens; past: it is open.
    pub(crate) opens: Instant,
    /// Whether it is open already.
    pub(crate) open: bool,
    pub(crate) closes: Instant,
    /// The opening second, by the engine's clock; where it is past, when it was found open.
    pub(crate) opened_at: Timestamp,
    /// The opening's time zone, by its IANA name.
    pub(crate) timezone: String,
    /// The engine's time, and when the engine said so.
    now: Timestamp,
    as_of: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetOffice {
    pub(crate) id: String,
    pub(crate) dates: Vec<Date>,
}

impl Engine {
    /// Asks what there is: all of it, or office by office where that does not fit
    /// one message.
    pub(crate) async fn look(client: &Client, namespace: &Namespace) -> Result<Self, LoadError> {
        let mut engine = Self {
            openings: Vec::new(),
            now: Timestamp::from_millis(0),
            as_of: Instant::now(),
            fits: true,
        };
        if engine.learn(client, namespace, None).await? {
            return Ok(engine);
        }
        engine.fits = false;
        for office in offices_published(client, namespace).await? {
            if !engine.learn(client, namespace, Some(&office)).await? {
                return Err(LoadError::Misfit(format!(
                    "office {office}: its places do not fit one message"
                )));
            }
        }
        Ok(engine)
    }

    /// Takes in what one answer shows; false: it does not fit one message.
    async fn learn(
        &mut self,
        client: &Client,
        namespace: &Namespace,
        office: Option<&str>,
    ) -> Result<bool, LoadError> {
        let asked = Instant::now();
        let payload = availability(client, namespace, office, false).await?;
        match serde_json::from_slice(&payload) {
            Ok(Overview::Shown(shown)) => {
                self.now = shown.now;
                // Half of the way there and back.
                self.as_of = asked + asked.elapsed() / 2;
                self.take(&shown);
                Ok(true)
            }
            Ok(Overview::Rejected(rejected)) if office.is_none() => {
                // So many places fit no answer: they are asked for office by office.
                if rejected.reason == Reason::Malformed {
                    return Ok(false);
                }
                let detail = rejected.detail.as_deref().unwrap_or_default();
                Err(LoadError::Rejected(format!("{}: {detail}", rejected.reason.name())))
            }
            Ok(Overview::Rejected(_)) => Ok(false),
            Err(error) => {
                Err(LoadError::Rejected(format!("an answer nobody understands: {error}")))
            }
        }
    }

    fn take(&mut self, shown: &Availability<'_>) {
        for offered in &shown.openings {
            if self.openings.iter().all(|opening| opening.id != offered.id.as_str()) {
                self.openings.push(Opening {
                    id: offered.id.to_string(),
                    phase: offered.state,
                    opens_at: offered.opens_at,
                    closes_at: offered.closes_at,
                    offices: Vec::new(),
                });
            }
        }
        for slot in &shown.slots {
            let opening = self.openings.iter_mut().find(|o| o.id == slot.opening.as_str());
            let Some(opening) = opening else { continue };
            let at = opening.offices.iter().position(|o| o.id == slot.office.as_str());
            let at = at.unwrap_or_else(|| {
                opening.offices.push(Office {
                    id: slot.office.to_string(),
                    dates: BTreeSet::new(),
                    quota: 0,
                    free: 0,
                });
                opening.offices.len() - 1
            });
            let office = &mut opening.offices[at];
            office.dates.insert(slot.date);
            office.quota += i64::from(slot.quota);
            office.free += i64::from(slot.free);
        }
    }

    /// The opening of this name; else the one that is open, else the one that
    /// comes next.
    fn opening(&self, named: Option<&str>) -> Result<&Opening, LoadError> {
        let known = || {
            let ids = self.openings.iter().map(|opening| opening.id.as_str());
            listed(ids, "it knows none")
        };
        if let Some(id) = named {
            let found = self.openings.iter().find(|opening| opening.id == id);
            let found = found.ok_or_else(|| {
                LoadError::Misfit(format!(
                    "--opening {id}: the engine has no such opening; {}",
                    known()
                ))
            })?;
            return match found.phase {
                Phase::Closed => Err(LoadError::Misfit(format!("opening {id} is closed already"))),
                Phase::Scheduled | Phase::Open => Ok(found),
            };
        }
        let of = |phase| self.openings.iter().filter(move |opening| opening.phase == phase);
        let mut open = of(Phase::Open);
        match (open.next(), open.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(LoadError::Misfit(format!(
                "several openings are open: name one with --opening; {}",
                known()
            ))),
            (None, _) => {
                of(Phase::Scheduled).min_by_key(|o| o.opens_at.as_millis()).ok_or_else(|| {
                    LoadError::Misfit(format!("no opening is open or will be; {}", known()))
                })
            }
        }
    }

    /// Lays a scenario on an opening: offices by id where the scenario names them
    /// or the engine's are called as in a configuration made for it, else by
    /// rank, the largest first.
    pub(crate) fn ground(
        &self,
        scenario: &Scenario,
        opening: Option<&str>,
    ) -> Result<Target, LoadError> {
        let opening = self.opening(opening)?;
        let asked = matched(scenario, opening)?;
        let days = usize::from(scenario.offices.days);
        let mut offices = Vec::new();
        for office in &asked {
            if office.dates.len() < days {
                return Err(LoadError::Misfit(format!(
                    "scenario {} asks for {days} days, but office {} of opening {} has {}. {}",
                    scenario.name,
                    office.id,
                    opening.id,
                    office.dates.len(),
                    fitting(scenario)
                )));
            }
            let dates = office.dates.iter().copied().take(days).collect();
            offices.push(TargetOffice { id: office.id.clone(), dates });
        }
        Ok(Target {
            opening: opening.id.clone(),
            unasked: opening.offices.len() - offices.len(),
            offices,
            places: asked.iter().map(|office| office.quota).sum(),
            free: asked.iter().map(|office| office.free).sum(),
            opens: instant(opening.opens_at, self.now, self.as_of),
            open: opening.phase == Phase::Open,
            closes: instant(opening.closes_at, self.now, self.as_of),
            opened_at: if opening.opens_at > self.now { opening.opens_at } else { self.now },
            timezone: UNKNOWN_ZONE.to_owned(),
            now: self.now,
            as_of: self.as_of,
        })
    }

    /// Free places at these offices of this opening.
    pub(crate) fn free(&self, opening: &str, offices: &BTreeSet<String>) -> i64 {
        let of = self.openings.iter().filter(|o| o.id == opening).flat_map(|o| &o.offices);
        of.filter(|office| offices.contains(&office.id)).map(|office| office.free).sum()
    }
}

impl Target {
    #[cfg(test)]
    pub(crate) fn example(opening: &str, offices: Vec<TargetOffice>) -> Self {
        let as_of = Instant::now();
        Self {
            opening: opening.to_owned(),
            offices,
            unasked: 0,
            places: 0,
            free: 0,
            opens: as_of,
            open: true,
            closes: as_of,
            opened_at: Timestamp::from_millis(0),
            timezone: UNKNOWN_ZONE.to_owned(),
            now: Timestamp::from_millis(0),
            as_of,
        }
    }

    /// Asks in which time zone the opening is.
    pub(crate) async fn learn_timezone(&mut self, client: &Client, namespace: &Namespace) {
        let Some(office) = self.offices.first() else { return };
        // An engine of an earlier release does not describe its openings.
        let told = availability(client, namespace, Some(&office.id), true).await;
        let told = told.unwrap_or_default();
        if let Ok(Overview::Shown(shown)) = serde_json::from_slice(&told) {
            let described = shown.catalogue.into_iter().flatten();
            let own = described.into_iter().find(|described| described.id == self.opening);
            self.timezone = own.map_or(UNKNOWN_ZONE.to_owned(), |own| own.timezone);
        }
    }

    /// When the engine's clock says so.
    pub(crate) fn at(&self, time: Timestamp) -> Instant {
        instant(time, self.now, self.as_of)
    }
}

/// Times are the engine's: its clock may be another one, which said `now` at `as_of`.
fn instant(time: Timestamp, now: Timestamp, as_of: Instant) -> Instant {
    let (later, earlier) = (time.millis_since(now), now.millis_since(time));
    let past = as_of.checked_sub(Duration::from_millis(earlier));
    past.unwrap_or(as_of) + Duration::from_millis(later)
}

/// The offices to ask at, by the scenario's order.
fn matched<'a>(scenario: &Scenario, opening: &'a Opening) -> Result<Vec<&'a Office>, LoadError> {
    let known: BTreeMap<&str, &Office> =
        opening.offices.iter().map(|office| (office.id.as_str(), office)).collect();
    let names = scenario.offices.names();
    let found: Vec<Option<&&Office>> = names.iter().map(|name| known.get(name.as_str())).collect();
    if found.iter().all(Option::is_some) {
        return Ok(found.into_iter().flatten().copied().collect());
    }
    if !scenario.offices.ids.is_empty() {
        let missing = names.iter().zip(&found).filter(|(_, found)| found.is_none());
        return Err(LoadError::Misfit(format!(
            "scenario {} asks at offices that the engine does not know: {}; {}",
            scenario.name,
            listed(missing.map(|(name, _)| name.as_str()), ""),
            listed(known.keys().copied(), "it knows none")
        )));
    }
    if opening.offices.len() < names.len() {
        return Err(LoadError::Misfit(format!(
            "scenario {} asks at {} offices, but opening {} has {}. {}",
            scenario.name,
            names.len(),
            opening.id,
            opening.offices.len(),
            fitting(scenario)
        )));
    }
    let mut largest: Vec<&Office> = opening.offices.iter().collect();
    largest.sort_by_key(|office| -office.quota);
    largest.truncate(names.len());
    Ok(largest)
}

fn fitting(scenario: &Scenario) -> String {
    format!(
        "An engine that fits: giliran surge --scenario {} --config-out giliran.toml, then giliran \
         up --config giliran.toml",
        scenario.name
    )
}

fn listed<'a>(names: impl Iterator<Item = &'a str>, none: &str) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => none.to_owned(),
        n if n > NAMED => format!("{} and {} more", names[..NAMED].join(", "), n - NAMED),
        _ => names.join(", "),
    }
}

/// One answer to `availability`.
async fn availability(
    client: &Client,
    namespace: &Namespace,
    office: Option<&str>,
    describe: bool,
) -> Result<Vec<u8>, LoadError> {
    let subject = namespace.request("availability");
    let payload =
        serde_json::to_vec(&request::Availability { office: office.map(Into::into), describe })
            .map_err(|e| LoadError::Rejected(e.to_string()))?;
    let asked = async_nats::Request::new().payload(payload.into()).timeout(Some(PATIENCE));
    match client.send_request(subject.clone(), asked).await {
        Ok(message) => Ok(message.payload.to_vec()),
        Err(error) => Err(match error.kind() {
            RequestErrorKind::NoResponders => LoadError::NoEngine(subject),
            RequestErrorKind::TimedOut => LoadError::Silent(subject, PATIENCE.as_secs()),
            _ => LoadError::Rejected(error.to_string()),
        }),
    }
}

/// The offices in the bucket of free places, for engines that have more than one
/// message can show.
async fn offices_published(
    client: &Client,
    namespace: &Namespace,
) -> Result<BTreeSet<String>, LoadError> {
    let cannot = || {
        LoadError::Misfit(
            "the engine has more places than one message can show, and no bucket of free places \
             says which offices there are: run `giliran feed`"
                .to_owned(),
        )
    };
    let context = jetstream::new(client.clone());
    let bucket =
        context.get_key_value(namespace.availability_bucket()).await.map_err(|_| cannot())?;
    let mut keys = bucket.keys().await.map_err(|_| cannot())?;
    let mut offices = BTreeSet::new();
    while let Some(Ok(key)) = keys.next().await {
        // <opening>.<office>.<date>.<session>
        if let Some(office) = key.split('.').nth(1) {
            offices.insert(office.to_owned());
        }
    }
    if offices.is_empty() { Err(cannot()) } else { Ok(offices) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use giliran_wire::Position;
    use giliran_wire::answer::{OpeningState, SlotState};

    use super::*;
    use giliran_fairness::scenario::shipped;

    /// Openings with their phases, and the same offices with places a day in each.
    fn engine(openings: &[(&'static str, Phase)], offices: &[(String, u32)], days: u8) -> Engine {
        let now: Timestamp = "2026-11-27T07:00:00.000Z".parse().unwrap();
        let state = |(id, state): &(&'static str, Phase)| OpeningState {
            id: (*id).into(),
            state: *state,
            opens_at: now.plus_millis(30_000),
            closes_at: now.plus_millis(60_000),
        };
        let mut slots = Vec::new();
        for (opening, _) in openings {
            for (office, quota) in offices {
                for day in 1..=days {
                    slots.push(SlotState {
                        opening: (*opening).into(),
                        office: office.as_str().into(),
                        date: format!("2026-12-{day:02}").parse().unwrap(),
                        session: "all".into(),
                        quota: *quota,
                        free: *quota as i32 - 1,
                        withheld: 0,
                        reserved: 0,
                        halted: false,
                        bookable: true,
                        next_release: None,
                    });
                }
            }
        }
        let mut engine = Engine { openings: vec![], now, as_of: Instant::now(), fits: true };
        engine.take(&Availability {
            now,
            openings: openings.iter().map(state).collect(),
            slots,
            as_of: Position { epoch: 1, seq: 1 },
            catalogue: None,
        });
        engine
    }

    fn named(names: &[(&str, u32)]) -> Vec<(String, u32)> {
        names.iter().map(|(name, quota)| ((*name).to_owned(), *quota)).collect()
    }

    fn misfit(engine: &Engine, scenario: &Scenario, opening: Option<&str>) -> String {
        engine.ground(scenario, opening).unwrap_err().to_string()
    }

    #[test]
    fn offices_lie_by_rank_or_by_their_ids() {
        let mut scenario = shipped("calm").unwrap();
        let offices = named(&[("a", 10), ("b", 80), ("c", 40), ("d", 40), ("e", 5)]);
        let ground = engine(&[("w", Phase::Open)], &offices, 6).ground(&scenario, None).unwrap();
        let ids: Vec<&str> = ground.offices.iter().map(|site| site.id.as_str()).collect();
        assert_eq!(ids, ["b", "c", "d", "a"], "the largest first");
        assert_eq!((ground.unasked, ground.open), (1, true));
        assert!(ground.offices.iter().all(|site| site.dates.len() == 5), "as many as it has days");
        assert_eq!((ground.places, ground.free), (6 * 170, 6 * 166));

        let fits: Vec<(String, u32)> =
            scenario.offices.names().into_iter().rev().map(|name| (name, 10)).collect();
        let ground = engine(&[("w", Phase::Open)], &fits, 5).ground(&scenario, None).unwrap();
        assert_eq!(ground.offices[0].id, "office-001");

        scenario.offices.ids = ["e", "d", "c", "b"].map(str::to_owned).to_vec();
        let ground = engine(&[("w", Phase::Open)], &offices, 5).ground(&scenario, None).unwrap();
        assert_eq!(ground.offices[0].id, "e");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_way_out() {
        let mut scenario = shipped("calm").unwrap();
        let few = engine(&[("w", Phase::Open)], &named(&[("a", 1), ("b", 1)]), 5);
        let said = misfit(&few, &scenario, None);
        assert!(said.contains("asks at 4 offices, but opening w has 2"), "{said}");
        assert!(said.contains("--config-out"), "{said}");

        let offices = named(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
        let said = misfit(&engine(&[("w", Phase::Open)], &offices, 3), &scenario, None);
        assert!(said.contains("asks for 5 days, but office"), "{said}");

        scenario.offices.ids = ["a", "b", "c", "x"].map(str::to_owned).to_vec();
        let said = misfit(&engine(&[("w", Phase::Open)], &offices, 5), &scenario, None);
        assert!(said.contains("does not know: x; a, b, c, d"), "{said}");
    }

    #[test]
    fn the_opening_is_the_open_one_or_the_next_or_the_named_one() {
        let scenario = shipped("calm").unwrap();
        let offices = named(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
        let of = |openings: &[(&'static str, Phase)]| engine(openings, &offices, 5);
        let (open, closed, next) = (Phase::Open, Phase::Closed, Phase::Scheduled);
        let usual = of(&[("past", closed), ("now", open), ("next", next)]);
        assert_eq!(usual.ground(&scenario, None).unwrap().opening, "now");
        let ahead = usual.ground(&scenario, Some("next")).unwrap();
        let away = ahead.opens.saturating_duration_since(Instant::now());
        assert!(away > Duration::from_secs(29), "{away:?}");
        assert!(misfit(&usual, &scenario, Some("past")).contains("closed already"));
        assert!(misfit(&usual, &scenario, Some("w")).contains("no such opening; past, now, next"));
        let two = of(&[("one", open), ("other", open)]);
        assert!(misfit(&two, &scenario, None).contains("name one with --opening; one, other"));
        assert_eq!(of(&[("next", next)]).ground(&scenario, None).unwrap().opening, "next");
        assert!(misfit(&of(&[]), &scenario, None).contains("it knows none"));
    }
}

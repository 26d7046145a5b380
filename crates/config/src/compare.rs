//! The file held against what is on record.
//!
//! What is on record counts, whatever the file says. So whatever the two say
//! differently is told: where, both values, and what would change the record. That a
//! difference is an operator's doing is none: the file is compared with the opening as
//! it was put on record and as it now stands, and is like it if it is like either.

use std::collections::BTreeMap;
use std::fmt;

use giliran_allocator::{Opening, Openings};
use giliran_wire::ledger::{self, Leftovers, OpeningRecord, Rules};
use giliran_wire::{Date, Timestamp};

use crate::config::Config;
use crate::describe;

/// What to do about a field that no action changes.
const STAYS: &str =
    "It stays as it is on record; the file's value is for openings that are put on record later";

/// An opening of which something is not as the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub opening: String,
    pub what: What,
}

/// What of an opening is not as the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is in the file, and no engine puts it on record.
    LeftOut {
        /// Why, and what to do about it.
        why: String,
    },
    /// It is on record with another value.
    Differs {
        /// The field's name in the file.
        field: &'static str,
        /// Which office, session and days; empty: it has none.
        of: String,
        /// What the file says.
        file: String,
        /// What is on record.
        record: String,
        /// What would change it.
        remedy: String,
    },
}

impl Finding {
    fn left_out(opening: &str, why: String) -> Self {
        Self { opening: opening.to_owned(), what: What::LeftOut { why } }
    }

    /// The field's name; `opening`: all of it.
    pub fn field(&self) -> &'static str {
        match &self.what {
            What::LeftOut { .. } => "opening",
            What::Differs { field, .. } => field,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "opening {}", self.opening)?;
        match &self.what {
            What::LeftOut { why } => write!(f, " is left out: {why}"),
            What::Differs { field, of, file, record, remedy } => {
                let of = if of.is_empty() { String::new() } else { format!(" of {of}") };
                write!(f, ", {field}{of}: {file} in the file, {record} on record. {remedy}")
            }
        }
    }
}

/// The file beside what is on record.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Openings that are due and not on record yet, in the file's order.
    pub new: Vec<OpeningRecord>,
    /// What is not as the file says.
    pub findings: Vec<Finding>,
}

impl Config {
    /// Holds the file against the openings in memory, at engine time `now`; `known`:
    /// whether an id is, or was, on record.
    pub fn compare(
        &self,
        now: Timestamp,
        horizon_ms: u64,
        openings: &Openings,
        known: impl Fn(&str) -> bool,
    ) -> Comparison {
        let mut comparison = Comparison::default();
        let due = self.due(now, horizon_ms);
        for record in due.iter().filter(|record| openings.named(&record.id).is_none()) {
            let lies_ahead = |slot: &ledger::Slot| slot.bookable_until > now;
            if known(&record.id) {
                // Its days may be over while its window is not: nothing is lost then.
                if record.slots.iter().any(lies_ahead) {
                    let why = used_before("by one whose days are over");
                    comparison.findings.push(Finding::left_out(&record.id, why));
                }
                continue;
            }
            let new = comparison.new.iter();
            let others = openings.iter().map(|opening| opening.record()).chain(new);
            let mut why = self.objections(record);
            why.extend(others.filter_map(|other| shared(record, other)));
            if why.is_empty() {
                comparison.new.push(record.clone());
            } else {
                let why = why.join("; ");
                comparison.findings.push(Finding::left_out(&record.id, why));
            }
        }
        for (id, closed_at) in self.over(now).filter(|(id, _)| !known(id)) {
            let why = format!(
                "its window ended at {closed_at}, before it was put on record. Take it out of the \
                 file, or mend its times"
            );
            comparison.findings.push(Finding::left_out(id, why));
        }
        for opening in openings.iter() {
            let id = opening.id();
            let still_gives = opening.gives_leftovers() && opening.has_bookable(now);
            let is_due = due.iter().any(|record| record.id == id);
            if opening.window().1 > now || is_due || still_gives {
                let file = self.opening(id);
                comparison.findings.extend(self.unlike(file.as_ref(), opening));
            }
        }
        comparison
    }

    /// What of an opening is not as the file says.
    fn unlike(&self, file: Option<&OpeningRecord>, opening: &Opening) -> Vec<Finding> {
        let (id, record) = (opening.id(), opening.record());
        if file.is_some_and(|file| file.opens_at >= record.closes_at) {
            let (from, to) = (record.opens_at, record.closes_at);
            let by_what = format!("by one from {from} to {to}");
            return vec![Finding::left_out(id, used_before(&by_what))];
        }
        if self.made_up {
            return Vec::new();
        }
        let mut differences = Differences { opening, findings: Vec::new() };
        match file {
            Some(file) => differences.look(file),
            None => {
                let remedy = format!(
                    "`giliran admin closes-at --opening {id}` ends it, `giliran admin halt` \
                     closes its days"
                );
                let record = format!("from {} to {}", record.opens_at, opening.window().1);
                differences.add("opening", String::new(), "nothing".to_owned(), record, remedy);
            }
        }
        differences.findings
    }
}

fn used_before(by_what: &str) -> String {
    format!("its id was used before, {by_what}. Give it another id")
}

/// In words, a slot that two openings have; none: they have none in common.
fn shared(one: &OpeningRecord, other: &OpeningRecord) -> Option<String> {
    let theirs: BTreeMap<_, _> = named(other).map(|(name, _)| (name, ())).collect();
    let ((office, session, date), _) = named(one).find(|(name, _)| theirs.contains_key(name))?;
    Some(format!(
        "{date} at {office}, session {session}, belongs to opening {} already: its places could \
         be booked twice. Leave it out of one of them",
        other.id
    ))
}

/// Office, session and day of every slot, and its index.
fn named(record: &OpeningRecord) -> impl Iterator<Item = ((&str, &str, Date), usize)> {
    record.slots.iter().enumerate().map(|(i, slot)| {
        let office = &record.offices[slot.office as usize];
        let session = &office.sessions[slot.session as usize];
        ((office.id.as_str(), session.id.as_str(), slot.date), i)
    })
}

/// Every rule by its place in the file, in words. All are named, so that a new one is
/// compared.
fn in_words(rules: &Rules) -> [(&'static str, String); 11] {
    let Rules {
        order,
        max_party,
        max_per_account,
        hold_ms,
        cancelled,
        expired,
        across_openings,
        max_changes,
        bookable_until,
        max_bookings,
        leftovers,
    } = rules;
    let account = max_per_account.map_or("no bound".to_owned(), |most| most.to_string());
    [
        ("rules.order", describe::order(order)),
        ("rules.max_party", max_party.to_string()),
        ("rules.max_per_account", account),
        ("rules.hold", describe::hold(*hold_ms)),
        ("rules.max_changes", max_changes.to_string()),
        ("rules.max_bookings", max_bookings.to_string()),
        ("rules.across_openings", across_openings.to_string()),
        ("rules.bookable_until", describe::until(*bookable_until)),
        ("rules.leftovers", leftovers_name(*leftovers).to_owned()),
        ("rules.returns.cancelled", describe::returns(cancelled)),
        ("rules.returns.expired", describe::returns(expired)),
    ]
}

/// Collects what differs of an opening.
struct Differences<'a> {
    opening: &'a Opening,
    findings: Vec<Finding>,
}

impl Differences<'_> {
    fn look(&mut self, file: &OpeningRecord) {
        let record = self.opening.record();
        let stays = || STAYS.to_owned();
        self.field("timezone", &file.timezone, &record.timezone, stays);
        self.field("opens_at", &file.opens_at, &record.opens_at, stays);
        let closes_at = self.opening.window().1;
        if ![record.closes_at, closes_at].contains(&file.closes_at) {
            let remedy = || {
                format!(
                    "`giliran admin closes-at --opening {} … {}` changes it",
                    record.id, file.closes_at
                )
            };
            self.field("closes_at", &file.closes_at, &closes_at, remedy);
        }
        self.rules(&file.rules);
        self.offices(file);
        self.quotas(file);
    }

    fn rules(&mut self, file: &Rules) {
        let record = &self.opening.record().rules;
        for ((field, file), (_, record)) in in_words(file).iter().zip(in_words(record)) {
            self.field(field, file, &record, || STAYS.to_owned());
        }
    }

    /// Names and sessions of the offices that both have.
    fn offices(&mut self, file: &OpeningRecord) {
        for office in &self.opening.record().offices {
            let Some(other) = file.offices.iter().find(|other| other.id == office.id) else {
                continue;
            };
            let name = |office: &ledger::Office| format!("\"{}\"", office.name);
            for (field, file, record) in [
                ("office.name", name(other), name(office)),
                ("office.sessions", sessions(other), sessions(office)),
            ] {
                if file != record {
                    self.add(field, office.id.clone(), file, record, STAYS.to_owned());
                }
            }
        }
    }

    /// Quotas, those of a session that differ in the same way together.
    fn quotas(&mut self, file: &OpeningRecord) {
        let (opening, record) = (self.opening, self.opening.record());
        let of_file: BTreeMap<_, _> =
            named(file).map(|(name, i)| (name, file.slots[i].quota)).collect();
        let of_record: BTreeMap<_, _> = named(record)
            .map(|(name, i)| (name, (record.slots[i].quota, opening.slot(i as u32).quota)))
            .collect();
        let mut days: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for (name @ (office, session, date), (first, now)) in &of_record {
            let quota = of_file.get(name);
            if quota != Some(first) && quota != Some(now) {
                let differ = (*office, *session, quota.copied(), Some(*now));
                days.entry(differ).or_default().push(date.to_string());
            }
        }
        for ((office, session, date), quota) in &of_file {
            if !of_record.contains_key(&(*office, *session, *date)) {
                let differ = (*office, *session, Some(*quota), None);
                days.entry(differ).or_default().push(date.to_string());
            }
        }
        for ((office, session, file, record), days) in days {
            let remedy = match (file, record) {
                (Some(quota), Some(_)) => format!(
                    "`giliran admin quota --opening {} --office {office} --session {session} … \
                     {quota}` changes it",
                    opening.id()
                ),
                (None, _) => format!(
                    "`giliran admin halt --opening {} --office {office} --session {session} …` \
                     closes it",
                    opening.id()
                ),
                (_, None) => "An opening on record gets no more slots; an [[opening]] of another \
                              id can have them"
                    .to_owned(),
            };
            let places = |quota: Option<u16>| quota.map_or("nothing".to_owned(), |q| q.to_string());
            let of = format!("{office}/{session} on {}", days.join(", "));
            self.add("office.quota", of, places(file), places(record), remedy);
        }
    }

    fn field<T: PartialEq + fmt::Display>(
        &mut self,
        field: &'static str,
        file: &T,
        record: &T,
        remedy: impl Fn() -> String,
    ) {
        if file != record {
            self.add(field, String::new(), file.to_string(), record.to_string(), remedy());
        }
    }

    fn add(
        &mut self,
        field: &'static str,
        of: String,
        file: String,
        record: String,
        remedy: String,
    ) {
        let what = What::Differs { field, of, file, record, remedy };
        self.findings.push(Finding { opening: self.opening.id().to_owned(), what });
    }
}

/// The sessions of an office in words, in their order.
fn sessions(office: &ledger::Office) -> String {
    let session = |session: &ledger::Session| {
        let restricted = if session.restricted { " restricted" } else { "" };
        let explicit = if session.explicit { " explicit" } else { "" };
        format!("{} \"{}\"{restricted}{explicit}", session.id, session.label)
    };
    office.sessions.iter().map(session).collect::<Vec<_>>().join(", ")
}

fn leftovers_name(rule: Leftovers) -> &'static str {
    match rule {
        Leftovers::None => "none",
        Leftovers::FirstCome => "first-come",
    }
}

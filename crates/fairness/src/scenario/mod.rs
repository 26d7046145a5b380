//! Who asks for what, when, and against whom: scenarios in TOML.
//!
//! A [`Scenario`] that exists can be run: [`parse`] reports everything that is
//! wrong with a file at once, each with its line and what would be right.

mod check;
mod fields;
mod names;
mod read;
mod shipped;

use serde::Deserialize;

pub use names::{about, about_of, named};
pub use read::{parse, shipped};
pub use shipped::SHIPPED;

/// Most parties that a run holds in memory: some 100 bytes each, and where all of them
/// get places, or enter a draw, some 800 with their bookings and entries. A draw takes no
/// more entries than one of an engine, 1,048,576.
pub const MOST_PARTIES: u64 = 8_000_000;

/// Everything about an opening and those who ask at it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    pub opening: Opening,
    /// Where and how many places there are.
    pub offices: Offices,
    pub people: People,
    /// Kinds of people, by how they reach the service.
    pub cohorts: Vec<Cohort>,
    /// Those who want many places.
    #[serde(default)]
    pub attackers: Vec<Attacker>,
    /// From the end of the window on: places come back.
    pub aftermath: Aftermath,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// From the opening second to the close, s. A draw is held at the close.
    pub window_s: f64,
    /// Most people in a request, 1..=5.
    #[serde(default = "five")]
    pub max_party: u8,
    /// Most people with places per account.
    pub max_per_account: Option<u32>,
    /// How long a place is held until it must be paid, s; none: it is firm.
    pub hold_s: Option<f64>,
    /// Requests the service decides a second.
    #[serde(default = "capacity")]
    pub capacity_per_s: f64,
    /// How long a request may wait in line before it is told to come again, ms.
    #[serde(default = "backlog")]
    pub backlog_ms: f64,
    /// From a grant until it is durable, ms.
    #[serde(default = "commit")]
    pub commit_ms: f64,
}

fn five() -> u8 {
    5
}

fn capacity() -> f64 {
    200_000.0
}

fn backlog() -> f64 {
    500.0
}

fn commit() -> f64 {
    1.0
}

/// Where and how many places there are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offices {
    pub count: u16,
    /// Days that can be booked, 1..=7.
    pub days: u8,
    /// Places a day, by office; the last one holds for all further offices.
    pub quota: Vec<u16>,
    /// Exponent of the offices' popularity (Zipf); 0: all the same.
    #[serde(default)]
    pub zipf: f64,
    /// What a running engine calls them, the most popular first; none: by rank.
    #[serde(default)]
    pub ids: Vec<String>,
}

impl Offices {
    /// Places a day of an office.
    pub fn quota_of(&self, office: usize) -> u16 {
        self.quota.get(office).or(self.quota.last()).copied().unwrap_or(0)
    }

    /// What they are called: their ids, or `office-001` and so on.
    pub fn names(&self) -> Vec<String> {
        let made = |rank| format!("office-{rank:03}");
        if self.ids.is_empty() { (1..=self.count).map(made).collect() } else { self.ids.clone() }
    }

    pub fn places(&self) -> u64 {
        let a_day: u64 = (0..usize::from(self.count)).map(|o| u64::from(self.quota_of(o))).sum();
        a_day * u64::from(self.days)
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// Parties that ask; a family is one.
    pub parties: u64,
    /// Share of parties of one, two, … people.
    #[serde(default = "alone")]
    pub families: Vec<f64>,
    /// Share of parties that would take one, two, … days.
    #[serde(default = "one_day")]
    pub acceptable_days: Vec<f64>,
    /// Share of parties that would also take any day at a second office.
    #[serde(default)]
    pub second_office: f64,
    /// Time constant of the decay after the opening second, s.
    pub decay_s: f64,
    /// Before the opening: the refreshing, as a share of the peak rate.
    #[serde(default = "half")]
    pub early_rate: f64,
    /// How long before the opening it begins, s.
    #[serde(default = "thirty")]
    pub early_s: f64,
    /// Share of requests that are sent twice.
    #[serde(default)]
    pub duplicates: f64,
    /// Probability that a rejected party tries again soon.
    #[serde(default)]
    pub retries: f64,
    /// After how long, s.
    #[serde(default = "retry_after")]
    pub retry_after_s: [f64; 2],
    /// Most tries at the opening, the first included.
    #[serde(default = "tries")]
    pub most_tries: u8,
    /// How long a person waits for an answer, s.
    #[serde(default = "patience")]
    pub patience_s: f64,
    /// Share of held places that are paid.
    #[serde(default = "one")]
    pub pays: f64,
    /// Share of firm places that are given back during the aftermath.
    #[serde(default)]
    pub cancels: f64,
    /// Share of firm places whose people do not come.
    #[serde(default)]
    pub no_show: f64,
}

fn alone() -> Vec<f64> {
    vec![1.0]
}

fn one_day() -> Vec<f64> {
    vec![1.0]
}

fn half() -> f64 {
    0.5
}

fn thirty() -> f64 {
    30.0
}

fn retry_after() -> [f64; 2] {
    [1.0, 3.0]
}

fn tries() -> u8 {
    5
}

fn patience() -> f64 {
    10.0
}

fn one() -> f64 {
    1.0
}

/// People who reach the service in the same way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cohort {
    /// What it is called.
    pub name: String,
    /// Its part of the people; the parts need not add up to 1.
    pub share: f64,
    /// Round trip, ms, from and to.
    pub rtt_ms: [f64; 2],
    /// The channel it asks through.
    #[serde(default = "unknown")]
    pub channel: String,
    /// The device it asks with.
    #[serde(default = "unknown")]
    pub device: String,
    /// Share of its parties whose requests never reach the service: to see whether
    /// such a bias is found.
    #[serde(default)]
    pub lost: f64,
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// How an attacker goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Fires in the first 200 ms.
    Sprinter,
    /// Asks every 50 ms, five in parallel, from before the opening.
    Poller,
    /// Takes what it can under many identities, and holds without paying.
    Hoarder,
    /// Books, sells, cancels and books for the client in the same stroke.
    Recycler,
    /// Knows the operator's secrets before the close, and chooses its entries.
    Insider,
    /// Sends people's requests again, as they were.
    Replayer,
    /// Asks under invented ids, and names other people's bookings.
    Forger,
}

/// One who wants many places.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attacker {
    /// What it is called.
    pub name: String,
    /// How it goes about it.
    pub kind: Kind,
    /// Identities it asks under; or a budget buys them.
    pub identities: Option<u64>,
    /// Accounts it asks through.
    pub accounts: Option<u64>,
    pub connections: Option<u64>,
    /// What it can spend; it then chooses on what, by what pays.
    pub budget: Option<f64>,
    /// Price of an identity.
    #[serde(default = "one")]
    pub identity_price: f64,
    /// Price of an account.
    #[serde(default = "one")]
    pub account_price: f64,
    /// Price of a fast connection.
    #[serde(default = "ten")]
    pub connection_price: f64,
    /// Round trip of a fast connection, ms.
    #[serde(default = "fast")]
    pub rtt_ms: [f64; 2],
    /// Round trip without one, ms.
    #[serde(default = "slow")]
    pub slow_rtt_ms: [f64; 2],
    /// Share of held places that it pays for.
    #[serde(default = "one")]
    pub pays: f64,
    /// How often it looks for returned places, s; none: never.
    pub looks_every_s: Option<f64>,
    /// An insider: most of its identities that it enters; none: all.
    pub enters: Option<u64>,
    /// An insider: how many sets of entries it can try before a draw's close; none: 1.
    pub tries: Option<u64>,
    /// A replayer or forger: how many requests it sends again, or how many with other
    /// people's booking ids.
    pub requests: Option<u64>,
    /// Share of its identities that pass for people's; the others are turned away at the
    /// gateway.
    #[serde(default = "one")]
    pub valid_ids: f64,
}

fn ten() -> f64 {
    10.0
}

fn fast() -> [f64; 2] {
    [1.0, 5.0]
}

fn slow() -> [f64; 2] {
    [20.0, 80.0]
}

/// From the end of the window on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aftermath {
    /// How long places come back and people look for them, s.
    pub lasts_s: f64,
    /// Share of the rejected who look again (or, where returned places are
    /// collected, wait for the draw).
    #[serde(default)]
    pub looks: f64,
    /// How often they look, s, on average.
    #[serde(default = "quarter_of_an_hour")]
    pub every_s: f64,
}

fn quarter_of_an_hour() -> f64 {
    900.0
}

impl Scenario {
    /// Whether it can be run, as [`parse`] judges it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, as field and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let problems = check::problems(self);
        let problems: Vec<String> =
            problems.iter().map(|(field, message)| format!("{field}: {message}")).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// The same with people, places and attackers' means multiplied by `factor`,
    /// for a quick look that keeps what is scarce as scarce. At least one of each.
    pub fn scaled(&self, factor: f64) -> Self {
        let mut small = self.clone();
        let count = |n: u64| ((n as f64 * factor).round() as u64).max(1);
        small.people.parties = count(self.people.parties);
        for quota in &mut small.offices.quota {
            *quota = count(u64::from(*quota)).min(u64::from(u16::MAX)) as u16;
        }
        for attacker in &mut small.attackers {
            attacker.identities = attacker.identities.map(count);
            attacker.accounts = attacker.accounts.map(count);
            attacker.enters = attacker.enters.map(count);
            attacker.requests = attacker.requests.map(count);
            // Each connection is as fast as before: their number is what scales.
            attacker.connections = attacker.connections.map(|n| if n == 0 { 0 } else { count(n) });
            attacker.budget = attacker.budget.map(|budget| budget * factor);
        }
        small
    }
}

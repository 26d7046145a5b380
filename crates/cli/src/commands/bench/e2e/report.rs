//! What the rows came to: a table for the terminal, one for a document, and every pass as
//! JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows::{GOALS, Goal, PEER_GOALS, PEERS, ROWS};
use crate::failure::Failure;

/// A load that uses more of a core than this may itself be what is measured.
pub(super) const BUSY_LOAD: f64 = 0.95;
/// What S8, S2a and S2b are to reach: the idle latency over round trip and append, the part
/// of the echo, and the seconds to the ledger's end.
const IDLE: f64 = 1.1;
const OPENING: f64 = 0.6;
const BEHIND_S: f64 = 1.0;
const SUSTAINED: f64 = 0.25;

/// One pass of a row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pass {
    pub(super) row: String,
    pub(super) per_s: f64,
    /// Answers that were others than the row wants.
    pub(super) others: u64,
    /// Bookings of the opening when it began.
    pub(super) book: u64,
    /// Processor time of each process, µs a request.
    pub(super) cpu_us: BTreeMap<String, f64>,
    /// Part of all cores that nobody of them used.
    pub(super) idle: f64,
    /// Part of a core that the load used.
    pub(super) load: f64,
    /// Answers a second in the worst 100 ms; none: it was over sooner, or not looked at.
    #[serde(default)]
    pub(super) worst_per_s: Option<f64>,
}

/// Everything that was measured; what was not is missing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Results {
    /// On what.
    pub(super) about: Value,
    pub(super) bytes: Sizes,
    pub(super) passes: Vec<Pass>,
    pub(super) idle_ms: Option<Idle>,
    pub(super) store_and_feed: Option<WithRoles>,
    /// Settings of the peers that were there, and why others were not.
    pub(super) peers: Option<Value>,
    /// What is no rate of a row.
    pub(super) figures: Vec<Figure>,
    /// The passes that some of them come from.
    pub(super) passes_of_figures: Vec<Pass>,
}

/// Bytes of a request, of its grant's answer and of its rejection, of an entry.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Sizes {
    pub(super) request: usize,
    pub(super) grant: usize,
    pub(super) rejection: usize,
    pub(super) entry: usize,
}

/// Medians of single requests, ms.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Idle {
    pub(super) round_trip: f64,
    pub(super) append: f64,
    pub(super) grant: f64,
    pub(super) grant_p99: f64,
    #[serde(default)]
    pub(super) append_64_kib: f64,
}

/// With store and feed on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WithRoles {
    /// Grants a second until the places of one opening are gone, and how long store and
    /// events then take to the ledger's end.
    pub(super) opening_per_s: f64,
    /// The priority of store and feed; 0: the engine's.
    #[serde(default)]
    pub(super) nice: u8,
    /// Processor time a grant, by process, until the last of them.
    #[serde(default)]
    pub(super) opening_cpu_us: BTreeMap<String, f64>,
    pub(super) behind_s: f64,
    /// Bookings a second up to the moment at which store and events stand at the end.
    pub(super) sustained_per_s: f64,
    /// Processor time a booking, by process, up to that moment.
    #[serde(default)]
    pub(super) sustained_cpu_us: BTreeMap<String, f64>,
}

impl WithRoles {
    /// The priority of store and feed, in words where it is not the engine's.
    fn priority(&self) -> String {
        if self.nice > 0 { format!(" (nice {})", self.nice) } else { String::new() }
    }
}

/// One figure, and what it is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) row: String,
    pub(super) what: String,
    pub(super) value: f64,
    pub(super) unit: String,
    #[serde(default)]
    pub(super) goal: Option<Bound>,
    /// What stands beside it.
    #[serde(default)]
    pub(super) beside: String,
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    /// `≥ 0.8, met`.
    fn verdict(self, value: f64) -> String {
        let (sign, goal, met) = match self {
            Self::AtLeast(goal) => ("≥", goal, value >= goal),
            Self::AtMost(goal) => ("≤", goal, value <= goal),
        };
        format!("{sign} {goal}, {}", if met { "met" } else { "missed" })
    }
}

/// A figure and its goal.
pub(super) struct SingleGoal {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) goal: f64,
    /// How much of the goal it reaches: 1 where it is met exactly, more where it is better.
    pub(super) part: f64,
}

impl SingleGoal {
    fn at_least(name: &'static str, value: f64, goal: f64) -> Self {
        Self { name, value, goal, part: value / goal }
    }

    fn at_most(name: &'static str, value: f64, goal: f64) -> Self {
        Self { name, value, goal, part: goal / value }
    }
}

impl Results {
    /// What was written down.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let at = |error: &dyn std::fmt::Display| {
            Failure::Usage(format!(
                "{}: {error}; expected what `giliran bench --json FILE` writes",
                file.display()
            ))
        };
        let text = std::fs::read_to_string(file).map_err(|error| at(&error))?;
        serde_json::from_str(&text).map_err(|error| at(&error))
    }

    /// Writes every pass down.
    pub(super) fn save(&self, file: &Path) -> Result<(), Failure> {
        Ok(std::fs::write(file, format!("{}\n", serde_json::to_string_pretty(self)?))?)
    }

    /// The median over the passes of a row; none: it was not measured.
    pub(super) fn median(&self, row: &str) -> Option<f64> {
        median(self.of(row).map(|pass| pass.per_s))
    }

    pub(super) fn of(&self, row: &str) -> impl Iterator<Item = &Pass> {
        self.passes.iter().filter(move |pass| pass.row == row)
    }

    /// Goals that are held against something that was looked for.
    pub(super) fn goals(&self) -> impl Iterator<Item = &'static Goal> {
        GOALS.iter().chain(PEER_GOALS.iter().filter(|_| self.peers.is_some()))
    }

    pub(super) fn ratio(&self, goal: &Goal) -> Option<f64> {
        Some(self.median(goal.row)? / self.median(goal.over)?)
    }

    /// Goals that are no ratio of two rows.
    pub(super) fn single_goals(&self) -> Vec<SingleGoal> {
        let mut goals = Vec::new();
        if let Some(idle) = self.idle_ms {
            let value = idle.grant / (idle.round_trip + idle.append);
            goals.push(SingleGoal::at_most("S8 over trip and append", value, IDLE));
        }
        if let (Some(roles), Some(echo)) = (&self.store_and_feed, self.median("echo U")) {
            let (opening, sustained) = (roles.opening_per_s / echo, roles.sustained_per_s / echo);
            goals.push(SingleGoal::at_least("S2a over echo U", opening, OPENING));
            goals.push(SingleGoal::at_least("S2b over echo U", sustained, SUSTAINED));
        }
        goals
    }

    /// The table, as it is printed.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        if !self.passes.is_empty() {
            let Sizes { request, grant, rejection, entry } = self.bytes;
            let _ = writeln!(
                out,
                "Request {request} bytes, grant {grant}, rejection {rejection}, ledger entry \
                 {entry}; the broker syncs before it acknowledges. Medians; CPU in µs a request."
            );
            for row in ROWS.iter().chain(PEERS.iter().filter(|_| self.peers.is_some())) {
                self.row(&mut out, row.name, row.what);
            }
            let _ = writeln!(out);
            for goal in self.goals() {
                self.goal(&mut out, goal);
            }
            self.single(&mut out);
        }
        self.with_roles(&mut out);
        self.peers(&mut out);
        for Figure { row, what, value, unit, goal, beside } in &self.figures {
            let verdict = goal.map(|goal| format!("  {}", goal.verdict(*value)));
            let verdict = verdict.unwrap_or_default();
            let _ = writeln!(out, "{row:<14}{what:<40}{value:>10.2} {unit}{verdict}  {beside}");
        }
        out
    }

    fn row(&self, out: &mut String, name: &str, what: &str) {
        let Some(rate) = self.median(name) else {
            let _ = writeln!(out, "{name:<20}{what:<28}{:>10}", "left out");
            return;
        };
        let (least, most) = self.spread(name);
        let idle = median(self.of(name).map(|pass| pass.idle)).unwrap_or_default();
        let load = median(self.of(name).map(|pass| pass.load)).unwrap_or_default();
        let _ = write!(
            out,
            "{name:<20}{what:<28}{:>7.0} k/s  {least:>4.0}-{most:<4.0} {}, idle {:.0} %",
            rate / 1e3,
            self.cpu(name),
            idle * 100.0
        );
        let others: u64 = self.of(name).map(|pass| pass.others).sum();
        if others > 0 {
            let _ = write!(out, "; {others} other answers");
        }
        if load > BUSY_LOAD {
            let _ = write!(out, "; VOID: the load used {load:.2} of a core");
        }
        out.push('\n');
    }

    /// Thousands a second, at least and at most.
    pub(super) fn spread(&self, name: &str) -> (f64, f64) {
        let of = |pick: fn(f64, f64) -> f64, from| {
            self.of(name).map(|pass| pass.per_s).fold(from, pick) / 1e3
        };
        (of(f64::min, f64::MAX), of(f64::max, 0.0))
    }

    /// Medians by process.
    fn cpu(&self, name: &str) -> String {
        let mut by = BTreeMap::<&str, Vec<f64>>::new();
        for (who, us) in self.of(name).flat_map(|pass| &pass.cpu_us) {
            by.entry(who).or_default().push(*us);
        }
        let cpu = by
            .into_iter()
            .map(|(who, us)| format!("{who} {:.2}", median(us.into_iter()).unwrap_or_default()));
        cpu.collect::<Vec<_>>().join(" ")
    }

    fn goal(&self, out: &mut String, goal: &Goal) {
        let Goal { row, over, at_least } = goal;
        let Some(ratio) = self.ratio(goal) else {
            let _ = writeln!(out, "{row:<14}{:>26}  {over}", "left out: no");
            return;
        };
        let verdict = if ratio >= *at_least { "met" } else { "missed" };
        let _ = writeln!(out, "{row:<14}{ratio:>6.2} × {over:<22} goal {at_least:<5} {verdict}");
    }

    fn single(&self, out: &mut String) {
        let Some(idle) = self.idle_ms else { return };
        let Idle { round_trip, append, grant, grant_p99, append_64_kib } = idle;
        let ratio = grant / (round_trip + append);
        let verdict = if ratio <= IDLE { "met" } else { "missed" };
        let _ = writeln!(
            out,
            "S8            {ratio:>6.2} × (round trip {round_trip:.3} ms + append {append:.3} ms) \
             goal {IDLE}   {verdict}; grant p50 {grant:.3} ms, p99 {grant_p99:.3} ms\n\
             One synced append of 64 KiB: {append_64_kib:.3} ms"
        );
    }

    fn with_roles(&self, out: &mut String) {
        let (Some(roles), Some(echo)) = (&self.store_and_feed, self.median("echo U")) else {
            return;
        };
        let (behind, nice) = (roles.behind_s, roles.priority());
        let each = |cpu_us: &BTreeMap<String, f64>| {
            let each = cpu_us.iter().map(|(who, us)| format!("{who} {us:.2}"));
            each.collect::<Vec<_>>().join(" ")
        };
        let opening = roles.opening_per_s / echo;
        let verdict = if opening >= OPENING && behind <= BEHIND_S { "met" } else { "missed" };
        let _ = writeln!(
            out,
            "S2a           {opening:>6.2} × echo U, store and feed on{nice}: {:.0} k/s until the places are \
             gone, at the ledger's end {behind:.2} s later; goal {OPENING} and {BEHIND_S} s   {verdict}\n\
             µs            {}",
            roles.opening_per_s / 1e3,
            each(&roles.opening_cpu_us)
        );
        let sustained = roles.sustained_per_s / echo;
        let verdict = if sustained >= SUSTAINED { "met" } else { "missed" };
        let _ = writeln!(
            out,
            "S2b           {sustained:>6.2} × echo U, all keeping pace: {:.1} k/s; goal {SUSTAINED}   {verdict}\n\
             µs            {}",
            roles.sustained_per_s / 1e3,
            each(&roles.sustained_cpu_us)
        );
    }

    /// Their settings, and who is missing.
    fn peers(&self, out: &mut String) {
        let Some(found) = &self.peers else { return };
        let _ =
            writeln!(out, "S4            not measured: no binary   TigerBeetle's own benchmark");
        for (name, peer) in found["there"].as_object().into_iter().flatten() {
            let settings = peer["settings"].as_str().unwrap_or_default();
            let _ = writeln!(out, "{name}: {settings}");
        }
        for reason in found["left_out"].as_array().into_iter().flatten() {
            let _ = writeln!(out, "LEFT OUT: {}", reason.as_str().unwrap_or_default());
        }
    }

    /// The same, in less detail, as a table in Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut out =
            "| row | what | measured | ratio | goal |\n|---|---|---|---|---|\n".to_owned();
        for row in ROWS.iter().chain(&PEERS) {
            let Some(rate) = self.median(row.name) else { continue };
            let (least, most) = self.spread(row.name);
            let held: Vec<&Goal> = self.goals().filter(|goal| goal.row == row.name).collect();
            let ratios = held
                .iter()
                .filter_map(|goal| Some(format!("{:.2} × {}", self.ratio(goal)?, goal.over)));
            let goals = held
                .iter()
                .filter_map(|goal| Some(Bound::AtLeast(goal.at_least).verdict(self.ratio(goal)?)));
            let _ = writeln!(
                out,
                "| {} | {} | {:.1} k/s ({least:.0}–{most:.0}) | {} | {} |",
                row.name,
                row.what,
                rate / 1e3,
                ratios.collect::<Vec<_>>().join("; "),
                goals.collect::<Vec<_>>().join("; ")
            );
        }
        self.markdown_of_others(&mut out);
        out
    }

    fn markdown_of_others(&self, out: &mut String) {
        if let Some(Idle { round_trip, append, grant, grant_p99, .. }) = self.idle_ms {
            let ratio = grant / (round_trip + append);
            let _ = writeln!(
                out,
                "| S8 | idle latency of a durable grant | p50 {grant:.2} ms, p99 {grant_p99:.2} ms \
                 | {ratio:.2} × (round trip + append) | {} |",
                Bound::AtMost(IDLE).verdict(ratio)
            );
        }
        if let (Some(roles), Some(echo)) = (&self.store_and_feed, self.median("echo U")) {
            let (opening, sustained) = (roles.opening_per_s / echo, roles.sustained_per_s / echo);
            let nice = roles.priority();
            let _ = writeln!(
                out,
                "| S2a | store and feed on{nice}, one opening | {:.1} k/s, then {:.2} s to the ledger's \
                 end | {opening:.2} × echo U | {}; {} |\n\
                 | S2b | store and feed on{nice}, all keeping pace | {:.1} k/s | {sustained:.2} × echo U \
                 | {} |",
                roles.opening_per_s / 1e3,
                roles.behind_s,
                Bound::AtLeast(OPENING).verdict(opening),
                Bound::AtMost(BEHIND_S).verdict(roles.behind_s).replacen(',', " s,", 1),
                roles.sustained_per_s / 1e3,
                Bound::AtLeast(SUSTAINED).verdict(sustained)
            );
        }
        for Figure { row, what, value, unit, goal, beside } in &self.figures {
            let verdict = goal.map(|goal| goal.verdict(*value)).unwrap_or_default();
            let _ = writeln!(out, "| {row} | {what} | {value:.2} {unit} | {beside} | {verdict} |");
        }
    }
}

/// The middle one of an odd number, the higher of the two of an even one.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn results() -> Results {
        let pass = |row: &str, per_s: f64| Pass {
            row: row.to_owned(),
            per_s,
            others: 0,
            book: 1_000,
            cpu_us: BTreeMap::from([("engine".to_owned(), 2.5)]),
            idle: 0.1,
            load: 0.3,
            worst_per_s: Some(per_s / 2.0),
        };
        let figure = Figure {
            row: "S11".to_owned(),
            what: "memory a seat".to_owned(),
            value: 210.0,
            unit: "B".to_owned(),
            goal: Some(Bound::AtMost(200.0)),
            beside: "100,000 bookings".to_owned(),
        };
        Results {
            passes: [("echo U", 100e3), ("S2", 70e3), ("S2", 90e3), ("S2", 85e3)]
                .map(|(row, per_s)| pass(row, per_s))
                .to_vec(),
            figures: vec![figure],
            ..Results::default()
        }
    }

    #[test]
    fn what_was_written_down_gives_the_same_table() {
        let folder = std::env::temp_dir().join(format!("giliran-{:08x}", rand::random::<u32>()));
        let results = results();
        results.save(&folder).unwrap();
        let read = Results::read(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(read.table(), results.table());
        assert_eq!(read.markdown(), results.markdown());
    }

    #[test]
    fn a_document_gets_medians_ratios_and_verdicts() {
        let markdown = results().markdown();
        let rows = [
            "| S2 | durable grants, 500 slots | 85.0 k/s (70–90) | 0.85 × echo U | ≥ 0.8, met |",
            "| S11 | memory a seat | 210.00 B | 100,000 bookings | ≤ 200, missed |",
        ];
        for row in rows {
            assert!(markdown.lines().any(|line| line == row), "{row} is not in\n{markdown}");
        }
    }
}

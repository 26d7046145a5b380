//! What the rows came to: a table, and every pass as JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::rows::{GOALS, Goal, ROWS};
use crate::failure::Failure;

/// A load that uses more of a core than this may itself be what is measured.
const BUSY_LOAD: f64 = 0.95;

/// One pass of a row.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    pub(super) row: &'static str,
    pub(super) per_s: f64,
    /// Answers that were others than the row wants.
    pub(super) others: u64,
    /// Bookings of the opening when it began.
    pub(super) book: u64,
    /// Processor time of each process, µs a request.
    pub(super) cpu_us: Vec<(&'static str, f64)>,
    /// Part of all cores that nobody of them used.
    pub(super) idle: f64,
    /// Part of a core that the load used.
    pub(super) load: f64,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) passes: Vec<Pass>,
    /// Bytes of a request, of its grant's answer and of its rejection, of an entry.
    pub(super) sizes: [usize; 4],
    /// Medians of single requests, ms: round trip, append, grant; and the grant's p99.
    pub(super) idle_ms: [f64; 4],
    pub(super) surge: Option<WithRoles>,
}

/// With store and feed on.
#[derive(Debug)]
pub(super) struct WithRoles {
    /// Grants a second until the places of one opening are gone, and how long store and
    /// events then take to the ledger's end.
    pub(super) opening_per_s: f64,
    pub(super) behind: Duration,
    /// Bookings a second up to the moment at which store and events stand at the end.
    pub(super) sustained_per_s: f64,
}

impl Results {
    /// The median over the passes of a row; none: it was not measured.
    pub(super) fn median(&self, row: &str) -> Option<f64> {
        median(self.of(row).map(|pass| pass.per_s))
    }

    fn of(&self, row: &str) -> impl Iterator<Item = &Pass> {
        self.passes.iter().filter(move |pass| pass.row == row)
    }

    /// The table, as it is printed.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        let [request, granted, sold_out, entry] = self.sizes;
        let _ = writeln!(
            out,
            "Request {request} bytes, grant {granted}, rejection {sold_out}, ledger entry {entry}; \
             the broker syncs before it acknowledges. Medians; CPU in µs a request."
        );
        for row in ROWS {
            self.row(&mut out, row.name, row.what);
        }
        let _ = writeln!(out);
        for goal in GOALS {
            self.goal(&mut out, goal);
        }
        self.single(&mut out);
        self.with_roles(&mut out);
        out
    }

    fn row(&self, out: &mut String, name: &str, what: &str) {
        let Some(rate) = self.median(name) else {
            let _ = writeln!(out, "{name:<20}{what:<28}{:>10}", "left out");
            return;
        };
        let spread = |pick: fn(f64, f64) -> f64, from| {
            self.of(name).map(|pass| pass.per_s).fold(from, pick) / 1e3
        };
        let (least, most) = (spread(f64::min, f64::MAX), spread(f64::max, 0.0));
        let names = self.of(name).next().map(|pass| pass.cpu_us.iter().map(|(who, _)| *who));
        let cpu = names.into_iter().flatten().enumerate().map(|(i, who)| {
            let us = median(self.of(name).filter_map(|pass| Some(pass.cpu_us.get(i)?.1)));
            format!("{who} {:.2}", us.unwrap_or_default())
        });
        let cpu: Vec<String> = cpu.collect();
        let idle = median(self.of(name).map(|pass| pass.idle)).unwrap_or_default();
        let load = median(self.of(name).map(|pass| pass.load)).unwrap_or_default();
        let _ = write!(
            out,
            "{name:<20}{what:<28}{:>7.0} k/s  {least:>4.0}-{most:<4.0} {}, idle {:.0} %",
            rate / 1e3,
            cpu.join(" "),
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

    fn goal(&self, out: &mut String, goal: Goal) {
        let Goal { row, over, at_least } = goal;
        let ratio = self.median(row).zip(self.median(over)).map(|(rate, over)| rate / over);
        let Some(ratio) = ratio else {
            let _ = writeln!(out, "{row:<14}{:>26}  {over}", "left out: no");
            return;
        };
        let verdict = if ratio >= at_least { "met" } else { "missed" };
        let _ = writeln!(out, "{row:<14}{ratio:>6.2} × {over:<22} goal {at_least:<5} {verdict}");
    }

    fn single(&self, out: &mut String) {
        let [trip, append, grant, p99] = self.idle_ms;
        let ratio = grant / (trip + append);
        let verdict = if ratio <= 1.1 { "met" } else { "missed" };
        let _ = writeln!(
            out,
            "S8            {ratio:>6.2} × (round trip {trip:.3} ms + append {append:.3} ms) goal 1.1   \
             {verdict}; grant p50 {grant:.3} ms, p99 {p99:.3} ms"
        );
    }

    fn with_roles(&self, out: &mut String) {
        let (Some(roles), Some(echo)) = (&self.surge, self.median("echo U")) else { return };
        let behind = roles.behind.as_secs_f64();
        let opening = roles.opening_per_s / echo;
        let verdict = if opening >= 0.6 && behind <= 1.0 { "met" } else { "missed" };
        let _ = writeln!(
            out,
            "S2a           {opening:>6.2} × echo U, store and feed on: {:.0} k/s until the places are \
             gone, at the ledger's end {behind:.2} s later; goal 0.6 and 1 s   {verdict}",
            roles.opening_per_s / 1e3
        );
        let sustained = roles.sustained_per_s / echo;
        let verdict = if sustained >= 0.25 { "met" } else { "missed" };
        let _ = writeln!(
            out,
            "S2b           {sustained:>6.2} × echo U, all keeping pace: {:.1} k/s; goal 0.25   {verdict}",
            roles.sustained_per_s / 1e3
        );
    }

    /// Writes every pass down.
    pub(super) fn save(&self, file: &Path, about: &Value) -> Result<(), Failure> {
        let pass = |pass: &Pass| {
            let cpu: serde_json::Map<String, Value> =
                pass.cpu_us.iter().map(|(who, us)| ((*who).to_owned(), json!(us))).collect();
            json!({
                "row": pass.row, "per_s": pass.per_s, "others": pass.others,
                "book": pass.book, "cpu_us": cpu, "idle": pass.idle, "load": pass.load,
            })
        };
        let [request, granted, sold_out, entry] = self.sizes;
        let [trip, append, grant, p99] = self.idle_ms;
        let roles = self.surge.as_ref().map(|roles| {
            json!({
                "opening_per_s": roles.opening_per_s,
                "behind_s": roles.behind.as_secs_f64(),
                "sustained_per_s": roles.sustained_per_s,
            })
        });
        let text = json!({
            "about": about,
            "bytes": { "request": request, "grant": granted, "rejection": sold_out, "entry": entry },
            "rounds": self.passes.iter().map(pass).collect::<Vec<_>>(),
            "idle_ms": { "round_trip": trip, "append": append, "grant": grant, "grant_p99": p99 },
            "store_and_feed": roles,
        });
        Ok(std::fs::write(file, format!("{text:#}\n"))?)
    }
}

/// The middle one of an odd number, the higher of the two of an even one.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

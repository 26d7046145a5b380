//! Verdicts in plain sentences.

use giliran_wire::ledger::{Order, ReturnRule};

use giliran_report::digits;

use crate::measures::Estimate;
use crate::scenario::Kind;
use crate::{Arm, ArmResult, Comparison, Group, LEVEL, Measure};

/// The order of an arm: `draw+beacon` where a public value goes into the seed.
pub fn ordered(arm: &Arm) -> String {
    let beacon = if arm.beacon { "+beacon" } else { "" };
    format!("{}{beacon}", arm.order.name())
}

/// An order and its returns rule.
pub fn arm_name(arm: &Arm) -> String {
    format!("{}, {}", ordered(arm), arm.returns.name())
}

/// The columns of the first returns rule, one for each order: what holds at the
/// opening hardly depends on what comes after.
pub(super) fn by_order(comparison: &Comparison) -> Vec<&ArmResult> {
    let mut found: Vec<&ArmResult> = Vec::new();
    for column in &comparison.columns {
        if found.iter().all(|other| !other.arm.same_order(&column.arm)) {
            found.push(column);
        }
    }
    found
}

/// `12.3 % (12.1 to 12.5 %)`.
fn with_interval(measure: Measure, e: Estimate) -> String {
    match e.half {
        Some(half) if half > 0.0 => {
            let low = measure.shown(e.low());
            let low = low.trim_end_matches(" %");
            format!("{} ({low} to {})", measure.shown(e.mean), measure.shown(e.high()))
        }
        _ => measure.shown(e.mean),
    }
}

/// What the comparison says, sentence by sentence.
pub fn verdict(comparison: &Comparison) -> Vec<String> {
    let mut said = Vec::new();
    promises(comparison, &mut said);
    forgeries(comparison, &mut said);
    scalpers(comparison, &mut said);
    secrets(comparison, &mut said);
    speed(comparison, &mut said);
    cohorts(comparison, &mut said);
    families(comparison, &mut said);
    recycling(comparison, &mut said);
    price(comparison, &mut said);
    if comparison.seeds.len() == 1 {
        said.push(
            "One seed only: nothing can be said of how far chance moves these figures.".into(),
        );
    }
    said
}

fn worst(comparison: &Comparison, measure: Measure) -> f64 {
    let of = |column: &ArmResult| {
        column.runs.iter().filter_map(|run| run.values[measure.index()]).sum::<f64>()
    };
    comparison.columns.iter().map(of).sum()
}

fn promises(comparison: &Comparison, said: &mut Vec<String>) {
    let runs = comparison.columns.len() * comparison.seeds.len();
    let oversold = worst(comparison, Measure::Oversell);
    let rejected = worst(comparison, Measure::Undersell);
    said.push(match (oversold > 0.0, rejected > 0.0) {
        (false, false) => format!(
            "No place was oversold and nobody was rejected beside a free place, in any of {runs} runs."
        ),
        _ => format!(
            "Wrong: {oversold:.0} places oversold, {rejected:.0} rejected beside a free place, in {runs} runs."
        ),
    });
}

/// What replayers and forgers came to: nothing, or it is wrong.
fn forgeries(comparison: &Comparison, said: &mut Vec<String>) {
    let runs = || comparison.columns.iter().flat_map(|column| &column.runs);
    let [replays, forged] = [0, 1].map(|i| runs().map(|run| run.tried[i]).sum::<u64>());
    let again = worst(comparison, Measure::Replayed);
    let changed = worst(comparison, Measure::Forged);
    let wrong = |places: f64| if places > 0.0 { "Wrong: of" } else { "Of" };
    if replays > 0 {
        said.push(format!(
            "{} {replays} requests that were sent once more by others, {again:.0} places were given \
             a second time.",
            wrong(again)
        ));
    }
    if forged > 0 {
        said.push(format!(
            "{} {forged} attempts to give back or move other people's bookings, {changed:.0} places \
             changed.",
            wrong(changed)
        ));
    }
}

/// The part that scalpers' identities are of all people who ask, as places are for
/// people and not for parties.
pub(super) fn part_of_askers(column: &ArmResult, comparison: &Comparison) -> Option<f64> {
    let run = column.runs.first()?;
    let of = |kind: &'static str| {
        let of = comparison.groups.iter().zip(&run.groups);
        of.filter(move |(group, _)| group.kind == kind)
    };
    let scalpers: u64 = of("scalper").map(|(_, fared)| fared.applied).sum();
    let size = |name: &str| name.parse::<u64>().unwrap_or(0);
    let people: u64 = of("party of").map(|(group, f)| size(&group.name) * f.applied).sum();
    (scalpers > 0).then(|| scalpers as f64 / (people + scalpers) as f64)
}

fn scalpers(comparison: &Comparison, said: &mut Vec<String>) {
    if comparison.scenario.attackers.is_empty() {
        return;
    }
    let mut least: Option<(Estimate, String)> = None;
    for column in by_order(comparison) {
        let Some(e) = column.of(Measure::ScalperShare) else { continue };
        let name = ordered(&column.arm);
        let part = part_of_askers(column, comparison);
        let against = part.map_or(String::new(), |part| {
            format!("; they are {} of all people asked for", Measure::ScalperShare.shown(part))
        });
        said.push(format!(
            "Under {name}, scalpers hold {} of the places when the window closes{against}.",
            with_interval(Measure::ScalperShare, e)
        ));
        if least.as_ref().is_none_or(|(best, _)| e.mean < best.mean) {
            least = Some((e, name));
        }
    }
    short_rounds(comparison, said);
    let Some((best, name)) = least else { return };
    let others = by_order(comparison);
    let others = others.iter().filter(|column| ordered(&column.arm) != name);
    let mut others = others.filter_map(|column| column.of(Measure::ScalperShare)).peekable();
    if others.peek().is_some() && best.half.is_some() && others.all(|e| e.low() > best.high()) {
        said.push(format!("Least is left to scalpers by {name}, beyond chance."));
    }
}

/// Rounds in which scalpers gain by their lead what they gain by it at first-come.
fn short_rounds(comparison: &Comparison, said: &mut Vec<String>) {
    if insider(comparison).is_some() {
        return;
    }
    let share = |column: &ArmResult| column.of(Measure::ScalperShare).map(|e| e.mean);
    let columns = by_order(comparison);
    let first = columns.iter().find(|column| column.arm.order == Order::FirstCome);
    let Some(first) = first.and_then(|column| share(column)) else { return };
    for column in columns {
        let Order::Rounds { length_ms } = column.arm.order else { continue };
        let (Some(got), Some(part)) = (share(column), part_of_askers(column, comparison)) else {
            continue;
        };
        // In a single round, all who ask draw lots.
        let several = (length_ms as f64) < comparison.scenario.opening.window_s * 1e3;
        // By lot they would get their part; a lead is worth what is beyond.
        if several && got > 0.95 * first && got > 1.05 * part {
            said.push(format!(
                "Rounds of {length_ms} ms leave scalpers what first-come leaves them, and that is \
                 more than their part of all who ask: rounds as short as these do not make up for \
                 their lead."
            ));
        }
    }
}

fn insider(comparison: &Comparison) -> Option<usize> {
    comparison.scenario.attackers.iter().position(|attacker| attacker.kind == Kind::Insider)
}

/// What secrets buy: an insider against the average of all who ask.
fn secrets(comparison: &Comparison, said: &mut Vec<String>) {
    let Some(insider) = insider(comparison) else { return };
    let name = &comparison.scenario.attackers[insider].name;
    let is = |group: &Group| group.kind == "scalper" && group.name == *name;
    let Some(group) = comparison.groups.iter().position(is) else { return };
    for column in by_order(comparison) {
        let Some(e) = column.groups[group].ratio.filter(|e| e.half.is_some()) else { continue };
        let order = ordered(&column.arm);
        let chance = format!("{} ({} to {})", digits(e.mean), digits(e.low()), digits(e.high()));
        said.push(if e.low() > 1.0 && column.arm.order != Order::FirstCome {
            format!(
                "Under {order}, {name} has {chance} times the average chance: who knows the \
                 operator's secrets must be trusted."
            )
        } else {
            format!("Under {order}, {name} has {chance} times the average chance.")
        });
    }
}

fn speed(comparison: &Comparison, said: &mut Vec<String>) {
    let mut unseen = Vec::new();
    for column in by_order(comparison) {
        let Some(e) = column.of(Measure::LatencyPremium).filter(|e| e.half.is_some()) else {
            continue;
        };
        let name = ordered(&column.arm);
        if e.low() > 0.0 {
            said.push(format!(
                "Under {name}, a fast connection pays among people: the fastest tenth is ahead of \
                 the slowest by {} times the average chance.",
                with_interval(Measure::LatencyPremium, e)
            ));
        } else {
            unseen.push(name);
        }
    }
    if !unseen.is_empty() {
        said.push(format!(
            "No premium of a fast connection can be seen among people under {}.",
            unseen.join(", ")
        ));
    }
}

fn cohorts(comparison: &Comparison, said: &mut Vec<String>) {
    let mut flags = Vec::new();
    let mut tested = 0;
    for (i, group) in comparison.groups.iter().enumerate() {
        let fared = |column: &ArmResult| column.groups[i];
        tested += comparison
            .columns
            .iter()
            .filter(|column| group.tested && fared(column).z.is_some())
            .count();
        let under = comparison.columns.iter().filter(|column| fared(column).flagged);
        let under: Vec<String> = under
            .filter_map(|column| {
                let ratio = fared(column).ratio?.mean;
                Some(format!("{} under {}", digits(ratio), arm_name(&column.arm)))
            })
            .collect();
        if !under.is_empty() {
            flags.push(format!("{} {}: {}", group.kind, group.name, under.join(", ")));
        }
    }
    let level = LEVEL * 100.0;
    if !flags.is_empty() {
        said.push(format!(
            "Flagged, at {level} % for all {tested} tests together; times the average chance. {}.",
            flags.join("; ")
        ));
    } else if tested > 0 {
        said.push(format!(
            "No cohort, channel or device is favoured by any order, at {level} % for all {tested} \
             tests together."
        ));
    }
}

fn families(comparison: &Comparison, said: &mut Vec<String>) {
    for column in by_order(comparison) {
        let Some(e) = column.of(Measure::Families) else { continue };
        if e.half.is_some() && (e.high() < 1.0 || e.low() > 1.0) {
            said.push(format!(
                "Under {}, families have {} times the chance of single people ({} to {}).",
                ordered(&column.arm),
                digits(e.mean),
                digits(e.low()),
                digits(e.high())
            ));
        }
    }
}

fn recycling(comparison: &Comparison, said: &mut Vec<String>) {
    let mut rules: Vec<&ReturnRule> = Vec::new();
    for column in &comparison.columns {
        if !rules.contains(&&column.arm.returns) {
            rules.push(&column.arm.returns);
        }
    }
    for rule in rules {
        let of = comparison.columns.iter().filter(|column| column.arm.returns == *rule);
        let got = of.filter_map(|column| {
            let got = column.of(Measure::RecycleCapture)?;
            let fair = column.of(Measure::RecycleFair)?;
            Some(format!(
                "{} under {} (by lot about {})",
                Measure::RecycleCapture.shown(got.mean),
                ordered(&column.arm),
                Measure::RecycleFair.shown(fair.mean)
            ))
        });
        let got: Vec<String> = got.collect();
        if got.is_empty() {
            continue;
        }
        let rule = match rule {
            ReturnRule::Immediate => "at once",
            ReturnRule::Delayed { .. } => "after a random delay",
            ReturnRule::At { .. } => "by draw at a fixed time",
        };
        said.push(format!(
            "Of what they cancel for a client, scalpers get back, with places returned {rule}: {}.",
            got.join(", ")
        ));
    }
}

fn price(comparison: &Comparison, said: &mut Vec<String>) {
    let waits = by_order(comparison);
    let waits = waits.iter().filter_map(|column| {
        let wait = column.of(Measure::WaitS)?.mean;
        Some(format!("{} {}", ordered(&column.arm), duration(wait)))
    });
    let waits: Vec<String> = waits.collect();
    if !waits.is_empty() {
        said.push(format!(
            "The price: winners wait for their result, on average: {}.",
            waits.join(", ")
        ));
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s => format!("{:.1} min", s / 60.0),
    }
}

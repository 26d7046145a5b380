//! Verdicts in plain sentences.

use giliran_report::{Language, Unit, say};
use giliran_wire::ledger::{Order, ReturnRule};

use super::labels::{arm_name, group_name, with};
use crate::measures::Estimate;
use crate::scenario::{Kind, named};
use crate::{ArmResult, Comparison, Group, LEVEL, Measure};

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

/// `12.3 % (12.1 to 12.5 %)`; what cannot be is no part of an interval.
fn with_interval(measure: Measure, e: Estimate, language: Language) -> String {
    let shown = |value: f64| {
        let value = if measure.is_share() { value.clamp(0.0, 1.0) } else { value };
        measure.shown(value, language)
    };
    match e.half {
        Some(half) if half > 0.0 => {
            let low = shown(e.low());
            let low = low.trim_end_matches(" %");
            let (mean, high) = (shown(e.mean), shown(e.high()));
            say!(language, "{mean} ({low} to {high})" | "{mean} ({low} sampai {high})")
        }
        _ => shown(e.mean),
    }
}

/// What is said, sentence by sentence, in one language.
struct Said<'a> {
    comparison: &'a Comparison,
    language: Language,
    said: Vec<String>,
}

/// What the comparison says, sentence by sentence.
pub fn verdict(comparison: &Comparison, language: Language) -> Vec<String> {
    let mut said = Said { comparison, language, said: Vec::new() };
    said.promises();
    said.forgeries();
    said.scalpers();
    said.secrets();
    said.speed();
    said.cohorts();
    said.families();
    said.recycling();
    said.price();
    if comparison.seeds.len() == 1 {
        said.say(say!(
            language,
            "One seed only: nothing can be said of how far chance moves these figures."
                | "Hanya satu benih acak: seberapa jauh kebetulan menggeser angka-angka ini tidak \
                   dapat dikatakan."
        ));
    }
    said.said
}

/// The sum over all runs.
pub(super) fn worst(comparison: &Comparison, measure: Measure) -> f64 {
    let of = |column: &ArmResult| {
        column.runs.iter().filter_map(|run| run.values[measure.index()]).sum::<f64>()
    };
    comparison.columns.iter().map(of).sum()
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

/// The insider's place among the attackers; none: there is none.
fn insider(comparison: &Comparison) -> Option<usize> {
    comparison.scenario.attackers.iter().position(|attacker| attacker.kind == Kind::Insider)
}

/// The insider's name and its place among the groups; none: there is none.
pub(super) fn insider_group(comparison: &Comparison) -> Option<(&str, usize)> {
    let name = comparison.scenario.attackers[insider(comparison)?].name.as_str();
    let is = |group: &Group| group.kind == "scalper" && group.name == name;
    Some((name, comparison.groups.iter().position(is)?))
}

impl Said<'_> {
    fn say(&mut self, sentence: String) {
        self.said.push(sentence);
    }

    fn promises(&mut self) {
        let (comparison, language) = (self.comparison, self.language);
        let runs = language.count(comparison.columns.len() * comparison.seeds.len());
        let oversold = worst(comparison, Measure::Oversell);
        let rejected = worst(comparison, Measure::Undersell);
        let is_kept = oversold + rejected <= 0.0;
        let [oversold, rejected] = [oversold, rejected].map(|n| language.fixed(n, 0));
        self.say(if is_kept {
            say!(
                language,
                "No place was oversold and nobody was rejected beside a free place, in any of {runs} \
                 runs."
                    | "Tidak ada tempat yang diberikan melebihi kuota dan tidak ada yang ditolak \
                       padahal ada tempat, dalam semua {runs} percobaan."
            )
        } else {
            say!(
                language,
                "Wrong: {oversold} places oversold, {rejected} rejected beside a free place, in \
                 {runs} runs."
                    | "Salah: {oversold} tempat diberikan melebihi kuota, {rejected} ditolak padahal \
                       ada tempat, dalam {runs} percobaan."
            )
        });
    }

    /// What replayers and forgers came to: nothing, or it is wrong.
    fn forgeries(&mut self) {
        let (comparison, language) = (self.comparison, self.language);
        let runs = || comparison.columns.iter().flat_map(|column| &column.runs);
        let [replays, forged] = [0, 1].map(|i| runs().map(|run| run.tried[i]).sum::<u64>());
        let again = worst(comparison, Measure::Replayed);
        let changed = worst(comparison, Measure::Forged);
        let wrong = |places: f64| match places > 0.0 {
            true => say!(language, "Wrong: of" | "Salah: dari"),
            false => say!(language, "Of" | "Dari"),
        };
        if replays > 0 {
            let (of, replays) = (wrong(again), language.count(replays));
            let again = language.fixed(again, 0);
            self.say(say!(
                language,
                "{of} {replays} requests that were sent once more by others, {again} places were \
                 given a second time."
                    | "{of} {replays} permintaan yang dikirim ulang oleh orang lain, {again} tempat \
                       diberikan untuk kedua kalinya."
            ));
        }
        if forged > 0 {
            let (of, forged) = (wrong(changed), language.count(forged));
            let changed = language.fixed(changed, 0);
            self.say(say!(
                language,
                "{of} {forged} attempts to give back or move other people's bookings, {changed} \
                 places changed."
                    | "{of} {forged} upaya mengembalikan atau memindahkan pemesanan orang lain, \
                       {changed} tempat berubah."
            ));
        }
    }

    fn scalpers(&mut self) {
        let (comparison, language) = (self.comparison, self.language);
        if comparison.scenario.attackers.is_empty() {
            return;
        }
        let mut least: Option<(Estimate, &ArmResult)> = None;
        for column in by_order(comparison) {
            let Some(e) = column.of(Measure::ScalperShare) else { continue };
            let with = with(&column.arm, language);
            let held = with_interval(Measure::ScalperShare, e, language);
            let against = part_of_askers(column, comparison).map_or(String::new(), |part| {
                let part = language.percent(part);
                say!(
                    language,
                    "; they are {part} of all people asked for"
                        | "; mereka {part} dari semua orang yang dimintakan tempat"
                )
            });
            self.say(say!(
                language,
                "With {with}, scalpers hold {held} of the places when the window closes{against}."
                    | "Dengan {with}, calo memegang {held} dari semua tempat saat pembukaan \
                       berakhir{against}."
            ));
            if least.is_none_or(|(best, _)| e.mean < best.mean) {
                least = Some((e, column));
            }
        }
        self.short_rounds();
        let Some((best, least)) = least else { return };
        let others = by_order(comparison);
        let others = others.iter().filter(|column| !column.arm.same_order(&least.arm));
        let mut others = others.filter_map(|column| column.of(Measure::ScalperShare)).peekable();
        if others.peek().is_some() && best.half.is_some() && others.all(|e| e.low() > best.high()) {
            let with = with(&least.arm, language);
            self.say(say!(
                language,
                "Least is left to scalpers with {with}, beyond chance."
                    | "Yang paling sedikit tersisa bagi calo adalah dengan {with}, di luar kebetulan."
            ));
        }
    }

    /// Rounds in which scalpers gain by their lead what they gain by it at first-come.
    fn short_rounds(&mut self) {
        let (comparison, language) = (self.comparison, self.language);
        if insider(comparison).is_some() {
            return;
        }
        let share = |column: &ArmResult| column.of(Measure::ScalperShare).map(|e| e.mean);
        let columns = by_order(comparison);
        let first = columns.iter().find(|column| column.arm.order == Order::FirstCome);
        let Some(first) = first.and_then(|column| share(column)) else { return };
        for column in columns {
            let Order::Rounds { length_ms } = column.arm.order else { continue };
            let (Some(got), Some(part)) = (share(column), part_of_askers(column, comparison))
            else {
                continue;
            };
            // In a single round, all who ask draw lots.
            let several = (length_ms as f64) < comparison.scenario.opening.window_s * 1e3;
            // By lot they would get their part; a lead is worth what is beyond.
            if several && got > 0.95 * first && got > 1.05 * part {
                let length = language.written(&(length_ms as f64 / 1e3).to_string());
                self.say(say!(
                    language,
                    "Rounds of {length} s leave scalpers what serving the first to come leaves them, \
                     and that is more than their part of all who ask: rounds as short as these do \
                     not make up for their lead."
                        | "Putaran {length} detik menyisakan bagi calo sebanyak melayani yang datang \
                           pertama, dan itu lebih dari bagian mereka di antara semua peminta: putaran \
                           sependek ini tidak menghapus keunggulan mereka."
                ));
            }
        }
    }

    /// What secrets buy: an insider against the average of all who ask.
    fn secrets(&mut self) {
        let (comparison, language) = (self.comparison, self.language);
        let Some((name, group)) = insider_group(comparison) else { return };
        let name = named(name, language);
        for column in by_order(comparison) {
            let Some(e) = column.groups[group].ratio.filter(|e| e.half.is_some()) else { continue };
            let with = with(&column.arm, language);
            let [mean, low, high] = [e.mean, e.low(), e.high()].map(|x| language.digits(x));
            let chance = say!(
                language,
                "With {with}, the {name} has {mean} ({low} to {high}) times the average chance"
                    | "Dengan {with}, {name} berpeluang {mean} ({low} sampai {high}) kali rata-rata"
            );
            let trusted = say!(
                language,
                ": who knows the operator's secrets must be trusted."
                    | ": orang yang tahu rahasia penyelenggara harus dipercaya."
            );
            let is_ahead = e.low() > 1.0 && column.arm.order != Order::FirstCome;
            self.say(chance + if is_ahead { &trusted } else { "." });
        }
    }

    fn speed(&mut self) {
        let (comparison, language) = (self.comparison, self.language);
        let mut unseen = Vec::new();
        for column in by_order(comparison) {
            let Some(e) = column.of(Measure::LatencyPremium).filter(|e| e.half.is_some()) else {
                continue;
            };
            let with = with(&column.arm, language);
            if e.low() > 0.0 {
                let ahead = with_interval(Measure::LatencyPremium, e, language);
                self.say(say!(
                    language,
                    "With {with}, a fast connection pays among people: the fastest tenth is ahead of \
                     the slowest by {ahead} times the average chance."
                        | "Dengan {with}, koneksi cepat menguntungkan di antara warga: sepersepuluh \
                           tercepat mengungguli yang terlambat sebesar {ahead} kali peluang rata-rata."
                ));
            } else {
                unseen.push(with);
            }
        }
        if !unseen.is_empty() {
            let orders = unseen.join("; ");
            self.say(say!(
                language,
                "Among people, it cannot be seen that a fast connection pays, with: {orders}."
                    | "Di antara warga, tidak terlihat koneksi cepat menguntungkan, dengan: {orders}."
            ));
        }
    }

    fn cohorts(&mut self) {
        let (comparison, language) = (self.comparison, self.language);
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
                    let ratio = language.digits(fared(column).ratio?.mean);
                    Some(format!("{ratio} ({})", arm_name(&column.arm, language)))
                })
                .collect();
            if !under.is_empty() {
                let name = group_name(group.kind, &group.name, language);
                flags.push(format!("{name}: {}", under.join(", ")));
            }
        }
        let (level, tested_in_words) = (language.percent(LEVEL), language.count(tested));
        if !flags.is_empty() {
            let flags = flags.join("; ");
            self.say(say!(
                language,
                "Not served evenly, at {level} for all {tested_in_words} tests together, in times of \
                 the average chance: {flags}."
                    | "Tidak dilayani merata, pada taraf {level} untuk seluruh {tested_in_words} \
                       pengujian, dalam kelipatan peluang rata-rata: {flags}."
            ));
        } else if tested > 0 {
            self.say(say!(
                language,
                "No group of people, channel or device is favoured by any order, at {level} for all \
                 {tested_in_words} tests together."
                    | "Tidak ada kelompok warga, saluran, atau perangkat yang diuntungkan oleh cara \
                       mana pun, pada taraf {level} untuk seluruh {tested_in_words} pengujian."
            ));
        }
    }

    fn families(&mut self) {
        let (comparison, language) = (self.comparison, self.language);
        for column in by_order(comparison) {
            let Some(e) = column.of(Measure::Families) else { continue };
            if e.half.is_some() && (e.high() < 1.0 || e.low() > 1.0) {
                let with = with(&column.arm, language);
                let [mean, low, high] = [e.mean, e.low(), e.high()].map(|x| language.digits(x));
                self.say(say!(
                    language,
                    "With {with}, families have {mean} times the chance of single people ({low} to \
                     {high})."
                        | "Dengan {with}, keluarga berpeluang {mean} kali peluang perorangan ({low} \
                           sampai {high})."
                ));
            }
        }
    }

    fn recycling(&mut self) {
        let (comparison, language) = (self.comparison, self.language);
        for rule in rules(comparison) {
            let of = comparison.columns.iter().filter(|column| column.arm.returns == *rule);
            let got = of.filter_map(|column| {
                let got = language.percent(column.of(Measure::RecycleCapture)?.mean);
                let fair = language.percent(column.of(Measure::RecycleFair)?.mean);
                let with = with(&column.arm, language);
                Some(say!(
                    language,
                    "{got} with {with} (by lot about {fair})"
                        | "{got} dengan {with} (andai lotre sekitar {fair})"
                ))
            });
            let got: Vec<String> = got.collect();
            if got.is_empty() {
                continue;
            }
            let got = got.join(", ");
            let rule = match rule {
                ReturnRule::Immediate => say!(language, "at once" | "langsung"),
                ReturnRule::Delayed { .. } => {
                    say!(language, "after a random delay" | "setelah jeda acak")
                }
                ReturnRule::At { .. } => {
                    say!(language, "by draw at a fixed time" | "lewat undian pada waktu tertentu")
                }
            };
            self.say(say!(
                language,
                "Of what they cancel for a client, scalpers get back, with places returned {rule}: \
                 {got}."
                    | "Dari yang mereka batalkan untuk pelanggan, calo mendapat kembali, dengan tempat \
                       dibuka lagi {rule}: {got}."
            ));
        }
    }

    fn price(&mut self) {
        let language = self.language;
        let waits = by_order(self.comparison);
        let waits = waits.iter().filter_map(|column| {
            let wait = Unit::Seconds.shown(column.of(Measure::WaitS)?.mean, language);
            let with = with(&column.arm, language);
            Some(say!(language, "{wait} with {with}" | "{wait} dengan {with}"))
        });
        let waits: Vec<String> = waits.collect();
        if !waits.is_empty() {
            let waits = waits.join(", ");
            self.say(say!(
                language,
                "The price: winners wait for their result, on average: {waits}."
                    | "Harganya: pemenang menunggu hasilnya, rata-rata: {waits}."
            ));
        }
    }
}

/// The rules of return that are compared, in order.
pub(super) fn rules(comparison: &Comparison) -> Vec<&ReturnRule> {
    let mut rules: Vec<&ReturnRule> = Vec::new();
    for column in &comparison.columns {
        if !rules.contains(&&column.arm.returns) {
            rules.push(&column.arm.returns);
        }
    }
    rules
}

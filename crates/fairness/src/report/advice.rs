//! What to do, by stated rules (docs/fairness.md, "Advice"): each rests on figures of the
//! comparison, and where none applies the advice is neutral.

use giliran_report::{Language, say};
use giliran_wire::ledger::ReturnRule;

use super::labels::{returns_name, with};
use super::words::{by_order, insider_group, part_of_askers, rules, worst};
use crate::measures::Estimate;
use crate::{ArmResult, Comparison, Measure};

/// The four-fifths rule (29 CFR 1607.4(D), 1978): whose success is below four fifths of
/// others' is at a disadvantage. Turned round: who has more than five fourths of an even
/// part has an advantage.
pub const ADVANTAGE: f64 = 1.25;
/// The same rule: so much of the places in scalpers' hands leaves people less than four
/// fifths.
pub const BLACK_MARKET: f64 = 0.2;

/// Something to do.
#[derive(Debug, Clone, Copy)]
pub enum Advice<'a> {
    /// A promise was broken: nothing else counts before it is explained.
    Explain,
    /// What to change to, and from which order.
    Order {
        to: &'a ArmResult,
        from: &'a ArmResult,
    },
    /// Scalpers have an advantage, and no order that was compared takes it.
    OtherOrder,
    /// A public value takes the insider's advantage.
    PublicValue,
    Returns(&'a ReturnRule),
    /// Speed has nothing to do with it: it is the number of identities.
    Identities,
}

impl Advice<'_> {
    /// As JSON has it.
    pub fn name(&self) -> String {
        match self {
            Self::Explain => "explain".to_owned(),
            Self::Order { to, .. } => format!("order:{}", super::labels::ordered(&to.arm)),
            Self::OtherOrder => "other_order".to_owned(),
            Self::PublicValue => "public_value".to_owned(),
            Self::Returns(rule) => format!("returns:{}", rule.name()),
            Self::Identities => "identities".to_owned(),
        }
    }

    fn words(&self, language: Language) -> String {
        match self {
            Self::Explain => explain(language),
            Self::Order { to, from } => {
                let [to, from] = [to, from].map(|column| with(&column.arm, language));
                say!(
                    language,
                    "decide with {to} and not with {from}"
                        | "putuskan dengan {to} dan bukan dengan {from}"
                )
            }
            Self::OtherOrder => say!(
                language,
                "choose another order: none that was compared takes the scalpers' advantage away"
                    | "pilih cara lain: tidak satu pun yang dibandingkan menghapus keuntungan calo"
            ),
            Self::PublicValue => say!(
                language,
                "name a public value that goes into the draw, so that nobody who knows the secrets \
                 gains by them"
                    | "tetapkan nilai publik yang masuk ke undian, agar orang yang tahu rahasianya \
                       tidak beruntung karenanya"
            ),
            Self::Returns(rule) => {
                let returns = returns_name(rule, language);
                say!(
                    language,
                    "give returned places out anew: {returns}, so that nobody can hand one on"
                        | "bagikan lagi tempat yang dikembalikan: {returns}, agar tidak ada yang bisa \
                           mengoperkannya"
                )
            }
            Self::Identities => check_identities(language),
        }
    }
}

/// What to do, by the rules; empty: nothing stands out.
pub fn advice(comparison: &Comparison) -> Vec<Advice<'_>> {
    let must_be_0 = [Measure::Oversell, Measure::Undersell, Measure::Replayed, Measure::Forged];
    if must_be_0.into_iter().any(|measure| worst(comparison, measure) > 0.0) {
        return vec![Advice::Explain];
    }
    let mut found = Vec::new();
    let orders = by_order(comparison);
    let chosen = order(comparison, &orders, &mut found);
    returns(comparison, chosen, &mut found);
    let held = chosen.and_then(|column| column.of(Measure::ScalperShare));
    if held.is_some_and(|e| e.low() > BLACK_MARKET) {
        found.push(Advice::Identities);
    }
    found
}

/// Judges the orders; the one that is best to have.
fn order<'a>(
    comparison: &Comparison,
    orders: &[&'a ArmResult],
    found: &mut Vec<Advice<'a>>,
) -> Option<&'a ArmResult> {
    if let Some((_, group)) = insider_group(comparison) {
        let ahead =
            |column: &ArmResult| column.groups[group].ratio.is_some_and(|e| e.low() > ADVANTAGE);
        let (plain, public) = (
            orders.iter().any(|column| !column.arm.beacon && ahead(column)),
            orders.iter().find(|column| column.arm.beacon && !ahead(column)),
        );
        if plain && public.is_some() {
            found.push(Advice::PublicValue);
        }
        return public.or(orders.first()).copied();
    }
    let gains = |column: &ArmResult| is_gained(column, comparison);
    let held = |column: &ArmResult| column.of(Measure::ScalperShare).map_or(0.0, |e| e.mean);
    let even = orders.iter().filter(|column| !gains(column));
    let best = even.min_by(|a, b| held(a).total_cmp(&held(b))).copied();
    let from = orders.iter().find(|column| gains(column)).copied();
    match (best, from) {
        (Some(to), Some(from)) => found.push(Advice::Order { to, from }),
        (None, Some(_)) => found.push(Advice::OtherOrder),
        _ => {}
    }
    best.or(orders.first().copied())
}

/// Whether under an order scalpers, or fast connections among people, have an advantage.
fn is_gained(column: &ArmResult, comparison: &Comparison) -> bool {
    let share = column.of(Measure::ScalperShare);
    let part = part_of_askers(column, comparison);
    let scalpers = share.zip(part).is_some_and(|(e, part)| e.low() > ADVANTAGE * part);
    let premium = column.of(Measure::LatencyPremium).filter(|e| e.half.is_some());
    scalpers || premium.is_some_and(|e| e.low() > ADVANTAGE - 1.0)
}

/// Judges the rules of return under an order: what comes back to whoever gave it away.
fn returns<'a>(
    comparison: &'a Comparison,
    chosen: Option<&ArmResult>,
    found: &mut Vec<Advice<'a>>,
) {
    let Some(chosen) = chosen else { return };
    let got = |rule: &ReturnRule| {
        let columns = comparison.columns.iter();
        let mut columns = columns.filter(|column| column.arm.same_order(&chosen.arm));
        let column = columns.find(|column| column.arm.returns == *rule)?;
        Some((column.of(Measure::RecycleCapture)?, column.of(Measure::RecycleFair)?))
    };
    let gains = |(got, fair): &(Estimate, Estimate)| got.low() > ADVANTAGE * fair.mean;
    let known = || rules(comparison).into_iter().filter_map(|rule| Some((rule, got(rule)?)));
    if !known().any(|(_, figures)| gains(&figures)) {
        return;
    }
    let even = known().filter(|(_, figures)| !gains(figures));
    let best = even.min_by(|a, b| a.1.0.mean.total_cmp(&b.1.0.mean));
    found.extend(best.map(|(rule, _)| Advice::Returns(rule)));
}

/// A promise was broken.
pub fn explain(language: Language) -> String {
    say!(
        language,
        "do not open before it is explained why a promise was broken"
            | "jangan membuka sebelum jelas mengapa sebuah janji dilanggar"
    )
}

/// Scalpers hold much by their number alone.
pub fn check_identities(language: Language) -> String {
    say!(
        language,
        "have each applicant's identity checked: no order helps against many identities"
            | "pastikan identitas setiap pemohon diperiksa: cara apa pun tidak menolong melawan banyak \
               identitas"
    )
}

pub(super) fn sentence(advice: &[Advice<'_>], language: Language) -> String {
    let words: Vec<String> = advice.iter().map(|one| one.words(language)).collect();
    advised(&words, language)
}

/// What to do, in a sentence; neutral where there is nothing.
pub fn advised(words: &[String], language: Language) -> String {
    if words.is_empty() {
        return say!(
            language,
            "By these figures nothing needs to be changed: none of them stands out."
                | "Menurut angka-angka ini tidak ada yang perlu diubah: tidak satu pun menonjol."
        );
    }
    capitalized(&words.join("; ")) + "."
}

/// With a large first letter.
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

//! What a comparison says in short: what it rests on, three sentences and a picture.

use giliran_report::{Head, Language, say};

use super::advice::{advice, sentence};
use super::charts;
use super::labels::with;
use super::words::{by_order, part_of_askers};
use crate::{ArmResult, Comparison, Measure};

pub(super) fn head(comparison: &Comparison, language: Language) -> Head {
    Head {
        basis: basis(comparison, language),
        said: [
            (chance_label(language), chance(comparison, language)),
            (scalpers_label(language), scalpers(comparison, language)),
            (advice_label(language), sentence(&advice(comparison), language)),
        ],
        picture: charts::in_short(comparison, language),
    }
}

/// What stands before the three sentences of every report.
pub fn chance_label(language: Language) -> String {
    say!(language, "An honest party's chance:" | "Peluang rombongan jujur:")
}

pub fn scalpers_label(language: Language) -> String {
    say!(language, "What scalpers hold:" | "Yang dipegang calo:")
}

pub fn advice_label(language: Language) -> String {
    say!(language, "What to do:" | "Yang perlu dilakukan:")
}

fn basis(comparison: &Comparison, language: Language) -> String {
    let people = language.count(comparison.scenario.people.parties);
    let kinds = language.count(comparison.scenario.attackers.len());
    let places = language.count(comparison.scenario.offices.places());
    let runs = language.count(comparison.columns.len() * comparison.seeds.len());
    let scalpers = match comparison.scenario.attackers.len() {
        0 => say!(language, "no scalpers" | "tanpa calo"),
        1 => say!(language, "one kind of scalpers" | "satu macam calo"),
        _ => say!(language, "{kinds} kinds of scalpers" | "{kinds} macam calo"),
    };
    say!(
        language,
        "Simulated: {people} parties of people and {scalpers}, who ask for {places} places in virtual \
         time, {runs} runs. Real: the code that decides. Nothing here was measured on people."
            | "Disimulasikan: {people} rombongan warga dan {scalpers}, yang meminta {places} tempat \
               dalam waktu virtual, {runs} percobaan. Nyata: program yang memutuskan. Tidak ada di \
               sini yang diukur pada orang sungguhan."
    )
}

/// A measure under each order, as parts of a sentence.
fn by(
    comparison: &Comparison,
    language: Language,
    of: impl Fn(&ArmResult) -> Option<String>,
) -> Vec<String> {
    let columns = by_order(comparison).into_iter();
    let said = columns.filter_map(|column| {
        let (value, with) = (of(column)?, with(&column.arm, language));
        Some(say!(language, "{value} with {with}" | "{value} dengan {with}"))
    });
    said.collect()
}

fn chance(comparison: &Comparison, language: Language) -> String {
    let of = |column: &ArmResult| Some(language.percent(column.of(Measure::HonestChance)?.mean));
    let said = language.listed(&by(comparison, language, of));
    say!(language, "{said}." | "{said}.")
}

fn scalpers(comparison: &Comparison, language: Language) -> String {
    if comparison.scenario.attackers.is_empty() {
        return say!(
            language,
            "nothing: there are none in this scenario." | "tidak ada: skenario ini tanpa calo."
        );
    }
    let of = |column: &ArmResult| Some(language.percent(column.of(Measure::ScalperShare)?.mean));
    let held = language.listed(&by(comparison, language, of));
    let columns = by_order(comparison);
    let parts = columns.iter().filter_map(|column| part_of_askers(column, comparison));
    let (least, most) =
        parts.fold((f64::INFINITY, 0.0_f64), |(least, most), p| (least.min(p), most.max(p)));
    let [least, most] = [least, most].map(|part| language.percent(part));
    let part = match least == most {
        true => most,
        false => {
            let least = least.trim_end_matches(" %");
            say!(language, "{least} to {most}" | "{least} sampai {most}")
        }
    };
    say!(
        language,
        "of the places, {held}; by lot their number would get them {part}."
            | "dari semua tempat, {held}; menurut jumlahnya lotre akan memberi mereka {part}."
    )
}

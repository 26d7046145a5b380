//! What a run says in short: what it rests on, three sentences and a picture.

use giliran_fairness::report::{
    ADVANTAGE, BLACK_MARKET, advice_label, advised, chance_label, check_identities, explain,
    scalpers_label,
};
use giliran_report::{Head, Language, say};
use giliran_wire::ledger::Order;

use super::{charts, identities, part_of_askers};
use crate::doubts::in_words;
use crate::{Ended, RunSummary};

/// So many of the requests have to be settled while somebody still waits.
const IN_TIME: f64 = 0.99;

/// Something to do (docs/fairness.md, "Advice").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// A promise was broken, or the engine was gone.
    Explain,
    /// The figures do not count.
    Repeat,
    /// Too many waited too long.
    Capacity,
    /// Scalpers have an advantage by speed, which a draw takes.
    Draw,
    /// It is the number of their identities.
    Identities,
    /// A group of people was not served evenly.
    Groups,
}

impl Advice {
    /// As JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Explain => "explain",
            Self::Repeat => "repeat",
            Self::Capacity => "capacity",
            Self::Draw => "order:draw",
            Self::Identities => "identities",
            Self::Groups => "groups",
        }
    }

    fn words(self, language: Language) -> String {
        match self {
            Self::Explain => explain(language),
            Self::Repeat => say!(
                language,
                "run it again: these figures do not count"
                    | "ulangi percobaannya: angka-angka ini tidak berlaku"
            ),
            Self::Capacity => say!(
                language,
                "give engine and broker a faster machine: people waited too long"
                    | "beri mesin dan perantaranya komputer yang lebih cepat: orang menunggu terlalu \
                       lama"
            ),
            Self::Draw => say!(
                language,
                "rehearse a draw as well: speed buys nothing in it"
                    | "cobalah juga sebuah undian: di dalamnya kecepatan tidak membeli apa-apa"
            ),
            Self::Identities => check_identities(language),
            Self::Groups => say!(
                language,
                "find out why people were not served evenly: the list below names the groups"
                    | "cari tahu mengapa warga tidak dilayani merata: daftar di bawah menyebut \
                       kelompoknya"
            ),
        }
    }
}

/// What to do, by the rules; empty: nothing stands out.
pub(super) fn advice(record: &RunSummary) -> Vec<Advice> {
    let forged = &record.forgeries;
    let twice = record.figure("numbers_twice").unwrap_or(0.0);
    let broken = twice > 0.0 || record.second_answers + forged.replayed + forged.changed > 0;
    if broken || matches!(record.ended, Ended::EngineGone { .. }) {
        return vec![Advice::Explain];
    }
    if record.void.is_some() || record.ended != Ended::Complete {
        return vec![Advice::Repeat];
    }
    let mut found = Vec::new();
    if record.figure("answered_in_time").is_some_and(|share| share < IN_TIME) {
        found.push(Advice::Capacity);
    }
    let held = record.figure("scalper_share").unwrap_or(0.0);
    if record.order != Order::Draw && held > ADVANTAGE * part_of_askers(record) {
        found.push(Advice::Draw);
    } else if held > BLACK_MARKET {
        found.push(Advice::Identities);
    }
    let is_flagged = |group: &crate::GroupRecord| group.flagged && group.kind != "scalper";
    if record.groups.iter().any(is_flagged) {
        found.push(Advice::Groups);
    }
    found
}

pub(super) fn head(record: &RunSummary, language: Language) -> Head {
    let to_do: Vec<String> =
        advice(record).into_iter().map(|advice| advice.words(language)).collect();
    Head {
        basis: basis(record, language),
        said: [
            (chance_label(language), chance(record, language)),
            (scalpers_label(language), scalpers(record, language)),
            (advice_label(language), advised(&to_do, language)),
        ],
        picture: charts::who(record, language),
    }
}

fn basis(record: &RunSummary, language: Language) -> String {
    let [requests, answered, people] =
        [record.requests, record.answered, record.people].map(|n| language.count(n));
    let identities = language.count(identities(record));
    let mut basis = say!(
        language,
        "Measured: {requests} requests to a running engine, {answered} of them answered. Simulated: \
         {people} parties of people, {identities} identities of scalpers, and how far away they are. \
         One run."
            | "Diukur: {requests} permintaan ke mesin yang berjalan, {answered} di antaranya dijawab. \
               Disimulasikan: {people} rombongan warga, {identities} identitas calo, dan jarak mereka. \
               Satu percobaan."
    );
    if record.speed != 1.0 {
        let speed = language.digits(record.speed);
        basis.push_str(&say!(
            language,
            " It passed {speed} times as fast as in life."
                | " Waktunya berjalan {speed} kali secepat kenyataan."
        ));
    }
    if record.void.is_some() {
        basis.push_str(&say!(
            language,
            " VOID: the load generator was too slow, and the figures do not count."
                | " TIDAK BERLAKU: pembangkit beban terlalu lambat, dan angka-angkanya tidak dapat \
                   dipakai."
        ));
    }
    basis
}

fn chance(record: &RunSummary, language: Language) -> String {
    let people = language.count(record.people);
    match record.figure("honest_chance") {
        Some(chance) => {
            let chance = language.percent(chance);
            let with = in_words(&record.order, language);
            say!(
                language,
                "{chance} of the {people} parties have a place ({with})."
                    | "{chance} dari {people} rombongan mendapat tempat ({with})."
            )
        }
        None => say!(language, "not known." | "tidak diketahui."),
    }
}

fn scalpers(record: &RunSummary, language: Language) -> String {
    let Some(share) = record.figure("scalper_share") else {
        return say!(
            language,
            "nothing: there are none in this run, or no place was granted."
                | "tidak ada: tanpa calo di sini, atau tidak ada tempat yang diberikan."
        );
    };
    let [share, part] = [share, part_of_askers(record)].map(|share| language.percent(share));
    say!(
        language,
        "{share} of the granted places, and they are {part} of those who asked."
            | "{share} dari tempat yang diberikan, padahal mereka {part} dari para peminta."
    )
}

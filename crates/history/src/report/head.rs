//! What is known of an opening in short: what it rests on, three sentences and a picture.

use giliran_fairness::report::{
    BLACK_MARKET, advice_label, advised, capitalized, chance_label, explain, scalpers_label,
};
use giliran_report::axis::Scale;
use giliran_report::svg::{Row, Rows};
use giliran_report::{Chart, Head, Language, Text, say, text};

use super::FLAG_Z;
use crate::measures::{CountBasis, OpeningMeasures};
use crate::recorded::{RecordedOpening, State};

/// Something to do (docs/fairness.md, "Advice").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// A promise was broken.
    Explain,
    /// It is not over.
    Wait,
    /// Places that came back went to who had given them back.
    Returns,
    /// Few accounts hold much.
    Accounts,
    /// A group was not served evenly.
    Groups,
}

impl Advice {
    /// As JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Explain => "explain",
            Self::Wait => "wait",
            Self::Returns => "returns",
            Self::Accounts => "accounts",
            Self::Groups => "groups",
        }
    }

    fn words(self, language: Language) -> String {
        match self {
            Self::Explain => explain(language),
            Self::Wait => say!(
                language,
                "wait: the opening is not over, and every figure may change"
                    | "tunggu: pembukaan belum berakhir, dan setiap angka masih dapat berubah"
            ),
            Self::Returns => say!(
                language,
                "give returned places out anew by a draw at fixed times: now they are handed on"
                    | "bagikan lagi tempat yang kembali lewat undian pada waktu tertentu: sekarang \
                       tempat itu dioperkan"
            ),
            Self::Accounts => say!(
                language,
                "look at the ten largest accounts: they hold more than a fifth of the places"
                    | "periksa sepuluh akun terbesar: mereka memegang lebih dari seperlima tempat"
            ),
            Self::Groups => say!(
                language,
                "find out why not everybody was served evenly: the list below names the groups"
                    | "cari tahu mengapa tidak semua dilayani merata: daftar di bawah menyebut \
                       kelompoknya"
            ),
        }
    }
}

/// What to do, by the rules; empty: nothing stands out.
pub(super) fn advice(recorded: &RecordedOpening, figures: &OpeningMeasures) -> Vec<Advice> {
    if figures.is_wrong() {
        return vec![Advice::Explain];
    }
    let mut found = Vec::new();
    if recorded.state != State::Closed {
        found.push(Advice::Wait);
    }
    let beyond = |name: &str| figures.of(name).is_ok_and(|share| share > BLACK_MARKET);
    if beyond("recapture") {
        found.push(Advice::Returns);
    }
    // Of few accounts, ten are all.
    if beyond("top_ten") && figures.of("accounts").is_ok_and(|n| n >= 50.0) {
        found.push(Advice::Accounts);
    }
    let mut z = figures.groups.iter().filter_map(|group| group.fared.z);
    if z.any(|z| z.abs() > FLAG_Z) {
        found.push(Advice::Groups);
    }
    found
}

pub(super) fn head(
    recorded: &RecordedOpening,
    figures: &OpeningMeasures,
    language: Language,
) -> Head {
    let to_do = advice(recorded, figures).into_iter().map(|advice| advice.words(language));
    let to_do: Vec<String> = to_do.collect();
    Head {
        basis: basis(recorded, figures, language),
        said: [
            (chance_label(language), chance(figures, language)),
            (scalpers_label(language), scalpers(figures, language)),
            (advice_label(language), advised(&to_do, language)),
        ],
        picture: places(figures, language),
    }
}

fn basis(recorded: &RecordedOpening, figures: &OpeningMeasures, language: Language) -> String {
    let blocks = language.count(recorded.blocks.len());
    let mut basis = say!(
        language,
        "Measured: this opening as it went, from {blocks} blocks of its ledger. Nothing is simulated."
            | "Diukur: pembukaan ini sebagaimana berlangsung, dari {blocks} blok buku catatannya. Tidak \
               ada yang disimulasikan."
    );
    basis.push_str(&match figures.answered {
        CountBasis::Parties => say!(
            language,
            " Who was rejected is known from a gateway's log."
                | " Siapa yang ditolak diketahui dari catatan gerbang."
        ),
        CountBasis::Entries => say!(
            language,
            " Who was not drawn is known from the entries."
                | " Siapa yang tidak terundi diketahui dari pendaftaran."
        ),
        CountBasis::Requests => say!(
            language,
            " Of those who were rejected, requests alone were counted."
                | " Dari yang ditolak, hanya permintaannya yang dihitung."
        ),
        CountBasis::Winners => say!(
            language,
            " Who was rejected is not known." | " Siapa yang ditolak tidak diketahui."
        ),
    });
    basis
}

fn chance(figures: &OpeningMeasures, language: Language) -> String {
    match figures.of("chance") {
        Ok(chance) => {
            let chance = language.percent(chance);
            say!(
                language,
                "{chance} of the parties that asked have a place; scalpers among them cannot be told \
                 apart."
                    | "{chance} dari rombongan yang meminta mendapat tempat; calo di antaranya tidak \
                       dapat dibedakan."
            )
        }
        Err(why) => {
            let why = why.of(language);
            say!(language, "not known: {why}." | "tidak diketahui: {why}.")
        }
    }
}

fn scalpers(figures: &OpeningMeasures, language: Language) -> String {
    let mut said = vec![say!(
        language,
        "not known: the ledger has accounts under pseudonym"
            | "tidak diketahui: buku catatan memuat akun dengan nama samaran"
    )];
    if let Ok(top) = figures.of("top_ten") {
        let top = language.percent(top);
        said.push(say!(
            language,
            "the ten largest hold {top} of the places"
                | "sepuluh yang terbesar memegang {top} dari tempat"
        ));
    }
    if let Ok(again) = figures.of("recapture") {
        let again = language.percent(again);
        said.push(say!(
            language,
            "{again} of what came back went to the account that gave it back"
                | "{again} dari yang kembali jatuh ke akun yang mengembalikannya"
        ));
    }
    capitalized(&said.join("; ")) + "."
}

/// What became of the places.
fn places(figures: &OpeningMeasures, language: Language) -> Option<Chart> {
    let all = figures.of("quota").ok().filter(|quota| *quota > 0.0)?;
    let row = |(name, title, look): (&str, Text, usize)| {
        let n = figures.of(name).unwrap_or(0.0);
        let shown = format!("{} · {}", language.fixed(n, 0), language.percent(n / all));
        (n > 0.0 || name == "live").then(|| Row::new(title.of(language), n / all, shown, look))
    };
    let rows = [
        ("live", text!("taken" | "terisi"), 1),
        ("free", text!("free" | "tersedia"), 2),
        ("withheld", text!("came back, not given out yet" | "kembali, belum dibagikan"), 0),
        ("reserved", text!("kept back by operators" | "dicadangkan penyelenggara"), 3),
        ("halted", text!("without a booking, closed" | "tanpa pemesanan, ditutup"), 4),
    ];
    let title = text!("What became of the places" | "Apa yang terjadi dengan tempatnya");
    let about = text!(
        "Of all places, at the end of what the ledger tells."
            | "Dari semua tempat, pada akhir yang dicatat buku catatan."
    );
    let rows = Rows {
        language,
        title: title.of(language),
        about: about.of(language),
        rows: rows.into_iter().filter_map(row).collect(),
        reference: None,
        across: None,
        scale: Scale::Share,
        is_whole: true,
    };
    rows.chart(about.of(language))
}

//! The report as a page.

use giliran_report::{Document, Language, say, text};

use super::head::head;
use super::labels::group_name;
use super::{Comparisons, bought, charts, figures, groups, verdict};
use crate::scenario::about;
use crate::{Comparison, Measure};

pub(super) fn page(comparisons: &Comparisons, language: Language) -> Document {
    let first = comparisons.first();
    let name = first.map_or("", |comparison| comparison.scenario.name.as_str());
    let title = say!(language, "Fairness: {name}" | "Keadilan: {name}");
    let mut page = Document::titled(language, &title);
    page.title(title);
    if let Some(swept) = &comparisons.swept {
        page.heading(say!(language, "Along {swept}" | "Menurut {swept}"));
        let measures = [
            Measure::ScalperShare,
            Measure::LatencyPremium,
            Measure::Inversion,
            Measure::RecycleCapture,
            Measure::Waste,
            Measure::WaitS,
        ];
        page.charts(measures.map(|measure| charts::swept(comparisons, measure, language)));
    }
    for (value, comparison) in &comparisons.comparisons {
        if let Some(swept) = &comparisons.swept {
            page.title(format!("{swept} = {value}"));
        }
        one(comparison, &mut page, language);
    }
    page.heading(say!(language, "What each figure means" | "Arti setiap angka"));
    page.terms(
        Measure::ALL.map(|measure| (measure.title().of(language), measure.about().of(language))),
    );
    page.heading(say!(language, "How it came about" | "Bagaimana ini dibuat"));
    page.text(say!(
        language,
        "Nothing here was measured on people. A population made from a seed asks in virtual time, \
         and the code that decides in production decides; the network between is a delay, the \
         ledger a fixed time. The same scenario and seed give the same figures."
            | "Tidak ada di sini yang diukur pada orang sungguhan. Penduduk yang dibuat dari benih \
               acak meminta dalam waktu virtual, dan program yang memutuskan adalah program yang \
               dipakai sehari-hari; jaringan di antaranya sebuah jeda, buku catatannya waktu yang \
               tetap. Skenario dan benih yang sama memberi angka yang sama."
    ));
    page
}

fn one(comparison: &Comparison, page: &mut Document, language: Language) {
    page.head(head(comparison, language));
    page.lead(about(&comparison.scenario, language));
    facts(comparison, page, language);
    page.heading(say!(language, "What the figures say" | "Yang dikatakan angka-angka"));
    page.points(verdict(comparison, language));
    page.heading(say!(language, "Who gets the places" | "Siapa mendapat tempat"));
    page.charts([charts::of_deciles(comparison, language), charts::cohorts(comparison, language)]);
    page.heading(say!(language, "What happened when" | "Apa yang terjadi kapan"));
    page.charts([charts::requests(comparison, language), charts::free(comparison, language)]);
    page.heading(say!(language, "Places that come back" | "Tempat yang kembali"));
    let lot = text!("what a lottery would give them" | "yang akan diberikan lotre kepada mereka");
    let lot = Some((Measure::RecycleFair, lot));
    let again = text!("Cancel and book again" | "Batal lalu pesan lagi");
    let unused = text!("Places nobody used" | "Tempat yang tidak terpakai");
    page.charts([
        charts::by_arm(comparison, language, again, Measure::RecycleCapture, lot),
        charts::by_arm(comparison, language, unused, Measure::Waste, None),
    ]);
    page.text(say!(
        language,
        "Behind the dot stands when returned places are given out anew."
            | "Di belakang titik tertulis kapan tempat yang dikembalikan dibagikan lagi."
    ));
    page.heading(say!(language, "All figures" | "Semua angka"));
    page.text(say!(
        language,
        "Means over the seeds; beneath, half the width of the 95 % confidence interval (Student's t \
         over seeds)."
            | "Rata-rata semua benih acak; di bawahnya separuh lebar selang kepercayaan 95 % (t Student \
               atas benih)."
    ));
    page.table(figures(comparison, Measure::ALL, Measure::title, language));
    compared(comparison, page, language);
}

fn compared(comparison: &Comparison, page: &mut Document, language: Language) {
    page.subheading(say!(
        language,
        "Success against the average" | "Keberhasilan dibanding rata-rata"
    ));
    page.text(say!(
        language,
        "1 is even. People's groups are compared with all people, scalpers with everybody. Groups of \
         people, channels and devices are tested; what is flagged (⚑) is not by chance, at 1 % for \
         all tests of this comparison together. Parties of several people and scalpers want \
         something else than the average, and are shown without a test."
            | "1 berarti merata. Kelompok warga dibandingkan dengan semua warga, calo dengan semua \
               orang. Kelompok warga, saluran, dan perangkat diuji; yang ditandai (⚑) bukan kebetulan, \
               pada taraf 1 % untuk semua pengujian bersama. Rombongan beberapa orang dan calo \
               menginginkan hal lain daripada rata-rata, dan ditampilkan tanpa pengujian."
    ));
    let named = |i: usize| {
        let group = &comparison.groups[i];
        Some(group_name(group.kind, &group.name, language))
    };
    page.table(groups(comparison, named, language));
    if !comparison.scenario.attackers.is_empty() {
        page.subheading(say!(language, "What scalpers have" | "Yang dimiliki calo"));
        page.text(say!(
            language,
            "Identities, accounts and fast connections. Scalpers with a budget try, under each \
             order, every way to spend it in quarters on a small copy of the scenario, and take \
             what pays best."
                | "Identitas, akun, dan koneksi cepat. Calo yang beranggaran mencoba, untuk setiap \
                   cara, semua pembagian seperempatan pada salinan kecil skenario, lalu mengambil yang \
                   paling menguntungkan."
        ));
        page.table(bought(comparison, " / ", language));
    }
}

fn facts(comparison: &Comparison, page: &mut Document, language: Language) {
    let scenario = &comparison.scenario;
    let places = scenario.offices.places();
    let per_place = scenario.people.parties as f64 / places.max(1) as f64;
    page.facts(
        [
            (
                text!("parties of people" | "rombongan warga"),
                language.count(scenario.people.parties),
            ),
            (text!("places" | "tempat"), language.count(places)),
            (text!("parties a place" | "rombongan per tempat"), language.digits(per_place)),
            (text!("kinds of scalpers" | "macam calo"), language.count(scenario.attackers.len())),
            (text!("seeds" | "benih acak"), language.count(comparison.seeds.len())),
            (
                text!("requests in all runs" | "permintaan dalam semua percobaan"),
                language.count(comparison.requests),
            ),
        ]
        .map(|(name, value)| (name.of(language), value)),
    );
}

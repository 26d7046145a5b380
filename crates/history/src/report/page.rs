//! The report as a page.

use giliran_fairness::report::group_name;
use giliran_report::axis::Scale;
use giliran_report::svg::{Row, Rows};
use giliran_report::{Chart as Drawn, Document, Language, Table, say, text};

use super::charts::charts;
use super::head::head;
use super::slots::{by_day, slots};
use super::{about, deeds, groups, ledger, moment, not_known, times, title, verdict, zone};
use crate::{OpeningMeasures, RecordedOpening};

pub(super) fn page(
    recorded: &RecordedOpening,
    figures: &OpeningMeasures,
    language: Language,
) -> Document {
    let mut page = Document::titled(language, title(recorded, language));
    page.title(title(recorded, language));
    page.head(head(recorded, figures, language));
    page.lead(about(recorded, language));
    facts(recorded, figures, &mut page, language);
    page.heading(say!(language, "What the figures say" | "Yang dikatakan angka-angka"));
    page.points(verdict(recorded, figures, language));
    if let Some(rush) = &figures.rush {
        page.heading(say!(language, "The first rush" | "Serbuan pertama"));
        charts(rush, recorded, &mut page, language);
    }
    page.heading(say!(language, "What happened when" | "Apa yang terjadi kapan"));
    charts(&figures.chart, recorded, &mut page, language);
    actions(recorded, &mut page, language);
    who(figures, &mut page, language);
    page.heading(say!(language, "Office by office" | "Kantor demi kantor"));
    by_day(recorded, &mut page, language);
    slots(recorded, &mut page, language);
    page.heading(say!(language, "Not known" | "Tidak diketahui"));
    page.points(not_known(figures, language));
    page.heading(say!(language, "All figures" | "Semua angka"));
    let mut all = Table::default();
    let unknown = text!("not known" | "tidak diketahui");
    all.figures(&figures.figures, Some(unknown), language);
    page.table(all);
    page.heading(say!(language, "What each figure means" | "Arti setiap angka"));
    page.terms(
        figures.figures.iter().map(|figure| (figure.title.of(language), figure.about.of(language))),
    );
    page.heading(say!(language, "Where it comes from" | "Dari mana asalnya"));
    let ledger = ledger(recorded, language);
    page.text(say!(
        language,
        "The ledger {ledger}. Accounts are counted under pseudonym; nothing on this page names a \
         person, an account or a booking."
            | "Buku catatan {ledger}. Akun dihitung dengan nama samaran; tidak ada di halaman ini yang \
               menyebut orang, akun, atau pemesanan."
    ));
    page
}

fn facts(
    recorded: &RecordedOpening,
    figures: &OpeningMeasures,
    page: &mut Document,
    language: Language,
) {
    let shown = ["quota", "granted", "came_back", "regranted", "live", "free"];
    let shown = shown.iter().filter_map(|name| {
        let figure = figures.figures.iter().find(|figure| figure.name == *name)?;
        let unknown = || text!("not known" | "tidak diketahui").of(language).to_owned();
        let value = figure.shown(language).unwrap_or_else(unknown);
        Some((figure.title.of(language).to_lowercase(), value))
    });
    let times = times(recorded, language).map(|(name, at)| (name.to_owned(), at));
    page.facts(times.into_iter().chain(shown));
}

fn who(figures: &OpeningMeasures, page: &mut Document, language: Language) {
    page.heading(say!(language, "Who got the places" | "Siapa mendapat tempat"));
    let counted = figures.answered.about().of(language);
    page.text(say!(language, "Counted: {counted}." | "Yang dihitung: {counted}."));
    page.charts([against_the_average(figures, language)]);
    page.table(groups(figures, language));
}

fn against_the_average(figures: &OpeningMeasures, language: Language) -> Option<Drawn> {
    let rows = figures.groups.iter().filter_map(|group| {
        let ratio = group.fared.ratio?;
        // Beneath an even hand, r's standard deviation is (r − 1) / z.
        let z = group.fared.z.filter(|z| z.abs() > 1e-9);
        let half = z.map_or(0.0, |z| 1.96 * ((ratio - 1.0) / z).abs());
        let look = match group.kind {
            "channel" => 1,
            "cohort" => 0,
            _ => 2,
        };
        let name = group_name(group.kind, &group.name, language);
        let row = Row::new(name, ratio, language.digits(ratio), look);
        Some(row.within((ratio - half).max(0.0), ratio + half))
    });
    let rows = Rows {
        language,
        title: text!("Success against the average" | "Keberhasilan dibanding rata-rata")
            .of(language),
        about: text!(
            "Success of each group against the average"
                | "Keberhasilan tiap kelompok dibanding rata-rata"
        )
        .of(language),
        rows: rows.collect(),
        reference: None,
        across: Some(1.0),
        scale: Scale::Amount,
        is_whole: false,
    };
    rows.chart(
        text!(
            "The upright line at 1 is an even hand. Where parties are counted, the bar is what chance \
             alone does (95 %)."
                | "Garis tegak pada 1 berarti merata. Bila rombongan yang dihitung, goresannya \
                   menunjukkan yang diperbuat kebetulan saja (95 %)."
        )
        .of(language),
    )
}

/// Who did what, and why.
fn actions(recorded: &RecordedOpening, page: &mut Document, language: Language) {
    page.heading(say!(language, "What was done to it" | "Yang dilakukan padanya"));
    if recorded.actions.is_empty() {
        return page.text(say!(
            language,
            "Nothing: no operator has changed anything."
                | "Tidak ada: penyelenggara tidak mengubah apa pun."
        ));
    }
    let heads = [text!("what" | "apa"), text!("who" | "siapa"), text!("why" | "mengapa")];
    let corner = say!(language, "when" | "kapan");
    let mut table = Table { corner, ..Table::new(heads.map(|head| head.of(language))) };
    let zone = zone(recorded);
    for action in &recorded.actions {
        let (operator, reason) = action.signed.clone().unwrap_or_default();
        let words = deeds::words(action, &zone, language);
        table.row(moment(recorded, action.time, language), [words, operator, reason]);
    }
    page.table(table);
}

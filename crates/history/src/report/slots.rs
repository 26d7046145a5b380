//! Offices and their days: what is taken, and what is closed.

use std::collections::{BTreeMap, BTreeSet};

use giliran_report::times::short_day;
use giliran_report::{Document, Language, Table, say, text};
use giliran_verify::statement::Places;
use giliran_wire::Date;

use super::deeds::place;
use crate::RecordedOpening;

/// Most slots that are shown one by one.
const MOST_SLOTS: usize = 60;
/// Most days from the first to the last that stand beside each other.
const MOST_DAYS: usize = 14;

/// An office's session, and its places of each day.
type Row = BTreeMap<Date, Places>;

/// What is taken of each office's days. A day without a session between others is closed as
/// well.
pub(super) fn by_day(recorded: &RecordedOpening, page: &mut Document, language: Language) {
    let mut rows: Vec<([String; 2], Row)> = Vec::new();
    let mut days: BTreeSet<Date> = BTreeSet::new();
    for (index, places) in recorded.places.iter().enumerate() {
        let Some((slot, office, session)) = recorded.record.place(index as u32) else { continue };
        let key = [office.id.clone(), session.id.clone()];
        let at = rows.iter().position(|(there, _)| *there == key).unwrap_or_else(|| {
            rows.push((key, Row::new()));
            rows.len() - 1
        });
        rows[at].1.insert(slot.date, *places);
        days.insert(slot.date);
    }
    let Some(days) = calendar(&days) else { return };
    let mut table = Table::new(days.iter().map(|day| short_day(language, day.civil())));
    for ([office, session], of_days) in &rows {
        let name = if session == "all" { office.clone() } else { format!("{office}, {session}") };
        table.row(name, days.iter().map(|day| cell(of_days.get(day), language)));
    }
    page.text(say!(
        language,
        "Places taken, of all places of that day." | "Tempat terisi, dari semua tempat hari itu."
    ));
    page.table(table);
}

/// Every day from the first to the last; none: they are too many, or none.
fn calendar(days: &BTreeSet<Date>) -> Option<Vec<Date>> {
    let (first, last) = (days.first()?.civil(), days.last()?.civil());
    let all = std::iter::successors(Some(first), |day| day.tomorrow().ok());
    let all = all.take_while(|day| *day <= last).take(MOST_DAYS + 1);
    let all: Vec<Date> = all.filter_map(|day| day.to_string().parse().ok()).collect();
    (all.len() <= MOST_DAYS).then_some(all)
}

fn cell(places: Option<&Places>, language: Language) -> String {
    let closed = text!("closed" | "tutup").of(language);
    let Some(places) = places else { return closed.to_owned() };
    let [taken, quota] = [places.live, places.quota].map(|n| language.count(n));
    match places.halted {
        true => format!("{closed} ({taken} / {quota})"),
        false => format!("{taken} / {quota}"),
    }
}

/// Every slot with what became of its places.
pub(super) fn slots(recorded: &RecordedOpening, page: &mut Document, language: Language) {
    if recorded.places.len() > MOST_SLOTS {
        let [most, all] = [MOST_SLOTS, recorded.places.len()].map(|n| language.count(n));
        page.text(say!(
            language,
            "The first {most} of {all} slots; the others stand in the JSON."
                | "{most} sesi pertama dari {all}; selebihnya ada dalam JSON."
        ));
    }
    let heads = [
        text!("places" | "tempat"),
        text!("taken" | "terisi"),
        text!("waiting for release" | "menunggu dibuka lagi"),
        text!("reserved" | "dicadangkan"),
        text!("free" | "tersedia"),
    ];
    let mut table = Table::new(heads.map(|head| head.of(language)));
    for (index, places) in recorded.places.iter().enumerate().take(MOST_SLOTS) {
        let counts = [places.quota, places.live, places.withheld, places.reserved];
        let free = match places.halted {
            true => say!(language, "closed" | "tutup"),
            false => language.count(places.free()),
        };
        let cells = counts.map(|n| language.count(n)).into_iter().chain([free]);
        let Some((slot, office, session)) = recorded.record.place(index as u32) else { continue };
        let named = [office.id.clone(), slot.date.to_string(), session.id.clone()];
        table.row(place(&named, language), cells);
    }
    page.table(table);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn closed_days_stand_as_closed() {
        let days = ["2026-12-04", "2026-12-07"].map(|day| day.parse::<Date>().unwrap());
        let all = calendar(&days.into_iter().collect()).unwrap();
        assert_eq!(all.len(), 4, "Saturday and Sunday stand between Friday and Monday");
        let [english, indonesian] = Language::ALL;
        let mut open = Places::default();
        (open.quota, open.live) = (1_200, 7);
        assert_eq!(cell(Some(&open), english), "7 / 1,200");
        open.halted = true;
        assert_eq!(cell(Some(&open), indonesian), "tutup (7 / 1.200)");
        assert_eq!(cell(None, english), "closed");
        let far = ["2026-12-04", "2027-12-07"].map(|day| day.parse::<Date>().unwrap());
        assert_eq!(calendar(&far.into_iter().collect()), None);
    }
}

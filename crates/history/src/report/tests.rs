//! A report in both languages, and what was done in its charts.

use giliran_report::{Language, Sheet, bilingual};
use giliran_wire::Timestamp;
use giliran_wire::admin::Bookings;
use giliran_wire::ledger::{Adjust, Adjustment, Entry};

use super::report;
use crate::OpeningMeasures;
use crate::tests::{Ledger, OPENS, cancel, grant, rejected};

/// Grants, returns, rejections and every kind of an operator's action, over a minute.
fn eventful() -> Ledger {
    let mut ledger = Ledger::open();
    let signed = |change| {
        let (operator, reason) = ("siti".to_owned(), "hujan".to_owned());
        Entry::Adjust(Adjust { opening: 0, operator, reason, change })
    };
    ledger.append(10, vec![grant(1, 0, &[1], Some(1)), grant(2, 1, &[1], Some(2))]);
    ledger.append(2_000, vec![rejected(OPENS / 1_000 + 1, Some(1), 7)]);
    ledger.append(4_000, vec![signed(Adjustment::Quota { slot: 0, quota: 9 })]);
    ledger.append(20_000, vec![cancel(2, Some(Timestamp::from_millis(OPENS + 20_000)))]);
    ledger.append(30_000, vec![signed(Adjustment::Reserve { slot: 0, places: 2 })]);
    let bookings = Bookings::Keep;
    ledger.append(45_000, vec![signed(Adjustment::Halt { slot: 1, halted: true, bookings })]);
    let closes_at = Timestamp::from_millis(OPENS + 60_000);
    ledger.append(50_000, vec![signed(Adjustment::ClosesAt { closes_at })]);
    ledger
}

#[test]
fn both_languages_say_everything_with_the_same_numbers() {
    for ledger in [Ledger::open(), eventful()] {
        let recorded = ledger.read("w").unwrap();
        let figures = OpeningMeasures::new(&recorded, None, None);
        let [english, indonesian] =
            Language::ALL.map(|language| report(&recorded, &figures, language));
        // What the ledger holds stands as it is.
        let (id, hash) = (recorded.ledger.to_string(), recorded.tail.2.to_string());
        let names = [id.as_str(), &hash, "siti", "hujan", "batam", "web", "mobile"];
        let none = Vec::<String>::new();
        assert_eq!(bilingual::differences(&english.html(), &indonesian.html(), &names), none);
        assert_eq!(bilingual::mixtures(&english.text(), &indonesian.text(), &names), none);
        assert_eq!(english.json(), indonesian.json(), "files for machines have one language");
        let texts = |sheets: &[Sheet]| sheets.iter().map(Sheet::text).collect::<Vec<String>>();
        assert_eq!(texts(&english.sheets), texts(&indonesian.sheets));
    }
}

#[test]
fn what_operators_did_is_marked_in_the_charts_in_the_openings_time_zone() {
    let recorded = eventful().read("w").unwrap();
    let figures = OpeningMeasures::new(&recorded, None, None);
    let page = report(&recorded, &figures, Language::Indonesian).html();
    for said in [
        ">A  14.00.04 kuota batam, Sen 30 Nov menjadi 9<",
        ">C  14.00.45 batam, Sel 1 Des ditutup, pemesanannya",
        "pukul, WIB",
        "Jumat, 27 November 2026, 14.00.00 WIB",
        "tutup (0 / 2)",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("UTC") && !page.contains("halted"), "{page}");
    let json = report(&recorded, &figures, Language::Indonesian).data;
    assert_eq!(json["in_short"]["advice"], serde_json::json!(["wait"]));
}

#[test]
fn a_broken_promise_comes_before_all_other_advice() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 1, &[1, 2], None)]);
    ledger.append(20, vec![grant(2, 1, &[3], None)]);
    let recorded = ledger.read("w").unwrap();
    let figures = OpeningMeasures::new(&recorded, None, None);
    let data = report(&recorded, &figures, Language::English).data;
    assert_eq!(data["in_short"]["advice"], serde_json::json!(["explain"]));
}

//! What the reports say of a run that was made up.

use giliran_fairness::Resources;
use giliran_report::svg::escaped;
use giliran_report::{Figures, Language, Sheet, Unit, bilingual, text};
use giliran_wire::ledger::Order;

use super::files::{json, tables};
use super::{report, verdict};
use crate::{
    Bin, Ended, Forgeries, GroupRecord, Latency, OrderDenied, Payments, RunSummary, Stretch, Void,
};

const LATENCY: Latency = Latency { count: 10, p50: 1.0, p90: 2.0, p99: 3.0, p999: 4.0, max: 5.0 };

fn group(kind: &'static str, name: &str, applied: u64, won: u64, flagged: bool) -> GroupRecord {
    GroupRecord {
        kind,
        name: name.to_owned(),
        applied,
        won,
        ratio: Some(1.25),
        z: Some(2.0),
        flagged,
        in_time: Some(0.5),
        service: LATENCY,
        felt: LATENCY,
    }
}

fn figures() -> Figures {
    let mut figures = Figures::default();
    for (name, unit, value) in [
        ("scalper_share", Unit::Share, Ok(0.25)),
        ("inversion_rate", Unit::Share, Ok(0.002)),
        ("answered_in_time", Unit::Share, Ok(0.975)),
        ("recycle_capture", Unit::Share, Err(text!("none" | "nihil"))),
        ("honest_chance", Unit::Share, Ok(0.35)),
        ("numbers_twice", Unit::Count, Ok(0.0)),
    ] {
        let title = text!("a figure" | "sebuah angka");
        figures.add(name, title, unit, value).about(text!("About <it>." | "Tentang <itu>."));
    }
    figures
}

fn record() -> RunSummary {
    RunSummary {
        scenario: "made up".into(),
        about: "<script>alert(1)</script>".into(),
        seed: 3,
        scale: 0.5,
        speed: 10.0,
        opening: "w".into(),
        opened_at: giliran_wire::Timestamp::from_millis(1_796_367_600_000),
        timezone: "Asia/Jakarta".into(),
        order: Order::FirstCome,
        order_denied: None,
        ended: Ended::Complete,
        void: None,
        log_failed: None,
        took_s: 12.0,
        offices: 2,
        offices_unasked: 1,
        places: 100,
        free_before: 90,
        people: 200,
        attackers: vec![(
            "bots, fast".into(),
            Resources { identities: 20, accounts: 2, connections: 1 },
        )],
        requests: 400,
        answered: 390,
        bookings: 70,
        granted: 80,
        entered: 0,
        rejected: vec![("sold_out", 300)],
        unheard: 6,
        unanswered: 4,
        second_answers: 0,
        forgeries: Forgeries::default(),
        grants: LATENCY,
        rejections: LATENCY,
        payments: Payments::default(),
        confirmations: Latency::default(),
        lag: LATENCY,
        figures: figures(),
        sampled: true,
        groups: vec![
            group("cohort", "city, fibre", 150, 60, true),
            group("cohort", "country", 50, 10, false),
            group("scalper", "bots, fast", 20, 20, false),
        ],
        tested: 2,
        deciles: (0..10).map(|i| f64::from(i) / 10.0).collect(),
        by_office: vec![("a".into(), 80)],
        from_s: -5.0,
        bin_s: 0.5,
        series: vec![Bin { requests: 7, free: Some(10), ..Bin::default() }; 100],
        rush: Stretch {
            from_s: -1.0,
            bin_s: 0.1,
            bins: vec![Bin { granted: 1, free: Some(10), ..Bin::default() }; 110],
        },
    }
}

#[test]
fn the_page_needs_nothing_from_outside_and_says_everything() {
    let record = record();
    let page = report(&record, Language::English).html();
    for outside in ["http:", "https:", "<script", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for sentence in verdict(&record, Language::English) {
        assert!(page.contains(&escaped(&sentence)), "{sentence}");
    }
    for said in [
        "city, fibre",
        "bots, fast",
        "no place left",
        "Friday, 4 December 2026, 14:00:00 WIB",
        "About &lt;it&gt;.",
        "times as fast",
    ] {
        assert!(page.contains(said), "{said}");
    }
    for tag in ["svg", "figure", "table", "tr", "td", "th", "ul", "li", "dl", "div", "h2", "p"] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

#[test]
fn the_verdict_is_of_what_happened() {
    let mut record = record();
    let said = verdict(&record, Language::English).join("\n");
    for part in [
        "no queue number was given twice",
        "Of 90 free places, 80 were granted in 70 bookings; 10 are free at the end.",
        "the loser had come first in 0.20 % of the cases: as under pure first-come",
        "Scalpers hold 25.0 % of the granted places; they are 9.09 % of those who asked, and bought for first come, first served.",
        "Not served evenly: people: city, fibre 1.25 times the average (z 2.0)",
        "97.5 % of the requests were settled",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!said.contains("Void") && !said.contains("stopped answering"), "{said}");

    record.ended = Ended::EngineGone { at_s: 41.6 };
    record.void = Some(Void { lag_ms: 80.0 });
    record.order_denied = Some(OrderDenied::AtOnce(7));
    record.order = Order::Draw;
    record.second_answers = 2;
    let said = verdict(&record, Language::English);
    assert!(said[0].starts_with("The engine stopped answering at second 42"), "{said:?}");
    assert!(said[1].starts_with("Void: one request in a hundred left more than 80 ms"), "{said:?}");
    assert!(
        said[2].contains("scalpers bought for a draw, but 7 bookings were granted at once"),
        "{said:?}"
    );
    assert!(said[3].starts_with("Wrong: 0 queue numbers given twice, 2 second answers"));
    record.ended = Ended::Interrupted { at_s: 3.0 };
    assert!(verdict(&record, Language::English)[0].starts_with("It was interrupted at second 3"));
    assert!(report(&record, Language::English).text().contains("- Void: one request in a hundred"));
}

#[test]
fn what_became_of_holds_is_said_where_there_are_any() {
    let mut record = record();
    assert!(!verdict(&record, Language::English).join("\n").contains("held bookings"));
    record.payments = Payments {
        held: 70,
        paid: 40,
        rejected: 3,
        later: 20,
        left: 7,
        lapsed: 5,
        places_paid: 44,
        scalpers_paid: 11,
        ..Payments::default()
    };
    let said = verdict(&record, Language::English).join("\n");
    assert!(
        said.contains(
            "Of 70 held bookings 40 were paid, 3 payments were rejected, as too late, 20 were to be \
             paid after the run had ended, 7 were left to lapse, of which 5 were seen to have \
             lapsed."
        ),
        "{said}"
    );
    record.payments.overdue = 2;
    assert!(
        verdict(&record, Language::English)
            .join("\n")
            .contains("lapsed and 2 were held seconds after")
    );
    assert!(report(&record, Language::English).html().contains("<th>left to lapse</th><td>7</td>"));
}

#[test]
fn files_hold_every_observation_once() {
    let record = record();
    let [measures, groups, latency, series, rush, deciles] =
        tables(&record).map(|sheet| sheet.text());
    assert_eq!(measures.lines().count(), 1 + 5, "one has no value");
    assert_eq!(groups.lines().count(), 1 + 3);
    assert!(groups.contains("made up,3,cohort,\"city, fibre\",150,60,1.25,2,true,0.5"), "{groups}");
    assert_eq!(latency.lines().count(), 1 + 4 + 2 * 3);
    assert_eq!(series.lines().count(), 1 + 100);
    assert_eq!(rush.lines().count(), 1 + 110);
    assert!(series.lines().nth(2).is_some_and(|row| row.starts_with("made up,3,-4.5,0.5,0,7,")));
    assert_eq!(deciles.lines().count(), 1 + 10);
    let json = json(&record);
    assert_eq!(json["run"]["ended"]["how"], "complete");
    assert_eq!(json["run"]["rejected"][0][1], 300);
    assert_eq!(
        json["verdict"].as_array().map(Vec::len),
        Some(verdict(&record, Language::English).len())
    );
}

#[test]
fn what_forgers_come_to_is_said() {
    let mut record = record();
    assert!(!verdict(&record, Language::English).join(" ").contains("other people's bookings"));
    record.forgeries = Forgeries { replays: 9, replayed: 0, forged: 8, changed: 0, looked: 5 };
    let said = verdict(&record, Language::English).join(" ");
    assert!(said.contains("Of 9 requests that were sent once more"), "{said}");
    assert!(said.contains("Of 8 attempts to give back, move or look up other"), "{said}");
    record.forgeries = Forgeries { replayed: 1, changed: 2, ..record.forgeries };
    let said = verdict(&record, Language::English).join(" ");
    assert!(said.contains("Wrong: of 9 requests"), "{said}");
    assert!(said.contains("Wrong: of 8 attempts") && said.contains("2 changed"), "{said}");
}

#[test]
fn every_name_in_a_file_is_in_the_document() {
    let document = include_str!("../../../../docs/surge.md");
    let has = |name: &str| assert!(document.contains(&format!("`{name}`")), "{name}");
    let run = record();
    for sheet in tables(&run) {
        has(sheet.name);
        sheet.text().lines().next().unwrap().split(',').for_each(has);
    }
    let json = json(&run);
    fields(&json).for_each(has);
    let run = &json["run"];
    fields(run).for_each(has);
    fields(&json["in_short"]).for_each(has);
    for part in ["payments", "forgeries", "ended", "lag", "rush"] {
        fields(&run[part]).for_each(has);
    }
    for list in ["figures", "series"] {
        fields(&run[list][0]).for_each(has);
    }
}

/// The names in a JSON object.
fn fields(object: &serde_json::Value) -> impl Iterator<Item = &str> {
    object.as_object().unwrap().keys().map(String::as_str)
}

#[test]
fn both_languages_say_everything_with_the_same_numbers() {
    let with_all = RunSummary {
        ended: Ended::EngineGone { at_s: 3.0 },
        void: Some(Void { lag_ms: 1_234.0 }),
        order_denied: Some(OrderDenied::TooSoon { half_ms: 1.5, length_ms: 500 }),
        entered: 3,
        second_answers: 4,
        forgeries: Forgeries { replays: 9, replayed: 1, forged: 8, changed: 2, looked: 5 },
        payments: Payments { held: 70, rejected: 1, unanswered: 2, left: 7, lapsed: 5, ..PAID },
        ..record()
    };
    for mut record in [record(), with_all] {
        // The scenario's own words stand as they are.
        record.about = "7".to_owned();
        let [english, indonesian] = Language::ALL.map(|language| report(&record, language));
        let names = ["made up"];
        let none = Vec::<String>::new();
        assert_eq!(bilingual::differences(&english.html(), &indonesian.html(), &names), none);
        assert_eq!(bilingual::mixtures(&english.text(), &indonesian.text(), &names), none);
        assert_eq!(english.json(), indonesian.json(), "files for machines have one language");
        let texts = |sheets: &[Sheet]| sheets.iter().map(Sheet::text).collect::<Vec<String>>();
        assert_eq!(texts(&english.sheets), texts(&indonesian.sheets));
    }
}

const PAID: Payments = Payments {
    held: 0,
    paid: 40,
    rejected: 0,
    unanswered: 0,
    later: 20,
    left: 0,
    lapsed: 0,
    overdue: 6,
    places_paid: 44,
    scalpers_paid: 11,
};

#[test]
fn what_to_do_follows_from_the_figures_by_stated_rules() {
    let advised = |change: &dyn Fn(&mut RunSummary)| {
        let mut record = record();
        change(&mut record);
        json(&record)["in_short"]["advice"].to_string()
    };
    // Scalpers are 20 of 220 and hold a quarter; one group was not served evenly, and some
    // waited too long.
    assert_eq!(advised(&|_| {}), r#"["capacity","order:draw","groups"]"#);
    // Under a draw it is their number.
    let drawn = |record: &mut RunSummary| record.order = Order::Draw;
    assert_eq!(advised(&drawn), r#"["capacity","identities","groups"]"#);
    let late = |record: &mut RunSummary| record.void = Some(Void { lag_ms: 80.0 });
    assert_eq!(advised(&late), r#"["repeat"]"#);
    let stopped = |record: &mut RunSummary| record.ended = Ended::Interrupted { at_s: 1.0 };
    assert_eq!(advised(&stopped), r#"["repeat"]"#);
    let wrong = |record: &mut RunSummary| record.second_answers = 1;
    assert_eq!(advised(&wrong), r#"["explain"]"#);
    let calm = |record: &mut RunSummary| {
        record.figures = Figures::default();
        record.groups.iter_mut().for_each(|group| group.flagged = false);
    };
    assert_eq!(advised(&calm), "[]");
    let mut record = record();
    calm(&mut record);
    assert!(report(&record, Language::English).text().contains("nothing needs to be changed"));
}

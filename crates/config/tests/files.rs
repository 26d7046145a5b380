//! Files, the problems they have, and what they resolve to.

use giliran_config::{ApplicantPattern, BATAM, Config, EXAMPLE, describe, parse};
use giliran_wire::Timestamp;
use giliran_wire::ledger::{BookableUntil, Leftovers};
use proptest::prelude::*;

const WEEK_MS: u64 = 7 * 24 * 3_600_000;

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

const MINIMAL: &str = r#"
[[opening]]
id = "drill-1"
opens_at = "2026-11-27T14:00:00+07:00"
closes_at = "2026-11-29T14:00:00+07:00"
dates = ["2026-11-30", "2026-12-01"]
[[office]]
id = "a"
quota = 3
"#;

/// Every problem of `MINIMAL` with `from` replaced by `to`.
fn check(from: &str, to: &str) -> String {
    let text = MINIMAL.replacen(from, to, 1);
    assert_ne!(text, MINIMAL, "nothing was replaced");
    match parse(&text, "g.toml") {
        Ok(_) => "fine".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn answers_go_to_inboxes_alone() {
    let with =
        |prefix: &str| check("[[opening]]", &format!("reply_prefixes = [{prefix}]\n[[opening]]"));
    for good in ["\"_INBOX.\"", "\"_INBOX.gateway.\", \"_R_.\"", "\"answers.\""] {
        assert_eq!(with(good), "fine", "{good}");
    }
    for bad in ["", "\"\"", "\".\"", "\"_INBOX\"", "\"_INBOX.>\"", "\"_INBOX.*.\"", "\"_INBOX..\""]
    {
        assert!(with(bad).contains("reply_prefixes: "), "{bad}");
    }
    for broker in ["\"$\"", "\"$JS.\"", "\"$JS.API.STREAM.DELETE.\"", "\"$KV.\""] {
        assert!(with(broker).contains("reply_prefixes: "), "{broker}");
    }
    for own in ["giliran.", "giliran.v1.", "giliran.v1.ledger."] {
        let told = with(&format!("\"{own}\""));
        assert!(
            told.contains("Giliran's own subjects begin with \"giliran.v1.\""),
            "{own}: {told}"
        );
    }
}

#[test]
fn problems_name_line_and_field() {
    assert_eq!(
        check("quota = 3", "quota = 0"),
        "g.toml:9:9: office[0].quota: 0 given, 1 to 65535 allowed"
    );
    assert_eq!(
        check("quota = 3", "quota = 65536"),
        "g.toml:9:9: office[0].quota: 65536 given, 1 to 65535 allowed"
    );
    assert_eq!(
        check("quota = 3", ""),
        "g.toml:7:1: office[0].quota: missing: an office needs a quota, or sessions with quotas"
    );
    assert!(
        check("quota = 3", "quota = 3\ncuota = 4")
            .contains("g.toml:10:1: office[0].cuota: unknown field")
    );
    assert!(
        check("quota = 3", "quota = 3\n[[office]]\nid = \"a\"\nquota = 1")
            .contains("office[1].id: a second office `a`")
    );
    assert!(check("id = \"a\"", "id = \"A\"").contains("`A` is not an id"));
    assert!(
        check("\"2026-11-29T", "\"2026-11-26T")
            .contains("opening[0].closes_at: not after opens_at")
    );
    assert!(
        check("\"2026-12-01\"", "\"2026-12-41\"")
            .contains("opening[0].dates: `2026-12-41` is not a date")
    );
    assert!(check("[[office]]\nid = \"a\"\nquota = 3", "").contains("office: there is none"));
    for (none, said) in [
        (
            "office = []\n[schedule]\ntimezone = \"UTC\"\nopens = \"Fri 14:00\"\nlasts = \"1h\"\n\
          covers = [\"Mon\"]\n",
            "office: there is none",
        ),
        ("opening = []\n[[office]]\nid = \"a\"\nquota = 3\n", "schedule: missing"),
    ] {
        let problems = parse(none, "g.toml").expect_err("an empty list").to_string();
        assert!(problems.contains(said), "{problems}");
    }
    assert!(
        check("quota = 3", "quota = { Sun = 3 }")
            .contains("opening[0].dates: no office has places")
    );
    assert!(
        check("[[opening]]", "subject_prefix = \"a.>\"\n[[opening]]").contains("subject_prefix")
    );
    assert!(
        check("[[opening]]", "applicant_pattern = \"(\"\n[[opening]]")
            .contains("no regular expression")
    );
    assert!(
        check("[[opening]]", "applicant_pattern = \"\"\n[[opening]]")
            .contains("g.toml:2:21: applicant_pattern: empty")
    );
    assert!(check("[[opening]]", "nonsense").contains("g.toml:2:"));
}

#[test]
fn problems_of_rules_and_beacon_say_what_would_be_right() {
    for (rule, words) in [
        ("max_party = 6", "rules.max_party: 6 given, 1 to 5 allowed"),
        ("order = \"last-come\"", "rules.order: expected \"first-come\""),
        ("order = { rounds = \"0s\" }", "`0s` is not a duration above zero"),
        ("hold = \"soon\"", "rules.hold: `soon` is not a duration"),
        ("[rules.returns]\ncancelled = { at = [] }", "would never come back"),
        ("[rules.returns]\ncancelled = { at = [\"25:00\"] }", "`25:00` is not a time of day"),
        ("[rules.returns]\nexpired = { delayed = [\"60m\", \"10m\"] }", "shortest and longest"),
    ] {
        let said = check("[[opening]]", &format!("[rules]\n{rule}\n[[opening]]"));
        assert!(said.contains(words), "{rule}: {said}");
    }
    for (beacon, words) in [
        ("network = \"slownet\"", "beacon: expected network = \"quicknet\""),
        ("network = \"quicknet\"\ngenesis = 1", "beacon: expected network"),
        ("key = \"00\"\ngenesis = 1\nperiod_s = 3", "beacon.key: expected the 192"),
        (
            &format!("key = \"{}\"\ngenesis = 1\nperiod_s = 3", "0a".repeat(96)),
            "beacon.key: these digits are not a key",
        ),
        ("period_s = 0", "beacon.period_s: 0 given"),
    ] {
        let said = check("[[opening]]", &format!("[beacon]\n{beacon}\n[[opening]]"));
        assert!(said.contains(words), "{beacon}: {said}");
    }
}

#[test]
fn draws_mix_in_rounds_of_a_known_network_or_of_an_own_one() {
    let with = |beacon: &str| {
        let text = MINIMAL.replacen("[[opening]]", &format!("[beacon]\n{beacon}\n[[opening]]"), 1);
        parse(&text, "g.toml").unwrap().beacon
    };
    let quicknet = with("network = \"quicknet\"").unwrap();
    assert_eq!(quicknet.period_ms, 3_000);
    let key = const_hex::encode(quicknet.key);
    let own = with(&format!("key = \"{key}\"\ngenesis = 7\nperiod_s = 30")).unwrap();
    assert_eq!((own.key, own.period_ms), (quicknet.key, 30_000));
    assert_eq!(parse(MINIMAL, "g.toml").unwrap().beacon, None);
}

#[test]
fn every_problem_is_said_at_once() {
    let text = MINIMAL.replace("quota = 3", "quota = 0").replace("drill-1", "drill 1");
    let problems = parse(&text, "g.toml").unwrap_err().problems;
    assert_eq!(problems.len(), 2);
    assert!(problems[0].line < problems[1].line);
}

#[test]
fn openings_that_overlap_are_refused() {
    let second = MINIMAL.replace("drill-1", "drill-2");
    let (opening, _) = second.split_once("[[office]]").unwrap();
    let said = parse(&format!("{MINIMAL}{opening}"), "g.toml").unwrap_err().to_string();
    assert!(said.contains("belongs to opening `drill-1` already"), "{said}");
    let same = MINIMAL.split_once("[[office]]").unwrap().0;
    let said = parse(&format!("{MINIMAL}{same}"), "g.toml").unwrap_err().to_string();
    assert!(said.contains("a second opening `drill-1`"), "{said}");
}

fn schedule(replace: &str, with: &str) -> Result<Config, String> {
    parse(&BATAM.replacen(replace, with, 1), "g.toml").map_err(|e| e.to_string())
}

#[test]
fn schedules_are_checked() {
    let said = |from, to| schedule(from, to).unwrap_err();
    assert!(said("Asia/Jakarta", "Asia/Atlantis").contains("`Asia/Atlantis` is not a time zone"));
    assert!(said("Fri 14:00", "Friday 2pm").contains("is not a weekday and time"));
    assert!(
        said("[\"Mon\", \"Tue\", \"Wed\", \"Thu\", \"Fri\"]", "[]")
            .contains("the schedule yields nothing")
    );
    assert!(said("48h", "200h").contains("longer than a week"));
}

#[test]
fn a_friday_opens_the_week_after() {
    let config = schedule("48h", "48h").unwrap();
    let due = config.due(at("2026-11-26T00:00:00Z"), WEEK_MS);
    assert_eq!(due.len(), 1);
    let opening = &due[0];
    assert_eq!(opening.id, "2026-W49");
    assert_eq!(opening.opens_at, at("2026-11-27T14:00:00+07:00"));
    assert_eq!(opening.closes_at, at("2026-11-29T14:00:00+07:00"));
    assert_eq!(opening.slots.len(), 5 * (5 + 4));
    assert_eq!(opening.slots[0].date.to_string(), "2026-11-30");
    let total: u32 = opening.slots.iter().map(|slot| u32::from(slot.quota)).sum();
    assert_eq!(total, 5 * (200 + 50 + 15 + 80 + 40 + 40 + 30));
    assert!(describe(opening).contains("45 slots, 2275 places"), "{}", describe(opening));
    // While it is open, the next one is due as well.
    let due = config.due(at("2026-11-28T00:00:00Z"), WEEK_MS);
    let ids: Vec<_> = due.iter().map(|o| o.id.as_str()).collect();
    assert_eq!(ids, ["2026-W49", "2026-W50"]);
}

#[test]
fn closed_days_and_the_turn_of_the_year() {
    let config = schedule("48h", "48h").unwrap();
    let christmas = config.due(at("2026-12-18T00:00:00Z"), 1).remove(0);
    assert_eq!(christmas.id, "2026-W52");
    assert!(christmas.slots.iter().all(|slot| slot.date.to_string() != "2026-12-25"));
    let next = config.due(at("2026-12-24T00:00:00Z"), 1).remove(0);
    assert_eq!(next.id, "2026-W53");
    assert_eq!(next.slots[0].date.to_string(), "2026-12-28");
    assert_eq!(config.due(at("2027-01-01T00:00:00Z"), 1)[0].id, "2027-W01");
}

#[test]
fn summer_time_moves_the_instant_not_the_hour() {
    let config = schedule("Asia/Jakarta", "Europe/Berlin").unwrap();
    let before = config.due(at("2026-10-22T00:00:00Z"), 1).remove(0);
    let after = config.due(at("2026-10-29T00:00:00Z"), 1).remove(0);
    assert_eq!(before.opens_at, at("2026-10-23T12:00:00Z"));
    assert_eq!(after.opens_at, at("2026-10-30T13:00:00Z"));
}

#[test]
fn the_dev_opening_is_open_now() {
    let now = at("2026-11-27T10:00:00Z");
    let config = giliran_config::dev(now);
    let due = config.due(now, 0);
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].id.as_str(), due[0].opens_at), ("dev", now));
    assert_eq!(due[0].slots[0].date.to_string(), "2026-11-30");
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        let _ = parse(&text, "g.toml");
    }

    #[test]
    fn any_cut_and_splice_of_a_good_file_is_survived(cut in 0usize..2000, byte in any::<char>()) {
        let mut text = BATAM.to_owned();
        let cut = (0..=cut.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.insert(cut, byte);
        let _ = parse(&text, "g.toml");
        let _ = parse(&text[..cut], "g.toml");
    }
}

#[test]
fn places_that_would_come_back_after_their_day_are_refused() {
    let text = |returns: &str| {
        format!(
            r#"
            [[opening]]
            id = "drill"
            opens_at = "2026-11-27T18:00:00Z"
            closes_at = "2026-11-27T19:00:00Z"
            dates = ["2026-11-28", "2026-12-05"]
            [rules]
            hold = "2h"
            max_changes = 3
            across_openings = true
            [rules.returns]
            {returns}
            [[office]]
            id = "a"
            name = "A"
            quota = 5
            "#
        )
    };
    let config = parse(&text("cancelled = \"immediate\""), "f.toml").unwrap();
    assert_eq!(config.rules.max_changes, 3);
    assert!(config.rules.across_openings);
    for late in ["cancelled = { at = [\"17:00\"] }", "expired = { delayed = [\"9h\", \"10h\"] }"] {
        let problems = parse(&text(late), "f.toml").unwrap_err().to_string();
        assert!(problems.contains("nobody could have it any more"), "{late}: {problems}");
        assert!(problems.contains("2026-11-28 in opening drill"), "{late}: {problems}");
    }
    parse(&text("cancelled = { at = [\"20:00\"] }"), "f.toml").unwrap();
    // A hold that outlasts the day, whatever the rules for returned places.
    let long = text("").replace("hold = \"2h\"", "hold = \"6h\"");
    let problems = parse(&long, "f.toml").unwrap_err().to_string();
    assert!(problems.contains("rules.hold: a returned place of 2026-11-28"), "{problems}");
    parse(&text("").replace("hold = \"2h\"", "hold = \"5h\""), "f.toml").unwrap();
}

#[test]
fn an_opening_written_out_may_have_a_time_zone_of_its_own() {
    let zone = |text: &str| {
        let config = parse(text, "g.toml").unwrap();
        config.due(at("2026-11-27T08:00:00Z"), WEEK_MS)[0].timezone.clone()
    };
    assert_eq!(zone(MINIMAL), "UTC");
    let own = MINIMAL.replace("dates =", "timezone = \"Asia/Jakarta\"\ndates =");
    assert_eq!(zone(&own), "Asia/Jakarta");
    let problem = check("dates =", "timezone = \"Batam\"\ndates =");
    assert!(problem.contains("opening[0].timezone: `Batam` is not a time zone"), "{problem}");
    // The rules are tried in that zone: 23:00 in Jakarta is before the next day.
    let returns = "[rules.returns]\ncancelled = { at = [\"23:00\"] }\n[[office]]";
    let late = own
        .replace("[[office]]", returns)
        .replace("[\"2026-11-30\", \"2026-12-01\"]", "[\"2026-11-28\"]");
    parse(&late, "g.toml").unwrap();
    let early = late.replace("23:00", "13:00");
    assert!(parse(&early, "g.toml").unwrap_err().to_string().contains("could only come back"));
}

#[test]
fn a_day_that_the_schedule_opens_too_is_refused() {
    let schedule = "[schedule]\ntimezone = \"Asia/Jakarta\"\nopens = \"Fri 14:00\"\nlasts = \"48h\"\n\
                    covers = [\"Mon\"]\n[[opening]]";
    let both = check("[[opening]]", schedule);
    assert!(both.contains("opening[0].dates: the schedule opens 2026-11-30 as well"), "{both}");
    // Whenever it opens; not where it is closed, or covers other days.
    assert_ne!(check("[[opening]]", &schedule.replace("Fri 14:00", "Wed 14:00")), "fine");
    for (from, to) in [
        ("covers = [\"Mon\"]", "covers = [\"Mon\"]\nclosed = [\"2026-11-30\"]"),
        ("covers = [\"Mon\"]", "covers = [\"Wed\"]"),
    ] {
        let other = schedule.replace(from, to);
        assert_eq!(check("[[opening]]", &other), "fine", "{other}");
    }
}

/// By the clock on the wall: the same hour whatever the season, and never into the
/// next one's window.
#[test]
fn a_window_lasts_by_the_clock_on_the_wall() {
    let berlin = |lasts: &str| {
        let text = BATAM.replace("Asia/Jakarta", "Europe/Berlin").replace("48h", lasts);
        parse(&text, "g.toml").unwrap()
    };
    // Summer time begins on 29 March 2026 and ends on 25 October.
    let closes = |config: &Config, now: &str| config.due(at(now), 1)[0].closes_at;
    let midnight = berlin("58h");
    assert_eq!(closes(&midnight, "2026-03-20T20:00:00Z"), at("2026-03-22T23:00:00Z"));
    assert_eq!(closes(&midnight, "2026-03-27T20:00:00Z"), at("2026-03-29T22:00:00Z"));
    assert_eq!(closes(&midnight, "2026-10-23T20:00:00Z"), at("2026-10-25T23:00:00Z"));
    let week = berlin("168h");
    let records = week.ahead(at("2026-01-01T00:00:00Z"), 104);
    assert_eq!(records.len(), 104);
    for pair in records.windows(2) {
        assert_eq!(pair[0].closes_at, pair[1].opens_at, "{}", pair[0].id);
    }
    // A draw is drawn before its first day in every week, the change included.
    let draw = BATAM.replace("Asia/Jakarta", "Europe/Berlin").replace("48h", "58h");
    let draw = draw.replace("\"first-come\"", "\"draw\"");
    let draw = parse(&draw, "g.toml").unwrap();
    for record in draw.ahead(at("2026-01-01T00:00:00Z"), 104) {
        assert_eq!(draw.objections(&record), Vec::<String>::new());
    }
}

#[test]
fn the_rules_of_time_and_people_are_read() {
    let rules = |lines: &str| {
        let text = MINIMAL.replacen("[[opening]]", &format!("[rules]\n{lines}\n[[opening]]"), 1);
        parse(&text, "g.toml").map(|config| config.rules).map_err(|e| e.to_string())
    };
    let plain = rules("").unwrap();
    assert_eq!((plain.max_bookings, plain.max_changes), (3, 3));
    assert_eq!(plain.bookable_until, BookableUntil::DayBegins);
    assert_eq!(plain.leftovers, Leftovers::None);
    let until =
        |text: &str| rules(&format!("bookable_until = \"{text}\"")).map(|r| r.bookable_until);
    assert_eq!(until("12:00"), Ok(BookableUntil::TimeOfDay { minute: 720 }));
    assert_eq!(until("-18h"), Ok(BookableUntil::Before { ms: 18 * 3_600_000 }));
    for bad in ["noon", "24:00", "+6:00", "-6:00", "-0h", "18h", ""] {
        assert!(until(bad).unwrap_err().contains("rules.bookable_until"), "{bad}");
    }
    assert_eq!(rules("leftovers = \"first-come\"").unwrap().leftovers, Leftovers::FirstCome);
    assert!(rules("leftovers = \"draw\"").unwrap_err().contains("\"none\" or \"first-come\""));
    assert!(rules("max_bookings = 0").unwrap_err().contains("1 to 100 allowed"));
}

/// What cannot mean anything is refused, with what would.
#[test]
fn nonsense_is_refused() {
    for (from, to, words) in [
        ("dates =", "timezone = \"localtime\"\ndates =", "`localtime` is not a time zone"),
        ("dates =", "timezone = \"Factory\"\ndates =", "`Factory` is not a time zone"),
        ("\"2026-12-01\"", "\"2025-12-01\"", "2025-12-01 could be booked until"),
        ("\"2026-12-01\"", "\"1999-12-01\"", "`1999-12-01` is not from 2000-01-01"),
        ("\"2026-12-01\"", "2026-12-01", "put it in quotes, as \"2026-12-01\""),
        ("closes_at = \"2026", "closes_at = \"0000", "is not from 2000-01-01 to 9999-12-29"),
        ("quota = 3", "quota = 3\nname = \"a\\u0000b\"", "office[0].name: control characters"),
    ] {
        let said = check(from, to);
        assert!(said.contains(words), "{to}: {said}");
    }
    let unquoted = MINIMAL.replace(
        "opens_at = \"2026-11-27T14:00:00+07:00\"",
        "opens_at = 2026-11-27T14:00:00+07:00",
    );
    assert!(parse(&unquoted, "g.toml").unwrap_err().to_string().contains("put it in quotes"));
    for (from, to, words) in [
        ("Fri 14:00", "Fri +7:00", "is not a weekday and time"),
        ("Fri 14:00", "Fri -0:30", "is not a weekday and time"),
        (
            "[rules]",
            "[rules]\nreturns = { expired = { at = [\"-0:30\"] } }",
            "`-0:30` is not a time of day",
        ),
    ] {
        assert!(BATAM.contains(from), "{from}");
        assert!(schedule(from, to).unwrap_err().contains(words), "{to}");
    }
}

/// What can stay and means nothing is told.
#[test]
fn what_means_nothing_is_warned_of() {
    let warned = |text: &str| {
        let config = parse(text, "g.toml").unwrap();
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for shipped in [BATAM, EXAMPLE] {
        assert_eq!(warned(shipped), "");
    }
    let zone = |name: &str| {
        warned(&MINIMAL.replace("dates =", &format!("timezone = \"{name}\"\ndates =")))
    };
    assert!(zone("Etc/GMT-7").contains("`Etc/GMT-7` is 7 hours ahead of UTC"));
    assert!(zone("Etc/GMT+5").contains("5 hours behind UTC"));
    assert_eq!(zone("Etc/GMT"), "");
    let rules = |lines: &str| warned(&format!("[rules]\n{lines}\n{MINIMAL}"));
    assert!(rules("max_party = 4").contains("larger than any quota (3)"));
    assert!(
        rules("max_party = 3\nmax_per_account = 2").contains("larger than any max_per_account (2)")
    );
    let at_once = "[rules.returns]\ncancelled = \"immediate\"";
    assert!(rules(at_once).contains("goes to nobody but those who wait: set leftovers"));
    let both = format!("hold = \"1h\"\n{at_once}\nexpired = \"immediate\"");
    assert!(rules(&both).contains("goes to nobody: set leftovers"));
    assert_eq!(rules(&format!("leftovers = \"first-come\"\n{at_once}")), "");
    assert!(rules("[rules.returns]\nexpired = { at = [\"07:00\"] }").contains("nothing expires"));
    let batam = |from, to: &str| warned(&BATAM.replacen(from, to, 1));
    assert!(
        batam("closed   = [", "closed   = [\"2026-12-26\", ").contains("2026-12-26 closes nothing")
    );
    assert!(batam("quota = 80", "quota = { Mon = 80, Sat = 4 }").contains("places on Saturdays"));
}

#[test]
fn an_applicants_whole_id_is_as_the_pattern_says() {
    let fits = |pattern: &str, id: &str| ApplicantPattern::new(pattern).unwrap().fits(id);
    assert!(fits("[0-9]{4}", "1234"));
    for other in ["12345", "x1234", "1234\n", "1234 ", "\n1234", "123", ""] {
        assert!(!fits("[0-9]{4}", other) && !fits("^[0-9]{4}$", other), "{other:?}");
        assert!(!fits("(?m)^[0-9]{4}$", other), "{other:?}");
    }
    // One person, the digits of several scripts.
    for other in ["١٢٣٤", "१२३४", "１２３４", "12３4"] {
        assert!(!fits(r"\d{4}", other) && !fits(r"\w+", other), "{other}");
    }
    // The longer alternative is a match of the whole.
    assert!(fits("12|1234", "1234") && !fits("12|1234", "123"));
    assert!(fits("[A-Z]{2}é?[0-9]+", "ABé7"));
    for bad in ["(", "a)|(b", r"\p{Nd}+", "(?x) [0-9]{4} # all of it"] {
        assert!(ApplicantPattern::new(bad).is_err(), "{bad}");
    }
}

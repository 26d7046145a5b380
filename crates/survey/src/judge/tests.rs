//! Pictures with one fault each: the check that is to notice does, and says what to do.

use giliran_wire::answer::Phase;
use giliran_wire::catalogue::{Order, Returns};
use giliran_wire::picture::{
    Known, Openings, Picture, Places, Process, Replica, Server, ServerSaid, Slot, Storage, Stream,
    Verdict,
};
use giliran_wire::service::Standing;
use giliran_wire::{Position, Timestamp};

use super::*;
use crate::ask::NotAnswered;

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn process(role: &str, state: &str) -> Process {
    let engine = role == "engine";
    let standing = Standing {
        role: role.to_owned(),
        prefix: "giliran.v1".to_owned(),
        instance: engine.then(|| format!("{state}-1")),
        state: state.to_owned(),
        ready: ["active", "following"].contains(&state),
        epoch: Some(3),
        lag_blocks: Some(0),
        lag_ms: Some(0),
        clock_offset_ms: Some(4),
        commit: Some("abc".to_owned()),
        key: engine.then(|| "0c9ab2f35d1e4877".to_owned()),
        config: engine.then(|| "b53e064b3ba80167".to_owned()),
        ..Standing::default()
    };
    Process { id: format!("{role}-{state}"), version: "0.1.0".to_owned(), started: None, standing }
}

fn opening() -> giliran_wire::picture::Opening {
    let described = include_str!("../../../wire/tests/fixtures/catalogue/first_come.json");
    let mut offers: giliran_wire::catalogue::OpeningDescription =
        serde_json::from_str(described).expect("a description");
    (offers.id, offers.state) = ("w".to_owned(), Phase::Scheduled);
    let (offices, days) = Default::default();
    let places = giliran_wire::picture::Places { quota: 80, free: 80, ..Default::default() };
    giliran_wire::picture::Opening { offers, places, offices, days, slots: Vec::new() }
}

fn picture() -> Picture {
    let follower = Replica { name: "n2".into(), current: true, offline: false, lag: 0 };
    let stream = Stream {
        name: "GILIRAN_V1_LEDGER_1".into(),
        messages: 9,
        bytes: 900,
        last_seq: 9,
        replicas: 2,
        leader: Some("n1".into()),
        followers: vec![follower],
    };
    let server = |name: &str| Server {
        monitor: format!("http://{name}:8222"),
        said: Known::Known(ServerSaid {
            name: name.into(),
            version: "2.12.2".into(),
            sync_always: true,
            storage: Storage { used: 10, limit: Some(100) },
            certificate_until: Some(at("2027-11-27T00:00:00Z")),
        }),
    };
    let now = at("2026-11-27T06:50:00Z");
    let openings =
        Openings { now, as_of: Position { epoch: 3, seq: 9 }, openings: vec![opening()] };
    Picture {
        taken_at: now,
        prefix: "giliran.v1".into(),
        processes: Known::Known(vec![
            process("engine", "active"),
            process("engine", "standby"),
            process("feed", "following"),
            process("persist", "following"),
        ]),
        openings: Known::Known(openings),
        streams: Known::Known(vec![stream]),
        storage: Known::Known(Storage { used: 10, limit: None }),
        servers: vec![server("n1"), server("n2")],
        rates: None,
    }
}

fn flight() -> Flight {
    let probe = |operation| Probe { operation, answered: Ok("not_found".into()) };
    Flight {
        opening: "w".into(),
        compared: Known::Known(Vec::new()),
        unfinished: Known::Known(Vec::new()),
        probes: vec![probe("lookup"), probe("admin.closes_at")],
        backups: Vec::new(),
    }
}

#[test]
fn backups_are_looked_at_where_they_are_named() {
    let picture = picture();
    let made = |hours: u64| Known::Known(picture.taken_at.minus_millis(hours * 3_600_000));
    let with = |all: &[(&str, Known<Timestamp>)]| {
        let backup =
            |(of, made): &(&str, Known<Timestamp>)| Backup { of: (*of).into(), made: made.clone() };
        Flight { backups: all.iter().map(backup).collect(), ..flight() }
    };
    let named = |flight: &Flight| judged(&picture, flight).iter().any(|one| one.name == "backups");
    assert!(!named(&flight()));
    let fresh = with(&[("store", made(20)), ("ledger", made(25))]);
    assert!(named(&fresh) && judged(&picture, &fresh).iter().all(|one| one.verdict == Verdict::Go));
    let old = with(&[("store", made(20)), ("ledger", made(27))]);
    let (name, verdict, found) = red(&picture, &old);
    assert_eq!((name.as_str(), verdict), ("backups", Verdict::NoGo));
    assert!(found.starts_with("ledger: the newest is of ") && found.contains("27 h"), "{found}");
    let missing = with(&[("store", made(1)), ("ledger", Known::Unknown("it is away".into()))]);
    let (name, verdict, found) = red(&picture, &missing);
    assert_eq!((name.as_str(), verdict), ("backups", Verdict::Unknown));
    assert_eq!(found, "ledger: it is away");
    // What is red is not hidden by what is not known.
    let both = with(&[("store", made(100)), ("ledger", Known::Unknown("it is away".into()))]);
    assert_eq!(red(&picture, &both).1, Verdict::NoGo);
}

fn judged(picture: &Picture, flight: &Flight) -> Vec<Check> {
    preflight(picture, &Limits::default(), &[], flight)
}

/// The one check that is not green, with what it found.
fn red(picture: &Picture, flight: &Flight) -> (String, Verdict, String) {
    let mut checks = judged(picture, flight);
    checks.retain(|check| check.verdict != Verdict::Go);
    assert_eq!(checks.len(), 1, "{checks:#?}");
    let check = checks.remove(0);
    assert!(check.remedy.is_some(), "{check:?}");
    (check.name, check.verdict, check.found)
}

fn processes(picture: &mut Picture) -> &mut Vec<Process> {
    match &mut picture.processes {
        Known::Known(processes) => processes,
        Known::Unknown(why) => panic!("{why}"),
    }
}

#[test]
fn all_is_green_where_nothing_is_wrong_and_each_check_has_its_name() {
    let made = Known::Known(picture().taken_at);
    let backups = vec![Backup { of: "/var/backups/giliran".into(), made }];
    let checks = judged(&picture(), &Flight { backups, ..flight() });
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, [&NOW[..], &BEFORE[..]].concat());
    for check in &checks {
        assert_eq!((check.verdict, &check.remedy), (Verdict::Go, &None), "{check:?}");
    }
}

#[test]
fn without_a_standby_or_with_one_that_is_behind_it_is_no_go() {
    let mut alone = picture();
    processes(&mut alone).remove(1);
    let mut lenient = Limits::default();
    lenient.least.insert("engine".into(), 1);
    let checks = preflight(&alone, &lenient, &[], &flight());
    let red: Vec<&Check> = checks.iter().filter(|check| check.verdict != Verdict::Go).collect();
    assert_eq!((red.len(), red[0].name.as_str()), (1, "standby"));
    let mut behind = picture();
    processes(&mut behind)[1].standing.lag_blocks = Some(7);
    assert_eq!(self::red(&behind, &flight()).0, "standby");
}

#[test]
fn each_fault_of_a_process_is_noticed_by_one_check() {
    type Fault = fn(&mut Vec<Process>);
    let faults: [(&str, Fault); 7] = [
        ("engine", |all| {
            all[1].standing.ready = true;
            all[1].standing.state = "active".into();
        }),
        ("states", |all| {
            all[3].standing.ready = false;
            all[3].standing.state = "store_unavailable".into();
        }),
        ("warnings", |all| all[0].standing.warnings = Some("the file differs".into())),
        ("clocks", |all| all[2].standing.clock_offset_ms = Some(-1_001)),
        ("lags", |all| all[2].standing.lag_blocks = Some(1)),
        ("keys", |all| all[1].standing.key = Some("ffff000011112222".into())),
        ("configurations", |all| all[1].standing.config = Some("ffff000011112222".into())),
    ];
    for (name, fault) in faults {
        let mut wrong = picture();
        fault(processes(&mut wrong));
        let checks = judged(&wrong, &flight());
        let check = checks.iter().find(|check| check.name == name).expect(name);
        assert_eq!(check.verdict, Verdict::NoGo, "{check:?}");
        let also = checks.iter().filter(|check| check.verdict != Verdict::Go).count();
        // Two that are active leave none that stands by.
        assert_eq!(also, if name == "engine" { 2 } else { 1 }, "{name}");
    }
    let mut older = picture();
    processes(&mut older)[3].version = "0.0.9".into();
    assert_eq!(red(&older, &flight()).0, "releases");
}

#[test]
fn what_cannot_be_looked_at_is_not_green_and_can_be_waived() {
    let mut blind = picture();
    blind.servers.clear();
    blind.streams = Known::Unknown("this login may not".into());
    let mut checks = judged(&blind, &flight());
    let blinded = ["replicas", "sync", "disk", "certificates", "pending"];
    let of = |checks: &[Check], verdict| {
        let of = checks.iter().filter(|check| check.verdict == verdict);
        of.map(|check| check.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(&checks, Verdict::Unknown), blinded);
    assert!(!verdict(&mut checks, &["sync".to_owned()]), "four are left");
    assert!(is_fine(&checks), "nothing is known to be wrong");
    assert!(verdict(&mut checks, &blinded.map(str::to_owned)));
    assert_eq!(of(&checks, Verdict::Waived), blinded);
    // What is red stays so, whoever answers for it.
    let mut slow = picture();
    processes(&mut slow)[2].standing.lag_blocks = Some(1);
    assert!(!verdict(&mut judged(&slow, &flight()), &["lags".to_owned()]));
}

#[test]
fn each_fault_of_the_broker_is_noticed_by_one_check() {
    fn streams(picture: &mut Picture) -> &mut Vec<Stream> {
        match &mut picture.streams {
            Known::Known(streams) => streams,
            Known::Unknown(why) => panic!("{why}"),
        }
    }
    fn said(picture: &mut Picture) -> &mut ServerSaid {
        match &mut picture.servers[1].said {
            Known::Known(said) => said,
            Known::Unknown(why) => panic!("{why}"),
        }
    }
    let mut wrong = picture();
    streams(&mut wrong)[0].followers[0].current = false;
    assert_eq!(red(&wrong, &flight()).0, "replicas");
    let mut wrong = picture();
    said(&mut wrong).sync_always = false;
    assert_eq!(red(&wrong, &flight()).0, "sync");
    let mut wrong = picture();
    said(&mut wrong).storage.used = 81;
    assert_eq!(red(&wrong, &flight()).0, "disk");
    let mut wrong = picture();
    said(&mut wrong).certificate_until = Some(at("2026-11-30T00:00:00Z"));
    assert_eq!(red(&wrong, &flight()).0, "certificates");
    let ended =
        [Certificate { of: "mine".into(), until: Known::Known(at("2026-01-01T00:00:00Z")) }];
    let checks = now(&picture(), &Limits::default(), &ended);
    assert!(!is_fine(&checks));
}

#[test]
fn silence_can_be_waived_and_a_wrong_answer_cannot() {
    let cases = [
        (0, "requests", NotAnswered::Silent("no answer".into()), Verdict::Unknown),
        (0, "requests", NotAnswered::Wrong("lookup: busy".into()), Verdict::NoGo),
        (1, "operators", NotAnswered::Silent("no answer".into()), Verdict::Unknown),
        (1, "operators", NotAnswered::Wrong("admin.closes_at: closed".into()), Verdict::NoGo),
    ];
    for (at, name, why, expected) in cases {
        let mut asked = flight();
        asked.probes[at].answered = Err(why);
        let (found, verdict, _) = red(&picture(), &asked);
        assert_eq!((found.as_str(), verdict), (name, expected));
        let waived = self::verdict(&mut judged(&picture(), &asked), &[name.to_owned()]);
        assert_eq!(waived, expected == Verdict::Unknown, "{name}");
    }
}

#[test]
fn an_opening_in_which_nobody_could_book_is_no_go() {
    fn opening(picture: &mut Picture) -> &mut giliran_wire::picture::Opening {
        match &mut picture.openings {
            Known::Known(openings) => &mut openings.openings[0],
            Known::Unknown(why) => panic!("{why}"),
        }
    }
    let slot = |session: &str, halted| Slot {
        office: "alpha".into(),
        date: "2026-11-30".parse().expect("a day"),
        session: session.into(),
        places: Places { quota: 40, free: 40, ..Places::default() },
        halted,
        bookable: true,
    };
    let mut none = picture();
    opening(&mut none).places = Places::default();
    let mut halted = picture();
    opening(&mut halted).slots = vec![slot("morning", true), slot("noon", true)];
    let mut late = picture();
    opening(&mut late).offers.opens_at = late.taken_at.minus_millis(1);
    for (wrong, words) in [(none, "no places"), (halted, "halted"), (late, "has not opened")] {
        let (name, verdict, found) = red(&wrong, &flight());
        assert_eq!((name.as_str(), verdict), ("record", Verdict::NoGo));
        assert!(found.contains(words), "{found}");
    }
    let mut half = picture();
    opening(&mut half).slots = vec![slot("morning", true), slot("noon", false)];
    let checks = judged(&half, &flight());
    assert!(is_fine(&checks), "{checks:#?}");
}

/// The names of the checks that could not be looked at; no other is red.
fn unseen(picture: &Picture, flight: &Flight, certificates: &[Certificate]) -> Vec<String> {
    let mut checks = preflight(picture, &Limits::default(), certificates, flight);
    checks.retain(|check| check.verdict != Verdict::Go);
    for check in &checks {
        assert!(check.verdict == Verdict::Unknown && check.remedy.is_some(), "{check:?}");
    }
    checks.into_iter().map(|check| check.name).collect()
}

#[test]
fn a_check_is_not_green_where_one_of_its_sources_is_silent() {
    let not_told = || "not told".to_owned();
    let of_servers = ["sync", "disk", "certificates"];
    // One server of two was not asked, or does not answer: nobody knows of it.
    let mut half = picture();
    half.servers.pop();
    assert_eq!(unseen(&half, &flight(), &[]), of_servers);
    let checks = judged(&half, &flight());
    let sync = checks.iter().find(|check| check.name == "sync").expect("it");
    assert!(sync.found.contains("n2"), "{sync:?}");
    let mut silent = picture();
    silent.servers[1].said = Known::Unknown(not_told());
    assert_eq!(unseen(&silent, &flight(), &[]), of_servers);
    let mut none = picture();
    none.servers.clear();
    assert_eq!(unseen(&none, &flight(), &[]), of_servers);
    // Nobody knows which servers those are that keep the ledger.
    let mut headless = picture();
    if let Known::Known(streams) = &mut headless.streams {
        (streams[0].leader, streams[0].replicas) = (None, 1);
    }
    assert_eq!(unseen(&headless, &flight(), &[]), of_servers);
    let mut account = picture();
    account.storage = Known::Unknown(not_told());
    assert_eq!(unseen(&account, &flight(), &[]), ["disk"]);
    let mut streams = picture();
    streams.streams = Known::Unknown(not_told());
    let of_streams = [&["replicas"][..], &of_servers[..], &["pending"]].concat();
    assert_eq!(unseen(&streams, &flight(), &[]), of_streams);
    let ledger = Flight { unfinished: Known::Unknown(not_told()), ..flight() };
    assert_eq!(unseen(&picture(), &ledger, &[]), ["pending"]);
    let mut processes = picture();
    processes.processes = Known::Unknown(not_told());
    assert!(unseen(&processes, &flight(), &[]).contains(&"pending".to_owned()));
    // What is known to be wrong stays red, whatever else nobody knows.
    let mut full = account;
    full.servers.truncate(1);
    if let Known::Known(said) = &mut full.servers[0].said {
        said.storage.used = 81;
    }
    let checks = judged(&full, &flight());
    let disk = checks.iter().find(|check| check.name == "disk").expect("it");
    assert_eq!(disk.verdict, Verdict::NoGo);
}

#[test]
fn without_certificates_every_server_has_to_say_that_it_has_none() {
    let mut plain = picture();
    for server in &mut plain.servers {
        if let Known::Known(said) = &mut server.said {
            said.certificate_until = None;
        }
    }
    assert!(unseen(&plain, &flight(), &[]).is_empty());
    // A login with a certificate meets servers that have some.
    let mine = [Certificate { of: "mine".into(), until: Known::Known(at("2028-01-01T00:00:00Z")) }];
    assert_eq!(unseen(&plain, &flight(), &mine), ["certificates"]);
    assert!(unseen(&picture(), &flight(), &mine).is_empty());
    plain.servers[1].said = Known::Unknown("not told".into());
    assert_eq!(unseen(&plain, &flight(), &[]), ["sync", "disk", "certificates"]);
}

#[test]
fn each_fault_of_an_opening_is_noticed_by_one_check() {
    fn offers(picture: &mut Picture) -> &mut giliran_wire::catalogue::OpeningDescription {
        match &mut picture.openings {
            Known::Known(openings) => &mut openings.openings[0].offers,
            Known::Unknown(why) => panic!("{why}"),
        }
    }
    let mut ended = picture();
    offers(&mut ended).state = Phase::Closed;
    offers(&mut ended).order = Order::FirstCome;
    assert_eq!(red(&ended, &flight()).0, "record");
    let mut open = picture();
    offers(&mut open).order = Order::Draw {
        commitment: None,
        public_value: None,
        root: None,
        entries: None,
        seed: None,
        signature: None,
        drawn: false,
    };
    assert_eq!(red(&open, &flight()).0, "commitment");
    let mut late = picture();
    let description = offers(&mut late);
    description.rules.cancelled = Returns::At { times: vec!["07:00".into()] };
    // The window opens after the last release before the first day.
    description.opens_at = description.days[0].bookable_until.minus_millis(60_000);
    let (name, _, found) = red(&late, &flight());
    assert_eq!(name, "returns", "{found}");
    let differs = Flight { compared: Known::Known(vec!["quota".into()]), ..flight() };
    assert_eq!(red(&picture(), &differs).0, "file");
    let cancelling = Flight { unfinished: Known::Known(vec!["a day".into()]), ..flight() };
    assert_eq!(red(&picture(), &cancelling).0, "pending");
    let other = Flight { opening: "v".into(), ..flight() };
    let checks = judged(&picture(), &other);
    let record = checks.iter().find(|check| check.name == "record").expect("it");
    assert!(record.found.contains("on record are: w"), "{record:?}");
    assert_eq!(record.verdict, Verdict::NoGo);
}

#[test]
fn lengths_are_told_in_two_units() {
    let shown: Vec<String> =
        [0, 999, 59_000, 61_000, 3_661_000, 200_000_000].into_iter().map(length).collect();
    assert_eq!(shown, ["0 ms", "999 ms", "59 s", "1 min 1 s", "1 h 1 min", "2 days 7 h"]);
}

/// The table of the checks has each of them, and no other.
#[test]
fn every_check_is_documented() {
    let page = include_str!("../../../../docs/operations.md");
    let (_, below) = page.split_once("\n### Preflight\n").expect("its chapter");
    let below = below.split("\n### ").next().unwrap_or_default();
    let rows = below.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split("` | ").next());
    let names: Vec<&str> = cells.flat_map(|cell| cell.split("`, `")).collect();
    assert_eq!(names, [&NOW[..], &BEFORE[..]].concat());
}

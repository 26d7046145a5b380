//! What operators see: the engine's log, who did what, and what every screen says
//! of a day that is closed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use giliran_nats::clock;
use giliran_nats::state::State;
use serde_json::{Value, json};

use crate::rig::{Rig, Role, database, get, post};

const MON: &str = "2030-01-07";
const TUE: &str = "2030-01-08";

/// Two offices; alpha has a session that has to be named.
fn config() -> String {
    let now = clock::now();
    format!(
        "[[opening]]\nid = \"w\"\nopens_at = \"{}\"\ncloses_at = \"{}\"\n\
         dates = [\"{MON}\", \"{TUE}\"]\n\
         [[office]]\nid = \"alpha\"\nname = \"Alpha\"\n\
         [[office.session]]\nid = \"all\"\nlabel = \"all day\"\nquota = 2\n\
         [[office.session]]\nid = \"express\"\nlabel = \"express\"\nexplicit = true\nquota = 1\n\
         [[office]]\nid = \"beta\"\nname = \"Beta\"\nquota = 3\n",
        now.plus_millis(1_500),
        now.plus_millis(3_600_000)
    )
}

fn book(n: usize, office: &str, day: &str) -> Value {
    json!({
        "request_id": format!("r{n}"), "applicants": [format!("person-{n}")],
        "choices": [{ "office": office, "date": day }],
    })
}

impl Rig {
    /// An operator's command that must succeed.
    fn operator(&self, arguments: &[&str]) -> String {
        let signed = ["--operator", "siti", "--reason", "power cut"];
        self.done(&[&["admin"], arguments, &signed[..]].concat())
    }
}

/// Waits until the log has a line with all of these words; that line.
pub(crate) async fn line(role: &Role, words: &[&str]) -> String {
    let since = Instant::now();
    loop {
        let said = role.said();
        let has = |line: &&str| words.iter().all(|word| line.contains(word));
        if let Some(line) = said.lines().find(has) {
            return line.to_owned();
        }
        assert!(since.elapsed() < Duration::from_secs(20), "no line with {words:?}: {said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The metrics of a role.
async fn metrics(role: &Role) -> String {
    get(&role.http().unwrap(), "/metrics").await.unwrap()
}

/// The names of metrics that a text has, without what a histogram adds.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    let names = text.split(|c| !word(c)).filter(|name| name.starts_with("giliran_"));
    names.filter(|name| name.len() > "giliran_".len()).map(str::to_owned).collect()
}

fn operations() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    std::fs::read_to_string(page).unwrap()
}

/// A chapter of the page.
fn chapter<'a>(page: &'a str, title: &str) -> &'a str {
    let chapter = page.split(&format!("\n## {title}\n")).nth(1).unwrap();
    chapter.split("\n## ").next().unwrap()
}

fn times(role: &Role, words: &str) -> usize {
    role.said().lines().filter(|line| line.contains(words)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_ledger_tell_who_did_what() {
    let rig = Rig::new(&config()).await;
    rig.init();
    let engine = rig.serve("a");
    let (sqlite, postgres) = (rig.sqlite(), database().await);
    let stores = [sqlite.as_str(), postgres.as_str()];
    let persisting: Vec<Role> = stores.iter().map(|store| rig.persist(store)).collect();
    let _feed = rig.feed();
    let scheduled = line(&engine, &["an opening is on record", "opening=\"w\""]).await;
    assert!(scheduled.contains("INFO") && scheduled.contains("places=12"), "{scheduled}");
    rig.open().await;
    line(&engine, &["the opening has opened", "opening=\"w\""]).await;
    let mut asked = 0;
    for (office, day, places) in [("alpha", MON, 2), ("alpha", TUE, 2), ("beta", MON, 3)] {
        for _ in 0..places {
            asked += 1;
            let answer = rig.book(&book(asked, office, day)).await;
            assert_eq!(answer["outcome"], "granted", "{answer}");
        }
    }
    let opening = ["--opening", "w"];
    let beta = |day| ["--office", "beta", "--date", day];
    rig.operator(&[&["reserve"], &opening[..], &beta(TUE), &["3"]].concat());
    let reserved = line(&engine, &["an operator's action is on record", "places of beta"]).await;
    for words in ["3 places of beta 2030-01-08 all kept back", "siti", "power cut", "w"] {
        assert!(reserved.contains(words), "{words}: {reserved}");
    }
    // The named sessions are left.
    let sold = line(&engine, &["sold out for whoever names no session", "left=2"]).await;
    assert!(sold.contains("reserved=3") && sold.contains("opening=\"w\""), "{sold}");
    assert_eq!(times(&engine, "the opening is sold out opening="), 0);
    let express = ["--office", "alpha", "--session", "express"];
    for (n, day) in [("x1", MON), ("x2", TUE)] {
        rig.done(&[&["book"], &express[..], &["--date", day, n]].concat());
    }
    line(&engine, &["the opening is sold out opening=", "taken=9"]).await;

    rig.operator(&[&["quota"], &opening[..], &beta(MON), &["5"]].concat());
    rig.operator(&[&["halt"], &opening[..], &beta(MON), &["--bookings", "cancel"]].concat());
    let halted = line(&engine, &["beta 2030-01-07 all halted", "cancelled=3"]).await;
    assert!(halted.contains("its bookings are cancelled"), "{halted}");
    let refused = ["admin", "closes-at", "--opening", "w", "--operator", "budi", "--reason", "x"];
    let dry = [&refused[..], &["--dry-run", "2029-01-01T00:00:00Z"]].concat();
    rig.done(&dry);
    rig.done(&[&refused[..], &["2020-01-01T00:00:00Z"]].concat());
    line(&engine, &["the opening has closed", "halted=5"]).await;
    assert_eq!(times(&engine, "2029-01-01"), 0, "a dry run is not told");
    assert_eq!(times(&engine, "an opening is on record"), 1);
    assert_eq!(times(&engine, "the opening has opened"), 1);
    assert!(times(&engine, "the opening is sold out opening=") <= 2, "{}", engine.said());

    the_record_is_shown(&rig);
    it_is_published(&rig);
    rig.audit(&stores).await;
    drop(persisting);
    stores_name_them(&rig, &postgres).await;
}

/// Who did what, by `giliran journal`.
fn the_record_is_shown(rig: &Rig) {
    let log = rig.done(&["journal", "--opening", "w"]);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 5, "{log}");
    assert!(lines[0].contains("the ledger: a (release"), "{log}");
    let reserved = "w: 3 places of beta 2030-01-08 all kept back (before: 0). siti: power cut";
    assert!(lines[1].ends_with(reserved), "{log}");
    let quota = "w: quota of beta 2030-01-07 all set to 5 (before: 3). siti: power cut";
    assert!(lines[2].ends_with(quota), "{log}");
    let cancelled = "w: beta 2030-01-07 all halted, its bookings are cancelled (before: open); 3 \
                     bookings cancelled. siti: power cut";
    assert!(lines[3].ends_with(cancelled), "{log}");
    let ended = "w: the window ends at 2020-01-01T00:00:00.000Z (before: ";
    assert!(lines[4].contains(ended) && lines[4].ends_with("). budi: x"), "{log}");
    let json: Value = serde_json::from_str(&rig.done(&["journal", "--json"])).unwrap();
    assert_eq!(json[3]["changes"][0]["action"], "halt");
    assert_eq!(json[3]["changes"][0]["office"], "beta");
    assert_eq!(json[3]["cancelled"], 3);
    assert_eq!((&json[4]["operator"], &json[4]["opening"]), (&json!("budi"), &json!("w")));
    let (code, _, said) = rig.run(&["journal", "--opening", "v"]);
    assert_eq!((code, said.contains("there are: w")), (2, true), "{said}");
}

/// What is published says so too: two places nobody could have, and who answers.
fn it_is_published(rig: &Rig) {
    let file = rig.path("w.statement");
    let published = ["--opening", "w", "--out", file.to_str().unwrap()];
    rig.done(&[&["statement"], &published[..]].concat());
    let said = rig.done(&["statement", "--check", file.to_str().unwrap()]);
    let end = "At the end: 6 taken, 3 withheld, 3 reserved, 2 in halted slots, 0 free.";
    assert!(said.contains(end), "{said}");
    let statement = std::fs::read_to_string(&file).unwrap();
    assert!(statement.contains(r#""operator":"siti","why":"power cut""#), "{statement}");
    let report = rig.done(&["fairness", "--from-ledger", "--opening", "w"]);
    for words in ["What was done to it", "kept back. siti: power cut", "3 bookings cancelled"] {
        assert!(report.contains(words), "{words}: {report}");
    }
    let shut = "2 places without a booking were in closed sessions and 3 were reserved";
    assert!(report.contains(shut), "{report}");
}

/// A name that was changed in a store does not go unnoticed.
async fn stores_name_them(rig: &Rig, postgres: &str) {
    let (client, connection) =
        tokio_postgres::connect(postgres, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows = client
        .query("SELECT action, opening, office, session, value, operator, reason FROM actions ORDER BY ledger_seq, place", &[])
        .await
        .unwrap();
    let text =
        |row: &tokio_postgres::Row, i: usize| row.get::<_, Option<String>>(i).unwrap_or_default();
    let told: Vec<String> =
        rows.iter().map(|row| (0..7).map(|i| text(row, i)).collect::<Vec<_>>().join("|")).collect();
    let expected = [
        "take_over||||a||",
        "reserve|w|beta|all|3|siti|power cut",
        "quota|w|beta|all|5|siti|power cut",
        "halt|w|beta|all|cancel|siti|power cut",
        "closes_at|w|||2020-01-01T00:00:00.000Z|budi|x",
    ];
    assert_eq!(told, expected);
    let forged = "UPDATE actions SET operator = 'budi' WHERE action = 'halt'";
    client.batch_execute(forged).await.unwrap();
    let (code, told, _) = rig.run(&["audit", "--store", postgres]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("action `halt` of sequence"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_day_is_not_told_as_a_free_one() {
    let rig = Rig::new(&config()).await;
    rig.init();
    let engine = rig.serve("a");
    rig.open().await;
    let opening = ["--opening", "w"];
    let beta = ["--office", "beta", "--date", MON];
    rig.operator(&[&["halt"], &opening[..], &beta].concat());
    let shown = rig.done(&["availability", "--office", "beta"]);
    let of = |day: &str| shown.lines().find(|line| line.contains(day)).unwrap().to_owned();
    assert!(of(MON).ends_with("halted"), "{shown}");
    assert!(!of(TUE).contains("halted"), "{shown}");
    let metrics = metrics(&engine).await;
    let value = |name: &str, day: &str| {
        let labels =
            format!("{name}{{date=\"{day}\",office=\"beta\",opening=\"w\",session=\"all\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&labels));
        line.unwrap_or_else(|| panic!("{labels}: {metrics}")).to_owned()
    };
    assert_eq!(value("giliran_slot_halted", MON), "1");
    assert_eq!(value("giliran_slot_halted", TUE), "0");
    assert_eq!(value("giliran_free_places", MON), "0");
    assert_eq!(value("giliran_slot_bookable", TUE), "1");
}

/// A gateway that has answered, and has answered somebody who asked too often.
async fn limited_gateway(rig: &Rig) -> Role {
    let gateway = rig.gateway(&["--address-rate", "1:2"]);
    gateway.until("gateway", "following", Duration::from_secs(20)).await;
    let address = gateway.http().unwrap();
    let nobody = json!({ "booking": "0000-0000-0000-0000", "applicant": "1" });
    let mut statuses = Vec::new();
    while !statuses.contains(&429) {
        statuses.push(post(&address, "/v1/lookups", None, &nobody).await.0);
        assert!(statuses.len() < 100, "{statuses:?}");
    }
    gateway
}

/// Alarms that name a metric which is not there never go off.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_metrics_are_those_that_are_shown() {
    // One of an opening that is left out among them.
    let over = "[[opening]]\nid = \"old\"\nopens_at = \"2024-01-05T00:00:00Z\"\n\
                closes_at = \"2024-01-06T00:00:00Z\"\ndates = [\"2024-01-08\"]\n";
    let rig = Rig::new(&format!("{over}{}", config())).await;
    rig.init();
    let engine = rig.serve("a");
    let persist = rig.persist(&rig.sqlite());
    let feed = rig.feed();
    rig.open().await;
    let booked = rig.book(&book(1, "beta", MON)).await;
    let id = booked["booking"]["id"].as_str().unwrap();
    // What is given back waits for its release; who cannot be answered is counted.
    rig.done(&["cancel", id, "person-1"]);
    rig.client.publish(rig.namespace.request("book"), "{}".into()).await.unwrap();
    rig.client.flush().await.unwrap();
    let since = Instant::now();
    let page = loop {
        let page = metrics(&engine).await;
        let complete =
            ["giliran_requests_dropped_total", "giliran_next_release", "giliran_changes_total"];
        if complete.iter().all(|name| page.contains(name)) {
            break page;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(page.contains("giliran_build_info{commit=\""), "{page}");
    let gateway = limited_gateway(&rig).await;
    let console = rig.console(&[]);
    console.until("console", "following", Duration::from_secs(20)).await;
    let mut all = page;
    for role in [&persist, &feed, &gateway, &console] {
        all += &metrics(role).await;
    }
    let typed = |line: &str| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned());
    let shown: BTreeSet<String> = all.lines().filter_map(typed).collect();
    let page = operations();
    let listed: BTreeSet<String> = chapter(&page, "Metrics")
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(names)
        .collect();
    assert_eq!(listed, shown, "left is docs/operations.md, right what is shown");
    let known = |name: &String| {
        shown.iter().any(|shown| {
            name.strip_prefix(shown.as_str())
                .is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        })
    };
    let alarms = names(chapter(&page, "Alarms"));
    assert!(alarms.len() > 8, "{alarms:?}");
    for name in names(&page) {
        assert!(known(&name), "{name} is in docs/operations.md, and no metric");
    }
    let health = engine.health().await.unwrap();
    assert_eq!(health["release"], env!("CARGO_PKG_VERSION"));
    assert!(health["commit"].is_string(), "{health}");
    let first = engine.said().lines().next().unwrap().to_owned();
    assert!(first.contains("giliran starts") && first.contains("commit="), "{first}");
}

#[test]
fn every_state_is_documented() {
    let page = operations();
    // The chapter has other tables as well.
    let rows = chapter(&page, "Health").lines().skip_while(|line| !line.starts_with("| `state`"));
    let rows = rows.take_while(|line| line.starts_with('|'));
    let rows = rows.filter_map(|line| line.strip_prefix("| `"));
    let listed: Vec<&str> = rows.filter_map(|row| row.split("` | ").next()).collect();
    let states = State::ALL.map(State::word);
    for word in states {
        assert!(listed.contains(&word), "{word} is no state of docs/operations.md");
    }
    for word in listed.iter().filter(|word| **word != "state") {
        assert!(states.contains(word), "{word} is in docs/operations.md, and no state");
    }
}

/// The sources of every crate, texts that go on in the next line joined.
fn sources() -> String {
    let mut folders = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/..").into()];
    let mut sources = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir::<std::path::PathBuf>(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs" || end == "sql") {
                sources += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let lines = sources.split("\\\n").map(str::trim_start);
    lines.collect::<Vec<_>>().concat()
}

#[test]
fn what_the_page_says_of_the_log_is_written_there() {
    let (page, sources) = (operations(), sources());
    let alarms = chapter(&page, "Alarms").lines().filter_map(|line| line.strip_prefix("| log: `"));
    let lines = chapter(&page, "The log").lines().filter_map(|line| line.strip_prefix("| `"));
    let stops = chapter(&page, "Stopped processes").lines();
    let stops = stops.filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let stops = stops.filter_map(|line| line.split_once('`').map(|(_, rest)| rest));
    let mut looked_at = 0;
    let mut missing = Vec::new();
    for row in alarms.chain(lines).chain(stops) {
        for said in row.split(" | ").next().unwrap().split('`').step_by(2) {
            for words in
                said.split(['…', ':', ';']).map(|words| words.trim_matches([' ', ',', '.']))
            {
                if words.len() > 5 {
                    looked_at += 1;
                    missing.extend((!sources.contains(words)).then_some(words));
                }
            }
        }
    }
    assert!(missing.is_empty(), "nothing says {missing:#?}");
    assert!(looked_at > 40, "{looked_at}");
    for states in page.split("state=~\"").skip(1) {
        for state in states.split('"').next().unwrap().split(['\\', '|']) {
            let known = State::ALL.iter().any(|known| known.word() == state);
            assert!(state.is_empty() || state.contains('*') || known, "{state} is no state");
        }
    }
}

/// What is wrong on the command line is told without what nobody is to read there.
#[test]
fn a_refused_value_shows_no_password_and_moves_no_cursor() {
    let says = |arguments: &[&str], store: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_giliran"));
        let output = command.args(arguments).env("GILIRAN_STORE", store).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for url in [
        "postgres://u:geheim@db:5432/g?sslmode=bogus",
        "postgres://db/g?password=geheim&sslmode=bogus",
        "postgresql://u:geheim@[::1/g",
        "mysql://u:geheim@db/g",
    ] {
        let by_hand = says(&["persist", "--store", url], "");
        for told in [by_hand, says(&["persist"], url)] {
            assert!(told.contains("--store") && !told.contains("geheim"), "{told}");
        }
    }
    let name = ["serve", "--config", "g.toml", "--data", "d", "--name", "a\u{1b}[2J"];
    let told = says(&name, "sqlite:b.sqlite");
    assert!(told.contains("without control characters") && !told.contains('\u{1b}'), "{told:?}");
}

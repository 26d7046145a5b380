//! What operators see: the engine's log, who did what, and what every screen says
//! of a day that is closed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use giliran_broker::clock;
use serde_json::{Value, json};

use crate::rig::{Rig, Role, database};

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
async fn line(role: &Role, words: &[&str]) -> String {
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

/// A page of a role.
fn page(role: &Role, path: &str) -> String {
    let said = role.said();
    let address = said.lines().find_map(|line| line.split("http://").nth(1)?.split('/').next());
    let mut stream = TcpStream::connect(address.unwrap()).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
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

    rig.operator(&[&["halt"], &opening[..], &beta(MON), &["--bookings", "cancel"]].concat());
    let halted = line(&engine, &["beta 2030-01-07 all halted", "cancelled=3"]).await;
    assert!(halted.contains("its bookings are cancelled"), "{halted}");
    let refused = ["admin", "closes-at", "--opening", "w", "--operator", "budi", "--reason", "x"];
    let dry = [&refused[..], &["--dry-run", "2029-01-01T00:00:00Z"]].concat();
    rig.done(&dry);
    rig.done(&[&refused[..], &["2020-01-01T00:00:00Z"]].concat());
    line(&engine, &["the opening has closed", "halted=3"]).await;
    assert_eq!(times(&engine, "2029-01-01"), 0, "a dry run is not told");
    assert_eq!(times(&engine, "an opening is on record"), 1);
    assert_eq!(times(&engine, "the opening has opened"), 1);
    assert!(times(&engine, "the opening is sold out opening=") <= 2, "{}", engine.said());

    let log = rig.done(&["admin", "log", "--opening", "w"]);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 4, "{log}");
    assert!(lines[0].contains("the ledger: a (release"), "{log}");
    assert!(lines[1].ends_with("w: 3 places of beta 2030-01-08 all kept back. siti: power cut"));
    let cancelled = "w: beta 2030-01-07 all halted, its bookings are cancelled; 3 bookings \
                     cancelled. siti: power cut";
    assert!(lines[2].ends_with(cancelled), "{log}");
    let ended = "w: the window ends at 2020-01-01T00:00:00.000Z. budi: x";
    assert!(lines[3].ends_with(ended), "{log}");
    let json: Value = serde_json::from_str(&rig.done(&["admin", "log", "--json"])).unwrap();
    assert_eq!(json[2]["changes"][0]["action"], "halt");
    assert_eq!(json[2]["changes"][0]["office"], "beta");
    assert_eq!(json[2]["cancelled"], 3);
    assert_eq!((&json[3]["operator"], &json[3]["opening"]), (&json!("budi"), &json!("w")));
    let (code, _, said) = rig.run(&["admin", "log", "--opening", "v"]);
    assert_eq!((code, said.contains("there are: w")), (2, true), "{said}");

    rig.audit(&stores).await;
    drop(persisting);
    // A name that was changed in a store does not go unnoticed.
    let (client, connection) =
        tokio_postgres::connect(&postgres, tokio_postgres::NoTls).await.unwrap();
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
        "halt|w|beta|all|cancel|siti|power cut",
        "closes_at|w|||2020-01-01T00:00:00.000Z|budi|x",
    ];
    assert_eq!(told, expected);
    let forged = "UPDATE actions SET operator = 'budi' WHERE action = 'halt'";
    client.batch_execute(forged).await.unwrap();
    let (code, told, _) = rig.run(&["audit", "--store", &postgres]);
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
    let metrics = page(&engine, "/metrics");
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

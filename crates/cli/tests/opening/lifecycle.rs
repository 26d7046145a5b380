//! What becomes of a booking, over NATS: held, confirmed, expired, cancelled,
//! moved, given to those who wait; what operators do. At the end stores, events
//! and ledger are held against each other.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use giliran_nats::clock;
use serde_json::{Value, json};

use crate::rig::{Rig, database};

/// One office, two days, these rules; open from now on.
fn config(quota: u32, lasts_ms: u64, rules: &str) -> String {
    let now = clock::now();
    format!(
        "[[opening]]\nid = \"w\"\nopens_at = \"{now}\"\ncloses_at = \"{}\"\n\
         dates = [\"2030-01-07\", \"2030-01-08\"]\n{rules}\n\
         [[office]]\nid = \"alpha\"\nname = \"Alpha\"\nquota = {quota}\n",
        now.plus_millis(lasts_ms)
    )
}

const HOUR: u64 = 3_600_000;

fn book(n: usize, people: &[&str], day: &str) -> Value {
    json!({
        "request_id": format!("r{n}"), "applicants": people,
        "choices": [{ "office": "alpha", "date": day }], "ref": format!("order-{n}"),
    })
}

const MON: &str = "2030-01-07";
const TUE: &str = "2030-01-08";

impl Rig {
    /// Asks until there is an answer that settles it.
    async fn settle(&self, operation: &str, request: Value) -> Value {
        let since = Instant::now();
        loop {
            match self.ask(operation, request.to_string()).await {
                Some(answer) if answer["reason"] != "busy" => return answer,
                other => assert!(since.elapsed() < Duration::from_secs(20), "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn status(&self, id: &str, who: &str) -> Value {
        let answer = self.settle("lookup", json!({ "booking": id, "applicant": who })).await;
        answer["booking"]["status"].clone()
    }

    async fn until_status(&self, id: &str, who: &str, status: &str, within: Duration) {
        let since = Instant::now();
        while self.status(id, who).await != status {
            assert!(since.elapsed() < within, "{id} does not become {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn free(&self, day: &str) -> (i64, i64, i64) {
        let shown = self.ask("availability", "{}").await.unwrap();
        let slots = shown["slots"].as_array().unwrap();
        let slot = slots.iter().find(|slot| slot["date"] == day).unwrap();
        let number = |field: &str| slot[field].as_i64().unwrap();
        (number("quota"), number("free"), number("withheld"))
    }

    async fn until_free(&self, day: &str, places: (i64, i64, i64)) {
        let since = Instant::now();
        while self.free(day).await != places {
            assert!(since.elapsed() < Duration::from_secs(15), "no {places:?} on {day}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until what `availability` shows is so.
    async fn until_shown(&self, not_so: &str, is_so: impl Fn(&Value) -> bool) {
        let since = Instant::now();
        while !self.ask("availability", "{}").await.as_ref().is_some_and(&is_so) {
            assert!(since.elapsed() < Duration::from_secs(90), "{not_so}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The numbers that these entries won; `w5` has left.
    async fn drawn_numbers(&self, entries: &[(String, String)]) -> Vec<u64> {
        let mut numbers = Vec::new();
        for (receipt, who) in entries {
            let ask = json!({ "booking": receipt, "applicant": who });
            let answer = self.settle("lookup", ask).await;
            if answer["outcome"] == "granted" {
                assert_ne!(who, "w5", "who has left cannot win");
                numbers.push(answer["booking"]["numbers"][0].as_u64().unwrap());
            } else {
                assert_eq!(answer["reason"], "not_found", "{answer}");
            }
        }
        numbers
    }

    /// Types of the events of a booking or entry, in order.
    pub(crate) async fn told(&self, id: &str) -> Vec<String> {
        let context = async_nats::jetstream::new(self.client.clone());
        let stream = context.get_stream(self.namespace.events_stream()).await.unwrap();
        let pending = stream.get_info().await.unwrap().state.messages as usize;
        let config = async_nats::jetstream::consumer::pull::Config::default();
        let consumer = stream.create_consumer(config).await.unwrap();
        let messages = consumer.messages().await.unwrap().take(pending);
        let all: Vec<_> = messages.collect().await;
        all.into_iter()
            .map(|message| serde_json::from_slice::<Value>(&message.unwrap().payload).unwrap())
            .filter(|event| {
                event["data"]["booking"]["id"] == id || event["data"]["entry"]["receipt"] == id
            })
            .map(|event| event["type"].as_str().unwrap().replace("giliran.booking.", ""))
            .collect()
    }
}

fn id(answer: &Value) -> String {
    answer["booking"]["id"].as_str().unwrap_or_else(|| panic!("no booking: {answer}")).to_owned()
}

/// Paid in time, paid late with the place still free, paid late with the place
/// gone; across the death of the engine.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_paid_expires_or_comes_back() {
    let rules = "[rules]\nhold = \"4s\"\n[rules.returns]\n\
                 cancelled = \"immediate\"\nexpired = \"immediate\"";
    let rig = Rig::new(&config(2, HOUR, rules)).await;
    rig.init();
    let mut engine = rig.serve("a");
    let _standby = rig.serve("b");
    let sqlite = rig.sqlite();
    let postgres = database().await;
    let (_one, _two, _feed) = (rig.persist(&sqlite), rig.persist(&postgres), rig.feed());
    rig.open().await;
    let paid = rig.book(&book(1, &["ann"], MON)).await;
    let late = rig.book(&book(2, &["ben"], MON)).await;
    let gone = rig.book(&book(3, &["cat"], TUE)).await;
    assert_eq!(paid["booking"]["status"], "held");
    assert!(paid["booking"]["hold_expires_at"].is_string());
    let confirm = |n: usize, of: &Value, reference: &str| json!({ "request_id": format!("c{n}"), "booking": id(of), "reference": reference });
    let confirmed = rig.settle("confirm", confirm(1, &paid, "inv-1")).await;
    assert_eq!(confirmed["outcome"], "granted", "{confirmed}");
    assert_eq!(confirmed["request_id"], "c1");
    assert_eq!(confirmed["booking"]["status"], "confirmed");
    assert_eq!(confirmed["booking"]["version"], 2);
    assert!(confirmed["booking"].get("hold_expires_at").is_none());
    // The holder dies; the standby lets the holds end.
    engine.kill();
    let within = Duration::from_secs(20);
    rig.until_status(&id(&late), "ben", "expired", within).await;
    rig.until_status(&id(&gone), "cat", "expired", within).await;
    // Expired places are free again; Tuesday is booked out by two others.
    for (n, who) in [(4, "dan"), (5, "eve")] {
        let other = rig.book(&book(n, &[who], TUE)).await;
        rig.settle("confirm", confirm(n, &other, "inv")).await;
    }
    let revived = rig.settle("confirm", confirm(2, &late, "inv-2")).await;
    assert_eq!(revived["booking"]["status"], "confirmed", "{revived}");
    assert_eq!(revived["booking"]["numbers"], late["booking"]["numbers"]);
    let rejected = rig.settle("confirm", confirm(3, &gone, "inv-3")).await;
    assert_eq!(rejected["reason"], "wrong_state", "{rejected}");
    assert_eq!(rejected["detail"], "status: expired");
    // Again, each the same; one payment, one refund.
    assert_eq!(rig.settle("confirm", confirm(1, &paid, "inv-1")).await["booking"]["version"], 2);
    assert_eq!(rig.settle("confirm", confirm(3, &gone, "inv-3")).await["reason"], "wrong_state");
    assert_eq!(rig.settle("confirm", confirm(9, &gone, "inv-3")).await["reason"], "wrong_state");
    assert_eq!(rig.settle("confirm", confirm(1, &paid, "other")).await["reason"], "conflict");
    // The late duplicate of a booking that expired finds it; a new one is free.
    assert_eq!(rig.book(&book(3, &["cat"], TUE)).await["booking"]["status"], "expired");
    rig.audit(&[&sqlite, &postgres]).await;
    assert_eq!(rig.told(&id(&paid)).await, ["held", "confirmed"]);
    assert_eq!(rig.told(&id(&late)).await, ["held", "expired", "confirmed"]);
    assert_eq!(rig.told(&id(&gone)).await, ["held", "expired", "refund_due"]);
}

fn cancel(request: &str, booking: &str, applicant: &str) -> Value {
    json!({ "request_id": request, "booking": booking, "applicant": applicant })
}

fn swap(request: &str, of: &Value, applicant: &str, day: &str) -> Value {
    json!({
        "request_id": request, "booking": id(of), "applicant": applicant,
        "choices": [{ "office": "alpha", "date": day }],
    })
}

/// Who may cancel and move, what happens to the place, and every wrong way.
#[tokio::test(flavor = "multi_thread")]
async fn bookings_are_given_back_and_moved() {
    let rules = "[rules]\nmax_changes = 1\n[rules.returns]\n\
                 cancelled = { delayed = [\"1s\", \"2s\"] }";
    let rig = Rig::new(&config(3, HOUR, rules)).await;
    rig.init();
    let _engine = rig.serve("a");
    let sqlite = rig.sqlite();
    let postgres = database().await;
    let (_one, _two, _feed) = (rig.persist(&sqlite), rig.persist(&postgres), rig.feed());
    rig.open().await;
    let party = rig.book(&book(1, &["ann", "ben"], MON)).await;
    let other = rig.book(&book(2, &["cat"], MON)).await;
    one_leaves(&rig, &party).await;
    // Who left may book again, and gets the place that came back.
    let again = rig.book(&book(4, &["ben"], MON)).await;
    assert_eq!(again["booking"]["numbers"], json!([2]), "{again}");
    moved_once(&rig, &other, &again).await;
    all_given_back(&rig, &party, &again).await;
    rig.audit(&[&sqlite, &postgres]).await;
    let told = rig.told(&id(&party)).await;
    assert_eq!(told, ["confirmed", "amended", "cancelled", "refund_due"]);
    assert_eq!(rig.told(&id(&other)).await, ["confirmed", "rescheduled"]);
}

/// One of two leaves, by their own word alone; the place comes back after its delay.
async fn one_leaves(rig: &Rig, party: &Value) {
    // Unknown, foreign, no id at all: one answer.
    for (of, who) in [("0000-0000-0000-0000", "ann"), (&*id(party), "cat"), ("nonsense", "ann")] {
        let answer = rig.settle("cancel", cancel("x", of, who)).await;
        assert_eq!((&answer["reason"], answer.get("detail")), (&json!("not_found"), None));
    }
    // The request's id that made the booking means something else.
    let conflict = rig.settle("cancel", cancel("r1", &id(party), "ann")).await;
    assert_eq!(conflict["reason"], "conflict");
    // One leaves, the other stays; the place comes back after its delay.
    let left = rig.settle("cancel", cancel("x1", &id(party), "ben")).await;
    assert_eq!(left["booking"]["status"], "confirmed", "{left}");
    assert_eq!(left["booking"]["numbers"], json!([1]));
    assert_eq!(left["request_id"], "x1");
    assert_eq!(
        rig.settle("cancel", cancel("x1", &id(party), "ben")).await["booking"]["version"],
        2
    );
    assert_eq!(rig.settle("cancel", cancel("x2", &id(party), "ben")).await["reason"], "not_found");
    assert_eq!(rig.free(MON).await, (3, 0, 1));
    assert_eq!(rig.book(&book(3, &["dan"], MON)).await["reason"], "sold_out");
    rig.until_free(MON, (3, 1, 0)).await;
}

/// Moved, once only; the same again; onto the own slot nothing changes.
async fn moved_once(rig: &Rig, other: &Value, again: &Value) {
    let moved = rig.settle("reschedule", swap("m1", other, "cat", TUE)).await;
    assert_eq!((&moved["booking"]["date"], &moved["booking"]["version"]), (&json!(TUE), &json!(2)));
    let same = rig.settle("reschedule", swap("m1", other, "cat", TUE)).await;
    assert_eq!(same["booking"], moved["booking"]);
    let stays = rig.settle("reschedule", swap("m2", other, "cat", TUE)).await;
    assert_eq!(stays["booking"], moved["booking"], "onto the same slot");
    assert_eq!(rig.settle("reschedule", swap("m1", other, "cat", MON)).await["reason"], "conflict");
    assert_eq!(rig.settle("cancel", cancel("m1", &id(other), "cat")).await["reason"], "conflict");
    let nowhere = rig.settle("reschedule", swap("m3", again, "ben", "2030-02-01")).await;
    assert_eq!(nowhere["reason"], "unknown_slot");
    // The cap is told first, whatever else would be told.
    let capped = rig.settle("reschedule", swap("m3", other, "cat", "2030-02-01")).await;
    assert_eq!(capped["reason"], "wrong_state", "{capped}");
    // Full: the old place is kept.
    let full = rig.settle("reschedule", swap("m4", again, "ben", TUE)).await;
    assert_eq!(full["booking"]["date"], TUE, "{full}");
    rig.until_free(MON, (3, 2, 0)).await;
    let capped = rig.settle("reschedule", swap("m5", other, "cat", MON)).await;
    assert_eq!(capped["reason"], "wrong_state", "{capped}");
}

/// All of it, by the first; then there is nothing left to change.
async fn all_given_back(rig: &Rig, party: &Value, again: &Value) {
    let whole = rig.settle("cancel", cancel("x3", &id(party), "ann")).await;
    assert_eq!(whole["booking"]["status"], "cancelled");
    let gone = rig.settle("cancel", cancel("x4", &id(party), "ann")).await;
    assert_eq!(
        (&gone["reason"], &gone["detail"]),
        (&json!("wrong_state"), &json!("status: cancelled"))
    );
    let confirm = json!({ "request_id": "c1", "booking": id(party), "reference": "inv-9" });
    assert_eq!(rig.settle("confirm", confirm).await["reason"], "wrong_state");
    assert_eq!(rig.book(&book(1, &["ann", "ben"], MON)).await["booking"]["status"], "cancelled");
    let batch = json!([cancel("x5", &id(again), "ben"), cancel("x5", &id(again), "ben"),
                       cancel("x6", "nonsense", "ben"), { "request_id": "x7" }]);
    let answers = rig.settle("cancel", batch).await;
    assert_eq!(answers[0]["booking"]["status"], "cancelled", "{answers}");
    assert_eq!(answers[1]["booking"]["version"], answers[0]["booking"]["version"]);
    assert_eq!(answers[2]["reason"], "not_found");
    assert_eq!(answers[3]["reason"], "malformed");
}

/// Cancelled places are collected and drawn for at the release, also when the
/// window has closed; what nobody waits for becomes free.
#[tokio::test(flavor = "multi_thread")]
async fn returned_places_are_drawn_among_those_who_wait() {
    // The next full minute that leaves time to get ready.
    let now = clock::now().as_millis() / 1_000;
    let release = (now + 12) / 60 * 60 + 60;
    let minute = release / 60 % (24 * 60);
    let at = format!("{:02}:{:02}", minute / 60, minute % 60);
    let rules =
        format!("[rules.returns]\ncancelled = {{ at = [\"{at}\"] }}\nexpired = \"immediate\"");
    let lasts = (release - now - 3) as u64 * 1_000;
    let rig = Rig::new(&config(4, lasts, &rules)).await;
    rig.init();
    let mut engine = rig.serve("a");
    let sqlite = rig.sqlite();
    let postgres = database().await;
    let (_one, _two, _feed) = (rig.persist(&sqlite), rig.persist(&postgres), rig.feed());
    rig.open().await;
    let first = rig.book(&book(1, &["a", "b", "c", "d"], MON)).await;
    let wait = |n: usize, people: &[&str]| {
        let mut request = book(n, people, MON);
        request["wait"] = json!(true);
        request
    };
    assert_eq!(rig.book(&book(2, &["w0"], MON)).await["reason"], "sold_out");
    let mut receipts = Vec::new();
    for n in 0..6 {
        let who = format!("w{n}");
        let answer = rig.book(&wait(10 + n, &[&who])).await;
        assert_eq!(answer["outcome"], "entered", "{answer}");
        assert_eq!(rig.book(&wait(10 + n, &[&who])).await["entry"], answer["entry"]);
        receipts.push((answer["entry"]["receipt"].as_str().unwrap().to_owned(), who));
    }
    assert_eq!(rig.book(&wait(30, &["w0"])).await["reason"], "already_booked");
    // A party of three cannot win: two places come back.
    let party = rig.book(&wait(31, &["x", "y", "z"])).await;
    let party = party["entry"]["receipt"].as_str().unwrap().to_owned();
    let seen = rig.settle("lookup", json!({ "booking": receipts[0].0, "applicant": "w0" })).await;
    assert_eq!(seen["outcome"], "entered", "{seen}");
    // One leaves the waiting list.
    let leave = cancel("x1", &receipts[5].0, "w5");
    assert_eq!(rig.settle("cancel", leave.clone()).await["outcome"], "entered");
    assert_eq!(rig.settle("cancel", leave).await["outcome"], "entered");
    for (request, who) in [("g1", "b"), ("g2", "c")] {
        let given_back = rig.settle("cancel", cancel(request, &id(&first), who)).await;
        assert_eq!(given_back["outcome"], "granted", "{given_back}");
    }
    assert_eq!(rig.free(MON).await, (4, 0, 2));
    // The window closes; the engine dies before the release.
    rig.until_shown("the window does not close", |shown| shown["openings"][0]["state"] == "closed")
        .await;
    assert_eq!(rig.book(&book(40, &["q"], MON)).await["reason"], "closed");
    let late = rig.book(&wait(41, &["q"])).await;
    assert_eq!(late["outcome"], "entered", "{late}");
    receipts.push((late["entry"]["receipt"].as_str().unwrap().to_owned(), "q".to_owned()));
    engine.kill();
    let _engine = rig.serve("b");
    let released = |slot: &Value| slot["date"] == MON && slot["withheld"] == 0;
    let released = |shown: &Value| shown["slots"].as_array().unwrap().iter().any(released);
    rig.until_shown("nothing is released", released).await;
    let mut numbers = rig.drawn_numbers(&receipts).await;
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
    rig.audit(&[&sqlite, &postgres]).await;
    assert_eq!(rig.told(&party).await, ["entered", "not_drawn"]);
    assert_eq!(rig.told(&receipts[5].0).await, ["entered", "cancelled"]);
}

const SITI: [&str; 6] = ["--operator", "siti", "--reason", "desks closed", "--opening", "w"];
const MONDAY: [&str; 4] = ["--office", "alpha", "--date", MON];

impl Rig {
    fn siti(&self, action: &[&str]) -> (i32, String, String) {
        self.run(&[&["admin"], action, &SITI[..]].concat())
    }

    async fn quotas_and_reserves(&self) {
        let (code, said, wrong) = self.siti(&[&["quota", "2"], &MONDAY[..]].concat());
        assert_eq!(code, 0, "{wrong}");
        assert!(
            said.contains("quota 2, free -2") && said.contains("2 bookings it concerns"),
            "{said}"
        );
        assert_eq!(self.free(MON).await, (2, -2, 0));
        assert_eq!(self.book(&book(9, &["q"], MON)).await["reason"], "sold_out");
        let (code, _, wrong) = self.siti(&[&["quota", "7"], &MONDAY[..]].concat());
        assert_eq!(code, 0, "{wrong}");
        let (code, _, wrong) = self.siti(&[&["reserve", "3"], &MONDAY[..]].concat());
        assert_eq!(code, 0, "{wrong}");
        assert_eq!(self.free(MON).await, (7, 0, 3));
        assert_eq!(self.book(&book(9, &["q"], MON)).await["reason"], "sold_out");
        let nowhere = ["--office", "alpha", "--date", "2031-01-01"];
        let (code, _, wrong) = self.siti(&[&["quota", "7"], &nowhere[..]].concat());
        assert_eq!(code, 1);
        assert!(wrong.contains("unknown_slot"), "{wrong}");
    }

    async fn halted_and_resumed(&self, made: &[Value]) {
        // Three places on Tuesday; the fourth booking of Monday stays where it is.
        for n in 20..22 {
            self.book(&book(n, &[&format!("t{n}")], TUE)).await;
        }
        let (code, said, wrong) =
            self.siti(&[&["halt", "--bookings", "move"], &MONDAY[..]].concat());
        assert_eq!(code, 0, "{wrong}");
        assert!(
            said.contains("3 bookings moved") && said.contains("1 bookings it concerns"),
            "{said}"
        );
        let (code, said, wrong) =
            self.siti(&[&["halt", "--bookings", "cancel"], &MONDAY[..]].concat());
        assert_eq!(code, 0, "{wrong}");
        assert!(said.contains("1 bookings cancelled"), "{said}");
        assert_eq!(self.status(&id(&made[3]), "p3").await, "cancelled");
        assert_eq!(self.book(&book(30, &["u"], MON)).await["reason"], "sold_out");
        let (code, _, wrong) = self.siti(&[&["resume"], &MONDAY[..]].concat());
        assert_eq!(code, 0, "{wrong}");
        let (code, _, wrong) = self.siti(&[&["reserve", "0"], &MONDAY[..]].concat());
        assert_eq!(code, 0, "{wrong}");
        assert_eq!(self.book(&book(31, &["u"], MON)).await["outcome"], "granted");
    }

    async fn ended_and_extended(&self) {
        // Ended before it begins: nobody waits for it.
        let ends = ["admin", "closes-at", "2020-01-01T00:00:00Z", "--opening", "later"];
        let (code, _, wrong) = self.run(&[&ends[..], &SITI[..4]].concat());
        assert_eq!(code, 0, "{wrong}");
        let mut early = book(40, &["e"], "2030-02-04");
        early["opening"] = json!("later");
        assert_eq!(self.book(&early).await["reason"], "closed");
        // Ended, and extended again.
        let (code, _, wrong) = self.siti(&["closes-at", "2020-01-01T00:00:00Z"]);
        assert_eq!(code, 0, "{wrong}");
        assert_eq!(self.book(&book(32, &["v"], MON)).await["reason"], "closed");
        let (code, _, wrong) = self.siti(&["closes-at", "2029-01-01T00:00:00Z"]);
        assert_eq!(code, 0, "{wrong}");
        self.open().await;
        assert_eq!(self.book(&book(33, &["v"], MON)).await["outcome"], "granted");
    }
}

/// Quotas, reserves, closed days and ends, by an operator, while bookings run.
#[tokio::test(flavor = "multi_thread")]
async fn operators_change_what_is_offered() {
    let soon = clock::now().plus_millis(HOUR);
    let later = format!(
        "[[opening]]\nid = \"later\"\nopens_at = \"{soon}\"\ncloses_at = \"{}\"\n\
         dates = [\"2030-02-04\"]\n",
        soon.plus_millis(HOUR)
    );
    let rig = Rig::new(&config(5, HOUR, &later)).await;
    rig.init();
    let _engine = rig.serve("a");
    let sqlite = rig.sqlite();
    let postgres = database().await;
    let (_one, _two, _feed) = (rig.persist(&sqlite), rig.persist(&postgres), rig.feed());
    rig.open().await;
    let mut made = Vec::new();
    for n in 0..4 {
        made.push(rig.book(&book(n, &[&format!("p{n}")], MON)).await);
    }
    rig.quotas_and_reserves().await;
    rig.halted_and_resumed(&made).await;
    rig.ended_and_extended().await;
    let unsigned = json!({ "operator": "", "reason": "x", "opening": "w", "office": "alpha",
                           "date": MON, "quota": 5 });
    let answer = rig.settle("admin.quota", unsigned).await;
    assert_eq!(answer["reason"], "malformed");
    assert!(answer["detail"].as_str().unwrap().starts_with("operator: empty"), "{answer}");
    rig.audit(&[&sqlite, &postgres]).await;
    assert_eq!(rig.told(&id(&made[0])).await, ["confirmed", "rescheduled"]);
    assert_eq!(rig.told(&id(&made[3])).await, ["confirmed", "cancelled"]);
}

/// A second start begins at the snapshot; one that is damaged, or behind, costs
/// time and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_begins_at_the_snapshot() {
    let rules =
        "[rules]\nhold = \"1h\"\n[rules.returns]\ncancelled = { delayed = [\"1h\", \"2h\"] }";
    let rig = Rig::new(&config(2_000, HOUR, rules)).await;
    rig.init();
    let mut engine = rig.serve("a");
    rig.open().await;
    let party = rig.book(&book(1, &["ann", "ben"], MON)).await;
    let leave = json!({ "request_id": "x1", "booking": id(&party), "applicant": "ben" });
    rig.settle("cancel", leave.clone()).await;
    let standby = rig.serve("b");
    for n in 100..1_150 {
        rig.book(&book(n, &[&format!("p{n}")], TUE)).await;
    }
    // One that waits for weeks is not to begin at the ledger's begin.
    standby.says("snapshot written").await;
    drop(standby);
    engine.signal("-TERM");
    assert_eq!(engine.ended(Duration::from_secs(10)).0, 0);
    assert!(engine.said().contains("snapshot written"), "{}", engine.said());
    let file = rig.path("data-a").join("snapshot.bin");
    let same = async |engine: &crate::rig::Role, words: &str| {
        rig.open().await;
        assert!(engine.said().contains(words), "{}", engine.said());
        assert_eq!(rig.book(&book(1, &["ann", "ben"], MON)).await["booking"]["version"], 2);
        assert_eq!(rig.settle("cancel", leave.clone()).await["booking"]["version"], 2);
        let first = rig.book(&book(100, &["p100"], TUE)).await;
        assert_eq!(first["booking"]["numbers"], json!([1]));
        assert_eq!(rig.free(MON).await, (2_000, 1_998, 1));
    };
    let mut engine = rig.serve("a");
    same(&engine, "snapshot read").await;
    // What came after the snapshot is read from the ledger.
    let later = rig.book(&book(2_000, &["cat"], MON)).await;
    engine.kill();
    let mut engine = rig.serve("a");
    rig.open().await;
    assert_eq!(rig.book(&book(2_000, &["cat"], MON)).await["booking"], later["booking"]);
    engine.kill();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let engine = rig.serve("a");
    rig.open().await;
    assert!(engine.said().contains("snapshot is not used"), "{}", engine.said());
    assert_eq!(rig.book(&book(2_000, &["cat"], MON)).await["booking"], later["booking"]);
    rig.audit(&[]).await;
}

//! A draw that waits for a public value, over NATS: a value that is not the named
//! one is rejected, whichever engine is active; with the right one the draw happens, and
//! everybody recomputes it.
//!
//! The network is the test's own, since a round of a real one would have to be
//! waited for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use blst::min_sig::SecretKey;
use giliran_drand::Round;
use giliran_nats::clock;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::draws::{config, enter, receipt};
use crate::rig::{Rig, Role, text};
use crate::verifying::{python, verify};

const SUITE: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";

fn network(seed: u8) -> SecretKey {
    SecretKey::key_gen(&[seed; 32], &[]).unwrap()
}

fn signature(network: &SecretKey, round: u64) -> String {
    let message = Sha256::digest(round.to_be_bytes());
    const_hex::encode(network.sign(&message, SUITE, &[]).to_bytes())
}

/// With a network of a round every three seconds.
fn with_beacon(config: &str, network: &SecretKey) -> String {
    let key = const_hex::encode(network.sk_to_pk().to_bytes());
    format!("[beacon]\nkey = \"{key}\"\ngenesis = 1700000000\nperiod_s = 3\n{config}")
}

/// A gauge of a role, as its address shows it.
fn metric(role: &Role, name: &str) -> Option<i64> {
    let said = role.said();
    let address = said.lines().find_map(|line| line.split("http://").nth(1)?.split('/').next())?;
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

impl Rig {
    async fn until(&self, so: impl Fn() -> bool) {
        let since = Instant::now();
        while !so() {
            assert!(since.elapsed() < Duration::from_secs(20), "not so");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Hands a round in; exit code and what was said.
    fn hand_in(&self, round: &Value) -> (i32, String) {
        let file = self.path("round.json");
        std::fs::write(&file, round.to_string()).unwrap();
        let act = ["admin", "beacon", "--opening", "w", "--operator", "siti"];
        let (code, told, said) =
            self.run(&[&act[..], &["--reason", "the draw", text(&file)]].concat());
        (code, told + &said)
    }

    /// What is told of the draw, by its first words.
    pub(crate) fn told_of_draw(&self, what: &str) -> String {
        let (code, told, said) = self.run(&["draw", "show", "--opening", "w"]);
        assert_eq!(code, 0, "{said}");
        let line = told.lines().find_map(|line| line.strip_prefix(what));
        line.unwrap_or_else(|| panic!("no {what} in {told}")).trim().to_owned()
    }

    /// Whoever hands in another value is told so, and nothing is recorded.
    fn hand_in_wrongly(&self, drand: &SecretKey, round: &Round) {
        for (wrong, exit, words) in [
            // Another network's, another round's, one with a digit changed, none.
            (signature(&network(8), round.number), 1, "not that of the round that was named"),
            (signature(drand, round.number - 1), 1, "not that of the round that was named"),
            (signature(drand, round.number + 1), 1, "not that of the round that was named"),
            (format!("00{}", &signature(drand, round.number)[2..]), 1, "not that of the round"),
            (String::new(), 1, "signature"),
            ("no digits".to_owned(), 1, "signature"),
        ] {
            let (code, said) = self.hand_in(&json!({ "signature": wrong }));
            assert!(code == exit && said.contains(words), "{wrong}: {code} {said}");
        }
        let (code, said) = self.hand_in(&json!({ "round": round.number }));
        assert!(code == 2 && said.contains("no `signature` in it"), "{said}");
    }

    /// That a draw waits is said in every place that operators look at.
    async fn operators_are_told(&self, successor: &Role, round: &Round, sqlite: &str) {
        self.until(|| metric(successor, "giliran_draws_awaiting_beacon") == Some(1)).await;
        let said = successor.said();
        let line = said.lines().find(|line| line.contains("a draw waits for its public value"));
        let named = line.is_some_and(|line| {
            line.contains(&round.number.to_string()) && line.contains("not published yet")
        });
        assert!(named, "{said}");
        assert!(self.told_of_draw("stage").starts_with("waits for the public value"));
        let (code, told, said) = self.run(&["audit", "--store", sqlite]);
        assert!(code == 0 && told.contains("the draw of w is over: it waits for"), "{told}{said}");
        let (code, _, said) =
            self.run(&["draw", "export", "--opening", "w", text(&self.path("early.json"))]);
        assert!(code == 1 && said.contains("not drawn (yet)"), "{said}");
    }

    /// Both verifiers find `own` entry in the draw, and trust nobody but the network.
    fn anybody_can_check(&self, drand: &SecretKey, round: &Round, own: &[&str]) {
        let file = self.path("draw.json");
        let (code, _, said) = self.run(&["draw", "export", "--opening", "w", text(&file)]);
        assert_eq!(code, 0, "{said}");
        for verifier in [verify, python] {
            let (code, shown) = verifier(&file, own);
            assert!(code == Some(0) && shown.contains("in the draw"), "{shown}");
            assert!(!shown.contains("must be trusted"), "{shown}");
        }
        // The value of another round, signed by the network itself.
        let mut draw: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        draw["beacon"]["value"] = json!(signature(drand, round.number + 1));
        std::fs::write(&file, draw.to_string()).unwrap();
        let (code, shown) = verify(&file, &[]);
        assert!(code == Some(1) && shown.contains("not the named round's signature"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draw_waits_for_its_public_value_and_for_no_other() {
    let drand = network(7);
    let lasts_ms = 12_000;
    let rules = "[rules]\norder = \"draw\"";
    let config = config(1, lasts_ms, rules);
    let closes_at = clock::now().plus_millis(lasts_ms);
    let rig = Rig::new(&with_beacon(&config, &drand)).await;
    rig.init();
    let mut engine = rig.serve("a");
    let sqlite = rig.sqlite();
    let (_persist, _feed) = (rig.persist(&sqlite), rig.feed());
    rig.open().await;
    let mut receipts = Vec::new();
    for n in 0..6 {
        let who = format!("p{n}");
        let days = ["2030-01-07", "2030-01-08"];
        receipts.push((receipt(&rig.book(&enter(n, &[&who], &days)).await), who));
    }
    // Named before anybody could know it: the first round a minute after the close.
    let name = rig.told_of_draw("public value");
    let round: Round = name.parse().unwrap();
    assert_eq!(round.key, drand.sk_to_pk().to_bytes());
    let published = (1_700_000_000 + 3 * (round.number - 1)) as i64 * 1_000;
    let late = published - closes_at.as_millis();
    assert!((59_000..64_000).contains(&late), "{late} ms after the close");

    let right = json!({ "round": round.number, "signature": signature(&drand, round.number) });
    let (code, said) = rig.hand_in(&right);
    assert!(code == 1 && said.contains("does not wait for a public value now"), "{said}");
    rig.until_closed().await;
    rig.hand_in_wrongly(&drand, &round);

    // Whoever becomes active waits for the same one.
    let root = rig.told_of_draw("root");
    engine.kill();
    let successor = rig.serve("b");
    let (entry, who) = &receipts[0];
    let ask = json!({ "booking": entry, "applicant": who });
    assert_eq!(rig.waited("lookup", &ask).await["outcome"], "entered");
    assert_eq!(rig.told_of_draw("public value"), name);
    assert_eq!(rig.told_of_draw("root"), root);
    rig.operators_are_told(&successor, &round, &sqlite).await;
    let other = json!({ "signature": signature(&drand, round.number + 1) });
    let (code, said) = rig.hand_in(&other);
    assert!(code == 1 && said.contains("not that of the round"), "{said}");
    let (code, said) = rig.hand_in(&right);
    assert!(code == 0 && said.contains("on record"), "{said}");

    let mut won = Vec::new();
    for (entry, who) in &receipts {
        if rig.drawn(entry, who).await["outcome"] == "granted" {
            won.push(entry);
        }
    }
    assert_eq!(won.len(), 2, "a place a day");
    rig.until(|| metric(&successor, "giliran_draws_awaiting_beacon") == Some(0)).await;
    assert!(rig.told_of_draw("stage").starts_with("over"));
    let (code, said) = rig.hand_in(&right);
    assert!(code == 1 && said.contains("does not wait"), "a second time: {said}");
    rig.audit(&[&sqlite]).await;
    let request = format!("r{}", receipts.iter().position(|(entry, _)| entry == won[0]).unwrap());
    rig.anybody_can_check(
        &drand,
        &round,
        &["--root", &root, "--receipt", won[0], "--request-id", &request],
    );
}

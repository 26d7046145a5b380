//! A machine whose clock differs from the broker's. It is the broker that is shown to
//! it in another year: a line in between changes what the broker says of the time.

use std::time::Duration;

use giliran_nats::clock;
use giliran_nats::ledger;
use giliran_wire::ledger::{Block, Entry, Signed};

use crate::WITHIN;
use crate::away::ask;
use crate::proxy::Proxy;
use crate::rig::{Rig, config, text};

/// Moves every time of this year that the broker tells by `years`.
fn shifted(years: i32) -> impl Fn(&mut [u8]) + Send + Sync + 'static {
    let year: i32 = clock::now().to_string()[..4].parse().unwrap();
    let (from, to) = (format!("\":\"{year}-"), format!("\":\"{}-", year + years));
    move |said: &mut [u8]| {
        for at in 0..said.len().saturating_sub(from.len()) {
            if said[at..].starts_with(from.as_bytes()) {
                said[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
        }
    }
}

impl Rig {
    fn port(&self) -> u16 {
        self.server.url().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The last take-over on record.
    async fn last_take_over(&self) -> giliran_wire::ledger::TakeOver {
        let ledger = ledger::open(&self.client, &self.namespace).await.unwrap();
        let (_, tail) = ledger.tail().await.unwrap();
        for seq in (1..=tail).rev() {
            let bytes = ledger.read_at(seq).await.unwrap().unwrap();
            let (block, _) = Block::open(&bytes).unwrap();
            if let Some(Entry::TakeOver(take_over)) = block.entries.into_iter().next() {
                return take_over;
            }
        }
        panic!("nobody has taken over");
    }
}

/// An engine whose clock is a year off does not take over, though nobody else does. It
/// says why, and how far it is off; with a name and a reason it takes over, and these
/// stand on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_does_not_take_over_unless_somebody_answers_for_it() {
    let mut rig = Rig::new(&config(100)).await;
    rig.init();
    let right = rig.url.clone();
    for years in [-1, 1] {
        let line = Proxy::rewriting(rig.port(), shifted(years)).await;
        rig.url = format!("nats://127.0.0.1:{}", line.port);
        let wrong = rig.serve("wrong");
        let told = wrong.until("engine", "clock_wrong", WITHIN).await;
        let said = told["detail"].as_str().unwrap();
        let (ahead, word) = if years < 0 { (1.0, "ahead") } else { (-1.0, "behind") };
        assert!(said.contains(word) && said.contains("--trust-clock"), "{said}");
        let offset = wrong.metric("giliran_clock_offset_seconds").await.unwrap();
        assert!(offset * ahead > 364.0 * 86_400.0, "{offset}");
        // The lease is free for longer than a lease lasts.
        tokio::time::sleep(Duration::from_secs(4)).await;
        wrong.until("engine", "clock_wrong", WITHIN).await;
        assert_eq!(rig.ask("book", ask(1).to_string()).await, None, "nobody decides");
        // Store and feed go on by the ledger's time, and show the offset.
        let feed = rig.feed();
        let told = feed.until("feed", "following", WITHIN).await;
        assert!(told["clock_offset_ms"].as_f64().unwrap() * ahead > 364.0 * 86_400_000.0, "{told}");
        rig.url.clone_from(&right);
    }
    let fine = rig.serve("fine");
    rig.open().await;
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
    assert_eq!(rig.last_take_over().await.forced, None);
    drop(fine);

    let line = Proxy::rewriting(rig.port(), shifted(1)).await;
    rig.url = format!("nats://127.0.0.1:{}", line.port);
    let (config, data, key) =
        (rig.path("giliran.toml"), rig.path("data-trusted"), rig.path("applicant.key"));
    let signed = ["--trust-clock", "--operator", "siti", "--reason", "the broker's is wrong"];
    let serve = ["serve", "--config", text(&config), "--data", text(&data), "--key", text(&key)];
    let (code, _, said) = rig.run(&[&serve[..], &["--trust-clock"]].concat());
    assert_eq!((code, said.contains("--operator")), (2, true), "{said}");
    let trusted = rig.role("trusted", &[&serve[..], &signed].concat());
    let told = trusted.until("engine", "active", WITHIN).await;
    assert!(told["detail"].as_str().unwrap().contains("clock"), "{told}");
    let (operator, reason) = ("siti".to_owned(), "the broker's is wrong".to_owned());
    assert_eq!(rig.last_take_over().await.forced, Some(Signed { operator, reason }));
    assert_eq!(rig.book(&ask(2)).await["outcome"], "granted");
}

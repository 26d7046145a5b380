//! What operators look at: the state of everything, go or no go, and who did what.

use std::time::{Duration, Instant};

use giliran_nats::clock;
use giliran_survey::judge::{BEFORE, NOW};
use giliran_wire::picture::{Judged, Verdict};

use crate::rig::{Rig, Role, text};

/// An opening that begins in an hour.
fn config() -> String {
    let soon = clock::now().plus_millis(3_600_000);
    format!(
        "[[opening]]\nid = \"w\"\nopens_at = \"{soon}\"\ncloses_at = \"{}\"\n\
         dates = [\"2030-01-07\", \"2030-01-08\"]\n\
         [[office]]\nid = \"alpha\"\nname = \"Alpha\"\nquota = 20\n\
         [[office]]\nid = \"beta\"\nname = \"Beta\"\nquota = 5\n",
        soon.plus_millis(3_600_000)
    )
}

impl Rig {
    /// An engine that knows where the broker's monitoring port is.
    pub(crate) fn serve_and_ask(&self, name: &str) -> Role {
        let [config, key] = ["giliran.toml", "applicant.key"].map(|name| self.path(name));
        let (data, monitor) = (self.path(&format!("data-{name}")), self.server.monitor_url());
        let files = ["--config", text(&config), "--key", text(&key), "--data", text(&data)];
        let named = ["--name", name, "--nats-monitor", &monitor];
        self.role(name, &[&["serve"], &files[..], &named].concat())
    }

    /// A command that prints what is judged: its exit code, and that.
    fn judged(&self, arguments: &[&str]) -> (i32, Judged) {
        let monitor = self.server.monitor_url();
        let (code, out, said) =
            self.run(&[arguments, &["--json", "--nats-monitor", &monitor]].concat());
        let judged = serde_json::from_str(&out);
        (code, judged.unwrap_or_else(|error| panic!("{error}: {out}{said}")))
    }

    /// The same until `enough` of it: processes find their place one by one.
    async fn judged_until(
        &self,
        arguments: &[&str],
        enough: impl Fn(i32, &Judged) -> bool,
    ) -> Judged {
        let since = Instant::now();
        loop {
            let (code, judged) = self.judged(arguments);
            if enough(code, &judged) {
                return judged;
            }
            let off = judged.checks.iter().filter(|check| check.verdict != Verdict::Go);
            let off: Vec<_> = off.collect();
            assert!(since.elapsed() < Duration::from_secs(30), "{code} {off:#?}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// The names of the checks that are not green.
fn off(judged: &Judged) -> Vec<&str> {
    let off = judged.checks.iter().filter(|check| check.verdict != Verdict::Go);
    off.map(|check| check.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_is_no_go_without_a_standby_and_go_with_one() {
    let rig = Rig::new(&config()).await;
    rig.init();
    let _active = rig.serve_and_ask("a");
    let _persist = rig.persist(&rig.sqlite());
    let _feed = rig.feed();
    let file = rig.path("giliran.toml");
    let preflight = ["preflight", "--opening", "w", "--config", text(&file)];
    let judged =
        rig.judged_until(&preflight, |_, judged| off(judged) == ["standby", "expected"]).await;
    assert!(!judged.go && judged.opening.as_deref() == Some("w"));
    let (code, _) = rig.judged(&preflight);
    assert_eq!(code, 1);

    let fine = rig.judged_until(&["status"], |code, _| code == 0).await;
    let openings = fine.picture.openings.found().unwrap();
    let opening = &openings.openings[0];
    assert_eq!((opening.offers.id.as_str(), opening.places.free), ("w", 50));
    assert_eq!((opening.offices["beta"].quota, opening.days.len()), (10, 2));
    let processes = fine.picture.processes.found().unwrap();
    let roles: Vec<&str> = processes.iter().map(|one| one.standing.role.as_str()).collect();
    assert_eq!(roles, ["engine", "feed", "persist"]);
    assert!(fine.picture.servers[0].said.found().unwrap().sync_always);
    let streams = fine.picture.streams.found().unwrap();
    assert_eq!(streams.len(), 5, "{streams:?}");
    let shown = rig.done(&["status", "--opening", "w"]);
    for words in ["opening w  opens in 59 min", "engine a", "GILIRAN_V1_LEDGER_1", "beta"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }

    let _standby = rig.serve_and_ask("b");
    let go = rig.judged_until(&preflight, |code, _| code == 0).await;
    assert!(go.go && off(&go).is_empty());
    let names: Vec<&str> = go.checks.iter().map(|check| check.name.as_str()).collect();
    let mut all = [&NOW[..], &BEFORE[..]].concat();
    all.retain(|check| *check != "backups");
    assert_eq!(names, all, "nobody has named a backup");

    // What cannot be looked at is not green, unless somebody answers for it.
    let blind = ["preflight", "--opening", "w"];
    let (code, out, _) = rig.run(&blind);
    assert_eq!((code, out.contains("?       sync")), (1, true), "{out}");
    let waived = ["sync", "file", "disk", "certificates"].map(|name| ["--waive", name]).concat();
    let out = rig.done(&[&blind[..], &waived[..]].concat());
    assert!(out.contains("go      opening w, 4 on your word"), "{out}");
    let (code, _, said) = rig.run(&[&blind[..], &["--waive", "synk"]].concat());
    assert_eq!((code, said.contains("no such check")), (2, true), "{said}");
    let (code, judged) = rig.judged(&["preflight", "--opening", "v"]);
    let record = judged.checks.iter().find(|check| check.name == "record").unwrap();
    assert_eq!((code, record.verdict), (1, Verdict::NoGo));
    assert!(record.found.ends_with("on record are: w"), "{record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_runs_it_is_said_and_is_not_fine() {
    let rig = Rig::new(&config()).await;
    let (code, judged) = rig.judged(&["status"]);
    assert_eq!((code, off(&judged).first()), (1, Some(&"engine")), "{:#?}", judged.checks);
}

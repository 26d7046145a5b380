//! The file that engines read, beside what is on record: whoever edits it in vain is
//! told so.

use std::time::{Duration, Instant};

use giliran_nats::clock;

use crate::rig::{Rig, Role, config, get, text};
use crate::told::line;

/// The configuration of the rig, and an opening whose window is over.
fn with_an_old_one(quota: u32) -> String {
    let now = clock::now().as_millis();
    let at = |hours: i64| giliran_wire::Timestamp::from_millis(now - hours * 3_600_000);
    format!(
        "[[opening]]\nid = \"old\"\nopens_at = \"{}\"\ncloses_at = \"{}\"\n\
         dates = [\"2030-01-14\"]\n{}",
        at(48),
        at(24),
        config(quota)
    )
}

/// Waits until `/readyz` warns of exactly these, each by words of it.
async fn warned(role: &Role, expected: &[&str]) {
    let since = Instant::now();
    loop {
        let health = role.health().await.unwrap_or_default();
        let warnings: Vec<&str> = health["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|warning| warning.as_str())
            .filter(|warning| warning.starts_with("opening "))
            .collect();
        let all = expected.iter().all(|words| warnings.iter().any(|said| said.contains(words)));
        if all && warnings.len() == expected.len() {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{expected:?}: {warnings:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_as_the_record_is_told_of() {
    let file = with_an_old_one(3);
    let rig = Rig::new(&file).await;
    rig.init();
    let engine = rig.serve("a");
    rig.open().await;
    let old = "opening old is left out: its window ended at";
    warned(&engine, &[old]).await;
    line(&engine, &["ERROR", old]).await;
    let metrics = get(&engine.http().unwrap(), "/metrics").await.unwrap();
    let metric = "giliran_file_differs{field=\"opening\",opening=\"old\"} 1";
    assert!(metrics.contains(metric), "{metrics}");

    // Another engine, another file: quotas of alpha's two days differ in one way.
    let edited = file.replacen("quota = 3", "quota = 4", 1);
    std::fs::write(rig.path("giliran.toml"), &edited).unwrap();
    let second = rig.serve("b");
    let differs = "office.quota of alpha/all on 2030-01-07, 2030-01-08: 4 in the file, 3 on record";
    warned(&second, &[old, differs]).await;
    let said = line(&second, &["WARN", differs]).await;
    assert!(said.contains("giliran admin quota --opening w --office alpha"), "{said}");
    warned(&engine, &[old]).await;
    let path = rig.path("giliran.toml");
    let (code, out, said) = rig.run(&["check", text(&path)]);
    assert_eq!(code, 1, "{out}{said}");
    assert!(said.contains(differs) && said.contains(old), "{said}");

    // The action that it names makes record and file alike.
    for day in ["2030-01-07", "2030-01-08"] {
        let slot = ["--opening", "w", "--office", "alpha", "--date", day];
        let signed = ["--operator", "siti", "--reason", "a counter more", "4"];
        rig.done(&[&["admin", "quota"], &slot[..], &signed[..]].concat());
    }
    warned(&second, &[old]).await;
    warned(&engine, &[old]).await;
    let current = edited.split_once("[[opening]]\nid = \"w\"").unwrap().1;
    std::fs::write(&path, format!("[[opening]]\nid = \"w\"{current}")).unwrap();
    let out = rig.done(&["check", text(&path)]);
    assert!(out.contains("is as the file says"), "{out}");
    assert_eq!(second.said().matches(differs).count(), 1, "said once: {}", second.said());
}

//! An engine's own disk.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::WITHIN;
use crate::away::ask;
use crate::rig::{Rig, config, text};

/// The disk hangs: a pipe that nobody reads takes no write. Bookings go on, the lease
/// is kept, and it is told. Then the disk refuses: the engine ends with that reason,
/// and a standby takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_disk_is_told_and_holds_nobody_up() {
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let mut active = rig.serve("a");
    rig.open().await;
    let standby = rig.serve("b");
    standby.until("engine", "standby", WITHIN).await;
    assert_eq!(rig.book(&ask(1)).await["as_of"]["epoch"], 1);
    let pipe = rig.path("data-a/high-water.json.next");
    let since = Instant::now();
    while !Command::new("mkfifo").arg(text(&pipe)).status().unwrap().success() {
        // A write may be on its way.
        assert!(since.elapsed() < WITHIN, "no pipe");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Beyond the lease's length, with something to write all the time.
    for n in 2..10 {
        let asked = Instant::now();
        let answer = rig.book(&ask(n)).await;
        assert_eq!(
            (answer["outcome"].as_str(), answer["as_of"]["epoch"].as_u64()),
            (Some("granted"), Some(1))
        );
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let told = active.until("engine", "active", WITHIN).await;
    assert!(told["detail"].as_str().unwrap().contains("disk has taken no write"), "{told}");
    // What goes into a pipe cannot be synced.
    let reading = std::thread::spawn(move || std::fs::read(pipe));
    let (code, said) = active.ended(WITHIN);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("high-water mark") && said.contains("high-water.json"), "{said}");
    let _ = reading.join();
    standby.until("engine", "active", WITHIN).await;
    assert_eq!(rig.book(&ask(99)).await["as_of"]["epoch"], 2);
}

//! The commands that README and operations page show, run as they stand there; names,
//! addresses and folders are this test's.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::rig::{config, database, text};
use crate::site::{Process, Site, password};
use crate::up::{stop, up};

/// How long a role may take until it does its work.
const PATIENCE: Duration = Duration::from_secs(30);

fn page(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    std::fs::read_to_string(file).unwrap()
}

/// What stands between a heading and the next one of its rank.
fn chapter<'a>(page: &'a str, heading: &str) -> &'a str {
    let rank = heading.split(' ').next().unwrap();
    let chapter = page.split(&format!("\n{heading}\n")).nth(1);
    let chapter = chapter.unwrap_or_else(|| panic!("no chapter {heading:?}"));
    chapter.split(&format!("\n{rank} ")).next().unwrap()
}

/// The shell scripts of a chapter, without what a list indents.
fn scripts(chapter: &str) -> Vec<String> {
    let mut scripts = Vec::new();
    let mut lines = chapter.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start() != "```sh" {
            continue;
        }
        let script = lines.by_ref().take_while(|line| line.trim_start() != "```");
        scripts
            .push(script.map(|line| format!("{}\n", line.get(indent..).unwrap_or(""))).collect());
    }
    scripts
}

/// The commands that a chapter shows with what they print.
fn shown(chapter: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in chapter.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(command.to_owned());
        } else if goes_on {
            let _ = write!(commands.last_mut().unwrap(), "\n{line}");
        }
        goes_on = line.ends_with('\\') && (goes_on || line.starts_with("$ "));
    }
    commands
}

/// A shell that finds `giliran`, and nothing of Giliran's in its environment.
fn shell(folder: &Path, script: &str) -> Command {
    let binaries = folder.join("bin");
    if !binaries.exists() {
        std::fs::create_dir(&binaries).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_giliran"), binaries.join("giliran"))
            .unwrap();
    }
    let mut command = Command::new("sh");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GILIRAN_")) {
        command.env_remove(name);
    }
    let path = format!("{}:{}", text(&binaries), std::env::var("PATH").unwrap());
    command.args(["-euc", script]).env("PATH", path).current_dir(folder).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Again until it succeeds: roles take a moment until they do their work.
fn until(folder: &Path, script: &str) -> String {
    let since = Instant::now();
    loop {
        let output = shell(folder, script).output().unwrap();
        if output.status.success() {
            return said(&output);
        }
        assert!(since.elapsed() < PATIENCE, "{script}: {}", said(&output));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What stands for what of this test.
struct Here<'a> {
    site: &'a Site,
    store: &'a str,
}

impl Here<'_> {
    fn put(&self, script: &str) -> String {
        let folder = text(self.site.folder.path());
        let mut script = script.to_owned();
        if let Some((_, user)) = script.split_once("GILIRAN_NATS_USER=") {
            let user = user.split([' ', '\n']).next().unwrap().to_owned();
            script = script.replace("PASSWORD=…", &format!("PASSWORD={}", password(&user)));
        }
        for (there, here) in [
            ("nats://broker:4222", self.site.url("setup")),
            ("postgres://giliran@db/giliran", self.store),
            ("/etc/giliran", &format!("{folder}/etc")),
            ("/var/lib/giliran", &format!("{folder}/var")),
            ("--replicas 3", "--replicas 1"),
            ("127.0.0.1:842", "127.0.0.1:0 #"),
            ("2026-W49", "w"),
            ("batam-harbourbay", "alpha"),
            ("batam-sekupang", "beta"),
            ("2026-11-30", "2030-01-07"),
            ("2026-12-01", "2030-01-07"),
        ] {
            script = script.replace(there, here);
        }
        script
    }

    /// A role that runs on; its log is `<name>.log`.
    fn start(&self, name: &str, script: &str) -> Process {
        let folder = self.site.folder.path();
        let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
        let script = script.replace("\ngiliran ", "\nexec giliran ");
        Process(shell(folder, &script).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn production_is_set_up_as_the_page_says() {
    let site = Site::start();
    let folder = site.folder.path();
    std::fs::create_dir(folder.join("etc")).unwrap();
    std::fs::write(folder.join("etc/giliran.toml"), config(100)).unwrap();
    let store = database().await;
    let here = Here { site: &site, store: &store };
    let operations = page("docs/operations.md");
    let production = scripts(chapter(&operations, "## Production"));
    let (mut roles, mut ran) = (Vec::new(), Vec::new());
    for script in &production {
        let script = here.put(script);
        let command = script.lines().find_map(|line| line.strip_prefix("giliran ")).unwrap();
        let command = command.split(' ').next().unwrap();
        if ["serve", "persist", "feed"].contains(&command) {
            roles.push(here.start(command, &script));
        } else {
            until(folder, &script);
        }
        ran.push(command.to_owned());
    }
    assert_eq!(ran, ["init", "check", "serve", "persist", "feed", "availability", "audit"]);

    let deploy = page("deploy/README.md");
    for (heading, command) in [
        ("### A team that reads events", "giliran reader add"),
        ("### Operators", "giliran admin quota"),
    ] {
        let scripts = scripts(chapter(&deploy, heading));
        let script = scripts.iter().find(|script| script.contains(command)).unwrap();
        until(folder, &format!("export GILIRAN_NATS={}\n{}", site.url("setup"), here.put(script)));
    }
    let actions = chapter(&operations, "## Operators' actions");
    let mut commands = shown(actions);
    commands.extend(scripts(actions));
    let login = |user: &str| {
        let (inbox, url) = (format!("_INBOX.{user}"), site.url("setup"));
        format!(
            "export GILIRAN_NATS={url} GILIRAN_NATS_USER={user} GILIRAN_NATS_DOMAIN=giliran \
             GILIRAN_NATS_PASSWORD={} GILIRAN_NATS_INBOX_PREFIX={inbox}\n",
            password(user)
        )
    };
    let mut names = Vec::new();
    for command in &commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        let reads = words[1] == "journal";
        names.push(if reads { words[1] } else { words[2] });
        let user = if reads { "auditor" } else { "operator" };
        until(folder, &format!("{}{}", login(user), here.put(command)));
    }
    for name in ["quota", "reserve", "halt", "closes-at", "roll", "journal"] {
        assert!(names.contains(&name), "{name} is not shown: {names:?}");
    }
    drop(roles);
    for role in ["serve", "persist", "feed"] {
        let said = std::fs::read_to_string(site.path(&format!("{role}.log"))).unwrap();
        assert!(!said.contains("NATS server refuses"), "{role}: {said}");
    }
}

#[test]
fn the_readme_shows_commands_that_work() {
    let folder = tempfile::tempdir().unwrap();
    let readme = page("README.md");
    let script = scripts(chapter(&readme, "## Usage")).remove(0);
    let commands = script.lines().filter_map(|line| line.strip_prefix("target/release/giliran "));
    let commands: Vec<&str> =
        commands.map(|line| line.split(" # ").next().unwrap().trim()).collect();
    assert_eq!(commands[0], "up --dev");
    let running = up(&folder.path().join("giliran-data"));
    let run = |command: &str| {
        let script = format!("export GILIRAN_NATS={}\ngiliran {command}", running.nats);
        until(folder.path(), &script)
    };
    let mut booking = None;
    for command in &commands[1..] {
        let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        // The booking's id is another one here.
        if ["reschedule", "cancel"].contains(&words[0].as_str()) {
            words[1] = Option::clone(&booking).expect("booked before");
        }
        let said = run(&words.join(" "));
        if words[0] == "book" {
            booking = said.split_whitespace().nth(1).map(str::to_owned);
        }
    }
    for first in ["giliran find --opening dev 2171012345678901", "giliran availability"] {
        let operations = page("docs/operations.md");
        assert!(chapter(&operations, "## First start").contains(first));
    }
    stop(running);
}

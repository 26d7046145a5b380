//! Makes every picture of the documents anew: charts by the program itself, pages by a browser.
//!
//! Charts are the same on every machine, and `--check` holds them equal. What a browser draws differs with its fonts;
//! without a browser those pictures stay as they are, and that is said.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Args;

use crate::process::{self, Failure, Interrupt};
use crate::tools::nats;
use crate::workspace::Workspace;

/// The comparison whose charts and page the documents show.
const BENCH: [&str; 3] = ["fairness", "--scenario", "batam"];
/// The rehearsal: small, and five minutes of it pass in one.
const REHEARSAL: [&str; 7] = ["surge", "--scenario", "batam", "--scale", "0.5", "--speed", "5"];
/// Names that the browser may have.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// When operators act in the rehearsal, from its begin: scalpers find out what pays first.
const ACTIONS_AFTER: Duration = Duration::from_secs(25);
/// Between their actions.
const ACTIONS_APART: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct PicturesArgs {
    /// Write nothing: make the charts, and fail where one differs from what the documents have
    #[arg(long)]
    check: bool,
    /// The program to make them with, instead of building it
    #[arg(long, value_name = "FILE")]
    giliran: Option<PathBuf>,
}

/// A picture of a page: the file in `docs/`, and the window's width and height.
struct Shot {
    file: &'static str,
    size: (u32, u32),
    is_dark: bool,
}

const fn shot(file: &'static str, size: (u32, u32)) -> Shot {
    Shot { file, size, is_dark: false }
}

const fn dark(file: &'static str, size: (u32, u32)) -> Shot {
    Shot { is_dark: true, ..shot(file, size) }
}

const OF_BENCH: [Shot; 2] = [
    shot("fairness/wide-light.png", (1_100, 2_300)),
    dark("fairness/phone-dark.png", (500, 2_300)),
];
const OF_BENCH_INDONESIAN: [Shot; 1] = [shot("fairness/laporan.png", (1_100, 640))];
const OF_REHEARSAL: [Shot; 2] =
    [shot("surge/wide-light.png", (1_100, 2_600)), dark("surge/phone-dark.png", (500, 2_600))];
const OF_OPENING: [Shot; 1] = [shot("fairness/from-ledger.png", (1_100, 2_600))];

/// `build`: builds `giliran`, and says where it is.
pub(crate) fn run(
    workspace: &Workspace,
    build: impl FnOnce() -> Result<PathBuf, Failure>,
    args: &PicturesArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let giliran = &args.giliran.clone().map_or_else(build, Ok)?;
    let folder = workspace.target().join("pictures");
    // What is left of an earlier run is none of this one's.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(Failure::broken)?;
    let bench = |language: &str, page: &Path, rest: &[&Path]| {
        let mut bench = Command::new(giliran);
        bench.args(BENCH).args(["--language", language]).arg("--html").arg(page);
        bench.args(rest).current_dir(&folder).stdout(Stdio::null());
        process::succeed(&mut bench, interrupt)
    };
    let (page, charts) = (folder.join("bench.html"), folder.join("charts"));
    bench("en", &page, &[Path::new("--pictures"), &charts])?;
    let differing = charts_of_documents(workspace, &charts, args.check)?;
    if args.check {
        differing
            .iter()
            .for_each(|file| eprintln!("xtask: {} is not what is made now", file.display()));
        return Ok(if differing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let Some(browser) = browser() else {
        eprintln!(
            "xtask: pictures of pages: LEFT OUT: none of {} is installed",
            BROWSERS.join(", ")
        );
        return Ok(ExitCode::SUCCESS);
    };
    let docs = workspace.root().join("docs");
    let shots = |page: &Path, shots: &[Shot]| {
        shots.iter().try_for_each(|shot| taken(&browser, page, shot, &docs, interrupt))
    };
    shots(&page, &OF_BENCH)?;
    on_paper(&browser, &page, &folder, &docs.join("fairness/print.png"), interrupt)?;
    let indonesian = folder.join("laporan.html");
    bench("id", &indonesian, &[])?;
    shots(&indonesian, &OF_BENCH_INDONESIAN)?;
    let (rehearsal, opening) = rehearsed(workspace, giliran, &folder, interrupt)?;
    shots(&rehearsal, &OF_REHEARSAL)?;
    shots(&opening, &OF_OPENING)?;
    gateway(workspace, &docs, interrupt)?;
    Ok(ExitCode::SUCCESS)
}

/// Takes over each chart that the documents have; those that differ.
fn charts_of_documents(
    workspace: &Workspace,
    made: &Path,
    only_look: bool,
) -> Result<Vec<PathBuf>, Failure> {
    let folder = workspace.root().join("docs/fairness");
    let mut differing = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Failure::broken)?.flatten() {
        let file = entry.path();
        if file.extension().is_none_or(|end| end != "svg") {
            continue;
        }
        let anew = made.join(entry.file_name());
        let anew = fs::read(&anew)
            .map_err(|error| Failure::Broken(format!("{}: {error}", anew.display())))?;
        if fs::read(&file).map_err(Failure::broken)? != anew {
            if !only_look {
                fs::write(&file, anew).map_err(Failure::broken)?;
            }
            differing.push(file);
        }
    }
    Ok(differing)
}

/// The browser, if there is one.
fn browser() -> Option<PathBuf> {
    let is_there = |name: &&str| process::output_of(Command::new(name).arg("--version")).is_some();
    BROWSERS.into_iter().find(is_there).map(PathBuf::from)
}

fn headless(browser: &Path) -> Command {
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn taken(
    browser: &Path,
    page: &Path,
    shot: &Shot,
    docs: &Path,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut command = headless(browser);
    if shot.is_dark {
        command.arg("--blink-settings=preferredColorScheme=0");
    }
    let (width, height) = shot.size;
    command.arg(format!("--window-size={width},{height}"));
    command.arg(format!("--screenshot={}", docs.join(shot.file).display()));
    process::succeed(command.arg(page), interrupt)
}

/// The first four pages as they are printed, beside each other.
fn on_paper(
    browser: &Path,
    page: &Path,
    folder: &Path,
    picture: &Path,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    if process::output_of(Command::new("pdftoppm").arg("-v")).is_none() {
        eprintln!("xtask: {}: LEFT OUT: pdftoppm is not installed", picture.display());
        return Ok(());
    }
    let pdf = folder.join("print.pdf");
    let mut print = headless(browser);
    print.arg("--no-pdf-header-footer").arg(format!("--print-to-pdf={}", pdf.display()));
    process::succeed(print.arg(page), interrupt)?;
    let mut parted = Command::new("pdftoppm");
    parted.args(["-png", "-r", "60", "-l", "4"]).arg(&pdf).arg(folder.join("paper"));
    process::succeed(&mut parted, interrupt)?;
    let mut sheets: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(Failure::broken)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("/paper-"))
        .collect();
    sheets.sort();
    let images = sheets.iter().map(|sheet| format!("<img src=\"{}\">", sheet.display()));
    let beside = folder.join("paper.html");
    let style = "body{margin:8px;background:#888;display:flex;gap:8px}";
    let html = format!("<!doctype html><style>{style}</style>{}", images.collect::<String>());
    fs::write(&beside, html).map_err(Failure::broken)?;
    let mut command = headless(browser);
    command.arg("--window-size=2032,718");
    command.arg(format!("--screenshot={}", picture.display()));
    process::succeed(command.arg(&beside), interrupt)
}

/// `giliran up --dev`, until dropped.
struct Everything {
    child: Child,
    address: String,
}

impl Everything {
    fn start(
        workspace: &Workspace,
        giliran: &Path,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let server = nats::provide(workspace, interrupt)?;
        let mut up = Command::new(giliran);
        up.args(["up", "--dev", "--data"])
            .arg(folder.join("data"))
            .env(nats::VARIABLE, server.path);
        up.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = up.spawn().map_err(Failure::broken)?;
        let out = child.stdout.take();
        let mut everything = Self { child, address: String::new() };
        for line in
            out.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok)
        {
            if let Some(at) = line.find("nats://") {
                let address = line[at..].split([',', ' ']).next().unwrap_or_default();
                everything.address = address.to_owned();
                return Ok(everything);
            }
        }
        Err(Failure::broken("`giliran up --dev` did not say where it listens"))
    }
}

impl Drop for Everything {
    fn drop(&mut self) {
        process::send("TERM", &self.child.id().to_string());
        let _ = self.child.wait();
    }
}

/// A rehearsal in which operators act, and the report of its opening: two pages.
fn rehearsed(
    workspace: &Workspace,
    giliran: &Path,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<(PathBuf, PathBuf), Failure> {
    let everything = Everything::start(workspace, giliran, folder, interrupt)?;
    let asks = |args: &[&str]| {
        let mut command = Command::new(giliran);
        command.args(args).env("GILIRAN_NATS", &everything.address).current_dir(folder);
        command.stdout(Stdio::null());
        command
    };
    let shown = || process::output_of(&mut asks(&["availability", "--json"]));
    let shown = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(200));
        shown().filter(|shown| shown.contains("\"date\":\""))
    });
    let shown = shown.ok_or_else(|| Failure::broken("no engine is active after 20 s"))?;
    let dates: Vec<&str> =
        shown.split("\"date\":\"").skip(1).filter_map(|rest| rest.get(..10)).collect();
    let [first, .., last] = dates[..] else {
        return Err(Failure::broken("the opening has no days"));
    };
    let rehearsal = folder.join("rehearsal.html");
    let mut surge = asks(&REHEARSAL);
    surge.args(["--log", "clients.jsonl", "--html"]).arg(&rehearsal).stderr(Stdio::null());
    let mut surge = surge.spawn().map_err(Failure::broken)?;
    std::thread::sleep(ACTIONS_AFTER);
    let signed = ["--opening", "dev", "--operator", "siti"];
    let office = ["--office", "batam-harbourbay"];
    for action in [
        &["quota", "--reason", "another counter", "--date", first, "90"][..],
        &["halt", "--reason", "power cut", "--date", last],
        &["reserve", "--reason", "elderly people", "--date", first, "5"],
    ] {
        let mut acts = asks(&["admin"]);
        acts.args(&action[..1]).args(signed).args(office).args(&action[1..]);
        process::succeed(&mut acts, interrupt)?;
        std::thread::sleep(ACTIONS_APART);
    }
    let ended = surge.wait().map_err(Failure::broken)?;
    if !ended.success() {
        eprintln!("xtask: the rehearsal ended with {ended}; its page says why");
    }
    let opening = folder.join("opening.html");
    let mut report = asks(&["fairness", "--from-ledger", "--opening", "dev"]);
    report.args(["--gateway-log", "clients.jsonl", "--html"]).arg(&opening);
    process::succeed(&mut report, interrupt)?;
    Ok((rehearsal, opening))
}

/// Those of the page for people, by its own tests.
fn gateway(workspace: &Workspace, docs: &Path, interrupt: &Interrupt) -> Result<(), Failure> {
    if process::output_of(Command::new("chromedriver").arg("--version")).is_none() {
        eprintln!("xtask: docs/gateway: LEFT OUT: chromedriver is not installed");
        return Ok(());
    }
    let taken = workspace.target().join("pictures/gateway");
    fs::create_dir_all(&taken).map_err(Failure::broken)?;
    let server = nats::provide(workspace, interrupt)?;
    let mut test =
        workspace.cargo(["test", "--package", "giliran-cli", "--test", "opening", "page::"]);
    test.env(nats::VARIABLE, server.path).env("GILIRAN_SCREENSHOTS", &taken);
    process::succeed(&mut test, interrupt)?;
    for entry in fs::read_dir(docs.join("gateway")).map_err(Failure::broken)?.flatten() {
        let anew = taken.join(entry.file_name());
        if anew.is_file() {
            fs::copy(&anew, entry.path()).map_err(Failure::broken)?;
        }
    }
    Ok(())
}

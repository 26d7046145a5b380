//! Makes the pictures of the documents anew: charts by the program itself, pages by a browser.
//!
//! Charts are the same on every machine, and `--check` holds them equal. What a browser draws differs with its fonts;
//! without a browser those pictures stay as they are, and that is said. Flame graphs are measured and not made here
//! (`cargo xtask bench flame`).

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::process::{self, Failure, Interrupt};
use crate::results;
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
    /// Make these alone (may be repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Pictures>,
    /// The program to make them with, instead of building it
    #[arg(long, value_name = "FILE")]
    giliran: Option<PathBuf>,
}

/// Pictures that are made together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pictures {
    /// `docs/performance`: charts of the recorded results
    Performance,
    /// `docs/fairness`: charts and page of the comparison, on paper too and in Indonesian
    Fairness,
    /// `docs/surge` and `docs/fairness/from-ledger.png`: a rehearsal, and the report of its opening
    Surge,
    /// `docs/gateway` and `docs/console`: pages as the browser's tests see them
    Pages,
}

impl PicturesArgs {
    fn wants(&self, pictures: Pictures) -> bool {
        self.only.is_empty() || self.only.contains(&pictures)
    }
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
    let folder = workspace.target().join("pictures");
    // What is left of an earlier run is none of this one's.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(Failure::broken)?;
    let giliran = args.giliran.clone().map_or_else(build, Ok)?;
    let making = Making { workspace, giliran, folder, interrupt };
    let mut differing = Vec::new();
    if args.wants(Pictures::Performance) {
        differing.extend(making.performance(args.check)?);
    }
    if args.wants(Pictures::Fairness) {
        differing.extend(making.charts_of_comparison(args.check)?);
    }
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
    if args.wants(Pictures::Fairness) {
        making.page_of_comparison(&browser)?;
    }
    if args.wants(Pictures::Surge) {
        let (rehearsal, opening) = making.rehearsed()?;
        making.shots(&browser, &rehearsal, &OF_REHEARSAL)?;
        making.shots(&browser, &opening, &OF_OPENING)?;
    }
    if args.wants(Pictures::Pages) {
        making.pages()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What every picture is made with.
struct Making<'a> {
    workspace: &'a Workspace,
    giliran: PathBuf,
    /// For what is made on the way.
    folder: PathBuf,
    interrupt: &'a Interrupt,
}

impl Making<'_> {
    fn docs(&self) -> PathBuf {
        self.workspace.root().join("docs")
    }

    /// The comparison's page, in a language.
    fn bench(&self, language: &str, page: &Path, rest: &[&Path]) -> Result<(), Failure> {
        let mut bench = Command::new(&self.giliran);
        bench.args(BENCH).args(["--language", language]).arg("--html").arg(page);
        bench.args(rest).current_dir(&self.folder).stdout(Stdio::null());
        process::succeed(&mut bench, self.interrupt)
    }

    /// Charts of the newest recorded results; those that differ.
    fn performance(&self, only_look: bool) -> Result<Vec<PathBuf>, Failure> {
        let charts = self.folder.join("performance");
        for kind in results::KINDS {
            let mut plot = Command::new(&self.giliran);
            plot.args(["bench", "--plot"]).arg(results::newest(self.workspace, kind)?);
            plot.arg("--out").arg(&charts).stdout(Stdio::null());
            process::succeed(&mut plot, self.interrupt)?;
        }
        let shown = self.docs().join("performance");
        fs::create_dir_all(&shown).map_err(Failure::broken)?;
        let made = ending_in_svg(&charts)?;
        taken_over(&charts, &shown, &made, only_look)
    }

    /// Each chart of the comparison that the documents have; those that differ.
    fn charts_of_comparison(&self, only_look: bool) -> Result<Vec<PathBuf>, Failure> {
        let charts = self.folder.join("charts");
        self.bench("en", &self.page_in_english(), &[Path::new("--pictures"), &charts])?;
        let shown = self.docs().join("fairness");
        taken_over(&charts, &shown, &ending_in_svg(&shown)?, only_look)
    }

    fn page_in_english(&self) -> PathBuf {
        self.folder.join("bench.html")
    }

    /// The page that came with the charts, on paper too, and the Indonesian one.
    fn page_of_comparison(&self, browser: &Path) -> Result<(), Failure> {
        let page = self.page_in_english();
        self.shots(browser, &page, &OF_BENCH)?;
        let paper = self.docs().join("fairness/print.png");
        on_paper(browser, &page, &self.folder, &paper, self.interrupt)?;
        let indonesian = self.folder.join("laporan.html");
        self.bench("id", &indonesian, &[])?;
        self.shots(browser, &indonesian, &OF_BENCH_INDONESIAN)
    }

    fn shots(&self, browser: &Path, page: &Path, shots: &[Shot]) -> Result<(), Failure> {
        let docs = self.docs();
        shots.iter().try_for_each(|shot| taken(browser, page, shot, &docs, self.interrupt))
    }
}

/// The names of a folder's charts.
fn ending_in_svg(folder: &Path) -> Result<Vec<OsString>, Failure> {
    let entries = fs::read_dir(folder)
        .map_err(|error| Failure::Broken(format!("{}: {error}", folder.display())))?;
    let charts = entries.flatten().map(|entry| entry.file_name());
    Ok(charts.filter(|name| Path::new(name).extension().is_some_and(|end| end == "svg")).collect())
}

/// Takes over these charts from a folder into another, unless it is only looked; those that
/// differ.
fn taken_over(
    made: &Path,
    shown: &Path,
    names: &[OsString],
    only_look: bool,
) -> Result<Vec<PathBuf>, Failure> {
    let mut differing = Vec::new();
    for name in names {
        let (anew, file) = (made.join(name), shown.join(name));
        let anew = fs::read(&anew)
            .map_err(|error| Failure::Broken(format!("{}: {error}", anew.display())))?;
        if fs::read(&file).is_ok_and(|file| file == anew) {
            continue;
        }
        if !only_look {
            fs::write(&file, anew).map_err(Failure::broken)?;
        }
        differing.push(file);
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
    // A browser takes the paper of its country; the picture shows A4.
    let on_a4 = folder.join("print.html");
    let html = fs::read_to_string(page).map_err(Failure::broken)?;
    let html = html.replacen("</style>", "@page{size:A4}</style>", 1);
    fs::write(&on_a4, html).map_err(Failure::broken)?;
    let pdf = folder.join("print.pdf");
    let mut print = headless(browser);
    print.arg("--no-pdf-header-footer").arg(format!("--print-to-pdf={}", pdf.display()));
    process::succeed(print.arg(&on_a4), interrupt)?;
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
    /// Held open: it ends where nobody hears what it says.
    _said: Option<BufReader<ChildStdout>>,
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
        let mut said = child.stdout.take().map(BufReader::new);
        let mut lines = said.as_mut().into_iter().flat_map(BufRead::lines).map_while(Result::ok);
        let address = lines.find_map(|line| {
            let at = line.find("nats://")?;
            line[at..].split([',', ' ']).next().map(str::to_owned)
        });
        drop(lines);
        let everything = Self { child, address: address.clone().unwrap_or_default(), _said: said };
        if address.is_none() {
            return Err(Failure::broken("`giliran up --dev` did not say where it listens"));
        }
        Ok(everything)
    }
}

impl Drop for Everything {
    fn drop(&mut self) {
        process::send("TERM", &self.child.id().to_string());
        let _ = self.child.wait();
    }
}

impl Making<'_> {
    /// A rehearsal in which operators act, and the report of its opening: two pages.
    fn rehearsed(&self) -> Result<(PathBuf, PathBuf), Failure> {
        let Self { workspace, giliran, folder, interrupt } = self;
        let everything = Everything::start(workspace, giliran, folder, interrupt)?;
        let asks = |args: &[&str]| {
            let mut command = Command::new(giliran);
            command.args(args).env("GILIRAN_NATS", &everything.address).current_dir(folder);
            command.stdout(Stdio::null());
            command
        };
        let shown = || process::output_of(asks(&["availability", "--json"]).stdout(Stdio::piped()));
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

    /// Those of the pages for people and for operators, by their own tests.
    fn pages(&self) -> Result<(), Failure> {
        if process::output_of(Command::new("chromedriver").arg("--version")).is_none() {
            eprintln!(
                "xtask: docs/gateway and docs/console: LEFT OUT: chromedriver is not installed"
            );
            return Ok(());
        }
        let taken = self.folder.join("pages");
        fs::create_dir_all(&taken).map_err(Failure::broken)?;
        let server = nats::provide(self.workspace, self.interrupt)?;
        // As the tests are built for the check, so that little is built anew.
        let mut test = self.workspace.cargo(["test", "--workspace", "--test", "opening", "--"]);
        test.args(["page::", "console::"]);
        test.env(nats::VARIABLE, server.path).env("GILIRAN_SCREENSHOTS", &taken);
        process::succeed(&mut test, self.interrupt)?;
        let docs = self.docs();
        for (folder, prefix) in [("gateway", ""), ("console", "console-")] {
            for entry in fs::read_dir(docs.join(folder)).map_err(Failure::broken)?.flatten() {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                let anew = taken.join(name);
                if anew.is_file() {
                    fs::copy(&anew, entry.path()).map_err(Failure::broken)?;
                }
            }
        }
        Ok(())
    }
}

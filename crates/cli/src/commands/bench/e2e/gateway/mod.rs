//! The gateway's rows: bookings over HTTP (H1), and many who read free places (H2), each through
//! a `giliran gateway` of its own beside the rig's engine and broker.

mod bare;
mod bookings;
mod readers;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use giliran_loadgen::http_loop::Connection;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::processes::Process;
use super::rig::Rig;
use crate::failure::Failure;

pub(in super::super) use self::bare::answer;
pub(super) use self::bookings::measure as bookings;
pub(super) use self::readers::measure as readers;

/// How long a process may take until it listens, and a gateway until it knows the opening.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks at what a gateway knows.
const PAUSE: Duration = Duration::from_millis(50);
/// What the openings of the benchmarks are called, in addresses.
const OPENING: &str = "/v1/openings/bench";

/// A process that serves HTTP; ended when it is dropped.
struct Serving {
    what: &'static str,
    address: SocketAddr,
    child: Child,
}

impl Serving {
    /// A gateway that knows what there is to book.
    async fn gateway(rig: &Rig) -> Result<Self, Failure> {
        let mut gateway = Command::new(std::env::current_exe()?);
        gateway.args(["gateway", "--listen", "127.0.0.1:0", "--nats", &rig.stage.url()]);
        let serving = Self::start("gateway", gateway).await?;
        let since = Instant::now();
        let ask = format!("GET {OPENING} HTTP/1.1\r\nhost: {}\r\n\r\n", serving.address);
        // What is connected before the gateway is to NATS is closed then.
        let knows = async || -> std::io::Result<bool> {
            let mut connection = Connection::open(serving.address).await?;
            Ok(connection.exchange(ask.as_bytes()).await?.status == 200)
        };
        while !knows().await.unwrap_or(false) {
            if since.elapsed() > READY_WITHIN {
                return Err(Failure::Wrong("the gateway learns of no opening in 30 s".to_owned()));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(serving)
    }

    /// Starts a program of ours that says on its standard error where it listens.
    async fn start(what: &'static str, mut command: Command) -> Result<Self, Failure> {
        command.env("RUST_LOG", "error").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let Some(said) = child.stderr.take() else {
            return Err(Failure::Wrong(format!("{what}: it has no standard error")));
        };
        let mut said = BufReader::new(said).lines();
        let address = async {
            while let Some(line) = said.next_line().await? {
                let address = line.split_once(": http://").and_then(|(_, behind)| {
                    behind.split_once('/').map_or(behind, |(address, _)| address).parse().ok()
                });
                if let Some(address) = address {
                    return Ok(address);
                }
            }
            Err(Failure::Wrong(format!("{what}: it ended before it listened")))
        };
        let address = tokio::time::timeout(READY_WITHIN, address).await??;
        // A process whose words nobody takes would be ended by the next one.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Ok(Self { what, address, child })
    }

    fn process(&self) -> Option<Process> {
        self.child.id().map(|pid| Process::one(self.what, pid))
    }
}

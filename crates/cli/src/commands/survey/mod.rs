//! What operators look at: `giliran status`, how all of Giliran stands at this moment,
//! `giliran preflight`, whether an opening can begin, and `giliran console`, both as pages.

mod backups;
mod certificates;
mod console;
mod preflight;
mod record;
mod shown;
mod status;

#[cfg(test)]
pub(crate) use console::connections;
pub(crate) use console::{Beforehand, ConsoleArgs, console, serve};
pub(crate) use preflight::{PreflightArgs, preflight};
pub(crate) use status::{StatusArgs, status};

use async_nats::Client;
use async_nats::jetstream::Context;
use giliran_survey::Survey;
use giliran_survey::judge::{Certificate, Limits};
use giliran_wire::subject::Namespace;

use crate::connect::{Streams, namespace};
use crate::failure::Failure;

/// Where to look, and what is still green.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Looking {
    #[command(flatten)]
    nats: Streams,
    /// The prefix of all subjects.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Most that a clock may differ from the broker's, ms.
    #[arg(long, value_name = "MS", default_value_t = Limits::default().clock_ms)]
    clock_ms: u64,
    /// Most of what the broker may store that is, %.
    #[arg(long, value_name = "PERCENT", default_value_t = Limits::default().disk_percent,
          value_parser = clap::value_parser!(u64).range(1..=100))]
    disk_percent: u64,
}

/// What looks.
pub(crate) struct Looker {
    pub(crate) client: Client,
    pub(crate) survey: Survey,
    /// The JetStream API that has the streams.
    pub(crate) streams: Context,
    pub(crate) namespace: Namespace,
    pub(crate) limits: Limits,
    pub(crate) certificates: Vec<Certificate>,
}

impl Looking {
    pub(crate) async fn start(&self, name: &str) -> Result<Looker, Failure> {
        let namespace = namespace(&self.subject_prefix)?;
        let (client, streams) = self.nats.connect_with_client(name).await?;
        let monitors = self.nats.monitors();
        let survey = Survey::new(client.clone(), streams.clone(), namespace.clone(), monitors);
        let limits = Limits {
            clock_ms: self.clock_ms,
            disk_percent: self.disk_percent,
            ..Limits::default()
        };
        let certificates = certificates::of(&self.nats.certificates());
        Ok(Looker { client, survey, streams, namespace, limits, certificates })
    }
}

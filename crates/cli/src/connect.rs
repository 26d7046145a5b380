//! How commands and roles reach NATS.

use std::path::PathBuf;

use async_nats::Client;
use async_nats::jetstream::Context;
use giliran_nats::connection::{self, Login};
use giliran_nats::{ErrorKind, suitability};
use giliran_wire::subject::Namespace;

use crate::failure::Failure;

/// How to reach NATS; secrets come from files and the environment.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Nats {
    /// The NATS server, or several of a cluster, joined by commas.
    #[arg(
        long = "nats",
        env = "GILIRAN_NATS",
        default_value = "nats://127.0.0.1:4222",
        value_name = "URL"
    )]
    url: String,
    #[command(flatten)]
    access: Access,
}

/// How to log in to NATS.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Access {
    /// A NATS credentials file.
    #[arg(long, env = "GILIRAN_NATS_CREDENTIALS", value_name = "FILE",
          conflicts_with_all = ["nats_user", "nats_nkey"])]
    nats_credentials: Option<PathBuf>,
    /// A file with the seed of an NKey.
    #[arg(long, env = "GILIRAN_NATS_NKEY", value_name = "FILE", conflicts_with = "nats_user")]
    nats_nkey: Option<PathBuf>,
    /// NATS user; the password comes from GILIRAN_NATS_PASSWORD.
    #[arg(long, env = "GILIRAN_NATS_USER")]
    nats_user: Option<String>,
    /// Certificates (PEM) of the authorities that are believed, in place of the
    /// system's.
    #[arg(long, env = "GILIRAN_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,
    /// This client's certificate (PEM).
    #[arg(long, env = "GILIRAN_NATS_CERT", value_name = "FILE", requires = "nats_cert_key")]
    nats_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, env = "GILIRAN_NATS_CERT_KEY", value_name = "FILE", requires = "nats_cert")]
    nats_cert_key: Option<PathBuf>,
    /// No connection without TLS; follows from a certificate of either side.
    #[arg(long, env = "GILIRAN_NATS_TLS")]
    nats_tls: bool,
    /// Prefix of this connection's inboxes, where permissions ask for one.
    #[arg(long, env = "GILIRAN_NATS_INBOX_PREFIX")]
    nats_inbox_prefix: Option<String>,
    /// The server's monitoring URL, to see whether it syncs before it
    /// acknowledges; of a cluster, for those who look at all of it, joined by commas.
    #[arg(long, env = "GILIRAN_NATS_MONITOR", value_name = "URL")]
    nats_monitor: Option<String>,
}

impl Nats {
    pub(crate) async fn connect(&self, name: &str) -> Result<Client, Failure> {
        self.access.connect(&self.url, name).await
    }

    pub(crate) async fn try_connect(&self, name: &str) -> Result<Client, giliran_nats::Error> {
        self.access.try_connect(&self.url, name).await
    }

    pub(crate) fn monitor(&self) -> Option<&str> {
        self.access.monitor()
    }
}

impl Access {
    pub(crate) async fn connect(&self, url: &str, name: &str) -> Result<Client, Failure> {
        let connected = self.try_connect(url, name).await;
        connected.map_err(|error| match error.kind() {
            ErrorKind::Misused => Failure::Usage(error.to_string()),
            _ => Failure::Wrong(error.to_string()),
        })
    }

    async fn try_connect(&self, url: &str, name: &str) -> Result<Client, giliran_nats::Error> {
        let login = Login {
            credentials: self.nats_credentials.clone(),
            nkey: self.nats_nkey.clone(),
            user: self.nats_user.clone(),
            password: std::env::var("GILIRAN_NATS_PASSWORD").ok(),
            inbox_prefix: self.nats_inbox_prefix.clone(),
            ca: self.nats_ca.clone(),
            certificate: self.nats_cert.clone().zip(self.nats_cert_key.clone()),
            tls: self.nats_tls,
        };
        connection::connect(url, name, &login).await
    }

    pub(crate) fn monitor(&self) -> Option<&str> {
        self.nats_monitor.as_deref()
    }
}

/// How to reach NATS for those who only read streams, be they another account's.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Streams {
    #[command(flatten)]
    nats: Nats,
    /// The JetStream domain by which this login's account reaches Giliran's streams,
    /// where they are in another account.
    #[arg(long, env = "GILIRAN_NATS_DOMAIN", value_name = "NAME")]
    nats_domain: Option<String>,
}

impl Streams {
    /// The connection, and the JetStream API that has the streams.
    pub(crate) async fn connect_with_client(
        &self,
        name: &str,
    ) -> Result<(Client, Context), Failure> {
        let client = self.nats.connect(name).await?;
        let context = connection::jetstream(&client, self.nats_domain.as_deref());
        Ok((client, context))
    }

    /// The monitoring addresses of the broker's servers that were named.
    pub(crate) fn monitors(&self) -> Vec<String> {
        let named = self.nats.monitor().into_iter().flat_map(|all| all.split(','));
        named.map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
    }

    /// The files with certificates that this login uses.
    pub(crate) fn certificates(&self) -> Vec<PathBuf> {
        let Access { nats_ca, nats_cert, .. } = &self.nats.access;
        nats_ca.iter().chain(nats_cert).cloned().collect()
    }

    /// The JetStream API that has the streams.
    pub(crate) async fn connect(&self, name: &str) -> Result<Context, Failure> {
        Ok(self.connect_with_client(name).await?.1)
    }
}

/// Refuses an unsuitable server; returns what an operator should mend.
pub(crate) async fn suitable(
    client: &Client,
    monitor: Option<&str>,
) -> Result<Vec<String>, giliran_nats::Error> {
    let found = suitability::check(client, monitor).await?;
    let warning = match found.sync_always {
        Some(true) => return Ok(Vec::new()),
        Some(false) => {
            "the NATS server acknowledges before it syncs: a power failure can lose grants that \
             clients know of. Set `sync_interval: always` in its jetstream block"
        }
        None => {
            "not known whether the NATS server syncs before it acknowledges: name its monitoring \
             port with --nats-monitor"
        }
    };
    tracing::warn!("{warning}");
    Ok(vec![warning.to_owned()])
}

/// The namespace of a role that needs no configuration.
pub(crate) fn namespace(prefix: &str) -> Result<Namespace, Failure> {
    Namespace::new(prefix).map_err(|e| Failure::Usage(e.to_string()))
}

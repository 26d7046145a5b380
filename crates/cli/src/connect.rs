//! How commands and roles reach NATS.

use std::path::PathBuf;

use async_nats::Client;
use async_nats::jetstream::Context;
use giliran_nats::connection::{self, Login, Named};
use giliran_nats::{ErrorKind, suitability};
use giliran_wire::subject::Namespace;

use crate::failure::Failure;

/// Where the password of a NATS user is.
const PASSWORD: &str = "GILIRAN_NATS_PASSWORD";

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
    /// The environment variable with the password, where it is not the usual one.
    #[arg(skip)]
    password_in: Option<&'static str>,
    /// The options of this login, where they are not those above.
    #[arg(skip)]
    named: Named,
}

/// A second login of one process.
#[derive(Debug, Clone)]
pub(crate) struct OtherLogin {
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) nkey: Option<PathBuf>,
    pub(crate) user: Option<String>,
    /// The environment variable with its password.
    pub(crate) password_in: &'static str,
    /// Its options.
    pub(crate) named: Named,
    pub(crate) inbox_prefix: Option<String>,
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

    /// The same servers under another login; none: the servers would take both for the same,
    /// since this login names somebody, be it in the URL, and the other one nobody or the same
    /// one. A broker that asks nobody who they are takes both as they come.
    pub(crate) fn with_login(&self, login: OtherLogin) -> Option<Self> {
        let is_somebody = self.access.names_somebody()
            || self.access.nats_cert.is_some()
            || self.url.contains('@');
        let access = Access {
            nats_credentials: login.credentials,
            nats_nkey: login.nkey,
            nats_user: login.user,
            nats_inbox_prefix: login.inbox_prefix,
            password_in: Some(login.password_in),
            named: login.named,
            ..self.access.clone()
        };
        let is_same = same(&self.access.nats_user, &access.nats_user)
            || same(&self.access.nats_nkey, &access.nats_nkey)
            || same(&self.access.nats_credentials, &access.nats_credentials);
        let is_other = !is_same && (access.names_somebody() || !is_somebody);
        let url = self.url.split(',').map(without_login).collect::<Vec<_>>().join(",");
        is_other.then_some(Self { url, access })
    }
}

/// True if both are there, and one is the other.
fn same<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
    one.is_some() && one == other
}

/// A URL without the name and the password that it may have.
fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    let host = rest.rsplit('@').next().unwrap_or(rest);
    format!("{}://{host}", scheme.trim())
}

impl Access {
    /// Whether it says who logs in.
    fn names_somebody(&self) -> bool {
        self.nats_user.is_some() || self.nats_nkey.is_some() || self.nats_credentials.is_some()
    }

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
            password: std::env::var(self.password_in.unwrap_or(PASSWORD)).ok(),
            inbox_prefix: self.nats_inbox_prefix.clone(),
            ca: self.nats_ca.clone(),
            certificate: self.nats_cert.clone().zip(self.nats_cert_key.clone()),
            tls: self.nats_tls,
            named: self.named,
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn nats(url: &str, user: Option<&str>) -> Nats {
        let access = Access { nats_user: user.map(str::to_owned), ..Access::default() };
        Nats { url: url.to_owned(), access }
    }

    fn login(user: Option<&str>) -> OtherLogin {
        OtherLogin {
            credentials: None,
            nkey: None,
            user: user.map(str::to_owned),
            password_in: "GILIRAN_OTHER_PASSWORD",
            named: Named::default(),
            inbox_prefix: Some("_INBOX.other".to_owned()),
        }
    }

    #[test]
    fn a_second_login_is_never_the_first_one() {
        let named = ["nats://a:4222", "nats://gateway:secret@a:4222,tls://gateway:secret@b:4222"];
        for (url, user) in named.iter().zip([Some("gateway"), None]) {
            assert!(nats(url, user).with_login(login(None)).is_none(), "{url}");
        }
        let same = nats(named[0], Some("payment")).with_login(login(Some("payment")));
        assert!(same.is_none(), "a user twice");
        let other = nats(named[1], None).with_login(login(Some("payment"))).unwrap();
        assert_eq!(other.url, "nats://a:4222,tls://b:4222");
        assert_eq!(other.access.nats_user.as_deref(), Some("payment"));
        assert_eq!(other.access.nats_inbox_prefix.as_deref(), Some("_INBOX.other"));
        assert_eq!(other.access.password_in, Some("GILIRAN_OTHER_PASSWORD"));
        // A broker that asks nobody who they are.
        assert!(nats(named[0], None).with_login(login(None)).is_some());
    }
}

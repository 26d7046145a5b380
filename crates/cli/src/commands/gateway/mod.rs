//! `giliran gateway`: HTTP for people and programs, in front of the engine.

mod identity;
mod payments;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use giliran_gateway::{
    BODY_BYTES_AT_ONCE, Gateway, Identity, Metrics, PaymentSettings, Rate, Settings, TokenKey,
};
use giliran_nats::{Client, private};
use giliran_wire::subject::Namespace;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::commands::gateway::identity::IdentityArgs;
use crate::commands::gateway::payments::{PaymentsArgs, PaymentsListener};
use crate::connect::{Nats, namespace};
use crate::daemons::until_asked;
use crate::failure::Failure;
use crate::health::{self, Health, HealthRegistry};
use crate::standing::{self, Fixed};
use crate::start::Start;

/// How long a request is repeated, and how many are on the way to the engine at most, unless
/// told otherwise.
const PATIENCE: &str = "10s";
const IN_FLIGHT: u32 = 20_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran gateway                                on this machine, for `giliran up`\n  \
    giliran gateway --listen 0.0.0.0:8080 --nats nats://broker:4222 --token-key /etc/giliran/token.key\n  \
    giliran gateway --trust-proxies 10.0.0.7 --account-header x-account --account-rate 2:20\n  \
    giliran gateway --identity-key /etc/giliran/identity.pem --identity-audience giliran\n  \
    giliran gateway --payments-listen 10.0.0.8:8081 --payments-nats-user payment\n\n\
    openssl rand -hex 32 > token.key; chmod 0600 token.key makes a key for tokens.\n\
    Ctrl-C or SIGTERM stops it: it takes nothing new, and requests on the way come to their end.")]
pub(crate) struct Args {
    #[command(flatten)]
    nats: Nats,
    /// The engine's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Where it listens, without TLS: put a proxy in front.
    #[arg(long, env = "GILIRAN_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// How long a request is repeated for a caller who does not say how long it waits
    /// (`Prefer: wait=20`, up to 60): as 10s.
    #[arg(long, default_value = PATIENCE, value_name = "TIME", value_parser = patience)]
    patience: Duration,
    /// Most requests on the way to the engine at once; beyond that it answers 503.
    #[arg(long, default_value_t = IN_FLIGHT, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: u32,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Requests a second of one account that a proxy or a token names, and how many at once, as
    /// 2:20.
    #[arg(long, value_name = "RATE", requires = "names_accounts")]
    account_rate: Option<Rate>,
    /// Requests a second of one address, and how many at once. Many people may share an
    /// address.
    #[arg(long, value_name = "RATE")]
    address_rate: Option<Rate>,
    /// The key of the addresses under which people find their requests, the same for all
    /// gateways: 64 hexadecimal digits. Left out, these addresses end with the process.
    #[arg(long, env = "GILIRAN_TOKEN_KEY", value_name = "FILE")]
    token_key: Option<PathBuf>,
    /// Write what was asked and answered behind this file, for `giliran audit --client-log`.
    /// It names applicants as they asked.
    #[arg(long, value_name = "FILE")]
    client_log: Option<PathBuf>,
    /// A folder with what is published of openings: `ID.statement`, as `giliran statement
    /// --out` writes it, and `ID.draw.json`, as `giliran draw export` does. Nothing else of it
    /// is served.
    #[arg(long, env = "GILIRAN_PUBLISHED", value_name = "DIR")]
    published: Option<PathBuf>,
    #[command(flatten)]
    payments: PaymentsArgs,
}

fn patience(text: &str) -> Result<Duration, String> {
    let read = text.parse::<jiff::SignedDuration>().ok().and_then(|t| Duration::try_from(t).ok());
    match read {
        Some(patience) if (1..=60).contains(&patience.as_secs()) => Ok(patience),
        _ => Err("is to be a length of time from 1s to 60s".to_owned()),
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let settings = settings(&args)?;
    let shutdown = until_asked();
    let shown = Arc::new(HealthRegistry::new(shutdown.clone())?);
    let listening = |error| Failure::Wrong(format!("--listen {}: {error}", args.listen));
    let listener = giliran_web::listen(args.listen).map_err(listening)?;
    eprintln!("giliran gateway: http://{}/readyz", listener.local_addr()?);
    let payments = PaymentsListener::open(&args.payments, &args.nats).await?;
    let metrics = Metrics::register(&shown.registry)?;
    let of_payments = PaymentSettings {
        namespace: settings.namespace.clone(),
        patience: settings.patience,
        in_flight: settings.in_flight,
        body_bytes: settings.body_bytes,
    };
    let public = async {
        // It is seen to start; there is nothing to be asked yet.
        let start = Start::new("gateway", &shown, shutdown.clone());
        let early = giliran_gateway::starting(&metrics).merge(health::routes(Arc::clone(&shown)));
        let connecting = start.connect(&args.nats, "giliran gateway");
        let connecting =
            giliran_web::serve_while(&listener, early, &metrics.connections, connecting);
        match connecting.await? {
            Some(client) => {
                serve(client, settings, listener, (&shown, &metrics), shutdown.clone()).await
            }
            None => Ok(()),
        }
    };
    let Some(payments) = payments else { return public.await };
    let paid = payments.serve(of_payments, metrics.clone(), shutdown.clone());
    Box::pin(both(public, paid, &shutdown)).await
}

/// Waits for the end of both listeners. Where one cannot go on the other one is asked to end
/// too, and answers what is on its way: half a gateway would look like a whole one.
///
/// # Errors
///
/// Why one could not go on; the public one's where both could not.
async fn both(
    public: impl Future<Output = Result<(), Failure>>,
    payments: impl Future<Output = Result<(), Failure>>,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let ended = |listener, ended: Result<(), Failure>| {
        if let Err(failure) = &ended {
            // At once: the other one may take its time.
            tracing::error!(listener, "{failure}; the gateway ends");
            shutdown.cancel();
        }
        ended
    };
    let public = async { ended("public", public.await) };
    let payments = async { ended("payments", payments.await) };
    let (public, payments) = tokio::join!(public, payments);
    public.and(payments)
}

/// Serves on `listener` until `shutdown`, shown and counted there, and then until the requests on the way have come to
/// their end.
///
/// # Errors
///
/// Where no answers can be received, or the client log cannot be opened or written.
pub(crate) async fn serve(
    client: Client,
    settings: Settings,
    listener: TcpListener,
    (shown, metrics): (&Arc<HealthRegistry>, &Metrics),
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let fixed = Fixed::default();
    let answering = standing::answer(&client, &settings.namespace, "gateway", fixed, shown);
    let starting = Gateway::start(client, settings, metrics.clone(), shutdown.clone());
    let gateway = starting.await.map_err(|e| Failure::Wrong(e.to_string()))?;
    let view = gateway.view();
    shown.add(move || {
        let (report, warnings) = view.look();
        let details = json!({});
        let (progress, seen, work) = (None, None, None);
        Health { name: "gateway", report, details, progress, seen, warnings, work }
    });
    let routes = gateway.routes().merge(health::routes(Arc::clone(shown)));
    let deadline =
        giliran_web::serve(listener, routes, metrics.connections.clone(), shutdown).await;
    answering.abort();
    gateway.end(deadline).await.map_err(|error| Failure::Wrong(format!("client log: {error}")))
}

/// What a gateway does unless told otherwise: identities are unchecked, nobody's rate has a
/// bound, and the addresses under which people find their requests end with the process.
pub(crate) fn usual(namespace: Namespace) -> Settings {
    Settings {
        namespace,
        patience: Duration::from_secs(10),
        in_flight: IN_FLIGHT as usize,
        body_bytes: BODY_BYTES_AT_ONCE,
        identity: Identity::default(),
        account_rate: None,
        address_rate: None,
        token_key: TokenKey::new(rand::random()),
        client_log: None,
        published: None,
    }
}

fn settings(args: &Args) -> Result<Settings, Failure> {
    Ok(Settings {
        patience: args.patience,
        in_flight: args.in_flight as usize,
        identity: args.identity.identity()?,
        account_rate: args.account_rate,
        address_rate: args.address_rate,
        token_key: token_key(args.token_key.as_deref())?,
        client_log: args.client_log.clone(),
        published: published(args.published.as_deref())?,
        ..usual(namespace(&args.subject_prefix)?)
    })
}

fn published(folder: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let Some(folder) = folder else { return Ok(None) };
    match std::fs::read_dir(folder) {
        Ok(_) => Ok(Some(folder.to_owned())),
        Err(error) => Err(Failure::Usage(format!("--published {}: {error}", folder.display()))),
    }
}

fn token_key(file: Option<&Path>) -> Result<TokenKey, Failure> {
    let Some(file) = file else {
        tracing::warn!(
            "no --token-key: the addresses under which people find their requests end with this \
             process, and no other gateway knows them"
        );
        return Ok(TokenKey::new(rand::random()));
    };
    let text = private::read_secret(file, "token key");
    let text = text.map_err(|error| Failure::Usage(error.to_string()))?;
    TokenKey::from_hex(&text).map_err(|_| {
        let file = file.display();
        Failure::Usage(format!(
            "token key {file}: not 64 hexadecimal digits; `openssl rand -hex 32 > {file}` makes one"
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_that_cannot_go_on_ends_the_other_one_with_its_answers_given() {
        let fails = || async { Err(Failure::Usage("no such user".to_owned())) };
        for public_fails in [true, false] {
            let (shutdown, answered) = (CancellationToken::new(), std::cell::Cell::new(false));
            let goes_on = async {
                shutdown.cancelled().await;
                tokio::task::yield_now().await;
                answered.set(true);
                Ok(())
            };
            let ended = match public_fails {
                true => both(fails(), goes_on, &shutdown).await,
                false => both(goes_on, fails(), &shutdown).await,
            };
            assert!(matches!(ended, Err(Failure::Usage(why)) if why == "no such user"));
            assert!(answered.get(), "the other one was cut off");
        }
    }

    #[test]
    fn patience_has_bounds() {
        assert_eq!(patience("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(patience("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(patience(PATIENCE), Ok(usual(Namespace::default()).patience));
        for wrong in ["0s", "500ms", "2m", "-5s", "10"] {
            assert!(patience(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_told_how_one_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token.key");
        let write = |text: &str| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("short");
        let refused = token_key(Some(&file)).unwrap_err().to_string();
        assert!(refused.contains("openssl rand -hex 32"), "{refused}");
        write(&format!("{}\n", "5a".repeat(32)));
        assert!(token_key(Some(&file)).is_ok());
    }
}

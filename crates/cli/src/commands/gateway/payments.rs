//! The payment side of `giliran gateway`: a listener of its own, over a NATS login of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use giliran_gateway::{Metrics, PaymentSettings, Payments};
use giliran_nats::connection::Named;
use giliran_nats::state::Report;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::connect::{Nats, OtherLogin};
use crate::failure::Failure;
use crate::health::{self, Health, HealthRegistry};
use crate::start::Start;

/// Where the payment side's password is.
const PASSWORD: &str = "GILIRAN_PAYMENTS_NATS_PASSWORD";

#[derive(Debug, Clone, clap::Args)]
pub(super) struct PaymentsArgs {
    /// Where the payment side, and nobody else, confirms held bookings: whoever reaches this
    /// address makes any of them firm. Left out, this gateway confirms nothing.
    #[arg(long, env = "GILIRAN_PAYMENTS_LISTEN", value_name = "ADDR")]
    payments_listen: Option<SocketAddr>,
    /// NATS user of the payment side; the password comes from
    /// GILIRAN_PAYMENTS_NATS_PASSWORD.
    #[arg(
        long,
        env = "GILIRAN_PAYMENTS_NATS_USER",
        value_name = "USER",
        requires = "payments_listen"
    )]
    payments_nats_user: Option<String>,
    /// A file with the seed of the payment side's NKey.
    #[arg(
        long,
        env = "GILIRAN_PAYMENTS_NATS_NKEY",
        value_name = "FILE",
        requires = "payments_listen",
        conflicts_with = "payments_nats_user"
    )]
    payments_nats_nkey: Option<PathBuf>,
    /// The payment side's NATS credentials file.
    #[arg(long, env = "GILIRAN_PAYMENTS_NATS_CREDENTIALS", value_name = "FILE",
          requires = "payments_listen",
          conflicts_with_all = ["payments_nats_user", "payments_nats_nkey"])]
    payments_nats_credentials: Option<PathBuf>,
    /// Prefix of the payment side's inboxes, where permissions ask for one.
    #[arg(
        long,
        env = "GILIRAN_PAYMENTS_NATS_INBOX_PREFIX",
        value_name = "PREFIX",
        requires = "payments_listen"
    )]
    payments_nats_inbox_prefix: Option<String>,
}

impl PaymentsArgs {
    fn login(&self) -> OtherLogin {
        OtherLogin {
            credentials: self.payments_nats_credentials.clone(),
            nkey: self.payments_nats_nkey.clone(),
            user: self.payments_nats_user.clone(),
            password_in: PASSWORD,
            named: Named {
                login: "--payments-nats-user with GILIRAN_PAYMENTS_NATS_PASSWORD, \
                        --payments-nats-nkey or --payments-nats-credentials",
                inbox_prefix: "--payments-nats-inbox-prefix or GILIRAN_PAYMENTS_NATS_INBOX_PREFIX",
            },
            inbox_prefix: self.payments_nats_inbox_prefix.clone(),
        }
    }
}

/// A listener of the payment side, with the login by which it will serve.
pub(super) struct PaymentsListener {
    listener: TcpListener,
    nats: Nats,
}

impl PaymentsListener {
    /// Listens, where it is asked for; it serves nobody yet.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had, or the payment side would use the login of the public.
    pub(super) async fn open(args: &PaymentsArgs, nats: &Nats) -> Result<Option<Self>, Failure> {
        let Some(address) = args.payments_listen else { return Ok(None) };
        let Some(nats) = nats.with_login(args.login()) else {
            return Err(Failure::Usage(format!(
                "--payments-listen {address}: the payment side needs a NATS login of its own, \
                 and the one of this gateway must not confirm anything: name it with \
                 --payments-nats-user and {PASSWORD}, --payments-nats-nkey or \
                 --payments-nats-credentials"
            )));
        };
        let listening = |error| Failure::Wrong(format!("--payments-listen {address}: {error}"));
        let listener = giliran_web::listen(address).map_err(listening)?;
        eprintln!("giliran gateway: payments at http://{}/readyz", listener.local_addr()?);
        Ok(Some(Self { listener, nats }))
    }

    /// Serves until `shutdown`, and then until the confirmations on the way have come to their
    /// end.
    ///
    /// # Errors
    ///
    /// Where the login is none, or no answers can be received.
    pub(super) async fn serve(
        self,
        settings: PaymentSettings,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Result<(), Failure> {
        // What the public's `/readyz` says does not turn on it.
        let shown = Arc::new(HealthRegistry::new(shutdown.clone())?);
        let start = Start::new("payments", &shown, shutdown.clone());
        let early = giliran_gateway::starting(&metrics).merge(health::probes(Arc::clone(&shown)));
        let connecting = start.connect(&self.nats, "giliran gateway payments");
        let connecting =
            giliran_web::serve_while(&self.listener, early, &metrics.connections, connecting);
        let Some(client) = connecting.await? else { return Ok(()) };
        let starting = Payments::start(client, settings, metrics.clone());
        let payments = starting.await.map_err(|error| Failure::Wrong(error.to_string()))?;
        let looked_at = Arc::clone(&payments);
        shown.add(move || health(looked_at.look()));
        let routes = payments.routes().merge(health::probes(shown));
        let connections = metrics.connections.clone();
        let deadline = giliran_web::serve(self.listener, routes, connections, shutdown).await;
        payments.end(deadline).await;
        Ok(())
    }
}

fn health(report: Report) -> Health {
    let (details, warnings) = (json!({}), Vec::new());
    let (progress, seen, work) = (None, None, None);
    Health { name: "payments", report, details, progress, seen, warnings, work }
}

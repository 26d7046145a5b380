//! Connections: how many, how long their heads may take, and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::written::Written;

/// Most connections at once; whoever comes then waits in the system's queue.
const CONNECTIONS: usize = 40_000;
/// How long a request's head may take, and a kept connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// How long a write may wait for whoever reads.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);
/// How long everything may go on after the end was asked for: a body's time, the longest
/// patience, and a little. Whoever runs it gives it more.
const ENDS_WITHIN: Duration = Duration::from_secs(75);
/// Pause after the system had no descriptor left for a connection.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The address at the other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves until `shutdown`, then takes no more connections and lets the requests on the way
/// come to their end. `connections` counts those that are open. Gives when everything has to
/// have ended that requests have begun.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    connections: IntGauge,
    shutdown: CancellationToken,
) -> Instant {
    let ending = GracefulShutdown::new();
    let routes = TowerToHyperService::new(routes);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = shutdown.cancelled() => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let routes = routes.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            routes.call(request)
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_BYTES);
        let connection =
            server.serve_connection(TokioIo::new(Written::new(stream, WRITTEN_WITHIN)), service);
        let connection = ending.watch(connection);
        let connections = connections.clone();
        tokio::spawn(async move {
            connections.inc();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            connections.dec();
            drop(place);
        });
    }
    drop(listener);
    let deadline = Instant::now() + ENDS_WITHIN;
    if tokio::time::timeout_at(deadline, ending.shutdown()).await.is_err() {
        tracing::warn!("connections were cut off: their requests took too long");
    }
    deadline
}

/// The next connection, with its place among them; none: the system had none to give.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // An answer is one small packet.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be taken");
            tokio::time::sleep(AGAIN_AFTER).await;
            None
        }
    }
}

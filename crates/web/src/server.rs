//! Connections: how many, how long their heads may take, and how they end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::head_timer::HeadTimer;
use crate::written::{Patience, Written};

/// Most connections at once; whoever comes then waits in the system's queue.
const CONNECTIONS: usize = 40_000;
/// How long a request's head may take, and a kept connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// How long a write may wait for whoever reads, and how long until all is written.
const PATIENCE: Patience =
    Patience { write: Duration::from_secs(30), all: Duration::from_secs(120) };
/// Bytes that the system keeps for whoever does not read yet, of each connection; it takes twice
/// as many. Left to itself it takes megabytes.
const SENT_AHEAD: u32 = 128 * 1024;
/// Connections that wait until they are taken.
const WAITING: u32 = 4_096;
/// How long everything may go on after the end was asked for: a body's time, the longest
/// patience, and a little. Whoever runs it gives it more.
const ENDS_WITHIN: Duration = Duration::from_secs(75);
/// Pause after the system had no descriptor left for a connection.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The address at the other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Listens for connections, each of which has a bound for what it keeps.
///
/// # Errors
///
/// Where the address is not free, or none of this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As every server: a port whose last connections are still ending is free.
    socket.set_reuseaddr(true)?;
    // Connections have it from here.
    socket.set_send_buffer_size(SENT_AHEAD)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// Serves until `shutdown`, then takes no more connections and lets the requests on the way
/// come to their end. `connections` counts those that are open. Gives when everything has to
/// have ended that requests have begun.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    connections: IntGauge,
    shutdown: CancellationToken,
) -> Instant {
    serve_within(PATIENCE, listener, routes, connections, shutdown).await
}

/// Serves these routes while something is waited for that the real ones need, and gives what
/// comes of it. The listener goes on; connections end with the answers that are on their way, so
/// that their next requests come to the real ones.
pub async fn serve_while<T>(
    listener: &TcpListener,
    routes: Router,
    connections: &IntGauge,
    waited_for: impl Future<Output = T>,
) -> T {
    let (came, ending) = taken(PATIENCE, listener, routes, connections, waited_for).await;
    tokio::spawn(ending.shutdown());
    came
}

async fn serve_within(
    patience: Patience,
    listener: TcpListener,
    routes: Router,
    connections: IntGauge,
    shutdown: CancellationToken,
) -> Instant {
    let until = shutdown.cancelled();
    let ((), ending) = taken(patience, &listener, routes, &connections, until).await;
    drop(listener);
    let deadline = Instant::now() + ENDS_WITHIN;
    if tokio::time::timeout_at(deadline, ending.shutdown()).await.is_err() {
        tracing::warn!("connections were cut off: their requests took too long");
    }
    deadline
}

/// Takes connections until something comes; that, and what ends those that are open.
async fn taken<T>(
    patience: Patience,
    listener: &TcpListener,
    routes: Router,
    connections: &IntGauge,
    until: impl Future<Output = T>,
) -> (T, GracefulShutdown) {
    let ending = GracefulShutdown::new();
    let routes = TowerToHyperService::new(routes);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut until = pin!(until);
    loop {
        let accepted = tokio::select! {
            accepted = accept(listener, &room) => accepted,
            came = &mut until => return (came, ending),
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let routes = routes.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            routes.call(request)
        });
        let mut server = http1::Builder::new();
        server
            .timer(HeadTimer::default())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(HEAD_BYTES);
        let connection =
            server.serve_connection(TokioIo::new(Written::new(stream, patience)), service);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Mutex;

    use axum::routing::get;
    use bytes::Bytes;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::events;

    /// Frames that were made, and are still kept by somebody.
    type Frames = Arc<Mutex<Vec<std::sync::Weak<Vec<u8>>>>>;

    /// Bytes that know whether they are gone.
    struct Frame(Arc<Vec<u8>>);

    impl AsRef<[u8]> for Frame {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    fn kept(frames: &Frames) -> usize {
        frames.lock().unwrap().iter().filter(|frame| frame.strong_count() > 0).count()
    }

    /// A stream that always has a next frame of 64 KiB, at an address.
    async fn endless(patience: Patience) -> (SocketAddr, Frames, IntGauge, CancellationToken) {
        let frames = Frames::default();
        let made = Arc::clone(&frames);
        let stream = move || {
            let made = Arc::clone(&made);
            async move {
                events::respond(stream::repeat_with(move || {
                    let frame = Arc::new(vec![b'x'; 64 * 1024]);
                    made.lock().unwrap().push(Arc::downgrade(&frame));
                    Bytes::from_owner(Frame(frame))
                }))
            }
        };
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let connections = IntGauge::new("connections", "of the test").unwrap();
        let routes = Router::new().route("/stream", get(stream));
        let (counted, ends) = (connections.clone(), shutdown.clone());
        tokio::spawn(serve_within(patience, listener, routes, counted, ends));
        (address, frames, connections, shutdown)
    }

    /// Whoever comes too early is told so at once, and the next time finds what there is: also on
    /// a connection that it would have kept.
    #[tokio::test]
    async fn whoever_comes_too_early_is_answered_and_comes_back() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = IntGauge::new("connections", "of the test").unwrap();
        let shutdown = CancellationToken::new();
        let (begin, begins) = tokio::sync::oneshot::channel();
        let ends = shutdown.clone();
        let serving = tokio::spawn(async move {
            let early = Router::new().fallback(|| async { "early" });
            let came = serve_while(&listener, early, &connections, begins).await;
            let real = Router::new().fallback(move || async move { came.unwrap() });
            serve(listener, real, connections, ends).await
        });
        let mut kept = TcpStream::connect(address).await.unwrap();
        let asked = async |stream: &mut TcpStream| {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 1_024];
            let read = stream.read(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer[..read]).into_owned()
        };
        assert!(asked(&mut kept).await.ends_with("early"));
        assert!(asked(&mut kept).await.ends_with("early"), "it is kept meanwhile");
        begin.send("real").unwrap();
        assert_eq!(kept.read(&mut [0; 16]).await.unwrap(), 0, "it has ended");
        let mut again = TcpStream::connect(address).await.unwrap();
        assert!(asked(&mut again).await.ends_with("real"));
        shutdown.cancel();
        serving.await.unwrap();
    }

    /// One who reads nothing keeps a frame or two, however many there would be, and for no longer
    /// than it may; and so does one who reads a little now and then.
    #[tokio::test]
    async fn a_slow_reader_keeps_little_and_not_for_long() {
        let seconds = |write, all| Patience {
            write: Duration::from_millis(write),
            all: Duration::from_millis(all),
        };
        for (patience, reads) in [(seconds(800, 60_000), 0), (seconds(60_000, 1_500), 1_024)] {
            let (address, frames, connections, shutdown) = endless(patience).await;
            let mut reader = TcpStream::connect(address).await.unwrap();
            reader.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let mut most = 0;
            for _ in 0..1_000 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                most = most.max(kept(&frames));
                if connections.get() == 0 && most > 0 {
                    break;
                }
                // What is read is there already, or the connection has ended.
                let _ = reader.read(&mut vec![0; reads]).await;
            }
            assert_eq!(connections.get(), 0, "it is cut off");
            assert!((1..=3).contains(&most), "{most} frames are kept");
            assert_eq!(kept(&frames), 0);
            // The system keeps the rest of what it has taken, here and at the reader: 7 frames, and
            // 60 where a connection's part has no bound.
            let taken = frames.lock().unwrap().len();
            assert!(taken < 30, "{taken} frames of 64 KiB were taken");
            shutdown.cancel();
        }
    }
}

//! Closed loop over HTTP/1.1: so many connections are kept, and each has one request on its way.
//! Requests are written down beforehand and answers are read without an HTTP library: what the
//! load takes of the machine, whoever is measured lacks.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::closed_loop::Throughput;
use crate::error::LoadError;

/// How long an answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// Room for an answer from the start; it grows up to [`MOST_BYTES`].
const ROOM: usize = 2 * 1024;
/// Most bytes of an answer.
const MOST_BYTES: usize = 1 << 20;

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Of its first line.
    pub status: u16,
    /// First line and headers, with the blank line behind them.
    pub head: &'a [u8],
    /// What stands behind the head.
    pub body: &'a [u8],
}

/// Where an answer's parts end.
struct Parts {
    status: u16,
    head: usize,
    whole: usize,
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    ///
    /// Where nobody takes it.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; ROOM] })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// Where the connection ends, nothing comes in 20 s, or what comes is no answer with a
    /// `content-length`.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        let asking = tokio::time::timeout(ANSWERED_WITHIN, self.ask(request));
        let Parts { status, head, whole } = asking.await??;
        Ok(Answer { status, head: &self.buffer[..head], body: &self.buffer[head..whole] })
    }

    async fn ask(&mut self, request: &[u8]) -> io::Result<Parts> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                if filled >= MOST_BYTES {
                    return Err(wrong("an answer that is too long"));
                }
                self.buffer.resize(filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => filled += more,
            }
            match parts(&self.buffer[..filled])? {
                Some(parts) if parts.whole == filled => return Ok(parts),
                Some(parts) if parts.whole < filled => return Err(wrong("more than one answer")),
                _ => {}
            }
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Where an answer's parts end; none: its head is not there yet.
fn parts(read: &[u8]) -> io::Result<Option<Parts>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = read.windows(END.len()).position(|four| four == END) else { return Ok(None) };
    let head = std::str::from_utf8(&read[..end]).map_err(|_| wrong("a head that is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let (Some(status), Some(length)) = (status, length) else {
        return Err(wrong("an answer without a status or a content-length"));
    };
    let head = end + END.len();
    Ok(Some(Parts { status, head, whole: head.saturating_add(length) }))
}

/// Connections that send as soon as they are answered.
#[derive(Debug)]
pub struct HttpLoop {
    connections: Vec<Connection>,
}

impl HttpLoop {
    /// Opens so many.
    ///
    /// # Errors
    ///
    /// Where one of them is not taken.
    pub async fn open(address: SocketAddr, connections: usize) -> io::Result<Self> {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(Connection::open(address).await?);
        }
        Ok(Self { connections: open })
    }

    /// Sends each of these once and waits for all answers; `is_right` judges each, with the
    /// request's number.
    ///
    /// # Errors
    ///
    /// [`LoadError::Io`] where a connection ends or an answer does not come in 20 s.
    pub async fn run<F>(
        &mut self,
        requests: Vec<Bytes>,
        is_right: F,
    ) -> Result<Throughput, LoadError>
    where
        F: Fn(usize, &Answer<'_>) -> bool + Copy + Send + 'static,
    {
        let requests = std::sync::Arc::new(requests);
        let (lanes, mut running) = (self.connections.len(), JoinSet::new());
        let started = Instant::now();
        for (lane, mut connection) in self.connections.drain(..).enumerate() {
            let requests = std::sync::Arc::clone(&requests);
            running.spawn(async move {
                let mut right = 0;
                for n in (lane..requests.len()).step_by(lanes) {
                    let answer = connection.exchange(&requests[n]).await?;
                    right += u64::from(is_right(n, &answer));
                }
                io::Result::Ok((connection, right))
            });
        }
        let mut right = 0;
        while let Some(ended) = running.join_next().await {
            let (connection, of_lane) = ended.map_err(io::Error::other)??;
            right += of_lane;
            self.connections.push(connection);
        }
        let others = requests.len() as u64 - right;
        Ok(Throughput { took: started.elapsed(), right, others, worst_per_s: None })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers `count` requests of 4 bytes on each connection, in two pieces: the third of each
    /// with 503.
    async fn server(connections: usize, count: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    for n in 0..count {
                        stream.read_exact(&mut [0; 4]).await.unwrap();
                        let status = if n == 2 { "503 Busy" } else { "201 Created" };
                        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n");
                        stream.write_all(head.as_bytes()).await.unwrap();
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        stream.write_all(b"{}").await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn every_request_is_sent_once_and_every_answer_is_judged() {
        let address = server(3, 4).await;
        let mut load = HttpLoop::open(address, 3).await.unwrap();
        let requests = vec![Bytes::from_static(b"ask\n"); 12];
        let is_right = |_, answer: &Answer<'_>| answer.status == 201 && answer.body == b"{}";
        let done = load.run(requests, is_right).await.unwrap();
        assert_eq!((done.right, done.others), (9, 3));
        // The server has gone.
        let gone = load.run(vec![Bytes::from_static(b"ask\n")], |_, _| true).await;
        assert!(matches!(gone, Err(LoadError::Io(_))), "{gone:?}");
    }

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let of = |text: &str| parts(text.as_bytes()).unwrap().map(|p| (p.status, p.head, p.whole));
        assert_eq!(of("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n"), None);
        assert_eq!(of("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"), Some((200, 38, 45)));
        assert!(parts(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}

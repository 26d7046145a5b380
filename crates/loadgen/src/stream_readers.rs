//! Many who read a stream of server-sent events at once, with as little memory and work as it
//! takes to count whole events.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::error::LoadError;

/// Connections that are being opened at once.
const OPENED_AT_ONCE: usize = 64;
/// Bytes that are read at a time, on the stack of whoever reads at the moment.
const READ_AT_ONCE: usize = 32 * 1024;

/// Counts whole events in bytes that come in pieces: a line that begins so, and a blank one
/// behind it. Lines of a chunked body between them are neither.
#[derive(Debug, Default)]
struct EventCounter {
    /// The line's first bytes, and how many it has so far.
    begin: [u8; EVENT.len()],
    length: usize,
    in_event: bool,
}

const EVENT: &[u8; 6] = b"event:";

impl EventCounter {
    /// How many events end in these bytes.
    fn count(&mut self, bytes: &[u8]) -> usize {
        let mut events = 0;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (line, ends) = match part.strip_suffix(b"\n") {
                Some(line) => (line, true),
                None => (part, false),
            };
            let room = self.begin.iter_mut().skip(self.length);
            room.zip(line).for_each(|(kept, byte)| *kept = *byte);
            self.length += line.len();
            if ends {
                let is_blank = self.length == 0;
                events += usize::from(is_blank && self.in_event);
                let begins = self.length >= EVENT.len() && self.begin == *EVENT;
                self.in_event = (self.in_event && !is_blank) || begins;
                self.length = 0;
            }
        }
        events
    }
}

/// What a reader tells.
enum Told {
    /// So many events have come.
    Events(usize),
    Ended(io::Error),
}

/// Readers that are open; they end when this is dropped.
#[derive(Debug)]
pub struct StreamReaders {
    told: mpsc::UnboundedReceiver<Told>,
    _readers: JoinSet<()>,
}

impl StreamReaders {
    /// Opens so many, each of which has read its first event within this time.
    ///
    /// # Errors
    ///
    /// Where a connection is not taken or ends, or the first events do not come in time.
    pub async fn open(
        address: SocketAddr,
        path: &str,
        readers: usize,
        within: Duration,
    ) -> Result<Self, LoadError> {
        let deadline = Instant::now() + within;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n");
        let (telling, told) = mpsc::unbounded_channel();
        let mut running = JoinSet::new();
        let opening = futures_util::stream::iter(0..readers).map(|_| async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            io::Result::Ok(stream)
        });
        let mut opening = opening.buffer_unordered(OPENED_AT_ONCE);
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        while let Some(stream) = timeout_at(deadline, opening.try_next()).await.map_err(late)?? {
            running.spawn(read(stream, telling.clone()));
        }
        drop(opening);
        let mut all = Self { told, _readers: running };
        let mut begun = 0;
        while begun < readers {
            // One that has read a second event has read a first one too: nothing changes yet.
            begun += timeout_at(deadline, all.next()).await.map_err(late)??;
        }
        Ok(all)
    }

    /// How many events all of them read in this time.
    ///
    /// # Errors
    ///
    /// Where one of them ends.
    pub async fn read_for(&mut self, lasts: Duration) -> Result<u64, LoadError> {
        let (deadline, mut events) = (Instant::now() + lasts, 0);
        while let Ok(more) = timeout_at(deadline, self.next()).await {
            events += more? as u64;
        }
        Ok(events)
    }

    async fn next(&mut self) -> Result<usize, LoadError> {
        match self.told.recv().await {
            Some(Told::Events(events)) => Ok(events),
            Some(Told::Ended(error)) => Err(error.into()),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }
}

async fn read(stream: TcpStream, telling: mpsc::UnboundedSender<Told>) {
    let mut counter = EventCounter::default();
    loop {
        let read = match stream.readable().await {
            Ok(()) => read_some(&stream, &mut counter),
            Err(error) => Err(error),
        };
        let told = match read {
            Ok(0) => continue,
            Ok(events) => Told::Events(events),
            Err(error) => Told::Ended(error),
        };
        let ends = matches!(told, Told::Ended(_));
        if telling.send(told).is_err() || ends {
            return;
        }
    }
}

/// The events that end in what has come. The bytes are on this stack alone: a reader that waits
/// keeps none.
fn read_some(stream: &TcpStream, counter: &mut EventCounter) -> io::Result<usize> {
    let mut bytes = [0; READ_AT_ONCE];
    match stream.try_read(&mut bytes) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(read) => Ok(counter.count(&bytes[..read])),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    const STREAM: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        d\r\nretry: 1234\n\n\r\n1b\r\nid: a\nevent: places\ndata: {}\n\n\r\n3\r\n:\n\n\r\n\
        1b\r\nid: b\nevent: change\ndata: {}\n\n\r\n";

    #[test]
    fn events_are_counted_however_they_are_cut() {
        for size in 1..STREAM.len() {
            let mut counter = EventCounter::default();
            let pieces = STREAM.as_bytes().chunks(size);
            assert_eq!(pieces.map(|piece| counter.count(piece)).sum::<usize>(), 2, "{size}");
        }
    }

    #[tokio::test]
    async fn readers_tell_what_they_read_and_that_they_were_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let event = "1b\r\nid: c\nevent: change\ndata: {}\n\n\r\n";
        let served = tokio::spawn(async move {
            let mut streams = Vec::new();
            for _ in 0..3 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 512]).await.unwrap();
                let begin = STREAM.rsplit_once("1b\r\n").unwrap().0;
                stream.write_all(begin.as_bytes()).await.unwrap();
                streams.push(stream);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            for stream in &mut streams {
                stream.write_all(event.as_bytes()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(600)).await;
        });
        let within = Duration::from_secs(10);
        let mut readers = StreamReaders::open(address, "/s", 3, within).await.unwrap();
        assert_eq!(readers.read_for(Duration::from_millis(500)).await.unwrap(), 3);
        served.await.unwrap();
        assert!(readers.read_for(within).await.is_err());
    }
}

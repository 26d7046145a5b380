//! Rows on their way into a table of PostgreSQL, in COPY's binary form: the server parses
//! no text of them.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use giliran_wire::Timestamp;

use super::StoreError;
use super::session::{WriteTransaction, failed};

/// How much of a COPY is sent at once, in bytes.
const CHUNK: usize = 1 << 20;
/// What it begins with: a signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Where a row would begin that says how many fields it has.
const TRAILER: i16 = -1;
/// The length of a field that holds nothing.
const NULL: i32 = -1;

/// A row is [`row`](Self::row) and then each of its fields.
pub(super) struct Copy {
    sink: std::pin::Pin<Box<tokio_postgres::CopyInSink<Bytes>>>,
    buffer: BytesMut,
}

impl Copy {
    /// `statement`: a COPY from STDIN in binary form.
    pub(super) async fn begin(
        transaction: &mut WriteTransaction<'_>,
        statement: &'static str,
    ) -> Result<Self, StoreError> {
        let sink = Box::pin(transaction.copy_in(statement).await?);
        Ok(Self { sink, buffer: BytesMut::from(HEADER) })
    }

    /// Begins a row of so many fields.
    pub(super) fn row(&mut self, fields: i16) {
        self.buffer.put_i16(fields);
    }

    pub(super) fn bytes(&mut self, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return self.buffer.put_i32(NULL) };
        self.buffer.put_i32(bytes.len() as i32);
        self.buffer.put_slice(bytes);
    }

    pub(super) fn text(&mut self, text: Option<&str>) {
        self.bytes(text.map(str::as_bytes));
    }

    pub(super) fn int2(&mut self, number: i16) {
        self.bytes(Some(&number.to_be_bytes()));
    }

    pub(super) fn int4(&mut self, number: i32) {
        self.bytes(Some(&number.to_be_bytes()));
    }

    pub(super) fn int8(&mut self, number: i64) {
        self.bytes(Some(&number.to_be_bytes()));
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.bytes(Some(&[value.into()]));
    }

    pub(super) fn time(&mut self, at: Option<Timestamp>) {
        match at {
            Some(at) => self.int8(timestamptz(at)),
            None => self.bytes(None),
        }
    }

    /// To be called between rows.
    pub(super) async fn send_if_full(&mut self) -> Result<(), StoreError> {
        if self.buffer.len() < CHUNK { Ok(()) } else { self.send().await }
    }

    async fn send(&mut self) -> Result<(), StoreError> {
        let chunk = self.buffer.split().freeze();
        self.sink.send(chunk).await.map_err(failed)
    }

    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        self.buffer.put_i16(TRAILER);
        self.send().await?;
        self.sink.as_mut().finish().await.map_err(failed)?;
        Ok(())
    }
}

/// Microseconds since 2000-01-01, as a `timestamptz` is sent. One that PostgreSQL has no
/// calendar for stays one that it refuses: the ends of the range mean infinity there.
fn timestamptz(at: Timestamp) -> i64 {
    let since = at.as_millis().saturating_sub(Timestamp::EARLIEST.as_millis());
    since.saturating_mul(1_000).clamp(i64::MIN + 1, i64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_sent_as_the_server_counts() {
        let at = |text: &str| timestamptz(text.parse().expect("a time"));
        assert_eq!(at("2000-01-01T00:00:00Z"), 0);
        assert_eq!(at("2000-01-02T00:00:00.001Z"), 86_400_001_000);
        for end in [i64::MIN, i64::MAX] {
            let sent = timestamptz(Timestamp::from_millis(end));
            assert_ne!(sent, end, "infinity");
        }
    }
}

//! The ledger's streams, one a generation: made, opened, read.

pub mod append;
pub mod archive;
pub mod reader;
pub mod scan;
mod streams;

use std::time::Duration;

use async_nats::Client;
use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, RawMessageErrorKind, Stream as JetStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use giliran_wire::ledger::{Block, Chain, Entry, Foreign, Reading};
use giliran_wire::snapshot::{Assembler, Piece};
use giliran_wire::subject::Namespace;

use crate::error::Doing;
use crate::ledger::append::Appender;
use crate::ledger::reader::{BLOCKS_PER_PULL, Durable, Reader};
use crate::ledger::streams::{config, open_generation};
use crate::{Error, ErrorKind};

pub(crate) use streams::{generations, is_missing};
pub use streams::{init, open, open_in};

/// Messages asked for at once, one by one: at most some 12 MiB on their way.
const GETS_AT_ONCE: usize = 16;
/// How long the next block is waited for of a begin that is complete.
const BEGIN_WAIT: Duration = Duration::from_secs(5);
/// How long the broker may take to make a stream: its servers agree on that first.
const MADE_WITHIN: Duration = Duration::from_secs(10);
/// Sequences left free between a generation's last block and the next one's
/// first: room for what is stored before the seal, and behind it.
const ROOM_FOR_SEAL: u64 = 1 << 20;
/// The next stream must begin at least so far behind the present one's tail.
const LEAST_ROOM: u64 = 1 << 10;

/// How a ledger goes on behind a generation that is damaged.
#[derive(Debug, Clone, PartialEq)]
pub struct GoesOn {
    /// The block that the next generation begins with.
    pub begin: Block,
    /// The sequence from which on nothing of this generation counts.
    pub damaged_at: u64,
}

/// The ledger's stream of one generation, found suitable.
#[derive(Debug, Clone)]
pub struct Ledger {
    context: Context,
    namespace: Namespace,
    generation: u32,
    stream: JetStream,
    name: String,
    subject: String,
}

impl Ledger {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which generation it carries, from 1.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The sequence its first block has or will have.
    pub fn first(&self) -> u64 {
        self.stream.cached_info().config.first_sequence.unwrap_or(1).max(1)
    }

    /// The name of a generation's stream, whether or not it is there.
    pub fn stream_of(&self, generation: u32) -> String {
        self.namespace.ledger_stream(generation)
    }

    /// The stream of another generation of this ledger; none: it does not exist.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell, or it is not what a ledger needs.
    pub async fn of_generation(&self, generation: u32) -> Result<Option<Self>, Error> {
        if generation == self.generation {
            return Ok(Some(self.clone()));
        }
        open_generation(&self.context, &self.namespace, generation).await
    }

    /// The generations whose streams are there, ascending.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn generations(&self) -> Result<Vec<u32>, Error> {
        generations(&self.context, &self.namespace).await
    }

    /// The newest generation that holds blocks, from this one on. This one, and some
    /// behind it, may have been deleted since it was opened.
    ///
    /// # Errors
    ///
    /// As [`of_generation`](Self::of_generation).
    pub async fn newest(&self) -> Result<Self, Error> {
        let later = self.generations().await?.into_iter().rev();
        for generation in later.take_while(|generation| *generation > self.generation) {
            if let Some(newest) = self.of_generation(generation).await?
                && newest.holds_blocks().await?
            {
                return Ok(newest);
            }
        }
        Ok(self.clone())
    }

    /// The newest generation, up to this one, that a reader can begin with: the
    /// first, or one whose snapshot is complete.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell, or there is none.
    pub async fn newest_begun(&self) -> Result<Self, Error> {
        let mut ledger = self.clone();
        while !ledger.is_begun().await? {
            let before = ledger.generation - 1;
            ledger = ledger.of_generation(before).await?.ok_or_else(|| {
                let name = &ledger.name;
                let before = ledger.namespace.ledger_stream(before);
                Error::plain(format!("stream {name} is not complete, and {before} is gone"))
                    .of_kind(ErrorKind::GenerationGone)
            })?;
        }
        Ok(ledger)
    }

    /// How the ledger goes on in the next generation, where that was rebuilt because this
    /// one is damaged; none: it was not, or its begin is not complete.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn goes_on(&self) -> Result<Option<GoesOn>, Error> {
        let Some(next) = self.of_generation(self.generation + 1).await? else { return Ok(None) };
        if !next.is_begun().await? {
            return Ok(None);
        }
        let Some((_, begin)) = next.genesis().await? else { return Ok(None) };
        let damaged_at = begin.entries.iter().find_map(|entry| match entry {
            Entry::Genesis(genesis) => genesis.rebuilt.as_ref().map(|rebuilt| rebuilt.damaged_at),
            _ => None,
        });
        Ok(damaged_at.map(|damaged_at| GoesOn { begin, damaged_at }))
    }

    /// Stores a block behind this sequence; where.
    ///
    /// # Errors
    ///
    /// Where the stream ends elsewhere, or it is not known what became of the block.
    pub async fn append(&self, expected_last: u64, bytes: Bytes) -> Result<u64, Error> {
        let doing = format!("append to {}", self.name);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", expected_last.to_string().as_str());
        let sent = self.context.publish_with_headers(self.subject.clone(), headers, bytes).await;
        Ok(sent.doing(&doing)?.await.doing(&doing)?.sequence)
    }

    /// Whether a reader can begin with this generation: its snapshot is complete.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell, or its first block is none.
    pub async fn is_begun(&self) -> Result<bool, Error> {
        if self.generation == 1 {
            return Ok(true);
        }
        let Some((genesis, block)) = self.genesis().await? else { return Ok(false) };
        let parts = block.entries.iter().find_map(|entry| match entry {
            Entry::Snapshot(part) => Some(u64::from(part.parts)),
            _ => None,
        });
        let Some(parts) = parts else { return Ok(false) };
        // Its last part, or what stands behind it, has this number.
        let last = block.number + parts - 1;
        let is_behind = |found: &Block| found.ledger == block.ledger && found.number >= last;
        Ok(self.find(genesis + parts - 1, is_behind).await?.is_some())
    }

    /// The block that this generation begins with, and its sequence: the first of its
    /// stream, unless foreign messages stand before it. None: it has not begun.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn genesis(&self) -> Result<Option<(u64, Block)>, Error> {
        let begins = |block: &Block| matches!(block.entries.first(), Some(Entry::Genesis(_)));
        self.find(self.first(), begins).await
    }

    /// The first block of this generation from a sequence on that is wanted.
    async fn find(
        &self,
        from: u64,
        wanted: impl Fn(&Block) -> bool,
    ) -> Result<Option<(u64, Block)>, Error> {
        let mut seq = from;
        while let Some(bytes) = self.read_at(seq).await? {
            match Block::open(&bytes) {
                Ok((block, _)) if block.generation == self.generation && wanted(&block) => {
                    return Ok(Some((seq, block)));
                }
                _ => seq += 1,
            }
        }
        Ok(None)
    }

    /// Reads all that this generation begins with, as a reader does that has nothing
    /// else; how many changes of bookings and entries, and so events, lie before it.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell, or nobody could begin with it.
    pub async fn changes_before(&self) -> Result<u64, Error> {
        let doing = format!("read what {} begins with", self.name);
        let wrong = |what: &str| Error::plain(format!("{doing}: {what}"));
        let mut chain = Chain::beginning_with(self.generation);
        let mut joiner = Assembler::default();
        let (mut changes, mut state) = (None, None);
        let mut reader = self.reader(self.first()).await?;
        let begun = |chain: &Chain| chain.ledger.is_some() && chain.is_open();
        while !begun(&chain) {
            let blocks = reader.next_batch(BLOCKS_PER_PULL, BEGIN_WAIT).await?;
            if blocks.is_empty() {
                return Err(wrong("it is not complete"));
            }
            for (seq, bytes) in blocks {
                if begun(&chain) {
                    break;
                }
                let Reading::Valid(block) = chain.read_bytes(seq, &bytes).doing(&doing)? else {
                    continue;
                };
                for entry in block.entries {
                    let Entry::Snapshot(part) = entry else { continue };
                    let mut take = |piece| {
                        if let Piece::Head(head) = piece {
                            changes = Some(head.changes);
                        }
                        Ok(())
                    };
                    joiner.add(&part.bytes, &mut take).doing(&doing)?;
                    state = Some(part.state);
                }
            }
        }
        let joined = joiner.end().doing(&doing)?;
        if state != Some(joined) {
            return Err(wrong("its parts are not the state that they say"));
        }
        changes.ok_or_else(|| wrong("its state has no head"))
    }

    /// What is to be said where the stream of a generation that a seal names is not
    /// there.
    pub fn gone(&self, generation: u32) -> Error {
        let (sealed, next) = (self.stream_of(generation - 1), self.stream_of(generation));
        Error::plain(format!(
            "{sealed} is sealed and goes on in {next}, which does not exist: restore it"
        ))
        .of_kind(ErrorKind::GenerationGone)
    }

    async fn holds_blocks(&self) -> Result<bool, Error> {
        Ok(self.genesis().await?.is_some())
    }

    /// Who follows through a durable consumer, and the sequence up to which each has
    /// kept everything.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn followers(&self) -> Result<Vec<(Durable, u64)>, Error> {
        let mut consumers = self.stream.consumers();
        let mut followers = Vec::new();
        while let Some(consumer) = consumers.next().await {
            let consumer = consumer.doing("list the ledger's consumers")?;
            if let Some(name) = consumer.config.durable_name {
                let description = consumer.config.description.unwrap_or_default();
                let durable = Durable { name, description };
                followers.push((durable, consumer.ack_floor.stream_sequence));
            }
        }
        Ok(followers)
    }

    /// Deletes the stream of this generation. Nothing here asks whether anybody
    /// still needs it.
    ///
    /// # Errors
    ///
    /// Where the broker refuses.
    pub async fn delete(self) -> Result<(), Error> {
        let doing = format!("delete stream {}", self.name);
        self.context.delete_stream(&self.name).await.doing(&doing)?;
        Ok(())
    }

    /// Makes the next generation's stream, empty, if it is not there yet. Its
    /// sequences begin beyond everything that is stored here before it is used, so
    /// that no position comes twice.
    ///
    /// # Errors
    ///
    /// Where the broker refuses, or a stream of that name cannot be used.
    pub async fn make_next(&self) -> Result<Self, Error> {
        let next = self.generation + 1;
        let (_, tail) = self.tail().await?;
        if let Some(there) = self.of_generation(next).await? {
            return if there.first() >= tail + LEAST_ROOM && !there.holds_blocks().await? {
                Ok(there)
            } else {
                Err(Error::plain(format!(
                    "stream {} exists, and does not begin empty and beyond sequence {tail}: it \
                     is not how {} goes on",
                    there.name, self.name
                )))
            };
        }
        let config = Config {
            first_sequence: Some(tail + ROOM_FOR_SEAL),
            ..config(&self.namespace, next, self.replicas())
        };
        let doing = format!("make stream {}", config.name);
        let mut context = self.context.clone();
        context.set_timeout(MADE_WITHIN);
        context.create_stream(config).await.doing(&doing)?;
        let made = self.of_generation(next).await?;
        made.ok_or_else(|| Error::plain(format!("{doing}: it is gone again")))
    }

    /// How many servers keep it.
    pub fn replicas(&self) -> usize {
        self.stream.cached_info().config.num_replicas.max(1)
    }

    /// First and last sequence; (1, 0) where nothing is stored.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn tail(&self) -> Result<(u64, u64), Error> {
        let info = self.stream.get_info().await.doing("look at the ledger's tail")?;
        Ok((info.state.first_sequence, info.state.last_sequence))
    }

    /// Bytes that the stream takes at the broker.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn bytes(&self) -> Result<u64, Error> {
        let info = self.stream.get_info().await.doing("look at the ledger's size")?;
        Ok(info.state.bytes)
    }

    /// What stands at `seq`, from the stream's leader; none: nothing yet.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn read_at(&self, seq: u64) -> Result<Option<Bytes>, Error> {
        match self.stream.get_raw_message(seq).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::new(&format!("read ledger sequence {seq}"), error)),
        }
    }

    /// What stands from `from` to `to`, in order, asked for message by message: for
    /// whoever may read the stream and make no consumer of it. A sequence at which
    /// nothing stands is left out.
    ///
    /// Each item is an error where the broker does not tell.
    pub fn blocks(
        &self,
        from: u64,
        to: u64,
    ) -> impl Stream<Item = Result<(u64, Bytes), Error>> + Send + Unpin + '_ {
        let read = move |seq| async move { (seq, self.read_at(seq).await) };
        let told = |(seq, read): (u64, Result<Option<Bytes>, Error>)| async move {
            read.map(|bytes| bytes.map(|bytes| (seq, bytes))).transpose()
        };
        let from = from.max(self.first());
        let read = stream::iter(from..=to).map(read).buffered(GETS_AT_ONCE);
        Box::pin(read.filter_map(told))
    }

    /// A publisher for this ledger.
    ///
    /// # Errors
    ///
    /// Where its inbox cannot be subscribed to.
    pub async fn appender(&self, client: &Client) -> Result<Appender, Error> {
        Appender::open(client).await
    }

    /// The subject its blocks are published to.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Reads every block from `from` on, and goes on with new ones.
    ///
    /// # Errors
    ///
    /// Where the broker gives no consumer.
    pub async fn reader(&self, from: u64) -> Result<Reader, Error> {
        Reader::open(self.clone(), from, None).await
    }

    /// The same through a durable consumer. It begins at `from`, whatever the
    /// consumer had acknowledged.
    ///
    /// # Errors
    ///
    /// Where the broker gives no consumer.
    pub async fn durable_reader(&self, durable: Durable, from: u64) -> Result<Reader, Error> {
        Reader::open(self.clone(), from, Some(durable)).await
    }

    pub(crate) fn stream(&self) -> &JetStream {
        &self.stream
    }

    pub(crate) fn client(&self) -> Client {
        self.context.client()
    }
}

/// Tells operators of a message that no writer of the ledger put there: what tells it
/// from others, and nothing of what it says.
pub fn report(foreign: &Foreign) {
    let Foreign { seq, bytes, hash, why } = foreign;
    tracing::error!(
        seq,
        bytes,
        %hash,
        "a foreign message stands on the ledger: {why}. It is passed over once a valid block \
         follows it; see who may publish to the ledger's subject"
    );
}

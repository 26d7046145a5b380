//! The ledger's streams: made once, found by their names, and held against what a ledger
//! needs.

use std::time::Duration;

use async_nats::Client;
use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use giliran_wire::ledger::{Block, Entry, FORMAT, Genesis};
use giliran_wire::subject::Namespace;
use giliran_wire::{BlockHash, LedgerId, Timestamp, WriterNonce};

use super::Ledger;
use crate::error::Doing;
use crate::{Error, ErrorKind, connection};

/// How often the first block is sent to a stream that is not known everywhere yet.
const GENESIS_TRIES: u32 = 50;
/// Pause between two of them.
const GENESIS_PAUSE: Duration = Duration::from_millis(200);

/// A stream that a ledger can be in.
pub(super) fn config(namespace: &Namespace, generation: u32, replicas: usize) -> Config {
    Config {
        name: namespace.ledger_stream(generation),
        subjects: vec![namespace.ledger_subject(generation)],
        description: Some("Giliran's ledger: the truth about every booking".to_owned()),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        deny_delete: true,
        deny_purge: true,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        ..Config::default()
    }
}

/// Makes the ledger: its stream, and genesis in it.
///
/// # Errors
///
/// Where a ledger exists already, or the broker refuses.
pub async fn init(
    client: &Client,
    namespace: &Namespace,
    genesis: Genesis,
    ledger: LedgerId,
    time: Timestamp,
    replicas: usize,
) -> Result<Ledger, Error> {
    let context = jetstream::new(client.clone());
    let name = namespace.ledger_stream(1);
    match context.get_stream(&name).await {
        Ok(mut stream) => {
            let messages = stream.info().await.doing("look at the ledger")?.state.messages;
            if messages > 0 {
                return Err(Error::plain(format!(
                    "stream {name} exists and holds {messages} blocks: the ledger is made already"
                )));
            }
        }
        Err(error) if is_missing(&error) => {
            context
                .create_stream(config(namespace, 1, replicas))
                .await
                .doing(&format!("make stream {name}"))?;
        }
        Err(error) => return Err(Error::new("look for the ledger", error)),
    }
    let block = Block {
        format: FORMAT,
        ledger,
        generation: 1,
        number: 1,
        epoch: 0,
        writer: WriterNonce([0; 16]),
        time,
        previous: BlockHash::ZERO,
        entries: vec![Entry::Genesis(genesis)],
    };
    append_genesis(&context, &namespace.ledger_subject(1), block.seal().bytes.into()).await?;
    open(client, namespace).await
}

/// Appends the first block. In a cluster, the server that this client speaks to may not
/// know the stream yet that was made a moment ago: it says so, and has kept nothing.
async fn append_genesis(context: &Context, subject: &str, block: Bytes) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", "0");
        let sent = context.publish_with_headers(subject.to_owned(), headers, block.clone()).await;
        let appended = match sent {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        tries += 1;
        match appended {
            Err(error)
                if error.kind() == PublishErrorKind::StreamNotFound && tries < GENESIS_TRIES =>
            {
                tokio::time::sleep(GENESIS_PAUSE).await;
            }
            appended => return appended.map(drop).doing("append genesis"),
        }
    }
}

/// Opens the ledger's newest generation that holds blocks and looks whether its
/// stream is what a ledger needs.
///
/// # Errors
///
/// Where there is none, or it could lose or let go of blocks; every reason at
/// once.
pub async fn open(client: &Client, namespace: &Namespace) -> Result<Ledger, Error> {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(connection::ANSWERS_WITHIN);
    open_in(&context, namespace).await.map_err(|error| connection::unanswered(client, error))
}

/// The same, through the JetStream API that this context speaks to.
///
/// # Errors
///
/// As [`open`].
pub async fn open_in(context: &Context, namespace: &Namespace) -> Result<Ledger, Error> {
    let generations = generations(context, namespace).await?;
    for generation in generations.iter().rev().copied() {
        if let Some(ledger) = open_generation(context, namespace, generation).await?
            && (generation == generations[0] || ledger.holds_blocks().await?)
        {
            return Ok(ledger);
        }
    }
    let name = namespace.ledger_stream(1);
    Err(Error::plain(format!(
        "there is no ledger: stream {name} does not exist. Make it once with `giliran init`; if \
         there was one, restore it instead: an engine never begins a ledger"
    ))
    .of_kind(ErrorKind::NoLedger))
}

/// The generations whose streams are there, ascending.
pub(crate) async fn generations(
    context: &Context,
    namespace: &Namespace,
) -> Result<Vec<u32>, Error> {
    let prefix = namespace.ledger_stream(0);
    let prefix = prefix.trim_end_matches('0');
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let ask = serde_json::json!({ "subject": namespace.ledger_filter(), "offset": offset });
        let answer: serde_json::Value =
            context.request("STREAM.NAMES", &ask).await.doing("look for the ledger")?;
        if !answer["error"].is_null() {
            return Err(Error::plain(format!("look for the ledger: {}", answer["error"])));
        }
        let names = answer["streams"].as_array().map_or(&[][..], Vec::as_slice);
        if names.is_empty() {
            break;
        }
        offset += names.len();
        let number =
            |name: &serde_json::Value| name.as_str()?.strip_prefix(prefix)?.parse::<u32>().ok();
        found.extend(names.iter().filter_map(number));
    }
    found.sort_unstable();
    Ok(found)
}

/// The ledger's stream of this generation; none: it does not exist.
pub(super) async fn open_generation(
    context: &Context,
    namespace: &Namespace,
    generation: u32,
) -> Result<Option<Ledger>, Error> {
    let name = namespace.ledger_stream(generation);
    let stream = match context.get_stream(&name).await {
        Ok(stream) => stream,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(Error::new("look for the ledger", error)),
    };
    let subject = namespace.ledger_subject(generation);
    let unsuitable = unsuitable(&stream.cached_info().config, &subject);
    if !unsuitable.is_empty() {
        let unsuitable = unsuitable.join("; ");
        return Err(Error::plain(format!("stream {name} cannot carry a ledger: {unsuitable}"))
            .of_kind(ErrorKind::Unsuitable));
    }
    let (context, namespace) = (context.clone(), namespace.clone());
    Ok(Some(Ledger { context, namespace, generation, stream, name, subject }))
}

/// True where the server answered that there is no such stream, rather than that it
/// cannot tell.
pub(crate) fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(answer)
        if answer.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn unsuitable(config: &Config, subject: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut need = |fine: bool, what: String| {
        if !fine {
            wrong.push(what);
        }
    };
    need(
        config.subjects == [subject],
        format!("its subjects are {:?}, not {subject}", config.subjects),
    );
    need(config.storage == StorageType::File, "it is kept in memory, not in files".into());
    need(config.retention == RetentionPolicy::Limits, "its retention is not `limits`".into());
    need(config.deny_delete, "deny_delete is off: blocks can be deleted".into());
    need(config.deny_purge, "deny_purge is off: it can be purged".into());
    let unlimited = |n: i64| n <= 0;
    need(
        unlimited(config.max_messages)
            && unlimited(config.max_bytes)
            && unlimited(config.max_messages_per_subject)
            && config.max_age.is_zero(),
        "it has a limit of size, number or age".into(),
    );
    need(
        config.max_message_size <= 0
            || config.max_message_size as usize >= giliran_wire::ledger::MAX_BLOCK_BYTES + 1024,
        format!("max_msg_size is {}, below a block's size", config.max_message_size),
    );
    need(!config.no_ack, "it does not acknowledge".into());
    need(!config.sealed, "it is sealed".into());
    need(config.mirror.is_none() && config.sources.is_none(), "it copies another stream".into());
    need(
        config.persist_mode.is_none()
            || config.persist_mode == Some(jetstream::stream::PersistenceMode::Default),
        "persist_mode is async: it acknowledges before it stores".into(),
    );
    wrong
}

//! What rates are held against: an echo that does nothing, and the program that does the
//! least that could be called the job.

use std::path::Path;
use std::time::Duration;

use async_nats::Client;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use giliran_nats::connection;
use tokio::process::{Child, Command};

use crate::failure::Failure;

/// Subjects of the echo: with a grant's answer, and with a rejection's.
pub(super) const GRANT: &str = "bench.echo.grant";
pub(super) const REJECTION: &str = "bench.echo.rejection";
/// Subject of the bare program, and the stream of its blocks.
pub(super) const BARE: &str = "bench.bare";
const SHAPE: &str = "bench.bare.shape";
const BLOCKS: &str = "bench.blocks";
/// Messages that the echo takes at a time.
const CHUNK: usize = 1_024;
/// Pause between two questions whether somebody is there.
const PAUSE: Duration = Duration::from_millis(50);

/// The engine's answers to one request, in the binary form.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) granted: Bytes,
    pub(super) sold_out: Bytes,
    /// Bytes of that grant in the ledger.
    pub(super) entry: usize,
}

/// Starts an echo that answers with these bytes.
pub(super) async fn echo(client: &Client, url: &str, answers: &Answers) -> Result<Child, Failure> {
    let echo = Command::new(std::env::current_exe()?)
        .args(["bench", "--echo", url])
        .kill_on_drop(true)
        .spawn()?;
    for (subject, answer) in [(GRANT, &answers.granted), (REJECTION, &answers.sold_out)] {
        while client.request(format!("{subject}.answer"), answer.clone()).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(echo)
}

/// The echo itself: answers whatever comes with the bytes that it was last given for the
/// subject.
pub(in super::super) async fn answer(url: &str) -> Result<(), Failure> {
    let client = connection::connect(url, "giliran bench echo", &Default::default()).await?;
    let grants = echo_on(&client, GRANT);
    let rejections = echo_on(&client, REJECTION);
    tokio::try_join!(grants, rejections).map(|_| ())
}

async fn echo_on(client: &Client, subject: &str) -> Result<(), Failure> {
    let mut given = client.subscribe(format!("{subject}.answer")).await?;
    let mut asked = client.subscribe(subject.to_owned()).await?.ready_chunks(CHUNK);
    let mut answer = Bytes::from_static(b"0");
    loop {
        tokio::select! {
            Some(message) = given.next() => {
                answer = message.payload;
                if let Some(reply) = message.reply {
                    client.publish(reply, Bytes::new()).await?;
                }
            }
            Some(messages) = asked.next() => {
                for reply in messages.into_iter().filter_map(|message| message.reply) {
                    client.publish(reply, answer.clone()).await?;
                }
            }
            else => return Ok(()),
        }
    }
}

/// Starts the bare program, with a stream for its blocks.
pub(super) async fn bare(
    program: &Path,
    client: &Client,
    url: &str,
    answers: &Answers,
) -> Result<Child, Failure> {
    let stream = async_nats::jetstream::stream::Config {
        name: "BENCH_BARE".to_owned(),
        subjects: vec![BLOCKS.to_owned()],
        ..Default::default()
    };
    async_nats::jetstream::new(client.clone()).create_stream(stream).await?;
    let bare = Command::new(program).arg(url).kill_on_drop(true).spawn();
    let bare = bare.map_err(|error| {
        Failure::Usage(format!(
            "--bare {}: {error}; `cargo xtask bench e2e` builds it and names it",
            program.display()
        ))
    })?;
    let mut shape = BytesMut::new();
    shape.put_u32_le(answers.entry as u32);
    shape.put_u32_le(answers.granted.len() as u32);
    shape.put(&*answers.granted);
    shape.put(&*answers.sold_out);
    let shape = shape.freeze();
    while client.request(SHAPE, shape.clone()).await.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(bare)
}

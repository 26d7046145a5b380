//! The yardstick `bare`: the least that could be called the job.
//!
//! It reads a request without checking it, takes one keyed hash of the applicant, claims
//! with one operation on a map, takes a place by compare-and-swap, appends an entry to the
//! next block, keeps one block in flight, and answers once the block is acknowledged. It
//! knows no repetition, no parties, no rules, no chain of hashes, no look-up and no
//! recovery. Requests and answers are the engine's own, byte for byte but for the request's
//! id, and its entries are as long as the engine's: what the engine costs beyond it is what
//! those things cost.
//!
//! `giliran bench --bare PATH` starts it with the server's address and asks it once at
//! `bench.bare.shape`, with the engine's answers; `cargo xtask bench` builds it and names
//! the path.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use async_nats::{Client, HeaderMap, Message, Subject};
use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::StreamExt;
use giliran_nats::connection;
use tokio::sync::mpsc;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages that are taken from the subscription at a time.
const CHUNK: usize = 128;
/// Most bytes of a block, as the engine's.
const BLOCK_BYTES: usize = 512 * 1024;
/// Slots: offices times days, and as many again for offices of other names.
const SLOTS: usize = 1_024;
/// People for whom there is room from the start.
const PEOPLE: usize = 4_000_000;
/// Version and count, before the first answer of a payload.
const HEAD: usize = 1 + 8;
/// Where the request's id stands in an answer: behind the option's tag and the length.
const ID_AT: usize = 1 + 8;

/// What the engine's answers and entries look like.
#[derive(Debug)]
struct Shape {
    /// One answer without the payload's head: granted, and sold out.
    granted: Vec<u8>,
    sold_out: Vec<u8>,
    /// Bytes of a grant in the ledger.
    entry: usize,
}

/// What both tasks share.
struct Bare {
    client: Client,
    key: [u8; 32],
    claims: DashMap<[u8; 16], u32>,
    places: Vec<AtomicI32>,
    shape: Shape,
}

/// A message that holds grants: their entries, and what is answered once they are stored.
struct Granted {
    entries: Vec<u8>,
    reply: Subject,
    answer: Bytes,
}

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).expect("the server's address");
    let client = connection::connect(&url, "bare", &Default::default()).await.unwrap();
    let mut shapes = client.subscribe("bench.bare.shape").await.unwrap();
    let shape = shapes.next().await.unwrap();
    let bare = Arc::new(Bare {
        key: *blake3::hash(b"bare").as_bytes(),
        claims: DashMap::with_capacity(PEOPLE),
        places: (0..SLOTS).map(|_| AtomicI32::new(i32::MAX)).collect(),
        shape: Shape::read(&shape.payload),
        client,
    });
    let requests = bare.client.subscribe("bench.bare").await.unwrap();
    let (granted, blocks) = mpsc::unbounded_channel();
    tokio::spawn(append(Arc::clone(&bare), blocks));
    bare.client.publish(shape.reply.unwrap(), Bytes::new()).await.unwrap();
    let mut chunks = requests.ready_chunks(CHUNK);
    while let Some(chunk) = chunks.next().await {
        for message in chunk {
            if let Some((reply, answer)) = bare.decide(message, &granted) {
                bare.client.publish(reply, answer).await.unwrap();
            }
        }
    }
}

impl Shape {
    /// Bytes of an entry, length of the granted answer, that answer, the other answer.
    fn read(bytes: &[u8]) -> Self {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (entry, granted, answers) = (number(0), number(4), &bytes[8..]);
        let (granted, sold_out) = answers.split_at(granted);
        Self { granted: granted[HEAD..].to_vec(), sold_out: sold_out[HEAD..].to_vec(), entry }
    }
}

impl Bare {
    /// Decides a message's requests: its answer, unless that waits for a block.
    fn decide(
        &self,
        message: Message,
        blocks: &mpsc::UnboundedSender<Granted>,
    ) -> Option<(Subject, Bytes)> {
        let mut rest = &message.payload[1..];
        let count = number(&mut rest);
        let one = self.shape.granted.len();
        let mut answer = Vec::with_capacity(HEAD + count * one);
        answer.extend_from_slice(&message.payload[..HEAD]);
        let mut entries = Vec::new();
        for _ in 0..count {
            let (id, applicant, slot) = request(&mut rest);
            let hash = blake3::keyed_hash(&self.key, applicant);
            let person: [u8; 16] = hash.as_bytes()[..16].try_into().unwrap();
            let granted = self.take(person, slot);
            let template = if granted { &self.shape.granted } else { &self.shape.sold_out };
            let start = answer.len();
            answer.extend_from_slice(template);
            answer[start + ID_AT..start + ID_AT + id.len()].copy_from_slice(id);
            if granted {
                let end = entries.len() + self.shape.entry;
                entries.extend_from_slice(&person);
                entries.extend_from_slice(id);
                entries.resize(end, 0);
            }
        }
        let (reply, answer) = (message.reply?, Bytes::from(answer));
        if entries.is_empty() {
            return Some((reply, answer));
        }
        blocks.send(Granted { entries, reply, answer }).unwrap();
        None
    }

    /// One operation on the map is check, claim and record; then the place. Whoever asks
    /// for the office that is full is looked up as well.
    fn take(&self, person: [u8; 16], slot: Option<usize>) -> bool {
        let Entry::Vacant(claim) = self.claims.entry(person) else { return false };
        let Some(slot) = slot else { return false };
        let free = &self.places[slot % SLOTS];
        let taken = free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            (free > 0).then_some(free - 1)
        });
        if taken.is_ok() {
            claim.insert(slot as u32);
        }
        taken.is_ok()
    }
}

/// Appends blocks, one in flight, and answers what they hold.
async fn append(bare: Arc<Bare>, mut granted: mpsc::UnboundedReceiver<Granted>) {
    let inbox = bare.client.new_inbox();
    let mut stored = bare.client.subscribe(inbox.clone()).await.unwrap();
    let mut last = 0_u64;
    let mut kept = None;
    loop {
        let first = match kept.take() {
            Some(kept) => kept,
            None => match granted.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut block = first.entries;
        let mut answers = vec![(first.reply, first.answer)];
        while let Ok(next) = granted.try_recv() {
            if block.len() + next.entries.len() > BLOCK_BYTES {
                kept = Some(next);
                break;
            }
            block.extend_from_slice(&next.entries);
            answers.push((next.reply, next.answer));
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", last.to_string().as_str());
        let (client, reply) = (&bare.client, inbox.clone());
        let sent =
            client.publish_with_reply_and_headers("bench.blocks", reply, headers, block.into());
        sent.await.unwrap();
        let ack = stored.next().await.unwrap();
        assert!(ack.payload.starts_with(b"{\"stream\""), "{:?}", ack.payload);
        last += 1;
        for (reply, answer) in answers {
            client.publish(reply, answer).await.unwrap();
        }
    }
}

/// A request's id, its first applicant, and the slot that its first choice names; none: the
/// office that is full. The fields are those of `book`, in their order.
fn request<'a>(rest: &mut &'a [u8]) -> (&'a [u8], &'a [u8], Option<usize>) {
    let id = text(rest);
    let mut applicant = &[][..];
    for i in 0..number(rest) {
        let one = text(rest);
        if i == 0 {
            applicant = one;
        }
    }
    let mut slot = None;
    for i in 0..number(rest) {
        let office = text(rest);
        let date = some(rest).then(|| text(rest));
        if some(rest) {
            text(rest);
        }
        if i == 0 {
            slot = slot_of(office, date);
        }
    }
    // Opening, then the end, account, channel, reference, and whether it waits.
    if some(rest) {
        text(rest);
    }
    if some(rest) {
        take(rest, 8);
    }
    for _ in 0..3 {
        if some(rest) {
            text(rest);
        }
    }
    take(rest, 1);
    (id, applicant, slot)
}

/// `office-7` on the third: 73. An office without a number is full.
fn slot_of(office: &[u8], date: Option<&[u8]>) -> Option<usize> {
    let digits =
        office.rsplit(|c| *c == b'-').next().filter(|n| n.iter().all(u8::is_ascii_digit))?;
    let number = |digits: &[u8]| digits.iter().fold(0, |n, c| n * 10 + usize::from(c - b'0'));
    Some(number(digits) * 10 + date.map_or(0, |date| number(&date[8..])))
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(bytes);
    *rest = left;
    taken
}

fn number(rest: &mut &[u8]) -> usize {
    u64::from_le_bytes(take(rest, 8).try_into().unwrap()) as usize
}

fn text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = number(rest);
    take(rest, length)
}

fn some(rest: &mut &[u8]) -> bool {
    take(rest, 1) == [1]
}

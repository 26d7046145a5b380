//! A peer behind NATS, as the engine is: the engine's own requests come in, and the
//! engine's own answers go out.

use std::sync::Arc;

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use giliran_wire::request::{self, Book, Payload};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::job::{HOT, Lane, Request};

/// Days of an office, as in the bench's opening.
const DAYS: usize = 10;
/// Where the request's id stands in an answer: behind version, count, the option's tag and
/// the length.
const ID_AT: usize = 1 + 8 + 1 + 8;

type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Message>>>;

pub(crate) struct Responder {
    client: Client,
    queue: Queue,
    /// The engine's answer to a grant and to a rejection, one a message.
    answers: Arc<[Mutex<Bytes>; 2]>,
    lanes: JoinSet<()>,
}

impl Responder {
    pub(crate) async fn new(client: Client) -> Self {
        let (taken, queue) = mpsc::unbounded_channel();
        let requests = client.subscribe("bench.peers.book").await.unwrap();
        tokio::spawn(take(requests, taken));
        let answers = Arc::new([Mutex::new(Bytes::new()), Mutex::new(Bytes::new())]);
        for (i, name) in ["grant", "rejection"].into_iter().enumerate() {
            let given = client.subscribe(format!("bench.peers.{name}")).await.unwrap();
            tokio::spawn(learn(client.clone(), given, Arc::clone(&answers), i));
        }
        Self { client, queue: Arc::new(Mutex::new(queue)), answers, lanes: JoinSet::new() }
    }

    pub(crate) fn stop(&mut self) {
        self.lanes = JoinSet::new();
    }

    /// From now on these lanes answer; each takes so many requests at once.
    pub(crate) fn serve(&mut self, lanes: Vec<Lane>, pipeline: usize) {
        for lane in lanes {
            let (client, queue) = (self.client.clone(), Arc::clone(&self.queue));
            self.lanes.spawn(answer(lane, pipeline, client, queue, Arc::clone(&self.answers)));
        }
    }
}

async fn take(mut requests: Subscriber, taken: mpsc::UnboundedSender<Message>) {
    while let Some(message) = requests.next().await {
        taken.send(message).unwrap();
    }
}

async fn learn(client: Client, mut given: Subscriber, answers: Arc<[Mutex<Bytes>; 2]>, i: usize) {
    while let Some(message) = given.next().await {
        *answers[i].lock().await = message.payload;
        client.publish(message.reply.unwrap(), Bytes::new()).await.unwrap();
    }
}

async fn answer(
    mut lane: Lane,
    pipeline: usize,
    client: Client,
    queue: Queue,
    answers: Arc<[Mutex<Bytes>; 2]>,
) {
    let granted = answers[0].lock().await.clone();
    let rejected = answers[1].lock().await.clone();
    let mut messages = Vec::with_capacity(pipeline);
    loop {
        if queue.lock().await.recv_many(&mut messages, pipeline).await == 0 {
            return;
        }
        let requests: Vec<Request> =
            messages.iter().map(|message| read(&message.payload)).collect();
        let booked = lane.book(&requests).await;
        for ((message, request), is_granted) in messages.drain(..).zip(&requests).zip(booked) {
            let mut answer = if is_granted { &granted } else { &rejected }.to_vec();
            answer[ID_AT..ID_AT + request.id.len()].copy_from_slice(request.id.as_bytes());
            client.publish(message.reply.unwrap(), answer.into()).await.unwrap();
        }
    }
}

/// The one request of a message, checked as the engine checks it.
fn read(payload: &[u8]) -> Request {
    let Payload::Many(_, requests) = request::read::<Book<'_>>(payload).unwrap() else {
        panic!("not in the binary form")
    };
    let book = requests.into_iter().next().unwrap().unwrap();
    let choice = &book.choices[0];
    let slot = match (choice.office.rsplit_once('-'), choice.date) {
        (Some(("office", n)), Some(date)) => {
            n.parse::<usize>().unwrap() * DAYS + day(&date.to_string()) - 1
        }
        _ => HOT,
    };
    Request { id: book.request_id.to_string(), applicant: book.applicants[0].to_string(), slot }
}

/// Of a date as `2030-01-07`.
fn day(date: &str) -> usize {
    date[8..].parse().unwrap()
}

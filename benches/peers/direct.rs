//! A peer as an application uses it: over its own connections, with nothing between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use giliran_loadgen::open_loop::{Latencies, Pace};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::job::{Lane, Request};

/// Lanes, and what they are to send: the connecting and the making are not measured.
pub(crate) struct Ready {
    lanes: Vec<Lane>,
    pipeline: usize,
    requests: Arc<Vec<Request>>,
}

impl Ready {
    pub(crate) fn new(
        lanes: Vec<Lane>,
        pipeline: usize,
        requests: u64,
        first: u64,
        hot: bool,
    ) -> Self {
        let requests = (first..first + requests).map(|n| Request::new(n, hot)).collect();
        Self { lanes, pipeline, requests: Arc::new(requests) }
    }

    /// Each lane sends so many at once and waits for their answers, until all are sent.
    pub(crate) async fn closed_loop(self) -> Value {
        let Self { lanes, pipeline, requests } = self;
        let next = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        let since = Instant::now();
        for mut lane in lanes {
            let (all, next) = (Arc::clone(&requests), Arc::clone(&next));
            running.spawn(async move {
                let mut granted = 0;
                loop {
                    // Relaxed: it only tells numbers apart.
                    let from = next.fetch_add(pipeline as u64, Ordering::Relaxed) as usize;
                    let Some(rest) = all.get(from..).filter(|rest| !rest.is_empty()) else {
                        return granted;
                    };
                    let answers = lane.book(&rest[..pipeline.min(rest.len())]).await;
                    granted += answers.iter().filter(|granted| **granted).count() as u64;
                }
            });
        }
        let granted: u64 = running.join_all().await.into_iter().sum();
        json!({ "took_s": since.elapsed().as_secs_f64(), "granted": granted })
    }
}

/// Requests come when they are due, and wait for a lane that is free.
pub(crate) async fn open_loop(lanes: Vec<Lane>, requests: u64, first: u64, per_s: u32) -> Value {
    let (due, waiting) = mpsc::unbounded_channel::<u64>();
    let waiting = Arc::new(Mutex::new(waiting));
    let pace = Pace::begin(per_s);
    let mut running = JoinSet::new();
    for mut lane in lanes {
        let waiting = Arc::clone(&waiting);
        running.spawn(async move {
            let (mut latencies, mut granted) = (Latencies::default(), 0_u64);
            loop {
                let next = waiting.lock().await.recv().await;
                let Some(n) = next else { return (latencies, granted) };
                let answers = lane.book(&[Request::new(first + n, false)]).await;
                latencies.record(pace.since_due(n));
                granted += u64::from(answers == [true]);
            }
        });
    }
    let send = async |n| due.send(n).map_err(std::io::Error::other).map_err(Into::into);
    pace.each(requests, send).await.unwrap();
    drop(due);
    let (mut all, mut granted) = (Latencies::default(), 0);
    for (latencies, some) in running.join_all().await {
        all.add(&latencies);
        granted += some;
    }
    json!({ "latencies": all.summary(), "granted": granted })
}

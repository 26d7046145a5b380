//! Row H1: bookings over HTTP/1.1 connections that are kept, through a gateway, beside a handler
//! that answers the same bytes.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use giliran_loadgen::http_loop::{Answer, Connection, HttpLoop};
use giliran_wire::request::{Book, Choice};
use serde_json::json;
use tokio::process::Command;

use super::super::super::{Args, requests};
use super::super::processes::{Process, Used};
use super::super::report::{BUSY_LOAD, Bound, Figure, Pass, median};
use super::super::rig::{Ground, Rig, to_pass};
use super::{OPENING, Serving};
use crate::failure::Failure;

/// Connections, each with one request on its way.
const CONNECTIONS: usize = 256;
/// Requests of a pass.
const REQUESTS: f64 = 150_000.0;
/// Of the answers' bodies, one in so many is read; of each the status is checked.
const READ_ONE_IN: usize = 16;
/// What the gateway is to reach of the bare handler.
const AT_LEAST: f64 = 0.5;

/// What is asked for, and what is right.
struct Row {
    name: &'static str,
    what: &'static str,
    status: u16,
    /// Stands in the body.
    says: &'static str,
    choice: fn(u64) -> Choice<'static>,
}

const ROWS: [Row; 2] = [
    Row {
        name: "grants",
        what: "durable grants over HTTP",
        status: 201,
        says: r#""outcome":"granted""#,
        choice: requests::slot,
    },
    Row {
        name: "sold out",
        what: "sold out over HTTP",
        status: 409,
        says: r#""reason":"sold_out""#,
        choice: |_| requests::at("full"),
    },
];
/// What stands behind a row's name.
const BY: [&str; 2] = ["gateway", "bare"];

/// Bytes of a request and of its answer.
#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    request: usize,
    answer: usize,
}

pub(in super::super) async fn measure(
    args: &Args,
    folder: &Path,
) -> Result<(Vec<Figure>, Vec<Pass>), Failure> {
    let (mut passes, mut sizes) = (Vec::new(), [Sizes::default(); ROWS.len()]);
    for pass in 0..args.passes as usize {
        let folder = folder.join("over-http");
        std::fs::create_dir(&folder)?;
        let mut rig = Rig::start(&Ground::of(args), &folder).await?;
        let gateway = Serving::gateway(&rig).await?;
        for turn in 0..ROWS.len() {
            let at = (pass + turn) % ROWS.len();
            let row = &ROWS[at];
            let bare = bare(row, &mut rig, &gateway, &folder).await?;
            sizes[at] = bare.1;
            let mut both = [&gateway, &bare.0];
            both.rotate_left(pass % BY.len());
            for serving in both {
                eprintln!(
                    "H1: pass {} of {}: {}, {} …",
                    pass + 1,
                    args.passes,
                    row.name,
                    serving.what
                );
                passes.push(one_pass(row, &mut rig, serving, args.scale).await?);
            }
        }
        drop(gateway);
        rig.stop().await?;
        std::fs::remove_dir_all(&folder)?;
    }
    let figures = ROWS.iter().zip(sizes).filter_map(|(row, sizes)| figure(row, sizes, &passes));
    Ok((figures.collect(), passes))
}

fn name(row: &Row, by: &str) -> String {
    format!("H1 {}, {by}", row.name)
}

/// The handler that answers what the gateway answers to one request of the row.
async fn bare(
    row: &Row,
    rig: &mut Rig,
    gateway: &Serving,
    folder: &Path,
) -> Result<(Serving, Sizes), Failure> {
    let ask = async |address, n| {
        let request = request(row, address, n);
        let mut connection = Connection::open(address).await?;
        let answer = connection.exchange(&request).await?;
        if !is_right(row, 0, &answer) {
            let said = String::from_utf8_lossy(answer.body);
            return Err(Failure::Wrong(format!("H1: {} answers {said}", answer.status)));
        }
        Ok((request.len(), [answer.head, answer.body].concat()))
    };
    let (_, answer) = ask(gateway.address, rig.take_people(1)).await?;
    let file = folder.join(format!("{}.http", row.name.replace(' ', "-")));
    std::fs::write(&file, &answer)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "--answer"]).arg(&file);
    let bare = Serving::start("bare", command).await?;
    let (request, again) = ask(bare.address, rig.take_people(1)).await?;
    if again.len() != answer.len() {
        return Err(Failure::Wrong(format!(
            "H1: bare answers {} bytes, the gateway {}",
            again.len(),
            answer.len()
        )));
    }
    Ok((bare, Sizes { request, answer: answer.len() }))
}

async fn one_pass(
    row: &Row,
    rig: &mut Rig,
    serving: &Serving,
    scale: f64,
) -> Result<Pass, Failure> {
    let count = ((REQUESTS * scale) as u64).max(1);
    let first = rig.take_people(count);
    let requests: Vec<Bytes> =
        (first..first + count).map(|n| request(row, serving.address, n)).collect();
    let mut load = HttpLoop::open(serving.address, CONNECTIONS.min(requests.len())).await?;
    let mut processes: Vec<Process> = rig.processes.clone();
    processes.extend(serving.process());
    let book = rig.bookings();
    let before = Used::now(&processes);
    let (status, says) = (row.status, row.says);
    let done = load.run(requests, move |n, answer| answers(status, says, n, answer)).await?;
    let pass = to_pass(&before, &processes, &name(row, serving.what), count, done.took);
    Ok(Pass { others: done.others, book, ..pass })
}

/// A booking as it goes over the connection.
fn request(row: &Row, address: SocketAddr, n: u64) -> Bytes {
    let Book { request_id, applicants, choices, channel, .. } = requests::book(n, (row.choice)(n));
    let body = json!({ "applicants": applicants, "choices": choices, "channel": channel });
    let body = body.to_string();
    let head = format!(
        "POST {OPENING}/bookings HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         idempotency-key: {request_id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into()
}

fn is_right(row: &Row, n: usize, answer: &Answer<'_>) -> bool {
    answers(row.status, row.says, n, answer)
}

/// Whether an answer has this status, and where it is read says this.
fn answers(status: u16, says: &str, n: usize, answer: &Answer<'_>) -> bool {
    answer.status == status
        && (!n.is_multiple_of(READ_ONE_IN)
            || answer.body.windows(says.len()).any(|part| part == says.as_bytes()))
}

fn figure(row: &Row, sizes: Sizes, passes: &[Pass]) -> Option<Figure> {
    let of = |by: &str| {
        let name = name(row, by);
        passes.iter().filter(move |pass| pass.row == name)
    };
    let rate = |by: &str| median(of(by).map(|pass| pass.per_s));
    let [gateway, bare] = BY;
    let beside = BY.map(|by| shown(by, &of(by).collect::<Vec<_>>()));
    Some(Figure {
        row: "H1".to_owned(),
        what: row.what.to_owned(),
        value: rate(gateway)? / rate(bare)?,
        unit: "× bare".to_owned(),
        goal: Some(Bound::AtLeast(AT_LEAST)),
        beside: format!(
            "{}; request {} bytes, answer {}, {CONNECTIONS} connections",
            beside.join("; "),
            sizes.request,
            sizes.answer
        ),
    })
}

/// Rate, spread and processor time of the passes by one of both.
fn shown(by: &str, passes: &[&Pass]) -> String {
    let of = |pick: fn(&Pass) -> f64| passes.iter().map(move |pass| pick(pass));
    let middle = |pick: fn(&Pass) -> f64| median(of(pick)).unwrap_or(f64::NAN);
    let least = of(|pass| pass.per_s).fold(f64::INFINITY, f64::min) / 1e3;
    let most = of(|pass| pass.per_s).fold(0.0, f64::max) / 1e3;
    let processes = passes.first().map(|pass| pass.cpu_us.keys()).into_iter().flatten();
    let cpu = processes.filter_map(|who| {
        let us = median(passes.iter().filter_map(|pass| pass.cpu_us.get(who).copied()))?;
        (us >= 0.05).then(|| format!("{who} {us:.1}"))
    });
    let cpu = cpu.collect::<Vec<_>>().join(" ");
    let others: u64 = passes.iter().map(|pass| pass.others).sum();
    let load = middle(|pass| pass.load);
    let mut shown = format!(
        "{by} {:.1} k/s ({least:.1}–{most:.1}), µs: {cpu}, idle {:.0} %",
        middle(|pass| pass.per_s) / 1e3,
        middle(|pass| pass.idle) * 100.0
    );
    if others > 0 {
        shown += &format!(", {others} other answers");
    }
    if load > BUSY_LOAD {
        shown += &format!(", VOID: the load used {load:.2} of a core");
    }
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_that_a_gateway_reads() {
        let request = request(&ROWS[0], "127.0.0.1:80".parse().unwrap(), 7);
        let text = std::str::from_utf8(&request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v1/openings/bench/bookings HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nidempotency-key: bench-0000000007\r\n"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["choices"][0]["office"], "office-7");
    }

    #[test]
    fn an_answer_is_right_by_its_status_and_now_and_then_by_its_words() {
        let of = |status, body: &str, n| {
            let answer = Answer { status, head: b"", body: body.as_bytes() };
            is_right(&ROWS[0], n, &answer)
        };
        assert!(of(201, r#"{"outcome":"granted"}"#, 0) && of(201, "", 1));
        assert!(!of(200, r#"{"outcome":"granted"}"#, 0) && !of(201, "", 16));
    }
}

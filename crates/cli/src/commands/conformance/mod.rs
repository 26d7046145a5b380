//! `giliran conformance`: whether somebody's own client does what the wire protocol asks of it.
//!
//! The client is a command that takes a line and answers with a line; `docs/conformance` says
//! which. Its bytes are held against the samples and the engine's own reader (`formats`), and it
//! books at real engines (`stage`) through a relay that loses, refuses and adds (`relay`, `live`).

mod bytes;
mod cast;
mod client;
mod formats;
mod live;
mod relay;
mod stage;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use giliran_wire::subject::Namespace;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::cast::{Cast, Via, own_namespace};
use self::client::{ClientProcess, Ended, is_there};
use self::formats::As;
use self::relay::Relay;
use self::stage::Stage;
use crate::daemons::until_asked;
use crate::failure::Failure;

/// Live cases at once: most of them wait.
const AT_ONCE: usize = 8;
/// The prefix of the first part.
const PREFIX: &str = "giliran.v1";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran conformance -- python3 conformance.py\n  \
    giliran conformance --http -- ./my-client\n  \
    giliran conformance --only lost_answer -- ./my-client\n  \
    giliran conformance --list\n\n\
    docs/conformance/README.md says which lines the client takes. Needs a nats-server on PATH or \
    in GILIRAN_NATS_SERVER; nothing is left running.\n\n\
    Exit codes: 0 every case that the client can do passed, 1 some failed or it can do none, 2 \
    usage.")]
pub(crate) struct Args {
    /// The cases whose name contains this; several may be given.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// The client speaks HTTP: each live case gets a gateway, at GILIRAN_URL.
    #[arg(long)]
    http: bool,
    /// Print the cases, and what each is about.
    #[arg(long)]
    list: bool,
    /// Print the verdicts as JSON, a line each.
    #[arg(long)]
    json: bool,
    /// The client, and its arguments.
    #[arg(last = true, required_unless_present = "list", value_name = "CLIENT")]
    command: Vec<OsString>,
}

/// A case, and how it ended.
struct Verdict {
    name: String,
    ended: Result<(), Ended>,
    /// What was said both ways, where it failed.
    story: String,
}

/// A case of the first part.
enum Bytes {
    Write(formats::Sample, As),
    Read(formats::Sample, As),
    Fold,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|o| name.contains(o));
    let bytes: Vec<(String, Bytes)> =
        byte_cases().into_iter().filter(|(name, _)| wanted(name)).collect();
    let live: Vec<live::Case> =
        live::CASES.into_iter().filter(|(name, _)| wanted(&live_name(name))).collect();
    if args.list {
        for (name, _) in &bytes {
            outln!("{name}");
        }
        for (name, about) in &live {
            outln!("{:<40} {about}", live_name(name));
        }
        return Ok(());
    }
    if bytes.is_empty() && live.is_empty() {
        let only = args.only.join(", ");
        return Err(Failure::Usage(format!("--only {only}: no case is called so; see --list")));
    }
    let program = Path::new(args.command.first().map_or(OsStr::new(""), OsString::as_os_str));
    if !is_there(program) {
        let named = program.display();
        return Err(Failure::Usage(format!("{named}: no such program, here or on PATH")));
    }
    let shutdown = until_asked();
    let played = async {
        let mut verdicts = play_bytes(&args.command, bytes).await;
        if !live.is_empty() {
            verdicts.extend(play_live(&args, live).await?);
        }
        Ok::<_, Failure>(verdicts)
    };
    let verdicts = tokio::select! {
        verdicts = Box::pin(played) => verdicts?,
        () = shutdown.cancelled() => return Err(Failure::Wrong("interrupted".to_owned())),
    };
    tell(&verdicts, args.json)
}

fn live_name(name: &str) -> String {
    format!("live/{name}")
}

fn byte_cases() -> Vec<(String, Bytes)> {
    let mut cases = Vec::new();
    for sample in formats::requests() {
        for form in [As::Json, As::Binary] {
            if form == As::Json || sample.binary.is_some() {
                let name = format!("write/{}/{}", sample.name, form.name());
                cases.push((name, Bytes::Write(sample.clone(), form)));
            }
        }
    }
    for sample in formats::answers() {
        for form in [As::Json, As::JsonOfTomorrow, As::Binary] {
            if form != As::Binary || sample.binary.is_some() {
                let name = format!("read/{}/{}", sample.name, form.name());
                cases.push((name, Bytes::Read(sample.clone(), form)));
            }
        }
    }
    cases.push(("fold/events".to_owned(), Bytes::Fold));
    cases
}

/// One client for all of them; a case that it does not survive gets the next one a new one.
async fn play_bytes(command: &[OsString], cases: Vec<(String, Bytes)>) -> Vec<Verdict> {
    let prefix = Namespace::new(PREFIX).unwrap_or_default();
    let mut client = None;
    let mut verdicts = Vec::new();
    for (name, case) in cases {
        let fresh = || ClientProcess::start(command, &[("GILIRAN_PREFIX", PREFIX)]);
        let mut current = match client.take().map_or_else(fresh, Ok) {
            Ok(current) => current,
            Err(ended) => {
                verdicts.push(Verdict { name, ended: Err(ended), story: String::new() });
                break;
            }
        };
        let ended = match &case {
            Bytes::Write(sample, form) => {
                formats::writes(&mut current, &prefix, sample, *form).await
            }
            Bytes::Read(sample, form) => formats::reads(&mut current, sample, *form).await,
            Bytes::Fold => formats::folds(&mut current).await,
        };
        let story = match &ended {
            Err(Ended::Failed(_)) => current.last_exchange(),
            _ => String::new(),
        };
        if story.is_empty() {
            client = Some(current);
        } else {
            current.end().await;
        }
        verdicts.push(Verdict { name, ended, story });
    }
    if let Some(client) = client {
        client.end().await;
    }
    verdicts
}

/// Each case with a client of its own, some at once.
async fn play_live(args: &Args, cases: Vec<live::Case>) -> Result<Vec<Verdict>, Failure> {
    let stage = Arc::new(Stage::start().await?);
    let via = if args.http { Via::Http } else { Via::Nats };
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut playing = JoinSet::new();
    for (n, (name, _)) in cases.into_iter().enumerate() {
        let place = Arc::clone(&places).acquire_owned().await;
        let (stage, command) = (Arc::clone(&stage), args.command.clone());
        playing.spawn(async move {
            let _place = place;
            (n, Box::pin(play_one(&stage, &command, via, name)).await)
        });
    }
    let mut verdicts = playing.join_all().await;
    verdicts.sort_by_key(|(n, _)| *n);
    if let Some(stage) = Arc::into_inner(stage) {
        stage.end().await;
    }
    Ok(verdicts.into_iter().map(|(_, verdict)| verdict).collect())
}

async fn play_one(stage: &Stage, command: &[OsString], via: Via, name: &'static str) -> Verdict {
    let (ground, detours) = (live::ground(name), live::detours(name));
    let cast = Cast::of(stage, command, via, name, ground, detours).await;
    let (ended, story) = match cast {
        Err(ended) => (Err(ended), String::new()),
        Ok(mut cast) => {
            let ended = if name == "nobody_there" {
                let (own, engine) = (own_namespace(name), ground.namespace());
                // Nobody is there any more.
                cast.relay = None;
                let begin = Relay::start(&stage.client, &engine, &own, live::detours(name));
                live::nobody_there(&mut cast, begin).await
            } else {
                live::play(name, stage, &mut cast).await
            };
            let story = if matches!(ended, Err(Ended::Failed(_))) {
                cast.client.story()
            } else {
                String::new()
            };
            cast.client.end().await;
            (ended, story)
        }
    };
    Verdict { name: live_name(name), ended, story }
}

/// Prints the verdicts, and fails where one of them does.
fn tell(verdicts: &[Verdict], as_json: bool) -> Result<(), Failure> {
    let (mut passed, mut failed, mut left_out) = (0, 0, 0);
    for Verdict { name, ended, story } in verdicts {
        let (word, why) = match ended {
            Ok(()) => ("passed", ""),
            Err(Ended::LeftOut(why)) => ("LEFT OUT", why.as_str()),
            Err(Ended::Failed(why)) => ("FAILED", why.as_str()),
        };
        match word {
            "passed" => passed += 1,
            "FAILED" => failed += 1,
            _ => left_out += 1,
        }
        if as_json {
            let why = (!why.is_empty()).then_some(why);
            outln!("{}", json!({ "case": name, "verdict": word, "why": why }));
        } else {
            outln!("{}", format!("{word:<8}  {name:<48} {why}").trim_end());
            if !story.is_empty() {
                outln!("{}", story.trim_end());
            }
        }
    }
    let summary = format!("{passed} passed, {failed} failed, {left_out} left out");
    if !as_json {
        outln!("\n{summary}");
    }
    match (passed, failed) {
        (0, 0) => Err(Failure::Wrong("the client can do none of this".to_owned())),
        (_, 0) => Ok(()),
        _ => Err(Failure::Wrong(format!("the client does not conform: {summary}"))),
    }
}

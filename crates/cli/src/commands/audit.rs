//! `giliran audit`.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use giliran_audit::{self as audit, Check, Facts, Sources, Verdict};
use giliran_nats::ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_persist::StoreUrl;
use giliran_wire::client_log;
use giliran_wire::subject::Namespace;
use serde_json::json;

use crate::connect::{Streams, namespace};
use crate::failure::Failure;
use crate::key_file;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran audit --store sqlite:giliran-data/bookings.sqlite\n  \
    giliran audit --store postgres://giliran@db/giliran --client-log clients.jsonl --key applicant.key\n\n\
    Exit code 0: every promise that could be checked holds. 1: one does not; a list says where.")]
pub(crate) struct Args {
    #[command(flatten)]
    nats: Streams,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// A store to hold against the ledger; may be repeated.
    #[arg(long = "store", env = "GILIRAN_STORE", value_name = "URL", hide_env_values = true)]
    stores: Vec<StoreUrl>,
    /// What clients saw, one JSON object a line; may be repeated where the
    /// clients share a clock.
    #[arg(long = "client-log", value_name = "FILE")]
    client_logs: Vec<PathBuf>,
    /// The applicant key, to recognise the log's applicants in the ledger.
    #[arg(long, env = "GILIRAN_KEY_FILE", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where `giliran archive` has put generations whose streams are gone.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let namespace = namespace(&args.subject_prefix)?;
    let mut log = (!args.client_logs.is_empty()).then(Vec::new);
    for file in &args.client_logs {
        let attempts = File::open(file)
            .and_then(|log| client_log::read(BufReader::new(log), &file.display().to_string()))
            .map_err(|e| Failure::Usage(format!("--client-log {}: {e}", file.display())))?;
        log.get_or_insert_default().extend(attempts);
    }
    let key = args.key.as_deref().map(key_file::read).transpose()?;
    let context = args.nats.connect("giliran audit").await?;
    let ledger = ledger::open_in(&context, &namespace).await?;
    let archive = args.archive.map(Archive::new);
    let sources = Sources { stores: args.stores, log, key, archive };
    let (facts, checks) = audit::run(&context, &namespace, &ledger, sources).await?;
    if args.json {
        outln!("{:#}", as_json(&facts, &checks));
    } else {
        outln!("{}", table(&facts, &checks).trim_end());
    }
    let broken = broken(&checks);
    if broken == 0 {
        Ok(())
    } else {
        Err(Failure::Wrong(format!("audit: {broken} of {} checks are broken", checks.len())))
    }
}

/// How many checks found something wrong.
pub(crate) fn broken(checks: &[Check]) -> usize {
    checks.iter().filter(|check| matches!(check.verdict, Verdict::Broken(..))).count()
}

/// The checks for people.
pub(crate) fn table(facts: &Facts, checks: &[Check]) -> String {
    let mut text = format!(
        "ledger {}: {} blocks, {} bookings, {} blocks of deposed writers and {} foreign messages \
         skipped\n",
        facts.ledger(),
        facts.blocks(),
        facts.bookings(),
        facts.voids(),
        facts.foreign()
    );
    if let Some(doubt) = facts.doubt() {
        text.push_str(&format!(
            "  its end has {doubt}; the next block of an engine makes them void\n"
        ));
    }
    let mut sorted: Vec<&Check> = checks.iter().collect();
    let number = |check: &Check| check.promise.trim_start_matches('P').parse().unwrap_or(99);
    sorted.sort_by_key(|check| number(check));
    for check in sorted {
        let verdict = match &check.verdict {
            Verdict::Holds(n) => format!("holds        {:<66} {n:>9} looked at", check.what),
            Verdict::Broken(_, n) => format!("BROKEN       {:<66} {n:>9} times", check.what),
            Verdict::NotChecked(why) => format!("not checked  {}: {why}", check.what),
        };
        text.push_str(&format!("  {:<7} {verdict}\n", check.promise));
        if let Verdict::Broken(examples, _) = &check.verdict {
            for example in examples {
                text.push_str(&format!("            {example}\n"));
            }
        }
    }
    text
}

fn as_json(facts: &Facts, checks: &[Check]) -> serde_json::Value {
    let checks: Vec<_> = checks
        .iter()
        .map(|check| {
            let (verdict, detail) = match &check.verdict {
                Verdict::Holds(n) => ("holds", json!({ "looked_at": n })),
                Verdict::Broken(examples, n) => {
                    ("broken", json!({ "times": n, "examples": examples }))
                }
                Verdict::NotChecked(why) => ("not_checked", json!({ "why": why })),
            };
            json!({
                "promise": check.promise, "what": check.what, "verdict": verdict, "detail": detail,
            })
        })
        .collect();
    json!({
        "ledger": facts.ledger().to_string(),
        "blocks": facts.blocks(),
        "bookings": facts.bookings(),
        "void_blocks": facts.voids(),
        "foreign_messages": facts.foreign(),
        "in_doubt": facts.doubt().map(|doubt| doubt.to_string()),
        "checks": checks,
    })
}

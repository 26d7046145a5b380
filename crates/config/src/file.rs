//! Reading the file.

use giliran_drand::Network;
use giliran_wire::subject::Namespace;
use giliran_wire::{Digest, Timestamp, unhex};
use toml::de::DeTable;

use crate::applicant_pattern::ApplicantPattern;
use crate::config::Config;
use crate::problems::{self, Problems, Report, Section};
use crate::{offices, openings, rules};

/// Blocks of a generation where none are given: a long one is read in some
/// seconds.
const GENERATION_BLOCKS: u64 = 100_000;
/// Fewer would roll all the time.
const MIN_GENERATION_BLOCKS: i64 = 100;
/// Where reply subjects may lie where nothing is given: inboxes of clients, and what
/// a service import of the broker puts in their place.
const REPLY_PREFIXES: [&str; 2] = ["_INBOX.", "_R_."];

/// Reads a configuration; `file` is what problems call it.
///
/// # Errors
///
/// Every problem found.
pub fn parse(text: &str, file: &str) -> Result<Config, Problems> {
    let (config, warnings) = problems::parse(text, file, read)?;
    Ok(Config { warnings, digest: Digest::of(text.as_bytes()), ..config })
}

fn read(table: &DeTable<'_>, report: &mut Report<'_>) -> Option<Config> {
    let mut root = Section::new(table, String::new(), 0..0);
    let namespace = match root.text("subject_prefix", report) {
        None => Some(Namespace::default()),
        Some((prefix, span)) => match Namespace::new(prefix) {
            Ok(namespace) => Some(namespace),
            Err(error) => {
                report.add(&span, "subject_prefix", error.to_string());
                None
            }
        },
    };
    let applicant_pattern = root.text("applicant_pattern", report).and_then(|(text, span)| {
        if text.is_empty() {
            report.add(&span, "applicant_pattern", "empty: no id is as it says".into());
        }
        ApplicantPattern::new(text)
            .map_err(|error| {
                report.add(
                    &span,
                    "applicant_pattern",
                    format!("no regular expression over ASCII classes: {error}"),
                );
            })
            .ok()
    });
    let reply_prefixes = reply_prefixes(&mut root, namespace.as_ref(), report);
    let generation_blocks = generation_blocks(&mut root, report);
    let beacon = beacon(&mut root, report);
    let offices = offices::read(&mut root, report);
    let (rules, spans) = rules::read(&mut root, report);
    let (schedule, openings) = openings::read(&mut root, &offices, &rules, report);
    root.finish(report);
    let config = Config {
        namespace: namespace?,
        applicant_pattern,
        reply_prefixes,
        generation_blocks,
        schedule,
        openings,
        rules,
        beacon,
        offices,
        warnings: Vec::new(),
        digest: Digest::of(&[]),
        made_up: false,
    };
    for (id, calendar, opens_at, dates) in config.samples() {
        let opening = (id.as_str(), calendar, opens_at, &dates[..]);
        rules::check_returns(&config.rules, &spans, opening, report);
    }
    rules::warn(&config, &spans, report);
    Some(config)
}

/// Where answers may go. The engine may publish onto the ledger, and a broker may let
/// it answer anywhere: whoever asks chooses the subject, within these.
fn reply_prefixes(
    root: &mut Section<'_>,
    namespace: Option<&Namespace>,
    report: &mut Report<'_>,
) -> Vec<String> {
    let Some((prefixes, span)) = root.texts("reply_prefixes", report) else {
        return REPLY_PREFIXES.map(str::to_owned).to_vec();
    };
    if prefixes.is_empty() {
        report.add(&span, "reply_prefixes", "at least one is needed".into());
    }
    for (prefix, span) in &prefixes {
        if let Some(wrong) = no_inbox(prefix, namespace) {
            report.add(span, "reply_prefixes", format!("{prefix:?}: {wrong}"));
        }
    }
    prefixes.into_iter().map(|(prefix, _)| prefix.to_owned()).collect()
}

/// Why subjects that begin so are not inboxes alone.
fn no_inbox(prefix: &str, namespace: Option<&Namespace>) -> Option<String> {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|c| c.is_ascii_graphic() && c != b'*' && c != b'>')
    };
    let whole = prefix.strip_suffix('.').is_some_and(|words| words.split('.').all(word));
    if !whole {
        let example = "words without wildcards and a dot behind each, as \"_INBOX.gateway.\"";
        return Some(format!("expected {example}; without the dot other subjects begin so too"));
    }
    if prefix.starts_with('$') {
        return Some("subjects of the broker's own begin so, and no inbox".to_owned());
    }
    let own = namespace?.request("");
    (own.starts_with(prefix) || prefix.starts_with(&own))
        .then(|| format!("Giliran's own subjects begin with {own:?}, the ledger's among them"))
}

fn generation_blocks(root: &mut Section<'_>, report: &mut Report<'_>) -> u64 {
    let Some(mut ledger) = root.section("ledger", report) else { return GENERATION_BLOCKS };
    let blocks = ledger.number("generation_blocks", MIN_GENERATION_BLOCKS..=i64::MAX, report);
    ledger.finish(report);
    blocks.map_or(GENERATION_BLOCKS, |blocks| blocks as u64)
}

/// The public values that draws mix in: `network = "quicknet"`, or a network of
/// one's own.
fn beacon(root: &mut Section<'_>, report: &mut Report<'_>) -> Option<Network> {
    let mut section = root.section("beacon", report)?;
    let network = section.text("network", report);
    let key = section.text("key", report);
    let genesis = section.number("genesis", 0..=4_000_000_000, report);
    let period_s = section.number("period_s", 1..=3_600, report);
    let span = section.span().clone();
    section.finish(report);
    match (network, key, genesis, period_s) {
        (Some(("quicknet", _)), None, None, None) => Some(Network::quicknet()),
        (None, Some((key, span)), Some(genesis), Some(period_s)) => {
            let Ok(key) = unhex(key) else {
                let expected = "expected the 192 hexadecimal digits of a key on G2";
                report.add(&span, "beacon.key", expected.to_owned());
                return None;
            };
            let genesis = Timestamp::from_millis(genesis * 1_000);
            let network = Network { key, genesis, period_ms: period_s as u64 * 1_000 };
            if !network.has_a_key() {
                let wrong = "these digits are not a key on G2: no round could ever be checked";
                report.add(&span, "beacon.key", wrong.to_owned());
                return None;
            }
            Some(network)
        }
        _ => {
            let expected = "expected network = \"quicknet\", or key, genesis and period_s";
            report.add(&span, "beacon", expected.to_owned());
            None
        }
    }
}

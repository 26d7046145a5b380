//! `giliran preflight`: whether an opening can begin, as one list.

use std::collections::BTreeMap;
use std::path::PathBuf;

use giliran_config::Config;
use giliran_nats::clock;
use giliran_nats::ledger::archive::Archive;
use giliran_survey::judge::{self, BEFORE, Flight, NOW};
use giliran_wire::ledger::journal::Journal;
use giliran_wire::picture::{Judged, Known, Picture};
use serde_json::Value;

use super::backups::{self, BackupArgs};
use super::record::Record;
use super::{Looker, Looking, shown};
use crate::commands::check::{self, Beside};
use crate::config_file;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran preflight --opening 2026-W49 --config /etc/giliran/giliran.toml \\\n      \
    --nats-monitor http://n1:8222,http://n2:8222,http://n3:8222\n  \
    giliran preflight --opening 2026-W49 --expect engine=3 --expect gateway=2 --waive sync\n\n\
    Each line is green, red, or says that it could not be looked at, which is not green:\n\
    --waive NAME takes such a line on your word. It changes nothing.\n\
    Exit code 0: go. 1: no go.")]
pub(crate) struct PreflightArgs {
    #[command(flatten)]
    looking: Looking,
    /// Id of the opening, as `2026-W49`.
    #[arg(long, value_name = "ID")]
    opening: String,
    /// The engines' configuration file, to hold the record against.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many processes of a role have to answer, as gateway=2; may be repeated. At
    /// first engine=2, persist=1, feed=1.
    #[arg(long, value_name = "ROLE=N", value_parser = expected)]
    expect: Vec<(String, usize)>,
    /// A check that cannot be looked at from here, and for which you answer; may be
    /// repeated. What is red stays red.
    #[arg(long, value_name = "NAME", value_parser = waivable)]
    waive: Vec<String>,
    /// Where `giliran archive` has put generations whose streams are gone.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    #[command(flatten)]
    backups: BackupArgs,
    /// Print it as JSON (docs/schemas/status.json).
    #[arg(long)]
    json: bool,
}

pub(super) fn expected(text: &str) -> Result<(String, usize), String> {
    let roles = ["engine", "persist", "feed", "gateway"];
    let read = text.split_once('=').and_then(|(role, n)| Some((role, n.parse().ok()?)));
    match read {
        Some((role, n)) if roles.contains(&role) => Ok((role.to_owned(), n)),
        _ => Err(format!("a role and how many, as gateway=2; roles are {}", roles.join(", "))),
    }
}

pub(super) fn waivable(text: &str) -> Result<String, String> {
    if NOW.contains(&text) || BEFORE.contains(&text) {
        return Ok(text.to_owned());
    }
    let names = [&NOW[..], &BEFORE[..]].concat().join(", ");
    Err(format!("no such check; there are {names}"))
}

pub(crate) async fn preflight(args: PreflightArgs) -> Result<(), Failure> {
    let mut looker = args.looking.start("giliran preflight").await?;
    looker.limits.least.extend(args.expect.iter().cloned());
    args.backups.limit(&mut looker.limits);
    let before = Before {
        opening: args.opening.clone(),
        config: args.config.clone(),
        archive: args.archive.clone(),
        waived: args.waive.clone(),
        backups: args.backups.paths().to_vec(),
    };
    let judged = Box::pin(before.judge(&looker)).await?;
    if args.json {
        let value: Value = serde_json::to_value(&judged)?;
        outln!("{value:#}");
    } else {
        outln!("{}", shown::list(&judged, shown::in_colour()).trim_end());
    }
    if judged.go { Ok(()) } else { Err(Failure::Logged) }
}

/// An opening that is looked at before it begins.
pub(crate) struct Before {
    pub(crate) opening: String,
    pub(crate) config: Option<PathBuf>,
    pub(crate) archive: Option<PathBuf>,
    pub(crate) waived: Vec<String>,
    /// Backups whose age counts.
    pub(crate) backups: Vec<PathBuf>,
}

impl Before {
    /// Looks at everything; the ledger is read once.
    pub(crate) async fn judge(&self, looker: &Looker) -> Result<Judged, Failure> {
        let config = self.config(looker)?;
        let picture = looker.survey.picture().await;
        let archive = self.archive.clone().map(Archive::new);
        let (streams, namespace) = (&looker.streams, &looker.namespace);
        let read = Record::read(streams, namespace, archive.as_ref(), config.is_some());
        let (beside, unfinished) = match (Box::pin(read).await, &config) {
            (Ok(Record { journal, state }), config) => {
                let beside = config.as_ref().zip(state);
                let beside =
                    beside.map(|(config, state)| check::beside_state(&state, config, clock::now()));
                (beside.map(Ok), Known::Known(cancellations(&journal, &picture)))
            }
            (Err(failure), None) => (None, Known::Unknown(failure.to_string())),
            // Where older generations are gone what is on record is in the newest all the same.
            (Err(failure), Some(config)) => {
                let beside = Box::pin(check::beside(streams, config, clock::now())).await;
                (Some(beside), Known::Unknown(failure.to_string()))
            }
        };
        let paths = self.backups.clone();
        // A disk elsewhere may be slow: it is looked at beside those who serve.
        let backups = tokio::task::spawn_blocking(move || backups::of(&paths)).await;
        let flight = Flight {
            opening: self.opening.clone(),
            compared: self.compared(beside),
            unfinished,
            backups: backups.map_err(|error| Failure::Wrong(error.to_string()))?,
            probes: looker.survey.harmless(&self.opening, closes_at(&picture, &self.opening)).await,
        };
        let (limits, certificates) = (&looker.limits, &looker.certificates);
        let mut checks = judge::preflight(&picture, limits, certificates, &flight);
        let go = judge::verdict(&mut checks, &self.waived);
        Ok(Judged { opening: Some(self.opening.clone()), go, checks, picture })
    }

    /// The engines' file, where one is named; one that cannot be read is a usage error.
    fn config(&self, looker: &Looker) -> Result<Option<Config>, Failure> {
        let Some(file) = &self.config else { return Ok(None) };
        let config = config_file::read(file)?;
        if config.namespace != looker.namespace {
            return Err(Failure::Usage(format!(
                "{}: its subject_prefix is {}, looked at is {}",
                file.display(),
                config.namespace,
                looker.namespace
            )));
        }
        Ok(Some(config))
    }

    /// What of the file is not as on record.
    fn compared(&self, beside: Option<Result<Beside, Failure>>) -> Known<Vec<String>> {
        match beside {
            None => Known::Unknown("no configuration file was named".to_owned()),
            Some(Err(failure)) => Known::Unknown(failure.to_string()),
            Some(Ok(beside)) => {
                let findings = beside.compared.findings.iter();
                let own = findings.filter(|finding| finding.opening == self.opening);
                Known::Known(own.map(ToString::to_string).collect())
            }
        }
    }
}

fn closes_at(picture: &Picture, opening: &str) -> Option<giliran_wire::Timestamp> {
    let openings = &picture.openings.found()?.openings;
    let found = openings.iter().find(|one| one.offers.id == opening);
    found.map(|one| one.offers.closes_at)
}

/// Slots whose bookings an operator has ordered to be cancelled, and that have some still.
fn cancellations(journal: &Journal, picture: &Picture) -> Vec<String> {
    let mut ordered: BTreeMap<(String, [String; 3]), bool> = BTreeMap::new();
    for action in journal.actions() {
        let Some(opening) = &action.opening else { continue };
        for done in action.deeds.iter().filter(|done| ["halt", "resume"].contains(&done.name)) {
            if let Some(slot) = &done.slot {
                ordered.insert((opening.id.clone(), slot.clone()), done.value == "cancel");
            }
        }
    }
    let openings = picture.openings.found().into_iter().flat_map(|openings| &openings.openings);
    let mut unfinished = Vec::new();
    for opening in openings {
        for slot in opening.slots.iter().filter(|slot| slot.halted && slot.places.taken > 0) {
            let place = [slot.office.clone(), slot.date.to_string(), slot.session.clone()];
            let words = place.join(" ");
            if ordered.get(&(opening.offers.id.clone(), place)) == Some(&true) {
                let n = slot.places.taken;
                unfinished.push(format!("{n} places of {words} are still to be cancelled"));
            }
        }
    }
    unfinished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_checks_are_those_that_there_are() {
        assert_eq!(expected("gateway=2"), Ok(("gateway".to_owned(), 2)));
        for wrong in ["gateway", "gateway=", "gateway=-1", "clerk=1", ""] {
            assert!(expected(wrong).is_err(), "{wrong}");
        }
        assert_eq!(waivable("sync"), Ok("sync".to_owned()));
        let refused = waivable("synk");
        assert!(refused.is_err_and(|words| words.contains("sync, disk")));
    }
}

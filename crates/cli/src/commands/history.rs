//! Openings that took place: where they are read from, and
//! `giliran fairness --from-ledger`.

use std::path::{Path, PathBuf};

use giliran_history::{
    Gateway, Metrics, OpeningMeasures, RecordedError, RecordedOpening, gateway_log, report,
};
use giliran_nats::ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_report::{Language, Report};
use giliran_wire::subject::Namespace;

use crate::RELEASE;
use crate::connect::{Streams, namespace};
use crate::failure::Failure;

/// Which opening, and where it is read from.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    #[command(flatten)]
    nats: Streams,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// The opening, by its id.
    #[arg(long, value_name = "ID")]
    pub(crate) opening: Option<String>,
    /// Where `giliran archive` has put generations whose streams are gone.
    #[arg(long, value_name = "DIR")]
    pub(crate) archive: Option<PathBuf>,
}

impl Source {
    /// The opening's story, from the ledger up to a sequence.
    pub(crate) async fn read(&self, until: u64) -> Result<RecordedOpening, Failure> {
        let opening = self
            .opening
            .as_deref()
            .ok_or_else(|| Failure::Usage("which opening? name it: --opening ID".to_owned()))?;
        Box::pin(self.read_opening(opening, until)).await?.map_err(|error| match error {
            RecordedError::Unknown(..) => Failure::Usage(format!("--opening {opening}: {error}")),
            error => error.into(),
        })
    }

    /// The story of the opening of this id, if the ledger has it.
    pub(crate) async fn read_opening(
        &self,
        opening: &str,
        until: u64,
    ) -> Result<Result<RecordedOpening, RecordedError>, Failure> {
        if let Some(folder) = self.archive.as_deref().filter(|folder| !folder.is_dir()) {
            let what = format!("--archive {}: this folder does not exist", folder.display());
            return Err(Failure::Usage(what));
        }
        let namespace = namespace(&self.subject_prefix)?;
        let context = self.nats.connect("giliran recorded").await?;
        let ledger = ledger::open_in(&context, &namespace).await?;
        let archive = self.archive.clone().map(Archive::new);
        Ok(Box::pin(RecordedOpening::until(&ledger, archive.as_ref(), opening, until)).await)
    }
}

/// A gateway's log, held against the opening.
pub(crate) fn gateway(
    file: Option<&Path>,
    recorded: &RecordedOpening,
) -> Result<Option<Gateway>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let usage = |what: String| Failure::Usage(format!("--gateway-log {}: {what}", file.display()));
    let lines = gateway_log::read(file).map_err(|e| usage(e.to_string()))?;
    Gateway::of(lines, recorded).map(Some).map_err(|e| usage(e.to_string()))
}

/// The engines' metrics pages, added up.
fn metrics(files: &[PathBuf]) -> Result<Option<Metrics>, Failure> {
    let mut metrics = Metrics::default();
    for file in files {
        let usage = |what: giliran_history::MetricsError| {
            Failure::Usage(format!("--metrics {}: {what}", file.display()))
        };
        metrics.add(file).map_err(usage)?;
    }
    Ok(Some(metrics).filter(|_| !files.is_empty()))
}

/// Where a report goes.
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    pub(crate) csv: Option<&'a Path>,
    pub(crate) json: Option<&'a Path>,
    pub(crate) html: Option<&'a Path>,
    pub(crate) pictures: Option<&'a Path>,
}

impl Outputs<'_> {
    /// Tries it: a report that cannot be written is found before it is made.
    pub(crate) fn can_be_written(&self) -> Result<(), Failure> {
        for (name, folder) in [("--csv", self.csv), ("--pictures", self.pictures)] {
            let Some(folder) = folder else { continue };
            let tried =
                std::fs::create_dir_all(folder).and_then(|()| folder_can_be_written(folder));
            tried.map_err(|e| unwritable(name, folder, &e))?;
        }
        for (name, file) in [("--json", self.json), ("--html", self.html)] {
            if let Some(file) = file {
                can_be_written(name, file)?;
            }
        }
        Ok(())
    }

    /// Writes what was asked for. Pictures say by which command they were made: no more of
    /// it than that, since an address may hold a password.
    pub(crate) fn write(&self, report: &Report, command: &str) -> Result<(), Failure> {
        if let Some(folder) = self.csv {
            std::fs::create_dir_all(folder)
                .map_err(|e| Failure::Wrong(format!("cannot make {}: {e}", folder.display())))?;
            for sheet in &report.sheets {
                write(&folder.join(sheet.name), &sheet.text())?;
            }
        }
        if let Some(file) = self.json {
            write(file, &report.json())?;
        }
        if let Some(file) = self.html {
            write(file, &report.html())?;
        }
        if let Some(folder) = self.pictures {
            // The release, and not the commit: the same figures are the same pictures.
            let made_by = format!("giliran {command}, version {RELEASE}");
            for (name, picture) in report.pictures(&made_by) {
                write(&folder.join(name), &picture)?;
            }
        }
        Ok(())
    }
}

fn unwritable(name: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("{name} {}: {error}", path.display()))
}

/// A file can be made in it; none stays.
fn folder_can_be_written(folder: &Path) -> std::io::Result<()> {
    try_to_write(&folder.join(format!(".giliran-{}", std::process::id())))
}

/// Looks whether an option's file can be written, before the work is done that is to
/// stand in it.
pub(crate) fn can_be_written(name: &str, file: &Path) -> Result<(), Failure> {
    try_to_write(file).map_err(|e| unwritable(name, file, &e))
}

/// Opens it for writing; what it holds stays, and what was not there is not there
/// afterwards. Pipes and devices are left alone: whoever reads from one would see
/// its end.
fn try_to_write(file: &Path) -> std::io::Result<()> {
    let before = std::fs::metadata(file);
    if before.as_ref().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Ok(());
    }
    let is_new = std::fs::symlink_metadata(file).is_err();
    std::fs::OpenOptions::new().append(true).create(true).open(file)?;
    if is_new { std::fs::remove_file(file) } else { Ok(()) }
}

/// Reports on a recorded opening: `giliran fairness --from-ledger`.
pub(crate) async fn fairness(
    source: &Source,
    log: Option<&Path>,
    pages: &[PathBuf],
    language: Language,
    outputs: Outputs<'_>,
) -> Result<(), Failure> {
    let metrics = metrics(pages)?;
    let recorded = Box::pin(source.read(u64::MAX)).await?;
    let gateway = gateway(log, &recorded)?;
    let figures = OpeningMeasures::new(&recorded, gateway.as_ref(), metrics.as_ref());
    let report = report::report(&recorded, &figures, language);
    outln!("{}", report.text().trim_end());
    if let Some(gateway) = &gateway {
        covered(gateway);
    }
    outputs.write(&report, &format!("fairness --from-ledger --opening {}", recorded.record.id))?;
    if figures.is_wrong() {
        let opening = &recorded.record.id;
        return Err(Failure::Wrong(format!("opening {opening}: a promise is broken; see above")));
    }
    Ok(())
}

/// What a gateway's log leaves out.
fn covered(gateway: &Gateway) {
    if gateway.elsewhere > 0 {
        outln!("\nThe gateway log has {} lines of other openings; left out.", gateway.elsewhere);
    }
    if gateway.unseen > 0 {
        outln!(
            "\nThe gateway log does not know {} of the bookings: figures that rest on it are of \
             those alone whom it saw.",
            gateway.unseen
        );
    }
}

pub(crate) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|e| Failure::Wrong(format!("cannot write {}: {e}", file.display())))?;
    outln!("written: {}", file.display());
    Ok(())
}

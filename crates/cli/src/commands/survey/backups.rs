//! How old the newest backups are: what was changed last in a file or folder that is named.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use giliran_survey::judge::{Backup, Limits};
use giliran_wire::Timestamp;
use giliran_wire::picture::Known;

/// Most files of a folder that are looked at.
const FILES: usize = 100_000;

/// Where backups are, and how old the newest may be.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BackupArgs {
    /// A backup: a file, or a folder whose newest file counts; may be repeated, as for store and
    /// ledger. Left out, backups are not looked at.
    #[arg(long, value_name = "PATH")]
    backup: Vec<PathBuf>,
    /// How old each of them may be, as 26h.
    #[arg(long, value_name = "TIME", default_value = "26h", value_parser = age)]
    backup_age: Duration,
}

fn age(text: &str) -> Result<Duration, String> {
    let read = text.parse::<jiff::SignedDuration>().ok().and_then(|t| Duration::try_from(t).ok());
    read.filter(|age| !age.is_zero()).ok_or_else(|| "is to be a length of time, as 26h".to_owned())
}

impl BackupArgs {
    /// Puts the age into what is still green.
    pub(super) fn limit(&self, limits: &mut Limits) {
        limits.backup_ms = u64::try_from(self.backup_age.as_millis()).unwrap_or(u64::MAX);
    }

    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.backup
    }
}

/// When each of these was made.
pub(super) fn of(paths: &[PathBuf]) -> Vec<Backup> {
    let one = |path: &PathBuf| {
        let mut looked = 0;
        let made = match newest(path, &mut looked) {
            Ok(Some(made)) => Known::Known(made),
            Ok(None) => Known::Unknown("it holds no file with anything in it".to_owned()),
            Err(why) => Known::Unknown(why),
        };
        Backup { of: path.display().to_string(), made }
    };
    paths.iter().map(one).collect()
}

/// When the newest file here was changed last; none: there is no file with anything in it.
fn newest(path: &Path, looked: &mut usize) -> Result<Option<Timestamp>, String> {
    *looked += 1;
    if *looked > FILES {
        return Err(format!("it holds more than {FILES} files: name the folder of one backup"));
    }
    let found = std::fs::symlink_metadata(path);
    // Whoever names a link means what it leads to; within a folder, links lead elsewhere.
    let found = if *looked == 1 { std::fs::metadata(path) } else { found };
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let found = found.map_err(told)?;
    if found.is_file() && found.len() > 0 {
        return found.modified().map(|at| Some(timestamp(at))).map_err(told);
    }
    let mut latest = None;
    if found.is_dir() {
        for inside in std::fs::read_dir(path).map_err(told)? {
            latest = latest.max(newest(&inside.map_err(told)?.path(), looked)?);
        }
    }
    Ok(latest)
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_newest_file_counts_and_what_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let within = folder.path().join("monday");
        std::fs::create_dir(&within).unwrap();
        let made = |name: &str, text: &str, s: u64| {
            let path = within.join(name);
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().append(true).open(path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(s)).unwrap();
        };
        let found = || of(&[folder.path().to_owned()]).remove(0).made;
        assert!(matches!(found(), Known::Unknown(why) if why.contains("no file")));
        made("old.dump", "x", 1_000);
        made("new.dump", "x", 2_000);
        // A job that broke off leaves one that is newer, and holds nothing.
        made("broken.dump", "", 3_000);
        std::os::unix::fs::symlink("/etc/hostname", within.join("link")).unwrap();
        assert_eq!(found(), Known::Known(Timestamp::from_millis(2_000_000)));
        let missing = of(&[folder.path().join("none")]).remove(0).made;
        assert!(missing.found().is_none(), "{missing:?}");
        assert_eq!(age("26h"), Ok(Duration::from_secs(26 * 3_600)));
        assert!(age("0h").is_err() && age("-1h").is_err() && age("soon").is_err());
    }
}

//! Files that are nobody else's to read.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Mode;

use crate::{Error, ErrorKind};

/// Everybody's rights, and the group's to write: whoever has them is not known.
const ANYBODY: u32 = 0o027;
/// The rights of all but the owner.
const OTHERS: u32 = 0o077;

/// Reads a file that holds a secret, `what` for people.
///
/// A group may read it, so that a service can have it from a secret store.
///
/// # Errors
///
/// Where it cannot be read, or everybody on this machine can: what helps.
pub fn read_secret(file: &Path, what: &str) -> Result<String, Error> {
    if let Some(mode) = mode(file).filter(|mode| mode & ANYBODY != 0) {
        let file = file.display();
        return Err(Error::plain(format!(
            "{what} {file}: others on this machine can read or change it (mode {mode:04o}). \
             `chmod 0600 {file}` takes that away; if somebody may have read it, it is no secret \
             any more"
        ))
        .of_kind(ErrorKind::Unsuitable));
    }
    read(file, what)
}

/// Reads a file that is no secret.
///
/// # Errors
///
/// Where it cannot be read: what helps.
pub fn read(file: &Path, what: &str) -> Result<String, Error> {
    std::fs::read_to_string(file).map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "; is the path right?",
            io::ErrorKind::PermissionDenied => {
                "; the user that this runs as has to be able to read it"
            }
            _ => "",
        };
        Error::plain(format!("{what} {}: {error}{help}", file.display()))
            .of_kind(ErrorKind::Unsuitable)
    })
}

/// From here on, whatever this process and its children make is their user's alone.
pub fn keep_to_oneself() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Says in the log where a file or folder with applicants' pseudonyms in it is open
/// to others. One that is not there is not.
pub fn warn_if_open(path: &Path) {
    if let Some(mode) = mode(path).filter(|mode| mode & OTHERS != 0) {
        let right = if path.is_dir() { "0700" } else { "0600" };
        let path = path.display();
        tracing::warn!(
            "{path}: others on this machine can get at it (mode {mode:04o}); `chmod {right} {path}`"
        );
    }
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|found| found.mode() & 0o7777)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("applicant.key");
        write(&file, "secret").unwrap();
        for mode in [0o644, 0o604, 0o666, 0o620] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let refused = read_secret(&file, "applicant key").unwrap_err().to_string();
            assert!(refused.contains(&format!("mode {mode:04o}")), "{refused}");
            assert!(refused.contains("chmod 0600 "), "{refused}");
        }
        for mode in [0o600, 0o400, 0o440, 0o640] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_secret(&file, "applicant key").unwrap(), "secret", "{mode:o}");
        }
        let missing = read_secret(&folder.path().join("none"), "applicant key").unwrap_err();
        assert!(missing.to_string().contains("is the path right?"), "{missing}");
    }
}

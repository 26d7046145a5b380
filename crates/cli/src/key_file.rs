//! The applicant key's file.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use giliran_nats::private;
use giliran_wire::{ApplicantKey, unhex};

use crate::failure::Failure;

/// Name of the key's file in a data folder.
pub(crate) const FILE: &str = "applicant.key";
/// Name of a key that no ledger is known to be made with yet.
pub(crate) const UNUSED: &str = "applicant.key.unused";

/// Reads a key: 64 hexadecimal digits, white space around them ignored.
pub(crate) fn read(path: &Path) -> Result<ApplicantKey, Failure> {
    let text = private::read_secret(path, "applicant key");
    let text = text.map_err(|error| {
        let missing = !path.exists();
        let named = if missing { " `--key FILE` or GILIRAN_KEY_FILE names it." } else { "" };
        Failure::Usage(format!("{error}{named}"))
    })?;
    let not_hex =
        |_| Failure::Usage(format!("applicant key {}: not 64 hexadecimal digits", path.display()));
    unhex(text.trim()).map(|secret| ApplicantKey::new(&secret)).map_err(not_hex)
}

/// Makes a new key, readable by its owner alone. Fails if the file exists: a key
/// that is lost cannot be had again.
pub(crate) fn make(path: &Path) -> Result<ApplicantKey, Failure> {
    let secret: [u8; 32] = rand::random();
    let write = || {
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", const_hex::encode(secret))?;
        file.sync_all()
    };
    write().map_err(|e| Failure::Wrong(format!("make applicant key {}: {e}", path.display())))?;
    Ok(ApplicantKey::new(&secret))
}

/// Gives the key's file another name, and that for good.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    let rename = || {
        std::fs::rename(from, to)?;
        let folder = to.parent().unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    };
    rename().map_err(|e| Failure::Wrong(format!("rename applicant key {}: {e}", from.display())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_is_told_with_the_option_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read(&folder.path().join("none.key")).unwrap_err().to_string();
        assert!(missing.contains("none.key") && missing.contains("`--key FILE`"), "{missing}");
        make(&folder.path().join(FILE)).unwrap();
        assert!(read(&folder.path().join(FILE)).is_ok());
    }
}

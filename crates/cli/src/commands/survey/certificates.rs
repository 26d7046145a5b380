//! When the certificates end that a login uses.

use std::path::{Path, PathBuf};

use giliran_survey::judge::Certificate;
use giliran_wire::Timestamp;
use giliran_wire::picture::Known;

/// Of each file the certificate that ends first.
pub(crate) fn of(files: &[PathBuf]) -> Vec<Certificate> {
    let one = |file: &PathBuf| {
        let until = match until(file) {
            Ok(until) => Known::Known(until),
            Err(why) => Known::Unknown(why),
        };
        Certificate { of: file.display().to_string(), until }
    };
    files.iter().map(one).collect()
}

fn until(file: &Path) -> Result<Timestamp, String> {
    let pem = std::fs::read(file).map_err(|error| error.to_string())?;
    let chain = x509_cert::Certificate::load_pem_chain(&pem).map_err(|error| error.to_string())?;
    let ends = chain.iter().map(|one| one.tbs_certificate.validity.not_after.to_unix_duration());
    let first = ends.min().ok_or_else(|| "no certificate (PEM) in it".to_owned())?;
    Ok(Timestamp::from_millis(i64::try_from(first.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Valid from 2026-01-01 to 2027-01-01.
    const PEM: &str = include_str!("testdata/certificate.pem");

    #[test]
    fn the_first_end_of_a_file_counts_and_what_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one.pem");
        std::fs::write(&file, PEM).unwrap();
        let expected: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(until(&file), Ok(expected));
        std::fs::write(&file, "nothing").unwrap();
        let found = of(&[file, folder.path().join("missing.pem")]);
        for certificate in found {
            assert!(certificate.until.found().is_none(), "{certificate:?}");
        }
    }
}

//! The account that PostgreSQL runs under where we are root.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::at;
use crate::process::{self, Failure};

/// Accounts to run under when we are root, the most fitting first.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// An unprivileged account of this machine.
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// The account to run under, if we may not run as ourselves.
    pub(super) fn to_run_under() -> Result<Option<Self>, Failure> {
        let own = process::output_of(Command::new("id").arg("-u"))
            .ok_or_else(|| Failure::broken("`id -u` fails"))?;
        if own != "0" {
            return Ok(None);
        }
        let table = fs::read_to_string("/etc/passwd")
            .map_err(|error| at(Path::new("/etc/passwd"), error))?;
        ACCOUNTS.iter().find_map(|name| Self::in_table(&table, name)).map(Some).ok_or_else(|| {
            Failure::Broken(format!(
                "PostgreSQL does not run as root, and none of {ACCOUNTS:?} exists"
            ))
        })
    }

    fn in_table(table: &str, wanted: &str) -> Option<Self> {
        table.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            // The third and fourth field; negative ids (macOS) do not parse and are passed over.
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            (name == wanted && uid != 0).then_some(Self { uid, gid })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_the_table() {
        let table = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\nodd\n";
        let nobody = Account::in_table(table, "nobody").expect("there");
        assert_eq!((nobody.uid, nobody.gid), (65534, 65533));
        assert!(Account::in_table(table, "postgres").is_none());
        assert!(Account::in_table(table, "root").is_none(), "the account must be unprivileged");
    }
}

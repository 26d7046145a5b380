//! An engine's name: what people tell engines apart by, in ledger, lease and log.

use giliran_wire::is_printable;

/// Most bytes of a name.
const MAX_BYTES: usize = 64;
/// What stands for a machine without a name.
const NAMELESS: &str = "engine";
/// What is added to a machine's name: a hyphen and four hexadecimal digits.
const ADDED: usize = 5;

/// A name as it was given: it goes on record.
pub(crate) fn given(text: &str) -> Result<String, String> {
    if (1..=MAX_BYTES).contains(&text.len()) && is_printable(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("1 to {MAX_BYTES} bytes, without control characters"))
    }
}

/// The name of an engine that was given none: its machine's and a random part. The
/// process's id would not do: in containers many processes have the same.
pub(crate) fn by_machine() -> String {
    let uname = rustix::system::uname();
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let machine: String = uname.nodename().to_string_lossy().chars().filter(plain).collect();
    let machine = if machine.is_empty() { NAMELESS } else { &machine };
    let machine = &machine[..machine.len().min(MAX_BYTES - ADDED)];
    format!("{machine}-{:04x}", rand::random::<u16>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn engines_without_a_name_are_told_apart_also_in_one_process() {
        let names: HashSet<String> = (0..8).map(|_| by_machine()).collect();
        assert!(names.len() > 4, "{names:?}");
        for name in names {
            assert_eq!(given(&name).unwrap(), name);
            assert!(name.len() > ADDED && !name.contains(' '), "{name}");
        }
    }

    #[test]
    fn what_goes_on_record_can_be_shown_and_stored() {
        for good in ["engine-a", "Batam 2", "mesin-é"] {
            assert_eq!(given(good).unwrap(), good);
        }
        for bad in ["", "a\u{1b}[2J", "a\nb", "a\u{202e}b", &"x".repeat(65)] {
            assert!(given(bad).unwrap_err().contains("control"), "{bad:?}");
        }
    }
}

//! What the fields of requests may hold, and the words where one does not.

use super::{Choice, MAX_CHOICES, MAX_ID_BYTES, MAX_TEXT_BYTES};
use crate::text::{CharacterClass, is_printable};
use crate::time::OUT_OF_BOUNDS;
use crate::{Text, Timestamp};

/// True for `a-z 0-9 -`, 1..=40: the ids of offices and sessions.
pub fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len()) && CharacterClass::ID.has_all(text.as_bytes())
}

/// True for `A-Z a-z 0-9 -`, 1..=40: the ids of openings (a schedule makes
/// `2026-W49`).
pub fn is_opening_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len()) && CharacterClass::OPENING_ID.has_all(text.as_bytes())
}

pub(super) fn choices(choices: &[Choice<'_>]) -> Result<(), String> {
    count("choices", choices.len(), MAX_CHOICES)?;
    for (i, choice) in choices.iter().enumerate() {
        if !is_id(&choice.office) {
            return Err(id_message(&format!("choices[{i}].office")));
        }
        if choice.session.as_ref().is_some_and(|s| !is_id(s)) {
            return Err(id_message(&format!("choices[{i}].session")));
        }
    }
    Ok(())
}

pub(crate) fn id_message(field: &str) -> String {
    format!("{field}: not an id (1 to {MAX_ID_BYTES} of a-z, 0-9 and -)")
}

pub(crate) fn optional_opening(opening: Option<&Text<'_>>) -> Result<(), String> {
    match opening {
        Some(id) if !is_opening_id(id) => {
            Err(format!("opening: not an id (1 to {MAX_ID_BYTES} of A-Z, a-z, 0-9 and -)"))
        }
        _ => Ok(()),
    }
}

pub(super) fn request_id(id: &str) -> Result<(), String> {
    bytes("request_id", id, MAX_TEXT_BYTES)?;
    if CharacterClass::REQUEST_ID.has_all(id.as_bytes()) {
        Ok(())
    } else {
        Err("request_id: only A-Z, a-z, 0-9, -, _, . and : are allowed".to_owned())
    }
}

pub(crate) fn bytes(field: &str, text: &str, most: usize) -> Result<(), String> {
    if (1..=most).contains(&text.len()) {
        Ok(())
    } else {
        Err(bytes_message(field, text.len(), most))
    }
}

/// What stands in ledger, stores and events can be shown and stored anywhere.
pub(crate) fn printable(field: &str, text: &str) -> Result<(), String> {
    if is_printable(text) {
        Ok(())
    } else {
        Err(format!("{field}: control characters are not allowed"))
    }
}

pub(super) fn printable_ascii(field: &str, text: &str) -> Result<(), String> {
    if CharacterClass::PRINTABLE.has_all(text.as_bytes()) {
        Ok(())
    } else {
        Err(format!("{field}: only printable ASCII is allowed"))
    }
}

/// A time that a client or operator gives.
pub(crate) fn instant(field: &str, instant: Timestamp) -> Result<(), String> {
    if instant.is_within_bounds() { Ok(()) } else { Err(format!("{field}: {OUT_OF_BOUNDS}")) }
}

pub(super) fn bytes_message(field: &str, given: usize, most: usize) -> String {
    if given == 0 {
        format!("{field}: empty, 1 to {most} bytes are allowed")
    } else {
        format!("{field}: {given} bytes given, at most {most}")
    }
}

pub(super) fn count(field: &str, given: usize, most: usize) -> Result<(), String> {
    match given {
        0 => Err(format!("{field}: none given, at least 1 is needed")),
        n if n > most => Err(format!("{field}: {n} given, at most {most}")),
        _ => Ok(()),
    }
}

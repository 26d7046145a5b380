//! The opening that is measured on.

use giliran_nats::clock;

/// Offices of the 500-slot opening; each has ten days.
pub(super) const OFFICES: u32 = 50;
pub(super) const DAYS: u32 = 10;

/// An opening of 500 slots that is open now, with these rules; its offices stand last.
pub(super) fn opening(rules: &str) -> String {
    let now = clock::now();
    let days: Vec<String> = (1..=DAYS).map(|day| format!("\"2030-01-{day:02}\"")).collect();
    let mut text = format!(
        "[[opening]]\nid = \"bench\"\nopens_at = \"{now}\"\ncloses_at = \"{}\"\ndates = [{}]\n{rules}",
        now.plus_millis(86_400_000),
        days.join(", ")
    );
    for office in 0..OFFICES {
        text.push_str(&format!(
            "[[office]]\nid = \"office-{office}\"\nname = \"Office {office}\"\nquota = 65535\n"
        ));
    }
    text
}

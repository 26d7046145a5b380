//! The opening that is measured on.

use giliran_nats::clock;

/// What an opening offers: offices, each on so many days from 2030-01-01 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) offices: u32,
    /// Up to 31.
    pub(super) days: u32,
}

/// The 500 slots.
pub(super) const SLOTS: Slots = Slots { offices: 50, days: 10 };

/// An opening of 500 slots that is open now, with these rules; its offices stand last.
pub(super) fn opening(rules: &str) -> String {
    opening_of(SLOTS, rules)
}

/// An opening of these slots, likewise.
pub(super) fn opening_of(slots: Slots, rules: &str) -> String {
    let now = clock::now();
    let days: Vec<String> = (1..=slots.days).map(|day| format!("\"2030-01-{day:02}\"")).collect();
    let mut text = format!(
        "[[opening]]\nid = \"bench\"\nopens_at = \"{now}\"\ncloses_at = \"{}\"\ndates = [{}]\n{rules}",
        now.plus_millis(86_400_000),
        days.join(", ")
    );
    for office in 0..slots.offices {
        text.push_str(&format!(
            "[[office]]\nid = \"office-{office}\"\nname = \"Office {office}\"\nquota = 65535\n"
        ));
    }
    text
}

//! The fields of a scenario, and what may stand in them.

/// A field that may be given.
pub(super) struct Field {
    /// Its section: `opening`, or `cohorts` for one of them.
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// What may stand in it, as in "is not …".
    pub(super) right: &'static str,
    /// What is put in its place where something else stands in it, so that the
    /// rest can be judged: as TOML, and of a kind that hides nothing.
    pub(super) stand_in: &'static str,
}

const fn field(
    section: &'static str,
    name: &'static str,
    right: &'static str,
    stand_in: &'static str,
) -> Field {
    Field { section, name, right, stand_in }
}

const SHARE: &str = "a number from 0 to 1";
const SHARES: &str = "a list of numbers from 0 on";
const ABOVE: &str = "a number above 0";
const RANGE: &str = "a range as [20, 80], from 0 up to 60000";
const TEXT: &str = "a text in quotes";
const FROM_ONE: &str = "a whole number from 1 on";
const COUNT: &str = "a whole number from 1 to 8000000";

pub(super) const FIELDS: [Field; 53] = [
    field("opening", "window_s", "a number above 0, up to 86400", "900"),
    field("opening", "max_party", "a whole number from 1 to 5", "5"),
    field("opening", "max_per_account", FROM_ONE, "5"),
    field("opening", "hold_s", ABOVE, "900"),
    field("opening", "capacity_per_s", ABOVE, "1000"),
    field("opening", "backlog_ms", "a number from 0 to 600000", "500"),
    field("opening", "commit_ms", "a number from 0 to 60000", "1"),
    field("offices", "count", "a whole number from 1 to 10000", "1"),
    field("offices", "days", "a whole number from 1 to 7", "7"),
    field("offices", "quota", "a list of whole numbers from 1 to 65535", "[1]"),
    field("offices", "zipf", "a number from 0 to 10", "0"),
    field("offices", "ids", "a list of texts in quotes", "[]"),
    field("people", "parties", COUNT, "1"),
    field("people", "families", SHARES, "[1]"),
    field("people", "acceptable_days", SHARES, "[1]"),
    field("people", "second_office", SHARE, "0"),
    field("people", "decay_s", ABOVE, "60"),
    field("people", "early_rate", "a number from 0 to 10", "0.5"),
    field("people", "early_s", "a number from 0 to 3600", "30"),
    field("people", "duplicates", SHARE, "0"),
    field("people", "retries", SHARE, "0"),
    field("people", "retry_after_s", RANGE, "[1, 3]"),
    field("people", "most_tries", "a whole number from 1 to 255", "5"),
    field("people", "patience_s", ABOVE, "10"),
    field("people", "pays", SHARE, "1"),
    field("people", "cancels", SHARE, "0"),
    field("people", "no_show", SHARE, "0"),
    field("cohorts", "name", TEXT, "\"a\""),
    field("cohorts", "share", "a number from 0 on", "1"),
    field("cohorts", "rtt_ms", RANGE, "[20, 80]"),
    field("cohorts", "channel", TEXT, "\"a\""),
    field("cohorts", "device", TEXT, "\"a\""),
    field("cohorts", "lost", SHARE, "0"),
    field("attackers", "name", TEXT, "\"a\""),
    field(
        "attackers",
        "kind",
        "one of \"sprinter\", \"poller\", \"hoarder\", \"recycler\", \"insider\", \"replayer\", \
         \"forger\"",
        "\"sprinter\"",
    ),
    field("attackers", "identities", COUNT, "8000000"),
    field("attackers", "accounts", FROM_ONE, "1"),
    field("attackers", "connections", "a whole number from 0 on", "0"),
    field("attackers", "budget", ABOVE, "1e-9"),
    field("attackers", "identity_price", ABOVE, "1e300"),
    field("attackers", "account_price", ABOVE, "1"),
    field("attackers", "connection_price", ABOVE, "10"),
    field("attackers", "rtt_ms", RANGE, "[1, 5]"),
    field("attackers", "slow_rtt_ms", RANGE, "[20, 80]"),
    field("attackers", "pays", SHARE, "1"),
    field("attackers", "looks_every_s", "a number from 0.05 on", "60"),
    field("attackers", "enters", COUNT, "1"),
    field("attackers", "tries", "a whole number from 1 to 1000000", "1"),
    field("attackers", "requests", COUNT, "1"),
    field("attackers", "valid_ids", SHARE, "1"),
    field("aftermath", "lasts_s", "a number from 0 to 86400", "3600"),
    field("aftermath", "looks", SHARE, "0"),
    field("aftermath", "every_s", ABOVE, "900"),
];

/// What is judged by another field, too: of no use where that one is wrong.
pub(super) const BY_ANOTHER: [(&str, &str); 4] = [
    ("people.families", "opening.max_party"),
    ("people.acceptable_days", "offices.days"),
    ("offices.ids", "offices.count"),
    ("offices.count", "offices.days"),
];

/// The fields of a section.
pub(super) fn of(section: &str) -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(move |field| field.section == section)
}

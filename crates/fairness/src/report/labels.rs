//! Orders, rules of return and groups, as people read them.

use giliran_report::{Language, Text, say, text};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{Order, ReturnRule};

use crate::Arm;
use crate::scenario::named;

/// The order of an arm as files have it: `draw+beacon` where a public value goes into the
/// seed.
pub fn ordered(arm: &Arm) -> String {
    let beacon = if arm.beacon { "+beacon" } else { "" };
    format!("{}{beacon}", arm.order.name())
}

/// An order as a label.
pub fn order_name(order: &Order, beacon: bool, language: Language) -> String {
    match order {
        Order::FirstCome => say!(language, "first come, first served" | "siapa cepat dia dapat"),
        Order::Rounds { length_ms } => {
            let seconds = language.written(&(*length_ms as f64 / 1e3).to_string());
            say!(language, "rounds of {seconds} s" | "putaran {seconds} detik")
        }
        Order::Draw if beacon => {
            say!(language, "draw with a public value" | "undian dengan nilai publik")
        }
        Order::Draw => say!(language, "draw" | "undian"),
    }
}

/// The same within a sentence, behind "with".
pub fn with_order(order: &Order, beacon: bool, language: Language) -> String {
    let name = order_name(order, beacon, language);
    match (language, order) {
        (Language::English, Order::Draw) => format!("a {name}"),
        _ => name,
    }
}

pub(super) fn with(arm: &Arm, language: Language) -> String {
    with_order(&arm.order, arm.beacon, language)
}

/// When returned places are free again, as a label.
pub fn returns_name(rule: &ReturnRule, language: Language) -> String {
    match rule {
        ReturnRule::Immediate => say!(language, "at once" | "langsung"),
        ReturnRule::Delayed { from_ms, to_ms } => {
            let [from, to] = [from_ms, to_ms].map(|ms| language.count(ms / 60_000));
            match from_ms % 60_000 + to_ms % 60_000 {
                0 => say!(language, "after {from}–{to} min" | "setelah {from}–{to} menit"),
                _ => {
                    let [from, to] = [from_ms, to_ms].map(|ms| language.count(ms / 1_000));
                    say!(language, "after {from}–{to} s" | "setelah {from}–{to} detik")
                }
            }
        }
        ReturnRule::At { minutes } => {
            let times: Vec<String> = minutes.iter().map(|at| time(*at, language)).collect();
            let times = language.listed(&times);
            say!(language, "drawn at {times}" | "diundi pukul {times}")
        }
    }
}

/// A time of day, in minutes from midnight.
fn time(at: u16, language: Language) -> String {
    let (hour, minute) = (at / 60, at % 60);
    say!(language, "{hour:02}:{minute:02}" | "{hour:02}.{minute:02}")
}

/// An order and its rule of return, as a label.
pub fn arm_name(arm: &Arm, language: Language) -> String {
    let order = order_name(&arm.order, arm.beacon, language);
    format!("{order} · {}", returns_name(&arm.returns, language))
}

/// A group of those who asked, by its kind and name.
pub fn group_name(kind: &str, name: &str, language: Language) -> String {
    // As a rehearsal's log names scalpers among the cohorts.
    let (kind, name) = name.strip_prefix("scalper ").map_or((kind, name), |own| ("scalper", own));
    let name = named(name, language);
    match kind {
        "cohort" => say!(language, "people: {name}" | "warga: {name}"),
        "channel" => say!(language, "channel: {name}" | "saluran: {name}"),
        "device" => say!(language, "device: {name}" | "perangkat: {name}"),
        "party of" if name == "1" => say!(language, "single people" | "perorangan"),
        "party of" => say!(language, "party of {name}" | "rombongan {name} orang"),
        _ => say!(language, "scalpers: {name}" | "calo: {name}"),
    }
}

/// Why requests were rejected, as a label; a reason of a later release by its name.
pub fn reason_name(name: &str, language: Language) -> String {
    let reason = Reason::from_name(name);
    reason.map_or_else(|| name.to_owned(), |reason| told(reason).of(language).to_owned())
}

const fn told(reason: Reason) -> Text {
    match reason {
        Reason::Malformed => text!("cannot be understood" | "tidak dapat dipahami"),
        Reason::UnknownOpening => text!("no such opening" | "pembukaan itu tidak ada"),
        Reason::NotOpen => text!("not open yet: come again" | "belum dibuka: datang lagi"),
        Reason::Closed => text!("closed, or too late" | "sudah ditutup, atau terlambat"),
        Reason::UnknownSlot => {
            text!("no such office, day or session" | "kantor, hari, atau sesi itu tidak ada")
        }
        Reason::NotPermitted => text!("not entitled" | "tidak berhak"),
        Reason::PartyTooLarge => text!("party too large" | "rombongan terlalu besar"),
        Reason::AccountLimit => text!("account has its places" | "akun sudah penuh"),
        Reason::AlreadyBooked => text!("has a booking already" | "sudah punya pemesanan"),
        Reason::Conflict => text!("id used otherwise" | "nomor dipakai permintaan lain"),
        Reason::SoldOut => text!("no place left" | "tempat habis"),
        Reason::Expired => text!("came too late" | "datang terlambat"),
        Reason::NotFound => text!("no such booking" | "pemesanan tidak ditemukan"),
        Reason::WrongState => text!("cannot be changed any more" | "tidak dapat diubah lagi"),
        Reason::Busy => text!("too busy: come again" | "terlalu ramai: datang lagi"),
        Reason::Unavailable => text!("no engine: come again" | "mesin tidak ada: datang lagi"),
        Reason::ApplicantLimit => {
            text!("booked as often as one may" | "sudah memesan sebanyak batas")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_is_told_in_words() {
        let [english, indonesian] = Language::ALL;
        let arm = |order, returns: &str| Arm {
            beacon: false,
            ..Arm::new(order, returns.parse().unwrap_or(ReturnRule::Immediate))
        };
        let rounds = arm(Order::Rounds { length_ms: 500 }, "delayed:600-3600");
        assert_eq!(arm_name(&rounds, english), "rounds of 0.5 s · after 10–60 min");
        assert_eq!(arm_name(&rounds, indonesian), "putaran 0,5 detik · setelah 10–60 menit");
        assert_eq!(ordered(&rounds), "rounds 500 ms");
        let draw = arm(Order::Draw, "at:17:00");
        assert_eq!(arm_name(&draw, indonesian), "undian · diundi pukul 17.00");
        assert_eq!(with(&draw, english), "a draw");
        let returns = ReturnRule::Delayed { from_ms: 1_000, to_ms: 90_000 };
        assert_eq!(returns_name(&returns, english), "after 1–90 s");
        assert_eq!(reason_name("sold_out", indonesian), "tempat habis");
        assert_eq!(reason_name("of_tomorrow", indonesian), "of_tomorrow");
        assert_eq!(group_name("party of", "1", indonesian), "perorangan");
        assert_eq!(group_name("scalper", "sprinters", indonesian), "calo: pelari cepat");
        assert_eq!(group_name("cohort", "scalper sprinters", english), "scalpers: sprinters");
    }
}

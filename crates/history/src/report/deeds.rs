//! What operators and engines did, in the languages of reports and in the opening's time zone.

use giliran_report::times::{Zone, short_day};
use giliran_report::{Language, say};
use giliran_wire::ledger::journal::{Action, Done};
use giliran_wire::{Date, Timestamp};

/// What was done in one stroke.
pub(super) fn words(action: &Action, zone: &Zone, language: Language) -> String {
    let done: Vec<String> = action.deeds.iter().map(|done| deed(done, zone, language)).collect();
    let mut words = done.join("; ");
    if action.moved > 0 {
        let n = language.count(action.moved);
        words.push_str(&say!(language, "; {n} bookings moved" | "; {n} pemesanan dipindahkan"));
    }
    if action.cancelled > 0 {
        let n = language.count(action.cancelled);
        words.push_str(&say!(language, "; {n} bookings cancelled" | "; {n} pemesanan dibatalkan"));
    }
    words
}

/// A session of a day: the whole day where there is one session alone.
pub(super) fn place(slot: &[String; 3], language: Language) -> String {
    let [office, date, session] = slot;
    let day = date.parse::<Date>().map_or(date.clone(), |date| short_day(language, date.civil()));
    match session.as_str() {
        "all" => format!("{office}, {day}"),
        session => format!("{office}, {day}, {session}"),
    }
}

fn deed(done: &Done, zone: &Zone, language: Language) -> String {
    let place = done.slot.as_ref().map_or(String::new(), |slot| place(slot, language));
    let value = &done.value;
    match done.name {
        "quota" => {
            say!(language, "quota of {place} set to {value}" | "kuota {place} menjadi {value}")
        }
        "reserve" if value == "0" => say!(
            language,
            "nothing kept back of {place} any more" | "cadangan {place} dilepas seluruhnya"
        ),
        "reserve" => say!(
            language,
            "{value} places of {place} kept back" | "{value} tempat {place} dicadangkan"
        ),
        "halt" => {
            let bookings = match value.as_str() {
                "cancel" => {
                    say!(language, "its bookings are cancelled" | "pemesanannya dibatalkan")
                }
                "move" => say!(language, "its bookings move" | "pemesanannya dipindahkan"),
                _ => say!(language, "its bookings stay" | "pemesanannya tetap"),
            };
            say!(language, "{place} closed, {bookings}" | "{place} ditutup, {bookings}")
        }
        "resume" => say!(language, "{place} open again" | "{place} dibuka lagi"),
        "closes_at" => {
            let at = value.parse::<Timestamp>();
            let at = at.map_or(value.clone(), |at| zone.moment(language, at.as_millis()));
            say!(language, "end of the opening set to {at}" | "akhir pembukaan menjadi {at}")
        }
        "beacon" => say!(
            language,
            "the public value of its draw handed in" | "nilai publik undiannya diserahkan"
        ),
        "roll" => {
            say!(language, "the ledger goes on in {value}" | "buku catatan berlanjut di {value}")
        }
        "take_over" => say!(language, "{value} took over" | "{value} mengambil alih"),
        "rebuild" => say!(
            language,
            "the ledger was rebuilt behind damage at sequence {value}"
                | "buku catatan dibangun lagi di belakang kerusakan pada urutan {value}"
        ),
        _ => done.words.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_deed_is_told_in_both_languages() {
        let zone = Zone::named("Asia/Jakarta");
        let told = |name, value: &str| {
            let slot = Some(["batam".to_owned(), "2026-12-04".to_owned(), "all".to_owned()]);
            let (value, words) = (value.to_owned(), String::new());
            let done = Done { name, slot, value, change: None, words };
            Language::ALL.map(|language| deed(&done, &zone, language))
        };
        let closes = told("closes_at", "2026-12-04T07:00:00.000Z");
        assert_eq!(closes[1], "akhir pembukaan menjadi Jumat, 4 Desember 2026, 14.00.00 WIB");
        assert_eq!(told("halt", "keep")[0], "batam, Fri 4 Dec closed, its bookings stay");
        assert_eq!(told("quota", "80")[1], "kuota batam, Jum 4 Des menjadi 80");
        for (name, value) in [
            ("reserve", "0"),
            ("reserve", "3"),
            ("halt", "cancel"),
            ("halt", "move"),
            ("resume", ""),
            ("beacon", "b001"),
            ("roll", "LEDGER-2"),
            ("take_over", "engine-b"),
            ("rebuild", "7"),
        ] {
            let [english, indonesian] = told(name, value);
            assert!(!english.is_empty() && english != indonesian, "{name}: {english}");
        }
    }
}

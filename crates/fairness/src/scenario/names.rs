//! What shipped scenarios call people and scalpers, in the languages of reports.

use giliran_report::{Language, Text, text};

use super::Scenario;

/// Names of cohorts, channels, devices and attackers.
const NAMES: [Text; 21] = [
    text!("app" | "aplikasi"),
    text!("city, fibre" | "kota, serat optik"),
    text!("city, mobile" | "kota, seluler"),
    text!("computer" | "komputer"),
    text!("country, mobile" | "pedesaan, seluler"),
    text!("fixer" | "biro jasa"),
    text!("forgers" | "pemalsu"),
    text!("hoarders" | "penimbun"),
    text!("insider" | "orang dalam"),
    text!("new phone" | "ponsel baru"),
    text!("not named" | "tidak disebut"),
    text!("old phone" | "ponsel lama"),
    text!("people" | "warga"),
    text!("phone" | "ponsel"),
    text!("pollers" | "penanya beruntun"),
    text!("recyclers" | "pemutar tempat"),
    text!("replayers" | "pengirim ulang"),
    text!("scalpers" | "calo"),
    text!("sprinters" | "pelari cepat"),
    text!("bots" | "bot"),
    text!("web" | "situs web"),
];

const ABOUT: [(&str, &str); 9] = [
    (
        "calm",
        "Minggu biasa di empat kantor: tempat lebih banyak daripada orang, dan tidak ada yang perlu \
         terburu-buru.",
    ),
    (
        "batam",
        "Hari Jumat di Batam: kantor utama dan empat unit layanan, nomor antrean minggu depan, 4,6 \
         rombongan untuk setiap tempat, dan tiga macam calo yang punya uang untuk dibelanjakan.",
    ),
    (
        "national",
        "Semua 126 kantor sekaligus: sejuta rombongan untuk sekitar enam puluh ribu tempat, dengan \
         kantor seramai menurut hukum Zipf.",
    ),
    (
        "flash",
        "Seperti pada 12 Juli 2021 di Doctolib: tujuh ratus meminta setiap tempat, semuanya dalam \
         menit yang sama.",
    ),
    (
        "scalpers-2018",
        "Januari 2018: 72.000 permohonan fiktif dari 200 akun melawan warga satu minggu; penahanan \
         berakhir, dan tempatnya kembali terlambat bagi kebanyakan orang.",
    ),
    (
        "sprinters",
        "Pelari cepat sebanyak warga, semuanya siap saat dibuka: berapa nilai kecepatan?",
    ),
    (
        "recyclers",
        "Calo yang memegang sebagian tempat, menjualnya, lalu membatalkan dan memesan lagi untuk \
         pelanggan dalam satu gerakan, di antara warga yang terus mencari.",
    ),
    (
        "insiders",
        "Seseorang yang tahu rahasia penyelenggara sebelum penutupan dan memilih pendaftarannya, di \
         antara warga yang semuanya siap: apa yang dibeli oleh rahasia?",
    ),
    (
        "forgers",
        "Nomor identitas rekaan yang satu dari sepuluh lolos gerbang, permintaan warga yang dikirim \
         ulang, dan kode pemesanan milik orang lain: apa hasilnya?",
    ),
];

/// A name in this language, where it is one of a shipped scenario; else as it is.
pub fn named(name: &str, language: Language) -> &str {
    let known = NAMES.into_iter().find(|known| known.english == name);
    known.map_or(name, |known| known.of(language))
}

/// What a scenario shows, in this language where it is a shipped one; else in its own words.
pub fn about(scenario: &Scenario, language: Language) -> &str {
    about_of(&scenario.name, &scenario.about, language)
}

/// The same by its name and its own words.
pub fn about_of<'a>(name: &str, about: &'a str, language: Language) -> &'a str {
    let found = ABOUT.iter().find(|(shipped, _)| *shipped == name);
    let is_own = super::shipped(name).is_none_or(|scenario| scenario.about != about);
    match (language, found) {
        (Language::Indonesian, Some((_, indonesian))) if !is_own => indonesian,
        _ => about,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{SHIPPED, shipped};
    use super::*;

    #[test]
    fn every_name_in_a_shipped_scenario_is_known() {
        for (name, _) in SHIPPED {
            let scenario = shipped(name).unwrap();
            let people = scenario.cohorts.iter().flat_map(|c| [&c.name, &c.channel, &c.device]);
            for name in people.chain(scenario.attackers.iter().map(|attacker| &attacker.name)) {
                assert!(NAMES.iter().any(|known| known.english == name), "{name}");
            }
            assert_ne!(about(&scenario, Language::Indonesian), scenario.about, "{name}");
            assert_eq!(about(&scenario, Language::English), scenario.about, "{name}");
        }
        // Somebody else's scenario of the same name keeps its words.
        assert_eq!(about_of("calm", "My own.", Language::Indonesian), "My own.");
        assert_eq!(named("desa, satelit", Language::Indonesian), "desa, satelit");
    }
}

//! What the page says, in Indonesian and in English.

use axum::http::{HeaderMap, header};
use giliran_wire::answer::Reason;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Indonesian,
    English,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::Indonesian, Self::English];

    /// The one that the address names, else the browser's, else Indonesian.
    pub(crate) fn of(query: Option<&str>, headers: &HeaderMap) -> Self {
        let named = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find(|(name, _)| name == "lang")
            .and_then(|(_, value)| Self::ALL.into_iter().find(|one| one.code() == value));
        named.unwrap_or_else(|| {
            let accepted =
                headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
            preferred(accepted.unwrap_or_default())
        })
    }

    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Indonesian => "id",
            Self::English => "en",
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Indonesian => "Bahasa Indonesia",
            Self::English => "English",
        }
    }
}

/// The first of a browser's languages that the page has, by weight.
fn preferred(accepted: &str) -> Language {
    let mut best = (Language::Indonesian, 0.0);
    for one in accepted.split(',') {
        let (range, weight) = one.split_once(";q=").unwrap_or((one, "1"));
        let code = range.trim().split('-').next().unwrap_or_default().to_ascii_lowercase();
        // "in" is what old devices call Indonesian.
        let code = if code == "in" { "id" } else { code.as_str() };
        let weight: f32 = weight.trim().parse().unwrap_or(0.0);
        if let Some(language) = Language::ALL.into_iter().find(|one| one.code() == code)
            && weight > best.1
        {
            best = (language, weight);
        }
    }
    best.0
}

macro_rules! words {
    ($($name:ident: $indonesian:literal | $english:literal;)*) => {
        impl Language {
            $(pub(crate) const fn $name(self) -> &'static str {
                match self {
                    Self::Indonesian => $indonesian,
                    Self::English => $english,
                }
            })*
        }

        /// Every text in every language.
        #[cfg(test)]
        const ALL_WORDS: &[(&str, [&str; 2])] =
            &[$((stringify!($name), [$indonesian, $english])),*];
    };
}

words! {
    booking: "Pesan tempat" | "Book a place";
    own_booking: "Pemesanan saya" | "My booking";
    openings: "Pembukaan" | "Openings";
    none_open: "Belum ada pembukaan. Silakan kembali lagi nanti." | "There is no opening yet. Please come back later.";
    scheduled: "belum dibuka" | "not open yet";
    open: "dibuka" | "open";
    closed: "ditutup" | "closed";
    opens_at: "Dibuka" | "Opens";
    closes_at: "Ditutup" | "Closes";
    opens_in: "Dibuka dalam" | "Opens in";
    first_come: "Permintaan dilayani sesuai urutan kedatangan." | "Requests are served in the order in which they arrive.";
    rounds: "Permintaan yang datang bersamaan diurutkan secara acak. Beberapa detik lebih cepat tidak menguntungkan." | "Requests that come together are put in random order. A few seconds do not matter.";
    draw: "Tempat diundi setelah pendaftaran ditutup. Tidak perlu terburu-buru." | "Places are drawn after the close. There is no need to hurry.";
    to_have_ready: "Siapkan" | "Have ready";
    ready_numbers: "nomor identitas setiap orang yang ikut" | "the id number of everybody who comes along";
    ready_wishes: "kantor dan hari yang Anda inginkan" | "the offices and days that suit you";
    wishes: "Pilihan, sesuai urutan" | "Wishes, in order";
    wish: "Pilihan" | "Wish";
    office: "Kantor" | "Office";
    day: "Hari" | "Day";
    any_day: "hari apa saja" | "any day";
    any_session: "sesi apa saja" | "any session";
    none: "tidak ada" | "none";
    people: "Untuk siapa" | "For whom";
    applicant: "Nomor identitas" | "Id number";
    family: "Anggota keluarga yang ikut" | "Family members who come along";
    person: "Orang ke-" | "Person ";
    together: "Semua mendapat tempat pada waktu yang sama, atau tidak sama sekali." | "All get places at the same time, or none does.";
    account: "Nomor telepon atau surel" | "Phone number or e-mail";
    wait: "Jika penuh: masukkan saya ke daftar tunggu" | "If it is full: put me on the waiting list";
    next_release: "Undian berikutnya" | "Next draw";
    ask: "Minta tempat" | "Ask for a place";
    ask_again: "Kirim lagi" | "Ask again";
    not_yet: "Tombol ini bekerja begitu dibuka." | "This button works once it is open.";
    free_places: "Tempat tersedia" | "Free places";
    as_of: "Keadaan pukul" | "As of";
    stale: "Tidak ada kabar baru sejak" | "No news since";
    full: "penuh" | "full";
    halted: "ditutup" | "closed";
    too_late: "terlambat" | "too late";
    entitled: "perlu hak khusus" | "needs an entitlement";
    promises_nothing: "Angka ini hanya gambaran; hanya pemesanan yang pasti." | "These numbers promise nothing; only a booking does.";
    asking: "Permintaan Anda sedang diproses" | "Your request is being decided";
    asking_more: "Anda boleh menutup halaman ini; permintaan berlanjut dengan nomor yang sama." | "You may close this page; it goes on under the same number.";
    number: "Nomor permintaan" | "Request number";
    trouble: "Belum ada keputusan" | "Nothing is decided yet";
    trouble_more: "Tidak ada yang hilang. Nomor yang sama dipakai lagi, jadi Anda tidak akan memesan dua kali." | "Nothing is lost. The same number is used again, so you cannot book twice.";
    next_try: "Percobaan berikutnya" | "Next try";
    what_became: "Lihat hasilnya" | "See what became of it";
    granted: "Tempat Anda" | "Your place";
    held: "Tempat Anda ditahan" | "Your place is held";
    queue_number: "Nomor antrean" | "Queue number";
    booking_id: "Kode pemesanan" | "Booking id";
    qr_code: "Kode QR dari kode pemesanan" | "QR code of the booking id";
    hold_until: "Bayar atau konfirmasi sebelum" | "Pay or confirm before";
    left: "tersisa" | "left";
    keep: "Simpan kode ini atau cetak halaman ini." | "Keep this id, or print this page.";
    calendar: "Simpan ke kalender" | "Add to calendar";
    print: "Cetak" | "Print";
    cancelled: "Pemesanan ini sudah dibatalkan" | "This booking was cancelled";
    expired: "Waktu konfirmasi pemesanan ini sudah habis" | "This booking was not confirmed in time";
    entered: "Anda terdaftar" | "You are entered";
    entered_more: "Simpan tanda terima ini. Hasil undian tampil di halaman ini." | "Keep this receipt. The result of the draw is shown on this page.";
    receipt: "Tanda terima" | "Receipt";
    draw_at: "Undian setelah" | "The draw is after";
    commitment: "Komitmen" | "Commitment";
    check_draw: "Siapa pun dapat memeriksa undian dengan tanda terima dan komitmen ini." | "Anybody can check the draw with this receipt and the commitment.";
    published_of_draw: "Apa yang diumumkan tentang undian ini" | "What is published of this draw";
    give_back: "Kembalikan tempat ini" | "Give this place back";
    give_back_sure: "Ya, saya tidak memerlukannya lagi" | "Yes, I do not need it any more";
    give_back_first: "Pemohon pertama mengembalikan seluruh pemesanan; yang lain hanya tempatnya sendiri." | "The first applicant gives back the whole booking; others only their own place.";
    move_booking: "Pindah ke waktu lain" | "Move to another time";
    move_keeps: "Jika tidak ada tempat, tempat lama tetap milik Anda." | "If there is no room, you keep the place you have.";
    sign_in: "Masuk dahulu. Lalu coba lagi." | "Please sign in first, then try again.";
    find: "Cari" | "Find";
    booking_or_receipt: "Kode pemesanan atau tanda terima" | "Booking id or receipt";
    not_recorded: "Belum ada catatan dengan nomor ini" | "Nothing is on record under this number";
    not_recorded_more: "Mungkin masih diproses, atau tidak mendapat tempat. Minta lagi dengan nomor yang sama; Anda tidak akan memesan dua kali." | "It may still be on its way, or it got no place. Ask again under the same number; you cannot book twice.";
    not_drawn: "Undian sudah selesai: nomor ini tidak mendapat tempat" | "The draw is over: this number got no place";
    back: "Kembali" | "Back";
    skip: "Langsung ke isi" | "Skip to content";
    days_short: "Min Sen Sel Rab Kam Jum Sab" | "Sun Mon Tue Wed Thu Fri Sat";
    months_short: "Jan Feb Mar Apr Mei Jun Jul Agu Sep Okt Nov Des" | "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    units: "hari jam menit detik" | "days hours minutes seconds";
}

impl Language {
    /// Why somebody got no place, in words for them.
    pub(crate) const fn reason(self, reason: Reason) -> &'static str {
        let [indonesian, english] = reason_words(reason);
        match self {
            Self::Indonesian => indonesian,
            Self::English => english,
        }
    }
}

const fn reason_words(reason: Reason) -> [&'static str; 2] {
    match reason {
        Reason::Malformed => [
            "Isian belum benar. Periksa nomor identitas dan pilihan Anda.",
            "Something is not filled in correctly. Check the id numbers and your wishes.",
        ],
        Reason::UnknownOpening => ["Pembukaan ini tidak ada.", "There is no such opening."],
        Reason::NotOpen => ["Belum dibuka.", "It is not open yet."],
        Reason::Closed => [
            "Sudah ditutup, atau sudah terlambat untuk waktu yang Anda pilih.",
            "It is closed, or too late for the times you chose.",
        ],
        Reason::UnknownSlot => {
            ["Kantor, hari, atau sesi itu tidak ada.", "There is no such office, day or session."]
        }
        Reason::NotPermitted => {
            ["Pilihan ini memerlukan hak khusus.", "This needs an entitlement."]
        }
        Reason::PartyTooLarge => {
            ["Terlalu banyak orang untuk satu permintaan.", "Too many people for one request."]
        }
        Reason::AccountLimit => [
            "Akun ini sudah mendapat tempat sebanyak yang diizinkan.",
            "This account has as many places as it may have.",
        ],
        Reason::AlreadyBooked => [
            "Salah satu pemohon sudah punya pemesanan atau sudah terdaftar.",
            "One of the applicants has a booking already, or is entered.",
        ],
        Reason::Conflict => [
            "Nomor permintaan ini sudah dipakai untuk permintaan lain. Kirim lagi dari halaman ini.",
            "This request number was used for another request. Ask again from this page.",
        ],
        Reason::SoldOut => [
            "Semua pilihan Anda penuh. Di bawah terlihat di mana masih ada tempat.",
            "All your wishes are full. Below you see where places are left.",
        ],
        Reason::Expired => ["Permintaan datang terlambat.", "The request came too late."],
        Reason::NotFound => [
            "Tidak ditemukan. Periksa kode dan nomor identitas.",
            "Nothing was found. Check the id of the booking and the id number.",
        ],
        Reason::WrongState => {
            ["Pemesanan ini tidak dapat diubah lagi.", "This booking cannot be changed any more."]
        }
        Reason::Busy | Reason::Unavailable => [
            "Sangat ramai saat ini. Belum ada keputusan.",
            "It is very busy right now. Nothing is decided yet.",
        ],
        Reason::ApplicantLimit => [
            "Salah satu pemohon sudah memesan sebanyak yang diizinkan dalam pembukaan ini.",
            "One of the applicants has booked as often as one may in this opening.",
        ],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_address_decides_then_the_browser_then_indonesian() {
        let of = |query: Option<&str>, accepted: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, accepted.parse().unwrap());
            Language::of(query, &headers).code()
        };
        assert_eq!(of(Some("lang=en"), "id"), "en");
        assert_eq!(of(Some("a=b&lang=id"), "en"), "id");
        assert_eq!(of(Some("lang=xx"), "en-GB,en;q=0.9"), "en");
        assert_eq!(of(None, "fr,en;q=0.5,id;q=0.8"), "id");
        assert_eq!(of(None, "in-ID,en;q=0.9"), "id");
        for none in ["", "fr", "*", ";;q=", "en;q=0"] {
            assert_eq!(of(None, none), "id", "{none}");
        }
    }

    #[test]
    fn both_languages_say_everything_and_as_many_parts() {
        for (name, [indonesian, english]) in ALL_WORDS {
            assert!(!indonesian.is_empty() && !english.is_empty(), "{name}");
        }
        for language in Language::ALL {
            assert_eq!(language.days_short().split(' ').count(), 7);
            assert_eq!(language.months_short().split(' ').count(), 12);
            assert_eq!(language.units().split(' ').count(), 4);
            for reason in Reason::ALL {
                assert!(!language.reason(*reason).is_empty());
            }
        }
    }
}

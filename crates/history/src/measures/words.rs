//! What the figures of an opening are called, and what they mean.

use giliran_report::{Figures, Known, Text, Unit, text};

/// Adds a number of things.
pub(super) fn count(into: &mut Figures, name: &'static str, value: Known) {
    add(into, name, Unit::Count, value);
}

/// Adds a part of a whole.
pub(super) fn share(into: &mut Figures, name: &'static str, value: Known) {
    add(into, name, Unit::Share, value);
}

/// Adds a ratio or an index.
pub(super) fn ratio(into: &mut Figures, name: &'static str, value: Known) {
    add(into, name, Unit::Ratio, value);
}

/// Adds a length of time.
pub(super) fn seconds(into: &mut Figures, name: &'static str, value: Known) {
    add(into, name, Unit::Seconds, value);
}

fn add(into: &mut Figures, name: &'static str, unit: Unit, value: Known) {
    let known = WORDS.iter().find(|(known, ..)| *known == name);
    let (title, about) =
        known.map_or((Text::NONE, Text::NONE), |(_, title, about)| (*title, *about));
    into.add(name, title, unit, value).about(about);
}

/// Each figure's name in files, its title and its meaning.
const WORDS: [(&str, Text, Text); 59] = [
    (
        "quota",
        text!("Places" | "Tempat"),
        text!(
            "Places of all slots at the ledger's end."
                | "Tempat semua sesi pada akhir buku catatan."
        ),
    ),
    (
        "bookings",
        text!("Bookings" | "Pemesanan"),
        text!(
            "Bookings ever granted, whatever became of them."
                | "Pemesanan yang pernah diberikan, apa pun jadinya."
        ),
    ),
    (
        "granted",
        text!("Places granted" | "Tempat diberikan"),
        text!(
            "Places ever granted; more than there are, where returned ones were granted \
             again."
                | "Tempat yang pernah diberikan; lebih banyak daripada yang ada bila tempat \
                   kembali diberikan lagi."
        ),
    ),
    (
        "live",
        text!("Places taken" | "Tempat terisi"),
        text!(
            "Places in bookings that stand at the ledger's end."
                | "Tempat dalam pemesanan yang berlaku pada akhir buku catatan."
        ),
    ),
    (
        "cancelled",
        text!("Cancelled" | "Dibatalkan"),
        text!("Places that applicants gave back." | "Tempat yang dikembalikan pemohon."),
    ),
    (
        "revoked",
        text!("Taken back" | "Ditarik"),
        text!(
            "Places that the authority took back." | "Tempat yang ditarik kembali oleh instansi."
        ),
    ),
    (
        "expired",
        text!("Lapsed" | "Gugur"),
        text!("Places whose hold ran out." | "Tempat yang masa tahannya habis."),
    ),
    (
        "moved",
        text!("Moved away from" | "Ditinggal pindah"),
        text!("Places left for another slot." | "Tempat yang ditinggalkan untuk sesi lain."),
    ),
    (
        "withheld",
        text!("Waiting for release" | "Menunggu dibuka lagi"),
        text!(
            "Returned places that nobody can book yet."
                | "Tempat kembali yang belum dapat dipesan siapa pun."
        ),
    ),
    (
        "reserved",
        text!("Reserved" | "Dicadangkan"),
        text!(
            "Places that operators keep back at the ledger's end."
                | "Tempat yang dicadangkan penyelenggara pada akhir buku catatan."
        ),
    ),
    (
        "halted",
        text!("In closed sessions" | "Dalam sesi yang ditutup"),
        text!(
            "Places without a booking in slots that are closed at the ledger's end: nobody \
             can have them."
                | "Tempat tanpa pemesanan dalam sesi yang ditutup pada akhir buku catatan: \
                   tidak seorang pun dapat memperolehnya."
        ),
    ),
    (
        "free",
        text!("Free" | "Tersedia"),
        text!(
            "Free places at the ledger's end: quota less taken, waiting and reserved, and \
             without those of halted slots."
                | "Tempat tersedia pada akhir buku catatan: kuota dikurangi yang terisi, \
                   menunggu, dan dicadangkan, tanpa sesi yang ditutup."
        ),
    ),
    (
        "oversold",
        text!("Oversold" | "Melebihi kuota"),
        text!(
            "Places taken beyond what a slot then had: its quota, less what was taken, \
             withheld, reserved or halted. Must be 0."
                | "Tempat yang diambil melebihi milik sesi saat itu: kuotanya dikurangi yang \
                   terisi, tertahan, dicadangkan, atau ditutup. Harus 0."
        ),
    ),
    (
        "undersold",
        text!("Rejected beside a free place" | "Ditolak padahal ada tempat"),
        text!(
            "Rejections `sold_out` while what was asked for first had room for any party \
             throughout (rejection counts), or while a choice had room for this party \
             (gateway log). Must be 0."
                | "Penolakan karena habis padahal yang diminta pertama punya tempat bagi \
                   rombongan mana pun sepanjang waktu itu (hitungan penolakan), atau padahal \
                   satu pilihan punya tempat bagi rombongan ini (catatan gerbang). Harus 0."
        ),
    ),
    (
        "unclear",
        text!("Not to be judged" | "Tidak dapat dinilai"),
        text!(
            "Rejections `sold_out` of which the counts do not say whether there was room: \
             less than the largest party needs, or no single slot was named."
                | "Penolakan karena habis yang menurut hitungannya tidak jelas apakah ada \
                   tempat: kurang dari kebutuhan rombongan terbesar, atau tidak menyebut satu \
                   sesi."
        ),
    ),
    (
        "waste",
        text!("Places without a booking" | "Tempat tanpa pemesanan"),
        text!(
            "Places without a booking that stands, over all places: unsold, lapsed or given \
             back and not had again. Those who did not come are not in it."
                | "Tempat tanpa pemesanan yang berlaku, dari semua tempat: tidak terisi, \
                   gugur, atau dikembalikan dan tidak dipesan lagi. Yang tidak datang tidak \
                   termasuk."
        ),
    ),
    (
        "refused",
        text!("Rejected requests" | "Permintaan ditolak"),
        text!(
            "Rejections answered, retries included."
                | "Penolakan yang dijawabkan, termasuk percobaan ulang."
        ),
    ),
    (
        "parties",
        text!("Parties that asked" | "Rombongan yang meminta"),
        text!(
            "Those who asked together, distinguished by their applicants, else by their \
             request."
                | "Mereka yang meminta bersama, dibedakan menurut pemohonnya, atau menurut \
                   permintaannya."
        ),
    ),
    (
        "per_place",
        text!("People a place" | "Orang per tempat"),
        text!(
            "People who asked over the places there are."
                | "Orang yang meminta dibagi tempat yang ada."
        ),
    ),
    (
        "accounts",
        text!("Accounts with places" | "Akun yang punya tempat"),
        text!(
            "Accounts that held places as the window closed (else at the ledger's end)."
                | "Akun yang memegang tempat saat pembukaan berakhir (atau pada akhir buku \
                   catatan)."
        ),
    ),
    (
        "without_account",
        text!("Places without an account" | "Tempat tanpa akun"),
        text!(
            "Places whose request named no account; the four figures on accounts leave them \
             out."
                | "Tempat yang permintaannya tidak menyebut akun; keempat angka tentang akun \
                   tidak menghitungnya."
        ),
    ),
    (
        "largest",
        text!("Largest account" | "Akun terbesar"),
        text!(
            "Places of the account that held most."
                | "Tempat milik akun yang memegang paling banyak."
        ),
    ),
    (
        "top_ten",
        text!("Ten largest accounts" | "Sepuluh akun terbesar"),
        text!(
            "The share of the ten accounts that held most."
                | "Bagian sepuluh akun yang memegang paling banyak."
        ),
    ),
    (
        "hhi",
        text!("Concentration over accounts (HHI)" | "Pemusatan pada akun (HHI)"),
        text!(
            "Herfindahl and Hirschman's index over accounts: 1 / accounts where all hold the \
             same, 1 where one holds all."
                | "Indeks Herfindahl-Hirschman atas akun: 1 / banyaknya akun bila semua \
                   memegang sama banyak, 1 bila satu memegang semuanya."
        ),
    ),
    (
        "gini",
        text!("Inequality between accounts (Gini)" | "Ketimpangan antarakun (Gini)"),
        text!(
            "Inequality of places over winning accounts: 0 where all hold the same."
                | "Ketimpangan tempat antarakun yang berhasil: 0 bila semua memegang sama \
                   banyak."
        ),
    ),
    (
        "scalper_share",
        text!("Places in scalpers' hands" | "Tempat di tangan calo"),
        text!("The size of the black market." | "Besarnya pasar gelap."),
    ),
    (
        "came_back",
        text!("Places that came back" | "Tempat yang kembali"),
        text!(
            "By cancellation, lapse, move or the authority; without those that a late payment \
             revived."
                | "Karena pembatalan, gugur, pindah, atau ditarik instansi; tanpa yang \
                   dihidupkan lagi oleh pembayaran terlambat."
        ),
    ),
    (
        "released",
        text!("Released" | "Dibuka lagi"),
        text!("Those that became available again." | "Yang dapat dipesan lagi."),
    ),
    (
        "regranted",
        text!("Booked again" | "Dipesan lagi"),
        text!("Those that somebody got." | "Yang didapat seseorang."),
    ),
    (
        "recapture",
        text!("Booked again by who gave it back" | "Dipesan lagi oleh yang mengembalikan"),
        text!(
            "Released places that the account which gave them back got again: the \
             cancel-and-rebook channel."
                | "Tempat yang dibuka lagi dan didapat kembali oleh akun yang \
                   mengembalikannya: jalur batal lalu pesan lagi."
        ),
    ),
    (
        "recapture_unknown",
        text!("Booked again, by whom not known" | "Dipesan lagi, entah oleh siapa"),
        text!(
            "Re-granted places of which the giver's or the taker's account is not known; the \
             share above counts them as not recaptured."
                | "Tempat yang dipesan lagi tanpa diketahui akun pemberi atau penerimanya; \
                   bagian di atas menghitungnya sebagai tidak kembali ke pemberinya."
        ),
    ),
    (
        "to_release_s",
        text!("Return to release" | "Dari kembali sampai dibuka lagi"),
        text!(
            "Median time from a place's return to its release."
                | "Median waktu dari kembalinya tempat sampai dibuka lagi."
        ),
    ),
    (
        "to_regrant_s",
        text!("Return to next booking" | "Dari kembali sampai dipesan lagi"),
        text!(
            "Median time from a place's return until somebody booked it again."
                | "Median waktu dari kembalinya tempat sampai seseorang memesannya lagi."
        ),
    ),
    (
        "after_release_s",
        text!("Release to next booking" | "Dari dibuka lagi sampai dipesan"),
        text!(
            "Median time that a released place lay free."
                | "Median lamanya tempat yang dibuka lagi belum dipesan."
        ),
    ),
    (
        "shortest_regrant_s",
        text!("Shortest return to next booking" | "Tercepat dari kembali sampai dipesan lagi"),
        text!(
            "The shortest time from a place's return to its re-grant. Below a second, no \
             person was looking."
                | "Waktu terpendek dari kembalinya tempat sampai dipesan lagi. Di bawah satu \
                   detik, bukan manusia yang mencarinya."
        ),
    ),
    (
        "no_shows",
        text!("Did not come" | "Tidak datang"),
        text!("Places whose holder did not come." | "Tempat yang pemegangnya tidak datang."),
    ),
    (
        "entries",
        text!("Entered into draws" | "Terdaftar ke undian"),
        text!(
            "Entries into draws: the opening's own, or those for returned places."
                | "Pendaftaran ke undian: undian pembukaan sendiri, atau undian tempat \
                   kembali."
        ),
    ),
    (
        "drawn",
        text!("Drawn" | "Terundi"),
        text!("Entries that got a place." | "Pendaftaran yang mendapat tempat."),
    ),
    (
        "not_drawn",
        text!("Not drawn" | "Tidak terundi"),
        text!(
            "Entries that got none when their draw was held."
                | "Pendaftaran yang tidak mendapat tempat saat undiannya diadakan."
        ),
    ),
    (
        "withdrawn",
        text!("Withdrawn" | "Ditarik sebelum undian"),
        text!("Entries taken back before a draw." | "Pendaftaran yang ditarik sebelum undian."),
    ),
    (
        "inversion",
        text!("Overtaken: the loser came first" | "Didahului: yang kalah datang lebih dulu"),
        text!(
            "Pairs that wanted the same slots for as many people, of whom one won, in which \
             the loser asked an open engine first: 0 is pure first-come, 50 % a lottery. Who \
             was rejected for another reason than places is left out."
                | "Pasangan yang menginginkan sesi yang sama untuk orang sama banyak, yang \
                   satu berhasil, dan yang kalah meminta lebih dulu pada mesin yang sudah \
                   dibuka: 0 berarti murni urutan kedatangan, 50 % berarti lotre. Yang \
                   ditolak karena alasan lain tidak dihitung."
        ),
    ),
    (
        "chance",
        text!("A party's chance" | "Peluang sebuah rombongan"),
        text!(
            "Parties that got a place, of all that asked; scalpers among them, whom nobody \
             here can tell apart."
                | "Rombongan yang mendapat tempat, dari semua yang meminta; termasuk calo, \
                   yang tidak dapat dibedakan di sini."
        ),
    ),
    (
        "first_choice",
        text!("First choice" | "Pilihan pertama"),
        text!(
            "Winners who got what they named first."
                | "Pemenang yang mendapat pilihan yang disebut pertama."
        ),
    ),
    (
        "wait_s",
        text!("Wait for the result" | "Menunggu hasil"),
        text!(
            "Median time from a winner's first request to the answer."
                | "Median waktu dari permintaan pertama seorang pemenang sampai jawabannya."
        ),
    ),
    (
        "wait_p99_s",
        text!("99 % waited at most" | "99 % menunggu paling lama"),
        text!(
            "99 in 100 winners had their answer by then."
                | "99 dari 100 pemenang sudah mendapat jawabannya."
        ),
    ),
    (
        "answered",
        text!("Answered" | "Dijawab"),
        text!("Requests that got an answer." | "Permintaan yang mendapat jawaban."),
    ),
    (
        "reply_p50_s",
        text!("Half were answered within" | "Separuh dijawab dalam"),
        text!(
            "Half of the requests that got an answer had it within."
                | "Separuh permintaan yang dijawab mendapat jawabannya dalam waktu ini."
        ),
    ),
    (
        "reply_p99_s",
        text!("99 % were answered within" | "99 % dijawab dalam"),
        text!("99 in 100 of them had it within." | "99 dari 100 mendapatnya dalam waktu ini."),
    ),
    (
        "families",
        text!("Families against single people" | "Keluarga dibanding perorangan"),
        text!(
            "Success of parties of two and more over that of single people."
                | "Keberhasilan rombongan dua orang atau lebih dibagi keberhasilan \
                   perorangan."
        ),
    ),
    (
        "speed",
        text!("Premium of speed" | "Keuntungan dari kecepatan"),
        text!("Whether a fast connection buys places." | "Apakah koneksi cepat membeli tempat."),
    ),
    (
        "metered",
        text!("Answered by the engines" | "Dijawab mesin"),
        text!(
            "Requests for bookings and their changes that got an answer, of all openings \
             since the engines were started."
                | "Permintaan pemesanan dan perubahannya yang dijawab, untuk semua pembukaan \
                   sejak mesin dinyalakan."
        ),
    ),
    (
        "metered_grants",
        text!("Granted by the engines" | "Diberikan mesin"),
        text!("Of these, new bookings." | "Di antaranya pemesanan baru."),
    ),
    (
        "repeats",
        text!("Repeats" | "Ulangan"),
        text!(
            "Of these, requests that had been granted before, and were answered so again."
                | "Di antaranya permintaan yang sudah pernah dikabulkan, dan dijawab sama \
                   lagi."
        ),
    ),
    (
        "overloaded",
        text!("Told to come again" | "Diminta datang lagi"),
        text!(
            "Of these, rejected for want of capacity: `busy` or `unavailable`."
                | "Di antaranya ditolak karena kurang daya: terlalu ramai, atau mesin tidak \
                   ada."
        ),
    ),
    (
        "malformed",
        text!("Malformed" | "Tidak dapat dipahami"),
        text!(
            "Of these, requests that no client should send."
                | "Di antaranya permintaan yang seharusnya tidak dikirim siapa pun."
        ),
    ),
    (
        "dropped",
        text!("Dropped" | "Dibuang"),
        text!(
            "Requests without a subject that could be answered on."
                | "Permintaan tanpa alamat untuk menjawab."
        ),
    ),
    (
        "grant_p50_s",
        text!("Half of the grants within" | "Separuh pemberian dalam"),
        text!(
            "From the engine's socket to the answer, for the oldest grant of a block: half of \
             the blocks took at most so long (upper bound of the bucket)."
                | "Dari soket mesin sampai jawaban, untuk pemberian tertua dalam satu blok: \
                   separuh blok paling lama sekian (batas atas kelompoknya)."
        ),
    ),
    (
        "grant_p99_s",
        text!("99 % of the grants within" | "99 % pemberian dalam"),
        text!("The same for 99 in 100 blocks." | "Sama, untuk 99 dari 100 blok."),
    ),
    (
        "queue_p99_s",
        text!("99 % waited for a thread at most" | "99 % menunggu giliran paling lama"),
        text!(
            "How long 99 in 100 groups of requests waited at most for a deciding thread."
                | "Berapa lama paling lama 99 dari 100 kelompok permintaan menunggu untuk \
                   diputuskan."
        ),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_name_of_its_own_and_words() {
        for (place, (name, title, about)) in WORDS.iter().enumerate() {
            assert!(WORDS[..place].iter().all(|(other, ..)| other != name), "{name}");
            for text in [title, about] {
                assert!(!text.english.is_empty() && !text.indonesian.is_empty(), "{name}");
            }
        }
    }
}

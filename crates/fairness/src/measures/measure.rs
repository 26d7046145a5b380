//! The measures, as people and files know them.

use giliran_report::{Language, Text, Unit, text};

use Measure::*;

/// A measure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is explained by `about`")]
pub enum Measure {
    HonestChance,
    ScalperShare,
    LatencyPremium,
    Inversion,
    JainCohorts,
    Families,
    TopTen,
    Hhi,
    GiniAccounts,
    RecycleCapture,
    RecycleFair,
    Waste,
    FirstChoice,
    WaitS,
    InTime,
    RankP,
    Oversell,
    Undersell,
    Replayed,
    Forged,
    Requests,
}

/// What is said of a measure.
struct Known {
    measure: Measure,
    name: &'static str,
    title: Text,
    short: Text,
    unit: Unit,
    about: Text,
}

const fn count(measure: Measure, name: &'static str, title: Text, short: Text) -> Known {
    Known { measure, name, title, short, unit: Unit::Count, about: Text::NONE }
}

const fn share(measure: Measure, name: &'static str, title: Text, short: Text) -> Known {
    Known { unit: Unit::Share, ..count(measure, name, title, short) }
}

const fn ratio(measure: Measure, name: &'static str, title: Text, short: Text) -> Known {
    Known { unit: Unit::Ratio, ..count(measure, name, title, short) }
}

impl Known {
    const fn about(self, about: Text) -> Self {
        Self { about, ..self }
    }
}

/// All of them, in the order of tables.
static KNOWN: [Known; 21] = [
    share(
        HonestChance,
        "honest_chance",
        text!("an honest party's chance" | "peluang rombongan jujur"),
        text!("people's chance" | "peluang warga"),
    )
    .about(text!(
        "Share of the people's parties, scalpers left out, that have a place when the \
         window closes."
            | "Bagian rombongan warga, tanpa calo, yang mendapat tempat saat \
               pembukaan berakhir."
    )),
    share(
        ScalperShare,
        "scalper_share",
        text!("places in scalpers' hands" | "tempat di tangan calo"),
        text!("scalpers hold" | "di tangan calo"),
    )
    .about(text!(
        "Share of all places that scalpers hold when the window closes: the size of \
         the black market."
            | "Bagian dari semua tempat yang dipegang calo saat pembukaan berakhir: \
               besarnya pasar gelap."
    )),
    ratio(
        LatencyPremium,
        "latency_premium",
        text!("premium of speed" | "keuntungan dari kecepatan"),
        text!("speed premium" | "untung kecepatan"),
    )
    .about(text!(
        "How far the tenth with the fastest connections is ahead of the slowest \
         tenth, in parts of the average chance. 0: speed buys nothing."
            | "Seberapa jauh sepersepuluh dengan koneksi tercepat mengungguli \
               sepersepuluh terlambat, dalam bagian peluang rata-rata. 0: kecepatan \
               tidak membeli apa-apa."
    )),
    share(
        Inversion,
        "inversion_rate",
        text!("overtaken: the loser came first" | "didahului: yang kalah datang lebih dulu"),
        text!("overtaken" | "didahului"),
    )
    .about(text!(
        "Of two parties that wanted the same, one won and one lost: how often the \
         loser came first. 0 is pure first-come, 50 % a lottery."
            | "Dari dua rombongan yang menginginkan hal yang sama, satu menang dan \
               satu kalah: seberapa sering yang kalah datang lebih dulu. 0 berarti \
               murni urutan kedatangan, 50 % berarti lotre."
    )),
    ratio(
        JainCohorts,
        "jain_cohorts",
        text!("evenness between groups (Jain)" | "kemerataan antarkelompok (Jain)"),
        text!("evenness" | "kemerataan"),
    )
    .about(text!(
        "Evenness of the success rates of the groups of people: 1 if all are the \
         same."
            | "Kemerataan tingkat keberhasilan antarkelompok warga: 1 bila semuanya \
               sama."
    )),
    ratio(
        Families,
        "family_ratio",
        text!("families against single people" | "keluarga dibanding perorangan"),
        text!("families" | "keluarga"),
    )
    .about(text!(
        "Success of parties of two and more over that of single people. Below 1 they \
         are at a disadvantage: a party needs its places together."
            | "Keberhasilan rombongan dua orang atau lebih dibagi keberhasilan \
               perorangan. Di bawah 1 mereka dirugikan: rombongan memerlukan tempat \
               yang bersamaan."
    )),
    share(
        TopTen,
        "top10_share",
        text!("ten largest accounts" | "sepuluh akun terbesar"),
        text!("ten largest" | "sepuluh terbesar"),
    )
    .about(text!(
        "Share of the granted places that the ten largest accounts hold."
            | "Bagian tempat yang diberikan yang dipegang sepuluh akun terbesar."
    )),
    ratio(
        Hhi,
        "hhi",
        text!("concentration over accounts (HHI)" | "pemusatan pada akun (HHI)"),
        text!("concentration" | "pemusatan"),
    )
    .about(text!(
        "Sum of the squared shares of accounts: 1 if one account has everything."
            | "Jumlah kuadrat bagian setiap akun: 1 bila satu akun memiliki semuanya."
    )),
    ratio(
        GiniAccounts,
        "gini_accounts",
        text!(
            "inequality between winning accounts (Gini)" | "ketimpangan antarakun pemenang (Gini)"
        ),
        text!("inequality" | "ketimpangan"),
    )
    .about(text!(
        "Inequality of places among accounts that have some: 0 if all have the same. \
         Families count as what they are, several people on one account."
            | "Ketimpangan tempat di antara akun yang memilikinya: 0 bila semuanya \
               sama. Keluarga dihitung apa adanya, beberapa orang dalam satu akun."
    )),
    share(
        RecycleCapture,
        "recycle_capture",
        text!(
            "cancelled for a client, and got back"
                | "dibatalkan untuk pelanggan, lalu didapat lagi"
        ),
        text!("got back" | "didapat lagi"),
    )
    .about(text!(
        "Share of the places that scalpers gave back and then got again for a client."
            | "Bagian tempat yang dikembalikan calo lalu didapatkannya lagi untuk \
               pelanggan."
    )),
    share(
        RecycleFair,
        "recycle_base",
        text!("the same, were it a lottery" | "hal yang sama, andai itu lotre"),
        text!("by lot" | "andai lotre"),
    )
    .about(text!(
        "What the line above would be about if all who looked for returned places, \
         scalpers' clients among them, had the same chance: places that came back \
         over people who looked, whatever their office."
            | "Kira-kira nilai baris di atas andai semua yang mencari tempat kembali, \
               termasuk pelanggan calo, berpeluang sama: tempat yang kembali dibagi \
               orang yang mencari, di kantor mana pun."
    )),
    share(
        Waste,
        "waste",
        text!("places nobody used" | "tempat yang tidak terpakai"),
        text!("unused" | "tak terpakai"),
    )
    .about(text!(
        "Places unsold or expired at the end, and those whose people did not come."
            | "Tempat yang tidak terisi atau kedaluwarsa pada akhirnya, dan yang \
               orangnya tidak datang."
    )),
    share(
        FirstChoice,
        "first_choice",
        text!("winners with their first choice" | "pemenang dengan pilihan pertama"),
        text!("first choice" | "pilihan pertama"),
    )
    .about(text!(
        "Share of people's winning parties that got the day they like best."
            | "Bagian rombongan warga yang berhasil dan mendapat hari yang paling \
               disukainya."
    )),
    ratio(
        WaitS,
        "wait_s",
        text!("wait for the result, in seconds" | "menunggu hasil, dalam detik"),
        text!("wait, s" | "tunggu, detik"),
    )
    .about(text!(
        "From a winner's first request to its result, in seconds."
            | "Dari permintaan pertama seorang pemenang sampai hasilnya, dalam detik."
    )),
    share(
        InTime,
        "answered_in_time",
        text!("answered in time" | "dijawab tepat waktu"),
        text!("in time" | "tepat waktu"),
    )
    .about(text!(
        "Requests that got an answer while somebody was still waiting for it."
            | "Permintaan yang dijawab selagi seseorang masih menunggunya."
    )),
    ratio(
        RankP,
        "rank_p",
        text!("evenness of the draw's ranks (p value)" | "kemerataan peringkat undian (nilai p)"),
        text!("ranks, p" | "peringkat, p"),
    )
    .about(text!(
        "Kolmogorov and Smirnov's p value for the draw's ranks: below 0.001 the draw \
         would be suspect."
            | "Nilai p Kolmogorov-Smirnov untuk peringkat undian: di bawah 0,001 \
               undian patut dicurigai."
    )),
    count(
        Oversell,
        "oversell",
        text!("oversold" | "diberikan melebihi kuota"),
        text!("oversold" | "lebih kuota"),
    )
    .about(text!(
        "Places granted beyond a quota, at any moment. Must be 0."
            | "Tempat yang diberikan melebihi kuota, kapan pun. Harus 0."
    )),
    count(
        Undersell,
        "undersell",
        text!("rejected beside a free place" | "ditolak padahal ada tempat"),
        text!("undersold" | "salah tolak"),
    )
    .about(text!(
        "Requests rejected although a fitting place was free. Must be 0."
            | "Permintaan yang ditolak padahal tempat yang cocok masih ada. Harus 0."
    )),
    count(
        Replayed,
        "booked_again_by_replays",
        text!("booked again by replays" | "dipesan lagi oleh kiriman ulang"),
        text!("booked again" | "dipesan lagi"),
    )
    .about(text!(
        "Places that a request was given a second time because somebody sent it \
         again, also after they were given back. Must be 0."
            | "Tempat yang diberikan dua kali untuk satu permintaan karena seseorang \
               mengirimnya ulang, juga setelah dikembalikan. Harus 0."
    )),
    count(
        Forged,
        "changed_by_forgers",
        text!("others' bookings changed" | "pemesanan orang lain berubah"),
        text!("others' changed" | "milik lain berubah"),
    )
    .about(text!(
        "Places of bookings that were given back or moved by somebody who is not in \
         them. Must be 0."
            | "Tempat dalam pemesanan yang dikembalikan atau dipindahkan oleh orang \
               yang tidak tercantum di dalamnya. Harus 0."
    )),
    count(Requests, "requests", text!("requests" | "permintaan"), text!("requests" | "permintaan"))
        .about(text!("Requests that reached the service." | "Permintaan yang sampai ke layanan.")),
];

impl Measure {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 21] = {
        let mut all = [HonestChance; 21];
        let mut place = 0;
        while place < all.len() {
            all[place] = KNOWN[place].measure;
            place += 1;
        }
        all
    };

    const fn known(self) -> &'static Known {
        &KNOWN[self.index()]
    }

    /// The name in files.
    pub const fn name(self) -> &'static str {
        self.known().name
    }

    /// The name for people.
    pub const fn title(self) -> Text {
        self.known().title
    }

    /// The name over a narrow column.
    pub const fn short(self) -> Text {
        self.known().short
    }

    /// What it tells, in a sentence.
    pub const fn about(self) -> Text {
        self.known().about
    }

    pub const fn unit(self) -> Unit {
        self.known().unit
    }

    /// True where it is a share, shown in percent.
    pub const fn is_share(self) -> bool {
        matches!(self.unit(), Unit::Share)
    }

    /// A figure as people read it: shares in percent.
    pub fn shown(self, value: f64, language: Language) -> String {
        self.unit().shown(value, language)
    }

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_long_as_they_need_to_be() {
        let [english, indonesian] = Language::ALL;
        let share = |value| Measure::Waste.shown(value, english);
        assert_eq!(share(1.0), "100 %");
        assert_eq!(share(0.1234), "12.3 %");
        assert_eq!(share(0.01234), "1.23 %");
        assert_eq!(share(0.0), "0.00 %");
        assert_eq!(Measure::Requests.shown(12_345.4, english), "12,345");
        assert_eq!(Measure::Hhi.shown(0.01234, indonesian), "0,012");
    }

    #[test]
    fn the_index_of_a_measure_is_its_place_among_all() {
        for (place, measure) in Measure::ALL.into_iter().enumerate() {
            assert_eq!(measure.index(), place, "{measure:?}");
        }
    }
}

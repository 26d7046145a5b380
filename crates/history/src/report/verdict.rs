//! What the figures say, sentence by sentence.

use giliran_fairness::report::group_name;
use giliran_report::{Language, Unit, say};
use giliran_wire::ledger::Order;

use super::{FLAG_Z, moment};
use crate::measures::OpeningMeasures;
use crate::recorded::{RecordedOpening, State};

/// What is said, sentence by sentence, in one language.
struct Said<'a> {
    figures: &'a OpeningMeasures,
    language: Language,
    said: Vec<String>,
}

/// What the figures say, sentence by sentence.
pub fn verdict(
    recorded: &RecordedOpening,
    figures: &OpeningMeasures,
    language: Language,
) -> Vec<String> {
    let mut said = Said { figures, language, said: vec![standing(recorded, language)] };
    said.places();
    said.rejections();
    if recorded.record.rules.order == Order::Draw {
        said.say(say!(
            language,
            "Whether the draw was held as promised, `giliran verify` recomputes."
                | "Apakah undian diadakan seperti dijanjikan, dihitung ulang oleh `giliran verify`."
        ));
    }
    said.sources();
    said.accounts();
    said.came_back();
    said.groups();
    if let Ok(waste) = figures.of("waste") {
        let waste = language.percent(waste);
        said.say(say!(
            language,
            "{waste} of the places are without a booking." | "{waste} dari tempat tanpa pemesanan."
        ));
    }
    said.said
}

/// What state it is in, in a sentence.
fn standing(recorded: &RecordedOpening, language: Language) -> String {
    let at = moment(recorded, recorded.tail.1, language);
    match recorded.state {
        State::Scheduled => say!(
            language,
            "It has not opened yet, on {at}: there is nothing to judge."
                | "Belum dibuka, pada {at}: belum ada yang dinilai."
        ),
        State::Open => say!(
            language,
            "PRELIMINARY: it is still open, on {at}; every figure may change."
                | "SEMENTARA: masih dibuka, pada {at}; setiap angka dapat berubah."
        ),
        State::Closed if !recorded.days_over() => say!(
            language,
            "It is closed; its days are not over, on {at}: places may still come back and be taken \
             again."
                | "Sudah ditutup; hari-harinya belum lewat, pada {at}: tempat masih dapat kembali dan \
                   dipesan lagi."
        ),
        State::Closed => say!(
            language,
            "It is closed and its days are over, on {at}."
                | "Sudah ditutup dan hari-harinya sudah lewat, pada {at}."
        ),
    }
}

impl Said<'_> {
    fn say(&mut self, sentence: String) {
        self.said.push(sentence);
    }

    /// A number of things; 0 where it is not known.
    fn count(&self, name: &str) -> f64 {
        self.figures.of(name).unwrap_or(0.0)
    }

    /// The same as it is written.
    fn shown(&self, name: &str) -> String {
        self.language.fixed(self.count(name), 0)
    }

    fn places(&mut self) {
        let language = self.language;
        let [oversold, quota, granted, live] =
            ["oversold", "quota", "granted", "live"].map(|name| self.shown(name));
        self.say(match self.count("oversold") {
            n if n > 0.0 => say!(
                language,
                "Wrong: {oversold} places were taken beyond what a slot had."
                    | "Salah: {oversold} tempat diambil melebihi milik sesinya."
            ),
            _ => say!(
                language,
                "{quota} places, {granted} granted, {live} taken at the end: no place was oversold, \
                 at any point of the ledger."
                    | "{quota} tempat, {granted} diberikan, {live} terisi pada akhirnya: tidak ada \
                       tempat yang melebihi kuota, kapan pun dalam buku catatan."
            ),
        });
        if self.count("halted") + self.count("reserved") > 0.0 {
            let [halted, reserved] = ["halted", "reserved"].map(|name| self.shown(name));
            self.say(say!(
                language,
                "{halted} places without a booking were in closed sessions and {reserved} were \
                 reserved, at the end: nobody could have had them."
                    | "{halted} tempat tanpa pemesanan berada dalam sesi yang ditutup dan {reserved} \
                       dicadangkan, pada akhirnya: tidak seorang pun dapat memperolehnya."
            ));
        }
    }

    fn rejections(&mut self) {
        let language = self.language;
        let [undersold, unclear] = ["undersold", "unclear"].map(|name| self.shown(name));
        self.say(match (self.figures.of("undersold"), self.count("unclear")) {
            (Err(_), _) => say!(
                language,
                "Whether anybody was rejected beside a free place cannot be judged: the ledger holds \
                 no rejection counts, and there is no gateway log."
                    | "Apakah ada yang ditolak padahal ada tempat tidak dapat dinilai: buku catatan \
                       tidak memuat hitungan penolakan, dan tidak ada catatan gerbang."
            ),
            (Ok(n), _) if n > 0.0 => say!(
                language,
                "Wrong: {undersold} requests were rejected beside free places."
                    | "Salah: {undersold} permintaan ditolak padahal ada tempat."
            ),
            (_, n) if n > 0.0 => say!(
                language,
                "No rejection is known to have been beside a free place; {unclear} cannot be judged."
                    | "Tidak diketahui ada penolakan padahal ada tempat; {unclear} tidak dapat dinilai."
            ),
            _ => say!(
                language,
                "No rejection is known to have been beside a free place."
                    | "Tidak diketahui ada penolakan padahal ada tempat."
            ),
        });
    }

    /// Where gateway log and metrics do not fit the ledger.
    fn sources(&mut self) {
        let language = self.language;
        if self.figures.missing > 0 {
            let missing = language.count(self.figures.missing);
            self.say(say!(
                language,
                "Wrong: {missing} answers in the gateway log tell of bookings that the ledger does \
                 not hold."
                    | "Salah: {missing} jawaban dalam catatan gerbang menyebut pemesanan yang tidak ada \
                       dalam buku catatan."
            ));
        }
        if let (Ok(counted), Ok(booked)) =
            (self.figures.of("metered_grants"), self.figures.of("bookings"))
            && counted < booked
        {
            let [counted, booked] = [counted, booked].map(|n| language.fixed(n, 0));
            self.say(say!(
                language,
                "The metrics tell of {counted} grants, the ledger of {booked}: the page of an engine \
                 is missing, or one was started anew. Figures from the metrics are of the rest alone."
                    | "Metrik menyebut {counted} pemberian, buku catatan {booked}: halaman sebuah mesin \
                       hilang, atau mesinnya dinyalakan ulang. Angka dari metrik hanya tentang sisanya."
            ));
        }
    }

    fn accounts(&mut self) {
        let language = self.language;
        let of = |name| self.figures.of(name);
        if let (Ok(accounts), Ok(top), Ok(largest)) = (of("accounts"), of("top_ten"), of("largest"))
        {
            let [accounts, largest] = [accounts, largest].map(|n| language.fixed(n, 0));
            let top = language.percent(top);
            self.say(say!(
                language,
                "{accounts} accounts hold places; the ten largest {top} of them, the largest \
                 {largest} places. Who stands behind an account the ledger does not know."
                    | "{accounts} akun memegang tempat; sepuluh yang terbesar {top} di antaranya, yang \
                       terbesar {largest} tempat. Siapa di balik sebuah akun tidak diketahui buku \
                       catatan."
            ));
        }
    }

    fn came_back(&mut self) {
        let language = self.language;
        if self.count("came_back") <= 0.0 {
            return;
        }
        let again = self.figures.of("to_regrant_s").map_or(String::new(), |seconds| {
            let within = Unit::Seconds.shown(seconds, language);
            say!(language, ", half of them within {within}" | ", separuhnya dalam {within}")
        });
        let [came, regranted] = ["came_back", "regranted"].map(|name| self.shown(name));
        self.say(say!(
            language,
            "{came} places came back, {regranted} were taken again{again}."
                | "{came} tempat kembali, {regranted} dipesan lagi{again}."
        ));
        if let Some(share) = self.figures.of("recapture").ok().filter(|share| *share > 0.0) {
            let share = language.percent(share);
            self.say(say!(
                language,
                "{share} of the released places went to the account that had given them back."
                    | "{share} dari tempat yang dibuka lagi jatuh ke akun yang mengembalikannya."
            ));
        }
    }

    fn groups(&mut self) {
        let language = self.language;
        for group in &self.figures.groups {
            if let (Some(z), Some(ratio)) = (group.fared.z, group.fared.ratio)
                && z.abs() > FLAG_Z
            {
                let name = group_name(group.kind, &group.name, language);
                let [ratio, z] = [ratio, z.abs()].map(|x| language.digits(x));
                self.said.push(say!(
                    language,
                    "Not served evenly: {name}, {ratio} times the usual success, {z} standard \
                     deviations from an even hand."
                        | "Tidak dilayani merata: {name}, {ratio} kali keberhasilan umumnya, {z} \
                           simpangan baku dari keadaan merata."
                ));
            }
        }
    }
}

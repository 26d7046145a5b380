//! Verdicts in plain sentences.

use giliran_fairness::report::{group_name, with_order};
use giliran_report::{Language, say, text};

use super::part_of_askers;
use crate::{Ended, Forgeries, RunSummary};

/// What is said, sentence by sentence, in one language.
struct Said<'a> {
    record: &'a RunSummary,
    language: Language,
    said: Vec<String>,
}

/// What the run says, sentence by sentence.
pub fn verdict(record: &RunSummary, language: Language) -> Vec<String> {
    let mut said = Said { record, language, said: Vec::new() };
    said.ended();
    said.promises();
    said.forgeries();
    said.places();
    said.order();
    said.scalpers();
    said.payments();
    said.cohorts();
    said.latency();
    said.said
}

impl Said<'_> {
    fn say(&mut self, sentence: String) {
        self.said.push(sentence);
    }

    fn percent(&self, share: f64) -> String {
        self.language.percent(share)
    }

    /// The order, as part of a sentence.
    fn announced(&self) -> String {
        with_order(&self.record.order, false, self.language)
    }

    fn ended(&mut self) {
        let (record, language) = (self.record, self.language);
        match record.ended {
            Ended::Complete => {}
            Ended::Interrupted { at_s } => {
                let at = language.fixed(at_s, 0);
                self.say(say!(
                    language,
                    "It was interrupted at second {at}: what follows is of those who had come until \
                     then."
                        | "Percobaan dihentikan pada detik ke-{at}: yang berikut ini tentang mereka \
                           yang datang sampai saat itu."
                ));
            }
            Ended::EngineGone { at_s } => {
                let at = language.fixed(at_s, 0);
                self.say(say!(
                    language,
                    "The engine stopped answering at second {at}, and did not come back: what follows \
                     is of what was answered until then."
                        | "Mesin berhenti menjawab pada detik ke-{at} dan tidak kembali: yang berikut \
                           ini tentang yang dijawab sampai saat itu."
                ));
            }
        }
        if let Some(void) = &record.void {
            let why = void.words(language);
            self.say(say!(language, "Void: {why}." | "Tidak berlaku: {why}."));
        }
        if let Some(denied) = &record.order_denied {
            let (seen, announced) = (denied.words(language), self.announced());
            self.say(say!(
                language,
                "The order is not the one that was announced: scalpers bought for {announced}, but \
                 {seen}. Name the engine's own with --order."
                    | "Caranya bukan yang diumumkan: calo membeli untuk {announced}, tetapi {seen}. \
                       Sebutkan cara mesin itu dengan --order."
            ));
        }
    }

    fn promises(&mut self) {
        let (record, language) = (self.record, self.language);
        let twice = record.figure("numbers_twice").unwrap_or(0.0);
        self.say(if twice == 0.0 && record.second_answers == 0 {
            say!(
                language,
                "By what clients were told, no queue number was given twice and no request was \
                 answered twice."
                    | "Menurut yang dikatakan kepada pengguna, tidak ada nomor antrean yang diberikan \
                       dua kali dan tidak ada permintaan yang dijawab dua kali."
            )
        } else {
            let (twice, second) = (language.fixed(twice, 0), language.count(record.second_answers));
            say!(
                language,
                "Wrong: {twice} queue numbers given twice, {second} second answers."
                    | "Salah: {twice} nomor antrean diberikan dua kali, {second} jawaban kedua."
            )
        });
    }

    fn forgeries(&mut self) {
        let language = self.language;
        let Forgeries { replays, replayed, forged, changed, looked } = self.record.forgeries;
        let wrong = |count: u64| match count {
            0 => say!(language, "Of" | "Dari"),
            _ => say!(language, "Wrong: of" | "Salah: dari"),
        };
        if replays > 0 {
            let of = wrong(replayed);
            let [replays, replayed] = [replays, replayed].map(|n| language.count(n));
            self.say(say!(
                language,
                "{of} {replays} requests that were sent once more by others, {replayed} got another \
                 booking than the first time."
                    | "{of} {replays} permintaan yang dikirim ulang orang lain, {replayed} mendapat \
                       pemesanan lain daripada yang pertama."
            ));
        }
        if forged > 0 {
            let of = wrong(changed);
            let [forged, changed, looked] = [forged, changed, looked].map(|n| language.count(n));
            self.say(say!(
                language,
                "{of} {forged} attempts to give back, move or look up other people's bookings, \
                 {changed} changed or told one; the owners of {looked} looked afterwards."
                    | "{of} {forged} upaya mengembalikan, memindahkan, atau melihat pemesanan orang \
                       lain, {changed} mengubah atau membuka satu; pemilik {looked} pemesanan memeriksa \
                       sesudahnya."
            ));
        }
    }

    fn places(&mut self) {
        let (record, language) = (self.record, self.language);
        let left = record.series.last().and_then(|bin| bin.free).map_or(String::new(), |left| {
            let left = language.count(left);
            say!(language, "; {left} are free at the end" | "; {left} masih tersedia pada akhirnya")
        });
        let free = language.count(record.free_before);
        let [granted, bookings] = [record.granted, record.bookings].map(|n| language.count(n));
        self.say(say!(
            language,
            "Of {free} free places, {granted} were granted in {bookings} bookings{left}."
                | "Dari {free} tempat tersedia, {granted} diberikan dalam {bookings} pemesanan{left}."
        ));
        if record.entered > 0 {
            let entered = language.count(record.entered);
            self.say(say!(
                language,
                "{entered} parties were entered into a draw; whoever has no place above was not \
                 drawn, or the draw was not held while this run lasted."
                    | "{entered} rombongan terdaftar ke sebuah undian; yang tanpa tempat di atas tidak \
                       terundi, atau undiannya tidak diadakan selama percobaan ini."
            ));
        }
    }

    fn order(&mut self) {
        let (record, language) = (self.record, self.language);
        if let Some(rate) = record.figure("inversion_rate") {
            let kind = match rate {
                r if r <= 0.01 => {
                    say!(language, "as under pure first-come" | "seperti murni urutan kedatangan")
                }
                r if (0.45..=0.55).contains(&r) => {
                    say!(language, "as in a lottery" | "seperti dalam lotre")
                }
                _ => say!(
                    language,
                    "between first-come (0 %) and a lottery (50 %)"
                        | "antara urutan kedatangan (0 %) dan lotre (50 %)"
                ),
            };
            let rate = self.percent(rate);
            self.say(say!(
                language,
                "Of two parties that wanted the same, the loser had come first in {rate} of the cases: \
                 {kind}."
                    | "Dari dua rombongan yang menginginkan hal yang sama, yang kalah datang lebih dulu \
                       dalam {rate} kejadian: {kind}."
            ));
        }
        if let (Some(first), Some(last)) = (record.deciles.first(), record.deciles.last()) {
            let [first, last] = [first, last].map(|share| language.percent(*share));
            self.say(say!(
                language,
                "Of people with the fastest tenth of connections {first} have a place, of the slowest \
                 tenth {last}."
                    | "Dari warga dengan sepersepuluh koneksi tercepat {first} mendapat tempat, dari \
                       sepersepuluh terlambat {last}."
            ));
        }
    }

    fn scalpers(&mut self) {
        let (record, language) = (self.record, self.language);
        if let Some(share) = record.figure("scalper_share") {
            let (share, part) = (self.percent(share), self.percent(part_of_askers(record)));
            let announced = self.announced();
            self.say(say!(
                language,
                "Scalpers hold {share} of the granted places; they are {part} of those who asked, and \
                 bought for {announced}."
                    | "Calo memegang {share} dari tempat yang diberikan; mereka {part} dari para \
                       peminta, dan membeli untuk {announced}."
            ));
        }
        if let Some(captured) = record.figure("recycle_capture") {
            let captured = self.percent(captured);
            self.say(say!(
                language,
                "Of the places that scalpers gave back to book them again for a client, they got \
                 {captured} back."
                    | "Dari tempat yang dikembalikan calo untuk dipesan lagi bagi pelanggan, mereka \
                       mendapat kembali {captured}."
            ));
        }
    }

    fn payments(&mut self) {
        let (record, language) = (self.record, self.language);
        let payments = &record.payments;
        if payments.held == 0 {
            return;
        }
        let paid = language.count(payments.paid);
        let mut parts = vec![say!(language, "{paid} were paid" | "{paid} dibayar")];
        let (left, lapsed) = (payments.left, language.count(payments.lapsed));
        for (n, what) in [
            (
                payments.rejected,
                text!(
                    "payments were rejected, as too late" | "pembayaran ditolak karena terlambat"
                ),
            ),
            (payments.unanswered, text!("payments were not answered" | "pembayaran tidak dijawab")),
            (
                payments.later,
                text!(
                    "were to be paid after the run had ended"
                        | "akan dibayar setelah percobaan berakhir"
                ),
            ),
            (left, text!("were left to lapse" | "dibiarkan gugur")),
        ] {
            if n > 0 {
                parts.push(format!("{} {}", language.count(n), what.of(language)));
            }
        }
        let (held, parts) = (language.count(payments.held), parts.join(", "));
        let mut text = say!(
            language,
            "Of {held} held bookings {parts}" | "Dari {held} pemesanan tertahan {parts}"
        );
        if left > 0 {
            text.push_str(&say!(
                language,
                ", of which {lapsed} were seen to have lapsed"
                    | ", {lapsed} di antaranya terlihat gugur"
            ));
        }
        if payments.overdue > 0 {
            let overdue = language.count(payments.overdue);
            text.push_str(&say!(
                language,
                " and {overdue} were held seconds after their time"
                    | " dan {overdue} masih ditahan beberapa detik setelah waktunya"
            ));
        }
        self.say(text + ".");
        if let Some(share) = record.figure("scalper_share_paid") {
            let share = self.percent(share);
            self.say(say!(
                language,
                "Scalpers have {share} of the places that were paid."
                    | "Calo memiliki {share} dari tempat yang dibayar."
            ));
        }
    }

    fn cohorts(&mut self) {
        let (record, language) = (self.record, self.language);
        let flagged = record.groups.iter().filter(|group| group.flagged);
        let flagged: Vec<String> = flagged
            .map(|group| {
                let name = group_name(group.kind, &group.name, language);
                let ratio = language.digits(group.ratio.unwrap_or(0.0));
                let z = language.fixed(group.z.unwrap_or(0.0), 1);
                say!(
                    language,
                    "{name} {ratio} times the average (z {z})"
                        | "{name} {ratio} kali rata-rata (z {z})"
                )
            })
            .collect();
        if !flagged.is_empty() {
            let flagged = flagged.join("; ");
            self.say(say!(
                language,
                "Not served evenly: {flagged}." | "Tidak dilayani merata: {flagged}."
            ));
        } else if record.tested > 0 {
            let tested = language.count(record.tested);
            self.say(say!(
                language,
                "No group of people, channel or device was served better than others beyond chance, \
                 at 1 % for all {tested} tests together."
                    | "Tidak ada kelompok warga, saluran, atau perangkat yang dilayani lebih baik di \
                       luar kebetulan, pada taraf 1 % untuk seluruh {tested} pengujian."
            ));
        }
    }

    fn latency(&mut self) {
        let (record, language) = (self.record, self.language);
        if record.grants.count > 0 {
            let [p50, p99] = [record.grants.p50, record.grants.p99].map(|ms| language.digits(ms));
            self.say(say!(
                language,
                "Half of the grants were answered within {p50} ms, 99 % within {p99} ms of the moment \
                 their request was due."
                    | "Separuh pemberian dijawab dalam {p50} milidetik, 99 % dalam {p99} milidetik sejak \
                       permintaannya seharusnya berangkat."
            ));
        }
        if let Some(in_time) = record.figure("answered_in_time") {
            let in_time = self.percent(in_time);
            self.say(say!(
                language,
                "{in_time} of the requests were settled while somebody was still waiting."
                    | "{in_time} dari permintaan selesai diputuskan selagi seseorang masih menunggu."
            ));
        }
    }
}

//! The report as a page.

use giliran_fairness::scenario::named;
use giliran_report::times::Zone;
use giliran_report::{Document, Language, Table, say, text};

use super::head::head;
use super::{about, charts, groups, identities, latencies, reasons, verdict};
use crate::RunSummary;
use crate::doubts::in_words;

pub(super) fn page(record: &RunSummary, language: Language) -> Document {
    let scenario = &record.scenario;
    let title = say!(language, "Rehearsal: {scenario}" | "Gladi: {scenario}");
    let mut page = Document::titled(language, &title);
    page.title(title);
    page.head(head(record, language));
    page.lead(about(record, language));
    page.facts(facts(record, language));
    page.heading(say!(language, "What the figures say" | "Yang dikatakan angka-angka"));
    page.points(verdict(record, language));
    page.heading(say!(language, "The first ten seconds" | "Sepuluh detik pertama"));
    page.charts(charts::first_seconds(record, language));
    page.heading(say!(language, "What happened when" | "Apa yang terjadi kapan"));
    page.charts([
        charts::arrivals(record, language),
        charts::answers(record, language),
        charts::free(record, language),
    ]);
    page.heading(say!(language, "How long answers took" | "Berapa lama jawabannya"));
    page.charts([charts::service(record, language), charts::felt(record, language)]);
    page.text(say!(
        language,
        "Milliseconds, from the moment a request was due. How late requests left is the load \
         generator's own lag, and part of the other figures."
            | "Milidetik, sejak permintaan seharusnya berangkat. Keterlambatan berangkat adalah milik \
               pembangkit beban sendiri, dan termasuk dalam angka lainnya."
    ));
    page.table(latencies(record, true, language));
    page.heading(say!(language, "Who got the places" | "Siapa mendapat tempat"));
    page.charts([
        charts::scalpers(record, language),
        charts::of_deciles(record, language),
        charts::cohorts(record, language),
    ]);
    who(record, &mut page, language);
    page.heading(say!(language, "All figures" | "Semua angka"));
    page.table(counts(record, language));
    if !record.by_office.is_empty() {
        page.subheading(say!(
            language,
            "Places granted by office" | "Tempat yang diberikan menurut kantor"
        ));
        let mut table = Table::new([text!("granted" | "diberikan").of(language)]);
        for (office, n) in &record.by_office {
            table.row(office, [language.count(n)]);
        }
        page.table(table);
    }
    page.heading(say!(language, "What each figure means" | "Arti setiap angka"));
    page.terms(
        record.figures.iter().map(|figure| (figure.title.of(language), figure.about.of(language))),
    );
    page.heading(say!(language, "How it came about" | "Bagaimana ini dibuat"));
    page.text(how(record, language));
    page
}

fn facts(record: &RunSummary, language: Language) -> Vec<(&'static str, String)> {
    let opened = Zone::named(&record.timezone).moment(language, record.opened_at.as_millis());
    let took = language.fixed(record.took_s, 1);
    let mut facts = vec![
        (text!("opening" | "pembukaan"), record.opening.clone()),
        (text!("its first second" | "detik pertamanya"), opened),
        (
            text!("order, as announced" | "cara, seperti diumumkan"),
            in_words(&record.order, language),
        ),
        (text!("parties of people" | "rombongan warga"), language.count(record.people)),
        (text!("scalpers' identities" | "identitas calo"), language.count(identities(record))),
        (
            text!("free places before" | "tempat tersedia sebelumnya"),
            language.count(record.free_before),
        ),
        (text!("offices" | "kantor"), language.count(record.offices)),
        (text!("requests" | "permintaan"), language.count(record.requests)),
        (text!("took" | "lamanya"), say!(language, "{took} s" | "{took} detik")),
        (text!("seed" | "benih acak"), language.count(record.seed)),
    ];
    if record.scale != 1.0 {
        let scale = language.digits(record.scale);
        facts.push((text!("people and scalpers times" | "warga dan calo dikali"), scale));
    }
    if record.speed != 1.0 {
        facts.push((text!("times as fast" | "kali lebih cepat"), language.digits(record.speed)));
    }
    if record.offices_unasked > 0 {
        let unasked = language.count(record.offices_unasked);
        facts.push((text!("offices not asked at" | "kantor yang tidak dimintai"), unasked));
    }
    facts.into_iter().map(|(name, value)| (name.of(language), value)).collect()
}

fn who(record: &RunSummary, page: &mut Document, language: Language) {
    page.text(say!(
        language,
        "1 is even. People's groups are compared with all people, scalpers with everybody; z counts \
         standard deviations from an even hand. Groups of people, channels and devices are tested; \
         what is flagged (⚑) is not by chance, at 1 % for all tests together."
            | "1 berarti merata. Kelompok warga dibandingkan dengan semua warga, calo dengan semua \
               orang; z menghitung simpangan baku dari keadaan merata. Kelompok warga, saluran, dan \
               perangkat diuji; yang ditandai (⚑) bukan kebetulan, pada taraf 1 % untuk semua \
               pengujian bersama."
    ));
    page.table(groups(record, false, language));
    if record.attackers.is_empty() {
        return;
    }
    page.subheading(say!(language, "What scalpers have" | "Yang dimiliki calo"));
    let order = in_words(&record.order, language);
    page.text(say!(
        language,
        "Those with a budget tried, in a small copy of the scenario under the order that was \
         announced ({order}), every way to spend it in quarters, and took what paid best."
            | "Yang beranggaran mencoba, dalam salinan kecil skenario dengan cara yang diumumkan \
               ({order}), semua pembagian seperempatan, lalu mengambil yang paling menguntungkan."
    ));
    let heads = [
        text!("identities" | "identitas"),
        text!("accounts" | "akun"),
        text!("fast connections" | "koneksi cepat"),
    ];
    let mut table = Table::new(heads.map(|head| head.of(language)));
    for (name, means) in &record.attackers {
        let cells = [means.identities, means.accounts, means.connections];
        table.row(named(name, language), cells.map(|n| language.count(n)));
    }
    page.table(table);
}

fn counts(record: &RunSummary, language: Language) -> Table {
    let mut table = Table::new([text!("this run" | "percobaan ini").of(language)]);
    table.figures(&record.figures, None, language);
    let mut count = |name: &str, n: u64| table.row(name, [language.count(n)]);
    count(text!("requests" | "permintaan").of(language), record.requests);
    count(text!("bookings answered" | "pemesanan yang dijawab").of(language), record.bookings);
    if record.entered > 0 {
        count(text!("entered into a draw" | "terdaftar ke undian").of(language), record.entered);
    }
    let payments = &record.payments;
    if payments.held > 0 {
        for (name, n) in [
            (text!("held until paid" | "ditahan sampai dibayar"), payments.held),
            (text!("paid" | "dibayar"), payments.paid),
            (text!("payments rejected" | "pembayaran ditolak"), payments.rejected),
            (text!("payments not answered" | "pembayaran tanpa jawaban"), payments.unanswered),
            (text!("to be paid after the run" | "dibayar setelah percobaan"), payments.later),
            (text!("left to lapse" | "dibiarkan gugur"), payments.left),
            (text!("seen to have lapsed" | "terlihat gugur"), payments.lapsed),
            (
                text!("held seconds after their time" | "masih ditahan beberapa detik kemudian"),
                payments.overdue,
            ),
        ] {
            count(name.of(language), n);
        }
    }
    for (reason, n) in reasons(record, language) {
        table.row(say!(language, "rejected: {reason}" | "ditolak: {reason}"), [n]);
    }
    let mut count = |name: &str, n: u64| table.row(name, [language.count(n)]);
    count(text!("nobody listened" | "tidak ada yang mendengar").of(language), record.unheard);
    count(text!("no answer in time" | "tanpa jawaban tepat waktu").of(language), record.unanswered);
    count(text!("answered twice" | "dijawab dua kali").of(language), record.second_answers);
    table
}

/// How it came about.
fn how(record: &RunSummary, language: Language) -> String {
    let mut how = say!(
        language,
        "People and scalpers were made from a seed and asked a running engine over NATS, each \
         request at its moment, whatever the others waited for. The way from a person to the service \
         and back is simulated: a request leaves half of it later, and what comes of its answer \
         begins half of it later. Everything here is what clients were told; nothing is the engine's \
         own count, but for the free places. One run says nothing of how far chance moves these \
         figures."
            | "Warga dan calo dibuat dari benih acak dan meminta pada mesin yang berjalan lewat NATS, \
               setiap permintaan pada saatnya, apa pun yang ditunggu yang lain. Jalan dari orang ke \
               layanan dan kembali disimulasikan: permintaan berangkat separuh jalan lebih lambat, dan \
               akibat jawabannya mulai separuh jalan lebih lambat. Semua di sini adalah yang dikatakan \
               kepada pengguna; tidak ada hitungan mesin sendiri, kecuali tempat tersedia. Satu \
               percobaan tidak mengatakan seberapa jauh kebetulan menggeser angka-angka ini."
    );
    if record.speed != 1.0 {
        let speed = language.digits(record.speed);
        how.push_str(&say!(
            language,
            " Arrivals, ways and pauses passed {speed} times as fast as in life; the engine's latency \
             is in real milliseconds."
                | " Kedatangan, jalan, dan jeda berlangsung {speed} kali secepat kenyataan; waktu jawab \
                   mesin dalam milidetik yang sebenarnya."
        ));
    }
    if record.sampled {
        how.push_str(&say!(
            language,
            " Order and speed are judged by an even sample of a million of the people."
                | " Urutan dan kecepatan dinilai dari sampel merata sejuta warga."
        ));
    }
    how
}

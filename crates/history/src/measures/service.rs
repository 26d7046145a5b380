//! How the service fared, by the engines' own metrics.

use giliran_report::{Figures, Text, text};

use crate::metrics_page::Metrics;

const NO_METRICS: Text =
    text!("no metrics page of an engine was given" | "halaman metrik mesin tidak diberikan");
const NOT_TIMED: Text = text!(
    "the metrics hold no grant, or it took longer than they tell"
        | "metrik tidak memuat pemberian tempat, atau lamanya di luar yang ditunjukkannya"
);

/// What the pages tell; they count all openings since their engines were started.
pub(super) fn service(metrics: Option<&Metrics>, into: &mut Figures) {
    let count = |n: fn(&Metrics) -> u64| metrics.map(|m| n(m) as f64).ok_or(NO_METRICS);
    let time = |at: fn(&Metrics) -> Option<f64>| match metrics {
        Some(metrics) => at(metrics).ok_or(NOT_TIMED),
        None => Err(NO_METRICS),
    };
    into.count("metered", text!("Answered by the engines" | "Dijawab mesin"), count(Metrics::answers)).about(text!("Requests for bookings and their changes that got an answer, of all openings since the \
         engines were started." | "Permintaan pemesanan dan perubahannya yang dijawab, untuk semua pembukaan sejak mesin dinyalakan."));
    into.count(
        "metered_grants",
        text!("Granted by the engines" | "Diberikan mesin"),
        count(|m| m.outcome("granted")),
    )
    .about(text!("Of these, new bookings." | "Di antaranya pemesanan baru."));
    into.count("repeats", text!("Repeats" | "Ulangan"), count(|m| m.outcome("repeated"))).about(
        text!(
            "Of these, requests that had been granted before, and were answered so again."
                | "Di antaranya permintaan yang sudah pernah dikabulkan, dan dijawab sama lagi."
        ),
    );
    into.count(
        "overloaded",
        text!("Told to come again" | "Diminta datang lagi"),
        count(|m| m.rejected(&["busy", "unavailable"])),
    )
    .about(text!(
        "Of these, rejected for want of capacity: `busy` or `unavailable`."
            | "Di antaranya ditolak karena kurang daya: terlalu ramai, atau mesin tidak ada."
    ));
    into.count(
        "malformed",
        text!("Malformed" | "Tidak dapat dipahami"),
        count(|m| m.rejected(&["malformed"])),
    )
    .about(text!(
        "Of these, requests that no client should send."
            | "Di antaranya permintaan yang seharusnya tidak dikirim siapa pun."
    ));
    into.count("dropped", text!("Dropped" | "Dibuang"), count(|m| m.dropped)).about(text!(
        "Requests without a subject that could be answered on."
            | "Permintaan tanpa alamat untuk menjawab."
    ));
    into.seconds("grant_p50_s", text!("Half of the grants within" | "Separuh pemberian dalam"), time(|m| m.grants.quantile(0.5))).about(text!("From the engine's socket to the answer, for the oldest grant of a block: half of the \
         blocks took at most so long (upper bound of the bucket)." | "Dari soket mesin sampai jawaban, untuk pemberian tertua dalam satu blok: separuh blok paling lama sekian (batas atas kelompoknya)."));
    into.seconds(
        "grant_p99_s",
        text!("99 % of the grants within" | "99 % pemberian dalam"),
        time(|m| m.grants.quantile(0.99)),
    )
    .about(text!("The same for 99 in 100 blocks." | "Sama, untuk 99 dari 100 blok."));
    into.seconds(
        "queue_p99_s",
        text!("99 % waited for a thread at most" | "99 % menunggu giliran paling lama"),
        time(|m| m.queue.quantile(0.99)),
    )
    .about(text!(
        "How long 99 in 100 groups of requests waited at most for a deciding thread."
            | "Berapa lama paling lama 99 dari 100 kelompok permintaan menunggu untuk diputuskan."
    ));
}

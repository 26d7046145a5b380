//! A replay, side by side with what was recorded.

use giliran_fairness::report::group_name;
use giliran_report::{Document, Language, Table, say, text};
use serde_json::{Value, json};

use crate::replay::{Replay, Unsaid};

/// Side by side, for a terminal.
pub fn replayed(replay: &Replay, language: Language) -> String {
    let mut screen = Document::new(language);
    let (id, requests) = (&replay.opening, language.count(replay.requests));
    screen.text(say!(
        language,
        "Measured: who asked and who got places. Recomputed: who would have got them, by the code that \
         decides."
            | "Diukur: siapa yang meminta dan siapa yang mendapat tempat. Dihitung ulang: siapa yang akan \
               mendapatnya, oleh program yang memutuskan."
    ));
    screen.lead(say!(
        language,
        "Opening {id}: {requests} requests, decided again by the same code"
            | "Pembukaan {id}: {requests} permintaan, diputuskan lagi oleh program yang sama"
    ));
    let share = |share: Option<f64>| {
        let unknown = || text!("not known" | "tidak diketahui").of(language).to_owned();
        share.map_or_else(unknown, |share| language.percent(share))
    };
    let heads = [
        text!("got places" | "mendapat tempat"),
        text!("lost them" | "kehilangan"),
        text!("gained them" | "memperoleh"),
        text!("places" | "tempat"),
        text!("ten largest" | "sepuluh terbesar"),
    ];
    let mut orders = Table::new(heads.map(|head| head.of(language)));
    let [won, places] = [replay.won, replay.places].map(|n| language.count(n));
    let order = order(&replay.order, language);
    let name = say!(language, "as recorded ({order})" | "seperti tercatat ({order})");
    orders.row(name, [won, String::new(), String::new(), places, share(replay.top_ten)]);
    for arm in &replay.arms {
        let counts = [arm.both + arm.gained, arm.lost, arm.gained, arm.places];
        let counts = counts.into_iter().map(|n| language.count(n));
        orders.row(self::order(&arm.order, language), counts.chain([share(arm.top_ten)]));
    }
    screen.table(orders);
    screen.table(groups(replay, language));
    screen.points(replay.unsaid.iter().map(|unsaid| unsaid.words(language)));
    screen.as_text()
}

/// An order by its name in files, in words.
fn order(name: &str, language: Language) -> String {
    let written = name.replace("rounds ", "rounds=").replace(' ', "");
    let order = written.parse::<giliran_wire::ledger::Order>();
    order.map_or(name.to_owned(), |order| {
        giliran_fairness::report::order_name(&order, false, language)
    })
}

fn groups(replay: &Replay, language: Language) -> Table {
    let heads = [text!("asked" | "meminta"), text!("recorded" | "tercatat")];
    let heads = heads.into_iter().map(|head| head.of(language).to_owned());
    let heads = heads.chain(replay.arms.iter().map(|arm| order(&arm.order, language)));
    let corner = say!(language, "Who gets places" | "Siapa mendapat tempat");
    let mut groups = Table { corner, ..Table::new(heads) };
    for row in &replay.rows {
        let name = match row.kind {
            "asked" => tenth(&row.name, language),
            kind => group_name(kind, &row.name, language),
        };
        let rate = |won: &u64| language.percent(*won as f64 / row.asked.max(1) as f64);
        let asked = language.count(row.asked);
        groups.row(name, [asked].into_iter().chain(row.won.iter().map(rate)));
    }
    groups
}

/// `1 tenth` in words.
fn tenth(name: &str, language: Language) -> String {
    let n = name.trim_end_matches(" tenth");
    say!(language, "tenth of the line: {n} of 10" | "sepersepuluh antrean: {n} dari 10")
}

impl Unsaid {
    pub fn words(self, language: Language) -> String {
        let n = language.count(match self {
            Self::Again(n)
            | Self::Barred(n)
            | Self::Early(n)
            | Self::WithoutChoices(n)
            | Self::Unseen(n) => n,
            Self::NobodyMissing | Self::RejectedMissing | Self::Otherwise => 0,
        });
        match self {
            Self::Again(_) => say!(
                language,
                "{n} bookings got places that had come back; they count as without one here: in a \
                 replay nobody gives a place back."
                    | "{n} pemesanan mendapat tempat yang sudah kembali; di sini dihitung tanpa tempat: \
                       dalam pengulangan tidak ada yang mengembalikan tempat."
            ),
            Self::NobodyMissing => say!(
                language,
                "Everybody who entered is in the ledger: nobody is missing."
                    | "Semua yang mendaftar ada dalam buku catatan: tidak ada yang hilang."
            ),
            Self::RejectedMissing => say!(
                language,
                "The rejected are missing: the ledger holds those who got places (with the slot they \
                 got as their only choice) and those who entered or waited. Whoever was turned away \
                 cannot win here, so another order can look no better than this; a gateway log \
                 (--gateway-log) holds them."
                    | "Yang ditolak tidak ada: buku catatan memuat mereka yang mendapat tempat (dengan \
                       sesi yang didapat sebagai satu-satunya pilihan) dan mereka yang mendaftar atau \
                       menunggu. Yang ditolak tidak dapat menang di sini, maka cara lain tidak dapat \
                       tampak lebih baik; catatan gerbang (--gateway-log) memuat mereka."
            ),
            Self::Barred(_) => say!(
                language,
                "{n} requests are left out that every order would reject (malformed, no such slot, \
                 not permitted, a conflict)."
                    | "{n} permintaan dikeluarkan karena ditolak dengan cara apa pun (tidak dapat \
                       dipahami, sesi tidak ada, tidak berhak, bertentangan)."
            ),
            Self::Early(_) => say!(
                language,
                "{n} askers are left out who were never answered while the opening was open."
                    | "{n} peminta dikeluarkan karena tidak pernah dijawab selama pembukaan."
            ),
            Self::WithoutChoices(_) => say!(
                language,
                "{n} askers are left out whose choices the log does not hold."
                    | "{n} peminta dikeluarkan karena pilihannya tidak ada dalam catatan gerbang."
            ),
            Self::Unseen(_) => say!(
                language,
                "{n} bookings the log does not know take part with the slot they got as their only \
                 choice."
                    | "{n} pemesanan yang tidak dikenal catatan gerbang ikut serta dengan sesi yang \
                       didapat sebagai satu-satunya pilihan."
            ),
            Self::Otherwise => say!(
                language,
                "Whoever would have asked otherwise under another order (later, for other days, not \
                 at all) is not known: the requests are those made under the order in force."
                    | "Siapa yang akan meminta secara lain dengan cara lain (lebih lambat, untuk hari \
                       lain, tidak sama sekali) tidak diketahui: permintaannya adalah yang dibuat dengan \
                       cara yang berlaku."
            ),
        }
    }
}

/// The same for machines.
pub fn replayed_json(replay: &Replay) -> Value {
    let arms = replay.arms.iter().map(|arm| {
        json!({
            "order": arm.order, "got": arm.both + arm.gained, "both": arm.both, "lost": arm.lost,
            "gained": arm.gained, "places": arm.places, "top_ten": arm.top_ten,
        })
    });
    let rows = replay.rows.iter().map(|row| {
        json!({
            "kind": row.kind, "name": row.name, "asked": row.asked, "recorded": row.won[0],
            "replayed": row.won[1..],
        })
    });
    let cannot_tell = replay.unsaid.iter().map(|unsaid| unsaid.words(Language::English));
    json!({
        "version": 1,
        "opening": replay.opening,
        "requests": replay.requests,
        "recorded": {
            "order": replay.order, "got": replay.won, "places": replay.places,
            "top_ten": replay.top_ten,
        },
        "replayed": arms.collect::<Vec<_>>(),
        "groups": rows.collect::<Vec<_>>(),
        "cannot_tell": cannot_tell.collect::<Vec<String>>(),
    })
}

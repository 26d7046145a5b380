//! The report's charts.

use giliran_fairness::report::deciles;
use giliran_fairness::scenario::named;
use giliran_report::axis::Scale;
use giliran_report::svg::{Lines, Mark, Row, Rows, Series};
use giliran_report::times::Zone;
use giliran_report::{Chart, Language, Text, say, text};

use super::part_of_askers;
use crate::{Bin, Ended, Latency, RunSummary};

/// A stretch of time that is drawn.
struct Time<'a> {
    record: &'a RunSummary,
    language: Language,
    from_s: f64,
    bin_s: f64,
    bins: &'a [Bin],
}

/// A line: its name, and its height in each stretch of time.
type Line<'a> = (Text, &'a dyn Fn(&Bin) -> f64);

impl<'a> Time<'a> {
    /// What the charts show of the time: until all but a few requests were sent. The
    /// last of many people come long after everything is over.
    fn whole(record: &'a RunSummary, language: Language) -> Self {
        const ALL_BUT: f64 = 0.01;
        let all: u64 = record.series.iter().map(|bin| bin.requests).sum();
        let mut left = all as f64;
        let few = record.series.iter().position(|bin| {
            left -= bin.requests as f64;
            left <= all as f64 * ALL_BUT
        });
        let bins = &record.series[..few.map_or(record.series.len(), |bin| bin + 1)];
        Self { record, language, from_s: record.from_s, bin_s: record.bin_s, bins }
    }

    /// The first ten seconds alone.
    fn rush(record: &'a RunSummary, language: Language) -> Self {
        let rush = &record.rush;
        Self { record, language, from_s: rush.from_s, bin_s: rush.bin_s, bins: &rush.bins }
    }

    fn to_s(&self) -> f64 {
        self.from_s + self.bin_s * self.bins.len().max(1) as f64
    }

    /// Round seconds to write on the axis of time.
    fn ticks(&self) -> Vec<(f64, String)> {
        const STEPS: [f64; 13] =
            [0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];
        let raw = (self.to_s() - self.from_s) / 6.0;
        let step = STEPS.into_iter().find(|step| *step >= raw).unwrap_or(7_200.0);
        let first = (self.from_s / step).ceil();
        let ticks = (0..64).map(|n| (first + f64::from(n)) * step + 0.0);
        let ticks = ticks.take_while(|tick| *tick <= self.to_s() + step * 1e-6);
        ticks.map(|tick| (tick, Scale::Signed.written(tick, self.language))).collect()
    }

    /// What happened to the run itself.
    fn marks(&self) -> Vec<Mark> {
        let language = self.language;
        let (x, name) = match self.record.ended {
            Ended::Complete => return Vec::new(),
            Ended::Interrupted { at_s } => (at_s, text!("interrupted" | "dihentikan")),
            Ended::EngineGone { at_s } => {
                (at_s, text!("the engine stopped answering" | "mesin berhenti menjawab"))
            }
        };
        let is_shown = (self.from_s..=self.to_s()).contains(&x);
        is_shown.then(|| Mark { x, name: name.of(language).to_owned() }).into_iter().collect()
    }

    /// Lines over time, each with its points at a part of their stretch.
    fn chart(
        &self,
        [title, about, y_name, caption]: [Text; 4],
        at: f64,
        lines: &[Line<'_>],
    ) -> Option<Chart> {
        let language = self.language;
        let series = lines.iter().enumerate().map(|(look, (name, of))| {
            let bins = self.bins.iter().enumerate();
            let points = bins.map(|(i, bin)| (self.from_s + (i as f64 + at) * self.bin_s, of(bin)));
            let points = points.collect();
            Series { name: name.of(language).to_owned(), points, look, marked: false }
        });
        let at_ms = self.record.opened_at.as_millis();
        let zone = Zone::named(&self.record.timezone);
        let (clock, zone) = (zone.clock(language, at_ms), zone.abbreviation(at_ms));
        let x_name = say!(
            language,
            "seconds from the opening, {clock} {zone}" | "detik sejak dibuka, pukul {clock} {zone}"
        );
        let series: Vec<Series> = series.collect();
        let lines = Lines {
            language,
            title: title.of(language),
            about: about.of(language),
            series: if self.bins.is_empty() { Vec::new() } else { series },
            x_name: &x_name,
            y_name: y_name.of(language),
            x_ticks: self.ticks(),
            scale: Scale::Count,
            marks: self.marks(),
        };
        lines.chart(caption.of(language))
    }

    fn per_second(&self, of: fn(&Bin) -> u64) -> impl Fn(&Bin) -> f64 {
        let bin_s = self.bin_s;
        move |bin: &Bin| of(bin) as f64 / bin_s
    }
}

const A_SECOND: Text = text!("a second" | "per detik");
const FREE: Text = text!("free places" | "tempat tersedia");

/// The surge itself: what was asked, answered and left in the first ten seconds.
pub(super) fn first_seconds(record: &RunSummary, language: Language) -> [Option<Chart>; 3] {
    let rush = Time::rush(record, language);
    let caption = text!(
        "The first ten seconds alone, in steps of a tenth of a second, from a second before."
            | "Sepuluh detik pertama saja, per sepersepuluh detik, mulai satu detik sebelumnya."
    );
    let (came, requests) = (rush.per_second(|bin| bin.came), rush.per_second(|bin| bin.requests));
    let asked: [Line<'_>; 2] = [
        (text!("requests" | "permintaan"), &requests),
        (text!("of newcomers" | "pendatang baru"), &came),
    ];
    let granted = rush.per_second(|bin| bin.granted);
    let rejected = rush.per_second(|bin| bin.rejected);
    let again = rush.per_second(|bin| bin.again);
    let answered: [Line<'_>; 3] = [
        (text!("places granted" | "tempat diberikan"), &granted),
        (text!("rejected" | "ditolak"), &rejected),
        (text!("come again" | "datang lagi"), &again),
    ];
    let left = |bin: &Bin| bin.free.unwrap_or(0).max(0) as f64;
    [
        rush.chart(
            [
                text!("Requests, first ten seconds" | "Permintaan, sepuluh detik pertama"),
                text!(
                    "Requests in the first ten seconds" | "Permintaan dalam sepuluh detik pertama"
                ),
                A_SECOND,
                caption,
            ],
            0.5,
            &asked,
        ),
        rush.chart(
            [
                text!("Answers, first ten seconds" | "Jawaban, sepuluh detik pertama"),
                text!("Answers in the first ten seconds" | "Jawaban dalam sepuluh detik pertama"),
                A_SECOND,
                caption,
            ],
            0.5,
            &answered,
        ),
        rush.chart(
            [
                text!("Free places, first ten seconds" | "Tempat tersedia, sepuluh detik pertama"),
                text!(
                    "Free places in the first ten seconds"
                        | "Tempat tersedia dalam sepuluh detik pertama"
                ),
                FREE,
                caption,
            ],
            1.0,
            &[(text!("free" | "tersedia"), &left)],
        ),
    ]
}

/// Who came, and what was sent.
pub(super) fn arrivals(record: &RunSummary, language: Language) -> Option<Chart> {
    let time = Time::whole(record, language);
    let (came, requests) = (time.per_second(|bin| bin.came), time.per_second(|bin| bin.requests));
    let lines: [Line<'_>; 2] = [
        (text!("requests" | "permintaan"), &requests),
        (text!("of newcomers" | "pendatang baru"), &came),
    ];
    time.chart(
        [
            text!("Requests" | "Permintaan"),
            text!(
                "Requests and newcomers over time"
                    | "Permintaan dan pendatang baru dari waktu ke waktu"
            ),
            A_SECOND,
            text!(
                "As they left, each when it was due, but for the last 1 %. Whoever is rejected or told \
                 to come again asks once more."
                    | "Saat berangkat, masing-masing pada waktunya, tanpa 1 % terakhir. Yang ditolak atau \
                       diminta datang lagi meminta sekali lagi."
            ),
        ],
        0.5,
        &lines,
    )
}

pub(super) fn answers(record: &RunSummary, language: Language) -> Option<Chart> {
    let time = Time::whole(record, language);
    let granted = time.per_second(|bin| bin.granted);
    let rejected = time.per_second(|bin| bin.rejected);
    let again = time.per_second(|bin| bin.again);
    let lines: [Line<'_>; 3] = [
        (text!("places granted" | "tempat diberikan"), &granted),
        (text!("rejected" | "ditolak"), &rejected),
        (text!("come again" | "datang lagi"), &again),
    ];
    time.chart(
        [
            text!("Answers" | "Jawaban"),
            text!(
                "Places granted and requests rejected over time"
                    | "Tempat yang diberikan dan permintaan yang ditolak dari waktu ke waktu"
            ),
            A_SECOND,
            text!(
                "As the answers came. To come again: not open yet, busy, or nobody answered."
                    | "Saat jawabannya datang. Datang lagi: belum dibuka, terlalu ramai, atau tidak ada \
                       yang menjawab."
            ),
        ],
        0.5,
        &lines,
    )
}

pub(super) fn free(record: &RunSummary, language: Language) -> Option<Chart> {
    let free = |bin: &Bin| bin.free.unwrap_or(0).max(0) as f64;
    Time::whole(record, language).chart(
        [
            text!("Free places" | "Tempat tersedia"),
            text!("Free places over time" | "Tempat tersedia dari waktu ke waktu"),
            FREE,
            text!(
                "At the offices that were asked at. Sessions that must be named or need an \
                 entitlement count as well: nobody asked for those."
                    | "Di kantor yang dimintai. Sesi yang harus disebut namanya atau perlu hak khusus \
                       ikut dihitung: tidak ada yang memintanya."
            ),
        ],
        1.0,
        &[(text!("free" | "tersedia"), &free)],
    )
}

pub(super) fn service(record: &RunSummary, language: Language) -> Option<Chart> {
    let service = record.groups.iter().map(|group| (group.kind, &*group.name, group.service));
    let title = text!("Engine and broker" | "Mesin dan perantaranya");
    latency(language, title, service).chart(
        text!(
            "From the moment a request was due to its answer, in milliseconds: half within the mark, \
             99 % within the end of the line."
                | "Sejak permintaan seharusnya berangkat sampai jawabannya, dalam milidetik: separuh \
                   sampai tanda, 99 % sampai ujung garis."
        )
        .of(language),
    )
}

pub(super) fn felt(record: &RunSummary, language: Language) -> Option<Chart> {
    let felt = record.groups.iter().map(|group| (group.kind, &*group.name, group.felt));
    let title = text!("As people feel it" | "Seperti dirasakan orang");
    latency(language, title, felt).chart(
        text!(
            "With the way there and back, which is simulated."
                | "Dengan jalan pergi dan pulang, yang disimulasikan."
        )
        .of(language),
    )
}

/// Each cohort's and scalper's latency.
fn latency<'a>(
    language: Language,
    title: Text,
    groups: impl Iterator<Item = (&'static str, &'a str, Latency)>,
) -> Rows<'static> {
    let shown = groups.filter(|(kind, ..)| matches!(*kind, "cohort" | "scalper"));
    let shown = shown.filter(|(.., latency)| latency.count > 0);
    let rows = shown.map(|(kind, name, Latency { p50, p99, .. })| {
        let [half, most] = [p50, p99].map(|ms| language.digits(ms));
        let text = say!(language, "{half} / {most} ms" | "{half} / {most} md");
        Row::new(named(name, language), p50, text, usize::from(kind == "scalper")).within(p50, p99)
    });
    Rows {
        language,
        title: title.of(language),
        about: text!(
            "Latency by group: half within the mark, 99 % within the line's end"
                | "Waktu jawab menurut kelompok: separuh sampai tanda, 99 % sampai ujung garis"
        )
        .of(language),
        rows: rows.collect(),
        reference: None,
        across: None,
        scale: Scale::Amount,
        is_whole: false,
    }
}

/// How the people's cohorts fared, with the range of chance.
pub(super) fn cohorts(record: &RunSummary, language: Language) -> Option<Chart> {
    let rows = record.groups.iter().filter(|group| group.kind == "cohort").filter_map(|group| {
        let (ratio, z) = (group.ratio?, group.z?);
        // One standard deviation of an even hand, in parts of the ratio.
        let deviation = if z == 0.0 { 0.0 } else { ((ratio - 1.0) / z).abs() };
        let flag = if group.flagged { " ⚑" } else { "" };
        let shown = format!("{}{flag}", language.digits(ratio));
        let chance = 1.96 * deviation;
        let row = Row::new(named(&group.name, language), ratio, shown, 0);
        Some(row.within(ratio - chance, ratio + chance))
    });
    let rows = Rows {
        language,
        title: text!("Groups of people" | "Kelompok warga").of(language),
        about: text!(
            "Success of each group of people against the average of all people"
                | "Keberhasilan tiap kelompok warga dibanding rata-rata semua warga"
        )
        .of(language),
        rows: rows.collect(),
        reference: None,
        across: Some(1.0),
        scale: Scale::Amount,
        is_whole: false,
    };
    rows.chart(
        text!(
            "Success against the average of all people; the dotted line at 1 is an even hand, the \
             strokes what chance alone would allow (95 %)."
                | "Keberhasilan dibanding rata-rata semua warga; garis titik pada 1 berarti merata, \
                   goresan menunjukkan yang mungkin karena kebetulan saja (95 %)."
        )
        .of(language),
    )
}

pub(super) fn of_deciles(record: &RunSummary, language: Language) -> Option<Chart> {
    let name = text!("have a place" | "mendapat tempat").of(language).to_owned();
    deciles(language, [(name, record.deciles.clone(), 0)])
}

/// Places granted, to people and to scalpers: the one picture at the top.
pub(super) fn who(record: &RunSummary, language: Language) -> Option<Chart> {
    let scalpers = record.figure("scalper_share").or((record.granted > 0).then_some(0.0))?;
    let part = part_of_askers(record);
    let row = |name: Text, share: f64, part: f64, look: usize| Row {
        reference: Some(part),
        ..Row::new(name.of(language), share, language.percent(share), look)
    };
    let rows = Rows {
        language,
        title: text!("Who got the places" | "Siapa mendapat tempat").of(language),
        about: text!(
            "Places granted to people and to scalpers, in parts of all granted ones"
                | "Tempat yang diberikan kepada warga dan kepada calo, dari semua yang diberikan"
        )
        .of(language),
        rows: vec![
            row(text!("people" | "warga"), 1.0 - scalpers, 1.0 - part, 1),
            row(text!("scalpers" | "calo"), scalpers, part, 0),
        ],
        reference: Some(
            text!("their part of those who asked" | "bagian mereka dari para peminta").of(language),
        ),
        across: None,
        scale: Scale::Share,
        is_whole: true,
    };
    rows.chart(
        text!(
            "Of the places granted. At the upright mark somebody has as much as a lottery would give."
                | "Dari tempat yang diberikan. Pada garis tegak orang memiliki sebanyak yang akan \
                   diberikan lotre."
        )
        .of(language),
    )
}

/// Scalpers' part of the granted places, beside their part of those who asked.
pub(super) fn scalpers(record: &RunSummary, language: Language) -> Option<Chart> {
    let scalpers = || record.groups.iter().filter(|group| group.kind == "scalper");
    let asked: u64 = record.people + scalpers().map(|group| group.applied).sum::<u64>();
    let rows = scalpers().filter(|group| group.applied > 0).map(|group| {
        // Scalpers ask for one at a time.
        let share = group.won as f64 / record.granted.max(1) as f64;
        let reference = Some(group.applied as f64 / asked.max(1) as f64);
        let name = named(&group.name, language);
        Row { reference, ..Row::new(name, share, language.percent(share), 1) }
    });
    let rows = Rows {
        language,
        title: text!("Places in scalpers' hands" | "Tempat di tangan calo").of(language),
        about: text!(
            "Share of the granted places in scalpers' hands"
                | "Bagian tempat yang diberikan di tangan calo"
        )
        .of(language),
        rows: rows.collect(),
        reference: Some(
            text!("their part of those who asked" | "bagian mereka dari para peminta").of(language),
        ),
        across: None,
        scale: Scale::Share,
        is_whole: false,
    };
    rows.chart(
        text!(
            "Of the places granted. At the upright mark they have no more than their number among \
             those who asked."
                | "Dari tempat yang diberikan. Pada garis tegak mereka memiliki tidak lebih dari \
                   jumlahnya di antara para peminta."
        )
        .of(language),
    )
}

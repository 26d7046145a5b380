//! The report's charts.

use giliran_report::axis::Scale;
use giliran_report::svg::{Lines, Row, Rows, Series};
use giliran_report::{Chart, Language, Text, Unit, say, text};
use giliran_wire::ledger::Order;

use super::Comparisons;
use super::advice::capitalized;
use super::labels::{arm_name, order_name, returns_name};
use super::words::{by_order, part_of_askers};
use crate::measures::Estimate;
use crate::scenario::named;
use crate::{ArmResult, Comparison, Measure};

/// The look of an order is the same in every chart.
fn look(comparison: &Comparison, column: &ArmResult) -> usize {
    let orders = by_order(comparison);
    orders.iter().position(|other| other.arm.same_order(&column.arm)).unwrap_or(0)
}

fn row(
    comparison: &Comparison,
    column: &ArmResult,
    name: String,
    e: Estimate,
    shown: String,
) -> Row {
    Row::new(name, e.mean, shown, look(comparison, column)).within(e.low(), e.high())
}

fn order(column: &ArmResult, language: Language) -> String {
    order_name(&column.arm.order, column.arm.beacon, language)
}

/// What scalpers hold under each order. None: there are no scalpers.
pub(super) fn scalpers(comparison: &Comparison, language: Language) -> Option<Chart> {
    let rows = by_order(comparison).into_iter().filter_map(|column| {
        let e = column.of(Measure::ScalperShare)?;
        let shown = language.percent(e.mean);
        let reference = part_of_askers(column, comparison);
        Some(Row { reference, ..row(comparison, column, order(column, language), e, shown) })
    });
    let rows = Rows {
        language,
        title: text!("Places in scalpers' hands" | "Tempat di tangan calo").of(language),
        about: text!(
            "Share of the places in scalpers' hands, by order, with 95 % intervals"
                | "Bagian tempat di tangan calo, menurut cara, dengan selang 95 %"
        )
        .of(language),
        rows: rows.collect(),
        reference: Some(
            text!("their part of all people asked for" | "bagian mereka dari semua peminta")
                .of(language),
        ),
        across: None,
        scale: Scale::Share,
        is_whole: true,
    };
    let caption = text!(
        "Of all places, when the window closes. At the upright mark scalpers have no more than \
         their number of identities would get by lot."
            | "Dari semua tempat, saat pembukaan berakhir. Pada garis tegak calo tidak memiliki lebih \
               dari yang akan didapat jumlah identitasnya dengan lotre."
    );
    rows.chart(caption.of(language)).filter(|_| !comparison.scenario.attackers.is_empty())
}

/// The one picture at the top: what scalpers hold; without any, people's chance.
pub(super) fn in_short(comparison: &Comparison, language: Language) -> Option<Chart> {
    scalpers(comparison, language).or_else(|| chance(comparison, language))
}

fn chance(comparison: &Comparison, language: Language) -> Option<Chart> {
    let rows = by_order(comparison).into_iter().filter_map(|column| {
        let e = column.of(Measure::HonestChance)?;
        Some(row(comparison, column, order(column, language), e, language.percent(e.mean)))
    });
    let measure = Measure::HonestChance;
    let rows = Rows {
        language,
        title: text!("Parties with a place" | "Rombongan yang mendapat tempat").of(language),
        about: measure.about().of(language),
        rows: rows.collect(),
        reference: None,
        across: None,
        scale: Scale::Share,
        is_whole: true,
    };
    rows.chart(measure.about().of(language))
}

/// A measure of every arm, with another one to compare it with.
pub(super) fn by_arm(
    comparison: &Comparison,
    language: Language,
    title: Text,
    measure: Measure,
    against: Option<(Measure, Text)>,
) -> Option<Chart> {
    let rows = comparison.columns.iter().filter_map(|column| {
        let e = column.of(measure)?;
        let reference = against.and_then(|(other, _)| column.of(other)).map(|e| e.mean);
        let (name, shown) = (arm_name(&column.arm, language), measure.shown(e.mean, language));
        Some(Row { reference, ..row(comparison, column, name, e, shown) })
    });
    let (title, about) = (title.of(language), measure.about().of(language));
    let reference = against.map(|(_, name)| name.of(language));
    let (rows, scale) = (rows.collect(), Scale::Share);
    Rows { language, title, about, rows, reference, across: None, scale, is_whole: false }
        .chart(about)
}

/// How the people's cohorts fared.
pub(super) fn cohorts(comparison: &Comparison, language: Language) -> Option<Chart> {
    let mut rows = Vec::new();
    for (i, group) in comparison.groups.iter().enumerate().filter(|(_, g)| g.kind == "cohort") {
        for column in by_order(comparison) {
            if let Some(e) = column.groups[i].ratio {
                let name =
                    format!("{} · {}", named(&group.name, language), order(column, language));
                rows.push(row(comparison, column, name, e, language.digits(e.mean)));
            }
        }
    }
    let rows = Rows {
        language,
        title: text!("Groups of people" | "Kelompok warga").of(language),
        about: text!(
            "Success of each group of people against the average, by order, with 95 % intervals"
                | "Keberhasilan tiap kelompok warga dibanding rata-rata, menurut cara, dengan selang \
                   95 %"
        )
        .of(language),
        rows,
        reference: None,
        across: Some(1.0),
        scale: Scale::Amount,
        is_whole: false,
    };
    let caption = text!(
        "Success against the average of all people; the upright line at 1 is an even hand."
            | "Keberhasilan dibanding rata-rata semua warga; garis tegak pada 1 berarti merata."
    );
    rows.chart(caption.of(language))
}

/// Success by tenth of round trips: a line of tenths for each name.
pub fn deciles(
    language: Language,
    lines: impl IntoIterator<Item = (String, Vec<f64>, usize)>,
) -> Option<Chart> {
    let series = lines.into_iter().map(|(name, tenths, look)| Series {
        name,
        points: tenths.into_iter().zip(1..).map(|(y, i)| (f64::from(i), y)).collect(),
        look,
        marked: true,
    });
    let lines = Lines {
        language,
        title: text!("Does a fast connection pay?" | "Apakah koneksi cepat menguntungkan?")
            .of(language),
        about: text!(
            "People's success rate by tenth of their round trips, the fastest first"
                | "Tingkat keberhasilan warga menurut sepersepuluh waktu tempuh pesan, yang tercepat \
                   lebih dulu"
        )
        .of(language),
        series: series.filter(|series| !series.points.is_empty()).collect(),
        x_name: text!(
            "tenth of the connections, fastest first"
                | "sepersepuluh koneksi, tercepat lebih dulu"
        )
        .of(language),
        y_name: text!("have a place" | "mendapat tempat").of(language),
        x_ticks: (1..=10).map(|i| (f64::from(i), i.to_string())).collect(),
        scale: Scale::Share,
        marks: Vec::new(),
    };
    let caption = text!(
        "People only, by the time a message takes from them to the service and back. A flat line: \
         speed buys nothing."
            | "Hanya warga, menurut waktu tempuh pesan dari mereka ke layanan dan kembali. Garis \
               datar: kecepatan tidak membeli apa-apa."
    );
    lines.chart(caption.of(language))
}

pub(super) fn of_deciles(comparison: &Comparison, language: Language) -> Option<Chart> {
    let lines = by_order(comparison).into_iter().map(|column| {
        let tenths = column.deciles.iter().map(|e| e.mean).collect();
        (order(column, language), tenths, look(comparison, column))
    });
    deciles(language, lines)
}

pub(super) fn requests(comparison: &Comparison, language: Language) -> Option<Chart> {
    let title = text!("Requests" | "Permintaan").of(language);
    let about =
        text!("Requests over time, by order" | "Permintaan dari waktu ke waktu, menurut cara");
    let y_name = text!("requests a second" | "permintaan per detik").of(language);
    let lines = over_time(comparison, language, (0, 0.2), [title, about.of(language), y_name]);
    let caption = text!(
        "Means over the seeds. The refreshing begins 30 s before the opening."
            | "Rata-rata semua benih acak. Orang mulai memuat ulang 30 detik sebelum dibuka."
    );
    lines.chart(caption.of(language))
}

pub(super) fn free(comparison: &Comparison, language: Language) -> Option<Chart> {
    let title = text!("Free places" | "Tempat tersedia").of(language);
    let about = text!(
        "Free places over time, by order" | "Tempat tersedia dari waktu ke waktu, menurut cara"
    );
    let y_name = text!("free places" | "tempat tersedia").of(language);
    let lines = over_time(comparison, language, (2, 1.0), [title, about.of(language), y_name]);
    let caption = text!(
        "In a draw, all places are given at the close of the window."
            | "Dalam undian, semua tempat dibagikan saat pembukaan berakhir."
    );
    lines.chart(caption.of(language))
}

/// One of [`ArmResult::series`], times a scale.
fn over_time<'a>(
    comparison: &Comparison,
    language: Language,
    (which, times): (usize, f64),
    [title, about, y_name]: [&'a str; 3],
) -> Lines<'a> {
    let window = (comparison.scenario.opening.window_s + 15.0).min(270.0);
    let series = by_order(comparison).into_iter().map(|column| {
        let points = column.series[which].iter().enumerate();
        let points = points.map(|(bin, y)| (bin as f64 * 5.0 - 27.5, y * times));
        Series {
            name: order(column, language),
            points: points.filter(|(x, _)| *x <= window).collect(),
            look: look(comparison, column),
            marked: false,
        }
    });
    let ticks = [-30.0, 0.0, 30.0, 60.0, 120.0, 180.0, 240.0];
    let ticks = ticks.into_iter().filter(|x| *x <= window);
    Lines {
        language,
        title,
        about,
        series: series.collect(),
        x_name: text!("seconds from the opening" | "detik sejak dibuka").of(language),
        y_name,
        x_ticks: ticks.map(|x| (x, format!("{x}"))).collect(),
        scale: Scale::Count,
        marks: Vec::new(),
    }
}

/// A measure along the swept parameter. None: nothing was swept.
pub(super) fn swept(report: &Comparisons, measure: Measure, language: Language) -> Option<Chart> {
    let x_name = report.swept.as_deref()?;
    let first = report.first()?;
    let several = first.columns.iter().any(|c| c.arm.returns != first.columns[0].arm.returns);
    let series = (0..first.columns.len()).map(|c| {
        let points = report.comparisons.iter().enumerate();
        let points = points.filter_map(|(i, (_, comparison))| {
            Some((i as f64, comparison.columns.get(c)?.of(measure)?.mean))
        });
        let column = &first.columns[c];
        let order = match column.arm.order {
            // Its length may be what is swept.
            Order::Rounds { .. } => say!(language, "rounds" | "putaran"),
            Order::FirstCome | Order::Draw => order(column, language),
        };
        let returns = returns_name(&column.arm.returns, language);
        let name = if several { format!("{order} · {returns}") } else { order };
        Series { name, points: points.collect(), look: c, marked: true }
    });
    let ticks = report.comparisons.iter().enumerate();
    let title = capitalized(measure.title().of(language));
    let lines = Lines {
        language,
        title: &title,
        about: measure.about().of(language),
        series: series.filter(|series| !series.points.is_empty()).collect(),
        x_name,
        y_name: measure.short().of(language),
        x_ticks: ticks.map(|(i, (value, _))| (i as f64, value.clone())).collect(),
        scale: match measure.unit() {
            Unit::Share => Scale::Share,
            Unit::Count => Scale::Count,
            Unit::Ratio | Unit::Seconds => Scale::Signed,
        },
        marks: Vec::new(),
    };
    lines.chart(measure.about().of(language))
}

//! The report's charts over time.

use giliran_report::axis::Scale;
use giliran_report::svg::{Lines, Mark, Series};
use giliran_report::{Chart as Drawn, Document, Language, Text, say, text};

use super::{deeds, zone};
use crate::{Chart, RecordedOpening};

/// Lines of so few points have each of them marked.
const FEW_POINTS: usize = 12;
/// From here on an axis tells the time of day; below, seconds from the opening.
const LONG_S: f64 = 10.0;

/// The axis of time.
struct Axis<'a> {
    recorded: &'a RecordedOpening,
    chart: &'a Chart,
    language: Language,
    name: String,
    ticks: Vec<(f64, String)>,
}

/// Round lengths of time from 0 up to an end, at most six of them, s.
fn ticks(end_s: f64) -> impl Iterator<Item = f64> {
    const STEPS: [f64; 18] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0,
        3_600.0, 10_800.0, 21_600.0, 86_400.0,
    ];
    let step = STEPS.into_iter().find(|step| end_s / step <= 5.0);
    let step = step.unwrap_or((end_s / 5.0 / 86_400.0).ceil() * 86_400.0);
    (0..6).map(move |i| f64::from(i) * step).filter(move |x| *x <= end_s)
}

impl<'a> Axis<'a> {
    fn of(chart: &'a Chart, recorded: &'a RecordedOpening, language: Language) -> Self {
        let lasts_s = chart.granted.len() as f64 * chart.step_ms as f64 / 1e3;
        let (zone, from_ms) = (zone(recorded), chart.from.as_millis());
        let written = |tick: f64| {
            let at_ms = from_ms + (tick * 1e3) as i64;
            match lasts_s {
                s if s < LONG_S => Scale::Signed.written(tick, language),
                s if s < 600.0 => zone.clock(language, at_ms),
                s if s < 172_800.0 => zone.minute(language, at_ms),
                _ => zone.date(language, at_ms),
            }
        };
        let ticks = ticks(lasts_s).map(|x| (x, written(x))).collect();
        let (abbreviation, opened) = (zone.abbreviation(from_ms), zone.clock(language, from_ms));
        let name = match lasts_s {
            s if s < LONG_S => say!(
                language,
                "seconds from the opening, {opened} {abbreviation}"
                    | "detik sejak dibuka, pukul {opened} {abbreviation}"
            ),
            s if s < 172_800.0 => {
                say!(language, "time of day, {abbreviation}" | "pukul, {abbreviation}")
            }
            _ => say!(language, "day, {abbreviation}" | "hari, {abbreviation}"),
        };
        Self { recorded, chart, language, name, ticks }
    }

    /// A line of values, each at a part of its step.
    fn series(&self, name: Text, look: usize, step_ms: i64, at: f64, values: &[f64]) -> Series {
        let step = step_ms as f64 / 1e3;
        let points = values.iter().enumerate().map(|(i, y)| ((i as f64 + at) * step, *y));
        let marked = self.chart.granted.len() <= FEW_POINTS;
        let name = name.of(self.language).to_owned();
        Series { name, points: points.collect(), look, marked }
    }

    /// What operators and engines did meanwhile.
    fn marks(&self) -> Vec<Mark> {
        let (zone, from) = (zone(self.recorded), self.chart.from.as_millis());
        let lasts_ms = self.chart.granted.len() as i64 * self.chart.step_ms;
        let within = self.recorded.actions.iter().filter_map(|action| {
            let after_ms = action.time.as_millis() - from;
            let at_ms = action.time.as_millis();
            let when = match lasts_ms {
                ms if ms < 172_800_000 => zone.clock(self.language, at_ms),
                _ => zone.short(self.language, at_ms),
            };
            let name = format!("{when} {}", deeds::words(action, &zone, self.language));
            let x = after_ms as f64 / 1e3;
            (0..=lasts_ms).contains(&after_ms).then_some(Mark { x, name })
        });
        within.collect()
    }

    fn chart(
        &self,
        [title, about, caption]: [Text; 3],
        y_name: &str,
        series: Vec<Series>,
    ) -> Option<Drawn> {
        let language = self.language;
        let lines = Lines {
            language,
            title: title.of(language),
            about: about.of(language),
            series,
            x_name: &self.name,
            y_name,
            x_ticks: self.ticks.clone(),
            scale: Scale::Count,
            marks: self.marks(),
        };
        lines.chart(caption.of(language))
    }
}

fn per(what: Text, step_ms: i64, language: Language) -> String {
    let what = what.of(language);
    let (n, unit) = match step_ms {
        ms if ms < 1_000 => (ms, text!("ms" | "milidetik")),
        ms if ms < 60_000 => (ms / 1_000, text!("s" | "detik")),
        ms if ms < 3_600_000 => (ms / 60_000, text!("min" | "menit")),
        ms => (ms / 3_600_000, text!("h" | "jam")),
    };
    let (n, unit) = (language.count(n), unit.of(language));
    say!(language, "{what} in {n} {unit}" | "{what} per {n} {unit}")
}

pub(super) fn charts(
    chart: &Chart,
    recorded: &RecordedOpening,
    page: &mut Document,
    language: Language,
) {
    let axis = Axis::of(chart, recorded, language);
    let floats = |counts: &[u64]| counts.iter().map(|n| *n as f64).collect::<Vec<f64>>();
    let step_ms = chart.step_ms;
    let granted = text!("granted" | "diberikan");
    let mut flows = vec![axis.series(granted, 1, step_ms, 0.5, &floats(&chart.granted))];
    if chart.returned.iter().any(|n| *n > 0) {
        let back = text!("came back" | "kembali");
        flows.push(axis.series(back, 0, step_ms, 0.5, &floats(&chart.returned)));
    }
    let free: Vec<f64> = chart.free.iter().map(|n| *n as f64).collect();
    page.charts([
        axis.chart(
            [
                text!("Places granted and given back" | "Tempat diberikan dan dikembalikan"),
                text!(
                    "Places granted and given back over time"
                        | "Tempat yang diberikan dan dikembalikan dari waktu ke waktu"
                ),
                text!(
                    "Each point is a step of time; what was given back and granted again counts \
                     again."
                        | "Setiap titik satu langkah waktu; yang dikembalikan lalu diberikan lagi \
                           dihitung lagi."
                ),
            ],
            &per(text!("places" | "tempat"), step_ms, language),
            flows,
        ),
        axis.chart(
            [
                text!("Free places" | "Tempat tersedia"),
                text!("Free places over time" | "Tempat tersedia dari waktu ke waktu"),
                text!(
                    "Places that were available at the end of each step; returned ones count from \
                     their release, those of closed sessions do not."
                        | "Tempat yang dapat dipesan pada akhir setiap langkah; yang kembali dihitung \
                           sejak dibuka lagi, yang sesinya ditutup tidak."
                ),
            ],
            text!("free places" | "tempat tersedia").of(language),
            vec![axis.series(text!("free" | "tersedia"), 2, step_ms, 1.0, &free)],
        ),
        rejections(&axis),
    ]);
}

fn rejections(axis: &Axis<'_>) -> Option<Drawn> {
    let (language, step_ms) = (axis.language, axis.chart.rejected_step_ms);
    let title = text!("Rejections" | "Penolakan");
    let Some(rejected) = &axis.chart.rejected else {
        let about = text!(
            "Not known over time: the ledger holds no rejection counts for this opening."
                | "Tidak diketahui dari waktu ke waktu: buku catatan tidak memuat hitungan penolakan \
                   pembukaan ini."
        );
        let [title, about] = [title, about].map(|text| text.of(language).to_owned());
        return Some(Drawn { title, about, svg: None });
    };
    let rejected: Vec<f64> = rejected.iter().map(|n| *n as f64).collect();
    let texts = [
        title,
        text!("Rejected requests over time" | "Permintaan yang ditolak dari waktu ke waktu"),
        text!(
            "By the ledger's rejection counts, retries included."
                | "Menurut hitungan penolakan dalam buku catatan, termasuk percobaan ulang."
        ),
    ];
    let line = axis.series(text!("rejected" | "ditolak"), 3, step_ms, 0.5, &rejected);
    axis.chart(texts, &per(text!("requests" | "permintaan"), step_ms, language), vec![line])
}

//! The report as a page.

use giliran_report::axis::hundredths;
use giliran_report::svg::{Lines, Row, Rows, Series};
use giliran_report::{Chart as Drawn, Document, Table, digits};

use super::{about, groups, instant, ledger, not_known, times, verdict};
use crate::{Chart, OpeningMeasures, RecordedOpening};

/// Most slots that are shown one by one.
const MOST_SLOTS: usize = 60;
/// Lines of so few points have each of them marked.
const FEW_POINTS: usize = 12;

pub(super) fn page(recorded: &RecordedOpening, figures: &OpeningMeasures) -> Document {
    let title = format!("Opening {}", recorded.record.id);
    let mut page = Document::titled(&title);
    page.title(title);
    page.lead(about(recorded));
    facts(recorded, figures, &mut page);
    page.heading("Verdict");
    page.points(verdict(recorded, figures));
    page.heading("Not known");
    page.points(not_known(figures));
    if let Some(rush) = &figures.rush {
        page.heading("The rush");
        charts(rush, &mut page);
    }
    page.heading("What happened when");
    charts(&figures.chart, &mut page);
    who(figures, &mut page);
    slots(recorded, &mut page);
    actions(recorded, &mut page);
    page.heading("All figures");
    let mut all = Table::default();
    all.figures(&figures.figures, Some("not known"));
    page.table(all);
    page.heading("What each figure means");
    page.terms(figures.figures.iter().map(|figure| (figure.title, figure.about)));
    page.heading("Where it comes from");
    page.text(format!(
        "The ledger {}. Accounts are counted under pseudonym; nothing on this page names a person, \
         an account or a booking.",
        ledger(recorded)
    ));
    page
}

fn facts(recorded: &RecordedOpening, figures: &OpeningMeasures, page: &mut Document) {
    let shown = ["quota", "granted", "came_back", "regranted", "live", "free"];
    let shown = shown.iter().filter_map(|name| {
        let figure = figures.figures.iter().find(|figure| figure.name == *name)?;
        Some((figure.title.to_lowercase(), figure.shown().unwrap_or("not known".to_owned())))
    });
    page.facts(times(recorded).map(|(name, at)| (name.to_owned(), at)).into_iter().chain(shown));
}

fn whole(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{}k", digits(v / 1_000.0)),
        v => hundredths(v),
    }
}

/// Round figures up to an end, at most six of them.
fn ticks(end: f64) -> impl Iterator<Item = f64> {
    let power = 10.0_f64.powf((end / 5.0).max(1e-9).log10().floor());
    let fits = |step: &f64| end / step <= 5.0;
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(fits);
    let step = step.unwrap_or(power * 10.0);
    (0..6).map(move |i| f64::from(i) * step).filter(move |x| *x <= end)
}

/// The axis of time: its unit follows how long it took.
struct Axis {
    unit_s: f64,
    name: String,
    ticks: Vec<(f64, String)>,
    marked: bool,
}

impl Axis {
    fn of(chart: &Chart) -> Self {
        let bins = chart.granted.len();
        let lasts_s = bins as f64 * chart.step_ms as f64 / 1e3;
        let (unit, unit_s) = match lasts_s {
            s if s <= 180.0 => ("seconds", 1.0),
            s if s <= 10_800.0 => ("minutes", 60.0),
            s if s <= 259_200.0 => ("hours", 3_600.0),
            _ => ("days", 86_400.0),
        };
        let ticks = ticks(lasts_s / unit_s).map(|x| (x, whole(x))).collect();
        let name = format!("{unit} from the opening");
        Self { unit_s, name, ticks, marked: bins <= FEW_POINTS }
    }

    /// A line of values, each at a part of its step.
    fn series(&self, name: &str, look: usize, step_ms: i64, at: f64, values: &[f64]) -> Series {
        let step = step_ms as f64 / 1e3 / self.unit_s;
        let points = values.iter().enumerate().map(|(i, y)| ((i as f64 + at) * step, *y));
        Series { name: name.to_owned(), points: points.collect(), look, marked: self.marked }
    }

    fn chart(
        &self,
        [title, about, caption]: [&str; 3],
        y_name: &str,
        series: Vec<Series>,
    ) -> Option<Drawn> {
        let x_ticks = self.ticks.clone();
        Lines { about, series, x_name: &self.name, y_name, x_ticks, y_format: whole }
            .chart(title, caption)
    }
}

fn per(what: &str, step_ms: i64) -> String {
    match step_ms {
        ms if ms < 1_000 => format!("{what} in {ms} ms"),
        ms if ms < 60_000 => format!("{what} in {} s", ms / 1_000),
        ms if ms < 3_600_000 => format!("{what} in {} min", ms / 60_000),
        ms => format!("{what} in {} h", ms / 3_600_000),
    }
}

fn charts(chart: &Chart, page: &mut Document) {
    let axis = Axis::of(chart);
    let floats = |counts: &[u64]| counts.iter().map(|n| *n as f64).collect::<Vec<f64>>();
    let (step_ms, rejected_ms) = (chart.step_ms, chart.rejected_step_ms);
    let mut flows = vec![axis.series("granted", 1, step_ms, 0.5, &floats(&chart.granted))];
    if chart.returned.iter().any(|n| *n > 0) {
        flows.push(axis.series("came back", 0, step_ms, 0.5, &floats(&chart.returned)));
    }
    let free: Vec<f64> = chart.free.iter().map(|n| *n as f64).collect();
    let rejected = match &chart.rejected {
        Some(rejected) => axis.chart(
            [
                "Rejections",
                "Rejected requests over time",
                "By the ledger's rejection counts, retries included.",
            ],
            &per("requests", rejected_ms),
            vec![axis.series("rejected", 3, rejected_ms, 0.5, &floats(rejected))],
        ),
        None => Some(Drawn {
            title: "Rejections".to_owned(),
            about: "Not known over time: the ledger holds no rejection counts for this opening."
                .to_owned(),
            svg: None,
        }),
    };
    page.charts([
        axis.chart(
            [
                "Places granted and given back",
                "Places granted and given back over time",
                "Each point is a step of time; what was given back and granted again counts again.",
            ],
            &per("places", step_ms),
            flows,
        ),
        axis.chart(
            [
                "Free places",
                "Free places over time",
                "Places that were available at the end of each step; returned ones count from \
                 their release.",
            ],
            "free places",
            vec![axis.series("free", 2, step_ms, 1.0, &free)],
        ),
        rejected,
    ]);
}

fn who(figures: &OpeningMeasures, page: &mut Document) {
    page.heading("Who got the places");
    page.text(format!("Counted: {}.", figures.answered.about()));
    let rows = figures.groups.iter().filter_map(|group| {
        let ratio = group.fared.ratio?;
        // Beneath an even hand, r's standard deviation is (r − 1) / z.
        let z = group.fared.z.filter(|z| z.abs() > 1e-9);
        let half = z.map_or(0.0, |z| 1.96 * ((ratio - 1.0) / z).abs());
        let look = match group.kind {
            "channel" => 1,
            "cohort" => 0,
            _ => 2,
        };
        let name = format!("{} {}", group.kind, group.name);
        Some(
            Row::new(name, ratio, digits(ratio), look)
                .within((ratio - half).max(0.0), ratio + half),
        )
    });
    let rows = Rows {
        about: "Success of each group against the average",
        rows: rows.collect(),
        reference: None,
        across: Some(1.0),
        format: hundredths,
    };
    page.charts([rows.chart(
        "Success against the average",
        "The upright line is an even hand. Where parties are counted, the bar is what chance alone \
         does (95 %).",
    )]);
    page.table(groups(figures));
}

fn slots(recorded: &RecordedOpening, page: &mut Document) {
    page.heading("Office by office");
    if recorded.places.len() > MOST_SLOTS {
        page.text(format!(
            "The first {MOST_SLOTS} of {} slots; the others stand in the JSON.",
            recorded.places.len()
        ));
    }
    let mut table = Table::new(["places", "taken", "waiting for release", "reserved", "free"]);
    for (index, places) in recorded.places.iter().enumerate().take(MOST_SLOTS) {
        let counts = [places.quota, places.live, places.withheld, places.reserved];
        let free = if places.halted { "halted".to_owned() } else { places.free().to_string() };
        let cells = counts.map(|n| n.to_string()).into_iter().chain([free]);
        table.row(recorded.slot_name(index as u32), cells);
    }
    page.table(table);
}

/// Who did what, and why.
fn actions(recorded: &RecordedOpening, page: &mut Document) {
    page.heading("What was done to it");
    if recorded.actions.is_empty() {
        return page.text("Nothing: no operator has changed anything.");
    }
    let mut table = Table { corner: "when".to_owned(), ..Table::new(["what", "who", "why"]) };
    for action in &recorded.actions {
        let (operator, reason) = action.signed.clone().unwrap_or_default();
        table.row(instant(action.time), [action.words(), operator, reason]);
    }
    page.table(table);
}

//! The report as one HTML file that needs no network and no script.

use std::fmt::Write as _;

use giliran_report::STYLE;
use giliran_report::digits;
use giliran_report::svg::{Lines, Row, Rows, Series, escaped};

use super::{FLAG_Z, about, instant, shown, unknown, verdict};
use crate::{Chart, OpeningMeasures, RecordedOpening};

pub fn html(recorded: &RecordedOpening, figures: &OpeningMeasures) -> String {
    let id = escaped(&recorded.record.id);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Opening {id}</title><style>{STYLE}</style></head><body><main>\n\
         <h1>Opening {id}</h1><p class=\"lead\">{}</p>",
        escaped(&about(recorded))
    );
    facts(recorded, figures, &mut page);
    page.push_str("<h2>Verdict</h2><ul class=\"verdict\">");
    for sentence in verdict(recorded, figures) {
        let _ = write!(page, "<li>{}</li>", escaped(&sentence));
    }
    page.push_str("</ul><h2>Not known</h2><ul class=\"verdict\">");
    for (why, titles) in unknown(figures) {
        let _ = write!(page, "<li><b>{}</b>: {}</li>", escaped(&titles.join(", ")), escaped(why));
    }
    page.push_str("</ul>");
    if let Some(rush) = &figures.rush {
        page.push_str("<h2>The rush</h2><div class=\"charts\">");
        charts(rush, &mut page);
        page.push_str("</div>");
    }
    page.push_str("<h2>What happened when</h2><div class=\"charts\">");
    charts(&figures.chart, &mut page);
    page.push_str("</div>");
    who(figures, &mut page);
    slots(recorded, &mut page);
    actions(recorded, &mut page);
    page.push_str("<h2>All figures</h2><div class=\"wide\" tabindex=\"0\"><table><tbody>");
    for figure in &figures.figures {
        let value = figure.value.map_or("not known".to_owned(), |value| shown(figure, value));
        let _ =
            write!(page, "<tr><th>{}</th><td>{}</td></tr>", escaped(figure.title), escaped(&value));
    }
    page.push_str("</tbody></table></div><h2>What each figure means</h2><dl class=\"meanings\">");
    for figure in &figures.figures {
        let _ =
            write!(page, "<dt>{}</dt><dd>{}</dd>", escaped(figure.title), escaped(figure.about));
    }
    let (seq, time, hash) = recorded.tail;
    let _ = write!(
        page,
        "</dl><h2>Where it comes from</h2><p>The ledger {} up to sequence {seq} ({}), block \
         <code style=\"overflow-wrap:anywhere\">{hash}</code>. Accounts are counted under \
         pseudonym; nothing on this page names a person, an account or a booking.</p>",
        recorded.ledger,
        escaped(&instant(time))
    );
    page.push_str("</main></body></html>\n");
    page
}

fn facts(recorded: &RecordedOpening, figures: &OpeningMeasures, page: &mut String) {
    page.push_str("<dl class=\"facts\">");
    let mut fact = |name: &str, value: &str| {
        let _ = write!(page, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value));
    };
    fact("opened", &recorded.opened.map_or("not yet".to_owned(), instant));
    fact("closed", &recorded.closed.map_or("not yet".to_owned(), instant));
    for name in ["quota", "granted", "came_back", "regranted", "live", "free"] {
        if let Some(figure) = figures.figures.iter().find(|figure| figure.name == name) {
            let value = figure.value.map_or("not known".to_owned(), |v| shown(figure, v));
            fact(&figure.title.to_lowercase(), &value);
        }
    }
    page.push_str("</dl>");
}

fn figure(page: &mut String, title: &str, svg: &str, about: &str) {
    let _ = write!(
        page,
        "<figure><h3>{}</h3>{svg}<figcaption>{}</figcaption></figure>",
        escaped(title),
        escaped(about)
    );
}

fn whole(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{}k", digits(v / 1_000.0)),
        v => format!("{}", (v * 100.0).round() / 100.0),
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

fn charts(chart: &Chart, page: &mut String) {
    let bins = chart.granted.len();
    // The unit of the axis follows how long it took.
    let lasts_s = bins as f64 * chart.step_ms as f64 / 1e3;
    let (unit, unit_s) = match lasts_s {
        s if s <= 180.0 => ("seconds", 1.0),
        s if s <= 10_800.0 => ("minutes", 60.0),
        s if s <= 259_200.0 => ("hours", 3_600.0),
        _ => ("days", 86_400.0),
    };
    let step = chart.step_ms as f64 / 1e3 / unit_s;
    let end = step * bins as f64;
    let ticks: Vec<(f64, String)> = ticks(end).map(|x| (x, whole(x))).collect();
    let x_name = format!("{unit} from the opening");
    let steps_of = |step: f64, values: &mut dyn Iterator<Item = f64>, at: f64| {
        values.enumerate().map(|(i, y)| ((i as f64 + at) * step, y)).collect::<Vec<_>>()
    };
    let points = |values: &mut dyn Iterator<Item = f64>, at: f64| steps_of(step, values, at);
    let series = |name: &str, points, look| Series {
        name: name.to_owned(),
        points,
        look,
        marked: bins <= 12,
    };
    let per = |step_ms: i64| match step_ms {
        ms if ms < 1_000 => format!("{ms} ms"),
        ms if ms < 60_000 => format!("{} s", ms / 1_000),
        ms if ms < 3_600_000 => format!("{} min", ms / 60_000),
        ms => format!("{} h", ms / 3_600_000),
    };
    let mut flows =
        vec![series("granted", points(&mut chart.granted.iter().map(|n| *n as f64), 0.5), 1)];
    if chart.returned.iter().any(|n| *n > 0) {
        let came = points(&mut chart.returned.iter().map(|n| *n as f64), 0.5);
        flows.push(series("came back", came, 0));
    }
    let y_name = format!("places in {}", per(chart.step_ms));
    let lines = |about: &str, series, y_name: &str| {
        Lines { about, series, x_name: &x_name, y_name, x_ticks: ticks.clone(), y_format: whole }
            .draw()
    };
    figure(
        page,
        "Places granted and given back",
        &lines("Places granted and given back over time", flows, &y_name),
        "Each point is a step of time; what was given back and granted again counts again.",
    );
    let free = points(&mut chart.free.iter().map(|n| *n as f64), 1.0);
    figure(
        page,
        "Free places",
        &lines("Free places over time", vec![series("free", free, 2)], "free places"),
        "Places that could be had at the end of each step; returned ones count from their release.",
    );
    match &chart.refused {
        Some(refused) => {
            let width = chart.refused_step_ms as f64 / 1e3 / unit_s;
            let refused = steps_of(width, &mut refused.iter().map(|n| *n as f64), 0.5);
            let y_name = format!("requests in {}", per(chart.refused_step_ms));
            figure(
                page,
                "Refusals",
                &lines("Refused requests over time", vec![series("refused", refused, 3)], &y_name),
                "By the ledger's refusal counts, retries included.",
            );
        }
        None => page.push_str(
            "<figure><h3>Refusals</h3><figcaption>Not known over time: the ledger holds no refusal \
             counts for this opening.</figcaption></figure>",
        ),
    }
}

fn who(figures: &OpeningMeasures, page: &mut String) {
    let _ = write!(
        page,
        "<h2>Who got the places</h2><p>Counted: {}.</p>",
        escaped(figures.answered.about())
    );
    let rows: Vec<Row> = figures
        .groups
        .iter()
        .filter_map(|group| {
            let ratio = group.fared.ratio?;
            // Beneath an even hand, r's standard deviation is (r − 1) / z.
            let half = group
                .fared
                .z
                .filter(|z| z.abs() > 1e-9)
                .map_or(0.0, |z| 1.96 * ((ratio - 1.0) / z).abs());
            Some(Row {
                name: format!("{} {}", group.kind, group.name),
                mean: ratio,
                low: (ratio - half).max(0.0),
                high: ratio + half,
                shown: digits(ratio),
                look: match group.kind {
                    "channel" => 1,
                    "cohort" => 0,
                    _ => 2,
                },
                reference: None,
            })
        })
        .collect();
    if !rows.is_empty() {
        page.push_str("<div class=\"charts\">");
        let svg = Rows {
            about: "Success of each group against the average",
            rows,
            reference: None,
            across: Some(1.0),
            format: |value| format!("{}", (value * 100.0).round() / 100.0),
        }
        .draw();
        figure(
            page,
            "Success against the average",
            &svg,
            "The upright line is an even hand. Where parties are counted, the bar is what chance \
             alone does (95 %).",
        );
        page.push_str("</div>");
    }
    page.push_str(
        "<div class=\"wide\" tabindex=\"0\"><table><thead><tr><th></th><th>asked</th><th>won</th>\
         <th>ratio</th><th>z</th></tr></thead><tbody>",
    );
    for group in &figures.groups {
        let fared = &group.fared;
        let float = |x: Option<f64>| x.map_or("–".to_owned(), digits);
        let flag = if fared.z.is_some_and(|z| z.abs() > FLAG_Z) { " ⚑" } else { "" };
        let _ = write!(
            page,
            "<tr><th>{} {}</th><td>{}</td><td>{}</td><td>{}{flag}</td><td>{}</td></tr>",
            group.kind,
            escaped(&group.name),
            fared.asked.map_or("not known".to_owned(), |n| n.to_string()),
            fared.won,
            float(fared.ratio),
            float(fared.z)
        );
    }
    page.push_str("</tbody></table></div>");
}

/// Most slots that are shown one by one.
const MOST_SLOTS: usize = 60;

fn slots(recorded: &RecordedOpening, page: &mut String) {
    page.push_str("<h2>Office by office</h2>");
    if recorded.places.len() > MOST_SLOTS {
        let _ = write!(
            page,
            "<p>The first {MOST_SLOTS} of {} slots; the others stand in the JSON.</p>",
            recorded.places.len()
        );
    }
    page.push_str(
        "<div class=\"wide\" tabindex=\"0\"><table><thead><tr><th></th><th>places</th>\
         <th>taken</th><th>waiting for release</th><th>reserved</th><th>free</th></tr></thead>\
         <tbody>",
    );
    for (index, places) in recorded.places.iter().enumerate().take(MOST_SLOTS) {
        let _ = write!(
            page,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&recorded.slot_name(index as u32)),
            places.quota,
            places.live,
            places.withheld,
            places.reserved,
            if places.halted { "halted".to_owned() } else { places.free().to_string() }
        );
    }
    page.push_str("</tbody></table></div>");
}

/// Who did what, and why.
fn actions(recorded: &RecordedOpening, page: &mut String) {
    page.push_str("<h2>What was done to it</h2>");
    if recorded.actions.is_empty() {
        page.push_str("<p>Nothing: no operator has changed anything.</p>");
        return;
    }
    page.push_str(
        "<div class=\"wide\" tabindex=\"0\"><table><thead><tr><th>when</th><th>what</th>\
         <th>who</th><th>why</th></tr></thead><tbody>",
    );
    for action in &recorded.actions {
        let signed = action.signed.as_ref();
        let signed = signed.map(|(operator, reason)| (operator.as_str(), reason.as_str()));
        let (operator, reason) = signed.unwrap_or_default();
        let _ = write!(
            page,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&instant(action.time)),
            escaped(&action.words()),
            escaped(operator),
            escaped(reason)
        );
    }
    page.push_str("</tbody></table></div>");
}

//! The report as one HTML file that needs no network and no script.

use std::fmt::Write as _;

use giliran_report::svg::escaped;
use giliran_report::{STYLE, digits, figure};

use super::{Report, arm_name, charts, shown, verdict};
use crate::{Comparison, Measure};

pub fn html(report: &Report) -> String {
    let name = report.first().map_or("", |comparison| comparison.scenario.name.as_str());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Fairness: {name}</title><style>{STYLE}</style></head><body><main>\n",
        name = escaped(name)
    );
    if let (Some(swept), Some(first)) = (&report.swept, report.first()) {
        heading(first, &mut page);
        let _ = write!(page, "<h2>Along {}</h2><div class=\"charts\">", escaped(swept));
        for measure in [
            Measure::ScalperShare,
            Measure::LatencyPremium,
            Measure::Inversion,
            Measure::RecycleCapture,
            Measure::Waste,
            Measure::WaitS,
        ] {
            if let Some(svg) = charts::swept(report, measure) {
                figure(&mut page, measure.title(), &svg, measure.about());
            }
        }
        page.push_str("</div>");
    }
    for (value, comparison) in &report.comparisons {
        match &report.swept {
            Some(swept) => {
                let _ = write!(page, "<h1>{} = {}</h1>", escaped(swept), escaped(value));
            }
            None => heading(comparison, &mut page),
        }
        one(comparison, &mut page);
    }
    meanings(&mut page);
    page.push_str("</main></body></html>\n");
    page
}

fn heading(comparison: &Comparison, page: &mut String) {
    let scenario = &comparison.scenario;
    let _ = write!(
        page,
        "<h1>Fairness: {}</h1><p class=\"lead\">{}</p>",
        escaped(&scenario.name),
        escaped(&scenario.about)
    );
}

fn one(comparison: &Comparison, page: &mut String) {
    facts(comparison, page);
    page.push_str("<h2>Verdict</h2><ul class=\"verdict\">");
    for sentence in verdict(comparison) {
        let _ = write!(page, "<li>{}</li>", escaped(&sentence));
    }
    page.push_str("</ul><h2>Who gets the places</h2><div class=\"charts\">");
    if let Some(svg) = charts::scalpers(comparison) {
        figure(
            page,
            "Places in scalpers' hands",
            &svg,
            "When the window closes. At the upright mark scalpers have no more than their number \
             of identities would get by lot.",
        );
    }
    if let Some(svg) = charts::deciles(comparison) {
        figure(
            page,
            "Does a fast connection pay?",
            &svg,
            "People only, by the time a message takes from them to the service and back. A flat \
             line: speed buys nothing.",
        );
    }
    if let Some(svg) = charts::cohorts(comparison) {
        figure(
            page,
            "Cohorts",
            &svg,
            "Success against the average of all people; the upright line is an even hand.",
        );
    }
    page.push_str("</div><h2>What happened when</h2><div class=\"charts\">");
    let about = "Means over the seeds. The refreshing begins 30 s before the opening.";
    figure(page, "Requests", &charts::over_time(comparison, 0), about);
    let about = "In a draw, all places are given at the close of the window.";
    figure(page, "Free places", &charts::over_time(comparison, 2), about);
    page.push_str("</div><h2>Places that come back</h2><div class=\"charts\">");
    let lot = Some((Measure::RecycleFair, "what a lottery would give them"));
    if let Some(svg) = charts::by_arm(comparison, Measure::RecycleCapture, lot) {
        figure(page, "Cancel and book again", &svg, Measure::RecycleCapture.about());
    }
    if let Some(svg) = charts::by_arm(comparison, Measure::Waste, None) {
        figure(page, "Places nobody used", &svg, Measure::Waste.about());
    }
    page.push_str("</div><h2>All figures</h2>");
    figures(comparison, page);
    groups(comparison, page);
    bought(comparison, page);
}

fn facts(comparison: &Comparison, page: &mut String) {
    let scenario = &comparison.scenario;
    let places = scenario.offices.places();
    let per_place = scenario.people.parties as f64 / places.max(1) as f64;
    let _ = write!(
        page,
        "<dl class=\"facts\"><div><dt>parties of people</dt><dd>{}</dd></div>\
         <div><dt>places</dt><dd>{places}</dd></div>\
         <div><dt>parties a place</dt><dd>{}</dd></div>\
         <div><dt>kinds of scalpers</dt><dd>{}</dd></div>\
         <div><dt>seeds</dt><dd>{}</dd></div>\
         <div><dt>requests in all runs</dt><dd>{}</dd></div></dl>",
        scenario.people.parties,
        digits(per_place),
        scenario.attackers.len(),
        comparison.seeds.len(),
        comparison.requests
    );
}

/// A table of one row for each arm, in which every other column is a figure.
fn arms(
    comparison: &Comparison,
    page: &mut String,
    heads: &[String],
    cell: impl Fn(usize, usize) -> String,
) {
    page.push_str("<div class=\"wide\" tabindex=\"0\"><table><thead><tr><th></th>");
    for column in &comparison.columns {
        let _ = write!(page, "<th>{}</th>", escaped(&arm_name(&column.arm)));
    }
    page.push_str("</tr></thead><tbody>");
    for (i, head) in heads.iter().enumerate() {
        let _ = write!(page, "<tr><th>{}</th>", escaped(head));
        for column in 0..comparison.columns.len() {
            let _ = write!(page, "<td>{}</td>", cell(i, column));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
}

fn figures(comparison: &Comparison, page: &mut String) {
    page.push_str(
        "<p>Means over the seeds; beneath, half the width of the 95 % confidence interval \
         (Student's t over seeds).</p>",
    );
    let present: Vec<Measure> = Measure::ALL
        .into_iter()
        .filter(|measure| comparison.columns.iter().any(|column| column.of(*measure).is_some()))
        .collect();
    let heads: Vec<String> = present.iter().map(|measure| measure.title().to_owned()).collect();
    arms(comparison, page, &heads, |row, column| {
        let measure = present[row];
        let Some(e) = comparison.columns[column].of(measure) else { return "–".to_owned() };
        let mean = shown(measure, e.mean);
        let half = e.half.map_or(String::new(), |half| {
            format!("<small>±&#8239;{}</small>", escaped(&shown(measure, half)))
        });
        format!("{}{half}", escaped(&mean))
    });
}

fn groups(comparison: &Comparison, page: &mut String) {
    page.push_str(
        "<h3>Success against the average</h3><p>1 is even. People's groups are compared with all \
         people, scalpers with everybody. Cohorts, channels and devices are tested; what is flagged \
         (⚑) is not by chance, at 1 % for all tests of this comparison together. Parties of \
         several people and scalpers want something else than the average, and are shown without a \
         test.</p>",
    );
    let heads: Vec<String> =
        comparison.groups.iter().map(|group| format!("{} {}", group.kind, group.name)).collect();
    arms(comparison, page, &heads, |row, column| {
        let fared = &comparison.columns[column].groups[row];
        let Some(ratio) = fared.ratio else { return "–".to_owned() };
        let half = ratio
            .half
            .map_or(String::new(), |half| format!("<small>±&#8239;{}</small>", digits(half)));
        let flag = if fared.flagged { " ⚑" } else { "" };
        format!("{}{flag}{half}", digits(ratio.mean))
    });
}

fn bought(comparison: &Comparison, page: &mut String) {
    let attackers = &comparison.scenario.attackers;
    if attackers.is_empty() {
        return;
    }
    page.push_str(
        "<h3>What scalpers have</h3><p>Identities, accounts and fast connections. Scalpers with a \
         budget try, under each order, every way to spend it in quarters on a small copy of the \
         scenario, and take what pays best.</p>",
    );
    let heads: Vec<String> = attackers.iter().map(|attacker| attacker.name.clone()).collect();
    arms(comparison, page, &heads, |row, column| {
        let means = comparison.columns[column].means[row];
        format!("{} / {} / {}", means.identities, means.accounts, means.connections)
    });
}

fn meanings(page: &mut String) {
    page.push_str("<h2>What each figure means</h2><dl class=\"meanings\">");
    for measure in Measure::ALL {
        let _ = write!(
            page,
            "<dt>{}</dt><dd>{}</dd>",
            escaped(measure.title()),
            escaped(measure.about())
        );
    }
    page.push_str(
        "</dl><h2>How it came about</h2><p>Nothing here was measured on people. A population made \
         from a seed asks in virtual time, and the code that decides in production decides; the \
         network between is a delay, the ledger a fixed time. The same scenario and seed give the \
         same figures.</p>",
    );
}

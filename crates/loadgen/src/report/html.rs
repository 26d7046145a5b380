//! The report as one HTML file that needs no network and no script.

use std::fmt::Write as _;

use giliran_report::svg::escaped;
use giliran_report::{STYLE, digits, figure};

use super::words::shown;
use super::{charts, verdict};
use crate::{Latency, RunSummary};

pub fn html(record: &RunSummary) -> String {
    let name = escaped(&record.scenario);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Surge: {name}</title><style>{STYLE}</style></head><body><main>\n\
         <h1>Surge: {name}</h1><p class=\"lead\">{}</p>",
        escaped(&record.about)
    );
    facts(record, &mut page);
    page.push_str("<h2>Verdict</h2><ul class=\"verdict\">");
    for sentence in verdict(record) {
        let _ = write!(page, "<li>{}</li>", escaped(&sentence));
    }
    page.push_str("</ul><h2>What happened when</h2><div class=\"charts\">");
    let about = "As they left, each when it was due, but for the last 1 %. Whoever is refused or \
                 told to come again asks once more.";
    figure(&mut page, "Requests", &charts::arrivals(record), about);
    let about = "As the answers came. To come again: not open yet, busy, or nobody answered.";
    figure(&mut page, "Answers", &charts::answers(record), about);
    let about = "At the offices that were asked at. Sessions that must be named or need an \
                 entitlement count as well: nobody asked for those.";
    figure(&mut page, "Free places", &charts::free(record), about);
    page.push_str("</div><h2>Latency</h2><div class=\"charts\">");
    if let Some(svg) = charts::latency(record, false) {
        let about = "From the moment a request was due to its answer, ms: half within the mark, \
                     99 % within the end of the line.";
        figure(&mut page, "Engine and broker", &svg, about);
    }
    if let Some(svg) = charts::latency(record, true) {
        let about = "With the way there and back, which is simulated.";
        figure(&mut page, "As people feel it", &svg, about);
    }
    page.push_str("</div>");
    latency(record, &mut page);
    page.push_str("<h2>Who got the places</h2><div class=\"charts\">");
    if let Some(svg) = charts::scalpers(record) {
        let about = "Of the places granted. At the upright mark they have no more than their \
                     number among those who asked.";
        figure(&mut page, "Places in scalpers' hands", &svg, about);
    }
    if let Some(svg) = charts::deciles(record) {
        let about = "People only, by the time a message takes from them to the service and back. A \
                     flat line: speed buys nothing.";
        figure(&mut page, "Does a fast connection pay?", &svg, about);
    }
    if let Some(svg) = charts::cohorts(record) {
        let about = "Success against the average of all people; the dotted line is an even hand, \
                     the strokes what chance alone would allow (95 %).";
        figure(&mut page, "Cohorts", &svg, about);
    }
    page.push_str("</div>");
    groups(record, &mut page);
    counts(record, &mut page);
    meanings(record, &mut page);
    page.push_str("</main></body></html>\n");
    page
}

fn facts(record: &RunSummary, page: &mut String) {
    let identities: u64 = record.attackers.iter().map(|(_, means)| means.identities).sum();
    let mut facts = vec![
        ("opening", record.opening.clone()),
        ("order, as announced", record.order.clone()),
        ("parties of people", record.people.to_string()),
        ("scalpers' identities", identities.to_string()),
        ("free places before", record.free_before.to_string()),
        ("offices", record.offices.to_string()),
        ("requests", record.requests.to_string()),
        ("took", format!("{:.1} s", record.took_s)),
        ("seed", record.seed.to_string()),
    ];
    if record.scale != 1.0 {
        facts.push(("people and scalpers times", digits(record.scale)));
    }
    if record.speed != 1.0 {
        facts.push(("times as fast", digits(record.speed)));
    }
    if record.offices_unasked > 0 {
        facts.push(("offices not asked at", record.offices_unasked.to_string()));
    }
    page.push_str("<dl class=\"facts\">");
    for (name, value) in facts {
        let _ = write!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(&value));
    }
    page.push_str("</dl>");
}

fn table(page: &mut String, heads: &[&str], rows: &[(String, Vec<String>)]) {
    page.push_str("<div class=\"wide\" tabindex=\"0\"><table><thead><tr><th></th>");
    for head in heads {
        let _ = write!(page, "<th>{}</th>", escaped(head));
    }
    page.push_str("</tr></thead><tbody>");
    for (head, cells) in rows {
        let _ = write!(page, "<tr><th>{}</th>", escaped(head));
        for cell in cells {
            let _ = write!(page, "<td>{}</td>", escaped(cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
}

fn times(latency: &Latency) -> Vec<String> {
    let ms = [latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
    ms.iter().map(|ms| digits(*ms)).chain([latency.count.to_string()]).collect()
}

fn latency(record: &RunSummary, page: &mut String) {
    page.push_str(
        "<p>Milliseconds, from the moment a request was due. How late requests left is the load \
         generator's own lag, and part of the other figures.</p>",
    );
    let mut rows = vec![
        ("grants".to_owned(), times(&record.grants)),
        ("refusals".to_owned(), times(&record.refusals)),
    ];
    if record.confirmations.count > 0 {
        rows.push(("payments".to_owned(), times(&record.confirmations)));
    }
    for group in record.groups.iter().filter(|g| matches!(g.kind, "cohort" | "scalper")) {
        if group.service.count == 0 {
            continue;
        }
        rows.push((format!("{} {}", group.kind, group.name), times(&group.service)));
    }
    rows.push(("requests left late by".to_owned(), times(&record.lag)));
    table(page, &["half within", "90 %", "99 %", "99.9 %", "longest", "of"], &rows);
}

fn groups(record: &RunSummary, page: &mut String) {
    page.push_str(
        "<p>1 is even. People's groups are compared with all people, scalpers with everybody; z \
         counts standard deviations from an even hand. Cohorts, channels and devices are tested; \
         what is flagged (⚑) is not by chance, at 1 % for all tests together.</p>",
    );
    let float = |value: Option<f64>| value.map_or("–".to_owned(), digits);
    let rows: Vec<(String, Vec<String>)> = record
        .groups
        .iter()
        .filter(|group| group.applied > 0)
        .map(|group| {
            let flag = if group.flagged { " ⚑" } else { "" };
            let cells = vec![
                group.applied.to_string(),
                group.won.to_string(),
                format!("{}{flag}", float(group.ratio)),
                float(group.z),
                group.in_time.map_or("–".to_owned(), |share| shown(share, true)),
            ];
            (format!("{} {}", group.kind, group.name), cells)
        })
        .collect();
    let heads = ["asked", "have a place", "against the average", "z", "answered in time"];
    table(page, &heads, &rows);
    if !record.attackers.is_empty() {
        let _ = write!(
            page,
            "<h3>What scalpers have</h3><p>Those with a budget tried, in a small copy of the \
             scenario under the order that was announced ({}), every way to spend it in quarters, \
             and took what paid best.</p>",
            escaped(&record.order)
        );
        let rows: Vec<(String, Vec<String>)> = record
            .attackers
            .iter()
            .map(|(name, means)| {
                let cells = [means.identities, means.accounts, means.connections];
                (name.clone(), cells.map(|n| n.to_string()).to_vec())
            })
            .collect();
        table(page, &["identities", "accounts", "fast connections"], &rows);
    }
}

fn counts(record: &RunSummary, page: &mut String) {
    page.push_str("<h2>All figures</h2>");
    let figures = record.figures.iter().filter_map(|figure| {
        Some((figure.title.to_owned(), vec![shown(figure.value?, figure.share)]))
    });
    let mut rows: Vec<(String, Vec<String>)> = figures.collect();
    let mut count = |name: &str, n: u64| rows.push((name.to_owned(), vec![n.to_string()]));
    count("requests", record.requests);
    count("bookings told", record.bookings);
    if record.entered > 0 {
        count("entered into a draw", record.entered);
    }
    let payments = &record.payments;
    if payments.held > 0 {
        count("held until paid", payments.held);
        count("paid", payments.paid);
        count("payments refused", payments.refused);
        count("payments not answered", payments.unanswered);
        count("to be paid after the run", payments.later);
        count("left to lapse", payments.left);
        count("seen to have lapsed", payments.lapsed);
        count("held seconds after their time", payments.overdue);
    }
    for (reason, n) in &record.rejected {
        count(&format!("refused: {reason}"), *n);
    }
    count("nobody listened", record.unheard);
    count("no answer in time", record.unanswered);
    count("answered twice", record.second_answers);
    table(page, &["this run"], &rows);
    if !record.by_office.is_empty() {
        page.push_str("<h3>Places granted by office</h3>");
        let rows: Vec<(String, Vec<String>)> = record
            .by_office
            .iter()
            .map(|(office, n)| (office.clone(), vec![n.to_string()]))
            .collect();
        table(page, &["granted"], &rows);
    }
}

fn meanings(record: &RunSummary, page: &mut String) {
    page.push_str("<h2>What each figure means</h2><dl class=\"meanings\">");
    for figure in &record.figures {
        let _ =
            write!(page, "<dt>{}</dt><dd>{}</dd>", escaped(figure.title), escaped(figure.about));
    }
    page.push_str("</dl><h2>How it came about</h2><p>");
    page.push_str(
        "People and scalpers were made from a seed and asked a running engine over NATS, each \
         request at its moment, whatever the others waited for. The way from a person to the \
         service and back is simulated: a request leaves half of it later, and what comes of its \
         answer begins half of it later. Everything here is what clients were told; nothing is the \
         engine's own count, but for the free places. One run says nothing of how far chance moves \
         these figures.",
    );
    if record.speed != 1.0 {
        let _ = write!(
            page,
            " Arrivals, ways and pauses passed {} times as fast as in life; the engine's latency \
             is in real milliseconds.",
            digits(record.speed)
        );
    }
    if record.sampled {
        page.push_str(" Order and speed are judged by an even sample of a million of the people.");
    }
    page.push_str("</p>");
}

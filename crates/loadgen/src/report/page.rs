//! The report as a page.

use giliran_report::{Document, Table, digits};

use super::{charts, groups, identities, latencies, verdict};
use crate::RunSummary;

pub(super) fn page(record: &RunSummary) -> Document {
    let title = format!("Surge: {}", record.scenario);
    let mut page = Document::titled(&title);
    page.title(title);
    page.lead(&record.about);
    page.facts(facts(record));
    page.heading("Verdict");
    page.points(verdict(record));
    page.heading("What happened when");
    page.charts([charts::arrivals(record), charts::answers(record), charts::free(record)]);
    page.heading("Latency");
    page.charts([charts::service(record), charts::felt(record)]);
    page.text(
        "Milliseconds, from the moment a request was due. How late requests left is the load \
         generator's own lag, and part of the other figures.",
    );
    page.table(latencies(record, true));
    page.heading("Who got the places");
    page.charts([charts::scalpers(record), charts::of_deciles(record), charts::cohorts(record)]);
    who(record, &mut page);
    page.heading("All figures");
    page.table(counts(record));
    if !record.by_office.is_empty() {
        page.subheading("Places granted by office");
        let mut table = Table::new(["granted"]);
        for (office, n) in &record.by_office {
            table.row(office, [n.to_string()]);
        }
        page.table(table);
    }
    page.heading("What each figure means");
    page.terms(record.figures.iter().map(|figure| (figure.title, figure.about)));
    page.heading("How it came about");
    page.text(how(record));
    page
}

fn facts(record: &RunSummary) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("opening", record.opening.clone()),
        ("order, as announced", record.order.clone()),
        ("parties of people", record.people.to_string()),
        ("scalpers' identities", identities(record).to_string()),
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
    facts
}

fn who(record: &RunSummary, page: &mut Document) {
    page.text(
        "1 is even. People's groups are compared with all people, scalpers with everybody; z counts \
         standard deviations from an even hand. Cohorts, channels and devices are tested; what is \
         flagged (⚑) is not by chance, at 1 % for all tests together.",
    );
    page.table(groups(record, false));
    if record.attackers.is_empty() {
        return;
    }
    page.subheading("What scalpers have");
    page.text(format!(
        "Those with a budget tried, in a small copy of the scenario under the order that was \
         announced ({}), every way to spend it in quarters, and took what paid best.",
        record.order
    ));
    let mut table = Table::new(["identities", "accounts", "fast connections"]);
    for (name, means) in &record.attackers {
        let cells = [means.identities, means.accounts, means.connections];
        table.row(name, cells.map(|n| n.to_string()));
    }
    page.table(table);
}

fn counts(record: &RunSummary) -> Table {
    let mut table = Table::new(["this run"]);
    table.figures(&record.figures, None);
    let mut count = |name: &str, n: u64| table.row(name, [n.to_string()]);
    count("requests", record.requests);
    count("bookings answered", record.bookings);
    if record.entered > 0 {
        count("entered into a draw", record.entered);
    }
    let payments = &record.payments;
    if payments.held > 0 {
        count("held until paid", payments.held);
        count("paid", payments.paid);
        count("payments rejected", payments.rejected);
        count("payments not answered", payments.unanswered);
        count("to be paid after the run", payments.later);
        count("left to lapse", payments.left);
        count("seen to have lapsed", payments.lapsed);
        count("held seconds after their time", payments.overdue);
    }
    for (reason, n) in &record.rejected {
        count(&format!("rejected: {reason}"), *n);
    }
    count("nobody listened", record.unheard);
    count("no answer in time", record.unanswered);
    count("answered twice", record.second_answers);
    table
}

/// How it came about.
fn how(record: &RunSummary) -> String {
    let mut how =
        "People and scalpers were made from a seed and asked a running engine over NATS, \
                   each request at its moment, whatever the others waited for. The way from a \
                   person to the service and back is simulated: a request leaves half of it later, \
                   and what comes of its answer begins half of it later. Everything here is what \
                   clients were told; nothing is the engine's own count, but for the free places. \
                   One run says nothing of how far chance moves these figures."
            .to_owned();
    if record.speed != 1.0 {
        how.push_str(&format!(
            " Arrivals, ways and pauses passed {} times as fast as in life; the engine's latency \
             is in real milliseconds.",
            digits(record.speed)
        ));
    }
    if record.sampled {
        how.push_str(" Order and speed are judged by an even sample of a million of the people.");
    }
    how
}

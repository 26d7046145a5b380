//! What `deploy/` observes of a running Giliran, held against the program: metrics that the
//! operations page lists, rules, and dashboards name each other's and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use giliran_nats::state::{Report, State};
use giliran_wire::answer::Reason;
use prometheus::{IntGauge, Registry};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::daemons::Lag;
use crate::health::HealthRegistry;

/// Labels that Prometheus and its configuration put on everything.
const OUTSIDE: [&str; 4] = ["deployment", "instance", "job", "le"];
/// What a histogram is asked for.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between a heading of the operations page and the next one.
fn chapter(heading: &str) -> String {
    let page = file("docs/operations.md");
    let chapter = page.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    chapter.split("\n## ").next().unwrap().to_owned()
}

/// The cells of a table's row; a bar that belongs to a cell is written `\|`.
fn cells(row: &str) -> Vec<String> {
    let row = row.replace("\\|", "\u{1}");
    let cells = row.trim().trim_matches('|').split('|');
    cells.map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

/// What stands in backticks.
fn spans(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[derive(Debug, Clone)]
struct Documented {
    kind: String,
    labels: BTreeSet<String>,
}

/// The list of metrics, by name.
fn documented() -> BTreeMap<String, Documented> {
    let mut metrics = BTreeMap::new();
    let mut before = BTreeSet::new();
    for row in chapter("Metrics").lines().filter(|line| line.starts_with("| `giliran_")) {
        let cells = cells(row);
        assert_eq!(cells.len(), 4, "{row}");
        if cells[2] != "the same" {
            before = spans(&cells[2]).into_iter().collect();
        }
        for name in spans(&cells[0]) {
            let metric = Documented { kind: cells[1].clone(), labels: before.clone() };
            assert!(metrics.insert(name, metric).is_none(), "twice: {row}");
        }
    }
    metrics
}

/// Everything that any process of Giliran shows, without a process.
fn registered() -> Vec<Registry> {
    let processes = ["engine", "persist", "feed", "gateway", "console"].map(|role| {
        let shown = HealthRegistry::new(CancellationToken::new()).unwrap();
        match role {
            "engine" => drop(giliran_engine::Metrics::register(&shown.registry).unwrap()),
            "console" => drop(crate::commands::survey::connections(&shown.registry).unwrap()),
            "gateway" => drop(giliran_gateway::Metrics::register(&shown.registry).unwrap()),
            follower => drop(Lag::register(&shown.registry, follower, "done").unwrap()),
        }
        shown.starts(role, Report::of(State::Starting));
        shown.refresh();
        shown.registry
    });
    processes.into()
}

/// True where something of this name is registered, be it without a value: a second one with
/// other words is refused.
fn is_registered(registry: &Registry, name: &str) -> bool {
    let other = IntGauge::new(name, "words that no metric has").unwrap();
    registry.register(Box::new(other)).is_err()
}

#[test]
fn the_list_of_metrics_is_that_of_the_program() {
    let (documented, registries) = (documented(), registered());
    let mut shown = BTreeSet::new();
    for family in registries.iter().flat_map(Registry::gather) {
        let metric = documented.get(family.name());
        let metric = metric.unwrap_or_else(|| panic!("{} is not in the list", family.name()));
        assert_eq!(metric.kind, format!("{:?}", family.get_field_type()).to_lowercase());
        for sample in family.get_metric() {
            let labels = sample.get_label().iter().map(|label| label.name().to_owned());
            assert_eq!(metric.labels, labels.collect(), "{}", family.name());
        }
        shown.insert(family.name().to_owned());
    }
    assert!(shown.len() > 30, "{shown:?}");
    assert!(!registries.iter().any(|registry| is_registered(registry, "giliran_nothing")));
    for name in documented.keys() {
        let known = registries.iter().any(|registry| is_registered(registry, name));
        assert!(known, "{name} is in the list, and no process has it");
    }
}

/// What an expression names of Giliran's: metrics, each with its matchers, and what it
/// groups by.
fn wrong_in(expression: &str, documented: &BTreeMap<String, Documented>) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut labels: BTreeSet<&str> = OUTSIDE.into();
    let mut names = 0;
    let mut rest = expression;
    while let Some(at) = rest.find("giliran_") {
        let found = &rest[at..];
        let name = &found[..found.find(|c| !is_word(c)).unwrap_or(found.len())];
        rest = &found[name.len()..];
        names += 1;
        let base = OF_HISTOGRAMS.iter().find_map(|end| name.strip_suffix(end));
        let metric = documented.get(name).filter(|metric| metric.kind != "histogram");
        let metric =
            metric.or_else(|| documented.get(base?).filter(|metric| metric.kind == "histogram"));
        let Some(metric) = metric else {
            wrong.push(format!("there is no {name}"));
            continue;
        };
        labels.extend(metric.labels.iter().map(String::as_str));
        let matchers = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        for (label, value) in matchers.into_iter().flat_map(matchers_of) {
            if !metric.labels.contains(label) && !OUTSIDE.contains(&label) {
                wrong.push(format!("{name} has no label {label}"));
            }
            wrong.extend(unknown_value(label, value));
        }
    }
    if names == 0 && !expression.starts_with("up{") && !expression.starts_with("ALERTS{") {
        wrong.push("it names nothing of Giliran's".to_owned());
    }
    for grouping in ["by (", "on (", "without ("] {
        for listed in expression.split(grouping).skip(1) {
            let listed = listed.split(')').next().unwrap().split(',').map(str::trim);
            wrong.extend(listed.filter(|l| !labels.contains(l)).map(|l| format!("no label {l}")));
        }
    }
    wrong
}

/// `label="value"` of what stands in braces.
fn matchers_of(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("\",").filter_map(|matcher| {
        let (label, value) = matcher.split_once('"')?;
        Some((label.trim_matches([' ', '=', '~', '!', ',']), value.trim_end_matches('"')))
    })
}

/// Words of closed lists that are not in them.
fn unknown_value(label: &str, value: &str) -> Vec<String> {
    let known = |word: &str| match label {
        "state" => State::ALL.iter().any(|state| match word.strip_prefix(".*") {
            Some(end) => state.word().ends_with(end),
            None => state.word() == word,
        }),
        "reason" => Reason::ALL.iter().any(|reason| reason.name() == word),
        "part" => ["engine", "persist", "feed", "gateway", "console"].contains(&word),
        "outcome" => ["granted", "changed", "entered", "repeated", "rejected"].contains(&word),
        _ => true,
    };
    let unknown = value.split('|').filter(|word| !word.starts_with('$') && !known(word));
    unknown.map(|word| format!("no {label} is {word}")).collect()
}

/// A rule: its keys and what they say, those that go on in further lines joined.
fn rules() -> Vec<BTreeMap<String, String>> {
    let mut rules: Vec<BTreeMap<String, String>> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in file("deploy/prometheus/giliran.rules.yml").lines() {
        let (indent, text) = (line.len() - line.trim_start().len(), line.trim());
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some((of, key)) = open.as_ref().filter(|(of, _)| indent > *of) {
            let _ = of;
            let said = rules.last_mut().unwrap().get_mut(key).unwrap();
            said.push_str(text);
            said.push(' ');
            continue;
        }
        open = None;
        if text.starts_with("- alert: ") {
            rules.push(BTreeMap::new());
        }
        let (Some(rule), Some((key, value))) = (rules.last_mut(), text.split_once(": ")) else {
            continue;
        };
        let key = key.trim_start_matches("- ").to_owned();
        if value == ">-" {
            open = Some((indent, key.clone()));
            rule.insert(key, String::new());
        } else {
            rule.insert(key, value.to_owned());
        }
    }
    rules
}

/// A heading as links name it.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn each_alarm_has_a_rule_and_each_rule_an_alarm() {
    let (rules, documented) = (rules(), documented());
    let mut named = BTreeMap::new();
    for rule in &rules {
        let name = &rule["alert"];
        for key in ["expr", "severity", "summary", "description", "runbook_url"] {
            assert!(rule.get(key).is_some_and(|said| !said.is_empty()), "{name} has no {key}");
        }
        assert_eq!(wrong_in(&rule["expr"], &documented), [""; 0], "{name}: {}", rule["expr"]);
        let (page, anchor) = rule["runbook_url"].split_once('#').unwrap();
        assert!(anchors(&file(page)).contains(anchor), "{name}: {page} has no {anchor}");
        assert!(named.insert(name.clone(), rule["severity"].clone()).is_none(), "{name} twice");
    }
    let mut alarms = BTreeMap::new();
    for row in chapter("Alarms").lines().filter(|line| line.starts_with("| `Giliran")) {
        let cells = cells(row);
        alarms.insert(cells[0].trim_matches('`').to_owned(), cells[1].clone());
    }
    assert_eq!(named, alarms);
    assert!(named.values().all(|severity| ["critical", "warning"].contains(&severity.as_str())));
    assert!(named.len() > 20, "{named:?}");
}

/// `promtool` runs them where it is installed; that each alarm has one is seen here.
#[test]
fn each_rule_is_shown_to_ring_and_to_keep_still() {
    let tests = file("deploy/prometheus/giliran.test.yml");
    for rule in rules() {
        let name = &rule["alert"];
        let asked = format!("expr: 'ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}'");
        let said: Vec<&str> = tests.split(&asked).skip(1).collect();
        let keeps_still =
            |said: &&str| said.lines().take(3).any(|line| line.trim() == "exp_samples: []");
        let (still, rings): (Vec<&str>, Vec<&str>) = said.into_iter().partition(keeps_still);
        assert!(!still.is_empty() && !rings.is_empty(), "{name}");
    }
}

#[test]
fn dashboards_ask_for_what_there_is_and_say_it_in_words() {
    let documented = documented();
    let mut uids = BTreeSet::new();
    for name in ["opening", "operations"] {
        let board: Value =
            serde_json::from_str(&file(&format!("deploy/grafana/{name}.json"))).unwrap();
        assert!(board["schemaVersion"].as_u64() >= Some(36), "{name}");
        assert!(uids.insert(board["uid"].as_str().unwrap().to_owned()), "{name}");
        let variables = board["templating"]["list"].as_array().unwrap();
        assert!(variables.iter().any(|v| v["name"] == "datasource" && v["type"] == "datasource"));
        let panels = board["panels"].as_array().unwrap();
        assert!((6..=14).contains(&panels.len()), "{name}: {} panels", panels.len());
        for panel in panels {
            let title = panel["title"].as_str().unwrap();
            for words in [&panel["title"], &panel["description"]] {
                assert!(words.as_str().is_some_and(|words| !words.is_empty()), "{name}: {title}");
            }
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
            assert!(unit.is_some_and(|unit| !unit.is_empty()), "{name}: {title}: no unit");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                assert_eq!(
                    wrong_in(expression, &documented),
                    [""; 0],
                    "{name}: {title}: {expression}"
                );
                let legend = target["legendFormat"].as_str().unwrap();
                assert!(
                    !legend.is_empty() && !legend.starts_with("__"),
                    "{name}: {title}: {legend}"
                );
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}: {title}");
            }
        }
    }
}

#[test]
fn what_is_wrong_in_an_expression_is_found() {
    let documented = documented();
    for (expression, said) in [
        ("giliran_nobody == 0", "there is no giliran_nobody"),
        ("giliran_active_total == 0", "there is no giliran_active_total"),
        ("rate(giliran_append_seconds[1m]) > 0", "there is no giliran_append_seconds"),
        ("giliran_active{stat=\"active\"} == 1", "giliran_active has no label stat"),
        ("giliran_state{state=~\"standby|lost\"} == 1", "no state is lost"),
        ("giliran_requests_total{reason=\"full\"} > 1", "no reason is full"),
        ("sum by (office) (giliran_active)", "no label office"),
        ("vector(1)", "it names nothing of Giliran's"),
    ] {
        assert_eq!(wrong_in(expression, &documented), [said], "{expression}");
    }
    let right = "sum by (deployment, le) (rate(giliran_append_seconds_bucket{instance=\"a\"}[1m]))";
    assert_eq!(wrong_in(right, &documented), [""; 0]);
}

//! Which crate may name which: the floors, what a crate must never reach, the one home of
//! each heavy dependency, and the code map that tells people.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::manifest::{Manifest, own};
use crate::tidy::tree::Tree;

const PAGE: &str = "docs/internals/architecture.md";

/// From the ground up. A crate names only crates of lower floors.
const FLOORS: [&[&str]; 6] = [
    &["report", "web", "wire"],
    &["allocator", "drand", "nats"],
    &["config", "feed", "persist", "sequencer", "survey", "verify"],
    &["audit", "console", "engine", "fairness", "gateway", "sim"],
    &["history", "loadgen"],
    &["cli"],
];

/// It compiles before everything else, and names nothing of ours.
const WITHOUT_FLOOR: &str = "xtask";

/// What tests alone may name, from any floor.
const FOR_TESTS: &str = "testkit";

/// A crate, and what it must not reach, not even through another crate.
const NEVER_REACHES: [(&str, &[&str], &str); 12] = [
    (
        "verify",
        &["allocator", "nats", "persist", "sequencer"],
        "a checker shares nothing with what it checks",
    ),
    ("audit", &["sequencer", "engine", "fairness"], "a checker shares nothing with what it checks"),
    (
        "persist",
        &["allocator", "sequencer", "engine"],
        "what it writes follows from the ledger alone",
    ),
    ("feed", &["sequencer", "engine"], "what it tells follows from the ledger alone"),
    ("gateway", &["allocator", "engine", "feed", "persist"], "it sees an engine as clients do"),
    ("engine", &["persist", "feed"], "stores and events are downstream of the ledger"),
    ("sim", &["nats"], "its worlds are of simulated time and streams"),
    ("fairness", &["nats", "engine"], "it runs in virtual time"),
    ("history", &["engine", "persist", "feed"], "it goes by the ledger"),
    ("loadgen", &["engine"], "it sees an engine as clients do"),
    (
        "console",
        &["allocator", "engine", "feed", "gateway", "persist", "sequencer"],
        "it sees an engine as operators do",
    ),
    (
        "survey",
        &["allocator", "engine", "feed", "gateway", "persist", "sequencer"],
        "it asks processes, and shares no state with them",
    ),
];

/// A crate, and what it must not name itself.
const NEVER_NAMES: [(&str, &[&str], &str); 2] = [
    ("loadgen", &["allocator"], "it sees an engine as clients do"),
    ("cli", &["sim", FOR_TESTS], "they are no part of the product"),
];

/// A package, and the only crates that may name it outside their tests.
const HOMES: [(&str, &[&str]); 24] = [
    (
        "async-nats",
        &["audit", "cli", "engine", "feed", "gateway", "loadgen", "nats", "survey", FOR_TESTS],
    ),
    // Metrics and health of every role; what people and programs are served.
    ("axum", &["cli", "console", "gateway", "web"]),
    ("bincode", &["wire"]),
    ("blst", &["drand"]),
    ("clap", &["cli", "sim", "xtask"]),
    ("csv", &["report"]),
    ("dashmap", &["allocator"]),
    ("hdrhistogram", &["loadgen"]),
    ("hyper", &["loadgen", "web"]),
    ("hyper-util", &["loadgen", "web"]),
    ("indicatif", &["cli"]),
    ("jsonwebtoken", &["gateway"]),
    // Reports, the page that people book on, and that of operators.
    ("maud", &["console", "gateway", "report"]),
    ("prometheus", &["cli", "engine", "gateway", "web"]),
    ("qrcodegen", &["gateway"]),
    // The load of a peer in the benchmarks.
    ("redis", &[]),
    ("ring", &["gateway", "web"]),
    ("rusqlite", &["persist"]),
    ("rustls", &["persist"]),
    ("signal-hook", &["xtask"]),
    ("tokio-postgres", &["persist", FOR_TESTS]),
    ("tokio-postgres-rustls", &["persist"]),
    ("tracing-subscriber", &["cli"]),
    ("x509-cert", &["cli"]),
];

/// Time, randomness and I/O are arguments here.
const PURE: [&str; 9] =
    ["allocator", "config", "drand", "fairness", "report", "sequencer", "sim", "verify", "wire"];

/// What no pure crate names, with the one that may.
const IMPURE: [(&str, &[&str]); 6] = [
    ("futures-util", &[]),
    // From a seed.
    ("rand", &["sim"]),
    ("rustix", &[]),
    ("tokio", &[]),
    ("tokio-util", &[]),
    ("tracing", &[]),
];

/// In the sources of this crate, only this file may name that crate.
const ONE_FILE: [(&str, &str, &str); 1] = [("audit", "generations.rs", "allocator")];

/// Crates with their manifests.
type Crates<'a> = BTreeMap<&'a str, Manifest<'a>>;

pub(super) fn check(tree: &Tree, wrong: &mut Vec<String>) {
    let crates: Crates<'_> = tree
        .crates()
        .into_iter()
        .map(|name| {
            let text = tree.text(&format!("crates/{name}/Cargo.toml")).unwrap_or_default();
            (name, Manifest::read(text))
        })
        .collect();
    arrows(&crates, wrong);
    never(&crates, wrong);
    homes(&crates, wrong);
    one_file(tree, wrong);
    code_map(tree, &crates, wrong);
}

/// The floor that a crate stands on, from 1 at the bottom; none: it has no floor.
fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name)).map(|index| index + 1)
}

fn arrows(crates: &Crates<'_>, wrong: &mut Vec<String>) {
    for (name, manifest) in crates {
        let Some(own_floor) = floor(name) else {
            if ![WITHOUT_FLOOR, FOR_TESTS].contains(name) {
                wrong.push(format!("crates/{name}: has no floor (FLOORS in tidy/floors.rs)"));
            }
            if *name == WITHOUT_FLOOR && !own(&manifest.normal).is_empty() {
                wrong.push(format!("crates/{name}/Cargo.toml: names a crate of ours"));
            }
            continue;
        };
        let named = own(&manifest.normal).into_iter().chain(own(&manifest.dev));
        for other in named.filter(|other| *other != FOR_TESTS) {
            if floor(other).is_some_and(|floor| floor >= own_floor) {
                wrong.push(format!(
                    "crates/{name}/Cargo.toml: names {other}, which is not on a lower floor"
                ));
            }
        }
        if own(&manifest.normal).contains(FOR_TESTS) {
            wrong.push(format!("crates/{name}/Cargo.toml: names {FOR_TESTS} outside its tests"));
        }
    }
}

fn never(crates: &Crates<'_>, wrong: &mut Vec<String>) {
    for (name, others, reason) in NEVER_REACHES {
        let reached = reached(crates, name);
        for other in others.iter().filter(|other| reached.contains(*other)) {
            wrong.push(format!("crates/{name}/Cargo.toml: reaches {other}; {reason}"));
        }
    }
    for (name, others, reason) in NEVER_NAMES {
        let named = crates.get(name).map(|manifest| own(&manifest.normal)).unwrap_or_default();
        for other in others.iter().filter(|other| named.contains(*other)) {
            wrong.push(format!("crates/{name}/Cargo.toml: names {other}; {reason}"));
        }
    }
}

/// The crates that a crate names, and those that they name, and so on.
fn reached<'a>(crates: &Crates<'a>, name: &str) -> BTreeSet<&'a str> {
    let named = |name: &str| crates.get(name).map(|manifest| own(&manifest.normal));
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = named(name).into_iter().flatten().collect();
    while let Some(name) = next.pop() {
        if reached.insert(name) {
            next.extend(named(name).into_iter().flatten());
        }
    }
    reached
}

fn homes(crates: &Crates<'_>, wrong: &mut Vec<String>) {
    for (name, manifest) in crates {
        for (package, homes) in HOMES {
            if manifest.normal.contains(package) && !homes.contains(name) {
                wrong.push(format!(
                    "crates/{name}/Cargo.toml: names {package}, whose place is {}",
                    homes.join(", ")
                ));
            }
        }
        for (package, except) in IMPURE {
            if PURE.contains(name) && manifest.normal.contains(package) && !except.contains(name) {
                wrong.push(format!(
                    "crates/{name}/Cargo.toml: names {package}; time, randomness and I/O are arguments there"
                ));
            }
        }
    }
}

fn one_file(tree: &Tree, wrong: &mut Vec<String>) {
    for (name, file, other) in ONE_FILE {
        let (folder, import) = (format!("crates/{name}/src/"), format!("giliran_{other}"));
        for (path, code) in tree.codes() {
            let inside = path.strip_prefix(&folder).filter(|inner| *inner != file);
            if inside.is_some() && code.contains(&import) {
                wrong.push(format!("{path}: names {other}; only {folder}{file} may"));
            }
        }
    }
}

/// The page's table of crates: floor, crate, what it is, and what it names.
fn code_map(tree: &Tree, crates: &Crates<'_>, wrong: &mut Vec<String>) {
    let text = tree.text(PAGE).unwrap_or_default();
    let table = text.split("\n## Code map\n").nth(1).unwrap_or_default();
    let rows = table.split("\n## ").next().unwrap_or_default().lines().filter_map(row);
    let rows: BTreeMap<&str, (&str, &str)> = rows.collect();
    for (name, manifest) in crates {
        let Some((shown_floor, names)) = rows.get(name) else {
            wrong.push(format!("{PAGE}: the code map has no row for {name}"));
            continue;
        };
        let own_floor = floor(name).map_or("–".to_owned(), |floor| floor.to_string());
        if *shown_floor != own_floor {
            wrong.push(format!(
                "{PAGE}: the code map has {name} on floor {shown_floor}; it stands on {own_floor}"
            ));
        }
        // `cli` runs everything; the row says so in words.
        if *name != "cli" {
            compare(name, &quoted(names), &own(&manifest.normal), wrong);
        }
    }
    for name in rows.keys().filter(|name| !crates.contains_key(*name)) {
        wrong.push(format!("{PAGE}: the code map has {name}, which does not exist"));
    }
}

fn compare(name: &str, says: &BTreeSet<&str>, does: &BTreeSet<&str>, wrong: &mut Vec<String>) {
    for other in does.difference(says) {
        wrong.push(format!("{PAGE}: the code map does not say that {name} names {other}"));
    }
    for other in says.difference(does) {
        wrong.push(format!("{PAGE}: the code map says that {name} names {other}; it does not"));
    }
}

/// A row of the table: the crate, its floor, and the cell of what it names.
fn row(line: &str) -> Option<(&str, (&str, &str))> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    let [floor, name, _, names] = cells.as_slice() else { return None };
    Some((name.strip_prefix('`')?.strip_suffix('`')?, (floor, names)))
}

/// What stands between backticks.
fn quoted(cell: &str) -> BTreeSet<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    /// A crate with its path and manifest.
    type Given = (&'static str, &'static str);

    const WIRE: Given = ("crates/wire/Cargo.toml", "[dependencies]\n");
    const ALLOCATOR: Given =
        ("crates/allocator/Cargo.toml", "[dependencies]\ngiliran-wire.workspace = true\n");
    const MAP: &str = "\n## Code map\n\n| floor | crate | is | names |\n|---|---|---|---|\n\
                       | 1 | `wire` | formats | – |\n| 2 | `allocator` | slots | `wire` |\n\n## More\n";

    /// What is said of `wire`, `allocator` and these, beside what their missing rows cause.
    fn of(more: &[Given]) -> Vec<String> {
        let mut files = vec![WIRE, ALLOCATOR, (PAGE, MAP)];
        files.extend(more);
        let mut wrong = findings(check, &files);
        wrong.retain(|line| !line.contains("has no row for"));
        wrong
    }

    #[test]
    fn a_tree_that_keeps_the_rules_has_no_findings() {
        assert_eq!(findings(check, &[WIRE, ALLOCATOR, (PAGE, MAP)]), Vec::<String>::new());
    }

    #[test]
    fn the_code_map_is_what_the_manifests_say() {
        let map = |from: &str, to: &str| {
            let page = MAP.replace(from, to);
            findings(check, &[WIRE, ALLOCATOR, (PAGE, &page)])
        };
        assert!(map("| 2 | `a", "| 3 | `a")[0].contains("on floor 3; it stands on 2"));
        assert!(
            map("slots | `wire`", "slots | –")[0]
                .contains("does not say that allocator names wire")
        );
        assert!(map("formats | –", "formats | `nats`")[0].contains("says that wire names nats"));
        assert!(map("`allocator`", "`core`").len() == 2);
    }

    #[test]
    fn arrows_point_down() {
        let up = "[dev-dependencies]\ngiliran-sequencer.workspace = true\n";
        assert!(of(&[("crates/drand/Cargo.toml", up)])[0].contains("not on a lower floor"));
        let beside = "[dependencies]\ngiliran-allocator.workspace = true\n";
        assert!(of(&[("crates/nats/Cargo.toml", beside)])[0].contains("not on a lower floor"));
        assert!(of(&[("crates/common/Cargo.toml", "")])[0].contains("has no floor"));
        assert!(of(&[("crates/xtask/Cargo.toml", beside)])[0].contains("names a crate of ours"));
    }

    #[test]
    fn the_crate_for_tests_is_named_by_tests_alone() {
        let test = "[dev-dependencies]\ngiliran-testkit.workspace = true\n";
        assert_eq!(of(&[("crates/drand/Cargo.toml", test)]), Vec::<String>::new());
        let normal = "[dependencies]\ngiliran-testkit.workspace = true\n";
        assert!(of(&[("crates/drand/Cargo.toml", normal)])[0].contains("outside its tests"));
    }

    #[test]
    fn a_checker_reaches_nothing_of_what_it_checks() {
        let verify =
            ("crates/verify/Cargo.toml", "[dependencies]\ngiliran-drand.workspace = true\n");
        assert_eq!(of(&[verify]), Vec::<String>::new());
        let drand =
            ("crates/drand/Cargo.toml", "[dependencies]\ngiliran-allocator.workspace = true\n");
        assert!(of(&[verify, drand]).iter().any(|line| line.contains("reaches allocator")));
        let load = "[dependencies]\ngiliran-allocator.workspace = true\n";
        assert!(of(&[("crates/loadgen/Cargo.toml", load)])[0].contains("names allocator"));
    }

    #[test]
    fn heavy_and_impure_packages_stay_where_they_belong() {
        let blst = "[dependencies]\nblst.workspace = true\n";
        assert_eq!(of(&[("crates/drand/Cargo.toml", blst)]), Vec::<String>::new());
        assert!(of(&[("crates/nats/Cargo.toml", blst)])[0].contains("whose place is drand"));
        let dev = "[dev-dependencies]\nblst.workspace = true\n";
        assert_eq!(of(&[("crates/nats/Cargo.toml", dev)]), Vec::<String>::new());
        let tokio = "[dependencies]\ntokio.workspace = true\n";
        assert_eq!(of(&[("crates/nats/Cargo.toml", tokio)]), Vec::<String>::new());
        assert!(of(&[("crates/sim/Cargo.toml", tokio)])[0].contains("are arguments there"));
    }

    #[test]
    fn one_file_of_the_audit_names_the_allocator() {
        let import = "use giliran_allocator::StateMachine;\n";
        assert_eq!(of(&[("crates/audit/src/generations.rs", import)]), Vec::<String>::new());
        assert_eq!(
            of(&[("crates/audit/src/facts.rs", "// giliran_allocator\n")]),
            Vec::<String>::new()
        );
        assert!(
            of(&[("crates/audit/src/facts.rs", import)])[0].contains("only crates/audit/src/gen")
        );
    }
}

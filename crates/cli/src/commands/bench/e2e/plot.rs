//! Pictures of results that were written down, for a document.

use std::path::Path;

use giliran_report::axis::Scale;
use giliran_report::stacks::{Bar, Stacks};
use giliran_report::svg::{Row as Line, Rows};
use giliran_report::{Chart, Document, Language, Report};
use serde_json::Value;

use super::report::{Results, median};
use super::rows::{BATCH, By, Goal, PEERS, ROWS, Row, Wanted};
use crate::RELEASE;
use crate::failure::Failure;

/// What a picture is called, the words for those who cannot see it, and its file's content.
pub(super) struct Picture {
    pub(super) name: String,
    pub(super) about: String,
    svg: String,
}

/// How charts are told apart in colour.
const OF_ENGINE: usize = 0;
const OF_PEER: usize = 1;
const BEHIND_NATS: usize = 2;

/// Writes the pictures of results into the folder.
pub(super) fn write(file: &Path, folder: &Path) -> Result<Vec<Picture>, Failure> {
    let pictures = pictures(file)?;
    std::fs::create_dir_all(folder)?;
    for picture in &pictures {
        std::fs::write(folder.join(&picture.name), &picture.svg)?;
    }
    Ok(pictures)
}

/// The same results are the same pictures.
fn pictures(file: &Path) -> Result<Vec<Picture>, Failure> {
    let results = Results::read(file)?;
    let charts: Vec<Chart> =
        [goals(&results), peers(&results), processors(&results)].into_iter().flatten().collect();
    let mut page = Document::new(Language::English);
    page.charts(charts.iter().cloned().map(Some));
    let report =
        Report { screen: Document::default(), page, sheets: Vec::new(), data: Value::Null };
    let results = file.file_name().unwrap_or_default().to_string_lossy();
    let made_by = format!("giliran bench --plot {results}, version {RELEASE}");
    let drawn = report.pictures(&made_by).into_iter().zip(charts);
    Ok(drawn
        .map(|((name, svg), Chart { title, about, .. })| {
            let about = format!("{title}. {about}");
            Picture { name, about, svg }
        })
        .collect())
}

/// A part of what a goal asks for: 1 is the goal itself.
struct Reached {
    name: String,
    /// As it is written.
    shown: String,
    /// The medians', and the least and the most of the passes.
    parts: [f64; 3],
}

impl Reached {
    fn of_goal(results: &Results, goal: &Goal) -> Option<Self> {
        let Goal { row, over, at_least } = *goal;
        let ratio = results.ratio(goal)?;
        let passes = results.of(row).zip(results.of(over));
        let passes: Vec<f64> = passes.map(|(pass, over)| pass.per_s / over.per_s).collect();
        let least = passes.iter().copied().fold(ratio, f64::min);
        let most = passes.into_iter().fold(ratio, f64::max);
        Some(Self {
            name: format!("{row} over {over}"),
            shown: format!("{ratio:.2} of {at_least}"),
            parts: [ratio, least, most].map(|ratio| ratio / at_least),
        })
    }

    fn line(&self) -> Line {
        let [part, least, most] = self.parts;
        let look = usize::from(part < 1.0);
        Line::new(&self.name, part, self.shown.clone(), look).within(least, most)
    }

    fn said(&self) -> String {
        let [_, least, most] = self.parts.map(|part| part * 100.0);
        let Self { name, shown, .. } = self;
        if most - least < 0.5 {
            return format!("{name} {shown}");
        }
        format!("{name} {shown} ({least:.0} to {most:.0} %)")
    }
}

/// Ratios over their goals, with the spread of the passes.
fn goals(results: &Results) -> Option<Chart> {
    let reached = results.goals().filter_map(|goal| Reached::of_goal(results, goal));
    let single = results.single_goals().into_iter().map(|single| Reached {
        name: single.name.to_owned(),
        shown: format!("{:.2}, goal {}", single.value, single.goal),
        parts: [single.part; 3],
    });
    let reached: Vec<Reached> = reached.chain(single).collect();
    let title = match results.peers {
        Some(_) => "Ratios over goals, with peers",
        None => "Ratios over goals",
    };
    let said: Vec<String> = reached.iter().map(Reached::said).collect();
    let about = format!(
        "1 is the goal; whiskers, here in brackets: the passes that reached least and most of it. {}",
        said.join("; ")
    );
    let rows = Rows {
        language: Language::English,
        title,
        about: &about,
        rows: reached.iter().map(Reached::line).collect(),
        reference: None,
        across: Some(1.0),
        scale: Scale::Amount,
        is_whole: false,
    };
    rows.chart(&about)
}

/// Grants a second by the engine and by what would be used instead.
fn peers(results: &Results) -> Option<Chart> {
    results.peers.as_ref()?;
    let of_engine = ROWS.iter().filter(|row| row.by == By::Engine && row.wanted != Wanted::SoldOut);
    let mut said = Vec::new();
    let lines = of_engine.chain(&PEERS).filter_map(|row| {
        let rate = results.median(row.name)? / 1e3;
        let (least, most) = results.spread(row.name);
        let (name, look) = named(row);
        let shown = format!("{rate:.1} k/s");
        said.push(format!("{name} {shown} ({least:.0} to {most:.0})"));
        Some(Line::new(name, rate, shown, look).within(least, most))
    });
    let lines: Vec<Line> = lines.collect();
    let about = format!(
        "Thousands of durable grants a second, medians; whiskers: the slowest and the fastest \
         pass. {}",
        said.join("; ")
    );
    let rows = Rows {
        language: Language::English,
        title: "Rates beside peers",
        about: &about,
        rows: lines,
        reference: None,
        across: None,
        scale: Scale::Count,
        is_whole: false,
    };
    rows.chart(&about)
}

/// As the chart of peers names a row, and its colour.
fn named(row: &Row) -> (String, usize) {
    let By::Peer(peer) = row.by else {
        let how = match (row.batch, row.wanted) {
            (BATCH, _) => "1,000 a message",
            (_, Wanted::Hot) => "one slot",
            _ => "500 slots",
        };
        return (format!("Giliran, {}: {how}", row.name), OF_ENGINE);
    };
    (row.name.to_owned(), if peer.behind_nats { BEHIND_NATS } else { OF_PEER })
}

/// The processes of a row, in the order of the bars' parts.
const PROCESSES: [&str; 5] = ["engine", "broker", "load", "echo", "bare"];

/// Processor time of each process, row by row; beside peers, whose servers take a hundred
/// times as much, it would show these alone.
fn processors(results: &Results) -> Option<Chart> {
    if results.peers.is_some() {
        return None;
    }
    let mut said = Vec::new();
    let bars = ROWS.iter().filter_map(|row| {
        results.median(row.name)?;
        let of = |process: &str| {
            median(results.of(row.name).filter_map(|pass| pass.cpu_us.get(process).copied()))
        };
        let parts = PROCESSES.map(|process| of(process).unwrap_or_default());
        let shown = format!("{:.1} µs", parts.iter().sum::<f64>());
        let each = PROCESSES.iter().zip(parts).filter(|(_, part)| *part >= 0.005);
        let each: Vec<String> =
            each.map(|(process, part)| format!("{process} {part:.2}")).collect();
        said.push(format!("{} {}", row.name, each.join(" ")));
        Some(Bar { name: row.name.to_owned(), parts: parts.to_vec(), shown })
    });
    let bars: Vec<Bar> = bars.collect();
    let about = format!("Processor time in µs a request, medians by process. {}", said.join("; "));
    let stacks = Stacks {
        language: Language::English,
        title: "Processor time",
        about: &about,
        names: &PROCESSES,
        bars,
        scale: Scale::Amount,
    };
    stacks.chart(&about)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// The newest results of a kind, from the root.
    fn recorded(kind: &str) -> String {
        let files = std::fs::read_dir(root().join("benches/results")).unwrap().flatten();
        let names = files.map(|file| file.file_name().into_string().unwrap());
        let newest = names.filter(|name| name.starts_with(kind) && name.ends_with(".json")).max();
        format!("benches/results/{}", newest.unwrap())
    }

    #[test]
    fn the_readme_has_the_tables_of_the_recorded_results() {
        let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
        for file in ["e2e-", "peers-"].map(recorded) {
            assert!(readme.contains(&format!("]({file})")), "README.md does not link {file}");
            let table = Results::read(&root().join(&file)).unwrap().markdown();
            for line in table.lines() {
                assert!(
                    readme.lines().any(|other| other == line),
                    "README.md lacks this line of `cargo xtask bench table {file}`:\n{line}"
                );
            }
            assert!(readme.contains(&table), "README.md has the lines of {file} in another order");
        }
    }

    /// `GILIRAN_BLESS=1` renews pictures and words.
    #[test]
    fn the_documents_have_the_pictures_of_the_recorded_results() {
        let page = root().join("docs/performance.md");
        let mut text = std::fs::read_to_string(&page).unwrap();
        let folder = root().join("docs/performance");
        for file in ["e2e-", "peers-"].map(recorded) {
            let file = root().join(&file);
            if std::env::var_os("GILIRAN_BLESS").is_some() {
                for Picture { name, about, .. } in write(&file, &folder).unwrap() {
                    text = renewed(&text, &name, &about);
                }
                std::fs::write(&page, &text).unwrap();
            }
            for Picture { name, about, svg } in pictures(&file).unwrap() {
                assert!(
                    std::fs::read_to_string(folder.join(&name)).is_ok_and(|shown| shown == svg),
                    "docs/performance/{name} is not that of {}; renew it with GILIRAN_BLESS=1",
                    file.display()
                );
                let line = format!("![{about}](performance/{name})");
                assert!(text.contains(&line), "docs/performance.md lacks this:\n{line}");
            }
        }
    }

    /// The page with these words for a picture that it shows.
    fn renewed(page: &str, name: &str, about: &str) -> String {
        let Some(end) = page.find(&format!("](performance/{name})")) else {
            return page.to_owned();
        };
        let begin = page[..end].rfind("![").map_or(end, |begin| begin + 2);
        format!("{}{about}{}", &page[..begin], &page[end..])
    }

    #[test]
    fn a_goal_is_a_part_of_itself_with_the_passes_beside_it() {
        let pass = |row: &str, per_s: f64| {
            serde_json::json!({
                "row": row, "per_s": per_s, "others": 0, "book": 1, "cpu_us": {}, "idle": 0.0,
                "load": 0.0
            })
        };
        let passes = [("echo U", 100e3), ("S2", 40e3), ("echo U", 200e3), ("S2", 160e3)];
        let passes: Vec<Value> = passes.map(|(row, per_s)| pass(row, per_s)).into();
        let results = serde_json::json!({ "passes": passes });
        let results: Results = serde_json::from_value(results).unwrap();
        let goal = Goal { row: "S2", over: "echo U", at_least: 0.8 };
        let reached = Reached::of_goal(&results, &goal).unwrap();
        assert_eq!(reached.parts, [1.0, 0.5, 1.0]);
        assert_eq!(reached.said(), "S2 over echo U 0.80 of 0.8 (50 to 100 %)");
    }
}

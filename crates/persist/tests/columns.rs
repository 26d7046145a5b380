//! The tables of both databases: the same columns in the same order, of kinds that hold
//! the same values.

#![allow(clippy::unwrap_used, reason = "tests")]

const SQLITE: &str = include_str!("../src/store/sqlite.sql");
const POSTGRES: &str = include_str!("../src/store/postgres.sql");

/// What is common to a column of both: name, kind, whether it may be empty, and what it
/// holds where nothing is said.
fn column(line: &str) -> String {
    let words: Vec<&str> = line.trim_end_matches(',').split_whitespace().collect();
    let kind = match words[1] {
        "INTEGER" | "BIGINT" | "SMALLINT" | "BOOLEAN" => "number",
        "TEXT" | "DATE" | "TIMESTAMPTZ" => "text",
        "BLOB" | "BYTEA" => "bytes",
        other => panic!("a column of a kind that is not known here: {other}"),
    };
    let filled = line.contains("NOT NULL") || line.contains("PRIMARY KEY");
    let default = line.split_once("DEFAULT ").map(|(_, value)| value.trim_end_matches(','));
    let default = default.map(|value| value.replace("FALSE", "0").replace("TRUE", "1"));
    let check = line.split_once("CHECK ").map(|(_, check)| check.trim_end_matches(','));
    format!("{} {kind} filled={filled} {default:?} {check:?}", words[0])
}

/// Each table with its columns and what is unique in it.
fn tables(sql: &str) -> Vec<(String, Vec<String>)> {
    let mut tables = Vec::new();
    let lines: Vec<&str> = sql.lines().filter(|line| !line.starts_with("--")).collect();
    for statement in lines.join("\n").split(';') {
        let statement = statement.trim().trim_end_matches(", WITHOUT ROWID");
        let statement = statement.trim_end_matches(" STRICT");
        if let Some(index) = statement.strip_prefix("CREATE UNIQUE INDEX IF NOT EXISTS ") {
            let words = index.replace("active = 1", "active");
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            tables.push((words, Vec::new()));
        } else if let Some(table) = statement.strip_prefix("CREATE TABLE IF NOT EXISTS ") {
            let (name, columns) = table.split_once(" (\n").unwrap();
            let columns = columns.strip_suffix("\n)").unwrap().lines().map(str::trim);
            let columns = columns.map(|line| match line.strip_prefix("PRIMARY KEY (") {
                Some(key) => format!("key {key}"),
                None => column(line),
            });
            tables.push((name.to_owned(), columns.collect()));
        } else if let Some(view) = statement.strip_prefix("CREATE VIEW ") {
            // What it shows, not how.
            let (shown, _) = view.split_once(") AS SELECT").unwrap();
            let shown = shown.trim_start_matches("IF NOT EXISTS ");
            let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
            tables.push((words, Vec::new()));
        } else {
            assert_eq!(statement, "", "a statement that is not known here");
        }
    }
    tables
}

#[test]
fn both_databases_have_the_same_columns() {
    let (sqlite, postgres) = (tables(SQLITE), tables(POSTGRES));
    assert!(sqlite.len() >= 12, "{sqlite:?}");
    for (one, other) in sqlite.iter().zip(&postgres) {
        assert_eq!(one, other, "sqlite.sql and postgres.sql differ");
    }
    assert_eq!(sqlite.len(), postgres.len());
}

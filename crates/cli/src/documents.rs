//! Commands that the documents mention, held against the parser: each exists, and has
//! the options that are named with it.

use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser as _};

/// Every page of the project, but what tells of its past.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md"), root.join("deploy/README.md")];
    let mut folders = vec![root.join("docs"), root.join("benches"), root.join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md" || end == "yaml") {
                pages.push(path);
            }
        }
    }
    pages.retain(|page| !page.components().any(|part| part.as_os_str() == "adr"));
    pages
}

/// What stands in code: fenced lines, those that go on joined, and spans.
fn code(page: &str) -> Vec<String> {
    let mut code: Vec<String> = Vec::new();
    let (mut fenced, mut goes_on) = (false, false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced && goes_on {
            code.last_mut().unwrap().push_str(line);
        } else if fenced {
            code.push(line.to_owned());
        } else {
            code.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
        goes_on = fenced && line.ends_with('\\');
    }
    code
}

/// What is wrong with the command that begins after `giliran `.
fn wrong(arguments: &str) -> Option<String> {
    let root = super::Command::command();
    let (mut command, mut named) = (&root, false);
    for word in
        arguments.split_whitespace().take_while(|word| !["|", "&&", "#", "--"].contains(word))
    {
        let word = word.trim_matches(['[', ']', '"', ',', ';', ')']);
        if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next().unwrap();
            let has = |command: &clap::Command| {
                command.get_arguments().any(|argument| argument.get_long() == Some(name))
            };
            let known = has(command) || has(&root) || ["help", "version"].contains(&name);
            if !known {
                return Some(format!("`{}` has no option --{name}", command.get_name()));
            }
        } else if let Some(inner) = command.find_subcommand(word) {
            (command, named) = (inner, true);
        } else if !named {
            return Some(format!("there is no `giliran {word}`"));
        } else if command.has_subcommands() && word.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Some(format!("there is no `giliran {} {word}`", command.get_name()));
        }
    }
    None
}

/// The commands of manifests, whose arguments stand in brackets, and of units.
fn started(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    if path.extension().is_some_and(|end| end == "service") {
        let joined = text.replace("\\\n", " ");
        let command = joined.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        return vec![command.split_whitespace().skip(1).map(str::to_owned).collect()];
    }
    let lists = text.split("args: [").skip(1).chain(text.split("command: [").skip(1));
    let lists = lists.map(|list| format!("[{}]", list.split(']').next().unwrap()));
    let lists = lists.map(|list| serde_json::from_str::<Vec<String>>(&list).unwrap());
    // The broker's.
    lists.filter(|list| list[0] != "nats-server" && list[0] != "-c").collect()
}

#[test]
fn units_and_manifests_start_what_there_is() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let mut looked_at = Vec::new();
    for folder in ["systemd", "compose", "kubernetes", "kubernetes/setup"] {
        for entry in std::fs::read_dir(deploy.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if !path.extension().is_some_and(|end| end == "service" || end == "yaml") {
                continue;
            }
            for arguments in started(&path) {
                let words = std::iter::once("giliran").chain(arguments.iter().map(String::as_str));
                if let Err(error) = super::Command::try_parse_from(words) {
                    // The rest comes from the environment.
                    let missing = error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
                    assert!(missing, "{}: {error}", path.display());
                }
                let named =
                    |word: &&String| super::Command::command().find_subcommand(word).is_some();
                let role = arguments.iter().find(named).unwrap();
                looked_at.push(format!("{folder} {role}"));
            }
        }
    }
    for folder in ["systemd", "compose", "kubernetes"] {
        for role in ["serve", "persist", "feed", "gateway"] {
            let what = format!("{folder} {role}");
            assert!(looked_at.contains(&what), "{what}: {looked_at:?}");
        }
    }
}

/// What an orchestrator asks for, it can be answered.
#[test]
fn probes_ask_for_states_that_there_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes");
    let mut asked = 0;
    for role in ["engine", "persist", "feed", "gateway"] {
        let manifest = std::fs::read_to_string(folder.join(format!("{role}.yaml"))).unwrap();
        for line in manifest.lines() {
            let Some(path) = line.trim().strip_prefix("path: ") else { continue };
            asked += 1;
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            assert!(["/healthz", "/readyz"].contains(&path), "{role}: {line}");
            assert!(crate::health::asked(Some(query)).is_ok(), "{role}: {line}");
        }
    }
    assert_eq!(asked, 8);
}

/// The command that a chart says it was made by.
fn maker(picture: &Path) -> Option<String> {
    let text = std::fs::read_to_string(picture).unwrap();
    let said = text.split("<metadata>Made by: giliran ").nth(1)?.split("</metadata>").next()?;
    Some(said.split(", version").next()?.to_owned())
}

#[test]
fn charts_in_the_documents_are_made_by_commands_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let (mut folders, mut looked_at) = (vec![root], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "svg") {
                let made = maker(&path).unwrap_or_else(|| panic!("{}: by what?", path.display()));
                assert_eq!(wrong(&made), None, "{}", path.display());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 1, "{looked_at}");
}

#[test]
fn commands_in_the_documents_exist() {
    let mut looked_at = 0;
    let mut found = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for code in code(&text) {
            let parts: Vec<&str> = code.split("giliran ").collect();
            for (before, arguments) in parts.iter().zip(&parts[1..]) {
                // A user, a folder or a database of this name, and not the program.
                let program = ["", " ", "release/"].iter().any(|end| match *end {
                    "" => before.is_empty(),
                    end => before.ends_with(end),
                });
                if !program || !arguments.starts_with(|c: char| c.is_ascii_lowercase() || c == '-')
                {
                    continue;
                }
                looked_at += 1;
                if let Some(wrong) = wrong(arguments.trim_end_matches('\\')) {
                    found.push(format!("{}: {wrong}: {code}", page.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} of {looked_at}:\n{}", found.len(), found.join("\n"));
    assert!(looked_at > 100, "{looked_at}");
}

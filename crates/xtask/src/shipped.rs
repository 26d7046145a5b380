//! What `deploy/` ships, by the tools that read it in production: rules and the queries of
//! dashboards by `promtool`, manifests by `kubernetes-validate`. A tool that is missing leaves
//! its part out, in words; what needs none is among the tests of `giliran-cli`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, Failure, Interrupt};
use crate::tools::{kubernetes_validate, promtool};
use crate::workspace::Workspace;

/// What a dashboard's query leaves to Grafana, and what stands for it here.
const LEFT_TO_GRAFANA: [(&str, &str); 2] = [("$__rate_interval", "1m"), ("$__range", "1h")];

/// True where anything could be checked.
pub(crate) fn check(workspace: &Workspace, interrupt: &Interrupt) -> Result<bool, Failure> {
    let deploy = workspace.root().join("deploy");
    let mut checked = false;
    match promtool::find()? {
        Ok(found) => {
            rules(&found.path, &deploy.join("prometheus"), interrupt)?;
            queries(&found.path, &deploy.join("grafana"), workspace, interrupt)?;
            checked = true;
        }
        Err(reason) => eprintln!("xtask: deploy: rules and dashboards: LEFT OUT: {reason}"),
    }
    match kubernetes_validate::find()? {
        Ok(found) => {
            let folder = deploy.join("kubernetes");
            let mut manifests = ending_in(&folder, "yaml")?;
            manifests.extend(ending_in(&folder.join("setup"), "yaml")?);
            let mut validate = Command::new(found.path);
            validate.args(["--strict", "--quiet"]).args(manifests);
            process::succeed(&mut validate, interrupt)?;
            checked = true;
        }
        Err(reason) => eprintln!("xtask: deploy: manifests: LEFT OUT: {reason}"),
    }
    Ok(checked)
}

fn rules(promtool: &Path, folder: &Path, interrupt: &Interrupt) -> Result<(), Failure> {
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "giliran.rules.yml"],
        ["test", "rules", "giliran.test.yml"],
    ] {
        let mut command = Command::new(promtool);
        process::succeed(command.args(arguments).current_dir(folder), interrupt)?;
    }
    Ok(())
}

/// The queries of every dashboard, read as if they were rules.
fn queries(
    promtool: &Path,
    folder: &Path,
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut rules = String::from("groups:\n  - name: dashboards\n    rules:\n");
    for dashboard in ending_in(folder, "json")? {
        let text = fs::read_to_string(&dashboard).map_err(|error| at(&dashboard, &error))?;
        for query in text.lines().filter_map(query) {
            // A number of its own: what records the same twice is refused.
            let number = rules.lines().count();
            let query = query.replace('\'', "''");
            rules.push_str(&format!("      - record: query_{number}\n        expr: '{query}'\n"));
        }
    }
    let file = workspace.target().join("queries-of-dashboards.yml");
    fs::create_dir_all(workspace.target()).map_err(|error| at(workspace.target(), &error))?;
    fs::write(&file, rules).map_err(|error| at(&file, &error))?;
    process::succeed(Command::new(promtool).args(["check", "rules"]).arg(&file), interrupt)
}

/// What a line of a dashboard asks, as Prometheus reads it.
fn query(line: &str) -> Option<String> {
    let text = line.trim().strip_prefix("\"expr\": \"")?;
    let text = text.trim_end_matches(',').strip_suffix('"')?;
    let mut query = text.replace("\\\"", "\"").replace("\\\\", "\\");
    for (left, stands_for) in LEFT_TO_GRAFANA {
        query = query.replace(left, stands_for);
    }
    Some(query)
}

fn ending_in(folder: &Path, end: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| at(folder, &error))?;
    let files = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|e| e == end)).collect();
    files.sort();
    if files.is_empty() {
        return Err(Failure::Broken(format!("{}: holds no *.{end}", folder.display())));
    }
    Ok(files)
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Broken(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_prometheus_reads_it() {
        let line = r#"          "expr": "rate(a{b=\"$c\", d=~\"x\\\\.y\"}[$__rate_interval])","#;
        assert_eq!(query(line).as_deref(), Some(r#"rate(a{b="$c", d=~"x\\.y"}[1m])"#));
        assert_eq!(query(r#"          "legendFormat": "a","#), None);
    }
}

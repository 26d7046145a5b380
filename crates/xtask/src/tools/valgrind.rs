//! `valgrind`, which counts the instructions of a program.
//!
//! PyPI has no package that carries it. Debian and its kin have one whose files work from any folder: it is unpacked
//! below `.tools/`, without being installed and without root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::at;
use super::program::{Found, Program};
use crate::process::{self, Failure, Interrupt};
use crate::workspace::Workspace;

const PROGRAM: Program =
    Program { name: "valgrind", variable: "GILIRAN_VALGRIND", oldest: &[3, 16] };

/// Below `.tools/`; in it the package's tree.
const FOLDER: &str = "valgrind";
/// The program itself in that tree: what is called `valgrind` there looks for it below `/usr`.
const BINARY: &str = "usr/bin/valgrind.bin";
/// Where its tools are in that tree.
const LIBRARY: &str = "usr/libexec/valgrind";
/// A mirror that does not answer must not hold up the check.
const PATIENCE: [&str; 4] = ["-o", "Acquire::http::Timeout=10", "-o", "Acquire::https::Timeout=10"];

/// A valgrind that runs here.
pub(crate) struct Valgrind {
    program: PathBuf,
    /// Where its tools are, unless it knows.
    library: Option<PathBuf>,
}

impl Valgrind {
    /// Counts what a program executes; the count stands in the line `Collected :` of what it says.
    pub(crate) fn counting(&self, program: &Path) -> Command {
        let mut valgrind = self.command();
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
        valgrind
    }

    pub(crate) fn path(&self) -> &Path {
        &self.program
    }

    /// As it names it itself.
    pub(crate) fn version(&self) -> String {
        let mut valgrind = self.command();
        let said = process::output_of(valgrind.arg("--version")).unwrap_or_default();
        said.trim_start_matches("valgrind-").to_owned()
    }

    fn command(&self) -> Command {
        let mut valgrind = Command::new(&self.program);
        if let Some(library) = &self.library {
            valgrind.env("VALGRIND_LIB", library);
        }
        valgrind
    }

    fn installed(found: Found) -> Self {
        Self { program: found.path, library: None }
    }

    fn unpacked(folder: &Path) -> Self {
        Self { program: folder.join(BINARY), library: Some(folder.join(LIBRARY)) }
    }

    fn runs(&self) -> bool {
        process::output_of(&mut self.counting(Path::new("/bin/true"))).is_some()
    }
}

/// The one that the environment names, that is installed, or of Debian's package; or why there
/// is none.
pub(crate) fn provide(
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Result<Valgrind, String>, Failure> {
    let advice = "To have instructions counted: apt-get install valgrind on Debian and its kin";
    let missing = match PROGRAM.find("", advice)?.map(Valgrind::installed) {
        Ok(installed) if installed.runs() => return Ok(Ok(installed)),
        Ok(_) => "the valgrind that is installed does not run here".to_owned(),
        Err(reason) => reason,
    };
    let folder = workspace.tools().join(FOLDER);
    let unpacked = Valgrind::unpacked(&folder);
    if unpacked.runs() {
        return Ok(Ok(unpacked));
    }
    match unpack(workspace, &folder, interrupt) {
        Ok(()) => Ok(Ok(unpacked)),
        Err(Failure::Broken(reason)) => Ok(Err(format!("{missing}\n{reason}"))),
        Err(interrupted) => Err(interrupted),
    }
}

/// Has Debian's package in the folder.
fn unpack(workspace: &Workspace, folder: &Path, interrupt: &Interrupt) -> Result<(), Failure> {
    eprintln!("xtask: unpacking Debian's valgrind into .tools/ …");
    // Aside and renamed, so that half a package is never taken for a whole one.
    let aside = workspace.tools().join(format!(".{FOLDER}-{}", std::process::id()));
    fs::create_dir_all(&aside).map_err(|error| at(&aside, error))?;
    let unpacked = unpack_into(&aside, interrupt).and_then(|()| {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|error| at(folder, error))?;
        }
        fs::rename(aside.join("tree"), folder).map_err(|error| at(folder, error))
    });
    fs::remove_dir_all(&aside).map_err(|error| at(&aside, error))?;
    unpacked
}

fn unpack_into(aside: &Path, interrupt: &Interrupt) -> Result<(), Failure> {
    let quiet = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(aside).stdout(Stdio::null()).stderr(Stdio::null());
        process::succeed(&mut command, interrupt)
    };
    let apt =
        |settings: &[&str], task: &[&str]| quiet("apt-get", &[&PATIENCE, settings, task].concat());
    let download = ["download", FOLDER];
    if let Err(failure) = apt(&[], &download) {
        let Failure::Broken(_) = failure else { return Err(failure) };
        // A machine that has never asked knows no packages; lists of our own need no root.
        let settings = ["-o", "Dir::State::Lists=lists", "-o", "Dir::Cache=cache"]
            .map(|setting| setting.replace('=', &format!("={}/", aside.display())));
        let settings = settings.each_ref().map(String::as_str);
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = aside.join(folder);
            fs::create_dir_all(&folder).map_err(|error| at(&folder, error))?;
        }
        apt(&settings, &["update"])?;
        apt(&settings, &download)?;
    }
    let files = fs::read_dir(aside).map_err(|error| at(aside, error))?;
    let package = files.flatten().map(|entry| entry.path());
    let package = package.filter(|file| file.extension().is_some_and(|end| end == "deb")).max();
    let package = package.ok_or_else(|| Failure::broken("apt-get brought no valgrind"))?;
    quiet("dpkg-deb", &["-x", &package.to_string_lossy(), "tree"])?;
    if Valgrind::unpacked(&aside.join("tree")).runs() {
        return Ok(());
    }
    Err(Failure::broken("Debian's valgrind does not run on this machine"))
}

//! What the operator has published of openings: statements and extracts of draws, files of one
//! folder by the opening's id and nothing else of it.
//!
//! A file is shown only if it holds together by itself, as `giliran statement --check` and
//! `giliran verify` find out. That it is what the ledger says is not known here: for that the
//! seal or the root is held against the one that was published elsewhere.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use giliran_verify::draw::{Extract, Known};
use giliran_verify::statement;
use giliran_web::tag;
use giliran_wire::request::is_opening_id;
use serde_json::{Value, json};

use crate::exchange::tagged;
use crate::problem::{Kind, Problem};

/// Most bytes of a file; what is longer belongs on a server for files.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Most bytes of all files that are kept in memory.
const KEPT_BYTES: usize = 128 * 1024 * 1024;

/// Which file of an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// As `giliran statement --out` writes it.
    Statement,
    /// As `giliran draw export` writes it.
    Extract,
}

impl What {
    /// What its name has behind the opening's id.
    const fn ending(self) -> &'static str {
        match self {
            Self::Statement => ".statement",
            Self::Extract => ".draw.json",
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Statement => "text/plain; charset=utf-8",
            Self::Extract => "application/json",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Extract => "extract of a draw",
        }
    }
}

/// A file that holds together.
#[derive(Debug)]
pub(crate) struct Document {
    what: What,
    /// The file, byte by byte.
    pub(crate) bytes: Bytes,
    /// Names what the file says.
    pub(crate) tag: String,
    /// What it says, in short.
    pub(crate) says: Value,
}

impl Document {
    /// The file itself, to be kept by whoever asks; or that it is known already.
    pub(crate) fn file(&self, opening: &str, headers: &HeaderMap) -> Response {
        let mut response = tagged(headers, &self.tag, self.bytes.clone());
        if response.status() == StatusCode::OK {
            let sent = response.headers_mut();
            let kind = HeaderValue::from_static(self.what.content_type());
            sent.insert(header::CONTENT_TYPE, kind);
            sent.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            let name = format!("attachment; filename=\"{opening}{}\"", self.what.ending());
            if let Ok(name) = HeaderValue::from_str(&name) {
                sent.insert(header::CONTENT_DISPOSITION, name);
            }
        }
        response
    }
}

/// Tells one state of a file from the next: device, inode, length, and when it was changed.
type Stamp = (u64, u64, u64, i64, i64);

/// What came of reading a file: a document, or why it is none.
type Read = Result<Arc<Document>, String>;

/// The folder, and what was read from it.
#[derive(Debug, Default)]
pub(crate) struct Published {
    folder: Option<PathBuf>,
    kept: Mutex<HashMap<(What, String), (Stamp, Read)>>,
    /// One file is read at a time: that takes memory and time.
    reading: tokio::sync::Mutex<()>,
}

impl Published {
    /// None: nothing is published here.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, ..Self::default() }
    }

    /// This file of this opening.
    ///
    /// # Errors
    ///
    /// `malformed` where the id is none, `not_published` where the file is not there,
    /// `not_usable` where it is too long, cannot be read, or is not what its name says.
    pub(crate) async fn get(
        self: &Arc<Self>,
        what: What,
        opening: &str,
    ) -> Result<Arc<Document>, Problem> {
        if !is_opening_id(opening) {
            return Err(Problem::malformed("opening: an id is 1 to 40 of A-Z a-z 0-9 -"));
        }
        let (this, id) = (Arc::clone(self), opening.to_owned());
        // A disk may be slow.
        let blocking = move || this.looked_up(what, &id);
        let found = match tokio::task::spawn_blocking(blocking).await {
            Ok(Looked::Kept(found)) => found,
            Ok(Looked::New) => {
                let _turn = self.reading.lock().await;
                let (this, id) = (Arc::clone(self), opening.to_owned());
                let blocking = move || match this.looked_up(what, &id) {
                    Looked::New => this.read(what, &id),
                    looked => looked,
                };
                match tokio::task::spawn_blocking(blocking).await {
                    Ok(Looked::Kept(found)) => found,
                    Ok(Looked::Missing) => return Err(missing(what)),
                    Ok(Looked::New) | Err(_) => Err("it changes all the time".to_owned()),
                }
            }
            Ok(Looked::Missing) => return Err(missing(what)),
            Err(_) => Err("it could not be read".to_owned()),
        };
        found.map_err(|why| {
            let detail = format!("the {} that is published here: {why}", what.name());
            Problem::new(Kind::NotUsable).detail(detail)
        })
    }

    /// What is known of a file without reading it.
    fn looked_up(&self, what: What, opening: &str) -> Looked {
        let Some(folder) = &self.folder else { return Looked::Missing };
        let found = std::fs::metadata(folder.join(format!("{opening}{}", what.ending())));
        let stamp = match found {
            Ok(found) if !found.is_file() => return Looked::Kept(Err("it is no file".to_owned())),
            Ok(found) => stamp(&found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                held(&self.kept).remove(&(what, opening.to_owned()));
                return Looked::Missing;
            }
            Err(error) => return Looked::Kept(Err(error.kind().to_string())),
        };
        match held(&self.kept).get(&(what, opening.to_owned())) {
            Some((known, read)) if *known == stamp => Looked::Kept(read.clone()),
            _ => Looked::New,
        }
    }

    /// Reads a file that is there, checks it, and keeps what came of it.
    fn read(&self, what: What, opening: &str) -> Looked {
        let Some(folder) = &self.folder else { return Looked::Missing };
        let file = match File::open(folder.join(format!("{opening}{}", what.ending()))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Looked::Missing,
            Err(error) => return Looked::Kept(Err(error.kind().to_string())),
        };
        let stamp = match file.metadata() {
            Ok(found) => stamp(&found),
            Err(error) => return Looked::Kept(Err(error.kind().to_string())),
        };
        let read = text(file).and_then(|text| checked(what, opening, text)).map(Arc::new);
        if let Err(why) = &read {
            tracing::error!(opening, "the published {} is of no use: {why}", what.name());
        }
        self.keep(&(what, opening.to_owned()), (stamp, read.clone()));
        Looked::Kept(read)
    }

    /// Keeps what was read; others go where there is no room for all.
    fn keep(&self, name: &(What, String), read: (Stamp, Read)) {
        let mut kept = held(&self.kept);
        kept.insert(name.clone(), read);
        let bytes = |(_, read): &(Stamp, Read)| read.as_ref().map_or(0, |read| read.bytes.len());
        while kept.values().map(bytes).sum::<usize>() > KEPT_BYTES {
            let other = kept.iter().find(|(of, read)| *of != name && bytes(read) > 0);
            let Some(other) = other.map(|(of, _)| of.clone()) else { return };
            kept.remove(&other);
        }
    }
}

/// What is known of a file.
enum Looked {
    Missing,
    /// It is there, and is not the one that was read, if any was.
    New,
    Kept(Read),
}

/// A panic elsewhere cannot leave the map half changed.
fn held<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamp(found: &std::fs::Metadata) -> Stamp {
    (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec())
}

fn missing(what: What) -> Problem {
    let detail = format!("no {} of this opening is published here", what.name());
    Problem::new(Kind::NotPublished).detail(detail)
}

/// All of a file, within its bounds.
fn text(file: File) -> Result<String, String> {
    let mut text = String::new();
    match file.take(FILE_BYTES + 1).read_to_string(&mut text) {
        Ok(read) if read as u64 > FILE_BYTES => {
            Err(format!("it has more than {FILE_BYTES} bytes, the most that are served"))
        }
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err("it is not text in UTF-8".to_owned())
        }
        Err(error) => Err(error.kind().to_string()),
    }
}

/// The document that a text is, where it holds together and is of this opening.
fn checked(what: What, opening: &str, text: String) -> Result<Document, String> {
    let (of, says) = match what {
        What::Statement => {
            let checked = statement::check(&text).map_err(|wrong| wrong.to_string())?;
            let says = json!({
                "opening": checked.opening, "ledger": checked.ledger, "seq": checked.seq,
                "lines": checked.lines, "seal": checked.seal, "totals": checked.totals,
                "oversold": checked.oversold, "undersold": checked.undersold,
                "says": checked.says,
            });
            (checked.opening, says)
        }
        What::Extract => {
            let extract = Extract::parse(&text).map_err(|wrong| wrong.to_string())?;
            let sum = extract.verify(&Known::default()).map_err(|wrong| wrong.to_string())?;
            let beacon = extract.beacon.as_ref();
            let mut says = json!({
                "opening": extract.opening, "commitment": extract.commitment, "root": extract.root, "seed": extract.seed,
                "entries": sum.entries, "public_value": beacon.map(|beacon| &beacon.name),
                "signature": beacon.map(|beacon| &beacon.value),
            });
            if let Value::Object(says) = &mut says {
                says.retain(|_, value| !value.is_null());
            }
            (extract.opening, says)
        }
    };
    if of != opening {
        return Err(format!("it is of opening {of:?}"));
    }
    Ok(Document { what, tag: tag(text.as_bytes()), bytes: text.into(), says })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const STATEMENT: &str = include_str!("../../../docs/examples/statement/example.statement");
    const EXTRACT: &str = include_str!("../../../docs/examples/verify/draw.json");

    fn published() -> (tempfile::TempDir, Arc<Published>) {
        let folder = tempfile::tempdir().unwrap();
        let published = Published::new(Some(folder.path().to_owned()));
        (folder, Arc::new(published))
    }

    async fn refused(
        published: &Arc<Published>,
        what: What,
        opening: &str,
    ) -> (&'static str, String) {
        let problem = published.get(what, opening).await.unwrap_err();
        let detail = problem.body()["detail"].as_str().unwrap().to_owned();
        (problem.kind.name(), detail)
    }

    #[tokio::test]
    async fn a_file_is_read_once_for_each_state_that_it_is_in() {
        let (folder, published) = published();
        assert_eq!(refused(&published, What::Statement, "w").await.0, "not_published");
        let file = folder.path().join("w.statement");
        std::fs::write(&file, STATEMENT).unwrap();
        let first = published.get(What::Statement, "w").await.unwrap();
        assert_eq!((&first.bytes[..], &first.says["opening"]), (STATEMENT.as_bytes(), &"w".into()));
        let last = STATEMENT.lines().last().unwrap();
        assert_eq!(first.says["seal"], last[..64]);
        let again = published.get(What::Statement, "w").await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        // A later one takes its place by a rename.
        let next = folder.path().join("next");
        std::fs::write(&next, STATEMENT.replacen("\"quota\":3", "\"quota\":4", 1)).unwrap();
        std::fs::rename(next, &file).unwrap();
        let (kind, why) = refused(&published, What::Statement, "w").await;
        assert!(kind == "not_usable" && why.contains("line 2"), "{why}");
        std::fs::remove_file(file).unwrap();
        assert_eq!(refused(&published, What::Statement, "w").await.0, "not_published");
    }

    #[tokio::test]
    async fn nothing_but_an_opening_s_files_leaves_the_folder() {
        let (folder, published) = published();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        for name in ["secret.statement", "inner/w.statement", ".statement"] {
            std::fs::write(folder.path().join(name), STATEMENT).unwrap();
        }
        let long = "w".repeat(41);
        for id in ["../secret", "inner/w", "..", ".", "", "w.statement", "w\0", "wé", &long] {
            assert_eq!(refused(&published, What::Statement, id).await.0, "malformed", "{id:?}");
        }
        // Another opening's statement under this name.
        assert!(
            refused(&published, What::Statement, "secret").await.1.contains("of opening \"w\"")
        );
        let nowhere = Arc::new(Published::new(None));
        assert_eq!(refused(&nowhere, What::Statement, "secret").await.0, "not_published");
    }

    #[tokio::test]
    async fn what_is_too_long_or_something_else_is_told_so() {
        let (folder, published) = published();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("folder.statement")).unwrap();
        File::create(at("long.draw.json")).unwrap().set_len(FILE_BYTES + 1).unwrap();
        std::fs::write(at("bytes.statement"), [0xff, 0xfe]).unwrap();
        std::fs::write(at("draw.statement"), EXTRACT).unwrap();
        std::fs::write(at("page.draw.json"), "<html>").unwrap();
        std::fs::write(at("cut.draw.json"), &EXTRACT[..EXTRACT.len() / 2]).unwrap();
        for (what, opening, why) in [
            (What::Statement, "folder", "no file"),
            (What::Extract, "long", "more than 67108864 bytes"),
            (What::Statement, "bytes", "UTF-8"),
            (What::Statement, "draw", "line 1"),
            (What::Extract, "page", "not an extract of a draw"),
            (What::Extract, "cut", "it ends too early"),
        ] {
            let (kind, said) = refused(&published, what, opening).await;
            assert!(kind == "not_usable" && said.contains(why), "{opening}: {said}");
            assert!(!said.contains(folder.path().to_str().unwrap()), "{said}");
        }
    }

    #[test]
    fn memory_has_a_bound_and_the_newest_stays() {
        let published = Published::new(None);
        let document = |bytes| {
            let (what, tag, says) = (What::Extract, String::new(), Value::Null);
            Document { what, bytes: vec![0; bytes].into(), tag, says }
        };
        for name in ["a", "b", "c"] {
            let read = Ok(Arc::new(document(KEPT_BYTES / 2 - 1)));
            published.keep(&(What::Extract, name.to_owned()), ((0, 0, 0, 0, 0), read));
        }
        let kept = held(&published.kept);
        assert_eq!(kept.len(), 2);
        assert!(kept.contains_key(&(What::Extract, "c".to_owned())));
    }
}

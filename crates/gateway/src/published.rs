//! What the operator has published of openings: statements and extracts of draws, files of one
//! folder by the opening's id and nothing else of it.
//!
//! A file is shown only if it holds together by itself, as `giliran statement --check` and
//! `giliran verify` find out; that is known of each state of it once, and the file itself is read
//! again, piece by piece, for each who asks for it. That it is what the ledger says is not known here: for that the
//! seal or the root is held against the one that was published elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use giliran_verify::draw::{Extract, Known};
use giliran_verify::statement;
use giliran_web::tag;
use giliran_wire::answer::Reason;
use giliran_wire::request::is_opening_id;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::exchange::tagged;
use crate::problem::{Kind, Problem};
use crate::ranges::{self, Part};

/// Most bytes of a file; what is longer belongs on a server for files.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Most files that are known at a time, and of which is known what they say.
const MOST_KNOWN: usize = 4_096;
/// Bytes of a file that are read, and sent, at a time: each piece has its own time to be taken.
const PIECE: usize = 64 * 1024;

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
    path: PathBuf,
    /// The state of the file in which it held together.
    stamp: Stamp,
    /// Names what the file says.
    pub(crate) tag: String,
    /// What it says, in short.
    pub(crate) says: Value,
}

impl Document {
    /// The file itself, or a part of it, to be kept by whoever asks; or that it is known already.
    ///
    /// # Errors
    ///
    /// `unavailable` where it has changed since it was looked up, which the next request sees.
    pub(crate) async fn file(
        &self,
        opening: &str,
        (method, headers): (&Method, &HeaderMap),
    ) -> Result<Response, Problem> {
        let mut response = tagged(headers, &self.tag, Bytes::new());
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        let length = self.stamp.length;
        let tag = response.headers().get(header::ETAG).cloned();
        let part = tag.map(|tag| ranges::asked(method, headers, &tag, length));
        let bytes = match part.unwrap_or(Part::Whole) {
            Part::Missing => return Ok(ranges::missing(length)),
            Part::Whole => 0..length,
            Part::Bytes(bytes) => {
                ranges::say(&mut response, &bytes, length);
                bytes
            }
        };
        let (path, known, begin) = (self.path.clone(), self.stamp, bytes.start);
        let opening_it = move || {
            let (mut file, _) = opened(&path).ok().filter(|(_, is)| *is == known)?;
            file.seek(SeekFrom::Start(begin)).ok()?;
            Some(file)
        };
        let Ok(Some(file)) = tokio::task::spawn_blocking(opening_it).await else {
            let changed = Problem::reason(Reason::Unavailable).retry_after_ms(1_000);
            return Err(changed.detail("the file has just been changed"));
        };
        let long = bytes.end - bytes.start;
        *response.body_mut() = Body::from_stream(pieces(file.take(long)));
        let sent = response.headers_mut();
        sent.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.what.content_type()));
        sent.insert(header::CONTENT_LENGTH, HeaderValue::from(long));
        sent.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        sent.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let name = format!("attachment; filename=\"{opening}{}\"", self.what.ending());
        if let Ok(name) = HeaderValue::from_str(&name) {
            sent.insert(header::CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }
}

/// What is to be sent of a file, piece by piece.
fn pieces(file: io::Take<File>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, async |mut file| {
        let reading = move || {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece)?;
            piece.truncate(read);
            Ok::<_, io::Error>((piece, file))
        };
        let (piece, file) =
            tokio::task::spawn_blocking(reading).await.map_err(io::Error::other)??;
        Ok((!piece.is_empty()).then(|| (piece.into(), file)))
    })
}

/// Tells one state of a file from the next: which file it is, its length, and when it was
/// changed, by whoever wrote it and by the system's own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// What came of reading a file: a document, or why it is none.
type Read = Result<Arc<Document>, String>;

/// The folder, and what was read from it.
#[derive(Debug, Default)]
pub(crate) struct Published {
    folder: Option<PathBuf>,
    kept: Mutex<HashMap<(What, String), (Stamp, Read)>>,
    /// One file is read at a time: that takes memory and time.
    reading: Arc<tokio::sync::Mutex<()>>,
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
        let id = opening.to_owned();
        let mut looked = self.aside(move |this| this.looked_up(what, &id)).await;
        if matches!(looked, Looked::New) {
            let turn = Arc::clone(&self.reading).lock_owned().await;
            let id = opening.to_owned();
            let read = self.aside(move |this| {
                // Until it is read, whether or not anybody still waits for it.
                let _turn = turn;
                match this.looked_up(what, &id) {
                    Looked::New => this.read(what, &id),
                    looked => looked,
                }
            });
            looked = read.await;
        }
        let found = match looked {
            Looked::Kept(found) => found,
            Looked::Missing => return Err(missing(what)),
            Looked::New => Err("it changes all the time".to_owned()),
        };
        found.map_err(|why| {
            let detail = format!("the {} that is published here: {why}", what.name());
            Problem::new(Kind::NotUsable).detail(detail)
        })
    }

    /// A disk may be slow: it is looked at beside those who serve.
    async fn aside(
        self: &Arc<Self>,
        look: impl FnOnce(&Self) -> Looked + Send + 'static,
    ) -> Looked {
        let this = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || look(&this)).await;
        looked.unwrap_or_else(|_| Looked::Kept(Err("it could not be read".to_owned())))
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
        let path = folder.join(format!("{opening}{}", what.ending()));
        let of_no_use = |why: &dyn fmt::Display| {
            tracing::error!(opening, "the published {} is of no use: {why}", what.name());
        };
        let (file, stamp) = match opened(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Looked::Missing,
            Err(error) => {
                of_no_use(&error);
                return Looked::Kept(Err(error.kind().to_string()));
            }
        };
        let read = text(file).and_then(|text| {
            checked(what, opening, &text).map(|says| {
                Arc::new(Document { what, path, stamp, tag: tag(text.as_bytes()), says })
            })
        });
        if let Err(why) = &read {
            of_no_use(&why.in_log);
        }
        let read = read.map_err(|why| why.told.to_owned());
        self.keep(&(what, opening.to_owned()), (stamp, read.clone()));
        Looked::Kept(read)
    }

    /// Keeps what was read; another goes where there are too many.
    fn keep(&self, name: &(What, String), read: (Stamp, Read)) {
        let mut kept = held(&self.kept);
        kept.insert(name.clone(), read);
        if kept.len() > MOST_KNOWN
            && let Some(other) = kept.keys().find(|of| *of != name).cloned()
        {
            kept.remove(&other);
        }
    }
}

/// Why a file is none that is shown.
struct Useless {
    /// What everybody is told: no word of what the file holds.
    told: &'static str,
    in_log: String,
}

impl Useless {
    fn told(told: &'static str) -> Self {
        Self { told, in_log: told.to_owned() }
    }

    /// It is not what its name says.
    fn apart(in_log: impl fmt::Display) -> Self {
        Self { told: "it does not hold together", in_log: in_log.to_string() }
    }
}

/// A file, as it is now. What is none, a pipe perhaps, is not waited for.
fn opened(path: &Path) -> io::Result<(File, Stamp)> {
    let waits_for_nobody = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(waits_for_nobody).open(path)?;
    let found = file.metadata()?;
    if found.is_file() { Ok((file, stamp(&found))) } else { Err(io::Error::other("it is no file")) }
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
    Stamp {
        file: (found.dev(), found.ino()),
        length: found.len(),
        written: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    }
}

fn missing(what: What) -> Problem {
    let detail = format!("no {} of this opening is published here", what.name());
    Problem::new(Kind::NotPublished).detail(detail)
}

/// All of a file, within its bounds.
fn text(file: File) -> Result<String, Useless> {
    let mut text = String::new();
    match file.take(FILE_BYTES + 1).read_to_string(&mut text) {
        Ok(read) if read as u64 > FILE_BYTES => {
            Err(Useless::told("it has more than 64 MiB, the most that is served"))
        }
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Useless::told("it is not text in UTF-8"))
        }
        Err(error) => Err(Useless { told: "it cannot be read", in_log: error.to_string() }),
    }
}

/// What a text says that holds together and is of this opening.
fn checked(what: What, opening: &str, text: &str) -> Result<Value, Useless> {
    let (of, says) = match what {
        What::Statement => {
            let checked = statement::check(text).map_err(Useless::apart)?;
            let says = json!({
                "opening": checked.opening, "ledger": checked.ledger, "seq": checked.seq,
                "lines": checked.lines, "seal": checked.seal, "totals": checked.totals,
                "oversold": checked.oversold, "undersold": checked.undersold,
                "says": checked.says,
            });
            (checked.opening, says)
        }
        What::Extract => {
            let extract = Extract::parse(text).map_err(Useless::apart)?;
            let sum = extract.verify(&Known::default()).map_err(Useless::apart)?;
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
        let in_log = format!("it is of opening {of:?}");
        return Err(Useless { told: "it is of another opening", in_log });
    }
    Ok(says)
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
        let body: serde_json::Value = serde_json::from_str(&problem.body()).unwrap();
        let detail = body["detail"].as_str().unwrap().to_owned();
        (problem.kind.name(), detail)
    }

    #[tokio::test]
    async fn a_file_is_read_once_for_each_state_that_it_is_in() {
        let (folder, published) = published();
        assert_eq!(refused(&published, What::Statement, "w").await.0, "not_published");
        let file = folder.path().join("w.statement");
        std::fs::write(&file, STATEMENT).unwrap();
        let first = published.get(What::Statement, "w").await.unwrap();
        assert_eq!(first.says["opening"], "w");
        let sent = first.file("w", (&Method::GET, &HeaderMap::new())).await.unwrap();
        assert_eq!(sent.headers()[header::CONTENT_LENGTH], STATEMENT.len().to_string());
        let sent = axum::body::to_bytes(sent.into_body(), usize::MAX).await.unwrap();
        assert_eq!(&sent[..], STATEMENT.as_bytes());
        let last = STATEMENT.lines().last().unwrap();
        assert_eq!(first.says["seal"], last[..64]);
        let again = published.get(What::Statement, "w").await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        // A later one takes its place by a rename.
        let next = folder.path().join("next");
        std::fs::write(&next, STATEMENT.replacen("\"quota\":3", "\"quota\":4", 1)).unwrap();
        std::fs::rename(next, &file).unwrap();
        let (kind, why) = refused(&published, What::Statement, "w").await;
        assert!(kind == "not_usable" && why.contains("hold together"), "{why}");
        // Whoever was told of the first one does not get the other one under its name.
        let stale = first.file("w", (&Method::GET, &HeaderMap::new())).await.unwrap_err();
        assert_eq!(stale.kind.name(), "unavailable");
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
            refused(&published, What::Statement, "secret").await.1.contains("of another opening")
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
            (What::Extract, "long", "more than 64 MiB"),
            (What::Statement, "bytes", "UTF-8"),
            (What::Statement, "draw", "hold together"),
            (What::Extract, "page", "hold together"),
            (What::Extract, "cut", "hold together"),
        ] {
            let (kind, said) = refused(&published, what, opening).await;
            assert!(kind == "not_usable" && said.contains(why), "{opening}: {said}");
            assert!(!said.contains(folder.path().to_str().unwrap()), "{said}");
        }
    }

    /// Whoever hangs up does not begin another reading.
    #[tokio::test]
    async fn one_file_is_read_at_a_time_whoever_still_waits() {
        let (folder, published) = published();
        std::fs::write(folder.path().join("w.statement"), STATEMENT).unwrap();
        let turn = Arc::clone(&published.reading).lock_owned().await;
        for _ in 0..3 {
            let asked = published.get(What::Statement, "w");
            let gone = tokio::time::timeout(std::time::Duration::from_millis(50), asked).await;
            assert!(gone.is_err());
        }
        drop(turn);
        let asked = published.get(What::Statement, "w");
        assert!(asked.await.is_ok());
    }

    #[test]
    fn what_is_known_has_a_bound_and_the_newest_stays() {
        let published = Published::new(None);
        let stamp = Stamp { file: (0, 0), length: 0, written: (0, 0), changed: (0, 0) };
        for name in 0..=MOST_KNOWN {
            published.keep(&(What::Extract, name.to_string()), (stamp, Err("none".to_owned())));
        }
        let kept = held(&published.kept);
        assert_eq!(kept.len(), MOST_KNOWN);
        assert!(kept.contains_key(&(What::Extract, MOST_KNOWN.to_string())));
    }
}

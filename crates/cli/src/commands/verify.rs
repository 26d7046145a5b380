//! `giliran verify`.

use std::path::{Path, PathBuf};

use giliran_verify::draw::{Extract, Known, Problem};
use giliran_verify::proof::Proof;
use giliran_wire::BookingId;

use crate::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran verify draw.json --root 5f0c…\n  \
    giliran verify draw.json --receipt 7K3F-9QXM-2B4C-PW8D --request-id a3f1\n  \
    giliran verify --proof proof.json --root 5f0c…\n\n\
    Exit code 0: the file says what the draw gives. 1: it does not, and why. \
    2: no such file, or an option that cannot be meant so.")]
pub(crate) struct Args {
    /// What was published of the draw; or the proof of an entry.
    file: PathBuf,
    /// The file is a proof (`giliran draw proof`), to be compared with the root.
    #[arg(long, requires = "root", conflicts_with = "commitment")]
    proof: bool,
    /// The root as published at the close, before the draw.
    #[arg(long, value_name = "HEX")]
    root: Option<String>,
    /// The commitment as published before the opening.
    #[arg(long, value_name = "HEX")]
    commitment: Option<String>,
    /// The own receipt, to find the own entry.
    #[arg(long, requires = "request_id")]
    receipt: Option<String>,
    /// The id of the request it was given for.
    #[arg(long, requires = "receipt")]
    request_id: Option<String>,
}

/// A receipt that somebody typed.
pub(crate) fn receipt(text: &str) -> Result<BookingId, Failure> {
    text.parse().map_err(|_| {
        let needed = "sixteen letters and digits, the last of which checks the others";
        Failure::Usage(format!("--receipt: {text:?} is not a receipt: {needed}"))
    })
}

/// A published file's text.
pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|e| Failure::Usage(format!("{shown}: {e}")))?;
    let wrong = |e| Failure::Wrong(format!("{shown}: this is not an extract of a draw: {e}"));
    String::from_utf8(bytes).map_err(wrong)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let file = args.file.display();
    for (name, published) in [("--root", &args.root), ("--commitment", &args.commitment)] {
        let is_hash = |published: &String| {
            published.len() == 64 && published.bytes().all(|b| b.is_ascii_hexdigit())
        };
        if let Some(published) = published.as_ref().filter(|published| !is_hash(published)) {
            let needed = "64 hexadecimal digits are needed";
            return Err(Failure::Usage(format!("{name}: {needed}, not {published:?}")));
        }
    }
    let own = args.receipt.as_deref().map(receipt).transpose()?;
    let text = read(&args.file)?;
    let wrong = |problem: Problem| Failure::Wrong(format!("{file}: {problem}"));
    if let (true, Some(root)) = (args.proof, &args.root) {
        let proof = Proof::parse(&text).map_err(wrong)?;
        proof.verify(root).map_err(wrong)?;
        outln!(
            "{file}: ballot {} is one of the {} in the draw of opening {}, whose root was published",
            proof.ballot.number,
            proof.entries,
            proof.opening
        );
        if let (Some(receipt), Some(request_id)) = (own, &args.request_id) {
            proof.is_of(receipt.as_bytes(), request_id).map_err(wrong)?;
            outln!("it is the entry of this receipt");
        }
        outln!("only the whole extract shows what it got");
        return Ok(());
    }
    let extract = Extract::parse(&text).map_err(wrong)?;
    let known = Known { root: args.root.clone(), commitment: args.commitment.clone() };
    let summary = extract.verify(&known).map_err(wrong)?;
    outln!(
        "{file}: the draw of opening {} gives what it says: {} entries, {} drawn, {} of {} places",
        extract.opening,
        summary.entries,
        summary.drawn,
        summary.given,
        summary.places
    );
    if args.root.is_none() {
        outln!("root {}: compare it with the one that was published at the close", extract.root);
    }
    match &extract.beacon {
        Some(beacon) => {
            outln!("mixed in: {}", beacon.name);
            if args.root.is_none() {
                outln!(
                    "only a root that was published before this value came shows that it was named"
                );
            }
        }
        None => outln!(
            "no public value was mixed in: who knew the seed before the close could choose entries \
             by it, so the operator must be trusted not to have"
        ),
    }
    if let (Some(receipt), Some(request_id)) = (own, &args.request_id) {
        let ballot = extract.find(receipt.as_bytes(), request_id).map_err(wrong)?;
        let got = ballot
            .drawn
            .map_or("got nothing".to_owned(), |slot| format!("got {}", extract.name(slot)));
        outln!("ballot {}, {} places: in the draw; {got}", ballot.number, ballot.places);
    }
    Ok(())
}

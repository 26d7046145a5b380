//! Golden fixtures: the bytes that cross process boundaries, frozen.
//!
//! `tests/fixtures/` holds, for each value of `samples`, its JSON as it goes
//! over the wire (one line) and the hex of its binary form (32 bytes a line).
//! The tests encode the value and compare, and decode the file and compare, so
//! that nobody moves a byte unawares.
//!
//! After a change that is meant:
//!
//! ```sh
//! GILIRAN_BLESS=1 cargo test -p giliran-wire --test formats golden
//! ```
//!
//! writes the fixtures anew; read the diff. JSON may gain fields in answers and
//! events. Any other difference breaks clients (a new version of the contract)
//! or, under `ledger/` and in `derived.txt`, every ledger in existence (a new
//! block format; see `giliran_wire::ledger`).
//!
//! One field in an entry moves every later block of `ledger/`, by the hash that the
//! next block names; `entries/` has the entries alone, and shows what moved.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use bincode::{BorrowDecode, Encode};
use giliran_wire::answer::{self, Reason};
use giliran_wire::catalogue::OpeningDescription;
use giliran_wire::event::{Event, FeedEvents, FeedEventsWriter, FeedPosition};
use giliran_wire::ledger::{Block, Chain, EncodedGrants, Entry, Reading};
use giliran_wire::picture::Judged;
use giliran_wire::request::{self, Form, Payload, Request};
use giliran_wire::service::{self, Standing, Verb};
use giliran_wire::{ApplicantKey, BlockHash, codec, snapshot};
use serde::{Deserialize, Serialize};

use crate::samples;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The fixture's text, as it stands in the repository.
pub(crate) fn fixture(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn blessing() -> bool {
    std::env::var_os("GILIRAN_BLESS").is_some_and(|value| value == "1")
}

/// Compares, or writes where `GILIRAN_BLESS` is set.
fn check(name: &str, encoded: &str) {
    if blessing() {
        let path = folder().join(name);
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("writable");
        fs::write(&path, encoded).expect("writable");
    }
    let frozen = fixture(name);
    assert_eq!(encoded, frozen, "{name}: encoding has changed (left: now, right: frozen)");
}

/// Compares, or writes where `GILIRAN_BLESS` is set and there is none yet.
fn check_unless_new(name: &str, encoded: &str, otherwise: &str) {
    if !folder().join(name).exists() {
        return check(name, encoded);
    }
    assert_eq!(encoded, fixture(name), "{name}: {otherwise} (left: now, right: frozen)");
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| const_hex::encode(line) + "\n").collect()
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    assert_eq!(digits.len() % 2, 0, "an odd number of hex digits");
    const_hex::decode(digits).unwrap_or_else(|error| panic!("not hex: {error}"))
}

/// The fixture for as long as the test runs, so that decoded values can borrow.
fn lasting(name: &str) -> &'static str {
    fixture(name).leak()
}

fn binary_fixture(name: &str, now: &[u8]) -> &'static [u8] {
    check(name, &to_hex(now));
    from_hex(&fixture(name)).leak()
}

fn json_fixture(name: &str, now: &impl Serialize) -> &'static str {
    check(name, &(serde_json::to_string(now).expect("serialises") + "\n"));
    lasting(name)
}

fn same_request<T>(name: &str, value: &T)
where
    T: Request<'static> + Serialize + Encode + Debug + PartialEq,
{
    let json = json_fixture(&format!("requests/{name}.json"), value);
    let Ok(Payload::One(read)) = request::read::<T>(json.as_bytes()) else { panic!("{name}") };
    assert_eq!(read, *value);

    let now = request::write_binary(std::slice::from_ref(value));
    let binary = binary_fixture(&format!("requests/{name}.hex"), &now);
    match request::read::<T>(binary) {
        Ok(Payload::Many(Form::Binary, read)) => assert_eq!(read[0].as_ref(), Ok(value)),
        other => panic!("{name}: {other:?}"),
    }
}

fn same_answer<T>(name: &str, value: &T)
where
    T: Deserialize<'static>
        + BorrowDecode<'static, ()>
        + Serialize
        + answer::Element
        + Debug
        + PartialEq,
{
    let json = json_fixture(&format!("answers/{name}.json"), value);
    assert_eq!(serde_json::from_str::<T>(json).expect(name), *value);

    let mut now = Vec::new();
    answer::write(Form::Binary, std::slice::from_ref(value), &mut now);
    let binary = binary_fixture(&format!("answers/{name}.hex"), &now);
    assert_eq!(answer::read_binary::<T>(binary).expect(name).iter().collect::<Vec<_>>(), [value]);
}

#[test]
fn golden_requests() {
    samples::books().iter().for_each(|(name, value)| same_request(name, value));
    samples::lookups().iter().for_each(|(name, value)| same_request(name, value));
    samples::finds().iter().for_each(|(name, value)| same_request(name, value));
    samples::availabilities().iter().for_each(|(name, value)| same_request(name, value));
    samples::confirms().iter().for_each(|(name, value)| same_request(name, value));
    samples::cancels().iter().for_each(|(name, value)| same_request(name, value));
    samples::reschedules().iter().for_each(|(name, value)| same_request(name, value));
    samples::quotas().iter().for_each(|(name, value)| same_request(name, value));
    samples::reserves().iter().for_each(|(name, value)| same_request(name, value));
    samples::halts().iter().for_each(|(name, value)| same_request(name, value));
    samples::ends().iter().for_each(|(name, value)| same_request(name, value));
    samples::rolls().iter().for_each(|(name, value)| same_request(name, value));
    samples::beacons().iter().for_each(|(name, value)| same_request(name, value));
}

#[test]
fn golden_answers() {
    samples::answers().iter().for_each(|(name, value)| same_answer(name, value));
    samples::overviews().iter().for_each(|(name, value)| same_answer(name, value));
    samples::reports().iter().for_each(|(name, value)| same_answer(name, value));
}

#[test]
fn golden_batches() {
    let books: Vec<_> = samples::books().into_iter().map(|(_, book)| book).collect();
    let json = json_fixture("requests/batch.json", &books);
    let binary = binary_fixture("requests/batch.hex", &request::write_binary(&books));
    for (form, payload) in [(Form::JsonMany, json.as_bytes()), (Form::Binary, binary)] {
        match request::read::<request::Book<'_>>(payload) {
            Ok(Payload::Many(read_form, read)) => {
                assert_eq!(read_form, form);
                assert_eq!(read.to_vec(), books.iter().cloned().map(Ok).collect::<Vec<_>>());
            }
            other => panic!("{other:?}"),
        }
    }
    let answers: Vec<_> =
        samples::answers().into_iter().map(|(_, answer)| answer).step_by(5).collect();
    let mut now = Vec::new();
    answer::write(Form::JsonMany, &answers, &mut now);
    now.push(b'\n');
    check("answers/batch.json", std::str::from_utf8(&now).expect("JSON"));
    let read: Vec<answer::Answer<'_>> =
        serde_json::from_str(lasting("answers/batch.json")).expect("answers");
    assert_eq!(read, answers);
    now.clear();
    answer::write(Form::Binary, &answers, &mut now);
    let binary = binary_fixture("answers/batch.hex", &now);
    assert_eq!(answer::read_binary::<answer::Answer<'_>>(binary).expect("answers"), answers);
}

#[test]
fn golden_events() {
    for (name, event) in samples::events() {
        let json = json_fixture(&format!("events/{name}.json"), &event);
        assert_eq!(serde_json::from_str::<Event<'_>>(json).expect(name), event);
    }
    let mut events: Vec<_> =
        samples::events().into_iter().take(2).map(|(_, event)| event).collect();
    events[1].id = events[1].id.replace("/1841/4", "/1841/5");
    let mut writer = FeedEventsWriter::default();
    assert_eq!((writer.bytes(), writer.take()), (0, None));
    for (seq, event) in (1_202..).zip(&events) {
        writer.push(seq, &serde_json::to_vec(event).expect("an event is always JSON"));
    }
    let bytes = writer.bytes();
    let message = writer.take().expect("a message");
    assert_eq!(message.len(), bytes);
    let events = FeedEvents { first: 1_202, events };
    let json = json_fixture("feed/events.json", &events);
    assert_eq!(String::from_utf8_lossy(&message), json.trim_end());
    assert_eq!(serde_json::from_str::<FeedEvents<'_>>(json).expect("events"), events);
    let position = FeedPosition { as_of: samples::since(), events: 1_203 };
    let json = json_fixture("feed/position.json", &position);
    assert_eq!(serde_json::from_str::<FeedPosition>(json).expect("a position"), position);
}

/// What stands in the bucket of free places: a slot of `availability`, and since
/// when it stands so.
#[test]
fn golden_free_places() {
    for (name, overview) in samples::overviews() {
        let answer::Overview::Shown(shown) = overview else { continue };
        for (n, slot) in shown.slots.iter().enumerate() {
            let places = slot.places(samples::since());
            let json = json_fixture(&format!("places/{name}_{n}.json"), &places);
            assert_eq!(serde_json::from_str::<answer::FreePlaces>(json).expect(name), places);
        }
    }
}

/// What a process says of itself, to each verb.
#[test]
fn golden_service() {
    let (identity, standing) = samples::engine();
    for verb in Verb::ALL {
        let answer = identity.answer(verb, &standing);
        let name = format!("service/engine_{}.json", verb.word().to_lowercase());
        let json = json_fixture(&name, &answer);
        assert_eq!(serde_json::from_str::<service::Answer>(json).expect(&name), answer);
        assert_eq!(Standing::of(&answer), Some(standing.clone()));
    }
}

/// What operators are shown, by each of the two commands.
#[test]
fn golden_status() {
    for (name, judged) in samples::judged() {
        let json = json_fixture(&format!("status/{name}.json"), &judged);
        assert_eq!(serde_json::from_str::<Judged>(json).expect(name), judged);
    }
}

/// What openings offer: in the bucket of openings, and where `availability` is asked to
/// describe them. The binary form has neither.
#[test]
fn golden_catalogue() {
    for (name, opening) in samples::descriptions() {
        let json = json_fixture(&format!("catalogue/{name}.json"), &opening);
        assert_eq!(serde_json::from_str::<OpeningDescription>(json).expect(name), opening);
    }
    let (name, asked) = samples::describing();
    let json = json_fixture(&format!("requests/{name}.json"), &asked);
    let read = request::read::<request::Availability<'_>>(json.as_bytes());
    let Ok(Payload::One(read)) = read else { panic!("{name}: {read:?}") };
    assert_eq!(read, asked);
    let binary = request::write_binary(std::slice::from_ref(&asked));
    let plain = request::Availability { describe: false, ..asked.clone() };
    assert_eq!(binary, request::write_binary(&[plain]), "the binary form has no such field");
    let (name, told) = samples::described();
    let json = json_fixture(&format!("answers/{name}.json"), &told);
    assert_eq!(serde_json::from_str::<answer::Overview<'_>>(json).expect(name), told);
}

#[test]
fn golden_ledger() {
    for (name, block) in samples::blocks().into_iter().chain([samples::rebuilt()]) {
        let sealed = block.seal();
        let frozen = binary_fixture(&format!("ledger/{name}.hex"), &sealed.bytes);
        let (read, hash) = Block::open(frozen).expect(&name);
        assert_eq!(read, block, "{name}");
        assert_eq!(hash, sealed.hash, "{name}");
    }
}

/// Grants that were encoded one by one stand in a block like any others.
#[test]
fn golden_ledger_with_grants_encoded_as_they_come() {
    let mut seen = 0;
    for (name, block) in samples::blocks() {
        let mut derived = Vec::new();
        codec::encode_into(&block, &mut derived);
        assert!(block.seal().bytes.starts_with(&derived), "{name}");
        let is_grant = |entry: &Entry| matches!(entry, Entry::Grant(_));
        let Some(at) = block.entries.iter().position(is_grant) else { continue };
        let closed = Entry::Closed { opening: 0 };
        let entries: Vec<_> = [&block.entries[..], &[closed][..]].concat();
        let whole = Block { entries, ..block };
        let (mut around, mut grants) = (whole.clone(), EncodedGrants::new());
        for entry in around.entries.extract_if(at.., |entry| is_grant(entry)) {
            let Entry::Grant(grant) = entry else { panic!("{entry:?}") };
            assert_eq!(grants.push(&grant.borrowed()), codec::encoded_len(&Entry::Grant(grant)));
            seen += 1;
        }
        assert_eq!(around.seal_around(at, &grants), whole.seal(), "{name}");
    }
    assert_eq!(seen, 2, "a grant with everything, and a bare one");
}

/// The entries of each block of `ledger/`, without the frame that chains it.
#[test]
fn golden_entries() {
    for (name, block) in samples::blocks() {
        let mut text = String::new();
        for entry in &block.entries {
            let mut now = Vec::new();
            codec::encode_into(entry, &mut now);
            text += &(to_hex(&now) + "\n");
        }
        check(&format!("entries/{name}.hex"), &text);
    }
}

/// A snapshot's file. Its fixture has the layout's name, and is not renewed: another
/// layout is another file.
#[test]
fn golden_snapshot() {
    let pieces = samples::pieces();
    let kinds: BTreeSet<_> = pieces.iter().map(samples::piece_kind).collect();
    assert_eq!(kinds, samples::PIECE_KINDS.iter().copied().collect(), "a piece has no sample");
    let mut writer = snapshot::Writer::new(Vec::new()).expect("memory");
    pieces.iter().for_each(|piece| writer.piece(piece).expect("memory"));
    let name = snapshot_fixture();
    let now = to_hex(&writer.finish().expect("memory"));
    check_unless_new(
        &name,
        &now,
        "a snapshot's layout has changed: count `giliran_wire::snapshot::MAGIC` up, remove this \
         file, and run this test with GILIRAN_BLESS=1",
    );
    let mut read = Vec::new();
    let take = |piece| {
        read.push(piece);
        Ok(())
    };
    snapshot::read(from_hex(&fixture(&name)).as_slice(), take).expect("the frozen file");
    assert_eq!(read, pieces);
}

fn snapshot_fixture() -> String {
    format!("snapshots/{}.hex", std::str::from_utf8(snapshot::MAGIC).expect("ASCII"))
}

/// A reader of this release takes the frozen ledger from genesis through its seal into
/// the second generation.
#[test]
fn golden_ledger_is_one_chain() {
    if blessing() {
        return; // The other tests are just writing it.
    }
    let mut chain = Chain::new();
    let mut last = BlockHash::ZERO;
    for (name, _) in &samples::blocks() {
        let bytes = from_hex(&fixture(&format!("ledger/{name}.hex")));
        let reading = chain.read_bytes(chain.seq + 1, &bytes).expect(name);
        let Reading::Valid(block) = reading else { panic!("{name}: {reading:?}") };
        assert_eq!(chain.is_sealed(), name.ends_with("seal"), "{name}");
        assert_eq!(block.previous, last, "{name}");
        last = chain.hash;
    }
    assert!(chain.is_open(), "the second generation has begun");
    assert_eq!((chain.generation, chain.valid_seq, chain.number), (2, 28, 28));
}

/// What is computed from content and kept in the ledger: a change would take
/// known people for strangers, and repetitions for conflicts.
#[test]
fn golden_derived() {
    let key = ApplicantKey::new(&[7; 32]);
    let mut lines = vec![
        format!("key fingerprint: {}", key.fingerprint()),
        format!("pseudonym of applicant 2171012345678901: {}", hex(&key, "2171012345678901")),
        format!("pseudonym of account u-9912: {}", key.account("u-9912").to_hex()),
        format!("booking id of 75 zero bits: {}", giliran_wire::BookingId::from_random(0)),
        format!("booking id of 75 one bits: {}", giliran_wire::BookingId::from_random(u128::MAX)),
        format!("booking id: {}", samples::booking_id()),
    ];
    for (name, book) in samples::books() {
        let content = book.content(&book.pseudonyms(&key));
        lines.push(format!("content of {name}: {}", to_hex(&content.0).trim()));
    }
    lines.extend(Reason::ALL.iter().map(|r| format!("reason {}: {}", r.number(), r.name())));
    check("derived.txt", &(lines.join("\n") + "\n"));
}

/// What GILIRAN_BLESS cannot renew: every request on record names its digest, so a field
/// that a request does not give must not change it.
#[test]
fn a_request_that_gives_no_new_field_has_the_digest_it_always_had() {
    let (_, minimal) = samples::books().swap_remove(0);
    let key = ApplicantKey::new(&[7; 32]);
    let content = minimal.content(&minimal.pseudonyms(&key));
    assert_eq!(
        to_hex(&content.0).trim(),
        "b53e064b3ba80167db842afac2aed1d8",
        "the same request would be a `conflict`: `Book::content` may hash a new field only where \
         it is given"
    );
}

fn hex(key: &ApplicantKey, applicant: &str) -> String {
    key.applicant(applicant).to_hex()
}

/// Every entry kind has a fixture, and no fixture is left without a sample.
#[test]
fn golden_fixtures_are_complete() {
    let blocks = samples::blocks();
    let kinds: BTreeSet<_> =
        blocks.iter().flat_map(|(_, b)| &b.entries).map(samples::kind).collect();
    assert_eq!(kinds, samples::KINDS.iter().copied().collect(), "a kind of entry has no sample");

    if blessing() {
        return; // As above.
    }
    let mut expected: BTreeSet<String> = BTreeSet::from(["derived.txt".to_owned()]);
    let mut add = |folder: &str, name: &str, endings: &[&str]| {
        expected.extend(endings.iter().map(|ending| format!("{folder}/{name}.{ending}")));
    };
    let requests = samples::books().into_iter().map(|(name, _)| name);
    let requests = requests.chain(samples::lookups().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::finds().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::availabilities().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::confirms().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::cancels().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::reschedules().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::quotas().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::reserves().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::halts().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::ends().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::rolls().into_iter().map(|(name, _)| name));
    let requests = requests.chain(samples::beacons().into_iter().map(|(name, _)| name));
    requests.chain(["batch"]).for_each(|name| add("requests", name, &["json", "hex"]));
    let answers = samples::answers().into_iter().map(|(name, _)| name);
    let answers = answers.chain(samples::overviews().into_iter().map(|(name, _)| name.to_owned()));
    let reports = samples::reports().into_iter().map(|(name, _)| name.to_owned());
    let answers = answers.chain(reports);
    answers.chain(["batch".to_owned()]).for_each(|name| add("answers", &name, &["json", "hex"]));
    samples::events().iter().for_each(|(name, _)| add("events", name, &["json"]));
    (0..3).for_each(|n| add("places", &format!("availability_{n}"), &["json"]));
    samples::descriptions().iter().for_each(|(name, _)| add("catalogue", name, &["json"]));
    ["events", "position"].iter().for_each(|name| add("feed", name, &["json"]));
    for verb in Verb::ALL {
        add("service", &format!("engine_{}", verb.word().to_lowercase()), &["json"]);
    }
    samples::judged().iter().for_each(|(name, _)| add("status", name, &["json"]));
    add("requests", samples::describing().0, &["json"]);
    add("answers", samples::described().0, &["json"]);
    blocks.iter().for_each(|(name, _)| add("ledger", name, &["hex"]));
    blocks.iter().for_each(|(name, _)| add("entries", name, &["hex"]));
    add("ledger", &samples::rebuilt().0, &["hex"]);
    expected.insert(snapshot_fixture());

    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder()).expect("the fixtures").flatten() {
        let name = entry.file_name().into_string().expect("ASCII");
        if entry.path().is_dir() {
            let files = fs::read_dir(entry.path()).expect("readable").flatten();
            found.extend(files.map(|f| format!("{name}/{}", f.file_name().display())));
        } else {
            found.insert(name);
        }
    }
    assert_eq!(found, expected);
}

//! The JSON Schemas (draft 2020-12) of what crosses a process boundary as JSON: the one
//! place where they are written down. `docs/schemas` has them as files.

use giliran_wire::admin;
use giliran_wire::answer::Reason;
use giliran_wire::request::{MAX_APPLICANTS, MAX_CHOICES, MAX_ID_BYTES, MAX_TEXT_BYTES};
use serde_json::{Map, Value, json};

/// A field: its name, whether it has to be there, its schema.
type Field = (&'static str, Presence, Value);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Needed,
    /// May be left out; in a request also null.
    Optional,
}

use Presence::{Needed, Optional};

/// An object of these fields; `closed`: of no others, and what is optional may be null.
fn object(closed: bool, fields: &[Field]) -> Value {
    let mut properties = Map::new();
    for (name, presence, schema) in fields {
        let schema = match presence {
            Optional if closed => json!({ "anyOf": [schema, { "type": "null" }] }),
            _ => schema.clone(),
        };
        properties.insert((*name).to_owned(), schema);
    }
    let needed: Vec<_> =
        fields.iter().filter(|(_, at, _)| *at == Needed).map(|(name, ..)| *name).collect();
    let mut object = json!({ "type": "object", "properties": properties, "required": needed });
    if closed {
        object["additionalProperties"] = json!(false);
    }
    object
}

fn request(fields: &[Field]) -> Value {
    object(true, fields)
}

/// What may gain fields.
fn answer(fields: &[Field]) -> Value {
    object(false, fields)
}

fn list(of: &Value, least: usize, most: Option<usize>) -> Value {
    let mut list = json!({ "type": "array", "items": of, "minItems": least });
    if let Some(most) = most {
        list["maxItems"] = json!(most);
    }
    list
}

/// Bounds are in bytes of UTF-8; a schema counts characters, so it may take too much of
/// other scripts.
fn text(least: usize, most: usize) -> Value {
    json!({ "type": "string", "minLength": least, "maxLength": most })
}

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn any_text() -> Value {
    json!({ "type": "string" })
}

fn id() -> Value {
    pattern(&format!("^[a-z0-9-]{{1,{MAX_ID_BYTES}}}$"))
}

fn opening_id() -> Value {
    pattern(&format!("^[A-Za-z0-9-]{{1,{MAX_ID_BYTES}}}$"))
}

fn request_id() -> Value {
    pattern(&format!("^[A-Za-z0-9_.:-]{{1,{MAX_TEXT_BYTES}}}$"))
}

fn printable(least: usize) -> Value {
    pattern(&format!("^[ -~]{{{least},{MAX_TEXT_BYTES}}}$"))
}

fn channel() -> Value {
    pattern("^[a-z0-9-]{1,16}$")
}

/// As answers write it; requests may write it otherwise.
fn booking_id() -> Value {
    pattern("^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$")
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn day() -> Value {
    json!({ "type": "string", "format": "date" })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn number_to(most: u64) -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": most })
}

fn whole() -> Value {
    json!({ "type": "integer" })
}

fn one_of(words: &[&str]) -> Value {
    json!({ "enum": words })
}

fn exactly(word: &str) -> Value {
    json!({ "const": word })
}

fn or_null(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn any_of(schemas: &[Value]) -> Value {
    json!({ "anyOf": schemas })
}

fn choices() -> Value {
    let choice = request(&[
        ("office", Needed, id()),
        ("date", Optional, day()),
        ("session", Optional, id()),
    ]);
    list(&choice, 1, Some(MAX_CHOICES))
}

fn position() -> Value {
    answer(&[("epoch", Needed, number()), ("seq", Needed, number())])
}

fn as_of() -> Value {
    answer(&[("epoch", Needed, number()), ("seq", Needed, number()), ("time", Needed, time())])
}

fn book() -> Value {
    let mut applicants = list(&text(1, MAX_TEXT_BYTES), 1, Some(MAX_APPLICANTS));
    applicants["uniqueItems"] = json!(true);
    request(&[
        ("request_id", Needed, request_id()),
        ("applicants", Needed, applicants),
        ("choices", Needed, choices()),
        ("opening", Optional, opening_id()),
        ("expires_at", Optional, time()),
        ("account", Optional, text(1, MAX_TEXT_BYTES)),
        ("channel", Optional, channel()),
        ("ref", Optional, printable(0)),
        ("wait", Optional, flag()),
    ])
}

fn confirm() -> Value {
    request(&[
        ("request_id", Needed, request_id()),
        ("booking", Needed, text(1, MAX_TEXT_BYTES)),
        ("reference", Optional, printable(1)),
    ])
}

fn cancel() -> Value {
    request(&[
        ("request_id", Needed, request_id()),
        ("booking", Needed, text(1, MAX_TEXT_BYTES)),
        ("applicant", Needed, text(1, MAX_TEXT_BYTES)),
    ])
}

fn reschedule() -> Value {
    request(&[
        ("request_id", Needed, request_id()),
        ("booking", Needed, text(1, MAX_TEXT_BYTES)),
        ("applicant", Needed, text(1, MAX_TEXT_BYTES)),
        ("choices", Needed, choices()),
    ])
}

/// A booking's id or a request's, not both.
fn lookup() -> Value {
    let mut lookup = request(&[
        ("booking", Optional, text(1, MAX_TEXT_BYTES)),
        ("request_id", Optional, request_id()),
        ("applicant", Needed, text(1, MAX_TEXT_BYTES)),
        ("opening", Optional, opening_id()),
    ]);
    let given = |name: &str| {
        let mut given = json!({ "required": [name], "properties": {} });
        given["properties"][name] = json!({ "type": "string" });
        given
    };
    lookup["oneOf"] = json!([given("booking"), given("request_id")]);
    lookup
}

fn find() -> Value {
    request(&[("applicant", Needed, text(1, MAX_TEXT_BYTES)), ("opening", Needed, opening_id())])
}

fn availability() -> Value {
    request(&[("office", Optional, id()), ("describe", Optional, flag())])
}

/// What every operator's action has.
fn signed(mut more: Vec<Field>) -> Value {
    let mut fields = vec![("operator", Needed, text(1, 64)), ("reason", Needed, text(1, 256))];
    fields.append(&mut more);
    request(&fields)
}

fn of_slot(more: Vec<Field>) -> Value {
    let slot = [
        ("opening", Needed, opening_id()),
        ("office", Needed, id()),
        ("date", Needed, day()),
        ("session", Optional, id()),
    ];
    signed(slot.into_iter().chain(more).collect())
}

fn booking() -> Value {
    answer(&[
        ("id", Needed, booking_id()),
        ("version", Needed, number()),
        ("status", Needed, one_of(&["held", "confirmed", "cancelled", "expired"])),
        ("opening", Needed, opening_id()),
        ("office", Needed, id()),
        ("date", Needed, day()),
        ("session", Needed, id()),
        ("numbers", Needed, list(&number_to(65_535), 0, None)),
        ("request_id", Needed, request_id()),
        ("ref", Optional, printable(0)),
        ("channel", Optional, channel()),
        ("granted_at", Needed, time()),
        ("hold_expires_at", Optional, time()),
    ])
}

fn rejected() -> Value {
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    answer(&[
        ("request_id", Needed, or_null(&any_text())),
        ("outcome", Needed, exactly("rejected")),
        ("reason", Needed, one_of(&reasons)),
        ("detail", Optional, any_text()),
        ("retry_after_ms", Optional, number()),
        ("now", Optional, time()),
        ("as_of", Optional, position()),
    ])
}

fn verdict() -> Value {
    let granted = answer(&[
        ("request_id", Needed, or_null(&any_text())),
        ("outcome", Needed, exactly("granted")),
        ("as_of", Needed, position()),
        ("booking", Needed, booking()),
    ]);
    let entry = answer(&[("opening", Needed, opening_id()), ("receipt", Needed, booking_id())]);
    let entered = answer(&[
        ("request_id", Needed, or_null(&any_text())),
        ("outcome", Needed, exactly("entered")),
        ("entry", Needed, entry),
        ("as_of", Needed, position()),
    ]);
    any_of(&[granted, entered, rejected()])
}

/// How many of a slot's places are what.
fn counts() -> Vec<Field> {
    vec![
        ("quota", Needed, number()),
        ("free", Needed, whole()),
        ("withheld", Needed, number()),
        ("reserved", Needed, number()),
        ("halted", Needed, flag()),
        ("bookable", Needed, flag()),
        ("next_release", Optional, time()),
    ]
}

fn slot() -> Value {
    let names = [
        ("opening", Needed, opening_id()),
        ("office", Needed, id()),
        ("date", Needed, day()),
        ("session", Needed, id()),
    ];
    answer(&names.into_iter().chain(counts()).collect::<Vec<_>>())
}

fn places() -> Value {
    let as_of = ("as_of", Needed, as_of());
    answer(&counts().into_iter().chain([as_of]).collect::<Vec<_>>())
}

fn state() -> Value {
    one_of(&["scheduled", "open", "closed"])
}

fn overview() -> Value {
    let opening = answer(&[
        ("id", Needed, opening_id()),
        ("state", Needed, state()),
        ("opens_at", Needed, time()),
        ("closes_at", Needed, time()),
    ]);
    let shown = answer(&[
        ("now", Needed, time()),
        ("openings", Needed, list(&opening, 0, None)),
        ("slots", Needed, list(&slot(), 0, None)),
        ("as_of", Needed, position()),
        ("catalogue", Optional, list(&opening_description(), 0, None)),
    ]);
    any_of(&[shown, rejected()])
}

fn done() -> Value {
    let bookings = || list(&booking(), 0, None);
    let change = answer(&[
        ("action", Needed, any_text()),
        ("office", Optional, id()),
        ("date", Optional, day()),
        ("session", Optional, id()),
        ("before", Needed, any_text()),
        ("after", Needed, any_text()),
    ]);
    let done = answer(&[
        ("outcome", Needed, one_of(&["done", "would"])),
        ("slots", Needed, list(&slot(), 0, None)),
        ("concerned_count", Needed, number()),
        ("concerned", Needed, bookings()),
        ("moved_count", Needed, number()),
        ("moved", Needed, bookings()),
        ("cancelled_count", Needed, number()),
        ("cancelled", Needed, bookings()),
        ("as_of", Needed, position()),
        ("changes", Needed, list(&change, 0, None)),
    ]);
    any_of(&[done, rejected()])
}

fn order() -> Value {
    let hash = || pattern("^[0-9a-f]{64}$");
    any_of(&[
        answer(&[("kind", Needed, exactly("first_come"))]),
        answer(&[
            ("kind", Needed, exactly("rounds")),
            ("length_ms", Needed, number()),
            ("commitment", Optional, hash()),
        ]),
        answer(&[
            ("kind", Needed, exactly("draw")),
            ("commitment", Optional, hash()),
            ("public_value", Optional, any_text()),
            ("root", Optional, hash()),
            ("entries", Optional, number()),
            ("seed", Optional, hash()),
            ("signature", Optional, pattern("^[0-9a-f]{1,192}$")),
            ("drawn", Needed, flag()),
        ]),
    ])
}

fn returns() -> Value {
    let times = list(&pattern("^[0-2][0-9]:[0-5][0-9]$"), 0, None);
    any_of(&[
        answer(&[("kind", Needed, exactly("immediate"))]),
        answer(&[
            ("kind", Needed, exactly("delayed")),
            ("from_ms", Needed, number()),
            ("to_ms", Needed, number()),
        ]),
        answer(&[("kind", Needed, exactly("at")), ("times", Needed, times)]),
    ])
}

fn opening_description() -> Value {
    let rules = answer(&[
        ("max_party", Needed, number()),
        ("max_per_account", Optional, number()),
        ("max_bookings", Needed, number()),
        ("max_changes", Needed, number()),
        ("across_openings", Needed, flag()),
        ("hold_ms", Optional, number()),
        ("cancelled", Needed, returns()),
        ("expired", Needed, returns()),
        ("leftovers", Needed, one_of(&["none", "first_come"])),
    ]);
    let quotas = json!({
        "type": "object", "propertyNames": day(), "additionalProperties": number(),
    });
    let session = answer(&[
        ("id", Needed, id()),
        ("label", Needed, any_text()),
        ("restricted", Needed, flag()),
        ("explicit", Needed, flag()),
        ("quotas", Needed, quotas),
    ]);
    let office = answer(&[
        ("id", Needed, id()),
        ("name", Needed, any_text()),
        ("sessions", Needed, list(&session, 0, None)),
    ]);
    let day = answer(&[("date", Needed, day()), ("bookable_until", Needed, time())]);
    answer(&[
        ("id", Needed, opening_id()),
        ("state", Needed, state()),
        ("timezone", Needed, any_text()),
        ("opens_at", Needed, time()),
        ("closes_at", Needed, time()),
        ("order", Needed, order()),
        ("rules", Needed, rules),
        ("next_release", Optional, time()),
        ("days", Needed, list(&day, 0, None)),
        ("offices", Needed, list(&office, 0, None)),
        ("as_of", Needed, as_of()),
    ])
}

/// The `data` of an event.
fn event_data() -> Value {
    let entry = answer(&[
        ("receipt", Needed, booking_id()),
        ("opening", Needed, opening_id()),
        ("request_id", Needed, request_id()),
        ("ref", Optional, printable(0)),
    ]);
    answer(&[
        ("booking", Optional, or_null(&booking())),
        ("previous", Optional, or_null(&booking())),
        ("payment", Optional, printable(1)),
        ("reason", Optional, any_text()),
        ("entry", Optional, entry),
    ])
}

fn event() -> Value {
    answer(&[
        ("specversion", Needed, exactly("1.0")),
        ("id", Needed, pattern("^[0-9a-f]{32}/[0-9]+/[0-9]+$")),
        ("source", Needed, pattern("^giliran/")),
        ("type", Needed, pattern("^giliran\\.booking\\.[a-z_]+$")),
        ("subject", Needed, pattern("^[a-z0-9-]+/[0-9-]+$")),
        ("time", Needed, time()),
        ("dataschema", Needed, exactly(giliran_wire::event::DATA_SCHEMA)),
        ("datacontenttype", Needed, exactly("application/json")),
        ("data", Needed, event_data()),
    ])
}

fn feed_events() -> Value {
    answer(&[("first", Needed, number()), ("events", Needed, list(&event(), 1, None))])
}

fn feed_position() -> Value {
    answer(&[("as_of", Needed, as_of()), ("events", Needed, number())])
}

fn process() -> Value {
    let metadata = json!({ "type": "object", "additionalProperties": any_text() });
    answer(&[
        ("type", Needed, pattern("^io\\.nats\\.micro\\.v1\\.(ping|info|stats)_response$")),
        ("name", Needed, pattern("^giliran-[a-z]+$")),
        ("id", Needed, pattern("^[A-Za-z0-9_-]+$")),
        ("version", Needed, any_text()),
        ("metadata", Needed, metadata),
        ("description", Optional, any_text()),
        ("started", Optional, time()),
        ("endpoints", Optional, list(&json!({}), 0, None)),
    ])
}

/// What was found, or why nobody knows.
fn known(found: &Value) -> Value {
    any_of(&[
        request(&[("known", Needed, found.clone())]),
        request(&[("unknown", Needed, any_text())]),
    ])
}

fn counted() -> Value {
    answer(&[
        ("quota", Needed, number()),
        ("taken", Needed, number()),
        ("free", Needed, whole()),
        ("withheld", Needed, number()),
        ("reserved", Needed, number()),
    ])
}

/// An object of values of one kind, by names of one kind.
fn by(names: &Value, values: &Value) -> Value {
    json!({ "type": "object", "propertyNames": names, "additionalProperties": values })
}

fn standing() -> Vec<Field> {
    let text = |name| (name, Optional, any_text());
    let count = |name| (name, Optional, number());
    vec![
        ("role", Needed, one_of(&["engine", "persist", "feed", "gateway"])),
        ("prefix", Needed, any_text()),
        text("instance"),
        ("state", Needed, any_text()),
        text("detail"),
        text("warnings"),
        ("ready", Needed, flag()),
        count("epoch"),
        count("seq"),
        count("tail"),
        count("lag_blocks"),
        count("lag_ms"),
        ("clock_offset_ms", Optional, whole()),
        text("commit"),
        text("key"),
        text("config"),
        count("queue"),
        count("backlog"),
        ("answers", Optional, by(&any_text(), &number())),
        ("grants_within", Optional, list(&list(&number(), 2, Some(2)), 0, None)),
    ]
}

fn openings() -> Value {
    let slot = answer(&[
        ("office", Needed, id()),
        ("date", Needed, day()),
        ("session", Needed, id()),
        ("places", Needed, counted()),
        ("halted", Needed, flag()),
        ("bookable", Needed, flag()),
    ]);
    let opening = answer(&[
        ("offers", Needed, opening_description()),
        ("places", Needed, counted()),
        ("offices", Needed, by(&id(), &counted())),
        ("days", Needed, by(&day(), &counted())),
        ("slots", Needed, list(&slot, 0, None)),
    ]);
    let as_of = answer(&[("epoch", Needed, number()), ("seq", Needed, number())]);
    answer(&[
        ("now", Needed, time()),
        ("as_of", Needed, as_of),
        ("openings", Needed, list(&opening, 0, None)),
    ])
}

fn storage() -> Value {
    answer(&[("used", Needed, number()), ("limit", Optional, number())])
}

fn picture() -> Value {
    let about = vec![
        ("id", Needed, any_text()),
        ("version", Needed, any_text()),
        ("started", Optional, time()),
    ];
    let process = answer(&[about, standing()].concat());
    let replica = answer(&[
        ("name", Needed, any_text()),
        ("current", Needed, flag()),
        ("offline", Needed, flag()),
        ("lag", Needed, number()),
    ]);
    let stream = answer(&[
        ("name", Needed, any_text()),
        ("messages", Needed, number()),
        ("bytes", Needed, number()),
        ("last_seq", Needed, number()),
        ("replicas", Needed, number()),
        ("leader", Optional, any_text()),
        ("followers", Needed, list(&replica, 0, None)),
    ]);
    let said = answer(&[
        ("name", Needed, any_text()),
        ("version", Needed, any_text()),
        ("sync_always", Needed, flag()),
        ("storage", Needed, storage()),
        ("certificate_until", Optional, time()),
    ]);
    let server = answer(&[("monitor", Needed, any_text()), ("said", Needed, known(&said))]);
    let rate = json!({ "type": "number", "minimum": 0 });
    let took = answer(&[("p50_us", Needed, number()), ("p99_us", Needed, number())]);
    let rates = answer(&[
        ("over_ms", Needed, number()),
        ("per_second", Needed, by(&any_text(), &rate)),
        ("grants", Optional, took),
    ]);
    answer(&[
        ("taken_at", Needed, time()),
        ("prefix", Needed, any_text()),
        ("processes", Needed, known(&list(&process, 0, None))),
        ("openings", Needed, known(&openings())),
        ("streams", Needed, known(&list(&stream, 0, None))),
        ("storage", Needed, known(&storage())),
        ("servers", Needed, list(&server, 0, None)),
        ("rates", Optional, rates),
    ])
}

fn judged() -> Value {
    let check = answer(&[
        ("name", Needed, pattern("^[a-z]+$")),
        ("verdict", Needed, one_of(&["go", "no_go", "unknown", "waived"])),
        ("found", Needed, any_text()),
        ("remedy", Optional, any_text()),
    ]);
    answer(&[
        ("opening", Optional, opening_id()),
        ("go", Needed, flag()),
        ("checks", Needed, list(&check, 0, None)),
        ("picture", Needed, picture()),
    ])
}

/// A schema: the name of its file, what it is of, and the folder and begin of the
/// fixtures that are such.
pub(super) struct Schema {
    pub(super) name: &'static str,
    pub(super) of: &'static str,
    pub(super) fixtures: &'static [&'static str],
    shape: Value,
}

impl Schema {
    /// As a file has it.
    pub(super) fn document(&self) -> Value {
        let mut document = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": format!("urn:giliran:schema:{}:1", self.name),
            "title": self.of,
        });
        if let (Value::Object(into), Value::Object(shape)) = (&mut document, self.shape.clone()) {
            into.extend(shape);
        }
        document
    }
}

pub(super) fn requests() -> Vec<Schema> {
    let schema = |name, of, fixtures, shape| Schema { name, of, fixtures, shape };
    let number_of = |name| (name, Needed, number_to(65_535));
    let dry_run = || ("dry_run", Optional, flag());
    let closes = vec![("opening", Needed, opening_id()), ("closes_at", Needed, time()), dry_run()];
    // An even number of digits.
    let signature = pattern("^([0-9a-fA-F]{2}){1,96}$");
    let beacon =
        vec![("opening", Needed, opening_id()), ("signature", Needed, signature), dry_run()];
    let bookings = ("bookings", Optional, one_of(&["keep", "cancel", "move"]));
    let halt = vec![("halted", Needed, flag()), bookings, dry_run()];
    let slot = |more| of_slot(more);
    let roll = vec![dry_run(), ("from", Optional, text(1, admin::MAX_STREAM_BYTES))];
    vec![
        schema("book", "book, book.vouched", &["requests/book_"], book()),
        schema("confirm", "confirm", &["requests/confirm"], confirm()),
        schema("cancel", "cancel", &["requests/cancel"], cancel()),
        schema("reschedule", "reschedule", &["requests/reschedule"], reschedule()),
        schema("lookup", "lookup", &["requests/lookup_"], lookup()),
        schema("find", "find", &["requests/find"], find()),
        schema("availability", "availability", &["requests/availability_"], availability()),
        schema(
            "admin.quota",
            "admin.quota",
            &["requests/admin_quota"],
            slot(vec![number_of("quota"), dry_run()]),
        ),
        schema(
            "admin.reserve",
            "admin.reserve",
            &["requests/admin_reserve"],
            slot(vec![number_of("places"), dry_run()]),
        ),
        schema("admin.halt", "admin.halt", &["requests/admin_halt"], slot(halt)),
        schema("admin.closes_at", "admin.closes_at", &["requests/admin_closes"], signed(closes)),
        schema("admin.beacon", "admin.beacon", &["requests/admin_beacon"], signed(beacon)),
        schema("admin.roll", "admin.roll", &["requests/admin_roll"], signed(roll)),
    ]
}

pub(super) fn answers() -> Vec<Schema> {
    let schema = |name, of, fixtures, shape| Schema { name, of, fixtures, shape };
    vec![
        schema(
            "answer",
            "the answer to book, confirm, cancel, reschedule, lookup and find",
            &["answers/granted_", "answers/rejected_", "answers/entered"],
            verdict(),
        ),
        schema(
            "availability-answer",
            "the answer to availability",
            &["answers/availability"],
            overview(),
        ),
        schema("admin-answer", "the answer to operators' actions", &["answers/admin_"], done()),
        schema("event", "an event, as CloudEvents 1.0", &["events/"], event()),
        schema("booking-event", "the data of an event", &[], event_data()),
        schema("places", "a value in the bucket of free places", &["places/"], places()),
        schema(
            "opening",
            "a value in the bucket of openings",
            &["catalogue/"],
            opening_description(),
        ),
        schema("feed-events", "events as they are heard", &["feed/events"], feed_events()),
        schema("feed-position", "how far the feed has told", &["feed/position"], feed_position()),
        schema("process", "what a process answers to $SRV", &["service/"], process()),
        schema("status", "what giliran status and giliran preflight say", &["status/"], judged()),
    ]
}

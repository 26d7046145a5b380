-- Bookings of one Giliran ledger. Read freely; only `giliran persist` writes.
-- Readers find bookings and seats in the views of these names, where ids and pseudonyms
-- are text. The tables under them have integer keys, which grow as the ledger does:
-- `ord` is a booking's sequence in the ledger times 2^20, and its entry's place in the
-- block.
CREATE TABLE IF NOT EXISTS ledger_position (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    schema    INTEGER NOT NULL,
    ledger_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    valid_seq INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    hash      TEXT NOT NULL,
    writer    TEXT NOT NULL,
    time_ms   INTEGER NOT NULL
) STRICT;
-- A random name, by which the broker knows this store from others.
CREATE TABLE IF NOT EXISTS store_identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id  TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS openings (
    ordinal   INTEGER PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    timezone  TEXT NOT NULL,
    opens_at  TEXT NOT NULL,
    closes_at TEXT NOT NULL,
    state     TEXT NOT NULL,
    record    BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS slots (
    opening_ordinal INTEGER NOT NULL,
    slot    INTEGER NOT NULL,
    opening TEXT NOT NULL,
    office  TEXT NOT NULL,
    date    TEXT NOT NULL,
    session TEXT NOT NULL,
    quota   INTEGER NOT NULL,
    bookable_until TEXT NOT NULL,
    reserved INTEGER NOT NULL DEFAULT 0,
    halted  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (opening_ordinal, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS booking_rows (
    ord        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    version    INTEGER NOT NULL,
    opening_ordinal INTEGER NOT NULL,
    slot       INTEGER NOT NULL,
    status     TEXT NOT NULL,
    request_id TEXT NOT NULL,
    content    BLOB NOT NULL,
    ref        TEXT,
    account    BLOB,
    channel    TEXT,
    granted_at TEXT NOT NULL,
    hold_expires_at TEXT,
    payment    TEXT,
    refunds    INTEGER NOT NULL DEFAULT 0,
    ledger_seq INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS seat_rows (
    ord       INTEGER NOT NULL,
    seat      INTEGER NOT NULL,
    applicant BLOB NOT NULL,
    number    INTEGER NOT NULL CHECK (number BETWEEN 1 AND 65535),
    active    INTEGER NOT NULL,
    opening_ordinal INTEGER NOT NULL,
    slot      INTEGER NOT NULL,
    PRIMARY KEY (ord, seat)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS seats_one_number_per_slot
    ON seat_rows (opening_ordinal, slot, number) WHERE active = 1;
CREATE UNIQUE INDEX IF NOT EXISTS seats_one_per_applicant
    ON seat_rows (opening_ordinal, applicant) WHERE active = 1;
CREATE VIEW IF NOT EXISTS bookings (
    id, version, opening, office, date, session, status, request_id, content, ref, account,
    channel, granted_at, hold_expires_at, payment, refunds, ledger_seq
) AS SELECT
    b.id, b.version, s.opening, s.office, s.date, s.session, b.status, b.request_id,
    lower(hex(b.content)), b.ref, nullif(lower(hex(b.account)), ''), b.channel, b.granted_at,
    b.hold_expires_at, b.payment, b.refunds, b.ledger_seq
    FROM booking_rows b
    JOIN slots s ON s.opening_ordinal = b.opening_ordinal AND s.slot = b.slot;
-- A seat without a booking has no `booking_id`.
CREATE VIEW IF NOT EXISTS seats (
    booking_id, seat, applicant, number, active, opening_ordinal, slot
) AS SELECT
    b.id, s.seat, lower(hex(s.applicant)), s.number, s.active, s.opening_ordinal, s.slot
    FROM seat_rows s LEFT JOIN booking_rows b ON b.ord = s.ord;
-- Those who wait, or waited, for returned places.
CREATE TABLE IF NOT EXISTS entries (
    receipt    TEXT NOT NULL UNIQUE,
    opening    TEXT NOT NULL,
    status     TEXT NOT NULL,
    request_id TEXT NOT NULL,
    ref        TEXT,
    ledger_seq INTEGER NOT NULL
) STRICT;
-- What operators and engines did to openings and ledger, in the ledger's order.
CREATE TABLE IF NOT EXISTS actions (
    ledger_seq BIGINT NOT NULL,
    place      INTEGER NOT NULL,
    at         TEXT NOT NULL,
    action     TEXT NOT NULL,
    opening    TEXT,
    office     TEXT,
    date       TEXT,
    session    TEXT,
    value      TEXT NOT NULL,
    operator   TEXT,
    reason     TEXT,
    PRIMARY KEY (ledger_seq, place)
);

-- Bookings of one Giliran ledger. Read freely; only `giliran persist` writes.
CREATE TABLE IF NOT EXISTS ledger_position (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    schema     BIGINT NOT NULL,
    ledger_id  TEXT NOT NULL,
    generation BIGINT NOT NULL,
    epoch      BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    valid_seq  BIGINT NOT NULL,
    number     BIGINT NOT NULL,
    hash       TEXT NOT NULL,
    writer     TEXT NOT NULL,
    time_ms    BIGINT NOT NULL
);
-- A random name, by which the broker knows this store from others.
CREATE TABLE IF NOT EXISTS store_identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id  TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS openings (
    ordinal   BIGINT PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    timezone  TEXT NOT NULL,
    opens_at  TIMESTAMPTZ NOT NULL,
    closes_at TIMESTAMPTZ NOT NULL,
    state     TEXT NOT NULL,
    record    BYTEA NOT NULL
);
CREATE TABLE IF NOT EXISTS slots (
    opening_ordinal BIGINT NOT NULL,
    slot    BIGINT NOT NULL,
    opening TEXT NOT NULL,
    office  TEXT NOT NULL,
    date    DATE NOT NULL,
    session TEXT NOT NULL,
    quota   INTEGER NOT NULL,
    bookable_until TIMESTAMPTZ NOT NULL,
    reserved INTEGER NOT NULL DEFAULT 0,
    halted  BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (opening_ordinal, slot)
);
CREATE TABLE IF NOT EXISTS bookings (
    id         TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    opening    TEXT NOT NULL,
    office     TEXT NOT NULL,
    date       DATE NOT NULL,
    session    TEXT NOT NULL,
    status     TEXT NOT NULL,
    request_id TEXT NOT NULL,
    content    TEXT NOT NULL,
    ref        TEXT,
    account    TEXT,
    channel    TEXT,
    granted_at TIMESTAMPTZ NOT NULL,
    hold_expires_at TIMESTAMPTZ,
    payment    TEXT,
    refunds    INTEGER NOT NULL DEFAULT 0,
    ledger_seq BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS seats (
    booking_id TEXT NOT NULL,
    seat       SMALLINT NOT NULL,
    applicant  TEXT NOT NULL,
    number     INTEGER NOT NULL CHECK (number BETWEEN 1 AND 65535),
    active     BOOLEAN NOT NULL,
    opening_ordinal BIGINT NOT NULL,
    slot       BIGINT NOT NULL,
    PRIMARY KEY (booking_id, seat)
);
CREATE UNIQUE INDEX IF NOT EXISTS seats_one_number_per_slot
    ON seats (opening_ordinal, slot, number) WHERE active;
CREATE UNIQUE INDEX IF NOT EXISTS seats_one_per_applicant
    ON seats (opening_ordinal, applicant) WHERE active;
-- Those who wait, or waited, for returned places.
CREATE TABLE IF NOT EXISTS entries (
    receipt    TEXT PRIMARY KEY,
    opening    TEXT NOT NULL,
    status     TEXT NOT NULL,
    request_id TEXT NOT NULL,
    ref        TEXT,
    ledger_seq BIGINT NOT NULL
);
-- What operators and engines did to openings and ledger, in the ledger's order.
CREATE TABLE IF NOT EXISTS actions (
    ledger_seq BIGINT NOT NULL,
    place      INTEGER NOT NULL,
    at         TIMESTAMPTZ NOT NULL,
    action     TEXT NOT NULL,
    opening    TEXT,
    office     TEXT,
    date       DATE,
    session    TEXT,
    value      TEXT NOT NULL,
    operator   TEXT,
    reason     TEXT,
    PRIMARY KEY (ledger_seq, place)
);

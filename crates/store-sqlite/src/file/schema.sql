-- Money is in minor units (kopecks), moments in microseconds since 1970-01-01T00:00:00Z.

CREATE TABLE ledger (
    id                 INTEGER PRIMARY KEY CHECK (id = 1) DEFAULT 1,
    currency           TEXT    NOT NULL, -- ISO 4217
    exponent           INTEGER NOT NULL, -- digits after the point
    created_us         INTEGER NOT NULL,
    -- The sweep's mark: the wallet table holds every operation up to this one, and some later.
    sweep_operation_id INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE user (
    user_id       INTEGER PRIMARY KEY,
    wallet_id     INTEGER NOT NULL,
    role          TEXT    NOT NULL CHECK (role IN ('bank', 'person')),
    name          TEXT    NOT NULL,
    email         TEXT    NOT NULL,
    email_key     TEXT    NOT NULL UNIQUE, -- the form that is compared
    password_hash TEXT    NOT NULL,        -- PHC string
    created_us    INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
    token_hash BLOB    PRIMARY KEY, -- SHA-256 of the token, which is kept nowhere
    user_id    INTEGER NOT NULL,
    opened_us  INTEGER NOT NULL,
    seen_us    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX session_user ON session (user_id);

-- Balance and newest operation lag behind the transfers on purpose: a sweep writes a slice of them
-- with some batches. The transfers after the mark say the rest.
CREATE TABLE wallet (
    wallet_id         INTEGER PRIMARY KEY,
    user_id           INTEGER NOT NULL,
    system            INTEGER NOT NULL CHECK (system IN (0, 1)), -- 1: may go negative
    opened_us         INTEGER NOT NULL,
    balance_minor     INTEGER NOT NULL DEFAULT 0,
    last_operation_id INTEGER
) STRICT;

-- The book of record, only ever appended to. One row is one transfer, both sides in it. The
-- back-pointers name the operation before this one of each of the two wallets.
CREATE TABLE transfer (
    operation_id               INTEGER PRIMARY KEY,
    kind                       INTEGER NOT NULL, -- 1 deposit, 2 transfer
    debit_wallet_id            INTEGER NOT NULL,
    credit_wallet_id           INTEGER NOT NULL,
    amount_minor               INTEGER NOT NULL,
    debit_balance_minor        INTEGER NOT NULL, -- after it
    credit_balance_minor       INTEGER NOT NULL, -- after it
    debit_previous_id          INTEGER,
    credit_previous_id         INTEGER,
    time_us                    INTEGER NOT NULL,
    details                    TEXT,
    idempotency_key            TEXT -- scoped to the wallet that pays
) STRICT;

-- Partial: an operation without a key writes nothing here.
CREATE UNIQUE INDEX transfer_key ON transfer (debit_wallet_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- Version 2: refusals are recorded under their keys too, payments from outside have their
-- provider's id.

ALTER TABLE transfer ADD COLUMN external_id TEXT; -- of a deposit: the payment provider's own id

-- The way from a key to its row is kept in files beside this one, which are made again from the rows
-- where they are missing.
DROP INDEX transfer_key;

-- A payment that is told twice is brought in once, however much later. Partial: an operation
-- without one writes nothing here.
CREATE UNIQUE INDEX transfer_external_id ON transfer (debit_wallet_id, external_id)
    WHERE external_id IS NOT NULL;

-- What was refused under an idempotency key, so that the same request gets the same answer. No part
-- of the book: rows older than the keys' window are deleted.
CREATE TABLE refusal (
    refusal_id       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind             INTEGER NOT NULL, -- as in transfer; 3: no refusal, but the key of a batch
    debit_wallet_id  INTEGER NOT NULL, -- the key is scoped to it
    credit_wallet_id INTEGER NOT NULL,
    amount_minor     INTEGER NOT NULL,
    time_us          INTEGER NOT NULL,
    details          TEXT,
    idempotency_key  TEXT    NOT NULL,
    external_id      TEXT,
    code             TEXT    NOT NULL
) STRICT;

-- What became of a batch under a key of its own. The key, its wallet and the time stand in the row of
-- refusal with the same number, so that both are forgotten together.
CREATE TABLE batch (
    batch_id    INTEGER PRIMARY KEY, -- its refusal_id
    mode        TEXT NOT NULL CHECK (mode IN ('atomic', 'independent')),
    fingerprint BLOB NOT NULL,       -- SHA-256 of what was asked
    outcomes    TEXT NOT NULL        -- 7-9: done; =5: had been done; a code: refused, *2 twice; 4:code: none
) STRICT;

-- What became of a sign-up under an idempotency key.
CREATE TABLE sign_up_key (
    idempotency_key TEXT    PRIMARY KEY,
    name            TEXT    NOT NULL,
    email           TEXT    NOT NULL,
    user_id         INTEGER,          -- NULL: the address was taken
    time_us         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The chain over the book. In each row stand the first 8 bytes of the operation's hash, which covers
-- the row and the same bytes of the row before it. Each 256 rows, the Merkle node over the hashes.
ALTER TABLE transfer ADD COLUMN chain INTEGER NOT NULL DEFAULT 0;

CREATE TABLE chain_block (
    block INTEGER PRIMARY KEY, -- 1: operations 1 to 256
    root  BLOB NOT NULL        -- SHA-256
) STRICT;

-- With it, an idempotency key is hashed into 8 bytes that tell nothing of the key.
ALTER TABLE ledger ADD COLUMN key_secret BLOB;
UPDATE ledger SET key_secret = randomblob(16);

-- How long keys are remembered, as the service last had it.
ALTER TABLE ledger ADD COLUMN key_window_us INTEGER NOT NULL DEFAULT 86400000000;

-- Balances and newest operations, which lag behind as before, are kept in blocks of 250 wallets: 16 bytes
-- each, a balance in minor units and an operation (0: none), signed and big-endian. The view `swept`
-- shows them.
CREATE TABLE swept_block (
    block  INTEGER PRIMARY KEY, -- 1: wallets 1 to 250
    states BLOB NOT NULL
) STRICT;

DROP VIEW IF EXISTS statement;

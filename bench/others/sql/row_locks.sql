-- Wallets and transfers as most services write them in SQL.
CREATE TABLE wallets (
    wallet_id bigint PRIMARY KEY,
    balance   bigint NOT NULL CHECK (balance >= 0) -- minor units
);

CREATE TABLE transfers (
    transfer_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    debit_wallet_id  bigint NOT NULL,
    credit_wallet_id bigint NOT NULL,
    amount           bigint NOT NULL CHECK (amount > 0),
    idempotency_key  uuid NOT NULL UNIQUE,
    created_at       timestamptz NOT NULL DEFAULT now()
);

INSERT INTO wallets SELECT number, :opening FROM generate_series(1, :wallets) AS number;

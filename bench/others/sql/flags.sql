-- The first approach of the service this one follows: a wallet is locked by a flag in its row.
CREATE TABLE wallets (
    wallet_id bigint PRIMARY KEY,
    balance   bigint NOT NULL CHECK (balance >= 0), -- minor units
    locked    boolean NOT NULL DEFAULT false
);

CREATE TABLE operations (
    operation_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    debit_wallet_id  bigint NOT NULL,
    credit_wallet_id bigint NOT NULL,
    amount           bigint NOT NULL CHECK (amount > 0),
    created_at       timestamptz NOT NULL DEFAULT now()
);

INSERT INTO wallets SELECT number, :opening FROM generate_series(1, :wallets) AS number;

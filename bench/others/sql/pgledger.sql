-- The way of pgledger, in our own words: the rules are functions of the database, both accounts are
-- locked in the order of their ids, and each entry carries the balance before and after it. Numbers
-- as ids and amounts, where pgledger has text and numeric: that favours it.
CREATE TABLE accounts (
    account_id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    balance                bigint NOT NULL DEFAULT 0, -- minor units
    version                bigint NOT NULL DEFAULT 0,
    allow_negative_balance boolean NOT NULL,
    updated_at             timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE transfers (
    transfer_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_account_id bigint NOT NULL REFERENCES accounts,
    to_account_id   bigint NOT NULL REFERENCES accounts,
    amount          bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (amount > 0 AND from_account_id <> to_account_id)
);
CREATE INDEX ON transfers (from_account_id);
CREATE INDEX ON transfers (to_account_id);

CREATE TABLE entries (
    entry_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id       bigint NOT NULL REFERENCES accounts,
    transfer_id      bigint NOT NULL REFERENCES transfers,
    amount           bigint NOT NULL,
    previous_balance bigint NOT NULL,
    current_balance  bigint NOT NULL,
    account_version  bigint NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON entries (account_id);
CREATE INDEX ON entries (transfer_id);

CREATE FUNCTION change_balance(wanted bigint, change bigint) RETURNS accounts AS $$
DECLARE
    changed accounts;
BEGIN
    UPDATE accounts
    SET balance = balance + change, version = version + 1, updated_at = now()
    WHERE account_id = wanted
    RETURNING * INTO STRICT changed;
    IF changed.balance < 0 AND NOT changed.allow_negative_balance THEN
        RAISE EXCEPTION 'account % would go below zero', wanted;
    END IF;
    RETURN changed;
END;
$$ LANGUAGE plpgsql;

CREATE FUNCTION create_transfer(payer bigint, payee bigint, moved bigint) RETURNS bigint AS $$
DECLARE
    paid accounts;
    received accounts;
    made bigint;
BEGIN
    PERFORM 1 FROM accounts WHERE account_id = least(payer, payee) FOR UPDATE;
    PERFORM 1 FROM accounts WHERE account_id = greatest(payer, payee) FOR UPDATE;
    paid := change_balance(payer, -moved);
    received := change_balance(payee, moved);
    INSERT INTO transfers (from_account_id, to_account_id, amount)
    VALUES (payer, payee, moved)
    RETURNING transfer_id INTO made;
    INSERT INTO entries
        (account_id, transfer_id, amount, previous_balance, current_balance, account_version)
    VALUES
        (payer, made, -moved, paid.balance + moved, paid.balance, paid.version),
        (payee, made, moved, received.balance - moved, received.balance, received.version);
    RETURN made;
END;
$$ LANGUAGE plpgsql;

INSERT INTO accounts (balance, allow_negative_balance)
SELECT :opening, false FROM generate_series(1, :wallets);

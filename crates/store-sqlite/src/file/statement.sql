CREATE VIEW statement AS
SELECT
    w.wallet_id                                                          AS wallet_id,
    t.operation_id                                                       AS operation_id,
    strftime('%Y-%m-%dT%H:%M:%S', t.time_us / 1000000, 'unixepoch')
        || printf('.%06dZ', t.time_us % 1000000)                         AS time,
    CASE
        WHEN t.kind = 1 THEN 'deposit'
        WHEN t.debit_wallet_id = w.wallet_id THEN 'transfer_out'
        ELSE 'transfer_in'
    END                                                                  AS type,
    iif(t.debit_wallet_id = w.wallet_id, '-', '+') || {amount}           AS amount,
    {balance}                                                            AS balance,
    '{currency}'                                                         AS currency,
    iif(t.debit_wallet_id = w.wallet_id,
        t.credit_wallet_id, t.debit_wallet_id)                           AS counterparty_wallet_id,
    t.details                                                            AS details
FROM swept AS w
JOIN json_each((
    WITH RECURSIVE history (operation_id) AS (
        SELECT coalesce(
            (SELECT max(recent.operation_id) FROM transfer AS recent
             WHERE recent.operation_id > (SELECT sweep_operation_id FROM ledger)
               AND w.wallet_id IN (recent.debit_wallet_id, recent.credit_wallet_id)),
            w.last_operation_id)
        UNION ALL
        SELECT iif(step.debit_wallet_id = w.wallet_id,
                   step.debit_previous_id, step.credit_previous_id)
        FROM history JOIN transfer AS step USING (operation_id)
    )
    SELECT json_group_array(operation_id) FROM history WHERE operation_id IS NOT NULL
)) AS walk
JOIN transfer AS t ON t.operation_id = walk.value;

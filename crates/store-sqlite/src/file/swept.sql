CREATE VIEW swept AS
WITH place (n) AS (
    VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15), (16)
)
SELECT
    w.wallet_id AS wallet_id,
    coalesce((
        SELECT sum(instr('123456789ABCDEF', nullif(substr(hex(
            substr(b.states, 1 + (w.wallet_id - 1) % 250 * 16, 8)), n, 1), '')) << (64 - 4 * n))
        FROM place), 0) AS balance_minor,
    nullif((
        SELECT sum(instr('123456789ABCDEF', nullif(substr(hex(
            substr(b.states, 9 + (w.wallet_id - 1) % 250 * 16, 8)), n, 1), '')) << (64 - 4 * n))
        FROM place), 0) AS last_operation_id
FROM wallet AS w LEFT JOIN swept_block AS b ON b.block = 1 + (w.wallet_id - 1) / 250;

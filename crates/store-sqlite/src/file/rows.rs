//! Owns how transfers and refusals are written as rows and read back.
//!
//! Never: a decision or a transaction; the caller has opened one. Reading trusts nothing: a value
//! that no book would have written is a damage, named by its operation.

use ledger::{
    Amount, Balance, BatchKey, Details, ExternalId, IdempotencyKey, Link, Operation, OperationId,
    OperationKind, Rejection, Side, Timestamp, Transfer, WalletId,
};
use rusqlite::{Connection, OptionalExtension, Row};

/// The columns that [`read_transfer`] reads, in its order.
macro_rules! select_transfer {
    ($tail:literal) => {
        concat!(
            "SELECT operation_id, kind, debit_wallet_id, credit_wallet_id, amount_minor, ",
            "debit_balance_minor, credit_balance_minor, debit_previous_id, credit_previous_id, ",
            "time_us, details, external_id, idempotency_key, chain FROM transfer ",
            $tail
        )
    };
}

/// The transfer of an id.
const SELECT_TRANSFER: &str = select_transfer!("WHERE operation_id = ?");

/// All transfers after an id, in their order, for [`read_kept`].
pub(crate) const SELECT_KEPT_AFTER: &str =
    select_transfer!("WHERE operation_id > ? ORDER BY operation_id");

/// The deposit that a bank brought in under a payment provider's id.
pub(crate) const SELECT_TRANSFER_BY_EXTERNAL_ID: &str =
    select_transfer!("WHERE debit_wallet_id = ? AND external_id = ?");

/// A row holds what no book would have written.
#[derive(Debug, thiserror::Error)]
#[error("the row of operation {operation} is damaged in column {column}")]
struct RowDamage {
    operation: u64,
    column: usize,
}

/// The same of what was refused.
#[derive(Debug, thiserror::Error)]
#[error("the row of refusal {refusal} is damaged in column {column}")]
struct RefusalDamage {
    refusal: u64,
    column: usize,
}

/// Reads a transfer from a row of `select_transfer!`.
pub(crate) fn read_transfer(row: &Row<'_>) -> rusqlite::Result<Transfer> {
    let number: u64 = row.get(0)?;
    let damaged = |column| damaged(number, column);
    let side = |wallet: usize, balance: usize, previous: usize| -> rusqlite::Result<Side> {
        let previous_id: Option<u64> = row.get(previous)?;
        Ok(Side {
            wallet: WalletId::new(row.get(wallet)?).ok_or_else(|| damaged(wallet))?,
            balance: Balance::from_minor(row.get(balance)?).ok_or_else(|| damaged(balance))?,
            previous: previous_id
                .map(|id| OperationId::new(id).ok_or_else(|| damaged(previous)))
                .transpose()?,
        })
    };
    let text = |column: usize| row.get_ref(column)?.as_str_or_null().map_err(|_| damaged(column));
    Ok(Transfer {
        id: OperationId::new(number).ok_or_else(|| damaged(0))?,
        kind: read_kind(row.get(1)?).ok_or_else(|| damaged(1))?,
        debit: side(2, 5, 7)?,
        credit: side(3, 6, 8)?,
        amount: Amount::from_minor(row.get(4)?).map_err(|_| damaged(4))?,
        details: read_details(text(10)?).map_err(|()| damaged(10))?,
        external_id: read_external_id(text(11)?).map_err(|()| damaged(11))?,
        time: Timestamp::from_micros(row.get(9)?),
    })
}

/// A transfer with all that its row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptTransfer {
    pub(crate) transfer: Transfer,
    pub(crate) key: Option<String>,
    pub(crate) link: Link,
}

/// Reads all that a row of `select_transfer!` says.
pub(crate) fn read_kept(row: &Row<'_>) -> rusqlite::Result<KeptTransfer> {
    let transfer = read_transfer(row)?;
    let damaged = |column| damaged(transfer.id.get(), column);
    let key: Option<String> = row.get(12).map_err(|_| damaged(12))?;
    let link: i64 = row.get(13).map_err(|_| damaged(13))?;
    Ok(KeptTransfer { transfer, key, link: link.cast_unsigned() })
}

/// The transfer of a number with all that its row says.
pub(crate) fn select_kept(
    connection: &Connection,
    operation: i64,
) -> rusqlite::Result<Option<KeptTransfer>> {
    connection.prepare_cached(SELECT_TRANSFER)?.query_row([operation], read_kept).optional()
}

/// The number of the newest transfer; 0 where there is none.
pub(crate) fn newest_operation(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT coalesce(max(operation_id), 0) FROM transfer")?
        .query_row((), |row| row.get(0))
}

/// What was refused under a key, on its way into the file.
pub(crate) struct Refusal {
    pub(crate) number: u64,
    pub(crate) operation: Operation,
    pub(crate) key: IdempotencyKey,
    pub(crate) rejection: Rejection,
    pub(crate) time: Timestamp,
}

/// Records what was refused under a key.
pub(crate) fn insert_refusal(
    connection: &Connection,
    Refusal { number, operation, key, rejection, time }: &Refusal,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO refusal VALUES (?,?,?,?,?,?,?,?,?,?)")?
        .execute((
            number.cast_signed(),
            kind_number(operation.kind),
            operation.debit.get().cast_signed(),
            operation.credit.get().cast_signed(),
            operation.amount.minor(),
            time.micros(),
            operation.details.as_ref().map(Details::as_str),
            key.as_str(),
            operation.external_id.as_ref().map(ExternalId::as_str),
            rejection.code(),
        ))
        .map(|_| ())
}

/// Records the key of a batch, in a row among the refusals: what is remembered under keys, but for
/// transfers, is numbered and forgotten together.
pub(crate) fn insert_batch_key(
    connection: &Connection,
    number: u64,
    BatchKey { wallet, key, .. }: &BatchKey,
    time: Timestamp,
) -> rusqlite::Result<()> {
    let payer = wallet.get().cast_signed();
    connection
        .prepare_cached("INSERT INTO refusal VALUES (?,?,?,0,0,?,NULL,?,NULL,'')")?
        .execute((number.cast_signed(), BATCH, payer, time.micros(), key.as_str()))
        .map(|_| ())
}

/// Whether a row, as [`read_refusal`] reads it, is the key of a batch.
pub(crate) fn is_batch_key(row: &Row<'_>) -> rusqlite::Result<bool> {
    row.get(1).map(|kind: i64| kind == BATCH)
}

/// The columns that [`read_refusal`] reads, in its order.
pub(crate) const SELECT_REFUSAL: &str =
    "SELECT refusal_id, kind, debit_wallet_id, credit_wallet_id, amount_minor, details, external_id,
            code, idempotency_key
     FROM refusal WHERE refusal_id = ?";

/// The column of [`SELECT_REFUSAL`] and [`SELECT_REFUSALS_AFTER`] that has the key.
pub(crate) const REFUSAL_KEY: usize = 8;

/// The column of [`SELECT_REFUSALS_AFTER`] that has the time.
pub(crate) const REFUSAL_TIME: usize = 9;

/// All refusals after an id, so many at most, in their order.
pub(crate) const SELECT_REFUSALS_AFTER: &str =
    "SELECT refusal_id, kind, debit_wallet_id, credit_wallet_id, amount_minor, details, external_id,
            code, idempotency_key, time_us
     FROM refusal WHERE refusal_id > ? ORDER BY refusal_id LIMIT ?";

/// Reads what was refused, and why.
pub(crate) fn read_refusal(row: &Row<'_>) -> rusqlite::Result<(Operation, Rejection)> {
    let number: u64 = row.get(0)?;
    let damaged = |column| {
        let damage = RefusalDamage { refusal: number, column };
        conversion_failure(column, damage)
    };
    let text = |column: usize| row.get_ref(column)?.as_str_or_null().map_err(|_| damaged(column));
    let wallet = |column: usize| WalletId::new(row.get(column)?).ok_or_else(|| damaged(column));
    let operation = Operation {
        kind: read_kind(row.get(1)?).ok_or_else(|| damaged(1))?,
        debit: wallet(2)?,
        credit: wallet(3)?,
        amount: Amount::from_minor(row.get(4)?).map_err(|_| damaged(4))?,
        details: read_details(text(5)?).map_err(|()| damaged(5))?,
        external_id: read_external_id(text(6)?).map_err(|()| damaged(6))?,
    };
    let rejection = text(7)?.and_then(Rejection::of_code).ok_or_else(|| damaged(7))?;
    Ok((operation, rejection))
}

fn read_details(text: Option<&str>) -> Result<Option<Details>, ()> {
    let details = text.map_or(Ok(None), Details::parse).map_err(|_| ())?;
    // Trimmed, it would be another text than the one that stands there.
    if details.as_ref().map(Details::as_str) == text { Ok(details) } else { Err(()) }
}

fn read_external_id(text: Option<&str>) -> Result<Option<ExternalId>, ()> {
    text.map(ExternalId::parse).transpose().map_err(|_| ())
}

const DEPOSIT: i64 = 1;
const TRANSFER: i64 = 2;
/// Only among the refusals: the key of a batch.
const BATCH: i64 = 3;

pub(crate) fn kind_number(kind: OperationKind) -> i64 {
    match kind {
        OperationKind::Deposit => DEPOSIT,
        OperationKind::Transfer => TRANSFER,
    }
}

fn read_kind(number: i64) -> Option<OperationKind> {
    match number {
        DEPOSIT => Some(OperationKind::Deposit),
        TRANSFER => Some(OperationKind::Transfer),
        _ => None,
    }
}

pub(crate) fn damaged(operation: u64, column: usize) -> rusqlite::Error {
    conversion_failure(column, RowDamage { operation, column })
}

/// The row of a refusal is not what was recorded, or is not there.
pub(crate) fn damaged_refusal(refusal: u64, column: usize) -> rusqlite::Error {
    conversion_failure(column, RefusalDamage { refusal, column })
}

/// A damage as SQLite's kind of error: whoever meets it halts.
pub(crate) fn damage(damage: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    conversion_failure(0, damage)
}

fn conversion_failure(
    column: usize,
    damage: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    let kind = rusqlite::types::Type::Integer;
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(damage))
}

//! Owns how a transfer and a wallet are written as rows and read back.
//!
//! Never: a decision or a transaction; the caller has opened one. Reading trusts nothing: a value
//! that no book would have written is a damage, named by its operation.

use ledger::{
    Amount, Balance, Details, IdempotencyKey, OperationId, OperationKind, Side, Timestamp,
    Transfer, WalletId, WalletKind, WalletState,
};
use rusqlite::{Connection, Row, Statement};

/// Appends a transfer after the last one: SQLite gives the next id without looking for its place.
pub(crate) const INSERT_TRANSFER: &str = "INSERT INTO transfer VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?)";

/// The columns that [`read_transfer`] reads, in its order.
macro_rules! select_transfer {
    ($tail:literal) => {
        concat!(
            "SELECT operation_id, kind, debit_wallet_id, credit_wallet_id, amount_minor, ",
            "debit_balance_minor, credit_balance_minor, debit_previous_id, credit_previous_id, ",
            "time_us, details FROM transfer ",
            $tail
        )
    };
}

/// The transfer of an id.
pub(crate) const SELECT_TRANSFER: &str = select_transfer!("WHERE operation_id = ?");

/// All transfers after an id, in their order.
pub(crate) const SELECT_TRANSFERS_AFTER: &str =
    select_transfer!("WHERE operation_id > ? ORDER BY operation_id");

/// The transfer that a wallet paid under a key.
pub(crate) const SELECT_TRANSFER_BY_KEY: &str =
    select_transfer!("WHERE debit_wallet_id = ? AND idempotency_key = ?");

/// A row holds what no book would have written.
#[derive(Debug, thiserror::Error)]
#[error("the row of operation {operation} is damaged in column {column}")]
struct RowDamage {
    operation: u64,
    column: usize,
}

/// Appends a transfer, and makes sure that it stands where the book says.
pub(crate) fn insert_transfer(
    connection: &Connection,
    insert: &mut Statement<'_>,
    transfer: &Transfer,
    key: Option<&IdempotencyKey>,
) -> rusqlite::Result<()> {
    let id = |id: OperationId| id.get().cast_signed();
    insert.raw_bind_parameter(1, kind_number(transfer.kind))?;
    insert.raw_bind_parameter(2, transfer.debit.wallet.get().cast_signed())?;
    insert.raw_bind_parameter(3, transfer.credit.wallet.get().cast_signed())?;
    insert.raw_bind_parameter(4, transfer.amount.minor())?;
    insert.raw_bind_parameter(5, transfer.debit.balance.minor())?;
    insert.raw_bind_parameter(6, transfer.credit.balance.minor())?;
    insert.raw_bind_parameter(7, transfer.debit.previous.map(id))?;
    insert.raw_bind_parameter(8, transfer.credit.previous.map(id))?;
    insert.raw_bind_parameter(9, transfer.time.micros())?;
    insert.raw_bind_parameter(10, transfer.details.as_ref().map(Details::as_str))?;
    insert.raw_bind_parameter(11, key.map(IdempotencyKey::as_str))?;
    insert.raw_execute()?;
    if connection.last_insert_rowid() == id(transfer.id) {
        Ok(())
    } else {
        Err(damaged(transfer.id.get(), 0))
    }
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
    let details = match row.get_ref(10)?.as_str_or_null().map_err(|_| damaged(10))? {
        Some(text) => Details::parse(text).map_err(|_| damaged(10))?,
        None => None,
    };
    Ok(Transfer {
        id: OperationId::new(number).ok_or_else(|| damaged(0))?,
        kind: match row.get(1)? {
            DEPOSIT => OperationKind::Deposit,
            TRANSFER => OperationKind::Transfer,
            _ => return Err(damaged(1)),
        },
        debit: side(2, 5, 7)?,
        credit: side(3, 6, 8)?,
        amount: Amount::from_minor(row.get(4)?).map_err(|_| damaged(4))?,
        details,
        time: Timestamp::from_micros(row.get(9)?),
    })
}

/// Reads a wallet's state from a row of `balance_minor, last_operation_id, system`.
pub(crate) fn read_wallet_state(row: &Row<'_>) -> rusqlite::Result<WalletState> {
    let last: Option<u64> = row.get(1)?;
    let system: bool = row.get(2)?;
    Ok(WalletState {
        kind: if system { WalletKind::System } else { WalletKind::Person },
        balance: Balance::from_minor(row.get(0)?)
            .ok_or_else(|| out_of_range(0, "a wallet's balance"))?,
        last: last
            .map(|id| OperationId::new(id).ok_or_else(|| out_of_range(1, "a wallet's operation")))
            .transpose()?,
    })
}

const DEPOSIT: i64 = 1;
const TRANSFER: i64 = 2;

fn kind_number(kind: OperationKind) -> i64 {
    match kind {
        OperationKind::Deposit => DEPOSIT,
        OperationKind::Transfer => TRANSFER,
    }
}

fn damaged(operation: u64, column: usize) -> rusqlite::Error {
    let damage = RowDamage { operation, column };
    rusqlite::Error::FromSqlConversionFailure(
        column,
        rusqlite::types::Type::Integer,
        Box::new(damage),
    )
}

fn out_of_range(column: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        column,
        rusqlite::types::Type::Integer,
        format!("{what} is out of range").into(),
    )
}

//! Owns the shape of the data file: its tables, its version, and how an older file becomes a newer.
//!
//! Never: a row of anybody's. Bounds: migrations only ever go forward, one transaction each; a file
//! of a newer version, or of another program, is refused untouched.

use std::time::Duration;

use ledger::Currency;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction};

use crate::file::open_error::OpenError;
use crate::file::{chain, swept};

/// Marks the file as kopeck's (`file` and the `sqlite3` shell show it): "KOPK".
const APPLICATION_ID: i32 = 0x4b4f_504b;

/// Each step takes the file from the version of its index to the next.
const MIGRATIONS: [fn(&Transaction<'_>, Currency) -> rusqlite::Result<()>; 2] =
    [create, chain_the_book];

/// Refuses a file of another program, or of a newer version. Only reads.
pub(crate) fn refuse_others(connection: &Connection) -> Result<(), OpenError> {
    let application: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID && !is_empty(connection)? {
        return Err(OpenError::NotOurs);
    }
    match version(connection)? {
        file if file > MIGRATIONS.len() => Err(OpenError::Newer { file, known: MIGRATIONS.len() }),
        _ => Ok(()),
    }
}

/// Whether the file has today's version. An empty file has none.
pub(crate) fn is_current(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(version(connection)? == MIGRATIONS.len())
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Whether the file has no tables: nobody has begun it.
pub(crate) fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", (), |row| row.get(0))
}

/// Brings the file to today's version. True when it was new.
pub(crate) fn migrate(
    connection: &mut Connection,
    currency: Option<Currency>,
    now_us: i64,
) -> Result<bool, OpenError> {
    let version = version(connection)?;
    let new = is_empty(connection)?;
    // Only a new file gets the one that is asked for. Compared before anything is changed: an older file would be
    // brought to today's version in another currency than its own, and fit no more.
    let currency = match currency {
        Some(currency) if version == 0 => currency,
        asked => match (self::currency(connection)?, asked) {
            (file, Some(asked)) if asked != file => {
                return Err(OpenError::CurrencyDiffers { file, asked });
            }
            (file, _) => file,
        },
    };
    for (migration, version) in MIGRATIONS.iter().zip(1_i32..).skip(version) {
        let transaction = connection.transaction()?;
        migration(&transaction, currency)?;
        if version == 1 {
            transaction.execute(
                "INSERT INTO ledger (currency, exponent, created_us) VALUES (?, ?, ?)",
                (currency.code(), currency.exponent(), now_us),
            )?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(new)
}

/// The currency that the file is kept in.
pub(crate) fn currency(connection: &Connection) -> Result<Currency, OpenError> {
    let code: Option<String> =
        connection.query_row("SELECT currency FROM ledger", (), |row| row.get(0)).optional()?;
    code.and_then(|code| Currency::parse(&code).ok()).ok_or(OpenError::Incomplete)
}

/// How long keys are remembered: as asked, or as it was before.
pub(crate) fn key_window(
    connection: &Connection,
    asked: Option<Duration>,
) -> Result<Duration, OpenError> {
    asked.map_or_else(|| Ok(Duration::from_micros(kept_window_us(connection)?)), Ok)
}

/// Writes down how long that is, for when nobody says so.
pub(crate) fn keep_key_window(connection: &Connection, window: Duration) -> Result<(), OpenError> {
    let window_us = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
    if window_us.cast_unsigned() == kept_window_us(connection)? {
        return Ok(());
    }
    match connection.execute("UPDATE ledger SET key_window_us = ?", [window_us]) {
        // It is written down another time: reads must go on.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Ok(()),
        written => Ok(written.map(drop)?),
    }
}

fn kept_window_us(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT key_window_us FROM ledger", (), |row| row.get(0))
}

/// Version 1.
fn create(transaction: &Transaction<'_>, _: Currency) -> rusqlite::Result<()> {
    transaction.execute_batch(include_str!("schema.sql"))
}

/// Version 2.
fn chain_the_book(transaction: &Transaction<'_>, currency: Currency) -> rusqlite::Result<()> {
    transaction.execute_batch(include_str!("schema_2.sql"))?;
    swept::move_from_rows(transaction)?;
    transaction.execute_batch(
        "ALTER TABLE wallet DROP COLUMN balance_minor;
         ALTER TABLE wallet DROP COLUMN last_operation_id;",
    )?;
    transaction.execute_batch(include_str!("swept.sql"))?;
    transaction.execute_batch(&statement_view(currency))?;
    chain::make(transaction, currency)
}

/// The view that shows people a wallet's history, with amounts in the currency's units.
///
/// It walks back along the back-pointers, so one wallet's history is quick however long the file.
/// The walk starts at the wallet's newest operation: the later of the one that was swept and of the
/// newest among the operations after the sweep's mark.
fn statement_view(currency: Currency) -> String {
    let units = |column: &str| {
        let scale = 10_i64.pow(u32::try_from(currency.exponent()).unwrap_or(0));
        match currency.exponent() {
            0 => format!("CAST({column} AS TEXT)"),
            digits => format!(
                "printf('%s%d.%0{digits}d', iif({column} < 0, '-', ''), \
                 abs({column}) / {scale}, abs({column}) % {scale})"
            ),
        }
    };
    include_str!("statement.sql")
        .replace("{amount}", &units("t.amount_minor"))
        .replace(
            "{balance}",
            &units("iif(t.debit_wallet_id = w.wallet_id, t.debit_balance_minor, t.credit_balance_minor)"),
        )
        .replace("{currency}", currency.code())
}

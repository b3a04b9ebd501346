//! Owns the appending of transfers to the book: several rows a statement, the rest one by one.
//!
//! Never: a transaction; the caller has opened one. Bounds: [`ROWS_A_STATEMENT`] rows a statement.
//!
//! SQLite gives each row the id after the last one without looking for its place. What a statement
//! costs beside its rows (to begin, to open the table, to end) is shared by them.

use std::sync::LazyLock;

use ledger::{Details, ExternalId, IdempotencyKey, OperationId};
use rusqlite::{CachedStatement, Connection, Statement};

use crate::hasher::Row;
use crate::rows;

/// The quickest of 1, 8 and 32, as measured; most of it comes with the first 8.
const ROWS_A_STATEMENT: usize = 32;
const COLUMNS: usize = 13;

const INSERT_ONE: &str = "INSERT INTO transfer VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?)";

static INSERT_MANY: LazyLock<String> = LazyLock::new(|| {
    let row = INSERT_ONE.strip_prefix("INSERT INTO transfer VALUES ").unwrap_or_default();
    format!("INSERT INTO transfer VALUES {}", vec![row; ROWS_A_STATEMENT].join(","))
});

/// Appends transfers in one open transaction.
pub(crate) struct Appender<'c> {
    connection: &'c Connection,
    one: CachedStatement<'c>,
    many: CachedStatement<'c>,
}

impl<'c> Appender<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            one: connection.prepare_cached(INSERT_ONE)?,
            many: connection.prepare_cached(&INSERT_MANY)?,
        })
    }

    /// Appends transfers in their order.
    pub(crate) fn append(&mut self, rows: &[Row]) -> rusqlite::Result<()> {
        let (together, rest) = rows.as_chunks::<ROWS_A_STATEMENT>();
        for rows in together {
            for (row, first) in rows.iter().zip((1..).step_by(COLUMNS)) {
                bind(&mut self.many, first, row)?;
            }
            self.many.raw_execute()?;
            self.check(rows.last())?;
        }
        for row in rest {
            bind(&mut self.one, 1, row)?;
            self.one.raw_execute()?;
        }
        self.check(rest.last())
    }

    /// Makes sure that the rows stand where the book says. Ids are given one after another, so the
    /// last one tells of all.
    fn check(&self, last: Option<&Row>) -> rusqlite::Result<()> {
        let Some(last) = last.map(|row| row.transfer.id.get()) else { return Ok(()) };
        if self.connection.last_insert_rowid() == last.cast_signed() {
            Ok(())
        } else {
            Err(rows::damaged(last, 0))
        }
    }
}

/// Binds a row to 13 parameters, from the `first` one on.
fn bind(insert: &mut Statement<'_>, first: usize, row: &Row) -> rusqlite::Result<()> {
    let Row { transfer, key, mark: _, link } = row;
    let id = |id: OperationId| id.get().cast_signed();
    insert.raw_bind_parameter(first, rows::kind_number(transfer.kind))?;
    insert.raw_bind_parameter(first + 1, transfer.debit.wallet.get().cast_signed())?;
    insert.raw_bind_parameter(first + 2, transfer.credit.wallet.get().cast_signed())?;
    insert.raw_bind_parameter(first + 3, transfer.amount.minor())?;
    insert.raw_bind_parameter(first + 4, transfer.debit.balance.minor())?;
    insert.raw_bind_parameter(first + 5, transfer.credit.balance.minor())?;
    insert.raw_bind_parameter(first + 6, transfer.debit.previous.map(id))?;
    insert.raw_bind_parameter(first + 7, transfer.credit.previous.map(id))?;
    insert.raw_bind_parameter(first + 8, transfer.time.micros())?;
    insert.raw_bind_parameter(first + 9, transfer.details.as_ref().map(Details::as_str))?;
    insert.raw_bind_parameter(first + 10, key.as_ref().map(IdempotencyKey::as_str))?;
    insert.raw_bind_parameter(first + 11, transfer.external_id.as_ref().map(ExternalId::as_str))?;
    insert.raw_bind_parameter(first + 12, link.cast_signed())
}

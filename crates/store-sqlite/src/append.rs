//! Owns the appending of transfers to the book: several rows a statement, the rest one by one.
//!
//! Never: a transaction; the caller has opened one. Bounds: [`ROWS_A_STATEMENT`] rows a statement.
//!
//! SQLite gives each row the id after the last one without looking for its place. What a statement
//! costs beside its rows (to begin, to open the table, to end) is shared by them.

use std::sync::LazyLock;

use ledger::{Details, ExternalId, IdempotencyKey, Link, OperationId};
use rusqlite::{CachedStatement, Connection, Statement};

use crate::hasher::Row;
use crate::rows;

/// The quickest of 1, 8 and 32, as measured; most of it comes with the first 8.
const ROWS_A_STATEMENT: usize = 32;
const COLUMNS: usize = 13;

/// A row that does not fit is an end of the batch anyway. `OR FAIL` says so to SQLite, which would else
/// keep a journal of each statement to undo a part of it.
const INSERT: &str = "INSERT OR FAIL INTO transfer VALUES";
const ROW: &str = "(NULL,?,?,?,?,?,?,?,?,?,?,?,?,?)";

static INSERT_ONE: LazyLock<String> = LazyLock::new(|| format!("{INSERT} {ROW}"));

static INSERT_MANY: LazyLock<String> =
    LazyLock::new(|| format!("{INSERT} {}", vec![ROW; ROWS_A_STATEMENT].join(",")));

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
            one: connection.prepare_cached(&INSERT_ONE)?,
            many: connection.prepare_cached(&INSERT_MANY)?,
        })
    }

    /// Appends transfers in their order, each with its link.
    pub(crate) fn append(&mut self, rows: &[Row], links: &[Link]) -> rusqlite::Result<()> {
        if rows.len() != links.len() {
            return Err(crate::rows::damaged(
                rows.first().map_or(0, |row| row.transfer.id.get()),
                0,
            ));
        }
        let (together, rest) = rows.as_chunks::<ROWS_A_STATEMENT>();
        let mut links = links.iter().copied();
        for rows in together {
            for ((row, link), first) in rows.iter().zip(links.by_ref()).zip((1..).step_by(COLUMNS))
            {
                bind(&mut self.many, first, row, link)?;
            }
            self.many.raw_execute()?;
            self.check(rows.last())?;
        }
        for (row, link) in rest.iter().zip(links) {
            bind(&mut self.one, 1, row, link)?;
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
fn bind(
    insert: &mut Statement<'_>,
    first: usize,
    Row { transfer, key, mark: _ }: &Row,
    link: Link,
) -> rusqlite::Result<()> {
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

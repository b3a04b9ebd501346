//! Owns the appending of transfers to the book: many rows a statement, then some, the rest one by one.
//!
//! Never: a transaction; the caller has opened one. Bounds: [`MANY`] rows a statement.
//!
//! SQLite gives each row the id after the last one without looking for its place. What a statement
//! costs beside its rows (to begin, to open the table, to end) is shared by them.

use std::sync::LazyLock;

use ledger::{Details, ExternalId, IdempotencyKey, Link, OperationId};
use rusqlite::{CachedStatement, Connection, Statement};

use crate::file::rows::{self, damaged};
use crate::write::hasher::Row;

/// The quickest of 1, 8 and 32, as measured; most of it comes with the first 8.
const MANY: usize = 32;
/// For commits of a few dozen, which are those of single requests under load.
const SOME: usize = 8;
const COLUMNS: usize = 13;

/// A row that does not fit is an end of the batch anyway. `OR FAIL` says so to SQLite, which would else
/// keep a journal of each statement to undo a part of it.
/// The columns are named, and the id is not among them: a NULL in its place would bring that journal back
/// where there are several rows.
const INSERT: &str = "INSERT OR FAIL INTO transfer (kind, debit_wallet_id, credit_wallet_id, \
    amount_minor, debit_balance_minor, credit_balance_minor, debit_previous_id, credit_previous_id, \
    time_us, details, idempotency_key, external_id, chain) VALUES";
const ROW: &str = "(?,?,?,?,?,?,?,?,?,?,?,?,?)";

fn insert(rows: usize) -> String {
    format!("{INSERT} {}", vec![ROW; rows].join(","))
}

/// Appends transfers in an open transaction, and keeps its statements for the next.
pub(crate) struct Appender<'c> {
    connection: &'c Connection,
    one: Lazy<'c>,
    some: Lazy<'c>,
    many: Lazy<'c>,
}

/// A statement that is looked up when it is needed first.
struct Lazy<'c> {
    sql: &'static LazyLock<String>,
    statement: Option<CachedStatement<'c>>,
}

static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insert(1));
static INSERT_SOME: LazyLock<String> = LazyLock::new(|| insert(SOME));
static INSERT_MANY: LazyLock<String> = LazyLock::new(|| insert(MANY));

impl<'c> Appender<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        let lazy = |sql| Lazy { sql, statement: None };
        let (one, some, many) = (lazy(&INSERT_ONE), lazy(&INSERT_SOME), lazy(&INSERT_MANY));
        Self { connection, one, some, many }
    }

    /// Appends transfers in their order, each with its link.
    pub(crate) fn append(&mut self, rows: &[Row], links: &[Link]) -> rusqlite::Result<()> {
        if rows.len() != links.len() {
            return Err(damaged(rows.first().map_or(0, |row| row.transfer.id.get()), 0));
        }
        let (many, rest) = rows.as_chunks::<MANY>();
        let (some, rest) = rest.as_chunks::<SOME>();
        let mut links = links.iter().copied();
        for rows in many {
            self.many.execute(self.connection, rows, &mut links)?;
        }
        for rows in some {
            self.some.execute(self.connection, rows, &mut links)?;
        }
        for row in rest {
            self.one.execute(self.connection, std::slice::from_ref(row), &mut links)?;
        }
        Ok(())
    }
}

impl<'c> Lazy<'c> {
    /// Appends as many rows as the statement has places for.
    fn execute(
        &mut self,
        connection: &'c Connection,
        rows: &[Row],
        links: &mut impl Iterator<Item = Link>,
    ) -> rusqlite::Result<()> {
        let statement = match &mut self.statement {
            Some(statement) => statement,
            none => none.insert(connection.prepare_cached(self.sql)?),
        };
        for ((row, link), first) in rows.iter().zip(links).zip((1..).step_by(COLUMNS)) {
            bind(statement, first, row, link)?;
        }
        statement.raw_execute()?;
        check(connection, rows.last())
    }
}

/// Makes sure that the rows stand where the book says. Ids are given one after another, so the last one
/// tells of all.
fn check(connection: &Connection, last: Option<&Row>) -> rusqlite::Result<()> {
    let Some(last) = last.map(|row| row.transfer.id.get()) else { return Ok(()) };
    if connection.last_insert_rowid() == last.cast_signed() {
        Ok(())
    } else {
        Err(damaged(last, 0))
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

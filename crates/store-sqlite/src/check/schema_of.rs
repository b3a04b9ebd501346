//! Owns the check of the file's shape: its tables, indexes and views, the row that describes it, and
//! SQLite's own check of the small tables.
//!
//! Never: the rows of the book. Bounds: one table a read transaction.

use std::collections::BTreeMap;

use ledger::Currency;
use rusqlite::Connection;

use super::CheckError;
use super::findings::{Findings, Place};
use super::people::or_damage;
use crate::file::schema;

/// SQLite checks these itself, with their indexes: rows against indexes, what must be unique, types. And with
/// its own table the list of free pages, but not whether one of them is in use as well.
const SMALL_TABLES: [&str; 9] = [
    "sqlite_schema",
    "ledger",
    "user",
    "wallet",
    "swept_block",
    "refusal",
    "batch",
    "sign_up_key",
    "chain_block",
];

/// Compares what the file is made of with what this kopeck makes.
pub(super) fn check(
    connection: &Connection,
    currency: Currency,
    findings: &mut Findings,
) -> Result<(), CheckError> {
    let mut ours = Connection::open_in_memory()?;
    schema::migrate(&mut ours, Some(currency), 0)?;
    let expected = read(&ours)?;
    let found = read(connection)?;
    for (name, sql) in &expected {
        match found.get(name) {
            None => {
                findings.add("schema_differs", Place::Whole, format!("{name} is missing"));
            }
            Some(other) if other != sql => {
                findings.add("schema_differs", Place::Whole, format!("{name} was changed"));
            }
            Some(_) => {}
        }
    }
    for name in found.keys().filter(|name| !expected.contains_key(*name)) {
        let detail = format!("{name} is not kopeck's");
        findings.add("schema_differs", Place::Whole, detail);
    }
    Ok(())
}

/// The row that describes the file, as far as it is not looked at elsewhere.
pub(super) fn check_ledger(
    connection: &Connection,
    currency: Currency,
    findings: &mut Findings,
) -> Result<(), CheckError> {
    let (exponent, window_us): (i64, i64) =
        connection.query_row("SELECT exponent, key_window_us FROM ledger", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if usize::try_from(exponent) != Ok(currency.exponent()) {
        let detail = format!(
            "the file is said to have {exponent} digits after the point, and {} has {}",
            currency.code(),
            currency.exponent()
        );
        findings.add("ledger_differs", Place::Whole, detail);
    }
    if window_us < 0 {
        let detail = format!("keys are said to be remembered for {window_us} microseconds");
        findings.add("ledger_differs", Place::Whole, detail);
    }
    Ok(())
}

/// What a schema is made of, by kind and name. Comments and spaces do not count.
fn read(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut select = connection.prepare(
        "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema
         WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let rows = select.query_map((), |row| {
        let sql: String = row.get(1)?;
        let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
        let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
        Ok((row.get(0)?, words.concat()))
    })?;
    rows.collect()
}

/// SQLite's own check of all but the book.
pub(super) fn check_small_tables(
    connection: &Connection,
    findings: &mut Findings,
) -> Result<(), CheckError> {
    for table in SMALL_TABLES {
        let mut select = connection.prepare(&format!("PRAGMA integrity_check({table})"))?;
        let mut found = select.query(())?;
        while let Some(row) = or_damage(found.next(), table, findings)?.flatten() {
            let said: String = row.get(0)?;
            if said != "ok" {
                let detail = format!("the table {table}: {said}");
                findings.add("table_damaged", Place::Whole, detail);
            }
        }
    }
    Ok(())
}

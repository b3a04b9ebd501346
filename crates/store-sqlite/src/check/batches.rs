//! Owns the check that every batch recorded under a key can be answered again.
//!
//! Never: the operations themselves, which the replay has seen. Bounds: one read transaction for the
//! table, which has a row for each batch within the keys' window.

use rusqlite::{Connection, OptionalExtension};

use super::CheckError;
use super::findings::{Findings, Place};
use super::people::or_damage;
use crate::file::batch_record::{self, Part};

/// Checks both rows of every batch: the one with its key, and the one with what became of it.
pub(super) fn check(connection: &Connection, findings: &mut Findings) -> Result<(), CheckError> {
    let mut select = connection.prepare(
        "SELECT batch_id, mode, fingerprint, outcomes, debit_wallet_id
         FROM batch LEFT JOIN refusal ON refusal_id = batch_id AND kind = 3 ORDER BY batch_id",
    )?;
    let mut found = select.query(())?;
    while let Some(row) = or_damage(found.next(), "batch", findings)?.flatten() {
        let number: i64 = row.get(0)?;
        let wallet: Option<i64> = row.get(4)?;
        let Some(wallet) = wallet else {
            let detail = format!("batch {number} has no key");
            findings.add("batch_unreadable", Place::Whole, detail);
            continue;
        };
        match batch_record::read(row) {
            Ok(record) => {
                for part in record.outcomes.unwrap_or_default() {
                    check_part(connection, (number, wallet), part, findings)?;
                }
            }
            Err(error) => {
                let detail = format!("batch {number} cannot be answered again: {error}");
                findings.add("batch_unreadable", Place::Whole, detail);
            }
        }
    }
    let mut select = connection.prepare(
        "SELECT refusal_id FROM refusal
         WHERE kind = 3 AND NOT EXISTS (SELECT 1 FROM batch WHERE batch_id = refusal_id)",
    )?;
    let mut found = select.query(())?;
    while let Some(row) = or_damage(found.next(), "refusal", findings)?.flatten() {
        let number: i64 = row.get(0)?;
        let detail = format!("batch {number} has a key, but nothing is recorded of it");
        findings.add("batch_unreadable", Place::Whole, detail);
    }
    Ok(())
}

/// Operations have no gaps, or the replay has said so: the first and the last stand for all.
fn check_part(
    connection: &Connection,
    (number, wallet): (i64, i64),
    part: Part,
    findings: &mut Findings,
) -> Result<(), CheckError> {
    let Part::Done { first, last, .. } = part else { return Ok(()) };
    for operation in [first, last] {
        let payer: Option<i64> = connection
            .prepare_cached("SELECT debit_wallet_id FROM transfer WHERE operation_id = ?")?
            .query_row([operation.cast_signed()], |row| row.get(0))
            .optional()?;
        if payer != Some(wallet) {
            let detail =
                format!("batch {number} of wallet {wallet} names an operation that is not its own");
            findings.add("batch_differs", Place::Operation(operation), detail);
            return Ok(());
        }
    }
    Ok(())
}

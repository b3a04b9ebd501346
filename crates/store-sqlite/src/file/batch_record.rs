//! Owns how a batch under a key of its own is recorded: its key in a row among the refusals, and what
//! became of its operations, in a row of `batch` with the same number.
//!
//! Never: an operation itself, which stands in `transfer` or was refused. Bounds: runs of operations
//! and of equal refusals take one word each; a record tells of at most [`SUBMISSIONS_MAX`].
//!
//! The outcomes are text, words with spaces between, so that people can read them too: `7-9` are
//! three operations that were done, `=5` is one that had been done before under its own key or
//! external id, `wallet_not_found*2` are two refusals, and `4:insufficient_funds` is an atomic batch of
//! which nothing was done because of the operation with index 4.

use std::fmt::Write;

use ledger::{
    BatchKey, BatchMode, BatchRefusal, Hash, OperationId, Outcome, Rejection, SUBMISSIONS_MAX,
    Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::file::rows;

/// What became of a batch.
pub(crate) type Decision = Result<Vec<Outcome>, BatchRefusal>;

/// A row of `batch` holds what nobody would have written.
#[derive(Debug, thiserror::Error)]
#[error("the record of batch {0} is damaged or missing")]
pub(crate) struct RecordDamage(pub(crate) u64);

/// Some outcomes, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// These operations, the first and the last among them.
    Done { first: u64, last: u64, replayed: bool },
    /// So many times this refusal.
    Refused { rejection: Rejection, count: u64, replayed: bool },
}

/// What is recorded of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) fingerprint: Hash,
    pub(crate) outcomes: Result<Vec<Part>, BatchRefusal>,
}

/// What became of a batch under its key, on its way into the file.
pub(crate) struct NewRecord {
    pub(crate) number: u64,
    key: BatchKey,
    mode: &'static str,
    outcomes: String,
    time: Timestamp,
}

impl NewRecord {
    pub(crate) fn new(
        number: u64,
        key: &BatchKey,
        mode: BatchMode,
        decision: &Decision,
        time: Timestamp,
    ) -> Self {
        let mode = match mode {
            BatchMode::Atomic => "atomic",
            BatchMode::Independent => "independent",
        };
        Self { number, key: key.clone(), mode, outcomes: write(decision), time }
    }
}

/// Records what became of a batch under its key.
pub(crate) fn insert(
    connection: &Connection,
    NewRecord { number, key, mode, outcomes, time }: &NewRecord,
) -> rusqlite::Result<()> {
    rows::insert_batch_key(connection, *number, key, *time)?;
    connection
        .prepare_cached("INSERT INTO batch VALUES (?, ?, ?, ?)")?
        .execute((number.cast_signed(), mode, key.fingerprint, outcomes))
        .map(|_| ())
}

/// What is recorded of the batch of a number.
pub(crate) fn select(connection: &Connection, number: u64) -> rusqlite::Result<Record> {
    connection
        .prepare_cached(
            "SELECT batch_id, mode, fingerprint, outcomes FROM batch WHERE batch_id = ?",
        )?
        .query_row([number.cast_signed()], read)
        .optional()?
        .ok_or_else(|| rows::damage(RecordDamage(number)))
}

/// Reads a row of `batch_id, mode, fingerprint, outcomes`.
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    let number: i64 = row.get(0)?;
    let damaged = || rows::damage(RecordDamage(number.cast_unsigned()));
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(|_| damaged());
    let atomic = match text(1)? {
        "atomic" => true,
        "independent" => false,
        _ => return Err(damaged()),
    };
    let fingerprint = row.get(2).map_err(|_| damaged())?;
    let outcomes = parse(text(3)?).ok_or_else(damaged)?;
    let refused = |part: &Part| matches!(part, Part::Refused { .. });
    // Each mode refuses in its own way.
    let fits = match &outcomes {
        Ok(parts) => !atomic || !parts.iter().any(refused),
        Err(_) => atomic,
    };
    if fits { Ok(Record { fingerprint, outcomes }) } else { Err(damaged()) }
}

/// Deletes the batches whose keys are forgotten.
pub(crate) fn forget(connection: &Connection, forgettable: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM batch
             WHERE batch_id < (SELECT coalesce(min(refusal_id), ? + 1) FROM refusal)",
        )?
        .execute([forgettable.cast_signed()])
        .map(|_| ())
}

fn write(decision: &Decision) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = match decision {
        Ok(outcomes) => write_parts(&mut text, &parts(outcomes)),
        Err(BatchRefusal::Operation { index, rejection }) => {
            write!(text, "{index}:{}", rejection.code())
        }
        // Never recorded: what is recorded under the key is another batch.
        Err(BatchRefusal::KeyReused) => Ok(()),
    };
    text
}

fn write_parts(text: &mut String, parts: &[Part]) -> std::fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        let (Part::Done { replayed, .. } | Part::Refused { replayed, .. }) = *part;
        if replayed {
            text.push('=');
        }
        match *part {
            Part::Done { first, last, .. } if first == last => write!(text, "{first}")?,
            Part::Done { first, last, .. } => write!(text, "{first}-{last}")?,
            Part::Refused { rejection, count: 1, .. } => text.push_str(rejection.code()),
            Part::Refused { rejection, count, .. } => write!(text, "{}*{count}", rejection.code())?,
        }
    }
    Ok(())
}

/// Puts together what stands in one word.
fn parts(outcomes: &[Outcome]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for Outcome { decision, replayed } in outcomes {
        let replayed = *replayed;
        match (decision, parts.last_mut()) {
            (Ok(transfer), Some(Part::Done { last, replayed: before, .. }))
                if *before == replayed && transfer.id.get() == *last + 1 =>
            {
                *last += 1;
            }
            (Ok(transfer), _) => {
                let id = transfer.id.get();
                parts.push(Part::Done { first: id, last: id, replayed });
            }
            (Err(refused), Some(Part::Refused { rejection, count, replayed: before }))
                if *before == replayed && refused == rejection =>
            {
                *count += 1;
            }
            (Err(rejection), _) => {
                parts.push(Part::Refused { rejection: *rejection, count: 1, replayed });
            }
        }
    }
    parts
}

fn parse(text: &str) -> Option<Result<Vec<Part>, BatchRefusal>> {
    if let Some((index, code)) = text.split_once(':') {
        let index = index.parse().ok().filter(|index| *index < SUBMISSIONS_MAX)?;
        let rejection = Rejection::of_code(code)?;
        return Some(Err(BatchRefusal::Operation { index, rejection }));
    }
    let words = text.split(' ').filter(|word| !word.is_empty());
    let parts: Vec<Part> = words.map(parse_part).collect::<Option<_>>()?;
    let count = parts.iter().try_fold(0_u64, |sum, part| {
        sum.checked_add(match *part {
            Part::Done { first, last, .. } => last - first + 1,
            Part::Refused { count, .. } => count,
        })
    });
    count.filter(|count| *count <= SUBMISSIONS_MAX as u64).map(|_| Ok(parts))
}

fn parse_part(word: &str) -> Option<Part> {
    let (word, replayed) = match word.strip_prefix('=') {
        Some(word) => (word, true),
        None => (word, false),
    };
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let number = |text: &str| text.parse().ok().and_then(OperationId::new);
        let (first, last) = (number(first)?.get(), number(last)?.get());
        return (first <= last).then_some(Part::Done { first, last, replayed });
    }
    let (code, count) = match word.split_once('*') {
        Some((code, count)) => (code, count.parse().ok().filter(|count| *count > 0)?),
        None => (word, 1),
    };
    Some(Part::Refused { rejection: Rejection::of_code(code)?, count, replayed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) {
        let parsed = parse(text).unwrap();
        let mut again = String::new();
        match parsed {
            Ok(parts) => write_parts(&mut again, &parts).unwrap(),
            Err(refusal) => again = write(&Err(refusal)),
        }
        assert_eq!(again, text);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "",
            "7",
            "7-9",
            "=7",
            "=7-9",
            "wallet_not_found",
            "=wallet_not_found*2",
            "7-9 insufficient_funds*3 10 =5 =balance_limit 11-12",
            "0:insufficient_funds",
            "8191:wallet_not_found",
            "1-8192",
            "1-8191 wallet_not_found",
        ] {
            check(text);
        }
    }

    #[test]
    fn nonsense_is_no_record() {
        for text in [
            "0",
            "-1",
            "9-7",
            "7-",
            "x",
            "=",
            "=x",
            "wallet_not_found*0",
            "wallet_not_found*x",
            "7:",
            "x:wallet_not_found",
            "8192:wallet_not_found",
            "1-8193",
            "1-8192 wallet_not_found",
            "wallet_not_found*18446744073709551615 1-8192",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

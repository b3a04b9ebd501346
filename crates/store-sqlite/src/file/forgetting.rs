//! Owns how sessions that have ended and keys of sign-ups that are too old are forgotten: a slice after
//! another, so that no batch of money waits for all of them.
//!
//! Never: a search by the writer, which deletes what a reader has found. Bounds: a look at [`ROWS_READ_MAX`]
//! rows, a write that deletes [`ROWS_DELETED_MAX`].

use ledger::Timestamp;
use rusqlite::types::ToSql;
use rusqlite::{Connection, params};

const ROWS_READ_MAX: usize = 8_192;
/// Each of them may be on a page of its own, once in the table and once in its index.
const ROWS_DELETED_MAX: usize = 500;

/// What is too old, in the order of its keys from some place on.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) old: Vec<Key>,
    /// After which key it goes on; `None` when there is no more.
    pub(crate) after: Option<Key>,
}

/// A row's key: its bytes, be they a hash or a text.
pub(crate) type Key = Vec<u8>;

/// Before when sessions were opened or last seen that have ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) opened_before: Timestamp,
    pub(crate) seen_before: Timestamp,
}

/// Sessions that have ended, by the hashes of their tokens.
pub(crate) fn sessions(
    connection: &Connection,
    after: &[u8],
    ended: Ended,
) -> rusqlite::Result<Slice> {
    let Ended { opened_before, seen_before } = ended;
    let look = "SELECT token_hash, opened_us < ?3 OR seen_us < ?4 FROM session
                WHERE token_hash > ?1 ORDER BY token_hash LIMIT ?2";
    slice(connection, look, params![after, LIMIT, opened_before.micros(), seen_before.micros()])
}

/// Deletes those of these sessions that still have ended: one may have been used meanwhile.
pub(crate) fn delete_sessions(
    connection: &Connection,
    old: &[Key],
    Ended { opened_before, seen_before }: Ended,
) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM session WHERE token_hash = ? AND (opened_us < ? OR seen_us < ?)",
    )?;
    old.iter().try_for_each(|token_hash| {
        let parameters = (token_hash, opened_before.micros(), seen_before.micros());
        delete.execute(parameters).map(drop)
    })
}

/// Keys of sign-ups before a moment.
pub(crate) fn sign_up_keys(
    connection: &Connection,
    after: &[u8],
    before: Timestamp,
) -> rusqlite::Result<Slice> {
    let look = "SELECT idempotency_key, time_us < ?3 FROM sign_up_key
                WHERE idempotency_key > CAST(?1 AS TEXT) ORDER BY idempotency_key LIMIT ?2";
    slice(connection, look, params![after, LIMIT, before.micros()])
}

/// Deletes keys of sign-ups.
pub(crate) fn delete_sign_up_keys(connection: &Connection, old: &[Key]) -> rusqlite::Result<()> {
    let mut delete = connection
        .prepare_cached("DELETE FROM sign_up_key WHERE idempotency_key = CAST(? AS TEXT)")?;
    old.iter().try_for_each(|key| delete.execute([key]).map(drop))
}

const LIMIT: i64 = ROWS_READ_MAX as i64;

fn slice(
    connection: &Connection,
    look: &str,
    parameters: &[&dyn ToSql],
) -> rusqlite::Result<Slice> {
    let mut look = connection.prepare_cached(look)?;
    let mut rows = look.query(parameters)?;
    let (mut old, mut read) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        read += 1;
        if row.get(1)? {
            old.push(row.get_ref(0)?.as_bytes()?.to_vec());
        }
        if old.len() == ROWS_DELETED_MAX || read == ROWS_READ_MAX {
            let after = row.get_ref(0)?.as_bytes()?.to_vec();
            return Ok(Slice { old, after: Some(after) });
        }
    }
    Ok(Slice { old, after: None })
}

#[cfg(test)]
mod tests {
    use ledger::Currency;

    use super::*;
    use crate::file::schema;

    const SESSIONS: usize = 20_000;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn with_sessions(seen_us: impl Fn(usize) -> i64) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, Currency::parse("RUB").ok(), 0).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        for number in 0..SESSIONS {
            let row = (format!("{number:032}").into_bytes(), seen_us(number));
            connection.execute("INSERT INTO session VALUES (?, 1, 5, ?)", row).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        connection
    }

    /// How many of each slice are old.
    fn slices(connection: &Connection, ended: Ended) -> Vec<usize> {
        let (mut counts, mut next) = (Vec::new(), Some(Key::new()));
        while let Some(after) = next {
            let slice = sessions(connection, &after, ended).unwrap();
            counts.push(slice.old.len());
            next = slice.after;
        }
        counts
    }

    #[test]
    fn a_slice_is_small_by_what_is_read_and_by_what_is_deleted() {
        let ended = Ended { opened_before: at(0), seen_before: at(20) };
        assert_eq!(slices(&with_sessions(|_| 30), ended), [0, 0, 0]);
        let mut all_old = vec![ROWS_DELETED_MAX; SESSIONS / ROWS_DELETED_MAX];
        all_old.push(0);
        assert_eq!(slices(&with_sessions(|_| 10), ended), all_old);
    }

    #[test]
    fn what_is_used_after_the_look_stays() {
        let connection = with_sessions(|_| 10);
        let ended = Ended { opened_before: at(0), seen_before: at(20) };
        let old = sessions(&connection, &[], ended).unwrap().old;
        connection
            .execute("UPDATE session SET seen_us = 20 WHERE token_hash = ?", [&old[7]])
            .unwrap();
        delete_sessions(&connection, &old, ended).unwrap();
        let left = "SELECT count(*) FROM session WHERE token_hash <= ?";
        let left: usize = connection.query_row(left, [old.last()], |row| row.get(0)).unwrap();
        assert_eq!(left, 1);
    }
}

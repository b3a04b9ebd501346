//! Owns reading: a few threads with read-only connections of their own, which see committed state.
//!
//! Never: a write, or a wait for the writer. Bounds: [`READERS`] threads, [`READS_WAITING_MAX`]
//! reads that wait, [`ENTRIES_MAX`] entries a page, each one look-up by key.

use std::sync::Arc;

use ledger::{Balance, LedgerError, OperationId, Page, Pending, Statement, Transfer, WalletId};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use crate::file::chain::Links;
use crate::file::open_error::told;
use crate::file::{people, rows};
use crate::queue::{Queue, Refused};
use crate::read::heads::Heads;

/// How many threads read.
pub(crate) const READERS: usize = 2;

/// How many reads may wait.
const READS_WAITING_MAX: usize = 8_192;

/// The most entries that one read gives.
const ENTRIES_MAX: usize = 1_000;

/// A read: runs on a reader's thread, answers for itself.
type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Why a read failed.
pub(crate) enum ReadError {
    /// The engine's own words: the caller asked for what is not there.
    Ledger(LedgerError),
    Sqlite(rusqlite::Error),
    /// What is there does not fit together.
    Damaged(String),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Tells the engine that something is broken, so that it stops.
pub(crate) type Alarm = Arc<dyn Fn(String) + Send + Sync>;

/// The way to the readers' threads.
#[derive(Clone)]
pub(crate) struct Readers {
    queue: Arc<Queue<Read>>,
    alarm: Alarm,
}

impl Readers {
    pub(crate) fn new(alarm: Alarm) -> Self {
        Self { queue: Arc::new(Queue::new(READS_WAITING_MAX)), alarm }
    }

    /// What one reader's thread does until the readers are closed.
    pub(crate) fn work(&self, connection: &Connection) {
        let mut reads = Vec::new();
        while self.queue.take(&mut reads, 1) {
            for read in reads.drain(..) {
                read(connection);
            }
        }
    }

    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Hands in a read; its answer comes from one state between commits.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Pending<T> {
        let (reply, answer) = oneshot::channel();
        let alarm = Arc::clone(&self.alarm);
        let pushed = self.queue.push(
            1,
            Box::new(move |connection| {
                let result = within_one_state(connection, read);
                let _ = reply.send(result.map_err(|error| report(error, &*alarm)));
            }),
        );
        Box::pin(async move {
            match pushed {
                Ok(()) => answer.await.unwrap_or(Err(LedgerError::Closed)),
                Err(Refused::Full) => Err(LedgerError::Overloaded),
                Err(Refused::Closed) => Err(LedgerError::Closed),
            }
        })
    }
}

/// A read that finds damage stops the engine: it must not go on serving from a damaged file.
fn report(error: ReadError, alarm: &(dyn Fn(String) + Send + Sync)) -> LedgerError {
    let damage = match error {
        ReadError::Ledger(error) => return error,
        ReadError::Damaged(damage) => damage,
        ReadError::Sqlite(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => told(&error),
            // A disk that cannot be read is one that nobody should write to either.
            Some(ErrorCode::SystemIoFailure) => error.to_string(),
            // Not SQLite's error but a value that no book would have written.
            None => error.to_string(),
            Some(_) => return LedgerError::Unreadable(error.to_string()),
        },
    };
    alarm(format!("the data file cannot be trusted: {damage}"));
    LedgerError::Unreadable(damage)
}

/// Everything that `read` reads is of one state between commits.
pub(crate) fn within_one_state<T, E: From<rusqlite::Error>>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    connection.prepare_cached("BEGIN")?.execute(())?;
    let result = read(connection);
    // After a disk that cannot be read, SQLite has ended the transaction by itself: what it would say of a second
    // end must not stand in the place of what was found wrong.
    let ended = if connection.is_autocommit() {
        Ok(())
    } else {
        connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute(())).map(drop)
    };
    result.and_then(|value| Ok(ended.map(|()| value)?))
}

/// A wallet with a page of its history.
pub(crate) fn statement(
    connection: &Connection,
    links: Links,
    heads: &Heads,
    wallet: WalletId,
    page: Page,
) -> Result<Option<Statement>, ReadError> {
    // First of all: the state that SQLite shows is fixed by the first query, so everything that was
    // published before is in it. A head that was looked up later might not be.
    let head = heads.get(wallet);
    let Some(owner) = people::owner(connection, wallet)? else { return Ok(None) };
    let Some(head) = head else {
        let statement =
            Statement { wallet, owner, balance: Balance::ZERO, entries: Vec::new(), next: None };
        return match page.from {
            None => Ok(Some(statement)),
            Some(_) => Err(ReadError::Ledger(LedgerError::NoSuchEntry)),
        };
    };
    let newest = transfer(connection, links, head)?;
    let balance = newest
        .as_ref()
        .and_then(|newest| newest.side(wallet))
        .map(|side| side.balance)
        .ok_or_else(|| {
        ReadError::Damaged(format!("operation {head} is not of wallet {wallet}"))
    })?;
    let mut step = match page.from {
        None => newest,
        // The caller says where to start: that may be anything.
        Some(from) => Some(
            transfer(connection, links, from)?
                .filter(|transfer| transfer.id <= head && transfer.side(wallet).is_some())
                .ok_or(ReadError::Ledger(LedgerError::NoSuchEntry))?,
        ),
    };
    let limit = page.limit.min(ENTRIES_MAX);
    let mut entries = Vec::with_capacity(limit.min(64));
    let mut next = None;
    while let Some(transfer) = step {
        if entries.len() == limit {
            next = Some(transfer.id);
            break;
        }
        let previous = transfer.side(wallet).and_then(|side| side.previous);
        step = previous_transfer(connection, links, transfer.id, previous)?;
        if !follows(&transfer, step.as_ref(), wallet) {
            let id = transfer.id;
            let damage =
                format!("operation {id} does not follow from the state of wallet {wallet}");
            return Err(ReadError::Damaged(damage));
        }
        entries.extend(transfer.entry(wallet));
    }
    let statement = Statement { wallet, owner, balance, entries, next };
    #[cfg(feature = "planted-faults")]
    let statement = crate::planted::read_dirty(statement, page);
    Ok(Some(statement))
}

/// Whether a wallet's balance after a transfer is the one before it and the amount.
pub(crate) fn follows(transfer: &Transfer, previous: Option<&Transfer>, wallet: WalletId) -> bool {
    let before = match previous {
        Some(previous) => previous.side(wallet).map(|side| side.balance),
        None => Some(Balance::ZERO),
    };
    let after = if transfer.debit.wallet == wallet {
        before.and_then(|before| before.debited(transfer.amount))
    } else {
        before.and_then(|before| before.credited(transfer.amount))
    };
    after.is_some() && after == transfer.side(wallet).map(|side| side.balance)
}

/// The operation that a back-pointer of `of` names.
pub(crate) fn previous_transfer(
    connection: &Connection,
    links: Links,
    of: OperationId,
    previous: Option<OperationId>,
) -> Result<Option<Transfer>, ReadError> {
    let Some(previous) = previous else { return Ok(None) };
    let found = if previous < of { transfer(connection, links, previous)? } else { None };
    found.map(Some).ok_or_else(|| {
        ReadError::Damaged(format!("operation {of} points to {previous}, which is not before it"))
    })
}

/// Reads a transfer, and makes sure that it is what was recorded.
pub(crate) fn transfer(
    connection: &Connection,
    links: Links,
    operation: OperationId,
) -> Result<Option<Transfer>, ReadError> {
    let found = rows::select_kept(connection, operation.get().cast_signed())?;
    let Some(kept) = found else { return Ok(None) };
    let verified = links.verify(connection, &kept)?;
    verified.map_err(|damage| ReadError::Damaged(damage.to_string()))?;
    Ok(Some(kept.transfer))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use rusqlite::ffi;

    use super::*;
    use crate::file::open_error::OpenError;

    fn failed(code: i32) -> ReadError {
        ReadError::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn what_sqlite_calls_malformed_may_be_a_disk_that_cannot_be_read() {
        for (code, may_be) in [(ffi::SQLITE_CORRUPT, true), (ffi::SQLITE_IOERR_READ, false)] {
            let by_reader = report(failed(code), &|_| {});
            let ReadError::Sqlite(failed) = failed(code) else { unreachable!() };
            let at_start = OpenError::from(failed).to_string();
            for told in [by_reader.to_string(), at_start] {
                assert_eq!(told.contains("or the disk cannot read it"), may_be, "{told}");
            }
        }
    }

    #[test]
    fn what_a_read_found_is_told_though_sqlite_has_ended_its_transaction() {
        let connection = Connection::open_in_memory().unwrap();
        for ended_before in [true, false] {
            let read = |connection: &Connection| -> Result<(), ReadError> {
                if ended_before {
                    connection.execute_batch("ROLLBACK")?;
                }
                Err(failed(ffi::SQLITE_IOERR_READ))
            };
            let error = within_one_state(&connection, read).err().unwrap();
            let alarms = AtomicUsize::new(0);
            report(error, &|_| {
                alarms.fetch_add(1, Relaxed);
            });
            assert_eq!(alarms.into_inner(), 1, "{ended_before}");
            assert!(connection.is_autocommit(), "{ended_before}");
        }
    }
}

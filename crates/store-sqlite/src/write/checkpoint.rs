//! Owns the thread that moves the write-ahead log into the data file, so that the writer need not.
//!
//! Never: a long pause of the writer. Most is copied while it writes on, a little at a time, so that no
//! sync of it holds up the writer's own for long; only the rest, and one fsync, happens with the gate
//! shut, after which the log starts again from its beginning.
//! Bounds: the log stays near [`PAGES_DUE`] pages, more only while the disk is slower than the
//! writer or a reader stays on an old state.

use std::cell::Cell;
use std::fs::File;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode};

use crate::file::open_error::told;
use crate::opening::Observer;
use crate::write::gate::Gate;

/// The log is to start again when it has this many pages.
const PAGES_DUE: i64 = 4_096;

/// So many pages of it are copied and synced at a time.
const PAGES_A_COPY: i64 = 256;

/// About so many copies make a checkpoint, with two syncs each.
pub const COPIES_A_CHECKPOINT: u64 = (PAGES_DUE / PAGES_A_COPY).unsigned_abs();

/// The gate is shut when at most this many pages are left to copy.
const PAGES_WITH_GATE_SHUT_MAX: i64 = 512;

/// How often a checkpoint tries to catch up with the writer before it shuts the gate anyway.
const ROUNDS_MAX: usize = 4;

thread_local! {
    /// Pages in the log after the writer's last commit; SQLite tells the thread that commits.
    static PAGES: Cell<i64> = const { Cell::new(0) };
}

/// Wakes the checkpoint's thread.
pub(crate) struct Bell {
    state: Mutex<BellState>,
    rung: Condvar,
    /// Pages in the log after the last commit.
    pages: AtomicI64,
    /// The next copy is due at this many pages.
    copy_due: AtomicI64,
    /// At this many the log is to start again. Above [`PAGES_DUE`] while a reader that stays on an
    /// old state keeps it from that: then more tries would not help.
    restart_due: AtomicI64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BellState {
    Quiet,
    Rung,
    Closed,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(BellState::Quiet),
            rung: Condvar::new(),
            pages: AtomicI64::new(0),
            copy_due: AtomicI64::new(PAGES_A_COPY),
            restart_due: AtomicI64::new(PAGES_DUE),
        }
    }

    /// Makes `connection`, which must be the calling thread's, count the pages of the log. This
    /// also turns SQLite's own checkpoints after a commit off.
    pub(crate) fn hang(connection: &mut Connection) -> rusqlite::Result<()> {
        connection
            .wal_hook(Some(|_: &mut Wal, pages| {
                PAGES.set(i64::from(pages));
                Ok(())
            }))
            .map(|_| ())
    }

    /// Called by the writer after each commit.
    pub(crate) fn ring_if_due(&self) {
        let pages = PAGES.get();
        if pages < self.pages.swap(pages, Relaxed) {
            // The log has started again.
            self.copy_due.store(PAGES_A_COPY, Relaxed);
            self.restart_due.store(PAGES_DUE, Relaxed);
        }
        if pages >= self.copy_due.load(Relaxed) {
            self.set(BellState::Rung);
        }
    }

    /// All was copied that could be. Who rang meanwhile wanted no more than that; and where a
    /// reader keeps some of it from being copied, trying at every commit would not help.
    fn copied(&self) {
        self.copy_due.store(self.pages.load(Relaxed) + PAGES_A_COPY, Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == BellState::Rung {
            *state = BellState::Quiet;
        }
    }

    pub(crate) fn close(&self) {
        self.set(BellState::Closed);
    }

    fn set(&self, to: BellState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != BellState::Closed {
            *state = to;
            self.rung.notify_one();
        }
    }

    /// Waits for the bell; false when it is closed.
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self
            .rung
            .wait_while(state, |state| *state == BellState::Quiet)
            .unwrap_or_else(PoisonError::into_inner);
        if *state == BellState::Closed {
            return false;
        }
        *state = BellState::Quiet;
        true
    }
}

/// The thread's state.
pub(crate) struct Checkpoints {
    pub(crate) connection: Connection,
    /// The data file, for syncing it beside the writer.
    pub(crate) data: Arc<File>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) observer: Arc<dyn Observer>,
}

impl Checkpoints {
    /// Works until the bell is closed, or until the storage fails: then with the reason.
    pub(crate) fn run(self) -> Result<(), String> {
        while self.bell.wait() {
            let began = Instant::now();
            let copied = self.copy_most();
            // SQLite syncs the data file only with the last page. What was copied so far is synced
            // here, so that little is left to be synced while the writer waits.
            if copied.is_ok()
                && let Err(error) = self.data.sync_data()
            {
                return Err(format!("checkpoint: could not sync the data file: {error}"));
            }
            if copied.is_ok() && self.bell.pages.load(Relaxed) < self.bell.restart_due.load(Relaxed)
            {
                continue;
            }
            match copied.and_then(|()| self.copy_rest()) {
                Ok(()) => self.observer.checkpoint(began.elapsed()),
                // No room for the data file to grow: the log keeps everything, and it is tried
                // again with the next commit. The pause keeps that from becoming a busy loop.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {}
                // After a failed fsync nobody knows what of the data file is on the disk.
                Err(error) => return Err(format!("checkpoint: {}", told(&error))),
            }
        }
        Ok(())
    }

    fn copy_most(&self) -> rusqlite::Result<()> {
        for _ in 0..ROUNDS_MAX {
            let copied = self.copy()?;
            self.bell.copied();
            if self.bell.pages.load(Relaxed) - copied <= PAGES_WITH_GATE_SHUT_MAX {
                break;
            }
        }
        Ok(())
    }

    fn copy_rest(&self) -> rusqlite::Result<()> {
        self.gate.shut(|| {
            self.copy()?;
            // While the writer waits, so that it sees this before the log starts again.
            self.bell.copied();
            self.bell.restart_due.store(self.bell.pages.load(Relaxed) + PAGES_DUE, Relaxed);
            Ok(())
        })
    }

    /// Copies all that was committed so far and that no reader keeps from being copied. How many
    /// pages of the log are in the data file now.
    fn copy(&self) -> rusqlite::Result<i64> {
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| row.get(2))
    }
}

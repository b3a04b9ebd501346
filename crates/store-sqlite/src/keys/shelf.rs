//! Owns the runs on the disk, and what the writer has frozen until it is one: handed over, written, looked
//! into, let go of when it is older than the keys' window.
//!
//! Never: a merge (the keeper's), or a decision; nor a run without a filter, in which every new key would
//! be looked for on the disk. Bounds: the memory of their filters, about [`FILTERS_BYTES`]; more while many small
//! runs wait to be merged after a start that made them anew, and twice as much again while the largest are merged.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ledger::Timestamp;
use rusqlite::Connection;
use rustix::io::Errno;

use super::run::{Place, Run, RunError, Span, Writer};
use super::table::Table;
use crate::background;
use crate::file::{chain, directory, rows};

/// The memory that filters are to take together, in bytes. Beyond 90 million keys all but the smallest and
/// the largest files have fewer bits for each, beyond 120 million all, and are wrong more often.
pub(super) const FILTERS_BYTES: u64 = 384 << 20;
/// So many entries are written or merged before a pause, if one is due.
pub(super) const ENTRIES_BETWEEN_PAUSES: usize = 256;

/// What the writer hands over: it goes on being looked into until it is a run.
pub(super) struct Frozen {
    pub(super) table: Table,
    pub(super) span: Span,
}

/// What the writer looks into, beside what it keeps itself.
#[derive(Clone, Default)]
pub(super) struct View {
    pub(super) frozen: Option<Arc<Frozen>>,
    /// Oldest first.
    pub(super) runs: Vec<Arc<Run>>,
}

/// A merge leaves at least so much of the disk free: about what the log grows to.
const ROOM_LEFT_BYTES_MIN: u64 = 64 << 20;

/// The runs, shared between the writer and the thread that keeps them.
pub(crate) struct Shelf {
    dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    /// Counts the changes of the view.
    version: AtomicU64,
    /// Refusals up to this one are older than the window.
    forgettable_refusal: AtomicU64,
    entries: AtomicU64,
    /// The writer had something to hand over before its last was written.
    behind: AtomicBool,
}

#[derive(Default)]
struct State {
    view: View,
    next_file: u64,
    disk_full: bool,
    closed: bool,
}

/// Why the keys' files could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShelfError {
    #[error(transparent)]
    Run(#[from] RunError),
    /// A run is only ever written of what is durable.
    #[error(
        "the data file is damaged: it ends with operation {newest}, but {file} knows of operation \
         {upto}. What came after {newest} is missing. If you put an older data file here on purpose, \
         delete the files keys-*.run first"
    )]
    BookEndsEarly {
        /// The run.
        file: PathBuf,
        /// Its newest operation.
        upto: u64,
        /// The book's.
        newest: u64,
    },
    #[error("the keys' files: {0}")]
    Io(#[from] io::Error),
    #[error("the keys' files: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl ShelfError {
    /// Whether it is a lack that may pass: of room, or of files that may be open, which connections take too.
    pub(super) fn may_pass(&self) -> bool {
        let error = match self {
            Self::Run(RunError::Io { error, .. }) | Self::Io(error) => error,
            _ => return false,
        };
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    }
}

/// How long keys are remembered, and what that means for rows.
pub(crate) struct Horizon {
    pub(crate) window: Duration,
}

impl Horizon {
    /// The newest rows that are older than the window.
    pub(crate) fn place(&self, connection: &Connection) -> rusqlite::Result<Place> {
        let now = Timestamp::from(SystemTime::now()).micros();
        let window = i64::try_from(self.window.as_micros()).unwrap_or(i64::MAX);
        let before = now.saturating_sub(window);
        Ok(Place {
            operation: newest_before(
                connection,
                "SELECT 0, coalesce(max(operation_id), 0) FROM transfer",
                "SELECT operation_id, time_us FROM transfer WHERE operation_id >= ?
                 ORDER BY operation_id LIMIT 1",
                before,
            )?,
            refusal: newest_before(
                connection,
                // The oldest are deleted by and by; where all are, their numbers are remembered.
                "SELECT coalesce(min(refusal_id) - 1, max(seq), 0),
                        coalesce(max(refusal_id), max(seq), 0)
                 FROM (SELECT max(seq) AS seq FROM sqlite_sequence WHERE name = 'refusal')
                      LEFT JOIN refusal",
                "SELECT refusal_id, time_us FROM refusal WHERE refusal_id >= ?
                 ORDER BY refusal_id LIMIT 1",
                before,
            )?,
        })
    }
}

/// Numbers follow time: so the last one of a row before a moment is found by halving.
fn newest_before(
    connection: &Connection,
    range: &str,
    from: &str,
    before: i64,
) -> rusqlite::Result<u64> {
    let (mut low, mut high): (u64, u64) =
        connection.prepare_cached(range)?.query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut from = connection.prepare_cached(from)?;
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let mut rows = from.query([middle.cast_signed()])?;
        let time = rows.next()?.map(|row| row.get::<_, i64>(1)).transpose()?;
        if time.is_some_and(|time| time < before) { low = middle } else { high = middle - 1 }
    }
    Ok(low)
}

impl Shelf {
    /// The runs that there are, as far as they are whole and of this very history. What is not is
    /// deleted: it can be made again from the rows after the place that is returned.
    pub(super) fn open(
        dir: &Path,
        connection: &Connection,
        horizon: Place,
    ) -> Result<(Self, Place), ShelfError> {
        let newest = rows::newest_operation(connection)?;
        let (mut runs, next_file) = open_files(dir)?;
        runs.sort_by_key(|run| {
            let Span { after, upto, .. } = run.span;
            (after.operation, after.refusal, Reverse((upto.operation, upto.refusal)))
        });
        let mut chosen: Vec<Arc<Run>> = Vec::new();
        let mut covered = None;
        for run in runs {
            let Span { after, upto, link, forgotten } = run.span;
            if upto.operation > newest {
                let (file, upto) = (run.path().to_owned(), upto.operation);
                return Err(ShelfError::BookEndsEarly { file, upto, newest });
            }
            let joins = match covered {
                None => after.is_within(horizon),
                Some(covered) => after == covered,
            };
            // The window may have become longer, or the clock was wrong.
            let joins = joins && forgotten.is_within(horizon);
            // Refusals have no chain; but a history that gave out fewer numbers is another one.
            let same_history = chain::link(connection, upto.operation)? == Some(link)
                && upto.refusal <= refusals_ever(connection)?;
            if joins && same_history {
                covered = Some(upto);
                chosen.push(Arc::new(run));
            } else {
                fs::remove_file(run.path())?;
            }
        }
        let covered = covered.unwrap_or(horizon);
        let view = View { frozen: None, runs: chosen };
        let shelf = Self {
            dir: dir.to_owned(),
            entries: AtomicU64::new(view.runs.iter().map(|run| run.entries).sum()),
            state: Mutex::new(State { view, next_file, ..State::default() }),
            changed: Condvar::new(),
            version: AtomicU64::new(1),
            forgettable_refusal: AtomicU64::new(horizon.refusal),
            behind: AtomicBool::new(false),
        };
        Ok((shelf, covered))
    }

    /// How many keys the runs remember.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Relaxed)
    }

    /// Refusals up to this one may be deleted.
    pub(super) fn forgettable_refusal(&self) -> u64 {
        self.forgettable_refusal.load(Relaxed)
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    pub(super) fn view(&self) -> View {
        self.lock().view.clone()
    }

    /// Takes what is frozen, or gives it back while the last is not written yet.
    pub(super) fn hand_over(&self, frozen: Frozen) -> Result<(), Frozen> {
        let mut state = self.lock();
        if state.view.frozen.is_some() {
            self.behind.store(true, Relaxed);
            return Err(frozen);
        }
        state.view.frozen = Some(Arc::new(frozen));
        self.tell(&mut state);
        Ok(())
    }

    /// Waits until what was handed over is written. False when the disk is full, and when nobody
    /// writes any more.
    pub(super) fn wait_for_room(&self) -> bool {
        let state = self.lock();
        let waits =
            |state: &mut State| state.view.frozen.is_some() && !state.disk_full && !state.closed;
        let state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        state.view.frozen.is_none()
    }

    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.tell(&mut state);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits for something frozen; false when the shelf is closed.
    pub(super) fn wait_for_frozen(&self) -> bool {
        let state = self.lock();
        if state.view.frozen.is_none() {
            self.behind.store(false, Relaxed);
        }
        let idle = |state: &mut State| state.view.frozen.is_none() && !state.closed;
        let state = self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        !state.closed
    }

    pub(super) fn set_disk_full(&self, full: bool) {
        let mut state = self.lock();
        if state.disk_full != full {
            state.disk_full = full;
            self.tell(&mut state);
        }
    }

    /// Puts a run in the place of those that it was merged from.
    pub(super) fn replace(&self, inputs: &[Arc<Run>], merged: Arc<Run>) -> Result<(), ShelfError> {
        let mut state = self.lock();
        let first = inputs.first();
        let at = first
            .and_then(|first| state.view.runs.iter().position(|run| Arc::ptr_eq(run, first)))
            .ok_or_else(|| io::Error::other("the runs that were merged are gone"))?;
        state.view.runs.splice(at..at + inputs.len(), [merged]);
        self.tell(&mut state);
        drop(state);
        inputs.iter().try_for_each(|run| Ok(fs::remove_file(run.path())?))
    }

    /// Lets go of what is older than the window: of runs that are so as a whole, and later of refusals.
    pub(super) fn forget(&self, horizon: Place) -> Result<(), ShelfError> {
        self.forgettable_refusal.fetch_max(horizon.refusal, Relaxed);
        let mut state = self.lock();
        let old = |run: &&Arc<Run>| run.span.upto.is_within(horizon);
        let count = state.view.runs.iter().take_while(old).count();
        if count == 0 {
            return Ok(());
        }
        let forgotten: Vec<_> = state.view.runs.drain(..count).collect();
        self.tell(&mut state);
        drop(state);
        forgotten.iter().try_for_each(|run| Ok(fs::remove_file(run.path())?))
    }

    fn tell(&self, state: &mut MutexGuard<'_, State>) {
        let runs = state.view.runs.iter().map(|run| run.entries);
        let frozen = state.view.frozen.as_ref().map_or(0, |frozen| frozen.table.len() as u64);
        self.entries.store(runs.sum::<u64>() + frozen, Relaxed);
        self.version.fetch_add(1, Release);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_file(&self) -> PathBuf {
        let mut state = self.lock();
        state.next_file += 1;
        self.dir.join(format!("keys-{:08}.run", state.next_file))
    }

    /// Makes a run of what is frozen.
    pub(super) fn write_frozen(&self) -> Result<(), ShelfError> {
        let Some(frozen) = self.view().frozen else { return Ok(()) };
        let (entries, span) = (frozen.table.len() as u64, frozen.span);
        let run = self.write(entries, span, |writer| {
            for (entry, number) in frozen.table.iter().zip(1_usize..) {
                writer.push(entry)?;
                if number.is_multiple_of(ENTRIES_BETWEEN_PAUSES) {
                    self.pause_if_due();
                }
            }
            Ok(())
        })?;
        // From here on only the writer has it, who will use its memory again.
        drop(frozen);
        let mut state = self.lock();
        state.view.frozen = None;
        state.view.runs.push(run);
        self.tell(&mut state);
        Ok(())
    }

    /// Makes way for whoever is waited for, unless it is this that will be waited for.
    pub(super) fn pause_if_due(&self) {
        if !self.behind.load(Relaxed) {
            background::pause_if_due();
        }
    }

    /// Whether so many bytes may be written, and still there is room for the writer's own.
    pub(super) fn has_room(&self, bytes: u64) -> io::Result<bool> {
        Ok(directory::free_bytes(&self.dir)? >= bytes.saturating_add(ROOM_LEFT_BYTES_MIN))
    }

    /// Writes a file under another name, makes it durable, and only then gives it its own.
    pub(super) fn write(
        &self,
        entries_max: u64,
        span: Span,
        fill: impl FnOnce(&mut Writer) -> Result<(), ShelfError>,
    ) -> Result<Arc<Run>, ShelfError> {
        let path = self.next_file();
        let unfinished = path.with_extension("tmp");
        // Before there is something to be made durable by it, as it may not be had.
        let dir = fs::File::open(&self.dir)?;
        let filter_bits_max = filter_bits_max(self.entries().max(entries_max));
        let written = (|| {
            let mut writer = Writer::begin(&unfinished, entries_max, filter_bits_max)?;
            fill(&mut writer)?;
            writer.finish(span)?;
            Ok::<(), ShelfError>(fs::rename(&unfinished, &path)?)
        })();
        if let Err(error) = written {
            // It is in the way of nothing, and deleted at the next start at the latest.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        // Whatever it is that such a sync says, nothing is tried a second time.
        dir.sync_all().map_err(|error| io::Error::other(error.to_string()))?;
        let run = Run::open(&path).map_err(ShelfError::from).inspect_err(|error| {
            if error.may_pass() {
                // It will be written again. Should this one be there at a start, it is one too many.
                let _ = fs::remove_file(&path);
            }
        })?;
        Ok(Arc::new(run))
    }
}

/// How many bits each of so many entries may have: of somewhat less than half of the memory, for filters that
/// were made when there were fewer entries have more, and are there until they are merged.
pub(super) fn filter_bits_max(entries: u64) -> u64 {
    (FILTERS_BYTES / 20 * 9 * 8 / entries.max(1)).max(1)
}

/// The greatest number that a refusal ever had.
pub(super) fn refusals_ever(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'refusal'",
        (),
        |row| row.get(0),
    )
}

/// Opens every run of a directory; what is damaged or half written is deleted. And the greatest
/// number of a file.
fn open_files(dir: &Path) -> Result<(Vec<Run>, u64), ShelfError> {
    let mut runs: Vec<Run> = Vec::new();
    let mut greatest = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(rest) = name.strip_prefix("keys-") else { continue };
        let Some(number) = rest.strip_suffix(".run") else {
            if rest.ends_with(".tmp") {
                fs::remove_file(&path)?;
            }
            continue;
        };
        greatest = greatest.max(number.parse().unwrap_or(0));
        match Run::open(&path) {
            Ok(run) => runs.push(run),
            Err(RunError::Damaged { .. }) => fs::remove_file(&path)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((runs, greatest))
}

/// A damaged file goes, so that the next start makes it again.
pub(super) fn set_aside_if_damaged(error: &ShelfError) {
    if let ShelfError::Run(RunError::Damaged { path, .. }) = error {
        // If that fails too, the next start meets the damage again.
        let _ = fs::remove_file(path);
    }
}

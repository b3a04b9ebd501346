//! Owns the check of a whole data file: every row against the chain and the rules, and all that lies
//! beside the rows. Also of a file that an engine is writing to.
//!
//! Never: a write, a lock that holds anybody up, or trust in an index where rows are meant.
//! Bounds: 32 bytes a wallet, a few chunks of rows, and [`keys`]' own; a read transaction lasts no
//! longer than a chunk, or than one of the small tables. The book is checked as it was when the
//! check began: rows are never changed, so they may be read later.

mod batches;
mod chunks;
mod external_ids;
mod findings;
mod keys;
mod people;
mod replay;
mod schema_of;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use ledger::{Checkpoint, Hash};
use rusqlite::Connection;

use self::chunks::{CHUNK_OPERATIONS, Chunk, ChunkReader, is_damage};
use self::findings::Findings;
pub use self::findings::{Finding, Place};
use self::people::Wallets;
use self::replay::Replay;
use crate::file::chain::Links;
use crate::file::connection::{connect_to_read, inspect_log_at_rest};
use crate::file::open_error::{OpenError, told};
use crate::file::{directory, schema};
use crate::read::readers::{ReadError, within_one_state};
use crate::read::receipts::{self, Spans};
use crate::watch::{Step, Watch};

/// Chunks that a reading thread may be ahead.
const CHUNKS_AHEAD: usize = 2;

/// More threads than that would wait for the one that replays.
const THREADS_MAX: usize = 8;

/// The least bytes that a row takes, well below any true one: no file has more rows than fit.
const ROW_BYTES_MIN: u64 = 16;

/// What to check.
#[derive(Debug, Clone, Copy)]
pub struct Check<'c> {
    /// The data directory.
    pub data: &'c Path,
    /// A checkpoint that was published: the book must still lead to it.
    pub published: Option<Checkpoint>,
}

/// What was checked, and everything that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// How many operations the book had when the check began: the id of the newest one.
    pub operations: u64,
    /// How many wallets there were.
    pub wallets: u64,
    /// How many users there were.
    pub users: u64,
    /// How many operations have an idempotency key.
    pub keys: u64,
    /// The root over all operations as they stand; `None` when some are missing or unreadable.
    pub root: Option<Hash>,
    /// The first damages found.
    pub damages: Vec<Finding>,
    /// How many damages there are in all.
    pub damages_total: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Checked {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages_total == 0
    }
}

/// Why a file could not be checked. Each text is whole. Damage is no error: it is what was found.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no data file.
    #[error("there is no data file at {0}")]
    NotThere(PathBuf),
    /// The file was written by an older kopeck.
    #[error("{0} was last used by an older kopeck: start the service on it once")]
    Older(PathBuf),
    /// Somebody stopped it.
    #[error("stopped: not everything was checked")]
    Cancelled,
    /// It cannot be opened, or is not ours.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A temporary file for the keys could not be used.
    #[error("no temporary file could be used: {0}")]
    Temporary(std::io::Error),
    /// SQLite failed.
    #[error("the data file cannot be read: {}", told(.0))]
    Sqlite(rusqlite::Error),
}

// Not as the error's source: the text has all of it, and would say it twice.
impl From<std::io::Error> for CheckError {
    fn from(error: std::io::Error) -> Self {
        Self::Temporary(error)
    }
}

// Not as the error's source: the text has all of it, and would say it twice.
impl From<rusqlite::Error> for CheckError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Checks a data file. Blocks.
pub fn check(wanted: &Check<'_>, watch: &dyn Watch) -> Result<Checked, CheckError> {
    let mut findings = Findings::default();
    match inspect_log_at_rest(wanted.data) {
        Err(damage @ OpenError::LogDamaged(_)) => {
            findings.add("log_damaged", Place::Whole, damage.to_string());
        }
        inspected => inspected?,
    }
    check_with(&directory::file(wanted.data), wanted.published, watch, findings)
}

/// Checks a data file wherever it is.
pub(crate) fn check_file(
    file: &Path,
    published: Option<Checkpoint>,
    watch: &dyn Watch,
) -> Result<Checked, CheckError> {
    check_with(file, published, watch, Findings::default())
}

/// Adds to what was found before.
fn check_with(
    file: &Path,
    published: Option<Checkpoint>,
    watch: &dyn Watch,
    mut findings: Findings,
) -> Result<Checked, CheckError> {
    let began = Instant::now();
    let mut report = Report::default();
    match check_all(file, published, watch, &mut report, &mut findings) {
        Err(CheckError::Sqlite(error) | CheckError::Open(OpenError::Sqlite(error)))
            if is_damage(&error) =>
        {
            let told = told(&error);
            let detail = format!("not everything could be checked, for the file is broken: {told}");
            findings.add("file_damaged", Place::Whole, detail);
        }
        Err(CheckError::Open(error @ OpenError::Incomplete)) => {
            findings.add("file_damaged", Place::Whole, error.to_string());
        }
        checked => checked?,
    }
    let (damages, damages_total) = findings.into_parts();
    let Report { operations, wallets, users, keys, root } = report;
    let elapsed = began.elapsed();
    Ok(Checked { operations, wallets, users, keys, root, damages, damages_total, elapsed })
}

/// What is known so far of what is checked.
#[derive(Default)]
struct Report {
    operations: u64,
    wallets: u64,
    users: u64,
    keys: u64,
    root: Option<Hash>,
}

fn check_all(
    file: &Path,
    published: Option<Checkpoint>,
    watch: &dyn Watch,
    report: &mut Report,
    findings: &mut Findings,
) -> Result<(), CheckError> {
    let connection = open(file)?;
    let currency = schema::currency(&connection)?;
    schema_of::check(&connection, currency, findings)?;
    schema_of::check_ledger(&connection, currency, findings)?;
    let links = Links::of(&connection, currency)?;
    let (start, wallets) =
        within_one_state(&connection, |connection| Start::read(connection, findings))?;
    report.operations = start.operations;
    report.wallets = wallets.count();
    report.users = people::check_users(&connection, &wallets, findings)?;
    let mut replay = Replay::new(&start, wallets, published, findings);
    replay_all(file, links, &start, &mut replay, watch)?;
    replay.check_strays(&connection)?;
    external_ids::check(&connection, links, &start, &mut replay)?;
    report.keys = replay.check_keys(&connection)?;
    report.root = replay.finish();
    people::check_sign_ups(&connection, findings)?;
    people::check_refusals(&connection, findings)?;
    batches::check(&connection, findings)?;
    schema_of::check_small_tables(&connection, findings)
}

/// What the whole book is now, read from its file beside whoever writes to it.
pub fn checkpoint(data: &Path) -> Result<Checkpoint, CheckError> {
    inspect_log_at_rest(data)?;
    let connection = open(&directory::file(data))?;
    let links = Links::of(&connection, schema::currency(&connection)?)?;
    within_one_state(&connection, |connection| {
        let found = receipts::checkpoint(connection, links, &Spans::default());
        found.map_err(|error| match error {
            ReadError::Sqlite(error) => CheckError::Sqlite(error),
            ReadError::Damaged(damage) => OpenError::ChainBroken(damage).into(),
            ReadError::Ledger(error) => OpenError::ChainBroken(error.to_string()).into(),
        })
    })
}

fn open(file: &Path) -> Result<Connection, CheckError> {
    if !file.is_file() {
        return Err(CheckError::NotThere(file.to_owned()));
    }
    let connection = connect_to_read(file)?;
    schema::refuse_others(&connection)?;
    if schema::is_empty(&connection)? {
        return Err(CheckError::NotThere(file.to_owned()));
    }
    if schema::is_current(&connection)? {
        Ok(connection)
    } else {
        Err(CheckError::Older(file.to_owned()))
    }
}

/// How the book stood when the check began.
struct Start {
    operations: u64,
    /// The sweep's mark: the wallet table holds every operation up to it.
    mark: u64,
}

impl Start {
    fn read(
        connection: &Connection,
        findings: &mut Findings,
    ) -> Result<(Self, Wallets), CheckError> {
        let newest: i64 = connection.query_row(
            "SELECT coalesce(max(operation_id), 0) FROM transfer",
            (),
            |row| row.get(0),
        )?;
        let rows_max = rows_max(connection)?;
        let operations = newest.max(0).cast_unsigned().min(rows_max);
        let mark: i64 =
            connection.query_row("SELECT sweep_operation_id FROM ledger", (), |row| row.get(0))?;
        if mark < 0 || mark.cast_unsigned() > operations {
            let detail = format!(
                "the wallet table is said to hold all operations up to {mark}, of {operations}"
            );
            findings.add("mark_differs", Place::Whole, detail);
        }
        let mark = mark.max(0).cast_unsigned();
        let wallets = Wallets::read(connection, findings)?;
        Ok((Self { operations, mark }, wallets))
    }
}

/// More rows than this cannot be in the file, whatever numbers they bear.
fn rows_max(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(pages.saturating_mul(page_bytes / ROW_BYTES_MIN))
}

/// Reads on several threads, and replays in order on this one.
fn replay_all(
    file: &Path,
    links: Links,
    start: &Start,
    replay: &mut Replay<'_>,
    watch: &dyn Watch,
) -> Result<(), CheckError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let stopped = AtomicBool::new(false);
    let chunks = start.operations.div_ceil(CHUNK_OPERATIONS);
    std::thread::scope(|scope| {
        let mut readers: Vec<Receiver<Result<Chunk, CheckError>>> = Vec::new();
        for thread in 0..threads {
            let (send, receive) = sync_channel(CHUNKS_AHEAD);
            let mut reader = ChunkReader::new(
                connect_to_read(file)?,
                links,
                start.operations,
                replay.published_operations(),
            );
            let stopped = &stopped;
            std::thread::Builder::new().name(format!("check-{thread}")).spawn_scoped(
                scope,
                move || {
                    for number in (thread as u64..chunks).step_by(threads) {
                        // Nobody takes it any more: there was an error, or a wish to stop.
                        if stopped.load(Ordering::Relaxed)
                            || send.send(reader.read(number)).is_err()
                        {
                            return;
                        }
                    }
                },
            )?;
            readers.push(receive);
        }
        for (number, reader) in (0..chunks).zip(readers.iter().cycle()) {
            // A thread that ended without its chunk has panicked, and the scope panics with it.
            let chunk = reader.recv().map_err(|_| CheckError::Cancelled).flatten();
            let done = chunk.and_then(|chunk| replay.take(chunk)).and_then(|()| {
                let total_operations = start.operations;
                let done_operations = ((number + 1) * CHUNK_OPERATIONS).min(total_operations);
                watch.step(Step::Replaying { done_operations, total_operations });
                if watch.is_cancelled() { Err(CheckError::Cancelled) } else { Ok(()) }
            });
            if let Err(error) = done {
                stopped.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    })
}

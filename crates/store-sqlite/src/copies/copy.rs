//! Owns the copying of a whole data file at one state between two commits, and the check of a copy.
//!
//! Never: a write to the file that is copied, or a word on where a copy goes. Bounds: memory for
//! [`PAGES_A_STEP`] pages. The copy reads one old state until it is done, and meanwhile the
//! write-ahead log cannot start again from its beginning: the caller says how far it may grow.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::check::{CheckError, check_file};
use crate::file::connection::connect_to_read;
use crate::file::names::{folder, log_of};
use crate::file::open_error::{OpenError, told};
use crate::file::{directory, schema};
use crate::watch::{Step, Watch};

/// Pages copied between two looks at the log and at whether the copy is still wanted.
const PAGES_A_STEP: i32 = 1_024;

/// SQLite's instructions between two questions whether a check is still wanted.
const INSTRUCTIONS_A_QUESTION: i32 = 100_000;

/// What a data file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// How many wallets there are.
    pub wallets: u64,
    /// How many operations there are: the id of the newest one, for ids are dense.
    pub operations: u64,
}

/// A copy that was made, checked and put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// What it holds.
    pub contents: Contents,
    /// Its size in bytes.
    pub bytes: u64,
    /// How long it took in all.
    pub elapsed: Duration,
}

/// Why there is no copy. Each text is whole: what is wrong and what to do. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is a file of that name.
    #[error("{0} is there already; choose another name, or replace it with --force")]
    Exists(PathBuf),
    /// What is there cannot be replaced by a file.
    #[error("{0} is not a plain file, and is not replaced")]
    NotPlain(PathBuf),
    /// The name names no file.
    #[error("{0} does not name a file")]
    NoName(PathBuf),
    /// A copy beside the original goes when the original goes.
    #[error(
        "{0} lies in a data directory and would be lost with it, or harm it; choose a place outside of it, best on another disk"
    )]
    InDataDirectory(PathBuf),
    /// Something of another data file is beside it.
    #[error(
        "{0} is in the way: whoever opens the backup would read it as if it belonged to it; move it away, or choose another name"
    )]
    Beside(PathBuf),
    /// There are data already.
    #[error(
        "{0} is there already: a data directory that has data is not overwritten; choose another one, or move that file and those beside it away"
    )]
    HasData(PathBuf),
    /// There is nothing to copy.
    #[error("there is no data file at {0}")]
    NotThere(PathBuf),
    /// It is something else altogether.
    #[error("{0} is not a database, so neither kopeck's data nor a backup of them")]
    NoDatabase(PathBuf),
    /// The disk has too little room from the start.
    #[error(
        "the disk of {path} has no room for the copy: it needs {needed_bytes} bytes, and {available_bytes} are free"
    )]
    NoRoom {
        /// Where the copy was to go.
        path: PathBuf,
        /// How much it needs.
        needed_bytes: u64,
        /// How much there is.
        available_bytes: u64,
    },
    /// The disk became full on the way.
    #[error("the disk of {0} became full; nothing was left behind")]
    Full(PathBuf),
    /// The running service's log grew beyond its bound.
    #[error(
        "given up: the service's write-ahead log grew by {grown_bytes} bytes meanwhile, more than the {max_bytes} allowed; try again when less is written or write to a faster disk, or allow more with --log-bytes-max"
    )]
    LogTooLong {
        /// By how much it grew.
        grown_bytes: u64,
        /// By how much it may grow.
        max_bytes: u64,
    },
    /// Somebody stopped it.
    #[error("stopped; nothing was left behind")]
    Cancelled,
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What was copied is broken.
    #[error("the data are damaged: {0}")]
    Damaged(String),
    /// It cannot be opened, is not ours, too new, locked, or does not pass the ledger's own check.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite failed.
    #[error("the data file cannot be copied: {}", told(.0))]
    Sqlite(rusqlite::Error),
}

// Not as the error's source: the text has all of it, and would say it twice.
impl From<rusqlite::Error> for CopyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl CopyError {
    fn sqlite_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite(error) | Self::Open(OpenError::Sqlite(error)) => error.sqlite_error_code(),
            _ => None,
        }
    }

    /// Calls damage damage, and a full disk a full disk, whoever came upon it.
    pub(crate) fn named(self, to: &Path) -> Self {
        match self.sqlite_code() {
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged(self.to_string()),
            Some(ErrorCode::DiskFull) => Self::Full(folder(to).to_owned()),
            _ => self,
        }
    }

    /// For `map_err`: what the system said about a path.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

/// Copies one state of `from` to `to`, an empty file that is there. The copy is a plain file: it
/// needs no log beside it. It is not yet durable.
pub(crate) fn copy(
    from: &Path,
    to: &Path,
    log_grows_bytes_max: u64,
    watch: &dyn Watch,
) -> Result<(), CopyError> {
    if !from.is_file() {
        return Err(CopyError::NotThere(from.to_owned()));
    }
    let source = connect_to_read(from)?;
    // The first look fixes the state that is copied, until this connection is closed.
    source.execute_batch("BEGIN")?;
    schema::refuse_others(&source).map_err(CopyError::from).map_err(|error| {
        let no_database = error.sqlite_code() == Some(ErrorCode::NotADatabase);
        if no_database { CopyError::NoDatabase(from.to_owned()) } else { error }
    })?;
    if schema::is_empty(&source)? {
        return Err(CopyError::NotThere(from.to_owned()));
    }
    let total_bytes = size_bytes(&source)?;
    check_room(to, total_bytes)?;
    let copied = copy_pages(&source, to, &Log::of(from, log_grows_bytes_max), watch);
    // From here on the log may start again from its beginning.
    drop(source);
    copied.and_then(|()| without_log(to))
}

fn copy_pages(
    source: &Connection,
    to: &Path,
    log: &Log,
    watch: &dyn Watch,
) -> Result<(), CopyError> {
    let page_bytes = page_bytes(source)?;
    let mut target = connect_to_copy(to)?;
    target.execute_batch("PRAGMA journal_mode = OFF")?;
    let backup = Backup::new(source, &mut target)?;
    loop {
        if watch.is_cancelled() {
            return Err(CopyError::Cancelled);
        }
        let step = backup.step(PAGES_A_STEP)?;
        let progress = backup.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * page_bytes;
        watch.step(Step::Copying {
            done_bytes: bytes(progress.pagecount - progress.remaining),
            total_bytes: bytes(progress.pagecount),
        });
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => log.check()?,
            // The state is fixed and nobody else knows the target: nothing to wait for.
            _ => return Err(busy(to)),
        }
    }
}

/// The log of the file that is copied, which cannot start again meanwhile.
struct Log {
    path: PathBuf,
    began_bytes: u64,
    grows_bytes_max: u64,
}

impl Log {
    fn of(file: &Path, grows_bytes_max: u64) -> Self {
        let path = log_of(file);
        Self { began_bytes: Self::bytes(&path), path, grows_bytes_max }
    }

    fn check(&self) -> Result<(), CopyError> {
        let grown_bytes = Self::bytes(&self.path).saturating_sub(self.began_bytes);
        if grown_bytes <= self.grows_bytes_max {
            return Ok(());
        }
        Err(CopyError::LogTooLong { grown_bytes, max_bytes: self.grows_bytes_max })
    }

    /// Without opening it: closing it again would let go of this process's locks on it.
    fn bytes(path: &Path) -> u64 {
        fs::metadata(path).map_or(0, |log| log.len())
    }
}

/// The pages say that the file has a log beside it; a copy is better off without.
fn without_log(file: &Path) -> Result<(), CopyError> {
    let connection = connect_to_copy(file)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))?;
    if mode == "delete" { Ok(()) } else { Err(busy(file)) }
}

/// A copy that is not in its place yet is nobody else's, and needs no file of locks beside it.
pub(crate) fn connect_to_copy(file: &Path) -> Result<Connection, CopyError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    // A copy that breaks off is thrown away, and a whole one is synced once, at its end.
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF")?;
    Ok(connection)
}

fn busy(file: &Path) -> CopyError {
    CopyError::io(file)(io::ErrorKind::ResourceBusy.into())
}

/// Checks a copy as a whole: SQLite's own check, and everything that `kopeck check` checks.
///
/// A file of an older version is not the ledger's yet: it is checked by SQLite alone.
pub(crate) fn check(file: &Path, watch: &Arc<dyn Watch>) -> Result<Contents, CopyError> {
    watch.step(Step::Checking);
    let mut connection = connect_to_read(file)?;
    let asked = Arc::clone(watch);
    connection.progress_handler(INSTRUCTIONS_A_QUESTION, Some(move || asked.is_cancelled()))?;
    let checked = check_pages(&connection);
    checked.map_err(|error| match error.sqlite_code() {
        Some(ErrorCode::OperationInterrupted) => CopyError::Cancelled,
        _ => error,
    })?;
    match check_file(file, None, &**watch) {
        Ok(checked) => match checked.damages.into_iter().next() {
            None => Ok(Contents { wallets: checked.wallets, operations: checked.operations }),
            Some(damage) => Err(CopyError::Damaged(damage.detail)),
        },
        Err(CheckError::Older(_)) => Ok(count(&connection)?),
        Err(CheckError::Cancelled) => Err(CopyError::Cancelled),
        Err(CheckError::Open(error)) => Err(CopyError::Open(error)),
        Err(CheckError::Sqlite(error)) => Err(CopyError::Sqlite(error)),
        Err(CheckError::NotThere(path)) => Err(CopyError::NotThere(path)),
        Err(CheckError::Temporary(error)) => Err(CopyError::io(&std::env::temp_dir())(error)),
    }
}

/// SQLite's own check.
fn check_pages(connection: &Connection) -> Result<(), CopyError> {
    schema::refuse_others(connection)?;
    let found: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(CopyError::Damaged(found)) }
}

/// What a file of an older version holds.
fn count(connection: &Connection) -> rusqlite::Result<Contents> {
    connection.query_row(
        "SELECT (SELECT count(*) FROM wallet),
                (SELECT coalesce(max(operation_id), 0) FROM transfer)",
        (),
        |row| Ok(Contents { wallets: row.get(0)?, operations: row.get(1)? }),
    )
}

/// Makes a finished copy durable: no connection has it open any more. Its size in bytes.
pub(crate) fn sync(file: &Path, watch: &dyn Watch) -> Result<u64, CopyError> {
    watch.step(Step::Syncing);
    let open = File::open(file).map_err(CopyError::io(file))?;
    open.sync_all().map_err(CopyError::io(file))?;
    open.metadata().map(|it| it.len()).map_err(CopyError::io(file))
}

fn page_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, "page_size", |row| row.get(0))
}

fn size_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    Ok(pages * page_bytes(connection)?)
}

/// A disk without room is told before anything is written: a running service may need the rest.
fn check_room(file: &Path, needed_bytes: u64) -> Result<(), CopyError> {
    let path = folder(file);
    let available_bytes = directory::free_bytes(path).map_err(CopyError::io(path))?;
    if available_bytes >= needed_bytes {
        return Ok(());
    }
    Err(CopyError::NoRoom { path: path.to_owned(), needed_bytes, available_bytes })
}

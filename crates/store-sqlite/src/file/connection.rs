//! Owns how the data file is opened: the connections, their settings, and what a start makes durable.
//!
//! Never: a table or a row. Bounds: a page cache for each writing connection; the wait for other
//! programs that hold the file, [`BUSY_WAIT_MAX`].

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::file::chain::Links;
use crate::file::names::{folder, itself, log_of};
use crate::file::open_error::OpenError;
use crate::file::rewrite::rewrite;
use crate::file::{directory, log, rows, schema};

/// The page size of a new data file, in bytes.
const PAGE_BYTES: i64 = 4_096;

/// The page cache of a writing connection, in KiB: enough that a batch is not written early, even if each of
/// its deposits has an id of the payment provider's, which dirties a page of that index by itself.
const CACHE_KIB: i64 = 65_536;

/// A log that grew beyond this, in bytes, is cut back when it starts again from its beginning: what a
/// reader that stayed long has made of it does not stay on the disk.
const LOG_KEPT_BYTES_MAX: i64 = 67_108_864;

/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 64;

const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);

/// Where a data file says by which version of SQLite's format it is read, and the one of those that have a log.
const VERSION_AT: u64 = 19;
const VERSION_WITH_LOG: u8 = 2;
/// And where how many pages it has.
const PAGES_AT: u64 = 28;

/// Makes the file if it is not there, readable by its owner only, or refuses another program's,
/// which is left as it is. SQLite gives the files beside it the same rights.
pub(crate) fn make_file(file: &Path) -> Result<(), OpenError> {
    let made = File::options().create(true).append(true).mode(0o600).open(file);
    made.map_err(|error| OpenError::Unusable { path: file.to_owned(), error })?;
    let look = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    close_without_checkpoint(&look)?;
    schema::refuse_others(&look)
}

/// Refuses a log that lost acknowledged operations: SQLite would say nothing and go on without them. And one beside
/// a file that keeps none, a backup that was put in the place of the log's own: SQLite would read it over that. Or
/// beside an older copy of its file: what is neither in that nor in the log would be missing without a word.
/// If there is anything in it: how far the file goes without it.
pub(crate) fn inspect_log(file: &Path) -> Result<Option<WithoutLog>, OpenError> {
    let log = log_of(file);
    let inspected = log::inspect(&log);
    let taken = inspected
        .map_err(|error| OpenError::Unusable { path: log.clone(), error })?
        .map_err(|damage| OpenError::LogDamaged(damage.to_string()))?;
    if taken.frames == 0 {
        return Ok(None);
    }
    // Nor is one that is empty opened: SQLite would delete its log.
    if version_of(file) != Some(VERSION_WITH_LOG) {
        return Err(OpenError::LogOfAnother(log));
    }
    let without_log = WithoutLog::of(file);
    match without_log.pages.and_then(|pages| taken.lacks(pages)) {
        Some(page) => Err(OpenError::FileOlder { log, page }),
        None => Ok(Some(without_log)),
    }
}

/// How far a data file goes without its log, as far as it can be read so: where a checkpoint was broken off, it may be
/// neither as it was before nor as it was to be.
pub(crate) struct WithoutLog {
    /// Its newest operation; 0 where there is none.
    pub(crate) newest: Option<u64>,
    /// How many pages it says that it has. They never become fewer.
    pages: Option<u32>,
}

impl WithoutLog {
    /// Before the file is opened by this process: to close it once more would let go of SQLite's locks.
    fn of(file: &Path) -> Self {
        let pages = head_at(file, PAGES_AT).map(u32::from_be_bytes);
        Self { newest: newest_without_log(file), pages }
    }

    /// Refuses a log that ends before what the file has without it, as one of an older copy does: SQLite would read the
    /// file as that was, and whatever came later and is not in the log as it is.
    pub(crate) fn refuse_older_log(
        &self,
        file: &Path,
        with_log: &Connection,
    ) -> Result<(), OpenError> {
        let older = |what| Err(OpenError::LogOlder { log: log_of(file), what });
        let newest = rows::newest_operation(with_log)?;
        if let Some(operation) = self.newest.filter(|without| newest < *without) {
            return older(format!("operation {operation}"));
        }
        let pages: u32 = with_log.pragma_query_value(None, "page_count", |row| row.get(0))?;
        match self.pages.filter(|there| *there > pages) {
            Some(page) => older(format!("page {page}")),
            None => Ok(()),
        }
    }
}

/// What stands in the newest operation's place may be a page that was another table's, such as refusals that were
/// forgotten, whose numbers are others: so its row is to fit the one before it.
fn newest_without_log(file: &Path) -> Option<u64> {
    let file = itself(file);
    let name: String =
        file.as_os_str().as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    // Nobody writes to it, as SQLite is told; so it looks for no log.
    let connection = Connection::open_with_flags(format!("file:{name}?immutable=1"), flags).ok()?;
    let links = Links::of(&connection, schema::currency(&connection).ok()?).ok()?;
    let newest = rows::newest_operation(&connection).ok()?;
    if newest == 0 {
        return Some(0);
    }
    let kept = rows::select_kept(&connection, newest.cast_signed()).ok()??;
    links.verify(&connection, &kept).ok()?.ok().map(|()| newest)
}

/// The same for whoever only reads: what is missing must not be passed over by a check or a backup either.
pub(crate) fn inspect_log_at_rest(data: &Path) -> Result<(), OpenError> {
    let file = directory::file(data);
    if is_in_use(&file)? {
        return Ok(());
    }
    let leftover = directory::leftover(data);
    let unusable = |error| OpenError::Unusable { path: data.to_owned(), error };
    match leftover.map_err(unusable)? {
        Some(leftover) => Err(OpenError::DataFileGone(leftover)),
        None => inspect_log_of(&file),
    }
}

/// And of a data file wherever it is. The log of a directory in use is not judged, for it is written to; its
/// engine did so.
pub(crate) fn inspect_log_of(file: &Path) -> Result<(), OpenError> {
    let inspected = inspect_log(file).and_then(|without_log| {
        let Some(without_log) = without_log else { return Ok(()) };
        match connect_to_read(file).and_then(|with| without_log.refuse_older_log(file, &with)) {
            Err(error @ OpenError::LogOlder { .. }) => Err(error),
            // What cannot be read is named by whoever reads it.
            _ => Ok(()),
        }
    });
    match inspected {
        Ok(()) if is_without_its_log(file) => Err(OpenError::OtherNames(file.to_owned())),
        Ok(()) => Ok(()),
        Err(_) if is_in_use(file)? => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a data file has another name, and no log beside this one: there is one beside the other, and what was
/// acknowledged last is in it. A backup has none.
fn is_without_its_log(file: &Path) -> bool {
    let keeps_a_log = || version_of(file) == Some(VERSION_WITH_LOG);
    directory::has_other_names(file) && !log_of(file).exists() && keeps_a_log()
}

/// By which version of SQLite's format a data file is to be read, if it says so.
fn version_of(file: &Path) -> Option<u8> {
    head_at(file, VERSION_AT).map(|[version]| version)
}

/// What stands in the head of a data file.
fn head_at<const BYTES: usize>(file: &Path, at: u64) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    File::open(file).and_then(|file| file.read_exact_at(&mut bytes, at)).ok().map(|()| bytes)
}

/// By this name of the data file, or by that of what it leads to.
fn is_in_use(file: &Path) -> Result<bool, OpenError> {
    let found = directory::is_in_use(file)
        .and_then(|found| Ok(found || directory::is_in_use(&itself(file))?));
    found.map_err(|error| OpenError::Unusable { path: folder(file).to_owned(), error })
}

/// The last connection that is closed would else make a checkpoint, and say nothing when a sync of
/// that fails; or sync once more what failed to be synced before.
fn close_without_checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(|_| ())
}

/// A connection that writes: every commit is fsynced before it returns, checkpoints are asked for.
pub(crate) fn connect_to_write(file: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    close_without_checkpoint(&connection)?;
    connection.busy_timeout(BUSY_WAIT_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // The page size only counts for a new file, and only before the journal mode.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoLog(file.to_owned()));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES_MAX)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

/// A connection that only reads.
pub(crate) fn connect_to_read(file: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    close_without_checkpoint(&connection)?;
    connection.busy_timeout(BUSY_WAIT_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// Makes everything that was found durable: a process that was killed may have written without
/// having synced, one that halted may have been told that a sync failed, and nobody may be told of what a
/// power cut could still take back. Before SQLite opens the file.
pub(crate) fn make_durable(file: &Path) -> Result<(), OpenError> {
    rewrite(&itself(file)).map_err(|error| OpenError::Unusable { path: file.to_owned(), error })
}

/// Moves what the log has into the data file, unless there is no room for it, or another program, a backup
/// say, stays on an old state: the log keeps it, and reads need no more than that. Nobody is waited for.
pub(crate) fn empty_log(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    connection.busy_timeout(Duration::ZERO)?;
    let moved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    let emptied = moved.or_else(pass_over).and_then(|()| cut_log(connection, file));
    connection.busy_timeout(BUSY_WAIT_MAX)?;
    Ok(emptied.or_else(pass_over)?)
}

/// What keeps a start from emptying the log, and is no reason not to start.
fn pass_over(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => Ok(()),
        _ => Err(error),
    }
}

/// Cuts off what stands behind the end of a log that was not emptied. Where a program that reads has kept the log's
/// index alive, a batch whose process was killed before the index had it is no part of the log, whole as it may
/// be. The next overwrites it, or a part of it; what is left of several would look like acknowledged batches
/// behind a damage ([`log`]).
fn cut_log(connection: &Connection, file: &Path) -> rusqlite::Result<()> {
    let version =
        || connection.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0));
    let before = version()?;
    let frames: i64 = connection.query_row("PRAGMA wal_checkpoint(NOOP)", (), |row| row.get(1))?;
    // An empty log is SQLite's own matter.
    let Some(frames) = u64::try_from(frames).ok().filter(|frames| *frames > 0) else {
        return Ok(());
    };
    // Nobody else may write meanwhile, nor have written since it was asked.
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    if version()? == before {
        // Where that fails, it stays as it is.
        let _ = cut(&log_of(file), log::bytes_of(frames, page_bytes));
    }
    connection.execute_batch("ROLLBACK")
}

fn cut(file: &Path, bytes: u64) -> io::Result<()> {
    let file = File::options().write(true).open(file)?;
    if file.metadata()?.len() > bytes { file.set_len(bytes) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::file::names::beside;

    /// Where the index of the log says how long the log is, in two copies.
    const HEAD_BYTES: usize = 96;

    fn insert(connection: &Connection, rows: usize) {
        let rows = format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows})
                            INSERT INTO t SELECT zeroblob(4000) FROM n"
        );
        connection.execute(&rows, ()).unwrap();
    }

    fn count(connection: &Connection) -> usize {
        connection.query_row("SELECT count(*) FROM t", (), |row| row.get(0)).unwrap()
    }

    /// A data file with a row, and a program that stays with it, such as a backup: it keeps the index of the log
    /// alive, and the log from being emptied.
    fn with_a_reader() -> (tempfile::TempDir, PathBuf, Connection) {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("db");
        File::create(&file).unwrap();
        let first = connect_to_write(&file).unwrap();
        first.execute_batch("CREATE TABLE t (a)").unwrap();
        insert(&first, 1);
        let reader = connect_to_read(&file).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(count(&reader), 1);
        (dir, file, reader)
    }

    fn is_whole(connection: &Connection) -> bool {
        let found = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0));
        found == Ok("ok".to_owned())
    }

    #[test]
    fn every_commit_is_synced_and_no_checkpoint_is_made_unasked() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("db");
        File::create(&file).unwrap();
        let connection = connect_to_write(&file).unwrap();
        let is =
            |name| -> i64 { connection.pragma_query_value(None, name, |row| row.get(0)).unwrap() };
        // 2 is `full`: with 1, `normal`, the log is not synced by a commit.
        assert_eq!((is("synchronous"), is("wal_autocheckpoint")), (2, 0));
    }

    #[test]
    fn batches_that_were_killed_beside_a_reader_are_not_taken_for_acknowledged_ones() {
        let (_dir, file, reader) = with_a_reader();
        for (acknowledged, killed) in [(2, 40), (2, 20), (2, 5), (2, 1)] {
            inspect_log(&file).unwrap();
            make_durable(&file).unwrap();
            let connection = connect_to_write(&file).unwrap();
            empty_log(&connection, &file).unwrap();
            let before = count(&connection);
            insert(&connection, acknowledged);
            assert_eq!(count(&connection), before + acknowledged);
            // Killed when the batch is in the log, and not in its index.
            let index = File::options().read(true).write(true).open(beside(&file, "-shm")).unwrap();
            let mut head = [0; HEAD_BYTES];
            index.read_exact_at(&mut head, 0).unwrap();
            insert(&connection, killed);
            index.write_all_at(&head, 0).unwrap();
        }
        assert_eq!(count(&reader), 1);
        inspect_log(&file).unwrap();
        let connection = connect_to_write(&file).unwrap();
        assert_eq!(count(&connection), 1 + 4 * 2);
        assert!(is_whole(&connection));
    }

    #[test]
    fn what_another_program_is_writing_is_not_cut_off() {
        let (_dir, file, _reader) = with_a_reader();
        let shell = Connection::open(&file).unwrap();
        // Written into the log before it is committed.
        shell.execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE").unwrap();
        insert(&shell, 40);
        let length = || beside(&file, "-wal").metadata().unwrap().len();
        let before = length();
        let connection = connect_to_write(&file).unwrap();
        empty_log(&connection, &file).unwrap();
        assert_eq!(length(), before);
        shell.execute_batch("COMMIT").unwrap();
        assert_eq!(count(&connection), 41);
        assert!(is_whole(&connection));
    }
}

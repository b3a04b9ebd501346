//! Owns how the data file is opened: the connections, their settings, and what a start makes durable.
//!
//! Never: a table or a row. Bounds: a page cache for each writing connection; the wait for other
//! programs that hold the file, [`BUSY_WAIT_MAX`].

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{OpenError, schema};

/// The page size of a new data file, in bytes.
const PAGE_BYTES: i64 = 4_096;

/// The page cache of a writing connection, in KiB: enough that a batch is not written early.
const CACHE_KIB: i64 = 65_536;

/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 64;

const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);

/// Makes the file if it is not there, readable by its owner only, or refuses another program's,
/// which is left as it is. SQLite gives the files beside it the same rights.
pub(crate) fn make_file(file: &Path) -> Result<(), OpenError> {
    let made = File::options().create(true).append(true).mode(0o600).open(file);
    made.map_err(|error| OpenError::Unusable { path: file.to_owned(), error })?;
    schema::refuse_others(&Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?)
}

/// A connection that writes: every commit is fsynced before it returns, checkpoints are asked for.
pub(crate) fn connect_to_write(file: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
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
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

/// A connection that only reads.
pub(crate) fn connect_to_read(file: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_WAIT_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// Makes everything that was found durable: a process that was killed may have written without
/// having synced, and nobody may be told of what a power cut could still take back.
///
/// The log itself is synced first. Then its content goes into the data file, unless there is no
/// room for it: the log keeps it, and reads need no more than that.
pub(crate) fn make_durable(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let log = beside(file, "-wal");
    match File::open(&log) {
        Ok(found) => {
            found.sync_all().map_err(|error| OpenError::Unusable { path: log, error })?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(OpenError::Unusable { path: log, error }),
    }
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0));
    match busy {
        Ok(false) => Ok(()),
        Ok(true) => Err(OpenError::Busy(file.to_owned())),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

//! Owns the way back: a data directory made from a backup, whole and checked, or not at all.
//!
//! Never: a directory that has data or that a process uses, or a write to the backup. Bounds: the
//! directory's lock is held until the data are in their place.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ledger::Timestamp;

use crate::copies::backup::Partial;
use crate::copies::copy::{self, Contents, CopyError, Done};
use crate::file::connection::inspect_log_of;
use crate::file::directory::{self, Directory};
use crate::file::names::{self, BESIDE, beside};
use crate::file::schema;
use crate::watch::Watch;

/// What to restore, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Restore<'p> {
    /// The backup.
    pub file: &'p Path,
    /// The data directory; made if it is not there.
    pub data: &'p Path,
    /// Whether those who were logged in at the time of the backup are so again. Some of them may
    /// have logged out since, or changed a password that somebody else knew.
    pub keep_sessions: bool,
}

/// Restores a backup, brought to today's version. Blocks. When it returns, the data are checked,
/// durable and in their place; when it fails, nothing of them is there, nor the directory if it was not there before.
pub fn restore(restore: &Restore<'_>, watch: &Arc<dyn Watch>) -> Result<Done, CopyError> {
    make(restore, watch).map_err(|error| error.named(&directory::file(restore.data)))
}

fn make(restore: &Restore<'_>, watch: &Arc<dyn Watch>) -> Result<Done, CopyError> {
    let began = Instant::now();
    if !restore.file.try_exists().map_err(CopyError::io(restore.file))? || !restore.file.is_file() {
        return Err(CopyError::NotThere(restore.file.to_owned()));
    }
    let (file, was_there) = (directory::file(restore.data), restore.data.exists());
    // Also before the lock's file is made: it would make a data directory of whatever other folder was named.
    if was_there && !directory::is_in_use(&file).unwrap_or(true) {
        refuse_left_over(&file)?;
    }
    let directory = Directory::open(restore.data)?;
    let made = fill(&directory, restore, watch);
    if made.is_err() && !was_there {
        directory.remove();
    }
    let (contents, bytes) = made?;
    Ok(Done { contents, bytes, elapsed: began.elapsed() })
}

/// What it holds then, and its size in bytes.
fn fill(
    directory: &Directory,
    restore: &Restore<'_>,
    watch: &Arc<dyn Watch>,
) -> Result<(Contents, u64), CopyError> {
    let file = directory.file();
    refuse_left_over(&file)?;
    // A backup has no log, but what somebody copied by hand may.
    inspect_log_of(restore.file)?;
    let partial = Partial::of(&file)?;
    // Nobody writes to a backup: there is no log that could grow.
    copy::copy(restore.file, partial.path(), u64::MAX, &**watch)?;
    adapt(partial.path(), restore.keep_sessions)?;
    let contents = copy::check(partial.path(), watch)?;
    let bytes = copy::sync(partial.path(), &**watch)?;
    if watch.is_cancelled() {
        return Err(CopyError::Cancelled);
    }
    partial.put(&file, false)?;
    directory.sync()?;
    Ok((contents, bytes))
}

/// Refuses anything of another data file: SQLite's files, or the files of its keys, which may remember
/// refusals that the backup does not know of.
fn refuse_left_over(file: &Path) -> Result<(), CopyError> {
    let beside = BESIDE.map(|ending| beside(file, ending));
    let found =
        [file.to_owned()].into_iter().chain(beside).find(|it| it.symlink_metadata().is_ok());
    if let Some(found) = found {
        return Err(CopyError::HasData(found));
    }
    let folder = names::folder(file);
    for entry in fs::read_dir(folder).map_err(CopyError::io(folder))? {
        let entry = entry.map_err(CopyError::io(folder))?;
        if entry.file_name().as_encoded_bytes().starts_with(b"keys-") {
            return Err(CopyError::HasData(entry.path()));
        }
    }
    Ok(())
}

/// Brings the copy to today's version and ends its sessions. Without a journal: what fails here is
/// thrown away.
fn adapt(file: &Path, keep_sessions: bool) -> Result<(), CopyError> {
    let mut connection = copy::connect_to_copy(file)?;
    connection.execute_batch("PRAGMA journal_mode = OFF")?;
    let now = Timestamp::from(SystemTime::now());
    schema::migrate(&mut connection, None, now.micros())?;
    if !keep_sessions {
        connection.execute("DELETE FROM session", ())?;
    }
    Ok(())
}

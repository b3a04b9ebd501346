//! Owns the data directory: its files' names, and the lock that keeps a second process out.
//!
//! Never: what is in the files. Bounds: one process a directory, by locks that the kernel lets go
//! of when the process ends, however it ends: one of the file `kopeck.lock`, one of the directory itself, for
//! the file may be deleted, and whoever makes another would have another lock. Where the data file's name is a link,
//! one more beside the file itself, which other directories may lead to, or be the one that it is in.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::file::names::{BESIDE, beside, folder, log_of};
use crate::file::open_error::OpenError;

/// A data directory that is this process's alone, until it is dropped.
pub(crate) struct Directory {
    path: PathBuf,
    /// The locks go with what is open: the directory, the lock's file, and that of a linked data file.
    _locks: Vec<File>,
}

const FILE: &str = "kopeck.db";
const LOCK: &str = "kopeck.lock";

/// How long a start waits for a process that is just ending.
const LOCK_WAIT_MAX: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Whether there is a data file in a directory.
#[must_use]
pub fn has_file(path: &Path) -> bool {
    file(path).exists()
}

/// Refuses a directory without a data file, as `not_there` says it. One that may not be looked into may well have one.
pub(crate) fn ensure_file<E: From<OpenError>>(
    path: &Path,
    not_there: impl FnOnce() -> E,
) -> Result<(), E> {
    match file(path).try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_there()),
        Err(error) => Err(OpenError::Unusable { path: path.to_owned(), error }.into()),
    }
}

/// Whether a folder is a data directory, in use or not, or the one that the data file of `data` lies in, where its name
/// is a link: nothing else may be written there. A plain file of that name alone is as well a backup.
#[must_use]
pub fn holds_data(folder: &Path, data: &Path) -> bool {
    let there = file(folder);
    let is_used = || there.is_symlink() || BESIDE.iter().any(|end| beside(&there, end).exists());
    let has_the_file_of_data = || {
        let linked = file(data).canonicalize().ok()?;
        Some(folder.canonicalize().ok()? == linked.parent()?)
    };
    folder.join(LOCK).exists()
        || has_file(folder) && is_used()
        || has_the_file_of_data() == Some(true)
}

/// Whether the data file's name is a link, and what it leads to is not there.
pub(crate) fn leads_nowhere(path: &Path) -> bool {
    file(path).is_symlink() && !has_file(path)
}

/// Whether a data file has another name, by which it may be another directory's, in use, with another log.
pub(crate) fn has_other_names(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.nlink() > 1)
}

/// A file that belongs to a data file which is not there: it was lost, or is still to come. Nor is one that is
/// empty: SQLite would delete its log.
pub(crate) fn leftover(path: &Path) -> io::Result<Option<PathBuf>> {
    let is_there = fs::metadata(file(path)).is_ok_and(|file| file.len() > 0);
    if is_there || !path.is_dir() {
        return Ok(None);
    }
    // Where the name is a link, its log is in another directory.
    let log = log_of(&file(path));
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Ok(Some(log));
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let log =
            name.starts_with(FILE) && name.ends_with("-wal") && fs::metadata(&entry)?.len() > 0;
        if log || name.ends_with(".partial") || name.starts_with("keys-") && name.ends_with(".run")
        {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Whether a process has the data file of this name now, by the lock beside it. Where that one's file was deleted,
/// the directory's own lock tells, of the data file and not of a copy beside it; where it is there it is not asked, for
/// others may lock a directory for a purpose of theirs.
pub(crate) fn is_in_use(file: &Path) -> io::Result<bool> {
    match is_locked(&file.with_extension("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(file.ends_with(FILE) && is_locked(folder(file)).unwrap_or(false))
        }
        found => found,
    }
}

fn is_locked(path: &Path) -> io::Result<bool> {
    // Shared, and let go of at once: a start that comes at this moment waits longer than that.
    match File::open(path)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// How much room its disk has for somebody who is not root.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The data file of a directory that need not be this process's.
pub(crate) fn file(path: &Path) -> PathBuf {
    path.join(FILE)
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |error: io::Error| OpenError::Unusable { path: path.to_owned(), error };
        make(path).map_err(unusable)?;
        let began = Instant::now();
        let itself = File::open(path).map_err(unusable)?;
        match lock(&itself, began) {
            // A network's file system may lock no directories: there the file's lock is the only one.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(path.to_owned())),
        }
        let mut locks = vec![itself];
        for name in [Some(path.join(LOCK)), lock_of_linked(path)].into_iter().flatten() {
            let mut options = File::options();
            let options = options.create(true).truncate(false).write(true);
            let file = options.open(name).map_err(unusable)?;
            match lock(&file, began) {
                Ok(()) => locks.push(file),
                Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(path.to_owned())),
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
        }
        Ok(Self { path: path.to_owned(), _locks: locks })
    }

    /// The data file.
    pub(crate) fn file(&self) -> PathBuf {
        file(&self.path)
    }

    /// Deletes it, unless somebody has put something there: it was made for what has failed.
    pub(crate) fn remove(self) {
        let _ = fs::remove_file(self.path.join(LOCK));
        let _ = fs::remove_dir(&self.path);
    }

    /// Makes the names of files that were just made durable.
    pub(crate) fn sync(&self) -> Result<(), OpenError> {
        sync(&self.path).map_err(|error| OpenError::Unusable { path: self.path.clone(), error })
    }
}

/// The lock beside a data file whose name is a link, unless it is the directory's own. Of a file in another data
/// directory, it is that directory's.
fn lock_of_linked(path: &Path) -> Option<PathBuf> {
    let lock = file(path).canonicalize().ok()?.with_extension("lock");
    (lock != path.canonicalize().ok()?.join(LOCK)).then_some(lock)
}

/// Waits for a process that is just ending, and not for another.
fn lock(file: &File, began: Instant) -> Result<(), TryLockError> {
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT_MAX => {
                std::thread::sleep(LOCK_PAUSE);
            }
            locked => return locked,
        }
    }
}

/// Makes a directory and those above it that are not there, each of them durable. Readable by its
/// owner only: it will hold e-mail addresses and password hashes.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make(parent)?;
    fs::DirBuilder::new().mode(0o700).create(path)?;
    sync(parent)
}

/// Makes the names in a directory durable.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_use_while_it_is_open_also_without_the_locks_file() {
        let dir = tempfile::TempDir::new().unwrap();
        let open = || Directory::open(dir.path()).unwrap();
        let copy_is_in_use = || is_in_use(&dir.path().join("copy.db")).unwrap();
        let is_in_use = || is_in_use(&file(dir.path())).unwrap();
        assert!(!is_in_use());
        let directory = open();
        assert!(is_in_use() && !copy_is_in_use());
        fs::remove_file(dir.path().join(LOCK)).unwrap();
        assert!(is_in_use());
        drop(directory);
        assert!(!is_in_use());
        drop(open());
        let another_programs = File::open(dir.path()).unwrap();
        another_programs.lock().unwrap();
        assert!(!is_in_use(), "the file tells");
    }
}

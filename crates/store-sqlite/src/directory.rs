//! Owns the data directory: its files' names, and the lock that keeps a second process out.
//!
//! Never: what is in the files. Bounds: one process a directory, by a lock that the kernel lets go
//! of when the process ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::OpenError;

/// A data directory that is this process's alone, until it is dropped.
pub(crate) struct Directory {
    path: PathBuf,
    /// The lock goes with the open file.
    _lock: File,
}

const FILE: &str = "kopeck.db";

/// Whether there is a data file.
pub(crate) fn has_file(path: &Path) -> bool {
    path.join(FILE).exists()
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |error: io::Error| OpenError::Unusable { path: path.to_owned(), error };
        make(path).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("kopeck.lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The data file.
    pub(crate) fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// Makes the names of files that were just made durable.
    pub(crate) fn sync(&self) -> Result<(), OpenError> {
        sync(&self.path).map_err(|error| OpenError::Unusable { path: self.path.clone(), error })
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

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

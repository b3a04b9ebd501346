//! Owns the names of what stands beside a data file.
//!
//! Never: what is in it. Bounds: none.

use std::path::{Path, PathBuf};

/// The endings of the files that SQLite may keep beside a data file. One that is left over from another
/// data file would be read as if it belonged to this one.
pub(crate) const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The log of a data file, wherever SQLite keeps it.
pub(crate) fn log_of(file: &Path) -> PathBuf {
    beside(&itself(file), "-wal")
}

/// The data file itself, where its name is a link to it: SQLite keeps what is beside it there, and not beside the link.
pub(crate) fn itself(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

/// A file that SQLite keeps beside a data file, by its ending.
pub(crate) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The directory that a file is in.
#[must_use]
pub fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

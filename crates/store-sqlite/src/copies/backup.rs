//! Owns the backup: one plain file, made beside a running engine, in its place whole or not at all.
//!
//! Never: a pause of the engine, or a write to its files. Bounds: one read transaction, during which
//! the engine's log may grow by [`Backup::log_grows_bytes_max`]; then the backup gives up.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tempfile::{NamedTempFile, TempPath};

use crate::copies::copy::{self, CopyError, Done};
use crate::file::connection::inspect_log_at_rest;
use crate::file::directory;
use crate::file::names::{self, BESIDE, beside};
use crate::watch::Watch;

/// What to back up, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Backup<'p> {
    /// The data directory; an engine may be running on it.
    pub data: &'p Path,
    /// The file to make.
    pub file: &'p Path,
    /// Whether a file of that name may be replaced.
    pub replace: bool,
    /// By how many bytes the engine's log may grow meanwhile.
    pub log_grows_bytes_max: u64,
}

/// Makes a backup: the state after one of the engine's commits that was newest when this began, or
/// newer. Blocks. When it returns, the file is checked and durable, in its place, and its owner's
/// only; when it fails, nothing of it is there, and what was there is untouched.
pub fn backup(backup: &Backup<'_>, watch: &Arc<dyn Watch>) -> Result<Done, CopyError> {
    make(backup, watch).map_err(|error| error.named(backup.file))
}

fn make(backup: &Backup<'_>, watch: &Arc<dyn Watch>) -> Result<Done, CopyError> {
    let began = Instant::now();
    check_place(backup)?;
    inspect_log_at_rest(backup.data)?;
    let folder = names::folder(backup.file);
    let partial = Partial::of(backup.file)?;
    copy::copy(
        &directory::file(backup.data),
        partial.path(),
        backup.log_grows_bytes_max,
        &**watch,
    )?;
    let contents = copy::check(partial.path(), watch)?;
    let bytes = copy::sync(partial.path(), &**watch)?;
    if watch.is_cancelled() {
        return Err(CopyError::Cancelled);
    }
    partial.put(backup.file, backup.replace)?;
    directory::sync(folder).map_err(CopyError::io(folder))?;
    Ok(Done { contents, bytes, elapsed: began.elapsed() })
}

/// A copy on its way to its place. Dropped before it is there, it goes, and with it what SQLite may
/// have kept beside it.
pub(crate) struct Partial {
    path: TempPath,
    beside: Beside,
}

/// The files that SQLite may leave beside a copy whose last write failed.
struct Beside([PathBuf; 3]);

impl Drop for Beside {
    fn drop(&mut self) {
        for file in &self.0 {
            // As a rule there is none.
            let _ = fs::remove_file(file);
        }
    }
}

impl Partial {
    /// An empty file beside `file`, its owner's only.
    pub(crate) fn of(file: &Path) -> Result<Self, CopyError> {
        let name = file.file_name().ok_or_else(|| CopyError::NoName(file.to_owned()))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let folder = names::folder(file);
        let made = tempfile::Builder::new().prefix(&prefix).suffix(".partial").tempfile_in(folder);
        // Closed: SQLite's locks do not bear that another opens and closes the file.
        let path = made.map(NamedTempFile::into_temp_path).map_err(CopyError::io(folder))?;
        let beside = Beside(BESIDE.map(|ending| beside(&path, ending)));
        Ok(Self { path, beside })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives a finished copy its name, in one step.
    pub(crate) fn put(self, file: &Path, replace: bool) -> Result<(), CopyError> {
        let Self { path, beside } = self;
        drop(beside);
        let put = if replace { path.persist(file) } else { path.persist_noclobber(file) };
        put.map_err(|refused| match refused.error.kind() {
            io::ErrorKind::AlreadyExists => CopyError::Exists(file.to_owned()),
            _ => CopyError::Io { path: file.to_owned(), error: refused.error },
        })
    }
}

/// Refuses, before anything is done, a place that the backup should not go to.
fn check_place(backup: &Backup<'_>) -> Result<(), CopyError> {
    let Backup { data, file, replace, .. } = *backup;
    if file.file_name().is_none() || file.is_dir() {
        return Err(CopyError::NoName(file.to_owned()));
    }
    match fs::symlink_metadata(file) {
        Ok(found) if !found.is_file() => return Err(CopyError::NotPlain(file.to_owned())),
        Ok(_) if !replace => return Err(CopyError::Exists(file.to_owned())),
        _ => {}
    }
    directory::ensure_file(data, || CopyError::NotThere(directory::file(data)))?;
    let real = |path: &Path| path.canonicalize().map_err(CopyError::io(path));
    let folder = real(names::folder(file))?;
    if folder.starts_with(real(data)?) || directory::holds_data(&folder, data) {
        return Err(CopyError::InDataDirectory(file.to_owned()));
    }
    let others = BESIDE.map(|ending| beside(file, ending));
    others
        .into_iter()
        .find(|other| other.exists())
        .map_or(Ok(()), |other| Err(CopyError::Beside(other)))
}

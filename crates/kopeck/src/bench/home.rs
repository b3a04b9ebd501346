//! Owns where a benchmark's books lie, and their end.
//!
//! Never: a directory in memory by default: the disk of the current directory is measured. Bounds: what
//! is not to be kept goes when this is dropped.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::options::Place;
use super::prefill;
use super::work::{Size, Work};

/// A place for books.
pub(super) struct Home {
    path: PathBuf,
    /// Removes it.
    _temporary: Option<tempfile::TempDir>,
}

impl Home {
    /// Finds, or makes, the place that was asked for, and says where it is.
    pub(super) fn new(place: &Place) -> anyhow::Result<Self> {
        let base = place.work_dir.clone().map_or_else(std::env::current_dir, Ok)?;
        let cannot = || format!("cannot work in {}", base.display());
        std::fs::create_dir_all(&base).with_context(cannot)?;
        let home = if place.keep {
            Self { path: base, _temporary: None }
        } else {
            let temporary = tempfile::Builder::new().prefix("kopeck-bench-").tempdir_in(&base);
            let temporary = temporary.with_context(cannot)?;
            Self { path: temporary.path().to_owned(), _temporary: Some(temporary) }
        };
        eprintln!("kopeck bench: working in {}", home.path.display());
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A book of this name and size, made if it is not there yet.
    pub(super) fn book(&self, name: &str, size: Size) -> anyhow::Result<Work> {
        let mut work = Work::open(&self.path.join(name), size)?;
        prefill::fill(&mut work, name)?;
        Ok(work)
    }
}

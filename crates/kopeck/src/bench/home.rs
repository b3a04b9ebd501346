//! Owns where a benchmark's books lie, and their end.
//!
//! Never: a directory in memory by default: the disk of the current directory is measured; nor a book that
//! the disk has no room for, or one beside what others have made. Bounds: what is not to be kept goes when
//! this is dropped.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::options::Place;
use super::work::{self, Size, Work};
use super::{prefill, raw};

/// How a directory is named that is not kept.
const PREFIX: &str = "kopeck-bench-";

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
            refuse_what_is_not_ours(&base)?;
            Self { path: base, _temporary: None }
        } else {
            let temporary = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&base);
            let temporary = temporary.with_context(cannot)?;
            Self { path: temporary.path().to_owned(), _temporary: Some(temporary) }
        };
        crate::complain(format_args!("kopeck bench: working in {}", home.path.display()));
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An error if the disk has no room for these books, as far as they are not there yet.
    pub(super) fn require_room_for(&self, books: &[(&str, Size)]) -> anyhow::Result<()> {
        let missing = books.iter().filter(|(name, _)| !work::is_ours(&self.path.join(name)));
        let needed = missing.map(|(_, size)| size.disk_bytes()).fold(0, u64::saturating_add);
        let disk = rustix::fs::statvfs(&self.path)
            .with_context(|| format!("how much room {} has", self.path.display()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        ensure!(
            needed <= free,
            "the book would take about {:.1} GB, and the disk of {} has {:.1} GB free: ask for fewer \
             wallets and operations, or for another --work-dir",
            gigabytes(needed),
            self.path.display(),
            gigabytes(free),
        );
        Ok(())
    }

    /// A book of this name and size, made if it is not there yet.
    pub(super) fn book(&self, name: &str, size: Size) -> anyhow::Result<Work> {
        self.require_room_for(&[(name, size)])?;
        let mut work = Work::open(&self.path.join(name), size)?;
        prefill::fill(&mut work, name)?;
        Ok(work)
    }
}

/// Data are kept in a directory that nobody else uses. What benchmarks leave in one: books, what they did
/// not come to remove, and a directory that was to become a book.
fn refuse_what_is_not_ours(dir: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let left = name.to_string_lossy().starts_with(PREFIX) || name == raw::FILE;
        let path = entry.path();
        let empty = || std::fs::read_dir(&path).is_ok_and(|mut inside| inside.next().is_none());
        ensure!(
            left || work::is_ours(&path) || empty(),
            "{} has things in it that no benchmark has made ({}): choose another --work-dir to keep data in",
            dir.display(),
            name.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { wallets: 5, sessions: 3, operations: 0, hot_operations: 0 };

    fn kept(dir: &Path) -> Place {
        Place { work_dir: Some(dir.to_owned()), keep: true }
    }

    #[test]
    fn data_are_kept_in_a_directory_of_their_own_that_can_be_used_again() {
        let dir = tempfile::tempdir().unwrap();
        Home::new(&kept(dir.path())).unwrap().book("book", SIZE).unwrap();
        std::fs::create_dir(dir.path().join("kopeck-bench-of-one-that-was-killed")).unwrap();
        std::fs::write(dir.path().join(raw::FILE), "x").unwrap();
        Home::new(&kept(dir.path())).unwrap().book("book", SIZE).unwrap();
        for foreign in ["a file", "a directory/with a file"] {
            let path = dir.path().join(foreign);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "somebody's").unwrap();
            let said = Home::new(&kept(dir.path())).err().unwrap().to_string();
            assert!(said.contains("no benchmark has made (a "), "{said}");
            // What is not kept has a directory of its own, beside whatever is there.
            let beside = Place { keep: false, ..kept(dir.path()) };
            assert_ne!(Home::new(&beside).unwrap().path(), dir.path());
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_book_that_the_disk_has_no_room_for_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(&kept(dir.path())).unwrap();
        let said =
            home.book("book", Size { operations: u64::MAX, ..SIZE }).unwrap_err().to_string();
        assert!(said.contains("GB free"), "{said}");
        assert!(!dir.path().join("book").exists());
        // All together have no room either, but what is there needs none.
        let half = Size { operations: u64::MAX / 500, ..SIZE };
        assert!(home.require_room_for(&[("book", half), ("other", half)]).is_err());
        home.book("book", SIZE).unwrap();
        home.require_room_for(&[("book", half)]).unwrap();
    }
}

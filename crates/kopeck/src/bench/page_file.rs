//! Owns the file of the report: opened before anything is measured, so that minutes of work are not lost to
//! a directory that is not there.
//!
//! Never: what is in it. Bounds: a file that was made for a report that never came is removed again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file that will have a report.
#[derive(Debug)]
pub(super) struct PageFile {
    path: PathBuf,
    file: File,
    /// Nobody misses it if there is no report.
    is_only_ours: bool,
}

impl PageFile {
    /// Opens it, and makes it if it is not there. What it has in it stays until there is a report.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let is_only_ours = !path.exists();
        let file = File::options().create(true).write(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot write the report {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, is_only_ours })
    }

    /// Writes the report over whatever was there.
    pub(super) fn write(mut self, page: &str) -> anyhow::Result<()> {
        let written = self.replace(page);
        written.with_context(|| format!("cannot write the report {}", self.path.display()))?;
        self.is_only_ours = false;
        Ok(())
    }

    fn replace(&mut self, page: &str) -> io::Result<()> {
        // What is no plain file, a pipe say, has nothing to be cut off.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(page.as_bytes())
    }
}

impl Drop for PageFile {
    fn drop(&mut self) {
        if self.is_only_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_written_whole_and_what_was_there_stays_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.html");
        drop(PageFile::open(&path).unwrap());
        assert!(!path.exists(), "there was no report");
        fs::write(&path, "an earlier report, which is longer").unwrap();
        drop(PageFile::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "an earlier report, which is longer");
        PageFile::open(&path).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn where_it_cannot_be_is_known_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [dir.path().to_owned(), dir.path().join("none/report.html")] {
            let said = format!("{:#}", PageFile::open(&bad).unwrap_err());
            assert!(
                said.starts_with(&format!("cannot write the report {}: ", bad.display())),
                "{said}"
            );
        }
        if Path::new("/dev/full").exists() {
            let full = PageFile::open(Path::new("/dev/full")).unwrap();
            let said = format!("{:#}", full.write("page").unwrap_err());
            assert!(said.contains("/dev/full"), "{said}");
        }
    }
}

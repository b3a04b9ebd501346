//! Owns *raw*: a bare file to which checksummed records are appended, one fsync a batch: the least that
//! any log does.
//!
//! Never: a decision, an index, a chain. Bounds: one file, which is removed at the end, whatever that is; one batch in
//! memory.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempPath;

/// What an operation takes in it, in bytes: about what a row with a key takes in the data file.
const OPERATION_BYTES: usize = 100;

/// Of a record's checksum, which stands before it.
const SUM_BYTES: usize = size_of::<u32>();

/// What it is called.
pub(super) const FILE: &str = "raw";

/// How long so many batches of so many operations take, as long as it is to `go_on`.
pub(super) fn time(
    dir: &Path,
    (batch, batches): (usize, usize),
    go_on: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let mut numbers = 1_u64..;
    let mut file = RawFile::create(dir)?;
    let began = Instant::now();
    for _ in 0..batches {
        go_on()?;
        for number in numbers.by_ref().take(batch) {
            // Its number, and what stands for the rest of a row.
            file.append(|record| {
                record.extend_from_slice(&number.to_le_bytes());
                record.extend_from_slice(&[b'x'; OPERATION_BYTES - SUM_BYTES - size_of::<u64>()]);
            });
        }
        file.sync()?;
    }
    let took = began.elapsed();
    file.remove()?;
    Ok(took)
}

/// A file to which records are appended.
pub(super) struct RawFile {
    /// Removes it.
    path: TempPath,
    file: File,
    /// What is not in it yet.
    batch: Vec<u8>,
}

impl RawFile {
    /// Begins one in this directory, without asking whether there is room for it.
    pub(super) fn create(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let file = named(&path, File::create(&path))?;
        let path = named(&path, TempPath::try_from_path(&path))?;
        Ok(Self { path, file, batch: Vec::new() })
    }

    /// Appends a record: what is written, and its checksum before it.
    #[inline]
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.batch.len();
        self.batch.extend_from_slice(&[0; SUM_BYTES]);
        write(&mut self.batch);
        if let Some((place, record)) =
            self.batch.get_mut(at..).and_then(<[u8]>::split_first_chunk_mut)
        {
            *place = crc32fast::hash(record).to_le_bytes();
        }
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&mut self) -> anyhow::Result<()> {
        let written = self.file.write_all(&self.batch).and_then(|()| self.file.sync_data());
        self.batch.clear();
        named(&self.path, written)
    }

    /// Removes it.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        let path = self.path.to_path_buf();
        named(&path, self.path.close())
    }
}

/// The disk may be full, and it is not the book that has no room.
fn named<T>(path: &Path, result: io::Result<T>) -> anyhow::Result<T> {
    result.with_context(|| format!("the bare file {}", path.display()))
}

/// The records of a file, whose checksums all fit.
#[cfg(test)]
pub(super) fn records(bytes: &[u8], length: usize) -> Vec<&[u8]> {
    let records = bytes.chunks(SUM_BYTES + length).map(|record| {
        let (sum, rest) = record.split_first_chunk().unwrap_or((&[0; SUM_BYTES], &[]));
        assert_eq!(sum, &crc32fast::hash(rest).to_le_bytes());
        rest
    });
    records.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_file_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let said = format!("{:#}", time(&gone, (8, 8), || Ok(())).unwrap_err());
        assert!(said.starts_with("the bare file ") && said.contains("gone/raw: "), "{said}");
    }

    #[test]
    fn what_was_appended_is_in_it_with_a_checksum_each_after_a_sync() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = RawFile::create(dir.path()).unwrap();
        let read = || std::fs::read(dir.path().join(FILE)).unwrap();
        for text in [*b"one", *b"two"] {
            file.append(|record| record.extend_from_slice(&text));
        }
        assert!(read().is_empty());
        file.sync().unwrap();
        assert_eq!(records(&read(), 3), [b"one", b"two"]);
        file.append(|record| record.extend_from_slice(b"six"));
        file.sync().unwrap();
        assert_eq!(records(&read(), 3), [b"one", b"two", b"six"]);
    }

    #[test]
    fn nothing_is_left_behind() {
        let home = tempfile::tempdir().unwrap();
        let is_empty = || std::fs::read_dir(home.path()).unwrap().next().is_none();
        assert!(time(home.path(), (7, 3), || Ok(())).unwrap() > Duration::ZERO);
        assert!(is_empty());
        // Nor where it is stopped.
        let stopped = || if is_empty() { Ok(()) } else { anyhow::bail!("stopped") };
        assert_eq!(time(home.path(), (7, 3), stopped).unwrap_err().to_string(), "stopped");
        assert!(is_empty());
    }
}

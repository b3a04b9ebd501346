//! Owns *raw*: a bare file to which checksummed records are appended, one fsync a batch: the least that
//! any log does.
//!
//! Never: a decision, an index, a chain. Bounds: one file, which is removed at the end.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;

/// What an operation takes in it, in bytes: about what a row with a key takes in the data file.
pub(super) const OPERATION_BYTES: usize = 100;

/// What it is called.
pub(super) const FILE: &str = "raw";

/// Operations a second.
pub(super) fn rate(dir: &Path, batch: usize, operations: usize) -> anyhow::Result<f64> {
    let path = dir.join(FILE);
    // Its room is not asked for before, so the disk may be full, and it is not the book that has none.
    rate_of(&path, batch, operations).with_context(|| format!("the bare file {}", path.display()))
}

fn rate_of(path: &Path, batch: usize, operations: usize) -> io::Result<f64> {
    let mut file = File::create(path)?;
    let batches = operations.div_ceil(batch.max(1)).max(1);
    let mut bytes = Vec::with_capacity(OPERATION_BYTES * batch);
    let mut numbers = 1_u64..;
    let began = Instant::now();
    for _ in 0..batches {
        bytes.clear();
        numbers.by_ref().take(batch).for_each(|number| append(&mut bytes, number));
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    let rate = (batches * batch) as f64 / began.elapsed().as_secs_f64();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// A record: its checksum, its number, and what stands for the rest of a row.
fn append(bytes: &mut Vec<u8>, number: u64) {
    let mut record = [b'x'; OPERATION_BYTES - size_of::<u32>()];
    if let Some(place) = record.first_chunk_mut() {
        *place = number.to_le_bytes();
    }
    bytes.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
    bytes.extend_from_slice(&record);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_file_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let said = format!("{:#}", rate(&dir.path().join("gone"), 8, 8).unwrap_err());
        assert!(said.starts_with("the bare file ") && said.contains("gone/raw: "), "{said}");
    }

    #[test]
    fn each_record_has_its_own_checksum() {
        let mut bytes = Vec::new();
        (1..=3).for_each(|number| append(&mut bytes, number));
        assert_eq!(bytes.len(), 3 * OPERATION_BYTES);
        for (record, number) in bytes.chunks(OPERATION_BYTES).zip(1_u64..) {
            let (sum, rest) = record.split_at(4);
            assert_eq!(sum, crc32fast::hash(rest).to_le_bytes());
            assert_eq!(rest[..8], number.to_le_bytes());
        }
    }

    #[test]
    fn nothing_is_left_behind() {
        let home = tempfile::tempdir().unwrap();
        assert!(rate(home.path(), 7, 20).unwrap() > 0.0);
        assert!(std::fs::read_dir(home.path()).unwrap().next().is_none());
    }
}

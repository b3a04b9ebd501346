//! Owns *raw*: a bare file that is appended to and fsynced, batch by batch. No engine can be faster on
//! the same disk with as many fsyncs.
//!
//! Never: a word of what is written. Bounds: one file, which is removed at the end.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// What an operation takes in it, in bytes: about what a row with a key takes in the data file.
pub(super) const OPERATION_BYTES: usize = 100;

/// Operations a second.
pub(super) fn rate(dir: &Path, batch: usize, operations: usize) -> anyhow::Result<f64> {
    let path = dir.join("raw");
    let mut file = File::create(&path)?;
    let bytes = vec![b'x'; OPERATION_BYTES * batch];
    let batches = operations.div_ceil(batch.max(1)).max(1);
    let began = Instant::now();
    for _ in 0..batches {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    let rate = (batches * batch) as f64 / began.elapsed().as_secs_f64();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(rate)
}

//! Owns the look into the write-ahead log before SQLite opens it: whether what SQLite would let go of
//! is only the end of a write that nobody was told of.
//!
//! Never: a change of the log. Bounds: one pass over the log, which is a few dozen MiB at most unless
//! somebody read for long.
//!
//! SQLite takes the log up to the first frame whose checksum does not fit, and silently forgets the
//! rest: after a crash that is the batch that was being written. But the engine writes a batch only when
//! the one before it is on the disk. So if a whole batch stands behind the first frame that does not
//! fit, and anything after it, then that batch had been acknowledged, and the frame was damaged later.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says that checksums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// The log holds acknowledged batches that SQLite would not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the write-ahead log is damaged at frame {frame}, and acknowledged operations stand behind it"
)]
pub(crate) struct LogDamage {
    /// The first frame that does not fit, counted from 1; 0 is the head.
    pub(crate) frame: u64,
}

/// Looks for acknowledged batches behind the first damage.
pub(crate) fn inspect(log: &Path) -> io::Result<Result<(), LogDamage>> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(())),
        Err(error) => return Err(error),
    };
    let mut log = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut log, &mut header)? || header == [0; HEADER_BYTES] {
        return Ok(Ok(()));
    }
    let Some(header) = Header::read(&header) else { return Ok(Err(LogDamage { frame: 0 })) };
    let mut frame = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    let mut running = Some(header.checksum);
    let (mut number, mut damaged, mut commits_behind) = (0, None, false);
    while fill(&mut log, &mut frame)? {
        number += 1;
        let Some((head, page)) = frame.split_at_checked(FRAME_HEADER_BYTES) else { break };
        let [_, commit, salt_1, salt_2, sum_1, sum_2] = words(head);
        if [salt_1, salt_2] != header.salts {
            // Left over from before the log began anew, as all are behind the end. Of the batch that
            // was being written, a frame may be such a one and a later one not.
            damaged.get_or_insert(number);
            continue;
        }
        if commits_behind {
            return Ok(Err(LogDamage { frame: damaged.unwrap_or(number) }));
        }
        running = running.filter(|_| damaged.is_none()).and_then(|sum| {
            let sum = header.sum(header.sum(sum, head.get(..8)?), page);
            (sum == [sum_1, sum_2]).then_some(sum)
        });
        if running.is_none() {
            damaged.get_or_insert(number);
            commits_behind |= commit != 0;
        }
    }
    Ok(Ok(()))
}

/// Whether there was enough to fill the buffer.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

struct Header {
    big_endian: bool,
    page_bytes: usize,
    salts: [u32; 2],
    checksum: [u32; 2],
}

impl Header {
    fn read(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let [magic, _, page_bytes, _, salt_1, salt_2, sum_1, sum_2] = words(bytes);
        let page_bytes = usize::try_from(page_bytes).ok()?;
        let known = magic & !1 == MAGIC && page_bytes.is_power_of_two() && page_bytes <= 65_536;
        let header = Self {
            big_endian: magic & 1 == 1,
            page_bytes,
            salts: [salt_1, salt_2],
            checksum: [sum_1, sum_2],
        };
        let sum = header.sum([0, 0], bytes.get(..24)?);
        (known && sum == header.checksum).then_some(header)
    }

    /// SQLite's checksum of bytes after those of `sum`.
    fn sum(&self, [mut first, mut second]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
        for [one, other] in bytes.as_chunks::<4>().0.as_chunks::<2>().0 {
            let [one, other] = [*one, *other].map(|word| {
                if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
            });
            first = first.wrapping_add(one).wrapping_add(second);
            second = second.wrapping_add(other).wrapping_add(first);
        }
        [first, second]
    }
}

/// The first big-endian words.
fn words<const COUNT: usize>(bytes: &[u8]) -> [u32; COUNT] {
    let mut words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word));
    [(); COUNT].map(|()| words.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rusqlite::Connection;

    use super::*;

    /// A log of so many batches, as it stands after a crash.
    fn log_of(batches: usize) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::TempDir::new().unwrap();
        let connection = Connection::open(dir.path().join("db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = wal; CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE);",
            )
            .unwrap();
        for batch in 0..batches {
            connection.execute("INSERT INTO t VALUES (?)", [batch]).unwrap();
        }
        let crashed = dir.path().join("crashed");
        std::fs::copy(dir.path().join("db-wal"), &crashed).unwrap();
        (dir, crashed)
    }

    #[test]
    fn only_the_last_batch_may_be_missing() {
        let (_dir, log) = log_of(5);
        let whole = std::fs::read(&log).unwrap();
        let frame_bytes = FRAME_HEADER_BYTES + 4_096;
        assert_eq!(whole.len(), HEADER_BYTES + 5 * frame_bytes);
        assert_eq!(inspect(&log).unwrap(), Ok(()));
        for at in 0..whole.len() {
            // All bytes of the heads, and some of the pages.
            let (frame, within) = match at.checked_sub(HEADER_BYTES) {
                None => (0, at),
                Some(at) => (1 + at / frame_bytes, at % frame_bytes),
            };
            if frame > 0 && within >= FRAME_HEADER_BYTES && !at.is_multiple_of(97) {
                continue;
            }
            let mut bad = whole.clone();
            bad[at] ^= 0x40;
            std::fs::write(&log, &bad).unwrap();
            let found = inspect(&log).unwrap().err().map(|damage| damage.frame);
            let salts = (8..16).contains(&within) && frame > 0;
            // The last batch may never have been acknowledged. A frame with another salt may be one
            // of the last batch's that was not written.
            let told = frame <= if salts { 3 } else { 4 };
            assert_eq!(found, told.then_some(frame as u64), "byte {at} of frame {frame}");
        }
    }

    #[test]
    fn every_log_that_was_cut_short_is_taken() {
        let (_dir, log) = log_of(3);
        let whole = std::fs::read(&log).unwrap();
        for length in (0..whole.len()).step_by(61) {
            std::fs::write(&log, &whole[..length]).unwrap();
            assert_eq!(inspect(&log).unwrap(), Ok(()), "{length}");
        }
        assert_eq!(inspect(Path::new("/nowhere/log")).unwrap(), Ok(()));
    }
}

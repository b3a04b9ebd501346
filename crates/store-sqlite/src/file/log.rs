//! Owns the look into the write-ahead log before SQLite opens it: whether what SQLite would let go of
//! is only the end of a write that nobody was told of.
//!
//! Never: a change of the log. Bounds: one pass over the log, which is a few dozen MiB at most unless
//! somebody read for long.
//!
//! SQLite takes the log up to the first frame whose checksum does not fit, and silently forgets the
//! rest: after a crash that is the batch that was being written. But the engine writes a batch only when
//! the one before it is on the disk. So if a whole batch stands behind the first frame that does not
//! fit, and a frame that was written after it, then that batch had been acknowledged, and the frame was
//! damaged later. That a frame was written after another is told by its checksum, which goes on from that
//! one's: where a batch was refused because the disk was full, its frames are left behind the end. Or by a
//! second end of a batch: the one that was being written has one, and what was refused has none.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says that checksums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// How long a log of so many frames is.
pub(crate) fn bytes_of(frames: u64, page_bytes: u64) -> u64 {
    HEADER_BYTES as u64 + frames * (FRAME_HEADER_BYTES as u64 + page_bytes)
}

/// The log holds acknowledged batches that SQLite would not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the write-ahead log is damaged at frame {frame}, and acknowledged operations stand behind it"
)]
pub(crate) struct LogDamage {
    /// The first frame that does not fit, counted from 1; 0 is the head.
    pub(crate) frame: u64,
}

/// What SQLite will take of a log: the frames up to the end of the last whole batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) frames: u64,
    /// The pages that they are of, counted from 1.
    pages: HashSet<u32>,
    /// How many pages the data file has with them.
    pages_in_all: u32,
    page_bytes: u32,
}

impl Taken {
    /// The first page that a data file of so many pages has neither by itself nor from the log, though it is to have
    /// it with the log: whatever is added to a file is written into its log.
    pub(crate) fn lacks(&self, pages: u32) -> Option<u32> {
        // SQLite takes its locks at this byte, and leaves that page out.
        let locks = 0x4000_0000 / self.page_bytes.max(1);
        let mut added =
            (pages..self.pages_in_all).filter(|before| *before != locks).map(|it| it + 1);
        added.find(|page| !self.pages.contains(page))
    }
}

/// Looks for acknowledged batches behind the first damage, and at what SQLite will take.
pub(crate) fn inspect(log: &Path) -> io::Result<Result<Taken, LogDamage>> {
    let mut taken = Taken::default();
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(taken)),
        Err(error) => return Err(error),
    };
    let mut log = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_BYTES];
    // SQLite syncs the head before it writes a frame: where there is none yet, there is nothing behind it.
    if !fill(&mut log, &mut header)? || (header == [0; HEADER_BYTES] && is_blank(&mut log)?) {
        return Ok(Ok(taken));
    }
    let Some(header) = Header::read(&header) else { return Ok(Err(LogDamage { frame: 0 })) };
    let mut frame = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    taken.page_bytes = u32::try_from(header.page_bytes).unwrap_or(u32::MAX);
    // The pages of the batch that is being read.
    let mut pages = Vec::new();
    // The checksums that a frame goes on from: that of all before it; behind a damage, those of a whole
    // batch's last frame, as it says them, and as they are if it says them wrongly.
    let mut before = [Some(header.checksum), None];
    let mut damaged = None;
    let mut ends_behind = 0;
    let mut number = 0;
    while fill(&mut log, &mut frame)? {
        number += 1;
        let Some((head, page)) = frame.split_at_checked(FRAME_HEADER_BYTES) else { break };
        let [page_number, commit, salt_1, salt_2, sum_1, sum_2] = words(head);
        let (is_end, told) = (commit != 0, [sum_1, sum_2]);
        if [salt_1, salt_2] != header.salts {
            // Left over from before the log began anew, as all are behind the end. Of the batch that
            // was being written, a frame may be such a one and a later one not.
            damaged.get_or_insert(number);
            before = [None, None];
            continue;
        }
        let sums = before.map(|sum| Some(header.sum(header.sum(sum?, head.get(..8)?), page)));
        let follows = sums.contains(&Some(told));
        ends_behind += u32::from(is_end && (damaged.is_some() || !follows));
        match damaged {
            Some(frame) if follows || ends_behind > 1 => return Ok(Err(LogDamage { frame })),
            None if follows => {
                before = [Some(told), None];
                pages.push(page_number);
                if is_end {
                    (taken.frames, taken.pages_in_all) = (number, commit);
                    taken.pages.extend(pages.drain(..));
                }
            }
            _ => {
                damaged.get_or_insert(number);
                let [computed, _] = sums;
                before = if is_end { [Some(told), computed] } else { [None, None] };
            }
        }
    }
    Ok(Ok(taken))
}

/// Whether there was enough to fill the buffer.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether nothing was written from here on.
fn is_blank(log: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = log.fill_buf()?;
        let count = bytes.len();
        if count == 0 || bytes.iter().any(|byte| *byte != 0) {
            return Ok(count == 0);
        }
        log.consume(count);
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

    const FRAME_BYTES: usize = FRAME_HEADER_BYTES + 4_096;

    fn database() -> (tempfile::TempDir, Connection) {
        let dir = tempfile::TempDir::new().unwrap();
        let connection = Connection::open(dir.path().join("db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = wal; CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE);",
            )
            .unwrap();
        (dir, connection)
    }

    fn insert(connection: &Connection, value: usize) {
        connection.execute("INSERT INTO t VALUES (?)", [value]).unwrap();
    }

    /// The log as it stands after a crash.
    fn crashed(dir: &Path) -> PathBuf {
        let crashed = dir.join("crashed");
        std::fs::copy(dir.join("db-wal"), &crashed).unwrap();
        crashed
    }

    /// A log of so many batches, as it stands after a crash.
    fn log_of(batches: usize) -> (tempfile::TempDir, PathBuf) {
        let (dir, connection) = database();
        (0..batches).for_each(|batch| insert(&connection, batch));
        let crashed = crashed(dir.path());
        (dir, crashed)
    }

    fn frames(log: &Path) -> u64 {
        inspect(log).unwrap().unwrap().frames
    }

    #[test]
    fn what_a_refused_batch_has_left_behind_the_end_was_not_acknowledged() {
        let (dir, connection) = database();
        // As on a full disk: it is in the log with most of its frames, and rolled back.
        connection.execute_batch("PRAGMA cache_size = 1; BEGIN; CREATE TABLE u (a);").unwrap();
        for _ in 0..40 {
            connection.execute("INSERT INTO u VALUES (zeroblob(4000))", ()).unwrap();
        }
        connection.execute_batch("ROLLBACK").unwrap();
        (0..3).for_each(|batch| insert(&connection, batch));
        let log = crashed(dir.path());
        let whole = std::fs::read(&log).unwrap();
        assert!(whole.len() > HEADER_BYTES + 10 * FRAME_BYTES, "nothing was left behind");
        assert_eq!(frames(&log), 3);
        let left_behind = &whole[HEADER_BYTES + 3 * FRAME_BYTES..];
        let salts = |frame: &[u8]| frame[8..16].to_vec();
        assert_eq!(salts(left_behind), salts(&whole[HEADER_BYTES..]), "it is of this very log");
        // The last batch is not whole: killed between its head and its page, or the power went.
        for at in [FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + 4_000] {
            let mut torn = whole.clone();
            torn[HEADER_BYTES + 2 * FRAME_BYTES + at] ^= 0x40;
            std::fs::write(&log, &torn).unwrap();
            assert_eq!(frames(&log), 2);
        }
        // But what stands behind a damage and goes on is told of.
        let mut damaged = whole;
        damaged[HEADER_BYTES + FRAME_BYTES + FRAME_HEADER_BYTES] ^= 0x40;
        std::fs::write(&log, &damaged).unwrap();
        assert_eq!(inspect(&log).unwrap(), Err(LogDamage { frame: 2 }));
    }

    #[test]
    fn a_lost_block_of_the_disk_is_told_of_though_it_reaches_into_the_next_batch() {
        let (_dir, log) = log_of(5);
        let whole = std::fs::read(&log).unwrap();
        // The end of one frame and the head of the next: with them, the third and the fourth are gone.
        let mut lost = whole;
        lost[HEADER_BYTES + 2 * FRAME_BYTES + 2_000..HEADER_BYTES + 3 * FRAME_BYTES + 100].fill(0);
        std::fs::write(&log, &lost).unwrap();
        assert_eq!(inspect(&log).unwrap(), Err(LogDamage { frame: 3 }));
    }

    /// A log of four batches, the last of which has many frames of which one was written.
    fn log_with_a_batch_under_way() -> (tempfile::TempDir, PathBuf) {
        let (dir, connection) = database();
        (0..3).for_each(|batch| insert(&connection, batch));
        connection.execute_batch("BEGIN; CREATE TABLE u (a); CREATE TABLE v (a); COMMIT;").unwrap();
        let log = crashed(dir.path());
        assert!(frames(&log) > 5);
        let cut = File::options().write(true).open(&log).unwrap();
        cut.set_len((HEADER_BYTES + 4 * FRAME_BYTES) as u64).unwrap();
        assert_eq!(frames(&log), 3);
        (dir, log)
    }

    #[test]
    fn a_batch_was_acknowledged_if_the_next_was_begun() {
        let (_dir, log) = log_with_a_batch_under_way();
        let whole = std::fs::read(&log).unwrap();
        let third = HEADER_BYTES + 2 * FRAME_BYTES;
        // Its checksum, or its page.
        for at in (16..24).chain((FRAME_HEADER_BYTES..FRAME_BYTES).step_by(97)) {
            let mut bad = whole.clone();
            bad[third + at] ^= 0x40;
            std::fs::write(&log, &bad).unwrap();
            assert_eq!(inspect(&log).unwrap(), Err(LogDamage { frame: 3 }), "byte {at}");
        }
    }

    #[test]
    fn a_head_that_is_lost_is_told_of_where_there_is_more_than_it() {
        let (_dir, log) = log_of(5);
        let mut lost = std::fs::read(&log).unwrap();
        lost[..4_096].fill(0);
        std::fs::write(&log, &lost).unwrap();
        assert_eq!(inspect(&log).unwrap(), Err(LogDamage { frame: 0 }));
        // Its room was had, and nothing was written yet.
        lost.fill(0);
        std::fs::write(&log, &lost).unwrap();
        assert_eq!(frames(&log), 0);
    }

    #[test]
    fn a_damage_within_a_batch_of_many_frames_is_told_of() {
        let (dir, connection) = database();
        connection.execute_batch("CREATE TABLE u (a);").unwrap();
        let before = frames(&crashed(dir.path()));
        connection
            .execute_batch(
                "BEGIN; WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20)
                 INSERT INTO u SELECT zeroblob(4000) FROM n; COMMIT;",
            )
            .unwrap();
        let all = frames(&crashed(dir.path()));
        assert!(all > before + 20);
        insert(&connection, 1);
        let log = crashed(dir.path());
        let whole = std::fs::read(&log).unwrap();
        for frame in before..all {
            let mut bad = whole.clone();
            let at = usize::try_from(frame).unwrap();
            bad[HEADER_BYTES + at * FRAME_BYTES + 100] ^= 0x40;
            std::fs::write(&log, &bad).unwrap();
            assert_eq!(inspect(&log).unwrap(), Err(LogDamage { frame: frame + 1 }));
        }
    }

    #[test]
    fn only_the_last_batch_may_be_missing() {
        let (_dir, log) = log_of(5);
        let whole = std::fs::read(&log).unwrap();
        assert_eq!(whole.len(), HEADER_BYTES + 5 * FRAME_BYTES);
        assert_eq!(frames(&log), 5);
        for at in 0..whole.len() {
            // All bytes of the heads, and some of the pages.
            let (frame, within) = match at.checked_sub(HEADER_BYTES) {
                None => (0, at),
                Some(at) => (1 + at / FRAME_BYTES, at % FRAME_BYTES),
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
    fn whatever_is_added_to_a_file_is_in_its_log() {
        let (dir, connection) = database();
        let pages = |named: &str| -> u32 {
            connection.pragma_query_value(None, named, |row| row.get(0)).unwrap()
        };
        let before = pages("page_count");
        let rows =
            "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9)
                    SELECT zeroblob(9000) FROM n";
        connection.execute(rows, ()).unwrap();
        // Those that become free are in it, too, and are used again.
        connection.execute("DELETE FROM t WHERE rowid % 3 = 0", ()).unwrap();
        connection.execute_batch("BEGIN; CREATE TABLE u (a); DROP TABLE u; COMMIT").unwrap();
        let taken = inspect(&crashed(dir.path())).unwrap().unwrap();
        assert!(pages("freelist_count") > 0 && pages("page_count") > before + 20);
        assert_eq!((taken.lacks(before), taken.lacks(before - 1)), (None, None));
        // A file that had one page more before has lost it, but for the one where the locks are.
        let locks = 262_145;
        let added = |first: u32, pages_in_all| Taken {
            pages: (first..=pages_in_all).filter(|page| *page != locks).collect(),
            pages_in_all,
            frames: 1,
            page_bytes: 4_096,
        };
        assert_eq!([6, 7, 8].map(|pages| added(8, 20).lacks(pages)), [Some(7), None, None]);
        assert_eq!(added(locks - 3, locks + 3).lacks(locks - 4), None);
        assert_eq!(added(locks - 3, locks + 3).lacks(locks - 5), Some(locks - 4));
    }

    #[test]
    fn every_log_that_was_cut_short_is_taken() {
        let (_dir, log) = log_of(3);
        let whole = std::fs::read(&log).unwrap();
        for length in (0..whole.len()).step_by(61) {
            std::fs::write(&log, &whole[..length]).unwrap();
            let taken = length.saturating_sub(HEADER_BYTES) / FRAME_BYTES;
            assert_eq!(frames(&log), taken as u64, "{length}");
        }
        assert_eq!(inspect(Path::new("/nowhere/log")).unwrap(), Ok(Taken::default()));
    }
}

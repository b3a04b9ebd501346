//! Owns what a start writes once more, before SQLite opens the files: whatever is found that the disk may not have.
//!
//! Never: a byte changed. Bounds: the log's size, and as much of the data file.
//!
//! A write that fails later than it was asked for leaves its page in the system's memory as if it had been
//! written, and only the next fsync tells of it: the one after that succeeds, and the disk has nothing. The engine
//! halts at the first. But a start that follows reads those pages, and an fsync of its own would tell it nothing.
//! Written again, they are on the disk after it, or it fails.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::connection::beside;
use crate::log::{FRAME_HEADER_BYTES, Found, HEADER_BYTES};

/// Where the index of the log, which programs share that have the file open, tells how many of its frames are in the
/// data file: a number in the machine's own order.
const COPIED_AT: u64 = 96;
/// How much of the log is written at a time, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes the log once more, and what was copied from it into the data file; then both are on the disk.
///
/// What was not copied yet will be: for that it stays in the log. But SQLite does not copy anew what the index says is
/// copied, if another program has kept that index alive. So such pages are taken from the log. (Of some it has newer
/// ones, for which the older was passed over: those are read from the log, and copied later.)
pub(crate) fn rewrite(file: &Path, found: Found) -> io::Result<()> {
    let Some(log) = open(&beside(file, "-wal"))? else { return Ok(()) };
    settle(&log, write_again(&log))?;
    let copied = copied(&beside(file, "-shm"))?.min(found.frames);
    let Some(data) = open(file)?.filter(|_| copied > 0) else { return Ok(()) };
    let newest = newest(&log, copied, found.page_bytes)?;
    settle(&data, copy_again(&log, newest, &data, found.page_bytes))
}

/// Whoever writes over something needs room, on some file systems. Without it, what is there is synced all the
/// same: nobody may be told of what was never synced.
fn settle(file: &File, written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
        written => written?,
    }
    file.sync_all()
}

fn copy_again(
    log: &File,
    pages: BTreeMap<u32, u64>,
    data: &File,
    page_bytes: usize,
) -> io::Result<()> {
    let mut page = vec![0; page_bytes];
    pages.into_iter().try_for_each(|(number, at)| {
        log.read_exact_at(&mut page, at)?;
        // Pages are counted from 1.
        data.write_all_at(&page, u64::from(number - 1) * page_bytes as u64)
    })
}

/// The pages of the first frames, each with where its newest content stands in the log. An older one must never
/// be in the data file: others may read there meanwhile.
fn newest(log: &File, frames: u64, page_bytes: usize) -> io::Result<BTreeMap<u32, u64>> {
    let frame_bytes = (FRAME_HEADER_BYTES + page_bytes) as u64;
    let mut pages = BTreeMap::new();
    for frame in 0..frames {
        let at = HEADER_BYTES as u64 + frame * frame_bytes;
        let mut number = [0; 4];
        log.read_exact_at(&mut number, at)?;
        pages.insert(u32::from_be_bytes(number), at + FRAME_HEADER_BYTES as u64);
    }
    // There is no such page.
    pages.remove(&0);
    Ok(pages)
}

fn write_again(file: &File) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut bytes, at)?;
        let Some(bytes) = bytes.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        file.write_all_at(bytes, at)?;
        at += read as u64;
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::options().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many frames of the log are in the data file, as far as an index says so.
fn copied(index: &Path) -> io::Result<u64> {
    let Some(index) = open(index)? else { return Ok(0) };
    let mut copied = [0; 4];
    match index.read_exact_at(&mut copied, COPIED_AT) {
        Ok(()) => Ok(u32::from_ne_bytes(copied).into()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use rusqlite::Connection;

    use super::*;
    use crate::log;

    const PAGE_BYTES: usize = 4_096;

    /// A data file with its log and index as a crash leaves them: of six batches the first four are copied.
    fn crashed() -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::TempDir::new().unwrap();
        let made = dir.path().join("made");
        let connection = Connection::open(&made).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE);",
            )
            .unwrap();
        let batch = || {
            connection.execute("INSERT INTO t VALUES (zeroblob(3000))", ()).unwrap();
        };
        (0..4).for_each(|_| batch());
        // Somebody stays with the state of now, so no more than that is copied.
        let reader = Connection::open(&made).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t LIMIT 1;").unwrap();
        (0..2).for_each(|_| batch());
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())).unwrap();
        for ending in ["", "-wal", "-shm"] {
            fs::copy(beside(&made, ending), beside(&dir.path().join("db"), ending)).unwrap();
        }
        let copied = fs::read(&made).unwrap();
        (dir, copied)
    }

    /// The pages that differ.
    fn pages(one: &[u8], other: &[u8]) -> Vec<usize> {
        assert_eq!(one.len(), other.len());
        let pages = one.chunks(PAGE_BYTES).zip(other.chunks(PAGE_BYTES)).zip(1..);
        pages.filter(|((one, other), _)| one != other).map(|(_, number)| number).collect()
    }

    /// The frames that stand after this place, up to the one of this number.
    fn frames_after(log: &[u8], at: u64, upto: usize) -> Vec<&[u8]> {
        let at = usize::try_from(at).unwrap() + PAGE_BYTES;
        let end = HEADER_BYTES + upto * (FRAME_HEADER_BYTES + PAGE_BYTES);
        log[at..end].chunks(FRAME_HEADER_BYTES + PAGE_BYTES).collect()
    }

    fn rewrite(file: &Path) {
        let found = log::inspect(&beside(file, "-wal")).unwrap().unwrap();
        super::rewrite(file, found).unwrap();
    }

    #[test]
    fn pages_that_were_copied_and_lost_are_copied_again() {
        let (dir, copied) = crashed();
        let file = dir.path().join("db");
        // The disk has none of what was copied.
        let mut lost = copied.clone();
        lost[PAGE_BYTES..].fill(0);
        fs::write(&file, &lost).unwrap();
        let log = fs::read(beside(&file, "-wal")).unwrap();
        rewrite(&file);
        let differ = pages(&fs::read(&file).unwrap(), &copied);
        let (_, frames) = log.split_at(HEADER_BYTES);
        let before = usize::try_from(super::copied(&beside(&file, "-shm")).unwrap()).unwrap();
        let newer = frames.chunks(FRAME_HEADER_BYTES + PAGE_BYTES).skip(before);
        let newer: Vec<_> = newer.map(|frame| usize::from(frame[3])).collect();
        assert!(before > 0 && differ.iter().all(|page| newer.contains(page)), "{differ:?}");
        assert!(pages(&lost, &copied).len() > differ.len());
        // Each page once, however often it is in the log.
        let frames = fs::File::open(beside(&file, "-wal")).unwrap();
        let newest = newest(&frames, before as u64, PAGE_BYTES).unwrap();
        assert!(newest.len() < before);
        for (number, at) in newest {
            let page = &log[usize::try_from(at).unwrap()..][..PAGE_BYTES];
            let newer = |other: &[u8]| other[..4] == number.to_be_bytes() && other[24..] != *page;
            let after = frames_after(&log, at, before);
            assert!(!after.iter().any(|frame| newer(frame)), "page {number}");
        }
        assert!(fs::read(beside(&file, "-wal")).unwrap() == log);
        // Where nobody keeps an index alive, SQLite copies all of it.
        fs::write(&file, &lost).unwrap();
        fs::remove_file(beside(&file, "-shm")).unwrap();
        rewrite(&file);
        assert_eq!(pages(&fs::read(&file).unwrap(), &lost), [0; 0]);
    }

    #[test]
    fn the_log_is_written_again() {
        let (dir, _) = crashed();
        let file = dir.path().join("db");
        let log = beside(&file, "-wal");
        File::options()
            .write(true)
            .open(&log)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        rewrite(&file);
        assert!(fs::metadata(&log).unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn a_lack_of_room_is_passed_over_and_a_sync_that_fails_is_not() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = File::create(dir.path().join("file")).unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert!(settle(&file, Err(full())).is_ok());
        assert!(settle(&file, Err(io::Error::other("broken"))).is_err());
        // What cannot be synced: a pipe.
        let (pipe, _) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
        assert!(settle(&pipe, Ok(())).is_err() && settle(&pipe, Err(full())).is_err());
    }

    #[test]
    fn where_nothing_is_there_nothing_is_made() {
        let dir = tempfile::TempDir::new().unwrap();
        rewrite(&dir.path().join("db"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

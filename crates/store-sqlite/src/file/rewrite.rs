//! Owns what a start writes once more, before SQLite opens the files: whatever is found that the disk may not have.
//!
//! Never: a byte of the log changed, nor a write to the data file. Bounds: the log's size.
//!
//! A write that fails later than it was asked for leaves its page in the system's memory as if it had been
//! written, and only the next fsync tells of it: the one after that succeeds, and the disk has nothing. The engine
//! halts at the first. But a start that follows reads those pages, and an fsync of its own would tell it nothing.
//! Written again, they are on the disk after it, or it fails.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::file::names::beside;

/// Where the index of the log, which programs share that have the file open, tells how many of its frames are in the
/// data file: a number in the machine's own order, as SQLite's description of its files has it.
const COPIED_AT: u64 = 96;
/// How much of the log is written at a time, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes the log once more; then it is on the disk. And SQLite is to copy all of it into the data file, also what was
/// copied before.
pub(crate) fn rewrite(file: &Path) -> io::Result<()> {
    let Some(log) = open(&beside(file, "-wal"))? else { return Ok(()) };
    settle(&log, write_again(&log))?;
    nothing_is_copied(&beside(file, "-shm"))
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

/// An index that another program has kept alive says what is copied, and SQLite would not copy that again. To say less
/// does no harm: as after a recovery, the log is read where the data file could be. Nothing is copied here, for such a
/// program may at any moment copy what is newer, and delete the log.
fn nothing_is_copied(index: &Path) -> io::Result<()> {
    let Some(index) = open(index)? else { return Ok(()) };
    let mut copied = [0; 4];
    match index.read_exact_at(&mut copied, COPIED_AT) {
        Ok(()) if copied == [0; 4] => Ok(()),
        Ok(()) => index.write_all_at(&[0; 4], COPIED_AT),
        // It was just begun.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::options().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::SystemTime;

    use rusqlite::Connection;

    use super::*;

    const PAGE_BYTES: usize = 4_096;

    /// A data file with its log, of whose six batches the first four are copied; and whoever keeps the index alive.
    fn crashed() -> (tempfile::TempDir, PathBuf, Connection) {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("db");
        let connection = Connection::open(&file).unwrap();
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
        let reader = Connection::open(&file).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t LIMIT 1;").unwrap();
        (0..2).for_each(|_| batch());
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())).unwrap();
        (dir, file, reader)
    }

    fn copied(file: &Path) -> u32 {
        let index = fs::read(beside(file, "-shm")).unwrap();
        let at = usize::try_from(COPIED_AT).unwrap();
        u32::from_ne_bytes(index[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn what_was_copied_and_lost_is_copied_again_though_another_program_knows_that_it_was() {
        for written_again in [true, false] {
            let (_dir, file, reader) = crashed();
            assert!(copied(&file) > 4);
            // The disk has none of what was copied.
            let mut lost = fs::read(&file).unwrap();
            lost[PAGE_BYTES..].fill(0);
            fs::write(&file, &lost).unwrap();
            let log = fs::read(beside(&file, "-wal")).unwrap();
            if written_again {
                rewrite(&file).unwrap();
                assert_eq!(copied(&file), 0);
            }
            assert!(fs::read(beside(&file, "-wal")).unwrap() == log);
            assert!(fs::read(&file).unwrap() == lost, "it was written to");
            reader.execute_batch("COMMIT").unwrap();
            let other = Connection::open(&file).unwrap();
            other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
            let whole =
                other.query_row("PRAGMA integrity_check", (), |row| row.get::<_, String>(0));
            assert_eq!(whole.is_ok_and(|found| found == "ok"), written_again);
        }
    }

    /// It reads what it read before, and hinders nobody.
    #[test]
    fn who_reads_an_old_state_meanwhile_keeps_it() {
        let (_dir, file, reader) = crashed();
        let rows = |connection: &Connection| -> i64 {
            connection.query_row("SELECT count(*) FROM t", (), |row| row.get(0)).unwrap()
        };
        rewrite(&file).unwrap();
        let other = Connection::open(&file).unwrap();
        assert_eq!((rows(&reader), rows(&other)), (4, 6));
        other.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())).unwrap();
        assert!(copied(&file) > 4);
        other.execute("INSERT INTO t VALUES (1)", ()).unwrap();
        assert_eq!((rows(&reader), rows(&other)), (4, 7));
    }

    #[test]
    fn the_log_is_written_again() {
        let (_dir, file, _reader) = crashed();
        let log = beside(&file, "-wal");
        File::options()
            .write(true)
            .open(&log)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        rewrite(&file).unwrap();
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
        rewrite(&dir.path().join("db")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

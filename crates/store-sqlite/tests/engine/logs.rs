//! What a start makes of a log: one that is damaged, another file's, or older or newer than the file beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ledger::{Ledger, OperationKind, Role};
use store_sqlite::{Backup, Check, Checked, Export, Restore, Unwatched, Watch};
use tempfile::TempDir;

use crate::backup::back_up;
use crate::support::{DAY, Engine, connect, keyed, submission, wait};

const PAGE_BYTES: usize = 4_096;

/// An engine's data as they stand after a crash, with a log that was never copied into the data file.
fn crashed(engine: &Engine) -> TempDir {
    for _ in 0..5 {
        engine.deposit(2, 1).unwrap();
    }
    engine.as_after_a_kill()
}

/// Changes a byte in the middle; what was there before.
fn damage_log(log: &Path) -> Vec<u8> {
    let before = std::fs::read(log).unwrap();
    let mut bytes = before.clone();
    bytes[before.len() / 2] ^= 1;
    std::fs::write(log, bytes).unwrap();
    before
}

/// A start, a backup, a check and an export say why they do not read a data directory.
fn refused_by_all(data: &Path, why: &str) {
    let place = TempDir::new().unwrap();
    let refused = |error: String| assert!(error.contains(why), "{error}");
    refused(crate::support::open(data).err().unwrap().to_string());
    refused(back_up(data, &place.path().join("backup.db")).unwrap_err().to_string());
    let check = Check { data, published: None };
    refused(store_sqlite::check(&check, &Unwatched).unwrap_err().to_string());
    refused(Export::open(data).err().unwrap().to_string());
}

/// What a killed process wrote may be in the system's memory only.
#[test]
fn a_start_writes_the_log_once_more() {
    let engine = Engine::with_people(2);
    let crashed = crashed(&engine);
    // Somebody who reads keeps it from being emptied, which would write to it too.
    let reader = connect(crashed.path());
    reader.execute_batch("BEGIN; SELECT count(*) FROM transfer").unwrap();
    let log = crashed.path().join("kopeck.db-wal");
    let before = std::fs::read(&log).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    File::options().write(true).open(&log).unwrap().set_modified(long_ago).unwrap();
    let (_store, recovered) = crate::support::open(crashed.path()).unwrap();
    assert_eq!(recovered.operations, 5);
    assert!(std::fs::metadata(&log).unwrap().modified().unwrap() > long_ago);
    assert!(std::fs::read(&log).unwrap() == before);
    drop(reader);
}

/// Read with the log of the file that was there before, it is a book that never was.
#[test]
fn a_backup_put_by_hand_beside_a_log_is_not_read_with_it() {
    let engine = Engine::with_people(2);
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    back_up(engine.dir(), &file).unwrap();
    let crashed = crashed(&engine);
    std::fs::copy(&file, crashed.path().join("kopeck.db")).unwrap();
    refused_by_all(crashed.path(), "the log of another data file");
    std::fs::remove_file(crashed.path().join("kopeck.db-wal")).unwrap();
    assert_eq!(crate::support::open(crashed.path()).unwrap().1.operations, 0);
}

/// Nor is the log of an older copy: the book would be as it was then.
#[test]
fn the_log_of_an_older_copy_is_not_read_with_a_newer_data_file() {
    let engine = Engine::with_people(2);
    // The sweep goes round, so that the log says that all is kept up to then.
    (0..3).for_each(|_| engine.fill(3_000));
    let killed = engine.as_after_a_kill();
    engine.fill(3_000);
    let newer = |dir: &Path| {
        std::fs::copy(dir.join("kopeck.db"), killed.path().join("kopeck.db")).unwrap();
    };
    let engine = engine.reopen_after_files(newer).unwrap();
    refused_by_all(killed.path(), "ends before operation 12000");
    std::fs::remove_file(killed.path().join("kopeck.db-wal")).unwrap();
    assert_eq!(crate::support::open(killed.path()).unwrap().1.operations, 12_000);
    drop(engine);
}

/// Nor where the newer file is one that was copied while it was written to, so that not all of its pages are there: as
/// far as its operations can be read, it is no newer than the log.
#[test]
fn nor_is_it_read_with_parts_of_a_newer_data_file() {
    let engine = Engine::with_people(2);
    (0..3).for_each(|_| engine.fill(3_000));
    let killed = engine.as_after_a_kill();
    let file = killed.path().join("kopeck.db");
    let kept = std::fs::read(&file).unwrap();
    engine.fill(3_000);
    let newer_head = |dir: &Path| {
        let newer = std::fs::read(dir.join("kopeck.db")).unwrap();
        std::fs::write(&file, [&newer[..PAGE_BYTES], &kept[PAGE_BYTES..]].concat()).unwrap();
    };
    let engine = engine.reopen_after_files(newer_head).unwrap();
    refused_by_all(killed.path(), "ends before page ");
    std::fs::write(&file, kept).unwrap();
    assert_eq!(crate::support::open(killed.path()).unwrap().1.operations, 9_000);
    drop(engine);
}

/// Nor is an older copy of the file itself, which keeps a log as the newer one does, although all that a start has to
/// replay is in the log.
#[test]
fn an_older_data_file_put_by_hand_beside_a_log_is_not_read_with_it() {
    not_read_with_an_older_file_of(1_000);
}

#[test]
fn nor_is_one_without_any_operation() {
    not_read_with_an_older_file_of(0);
}

fn not_read_with_an_older_file_of(operations: usize) {
    let place = TempDir::new().unwrap();
    let older = place.path().join("older.db");
    let copy = |dir: &Path| {
        std::fs::copy(dir.join("kopeck.db"), &older).unwrap();
    };
    let engine = Engine::with_people(2);
    if operations > 0 {
        engine.fill(operations);
    }
    // What comes later stands where other tables stood: the file does not grow by it, which would be noticed too.
    let free = "CREATE TABLE x (a);
                INSERT INTO x WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)
                    SELECT zeroblob(4000) FROM n;
                DROP TABLE x";
    let engine = engine.reopen_after(|file| file.execute_batch(free).unwrap()).unwrap();
    let engine = engine.reopen_after_files(copy).unwrap();
    // SQLite notices by itself where much more is missing.
    engine.fill(500);
    let engine = engine.reopen().unwrap();
    // Each time the sweep goes round, so that the log has every balance.
    (0..3).for_each(|_| engine.fill(3_000));
    let killed = engine.as_after_a_kill();
    let [file, log] = ["kopeck.db", "kopeck.db-wal"].map(|name| killed.path().join(name));
    let (newer, kept) = (std::fs::read(&file).unwrap(), std::fs::read(&log).unwrap());
    assert_eq!(newer.len() as u64, std::fs::metadata(&older).unwrap().len());
    std::fs::copy(&older, &file).unwrap();
    // Whoever remembers keys for a day reads the rows of that day, and notices too.
    let window = Some(std::time::Duration::from_micros(1));
    assert!(crate::support::open_with(killed.path(), "RUB", window).is_err());
    let is_left = std::fs::read(&log).unwrap() == kept;
    assert!(is_left, "the log is there for the file that it belongs to");
    std::fs::write(&file, newer).unwrap();
    let (_store, recovered) = crate::support::open(killed.path()).unwrap();
    assert_eq!(recovered.operations, operations as u64 + 9_500);
}

/// Also where no operation is missing, but people are, whose wallets others would get.
#[test]
fn nor_is_one_that_lacks_people() {
    let place = TempDir::new().unwrap();
    let older = place.path().join("older.db");
    let copy = |dir: &Path| {
        std::fs::copy(dir.join("kopeck.db"), &older).unwrap();
    };
    let engine = Engine::with_people(2).reopen_after_files(copy).unwrap();
    for number in 4..64 {
        engine.sign_up(&format!("{number}@localhost"), Role::Person).unwrap();
    }
    let engine = engine.reopen().unwrap();
    engine.deposit(2, 1).unwrap();
    let killed = engine.as_after_a_kill();
    let file = killed.path().join("kopeck.db");
    let newer = std::fs::read(&file).unwrap();
    std::fs::copy(&older, &file).unwrap();
    refused_by_all(killed.path(), "the log of a newer copy of the data file");
    std::fs::write(&file, newer).unwrap();
    let (_store, recovered) = crate::support::open(killed.path()).unwrap();
    assert_eq!((recovered.operations, recovered.wallets), (1, 63));
}

/// The pages of a log as they are after all of it, by their numbers from 1.
fn pages_of(log: &[u8]) -> BTreeMap<usize, &[u8]> {
    let frames = log[32..].chunks_exact(24 + PAGE_BYTES);
    let frames = frames.take_while(|frame| frame[8..16] == log[16..24]);
    let number = |frame: &[u8]| u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    frames.map(|frame| (number(frame), &frame[24..])).collect()
}

/// Some pages are then as they were before, among them such as had been another table's: of refusals that were
/// forgotten, whose numbers are greater than that of any operation.
#[test]
fn a_start_goes_on_from_a_checkpoint_that_was_broken_off_whatever_pages_it_wrote() {
    let engine = Engine::with_people(2);
    let refused = submission(OperationKind::Transfer, 2, 9, 1);
    let refused = (0..1_200).map(|number| keyed(refused.clone(), &number.to_string())).collect();
    wait(engine.store.submit(refused)).unwrap();
    let older = format!("UPDATE refusal SET time_us = time_us - {}", 2 * DAY.as_micros());
    let engine = engine.reopen_after(|file| file.execute_batch(&older).unwrap()).unwrap();
    (0..8).for_each(|_| engine.fill(1));
    let engine = engine.reopen().unwrap();
    let before = std::fs::read(engine.dir().join("kopeck.db")).unwrap();
    engine.fill(320);
    let killed = engine.as_after_a_kill();
    let [file, log] = ["kopeck.db", "kopeck.db-wal"].map(|name| killed.path().join(name));
    let kept = std::fs::read(&log).unwrap();
    let pages = pages_of(&kept);
    let taken_over = pages.keys().filter(|number| **number * PAGE_BYTES <= before.len()).count();
    assert!(taken_over > 8, "{:?}", pages.keys());
    let written = |which: &dyn Fn(usize) -> bool| {
        let mut bytes = before.clone();
        for (number, page) in pages.iter().filter(|(number, _)| which(**number)) {
            let end = number * PAGE_BYTES;
            bytes.resize(bytes.len().max(end), 0);
            bytes[end - PAGE_BYTES..end].copy_from_slice(page);
        }
        std::fs::write(&file, bytes).unwrap();
        std::fs::write(&log, &kept).unwrap();
        assert!(check_file(killed.path()).is_sound());
        crate::support::open(killed.path()).map(|(_, recovered)| recovered.operations)
    };
    // One after another, as SQLite does; or, when the power goes, as the disk had a mind to.
    for last in pages.keys().copied() {
        assert_eq!(written(&|number| number <= last).unwrap(), 328, "up to page {last}");
        assert_eq!(written(&|number| number == last).unwrap(), 328, "page {last} alone");
        assert_eq!(written(&|number| number != last).unwrap(), 328, "all but page {last}");
    }
}

#[test]
fn a_log_is_looked_for_beside_the_file_itself_where_its_name_is_a_link() {
    let engine = Engine::with_people(2);
    let crashed = crashed(&engine);
    let linked = TempDir::new().unwrap();
    let file = linked.path().join("kopeck.db");
    std::os::unix::fs::symlink(crashed.path().join("kopeck.db"), &file).unwrap();
    let log = crashed.path().join("kopeck.db-wal");
    let good = damage_log(&log);
    let lost = "acknowledged operations stand behind it";
    let error = crate::support::open(linked.path()).err().unwrap().to_string();
    assert!(error.contains(lost), "{error}");
    let elsewhere = TempDir::new().unwrap();
    let data = elsewhere.path().join("data");
    let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
    let from_there = Restore { file: &file, data: &data, keep_sessions: false };
    let error = store_sqlite::restore(&from_there, &unwatched).unwrap_err().to_string();
    assert!(error.contains(lost), "{error}");
    std::fs::write(&log, good).unwrap();
    let (_, recovered) = crate::support::open(linked.path()).unwrap();
    assert_eq!(recovered.operations, 5);
    // Nor is the log of an engine that runs judged by another name.
    let file = elsewhere.path().join("link");
    std::os::unix::fs::symlink(engine.dir().join("kopeck.db"), &file).unwrap();
    let log = engine.dir().join("kopeck.db-wal");
    let good = damage_log(&log);
    let from_there = Restore { file: &file, data: &data, keep_sessions: false };
    let restored = store_sqlite::restore(&from_there, &unwatched);
    assert!(restored.is_ok_and(|done| done.contents.operations == 5));
    std::fs::write(&log, good).unwrap();
}

/// SQLite deletes it as soon as it looks into the file, also where it is only to read.
#[test]
fn the_log_beside_a_copy_that_is_empty_is_not_lost_by_a_restore() {
    let crashed = crashed(&Engine::with_people(2));
    let [log, copied, file] =
        ["kopeck.db-wal", "copy.db-wal", "copy.db"].map(|name| crashed.path().join(name));
    std::fs::copy(&log, &copied).unwrap();
    File::create(&file).unwrap();
    let elsewhere = TempDir::new().unwrap();
    let data = elsewhere.path().join("data");
    let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
    let from_there = Restore { file: &file, data: &data, keep_sessions: false };
    let error = store_sqlite::restore(&from_there, &unwatched).unwrap_err().to_string();
    assert!(copied.exists() && error.contains("the log of another data file"), "{error}");
}

#[test]
fn the_log_of_an_engine_that_runs_by_a_link_is_not_judged_by_another_name() {
    let (disk, running, other) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let crashed = crashed(&Engine::with_people(2));
    let book = disk.path().join("book.db");
    std::fs::copy(crashed.path().join("kopeck.db"), &book).unwrap();
    std::fs::copy(crashed.path().join("kopeck.db-wal"), disk.path().join("book.db-wal")).unwrap();
    for dir in [&running, &other] {
        std::os::unix::fs::symlink(&book, dir.path().join("kopeck.db")).unwrap();
    }
    let (store, _) = crate::support::open(running.path()).unwrap();
    for _ in 0..5 {
        let deposit = submission(OperationKind::Deposit, 1, 2, 1);
        wait(store.submit(vec![deposit])).unwrap();
    }
    let log = disk.path().join("book.db-wal");
    let good = damage_log(&log);
    let found = check_file(other.path());
    assert!(!found.damages.iter().any(|found| found.code == "log_damaged"), "{found:?}");
    let data = disk.path().join("data");
    let from_there = Restore { file: &book, data: &data, keep_sessions: false };
    let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
    let restored = store_sqlite::restore(&from_there, &unwatched);
    assert!(restored.is_ok_and(|done| done.contents.operations == 10));
    std::fs::write(&log, good).unwrap();
}

#[test]
fn a_log_that_lost_acknowledged_operations_is_named() {
    let engine = Engine::with_people(2);
    let crashed = crashed(&engine);
    damage_log(&crashed.path().join("kopeck.db-wal"));
    let lost = "acknowledged operations stand behind it";
    let error = crate::support::open(crashed.path()).err().unwrap().to_string();
    assert!(error.contains(lost), "{error}");
    // Nor does anybody call what is left sound, or copy it as if it were whole.
    let found = check_file(crashed.path());
    let codes: Vec<_> = found.damages.iter().map(|found| found.code).collect();
    assert_eq!(codes, ["log_damaged"]);
    assert!(found.damages[0].detail.contains(lost) && found.operations < 5, "{found:?}");
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("backup.db");
    let backup =
        Backup { data: crashed.path(), file: &file, replace: false, log_grows_bytes_max: u64::MAX };
    let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
    let error = store_sqlite::backup(&backup, &unwatched).unwrap_err().to_string();
    assert!(error.contains(lost) && !file.exists(), "{error}");
    let error = Export::open(crashed.path()).err().unwrap().to_string();
    assert!(error.contains(lost), "{error}");
    let error = store_sqlite::checkpoint(crashed.path()).unwrap_err().to_string();
    assert!(error.contains(lost), "{error}");
    let (file, data) = (crashed.path().join("kopeck.db"), elsewhere.path().join("data"));
    let from_there = Restore { file: &file, data: &data, keep_sessions: false };
    let error = store_sqlite::restore(&from_there, &unwatched).unwrap_err().to_string();
    assert!(error.contains(lost) && !data.join("kopeck.db").exists(), "{error}");
    // The log of an engine that runs is its own affair: it is written to.
    let log = engine.dir().join("kopeck.db-wal");
    let whole = damage_log(&log);
    assert!(!check_file(engine.dir()).damages.iter().any(|found| found.code == "log_damaged"));
    std::fs::write(&log, whole).unwrap();
}

fn check_file(data: &Path) -> Checked {
    store_sqlite::check(&Check { data, published: None }, &Unwatched).unwrap()
}

//! What a start accepts and what it refuses, with a sentence that says what to do.

use std::sync::Arc;

use rusqlite::Connection;
use store_sqlite::{Check, CopyError, Restore, Unwatched, Watch, check, restore};
use tempfile::TempDir;

use crate::support::{Engine, connect, open, open_in};

fn refusal(result: Result<Engine, store_sqlite::OpenError>) -> String {
    result.err().expect("it opened").to_string()
}

#[test]
fn a_second_process_is_kept_out_until_the_first_has_gone() {
    let engine = Engine::with_people(0);
    let second = open(engine.dir()).err().unwrap().to_string();
    assert!(second.contains("in use by another kopeck process"), "{second}");
    let engine = engine.reopen().unwrap();
    assert_eq!(engine.recovered.wallets, 1);
}

#[test]
fn a_second_process_is_kept_out_also_where_the_lock_was_deleted() {
    let engine = Engine::with_people(1);
    std::fs::remove_file(engine.dir().join("kopeck.lock")).unwrap();
    for _ in 0..2 {
        let second = open(engine.dir()).err().unwrap().to_string();
        assert!(second.contains("in use by another kopeck process"), "{second}");
        // Beside the engine as ever.
        let checked = check(&Check { data: engine.dir(), published: None }, &Unwatched).unwrap();
        assert!(checked.damages.is_empty());
    }
    engine.deposit(2, 1).unwrap();
    assert_eq!(engine.reopen().unwrap().balance(2), 1);
}

#[test]
fn a_new_directory_is_made_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("a/b");
    let (store, recovered) = open(&dir).unwrap();
    assert!(recovered.created);
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("kopeck.db")), 0o600);
    assert_eq!(mode(&dir.join("kopeck.db-wal")), 0o600);
    store.close();
    // SQLite would delete it with a checkpoint of its own, which says nothing when it fails.
    assert_eq!(std::fs::metadata(dir.join("kopeck.db-wal")).unwrap().len(), 0);
    let (_, recovered) = open(&dir).unwrap();
    assert!(!recovered.created);
}

#[test]
fn another_currency_is_refused() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).unwrap().0.close();
    let refused = open_in(dir.path(), "USD").err().unwrap().to_string();
    assert!(refused.contains("kept in RUB, not in USD"), "{refused}");
    open(dir.path()).unwrap();
}

#[test]
fn another_programs_file_is_refused_untouched() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("kopeck.db");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (it)").unwrap();
    let before = std::fs::read(&file).unwrap();
    let refused = open(dir.path()).err().unwrap().to_string();
    assert!(refused.contains("not kopeck's"), "{refused}");
    assert!(std::fs::read(&file).unwrap() == before, "not a byte of it was touched");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("kopeck.db"), "not a database, but long enough".repeat(99))
        .unwrap();
    let refused = open(dir.path()).err().unwrap().to_string();
    assert!(refused.contains("cannot be read"), "{refused}");
}

#[test]
fn a_newer_version_is_refused() {
    let refused = refusal(Engine::with_people(0).reopen_after(|file| {
        file.pragma_update(None, "user_version", 99).unwrap();
    }));
    assert!(refused.contains("version 99"), "{refused}");
}

/// Such as a backup, when the service is killed and started again meanwhile.
#[test]
fn a_program_that_stays_on_an_old_state_does_not_keep_the_engine_from_starting() {
    let engine = Engine::with_people(1);
    engine.deposit(2, 1).unwrap();
    let reader = connect(engine.dir());
    let seen = || -> i64 {
        reader.query_row("SELECT count(*) FROM transfer", (), |row| row.get(0)).unwrap()
    };
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(seen(), 1);
    engine.deposit(2, 1).unwrap();
    let engine = engine.reopen().unwrap();
    assert_eq!((engine.balance(2), engine.recovered.operations), (2, 2));
    engine.deposit(2, 1).unwrap();
    assert_eq!(seen(), 1);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(engine.reopen().unwrap().balance(2), 3);
}

#[test]
fn a_data_file_that_is_gone_is_not_made_anew_beside_what_belongs_to_it() {
    let names = ["kopeck.db-wal", "keys-00000001.run", ".kopeck.db.abc.partial"];
    // An empty one is none either, and SQLite would delete its log.
    for (name, is_empty) in names.iter().flat_map(|name| [(*name, false), (*name, true)]) {
        let dir = TempDir::new().unwrap();
        let left = dir.path().join(name);
        std::fs::write(&left, "something").unwrap();
        if is_empty {
            std::fs::write(dir.path().join("kopeck.db"), "").unwrap();
            let wanted = Check { data: dir.path(), published: None };
            let error = check(&wanted, &Unwatched).err().unwrap().to_string();
            assert!(error.contains("there is no data file here"), "{error}");
        }
        let error = open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("there is no data file here") && error.contains(name), "{error}");
        assert_eq!(std::fs::read(&left).unwrap(), b"something", "it was left as it is");
    }
}

/// Such as a file on a disk that is not mounted.
#[test]
fn a_link_to_a_data_file_that_is_not_there_is_no_place_for_a_new_one() {
    let (dir, disk) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (link, file) = (dir.path().join("kopeck.db"), disk.path().join("book.db"));
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let error = open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("is a link to a file that is not there"), "{error}");
    assert!(!file.exists(), "another book was begun");
    // Nor for a restored one, which does not replace a name that is taken.
    let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
    let backup = Engine::with_people(1);
    backup.store.close();
    let from = backup.dir().join("kopeck.db");
    let wanted = Restore { file: &from, data: dir.path(), keep_sessions: false };
    let error = restore(&wanted, &unwatched).unwrap_err();
    assert!(matches!(error, CopyError::HasData(_)), "{error}");
    // An empty one is as good as none where there is a log beside it, which SQLite would delete.
    let log = disk.path().join("book.db-wal");
    std::fs::write(&file, "").unwrap();
    std::fs::write(&log, "something").unwrap();
    let error = open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("there is no data file here"), "{error}");
    assert_eq!(std::fs::read(&log).unwrap(), b"something", "it was left as it is");
    // Whoever wants a new book there says so by an empty file.
    std::fs::remove_file(&log).unwrap();
    let (store, recovered) = open(dir.path()).unwrap();
    assert!(recovered.created);
    store.close();
    assert!(file.metadata().unwrap().len() > 0);
}

#[test]
fn a_second_process_is_kept_out_of_a_data_file_by_whichever_name() {
    let engine = Engine::with_people(1);
    let (dir, other, disk) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let link = |to: &std::path::Path, dir: &TempDir| {
        std::os::unix::fs::symlink(to, dir.path().join("kopeck.db")).unwrap();
    };
    link(&engine.dir().join("kopeck.db"), &dir);
    let second = open(dir.path()).err().unwrap().to_string();
    assert!(second.contains("in use by another kopeck process"), "{second}");
    engine.deposit(2, 1).unwrap();
    drop(engine);
    // And by two links.
    std::fs::remove_file(dir.path().join("kopeck.db")).unwrap();
    let file = disk.path().join("book.db");
    std::fs::write(&file, "").unwrap();
    link(&file, &dir);
    link(&file, &other);
    let (first, _) = open(dir.path()).unwrap();
    let second = open(other.path()).err().unwrap().to_string();
    assert!(second.contains("in use by another kopeck process"), "{second}");
    first.close();
    let (second, recovered) = open(other.path()).unwrap();
    assert!(!recovered.created);
    second.close();
    // Its lock may be the very one of the directory.
    let inside = other.path().join("kopeck.sqlite");
    std::fs::copy(&file, &inside).unwrap();
    std::fs::remove_file(other.path().join("kopeck.db")).unwrap();
    link(&inside, &other);
    assert!(!open(other.path()).unwrap().1.created);
}

#[test]
fn a_data_file_with_another_name_is_not_opened_by_either() {
    let engine = Engine::with_people(1);
    let dir = TempDir::new().unwrap();
    let (file, other) = (engine.dir().join("kopeck.db"), dir.path().join("kopeck.db"));
    std::fs::hard_link(&file, &other).unwrap();
    let error = open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("has another name"), "{error}");
    engine.deposit(2, 1).unwrap();
    engine.store.close();
    let error = open(engine.dir()).err().unwrap().to_string();
    assert!(error.contains("has another name"), "{error}");
    std::fs::remove_file(other).unwrap();
    assert_eq!(engine.reopen().unwrap().balance(2), 1);
}

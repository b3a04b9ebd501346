//! Where a backup may lie, and by which name data are read: never over or beside what somebody needs.

use std::path::Path;

use store_sqlite::CopyError;
use tempfile::TempDir;

use crate::backup::{back_up, back_up_watched, bring_back, names, unwatched};
use crate::support::Engine;

#[test]
fn a_backup_goes_nowhere_it_should_not() {
    let engine = Engine::with_people(1);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("backup.db");
    std::fs::write(&file, "dear").unwrap();
    let said = |file: &Path| back_up(engine.dir(), file).unwrap_err().to_string();
    assert!(said(&file).contains("is there already"));
    assert!(said(dir.path()).contains("does not name a file"));
    assert!(said(Path::new("/dev/null")).contains("not a plain file"));
    assert!(said(&dir.path().join("no/such")).contains("No such file"));
    for inside in ["kopeck.db-wal", "backup.db", "../kopeck-has-none-of-this-name/../backup.db"] {
        let inside = engine.dir().join(inside);
        let said = said(&inside);
        let refused = said.contains("lies in a data directory")
            || said.contains("is there already")
            || said.contains("No such file");
        assert!(refused, "{said}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"dear");
    let done = back_up_watched(engine.dir(), &file, true, &unwatched()).unwrap();
    assert_eq!(done.bytes, std::fs::metadata(&file).unwrap().len());
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let error = back_up_watched(engine.dir(), &link, true, &unwatched()).unwrap_err();
    assert!(error.to_string().contains("not a plain file"), "{error}");
    assert_eq!(names(dir.path()), ["backup.db", "link"]);
    let nothing = back_up(dir.path(), &dir.path().join("of-nothing")).unwrap_err().to_string();
    assert!(nothing.contains("no data file"), "{nothing}");
}

/// Over the data themselves, or the log that they need.
#[test]
fn a_backup_does_not_go_beside_a_data_file_whose_name_is_a_link() {
    let (dir, disk) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let engine = Engine::with_people(1);
    engine.store.close();
    let file = disk.path().join("book.db");
    std::fs::copy(engine.dir().join("kopeck.db"), &file).unwrap();
    std::os::unix::fs::symlink(&file, dir.path().join("kopeck.db")).unwrap();
    let before = std::fs::read(&file).unwrap();
    for name in ["book.db", "book.db-wal", "another.db"] {
        let place = disk.path().join(name);
        let error = back_up_watched(dir.path(), &place, true, &unwatched()).unwrap_err();
        assert!(matches!(error, CopyError::InDataDirectory(_)), "{error}");
    }
    assert!(std::fs::read(&file).unwrap() == before);
    std::fs::create_dir(disk.path().join("backups")).unwrap();
    back_up(dir.path(), &disk.path().join("backups/one.db")).unwrap();
}

#[test]
fn a_backup_never_goes_into_anothers_data_directory() {
    let (engine, other) = (Engine::with_people(1), Engine::with_people(2));
    let file = other.dir().join("kopeck.db");
    let error = back_up_watched(engine.dir(), &file, true, &unwatched()).unwrap_err().to_string();
    assert!(error.contains("lies in a data directory"), "{error}");
    assert_eq!(other.reopen().unwrap().recovered.wallets, 3);
}

/// The docs' own name for it.
#[test]
fn a_backup_by_the_data_files_name_makes_no_data_directory_of_its_folder() {
    let engine = Engine::with_people(1);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("kopeck.db");
    for operations in 0..2 {
        let done = back_up_watched(engine.dir(), &file, true, &unwatched()).unwrap();
        assert_eq!(done.contents.operations, operations);
        engine.deposit(2, 1).unwrap();
    }
    back_up(engine.dir(), &dir.path().join("another.db")).unwrap();
    // Nor does a mistaken restore.
    let error = bring_back(&file, dir.path()).unwrap_err();
    assert!(matches!(error, CopyError::HasData(_)), "{error}");
    assert_eq!(names(dir.path()), ["another.db", "kopeck.db"]);
    back_up_watched(engine.dir(), &file, true, &unwatched()).unwrap();
    // But where a service has run on it, or the name is a link.
    let log = dir.path().join("kopeck.db-wal");
    std::fs::write(&log, "").unwrap();
    let refused = |name: &str| {
        let error = back_up(engine.dir(), &dir.path().join(name)).unwrap_err();
        assert!(matches!(error, CopyError::InDataDirectory(_)), "{error}");
    };
    refused("third.db");
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(&file, dir.path().join("book.db")).unwrap();
    std::os::unix::fs::symlink("book.db", &file).unwrap();
    refused("third.db");
}

/// Its engine keeps its log beside the name that it runs on, and nothing of it beside another one.
#[test]
fn a_data_file_is_not_read_by_a_hard_link_without_its_log() {
    let engine = Engine::with_people(1);
    engine.deposit(2, 1).unwrap();
    let engine = engine.reopen().unwrap();
    engine.deposit(2, 1).unwrap();
    let (dir, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let linked = dir.path().join("kopeck.db");
    std::fs::hard_link(engine.dir().join("kopeck.db"), &linked).unwrap();
    let (file, data) = (to.path().join("backup.db"), to.path().join("data"));
    // By it, what was there before the start is all that there is.
    let refused = [
        back_up(dir.path(), &file).unwrap_err().to_string(),
        bring_back(&linked, &data).unwrap_err().to_string(),
        store_sqlite::Export::open(dir.path()).err().unwrap().to_string(),
        store_sqlite::checkpoint(dir.path()).unwrap_err().to_string(),
    ];
    assert!(refused.iter().all(|error| error.contains("has another name")), "{refused:?}");
    assert_eq!((names(dir.path()).len(), names(to.path()).len()), (1, 0), "nothing is left behind");
    // By its own it is read, beside its engine and at rest; and a backup, which has no log, by any.
    assert_eq!(back_up(engine.dir(), &file).unwrap().contents.operations, 2);
    engine.store.close();
    back_up_watched(engine.dir(), &file, true, &unwatched()).unwrap();
    std::fs::remove_file(&linked).unwrap();
    std::fs::hard_link(&file, &linked).unwrap();
    assert_eq!(bring_back(&linked, &data).unwrap().contents.operations, 2);
    store_sqlite::checkpoint(dir.path()).unwrap();
}

#[test]
fn a_backup_is_not_put_beside_what_would_be_read_with_it() {
    let engine = Engine::with_people(1);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("backup.db");
    for ending in ["-wal", "-shm", "-journal"] {
        let other = dir.path().join(format!("backup.db{ending}"));
        std::fs::write(&other, "somebody's").unwrap();
        for replace in [false, true] {
            let error = back_up_watched(engine.dir(), &file, replace, &unwatched()).unwrap_err();
            assert!(error.to_string().contains("is in the way"), "{ending}: {error}");
        }
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "somebody's");
        std::fs::remove_file(other).unwrap();
    }
    back_up(engine.dir(), &file).unwrap();
}

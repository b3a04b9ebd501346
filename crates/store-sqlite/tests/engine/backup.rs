//! Backups beside a running engine and the way back: whole or not at all, never over anything.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use ledger::{Ledger, OperationKind, Role, Timestamp, TokenHash};
use ledger::{People, Session};
use rusqlite::Connection;
use store_sqlite::{Backup, CopyError, Done, Restore, Step, Unwatched, Watch, backup, restore};
use tempfile::TempDir;

use crate::support::{
    Engine, change_free_pages, connect, connect_to, open, submission, wait, wallet,
};

pub(crate) fn unwatched() -> Arc<dyn Watch> {
    Arc::new(Unwatched)
}

pub(crate) fn back_up(data: &Path, file: &Path) -> Result<Done, CopyError> {
    back_up_watched(data, file, false, &unwatched())
}

pub(crate) fn back_up_watched(
    data: &Path,
    file: &Path,
    replace: bool,
    watch: &Arc<dyn Watch>,
) -> Result<Done, CopyError> {
    backup(&Backup { data, file, replace, log_grows_bytes_max: u64::MAX }, watch)
}

pub(crate) fn bring_back(file: &Path, data: &Path) -> Result<Done, CopyError> {
    restore(&Restore { file, data, keep_sessions: false }, &unwatched())
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn balance(dir: &Path, number: u64) -> i64 {
    let (store, _) = open(dir).unwrap();
    let page = ledger::Page { from: None, limit: 0 };
    wait(store.statement(wallet(number), page)).unwrap().unwrap().balance.minor()
}

#[test]
fn a_backup_of_a_running_engine_is_one_plain_file_and_comes_back() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 500).unwrap();
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("backup.db");
    let done = back_up(engine.dir(), &file).unwrap();
    assert_eq!((done.contents.operations, done.contents.wallets), (1, 3));
    assert_eq!(done.bytes, std::fs::metadata(&file).unwrap().len());
    assert_eq!(names(elsewhere.path()), ["backup.db"]);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // The engine goes on, and the backup does not follow.
    engine.transfer(2, 3, 100).unwrap();
    let plain = Connection::open(&file).unwrap();
    let mode: String = plain.query_row("PRAGMA journal_mode", (), |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete", "nothing is needed beside it");
    let count: i64 =
        plain.query_row("SELECT count(*) FROM statement", (), |row| row.get(0)).unwrap();
    assert_eq!(count, 2, "both sides of the one operation");
    drop(plain);
    assert_eq!(names(elsewhere.path()), ["backup.db"]);

    let data = elsewhere.path().join("a/b");
    assert_eq!(bring_back(&file, &data).unwrap().contents, done.contents);
    assert_eq!(names(&data), ["kopeck.db", "kopeck.lock"]);
    assert_eq!(
        std::fs::metadata(data.join("kopeck.db")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (store, recovered) = open(&data).unwrap();
    assert_eq!((recovered.operations, recovered.created), (1, false));
    let batch = vec![submission(OperationKind::Transfer, 2, 3, 500)];
    let outcome = wait(store.submit(batch)).unwrap().remove(0).decision.unwrap();
    assert_eq!(outcome.id.get(), 2);
    assert_eq!(engine.balance(2), 400, "the other engine knows nothing of it");
}

#[test]
fn a_stopped_engine_is_backed_up_and_stays_as_it_was() {
    let engine = Engine::with_people(1);
    engine.deposit(2, 7).unwrap();
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    engine.store.close();
    std::fs::copy(engine.dir().join("kopeck.db"), data.join("kopeck.db")).unwrap();
    let before = std::fs::read(data.join("kopeck.db")).unwrap();
    back_up(&data, &dir.path().join("one")).unwrap();
    assert!(std::fs::read(data.join("kopeck.db")).unwrap() == before);
    assert_eq!(balance(&data, 2), 7);
    bring_back(&dir.path().join("one"), &dir.path().join("two")).unwrap();
    assert_eq!(balance(&dir.path().join("two"), 2), 7);
}

/// Stops at the first step of a kind; may do something else at it.
struct Interfering<F: Fn() + Send + Sync> {
    at: fn(Step) -> bool,
    cancels: bool,
    cancelled: AtomicBool,
    seen: AtomicUsize,
    interfere: F,
}

impl<F: Fn() + Send + Sync> Interfering<F> {
    fn new(at: fn(Step) -> bool, cancels: bool, interfere: F) -> Self {
        Self {
            at,
            cancels,
            cancelled: AtomicBool::new(false),
            seen: AtomicUsize::new(0),
            interfere,
        }
    }
}

impl<F: Fn() + Send + Sync> Watch for Interfering<F> {
    fn step(&self, step: Step) {
        if (self.at)(step) {
            self.seen.fetch_add(1, SeqCst);
            (self.interfere)();
            self.cancelled.store(self.cancels, SeqCst);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(SeqCst)
    }
}

#[test]
fn what_is_stopped_leaves_nothing_behind() {
    let engine = Engine::with_people(1);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("backup.db");
    let steps: [fn(Step) -> bool; 3] = [
        |step| matches!(step, Step::Copying { .. }),
        |step| step == Step::Checking,
        |step| step == Step::Syncing,
    ];
    for at in steps {
        let watch = Arc::new(Interfering::new(at, true, || {}));
        let stopped =
            back_up_watched(engine.dir(), &file, false, &(watch.clone() as Arc<dyn Watch>));
        assert!(watch.seen.load(SeqCst) > 0);
        // A small file is checked before anybody is asked; it is asked again before it is put.
        assert!(matches!(stopped, Err(CopyError::Cancelled)), "{stopped:?}");
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }
    back_up(engine.dir(), &file).unwrap();
    let data = dir.path().join("data");
    for at in steps {
        let watch: Arc<dyn Watch> = Arc::new(Interfering::new(at, true, || {}));
        let stopped = restore(&Restore { file: &file, data: &data, keep_sessions: false }, &watch);
        assert!(matches!(stopped, Err(CopyError::Cancelled)), "{stopped:?}");
        assert!(!data.exists(), "it was made for this");
    }
    // One that was there stays.
    std::fs::create_dir(&data).unwrap();
    let watch: Arc<dyn Watch> = Arc::new(Interfering::new(steps[0], true, || {}));
    restore(&Restore { file: &file, data: &data, keep_sessions: false }, &watch).unwrap_err();
    assert_eq!(names(&data), ["kopeck.lock"]);
    bring_back(&file, &data).unwrap();
}

/// Large enough that it is copied in more than one step.
fn large() -> Engine {
    let engine = Engine::with_people(1);
    for _ in 0..30 {
        let batch = vec![submission(OperationKind::Deposit, 1, 2, 1); 8_000];
        wait(engine.store.submit(batch)).unwrap();
    }
    engine
}

#[test]
fn what_is_written_meanwhile_is_not_in_it_and_not_held_up() {
    let engine = Arc::new(large());
    let before = engine.balance(2);
    let dir = TempDir::new().unwrap();
    let writer = Arc::clone(&engine);
    let watch: Arc<dyn Watch> = Arc::new(Interfering::new(
        |step| matches!(step, Step::Copying { .. }),
        false,
        move || drop(writer.deposit(2, 1).unwrap()),
    ));
    let file = dir.path().join("backup.db");
    let done = back_up_watched(engine.dir(), &file, false, &watch).unwrap();
    assert_eq!(done.contents.operations, 240_000, "the state it began with, whole");
    assert!(
        engine.balance(2) >= before + 3,
        "there were several steps, and it was written at each"
    );
    bring_back(&file, &dir.path().join("data")).unwrap();
    assert_eq!(balance(&dir.path().join("data"), 2), before);
}

#[test]
fn a_log_that_grows_too_far_ends_the_backup_and_not_the_engine() {
    let engine = Arc::new(large());
    let dir = TempDir::new().unwrap();
    let writer = Arc::clone(&engine);
    let watch: Arc<dyn Watch> = Arc::new(Interfering::new(
        |step| matches!(step, Step::Copying { .. }),
        false,
        // Each grows the log by more than it may: 8 000 rows are 100 pages and more.
        move || {
            for _ in 0..20 {
                let batch = vec![submission(OperationKind::Deposit, 1, 2, 1); 8_000];
                wait(writer.store.submit(batch)).unwrap();
            }
        },
    ));
    let file = dir.path().join("backup.db");
    let bounded =
        Backup { data: engine.dir(), file: &file, replace: false, log_grows_bytes_max: 100_000 };
    let error = backup(&bounded, &watch).unwrap_err();
    assert!(matches!(error, CopyError::LogTooLong { .. }), "{error}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
    engine.deposit(2, 1).unwrap();
    back_up(engine.dir(), &file).unwrap();
}

#[test]
fn data_are_not_overwritten_and_a_service_is_not_restored_under() {
    let engine = Engine::with_people(1);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("backup.db");
    back_up(engine.dir(), &file).unwrap();
    let said = |data: &Path| bring_back(&file, data).unwrap_err().to_string();
    let refused = said(engine.dir());
    assert!(refused.contains("in use by another kopeck process"), "{refused}");
    engine.store.close();
    let refused = said(engine.dir());
    assert!(refused.contains("is there already"), "{refused}");
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for left_over in ["kopeck.db-wal", "kopeck.db-shm", "kopeck.db-journal", "keys-00000001.run"] {
        std::fs::write(data.join(left_over), "").unwrap();
        let refused = said(&data);
        assert!(refused.contains(left_over), "{refused}");
        std::fs::remove_file(data.join(left_over)).unwrap();
    }
    bring_back(&file, &data).unwrap();
}

/// A good backup, changed by `tamper`, must be refused with `expected`, and leave nothing.
#[track_caller]
fn refuses(tamper: impl FnOnce(&PathBuf), expected: &str) {
    let engine = Engine::with_people(2);
    engine.deposit(2, 500).unwrap();
    engine.transfer(2, 3, 100).unwrap();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("backup.db");
    back_up(engine.dir(), &file).unwrap();
    tamper(&file);
    let data = dir.path().join("data");
    let refused = bring_back(&file, &data).unwrap_err().to_string();
    assert!(refused.contains(expected), "{refused}");
    assert!(!data.exists());
}

fn sql(text: &'static str) -> impl FnOnce(&PathBuf) {
    move |file| connect_to(file).execute_batch(text).unwrap()
}

#[test]
fn what_is_no_good_backup_is_refused() {
    refuses(|file| std::fs::remove_file(file).unwrap(), "no data file");
    refuses(|file| std::fs::write(file, "").unwrap(), "no data file");
    refuses(
        |file| std::fs::write(file, "words, words ".repeat(99)).unwrap(),
        "backup.db is not a database",
    );
    refuses(sql("PRAGMA application_id = 7"), "not kopeck's");
    refuses(sql("PRAGMA user_version = 99"), "version 99");
    refuses(sql("UPDATE swept SET balance_minor = 401 WHERE wallet_id = 2"), "damaged");
    refuses(sql("UPDATE transfer SET details = 'x' WHERE operation_id = 1"), "operation 1 is not");
    refuses(sql("DELETE FROM wallet WHERE wallet_id = 2"), "damaged");
    refuses(
        |file| {
            let open = std::fs::File::options().write(true).open(file).unwrap();
            open.set_len(open.metadata().unwrap().len() / 2).unwrap();
        },
        "damaged",
    );
    refuses(
        |file| {
            // The rows of the transfers, wherever they are: a page of zeros.
            let page: i64 = Connection::open(file)
                .unwrap()
                .query_row(
                    "SELECT rootpage FROM sqlite_schema WHERE name = 'transfer'",
                    (),
                    |row| row.get(0),
                )
                .unwrap();
            let mut bytes = std::fs::read(file).unwrap();
            let start = usize::try_from((page - 1) * 4_096).unwrap();
            bytes[start..start + 4_096].fill(0);
            std::fs::write(file, bytes).unwrap();
        },
        "damaged",
    );
}

#[test]
fn a_backup_of_an_older_version_is_made_as_it_is_and_restored_as_a_newer() {
    let old = crate::chain::old_file(300);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("backup.db");
    let done = back_up(old.path(), &file).unwrap();
    assert_eq!((done.contents.operations, done.contents.wallets), (300, 2));
    let version = |file: &Path| -> i64 {
        let file = Connection::open(file).unwrap();
        file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    assert_eq!(version(&file), 1, "whoever goes back to the older kopeck can use it");
    let data = dir.path().join("data");
    assert_eq!(bring_back(&file, &data).unwrap().contents, done.contents);
    assert_eq!((version(&file), version(&data.join("kopeck.db"))), (1, 2));
    assert_eq!(balance(&data, 2), 300);
    let refused = store_sqlite::Export::open(old.path()).err().unwrap().to_string();
    assert!(refused.contains("an older kopeck"), "{refused}");
}

#[test]
fn sessions_end_with_a_restore_unless_they_are_kept() {
    let engine = Engine::with_people(1);
    let token_hash: TokenHash = [7; 32];
    let user = engine.sign_up("someone@localhost", Role::Person).unwrap();
    let now = Timestamp::from_micros(1);
    let session = Session { token_hash, user: user.id, opened: now, seen: now };
    wait(engine.store.open_session(session, None)).unwrap();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("backup.db");
    back_up(engine.dir(), &file).unwrap();
    for keep_sessions in [false, true] {
        let data = dir.path().join(keep_sessions.to_string());
        restore(&Restore { file: &file, data: &data, keep_sessions }, &unwatched()).unwrap();
        let sessions: i64 =
            connect(&data).query_row("SELECT count(*) FROM session", (), |row| row.get(0)).unwrap();
        assert_eq!(sessions, i64::from(keep_sessions));
    }
}

/// What is written next would overwrite it. Only SQLite's own check tells.
#[test]
fn a_page_that_is_in_use_and_listed_as_free_is_not_backed_up() {
    let engine = Engine::with_people(1);
    let engine = engine.reopen().unwrap();
    engine.store.close();
    let file = engine.dir().join("kopeck.db");
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'user'";
    let user = connect(engine.dir()).query_row(root, (), |row| row.get(0)).unwrap();
    change_free_pages(&file, |[_, second]| [user, second]);
    let dir = TempDir::new().unwrap();
    let error = back_up(engine.dir(), &dir.path().join("backup.db")).unwrap_err();
    assert!(matches!(&error, CopyError::Damaged(why) if why.contains("2nd reference")), "{error}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

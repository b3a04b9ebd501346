//! An engine on a directory of its own, driven without a runtime of the caller's.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ledger::{
    Amount, Currency, Details, IdempotencyKey, Ledger, NewUser, Operation, OperationId,
    OperationKind, Outcome, Page, People, Rejection, Role, SignUpRefusal, Statement, Submission,
    Transfer, User, WalletId,
};
use rusqlite::Connection;
use store_sqlite::{OpenError, Options, Recovered, SqliteStore, Unobserved, deliver_here};
use tempfile::TempDir;

pub(crate) struct Engine {
    pub(crate) store: SqliteStore,
    pub(crate) recovered: Recovered,
    dir: Arc<TempDir>,
}

impl Engine {
    /// A new engine with the bank and `people` wallets, numbered from 2.
    pub(crate) fn with_people(people: u64) -> Self {
        let engine = Self::on(Arc::new(TempDir::new().unwrap())).unwrap();
        engine.sign_up("bank@localhost", Role::Bank).unwrap();
        for number in 2..2 + people {
            engine.sign_up(&format!("{number}@localhost"), Role::Person).unwrap();
        }
        engine
    }

    pub(crate) fn on(dir: Arc<TempDir>) -> Result<Self, OpenError> {
        let (store, recovered) = open(dir.path())?;
        Ok(Self { store, recovered, dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A copy of what a kill would leave now. Nobody may be writing, so that the files can be copied one by one.
    pub(crate) fn as_after_a_kill(&self) -> TempDir {
        let left = TempDir::new().unwrap();
        for file in std::fs::read_dir(self.dir()).unwrap().map(|file| file.unwrap()) {
            std::fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
        }
        left
    }

    /// Stops the engine cleanly and opens it again.
    pub(crate) fn reopen(self) -> Result<Self, OpenError> {
        self.reopen_after(|_| {})
    }

    /// Stops the engine cleanly, lets `tamper` at the data file, and opens it again.
    pub(crate) fn reopen_after(self, tamper: impl FnOnce(&Connection)) -> Result<Self, OpenError> {
        self.store.close();
        let dir = Arc::clone(&self.dir);
        drop(self);
        tamper(&connect(dir.path()));
        Self::on(dir)
    }

    /// Stops the engine cleanly and opens it again with another window for its keys.
    pub(crate) fn reopen_with_window(self, window: Option<Duration>) -> Self {
        self.store.close();
        let dir = Arc::clone(&self.dir);
        drop(self);
        let (store, recovered) = open_with(dir.path(), "RUB", window).unwrap();
        Self { store, recovered, dir }
    }

    /// Stops the engine cleanly, lets `tamper` at the directory, and opens it again.
    pub(crate) fn reopen_after_files(self, tamper: impl FnOnce(&Path)) -> Result<Self, OpenError> {
        self.store.close();
        let dir = Arc::clone(&self.dir);
        drop(self);
        tamper(dir.path());
        Self::on(dir)
    }

    pub(crate) fn sign_up(&self, email: &str, role: Role) -> Result<User, SignUpRefusal> {
        wait(self.store.sign_up(new_user(email, role), None)).unwrap()
    }

    pub(crate) fn submit(&self, submission: Submission) -> Outcome {
        wait(self.store.submit(vec![submission])).unwrap().remove(0)
    }

    pub(crate) fn deposit(&self, to: u64, minor: i64) -> Result<Transfer, Rejection> {
        self.submit(submission(OperationKind::Deposit, 1, to, minor)).decision
    }

    pub(crate) fn transfer(&self, from: u64, to: u64, minor: i64) -> Result<Transfer, Rejection> {
        self.submit(submission(OperationKind::Transfer, from, to, minor)).decision
    }

    /// So many deposits of one kopeck to wallet 3, in one batch.
    pub(crate) fn fill(&self, count: usize) {
        let deposit = submission(OperationKind::Deposit, 1, 3, 1);
        let outcomes = wait(self.store.submit(vec![deposit; count])).unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.decision.is_ok()));
    }

    pub(crate) fn statement(&self, number: u64, from: Option<u64>, limit: usize) -> Statement {
        let page = Page { from: from.map(|from| OperationId::new(from).unwrap()), limit };
        wait(self.store.statement(wallet(number), page)).unwrap().unwrap()
    }

    pub(crate) fn balance(&self, number: u64) -> i64 {
        self.statement(number, None, 0).balance.minor()
    }
}

pub(crate) fn open(dir: &Path) -> Result<(SqliteStore, Recovered), OpenError> {
    open_in(dir, "RUB")
}

pub(crate) fn open_in(dir: &Path, currency: &str) -> Result<(SqliteStore, Recovered), OpenError> {
    open_with(dir, currency, Some(DAY))
}

pub(crate) fn open_with(
    dir: &Path,
    currency: &str,
    key_window: Option<Duration>,
) -> Result<(SqliteStore, Recovered), OpenError> {
    SqliteStore::open(Options {
        dir: dir.to_owned(),
        currency: Some(Currency::parse(currency).unwrap()),
        queue_operations_max: 100_000,
        key_window,
        observer: Arc::new(Unobserved),
        deliver: deliver_here(),
    })
}

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The data file as any other program would open it.
pub(crate) fn connect(dir: &Path) -> Connection {
    connect_to(&dir.join("kopeck.db"))
}

/// Another file than that of a data directory. Here, what was swept can be changed as the view
/// shows it.
pub(crate) fn connect_to(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    // Older files, and those of other programs, have no such view.
    let _ = connection.execute_batch(
        "CREATE TEMP TRIGGER change_swept INSTEAD OF UPDATE ON swept BEGIN
             REPLACE INTO swept_block
             WITH kept (at, states) AS (
                 SELECT 32 * ((new.wallet_id - 1) % 250), coalesce(
                     (SELECT hex(states) FROM swept_block
                      WHERE block = 1 + (new.wallet_id - 1) / 250), ''))
             SELECT 1 + (new.wallet_id - 1) / 250, unhex(
                 substr(states || hex(zeroblob(4000)), 1, at)
                 || printf('%016X%016X', new.balance_minor, coalesce(new.last_operation_id, 0))
                 || substr(states, at + 33))
             FROM kept;
         END",
    );
    connection
}

pub(crate) fn new_user(email: &str, role: Role) -> NewUser {
    NewUser {
        role,
        name: format!("The one of {email}"),
        email: email.to_owned(),
        email_key: email.to_lowercase(),
        password_hash: "$argon2id$of-nothing".to_owned(),
    }
}

pub(crate) fn wallet(number: u64) -> WalletId {
    WalletId::new(number).unwrap()
}

pub(crate) fn submission(kind: OperationKind, debit: u64, credit: u64, minor: i64) -> Submission {
    let operation = Operation {
        kind,
        debit: wallet(debit),
        credit: wallet(credit),
        amount: Amount::from_minor(minor).unwrap(),
        details: Details::parse("за чай").unwrap(),
        external_id: None,
    };
    Submission { operation, key: None }
}

pub(crate) fn keyed(submission: Submission, key: &str) -> Submission {
    Submission { key: Some(IdempotencyKey::parse(key).unwrap()), ..submission }
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Makes free pages in a data file that nobody has open, and changes the first two of the list of them.
pub(crate) fn change_free_pages(file: &Path, change: impl FnOnce([u32; 2]) -> [u32; 2]) {
    let connection = Connection::open(file).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE x (a);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20)
                 INSERT INTO x SELECT zeroblob(4000) FROM n;
             DROP TABLE x;",
        )
        .unwrap();
    drop(connection);
    let mut bytes = std::fs::read(file).unwrap();
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    // The file's head says where the list begins; there, its pages stand behind two numbers.
    let at = (word(&bytes, 32) as usize - 1) * 4_096 + 8;
    let changed = change([word(&bytes, at), word(&bytes, at + 4)]);
    bytes[at..at + 8].copy_from_slice(changed.map(u32::to_be_bytes).as_flattened());
    std::fs::write(file, bytes).unwrap();
}

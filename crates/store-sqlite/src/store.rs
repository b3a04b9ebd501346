//! Owns the engine as a whole: opening it, its threads, handing work in, stopping it.
//!
//! Never: how a batch is written or a row is read. Bounds: one writer, one checkpoint and a few
//! reader threads, whatever the load; operations that wait, by [`Options::queue_operations_max`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ledger::{
    Batch, BatchOutcome, Checkpoint, Credentials, Currency, Damage, IdempotencyKey, Ledger,
    LedgerError, NewUser, OperationId, Outcome, Page, Pending, People, Receipt, Session,
    SignUpRecord, SignUpRefusal, Statement, Submission, Timestamp, TokenHash, User, UserId,
    WalletId,
};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::chain::{ChainDamage, Links};
use crate::checkpoint::{Bell, Checkpoints};
use crate::connection::{connect_to_read, connect_to_write};
use crate::directory::Directory;
use crate::gate::Gate;
use crate::hasher::Hasher;
use crate::heads::Heads;
use crate::keys::Keys;
use crate::keys::keeper::Keeper;
use crate::keys::shelf::{Horizon, Shelf};
use crate::people::PeopleWrite;
use crate::queue::{Queue, Refused};
use crate::readers::{READERS, ReadError, Readers, statement};
use crate::receipts::{self, Spans};
use crate::sweep::Sweep;
use crate::work::{Reply, Work};
use crate::writer::{Writer, now};
use crate::{background, connection, directory, people, recovery, schema};

/// What the engine tells whoever measures it. Called on the engine's threads: must be quick.
pub trait Observer: Send + Sync {
    /// A batch of so many operations was made durable, or refused.
    fn batch(&self, operations: usize, elapsed: Duration, committed: bool);
    /// A checkpoint moved the write-ahead log into the data file.
    fn checkpoint(&self, elapsed: Duration);
}

/// An observer that looks away.
pub struct Unobserved;

impl Observer for Unobserved {
    fn batch(&self, _: usize, _: Duration, _: bool) {}
    fn checkpoint(&self, _: Duration) {}
}

/// Runs the handing out of a batch's answers, somewhere, soon.
pub type Deliver = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// How to open the engine.
pub struct Options {
    /// The data directory; made if it is not there.
    pub dir: PathBuf,
    /// The currency of all wallets. Written into a new file; another than the file's is refused.
    /// `None` is the file's own, and there must be a file.
    pub currency: Option<Currency>,
    /// How many operations may wait before more are refused.
    pub queue_operations_max: usize,
    /// How long what was decided under an idempotency key is remembered, at least. Written into the
    /// file; `None` is what it was there last.
    pub key_window: Option<Duration>,
    /// Who is told of batches and checkpoints.
    pub observer: Arc<dyn Observer>,
    /// Who wakes those who wait. A runtime wakes its own tasks much cheaper than the writer's thread
    /// could, and the writer goes on meanwhile; [`deliver_here`] where there is none.
    pub deliver: Deliver,
}

/// Hands answers out at once, on the writer's thread.
#[must_use]
pub fn deliver_here() -> Deliver {
    Arc::new(|answers| answers())
}

/// What opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// True when there was no data file.
    pub created: bool,
    /// How many wallets there are.
    pub wallets: u64,
    /// How many operations there are.
    pub operations: u64,
    /// How many of them were replayed because the wallet table lagged behind.
    pub replayed: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why the engine did not open. Each text is whole: what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error(
        "{0} is in use by another kopeck process; stop that one first, or choose another data directory"
    )]
    Locked(PathBuf),
    /// The directory cannot be used.
    #[error("the data directory {path} cannot be used: {error}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is kept in another currency.
    #[error(
        "this data file is kept in {file}, not in {asked}; start with --currency {file}, or choose another data directory"
    )]
    CurrencyDiffers {
        /// The file's.
        file: Currency,
        /// The one asked for.
        asked: Currency,
    },
    /// There is no data file.
    #[error("there is no data file in {0}")]
    NotThere(PathBuf),
    /// The file belongs to another program.
    #[error("the data file is not kopeck's: it has tables, but not kopeck's mark")]
    NotOurs,
    /// The file was written by a newer kopeck.
    #[error(
        "the data file has version {file}; this kopeck knows versions up to {known}: use a newer kopeck"
    )]
    Newer {
        /// The file's version.
        file: usize,
        /// The newest one known.
        known: usize,
    },
    /// The file system cannot carry a write-ahead log.
    #[error("{0} cannot have a write-ahead log: its file system does not support one")]
    NoLog(PathBuf),
    /// The file lacks the row that describes it.
    #[error("the data file is damaged: it does not say its currency")]
    Incomplete,
    /// The wallet table has a gap.
    #[error("the data file is damaged: the wallet table does not have wallet {0} in its place")]
    WalletMissing(u64),
    /// The wallet table says of a wallet what cannot be: the bank's is the first one, and wallet n is
    /// user n's.
    #[error("the data file is damaged: wallet {0} is kept as another kind, or as another user's")]
    WalletChanged(u64),
    /// The operation that the wallet table was written up to is not there.
    #[error("the data file is damaged: operation {0} is missing")]
    OperationMissing(u64),
    /// The operations do not fit the rules.
    #[error("the data file is damaged: {0}")]
    Damaged(#[from] Damage),
    /// A new file would be made where there was one.
    #[error(
        "there is no data file here, but {0}, which belongs to one: put the data file back, or restore \
         a backup into an empty directory; to begin anew on purpose, move that file away first"
    )]
    DataFileGone(PathBuf),
    /// The log lost what was acknowledged.
    #[error(
        "{0}; restore a backup, or keep what stands before the damage: `sqlite3 kopeck.db 'PRAGMA \
         wal_checkpoint(TRUNCATE)'` in the data directory lets go of the rest"
    )]
    LogDamaged(String),
    /// The chain over the book is broken.
    #[error("the data file is damaged: {0}")]
    ChainBroken(String),
    /// The keys' files cannot be kept.
    #[error("{0}")]
    Keys(String),
    /// SQLite failed.
    #[error("the data file cannot be read: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl From<ChainDamage> for OpenError {
    fn from(damage: ChainDamage) -> Self {
        Self::ChainBroken(damage.to_string())
    }
}

/// The embedded engine. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    currency: Currency,
    queue: Arc<Queue<Work>>,
    readers: Readers,
    heads: Arc<Heads>,
    spans: Arc<Spans>,
    links: Links,
    shelf: Arc<Shelf>,
    bell: Arc<Bell>,
    halted: watch::Sender<Option<String>>,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    /// The data file once more, kept open until every connection is closed: closing it earlier
    /// would let go of the connections' locks (that is how POSIX has it).
    data: Option<Arc<File>>,
    /// Unlocked last of all.
    directory: Option<Directory>,
}

impl SqliteStore {
    /// Opens the engine: recovers, checks, makes what it recovered durable, starts its threads.
    /// Blocks; returns when the engine is ready to serve.
    pub fn open(options: Options) -> Result<(Self, Recovered), OpenError> {
        let began = Instant::now();
        if options.currency.is_none() && !directory::has_file(&options.dir) {
            return Err(OpenError::NotThere(options.dir));
        }
        let directory = Directory::open(&options.dir)?;
        let file = directory.file();
        let unusable = |error| OpenError::Unusable { path: options.dir.clone(), error };
        if let Some(leftover) = directory::leftover(&options.dir).map_err(unusable)? {
            return Err(OpenError::DataFileGone(leftover));
        }
        connection::make_durable(&file, connection::inspect_log(&file)?)?;
        connection::make_file(&file)?;
        let mut connection = connect_to_write(&file)?;
        let created = schema::migrate(&mut connection, options.currency, now().micros())?;
        let currency = schema::currency(&connection)?;
        if let Some(asked) = options.currency.filter(|asked| *asked != currency) {
            return Err(OpenError::CurrencyDiffers { file: currency, asked });
        }
        connection::empty_log(&connection)?;
        directory.sync()?;
        let heads = Arc::new(Heads::new());
        let links = Links::of(&connection, currency)?;
        let state = recovery::recover(&connection, links, &heads)?;
        let window = schema::key_window(&connection, options.key_window)?;
        let keys = Keys::open(&options.dir, &connection, links, window)
            .map_err(|error| OpenError::Keys(error.to_string()))?;
        let keeper = Keeper::new(keys.shelf(), connect_to_read(&file)?, Horizon { window });
        let latest = recovery::latest(&connection)?;
        let recovered = Recovered {
            created,
            wallets: state.book.wallets(),
            operations: state.book.last_operation().map_or(0, OperationId::get),
            replayed: state.replayed,
            elapsed: began.elapsed(),
        };
        let queue = Arc::new(Queue::new(options.queue_operations_max));
        let halted = watch::Sender::new(None);
        let readers = Readers::new(Arc::new({
            let (queue, halted) = (Arc::clone(&queue), halted.clone());
            move |damage| halt(&queue, &halted, damage)
        }));
        let inner = Inner {
            currency,
            queue,
            readers,
            heads,
            spans: Arc::default(),
            links,
            shelf: keys.shelf(),
            bell: Arc::new(Bell::new()),
            halted,
            threads: Mutex::default(),
        };
        let writer = Writer {
            book: state.book,
            hasher: Hasher::start(state.chain).map_err(unusable)?,
            links,
            keys,
            key_window: window,
            latest,
            sweep: Sweep::new(state.mark),
            heads: Arc::clone(&inner.heads),
            queue: Arc::clone(&inner.queue),
            bell: Arc::clone(&inner.bell),
            gate: Arc::new(Gate::new()),
            observer: options.observer,
            deliver: options.deliver,
            halted: inner.halted.subscribe(),
        };
        inner.start((writer, connection), keeper, &file, directory)?;
        Ok((Self { inner: Arc::new(inner) }, recovered))
    }

    /// Resolves with the reason when the engine had to stop because its storage failed or is
    /// damaged. The process should then end with a non-zero status: a restart recovers.
    pub fn halted(&self) -> impl Future<Output = String> + Send + use<> {
        let mut halted = self.inner.halted.subscribe();
        async move {
            let reason = halted.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
            match reason {
                Some(reason) => reason,
                // The engine is gone, so it will never halt.
                None => std::future::pending().await,
            }
        }
    }

    /// Why the engine halted, if it did.
    #[must_use]
    pub fn halt_reason(&self) -> Option<String> {
        self.inner.halted.borrow().clone()
    }

    /// How many operations wait.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.inner.queue.weight()
    }

    /// How many keys are remembered in files; the newest are in memory, and not among them.
    #[must_use]
    pub fn keys_in_files(&self) -> u64 {
        self.inner.shelf.entries()
    }

    /// Finishes what was accepted, takes nothing more, and ends the threads. Blocks.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Hands work in at once; the future waits for its outcome.
    fn hand_in<T, W: FnOnce(Reply<T>) -> Work>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, LedgerError>> + use<T, W> {
        let (reply, answer) = oneshot::channel();
        let work = work(reply);
        let pushed = self.inner.queue.push(work.weight(), work);
        async move {
            match pushed {
                // A writer that dies without an answer leaves the outcome unknown.
                Ok(()) => answer.await.unwrap_or_else(|_| {
                    Err(LedgerError::OutcomeUnknown("the writer has stopped".to_owned()))
                }),
                Err(Refused::Full) => Err(LedgerError::Overloaded),
                Err(Refused::Closed) => Err(LedgerError::Closed),
            }
        }
    }

    fn write(&self, write: PeopleWrite) -> Pending<()> {
        Box::pin(self.hand_in(|reply| Work::People(write, reply)))
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Pending<T> {
        self.inner.readers.read(move |connection| read(connection).map_err(ReadError::from))
    }
}

#[cfg(test)]
impl SqliteStore {
    pub(crate) fn limit_pages(&self, pages: u64) {
        let _ = self.inner.queue.push(1, Work::LimitPages(pages));
    }
}

impl Inner {
    fn start(
        &self,
        (writer, mut connection): (Writer, Connection),
        keeper: Keeper,
        file: &Path,
        directory: Directory,
    ) -> Result<(), OpenError> {
        let data = File::open(file)
            .map_err(|error| OpenError::Unusable { path: file.to_owned(), error })?;
        let data = Arc::new(data);
        let checkpoints = Checkpoints {
            connection: connect_to_write(file)?,
            data: Arc::clone(&data),
            bell: Arc::clone(&self.bell),
            gate: Arc::clone(&writer.gate),
            observer: Arc::clone(&writer.observer),
        };
        let mut threads =
            Threads { data: Some(data), directory: Some(directory), ..Threads::default() };
        for number in 1..=READERS {
            let (readers, connection) = (self.readers.clone(), connect_to_read(file)?);
            threads.others.push(self.spawn_guarded(&format!("reader-{number}"), move || {
                readers.work(&connection);
                Ok(())
            })?);
        }
        threads.others.push(self.spawn_guarded("checkpoint", move || checkpoints.run())?);
        threads.others.push(self.spawn_guarded("keys", move || {
            // It sorts and merges for long stretches, and nobody waits for it.
            background::enter();
            keeper.run()
        })?);
        threads.writer = Some(self.spawn_guarded("writer", move || {
            Bell::hang(&mut connection).map_err(|error| error.to_string())?;
            writer.run(&connection)
        })?);
        *self.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok(())
    }

    /// Starts a thread whose failure, a panic included, halts the engine.
    fn spawn_guarded(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<JoinHandle<()>, OpenError> {
        let guard = Guard {
            queue: Arc::clone(&self.queue),
            halted: self.halted.clone(),
            reason: Some(format!("the {name} thread panicked")),
        };
        spawn(name, move || {
            // The whole guard moves in here, so that it is dropped here.
            let mut guard = guard;
            guard.reason = work().err();
        })
    }

    fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = std::mem::take(&mut *threads);
        self.queue.close();
        // The writer's last words are a whole checkpoint, for which nobody else may be reading.
        self.readers.close();
        self.bell.close();
        self.shelf.close();
        for thread in threads.others.into_iter().chain(threads.writer) {
            // A thread that panicked has halted the engine already.
            let _ = thread.join();
        }
        drop((threads.data, threads.directory));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Halts the engine when its thread ends with a reason, or without having said anything.
struct Guard {
    queue: Arc<Queue<Work>>,
    halted: watch::Sender<Option<String>>,
    reason: Option<String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            halt(&self.queue, &self.halted, reason);
        }
    }
}

/// Takes nothing more and says why. What waits was never begun: nothing of it was done.
fn halt(queue: &Queue<Work>, halted: &watch::Sender<Option<String>>, reason: String) {
    // Said first: a writer that wakes up because the queue is closed must know why.
    halted.send_if_modified(|halted| {
        let first = halted.is_none();
        halted.get_or_insert(reason);
        first
    });
    queue.close();
    let mut waiting = Vec::new();
    while queue.take(&mut waiting, usize::MAX) {
        waiting.drain(..).for_each(|work| work.refuse(&LedgerError::Closed));
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(format!("kopeck-{name}"))
        .spawn(work)
        .map_err(|error| OpenError::Unusable { path: PathBuf::from("thread"), error })
}

impl Ledger for SqliteStore {
    fn currency(&self) -> Currency {
        self.inner.currency
    }

    fn submit(&self, submissions: Vec<Submission>) -> Pending<Vec<Outcome>> {
        match <[Submission; 1]>::try_from(submissions) {
            Ok([one]) => {
                // Both lists stay on this thread: to free another's memory costs more.
                let outcome = self.hand_in(|reply| Work::One(one, reply));
                Box::pin(async move { outcome.await.map(|outcome| vec![outcome]) })
            }
            Err(submissions) => Box::pin(self.hand_in(|reply| Work::Submit(submissions, reply))),
        }
    }

    fn submit_batch(&self, batch: Batch) -> Pending<BatchOutcome> {
        Box::pin(self.hand_in(|reply| Work::Batch(batch, reply)))
    }

    fn statement(&self, wallet: WalletId, page: Page) -> Pending<Option<Statement>> {
        let (links, heads) = (self.inner.links, Arc::clone(&self.inner.heads));
        self.inner
            .readers
            .read(move |connection| statement(connection, links, &heads, wallet, page))
    }

    fn checkpoint(&self) -> Pending<Checkpoint> {
        let (links, spans) = (self.inner.links, Arc::clone(&self.inner.spans));
        self.inner.readers.read(move |connection| receipts::checkpoint(connection, links, &spans))
    }

    fn receipt(
        &self,
        wallet: WalletId,
        operation: OperationId,
        operations: Option<u64>,
    ) -> Pending<Option<Receipt>> {
        let (links, spans) = (self.inner.links, Arc::clone(&self.inner.spans));
        self.inner.readers.read(move |connection| {
            receipts::receipt(connection, links, &spans, (wallet, operation), operations)
        })
    }
}

impl People for SqliteStore {
    fn sign_up(
        &self,
        user: NewUser,
        key: Option<IdempotencyKey>,
    ) -> Pending<Result<User, SignUpRefusal>> {
        Box::pin(self.hand_in(|reply| Work::SignUp(user, key, reply)))
    }

    fn sign_up_record(&self, key: IdempotencyKey) -> Pending<Option<SignUpRecord>> {
        self.read(move |connection| people::sign_up_record(connection, &key))
    }

    fn credentials(&self, email_key: &str) -> Pending<Option<Credentials>> {
        let email_key = email_key.to_owned();
        self.read(move |connection| people::credentials(connection, &email_key))
    }

    fn bank(&self) -> Pending<Option<User>> {
        self.read(people::bank)
    }

    fn set_password(&self, user: UserId, password_hash: String) -> Pending<()> {
        self.write(PeopleWrite::SetPassword(user, password_hash))
    }

    fn open_session(&self, session: Session) -> Pending<()> {
        self.write(PeopleWrite::OpenSession(session))
    }

    fn session(&self, token_hash: TokenHash) -> Pending<Option<(Session, User)>> {
        self.read(move |connection| people::session(connection, token_hash))
    }

    fn touch_session(&self, token_hash: TokenHash, seen: Timestamp) -> Pending<()> {
        self.write(PeopleWrite::TouchSession(token_hash, seen))
    }

    fn close_session(&self, token_hash: TokenHash) -> Pending<()> {
        self.write(PeopleWrite::CloseSession(token_hash))
    }

    fn forget_sessions(&self, opened_before: Timestamp, seen_before: Timestamp) -> Pending<()> {
        self.write(PeopleWrite::ForgetSessions { opened_before, seen_before })
    }
}

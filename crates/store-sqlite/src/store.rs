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
    Credentials, Currency, Damage, EmailTaken, Ledger, LedgerError, NewUser, OperationId, Outcome,
    Page, Pending, People, Session, Statement, Submission, Timestamp, TokenHash, User, UserId,
    WalletId,
};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::checkpoint::{Bell, Checkpoints};
use crate::connection::{connect_to_read, connect_to_write};
use crate::directory::Directory;
use crate::gate::Gate;
use crate::heads::Heads;
use crate::people::PeopleWrite;
use crate::queue::{Queue, Refused};
use crate::readers::{READERS, ReadError, Readers, statement};
use crate::sweep::Sweep;
use crate::writer::{Reply, Work, Writer, now, refuse_work};
use crate::{connection, directory, people, recovery, schema};

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
    /// Another program keeps the file from being made durable.
    #[error("{0} is being read by another program; end that first")]
    Busy(PathBuf),
    /// The file lacks the row that describes it.
    #[error("the data file is damaged: it does not say its currency")]
    Incomplete,
    /// The wallet table has a gap.
    #[error("the data file is damaged: the wallet table does not have wallet {0} in its place")]
    WalletMissing(u64),
    /// The operation that the wallet table was written up to is not there.
    #[error("the data file is damaged: operation {0} is missing")]
    OperationMissing(u64),
    /// The operations do not fit the rules.
    #[error("the data file is damaged: {0}")]
    Damaged(#[from] Damage),
    /// SQLite failed.
    #[error("the data file cannot be read: {0}")]
    Sqlite(#[from] rusqlite::Error),
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
        connection::make_file(&file)?;
        let mut connection = connect_to_write(&file)?;
        let created = schema::migrate(&mut connection, options.currency, now().micros())?;
        let currency = schema::currency(&connection)?;
        if let Some(asked) = options.currency.filter(|asked| *asked != currency) {
            return Err(OpenError::CurrencyDiffers { file: currency, asked });
        }
        connection::make_durable(&connection, &file)?;
        directory.sync()?;
        let heads = Arc::new(Heads::new());
        let state = recovery::recover(&connection, &heads)?;
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
            bell: Arc::new(Bell::new()),
            halted,
            threads: Mutex::default(),
        };
        inner.start(connection, state, &file, (options.observer, options.deliver), directory)?;
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

    /// Finishes what was accepted, takes nothing more, and ends the threads. Blocks.
    pub fn close(&self) {
        self.inner.close();
    }

    fn hand_in<T: Send + 'static>(&self, work: impl FnOnce(Reply<T>) -> Work) -> Pending<T> {
        let (reply, answer) = oneshot::channel();
        let work = work(reply);
        let pushed = self.inner.queue.push(work.weight(), work);
        Box::pin(async move {
            match pushed {
                // A writer that dies without an answer leaves the outcome unknown.
                Ok(()) => answer.await.unwrap_or_else(|_| {
                    Err(LedgerError::OutcomeUnknown("the writer has stopped".to_owned()))
                }),
                Err(Refused::Full) => Err(LedgerError::Overloaded),
                Err(Refused::Closed) => Err(LedgerError::Closed),
            }
        })
    }

    fn write(&self, write: PeopleWrite) -> Pending<()> {
        self.hand_in(|reply| Work::People(write, reply))
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
        connection: Connection,
        state: recovery::State,
        file: &Path,
        (observer, deliver): (Arc<dyn Observer>, Deliver),
        directory: Directory,
    ) -> Result<(), OpenError> {
        let gate = Arc::new(Gate::new());
        let writer = Writer {
            connection,
            book: state.book,
            sweep: Sweep::new(state.mark),
            heads: Arc::clone(&self.heads),
            queue: Arc::clone(&self.queue),
            bell: Arc::clone(&self.bell),
            gate: Arc::clone(&gate),
            observer: Arc::clone(&observer),
            deliver,
            halted: self.halted.subscribe(),
        };
        let data = File::open(file)
            .map_err(|error| OpenError::Unusable { path: file.to_owned(), error })?;
        let data = Arc::new(data);
        let checkpoints = Checkpoints {
            connection: connect_to_write(file)?,
            data: Arc::clone(&data),
            bell: Arc::clone(&self.bell),
            gate,
            observer,
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
        threads.writer = Some(self.spawn_guarded("writer", move || {
            let mut writer = writer;
            Bell::hang(&mut writer.connection).map_err(|error| error.to_string())?;
            writer.run()
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
        waiting.drain(..).for_each(|work| refuse_work(work, &LedgerError::Closed));
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
        self.hand_in(|reply| Work::Submit(submissions, reply))
    }

    fn statement(&self, wallet: WalletId, page: Page) -> Pending<Option<Statement>> {
        let heads = Arc::clone(&self.inner.heads);
        self.inner.readers.read(move |connection| statement(connection, &heads, wallet, page))
    }
}

impl People for SqliteStore {
    fn sign_up(&self, user: NewUser) -> Pending<Result<User, EmailTaken>> {
        self.hand_in(|reply| Work::SignUp(user, reply))
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

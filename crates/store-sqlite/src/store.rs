//! Owns the engine as a whole: opening it, handing work in, stopping it.
//!
//! Never: how a batch is written or a row is read. Bounds: operations that wait, by
//! [`Options::queue_operations_max`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ledger::{
    Batch, BatchOutcome, Checkpoint, Credentials, Currency, IdempotencyKey, Ledger, LedgerError,
    NewUser, OperationId, Outcome, Page, Pending, People, Receipt, Session, SignUpRecord,
    SignUpRefusal, Statement, Submission, Timestamp, TokenHash, User, UserId, WalletId,
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::file::chain::Links;
use crate::file::connection::{connect_to_read, connect_to_write};
use crate::file::directory::Directory;
use crate::file::forgetting::{self, Ended, Key, Slice};
use crate::file::open_error::OpenError;
use crate::file::people::PeopleWrite;
use crate::file::{connection, directory, people, schema};
use crate::keys::Keys;
use crate::keys::keeper::Keeper;
use crate::keys::shelf::{Horizon, Shelf};
use crate::opening::{Options, Recovered};
use crate::queue::{Queue, Refused};
use crate::read::heads::Heads;
use crate::read::readers::{ReadError, Readers, statement};
use crate::read::receipts::{self, Spans};
use crate::recovery;
use crate::threads::{Halt, Tasks, Threads};
use crate::write::checkpoint::Bell;
use crate::write::decider::Decider;
use crate::write::gate::Gate;
use crate::write::hasher::Hasher;
use crate::write::state::State;
use crate::write::sweep::Sweep;
use crate::write::work::{Reply, Work};
#[cfg(test)]
use crate::write::writer::Failure;
use crate::write::writer::{Writer, now};

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
    key_window: Duration,
    shelf: Arc<Shelf>,
    bell: Arc<Bell>,
    halt: Halt,
    threads: Mutex<Threads>,
}

impl SqliteStore {
    /// Opens the engine: recovers, checks, makes what it recovered durable, starts its threads.
    /// Blocks; returns when the engine is ready to serve.
    pub fn open(options: Options) -> Result<(Self, Recovered), OpenError> {
        let began = Instant::now();
        if options.currency.is_none() {
            directory::ensure_file(&options.dir, || OpenError::NotThere(options.dir.clone()))?;
        }
        let directory = Directory::open(&options.dir)?;
        let file = directory.file();
        let unusable = |error| OpenError::Unusable { path: options.dir.clone(), error };
        if let Some(leftover) = directory::leftover(&options.dir).map_err(unusable)? {
            return Err(OpenError::DataFileGone(leftover));
        }
        if directory::leads_nowhere(&options.dir) {
            return Err(OpenError::LinkLeadsNowhere(file));
        }
        if directory::has_other_names(&file) {
            return Err(OpenError::OtherNames(file));
        }
        let without_log = connection::inspect_log(&file)?;
        connection::make_durable(&file)?;
        connection::make_file(&file)?;
        let mut connection = connect_to_write(&file)?;
        let created = schema::migrate(&mut connection, options.currency, now().micros())?;
        let currency = schema::currency(&connection)?;
        let heads = Arc::new(Heads::new());
        let links = Links::of(&connection, currency)?;
        // Before the log is moved into the file: where they do not fit, or the keys' files do not fit them, both stay as
        // they were.
        if let Some(without_log) = &without_log {
            without_log.refuse_older_log(&file, &connection)?;
        }
        let newest_without_log = without_log.and_then(|without_log| without_log.newest);
        let state = recovery::recover(&connection, links, &heads, newest_without_log)?;
        let window = schema::key_window(&connection, options.key_window)?;
        let keys = Keys::open(&options.dir, &connection, links, window)
            .map_err(|error| OpenError::Keys(error.to_string()))?;
        schema::keep_key_window(&connection, window)?;
        let latest = recovery::latest(&connection)?;
        connection::empty_log(&connection, &file)?;
        directory.sync()?;
        let keeper = Keeper::new(keys.shelf(), connect_to_read(&file)?, Horizon { window });
        let recovered = Recovered {
            created,
            wallets: state.book.wallets(),
            operations: state.book.last_operation().map_or(0, OperationId::get),
            replayed: state.replayed,
            latest,
            elapsed: began.elapsed(),
        };
        let queue = Arc::new(Queue::new(options.queue_operations_max));
        let halt = Halt::new(Arc::clone(&queue));
        let readers = Readers::new(Arc::new({
            let halt = halt.clone();
            move |damage| halt.halt(damage)
        }));
        let inner = Inner {
            currency,
            queue,
            readers,
            heads,
            spans: Arc::default(),
            links,
            key_window: window,
            shelf: keys.shelf(),
            bell: Arc::new(Bell::new()),
            halt,
            threads: Mutex::default(),
        };
        let sweep = Sweep::new(state.mark);
        let hasher = Hasher::new(state.chain);
        let spares = hasher.spares();
        let state = State { book: state.book, hasher, links, keys };
        let writer = Writer {
            state: Some(Box::new(state)),
            decider: Decider::start().map_err(unusable)?,
            spares,
            latest,
            sweep,
            heads: Arc::clone(&inner.heads),
            queue: Arc::clone(&inner.queue),
            bell: Arc::clone(&inner.bell),
            gate: Arc::new(Gate::new()),
            observer: options.observer,
            deliver: options.deliver,
            halted: inner.halt.subscribe(),
        };
        let bell = Arc::clone(&inner.bell);
        let tasks = Tasks { writer, connection, keeper, readers: inner.readers.clone(), bell };
        let threads = tasks.start(&inner.halt, &file, directory)?;
        *inner.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok((Self { inner: Arc::new(inner) }, recovered))
    }

    /// Resolves with the reason when the engine had to stop because its storage failed or is
    /// damaged. The process should then end with a non-zero status: a restart recovers.
    pub fn halted(&self) -> impl Future<Output = String> + Send + use<> {
        let mut halted = self.inner.halt.subscribe();
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
        self.inner.halt.reason()
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

    /// Runs this on the thread that writes, behind what waits for it; never, once the engine takes nothing more. A panic
    /// halts the engine.
    pub fn on_writer(&self, call: impl FnOnce() + Send + 'static) {
        let call = Work::Call(Box::new(call));
        let _ = self.inner.queue.push(call.weight(), call);
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

    async fn forget_ended(&self, ended: Ended) -> Result<(), LedgerError> {
        self.forget(
            move |connection, after| forgetting::sessions(connection, after, ended),
            |old| PeopleWrite::ForgetSessions(old, ended),
        )
        .await
    }

    async fn forget_sign_up_keys(&self) -> Result<(), LedgerError> {
        let window_us = i64::try_from(self.inner.key_window.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(now().micros().saturating_sub(window_us));
        self.forget(
            move |connection, after| forgetting::sign_up_keys(connection, after, before),
            PeopleWrite::ForgetSignUpKeys,
        )
        .await
    }

    /// Looks for what is too old and deletes it, a slice after another.
    async fn forget(
        &self,
        look: impl Fn(&Connection, &[u8]) -> rusqlite::Result<Slice> + Copy + Send + 'static,
        write: impl Fn(Vec<Key>) -> PeopleWrite,
    ) -> Result<(), LedgerError> {
        let mut next = Some(Key::new());
        while let Some(after) = next {
            let Slice { old, after } =
                self.read(move |connection| look(connection, &after)).await?;
            if !old.is_empty() {
                self.write(write(old)).await?;
            }
            next = after;
        }
        Ok(())
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

    /// What the commit of the batch meets that this is in.
    pub(crate) fn at_commit(
        &self,
        meets: impl FnOnce(Halt) -> Result<(), Failure> + Send + 'static,
    ) {
        let halt = self.inner.halt.clone();
        let _ = self.inner.queue.push(1, Work::AtCommit(Box::new(move || meets(halt))));
    }

    /// Whoever decides panics.
    pub(crate) fn panic(&self) {
        let _ = self.inner.queue.push(1, Work::Panic);
    }

    /// The writer stands still until the sender is dropped.
    pub(crate) fn hold(&self) -> std::sync::mpsc::Sender<()> {
        let (hold, release) = std::sync::mpsc::channel();
        self.on_writer(move || {
            let _ = release.recv();
        });
        hold
    }
}

impl Inner {
    fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = std::mem::take(&mut *threads);
        self.queue.close();
        // The writer's last words are a whole checkpoint, for which nobody else may be reading.
        self.readers.close();
        self.bell.close();
        self.shelf.close();
        threads.join();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
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

    fn open_session(
        &self,
        session: Session,
        replaces: Option<TokenHash>,
    ) -> Pending<Vec<TokenHash>> {
        Box::pin(self.hand_in(move |reply| Work::OpenSession(session, replaces, reply)))
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
        let (store, ended) = (self.clone(), Ended { opened_before, seen_before });
        Box::pin(async move {
            store.forget_ended(ended).await?;
            store.forget_sign_up_keys().await
        })
    }
}

//! Owns the one thread that writes: it takes all that waits, lets the book decide, appends the rows
//! in one transaction, makes them durable with one fsync, publishes, and only then answers.
//!
//! Never: an answer before the fsync, a second try after an I/O error, a wait for a batch to fill.
//! Bounds: at most [`SUBMISSIONS_MAX`] operations a batch (or one submission, if that is larger).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ledger::{
    Book, EmailTaken, IdempotencyKey, LedgerError, NewUser, Outcome, Receipt, Rejection,
    SUBMISSIONS_MAX, Submission, Timestamp, Transfer, User,
};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension};
use tokio::sync::{oneshot, watch};

use crate::checkpoint::Bell;
use crate::gate::Gate;
use crate::heads::Heads;
use crate::people::{self, PeopleWrite};
use crate::queue::Queue;
use crate::sweep::Sweep;
use crate::{Deliver, Observer, rows};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// What the writer is asked to do.
pub(crate) enum Work {
    Submit(Vec<Submission>, Reply<Vec<Outcome>>),
    SignUp(NewUser, Reply<Result<User, EmailTaken>>),
    People(PeopleWrite, Reply<()>),
    /// Lets a test run out of room: at most this many pages in the file.
    #[cfg(test)]
    LimitPages(u64),
}

impl Work {
    /// How much of a batch it is.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Submit(submissions, _) => submissions.len().max(1),
            _ => 1,
        }
    }
}

/// Work that is decided and waits for its batch to be durable.
enum Decided {
    Submit(Vec<Outcome>, Reply<Vec<Outcome>>),
    SignUp(Result<User, EmailTaken>, Reply<Result<User, EmailTaken>>),
    People(Reply<()>),
}

/// Why a batch did not become durable.
enum Failure {
    /// Nothing of it is in the file, and nothing will be.
    Refused(LedgerError),
    /// Nobody can know what is in the file. There is no second try.
    Unknown(String),
}

impl From<rusqlite::Error> for Failure {
    /// SQLite reports a full disk before it writes a commit, so that the batch is surely not in the
    /// file. After any other failure of the storage, it may be.
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Refused(LedgerError::StorageFull),
            Some(ErrorCode::DatabaseBusy) => Self::Refused(LedgerError::Overloaded),
            _ => Self::Unknown(error.to_string()),
        }
    }
}

/// The writer's state: the only copy of the book, and the only connection that writes rows.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) book: Book,
    pub(crate) sweep: Sweep,
    pub(crate) heads: Arc<Heads>,
    pub(crate) queue: Arc<Queue<Work>>,
    pub(crate) bell: Arc<Bell>,
    /// Passed once a batch.
    pub(crate) gate: Arc<Gate>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) deliver: Deliver,
    /// Says whether somebody found damage: then nothing more is written.
    pub(crate) halted: watch::Receiver<Option<String>>,
}

impl Writer {
    /// Works until the queue is closed and empty, or until the storage fails: then with the reason.
    pub(crate) fn run(mut self) -> Result<(), String> {
        let mut batch = Vec::new();
        let mut decided = Vec::new();
        while self.queue.take(&mut batch, SUBMISSIONS_MAX) {
            let operations = batch.iter().map(Work::weight).sum();
            let began = Instant::now();
            let sweep = self.sweep;
            let gate = Arc::clone(&self.gate);
            let result = gate.pass(|| self.write(&mut batch, &mut decided));
            self.observer.batch(operations, began.elapsed(), result.is_ok());
            match result {
                Ok(()) => {
                    self.publish(&decided);
                    let decided = std::mem::take(&mut decided);
                    (self.deliver)(Box::new(move || decided.into_iter().for_each(answer)));
                    self.bell.ring_if_due();
                }
                Err(failure) => {
                    let (error, fatal) = match failure {
                        Failure::Refused(error) => (error, None),
                        Failure::Unknown(why) => {
                            (LedgerError::OutcomeUnknown(why.clone()), Some(why))
                        }
                    };
                    self.book.roll_back();
                    self.sweep = sweep;
                    batch.drain(..).for_each(|work| refuse_work(work, &error));
                    decided.drain(..).for_each(|work| refuse(work, &error));
                    if let Some(why) = fatal {
                        return Err(why);
                    }
                }
            }
        }
        if self.halted.borrow().is_none() {
            self.finish();
        }
        Ok(())
    }

    /// Decides the batch and makes it durable. What it moved from `batch` to `decided` before a
    /// failure still needs an answer, as does the rest.
    fn write(&mut self, batch: &mut Vec<Work>, decided: &mut Vec<Decided>) -> Result<(), Failure> {
        begin(&self.connection)?;
        let result = self.write_rows(batch, decided).and_then(|()| commit(&self.connection));
        match result {
            Ok(()) => {
                self.book.commit();
                Ok(())
            }
            Err(failure) => {
                // Some errors have ended the transaction already.
                if !self.connection.is_autocommit()
                    && let Err(error) = self.connection.execute_batch("ROLLBACK")
                {
                    return Err(Failure::Unknown(format!("could not roll back: {error}")));
                }
                Err(failure)
            }
        }
    }

    fn write_rows(
        &mut self,
        batch: &mut Vec<Work>,
        decided: &mut Vec<Decided>,
    ) -> Result<(), Failure> {
        let now = now();
        let mut desk = Desk::open(&self.connection, &mut self.book, now)?;
        for work in batch.drain(..) {
            let (done, result) = desk.handle(work);
            decided.extend(done);
            result?;
        }
        drop(desk);
        self.sweep.advance(&self.connection, &self.book)?;
        Ok(())
    }

    /// Lets readers see what is durable now.
    fn publish(&self, decided: &[Decided]) {
        for work in decided {
            if let Decided::Submit(outcomes, _) = work {
                let new = outcomes.iter().flatten().filter(|receipt| !receipt.replayed);
                for Receipt { transfer, .. } in new {
                    self.heads.publish(transfer.debit.wallet, transfer.id);
                    self.heads.publish(transfer.credit.wallet, transfer.id);
                }
            }
        }
    }

    /// A clean stop leaves nothing to replay. If it fails, the next start replays: nothing is lost.
    fn finish(&mut self) {
        let mut finish = || -> rusqlite::Result<()> {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.sweep.finish(&self.connection, &self.book)?;
            self.connection.execute_batch("COMMIT")?;
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
        };
        let _ = finish();
    }
}

/// One batch's desk: decides and appends, one piece of work after another.
struct Desk<'w> {
    connection: &'w Connection,
    book: &'w mut Book,
    insert: CachedStatement<'w>,
    now: Timestamp,
}

impl<'w> Desk<'w> {
    fn open(
        connection: &'w Connection,
        book: &'w mut Book,
        now: Timestamp,
    ) -> rusqlite::Result<Self> {
        let insert = connection.prepare_cached(rows::INSERT_TRANSFER)?;
        Ok(Self { connection, book, insert, now })
    }

    /// The decided work comes back even when the storage failed under it: it needs an answer.
    fn handle(&mut self, work: Work) -> (Option<Decided>, rusqlite::Result<()>) {
        match work {
            Work::Submit(submissions, reply) => {
                let outcomes: rusqlite::Result<Vec<_>> =
                    submissions.into_iter().map(|submission| self.submit(submission)).collect();
                match outcomes {
                    Ok(outcomes) => (Some(Decided::Submit(outcomes, reply)), Ok(())),
                    Err(error) => (Some(Decided::Submit(Vec::new(), reply)), Err(error)),
                }
            }
            Work::SignUp(new, reply) => match self.sign_up(new) {
                Ok(user) => (Some(Decided::SignUp(user, reply)), Ok(())),
                Err(error) => (Some(Decided::SignUp(Err(EmailTaken), reply)), Err(error)),
            },
            Work::People(write, reply) => {
                (Some(Decided::People(reply)), people::write(self.connection, write))
            }
            #[cfg(test)]
            Work::LimitPages(pages) => {
                (None, self.connection.pragma_update(None, "max_page_count", pages.cast_signed()))
            }
        }
    }

    fn submit(&mut self, submission: Submission) -> rusqlite::Result<Outcome> {
        let Submission { operation, key } = submission;
        if let Some(key) = &key
            && let Some(transfer) = self.recorded(&operation, key)?
        {
            return Ok(if transfer.fulfils(&operation) {
                Ok(Receipt { transfer, replayed: true })
            } else {
                Err(Rejection::IdempotencyKeyReused)
            });
        }
        match self.book.decide(&operation, self.now) {
            Ok(transfer) => {
                rows::insert_transfer(self.connection, &mut self.insert, &transfer, key.as_ref())?;
                Ok(Ok(Receipt { transfer, replayed: false }))
            }
            Err(rejection) => Ok(Err(rejection)),
        }
    }

    /// What was accepted under this key before, in this batch or any earlier one.
    fn recorded(
        &self,
        operation: &ledger::Operation,
        key: &IdempotencyKey,
    ) -> rusqlite::Result<Option<Transfer>> {
        self.connection
            .prepare_cached(rows::SELECT_TRANSFER_BY_KEY)?
            .query_row((operation.debit.get().cast_signed(), key.as_str()), rows::read_transfer)
            .optional()
    }

    fn sign_up(&mut self, new: NewUser) -> rusqlite::Result<Result<User, EmailTaken>> {
        if people::email_is_taken(self.connection, &new.email_key)? {
            return Ok(Err(EmailTaken));
        }
        let kind = people::wallet_kind(new.role);
        let wallet = self
            .book
            .open_wallet(kind)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))?;
        people::insert_user(self.connection, new, wallet, self.now).map(Ok)
    }
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute(()).map(|_| ())
}

fn commit(connection: &Connection) -> Result<(), Failure> {
    connection.prepare_cached("COMMIT")?.execute(())?;
    Ok(())
}

/// The waiter may have gone away: then nobody wants the answer.
fn answer(decided: Decided) {
    match decided {
        Decided::Submit(outcomes, reply) => drop(reply.send(Ok(outcomes))),
        Decided::SignUp(user, reply) => drop(reply.send(Ok(user))),
        Decided::People(reply) => drop(reply.send(Ok(()))),
    }
}

fn refuse(decided: Decided, error: &LedgerError) {
    match decided {
        Decided::Submit(_, reply) => drop(reply.send(Err(error.clone()))),
        Decided::SignUp(_, reply) => drop(reply.send(Err(error.clone()))),
        Decided::People(reply) => drop(reply.send(Err(error.clone()))),
    }
}

/// Tells whoever waits for this work that it was not done.
pub(crate) fn refuse_work(work: Work, error: &LedgerError) {
    match work {
        Work::Submit(_, reply) => drop(reply.send(Err(error.clone()))),
        Work::SignUp(_, reply) => drop(reply.send(Err(error.clone()))),
        Work::People(_, reply) => drop(reply.send(Err(error.clone()))),
        #[cfg(test)]
        Work::LimitPages(_) => {}
    }
}

/// The wall clock. The book keeps it from going back.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

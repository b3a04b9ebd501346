//! Owns the one thread that writes: it takes all that waits, lets the book decide, appends the rows
//! in one transaction, makes them durable with one fsync, publishes, and only then answers.
//!
//! Never: an answer before the fsync, a second try after an I/O error, a wait for a batch to fill.
//! Bounds: at most [`SUBMISSIONS_MAX`] operations a batch (or one submission, if that is larger).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ledger::{
    BatchOutcome, Book, IdempotencyKey, LedgerError, NewUser, Operation, Outcome, Rejection,
    SUBMISSIONS_MAX, SignUpRefusal, Submission, Timestamp, Transfer, User, WalletId,
};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension};
use tokio::sync::watch;

use crate::append::Appender;
use crate::chain::Links;
use crate::checkpoint::Bell;
use crate::gate::Gate;
use crate::hasher::{Hashed, Hasher, Row};
use crate::heads::Heads;
use crate::keys::{self, Keys, Recorded};
use crate::look_ahead::KeyAhead;
use crate::people;
use crate::queue::Queue;
use crate::sweep::Sweep;
use crate::work::{Decided, Reply, Work};
use crate::{Deliver, Observer, chain, rows};

/// Why a batch did not become durable.
enum Failure {
    /// Nothing of it is in the file, and nothing will be.
    Refused(LedgerError),
    /// Nobody can know what is in the file. There is no second try.
    Unknown(String),
}

impl From<rusqlite::Error> for Failure {
    /// SQLite reports a full disk before it writes a commit, so that the batch is surely not in the
    /// file. Nor is what waited for another program's lock: nobody in this process takes one beside the
    /// writer. After any other failure of the storage, it may be.
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Refused(LedgerError::StorageFull),
            Some(ErrorCode::DatabaseBusy) => Self::Refused(LedgerError::DataFileLocked),
            _ => Self::Unknown(error.to_string()),
        }
    }
}

/// The writer's state: the only copy of the book.
pub(crate) struct Writer {
    pub(crate) book: Book,
    pub(crate) hasher: Hasher,
    pub(crate) links: Links,
    pub(crate) keys: Keys,
    /// The latest moment that was written down.
    pub(crate) latest: Timestamp,
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

/// The only connection that writes rows, and the statements of every batch, kept ready.
struct Ready<'c> {
    connection: &'c Connection,
    begin: CachedStatement<'c>,
    commit: CachedStatement<'c>,
    rows: Appender<'c>,
}

impl<'c> Ready<'c> {
    fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let begin = connection.prepare_cached("BEGIN IMMEDIATE")?;
        let commit = connection.prepare_cached("COMMIT")?;
        Ok(Self { connection, begin, commit, rows: Appender::new(connection) })
    }
}

impl Writer {
    /// Works until the queue is closed and empty, or until the storage fails: then with the reason.
    pub(crate) fn run(mut self, connection: &Connection) -> Result<(), String> {
        #[cfg(feature = "planted-faults")]
        crate::planted::answer_before_fsync(connection).map_err(|error| error.to_string())?;
        let mut ready = Ready::new(connection).map_err(|error| error.to_string())?;
        let mut batch = Vec::new();
        let mut decided = Vec::new();
        while self.queue.take(&mut batch, SUBMISSIONS_MAX) {
            let operations = batch.iter().map(Work::weight).sum();
            let began = Instant::now();
            let sweep = self.sweep;
            let gate = Arc::clone(&self.gate);
            let result = gate.pass(|| self.write(&mut ready, &mut batch, &mut decided));
            let elapsed = began.elapsed();
            match result {
                Ok(()) => {
                    self.observer.batch(operations, elapsed, Ok(()));
                    self.publish(&decided);
                    let decided = std::mem::take(&mut decided);
                    (self.deliver)(Box::new(move || decided.into_iter().for_each(Decided::answer)));
                    self.bell.ring_if_due();
                }
                Err(failure) => {
                    let (error, fatal) = match failure {
                        Failure::Refused(error) => (error, None),
                        Failure::Unknown(why) => {
                            (LedgerError::OutcomeUnknown(why.clone()), Some(why))
                        }
                    };
                    self.observer.batch(operations, elapsed, Err(&error));
                    self.book.roll_back();
                    self.hasher.roll_back();
                    self.keys.roll_back();
                    self.sweep = sweep;
                    batch.drain(..).for_each(|work| work.refuse(&error));
                    decided.drain(..).for_each(|work| work.refuse(&error));
                    if let Some(why) = fatal {
                        return Err(why);
                    }
                }
            }
        }
        if self.halted.borrow().is_none() {
            self.finish(connection)?;
        }
        Ok(())
    }

    /// Decides the batch and makes it durable. What it moved from `batch` to `decided` before a
    /// failure still needs an answer, as does the rest.
    fn write(
        &mut self,
        ready: &mut Ready<'_>,
        batch: &mut Vec<Work>,
        decided: &mut Vec<Decided>,
    ) -> Result<(), Failure> {
        if !self.keys.make_room() {
            return Err(Failure::Refused(LedgerError::StorageFull));
        }
        ready.begin.execute(())?;
        let written = self.write_rows(ready, batch, decided);
        match written.and_then(|()| Ok(ready.commit.execute(())?)) {
            Ok(_) => {
                self.book.commit();
                let link = self.hasher.commit();
                self.keys.commit(link);
                Ok(())
            }
            Err(failure) => {
                // Some errors have ended the transaction already.
                if !ready.connection.is_autocommit()
                    && let Err(error) = ready.connection.execute_batch("ROLLBACK")
                {
                    return Err(Failure::Unknown(format!("could not roll back: {error}")));
                }
                Err(failure)
            }
        }
    }

    fn write_rows(
        &mut self,
        Ready { connection, rows, .. }: &mut Ready<'_>,
        batch: &mut Vec<Work>,
        decided: &mut Vec<Decided>,
    ) -> Result<(), Failure> {
        // Never back, as the book's own time: what is found by its time stands in that order.
        let now = now().max(self.latest);
        self.latest = now;
        let mut desk = Desk {
            connection,
            book: &mut self.book,
            hasher: &mut self.hasher,
            links: self.links,
            keys: &mut self.keys,
            rows,
            now,
        };
        // From the end: what is left after a failure is still there, and is answered.
        batch.reverse();
        while let Some(work) = batch.pop() {
            let (done, result) = desk.handle(work, batch);
            decided.extend(done);
            result?;
        }
        desk.flush()?;
        self.keys.forget(connection)?;
        self.sweep.advance(connection, &self.book)?;
        Ok(())
    }

    /// Lets readers see what is durable now.
    fn publish(&self, decided: &[Decided]) {
        for work in decided {
            let outcomes: &[Outcome] = match work {
                Decided::Each(outcomes, _) | Decided::Submit(outcomes, _) => outcomes,
                Decided::Batch(BatchOutcome { decision: Ok(outcomes), replayed: false }, _) => {
                    outcomes
                }
                _ => continue,
            };
            let new = outcomes.iter().filter(|outcome| !outcome.replayed);
            for transfer in new.filter_map(|outcome| outcome.decision.as_ref().ok()) {
                self.heads.publish(transfer.debit.wallet, transfer.id);
                self.heads.publish(transfer.credit.wallet, transfer.id);
            }
        }
    }

    /// A clean stop leaves nothing to replay. If it fails, the next start replays: nothing is lost,
    /// and there is no second try. But a disk that breaks is not a clean stop.
    fn finish(&mut self, connection: &Connection) -> Result<(), String> {
        let mut finish = || -> rusqlite::Result<()> {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            self.sweep.finish(connection, &self.book)?;
            connection.execute_batch("COMMIT")?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
        };
        match finish().map_err(Failure::from) {
            Ok(()) | Err(Failure::Refused(_)) => Ok(()),
            Err(Failure::Unknown(why)) => Err(format!("stopping: {why}")),
        }
    }
}

/// One batch's desk: decides and appends, one piece of work after another.
pub(crate) struct Desk<'w, 'c> {
    pub(crate) connection: &'w Connection,
    pub(crate) book: &'w mut Book,
    hasher: &'w mut Hasher,
    pub(crate) links: Links,
    pub(crate) keys: &'w mut Keys,
    rows: &'w mut Appender<'c>,
    pub(crate) now: Timestamp,
}

impl Desk<'_, '_> {
    /// The decided work comes back even when the storage failed under it: it needs an answer.
    /// `waiting` is what comes after it, the next one last.
    fn handle(
        &mut self,
        work: Work,
        waiting: &mut Vec<Work>,
    ) -> (Option<Decided>, rusqlite::Result<()>) {
        match work {
            Work::One(submission, reply) => self.handle_each((submission, reply), waiting),
            Work::Submit(submissions, reply) => match self.submit_all(submissions, |_| false) {
                Ok(outcomes) => (Some(Decided::Submit(outcomes, reply)), Ok(())),
                Err(error) => (Some(Decided::Submit(Vec::new(), reply)), Err(error)),
            },
            Work::Batch(batch, reply) => match self.batch(batch) {
                Ok(outcome) => (Some(Decided::Batch(outcome, reply)), Ok(())),
                Err(error) => {
                    let none = BatchOutcome::new(Ok(Vec::new()));
                    (Some(Decided::Batch(none, reply)), Err(error))
                }
            },
            Work::SignUp(new, key, reply) => match self.sign_up(new, key) {
                Ok(user) => (Some(Decided::SignUp(user, reply)), Ok(())),
                Err(error) => {
                    (Some(Decided::SignUp(Err(SignUpRefusal::EmailTaken), reply)), Err(error))
                }
            },
            Work::OpenSession(session, replaces, reply) => {
                match people::open_session(self.connection, &session, replaces) {
                    Ok(closed) => (Some(Decided::OpenSession(closed, reply)), Ok(())),
                    Err(error) => (Some(Decided::OpenSession(Vec::new(), reply)), Err(error)),
                }
            }
            Work::People(write, reply) => {
                (Some(Decided::People(reply)), people::write(self.connection, write))
            }
            #[cfg(test)]
            Work::LimitPages(pages) => {
                (None, self.connection.pragma_update(None, "max_page_count", pages.cast_signed()))
            }
        }
    }

    /// The first of some single operations, and those that follow it at the end of `waiting`: they are
    /// looked at ahead, as those of one submission are.
    fn handle_each(
        &mut self,
        (submission, reply): (Submission, Reply<Outcome>),
        waiting: &mut Vec<Work>,
    ) -> (Option<Decided>, rusqlite::Result<()>) {
        let all = 1 + waiting.len();
        let (mut submissions, mut replies) = (Vec::with_capacity(all), Vec::with_capacity(all));
        submissions.push(submission);
        replies.push(reply);
        let is_one = |work: &mut Work| matches!(work, Work::One(..));
        while let Some(Work::One(submission, reply)) = waiting.pop_if(is_one) {
            submissions.push(submission);
            replies.push(reply);
        }
        match self.submit_all(submissions, |_| false) {
            Ok(outcomes) => (Some(Decided::Each(outcomes, replies)), Ok(())),
            Err(error) => (Some(Decided::Each(Vec::new(), replies)), Err(error)),
        }
    }

    /// Decides and appends an operation, of whose key so much is known. The key is taken out of it.
    pub(crate) fn submit(
        &mut self,
        Submission { operation, key }: &mut Submission,
        ahead: Option<KeyAhead>,
    ) -> rusqlite::Result<Outcome> {
        let (operation, key) = (&*operation, key.take());
        #[cfg(feature = "planted-faults")]
        let key = crate::planted::ignore(key);
        let mut key = key.zip(ahead);
        if let Some((key, ahead)) = &key
            && let Some(recorded) = self.recorded(operation.debit, key, *ahead)?
        {
            return Ok(recorded.answer(operation));
        }
        let decision = match self.brought_in(operation)? {
            Some(Ok(transfer)) => return Ok(Outcome::replayed(Ok(transfer))),
            Some(Err(rejection)) => Err(rejection),
            None => self.book.decide(operation, self.now),
        };
        match &decision {
            Ok(transfer) => {
                self.append(transfer, key.take().map(|(key, ahead)| (key, ahead.mark)))?;
                #[cfg(feature = "planted-faults")]
                {
                    crate::planted::drop_credit(self.book, transfer);
                    crate::planted::show_early(transfer);
                }
            }
            Err(rejection) => {
                if let Some((key, KeyAhead { mark, .. })) = &key {
                    let (connection, now) = (self.connection, self.now);
                    let refusal =
                        rows::insert_refusal(connection, operation, key, *rejection, now)?;
                    self.keys.refused(refusal, *mark);
                }
            }
        }
        Ok(Outcome::new(decision))
    }

    /// What was decided under a key of the wallet, in the open batch or any earlier one.
    pub(crate) fn recorded(
        &mut self,
        wallet: WalletId,
        key: &IdempotencyKey,
        ahead: KeyAhead,
    ) -> rusqlite::Result<Option<Recorded>> {
        if !self.keys.look(ahead)? {
            return Ok(None);
        }
        // It may have been decided just now, in this batch.
        self.flush()?;
        self.keys.find(self.connection, wallet.get().cast_signed(), (key, ahead.mark))
    }

    pub(crate) fn append(
        &mut self,
        transfer: &Transfer,
        key: Option<(IdempotencyKey, u64)>,
    ) -> rusqlite::Result<()> {
        let (key, mark) = key.unzip();
        let blind = || self.links.marker().blind(transfer.id.get().cast_signed());
        let hashed = mark.unwrap_or_else(blind);
        let row = Row { transfer: transfer.clone(), key, mark: hashed };
        self.keys.appended(transfer.id.get(), mark);
        match self.hasher.push(row).map_err(rows::damage)? {
            Some(hashed) => self.insert(hashed),
            None => Ok(()),
        }
    }

    /// Puts everything that was decided into the open transaction, for whoever reads it there.
    fn flush(&mut self) -> rusqlite::Result<()> {
        let hashed = self.hasher.finish().map_err(rows::damage)?;
        self.insert(hashed)
    }

    fn insert(&mut self, Hashed { rows, links, blocks }: Hashed) -> rusqlite::Result<()> {
        self.rows.append(&rows, &links)?;
        self.hasher.take_back(rows);
        blocks.into_iter().try_for_each(|block| chain::insert_block(self.connection, block))
    }

    /// The deposit that this one repeats, by the payment provider's id: a payment is brought in
    /// once, whatever was written beside it. Or the refusal, if it is another payment.
    pub(crate) fn brought_in(
        &mut self,
        operation: &Operation,
    ) -> rusqlite::Result<Option<Result<Transfer, Rejection>>> {
        let Some(external_id) = &operation.external_id else { return Ok(None) };
        self.flush()?;
        let found = self
            .connection
            .prepare_cached(rows::SELECT_TRANSFER_BY_EXTERNAL_ID)?
            .query_row((operation.debit.get().cast_signed(), external_id.as_str()), rows::read_kept)
            .optional()?;
        let Some(kept) = found else { return Ok(None) };
        let transfer = keys::verified(self.connection, self.links, kept)?;
        Ok(Some(if transfer.pays_as(operation) {
            Ok(transfer)
        } else {
            Err(Rejection::ExternalIdReused)
        }))
    }

    fn sign_up(
        &mut self,
        new: NewUser,
        key: Option<IdempotencyKey>,
    ) -> rusqlite::Result<Result<User, SignUpRefusal>> {
        if let Some(key) = &key
            && people::sign_up_record(self.connection, key)?.is_some()
        {
            return Ok(Err(SignUpRefusal::KeyUsed));
        }
        let (name, email) = (new.name.clone(), new.email.clone());
        let outcome = self.sign_up_anew(new)?;
        if let Some(key) = key {
            let user = outcome.as_ref().ok().map(|user| user.id);
            people::record_sign_up(self.connection, &key, (&name, &email), user, self.now)?;
        }
        Ok(outcome)
    }

    fn sign_up_anew(&mut self, new: NewUser) -> rusqlite::Result<Result<User, SignUpRefusal>> {
        if people::email_is_taken(self.connection, &new.email_key)? {
            return Ok(Err(SignUpRefusal::EmailTaken));
        }
        let kind = people::wallet_kind(new.role);
        let wallet = self
            .book
            .open_wallet(kind)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))?;
        people::insert_user(self.connection, new, wallet, self.now).map(Ok)
    }
}

/// The wall clock. The book keeps it from going back.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

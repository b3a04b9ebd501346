//! Owns the one thread that writes: it takes all that waits, decides it or has it [decided](crate::write::decider), appends
//! the rows in one transaction, makes them durable with one fsync, publishes, and only then answers.
//!
//! Never: an answer before the fsync, a second try after an I/O error, a wait for a batch to fill.
//! Bounds: at most [`SUBMISSIONS_MAX`] operations a batch (or one submission, if that is larger), and the next one while
//! this one is written.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ledger::{BatchOutcome, LedgerError, Outcome, SUBMISSIONS_MAX, Timestamp};
use rusqlite::{CachedStatement, Connection, ErrorCode};
use tokio::sync::watch;

use crate::file::open_error::told;
use crate::opening::{Deliver, Observer};
use crate::queue::Queue;
use crate::read::heads::Heads;
use crate::write::append::Appender;
use crate::write::checkpoint::Bell;
use crate::write::decide::Decide;
use crate::write::decider::{self, Begun, Decider, DeciderGone, Done, Part};
use crate::write::desk::{Desk, insert};
use crate::write::gate::Gate;
use crate::write::hasher::Spares;
use crate::write::state::{Mark, State};
use crate::write::sweep::Sweep;
use crate::write::work::{Decided, Work};

/// So often the rest of a batch is lent again behind what was decided here.
const LENDS_MAX: usize = 8;

/// Why a batch did not become durable.
pub(crate) enum Failure {
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
            _ => Self::Unknown(told(&error)),
        }
    }
}

impl From<DeciderGone> for Failure {
    fn from(gone: DeciderGone) -> Self {
        Self::Unknown(gone.to_string())
    }
}

/// What the decider has begun, and why it failed if it did.
type Home = (Option<Begun>, Option<rusqlite::Error>);

/// The writer, with the only copy of the state.
pub(crate) struct Writer {
    /// `None` while the decider has it.
    pub(crate) state: Option<Box<State>>,
    pub(crate) decider: Decider,
    pub(crate) spares: Spares,
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
        while self.next(&mut batch).map_err(|gone| gone.to_string())? {
            if self.decider.lent().is_some() && self.halted.borrow().is_some() {
                return self.give_up(&mut batch, &mut decided, &LedgerError::Closed);
            }
            let operations = match self.decider.lent() {
                Some(lent) => lent.operations,
                None => batch.iter().map(Work::weight).sum(),
            };
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
                    let given_up = self.give_up(&mut batch, &mut decided, &error);
                    self.sweep = sweep;
                    fatal.map_or(given_up, Err)?;
                }
            }
        }
        if self.halted.borrow().is_none() {
            self.finish(connection)?;
        }
        Ok(())
    }

    /// Waits for the next batch, unless the decider has it already. False when there are no more.
    fn next(&mut self, batch: &mut Vec<Work>) -> Result<bool, DeciderGone> {
        if self.decider.lent().is_some() {
            return Ok(true);
        }
        if !self.queue.take(batch, SUBMISSIONS_MAX) {
            return Ok(false);
        }
        // Where there is none, it stays here and is refused.
        let mut room = || self.state.as_mut().is_some_and(|state| state.keys.make_room());
        if decider::is_worth_it(batch.first(), batch) && room() {
            self.lend(std::mem::take(batch), None)?;
        }
        Ok(true)
    }

    /// Hands the next batch over before this one is durable, if it is a large one.
    fn lend_next(&mut self) -> Result<(), DeciderGone> {
        let Some(state) = self.state.as_mut().filter(|state| !state.keys.is_full()) else {
            return Ok(());
        };
        let mut batch = Vec::new();
        let (min, max) = (decider::OPERATIONS_MIN, SUBMISSIONS_MAX);
        if !self.queue.take_if(&mut batch, min, max, decider::suits) {
            return Ok(());
        }
        state.keys.catch_up();
        let mark = state.mark();
        self.lend(batch, Some(mark))
    }

    /// Hands a batch to the decider, and the state with it.
    fn lend(&mut self, mut batch: Vec<Work>, before: Option<Mark>) -> Result<(), DeciderGone> {
        let state = self.state.take().ok_or(DeciderGone)?;
        batch.reverse();
        let now = self.tick();
        self.decider.begin(state, batch, now, before)
    }

    /// The moment of the next batch. Never back, as the book's own time: what is found by its time stands in that
    /// order.
    fn tick(&mut self) -> Timestamp {
        self.latest = now().max(self.latest);
        self.latest
    }

    /// Takes the state back from the decider, and the batch; what was begun stays begun.
    fn take_home(&mut self, done: Done, batch: &mut Vec<Work>, decided: &mut Vec<Decided>) -> Home {
        let Done { state, decided: done, begun, left, failed } = done;
        self.state = Some(state);
        decided.extend(done);
        batch.extend(left);
        (begun, failed)
    }

    /// Undoes what was decided since the last commit, here or by the decider, and tells everybody who waits for it.
    fn give_up(
        &mut self,
        batch: &mut Vec<Work>,
        decided: &mut Vec<Decided>,
        error: &LedgerError,
    ) -> Result<(), String> {
        batch.drain(..).for_each(|work| work.refuse(error));
        decided.drain(..).for_each(|work| work.refuse(error));
        let Some(lent) = self.decider.lent() else {
            self.state.iter_mut().for_each(|state| state.roll_back());
            return Ok(());
        };
        // What is on top of another one was never written, whatever has become of that.
        let (operations, is_another) = (lent.operations, lent.is_behind_another());
        let unknown = matches!(error, LedgerError::OutcomeUnknown(_));
        let error = if unknown && is_another { &LedgerError::Closed } else { error };
        loop {
            if let Part::Done(done) = self.decider.next().map_err(|gone| gone.to_string())? {
                let (begun, failed) = self.take_home(*done, batch, decided);
                self.state.iter_mut().for_each(|state| state.roll_back());
                batch.extend(begun.map(|begun| begun.work));
                batch.drain(..).for_each(|work| work.refuse(error));
                decided.drain(..).for_each(|work| work.refuse(error));
                if is_another {
                    self.observer.batch(operations, Duration::ZERO, Err(error));
                }
                return failed.map_or(Ok(()), |failed| Err(failed.to_string()));
            }
        }
    }

    /// Decides the batch and makes it durable. What it moved from `batch` to `decided` before a
    /// failure still needs an answer, as does the rest.
    fn write(
        &mut self,
        ready: &mut Ready<'_>,
        batch: &mut Vec<Work>,
        decided: &mut Vec<Decided>,
    ) -> Result<(), Failure> {
        if let Some(state) = &mut self.state
            && !state.keys.make_room()
        {
            return Err(Failure::Refused(LedgerError::StorageFull));
        }
        ready.begin.execute(())?;
        let result = self
            .write_rows(ready, batch, decided)
            .and_then(|()| Ok(self.lend_next()?))
            .and_then(|()| commit(ready));
        match result {
            Ok(()) => {
                self.state.iter_mut().for_each(|state| state.commit());
                self.decider.settle();
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
        let (now, mut begun) = match self.decider.lent().map(|lent| lent.now) {
            Some(now) => (now, self.write_lent(connection, rows, batch, decided)?),
            None => {
                // From the end: what is left after a failure is still there, and is answered.
                batch.reverse();
                (self.tick(), None)
            }
        };
        let mut lends = 0;
        loop {
            let fresh = |work| Begun { work, outcomes: Vec::new() };
            let Some(Begun { work, outcomes }) = begun.take().or_else(|| batch.pop().map(fresh))
            else {
                break;
            };
            let state = self.state.as_deref_mut().ok_or(DeciderGone)?;
            let mut desk = Desk { connection, state, spares: &self.spares, rows, now };
            let (done, result) = desk.handle(work, outcomes, batch);
            decided.extend(done);
            result?;
            if lends < LENDS_MAX && decider::is_worth_it(batch.last(), batch) {
                lends += 1;
                let state = self.state.take().ok_or(DeciderGone)?;
                self.decider.begin(state, std::mem::take(batch), now, None)?;
                begun = self.write_lent(connection, rows, batch, decided)?;
            }
        }
        let state = self.state.as_deref_mut().ok_or(DeciderGone)?;
        Desk { connection, state, spares: &self.spares, rows, now }.flush()?;
        state.keys.forget(connection)?;
        self.sweep.advance(connection, &state.book)?;
        Ok(())
    }

    /// Writes what the decider gives, as it comes, and takes the rest of it: what was begun, and in `batch`
    /// what was not.
    fn write_lent(
        &mut self,
        connection: &Connection,
        rows: &mut Appender<'_>,
        batch: &mut Vec<Work>,
        decided: &mut Vec<Decided>,
    ) -> Result<Option<Begun>, Failure> {
        loop {
            match self.decider.next()? {
                Part::ToFile(written) => insert(connection, rows, &self.spares, written)?,
                Part::Done(done) => {
                    let (begun, failed) = self.take_home(*done, batch, decided);
                    let Some(failed) = failed else { return Ok(begun) };
                    batch.extend(begun.map(|begun| begun.work));
                    return Err(failed.into());
                }
            }
        }
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
        let Some(state) = &self.state else { return Ok(()) };
        let mut finish = || -> rusqlite::Result<()> {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            self.sweep.finish(connection, &state.book)?;
            connection.execute_batch("COMMIT")?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
        };
        match finish().map_err(Failure::from) {
            Ok(()) | Err(Failure::Refused(_)) => Ok(()),
            Err(Failure::Unknown(why)) => Err(format!("stopping: {why}")),
        }
    }
}

fn commit(ready: &mut Ready<'_>) -> Result<(), Failure> {
    #[cfg(test)]
    if let Some(meets) = crate::write::under_way::AT_COMMIT.take() {
        meets()?;
    }
    Ok(ready.commit.execute(()).map(|_| ())?)
}

/// The wall clock. The book keeps it from going back.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

//! Owns what is decided with the file at hand: one piece of work after another, looked up in the open transaction and
//! written into it.
//!
//! Never: a commit, or an answer before it (the writer's). Bounds: none of its own.

use ledger::{
    BatchOutcome, IdempotencyKey, NewUser, Operation, Outcome, Rejection, SignUpRefusal,
    Submission, Timestamp, Transfer, User, WalletId,
};
use rusqlite::{Connection, OptionalExtension};

use crate::file::{batch_record, chain, people, rows};
use crate::keys::{self, KeyAhead, Recorded};
use crate::write::append::Appender;
use crate::write::decide::{Decide, Found};
use crate::write::hasher::{Hashed, Spares};
use crate::write::state::{Put, State, Step, ToFile};
use crate::write::work::{Decided, Reply, Singles, Work};

/// One batch's desk, in an open transaction.
pub(crate) struct Desk<'w, 'c> {
    pub(crate) connection: &'w Connection,
    pub(crate) state: &'w mut State,
    pub(crate) spares: &'w Spares,
    pub(crate) rows: &'w mut Appender<'c>,
    pub(crate) now: Timestamp,
}

impl Desk<'_, '_> {
    /// The decided work comes back even when the storage failed under it: it needs an answer.
    /// Of what was begun there are `outcomes`; `waiting` is what comes after it, the next one last.
    pub(crate) fn handle(
        &mut self,
        work: Work,
        outcomes: Vec<Outcome>,
        waiting: &mut Vec<Work>,
    ) -> (Option<Decided>, rusqlite::Result<()>) {
        match work {
            Work::One(submission, reply) => self.handle_each((submission, reply), waiting),
            Work::Submit(submissions, reply) => {
                match self.submit_all(submissions, outcomes, |_| false) {
                    Ok(outcomes) => (Some(Decided::Submit(outcomes, reply)), Ok(())),
                    Err(error) => (Some(Decided::Submit(Vec::new(), reply)), Err(error)),
                }
            }
            Work::Batch(batch, reply) => match self.batch(batch, outcomes) {
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
            Work::Call(call) => {
                call();
                (None, Ok(()))
            }
            #[cfg(test)]
            Work::LimitPages(pages) => {
                (None, self.connection.pragma_update(None, "max_page_count", pages.cast_signed()))
            }
            #[cfg(test)]
            Work::AtCommit(meets) => {
                crate::write::under_way::AT_COMMIT.set(Some(meets));
                (None, Ok(()))
            }
            #[cfg(test)]
            Work::Panic => panic!("planted"),
        }
    }

    /// The first of some single operations, and those that follow it at the end of `waiting`: they are
    /// looked at ahead, as those of one submission are.
    fn handle_each(
        &mut self,
        (submission, reply): (Submission, Reply<Outcome>),
        waiting: &mut Vec<Work>,
    ) -> (Option<Decided>, rusqlite::Result<()>) {
        let Singles { submissions, replies } = Singles::of(submission, reply, waiting);
        match self.submit_all(submissions, Vec::new(), |_| false) {
            Ok(outcomes) => (Some(Decided::Each(outcomes, replies)), Ok(())),
            Err(error) => (Some(Decided::Each(Vec::new(), replies)), Err(error)),
        }
    }

    /// Decides and appends operations in their order, from the one on that has no outcome yet, but refuses those
    /// whose key is `taken`.
    pub(crate) fn submit_all(
        &mut self,
        mut submissions: Vec<Submission>,
        mut outcomes: Vec<Outcome>,
        taken: impl Fn(&Submission) -> bool,
    ) -> rusqlite::Result<Vec<Outcome>> {
        match self.decide_all(&mut submissions, &mut outcomes, taken)? {
            true => Ok(outcomes),
            // Nothing is left to somebody else here.
            false => Err(rusqlite::Error::QueryReturnedNoRows),
        }
    }

    /// Decides and appends an operation with the file at hand; `seen` says that its key was looked for just now, and
    /// may have been used. The key is taken out of it.
    fn submit(
        &mut self,
        Submission { operation, key }: &mut Submission,
        ahead: Option<KeyAhead>,
        seen: bool,
    ) -> rusqlite::Result<Outcome> {
        let key = key.take().zip(ahead);
        if let Some((key, ahead)) = &key {
            let recorded = match seen {
                true => self.found(operation.debit, key, *ahead)?,
                false => self.recorded_in_file(operation.debit, key, *ahead)?,
            };
            if let Some(recorded) = recorded {
                return Ok(recorded.answer(operation));
            }
        }
        let (key, now) = (key.map(|(key, ahead)| (key, ahead.mark)), self.now);
        match self.brought_in_before(operation)? {
            Some(Ok(transfer)) => Ok(Outcome::replayed(Ok(transfer))),
            Some(Err(rejection)) => {
                self.with_put(|state, put| state.refuse(operation, key, rejection, now, put))?;
                Ok(Outcome::new(Err(rejection)))
            }
            None => self.with_put(|state, put| state.decide_anew(operation, key, now, put)),
        }
    }

    /// What was decided under a key of the wallet, in the open batch or any earlier one.
    pub(crate) fn recorded_in_file(
        &mut self,
        wallet: WalletId,
        key: &IdempotencyKey,
        ahead: KeyAhead,
    ) -> rusqlite::Result<Option<Recorded>> {
        if self.state.keys.look(ahead)? { self.found(wallet, key, ahead) } else { Ok(None) }
    }

    /// The same of a key that was looked for just now.
    fn found(
        &mut self,
        wallet: WalletId,
        key: &IdempotencyKey,
        ahead: KeyAhead,
    ) -> rusqlite::Result<Option<Recorded>> {
        // It may have been decided just now, in this batch.
        self.flush()?;
        self.state.keys.find(self.connection, wallet.get().cast_signed(), (key, ahead.mark))
    }

    /// The deposit that this one repeats, by the payment provider's id: a payment is brought in
    /// once, whatever was written beside it. Or the refusal, if it is another payment.
    fn brought_in_before(
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
        let transfer = keys::verified(self.connection, self.state.links, kept)?;
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
            .state
            .book
            .open_wallet(kind)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))?;
        people::insert_user(self.connection, new, wallet, self.now).map(Ok)
    }
}

impl Decide for Desk<'_, '_> {
    fn state(&mut self) -> &mut State {
        self.state
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    #[inline]
    fn with_put<T>(&mut self, work: impl FnOnce(&mut State, Put<'_>) -> T) -> T {
        let Self { connection, state, spares, rows, .. } = self;
        work(state, &mut |written| insert(connection, rows, spares, written))
    }

    #[inline]
    fn decide(
        &mut self,
        submission: &mut Submission,
        ahead: Option<KeyAhead>,
    ) -> rusqlite::Result<Option<Outcome>> {
        let now = self.now;
        let decided = self.with_put(|state, put| state.decide(submission, ahead, now, put))?;
        let seen = match decided {
            Step::Decided(outcome) => return Ok(Some(outcome)),
            Step::Seen => true,
            Step::Named => false,
        };
        self.submit(submission, ahead, seen).map(Some)
    }

    fn recorded(
        &mut self,
        wallet: WalletId,
        key: &IdempotencyKey,
        ahead: KeyAhead,
    ) -> rusqlite::Result<Found<Recorded>> {
        self.recorded_in_file(wallet, key, ahead).map(Found::of)
    }

    fn brought_in(
        &mut self,
        operation: &Operation,
    ) -> rusqlite::Result<Found<Result<Transfer, Rejection>>> {
        self.brought_in_before(operation).map(Found::of)
    }
}

/// Writes into the open transaction.
pub(crate) fn insert(
    connection: &Connection,
    appender: &mut Appender<'_>,
    spares: &Spares,
    written: ToFile,
) -> rusqlite::Result<()> {
    match written {
        ToFile::Rows(Hashed { rows, links, blocks }) => {
            appender.append(&rows, &links)?;
            spares.take_back(rows);
            blocks.into_iter().try_for_each(|block| chain::insert_block(connection, block))
        }
        ToFile::Refusal(refusal) => rows::insert_refusal(connection, &refusal),
        ToFile::Batch(record) => batch_record::insert(connection, &record),
    }
}

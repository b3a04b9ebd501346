//! Owns the order in which operations are decided, whoever decides them: the writer with the file at hand
//! ([`Desk`](crate::write::desk::Desk)), or the [decider](crate::write::decider) without it.
//!
//! Never: a rule (the book's), or a look into the file. Bounds: none of its own.

use ledger::{
    BatchKey, BatchMode, IdempotencyKey, Operation, Outcome, Rejection, Submission, Timestamp,
    Transfer, WalletId,
};

use crate::file::batch_record::Decision;
use crate::keys::{KeyAhead, Recorded};
use crate::write::look_ahead::OPERATIONS_AHEAD;
use crate::write::state::{Put, State};

/// What is recorded, as far as somebody can tell.
pub(crate) enum Found<T> {
    Nothing,
    This(T),
    /// Only the file can tell.
    InFile,
}

impl<T> Found<T> {
    /// What was found by whoever can tell.
    pub(crate) fn of(found: Option<T>) -> Self {
        found.map_or(Self::Nothing, Self::This)
    }
}

/// Who decides operations one after another.
pub(crate) trait Decide {
    fn state(&mut self) -> &mut State;

    fn now(&self) -> Timestamp;

    /// Lets the state be worked with, and what is to be written goes on its way to the file.
    fn with_put<T>(&mut self, work: impl FnOnce(&mut State, Put<'_>) -> T) -> T;

    /// What was decided under a key of the wallet, in the open batch or any earlier one.
    fn recorded(
        &mut self,
        wallet: WalletId,
        key: &IdempotencyKey,
        ahead: KeyAhead,
    ) -> rusqlite::Result<Found<Recorded>>;

    /// The deposit that this one repeats, by the payment provider's id: a payment is brought in
    /// once, whatever was written beside it. Or the refusal, if it is another payment.
    fn brought_in(
        &mut self,
        operation: &Operation,
    ) -> rusqlite::Result<Found<Result<Transfer, Rejection>>>;

    /// Appends an accepted operation, with its key and the key's mark.
    fn append(
        &mut self,
        transfer: &Transfer,
        key: Option<(IdempotencyKey, u64)>,
    ) -> rusqlite::Result<()> {
        self.with_put(|state, put| state.append(transfer, key, put))
    }

    /// Records what became of a batch, under its key and the key's mark.
    fn record(
        &mut self,
        key: (&BatchKey, u64),
        mode: BatchMode,
        decision: &Decision,
    ) -> rusqlite::Result<()> {
        let now = self.now();
        self.with_put(|state, put| state.record(key, mode, decision, now, put))
    }

    /// Puts everything that was decided on its way to the file.
    fn flush(&mut self) -> rusqlite::Result<()> {
        self.with_put(State::flush)
    }

    /// Decides an operation, of whose key so much is known; `None` if that is left to somebody else.
    fn decide(
        &mut self,
        submission: &mut Submission,
        ahead: Option<KeyAhead>,
    ) -> rusqlite::Result<Option<Outcome>>;

    /// Decides operations in their order, from the one on that has no outcome yet, but refuses those whose key is
    /// `taken`. False if one of them, and all behind it, are left to somebody else.
    fn decide_all(
        &mut self,
        submissions: &mut [Submission],
        outcomes: &mut Vec<Outcome>,
        taken: impl Fn(&Submission) -> bool,
    ) -> rusqlite::Result<bool> {
        let mut keys = Vec::new();
        let left = submissions.get_mut(outcomes.len()..).unwrap_or_default();
        outcomes.reserve_exact(left.len());
        for some in left.chunks_mut(OPERATIONS_AHEAD) {
            self.state().look_ahead(some, &mut keys);
            for (key, submission) in keys.drain(..).zip(some) {
                let outcome = match taken(submission) {
                    true => Some(Outcome::new(Err(Rejection::IdempotencyKeyReused))),
                    false => self.decide(submission, key)?,
                };
                match outcome {
                    Some(outcome) => outcomes.push(outcome),
                    None => return Ok(false),
                }
            }
        }
        Ok(true)
    }
}

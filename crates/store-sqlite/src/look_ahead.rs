//! Owns the look ahead: what the next few hundred operations will touch is touched in one go, before
//! they are decided one after another.
//!
//! A wallet's slot, a key's place and the filters of the keys' files lie anywhere in memory, and a decision
//! would wait for each. Looked at one behind the other, with nothing in between that depends on them, the
//! processor fetches several at a time. Never: a decision, or a change. Bounds: [`OPERATIONS_AHEAD`].

use std::hint::black_box;

use ledger::{Outcome, Rejection, Submission};

use crate::writer::Desk;

/// Their slots and filters stay in the second level of a processor's cache until they are decided.
pub(crate) const OPERATIONS_AHEAD: usize = 256;

/// Fewer are not worth it.
const OPERATIONS_AHEAD_MIN: usize = 8;

/// What is known of an operation's key before it is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyAhead {
    pub(crate) mark: u64,
    /// Whether a file may have it; false only if none has.
    pub(crate) in_runs: bool,
}

impl Desk<'_, '_> {
    /// Decides and appends operations in their order, but refuses those whose key is `taken`.
    pub(crate) fn submit_all(
        &mut self,
        mut submissions: Vec<Submission>,
        taken: impl Fn(&Submission) -> bool,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(submissions.len());
        let mut keys = Vec::new();
        for some in submissions.chunks_mut(OPERATIONS_AHEAD) {
            self.look_ahead(some, &mut keys);
            for (key, submission) in keys.drain(..).zip(some) {
                outcomes.push(match taken(submission) {
                    true => Outcome::new(Err(Rejection::IdempotencyKeyReused)),
                    false => self.submit(submission, key)?,
                });
            }
        }
        Ok(outcomes)
    }

    /// Looks at these operations, at most [`OPERATIONS_AHEAD`] of them: `keys` has one element for each.
    pub(crate) fn look_ahead(&self, submissions: &[Submission], keys: &mut Vec<Option<KeyAhead>>) {
        let few = submissions.len() < OPERATIONS_AHEAD_MIN;
        let marker = self.links.marker();
        keys.clear();
        keys.extend(submissions.iter().map(|Submission { operation, key }| {
            let wallet = operation.debit.get().cast_signed();
            let mark = key.as_ref().map(|key| marker.mark(wallet, key.as_str()));
            mark.map(|mark| KeyAhead { mark, in_runs: few })
        }));
        if few {
            return;
        }
        self.keys.look_ahead(keys);
        for Submission { operation, .. } in submissions {
            black_box(self.book.wallet(operation.debit));
            black_box(self.book.wallet(operation.credit));
        }
    }
}

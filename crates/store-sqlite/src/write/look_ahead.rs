//! Owns the look ahead: what the next few hundred operations will touch is touched in one go, before
//! they are decided one after another.
//!
//! A wallet's slot, a key's place and the filters of the keys' files lie anywhere in memory, and a decision
//! would wait for each. Looked at one behind the other, with nothing in between that depends on them, the
//! processor fetches several at a time. Never: a decision, or a change. Bounds: [`OPERATIONS_AHEAD`].

use std::hint::black_box;

use ledger::Submission;

use crate::keys::KeyAhead;
use crate::write::state::State;

/// Their slots and filters stay in the second level of a processor's cache until they are decided.
pub(crate) const OPERATIONS_AHEAD: usize = 256;

/// Fewer are not worth it.
const OPERATIONS_AHEAD_MIN: usize = 8;

impl State {
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

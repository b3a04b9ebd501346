//! Owns the batch: many operations handed in as one request, and the one answer to it.
//!
//! Never: a decision (that is the book's), or how a batch is kept. Bounds: at most
//! [`SUBMISSIONS_MAX`](crate::SUBMISSIONS_MAX) operations.

use sha2::{Digest, Sha256};

use crate::{
    Details, ExternalId, Hash, IdempotencyKey, OperationKind, Outcome, Rejection, Submission,
    WalletId,
};

/// What the operations of a batch have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchMode {
    /// All are done, or none is.
    Atomic,
    /// Each is decided on its own, in their order.
    Independent,
}

/// Operations that are handed in as one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// What they have to do with each other.
    pub mode: BatchMode,
    /// The operations, in their order; each may have a key of its own beside the batch's.
    pub submissions: Vec<Submission>,
    /// The client's name for the whole, if it has one.
    pub key: Option<BatchKey>,
}

/// The client's name for a whole batch. It shares its namespace with the keys of single operations:
/// a key that was used for either is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchKey {
    /// The wallet that the key is scoped to: the caller's.
    pub wallet: WalletId,
    /// The name.
    pub key: IdempotencyKey,
    /// What the request means: the same key with another is another request.
    pub fingerprint: Hash,
}

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutcome {
    /// An outcome for each operation, in their order; or why nothing was done.
    pub decision: Result<Vec<Outcome>, BatchRefusal>,
    /// True when it was decided before, for the same request under the same key.
    pub replayed: bool,
}

impl BatchOutcome {
    /// A decision made just now.
    #[must_use]
    pub fn new(decision: Result<Vec<Outcome>, BatchRefusal>) -> Self {
        Self { decision, replayed: false }
    }
}

/// Why nothing of a batch was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    /// The key was used before by the same user for another request.
    #[error("this idempotency key was used before for another request")]
    KeyReused,
    /// All were to be done, and this one cannot be.
    #[error("operation {index} was refused: {rejection}")]
    Operation {
        /// Its place, counted from 0.
        index: usize,
        /// Why.
        rejection: Rejection,
    },
}

/// Makes a batch's fingerprint: a SHA-256 over what is asked, not over how it was written.
#[derive(Debug, Clone)]
pub struct Fingerprint(Sha256);

const READ: u8 = 1;
const UNREADABLE: u8 = 2;

impl Fingerprint {
    /// Begins with the mode.
    #[must_use]
    pub fn new(mode: BatchMode) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"kopeck batch 1");
        hash.update([match mode {
            BatchMode::Atomic => 1,
            BatchMode::Independent => 2,
        }]);
        Self(hash)
    }

    /// Takes the next operation.
    pub fn add(&mut self, Submission { operation, key }: &Submission) {
        let kind = match operation.kind {
            OperationKind::Deposit => 1,
            OperationKind::Transfer => 2,
        };
        self.0.update([READ, kind]);
        self.0.update(operation.debit.get().to_be_bytes());
        self.0.update(operation.credit.get().to_be_bytes());
        self.0.update(operation.amount.minor().to_be_bytes());
        self.text(operation.details.as_ref().map(Details::as_str));
        self.text(operation.external_id.as_ref().map(ExternalId::as_str));
        self.text(key.as_ref().map(IdempotencyKey::as_str));
    }

    /// Takes the text of something that could not be read as an operation: it has no meaning but its
    /// text.
    pub fn add_unreadable(&mut self, text: &str) {
        self.0.update([UNREADABLE]);
        self.text(Some(text));
    }

    /// The fingerprint of all that was taken.
    #[must_use]
    pub fn finish(self) -> Hash {
        self.0.finalize().into()
    }

    /// No text that is there is as long as `u64::MAX`, which stands for none.
    fn text(&mut self, text: Option<&str>) {
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        self.0.update(length.to_be_bytes());
        self.0.update(text.unwrap_or_default());
    }
}

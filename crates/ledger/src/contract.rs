//! Owns the seam between the service and its engines: submit operations, get outcomes; read wallets.
//!
//! Never: an implementation, a runtime, or a word on how a thing is kept. An engine decides with the
//! [`Book`](crate::Book), or, where it runs the rules itself, must answer exactly as the book would.
//! Bounds: [`SUBMISSIONS_MAX`] operations at once; everything else is the engine's to say.

use std::future::Future;
use std::pin::Pin;

use crate::{
    Batch, BatchOutcome, Checkpoint, Currency, OperationId, Outcome, Page, Receipt, Statement,
    Submission, WalletId,
};

/// The most operations that are handed in at once.
pub const SUBMISSIONS_MAX: usize = 8_192;

/// An answer that comes when the engine has it.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send + 'static>>;

/// A failure of the engine, never of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Too much is waiting. Nothing was done; try again a little later.
    #[error("too many operations are waiting; nothing was done")]
    Overloaded,
    /// There is no room on the disk. Nothing was done; works again when there is room.
    #[error("the disk is full; nothing was done")]
    StorageFull,
    /// Another program has locked the data file, and kept it for longer than is waited. Nothing was done;
    /// works again when it lets go.
    #[error("another program holds the data file; nothing was done")]
    DataFileLocked,
    /// The service is stopping. Nothing was done.
    #[error("the ledger is stopping; nothing was done")]
    Closed,
    /// It cannot be known whether it was done. A retry under the same key tells.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// Something could not be read. Nothing was changed.
    #[error("could not read: {0}")]
    Unreadable(String),
    /// What was asked for names an entry that is not one of the wallet's.
    #[error("the cursor is not an entry of this wallet")]
    NoSuchEntry,
}

impl LedgerError {
    /// The stable code, in `snake_case`: part of the API, as a refusal's is.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::StorageFull => "storage_full",
            Self::DataFileLocked => "data_file_locked",
            Self::Closed => "closing",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Unreadable(_) => "unreadable",
            Self::NoSuchEntry => "cursor_unknown",
        }
    }
}

/// The ledger: the whole book of record.
///
/// If the answer to one submission came before another was handed in, the first is earlier in the
/// book, and every read handed in after an answer sees its effect.
pub trait Ledger: Send + Sync {
    /// The one currency of all wallets.
    fn currency(&self) -> Currency;

    /// Hands in operations; each is decided on its own, in their order. The outcomes, in the same
    /// order, come when they are on stable storage. Of more than [`SUBMISSIONS_MAX`] at once an
    /// engine may refuse all.
    ///
    /// Errors concern all of them: none took effect, except for
    /// [`OutcomeUnknown`](LedgerError::OutcomeUnknown).
    fn submit(&self, submissions: Vec<Submission>) -> Pending<Vec<Outcome>>;

    /// Hands in operations as one request, decided as its mode says with nothing in between. The
    /// answer comes when what it says is on stable storage. The same request under the same key is
    /// answered as the first time, whatever that answer was; another request under a key that was
    /// used, be it for a batch or for an operation of the same wallet, is refused.
    ///
    /// Where an atomic batch is refused, nothing is recorded under the keys of its operations.
    /// Errors concern all of it, as for [`submit`](Self::submit).
    fn submit_batch(&self, batch: Batch) -> Pending<BatchOutcome>;

    /// A wallet with a page of its history; `None` when there is no such wallet.
    fn statement(&self, wallet: WalletId, page: Page) -> Pending<Option<Statement>>;

    /// What the whole book is now, in one hash.
    fn checkpoint(&self) -> Pending<Checkpoint>;

    /// The proof that an operation of the wallet is in the book, as of when the book had so many
    /// `operations` (`None`: now). `None` when the wallet has no such operation, or when the book never
    /// had so many, or had fewer than the operation's number.
    fn receipt(
        &self,
        wallet: WalletId,
        operation: OperationId,
        operations: Option<u64>,
    ) -> Pending<Option<Receipt>>;
}

//! Owns what opening the engine is told, and what it found.
//!
//! Never: the opening itself. Bounds: none of it lives on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ledger::{Currency, LedgerError, Timestamp};

/// What the engine tells whoever measures it. Called on the engine's threads: must be quick.
pub trait Observer: Send + Sync {
    /// A batch of so many operations was made durable, or refused for this.
    fn batch(&self, operations: usize, elapsed: Duration, committed: Result<(), &LedgerError>);
    /// A checkpoint moved the write-ahead log into the data file.
    fn checkpoint(&self, elapsed: Duration);
}

/// An observer that looks away.
pub struct Unobserved;

impl Observer for Unobserved {
    fn batch(&self, _: usize, _: Duration, _: Result<(), &LedgerError>) {}
    fn checkpoint(&self, _: Duration) {}
}

/// Runs the handing out of a batch's answers, somewhere, soon.
pub type Deliver = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// How to open the engine.
pub struct Options {
    /// The data directory; made if it is not there.
    pub dir: PathBuf,
    /// The currency of all wallets. Written into a new file; another than the file's is refused.
    /// `None` is the file's own, and there must be a file.
    pub currency: Option<Currency>,
    /// How many operations may wait before more are refused.
    pub queue_operations_max: usize,
    /// How long what was decided under an idempotency key is remembered, at least. Written into the
    /// file; `None` is what it was there last.
    pub key_window: Option<Duration>,
    /// Who is told of batches and checkpoints.
    pub observer: Arc<dyn Observer>,
    /// Who wakes those who wait. A runtime wakes its own tasks much cheaper than the writer's thread
    /// could, and the writer goes on meanwhile; [`deliver_here`] where there is none.
    pub deliver: Deliver,
}

/// Hands answers out at once, on the writer's thread.
#[must_use]
pub fn deliver_here() -> Deliver {
    Arc::new(|answers| answers())
}

/// What opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// True when there was no data file.
    pub created: bool,
    /// How many wallets there are.
    pub wallets: u64,
    /// How many operations there are.
    pub operations: u64,
    /// How many of them were replayed because the wallet table lagged behind.
    pub replayed: u64,
    /// The latest moment that was written down. No operation is dated earlier from now on, whatever the
    /// clock says.
    pub latest: Timestamp,
    /// How long it took.
    pub elapsed: Duration,
}

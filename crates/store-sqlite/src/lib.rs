//! The embedded engine: group commit over an append-only SQLite file.
//!
//! (Being built; the signatures below are the ones the service will use.)
#![allow(missing_docs)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ledger::Currency;

/// What the engine tells whoever measures it. Called on the writer's thread: must be quick.
pub trait Observer: Send + Sync {
    /// A batch was made durable (or refused, `committed` false).
    fn batch(&self, operations: usize, elapsed: Duration, committed: bool);
    /// A checkpoint moved the write-ahead log into the data file.
    fn checkpoint(&self, elapsed: Duration);
}

pub struct Options {
    pub dir: PathBuf,
    pub currency: Currency,
    pub queue_operations_max: usize,
    pub observer: Arc<dyn Observer>,
}

pub struct Recovered {
    pub created: bool,
    pub wallets: u64,
    pub operations: u64,
    pub replayed: u64,
    pub elapsed: Duration,
}

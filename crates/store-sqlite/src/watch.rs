//! Owns how whoever waits for a copy or a check is told how far it is, and stops it.
//!
//! Never: the work itself. Bounds: none.

/// Whoever waits for a copy: is told how far it is, and may stop it.
pub trait Watch: Send + Sync {
    /// It has come so far. Called often, on the thread that copies: must be quick.
    fn step(&self, step: Step);
    /// Whether it is no longer wanted. Then it ends soon and leaves nothing behind.
    fn is_cancelled(&self) -> bool;
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Copying the file.
    Copying {
        /// What is copied, in bytes.
        done_bytes: u64,
        /// The whole file, in bytes.
        total_bytes: u64,
    },
    /// Checking the copy.
    Checking,
    /// Checking the operations, one after another.
    Replaying {
        /// How many are checked.
        done_operations: u64,
        /// How many there are.
        total_operations: u64,
    },
    /// Making the copy durable.
    Syncing,
}

/// Nobody watches, and nobody stops it.
pub struct Unwatched;

impl Watch for Unwatched {
    fn step(&self, _: Step) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

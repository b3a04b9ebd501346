//! What is read beside the writer: statements, checkpoints and proofs, each of one state between two commits.
//!
//! Nothing here writes.

pub(crate) mod heads;
pub(crate) mod readers;
pub(crate) mod receipts;

//! The book outside of its directory: backups and the way back, and what is exported for people and programs.
//!
//! Nothing here writes into a data directory that is in use.

pub(crate) mod backup;
pub(crate) mod copy;
pub(crate) mod export;
pub(crate) mod restore;

//! The embedded engine: group commit over an append-only SQLite file.
//!
//! One writer thread owns all state, but lends it to decide large batches, and drains a bounded queue: the book decides in memory, one
//! transaction appends the rows, one fsync makes them durable, then the state is published and
//! every waiter is answered. Readers see committed state only.
//!
//! Nothing here knows of HTTP or JSON, and nothing here decides whether money moves.

mod append;
mod background;
mod backup;
mod batch;
mod batch_record;
mod chain;
mod check;
mod checkpoint;
mod connection;
mod copy;
mod decide;
mod decider;
mod desk;
mod directory;
mod export;
mod forgetting;
#[cfg(test)]
mod full_disk;
mod gate;
mod hasher;
mod heads;
mod key_mark;
mod keys;
mod log;
mod look_ahead;
mod names;
mod open_error;
mod opening;
mod people;
#[cfg(feature = "planted-faults")]
mod planted;
mod queue;
mod readers;
mod receipts;
mod recovery;
mod restore;
mod rewrite;
mod rows;
mod schema;
mod state;
mod store;
mod sweep;
mod swept;
mod threads;
#[cfg(test)]
mod under_way;
mod watch;
mod work;
mod writer;

pub use backup::{Backup, backup};
pub use check::{Check, CheckError, Checked, Finding, Place, check, checkpoint};
pub use checkpoint::COPIES_A_CHECKPOINT;
pub use copy::{Contents, CopyError, Done};
pub use directory::{has_file as has_data_file, holds_data};
pub use export::{Export, ExportError};
pub use names::folder;
pub use open_error::OpenError;
pub use opening::{Deliver, Observer, Options, Recovered, Unobserved, deliver_here};
pub use restore::{Restore, restore};
pub use store::SqliteStore;
pub use watch::{Step, Unwatched, Watch};

//! The embedded engine: group commit over an append-only SQLite file.
//!
//! One writer thread owns all state, but lends it to decide large batches, and drains a bounded queue: the book decides
//! in memory, one transaction appends the rows, one fsync makes them durable, then the state is published and every
//! waiter is answered. Readers see committed state only.
//!
//! Nothing here knows of HTTP or JSON, and nothing here decides whether money moves.

mod background;
mod check;
mod copies;
mod file;
mod keys;
mod opening;
#[cfg(feature = "planted-faults")]
mod planted;
mod queue;
mod read;
mod recovery;
mod store;
mod threads;
mod watch;
mod write;

pub use check::{Check, CheckError, Checked, Finding, Place, check, checkpoint};
pub use copies::backup::{Backup, backup};
pub use copies::copy::{Contents, CopyError, Done};
pub use copies::export::{Export, ExportError};
pub use copies::restore::{Restore, restore};
pub use file::directory::{has_file as has_data_file, holds_data};
pub use file::names::folder;
pub use file::open_error::OpenError;
pub use opening::{Deliver, Observer, Options, Recovered, Unobserved, deliver_here};
pub use store::SqliteStore;
pub use watch::{Step, Unwatched, Watch};
pub use write::checkpoint::COPIES_A_CHECKPOINT;

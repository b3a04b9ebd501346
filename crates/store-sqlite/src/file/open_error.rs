//! Owns why a data file is not opened, in words that say what to do.
//!
//! Never: a look at a file. Bounds: none.

use std::path::PathBuf;

use ledger::{Currency, Damage};
use rusqlite::ErrorCode;

use crate::file::chain::ChainDamage;

/// Why the engine did not open. Each text is whole: what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error(
        "{0} is in use by another kopeck process; stop that one first, or choose another data directory"
    )]
    Locked(PathBuf),
    /// The directory cannot be used.
    #[error("the data directory {path} cannot be used: {error}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is kept in another currency.
    #[error(
        "this data file is kept in {file}, not in {asked}; start with --currency {file}, or choose another data directory"
    )]
    CurrencyDiffers {
        /// The file's.
        file: Currency,
        /// The one asked for.
        asked: Currency,
    },
    /// There is no data file.
    #[error("there is no data file in {0}")]
    NotThere(PathBuf),
    /// The file belongs to another program.
    #[error("the data file is not kopeck's: it has tables, but not kopeck's mark")]
    NotOurs,
    /// The file was written by a newer kopeck.
    #[error(
        "the data file has version {file}; this kopeck knows versions up to {known}: use a newer kopeck"
    )]
    Newer {
        /// The file's version.
        file: usize,
        /// The newest one known.
        known: usize,
    },
    /// The file system cannot carry a write-ahead log.
    #[error("{0} cannot have a write-ahead log: its file system does not support one")]
    NoLog(PathBuf),
    /// The file lacks the row that describes it.
    #[error("the data file is damaged: it does not say its currency")]
    Incomplete,
    /// The wallet table has a gap.
    #[error("the data file is damaged: the wallet table does not have wallet {0} in its place")]
    WalletMissing(u64),
    /// The wallet table says of a wallet what cannot be: the bank's is the first one, and wallet n is
    /// user n's.
    #[error("the data file is damaged: wallet {0} is kept as another kind, or as another user's")]
    WalletChanged(u64),
    /// The wallet table lacks what it says to have.
    #[error(
        "the data file is damaged: wallet {wallet} is not as it was after operation {operation}, or later, as it is said to be"
    )]
    WalletBehind {
        /// The wallet.
        wallet: u64,
        /// The operation.
        operation: u64,
    },
    /// The operation that the wallet table was written up to is not there.
    #[error("the data file is damaged: operation {0} is missing")]
    OperationMissing(u64),
    /// The operations do not fit the rules.
    #[error("the data file is damaged: {0}")]
    Damaged(Damage),
    /// A new file would be made where there was one.
    #[error(
        "there is no data file here, but {0}, which belongs to one: put the data file back, or restore \
         a backup into an empty directory; to begin anew on purpose, move that file away first"
    )]
    DataFileGone(PathBuf),
    /// A new file would be made where the link to another one leads.
    #[error(
        "{0} is a link to a file that is not there, and a new book is not begun in its place: bring the file back, or \
         the disk that it is on; to begin anew on purpose, remove the link"
    )]
    LinkLeadsNowhere(PathBuf),
    /// Each name of the data file has a log of its own, and may have an engine of its own.
    #[error(
        "{0} has another name, a hard link to the same file: beside each name a log would be kept, and the file would \
         be written by both; remove every other name (`find -samefile` finds them) than the one that kopeck ran on last"
    )]
    OtherNames(PathBuf),
    /// The log lost what was acknowledged.
    #[error(
        "{0}; restore a backup, or keep what stands before the damage: `sqlite3 kopeck.db 'PRAGMA \
         wal_checkpoint(TRUNCATE)'` in the data directory lets go of the rest"
    )]
    LogDamaged(String),
    /// The log belongs to another data file than the one that it is beside.
    #[error(
        "{0} is the log of another data file than the one beside it, which keeps none, as a backup does: read together \
         they would be a book that never was. Move all that is in the data directory away, and `kopeck restore` the \
         backup; or put the log's own data file back"
    )]
    LogOfAnother(PathBuf),
    /// The log belongs to an older copy of the data file.
    #[error(
        "{log} ends before {what}, which the data file beside it has: it is the log of an older copy, and read together \
         they would be a book that lacks what came later. Put the log's own data file back, or move all that is in the \
         data directory away and `kopeck restore` a backup. Move the log alone away only if this file was left by a clean \
         stop: whatever the log alone has would be lost, and `kopeck check` could not say so"
    )]
    LogOlder {
        /// The log.
        log: PathBuf,
        /// What the file has without it: its newest operation, or its last page.
        what: String,
    },
    /// The log goes on from a newer copy of the data file.
    #[error(
        "{log} is the log of a newer copy of the data file than the one beside it, which lacks page {page}: read together \
         they would be a book that lacks what came in between. Put the log's own data file back, or move all that is in \
         the data directory away and `kopeck restore` a backup"
    )]
    FileOlder {
        /// The log.
        log: PathBuf,
        /// The first page that is in neither.
        page: u32,
    },
    /// The chain over the book is broken.
    #[error("the data file is damaged: {0}")]
    ChainBroken(String),
    /// The keys' files cannot be kept.
    #[error("{0}")]
    Keys(String),
    /// SQLite failed.
    #[error("the data file cannot be read: {}", told(.0))]
    Sqlite(rusqlite::Error),
}

/// What SQLite says of a failure, and what it does not say: a page that the disk cannot read (EIO) is to it one that is
/// malformed.
pub(crate) fn told(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("{error}, or the disk cannot read it, which the system's log would say")
        }
        _ => error.to_string(),
    }
}

// Not as the error's source: the text has all of it, and would say it twice.
impl From<Damage> for OpenError {
    fn from(error: Damage) -> Self {
        Self::Damaged(error)
    }
}

// Not as the error's source: the text has all of it, and would say it twice.
impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<ChainDamage> for OpenError {
    fn from(damage: ChainDamage) -> Self {
        Self::ChainBroken(damage.to_string())
    }
}

//! The rules of money and the contracts around them.
//!
//! Pure: nothing here knows of HTTP, SQL, an async runtime, a clock or randomness, and nothing
//! derives serde. [`Book`] is the only place that decides whether money moves.

mod batch;
mod book;
mod chain;
mod contract;
mod ids;
mod money;
mod operation;
mod people;
mod receipt;
mod rejection;
mod sha256;

pub use batch::{Batch, BatchKey, BatchMode, BatchOutcome, BatchRefusal, Fingerprint};
pub use book::{Book, Damage, Mark, WalletKind, WalletState};
pub use chain::{
    BLOCK_OPERATIONS, Block, Chain, ChainMark, Hash, Link, Record, leaf_hash, link_after, link_of,
    root_of,
};
pub use contract::{Ledger, LedgerError, Pending, SUBMISSIONS_MAX};
pub use ids::{
    ExternalId, ExternalIdMalformed, ID_MAX, IdempotencyKey, IdempotencyKeyMalformed,
    KEY_CHARS_MAX, OperationId, UserId, WalletId,
};
pub use money::{Amount, Balance, Currency, CurrencyUnknown, MINOR_UNITS_MAX, Units};
pub use operation::{
    DETAILS_CHARS_MAX, Details, Entry, EntryKind, Operation, OperationKind, Outcome, Page, Side,
    Statement, Submission, Timestamp, Transfer,
};
pub use people::{
    Credentials, NAME_CHARS_MAX, NewUser, People, Role, SESSIONS_PER_USER_MAX, Session,
    SignUpRecord, SignUpRefusal, TokenHash, User,
};
pub use receipt::{Checkpoint, Nodes, Receipt, ReceiptError, tree_path, tree_root};
pub use rejection::Rejection;

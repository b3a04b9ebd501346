//! The rules of money and the contracts around them.
//!
//! Pure: nothing here knows of HTTP, SQL, an async runtime, a clock or randomness, and nothing
//! derives serde. [`Book`] is the only place that decides whether money moves.

mod book;
mod contract;
mod ids;
mod money;
mod operation;
mod people;
mod rejection;

pub use book::{Book, Damage, WalletKind, WalletState};
pub use contract::{Ledger, LedgerError, Pending, SUBMISSIONS_MAX};
pub use ids::{
    ID_MAX, IDEMPOTENCY_KEY_CHARS_MAX, IdempotencyKey, IdempotencyKeyMalformed, OperationId,
    UserId, WalletId,
};
pub use money::{Amount, Balance, Currency, CurrencyUnknown, MINOR_UNITS_MAX, Units};
pub use operation::{
    DETAILS_CHARS_MAX, Details, Entry, EntryKind, Operation, OperationKind, Outcome, Page, Receipt,
    Side, Statement, Submission, Timestamp, Transfer,
};
pub use people::{
    Credentials, EmailTaken, NAME_CHARS_MAX, NewUser, People, Role, Session, TokenHash, User,
};
pub use rejection::Rejection;

//! Owns everything a caller may ask of the ledger and everything the ledger may answer.
//!
//! Never: how it is asked (HTTP), how it is kept (SQL), or a decision (that is the book's).
//! Bounds: an operation has a fixed size but for its details, at most [`DETAILS_CHARS_MAX`].

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    Amount, Balance, ExternalId, IdempotencyKey, OperationId, Rejection, UserId, WalletId,
};

/// The greatest length of an operation's details, in characters (Unicode scalar values).
pub const DETAILS_CHARS_MAX: usize = 200;

/// A moment, in microseconds since 1970-01-01T00:00:00Z. The caller's clock gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Takes microseconds since the Unix epoch.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }
}

/// Whoever has a clock reads it; before 1970 counts as 1970.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// What a person wrote to go with an operation: not empty, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Details(Arc<str>);

impl Details {
    /// Takes text, trimmed; nothing but white space is `None`.
    pub fn parse(text: &str) -> Result<Option<Self>, Rejection> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if text.chars().count() > DETAILS_CHARS_MAX {
            return Err(Rejection::DetailsTooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(Rejection::DetailsMalformed);
        }
        Ok(Some(Self(text.into())))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether money came in from outside or moved inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// Money came in from outside: the bank's wallet is debited.
    Deposit,
    /// Money moved between two wallets.
    Transfer,
}

/// A command: move an amount from one wallet (the debit) to another (the credit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Whether this brings money in or moves it.
    pub kind: OperationKind,
    /// The wallet that pays. For a deposit this must be a system wallet.
    pub debit: WalletId,
    /// The wallet that is paid.
    pub credit: WalletId,
    /// How much.
    pub amount: Amount,
    /// What the sender wrote.
    pub details: Option<Details>,
    /// The payment provider's own id of the payment that a deposit brings in.
    pub external_id: Option<ExternalId>,
}

/// An operation as it is handed in: once, or as many times as the client likes under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// What is asked.
    pub operation: Operation,
    /// The client's name for this request, scoped to the wallet that pays.
    pub key: Option<IdempotencyKey>,
}

/// One side of a transfer, as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    /// The wallet.
    pub wallet: WalletId,
    /// The wallet's balance after the transfer.
    pub balance: Balance,
    /// The wallet's operation before this one: the back-pointer of its history.
    pub previous: Option<OperationId>,
}

/// An accepted operation as it is recorded for good: immutable, both sides in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Its place in the order of all commits.
    pub id: OperationId,
    /// Whether it brought money in or moved it.
    pub kind: OperationKind,
    /// The side that paid.
    pub debit: Side,
    /// The side that was paid.
    pub credit: Side,
    /// How much.
    pub amount: Amount,
    /// What the sender wrote.
    pub details: Option<Details>,
    /// The payment provider's own id of the payment that a deposit brought in.
    pub external_id: Option<ExternalId>,
    /// When it was decided; never earlier than the one before it.
    pub time: Timestamp,
}

/// The recorded answer to an operation: what was transferred, or why nothing was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was decided.
    pub decision: Result<Transfer, Rejection>,
    /// True when it was decided before, for the same request under the same key or external id, and
    /// this is that decision.
    pub replayed: bool,
}

impl Outcome {
    /// A decision made just now.
    #[must_use]
    pub fn new(decision: Result<Transfer, Rejection>) -> Self {
        Self { decision, replayed: false }
    }

    /// A decision made before.
    #[must_use]
    pub fn replayed(decision: Result<Transfer, Rejection>) -> Self {
        Self { decision, replayed: true }
    }
}

/// What an entry means to its wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Money came in from outside (on the bank's own wallet: was brought in by it).
    Deposit,
    /// Another wallet paid this one.
    TransferIn,
    /// This wallet paid another one.
    TransferOut,
}

/// One side of a transfer, as its wallet sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The transfer's id.
    pub operation: OperationId,
    /// What it means to this wallet.
    pub kind: EntryKind,
    /// How much, always positive.
    pub amount: Amount,
    /// This wallet's balance after it.
    pub balance: Balance,
    /// The wallet on the other side.
    pub counterparty: WalletId,
    /// What the sender wrote.
    pub details: Option<Details>,
    /// The payment provider's own id of the payment that a deposit brought in.
    pub external_id: Option<ExternalId>,
    /// When it was decided.
    pub time: Timestamp,
}

impl Transfer {
    /// The side of `wallet`, if it has one.
    #[must_use]
    pub fn side(&self, wallet: WalletId) -> Option<&Side> {
        [&self.debit, &self.credit].into_iter().find(|side| side.wallet == wallet)
    }

    /// The transfer as `wallet` sees it; `None` when it has no side in it.
    #[must_use]
    pub fn entry(&self, wallet: WalletId) -> Option<Entry> {
        let side = self.side(wallet)?;
        let (kind, counterparty) = match (self.kind, wallet == self.debit.wallet) {
            (OperationKind::Deposit, true) => (EntryKind::Deposit, self.credit.wallet),
            (OperationKind::Deposit, false) => (EntryKind::Deposit, self.debit.wallet),
            (OperationKind::Transfer, true) => (EntryKind::TransferOut, self.credit.wallet),
            (OperationKind::Transfer, false) => (EntryKind::TransferIn, self.debit.wallet),
        };
        Some(Entry {
            operation: self.id,
            kind,
            amount: self.amount,
            balance: side.balance,
            counterparty,
            details: self.details.clone(),
            external_id: self.external_id.clone(),
            time: self.time,
        })
    }

    /// Whether this is what `operation` asked for: the same request sent again.
    #[must_use]
    pub fn fulfils(&self, operation: &Operation) -> bool {
        self.pays_as(operation)
            && self.details == operation.details
            && self.external_id == operation.external_id
    }

    /// Whether this moves the same money between the same wallets, whatever is said of it.
    #[must_use]
    pub fn pays_as(&self, operation: &Operation) -> bool {
        self.kind == operation.kind
            && self.debit.wallet == operation.debit
            && self.credit.wallet == operation.credit
            && self.amount == operation.amount
    }
}

/// Which entries of a wallet are wanted: newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The newest entry wanted: `None` for the wallet's newest, else an entry of the wallet.
    pub from: Option<OperationId>,
    /// How many entries at most.
    pub limit: usize,
}

/// A wallet and a page of its history, both as of one moment between commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The wallet.
    pub wallet: WalletId,
    /// Its owner.
    pub owner: UserId,
    /// Its balance after its newest operation.
    pub balance: Balance,
    /// The entries asked for, newest first.
    pub entries: Vec<Entry>,
    /// Where the next page starts; `None` when there is none.
    pub next: Option<OperationId>,
}

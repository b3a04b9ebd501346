//! Owns the names of what can be wrong.
//!
//! Never: a verdict (that is for [`judge`](crate::judge) and [`history`](crate::history)). Bounds:
//! the codes here; each says what was promised and not kept.

use std::fmt;

use serde::Serialize;

/// What is wrong, by a stable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// What was acknowledged, or read back before, is not there.
    Lost,
    /// It is there twice.
    Doubled,
    /// It is there with other fields than were sent or told.
    Changed,
    /// It was refused, and is there.
    RefusedApplied,
    /// It is there, and nobody sent it.
    Unsent,
    /// It was sent after another was known, and comes before it.
    OutOfOrder,
    /// Only one of its two wallets shows it.
    OneSided,
    /// Its two wallets show it differently.
    SidesDisagree,
    /// Operation numbers are missing.
    Gap,
    /// A balance is not the one before it and the amount.
    BalanceWrong,
    /// A wallet's own balance is not that of its newest operation.
    WalletBalanceWrong,
    /// A person's wallet was below zero.
    BelowZero,
    /// All wallets together are not zero.
    SumNotZero,
    /// An operation is dated before the one it follows.
    TimeWentBack,
    /// A wallet shows its operations in a wrong order, or pages that do not fit together.
    PageMalformed,
    /// What an earlier audit read has changed since.
    HistoryChanged,
    /// A read did not show what was known before it was sent.
    ReadStale,
    /// A read showed what is not there for good.
    ReadDirty,
    /// A read showed something else than is there.
    ReadDiffers,
    /// It was refused for want of money that was there all the time.
    RefusedWithoutReason,
    /// It was answered against a rule that knows no exception.
    AgainstTheRules,
    /// Sent again, it was told something else than before.
    ReplayDiffers,
    /// Sent again, it was not marked as a replay.
    ReplayUnmarked,
    /// Sent once, it was marked as a replay.
    ReplayUnasked,
    /// An answer that no correct service gives.
    UnexpectedAnswer,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What is wrong.
    pub code: Code,
    /// The operation it is about.
    pub operation: Option<u64>,
    /// The wallet it is about.
    pub wallet: Option<u64>,
    /// The attempt it is about.
    pub attempt: Option<u64>,
    /// The case, for a person.
    pub what: String,
}

impl Violation {
    /// About nothing in particular yet.
    #[must_use]
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, operation: None, wallet: None, attempt: None, what: what.into() }
    }

    /// About an attempt.
    #[must_use]
    pub fn of_attempt(code: Code, attempt: u64, what: impl Into<String>) -> Self {
        Self { attempt: Some(attempt), ..Self::new(code, what) }
    }

    /// Names the operation.
    #[must_use]
    pub fn at(self, operation: u64) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Names the wallet.
    #[must_use]
    pub fn in_wallet(self, wallet: u64) -> Self {
        Self { wallet: Some(wallet), ..self }
    }
}

impl Code {
    /// The stable name, in `snake_case`.
    #[must_use]
    pub fn name(self) -> String {
        let value = serde_json::to_value(self).ok();
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code.name())?;
        for (name, id) in
            [("operation", self.operation), ("wallet", self.wallet), ("attempt", self.attempt)]
        {
            if let Some(id) = id {
                write!(f, " {name}={id}")?;
            }
        }
        write!(f, ": {}", self.what)
    }
}

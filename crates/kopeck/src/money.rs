//! Owns the two ways to move money, for the API and the pages alike.
//!
//! Never: a decision (the ledger decides), a status code, a text for a person. Bounds: the wait for
//! an outcome; the engine's queue bounds the rest.

use std::time::Duration;

use ledger::{
    Amount, Details, IdempotencyKey, LedgerError, Operation, OperationKind, Receipt, Rejection,
    Role, Submission, WalletId,
};

use crate::app::AppState;
use crate::auth::Caller;

/// How long an outcome is waited for. Longer, and nobody knows what became of it.
const OUTCOME_WAIT_MAX: Duration = Duration::from_secs(30);

/// Why money did not move, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MoneyError {
    /// A rule refused it; nothing was done.
    #[error(transparent)]
    Rejection(#[from] Rejection),
    /// The engine failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Money from outside, brought in by the bank into a wallet.
///
/// Everybody but the bank is refused at once, with [`Rejection::NotTheBank`].
pub(crate) async fn deposit(
    state: &AppState,
    caller: &Caller,
    to: WalletId,
    amount: Amount,
    details: Option<Details>,
    key: Option<IdempotencyKey>,
) -> Result<Receipt, MoneyError> {
    check_bank(caller).inspect_err(|rejection| state.metrics.count_outcome(rejection.code()))?;
    submit(state, caller, OperationKind::Deposit, (to, amount, details), key).await
}

/// Money from the caller's wallet to another.
pub(crate) async fn transfer(
    state: &AppState,
    caller: &Caller,
    to: WalletId,
    amount: Amount,
    details: Option<Details>,
    key: Option<IdempotencyKey>,
) -> Result<Receipt, MoneyError> {
    submit(state, caller, OperationKind::Transfer, (to, amount, details), key).await
}

/// Refuses everybody but the bank: first in the order of refusals, so asked before all else.
pub(crate) fn check_bank(caller: &Caller) -> Result<(), Rejection> {
    if caller.user.role == Role::Bank { Ok(()) } else { Err(Rejection::NotTheBank) }
}

async fn submit(
    state: &AppState,
    caller: &Caller,
    kind: OperationKind,
    (credit, amount, details): (WalletId, Amount, Option<Details>),
    key: Option<IdempotencyKey>,
) -> Result<Receipt, MoneyError> {
    let operation = Operation { kind, debit: caller.user.wallet, credit, amount, details };
    let outcome = state.ledger.submit(vec![Submission { operation, key }]);
    let outcome = match tokio::time::timeout(OUTCOME_WAIT_MAX, outcome).await {
        Ok(outcomes) => outcomes.and_then(|mut outcomes| {
            let none = || LedgerError::OutcomeUnknown("the engine gave no outcome".to_owned());
            outcomes.pop().ok_or_else(none)
        }),
        Err(_) => Err(LedgerError::OutcomeUnknown("the engine did not answer in time".to_owned())),
    };
    let outcome = outcome.map_err(MoneyError::from).and_then(|outcome| Ok(outcome?));
    state.metrics.count_outcome(match &outcome {
        Ok(receipt) if receipt.replayed => "replayed",
        Ok(_) => "ok",
        Err(error) => error.code(),
    });
    outcome
}

impl MoneyError {
    /// The stable code, in `snake_case`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Rejection(rejection) => rejection.code(),
            Self::Ledger(error) => crate::problem::Code::of_ledger(error).code(),
        }
    }
}

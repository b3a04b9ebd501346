//! Owns the two ways to move money, for the API and the pages alike.
//!
//! Never: a decision (the ledger decides), a status code, a text for a person. Bounds: the wait for
//! an outcome; the engine's queue bounds the rest.

use std::sync::Arc;
use std::time::Duration;

use ledger::{
    Amount, Batch, BatchOutcome, Details, ExternalId, IdempotencyKey, Ledger, LedgerError,
    Operation, OperationKind, Outcome, Rejection, Role, Submission, Transfer, WalletId,
};

use crate::auth::Caller;
use crate::busy_poll::BusyPoll;
use crate::telemetry::Metrics;
use crate::unseen::is_seen;

/// How long an outcome is waited for. Longer, and nobody knows what became of it.
const OUTCOME_WAIT_MAX: Duration = Duration::from_secs(30);

/// Why money did not move, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MoneyError {
    /// A rule refused it; nothing was done.
    #[error("{rejection}")]
    Refused {
        /// Why.
        rejection: Rejection,
        /// Whether that was said before, to the same request under the same key.
        replayed: bool,
    },
    /// The engine failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<Rejection> for MoneyError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused { rejection, replayed: false }
    }
}

/// Money that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    /// What is recorded.
    pub(crate) transfer: Transfer,
    /// Whether it was moved before, for the same request under the same key or external id.
    pub(crate) replayed: bool,
}

/// How much is to be moved, and where to; from where, the caller says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// The wallet that is paid.
    pub(crate) to: WalletId,
    /// How much.
    pub(crate) amount: Amount,
    /// What the sender wrote.
    pub(crate) details: Option<Details>,
    /// The payment provider's own id of a payment that is brought in.
    pub(crate) external_id: Option<ExternalId>,
}

/// What somebody wrote to go with an operation. Of which nothing can be seen is nothing, as white space is.
pub(crate) fn parse_details(text: &str) -> Result<Option<Details>, Rejection> {
    Ok(Details::parse(text)?.filter(|details| is_seen(details.as_str())))
}

/// Takes what callers ask for to the ledger, and counts the outcomes.
pub(crate) struct Teller {
    ledger: Arc<dyn Ledger>,
    /// Told of every operation that is under way.
    pub(crate) busy_poll: BusyPoll,
    metrics: Arc<Metrics>,
}

impl Teller {
    /// A teller of this ledger.
    pub(crate) fn new(ledger: Arc<dyn Ledger>, busy_poll: BusyPoll, metrics: Arc<Metrics>) -> Self {
        Self { ledger, busy_poll, metrics }
    }

    /// Money from outside, brought in by the bank into a wallet.
    ///
    /// Everybody but the bank is refused at once, with [`Rejection::NotTheBank`].
    pub(crate) async fn deposit(
        &self,
        caller: &Caller,
        order: Order,
        key: Option<IdempotencyKey>,
    ) -> Result<Moved, MoneyError> {
        self.check_bank(caller)?;
        self.submit(caller, OperationKind::Deposit, order, key).await
    }

    /// Money from the caller's wallet to another.
    pub(crate) async fn transfer(
        &self,
        caller: &Caller,
        order: Order,
        key: Option<IdempotencyKey>,
    ) -> Result<Moved, MoneyError> {
        self.submit(caller, OperationKind::Transfer, order, key).await
    }

    /// Hands in a batch, at once; what is returned waits for its outcome, and counts it. That there was no room for it
    /// is counted by whoever [tells](Self::overloaded) of it: imports try again.
    pub(crate) fn submit_batch(
        &self,
        batch: Batch,
    ) -> impl Future<Output = Result<BatchOutcome, LedgerError>> + Send + use<> {
        let outcome = self.ledger.submit_batch(batch);
        let metrics = Arc::clone(&self.metrics);
        async move {
            let outcome = match tokio::time::timeout(OUTCOME_WAIT_MAX, outcome).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let why = "the engine did not answer in time".to_owned();
                    Err(LedgerError::OutcomeUnknown(why))
                }
            };
            if !matches!(outcome, Err(LedgerError::Overloaded)) {
                metrics.count_batch(&outcome);
            }
            outcome
        }
    }

    /// A batch for which there was no room, and whose sender is told so.
    pub(crate) fn overloaded(&self) -> LedgerError {
        self.metrics.count_outcome(LedgerError::Overloaded.code());
        LedgerError::Overloaded
    }

    /// Refuses everybody but the bank: first in the order of refusals, so asked before all else.
    pub(crate) fn check_bank(&self, caller: &Caller) -> Result<(), Rejection> {
        match caller.user.role {
            Role::Bank => Ok(()),
            Role::Person => Err(self.refuse(Rejection::NotTheBank)),
        }
    }

    /// Counts a refusal that the ledger need not be asked for.
    pub(crate) fn refuse(&self, rejection: Rejection) -> Rejection {
        self.metrics.count_outcome(rejection.code());
        rejection
    }

    async fn submit(
        &self,
        caller: &Caller,
        kind: OperationKind,
        Order { to: credit, amount, details, external_id }: Order,
        key: Option<IdempotencyKey>,
    ) -> Result<Moved, MoneyError> {
        let debit = caller.user.wallet;
        let operation = Operation { kind, debit, credit, amount, details, external_id };
        let under_way = self.busy_poll.enter();
        let outcome = self.ledger.submit(vec![Submission { operation, key }]);
        let outcome = match tokio::time::timeout(OUTCOME_WAIT_MAX, outcome).await {
            Ok(outcomes) => outcomes.and_then(|mut outcomes| {
                let none = || LedgerError::OutcomeUnknown("the engine gave no outcome".to_owned());
                outcomes.pop().ok_or_else(none)
            }),
            Err(_) => {
                Err(LedgerError::OutcomeUnknown("the engine did not answer in time".to_owned()))
            }
        };
        drop(under_way);
        let moved = outcome.map_err(MoneyError::from).and_then(|outcome| match outcome {
            Outcome { decision: Ok(transfer), replayed } => Ok(Moved { transfer, replayed }),
            Outcome { decision: Err(rejection), replayed } => {
                Err(MoneyError::Refused { rejection, replayed })
            }
        });
        self.metrics.count_outcome(match &moved {
            Ok(Moved { replayed: true, .. }) | Err(MoneyError::Refused { replayed: true, .. }) => {
                "replayed"
            }
            Ok(_) => "ok",
            Err(error) => error.code(),
        });
        moved
    }
}

impl MoneyError {
    /// The stable code, in `snake_case`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Refused { rejection, .. } => rejection.code(),
            Self::Ledger(error) => error.code(),
        }
    }
}

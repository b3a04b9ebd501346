//! Owns the description of batches on the wire. The bodies are read and written by hand, for speed;
//! the tests hold every answer against what stands here.
//!
//! Never: used but for the description. Bounds: none.
#![allow(dead_code, reason = "only their schemas are used")]

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::openapi::AmountText;

/// Operations that are asked for together.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Batch)]
pub(crate) struct BatchBody {
    /// What they have to do with each other.
    mode: Mode,
    /// The operations, in the order in which they are to be done.
    #[schema(min_items = 1, max_items = 8192)]
    operations: Vec<OperationBody>,
}

/// `atomic`: all or none. `independent`: each on its own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchMode, rename_all = "snake_case")]
pub(crate) enum Mode {
    Atomic,
    Independent,
}

/// Money to move or to bring in, in a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchOperation)]
pub(crate) struct OperationBody {
    /// Left out or `null`, it is a transfer, or a deposit where the bank asks. Only the bank may deposit.
    r#type: Option<Kind>,
    /// The wallet that is paid.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64, example = 2)]
    wallet_id: u64,
    /// As in a single transfer.
    #[schema(value_type = AmountText)]
    amount: String,
    /// A note, at most 200 characters without control characters.
    #[schema(max_length = 200, example = "Зарплата")]
    details: Option<String>,
    /// Of a deposit: the payment provider's own id of the payment.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$", example = "pay_3MtwBw")]
    external_id: Option<String>,
    /// A name for this operation, as `Idempotency-Key` is for a single one.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$", example = "invoice-17")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchOperationType, rename_all = "snake_case")]
pub(crate) enum Kind {
    Transfer,
    Deposit,
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchResults)]
pub(crate) struct BatchAnswer {
    /// Always `OK`: the batch was taken. What became of each operation, its result says.
    #[schema(example = "OK")]
    status: String,
    /// A result for each operation, in their order.
    results: Vec<BatchResult>,
    /// How many were done, now or before.
    succeeded: u64,
    /// How many were not.
    refused: u64,
}

/// What became of an operation of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum BatchResult {
    Done(BatchDone),
    Refused(BatchRefused),
}

/// An operation that was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchDone {
    status: DoneStatus,
    /// The operation's place in the order of all operations.
    #[schema(minimum = 1, example = 2)]
    operation_id: u64,
    /// A deposit: the wallet that was paid. A transfer: the sender's.
    #[schema(minimum = 1, example = 2)]
    wallet_id: u64,
    /// The balance of that wallet after the operation.
    #[schema(example = 104.50)]
    balance: f64,
    /// Whether it had been done before, under the same key or external id.
    #[schema(nullable = false)]
    replayed: Option<bool>,
}

/// An operation that was refused: nothing of it was done. `code` and the rest as problems have them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchRefused {
    status: RefusedStatus,
    /// A stable name for programs.
    #[schema(example = "insufficient_funds")]
    code: String,
    /// What is wrong, in general.
    title: String,
    /// What is wrong, in this case.
    detail: String,
    /// The field it is about, if it is about one.
    #[schema(nullable = false, example = "amount")]
    field: Option<String>,
    /// Whether it had been refused before, under the same key.
    #[schema(nullable = false)]
    replayed: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchDoneStatus)]
pub(crate) enum DoneStatus {
    #[serde(rename = "OK")]
    Ok,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchRefusedStatus, rename_all = "snake_case")]
pub(crate) enum RefusedStatus {
    Refused,
}

/// A line of the answer to JSON Lines.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum BatchLine {
    Done(BatchLineDone),
    Failed(BatchLineFailed),
}

/// A line whose operation was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchLineDone {
    /// The line's place in the request, counted from 0. Blank lines do not count.
    #[schema(minimum = 0, example = 0)]
    index: u64,
    status: DoneStatus,
    /// The operation's place in the order of all operations.
    #[schema(minimum = 1, example = 2)]
    operation_id: u64,
    /// A deposit: the wallet that was paid. A transfer: the sender's.
    #[schema(minimum = 1, example = 2)]
    wallet_id: u64,
    /// The balance of that wallet after the operation.
    #[schema(example = 104.50)]
    balance: f64,
    /// Whether it had been done before, under the same key or external id.
    #[schema(nullable = false)]
    replayed: Option<bool>,
}

/// A line whose operation was not done, or perhaps not; or the end before the end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchLineFailed {
    /// The line's place in the request, counted from 0. At the end, of the first line without a result.
    #[schema(minimum = 0, example = 1)]
    index: u64,
    status: LineStatus,
    /// A stable name for programs.
    #[schema(example = "insufficient_funds")]
    code: String,
    /// What is wrong, in general.
    title: String,
    /// What is wrong, in this case.
    detail: String,
    /// The field it is about, if it is about one.
    #[schema(nullable = false, example = "amount")]
    field: Option<String>,
    /// Whether it had been refused before, under the same key.
    #[schema(nullable = false)]
    replayed: Option<bool>,
}

/// `refused`: nothing was done. `unknown`: nobody knows; send it again with the same
/// `idempotency_key`. `ended`: no more results follow, and nothing was done of what has none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchLineStatus, rename_all = "snake_case")]
pub(crate) enum LineStatus {
    Refused,
    Unknown,
    Ended,
}

//! Owns the handing out of receipts and of the checkpoint that they are verified against.
//!
//! Never: an operation that is not of the caller's wallet. Bounds: everybody may ask for the
//! checkpoint, so it is worked out at most once in [`CHECKPOINT_LIVES`], whoever asks.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use ledger::{Checkpoint, ID_MAX, Ledger, LedgerError, OperationId};
use tokio::sync::Mutex;

use super::openapi::{CheckpointProblems, ReceiptProblems};
use crate::auth::Caller;
use crate::problem::{Code, Problem};
use crate::receipt::{CheckpointText, ReceiptText};
use crate::state::AppState;

/// How long a checkpoint is given out.
const CHECKPOINT_LIVES: Duration = Duration::from_secs(1);

/// The checkpoint that was worked out last.
#[derive(Debug, Default)]
pub(crate) struct LastCheckpoint(Mutex<Option<(Instant, Checkpoint)>>);

impl LastCheckpoint {
    /// A checkpoint that is no older than [`CHECKPOINT_LIVES`]. One asks the ledger, all others wait
    /// for it.
    async fn get(&self, ledger: &dyn Ledger) -> Result<Checkpoint, LedgerError> {
        let mut last = self.0.lock().await;
        if let Some((at, checkpoint)) = *last
            && at.elapsed() < CHECKPOINT_LIVES
        {
            return Ok(checkpoint);
        }
        // The moment before it is asked for: it may be older than its answer, never younger.
        let at = Instant::now();
        let checkpoint = ledger.checkpoint().await?;
        *last = Some((at, checkpoint));
        Ok(checkpoint)
    }
}

/// What the whole book is, in one hash.
///
/// At most a second old. Keep one, and nobody can change anything before it unnoticed: `kopeck check
/// --checkpoint`, and receipts are verified against it.
#[utoipa::path(
    get, path = "/api/checkpoint", tag = "receipts",
    responses(
        (status = 200, description = "The checkpoint", body = CheckpointText),
        CheckpointProblems,
    ),
)]
pub(super) async fn checkpoint(
    State(state): State<AppState>,
) -> Result<Json<CheckpointText>, Problem> {
    // On a task of its own: a client that goes away must not leave the work to the next one.
    let asked = tokio::spawn(async move { state.last_checkpoint.get(&*state.ledger).await });
    let checkpoint = asked.await.map_err(|error| {
        Problem::new(Code::Internal).privately(format!("no checkpoint: {error}"))
    })??;
    Ok(Json(checkpoint.into()))
}

/// The receipt of an operation of the caller's wallet.
///
/// Everything that was recorded of it but the balances, and the proof that it is in the book. `kopeck
/// verify-receipt` verifies it offline.
#[utoipa::path(
    get, path = "/api/operations/{operation_id}/receipt", tag = "receipts",
    security(("session" = [])),
    params(
        ("operation_id" = u64, Path, minimum = 1, description = "The operation"),
        ("operations" = Option<u64>, Query, minimum = 1,
         description = "The proof is made for the book as it was when it had so many operations, so \
                        that it leads to a checkpoint that was published then; now, if not given"),
    ),
    responses(
        (status = 200, description = "The receipt", body = ReceiptText),
        ReceiptProblems,
    ),
)]
pub(super) async fn receipt(
    State(state): State<AppState>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<ReceiptText>, Problem> {
    let missing = || {
        Problem::new(Code::OperationNotFound)
            .detail("your wallet has no such operation, or the book never had so many")
    };
    let operation = path.ok().and_then(|Path(text)| OperationId::parse(&text));
    let operation = operation.ok_or_else(missing)?;
    let operations = parse_operations(query.as_deref().unwrap_or_default(), operation)?;
    let receipt = state.ledger.receipt(caller.user.wallet, operation, operations).await?;
    let text = ReceiptText::new(&receipt.ok_or_else(missing)?);
    text.map(Json).map_err(|error| Problem::new(Code::Internal).privately(error.to_string()))
}

/// A whole number from 1 on. One that no book can come to is the greatest, which this book never had either.
fn parse_count(text: &str) -> Option<OperationId> {
    let is_whole = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    let beyond = || OperationId::new(ID_MAX).filter(|_| is_whole && !text.is_empty());
    OperationId::parse(text).or_else(beyond)
}

fn parse_operations(query: &str, operation: OperationId) -> Result<Option<u64>, Problem> {
    let malformed = |field: &str, detail: String| {
        Problem::new(Code::MalformedQuery).detail(detail).field(field.to_owned())
    };
    let mut operations = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "operations" {
            let name: String = name.chars().take(100).collect();
            return Err(malformed(&name, "there is no such query parameter".to_owned()));
        }
        let parsed = parse_count(&value).filter(|count| *count >= operation);
        let detail = || {
            format!(
                "`operations` must be a whole number, and at least the operation's, {operation}"
            )
        };
        let parsed = parsed.ok_or_else(|| malformed("operations", detail()))?;
        if operations.replace(parsed.get()).is_some() {
            return Err(malformed("operations", "`operations` stands there twice".to_owned()));
        }
    }
    Ok(operations)
}

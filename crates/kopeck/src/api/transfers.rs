//! Owns the moving of money by JSON.
//!
//! Never: a decision; it reads the form, asks the [`Teller`](crate::money::Teller), and writes the answer.
//! Bounds: those of the wire and the ledger.

use axum::extract::State;

use super::json::JsonBody;
use super::openapi::{DepositProblems, KeyParameter, TransferProblems};
use super::wire::{DepositBody, MoneyRefused, MovedAnswer, TransferBody};
use crate::auth::Caller;
use crate::idempotency::{Key, Replayed};
use crate::money::{Moved, Order};
use crate::problem::Problem;
use crate::state::AppState;

/// Money from outside into a wallet. The bank only.
#[utoipa::path(
    post, path = "/api/external_to_wallet", tag = "money", security(("session" = [])),
    request_body = inline(DepositBody<'_>), params(KeyParameter),
    responses(
        (status = 200, description = "Paid in: the wallet's new balance", body = MovedAnswer,
         headers(("Idempotency-Replayed" = Option<String>, description = "`true`: this was answered before"))),
        DepositProblems,
    ),
)]
pub(super) async fn external_to_wallet(
    State(state): State<AppState>,
    caller: Caller,
    Key(key): Key,
    body: JsonBody,
) -> Result<(Replayed, MovedAnswer), Problem> {
    let body: DepositBody<'_> = body.read()?;
    state.teller.check_bank(&caller)?;
    let order = body.parse(state.ledger.currency()).map_err(|error| refused(&state, error))?;
    Ok(answer(&state, &state.teller.deposit(&caller, order, key).await?))
}

/// Money from the caller's wallet to another.
#[utoipa::path(
    post, path = "/api/wallet_to_wallet", tag = "money", security(("session" = [])),
    request_body = inline(TransferBody<'_>), params(KeyParameter),
    responses(
        (status = 200, description = "Paid: the sender's new balance", body = MovedAnswer,
         headers(("Idempotency-Replayed" = Option<String>, description = "`true`: this was answered before"))),
        TransferProblems,
    ),
)]
pub(super) async fn wallet_to_wallet(
    State(state): State<AppState>,
    caller: Caller,
    Key(key): Key,
    body: JsonBody,
) -> Result<(Replayed, MovedAnswer), Problem> {
    let order = parse(&state, body.read()?)?;
    Ok(answer(&state, &state.teller.transfer(&caller, order, key).await?))
}

fn parse(state: &AppState, body: TransferBody<'_>) -> Result<Order, Problem> {
    body.parse(state.ledger.currency()).map_err(|error| refused(state, error))
}

fn refused(state: &AppState, refused: MoneyRefused) -> Problem {
    match refused {
        MoneyRefused::Form(problem) => problem,
        // Never asked of the ledger, but counted with what it refuses.
        MoneyRefused::Rule(rejection) => state.teller.refuse(rejection).into(),
    }
}

fn answer(state: &AppState, Moved { transfer, replayed }: &Moved) -> (Replayed, MovedAnswer) {
    (Replayed(*replayed), MovedAnswer::new(transfer, state.ledger.currency()))
}

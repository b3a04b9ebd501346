//! Owns the moving of money by JSON.
//!
//! Never: a decision; it reads the form, asks the [`Teller`](crate::money::Teller), and writes the answer.
//! Bounds: those of the wire and the ledger.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;

use super::json::JsonBody;
use super::openapi::{DepositProblems, TransferProblems};
use super::wire::{MoneyBody, MoneyRefused, MovedAnswer};
use crate::auth::Caller;
use crate::money::Order;
use crate::problem::{Code, Problem};
use crate::state::AppState;

/// The request has no Idempotency-Key. To take one and do nothing about it would be a lie that
/// costs money.
#[derive(Debug)]
pub(super) struct NoIdempotencyKey;

impl<S: Send + Sync> FromRequestParts<S> for NoIdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if parts.headers.contains_key("idempotency-key") {
            return Err(Problem::new(Code::IdempotencyKeyUnsupported).detail(
                "this version does not honour Idempotency-Key; nothing was done, send the request \
                 without it",
            ));
        }
        Ok(Self)
    }
}

/// Money from outside into a wallet. The bank only.
#[utoipa::path(
    post, path = "/api/external_to_wallet", tag = "money", security(("session" = [])),
    request_body = inline(MoneyBody<'_>),
    responses(
        (status = 200, description = "Paid in: the wallet's new balance", body = MovedAnswer),
        DepositProblems,
    ),
)]
pub(super) async fn external_to_wallet(
    State(state): State<AppState>,
    caller: Caller,
    _: NoIdempotencyKey,
    body: JsonBody,
) -> Result<Json<MovedAnswer>, Problem> {
    let body: MoneyBody<'_> = body.read()?;
    state.teller.check_bank(&caller)?;
    let order = parse(&state, body)?;
    let receipt = state.teller.deposit(&caller, order, None).await?;
    Ok(Json(MovedAnswer::new(&receipt, state.ledger.currency())))
}

/// Money from the caller's wallet to another.
#[utoipa::path(
    post, path = "/api/wallet_to_wallet", tag = "money", security(("session" = [])),
    request_body = inline(MoneyBody<'_>),
    responses(
        (status = 200, description = "Paid: the sender's new balance", body = MovedAnswer),
        TransferProblems,
    ),
)]
pub(super) async fn wallet_to_wallet(
    State(state): State<AppState>,
    caller: Caller,
    _: NoIdempotencyKey,
    body: JsonBody,
) -> Result<Json<MovedAnswer>, Problem> {
    let order = parse(&state, body.read()?)?;
    let receipt = state.teller.transfer(&caller, order, None).await?;
    Ok(Json(MovedAnswer::new(&receipt, state.ledger.currency())))
}

/// Everything that a transfer passes but the ledger: what the ledger's cost is measured against.
#[cfg(feature = "bench")]
pub(super) async fn null(
    State(state): State<AppState>,
    caller: Caller,
    _: NoIdempotencyKey,
    body: JsonBody,
) -> Result<Json<MovedAnswer>, Problem> {
    let Order { amount, .. } = parse(&state, body.read()?)?;
    state.metrics.count_outcome("null");
    Ok(Json(MovedAnswer::null(caller.user.wallet, amount, state.ledger.currency())))
}

fn parse(state: &AppState, body: MoneyBody<'_>) -> Result<Order, Problem> {
    body.parse(state.ledger.currency()).map_err(|refused| match refused {
        MoneyRefused::Form(problem) => problem,
        // Never asked of the ledger, but counted with what it refuses.
        MoneyRefused::Rule(rejection) => state.teller.refuse(rejection).into(),
    })
}

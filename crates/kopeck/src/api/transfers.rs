//! Owns the moving of money by JSON.
//!
//! Never: a decision; it reads the form, asks [`money`](crate::money), and writes the answer.
//! Bounds: those of the wire and the ledger.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use ledger::Rejection;

use super::json::JsonBody;
use super::openapi::{DepositProblems, TransferProblems};
use super::wire::{Money, MoneyBody, MoneyRefused, MovedAnswer};
use crate::app::AppState;
use crate::auth::Caller;
use crate::money;
use crate::problem::{Code, Problem};

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
    if let Err(rejection) = money::check_bank(&caller) {
        return Err(refuse(&state, rejection));
    }
    let Money { wallet, amount, details } = parse(&state, body)?;
    let receipt = money::deposit(&state, &caller, wallet, amount, details, None).await?;
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
    let Money { wallet, amount, details } = parse(&state, body.read()?)?;
    let receipt = money::transfer(&state, &caller, wallet, amount, details, None).await?;
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
    let Money { amount, .. } = parse(&state, body.read()?)?;
    state.metrics.count_outcome("null");
    Ok(Json(MovedAnswer::null(caller.user.wallet, amount, state.ledger.currency())))
}

fn parse(state: &AppState, body: MoneyBody<'_>) -> Result<Money, Problem> {
    body.parse(state.ledger.currency()).map_err(|refused| match refused {
        MoneyRefused::Form(problem) => problem,
        MoneyRefused::Rule(rejection) => refuse(state, rejection),
    })
}

/// A refusal that the ledger need not be asked for.
fn refuse(state: &AppState, rejection: Rejection) -> Problem {
    state.metrics.count_outcome(rejection.code());
    rejection.into()
}

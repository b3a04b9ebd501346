//! Owns the JSON API: its routes, and their description at `/api/openapi.json` and `/docs`.
//!
//! Never: a rule about money, a page. Bounds: each file's own.

mod account;
mod batch;
mod digits;
mod docs;
pub(crate) mod json;
mod openapi;
mod receipts;
mod statement;
mod transfers;
mod wallet;
mod wallet_number;
pub(crate) mod wire;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use ledger::Currency;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::batch::read::operation as batch_operation;
pub(crate) use self::batch::{BODIES_PER_USER_MAX, Batches, PATH as BATCH_PATH};
pub(crate) use self::receipts::LastCheckpoint;
use crate::problem::{Code, Problem};
use crate::state::AppState;

/// Every route of the API, and its description.
pub(crate) fn routes(currency: Currency) -> Router<AppState> {
    let (routes, mut description) = OpenApiRouter::with_openapi(openapi::Description::openapi())
        .routes(routes!(account::sign_up))
        .routes(routes!(account::log_in))
        .routes(routes!(account::log_out))
        .routes(routes!(wallet::wallet))
        .routes(routes!(statement::csv))
        .routes(routes!(statement::json_lines))
        .routes(routes!(receipts::receipt))
        .routes(routes!(receipts::checkpoint))
        .routes(routes!(transfers::external_to_wallet))
        .routes(routes!(transfers::wallet_to_wallet))
        .routes(routes!(batch::batch))
        .split_for_parts();
    openapi::bound_amounts(&mut description, currency);
    routes.merge(docs::routes(description))
}

/// Where money is moved from wallet to wallet.
pub(crate) const TRANSFER: &str = "/api/wallet_to_wallet";

/// Answers a POST to [`TRANSFER`] as the route table would.
pub(crate) async fn transfer(request: Request, state: AppState) -> Response {
    transfers::wallet_to_wallet.call(request, state).await
}

/// The answer for paths that nobody knows.
pub(crate) async fn not_found() -> Problem {
    Problem::new(Code::NotFound)
}

//! Owns the JSON API: its routes, and their description at `/api/openapi.json` and `/docs`.
//!
//! Never: a rule about money, a page. Bounds: each file's own.

mod account;
mod batch;
mod digits;
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
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use ledger::Currency;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::batch::read::operation as batch_operation;
pub(crate) use self::batch::{BODIES_PER_USER_MAX, Batches, PATH as BATCH_PATH};
pub(crate) use self::receipts::LastCheckpoint;
use crate::problem::{Code, Problem};
use crate::state::AppState;

/// The pages of the description run their own script from this host, which styles them as it goes.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// In place of the page that comes with the script: that one tells a phone no width, and is shown
/// there as on a desk, too small to be read.
const DOCS_PAGE: &str = include_str!("../../templates/docs.html");

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
    // The validator's badge would be another host's.
    let docs = SwaggerUi::new("/docs")
        .url("/api/openapi.json", description)
        .config(Config::default().validator_url("none"));
    let docs = Router::new().merge(docs).layer(map_response(with_own_page));
    routes.merge(docs)
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

/// The page is this service's own, with a policy; on a script or a style sheet a policy says nothing.
async fn with_own_page(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        return ([(header::CONTENT_SECURITY_POLICY, DOCS_POLICY)], Html(DOCS_PAGE)).into_response();
    }
    response
}

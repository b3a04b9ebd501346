//! Owns the JSON API.
//!
//! Never: a rule about money. Bounds: each file's own.

use axum::Router;

use crate::app::AppState;
use crate::problem::{Code, Problem};

/// Every route of the API.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
}

/// The answer for paths that nobody knows.
pub(crate) async fn not_found() -> Problem {
    Problem::new(Code::NotFound)
}

//! The pages. (Being built.)

use axum::Router;

use crate::app::AppState;

/// Every page's route, and the answer for paths that nobody knows.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
}

//! Owns the one route table.
//!
//! Never: a handler. Bounds: what is not here is answered with 404.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};

use crate::edge::edge;
use crate::state::AppState;
use crate::{api, health, web};

/// Every route there is.
pub(crate) fn router(state: AppState) -> Router {
    Router::new()
        .merge(api::routes())
        .route("/api", any(api::not_found))
        .route("/api/", any(api::not_found))
        .route("/api/{*rest}", any(api::not_found))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .merge(web::routes())
        .layer(from_fn_with_state(state.clone(), edge))
        .with_state(state)
}

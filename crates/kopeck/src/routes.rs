//! Owns the one route table, and the short way past it for transfers.
//!
//! Never: a handler. Bounds: what is not here is answered with 404.

#[cfg(test)]
mod two_ways;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{any, get};
use hyper::body::Incoming;
use tower_service::Service;

use crate::edge::{edge, pass};
use crate::state::AppState;
use crate::telemetry::Route;
use crate::{api, health, web};

/// Every route there is.
fn router(state: AppState) -> Router {
    Router::new()
        .merge(api::routes(state.ledger.currency()))
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

/// Answers requests. A clone is two pointers.
#[derive(Clone)]
pub(crate) struct Routes {
    router: Router,
    state: AppState,
}

impl Routes {
    /// Every route there is.
    pub(crate) fn new(state: AppState) -> Self {
        Self { router: router(state.clone()), state }
    }

    /// Answers one request. The one that there are most of goes straight to its handler, through the
    /// same edge: the table, which costs as much as the handler itself, would lead it there too.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Response {
        if request.uri().path() == api::TRANSFER && request.method() == Method::POST {
            let (state, route) = (self.state.clone(), Route::Known(api::TRANSFER));
            let transfer = |request| api::transfer(request, self.state);
            return pass(&state, Some(route), request.map(Body::new), transfer).await;
        }
        self.answer_by_table(request).await
    }

    /// Answers one request as the table leads it, a transfer too.
    async fn answer_by_table(mut self, request: Request<Incoming>) -> Response {
        // The table always has an answer.
        match self.router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

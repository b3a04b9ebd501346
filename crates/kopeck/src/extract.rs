//! Owns the extractors that say who is asking.
//!
//! Never: a password, or a decision on what the asker may do. Bounds: one hash and one look-up in
//! the cache of sessions a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::auth::{Caller, Client, cookies};
use crate::problem::{Code, Problem};
use crate::state::AppState;

/// Perhaps somebody who is logged in: for pages that are there for both.
#[derive(Debug, Clone)]
pub(crate) struct MaybeCaller(pub(crate) Option<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(Code::Internal).privately("a request without a client");
        parts.extensions.get().copied().ok_or_else(missing)
    }
}

impl FromRequestParts<AppState> for MaybeCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let client = Client::from_request_parts(parts, state).await?;
        let Some(token) = cookies::SESSION.read(&parts.headers, &client) else {
            return Ok(Self(None));
        };
        let found = state.auth.sessions.find(&token).await?;
        Ok(Self(found.map(|user| Caller { user, token })))
    }
}

/// Somebody who is logged in; everybody else is refused with 401.
impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let MaybeCaller(caller) = MaybeCaller::from_request_parts(parts, state).await?;
        caller.ok_or_else(Problem::not_logged_in)
    }
}

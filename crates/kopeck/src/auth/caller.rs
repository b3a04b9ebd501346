//! Owns the extractors that say who is asking.
//!
//! Never: a password. Bounds: one hash and one look-up in the cache a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use ledger::{LedgerError, User};

use super::{Client, SessionToken, cookies};
use crate::app::AppState;
use crate::problem::{Code, Problem};

/// Somebody who is logged in. As an extractor it refuses everybody else with 401.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Who it is.
    pub(crate) user: Arc<User>,
    /// The session's token.
    pub(crate) token: SessionToken,
}

/// Perhaps somebody who is logged in: for pages that are there for both.
#[derive(Debug, Clone)]
pub(crate) struct MaybeCaller(pub(crate) Option<Caller>);

impl FromRequestParts<AppState> for MaybeCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let client = Client::in_extensions(&parts.extensions)?;
        let Some(token) = cookies::SESSION.read(&parts.headers, &client) else {
            return Ok(Self(None));
        };
        let found: Result<_, LedgerError> = state.sessions.find(&token).await;
        Ok(Self(found?.map(|user| Caller { user, token })))
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let MaybeCaller(caller) = MaybeCaller::from_request_parts(parts, state).await?;
        caller.ok_or_else(|| Problem::new(Code::NotLoggedIn))
    }
}

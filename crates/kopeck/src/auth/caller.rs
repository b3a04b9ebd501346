//! Owns what is known of somebody who is logged in.
//!
//! Never: a password, or a look at a request (the extractors do that). Bounds: two pointers' worth.

use std::sync::Arc;

use ledger::User;

use super::SessionToken;

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Who it is.
    pub(crate) user: Arc<User>,
    /// The session's token.
    pub(crate) token: SessionToken,
}

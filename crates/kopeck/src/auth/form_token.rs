//! Owns the hidden token of every form: only a page that this service rendered for this client can
//! know it.
//!
//! Never: the session's token or its kept hash in a page. Bounds: 64 characters; nothing is kept.

use std::fmt;

use axum::http::{HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

use super::{Caller, Client, SessionToken, cookies};

const SESSION_LABEL: &[u8] = b"kopeck form token, session, 1:";
const VISITOR_LABEL: &[u8] = b"kopeck form token, visitor, 1:";
const VISITOR_LIVES: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// The text for the hidden field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormToken(String);

impl fmt::Display for FormToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token for a page's forms, and the `Set-Cookie` value that must go out with the page, if any.
///
/// For somebody logged in it is bound to the session, else to a visitor's cookie, which is made
/// when the request has none. Errors: the operating system gave no randomness.
pub(crate) fn issue(
    headers: &HeaderMap,
    caller: Option<&Caller>,
    client: &Client,
) -> Result<(FormToken, Option<HeaderValue>), getrandom::Error> {
    if let Some(caller) = caller {
        return Ok((FormToken(caller.token.derive(SESSION_LABEL)), None));
    }
    if let Some(visitor) = cookies::VISITOR.read(headers, client) {
        return Ok((FormToken(visitor.derive(VISITOR_LABEL)), None));
    }
    let visitor = SessionToken::generate()?;
    let cookie = cookies::VISITOR.set(&visitor, client, VISITOR_LIVES);
    Ok((FormToken(visitor.derive(VISITOR_LABEL)), Some(cookie)))
}

/// Whether a form that was sent came from a page made for this client.
pub(crate) fn verify(
    presented: &str,
    headers: &HeaderMap,
    caller: Option<&Caller>,
    client: &Client,
) -> bool {
    let expected = match caller {
        Some(caller) => Some(caller.token.derive(SESSION_LABEL)),
        None => cookies::VISITOR.read(headers, client).map(|token| token.derive(VISITOR_LABEL)),
    };
    expected.is_some_and(|expected| expected.as_bytes().ct_eq(presented.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::header;
    use ledger::{Role, User, UserId, WalletId};

    use super::*;

    fn caller() -> Caller {
        let user = User {
            id: UserId::FIRST,
            wallet: WalletId::FIRST,
            role: Role::Person,
            name: "a".to_owned(),
            email: "a@b.ru".to_owned(),
        };
        Caller { user: Arc::new(user), token: SessionToken::generate().unwrap() }
    }

    #[test]
    fn a_token_is_good_for_its_own_client_only() {
        let client = Client { address: "192.0.2.1".parse().unwrap(), https: false };
        let none = HeaderMap::new();
        let (anna, boris) = (caller(), caller());
        let (token, cookie) = issue(&none, Some(&anna), &client).unwrap();
        let token = token.to_string();
        assert!(cookie.is_none());
        assert!(verify(&token, &none, Some(&anna), &client));
        assert!(!verify(&token, &none, Some(&boris), &client));
        assert!(!verify(&token, &none, None, &client));
        assert!(!verify("", &none, Some(&anna), &client));

        let (token, cookie) = issue(&none, None, &client).unwrap();
        let cookie = cookie.unwrap();
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        let headers: HeaderMap = [(header::COOKIE, pair.parse().unwrap())].into_iter().collect();
        assert!(verify(&token.to_string(), &headers, None, &client));
        assert!(!verify(&token.to_string(), &none, None, &client), "without its cookie");
        assert!(!verify(&token.to_string(), &headers, Some(&anna), &client));
        // The next page of the same visitor keeps cookie and token.
        assert_eq!(issue(&headers, None, &client).unwrap(), (token, None));
    }
}

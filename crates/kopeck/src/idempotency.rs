//! Owns the two headers of idempotent requests: the client's key, and the mark of an answer that was
//! given before.
//!
//! Never: what is remembered under a key (that is the ledger's). Bounds: one key a request, of at most
//! 255 characters.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use ledger::IdempotencyKey;

use crate::problem::{Code, Problem};

/// The client's key.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The mark of an answer that was given before.
pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The key of a request, if it has one.
#[derive(Debug)]
pub(crate) struct Key(pub(crate) Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let malformed = |why| Problem::new(Code::IdempotencyKeyMalformed).detail(why);
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(malformed("there is more than one Idempotency-Key"));
        }
        let key = std::str::from_utf8(value.as_bytes()).ok().and_then(parse);
        let not_one = "an Idempotency-Key has 1 to 255 visible ASCII characters";
        key.map(|key| Self(Some(key))).ok_or_else(|| malformed(not_one))
    }
}

/// Reads a key, with or without the quotation marks that the IETF's draft puts around it: both are
/// the same key.
fn parse(text: &str) -> Option<IdempotencyKey> {
    let text = text.trim_ascii();
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    IdempotencyKey::parse(quoted.unwrap_or(text)).ok()
}

/// Marks an answer that was given before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replayed(pub(crate) bool);

impl IntoResponseParts for Replayed {
    type Error = std::convert::Infallible;

    fn into_response_parts(
        self,
        mut response: ResponseParts,
    ) -> Result<ResponseParts, Self::Error> {
        if self.0 {
            response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(response)
    }
}

impl Replayed {
    /// Marks a whole response.
    pub(crate) fn mark(self, response: Response) -> Response {
        (self, response).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn keys_are_taken_with_and_without_quotation_marks() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse(text).as_ref().map(|key| key.as_str()), expected, "{text:?}");
        };
        check("a", Some("a"));
        check("\"a\"", Some("a"));
        check(" a ", Some("a"));
        check("\"", Some("\""));
        check("8e03978e-40d5-43dd-bc93-6894a57f9324", Some("8e03978e-40d5-43dd-bc93-6894a57f9324"));
        check("", None);
        check("\"\"", None);
        check("a b", None);
        check("ключ", None);
        check(&"a".repeat(255), Some(&"a".repeat(255)));
        check(&"a".repeat(256), None);
    }
}

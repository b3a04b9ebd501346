//! Owns the reading of JSON bodies: what is wrong with one is said as a problem with a stable code
//! and the field.
//!
//! Never: one of axum's own plain-text refusals; a body that is a list where an object is meant.
//! Bounds: the edge has read the body whole and bounded it.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::body::read_whole;
use crate::problem::{Code, Problem};

/// A body that says it is JSON.
#[derive(Debug)]
pub(crate) struct JsonBody(Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let json = is_json(request.headers());
        let body = read_whole(request.into_body())
            .await
            .map_err(|error| Problem::new(Code::MalformedRequest).privately(error.to_string()))?;
        if body.is_empty() {
            return Err(Problem::new(Code::MalformedJson).detail("the body is missing"));
        }
        if !json {
            return Err(Problem::new(Code::UnsupportedMediaType)
                .detail("the body must be JSON, with `Content-Type: application/json`"));
        }
        Ok(Self(body))
    }
}

impl JsonBody {
    /// Reads it as an object with exactly the fields of `T`.
    pub(crate) fn read<'b, T: Deserialize<'b>>(&'b self) -> Result<T, Problem> {
        read(&self.0)
    }
}

/// Reads a body as an object with exactly the fields of `T`.
pub(super) fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Problem> {
    let malformed = |detail: String| Problem::new(Code::MalformedJson).detail(detail);
    let text =
        std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8".to_owned()))?;
    read_text("the body", text)
}

/// Reads a text as an object with exactly the fields of `T`; `what` it is, is said when it is none.
pub(super) fn read_text<'b, T: Deserialize<'b>>(
    what: &'static str,
    text: &'b str,
) -> Result<T, Problem> {
    // A derived reader would take a list for an object, its elements for the fields in order.
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Problem::new(Code::WrongType).detail(format!("{what} must be a JSON object")),
            Err(error) => malformed(what, &error),
        });
    }
    serde_json::from_str(text).map_err(|error| explain::<T>(what, text, &error))
}

/// The place that serde tells is counted from the beginning of `what` was read.
fn malformed(what: &str, error: &serde_json::Error) -> Problem {
    Problem::new(Code::MalformedJson).detail(format!("{error} of {what}"))
}

/// Finds out what is wrong. Only here is a body read more than once.
fn explain<'b, T: Deserialize<'b>>(
    what: &'static str,
    text: &'b str,
    error: &serde_json::Error,
) -> Problem {
    if !error.is_data() {
        return malformed(what, error);
    }
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return malformed(what, &error);
    }
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    for (start, code) in [
        ("unknown field `", Code::UnknownField),
        ("missing field `", Code::MissingField),
        ("duplicate field `", Code::DuplicateField),
    ] {
        if let Some(rest) = message.strip_prefix(start) {
            let field = rest.split('`').next().unwrap_or_default();
            return Problem::new(code).detail(short(message)).field(short(field));
        }
    }
    // The value itself is left out of the answer: it may be a password.
    let mut reader = serde_json::Deserializer::from_str(text);
    let field = serde_path_to_error::deserialize::<_, T>(&mut reader).err();
    let field = field.map(|error| error.path().to_string()).unwrap_or_default();
    wrong_type(short(&field), "a value of the type that the documentation gives")
}

/// The beginning of what a client wrote: an answer must not grow with the request.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    text.chars().take(CHARS_MAX).collect()
}

/// A field is not of the type it should be.
pub(crate) fn wrong_type(field: impl Into<String>, expected: &str) -> Problem {
    let field = field.into();
    Problem::new(Code::WrongType).detail(format!("`{field}` must be {expected}")).field(field)
}

/// `application/json`, or a type built on it.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = media_type(headers);
    value.eq_ignore_ascii_case(b"application/json") || {
        let value = value.to_ascii_lowercase();
        value.starts_with(b"application/") && value.ends_with(b"+json")
    }
}

/// The media type of the body, in large or small letters, without parameters; empty when there is
/// none.
pub(super) fn media_type(headers: &HeaderMap) -> &[u8] {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return b"" };
    let value = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    value.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::{SignUpBody, TransferBody};

    fn check(body: &str, code: &str, field: Option<&str>) {
        let money = read::<TransferBody<'_>>(body.as_bytes()).map(|_| ()).unwrap_err();
        assert_eq!((money.code(), money.field_name()), (code, field), "{body}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("{", "malformed_json", None);
        check("", "malformed_json", None);
        check("nonsense", "malformed_json", None);
        check("{\"wallet_id\": 2, \"amount\": NaN}", "malformed_json", None);
        check("{\"wallet_id\": 2, \"amount\": 01}", "malformed_json", None);
        check("{\"wallet_id\": 2, \"amount\": 1} x", "malformed_json", None);
        check("{\"details\": 1, \"amount\"", "malformed_json", None);
        check(
            "{\"wallet_id\": 2, \"amount\": 1, \"details\": \"\\ud800\"}",
            "malformed_json",
            None,
        );
        check("[2, 1]", "wrong_type", None);
        check("\"{\"", "wrong_type", None);
        check("{\"wallet_id\": 2}", "missing_field", Some("amount"));
        check("{\"wallet_id\": 2, \"amount\": 1, \"x\": 2}", "unknown_field", Some("x"));
        check(
            "{\"wallet_id\": 2, \"amount\": 1, \"amount\": 2}",
            "duplicate_field",
            Some("amount"),
        );
        check("{\"wallet_id\": 2, \"amount\": 1, \"details\": 7}", "wrong_type", Some("details"));
        let long = "x".repeat(100_000);
        let long = format!("{{\"{long}\": 1}}");
        let problem = read::<TransferBody<'_>>(long.as_bytes());
        assert!(problem.unwrap_err().field_name().is_some_and(|name| name.len() == 200));
        assert_eq!(read::<TransferBody<'_>>(b"\xff").unwrap_err().code(), "malformed_json");
    }

    #[test]
    fn a_place_says_what_it_is_counted_from() {
        let detail = |what, text| {
            read_text::<TransferBody<'_>>(what, text).unwrap_err().detail_text().to_owned()
        };
        for text in ["{\"amount\" 1}", "nonsense", "{\"details\": \"\\ud800\"}"] {
            for what in ["the body", "the operation"] {
                let detail = detail(what, text);
                assert!(detail.contains(" at line 1 column "), "{detail}");
                assert!(detail.ends_with(&format!(" of {what}")), "{detail}");
            }
        }
    }

    #[test]
    fn a_password_is_not_sent_back() {
        let problem = read::<SignUpBody>(br#"{"name": "a", "email": "b", "password": 12345678}"#)
            .unwrap_err();
        assert_eq!((problem.code(), problem.field_name()), ("wrong_type", Some("password")));
        assert!(!format!("{problem:?}").contains("12345678"));
    }

    #[test]
    fn media_types() {
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            is_json(&headers)
        };
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/x+json"] {
            assert!(check(good), "{good}");
        }
        for bad in ["", "text/json", "application/jsonp", "application/x-www-form-urlencoded"] {
            assert!(!check(bad), "{bad}");
        }
    }
}

//! Owns the reading of JSON bodies: what is wrong with one is said as a problem with a stable code
//! and the field.
//!
//! Never: one of axum's own plain-text refusals; a body that is a list where an object is meant.
//! Bounds: the edge has read the body whole and bounded it; one of more than [`EXPLAINED_BYTES_MAX`] is
//! read once, whatever is wrong with it.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::body::read_whole;
use crate::problem::{Code, Problem};

/// What is wrong with a longer text is told from its first reading alone: each further one would hold up
/// everybody on the same thread for as long again.
const EXPLAINED_BYTES_MAX: usize = 262_144;

/// A body that says it is JSON.
#[derive(Debug)]
pub(crate) struct JsonBody(Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let said = MediaType::of(request.headers());
        let said = if said.is_json() { said.check_charset() } else { Err(not_json()) };
        let body = read_whole(request.into_body())
            .await
            .map_err(|error| Problem::new(Code::MalformedRequest).privately(error.to_string()))?;
        if body.is_empty() {
            return Err(Problem::new(Code::MalformedJson).detail("the body is missing"));
        }
        said.map(|()| Self(body))
    }
}

fn not_json() -> Problem {
    Problem::new(Code::UnsupportedMediaType)
        .detail("the body must be JSON, with `Content-Type: application/json`")
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

/// Finds out what is wrong. Only here is a body read more than once, if it is not too long for that.
fn explain<'b, T: Deserialize<'b>>(
    what: &'static str,
    text: &'b str,
    error: &serde_json::Error,
) -> Problem {
    if !error.is_data() {
        return malformed(what, error);
    }
    let is_read_again = text.len() <= EXPLAINED_BYTES_MAX;
    if is_read_again && let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
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
    if !is_read_again {
        let (line, column) = (error.line(), error.column());
        return Problem::new(Code::WrongType).detail(format!(
            "a value is not of the type that the documentation gives, at line {line} column {column} of {what}"
        ));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let field = serde_path_to_error::deserialize::<_, T>(&mut reader).err();
    let field = field.map(|error| error.path().to_string()).unwrap_or_default();
    let message = error.to_string();
    let expected = expected(&message);
    wrong_type(
        short(&field),
        expected.unwrap_or("a value of the type that the documentation gives"),
    )
}

/// What may stand there: one of some words, or a type in JSON's words. What the client wrote comes before it.
fn expected(message: &str) -> Option<&str> {
    let (message, _) = message.rsplit_once(" at line ")?;
    if let Some(unknown) = message.strip_prefix("unknown variant `") {
        return Some(unknown.rsplit_once("`, expected ")?.1);
    }
    match message.rsplit_once(", expected ")?.1 {
        "a string" => Some("a string"),
        "a sequence" => Some("an array"),
        _ => None,
    }
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

/// What a body says that it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct MediaType<'h> {
    name: &'h [u8],
    /// What stands behind the name and its semicolon.
    parameters: &'h [u8],
}

impl<'h> MediaType<'h> {
    /// As the headers have it; empty when there is none.
    pub(super) fn of(headers: &'h HeaderMap) -> Self {
        let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let (name, parameters) = match value.iter().position(|byte| *byte == b';') {
            Some(end) => (value.get(..end), value.get(end + 1..)),
            None => (Some(value), None),
        };
        let parameters = parameters.unwrap_or_default();
        Self { name: name.unwrap_or_default().trim_ascii(), parameters }
    }

    /// `application/json`, or a type built on it.
    pub(super) fn is_json(self) -> bool {
        self.is("application/json") || {
            let name = self.name.to_ascii_lowercase();
            name.starts_with(b"application/") && name.ends_with(b"+json")
        }
    }

    /// Whether it has this name, in large or small letters.
    pub(super) fn is(self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Refuses every charset but UTF-8, which is also what is meant by none.
    pub(super) fn check_charset(self) -> Result<(), Problem> {
        if self.parameters.is_empty() {
            return Ok(());
        }
        let others = self.parameters.split(|byte| *byte == b';').any(|parameter| {
            let mut parts = parameter.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let value = parts.next().unwrap_or_default();
            let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            let value = quoted.unwrap_or(value);
            let is_utf8 =
                ["utf-8", "utf8"].iter().any(|one| value.eq_ignore_ascii_case(one.as_bytes()));
            name.eq_ignore_ascii_case(b"charset") && !is_utf8
        });
        if !others {
            return Ok(());
        }
        Err(Problem::new(Code::UnsupportedMediaType)
            .detail("the body must be UTF-8: leave the `charset` out, or let it be `utf-8`"))
    }
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
    fn words_of_few_are_named_and_the_clients_are_not() {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Word {
            Up,
            Down,
        }
        #[derive(Deserialize)]
        struct Body {
            #[allow(dead_code)]
            word: Word,
        }
        for other in ["x", "", "`, expected `y", "` at line 1", "`, expected `y` at line 1"] {
            let text = serde_json::json!({"word": other}).to_string();
            let problem = read_text::<Body>("the body", &text).map(|_| ()).unwrap_err();
            assert_eq!(problem.detail_text(), "`word` must be `up` or `down`", "{other}");
        }
    }

    #[test]
    fn a_type_is_named() {
        #[derive(Deserialize)]
        struct Body {
            #[allow(dead_code)]
            text: Option<String>,
            #[allow(dead_code)]
            list: Option<Vec<u8>>,
        }
        let detail = |text: &str| {
            read_text::<Body>("the body", text).map(drop).unwrap_err().detail_text().to_owned()
        };
        let named = [
            (r#"{"text": 5}"#, "`text` must be a string"),
            (r#"{"list": "x"}"#, "`list` must be an array"),
            (r#"{"list": ", expected a string at line 1"}"#, "`list` must be an array"),
            (
                r#"{"list": [1, "2"]}"#,
                "`list[1]` must be a value of the type that the documentation gives",
            ),
        ];
        for (text, expected) in named {
            assert_eq!(detail(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_read_once() {
        let check =
            |start: &str, end: &str, long: (&str, Option<&str>), short: (&str, Option<&str>)| {
                for (bytes, expected) in [(EXPLAINED_BYTES_MAX + 1, long), (1_000, short)] {
                    let padding = " ".repeat(bytes - start.len() - end.len());
                    let text = format!("{start}{padding}{end}");
                    let problem = read_text::<TransferBody<'_>>("the body", &text).unwrap_err();
                    assert_eq!((problem.code(), problem.field_name()), expected, "{start}{end}");
                    if expected == ("wrong_type", None) {
                        let detail = problem.detail_text();
                        assert!(detail.contains(" at line 1 column "), "{detail}");
                        assert!(detail.ends_with(" of the body"), "{detail}");
                        assert!(!detail.contains("secret"), "{detail}");
                    }
                }
            };
        let wrong = "{\"wallet_id\": 2, \"details\": [\"secret\"";
        check(wrong, "], \"amount\": 1}", ("wrong_type", None), ("wrong_type", Some("details")));
        // Only a second reading tells that there is more wrong behind it.
        check(wrong, "], nonsense", ("wrong_type", None), ("malformed_json", None));
        let unknown = ("unknown_field", Some("x"));
        check("{\"x\": 1", "}", unknown, unknown);
        let missing = ("missing_field", Some("amount"));
        check("{\"wallet_id\": 2", "}", missing, missing);
        let malformed = ("malformed_json", None);
        check("{\"wallet_id\": 2, ", "nonsense}", malformed, malformed);
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
        let check = |value: &'static str| {
            let headers =
                HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            let media_type = MediaType::of(&headers);
            (media_type.is_json(), media_type.check_charset().is_ok())
        };
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;CharSet=UTF-8",
            "application/json ; charset=\"Utf-8\" ; x=y",
            "application/json; charset=utf8",
            "application/json;",
            "application/json; odata=verbose",
            "application/x+json",
            "application/problem+JSON; charset=utf-8",
        ] {
            assert_eq!(check(good), (true, true), "{good}");
        }
        for other in [
            "application/json; charset=latin1",
            "application/json; charset=\"utf-16\"",
            "application/json; charset=",
            "application/json; charset",
            "application/json; charset=utf-8; charset=koi8-r",
            "application/x+json;a=b;CHARSET=us-ascii",
        ] {
            assert_eq!(check(other), (true, false), "{other}");
        }
        for bad in ["", "text/json", "application/jsonp", "application/x-www-form-urlencoded"] {
            assert_eq!(check(bad), (false, true), "{bad}");
        }
        assert!(!MediaType::of(&HeaderMap::new()).is_json());
    }
}

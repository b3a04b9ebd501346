//! Owns the API's errors: problem details (RFC 9457) with a stable code.
//!
//! Never: a private detail on the wire, or logged twice: it rides on the response to the edge, which
//! logs it once. Bounds: the codes here, [`Rejection`]'s, and nothing else.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::{LedgerError, Rejection};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::AuthError;
use crate::idempotency::Replayed;
use crate::money::MoneyError;

/// When it is worth trying again, where there was too much to do.
const OVERLOADED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The media type of every error.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Everything that can be wrong with a request, but for what the ledger's rules refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    MalformedRequest,
    MalformedJson,
    MissingField,
    UnknownField,
    DuplicateField,
    WrongType,
    MalformedQuery,
    CursorUnknown,
    IdempotencyKeyMalformed,
    IdempotencyKeyMisplaced,
    NotLoggedIn,
    WrongCredentials,
    CrossSiteRequest,
    NotFound,
    OperationNotFound,
    MethodNotAllowed,
    RequestTimeout,
    EmailTaken,
    BodyTooLarge,
    LineTooLong,
    UnsupportedMediaType,
    UnsupportedContentEncoding,
    ExpectationFailed,
    BatchEmpty,
    BatchTooLarge,
    NameMalformed,
    EmailMalformed,
    IdempotencyKeyReused,
    PasswordTooShort,
    PasswordTooLong,
    TooManyAttempts,
    Internal,
    UnsupportedTransferEncoding,
    Overloaded,
    StorageFull,
    DataFileLocked,
    Closing,
    OutcomeUnknown,
    Unreadable,
    NotReady,
}

impl Code {
    /// Status, stable code, title.
    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (400, "malformed_request", "The request is malformed"),
            Self::MalformedJson => (400, "malformed_json", "The body is not JSON"),
            Self::MissingField => (400, "missing_field", "A field is missing"),
            Self::UnknownField => (400, "unknown_field", "There is no such field"),
            Self::DuplicateField => (400, "duplicate_field", "A field stands there twice"),
            Self::WrongType => (400, "wrong_type", "A field has the wrong type"),
            Self::MalformedQuery => (400, "malformed_query", "A query parameter is malformed"),
            Self::CursorUnknown => (400, "cursor_unknown", "There is no such cursor"),
            Self::IdempotencyKeyMalformed => {
                (400, "idempotency_key_malformed", "The idempotency key is malformed")
            }
            Self::IdempotencyKeyMisplaced => {
                (400, "idempotency_key_misplaced", "The idempotency key stands in the wrong place")
            }
            Self::NotLoggedIn => (401, "not_logged_in", "Nobody is logged in"),
            Self::WrongCredentials => {
                (401, "wrong_credentials", "The e-mail address or the password is wrong")
            }
            Self::CrossSiteRequest => {
                (403, "cross_site_request", "The request was made by another site")
            }
            Self::NotFound => (404, "not_found", "There is no such resource"),
            Self::OperationNotFound => (404, "operation_not_found", "There is no such operation"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "The method is not allowed here"),
            Self::RequestTimeout => (408, "request_timeout", "The body did not come in time"),
            Self::EmailTaken => (409, "email_taken", "This e-mail address is taken"),
            Self::BodyTooLarge => (413, "body_too_large", "The body is too large"),
            Self::LineTooLong => (413, "line_too_long", "A line is too long"),
            Self::UnsupportedMediaType => {
                (415, "unsupported_media_type", "The body's media type is not supported")
            }
            Self::UnsupportedContentEncoding => (
                415,
                "unsupported_content_encoding",
                "The body's content encoding is not supported",
            ),
            Self::ExpectationFailed => (417, "expectation_failed", "The expectation cannot be met"),
            Self::BatchEmpty => (422, "batch_empty", "The batch has no operations"),
            Self::BatchTooLarge => (422, "batch_too_large", "The batch has too many operations"),
            Self::IdempotencyKeyReused => {
                (422, "idempotency_key_reused", "The idempotency key was used before")
            }
            Self::NameMalformed => (422, "name_malformed", "The name is malformed"),
            Self::EmailMalformed => (422, "email_malformed", "The e-mail address is malformed"),
            Self::PasswordTooShort => (422, "password_too_short", "The password is too short"),
            Self::PasswordTooLong => (422, "password_too_long", "The password is too long"),
            Self::TooManyAttempts => (429, "too_many_attempts", "Too many attempts"),
            Self::Internal => (500, "internal", "Something went wrong inside"),
            Self::UnsupportedTransferEncoding => {
                (501, "unsupported_transfer_encoding", "The transfer coding is not supported")
            }
            Self::Overloaded => (503, "overloaded", "The service has too much to do"),
            Self::StorageFull => (503, "storage_full", "The disk is full"),
            Self::DataFileLocked => {
                (503, "data_file_locked", "Another program holds the data file")
            }
            Self::Closing => (503, "closing", "The service is stopping"),
            Self::OutcomeUnknown => (503, "outcome_unknown", "The outcome is unknown"),
            Self::Unreadable => (503, "unreadable", "The data could not be read"),
            Self::NotReady => (503, "not_ready", "The service is not ready"),
        }
    }

    /// The code of a failure of the engine.
    fn of_ledger(error: &LedgerError) -> Self {
        match error {
            LedgerError::Overloaded => Self::Overloaded,
            LedgerError::StorageFull => Self::StorageFull,
            LedgerError::DataFileLocked => Self::DataFileLocked,
            LedgerError::Closed => Self::Closing,
            LedgerError::OutcomeUnknown(_) => Self::OutcomeUnknown,
            LedgerError::Unreadable(_) => Self::Unreadable,
            LedgerError::NoSuchEntry => Self::CursorUnknown,
        }
    }

    /// The code of a refused sign-up or login.
    fn of_auth(error: &AuthError) -> Self {
        match error {
            AuthError::NameMalformed => Self::NameMalformed,
            AuthError::EmailMalformed => Self::EmailMalformed,
            AuthError::PasswordTooShort => Self::PasswordTooShort,
            AuthError::PasswordTooLong => Self::PasswordTooLong,
            AuthError::EmailTaken { .. } => Self::EmailTaken,
            AuthError::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            AuthError::WrongCredentials => Self::WrongCredentials,
            AuthError::TooManyAttempts { .. } => Self::TooManyAttempts,
            AuthError::Overloaded => Self::Overloaded,
            AuthError::Ledger(error) => Self::of_ledger(error),
            AuthError::Broken(_) => Self::Internal,
        }
    }
}

/// An error of the API, ready to be sent. Boxed, so that results that carry one stay small.
#[derive(Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    index: Option<usize>,
    retry_after: Option<Duration>,
    private: Option<String>,
    replayed: bool,
}

/// What is logged of a problem, once, at the edge. It rides on the response until there.
#[derive(Debug, Clone)]
pub(crate) struct PrivateDetail(pub(crate) String);

/// What is wrong, as problem details (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// Names the kind of problem: `urn:kopeck:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:kopeck:problem:insufficient_funds")]
    kind: String,
    /// What is wrong, in general.
    #[schema(example = "The balance is too small")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 422, minimum = 400, maximum = 599)]
    status: u16,
    /// A stable name for programs.
    #[schema(example = "insufficient_funds")]
    code: &'a str,
    /// What is wrong, in this case.
    #[schema(example = "the balance is smaller than the amount")]
    detail: &'a str,
    /// The field it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "amount")]
    field: Option<&'a str>,
    /// In a batch, the operation it is about, if it is about one: its place, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    index: Option<usize>,
}

impl Problem {
    /// A problem whose detail says no more than its title.
    pub(crate) fn new(code: Code) -> Self {
        let (status, code, title) = code.parts();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self(Box::new(Parts {
            status,
            code,
            title,
            detail: Cow::Borrowed(title),
            field: None,
            index: None,
            retry_after: None,
            private: None,
            replayed: false,
        }))
    }

    /// Nobody is logged in, or nobody any more.
    pub(crate) fn not_logged_in() -> Self {
        Self::new(Code::NotLoggedIn).detail(
            "there is no session, or it has ended: log in with `POST /api/login`, and send the cookie that it sets",
        )
    }

    /// There is too much to do of what the detail says; soon there may be less.
    pub(crate) fn overloaded(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Overloaded).detail(detail).retry_after(OVERLOADED_RETRY_AFTER)
    }

    /// Says whether the same was answered before.
    pub(crate) fn replayed(mut self, replayed: bool) -> Self {
        self.0.replayed = replayed;
        self
    }

    /// Says more.
    pub(crate) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Says which field it is about.
    pub(crate) fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says which operation of a batch it is about.
    pub(crate) fn index(mut self, index: usize) -> Self {
        self.0.index = Some(index);
        self
    }

    /// Says when to try again.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Says more in the log, and there only.
    pub(crate) fn privately(mut self, detail: impl Into<String>) -> Self {
        self.0.private = Some(detail.into());
        self
    }

    /// The status it will be sent with.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Whether the same was answered before.
    pub(crate) fn is_replayed(&self) -> bool {
        self.0.replayed
    }

    /// The stable code, in `snake_case`.
    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    /// What is wrong, in general.
    pub(crate) fn title(&self) -> &'static str {
        self.0.title
    }

    /// What is wrong, in this case.
    pub(crate) fn detail_text(&self) -> &str {
        &self.0.detail
    }

    /// The field it is about.
    pub(crate) fn field_name(&self) -> Option<&str> {
        self.0.field.as_deref()
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let (title, field) = match rejection {
            Rejection::NotTheBank => ("Only the bank may do this", None),
            Rejection::IdempotencyKeyReused => ("The idempotency key was used before", None),
            Rejection::ExternalIdReused => ("The external id was used before", Some("external_id")),
            Rejection::ExternalIdMalformed => ("The external id is malformed", Some("external_id")),
            Rejection::AmountMalformed => ("The amount is malformed", Some("amount")),
            Rejection::AmountNotPositive => ("The amount is not positive", Some("amount")),
            Rejection::AmountTooPrecise => ("The amount is too precise", Some("amount")),
            Rejection::AmountTooLarge => ("The amount is too large", Some("amount")),
            Rejection::DetailsTooLong => ("The details are too long", Some("details")),
            Rejection::DetailsMalformed => ("The details are malformed", Some("details")),
            Rejection::SenderIsReceiver => ("Sender and receiver are the same", Some("wallet_id")),
            Rejection::WalletNotFound => ("There is no such wallet", Some("wallet_id")),
            Rejection::BankMustDeposit => ("The bank must deposit", None),
            Rejection::InsufficientFunds => ("The balance is too small", Some("amount")),
            Rejection::BalanceLimit => ("A balance would pass its limit", Some("amount")),
        };
        Self(Box::new(Parts {
            status: match rejection {
                Rejection::NotTheBank => StatusCode::FORBIDDEN,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            code: rejection.code(),
            title,
            detail: Cow::Owned(rejection.to_string()),
            field: field.map(Cow::Borrowed),
            index: None,
            retry_after: None,
            private: None,
            replayed: false,
        }))
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let problem = Self::new(Code::of_ledger(&error));
        match &error {
            LedgerError::Overloaded => {
                Self::overloaded("too many operations are waiting; nothing was done, try again")
            }
            LedgerError::StorageFull => problem
                .detail("the disk is full; nothing was done, try again when there is room")
                .retry_after(Duration::from_secs(30)),
            LedgerError::DataFileLocked => problem
                .detail("another program holds the data file; nothing was done, try again later")
                .retry_after(Duration::from_secs(5)),
            LedgerError::Closed => problem
                .detail("the service is stopping; nothing was done, try again")
                .retry_after(Duration::from_secs(5)),
            // No Retry-After: whatever retries by itself could do it twice.
            LedgerError::OutcomeUnknown(_) => problem
                .detail(
                    "it cannot be known whether the operation took effect: look into the wallet's \
                     history before trying again, or retry with the same key where one was given",
                )
                .privately(error.to_string()),
            LedgerError::Unreadable(_) => problem
                .detail("the data could not be read; nothing was changed")
                .retry_after(Duration::from_secs(5))
                .privately(error.to_string()),
            LedgerError::NoSuchEntry => problem
                .detail("the cursor is not an entry of this wallet; take one from `next_cursor`")
                .field("cursor"),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        if let AuthError::Ledger(error) = error {
            return error.into();
        }
        let mut problem = Self::new(Code::of_auth(&error));
        problem.0.field = error.field().map(Cow::Borrowed);
        match &error {
            AuthError::TooManyAttempts { retry_after } => {
                problem.detail(error.to_string()).retry_after(*retry_after)
            }
            AuthError::Overloaded => {
                problem.detail(error.to_string()).retry_after(Duration::from_secs(2))
            }
            AuthError::Broken(reason) => problem.privately(reason.clone()),
            AuthError::EmailTaken { replayed } => {
                problem.detail(error.to_string()).replayed(*replayed)
            }
            _ => problem.detail(error.to_string()),
        }
    }
}

impl From<MoneyError> for Problem {
    fn from(error: MoneyError) -> Self {
        match error {
            MoneyError::Refused { rejection, replayed } => Self::from(rejection).replayed(replayed),
            MoneyError::Ledger(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let parts = *self.0;
        let body = ProblemBody {
            kind: format!("urn:kopeck:problem:{}", parts.code),
            title: parts.title,
            status: parts.status.as_u16(),
            code: parts.code,
            detail: &parts.detail,
            field: parts.field.as_deref(),
            index: parts.index,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = parts.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = parts.retry_after {
            // Rounded up: whoever waits that long finds room.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(private) = parts.private {
            response.extensions_mut().insert(PrivateDetail(private));
        }
        Replayed(parts.replayed).mark(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inner layers name their failures themselves; the wire must call them the same.
    #[test]
    fn a_failure_has_one_name_whoever_speaks_of_it() {
        let why = || "why".to_owned();
        for error in [
            LedgerError::Overloaded,
            LedgerError::StorageFull,
            LedgerError::DataFileLocked,
            LedgerError::Closed,
            LedgerError::OutcomeUnknown(why()),
            LedgerError::Unreadable(why()),
            LedgerError::NoSuchEntry,
        ] {
            assert_eq!(Problem::from(error.clone()).code(), error.code());
        }
        let retry_after = Duration::from_secs(1);
        for error in [
            AuthError::NameMalformed,
            AuthError::EmailMalformed,
            AuthError::PasswordTooShort,
            AuthError::PasswordTooLong,
            AuthError::EmailTaken { replayed: false },
            AuthError::IdempotencyKeyReused,
            AuthError::WrongCredentials,
            AuthError::TooManyAttempts { retry_after },
            AuthError::Overloaded,
            AuthError::Ledger(LedgerError::Closed),
            AuthError::Broken(why()),
        ] {
            let code = error.code();
            assert_eq!(Problem::from(error).code(), code);
        }
        for rejection in Rejection::ALL {
            assert_eq!(Problem::from(rejection).code(), rejection.code());
        }
    }
}

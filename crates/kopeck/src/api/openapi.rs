//! Owns the API's description (OpenAPI 3.1): what the handlers don't say themselves, and the errors
//! that each of them may give.
//!
//! Never: an error that is not in [`problem`](crate::problem). Bounds: made once, at start.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ledger::{Amount, Currency, MINOR_UNITS_MAX, Rejection, Units};
use serde_json::json;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi, PartialSchema, ToSchema};

use super::batch::describe::BatchLine;
use crate::problem::{Code, PROBLEM_JSON, Problem, ProblemBody};

/// The description without its paths, which the routes add.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "kopeck",
        description = "A wallet service: money comes in from outside, and moves from wallet to \
            wallet. Amounts are exact decimal numbers. Errors are problem details (RFC 9457) with \
            a stable `code`. Where a body is `application/json`, any `application/…+json` is taken \
            too; a `charset` other than `utf-8` is refused, and so is a `Content-Encoding` other than \
            `identity`."
    ),
    // In the order in which they are met.
    tags((name = "account"), (name = "wallet"), (name = "money"), (name = "receipts")),
    components(schemas(ProblemBody<'_>, BatchLine)),
    modifiers(&Session),
)]
pub(crate) struct Description;

/// An amount in a body. It is read from its own text; this is only how it is described.
pub(super) struct AmountText;

impl ToSchema for AmountText {
    fn name() -> Cow<'static, str> {
        "Amount".into()
    }
}

impl PartialSchema for AmountText {
    fn schema() -> RefOr<Schema> {
        Self::up_to(None)
    }
}

impl AmountText {
    fn up_to(max: Option<Units>) -> RefOr<Schema> {
        // A double holds 15 digits, so it is the very number that the text is.
        let maximum = max.and_then(|max| max.to_string().parse::<f64>().ok());
        let number = ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("A number."))
            .exclusive_minimum(Some(0))
            .maximum(maximum)
            .examples([json!(115.6)]);
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A string."))
            .pattern(Some(r"^(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"))
            .examples([json!("115.60")]);
        let mut description = "An amount: a JSON number, or a string of the same form.".to_owned();
        if let Some(max) = max {
            description += &format!(" At most {max}, either way: 15 digits.");
        }
        OneOfBuilder::new().description(Some(description)).item(number).item(text).into()
    }
}

/// Says what is the greatest amount: it depends on where the currency has its point.
pub(super) fn bound_amounts(description: &mut utoipa::openapi::OpenApi, currency: Currency) {
    let max = Amount::from_minor(MINOR_UNITS_MAX).ok().map(|max| max.in_units(currency));
    let components = description.components.get_or_insert_default();
    components.schemas.insert(AmountText::name().into_owned(), AmountText::up_to(max));
}

/// The header with the client's key.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only its schema is used: the header is read by `idempotency`")]
pub(super) struct KeyParameter {
    /// A name for this request, chosen before its first try: a random UUID, say. Sent again with the
    /// same key, the same request gets the recorded answer and changes nothing; another request is
    /// refused. Kept for 24 hours or longer, apart for each user; those of sign-ups, where nobody is a
    /// user yet, are of one kind for everybody, so let them be random.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        nullable = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        example = "8e03978e-40d5-43dd-bc93-6894a57f9324"
    )]
    key: String,
}

/// Adds the session's cookie as the way to be known.
struct Session;

impl Modify for Session {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let cookie = ApiKeyValue::with_description(
            "kopeck_session",
            "Set by `/api/signup` and `/api/login`. Over HTTPS its name is `__Host-kopeck_session`.",
        );
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// What any route may answer.
const ALL: [Code; 7] = [
    Code::MalformedRequest,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedContentEncoding,
    Code::ExpectationFailed,
    Code::Internal,
    Code::UnsupportedTransferEncoding,
];
/// What a route that changes something may answer.
const UNSAFE: [Code; 1] = [Code::CrossSiteRequest];
/// What a route that takes a body may answer.
const BODY: [Code; 6] = [
    Code::MalformedJson,
    Code::MissingField,
    Code::UnknownField,
    Code::DuplicateField,
    Code::WrongType,
    Code::UnsupportedMediaType,
];
/// What a route that reads the store may answer.
const STORE: [Code; 3] = [Code::Unreadable, Code::Overloaded, Code::Closing];
/// What a route that writes to the store may answer.
const WRITE: [Code; 3] = [Code::StorageFull, Code::DataFileLocked, Code::OutcomeUnknown];
/// What a route for somebody logged in may answer.
const CALLER: [Code; 1] = [Code::NotLoggedIn];

macro_rules! problems {
    ($(#[$doc:meta] $name:ident: $codes:expr, $rejections:expr;)*) => {$(
        #[$doc]
        #[derive(Debug)]
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                let codes: &[&[Code]] = &$codes;
                let codes = codes.iter().copied().flatten().copied();
                // These are kept under a request's key, and told again.
                let codes =
                    codes.map(|code| Problem::new(code).replayed(code == Code::EmailTaken));
                let rejections: &[Rejection] = &$rejections;
                let rejections = rejections.iter().copied().map(|rejection| {
                    Problem::from(rejection).replayed(rejection != Rejection::NotTheBank)
                });
                responses(codes.chain(rejections))
            }
        }
    )*};
}

/// What moving money may be refused for, but for what concerns deposits or transfers only.
const MONEY: [Rejection; 10] = [
    Rejection::IdempotencyKeyReused,
    Rejection::AmountMalformed,
    Rejection::AmountNotPositive,
    Rejection::AmountTooPrecise,
    Rejection::AmountTooLarge,
    Rejection::DetailsTooLong,
    Rejection::DetailsMalformed,
    Rejection::SenderIsReceiver,
    Rejection::WalletNotFound,
    Rejection::BalanceLimit,
];

problems! {
    /// What signing up may be refused for.
    SignUpProblems: [
        &ALL, &UNSAFE, &BODY, &STORE, &WRITE,
        &[Code::IdempotencyKeyMalformed, Code::IdempotencyKeyReused],
        &[Code::NameMalformed, Code::EmailMalformed, Code::PasswordTooShort, Code::PasswordTooLong],
        &[Code::EmailTaken, Code::TooManyAttempts],
    ], [];
    /// What logging in may be refused for.
    LogInProblems: [
        &ALL, &UNSAFE, &BODY, &STORE, &WRITE, &[Code::WrongCredentials, Code::TooManyAttempts],
    ], [];
    /// What logging out may be refused for.
    LogOutProblems: [&ALL, &UNSAFE, &CALLER, &STORE, &WRITE], [];
    /// What looking into one's wallet may be refused for.
    WalletProblems: [
        &ALL, &CALLER, &STORE, &[Code::MalformedQuery, Code::CursorUnknown],
    ], [];
    /// What a statement may be refused for.
    StatementProblems: [&ALL, &CALLER, &STORE, &[Code::MalformedQuery]], [];
    /// What asking for the checkpoint may be refused for.
    CheckpointProblems: [&ALL, &STORE], [];
    /// What asking for a receipt may be refused for.
    ReceiptProblems: [
        &ALL, &CALLER, &STORE, &[Code::MalformedQuery, Code::OperationNotFound],
    ], [];
    /// What a deposit may be refused for.
    DepositProblems: [
        &ALL, &UNSAFE, &BODY, &CALLER, &STORE, &WRITE, &[Code::IdempotencyKeyMalformed],
    ], with(&[
        Rejection::NotTheBank, Rejection::ExternalIdReused, Rejection::ExternalIdMalformed,
    ]);
    /// What a batch may be refused for as a whole.
    BatchProblems: [
        &ALL, &UNSAFE, &BODY, &CALLER, &STORE, &WRITE,
        &[Code::IdempotencyKeyMalformed, Code::IdempotencyKeyMisplaced],
        &[Code::BatchEmpty, Code::BatchTooLarge],
    ], with(&[
        Rejection::NotTheBank, Rejection::ExternalIdReused, Rejection::ExternalIdMalformed,
        Rejection::BankMustDeposit, Rejection::InsufficientFunds,
    ]);
    /// What a transfer may be refused for.
    TransferProblems: [
        &ALL, &UNSAFE, &BODY, &CALLER, &STORE, &WRITE, &[Code::IdempotencyKeyMalformed],
    ], with(&[Rejection::BankMustDeposit, Rejection::InsufficientFunds]);
}

/// The refusals of [`MONEY`] and some more.
fn with(more: &[Rejection]) -> Vec<Rejection> {
    MONEY.iter().chain(more).copied().collect()
}

/// One response a status, which lists the codes it may carry.
fn responses(problems: impl Iterator<Item = Problem>) -> BTreeMap<String, RefOr<Response>> {
    let mut codes: BTreeMap<u16, Vec<(&str, &str)>> = BTreeMap::new();
    let mut replayed = BTreeSet::new();
    for problem in problems {
        if problem.is_replayed() {
            replayed.insert(problem.status().as_u16());
        }
        let listed = codes.entry(problem.status().as_u16()).or_default();
        let entry = (problem.code(), problem.title());
        if !listed.contains(&entry) {
            listed.push(entry);
        }
    }
    let response = |status: u16, listed: Vec<(&str, &str)>| {
        let lines = listed.iter().map(|(code, title)| format!("- `{code}`: {title}"));
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description(lines.collect::<Vec<_>>().join("\n"))
            .content(PROBLEM_JSON, content);
        match status {
            429 | 503 => response.header("Retry-After", retry_after()).build(),
            _ if replayed.contains(&status) => {
                response.header("Idempotency-Replayed", idempotency_replayed()).build()
            }
            _ => response.build(),
        }
    };
    codes
        .into_iter()
        .map(|(status, listed)| (status.to_string(), response(status, listed).into()))
        .collect()
}

/// Not with every code of a status: where trying again helps nobody, it is not there.
fn retry_after() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let description = "When to try again, in seconds; where it is of use";
    HeaderBuilder::new().schema(Some(seconds)).description(Some(description)).build()
}

/// As on the answers that it worked.
fn idempotency_replayed() -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let description = "`true`: this was answered before";
    HeaderBuilder::new().schema(Some(text)).description(Some(description)).build()
}

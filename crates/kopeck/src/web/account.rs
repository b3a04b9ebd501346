//! Owns the pages on which people sign up, log in and log out.
//!
//! Never: whether they may (that is `auth`), or a password on a page. Bounds: one form a page; what
//! is typed is as long as the body limit lets it be, and is shown again but for the password.

use askama::Template;
use axum::Form as Body;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use ledger::NAME_CHARS_MAX;
use serde::Deserialize;

use super::forms::{Field, Form};
use super::language::Language;
use super::layout::Layout;
use super::text::Value;
use super::visit::Visit;
use super::{errors, form_key};
use crate::auth::{self, AuthError, LogIn, Secret, SessionToken, SignUp, cookies};
use crate::problem::Problem;
use crate::state::AppState;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    layout: Layout,
    heading: String,
    lead: String,
    form: Form,
    other_question: String,
    other_answer: String,
    other_address: &'static str,
}

#[derive(Template)]
#[template(path = "log_out.html")]
struct LogOutPage {
    layout: Layout,
    form_token: Option<String>,
}

/// What the form of a page here sends. A field that is missing is an empty one.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct AccountInput {
    pub(crate) form_token: String,
    key: String,
    pub(crate) name: String,
    pub(crate) email: String,
    password: Option<Secret>,
}

impl AccountInput {
    /// The password, empty when none was sent.
    pub(crate) fn password(&self) -> Secret {
        self.password.clone().unwrap_or_else(|| Secret::new(String::new()))
    }
}

type Sent = Result<Body<AccountInput>, FormRejection>;

/// Which of the two pages with an account's form it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    SignUp,
    LogIn,
}

/// A refusal: the field it is about, if any, and the code.
pub(crate) type Refusal = (Option<&'static str>, &'static str);

const SIGN_UP_REUSED: &str = "sign_up_reused";
const STALE_FORM: Refusal = (None, "stale_form");
/// A browser that takes no cookies can send no form: each page's is as new to it as the last one's.
const NO_COOKIE: Refusal = (None, "no_cookie");

/// `GET /signup`.
pub(crate) async fn sign_up_page(visit: Visit) -> Response {
    first_page(Door::SignUp, &visit)
}

/// `GET /login`.
pub(crate) async fn log_in_page(visit: Visit) -> Response {
    first_page(Door::LogIn, &visit)
}

/// The page for somebody who sent money and was not logged in, or no longer.
pub(crate) fn log_in_first(visit: &Visit) -> Response {
    let refusal = [(None, "log_in_first")];
    page(Door::LogIn, visit, &AccountInput::default(), &refusal, StatusCode::UNAUTHORIZED)
}

fn first_page(door: Door, visit: &Visit) -> Response {
    if visit.caller.is_some() {
        return Redirect::to("/").into_response();
    }
    page(door, visit, &AccountInput::default(), &[], StatusCode::OK)
}

/// `POST /signup`.
pub(crate) async fn sign_up(State(state): State<AppState>, visit: Visit, sent: Sent) -> Response {
    let Ok(Body(input)) = sent else { return visit.error(StatusCode::BAD_REQUEST) };
    if !visit.verify_token(&input.form_token) {
        return stale(Door::SignUp, &visit, &input);
    }
    let refusals = every_refusal(&input);
    if !refusals.is_empty() {
        return page(Door::SignUp, &visit, &input, &refusals, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let (name, email) = (input.name.clone(), input.email.clone());
    let wanted =
        SignUp { name, email, password: input.password(), key: form_key::read(&input.key) };
    let former = visit.caller.as_ref().map(|caller| &caller.token);
    match state.auth.sign_up(wanted, visit.client.address, former).await {
        Ok(done) => log_in_cookie(&state, &visit, &done.token),
        Err(error) => refused(Door::SignUp, &visit, &input, error),
    }
}

/// `POST /login`.
pub(crate) async fn log_in(State(state): State<AppState>, visit: Visit, sent: Sent) -> Response {
    let Ok(Body(input)) = sent else { return visit.error(StatusCode::BAD_REQUEST) };
    if !visit.verify_token(&input.form_token) {
        return stale(Door::LogIn, &visit, &input);
    }
    let mut refusals = Vec::new();
    if input.email.trim().is_empty() {
        refusals.push((Some("email"), AuthError::EmailMalformed.code()));
    }
    if input.password().reveal().is_empty() {
        refusals.push((Some("password"), "password_missing"));
    }
    if !refusals.is_empty() {
        return page(Door::LogIn, &visit, &input, &refusals, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let claim = LogIn { email: input.email.clone(), password: input.password() };
    let former = visit.caller.as_ref().map(|caller| &caller.token);
    match state.auth.log_in(claim, visit.client.address, former).await {
        Ok(done) => log_in_cookie(&state, &visit, &done.token),
        Err(error) => refused(Door::LogIn, &visit, &input, error),
    }
}

/// `GET /logout`: asks, so that a link or a picture on another site logs nobody out; and says so to
/// those who are logged out.
pub(crate) async fn log_out_page(visit: Visit) -> Response {
    let language = visit.language;
    if visit.caller.is_none() {
        let layout = visit.layout(&language.say("logged-out-title"), None);
        let page = LogOutPage { layout, form_token: None };
        return super::layout::answer(StatusCode::OK, &page);
    }
    ask_to_log_out(&visit, StatusCode::OK)
}

fn ask_to_log_out(visit: &Visit, status: StatusCode) -> Response {
    let Ok(token) = visit.issue_token() else {
        return visit.error(StatusCode::INTERNAL_SERVER_ERROR);
    };
    // Its one button logs out: another one in the head would only be in the way.
    let layout = visit.layout(&visit.language.say("log-out-title"), None);
    let page = LogOutPage { layout, form_token: Some(token.text.clone()) };
    token.answer(status, &page)
}

/// `POST /logout`.
pub(crate) async fn log_out(State(state): State<AppState>, visit: Visit, sent: Sent) -> Response {
    let Ok(Body(input)) = sent else { return visit.error(StatusCode::BAD_REQUEST) };
    if let Some(caller) = &visit.caller {
        if !visit.verify_token(&input.form_token) {
            return ask_to_log_out(&visit, StatusCode::FORBIDDEN);
        }
        if let Err(error) = state.auth.log_out(&caller.token).await {
            return errors::page_instead(Problem::from(error), &visit.headers);
        }
    }
    let clear = [(header::SET_COOKIE, cookies::clear_session(&visit.client))];
    (clear, Redirect::to("/logout")).into_response()
}

/// The form again, whose token is not this client's.
fn stale(door: Door, visit: &Visit, input: &AccountInput) -> Response {
    let came_back = cookies::VISITOR.read(&visit.headers, &visit.client).is_some();
    let refusal = if came_back || visit.caller.is_some() { STALE_FORM } else { NO_COOKIE };
    page(door, visit, input, &[refusal], StatusCode::FORBIDDEN)
}

fn log_in_cookie(state: &AppState, visit: &Visit, token: &SessionToken) -> Response {
    let lives = state.auth.sessions.expiry().absolute;
    let set = [(header::SET_COOKIE, cookies::set_session(token, &visit.client, lives))];
    (set, Redirect::to("/")).into_response()
}

/// Everything that is wrong with a sign-up, so that people put it right in one go.
pub(crate) fn every_refusal(input: &AccountInput) -> Vec<Refusal> {
    let password = input.password();
    let checks = [
        auth::parse_name(&input.name).err(),
        auth::parse_email(&input.email).err(),
        auth::check_password(&password).err(),
    ];
    checks.into_iter().flatten().map(|error| (error.field(), error.code())).collect()
}

fn refused(door: Door, visit: &Visit, input: &AccountInput, error: AuthError) -> Response {
    let code = match error {
        // Those words are for who sent money, and has a history.
        AuthError::IdempotencyKeyReused => SIGN_UP_REUSED,
        _ => error.code(),
    };
    let refusal = (error.field(), code);
    let problem = Problem::from(error).into_response();
    let response = page(door, visit, input, &[refusal], problem.status());
    errors::with_error(response, problem)
}

fn page(
    door: Door,
    visit: &Visit,
    input: &AccountInput,
    refusals: &[Refusal],
    status: StatusCode,
) -> Response {
    let Ok(token) = visit.issue_token() else {
        return visit.error(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let key = match door {
        Door::LogIn => None,
        Door::SignUp if keeps_key(input, refusals) => Some(input.key.clone()),
        Door::SignUp => form_key::fresh(),
    };
    let mut form = form(door, visit.language, input, key, &token.text);
    for (field, code) in refusals {
        form.refuse(*field, words(visit.language, &format!("error-{code}")));
    }
    let page = account_page(door, visit, form);
    token.answer(status, &page)
}

/// Whether sending the form again is the same request: unless it was refused for good, an earlier
/// try may have been done without anybody being told.
fn keeps_key(input: &AccountInput, refusals: &[Refusal]) -> bool {
    let taken = AuthError::EmailTaken { replayed: false };
    let settled = [taken.code(), SIGN_UP_REUSED];
    form_key::read(&input.key).is_some() && !refusals.iter().any(|(_, code)| settled.contains(code))
}

fn account_page(door: Door, visit: &Visit, form: Form) -> AccountPage {
    let language = visit.language;
    let (heading, lead, question, answer, other_address) = match door {
        Door::SignUp => (
            language.say("sign-up-title"),
            language.say("sign-up-lead"),
            language.say("sign-up-other"),
            language.say("log-in"),
            "/login",
        ),
        Door::LogIn => (
            language.say("log-in-title"),
            language.say("log-in-lead"),
            language.say("log-in-other"),
            language.say("sign-up-submit"),
            "/signup",
        ),
    };
    let mut layout = visit.layout(&heading, None);
    if form.is_refused() {
        layout.mark_refused(&heading);
    }
    let (other_question, other_answer) = (question, answer);
    AccountPage { layout, heading, lead, form, other_question, other_answer, other_address }
}

fn form(
    door: Door,
    language: Language,
    input: &AccountInput,
    key: Option<String>,
    form_token: &str,
) -> Form {
    let email = Field::email(language.say("field-email"), &input.email);
    let (id, action, submit, fields) = match door {
        Door::SignUp => {
            let name = Field::text("name", language.say("field-name"), &input.name);
            let password = Field::password(language.say("field-new-password"), "new-password")
                .with_hint(words(language, "hint-new-password"));
            let fields = vec![name.filled_by("name"), email.filled_by("email"), password];
            ("sign-up-form", "/signup", language.say("sign-up-submit"), fields)
        }
        Door::LogIn => {
            let password = Field::password(language.say("field-password"), "current-password");
            ("log-in-form", "/login", language.say("log-in-submit"), vec![email, password])
        }
    };
    let form_token = form_token.to_owned();
    let (wallet, language) = (None, None);
    Form { id, action, submit, fields, form_token, key, wallet, language, problem: None }
}

/// The words under a key, with the bounds that they name.
fn words(language: Language, key: &str) -> String {
    let values = [
        ("max", Value::Count(NAME_CHARS_MAX)),
        ("min", Value::Count(auth::password::PASSWORD_CHARS_MIN)),
    ];
    language.say_with(key, &values)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ledger::LedgerError;

    use super::{AuthError, Language, SIGN_UP_REUSED, words};

    #[test]
    fn every_refusal_has_words() {
        let errors = [
            AuthError::NameMalformed,
            AuthError::EmailMalformed,
            AuthError::PasswordTooShort,
            AuthError::PasswordTooLong,
            AuthError::EmailTaken { replayed: false },
            AuthError::WrongCredentials,
            AuthError::TooManyAttempts { retry_after: Duration::ZERO },
            AuthError::Overloaded,
            AuthError::Ledger(LedgerError::Overloaded),
            AuthError::Ledger(LedgerError::StorageFull),
            AuthError::Ledger(LedgerError::DataFileLocked),
            AuthError::Ledger(LedgerError::Closed),
            AuthError::Ledger(LedgerError::OutcomeUnknown(String::new())),
            AuthError::Ledger(LedgerError::Unreadable(String::new())),
            AuthError::Broken(String::new()),
        ];
        let codes = errors.iter().map(AuthError::code);
        for code in codes.chain([
            "password_missing",
            "stale_form",
            "no_cookie",
            "log_in_first",
            SIGN_UP_REUSED,
        ]) {
            for language in Language::ALL {
                let words = words(language, &format!("error-{code}"));
                assert!(!words.starts_with("error-") && !words.contains('{'), "{code}: {words}");
            }
        }
    }
}

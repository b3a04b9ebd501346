//! Owns the forms that move money: how they look, and what happens when one is sent.
//!
//! Never: a movement without an idempotency key, so that a form sent twice pays once; a decision
//! (that is the ledger's). Bounds: one operation a form; what was typed is as long as the body
//! limit lets it be.
//!
//! A form that was refused comes back with a fresh key, for it is a new request. One whose outcome
//! is not known keeps its key, so that sending it again cannot pay twice.

use axum::Form as Body;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use ledger::{
    Amount, Balance, DETAILS_CHARS_MAX, Details, IdempotencyKey, MINOR_UNITS_MAX, Rejection,
    WalletId,
};
use serde::Deserialize;

use super::forms::{Field, Form};
use super::home::{self, HomeQuery, Teller};
use super::text::Value;
use super::visit::Visit;
use super::{account, amount_field, errors, format};
use crate::auth::Caller;
use crate::money::{MoneyError, Order};
use crate::problem::Problem;
use crate::state::AppState;

/// Tells these keys from those that programs choose.
const KEY_PREFIX: &str = "form-";

/// What a form that moves money sends. A field that is missing is an empty one.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(crate) struct MoneyInput {
    form_token: String,
    key: String,
    to: String,
    amount: String,
    details: String,
}

/// A refusal: the field it is about, if any, and the code.
type Refusal = (Option<&'static str>, &'static str);

/// The form as it is to be shown: what was typed, and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct MoneyForm {
    typed: MoneyInput,
    refusals: Vec<Refusal>,
    keeps_key: bool,
}

type Sent = Result<Body<MoneyInput>, FormRejection>;

/// Where the money comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    OwnWallet,
    Outside,
}

/// `POST /send`.
pub(crate) async fn send(State(state): State<AppState>, visit: Visit, sent: Sent) -> Response {
    submit(&state, &visit, sent, Source::OwnWallet).await
}

/// `POST /deposit`.
pub(crate) async fn deposit(State(state): State<AppState>, visit: Visit, sent: Sent) -> Response {
    submit(&state, &visit, sent, Source::Outside).await
}

async fn submit(state: &AppState, visit: &Visit, sent: Sent, source: Source) -> Response {
    let Ok(Body(typed)) = sent else { return visit.error(StatusCode::BAD_REQUEST) };
    let Some(caller) = &visit.caller else { return account::log_in_first(visit) };
    let key = form_key(&typed.key).filter(|_| visit.verify_token(&typed.form_token));
    let Some(key) = key else {
        let refusals = vec![(None, "stale_form")];
        let form = MoneyForm { typed, refusals, keeps_key: false };
        return again(state, visit, caller, form, StatusCode::FORBIDDEN).await;
    };
    let order = match read(&typed, visit, state) {
        Ok(order) => order,
        Err(refusals) => {
            let form = MoneyForm { typed, refusals, keeps_key: false };
            return again(state, visit, caller, form, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
    };
    let done = match source {
        Source::OwnWallet => state.teller.transfer(caller, order, Some(key)).await,
        Source::Outside => state.teller.deposit(caller, order, Some(key)).await,
    };
    match done {
        Ok(receipt) => Redirect::to(&format!("/?done={}", receipt.transfer.id)).into_response(),
        Err(error) => refused(state, visit, caller, typed, error).await,
    }
}

async fn refused(
    state: &AppState,
    visit: &Visit,
    caller: &Caller,
    typed: MoneyInput,
    error: MoneyError,
) -> Response {
    let (field, keeps_key) = match &error {
        MoneyError::Rejection(rejection) => (field_of(*rejection), false),
        MoneyError::Ledger(_) => (None, true),
    };
    let form = MoneyForm { typed, refusals: vec![(field, error.code())], keeps_key };
    let problem = Problem::from(error).into_response();
    let response = again(state, visit, caller, form, problem.status()).await;
    errors::with_error(response, problem)
}

/// The wallet's page again, with the form and what is wrong with it.
async fn again(
    state: &AppState,
    visit: &Visit,
    caller: &Caller,
    form: MoneyForm,
    status: StatusCode,
) -> Response {
    home::wallet(state, visit, caller, &HomeQuery::default(), form, status).await
}

/// Understands what was typed, or says everything that is wrong with it.
fn read(typed: &MoneyInput, visit: &Visit, state: &AppState) -> Result<Order, Vec<Refusal>> {
    let currency = state.ledger.currency();
    let to = read_wallet(&typed.to).map_err(|code| (Some("to"), code));
    let amount = match typed.amount.trim() {
        "" => Err((Some("amount"), "amount_missing")),
        text => amount_field::parse(text, visit.language, currency)
            .map_err(|rejection| (Some("amount"), rejection.code())),
    };
    let details =
        Details::parse(&typed.details).map_err(|rejection| (Some("details"), rejection.code()));
    match (to, amount, details) {
        (Ok(to), Ok(amount), Ok(details)) => Ok(Order { to, amount, details }),
        (to, amount, details) => {
            Err([to.err(), amount.err(), details.err()].into_iter().flatten().collect())
        }
    }
}

/// Reads a wallet's number, with or without a number sign before it.
fn read_wallet(text: &str) -> Result<WalletId, &'static str> {
    let number = text.trim().trim_start_matches(['#', '№']).trim_start();
    if number.is_empty() {
        return Err("wallet_missing");
    }
    WalletId::parse(number).ok_or_else(|| {
        // A number that no wallet can have is one that no wallet has.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        if digits { Rejection::WalletNotFound.code() } else { "wallet_malformed" }
    })
}

fn form_key(text: &str) -> Option<IdempotencyKey> {
    IdempotencyKey::parse(text).ok().filter(|key| key.as_str().starts_with(KEY_PREFIX))
}

/// A key that no other form has: 128 random bits. `None`: the system gave no randomness.
fn fresh_key() -> Option<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    Some(format!("{KEY_PREFIX}{:032x}", u128::from_be_bytes(random)))
}

fn field_of(rejection: Rejection) -> Option<&'static str> {
    match rejection {
        Rejection::SenderIsReceiver | Rejection::WalletNotFound => Some("to"),
        Rejection::AmountMalformed
        | Rejection::AmountNotPositive
        | Rejection::AmountTooPrecise
        | Rejection::AmountTooLarge
        | Rejection::InsufficientFunds
        | Rejection::BalanceLimit => Some("amount"),
        Rejection::DetailsTooLong | Rejection::DetailsMalformed => Some("details"),
        Rejection::NotTheBank | Rejection::IdempotencyKeyReused | Rejection::BankMustDeposit => {
            None
        }
    }
}

/// The form for a wallet's page: the bank's pays in, everybody else's sends. `None`: the system gave
/// no randomness for the key.
pub(crate) fn form(
    form: MoneyForm,
    teller: &Teller<'_>,
    balance: Balance,
    form_token: &str,
) -> Option<Form> {
    let MoneyForm { typed, refusals, keeps_key } = form;
    let language = teller.language;
    let (id, action, to, submit) = if teller.is_bank() {
        (
            "deposit-form",
            "/deposit",
            language.say("field-to-deposit"),
            language.say("deposit-submit"),
        )
    } else {
        ("send-form", "/send", language.say("field-to"), language.say("send-submit"))
    };
    let amount = language.say_one("field-amount", "currency", &teller.currency.symbol());
    let fields = vec![
        Field::text("to", to, &typed.to).typed_on("numeric"),
        Field::text("amount", amount, &typed.amount).typed_on("decimal"),
        Field::text("details", language.say("field-details"), &typed.details).optional(),
    ];
    let key = if keeps_key { typed.key } else { fresh_key()? };
    let form_token = form_token.to_owned();
    let mut form = Form { id, action, submit, fields, form_token, key: Some(key), problem: None };
    for (field, code) in refusals {
        form.refuse(field, words(teller, balance, code));
    }
    Some(form)
}

/// The words for a code.
fn words(teller: &Teller<'_>, balance: Balance, code: &str) -> String {
    let (language, currency) = (teller.language, teller.currency);
    if code == Rejection::DetailsTooLong.code() {
        let max = [("max", Value::Count(DETAILS_CHARS_MAX))];
        return language.say_with("error-details_too_long", &max);
    }
    let balance = teller.balance(balance);
    let example = format::example(language, currency);
    let max = Amount::from_minor(MINOR_UNITS_MAX)
        .map_or_else(|_| String::new(), |amount| format::amount(amount, language, currency));
    let values = [
        ("balance", Value::Text(&balance)),
        ("currency", Value::Text(currency.code())),
        ("digits", Value::Count(currency.exponent())),
        ("example", Value::Text(&example)),
        ("max", Value::Text(&max)),
    ];
    language.say_with(&format!("error-{code}"), &values)
}

#[cfg(test)]
mod tests {
    use super::{Rejection, form_key, fresh_key, read_wallet};

    #[test]
    fn wallet_numbers() {
        let check = |text: &str, expected: Result<u64, &str>| {
            assert_eq!(read_wallet(text).map(ledger::WalletId::get), expected, "{text:?}");
        };
        check("3", Ok(3));
        check(" 3 ", Ok(3));
        check("№ 3", Ok(3));
        check("#3", Ok(3));
        check("", Err("wallet_missing"));
        check(" # ", Err("wallet_missing"));
        check("0", Err("wallet_malformed"));
        check("-3", Err("wallet_malformed"));
        check("3.0", Err("wallet_malformed"));
        check("anna", Err("wallet_malformed"));
        check("9007199254740992", Err("wallet_not_found"));
        check(&"9".repeat(10_000), Err("wallet_not_found"));
    }

    #[test]
    fn keys_are_ours_and_all_different() {
        let key = fresh_key().unwrap();
        assert_eq!(form_key(&key).unwrap().as_str(), key);
        assert_ne!(key, fresh_key().unwrap());
        assert_eq!(form_key(""), None);
        assert_eq!(form_key("somebody-else-s"), None);
    }

    #[test]
    fn every_word_of_a_refusal_exists() {
        let own = ["wallet_missing", "wallet_malformed", "amount_missing", "stale_form"];
        for code in Rejection::ALL.iter().map(|rejection| rejection.code()).chain(own) {
            for language in super::super::language::Language::ALL {
                assert!(language.knows(&format!("error-{code}")), "{code}");
            }
        }
    }
}

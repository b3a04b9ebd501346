//! Owns what happens when a form that moves money is sent.
//!
//! Never: a movement without an idempotency key, so that a form sent twice pays once; a decision
//! (that is the ledger's). Bounds: one operation a form; what was typed is as long as the body
//! limit lets it be.
//!
//! A form that was not done comes back; whether with its key, `money_form` says.

use axum::Form as Body;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use ledger::{Currency, Rejection, WalletId};

use super::home::{self, HomeQuery};
use super::language::Language;
use super::money_form::{MoneyForm, MoneyInput, Refusal};
use super::visit::Visit;
use super::{account, amount_field, errors, form_key};
use crate::auth::Caller;
use crate::clock;
use crate::money::{MoneyError, Order, parse_details};
use crate::problem::Problem;
use crate::state::AppState;

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
    if typed.is_of_another(caller.user.wallet) {
        return again(state, visit, caller, MoneyForm::of_another(), StatusCode::FORBIDDEN).await;
    }
    let window = state.config.idempotency_window_hours;
    let key = match typed.key() {
        Some(key) if form_key::is_too_old(&key, clock::now(), window) => {
            // What was done under its key may be forgotten: it would be done again.
            let form = MoneyForm::anew(typed, vec![(None, "old_form")]);
            return again(state, visit, caller, form, StatusCode::FORBIDDEN).await;
        }
        Some(key) if visit.verify_token(&typed.form_token) => key,
        kept => {
            let code = if kept.is_some() { "stale_payment" } else { "stale_form" };
            let form = MoneyForm::again(typed, vec![(None, code)]);
            return again(state, visit, caller, form, StatusCode::FORBIDDEN).await;
        }
    };
    let order = match read(&typed, visit.language, state.ledger.currency()) {
        Ok(order) => order,
        Err(refusals) => {
            let form = MoneyForm::again(typed, refusals);
            return again(state, visit, caller, form, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
    };
    let done = match source {
        Source::OwnWallet => state.teller.transfer(caller, order, Some(key)).await,
        Source::Outside => state.teller.deposit(caller, order, Some(key)).await,
    };
    match done {
        Ok(moved) => {
            let once = if moved.replayed { "&once" } else { "" };
            Redirect::to(&format!("/?done={}{once}", moved.transfer.id)).into_response()
        }
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
    let code = error.code();
    let form = match &error {
        MoneyError::Refused { rejection, replayed } => {
            // What it was refused for is told with the balance of now, which may be enough.
            let before = replayed.then_some((None, "refused_before"));
            let refusals = before.into_iter().chain([(field_of(*rejection), code)]);
            MoneyForm::anew(typed, refusals.collect())
        }
        MoneyError::Ledger(_) => MoneyForm::again(typed, vec![(None, code)]),
    };
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

/// Understands what was typed, or says everything that is wrong with it. The amount is read in the
/// language of the page it was typed on; where the form says none, in the one that is given.
pub(crate) fn read(
    typed: &MoneyInput,
    language: Language,
    currency: Currency,
) -> Result<Order, Vec<Refusal>> {
    let language = typed.language().unwrap_or(language);
    let to = read_wallet(&typed.to).map_err(|code| (Some("to"), code));
    let amount = match typed.amount.trim() {
        "" => Err((Some("amount"), "amount_missing")),
        text => amount_field::parse(text, language, currency)
            .map_err(|rejection| (Some("amount"), rejection.code())),
    };
    let details =
        parse_details(&typed.details).map_err(|rejection| (Some("details"), rejection.code()));
    match (to, amount, details) {
        (Ok(to), Ok(amount), Ok(details)) => Ok(Order { to, amount, details, external_id: None }),
        (to, amount, details) => {
            Err([to.err(), amount.err(), details.err()].into_iter().flatten().collect())
        }
    }
}

/// Reads a wallet's number, with or without a number sign before it, or zeros.
fn read_wallet(text: &str) -> Result<WalletId, &'static str> {
    let number = text.trim().trim_start_matches(['#', '№']).trim_start();
    if number.is_empty() {
        return Err("wallet_missing");
    }
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("wallet_malformed");
    }
    // A number that no wallet can have is one that no wallet has.
    WalletId::parse(number.trim_start_matches('0')).ok_or(Rejection::WalletNotFound.code())
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
        Rejection::NotTheBank
        | Rejection::IdempotencyKeyReused
        | Rejection::ExternalIdReused
        | Rejection::ExternalIdMalformed
        | Rejection::BankMustDeposit => None,
    }
}

#[cfg(test)]
mod tests {
    use super::read_wallet;

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
        check("03", Ok(3));
        check("№ 0030", Ok(30));
        check("0", Err("wallet_not_found"));
        check("0000", Err("wallet_not_found"));
        check("0x3", Err("wallet_malformed"));
        check("+3", Err("wallet_malformed"));
        check("-3", Err("wallet_malformed"));
        check("3.0", Err("wallet_malformed"));
        check("anna", Err("wallet_malformed"));
        check("9007199254740992", Err("wallet_not_found"));
        check(&"9".repeat(10_000), Err("wallet_not_found"));
    }
}

//! Owns the page at `/`: the start page for strangers, and everybody else's wallet.
//!
//! Never: a movement of money (that is `money_forms`), or a word that the address alone makes up:
//! what is said to be done is read from the wallet's own entries. Bounds: a page of the history has
//! [`ENTRIES_PER_PAGE`] entries; the way back to newer pages remembers [`TRAIL_MAX`] of them.

use std::time::Duration;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ledger::{LedgerError, OperationId, Page, Statement};
use serde::Deserialize;

use super::errors;
use super::forms::Form;
use super::language::Language;
use super::layout::{self, Layout};
use super::money_form::{self, MoneyForm};
use super::visit::Visit;
use super::wallet_words::{Row, WalletWords};
use crate::auth::Caller;
use crate::clock;
use crate::problem::Problem;
use crate::state::AppState;

const ENTRIES_PER_PAGE: usize = 20;
const TRAIL_MAX: usize = 100;
/// How long after an operation its page may say that it was just done.
const JUST_DONE: Duration = Duration::from_secs(10 * 60);
/// A balance longer than this is set smaller, so that it stays on one line of a phone.
const BALANCE_CHARS_SHORT: usize = 12;
/// One that is longer than this is set smaller again: the greatest that the bank may owe has 22, or 23.
const BALANCE_CHARS_LONG: usize = 18;

#[derive(Template)]
#[template(path = "landing.html")]
struct LandingPage {
    layout: Layout,
}

#[derive(Template)]
#[template(path = "form_alone.html")]
struct FormPage {
    layout: Layout,
    heading: String,
    form: Form,
}

#[derive(Template)]
#[template(path = "wallet.html")]
struct WalletPage {
    layout: Layout,
    name: String,
    wallet: String,
    is_bank: bool,
    balance: String,
    balance_size: &'static str,
    bank_hint: Option<String>,
    flash: Option<String>,
    form_title: String,
    form: Form,
    zone: String,
    rows: Vec<Row>,
    empty_hint: String,
    newer: Option<String>,
    older: Option<String>,
}

/// What the address of the wallet's page may say.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct HomeQuery {
    /// The newest entry wanted.
    from: Option<String>,
    /// Where the newer pages that led here start, the newest first, separated by dots.
    trail: Option<String>,
    /// The operation that was just done.
    done: Option<String>,
    /// There when its form had been sent before: nothing was done this time.
    once: Option<String>,
}

/// `GET /`.
pub(crate) async fn home(
    State(state): State<AppState>,
    visit: Visit,
    query: Result<Query<HomeQuery>, QueryRejection>,
) -> Response {
    let Some(caller) = visit.caller.clone() else {
        let layout = visit.layout(&visit.language.say("landing-title"), None);
        return layout::answer(StatusCode::OK, &LandingPage { layout });
    };
    let Ok(Query(query)) = query else { return visit.error(StatusCode::NOT_FOUND) };
    wallet(&state, &visit, &caller, &query, MoneyForm::default(), StatusCode::OK).await
}

/// The caller's wallet, with the form that moves money as it is given.
pub(crate) async fn wallet(
    state: &AppState,
    visit: &Visit,
    caller: &Caller,
    query: &HomeQuery,
    form: MoneyForm,
    status: StatusCode,
) -> Response {
    let from = match query.from.as_deref().map(OperationId::parse) {
        Some(None) => return visit.error(StatusCode::NOT_FOUND),
        from => from.flatten(),
    };
    let page = Page { from, limit: ENTRIES_PER_PAGE };
    let statement = match state.ledger.statement(caller.user.wallet, page).await {
        Ok(Some(statement)) => statement,
        Ok(None) | Err(LedgerError::NoSuchEntry) => return visit.error(StatusCode::NOT_FOUND),
        Err(error) if form.keeps_key() => {
            let response = form_alone(state, visit, caller, form, status);
            return errors::with_error(response, Problem::from(error).into_response());
        }
        Err(error) => return errors::page_instead(Problem::from(error), &visit.headers),
    };
    let flash = match query.done.as_deref().and_then(OperationId::parse) {
        Some(done) => flash(state, visit.language, caller, done, query.once.is_some()).await,
        None => None,
    };
    let Ok(token) = visit.issue_token() else {
        return visit.error(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let words = WalletWords::new(state, visit.language, &caller.user);
    let Some(form) = money_form::form(form, &words, Some(statement.balance), &token.text) else {
        return visit.error(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let title = visit.language.say("wallet-title");
    let mut layout = visit.layout(&title, Some(&token));
    if form.is_refused() {
        layout.mark_refused(&title);
        layout.keep_form();
    } else if flash.is_some() {
        layout.mark_done(&title);
    }
    let page = wallet_page(layout, &words, &statement, query, flash, form);
    token.answer(status, &page)
}

/// The form without the wallet, which cannot be read just now: the form's key must not be lost.
fn form_alone(
    state: &AppState,
    visit: &Visit,
    caller: &Caller,
    form: MoneyForm,
    status: StatusCode,
) -> Response {
    let Ok(token) = visit.issue_token() else {
        return visit.error(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let words = WalletWords::new(state, visit.language, &caller.user);
    let Some(form) = money_form::form(form, &words, None, &token.text) else {
        return visit.error(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let heading = words.form_title();
    let mut layout = visit.layout(&heading, Some(&token));
    layout.mark_refused(&heading);
    layout.keep_form();
    token.answer(status, &FormPage { layout, heading, form })
}

/// What was just done, in words: only of the caller's own, and only for a while, so that an address
/// that somebody else made up says nothing that is not so. Of a form that was sent again it is said when
/// it was done, and that this was once: so it is, whenever it is looked at and whoever made the address.
async fn flash(
    state: &AppState,
    language: Language,
    caller: &Caller,
    done: OperationId,
    once: bool,
) -> Option<String> {
    let page = Page { from: Some(done), limit: 1 };
    let statement = state.ledger.statement(caller.user.wallet, page).await.ok()??;
    let entry = statement.entries.into_iter().next()?;
    let words = WalletWords::new(state, language, &caller.user);
    let recent = entry.time >= clock::before(clock::now(), JUST_DONE);
    ((recent || once) && !words.came_in(&entry)).then(|| words.done(&entry, once))
}

fn wallet_page(
    layout: Layout,
    words: &WalletWords<'_>,
    statement: &Statement,
    query: &HomeQuery,
    flash: Option<String>,
    form: Form,
) -> WalletPage {
    let language = words.language;
    let balance = words.balance(statement.balance);
    let wallet = statement.wallet.to_string();
    let empty_hint = match words.is_bank() {
        true => language.say("history-empty-bank"),
        false => language.say_one("history-empty", "wallet", &wallet),
    };
    let (newer, older) = neighbours(query, statement.next);
    WalletPage {
        layout,
        name: if words.is_bank() { language.say("bank") } else { words.user.name.clone() },
        is_bank: words.is_bank(),
        balance_size: balance_size(&balance),
        balance,
        bank_hint: words.bank_hint(statement.balance),
        flash,
        form_title: words.form_title(),
        form,
        zone: language.say_one("history-zone", "zone", words.zone.name()),
        rows: statement.entries.iter().map(|entry| words.row(entry)).collect(),
        empty_hint,
        wallet,
        newer,
        older,
    }
}

/// The further class of a balance, by which it stays on its line.
fn balance_size(balance: &str) -> &'static str {
    match balance.chars().count() {
        longest if longest > BALANCE_CHARS_LONG => " balance-longest",
        long if long > BALANCE_CHARS_SHORT => " balance-long",
        _ => "",
    }
}

/// The addresses of the newer and of the older page.
///
/// A cursor leads to older entries only, so the way that led here is in the address.
fn neighbours(query: &HomeQuery, next: Option<OperationId>) -> (Option<String>, Option<String>) {
    let from = query.from.as_deref().and_then(OperationId::parse);
    let trail = query.trail.as_deref().unwrap_or_default();
    let mut trail: Vec<OperationId> = trail.split('.').filter_map(OperationId::parse).collect();
    let oldest_kept = trail.len().saturating_sub(TRAIL_MAX);
    trail.drain(..oldest_kept);
    let newer = from.map(|_| match trail.split_last() {
        Some((last, rest)) => address(*last, rest),
        None => "/#history".to_owned(),
    });
    let older = next.map(|next| {
        let way: Vec<OperationId> = trail.iter().copied().chain(from).collect();
        address(next, &way)
    });
    (newer, older)
}

fn address(from: OperationId, trail: &[OperationId]) -> String {
    let trail: Vec<String> = trail.iter().map(ToString::to_string).collect();
    let trail = trail.join(".");
    let and_trail = if trail.is_empty() { String::new() } else { format!("&trail={trail}") };
    format!("/?from={from}{and_trail}#history")
}

#[cfg(test)]
mod tests {
    use askama::Template;
    use axum::http::Uri;
    use ledger::{Currency, OperationId, Role, User, UserId, WalletId};

    use super::money_form::{self, MoneyForm};
    use super::{FormPage, HomeQuery, Language, Layout, TRAIL_MAX, WalletWords, neighbours};

    #[test]
    fn a_wallet_that_cannot_be_read_still_shows_the_key() {
        let (name, email) = ("Anna".to_owned(), "anna@example.org".to_owned());
        let (id, wallet) = (UserId::FIRST, WalletId::FIRST);
        let user = User { id, wallet, role: Role::Person, name, email };
        let (currency, zone) = (Currency::parse("RUB").unwrap(), chrono_tz::UTC);
        for language in Language::ALL {
            let words = WalletWords { language, currency, user: &user, zone };
            let typed = serde_json::json!({"key": "form-1", "to": "7", "amount": "12"});
            let typed = serde_json::from_value(typed).unwrap();
            let form = MoneyForm::again(typed, vec![(None, "outcome_unknown")]);
            let form = money_form::form(form, &words, None, "token").unwrap();
            let (heading, address) = (words.form_title(), Uri::from_static("/send"));
            let layout = Layout::new(language, &address, &heading);
            let page = FormPage { layout, heading, form }.render().unwrap();
            for kept in ["form-1", "7", "12", "token"] {
                assert!(page.contains(&format!("value=\"{kept}\"")), "{kept}: {page}");
            }
            assert!(page.contains(&language.say("error-outcome_unknown")));
        }
    }

    #[test]
    fn the_way_back_is_in_the_address() {
        let check = |from: &str, trail: &str, next: u64, newer: &str, older: &str| {
            let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let query =
                HomeQuery { from: given(from), trail: given(trail), ..HomeQuery::default() };
            let found = neighbours(&query, OperationId::new(next));
            assert_eq!(found, (given(newer), given(older)), "{from} {trail}");
        };
        check("", "", 0, "", "");
        check("", "", 80, "", "/?from=80#history");
        check("80", "", 60, "/#history", "/?from=60&trail=80#history");
        check("60", "80", 40, "/?from=80#history", "/?from=40&trail=80.60#history");
        check("40", "80.60", 0, "/?from=60&trail=80#history", "");
        check("40", "x..-1", 0, "/#history", "");
    }

    #[test]
    fn the_way_back_is_bounded() {
        let trail = vec!["7"; 10 * TRAIL_MAX].join(".");
        let query =
            HomeQuery { from: Some("5".to_owned()), trail: Some(trail), ..HomeQuery::default() };
        let (newer, older) = neighbours(&query, OperationId::new(3));
        assert!(newer.unwrap().len() < 300 && older.unwrap().len() < 300);
    }
}

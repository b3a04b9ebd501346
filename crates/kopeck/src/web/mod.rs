//! Owns the pages: what people see who use kopeck with a browser, in English and in Russian.
//!
//! Never: a rule of money, a session, a script, or an asset of another host; the pages work without
//! JavaScript. Bounds: every form is answered by a redirect or by itself with what is wrong; nothing
//! is kept between two requests but cookies.

pub(crate) mod account;
pub(crate) mod amount_field;
mod assets;
pub(crate) mod errors;
mod form_key;
pub(crate) mod format;
mod forms;
mod home;
pub(crate) mod language;
mod layout;
pub(crate) mod money_form;
pub(crate) mod money_forms;
mod statement;
mod text;
mod visit;
mod wallet_words;

use axum::Router;
use axum::http::HeaderValue;
use axum::middleware::from_fn;
use axum::response::Redirect;
use axum::routing::get;

use crate::state::AppState;

/// When somebody who was sent away may come back, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// Every page's route, and the answer for paths that nobody knows.
pub(crate) fn routes() -> Router<AppState> {
    let send = get(errors::home_instead).post(money_forms::send);
    let deposit = get(errors::home_instead).post(money_forms::deposit);
    Router::new()
        .route("/", get(home::home))
        .route("/signup", get(account::sign_up_page).post(account::sign_up))
        .route("/login", get(account::log_in_page).post(account::log_in))
        .route("/logout", get(account::log_out_page).post(account::log_out))
        .route("/signup/", get(async || Redirect::permanent("/signup")))
        .route("/login/", get(async || Redirect::permanent("/login")))
        .route("/logout/", get(async || Redirect::permanent("/logout")))
        .route("/statement.csv", get(statement::csv))
        .route("/send", send)
        .route("/deposit", deposit)
        .route("/assets/{file}", get(assets::serve))
        .route("/favicon.ico", get(assets::favicon))
        .method_not_allowed_fallback(errors::method_not_allowed)
        .fallback(errors::not_found)
        .layer(from_fn(language::layer))
}

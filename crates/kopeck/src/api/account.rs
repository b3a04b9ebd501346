//! Owns signing up, logging in and logging out by JSON.
//!
//! Never: a token in a body; it goes out as a cookie. Bounds: those of [`auth`](crate::auth).

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};

use super::json::JsonBody;
use super::openapi::{KeyParameter, LogInProblems, LogOutProblems, SignUpProblems};
use super::wire::{DoneAnswer, LogInBody, LoggedInAnswer, SignUpBody};
use crate::auth::{Caller, Client, LogIn, LoggedIn, SessionToken, SignUp, cookies};
use crate::idempotency::{Key, Replayed};
use crate::problem::Problem;
use crate::state::AppState;

type Cookie = [(HeaderName, axum::http::HeaderValue); 1];

/// Makes a user with a wallet, and logs the user in.
#[utoipa::path(
    post, path = "/api/signup", tag = "account", request_body = inline(SignUpBody),
    params(KeyParameter),
    responses(
        (status = 200, description = "Signed up and logged in: the session's cookie is set",
         body = LoggedInAnswer, headers(
            ("Set-Cookie" = String, description = "The session"),
            ("Idempotency-Replayed" = Option<String>, description = "`true`: this was answered before"),
         )),
        SignUpProblems,
    ),
)]
pub(super) async fn sign_up(
    State(state): State<AppState>,
    client: Client,
    headers: HeaderMap,
    Key(key): Key,
    body: JsonBody,
) -> Result<(Replayed, Cookie, Json<LoggedInAnswer>), Problem> {
    let SignUpBody { name, email, password } = body.read()?;
    let wanted = SignUp { name, email, password, key };
    let replaces = cookies::SESSION.read(&headers, &client);
    let LoggedIn { user, token, replayed } =
        state.auth.sign_up(wanted, client.address, replaces.as_ref()).await?;
    Ok((Replayed(replayed), cookie(&state, &token, &client), Json((&user).into())))
}

/// Logs a user in. A session that the request carries is closed.
#[utoipa::path(
    post, path = "/api/login", tag = "account", request_body = inline(LogInBody),
    responses(
        (status = 200, description = "Logged in: the session's cookie is set",
         body = LoggedInAnswer, headers(("Set-Cookie" = String, description = "The session"))),
        LogInProblems,
    ),
)]
pub(super) async fn log_in(
    State(state): State<AppState>,
    client: Client,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<(Cookie, Json<LoggedInAnswer>), Problem> {
    let LogInBody { email, password } = body.read()?;
    let replaces = cookies::SESSION.read(&headers, &client);
    let claim = LogIn { email, password };
    let LoggedIn { user, token, .. } =
        state.auth.log_in(claim, client.address, replaces.as_ref()).await?;
    Ok((cookie(&state, &token, &client), Json((&user).into())))
}

/// Closes the session and takes its cookie away.
#[utoipa::path(
    post, path = "/api/logout", tag = "account", security(("session" = [])),
    responses(
        (status = 200, description = "Logged out", body = DoneAnswer,
         headers(("Set-Cookie" = String, description = "The session's cookie, taken away"))),
        LogOutProblems,
    ),
)]
pub(super) async fn log_out(
    State(state): State<AppState>,
    client: Client,
    caller: Caller,
) -> Result<(Cookie, Json<DoneAnswer>), Problem> {
    state.auth.log_out(&caller.token).await?;
    Ok(([(header::SET_COOKIE, cookies::clear_session(&client))], Json(DoneAnswer::OK)))
}

fn cookie(state: &AppState, token: &SessionToken, client: &Client) -> Cookie {
    let lives = state.auth.sessions.expiry().absolute;
    [(header::SET_COOKIE, cookies::set_session(token, client, lives))]
}

//! Owns the reading of one's own wallet.
//!
//! Never: anybody else's. Bounds: [`LIMIT_MAX`] operations a page.

use axum::Json;
use axum::extract::{RawQuery, State};
use ledger::{LedgerError, OperationId, Page};

use super::openapi::WalletProblems;
use super::wire::WalletAnswer;
use crate::auth::Caller;
use crate::problem::{Code, Problem};
use crate::state::AppState;

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 100;

/// The caller's wallet, with a page of its operations, newest first.
#[utoipa::path(
    get, path = "/api/wallet", tag = "wallet", security(("session" = [])),
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100,
         description = "Operations a page, 20 if not given"),
        ("cursor" = Option<String>, Query, pattern = "^[1-9][0-9]{0,15}$",
         description = "Where the page starts: `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "The wallet", body = WalletAnswer),
        WalletProblems,
    ),
)]
pub(super) async fn wallet(
    State(state): State<AppState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<WalletAnswer>, Problem> {
    let page = parse_page(query.as_deref().unwrap_or_default())?;
    let wallet = caller.user.wallet;
    let statement = state.ledger.statement(wallet, page).await?;
    let missing = || LedgerError::Unreadable(format!("wallet {wallet} of a user is missing"));
    Ok(Json(WalletAnswer::new(statement.ok_or_else(missing)?, state.ledger.currency())))
}

fn parse_page(query: &str) -> Result<Page, Problem> {
    let malformed = |field: &str, detail: String| {
        Problem::new(Code::MalformedQuery).detail(detail).field(field.to_owned())
    };
    let mut limit = None;
    let mut from = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let again = match &*name {
            "limit" => {
                let fits = |limit: &usize| (1..=LIMIT_MAX).contains(limit);
                let plain = value.bytes().all(|byte| byte.is_ascii_digit());
                let parsed = value.parse().ok().filter(|limit| plain && fits(limit));
                let detail = || format!("`limit` must be a whole number from 1 to {LIMIT_MAX}");
                limit.replace(parsed.ok_or_else(|| malformed("limit", detail()))?).is_some()
            }
            "cursor" => {
                let detail = "`cursor` must be the `next_cursor` of another page";
                let parsed = OperationId::parse(&value);
                from.replace(parsed.ok_or_else(|| malformed("cursor", detail.to_owned()))?)
                    .is_some()
            }
            other => {
                let other: String = other.chars().take(100).collect();
                return Err(malformed(&other, "there is no such query parameter".to_owned()));
            }
        };
        if again {
            return Err(malformed(&name, format!("`{name}` stands there twice")));
        }
    }
    Ok(Page { from, limit: limit.unwrap_or(LIMIT_DEFAULT) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let page = |from, limit| Page { from: OperationId::new(from), limit };
        assert_eq!(parse_page("").unwrap(), page(0, 20));
        assert_eq!(parse_page("limit=100").unwrap(), page(0, 100));
        assert_eq!(parse_page("cursor=7&limit=1").unwrap(), page(7, 1));
        for bad in [
            "limit=0",
            "limit=101",
            "limit=abc",
            "limit=",
            "limit=+1",
            "limit=1&limit=1",
            "cursor=0",
            "cursor=x",
            "cursor=",
            "cursor=1&cursor=1",
            "x=1",
            "limit",
        ] {
            assert_eq!(parse_page(bad).unwrap_err().code(), "malformed_query", "{bad}");
        }
    }
}

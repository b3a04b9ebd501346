//! Owns the caller's whole history as a download, as CSV and as JSON Lines.
//!
//! Never: anybody else's. Bounds: a page in memory (see [`statement`](crate::statement)).

use axum::extract::{RawQuery, State};
use axum::response::Response;

use super::openapi::StatementProblems;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::sheet::{self, Format, Sheet};
use crate::state::AppState;
use crate::statement::{CSV, Download, JSON_LINES, Period};

/// The caller's history as CSV (RFC 4180), newest first.
///
/// UTF-8 with a header row, without a byte order mark. In `details`, an apostrophe stands before
/// whatever a spreadsheet could take for a formula; JSON Lines has the text as it is. At most 16 downloads
/// of one user at a time: one more is refused with `overloaded`.
#[utoipa::path(
    get, path = "/api/statement.csv", operation_id = "statement_csv", tag = "wallet", security(("session" = [])),
    params(
        ("from" = Option<String>, Query, format = Date, description = "The first day, in UTC"),
        ("to" = Option<String>, Query, format = Date, description = "The last day, in UTC: not before the first"),
    ),
    responses(
        (status = 200, description = "The history, an operation a row", body = String,
         content_type = "text/csv; charset=utf-8",
         headers(("content-disposition" = String, description = "A name for the file"))),
        StatementProblems,
    ),
)]
pub(super) async fn csv(
    state: State<AppState>,
    caller: Caller,
    query: RawQuery,
) -> Result<Response, Problem> {
    download(state, caller, query, Format::Csv).await
}

/// The caller's history as JSON Lines, newest first.
///
/// An operation a line, as `/api/wallet` has it, with the currency. At most 16 downloads of one user at a
/// time: one more is refused with `overloaded`.
#[utoipa::path(
    get, path = "/api/statement.jsonl", operation_id = "statement_json_lines", tag = "wallet", security(("session" = [])),
    params(
        ("from" = Option<String>, Query, format = Date, description = "The first day, in UTC"),
        ("to" = Option<String>, Query, format = Date, description = "The last day, in UTC: not before the first"),
    ),
    responses(
        (status = 200, description = "The history, an operation a line", body = String,
         content_type = "application/jsonl",
         headers(("content-disposition" = String, description = "A name for the file"))),
        StatementProblems,
    ),
)]
pub(super) async fn json_lines(
    state: State<AppState>,
    caller: Caller,
    query: RawQuery,
) -> Result<Response, Problem> {
    download(state, caller, query, Format::Jsonl).await
}

async fn download(
    State(state): State<AppState>,
    caller: Caller,
    RawQuery(query): RawQuery,
    format: Format,
) -> Result<Response, Problem> {
    let period = Period::parse(query.as_deref().unwrap_or_default())?;
    let download = Download::open(&state.ledger, &state.downloads, &caller.user, period).await?;
    let currency = state.ledger.currency();
    let (media_type, ending) = match format {
        Format::Csv => (CSV, "csv"),
        Format::Jsonl => (JSON_LINES, "jsonl"),
    };
    Ok(download.answer(media_type, ending, move |entries, is_first| {
        let mut sheet = Sheet::new(format, Vec::new());
        if is_first {
            sheet.head(&sheet::ENTRY)?;
        }
        for entry in entries {
            sheet.row(&sheet::entry(entry, currency))?;
        }
        sheet.finish()
    }))
}

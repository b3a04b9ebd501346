//! Owns the history as a file for a person's spreadsheet, as a spreadsheet of the page's language
//! expects it.
//!
//! Never: what programs read (that is the API's statement, which is the same in every language).
//! Bounds: those of [`statement`](crate::statement).

use std::io;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use ledger::{Details, Entry, User};

use super::errors;
use super::language::Language;
use super::visit::Visit;
use super::wallet_words::WalletWords;
use crate::sheet::{Cell, Sheet};
use crate::state::AppState;
use crate::statement::{CSV, Download, Period};

/// What spreadsheets know UTF-8 by.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The headings' keys, in the order of the columns.
const HEADINGS: [&str; 7] = [
    "statement-operation",
    "statement-time",
    "history-what",
    "history-amount",
    "history-balance-after",
    "statement-currency",
    "field-details",
];

/// `GET /statement.csv`.
pub(crate) async fn csv(State(state): State<AppState>, visit: Visit) -> Response {
    let Some(caller) = visit.caller.clone() else { return Redirect::to("/login").into_response() };
    let (ledger, downloads) = (&state.ledger, &state.downloads);
    let download = match Download::open(ledger, downloads, &caller.user, Period::default()).await {
        Ok(download) => download,
        Err(problem) => return errors::page_instead(problem, &visit.headers),
    };
    let language = visit.language;
    download.answer(CSV, "csv", move |entries, is_first| {
        write(&state, language, &caller.user, entries, is_first)
    })
}

fn write(
    state: &AppState,
    language: Language,
    user: &User,
    entries: &[Entry],
    is_first: bool,
) -> io::Result<Vec<u8>> {
    let words = WalletWords::new(state, language, user);
    let mark = if is_first { BYTE_ORDER_MARK } else { "" };
    let mut sheet = Sheet::csv(separator(language), mark.as_bytes().to_vec());
    if is_first {
        let zone = words.zone.name();
        sheet.head(&HEADINGS.map(|heading| language.say_one(heading, "zone", zone)))?;
    }
    for entry in entries {
        sheet.row(&row(&words, entry).map(|cell| ("", cell)))?;
    }
    sheet.finish()
}

fn row<'e>(words: &WalletWords<'_>, entry: &'e Entry) -> [Cell<'e>; 7] {
    let sign = if words.came_in(entry) { "" } else { "-" };
    let number = |text: String| Cell::Number(decimal(words.language, text));
    let time = DateTime::<Utc>::from_timestamp_micros(entry.time.micros()).unwrap_or_default();
    let time = time.with_timezone(&words.zone).format("%Y-%m-%d %H:%M:%S").to_string();
    [
        Cell::Number(entry.operation.to_string()),
        Cell::Word(time.into()),
        Cell::Word(words.row(entry).what.into()),
        number(format!("{sign}{}", entry.amount.in_units(words.currency))),
        number(entry.balance.in_units(words.currency).to_string()),
        Cell::Word(words.currency.code().into()),
        Cell::Text(entry.details.as_ref().map(Details::as_str)),
    ]
}

/// Where a comma is the decimal mark, a semicolon separates: spreadsheets go by the language.
fn separator(language: Language) -> u8 {
    match language {
        Language::English => b',',
        Language::Russian => b';',
    }
}

/// Exact decimal text with the decimal mark of a language: elsewhere `11.10` is the tenth of
/// November.
fn decimal(language: Language, text: String) -> String {
    match language {
        Language::English => text,
        Language::Russian => text.replace('.', ","),
    }
}

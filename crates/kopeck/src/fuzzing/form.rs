//! Owns the door to the forms of the pages.
//!
//! Never: a form's token or session. Bounds: linear.

use axum::Form;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use futures_util::FutureExt;
use ledger::{DETAILS_CHARS_MAX, Details, ID_MAX, Rejection};

use super::{currency, json};
use crate::unseen::is_seen;
use crate::web::account::{self, AccountInput};
use crate::web::amount_field;
use crate::web::language::Language;
use crate::web::money_form::MoneyInput;
use crate::web::money_forms;

/// The first byte chooses the form and the rest; the rest is the body.
pub fn form(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let pairs = naive_pairs(body);
    if choice % 2 == 0 {
        let fields = ["form_token", "key", "language", "to", "amount", "details"];
        let sent = send::<MoneyInput>(body);
        assert_eq!(sent.is_some(), once(&pairs, &fields), "{pairs:?}");
        if let Some(typed) = sent {
            assert_eq!(typed.form_token, field(&pairs, "form_token"));
            money(&typed, &pairs, choice >> 1);
        }
    } else {
        let fields = ["form_token", "key", "name", "email", "password"];
        let sent = send::<AccountInput>(body);
        assert_eq!(sent.is_some(), once(&pairs, &fields), "{pairs:?}");
        if let Some(typed) = sent {
            assert_eq!(typed.form_token, field(&pairs, "form_token"));
            sign_up(&typed, &pairs);
        }
    }
}

fn money(typed: &MoneyInput, pairs: &[(String, String)], choice: u8) {
    let [key, to, amount, details] =
        ["key", "to", "amount", "details"].map(|name| field(pairs, name));
    assert_eq!((&typed.to, &typed.amount, &typed.details), (&to, &amount, &details));
    let ours = key.starts_with("form-") && key.len() <= 255;
    let ours = ours && key.chars().all(|char| char.is_ascii_graphic());
    let found = typed.key();
    assert_eq!(found.as_ref().map(|key| key.as_str()), ours.then_some(key.as_str()));

    let visited = Language::ALL[usize::from(choice) % Language::ALL.len()];
    let language = match field(pairs, "language").as_str() {
        "en" => Language::English,
        "ru" => Language::Russian,
        _ => visited,
    };
    let currency = currency(choice / 2);
    let expected_to = naive_wallet(&to);
    let expected_amount = match amount.trim() {
        "" => Err("amount_missing"),
        text => amount_field::parse(text, language, currency).map_err(Rejection::code),
    };
    let kept = details.trim();
    let expected_details = if kept.chars().count() > DETAILS_CHARS_MAX {
        Err("details_too_long")
    } else if kept.chars().any(char::is_control) {
        Err("details_malformed")
    } else if is_seen(kept) {
        Ok(kept)
    } else {
        Ok("")
    };
    match money_forms::read(typed, visited, currency) {
        Ok(order) => {
            assert_eq!(Ok(order.to.get()), expected_to);
            assert_eq!(Ok(order.amount), expected_amount);
            let kept = order.details.as_ref().map_or("", Details::as_str);
            assert_eq!(Ok(kept), expected_details);
        }
        Err(refusals) => {
            let expected = [
                expected_to.err().map(|code| (Some("to"), code)),
                expected_amount.err().map(|code| (Some("amount"), code)),
                expected_details.err().map(|code| (Some("details"), code)),
            ];
            assert_eq!(refusals, expected.into_iter().flatten().collect::<Vec<_>>());
            for (_, code) in refusals {
                assert!(language.knows(&format!("error-{code}")), "{code}");
            }
        }
    }
}

/// The number of a wallet as people write it: signs and spaces before it, zeros before it.
fn naive_wallet(text: &str) -> Result<u64, &'static str> {
    let digits = text.trim().trim_start_matches(['#', '№']).trim();
    if digits.is_empty() {
        return Err("wallet_missing");
    }
    let mut number: u64 = 0;
    for digit in digits.chars() {
        let digit = digit.to_digit(10).ok_or("wallet_malformed")?;
        number = number.saturating_mul(10).saturating_add(digit.into());
    }
    if (1..=ID_MAX).contains(&number) { Ok(number) } else { Err("wallet_not_found") }
}

fn sign_up(typed: &AccountInput, pairs: &[(String, String)]) {
    let [name, email, password] = ["name", "email", "password"].map(|name| field(pairs, name));
    assert_eq!((&typed.name, &typed.email), (&name, &email));
    assert_eq!(typed.password().reveal(), password);
    json::check_account(&name, &email, &typed.password());
    for (field, code) in account::every_refusal(typed) {
        assert!(matches!(field, Some("name" | "email" | "password")), "{field:?}");
        for language in Language::ALL {
            assert!(language.knows(&format!("error-{code}")), "{code}");
        }
    }
}

/// As a handler takes it; `None` when it is refused.
fn send<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<T> {
    let kind = "application/x-www-form-urlencoded";
    let request = Request::post("/").header(header::CONTENT_TYPE, kind);
    let request = request.body(Body::from(body.to_vec())).unwrap();
    let sent = Form::<T>::from_request(request, &()).now_or_never().unwrap();
    sent.ok().map(|Form(sent)| sent)
}

/// Whether each of the fields stands there at most once.
fn once(pairs: &[(String, String)], fields: &[&str]) -> bool {
    fields.iter().all(|field| pairs.iter().filter(|(name, _)| name == field).count() <= 1)
}

fn field(pairs: &[(String, String)], name: &str) -> String {
    let found = pairs.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// The pairs of a form as the WHATWG's URL standard decodes them.
fn naive_pairs(body: &[u8]) -> Vec<(String, String)> {
    let pieces = body.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty());
    let pairs = pieces.map(|piece| {
        let mut halves = piece.splitn(2, |byte| *byte == b'=');
        let mut half = || naive_decode(halves.next().unwrap_or_default());
        (half(), half())
    });
    pairs.collect()
}

fn naive_decode(mut text: &[u8]) -> String {
    let mut decoded = Vec::new();
    while let Some((&byte, rest)) = text.split_first() {
        let hexadecimal = rest.get(..2).and_then(|digits| {
            let plain = digits.iter().all(u8::is_ascii_hexdigit);
            let digits = std::str::from_utf8(digits).ok().filter(|_| plain)?;
            u8::from_str_radix(digits, 16).ok()
        });
        (text, _) = match (byte, hexadecimal) {
            (b'%', Some(value)) => (&rest[2..], decoded.push(value)),
            (b'+', _) => (rest, decoded.push(b' ')),
            _ => (rest, decoded.push(byte)),
        };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

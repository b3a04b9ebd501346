//! Owns the door to the reading of amounts: the ledger's own, and that of the pages.
//!
//! Never: arithmetic on an exponent; the naive reading moves the point in the text. Bounds: linear.

use ledger::{Amount, Currency, MINOR_UNITS_MAX, Rejection};
use serde_json::value::RawValue;

use super::currency;
use crate::web::language::Language;
use crate::web::{amount_field, format};

/// The first byte chooses the currency, the rest is the text of an amount.
pub fn amount(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(currency) = Currency::parse(text) {
        assert_eq!(currency.code(), text);
    }
    let currency = currency(choice);
    let read = Amount::parse(text, currency);
    assert_eq!(read, naive(text, currency), "{text:?} in {currency}");
    if let Ok(amount) = read {
        check_text(amount, currency);
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    for language in Language::ALL {
        let typed = amount_field::parse(text, language, currency);
        if plain {
            assert_eq!(typed, read, "{text:?} in {currency} is read one way everywhere");
        }
        // What a page shows can be typed again.
        for amount in [typed, read].into_iter().flatten() {
            let shown = format::amount(amount, language, currency);
            assert_eq!(amount_field::parse(&shown, language, currency), Ok(amount), "{shown:?}");
        }
    }
}

/// What is written of an amount is exact, and read as the same amount.
fn check_text(amount: Amount, currency: Currency) {
    let text = amount.in_units(currency).to_string();
    assert_eq!(Amount::parse(&text, currency), Ok(amount), "{text}");
    assert_eq!(text.replace('.', "").parse(), Ok(amount.minor()), "{text}");
    let after_point = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    assert_eq!(after_point, currency.exponent(), "{text}");
}

/// Reads an amount as a pupil would: write the number out, count the digits, drop the point.
pub(super) fn naive(text: &str, currency: Currency) -> Result<Amount, Rejection> {
    if !is_json_number(text) {
        return Err(Rejection::AmountMalformed);
    }
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.bytes().all(|byte| matches!(byte, b'0' | b'-')) || text.starts_with('-') {
        return Err(Rejection::AmountNotPositive);
    }
    let beyond = if power.starts_with('-') { i128::MIN / 2 } else { i128::MAX / 2 };
    let power = power.parse().unwrap_or(beyond);
    let after_point = i128::try_from(fraction.len()).unwrap().saturating_sub(power);
    let zeros = i128::try_from(currency.exponent()).unwrap().saturating_sub(after_point);
    if zeros < 0 {
        return Err(Rejection::AmountTooPrecise);
    }
    let digits = digits.trim_start_matches('0');
    let longest = MINOR_UNITS_MAX.to_string().len();
    let zeros = usize::try_from(zeros).unwrap_or(usize::MAX);
    if digits.len().saturating_add(zeros) > longest {
        return Err(Rejection::AmountTooLarge);
    }
    Amount::from_minor(format!("{digits}{}", "0".repeat(zeros)).parse().unwrap())
}

fn is_json_number(text: &str) -> bool {
    let begins = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    begins && serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get() == text)
}

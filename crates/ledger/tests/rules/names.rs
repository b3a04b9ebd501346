//! What is taken as an id, an idempotency key and details.

use ledger::{
    DETAILS_CHARS_MAX, Details, ID_MAX, IdempotencyKey, KEY_CHARS_MAX, Rejection, WalletId,
};

#[test]
fn ids_are_plain_decimal_numbers_that_a_double_holds() {
    for (text, expected) in [
        ("1", Some(1)),
        ("2", Some(2)),
        ("9007199254740991", Some(ID_MAX)),
        ("9007199254740992", None),
        ("18446744073709551616", None),
        ("0", None),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("01", None),
        (" 1", None),
        ("1.0", None),
        ("1e3", None),
        ("\u{661}", None),
        ("wallet", None),
    ] {
        assert_eq!(WalletId::parse(text).map(WalletId::get), expected, "{text}");
    }
    assert_eq!(WalletId::new(0), None);
    assert_eq!(WalletId::new(ID_MAX + 1), None);
    assert_eq!(WalletId::new(1), Some(WalletId::FIRST));
    assert_eq!(format!("{0} {0:?}", WalletId::FIRST), "1 WalletId(1)");
}

#[test]
fn keys_are_visible_ascii() {
    let longest = "k".repeat(KEY_CHARS_MAX);
    for text in ["1", "8e03978e-40d5-43dd-bc93-6894a57f9324", "!~", longest.as_str()] {
        assert_eq!(IdempotencyKey::parse(text).unwrap().as_str(), text);
    }
    let too_long = "k".repeat(KEY_CHARS_MAX + 1);
    for text in ["", " ", "a b", "a\n", "ключ", "\u{7f}", too_long.as_str()] {
        assert!(IdempotencyKey::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn details_are_trimmed_text_of_at_most_200_characters() {
    let parsed = |text: &str| {
        Details::parse(text).map(|details| details.map(|details| details.as_str().to_owned()))
    };
    assert_eq!(parsed("Перевод из Тинькофф"), Ok(Some("Перевод из Тинькофф".to_owned())));
    assert_eq!(parsed("  lunch \n"), Ok(Some("lunch".to_owned())));
    assert_eq!(parsed(""), Ok(None));
    assert_eq!(parsed(" \t\n"), Ok(None));
    let longest = "я".repeat(DETAILS_CHARS_MAX);
    assert_eq!(parsed(&longest), Ok(Some(longest.clone())));
    assert_eq!(parsed(&format!("{longest}я")), Err(Rejection::DetailsTooLong));
    for text in ["a\nb", "a\0b", "a\u{7f}b", "a\u{85}b", "\u{1b}[31mred"] {
        assert_eq!(parsed(text), Err(Rejection::DetailsMalformed), "{text:?}");
    }
    // Both at once: the earlier refusal is given.
    assert_eq!(parsed(&format!("{longest}\n{longest}")), Err(Rejection::DetailsTooLong));
}

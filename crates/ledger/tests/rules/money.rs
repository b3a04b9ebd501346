//! What is read as money and how it is written, as tables.

use ledger::{Amount, Balance, Currency, MINOR_UNITS_MAX, Rejection};
use proptest::prelude::*;

/// Reads each text of a table `text => minor units or code` in the currency.
fn check(currency: &str, table: &str) {
    let currency = Currency::parse(currency).unwrap();
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let (text, expected) = line.split_once("=>").unwrap();
        assert_eq!(read(text.trim(), currency), expected.trim(), "{currency} at `{line}`");
    }
}

fn read(text: &str, currency: Currency) -> String {
    match Amount::parse(text, currency) {
        Ok(amount) => amount.minor().to_string(),
        Err(rejection) => rejection.code().to_owned(),
    }
}

fn rub() -> Currency {
    Currency::parse("RUB").unwrap()
}

#[test]
fn exact_amounts_are_read_digit_by_digit() {
    check(
        "RUB",
        "115.6  => 11560
         11.1   => 1110
         0.01   => 1
         0.1    => 10
         1      => 100
         1.0    => 100
         1.00   => 100
         0.07   => 7
         8.41   => 841
         1.2e1  => 1200
         1.2E1  => 1200
         1E2    => 10000
         1e+2   => 10000
         1e02   => 10000
         1e0    => 100
         1e-2   => 1
         100e-2 => 100
         9999999999999.99    => 999999999999999
         999999999999999e-2  => 999999999999999
         0.999999999999999e13 => 999999999999999",
    );
    check("JPY", "1 => 1\n 1e3 => 1000\n 1.5e1 => 15\n 999999999999999 => 999999999999999");
    check("KWD", "0.001 => 1\n 115.6 => 115600\n 1e-3 => 1\n 999999999999.999 => 999999999999999");
}

#[test]
fn more_digits_than_the_currency_has_are_refused_and_not_rounded() {
    check(
        "RUB",
        "0.001    => amount_too_precise
         1.005    => amount_too_precise
         1.000    => amount_too_precise
         1e-3     => amount_too_precise
         1000e-3  => amount_too_precise
         1e-400   => amount_too_precise
         1e-99999999999999999999 => amount_too_precise",
    );
    check(
        "JPY",
        "0.1 => amount_too_precise\n 1.0 => amount_too_precise\n 115.6 => amount_too_precise",
    );
    check("KWD", "0.0001 => amount_too_precise\n 1.0000 => amount_too_precise");
}

#[test]
fn nothing_and_less_than_nothing_are_refused() {
    for currency in ["RUB", "JPY", "KWD"] {
        check(
            currency,
            "0       => amount_not_positive
             -0      => amount_not_positive
             0.00    => amount_not_positive
             0.0000  => amount_not_positive
             0e400   => amount_not_positive
             0e-400  => amount_not_positive
             -1      => amount_not_positive
             -115.6  => amount_not_positive",
        );
    }
}

#[test]
fn beyond_fifteen_digits_is_too_large() {
    check(
        "RUB",
        "9999999999999.99   => 999999999999999
         10000000000000     => amount_too_large
         10000000000000.00  => amount_too_large
         999999999999999    => amount_too_large
         9223372036854775807 => amount_too_large
         9223372036854775808 => amount_too_large
         92233720368547758.07 => amount_too_large
         184467440737095516.17 => amount_too_large
         1e13               => amount_too_large
         1e400              => amount_too_large
         1E99999999999999999999 => amount_too_large",
    );
    check("JPY", "999999999999999 => 999999999999999\n 1000000000000000 => amount_too_large");
    check("KWD", "999999999999.999 => 999999999999999\n 1000000000000 => amount_too_large");
}

#[test]
fn what_is_not_a_json_number_is_malformed() {
    check(
        "RUB",
        "abc      => amount_malformed
         NaN      => amount_malformed
         Infinity => amount_malformed
         01       => amount_malformed
         00       => amount_malformed
         -01      => amount_malformed
         .5       => amount_malformed
         5.       => amount_malformed
         .        => amount_malformed
         -        => amount_malformed
         --1      => amount_malformed
         -.5      => amount_malformed
         +1       => amount_malformed
         1e       => amount_malformed
         e5       => amount_malformed
         1e+      => amount_malformed
         1e-      => amount_malformed
         1e+-1    => amount_malformed
         1e1.5    => amount_malformed
         1e5e5    => amount_malformed
         1.e5     => amount_malformed
         1.2.3    => amount_malformed
         1,5      => amount_malformed
         1_000    => amount_malformed
         1 000    => amount_malformed
         1. 5     => amount_malformed
         1.-5     => amount_malformed
         0x10     => amount_malformed
         10₽      => amount_malformed
         \u{661}  => amount_malformed
         1.\u{661} => amount_malformed
         \u{ff11} => amount_malformed
         \u{2212}1 => amount_malformed",
    );
    // The table trims its cells, so what trimming would hide stands here.
    for text in ["", " ", " 1", "1 ", "\t1", "1\n", "\u{a0}1", "1\u{a0}", "1\0", "\u{feff}1"] {
        assert_eq!(Amount::parse(text, rub()), Err(Rejection::AmountMalformed), "{text:?}");
    }
}

#[test]
fn of_two_faults_of_an_amount_the_earlier_is_given() {
    check(
        "RUB",
        "-0.001 => amount_not_positive
         -1e400 => amount_not_positive
         0.000  => amount_not_positive
         10000000000000.001 => amount_too_precise
         -1x    => amount_malformed
         0x     => amount_malformed",
    );
}

#[test]
fn ten_thousand_digits_are_refused_without_harm() {
    let nines = "9".repeat(10_000);
    let zeros = "0".repeat(10_000);
    for (text, expected) in [
        (nines.clone(), "amount_too_large"),
        (format!("-{nines}"), "amount_not_positive"),
        (format!("0.{nines}"), "amount_too_precise"),
        (format!("0.{zeros}1"), "amount_too_precise"),
        (format!("1{zeros}"), "amount_too_large"),
        (format!("1e{nines}"), "amount_too_large"),
        (format!("1e-{nines}"), "amount_too_precise"),
        (format!("0{nines}"), "amount_malformed"),
        (zeros.clone(), "amount_malformed"),
        (format!("0.{zeros}"), "amount_not_positive"),
        (format!("{nines}x"), "amount_malformed"),
        // Long, but one kopeck.
        (format!("0.{zeros}1e9999"), "1"),
        // The same, but with digits after the point once it is written out.
        (format!("1{zeros}e-10002"), "amount_too_precise"),
    ] {
        assert_eq!(read(&text, rub()), expected, "{}...", &text[..text.len().min(20)]);
    }
}

#[test]
fn a_tenth_ten_times_is_exactly_one() {
    let tenth = Amount::parse("0.1", rub()).unwrap();
    let sum = (0..10).try_fold(Balance::ZERO, |sum, _| sum.credited(tenth)).unwrap();
    assert_eq!(sum.in_units(rub()).to_string(), "1.00");
}

#[test]
fn money_is_written_with_all_the_digits_of_the_currency() {
    for (currency, minor, expected) in [
        ("RUB", 0, "0.00"),
        ("RUB", 1, "0.01"),
        ("RUB", -1, "-0.01"),
        ("RUB", 10, "0.10"),
        ("RUB", 11_560, "115.60"),
        ("RUB", -11_560, "-115.60"),
        ("RUB", MINOR_UNITS_MAX, "9999999999999.99"),
        ("RUB", -MINOR_UNITS_MAX, "-9999999999999.99"),
        ("JPY", 0, "0"),
        ("JPY", -7, "-7"),
        ("JPY", MINOR_UNITS_MAX, "999999999999999"),
        ("KWD", 0, "0.000"),
        ("KWD", 1, "0.001"),
        ("KWD", -1_234, "-1.234"),
    ] {
        let balance = Balance::from_minor(minor).unwrap();
        let found = balance.in_units(Currency::parse(currency).unwrap()).to_string();
        assert_eq!(found, expected);
    }
}

#[test]
fn amounts_and_balances_keep_their_bounds() {
    for (minor, expected) in [
        (i64::MIN, Err(Rejection::AmountNotPositive)),
        (-1, Err(Rejection::AmountNotPositive)),
        (0, Err(Rejection::AmountNotPositive)),
        (1, Ok(1)),
        (MINOR_UNITS_MAX, Ok(MINOR_UNITS_MAX)),
        (MINOR_UNITS_MAX + 1, Err(Rejection::AmountTooLarge)),
        (i64::MAX, Err(Rejection::AmountTooLarge)),
    ] {
        assert_eq!(Amount::from_minor(minor).map(Amount::minor), expected);
    }
    let greatest = Balance::from_minor(MINOR_UNITS_MAX).unwrap();
    let least = Balance::from_minor(-MINOR_UNITS_MAX).unwrap();
    let all = Amount::from_minor(MINOR_UNITS_MAX).unwrap();
    assert_eq!(greatest.credited(Amount::from_minor(1).unwrap()), None);
    assert_eq!(least.debited(all), None);
    assert_eq!(greatest.debited(all), Some(Balance::ZERO));
    assert_eq!(Balance::from_minor(MINOR_UNITS_MAX + 1), None);
    assert_eq!(Balance::from_minor(i64::MIN), None);
}

#[test]
fn only_currencies_that_can_be_counted_are_known() {
    for code in ["RUB", "JPY", "KWD", "EUR", "USD"] {
        assert_eq!(Currency::parse(code).unwrap().code(), code);
    }
    for code in ["", "rub", "RUB ", "RU", "RUBL", "XXX", "XTS", "XAU", "ZZZ", "₽"] {
        assert!(Currency::parse(code).is_err(), "{code}");
    }
}

fn currencies() -> impl Strategy<Value = Currency> {
    prop::sample::select(vec!["RUB", "JPY", "KWD"]).prop_map(|code| Currency::parse(code).unwrap())
}

proptest! {
    #![proptest_config(crate::model::config(2_000))]

    #[test]
    fn what_is_written_is_read_back(minor in 1..=MINOR_UNITS_MAX, currency in currencies()) {
        let amount = Amount::from_minor(minor).unwrap();
        let text = amount.in_units(currency).to_string();
        prop_assert_eq!(Amount::parse(&text, currency), Ok(amount));
        // A client's double holds what we write: it prints the same digits again.
        let double: f64 = text.parse().unwrap();
        prop_assert_eq!(format!("{double:.*}", currency.exponent()), text);
    }

    /// Against 128-bit arithmetic instead of text, within its range.
    #[test]
    fn digits_point_and_exponent_mean_what_arithmetic_says(
        whole in 0_u64..10_u64.pow(12),
        fraction in "[0-9]{0,6}",
        exponent in -8_i32..=8,
        currency in currencies(),
    ) {
        let point = if fraction.is_empty() { "" } else { "." };
        let text = format!("{whole}{point}{fraction}e{exponent}");
        let digits: i128 = format!("{whole}{fraction}").parse().unwrap();
        let places = i32::try_from(fraction.len()).unwrap();
        let zeros = i32::try_from(currency.exponent()).unwrap() + exponent - places;
        let expected = if digits == 0 {
            Err(Rejection::AmountNotPositive)
        } else if zeros < 0 {
            Err(Rejection::AmountTooPrecise)
        } else {
            let minor = digits * 10_i128.pow(zeros.unsigned_abs());
            i64::try_from(minor).map_or(Err(Rejection::AmountTooLarge), Amount::from_minor)
        };
        prop_assert_eq!(Amount::parse(&text, currency), expected, "{}", text);
    }

    #[test]
    fn no_text_at_all_makes_it_panic(text in any::<String>(), near in "[-+0-9.eE]{0,24}") {
        for text in [text, near] {
            if let Ok(amount) = Amount::parse(&text, rub()) {
                prop_assert!((1..=MINOR_UNITS_MAX).contains(&amount.minor()));
            }
        }
    }
}

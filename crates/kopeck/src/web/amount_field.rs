//! Owns the reading of an amount as people type it, in the way of their language.
//!
//! Never: a guess, a float, a rounding. Text that could mean two amounts is malformed; what is
//! clear becomes canonical text, and the ledger's own reading decides the rest.
//! Bounds: the work is linear in the text, which the form's body limit bounds.

use ledger::{Amount, Currency, Rejection};

use super::language::Language;

/// Reads an amount.
///
/// Groups of three are set apart by spaces in both languages, in English by commas as well. The
/// fraction follows a point, in Russian a comma as well. The currency's sign or code may stand
/// before or after. Errors are those of [`Amount::parse`].
pub(crate) fn parse(
    text: &str,
    language: Language,
    currency: Currency,
) -> Result<Amount, Rejection> {
    let number = without_currency(text, currency);
    let (minus, number) = match number.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => ("-", rest.trim_start()),
        None => ("", number),
    };
    let (whole, fraction) = split(number, language).ok_or(Rejection::AmountMalformed)?;
    let whole = ungrouped(whole, language).ok_or(Rejection::AmountMalformed)?;
    let canonical = match fraction {
        Some(fraction) if digits_only(fraction) => format!("{minus}{whole}.{fraction}"),
        Some(_) => return Err(Rejection::AmountMalformed),
        None => format!("{minus}{whole}"),
    };
    Amount::parse(&canonical, currency)
}

/// The text without the currency's sign or code, before or after, and without the spaces around.
fn without_currency(text: &str, currency: Currency) -> &str {
    let mut number = text.trim();
    // The code first: a sign such as the `R` of ZAR is also a letter of it.
    for name in [currency.code(), currency.symbol().as_str()] {
        let rest = number.strip_suffix(name).or_else(|| number.strip_prefix(name));
        if let Some(rest) = rest.filter(|_| !name.is_empty()) {
            number = rest.trim();
        }
    }
    number
}

/// The parts before and after the one decimal mark; `None` when there are several.
fn split(number: &str, language: Language) -> Option<(&str, Option<&str>)> {
    let is_mark = |letter: char| match language {
        Language::English => letter == '.',
        Language::Russian => letter == '.' || letter == ',',
    };
    let mut parts = number.split(is_mark);
    let (whole, fraction) = (parts.next()?, parts.next());
    parts.next().is_none().then_some((whole, fraction))
}

/// The digits of a whole number, its separators taken out; `None` unless they set apart threes.
fn ungrouped(whole: &str, language: Language) -> Option<String> {
    let is_comma = |letter: char| letter == ',' && language == Language::English;
    let separator = whole.chars().find(|letter| is_comma(*letter) || letter.is_whitespace());
    let Some(separator) = separator else {
        return digits_only(whole).then(|| whole.to_owned());
    };
    let same = |letter: char| {
        if separator == ',' { letter == ',' } else { letter.is_whitespace() }
    };
    let groups: Vec<&str> = whole.split(same).collect();
    let (first, rest) = groups.split_first()?;
    let threes = rest.iter().all(|group| group.len() == 3 && digits_only(group));
    let leads = digits_only(first) && first.len() <= 3 && !first.starts_with('0');
    (threes && leads).then(|| groups.concat())
}

fn digits_only(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
#[expect(clippy::inconsistent_digit_grouping, reason = "minor units are set apart")]
mod tests {
    use ledger::{Currency, Rejection};

    use super::{Language, parse};

    fn check(language: Language, code: &str, table: &[(&str, Result<i64, Rejection>)]) {
        let currency = Currency::parse(code).unwrap();
        for (text, expected) in table {
            let got = parse(text, language, currency).map(ledger::Amount::minor);
            assert_eq!(got, *expected, "{text:?} in {language:?}");
        }
    }

    const MALFORMED: Result<i64, Rejection> = Err(Rejection::AmountMalformed);
    const NOT_POSITIVE: Result<i64, Rejection> = Err(Rejection::AmountNotPositive);
    const TOO_PRECISE: Result<i64, Rejection> = Err(Rejection::AmountTooPrecise);
    const TOO_LARGE: Result<i64, Rejection> = Err(Rejection::AmountTooLarge);

    #[test]
    fn english() {
        check(
            Language::English,
            "RUB",
            &[
                ("1", Ok(1_00)),
                ("  11.10 ", Ok(11_10)),
                ("11.1", Ok(11_10)),
                ("1234.56", Ok(1_234_56)),
                ("1,234.56", Ok(1_234_56)),
                ("1,234", Ok(1_234_00)),
                ("12,345,678.9", Ok(12_345_678_90)),
                ("1 234.56", Ok(1_234_56)),
                ("1\u{a0}234\u{202f}567", Ok(1_234_567_00)),
                ("₽1,234.56", Ok(1_234_56)),
                ("1,234.56 ₽", Ok(1_234_56)),
                ("RUB 5", Ok(5_00)),
                ("9,999,999,999,999.99", Ok(999_999_999_999_999)),
                ("10,000,000,000,000", TOO_LARGE),
                ("12,50", MALFORMED),
                ("1,2345", MALFORMED),
                ("1234,567", MALFORMED),
                ("0,123", MALFORMED),
                (",123", MALFORMED),
                ("1,,234", MALFORMED),
                ("1,234 567", MALFORMED),
                ("1.234.567", MALFORMED),
                ("1.234,56", MALFORMED),
                ("12 50", MALFORMED),
                ("1.000", TOO_PRECISE),
                ("0.001", TOO_PRECISE),
                ("0", NOT_POSITIVE),
                ("0.00", NOT_POSITIVE),
                ("-5", NOT_POSITIVE),
                ("\u{2212}5.00", NOT_POSITIVE),
                ("- 5", NOT_POSITIVE),
                ("", MALFORMED),
                ("₽", MALFORMED),
                ("5.", MALFORMED),
                (".5", MALFORMED),
                ("+5", MALFORMED),
                ("--5", MALFORMED),
                ("1e3", MALFORMED),
                ("NaN", MALFORMED),
                ("0x10", MALFORMED),
                ("007", MALFORMED),
                ("٣", MALFORMED),
                ("five", MALFORMED),
            ],
        );
    }

    #[test]
    fn russian() {
        check(
            Language::Russian,
            "RUB",
            &[
                ("1 234,56", Ok(1_234_56)),
                ("1\u{a0}234,56\u{a0}₽", Ok(1_234_56)),
                ("1234,56", Ok(1_234_56)),
                ("1234.56", Ok(1_234_56)),
                ("1 234.56", Ok(1_234_56)),
                ("0,5", Ok(50)),
                ("12,50", Ok(12_50)),
                ("1,000", TOO_PRECISE),
                ("1.000", TOO_PRECISE),
                ("1.234,56", MALFORMED),
                ("1,234.56", MALFORMED),
                ("1,234,567", MALFORMED),
                ("12 34", MALFORMED),
                ("1  234", MALFORMED),
                ("\u{2212}1", NOT_POSITIVE),
                ("0,00", NOT_POSITIVE),
                ("10 000 000 000 000", TOO_LARGE),
            ],
        );
    }

    #[test]
    fn other_currencies() {
        check(Language::English, "JPY", &[("1,000", Ok(1_000)), ("1.0", TOO_PRECISE)]);
        check(Language::Russian, "KWD", &[("1,000", Ok(1_000)), ("1,0005", TOO_PRECISE)]);
        check(
            Language::English,
            "ZAR",
            &[("5 ZAR", Ok(5_00)), ("R5", Ok(5_00)), ("ZAR5", Ok(5_00))],
        );
    }

    #[test]
    fn ten_thousand_digits_are_refused_at_once() {
        check(Language::English, "RUB", &[(&"9".repeat(10_000), TOO_LARGE)]);
    }
}

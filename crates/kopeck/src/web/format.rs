//! Owns how an amount, a balance and a moment are written in each language.
//!
//! Never: a float (digits come from minor units exactly), or the reading of what people type (that
//! is `amount_field`). Bounds: one formatter a language and a thread, made once.

use chrono::{DateTime, Datelike, Timelike, Utc};
use chrono_tz::Tz;
use fixed_decimal::Decimal;
use icu_datetime::DateTimeFormatter;
use icu_datetime::fieldsets::{self, YMDT};
use icu_datetime::input::{Date, DateTime as CivilDateTime, Time};
use icu_decimal::DecimalFormatter;
use icu_locale_core::{Locale, locale};
use ledger::{Amount, Balance, Currency, Timestamp};

use super::language::Language;

/// A true minus, as wide as a plus.
const MINUS: char = '\u{2212}';
const NO_BREAK_SPACE: char = '\u{a0}';

/// Both languages' formatters. They are not shared between threads.
struct Formatters {
    number: Option<DecimalFormatter>,
    moment: Option<DateTimeFormatter<YMDT>>,
}

impl Formatters {
    fn new(locale: &Locale) -> Self {
        let fields = fieldsets::YMD::medium().with_time_hm();
        Self {
            number: DecimalFormatter::try_new(locale.into(), Default::default()).ok(),
            moment: DateTimeFormatter::try_new(locale.into(), fields).ok(),
        }
    }
}

thread_local! {
    static ENGLISH: Formatters = Formatters::new(&locale!("en-US"));
    static RUSSIAN: Formatters = Formatters::new(&locale!("ru-RU"));
}

fn with_formatters<T>(language: Language, use_them: impl FnOnce(&Formatters) -> T) -> T {
    match language {
        Language::English => ENGLISH.with(use_them),
        Language::Russian => RUSSIAN.with(use_them),
    }
}

/// An amount without a sign: `₽1,234.56`, `1 234,56 ₽`.
pub(crate) fn amount(amount: Amount, language: Language, currency: Currency) -> String {
    money("", amount.minor().unsigned_abs(), language, currency)
}

/// An amount that came in or went out, always with its sign: `+₽5.00`, `−₽5.00`.
pub(crate) fn movement(
    amount: Amount,
    came_in: bool,
    language: Language,
    currency: Currency,
) -> String {
    let sign = if came_in { "+".to_owned() } else { MINUS.to_string() };
    money(&sign, amount.minor().unsigned_abs(), language, currency)
}

/// A balance, with a minus when it is below zero.
pub(crate) fn balance(balance: Balance, language: Language, currency: Currency) -> String {
    let sign = if balance < Balance::ZERO { MINUS.to_string() } else { String::new() };
    money(&sign, balance.minor().unsigned_abs(), language, currency)
}

/// The magnitude of a balance: what a bank has brought in.
pub(crate) fn magnitude(balance: Balance, language: Language, currency: Currency) -> String {
    money("", balance.minor().unsigned_abs(), language, currency)
}

fn money(sign: &str, minor: u64, language: Language, currency: Currency) -> String {
    let number = number(minor, language, currency);
    let symbol = currency.symbol();
    match language {
        // A sign such as `kr` is read apart from the digits.
        Language::English if symbol.ends_with(char::is_alphabetic) => {
            format!("{sign}{symbol}{NO_BREAK_SPACE}{number}")
        }
        Language::English => format!("{sign}{symbol}{number}"),
        Language::Russian => format!("{sign}{number}{NO_BREAK_SPACE}{symbol}"),
    }
}

/// A number of minor units in the currency's units, in the language's digits and groups.
fn number(minor: u64, language: Language, currency: Currency) -> String {
    let mut decimal = Decimal::from(minor);
    decimal.multiply_pow10(i16::try_from(currency.exponent()).map_or(0, |exponent| -exponent));
    with_formatters(language, |formatters| match &formatters.number {
        Some(formatter) => formatter.format(&decimal).to_string(),
        None => decimal.to_string(),
    })
}

/// An amount as it is typed, without the currency: `1,234.56`, `1 234,56`.
pub(crate) fn typed(amount: Amount, language: Language, currency: Currency) -> String {
    number(amount.minor().unsigned_abs(), language, currency)
}

/// An amount as an example of what to type: `100.50`, `100,50`.
pub(crate) fn example(language: Language, currency: Currency) -> String {
    let minor = match currency.exponent() {
        0 => 100,
        exponent => 1005 * 10_u64.saturating_pow(u32::try_from(exponent).unwrap_or(1) - 1),
    };
    number(minor, language, currency)
}

/// A moment for people and for machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// `Nov 23, 2026, 1:52 PM`, in the zone of the deployment.
    pub(crate) shown: String,
    /// RFC 3339, with the zone's offset.
    pub(crate) machine: String,
}

/// A moment, shown in a time zone.
pub(crate) fn moment(time: Timestamp, language: Language, zone: Tz) -> Moment {
    let utc: DateTime<Utc> = DateTime::from_timestamp_micros(time.micros()).unwrap_or_default();
    let local = utc.with_timezone(&zone);
    let machine = local.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let shown = civil(&local).and_then(|civil| {
        with_formatters(language, |formatters| {
            formatters.moment.as_ref().map(|formatter| formatter.format(&civil).to_string())
        })
    });
    Moment { shown: shown.unwrap_or_else(|| machine.clone()), machine }
}

fn civil(local: &(impl Datelike + Timelike)) -> Option<CivilDateTime<icu_calendar::Iso>> {
    let part = |number: u32| u8::try_from(number).ok();
    Some(CivilDateTime {
        date: Date::try_new_iso(local.year(), part(local.month())?, part(local.day())?).ok()?,
        time: Time::try_new(part(local.hour())?, part(local.minute())?, part(local.second())?, 0)
            .ok()?,
    })
}

#[cfg(test)]
#[expect(clippy::inconsistent_digit_grouping, reason = "minor units are set apart")]
mod tests {
    use ledger::{Amount, Balance, Currency, MINOR_UNITS_MAX, Timestamp};

    use super::{Language, amount, balance, example, moment, movement};

    const BOTH: [Language; 2] = [Language::English, Language::Russian];

    /// Writes the spaces that do not break as `_`, for they cannot be seen in a table.
    fn visible(text: &str) -> String {
        text.replace(['\u{a0}', '\u{202f}'], "_")
    }

    #[test]
    fn amounts() {
        let check = |code: &str, minor: i64, english: &str, russian: &str| {
            let currency = Currency::parse(code).unwrap();
            let value = Amount::from_minor(minor).unwrap();
            let shown = BOTH.map(|language| visible(&amount(value, language, currency)));
            assert_eq!(shown, [english, russian]);
        };
        check("RUB", 1, "₽0.01", "0,01_₽");
        check("RUB", 11_10, "₽11.10", "11,10_₽");
        check("RUB", 1_234_56, "₽1,234.56", "1_234,56_₽");
        check("RUB", MINOR_UNITS_MAX, "₽9,999,999,999,999.99", "9_999_999_999_999,99_₽");
        check("JPY", 1_234, "¥1,234", "1_234_¥");
        check("KWD", 1_234_567, "د.ك_1,234.567", "1_234,567_د.ك");
        check("SEK", 5_00, "kr_5.00", "5,00_kr");
    }

    #[test]
    fn signs() {
        let rub = Currency::parse("RUB").unwrap();
        let five = Amount::from_minor(5_00).unwrap();
        let check = |came_in: bool, expected: [&str; 2]| {
            let shown = BOTH.map(|language| visible(&movement(five, came_in, language, rub)));
            assert_eq!(shown, expected);
        };
        check(true, ["+₽5.00", "+5,00_₽"]);
        check(false, ["−₽5.00", "−5,00_₽"]);
        let check = |minor: i64, expected: [&str; 2]| {
            let value = Balance::from_minor(minor).unwrap();
            let shown = BOTH.map(|language| visible(&balance(value, language, rub)));
            assert_eq!(shown, expected);
        };
        check(0, ["₽0.00", "0,00_₽"]);
        check(-115_60, ["−₽115.60", "−115,60_₽"]);
        check(104_50, ["₽104.50", "104,50_₽"]);
        // No sign of it is known.
        let som = Currency::parse("UZS").unwrap();
        let shown = BOTH.map(|language| visible(&amount(five, language, som)));
        assert_eq!(shown, ["UZS_5.00", "5,00_UZS"]);
    }

    #[test]
    fn examples_are_read_back() {
        for code in ["RUB", "JPY", "KWD"] {
            let currency = Currency::parse(code).unwrap();
            for language in BOTH {
                let text = example(language, currency);
                assert!(crate::web::amount_field::parse(&text, language, currency).is_ok());
            }
        }
        assert_eq!(BOTH.map(|l| example(l, Currency::parse("RUB").unwrap())), ["100.50", "100,50"]);
    }

    #[test]
    fn moments() {
        let check = |zone: chrono_tz::Tz, expected: [&str; 2], machine: &str| {
            let time = Timestamp::from_micros(1_795_441_947_000_001);
            let shown = BOTH.map(|language| moment(time, language, zone));
            assert_eq!([0, 1].map(|n: usize| visible(&shown[n].shown)), expected);
            assert_eq!(shown[0].machine, machine);
        };
        check(
            chrono_tz::UTC,
            ["Nov 23, 2026, 1:52_PM", "23 нояб. 2026_г., 13:52"],
            "2026-11-23T13:52:27.000001Z",
        );
        check(
            chrono_tz::Europe::Moscow,
            ["Nov 23, 2026, 4:52_PM", "23 нояб. 2026_г., 16:52"],
            "2026-11-23T16:52:27.000001+03:00",
        );
    }
}

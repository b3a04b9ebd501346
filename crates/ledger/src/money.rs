//! Owns exact money: currencies, amounts, balances, and their decimal text.
//!
//! Never: a float, a rounding, a silent wrap. Text is read digit by digit.
//! Bounds: an amount and the magnitude of a balance have at most 15 digits in minor units, so that
//! what is sent survives a client that reads numbers as IEEE 754 doubles.

use std::fmt;

use crate::Rejection;

/// The greatest amount, and the greatest magnitude of a balance, in minor units: 15 nines.
///
/// 10^15 - 1 is below 2^53, so a client's double holds every minor unit exactly.
pub const MINOR_UNITS_MAX: i64 = 999_999_999_999_999;

/// An ISO 4217 currency that has minor units.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

/// The text does not name a currency that a wallet can be kept in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an ISO 4217 currency code with minor units, such as RUB")]
pub struct CurrencyUnknown(pub String);

impl Currency {
    /// Reads an ISO 4217 alphabetic code such as `RUB`, in capitals.
    pub fn parse(code: &str) -> Result<Self, CurrencyUnknown> {
        // Metals, funds and test codes have no exponent: nothing could be counted in them.
        iso_currency::Currency::from_code(code)
            .filter(|currency| currency.exponent().is_some())
            .map(Self)
            .ok_or_else(|| CurrencyUnknown(code.to_owned()))
    }

    /// The ISO 4217 alphabetic code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many digits stand after the point: 2 for RUB, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn exponent(self) -> usize {
        usize::from(self.0.exponent().unwrap_or_default())
    }

    /// The sign people write for it, such as `₽`; the code where no sign is known, as for UZS.
    #[must_use]
    pub fn symbol(self) -> String {
        const ANY_CURRENCY: &str = "¤";
        let symbol = self.0.symbol().symbol;
        if symbol == ANY_CURRENCY { self.code().to_owned() } else { symbol }
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A positive number of minor units, at most [`MINOR_UNITS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

impl Amount {
    /// Takes a number of minor units. Refused when not positive or above [`MINOR_UNITS_MAX`].
    pub fn from_minor(minor: i64) -> Result<Self, Rejection> {
        match minor {
            ..=0 => Err(Rejection::AmountNotPositive),
            1..=MINOR_UNITS_MAX => Ok(Self(minor)),
            _ => Err(Rejection::AmountTooLarge),
        }
    }

    /// Reads decimal text of the form of a JSON number, in the currency's units.
    ///
    /// `115.6` in RUB is 11 560 minor units; `1.2e1` is 12 units. The reading is exact: a text with
    /// more digits after the point than the currency has is refused, trailing zeros included.
    /// Errors, in order: malformed, not positive, too precise, too large.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, Rejection> {
        let decimal = Decimal::parse(text).ok_or(Rejection::AmountMalformed)?;
        if decimal.negative || decimal.is_zero() {
            return Err(Rejection::AmountNotPositive);
        }
        Self::from_minor(decimal.to_minor(currency.exponent())?)
    }

    /// The number of minor units, from 1 to [`MINOR_UNITS_MAX`].
    #[must_use]
    pub fn minor(self) -> i64 {
        self.0
    }

    /// The amount as exact decimal text in the currency's units: `115.60`.
    #[must_use]
    pub fn in_units(self, currency: Currency) -> Units {
        Units { minor: self.0, exponent: currency.exponent() }
    }
}

/// A signed number of minor units, its magnitude at most [`MINOR_UNITS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Balance(i64);

impl Balance {
    /// The balance of a wallet that nothing has touched.
    pub const ZERO: Self = Self(0);

    /// Takes a number of minor units; `None` when its magnitude is above [`MINOR_UNITS_MAX`].
    #[must_use]
    pub fn from_minor(minor: i64) -> Option<Self> {
        (-MINOR_UNITS_MAX..=MINOR_UNITS_MAX).contains(&minor).then_some(Self(minor))
    }

    /// The signed number of minor units.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.0
    }

    /// The balance after a debit; `None` beyond the limit.
    #[must_use]
    pub fn debited(self, amount: Amount) -> Option<Self> {
        self.0.checked_sub(amount.0).and_then(Self::from_minor)
    }

    /// The balance after a credit; `None` beyond the limit.
    #[must_use]
    pub fn credited(self, amount: Amount) -> Option<Self> {
        self.0.checked_add(amount.0).and_then(Self::from_minor)
    }

    /// The balance as exact decimal text in the currency's units: `-115.60`.
    #[must_use]
    pub fn in_units(self, currency: Currency) -> Units {
        Units { minor: self.0, exponent: currency.exponent() }
    }
}

/// Exact decimal text of a number of minor units, with all digits after the point written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Units {
    minor: i64,
    exponent: usize,
}

impl Units {
    /// The signed number of minor units.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.minor
    }

    /// How many of its digits stand after the point.
    #[must_use]
    pub fn exponent(self) -> usize {
        self.exponent
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.minor < 0 {
            f.write_str("-")?;
        }
        let (minor, width) = (self.minor.unsigned_abs(), self.exponent);
        if width == 0 {
            return write!(f, "{minor}");
        }
        let unit = (0..width).fold(1_u64, |unit, _| unit.saturating_mul(10));
        write!(f, "{}.{:0width$}", minor / unit, minor % unit)
    }
}

/// The parts of a text of the form of a JSON number (RFC 8259, section 6).
struct Decimal<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
    exponent: i64,
}

impl<'t> Decimal<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Self::parse_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || leading_zero || !digits_only(whole) || !digits_only(fraction) {
            return None;
        }
        Some(Self { negative, whole, fraction, exponent })
    }

    /// Exponents beyond any use are clamped, not refused: `1e400` is a number, only too large.
    fn parse_exponent(text: &str) -> Option<i64> {
        const CLAMP: i64 = 1_000_000;
        let (sign, digits) = match text.as_bytes().first()? {
            b'-' => (-1, text.get(1..)?),
            b'+' => (1, text.get(1..)?),
            _ => (1, text),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(sign * digits.parse().unwrap_or(CLAMP).min(CLAMP))
    }

    fn is_zero(&self) -> bool {
        self.whole.bytes().chain(self.fraction.bytes()).all(|byte| byte == b'0')
    }

    /// The magnitude in minor units of a currency with `currency_exponent` digits after the point.
    fn to_minor(&self, currency_exponent: usize) -> Result<i64, Rejection> {
        let fraction_len = i64::try_from(self.fraction.len()).unwrap_or(i64::MAX);
        let currency_exponent = i64::try_from(currency_exponent).unwrap_or(i64::MAX);
        // How many zeros turn the written digits into minor units; negative: digits left over.
        let zeros = currency_exponent.saturating_add(self.exponent).saturating_sub(fraction_len);
        if zeros < 0 {
            return Err(Rejection::AmountTooPrecise);
        }
        let mut minor: i64 = 0;
        for digit in self.whole.bytes().chain(self.fraction.bytes()) {
            minor = push_digit(minor, digit - b'0')?;
        }
        for _ in 0..zeros {
            minor = push_digit(minor, 0)?;
        }
        Ok(minor)
    }
}

/// Appends a decimal digit; stops at the first digit that passes [`MINOR_UNITS_MAX`], so the work
/// is bounded whatever the text.
fn push_digit(minor: i64, digit: u8) -> Result<i64, Rejection> {
    minor
        .checked_mul(10)
        .and_then(|shifted| shifted.checked_add(i64::from(digit)))
        .filter(|minor| *minor <= MINOR_UNITS_MAX)
        .ok_or(Rejection::AmountTooLarge)
}

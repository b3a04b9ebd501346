//! Owns numbers and amounts written into a buffer, without a text in between.
//!
//! Never: a rounding. Bounds: twenty digits.

use ledger::Units;

/// Writes a number.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes an amount or a balance as [`Units`] does.
pub(super) fn units(out: &mut Vec<u8>, units: Units) {
    if units.minor() < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(units.minor().unsigned_abs()).as_bytes();
    let exponent = units.exponent();
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(exponent));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    if exponent > 0 {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', exponent - fraction.len()));
        out.extend_from_slice(fraction);
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Balance, Currency};

    use super::*;

    #[test]
    fn balances_are_written_as_everywhere() {
        for code in ["RUB", "JPY", "KWD", "CLF"] {
            let currency = Currency::parse(code).unwrap();
            for minor in [0, 1, 9, 10, 99, 100, 101, 1_000, 12_345, 999_999_999_999_999] {
                for minor in [minor, -minor] {
                    let expected = Balance::from_minor(minor).unwrap().in_units(currency);
                    let mut found = Vec::new();
                    units(&mut found, expected);
                    let found = String::from_utf8(found).unwrap();
                    assert_eq!(found, expected.to_string(), "{code}");
                }
            }
        }
    }
}

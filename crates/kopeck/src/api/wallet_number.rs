//! Owns the reading of a wallet's number as JSON writes it.
//!
//! Never: a float. Bounds: linear in what is written.

use ledger::WalletId;
use serde_json::value::RawValue;

use super::json::wrong_type;
use crate::problem::Problem;

/// No wallet's number has more digits.
const DIGITS_MAX: i64 = 16;

/// An integer; `None` when no wallet can have that number. `2.0` and `2e0` are integers too: so says JSON
/// Schema, in whose words this API is described, and so do some languages write a whole number.
pub(super) fn wallet_id(raw: &RawValue) -> Result<Option<WalletId>, Problem> {
    let text = raw.get();
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    };
    if is_digits(whole.strip_prefix('-').unwrap_or(whole)) {
        return Ok(WalletId::parse(whole));
    }
    with_exponent(text).ok_or_else(|| wrong_type("wallet_id", "an integer"))
}

/// The same of a number with an exponent, which hardly anybody writes; `None` when it is not whole, or no
/// such number.
fn with_exponent(text: &str) -> Option<Option<WalletId>> {
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if !is_digits(whole.strip_prefix('-').unwrap_or(whole)) || !is_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let written = format!("{whole}{fraction}");
    let digits = written.trim_end_matches('0');
    if digits.is_empty() || digits == "-" {
        return Some(None);
    }
    // An exponent beyond this type's numbers is beyond every wallet, or below every whole number.
    let beyond = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let zeros = exponent
        .parse()
        .unwrap_or(beyond)
        .saturating_sub(length(fraction))
        .saturating_add(length(&written) - length(digits));
    match usize::try_from(zeros) {
        Err(_) => None,
        Ok(_) if zeros > DIGITS_MAX => Some(None),
        Ok(zeros) => {
            let digits = format!("{digits}{}", "0".repeat(zeros));
            Some(WalletId::parse(digits.trim_start_matches('0')))
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number; 0 for one that no wallet can have; `None` when it is no integer.
    fn read(text: &str) -> Option<u64> {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        let read = wallet_id(&raw).ok()?;
        Some(read.map_or(0, WalletId::get))
    }

    #[test]
    fn every_way_to_write_an_integer_is_one() {
        for two in [
            "2",
            "2.0",
            "2.00",
            "2e0",
            "2E0",
            "2e+0",
            "2e-0",
            "2.0e0",
            "0.2e1",
            "20e-1",
            "2000e-3",
            "0.002E3",
            "0.00200e+03",
        ] {
            assert_eq!(read(two), Some(2), "{two}");
        }
        assert_eq!(read("9007199254740991"), Some(9_007_199_254_740_991));
        assert_eq!(read("9007199254740.991e3"), Some(9_007_199_254_740_991));
        assert_eq!(read("1e15"), Some(1_000_000_000_000_000));
        let (nines, zeros) = ("9".repeat(100), "0".repeat(100));
        for unknown in [
            "0",
            "-0",
            "0.0",
            "0e5",
            "0e-5",
            "-0.0e-99999999999999999999",
            "-1",
            "-1e0",
            "-10e-1",
            "9007199254740992",
            "9007199254740.992e3",
            "1e16",
            "1e400",
            "1e99999999999999999999",
            &nines,
            &format!("{nines}e3"),
            &format!("2e3{zeros}"),
            &format!("1{zeros}e-50"),
        ] {
            assert_eq!(read(unknown), Some(0), "{unknown}");
        }
        for wrong in [
            "2.5",
            "25e-1",
            "2e-1",
            "1e-400",
            "1e-99999999999999999999",
            "0.2e0",
            "2.01e1",
            "\"2.0\"",
            "\"2\"",
            "\"2e0\"",
            "null",
            "true",
            "false",
            "[]",
            "[2e0]",
            "{\"e\":1}",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("2{zeros}e-100")), Some(2));
    }

    #[test]
    fn an_exponent_only_moves_the_point() {
        for number in [1, 7, 20, 305, 1_000_000, 123_456_789, 9_007_199_254_740_991] {
            let digits = format!("{number:0>21}");
            for point in 0..=20 {
                let (whole, fraction) = digits.split_at(digits.len() - point);
                let whole = whole.trim_start_matches('0');
                let whole = if whole.is_empty() { "0" } else { whole };
                let text = format!("{whole}.{fraction}0e{point}");
                assert_eq!(read(&text), Some(number), "{text}");
                let text = format!("{number}{}e-{point}", "0".repeat(point));
                assert_eq!(read(&text), Some(number), "{text}");
            }
        }
    }
}

//! Owns the idempotency keys of forms, so that a form sent twice is done once.
//!
//! Never: whether a form that comes back keeps its key (each form knows). Bounds: 128 random bits, and the second in
//! which it was made: a key is not remembered for ever, and a page can stand open for longer.

use std::time::Duration;

use ledger::{IdempotencyKey, Timestamp};

use crate::clock;

/// Tells these keys from those that programs choose.
const KEY_PREFIX: &str = "form-";
/// A form is too old before its key may be forgotten: it is looked for a while after the form has come.
const MARGIN: Duration = Duration::from_secs(10 * 60);

/// The key that came with a form, if a form of ours gave it.
pub(super) fn read(text: &str) -> Option<IdempotencyKey> {
    IdempotencyKey::parse(text).ok().filter(|key| key.as_str().starts_with(KEY_PREFIX))
}

/// A key that no other form has. `None`: the system gave no randomness.
pub(super) fn fresh() -> Option<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    let made = seconds(clock::now());
    Some(format!("{KEY_PREFIX}{made}-{:032x}", u128::from_be_bytes(random)))
}

/// Whether it may be forgotten what was done under this key, when keys are remembered for so long. Of one that does not
/// say when it was made, nobody knows; nor of one made later than now, by a clock that was wrong: it would be taken for
/// new long after what was done under it is forgotten.
pub(super) fn is_too_old(key: &IdempotencyKey, now: Timestamp, window: Duration) -> bool {
    let rest = key.as_str().strip_prefix(KEY_PREFIX).unwrap_or_default();
    let made = rest.split_once('-').and_then(|(made, _)| made.parse::<i64>().ok());
    let oldest = seconds(clock::before(now, window.saturating_sub(MARGIN)));
    let newest = seconds(now).saturating_add_unsigned(MARGIN.as_secs());
    made.is_none_or(|made| made <= oldest || made > newest)
}

fn seconds(moment: Timestamp) -> i64 {
    moment.micros().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ledger::{IdempotencyKey, Timestamp};

    use super::{MARGIN, fresh, is_too_old, read};
    use crate::clock;

    #[test]
    fn keys_are_ours_and_all_different() {
        let key = fresh().unwrap();
        assert_eq!(read(&key).unwrap().as_str(), key);
        assert_ne!(key, fresh().unwrap());
        assert_eq!(read(""), None);
        assert_eq!(read("somebody-else-s"), None);
    }

    #[test]
    fn a_key_is_too_old_before_it_may_be_forgotten() {
        const DAY: Duration = Duration::from_secs(86_400);
        let now = Timestamp::from_micros(1_796_000_000_000_000);
        let check = |text: &str, expected: bool| {
            let key = IdempotencyKey::parse(text).unwrap();
            assert_eq!(is_too_old(&key, now, DAY), expected, "{text}");
        };
        let oldest = 1_796_000_000 - DAY.as_secs() + MARGIN.as_secs();
        check("form-1796000000-ab", false);
        check(&format!("form-{}-ab", oldest + 1), false);
        check(&format!("form-{oldest}-ab"), true);
        check("form-0-ab", true);
        // The clock was set back since: a little, so that the key is remembered for longer than the form is taken.
        let newest = 1_796_000_000 + MARGIN.as_secs();
        check(&format!("form-{newest}-ab"), false);
        check(&format!("form-{}-ab", newest + 1), true);
        check(&format!("form-{}-ab", i64::MAX), true);
        for unknown in ["form-00112233445566778899aabbccddeeff", "form-", "form-x-ab", "form--ab"] {
            check(unknown, true);
        }
        assert!(!is_too_old(&read(&fresh().unwrap()).unwrap(), clock::now(), DAY));
    }
}

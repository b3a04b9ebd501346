//! Owns the idempotency keys of forms, so that a form sent twice is done once.
//!
//! Never: whether a form that comes back keeps its key (each form knows). Bounds: 128 random bits.

use ledger::IdempotencyKey;

/// Tells these keys from those that programs choose.
const KEY_PREFIX: &str = "form-";

/// The key that came with a form, if a form of ours gave it.
pub(super) fn read(text: &str) -> Option<IdempotencyKey> {
    IdempotencyKey::parse(text).ok().filter(|key| key.as_str().starts_with(KEY_PREFIX))
}

/// A key that no other form has. `None`: the system gave no randomness.
pub(super) fn fresh() -> Option<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    Some(format!("{KEY_PREFIX}{:032x}", u128::from_be_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::{fresh, read};

    #[test]
    fn keys_are_ours_and_all_different() {
        let key = fresh().unwrap();
        assert_eq!(read(&key).unwrap().as_str(), key);
        assert_ne!(key, fresh().unwrap());
        assert_eq!(read(""), None);
        assert_eq!(read("somebody-else-s"), None);
    }
}

//! Owns a session's token: 256 bits from the operating system, and its text in the cookie.
//!
//! Never: kept. The store and the cache see its SHA-256 hash only. Bounds: 32 bytes, 64 characters.

use std::fmt;

use ledger::TokenHash;
use sha2::{Digest, Sha256};

use crate::hex;

const BYTES: usize = 32;
/// More than any digit is worth.
const NO_DIGIT: u8 = 16;

/// What a client shows to be known again.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SessionToken([u8; BYTES]);

impl SessionToken {
    /// Makes a new one from the operating system's randomness.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads the text of a cookie: 64 lower-case hexadecimal digits.
    pub(crate) fn parse(text: impl AsRef<[u8]>) -> Option<Self> {
        let (pairs, []) = text.as_ref().as_chunks::<2>() else { return None };
        if pairs.len() != BYTES {
            return None;
        }
        let mut bytes = [0; BYTES];
        let mut all = 0;
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (high, low) = (value_of(*high), value_of(*low));
            all |= high | low;
            *byte = high << 4 | low & 15;
        }
        (all < NO_DIGIT).then_some(Self(bytes))
    }

    /// The text for the cookie.
    pub(crate) fn reveal(&self) -> String {
        hex::text(&self.0)
    }

    /// What is kept of it.
    pub(crate) fn hash(&self) -> TokenHash {
        Sha256::digest(self.0).into()
    }

    /// A hash for one purpose, from which neither the token nor its kept hash can be found.
    pub(crate) fn derive(&self, label: &[u8]) -> String {
        hex::text(&Sha256::new().chain_update(label).chain_update(self.0).finalize())
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[session token]")
    }
}

/// What a digit is worth, or [`NO_DIGIT`].
fn value_of(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => NO_DIGIT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        let token = SessionToken::generate().unwrap();
        assert_eq!(token.reveal().len(), 64);
        assert_eq!(SessionToken::parse(token.reveal()), Some(token.clone()));
        assert_ne!(token, SessionToken::generate().unwrap());
        assert!(!format!("{token:?}").contains(&token.reveal()));
    }

    #[test]
    fn only_the_exact_form_is_read() {
        let good = "0123456789abcdef".repeat(4);
        assert!(SessionToken::parse(&good).is_some());
        for bad in [
            "",
            "00",
            &good[1..],
            &format!("{good}0"),
            &good.replace('a', "A"),
            &good.replace('a', "g"),
        ] {
            assert!(SessionToken::parse(bad).is_none(), "{bad}");
        }
        // 64 bytes, but not 64 characters.
        assert!(SessionToken::parse("я".repeat(32)).is_none());
    }

    #[test]
    fn derived_text_tells_nothing_of_the_kept_hash() {
        let token = SessionToken::generate().unwrap();
        assert_ne!(token.derive(b""), token.derive(b"form"));
        assert_ne!(token.derive(b"form"), hex::text(&token.hash()));
    }
}

//! Owns the names of things: wallets, operations, users, a client's idempotency keys, and a payment
//! provider's own ids.
//!
//! Never: a bare integer or string passed for one of them. Bounds: ids run from 1 to 2^53 - 1, so
//! that a client's double holds them; keys and external ids have 1 to 255 visible
//! ASCII characters.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// The greatest id: the greatest integer that every JSON reader holds exactly.
pub const ID_MAX: u64 = (1 << 53) - 1;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The first one ever given out: 1.
            pub const FIRST: Self = Self(NonZeroU64::MIN);

            /// Takes a number from 1 to [`ID_MAX`].
            #[must_use]
            pub fn new(number: u64) -> Option<Self> {
                if number > ID_MAX { return None; }
                NonZeroU64::new(number).map(Self)
            }

            /// Reads decimal digits, without a sign and without leading zeros.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
                if plain { text.parse().ok().and_then(Self::new) } else { None }
            }

            /// The number, from 1 to [`ID_MAX`].
            #[must_use]
            pub fn get(self) -> u64 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// A wallet. Numbers are dense: the bank's is 1, each new one is the next.
    WalletId
}
id! {
    /// An accepted operation. Numbers are dense and follow the order of commits.
    OperationId
}
id! {
    /// A user. Numbers are dense: the bank is 1, each new one is the next.
    UserId
}

/// The greatest length of an idempotency key and of an external id, in characters.
pub const KEY_CHARS_MAX: usize = 255;

macro_rules! key {
    ($(#[$doc:meta])* $name:ident, $malformed:ident, $error:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(Arc<str>);

        #[doc = concat!("The text is not one of [`", stringify!($name), "`].")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error($error)]
        pub struct $malformed;

        impl $name {
            /// Takes 1 to 255 visible ASCII characters.
            pub fn parse(text: &str) -> Result<Self, $malformed> {
                // Every byte is looked at, without an early stop, so that many are at once.
                let visible = text.bytes().fold(true, |so_far, byte| so_far & byte.is_ascii_graphic());
                if (1..=KEY_CHARS_MAX).contains(&text.len()) && visible {
                    Ok(Self(text.into()))
                } else {
                    Err($malformed)
                }
            }

            /// The text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

key! {
    /// A name that a client gives to a request before its first try, so that a retry takes effect
    /// once.
    IdempotencyKey, IdempotencyKeyMalformed, "an idempotency key has 1 to 255 visible ASCII characters"
}
key! {
    /// A payment provider's own id of a payment, so that a payment that is told twice is brought in
    /// once.
    ExternalId, ExternalIdMalformed, "an external id has 1 to 255 visible ASCII characters"
}

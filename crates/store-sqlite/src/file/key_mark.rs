//! Owns the 8 bytes that stand for an idempotency key in the chain and in the index of keys.
//!
//! Never: the key itself. Bounds: two keys share a mark once in 2^64; whoever relies on a mark compares
//! the keys.

use std::hash::Hasher;

use rusqlite::Connection;
use siphasher::sip::SipHasher13;

/// Makes marks. Its secret is the file's own, so that nobody can choose keys with the same mark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyMarker(SipHasher13);

impl KeyMarker {
    /// The marker of a file.
    pub(crate) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let secret: [u8; 16] =
            connection.query_row("SELECT key_secret FROM ledger", (), |row| row.get(0))?;
        Ok(Self(SipHasher13::new_with_key(&secret)))
    }

    /// The secret.
    pub(crate) fn secret(&self) -> [u8; 16] {
        self.0.key()
    }

    /// The mark of a key of the wallet that pays.
    pub(crate) fn mark(&self, wallet: i64, key: &str) -> u64 {
        let mut hasher = self.0;
        hasher.write(&wallet.to_be_bytes());
        hasher.write(key.as_bytes());
        hasher.finish()
    }

    /// What stands in the chain for the lack of a key. Nobody can guess it, so nobody can guess an
    /// operation's facts and see from its hash that the guess is right. No key is empty, so this is
    /// never a key's mark but by chance.
    pub(crate) fn blind(&self, operation: i64) -> u64 {
        let mut hasher = self.0;
        hasher.write(&operation.to_be_bytes());
        hasher.finish()
    }
}

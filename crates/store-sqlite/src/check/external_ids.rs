//! Owns the check that external ids are used once, and that their index agrees with the rows.
//!
//! Never: all external ids at once. Bounds: constant memory: both sides are summed up as they come,
//! each entry as 128 bits under the file's own secret, and the sums are compared.

use std::hash::Hasher;

use ledger::{ExternalId, Transfer};
use rusqlite::Connection;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::findings::Place;
use super::people::or_damage;
use super::replay::Replay;
use super::{CheckError, Start};
use crate::file::chain::Links;

/// Entries of the index that are read at once.
const ENTRIES_MAX: i64 = 8_192;

/// Some external ids, in whatever order they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    count: u64,
    hashes: u128,
}

impl Sum {
    /// Takes a row.
    pub(super) fn add(&mut self, links: Links, transfer: &Transfer) {
        if let Some(id) = transfer.external_id.as_ref().map(ExternalId::as_str) {
            let wallet = transfer.debit.wallet.get().cast_signed();
            self.add_entry(links, wallet, id.as_bytes(), transfer.id.get().cast_signed());
        }
    }

    /// Takes what was summed up elsewhere.
    pub(super) fn add_all(&mut self, other: Self) {
        self.count += other.count;
        self.hashes = self.hashes.wrapping_add(other.hashes);
    }

    fn add_entry(&mut self, links: Links, wallet: i64, id: &[u8], operation: i64) {
        let mut hasher = SipHasher13::new_with_key(&links.marker().secret());
        hasher.write(&wallet.to_be_bytes());
        hasher.write(&operation.to_be_bytes());
        hasher.write(id);
        self.count += 1;
        self.hashes = self.hashes.wrapping_add(hasher.finish128().as_u128());
    }
}

/// Reads the whole index, and compares it with what the rows had.
pub(super) fn check(
    connection: &Connection,
    links: Links,
    start: &Start,
    replay: &mut Replay<'_>,
) -> Result<(), CheckError> {
    let mut sum = Sum::default();
    let mut last: (i64, Vec<u8>) = (i64::MIN, Vec::new());
    loop {
        // The order is the index's own; `+` keeps a wallet from being looked up by anything else.
        let mut select = match connection.prepare_cached(
            "SELECT debit_wallet_id, external_id, operation_id
             FROM transfer INDEXED BY transfer_external_id
             WHERE external_id IS NOT NULL AND (debit_wallet_id, external_id) > (?, ?)
             ORDER BY debit_wallet_id, external_id LIMIT ?",
        ) {
            Ok(select) => select,
            // There is no such index: that was named with the schema.
            Err(_) => return Ok(()),
        };
        let text = String::from_utf8_lossy(&last.1).into_owned();
        let mut found = select.query((last.0, text, ENTRIES_MAX))?;
        let mut count = 0;
        while let Some(row) =
            or_damage(found.next(), "transfer_external_id", replay.findings())?.flatten()
        {
            let wallet: i64 = row.get(0)?;
            let id = row.get_ref(1)?.as_bytes().unwrap_or_default();
            let operation: i64 = row.get(2)?;
            if (wallet, id) <= (last.0, last.1.as_slice()) {
                let detail = format!(
                    "operation {operation} has an external id that another one has, or stands out \
                     of order in the index"
                );
                let place = Place::Operation(operation.cast_unsigned());
                replay.findings().add("external_id_doubled", place, detail);
                if (wallet, id) < (last.0, last.1.as_slice()) {
                    return Ok(());
                }
            }
            // Later ones were not replayed.
            if operation <= start.operations.cast_signed() {
                sum.add_entry(links, wallet, id, operation);
            }
            last = (wallet, id.to_vec());
            count += 1;
        }
        if count < ENTRIES_MAX {
            break;
        }
    }
    if sum != *replay.external_ids() {
        let detail = format!(
            "the index of external ids does not agree with the rows: it has {} entries, and {} rows \
             have one",
            sum.count,
            replay.external_ids().count
        );
        replay.findings().add("external_id_index", Place::Whole, detail);
    }
    Ok(())
}

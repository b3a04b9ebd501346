//! Owns how balances and newest operations of wallets are kept: in blocks, one row for 250 wallets.
//!
//! Never: when a block is written (that is the sweep's), or a guess: what no book would have written is a
//! damage. Bounds: [`WALLETS_A_BLOCK`] wallets a block, 16 bytes each, so that a block is one page.
//!
//! A row a wallet costs a look into the tree for each; a block costs that once, and a copy. A wallet
//! that is not in its block, because it was opened later, has no operation up to the sweep's mark.

use ledger::{Balance, OperationId, WalletId};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction};

use crate::file::rows;

/// How many wallets a block has. 250 of them and the row's head fit in a page of 4 096 bytes.
pub(crate) const WALLETS_A_BLOCK: u64 = 250;

/// A balance and an operation's number, 8 bytes each, big-endian.
const STATE_BYTES: usize = 16;

/// The kept states do not fit the wallets.
#[derive(Debug, thiserror::Error)]
enum SweptDamage {
    #[error("block {0} of the wallets' balances is damaged")]
    Block(u64),
    #[error("wallet {0} is kept with a balance or an operation that no book would write")]
    State(u64),
}

/// What is kept of a wallet: a balance in minor units, and an operation's number, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    pub(crate) balance_minor: i64,
    pub(crate) last: i64,
}

impl Kept {
    /// The state, if it is within a book's bounds.
    pub(crate) fn state(self) -> Option<(Balance, Option<OperationId>)> {
        let balance = Balance::from_minor(self.balance_minor)?;
        match self.last {
            0 => Some((balance, None)),
            last => Some((balance, Some(OperationId::new(u64::try_from(last).ok()?)?))),
        }
    }
}

/// The block that a wallet is in, counted from 0, and its place there.
fn locate(wallet: u64) -> (u64, usize) {
    let index = wallet.saturating_sub(1);
    (index / WALLETS_A_BLOCK, usize::try_from(index % WALLETS_A_BLOCK).unwrap_or(usize::MAX))
}

/// Appends a wallet's state to the bytes of its block.
pub(crate) fn encode(kept: Kept, block: &mut Vec<u8>) {
    block.extend_from_slice(&kept.balance_minor.to_be_bytes());
    block.extend_from_slice(&kept.last.to_be_bytes());
}

/// Writes a block, counted from 0, in the open transaction.
pub(crate) fn write(connection: &Connection, block: u64, states: &[u8]) -> rusqlite::Result<()> {
    let row = (states, (block + 1).cast_signed());
    let updated = connection
        .prepare_cached("UPDATE swept_block SET states = ? WHERE block = ?")?
        .execute(row)?;
    if updated == 0 {
        connection
            .prepare_cached("INSERT INTO swept_block (states, block) VALUES (?, ?)")?
            .execute(row)?;
    }
    Ok(())
}

/// Reads what is kept. Keeps the block that was read last.
pub(crate) struct Reader<'c> {
    select: CachedStatement<'c>,
    block: Option<u64>,
    states: Vec<u8>,
}

impl<'c> Reader<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let select = connection.prepare_cached("SELECT states FROM swept_block WHERE block = ?")?;
        Ok(Self { select, block: None, states: Vec::new() })
    }

    /// What is kept of a wallet, as it stands there.
    pub(crate) fn kept(&mut self, wallet: u64) -> rusqlite::Result<Kept> {
        let (block, index) = locate(wallet);
        if self.block != Some(block) {
            let number = (block + 1).cast_signed();
            let found: Option<Vec<u8>> =
                self.select.query_row([number], |row| row.get(0)).optional()?;
            self.states = found.unwrap_or_default();
            self.block = Some(block);
            let whole = self.states.len().is_multiple_of(STATE_BYTES);
            if !whole || self.states.len() as u64 > WALLETS_A_BLOCK * STATE_BYTES as u64 {
                return Err(rows::damage(SweptDamage::Block(block + 1)));
            }
        }
        let words = self.states.as_chunks::<8>().0.as_chunks::<2>().0.get(index);
        Ok(words.map_or_else(Kept::default, |[balance, last]| Kept {
            balance_minor: i64::from_be_bytes(*balance),
            last: i64::from_be_bytes(*last),
        }))
    }

    /// The state of a wallet.
    pub(crate) fn state(
        &mut self,
        wallet: u64,
    ) -> rusqlite::Result<(Balance, Option<OperationId>)> {
        let state = self.kept(wallet)?.state();
        state.ok_or_else(|| rows::damage(SweptDamage::State(wallet)))
    }
}

/// The newest operation that is kept of a wallet.
pub(crate) fn last(
    connection: &Connection,
    wallet: WalletId,
) -> rusqlite::Result<Option<OperationId>> {
    Reader::new(connection)?.state(wallet.get()).map(|(_, last)| last)
}

/// How many wallets there would have to be for all that is kept.
pub(crate) fn wallets_kept(connection: &Connection) -> rusqlite::Result<u64> {
    let newest = connection
        .query_row(
            "SELECT block, length(states) FROM swept_block ORDER BY block DESC LIMIT 1",
            (),
            |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?)),
        )
        .optional()?;
    Ok(newest.map_or(0, |(block, bytes)| {
        let before = block.saturating_sub(1).saturating_mul(WALLETS_A_BLOCK);
        before.saturating_add(bytes.div_ceil(STATE_BYTES as u64))
    }))
}

/// Moves the states of a file that has a row for each wallet.
pub(crate) fn move_from_rows(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut select = transaction.prepare(
        "SELECT wallet_id, balance_minor, coalesce(last_operation_id, 0) FROM wallet
         ORDER BY wallet_id",
    )?;
    let mut found = select.query(())?;
    let (mut block, mut states) = (0, Vec::new());
    while let Some(row) = found.next()? {
        let (of, index) = locate(row.get(0)?);
        if of != block {
            write(transaction, block, &states)?;
            (block, states) = (of, Vec::new());
        }
        // Where a wallet is missing, the start says so.
        states.resize(index * STATE_BYTES, 0);
        encode(Kept { balance_minor: row.get(1)?, last: row.get(2)? }, &mut states);
    }
    if states.is_empty() { Ok(()) } else { write(transaction, block, &states) }
}

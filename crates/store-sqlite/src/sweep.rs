//! Owns how far the wallet table lags behind: the sweep that writes a slice of it with some batches.
//!
//! Never: the truth of a balance (the transfers carry it). Bounds: a slice costs in proportion to
//! the operations since the last one; what a start must replay is at most two rounds of the sweep,
//! that is about twice as many operations as there are wallets, or two slices if that is more.

use ledger::{Book, OperationId, WalletId};
use rusqlite::Connection;

/// A slice is written when at least this many operations have come since the last one, so that
/// small batches do not pay for pages of the wallet table.
const OPERATIONS_BETWEEN_SLICES_MIN: u64 = 2_048;

/// Wallets looked at for each operation since the last slice; untouched ones cost next to nothing.
const WALLETS_SEEN_PER_OPERATION: u64 = 16;

/// Where the sweep stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    /// The next wallet to look at.
    next: u64,
    /// The newest operation when this round began: the mark when it ends.
    round_began: u64,
    /// The wallet table holds every operation up to this one.
    mark: u64,
    /// The newest operation when the last slice was written.
    swept: u64,
}

impl Sweep {
    pub(crate) fn new(mark: u64) -> Self {
        Self { next: 1, round_began: mark, mark, swept: mark }
    }

    /// Writes a slice in the open transaction, if one is due. The value it leaves is valid if, and
    /// only if, that transaction commits.
    pub(crate) fn advance(&mut self, connection: &Connection, book: &Book) -> rusqlite::Result<()> {
        let last = book.last_operation().map_or(0, OperationId::get);
        let operations = last - self.swept;
        if operations < OPERATIONS_BETWEEN_SLICES_MIN {
            return Ok(());
        }
        self.swept = last;
        self.write_slice(connection, book, operations, operations * WALLETS_SEEN_PER_OPERATION)
    }

    /// Writes everything that lags, in the open transaction: what a clean stop leaves needs no
    /// replay.
    pub(crate) fn finish(&mut self, connection: &Connection, book: &Book) -> rusqlite::Result<()> {
        // The first call ends the round under way; the second is a whole round from now.
        self.write_slice(connection, book, u64::MAX, u64::MAX)?;
        self.write_slice(connection, book, u64::MAX, u64::MAX)
    }

    fn write_slice(
        &mut self,
        connection: &Connection,
        book: &Book,
        writes_max: u64,
        seen_max: u64,
    ) -> rusqlite::Result<()> {
        let mut update = connection.prepare_cached(
            "UPDATE wallet SET balance_minor = ?, last_operation_id = ? WHERE wallet_id = ?",
        )?;
        let (mut writes, mut seen) = (0, 0);
        while writes < writes_max && seen < seen_max {
            let Some((wallet, state)) =
                WalletId::new(self.next).and_then(|wallet| Some((wallet, book.wallet(wallet)?)))
            else {
                return self.end_round(connection, book);
            };
            // A wallet whose newest operation is not after the mark is in the table already.
            if let Some(last) = state.last.filter(|last| last.get() > self.mark) {
                update.raw_bind_parameter(1, state.balance.minor())?;
                update.raw_bind_parameter(2, last.get().cast_signed())?;
                update.raw_bind_parameter(3, wallet.get().cast_signed())?;
                update.raw_execute()?;
                writes += 1;
            }
            self.next += 1;
            seen += 1;
        }
        Ok(())
    }

    fn end_round(&mut self, connection: &Connection, book: &Book) -> rusqlite::Result<()> {
        self.mark = self.round_began;
        self.round_began = book.last_operation().map_or(0, OperationId::get);
        self.next = 1;
        connection
            .prepare_cached("UPDATE ledger SET sweep_operation_id = ?")?
            .execute([self.mark.cast_signed()])
            .map(|_| ())
    }
}

//! Owns how far the kept balances lag behind: the sweep that writes a slice of them with some batches.
//!
//! Never: the truth of a balance (the transfers carry it). Bounds: a slice costs in proportion to
//! the operations since the last one; what a start must replay is at most two rounds of the sweep,
//! that is about as many operations as there are wallets, or two slices if that is more.

use ledger::{Book, OperationId, WalletId, WalletState};
use rusqlite::Connection;

use crate::swept::{self, Kept, WALLETS_A_BLOCK};

/// A slice is written when at least this many operations have come since the last one, so that
/// small batches do not pay for pages of it.
const OPERATIONS_BETWEEN_SLICES_MIN: u64 = 2_048;

/// One block is written for so many operations since the last slice. Half as many would halve what
/// a start replays, and add a page to the log for each.
const OPERATIONS_A_BLOCK: u64 = 96;

/// One block is looked at for so many; untouched ones cost next to nothing.
const OPERATIONS_A_LOOK: u64 = 16;

/// A slice is for so many at most: after a crash, what lags is written over many commits and not in
/// the first. More than a batch has, so it always catches up.
const OPERATIONS_A_SLICE_MAX: u64 = 16_384;

/// Where the sweep stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    /// The next block to look at, counted from 0.
    next: u64,
    /// The newest operation when this round began: the mark when it ends.
    round_began: u64,
    /// What is kept holds every operation up to this one.
    mark: u64,
    /// The operation up to which slices were written.
    swept: u64,
}

impl Sweep {
    pub(crate) fn new(mark: u64) -> Self {
        Self { next: 0, round_began: mark, mark, swept: mark }
    }

    /// Writes a slice in the open transaction, if one is due. The value it leaves is valid if, and
    /// only if, that transaction commits.
    pub(crate) fn advance(&mut self, connection: &Connection, book: &Book) -> rusqlite::Result<()> {
        let last = book.last_operation().map_or(0, OperationId::get);
        let operations = (last - self.swept).min(OPERATIONS_A_SLICE_MAX);
        if operations < OPERATIONS_BETWEEN_SLICES_MIN {
            return Ok(());
        }
        self.swept += operations;
        let (writes_max, seen_max) =
            (operations / OPERATIONS_A_BLOCK, operations / OPERATIONS_A_LOOK);
        self.write_slice(connection, book, writes_max, seen_max)
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
        let (mut writes, mut seen) = (0, 0);
        let mut states = Vec::new();
        while writes < writes_max && seen < seen_max {
            let first = self.next * WALLETS_A_BLOCK + 1;
            if first > book.wallets() {
                return self.end_round(connection, book);
            }
            states.clear();
            let mut lags = false;
            for number in first..first + WALLETS_A_BLOCK {
                let state = WalletId::new(number).and_then(|wallet| book.wallet(wallet));
                let Some(WalletState { balance, last, .. }) = state else { break };
                let last = last.map_or(0, OperationId::get);
                // A wallet whose newest operation is not after the mark is in its block already.
                lags |= last > self.mark;
                let kept = Kept { balance_minor: balance.minor(), last: last.cast_signed() };
                swept::encode(kept, &mut states);
            }
            if lags {
                swept::write(connection, self.next, &states)?;
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
        self.next = 0;
        connection
            .prepare_cached("UPDATE ledger SET sweep_operation_id = ?")?
            .execute([self.mark.cast_signed()])
            .map(|_| ())
    }
}

//! Owns how far the kept balances lag behind: the sweep that writes a slice of them with some batches.
//!
//! Never: the truth of a balance (the transfers carry it). Bounds: a slice costs in proportion to
//! the operations since the last one; what a start must replay is at most two rounds of the sweep,
//! that is about as many operations as there are wallets, or two slices if that is more.

use ledger::{Book, OperationId, WalletId, WalletState};
use rusqlite::Connection;

use crate::file::swept::{self, Kept, WALLETS_A_BLOCK};

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

#[cfg(test)]
mod tests {
    use ledger::{Amount, Currency, Operation, OperationKind, Timestamp, WalletKind};

    use super::*;
    use crate::file::schema;

    /// So many that a round takes several slices.
    const WALLETS: u64 = 40 * WALLETS_A_BLOCK;
    const BATCHES: u64 = 60;
    const OPERATIONS_A_BATCH: u64 = 700;

    fn book() -> Book {
        let mut book = Book::new();
        book.open_wallet(WalletKind::System).unwrap();
        for _ in 2..=WALLETS {
            book.open_wallet(WalletKind::Person).unwrap();
        }
        book.commit();
        book
    }

    /// The mark. What is kept of each wallet must be as it once was, and not before the mark.
    fn check(connection: &Connection, histories: &[Vec<(u64, i64)>]) -> u64 {
        let mark: u64 = connection
            .query_row("SELECT sweep_operation_id FROM ledger", (), |row| row.get(0))
            .unwrap();
        let mut kept = swept::Reader::new(connection).unwrap();
        for (history, number) in histories.iter().zip(1..) {
            let Kept { balance_minor, last } = kept.kept(number).unwrap();
            let last = last.cast_unsigned();
            let newer = history.iter().rev().take_while(|(operation, _)| *operation > last);
            assert!(newer.clone().all(|(operation, _)| *operation > mark), "wallet {number}");
            let then = history.iter().rev().nth(newer.count()).copied().unwrap_or_default();
            assert_eq!((last, balance_minor), then, "wallet {number}");
        }
        mark
    }

    #[test]
    fn all_up_to_the_mark_is_kept_whatever_is_rolled_back() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, Currency::parse("RUB").ok(), 0).unwrap();
        let (mut book, mut sweep) = (book(), Sweep::new(0));
        let mut histories = vec![Vec::new(); WALLETS as usize];
        let (mut mark, mut marks, mut seed) = (0, 0, 1_u64);
        for batch in 0..BATCHES {
            connection.execute_batch("BEGIN").unwrap();
            let (before, mut moved) = (sweep, Vec::new());
            for _ in 0..OPERATIONS_A_BATCH {
                seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                let operation = Operation {
                    kind: OperationKind::Deposit,
                    debit: WalletId::FIRST,
                    credit: WalletId::new(2 + (seed >> 33) % (WALLETS - 1)).unwrap(),
                    amount: Amount::from_minor(1).unwrap(),
                    details: None,
                    external_id: None,
                };
                let transfer = book.decide(&operation, Timestamp::default()).unwrap();
                moved.extend([transfer.debit, transfer.credit].map(|side| {
                    (side.wallet.get() as usize - 1, (transfer.id.get(), side.balance.minor()))
                }));
            }
            sweep.advance(&connection, &book).unwrap();
            if batch % 5 < 2 {
                connection.execute_batch("ROLLBACK").unwrap();
                book.roll_back();
                sweep = before;
            } else {
                connection.execute_batch("COMMIT").unwrap();
                book.commit();
                moved.into_iter().for_each(|(wallet, state)| histories[wallet].push(state));
            }
            let found = check(&connection, &histories);
            marks += usize::from(found > mark);
            mark = found;
        }
        assert!(marks >= 3, "{marks}");
        sweep.finish(&connection, &book).unwrap();
        assert_eq!(check(&connection, &histories), book.last_operation().unwrap().get());
    }
}

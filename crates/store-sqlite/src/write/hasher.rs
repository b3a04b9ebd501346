//! Owns the chain while batches are written: rows get their links here, many at a time.
//!
//! Never: a row in the file, or a row out of its order. Bounds: [`ROWS_AT_ONCE`] rows wait, and there is memory for
//! [`SPARE_MAX`] more lists of them, which comes back when they are in the file.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use ledger::{Block, Chain, ChainMark, IdempotencyKey, Link, Transfer};

/// So many rows are hashed at once: their way to the file costs less than one of them costs to hash, and they are
/// still near the processor.
const ROWS_AT_ONCE: usize = 1_024;

/// So many lists of rows are kept for their memory: while those of one batch are inserted, the next one's are filled.
const SPARE_MAX: usize = 16;

/// A transfer on its way into the file.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) transfer: Transfer,
    pub(crate) key: Option<IdempotencyKey>,
    /// What is hashed in place of the key.
    pub(crate) mark: u64,
}

/// Rows with their links, and the blocks that they made whole. The links stand beside the rows: what only one
/// processor writes need not be fetched from the other.
#[derive(Debug, Default)]
pub(crate) struct Hashed {
    pub(crate) rows: Vec<Row>,
    pub(crate) links: Vec<Link>,
    pub(crate) blocks: Vec<Block>,
}

/// The way back for the memory of rows: what is new has to be fetched before it can be written to.
#[derive(Debug, Clone)]
pub(crate) struct Spares(SyncSender<Vec<Row>>);

impl Spares {
    /// Takes rows that are in the file; more lists than are needed are let go.
    pub(crate) fn take_back(&self, rows: Vec<Row>) {
        if rows.capacity() > 0 {
            let _ = self.0.try_send(rows);
        }
    }
}

/// The chain, and the rows that it does not cover yet. As the chain itself, it takes effect at once and is made final
/// or undone.
pub(crate) struct Hasher {
    chain: Chain,
    waiting: Vec<Row>,
    spare: Receiver<Vec<Row>>,
    spares: Spares,
}

impl Hasher {
    /// Takes the chain over.
    pub(crate) fn new(chain: Chain) -> Self {
        let (spares, spare) = sync_channel(SPARE_MAX);
        Self { chain, waiting: Vec::new(), spare, spares: Spares(spares) }
    }

    /// Where whoever puts the rows into the file gives their memory back.
    pub(crate) fn spares(&self) -> Spares {
        self.spares.clone()
    }

    /// Takes the next row. Now and then, rows come back that are hashed.
    #[inline]
    pub(crate) fn push(&mut self, row: Row) -> Option<Hashed> {
        self.waiting.push(row);
        if self.waiting.len() < ROWS_AT_ONCE {
            return None;
        }
        let mut empty = self.empty();
        empty.reserve(ROWS_AT_ONCE);
        Some(self.hash(empty))
    }

    /// All rows that did not come back yet, hashed.
    pub(crate) fn finish(&mut self) -> Hashed {
        if self.waiting.is_empty() {
            return Hashed::default();
        }
        let empty = self.empty();
        self.hash(empty)
    }

    /// The rows that were in it are let go here: by the decider, if there are many.
    fn empty(&self) -> Vec<Row> {
        let mut empty = self.spare.try_recv().unwrap_or_default();
        empty.clear();
        empty
    }

    fn hash(&mut self, empty: Vec<Row>) -> Hashed {
        let rows = std::mem::replace(&mut self.waiting, empty);
        let (mut links, mut blocks) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in &rows {
            let (_, block) = self.chain.extend(&row.transfer, row.mark);
            links.push(self.chain.last());
            blocks.extend(block);
        }
        Hashed { rows, links, blocks }
    }

    /// Makes everything since the last commit final; it is all hashed. Gives the newest link.
    pub(crate) fn commit(&mut self) -> Link {
        debug_assert!(self.waiting.is_empty(), "not all is hashed");
        self.chain.commit();
        self.chain.last()
    }

    /// Remembers the chain as it is now, with everything hashed.
    pub(crate) fn mark(&self) -> ChainMark {
        debug_assert!(self.waiting.is_empty(), "not all is hashed");
        self.chain.mark()
    }

    /// Makes everything up to a mark final that was set since the last commit.
    pub(crate) fn commit_to(&mut self, mark: ChainMark) {
        self.chain.commit_to(mark);
    }

    /// Undoes everything since the last commit.
    pub(crate) fn roll_back(&mut self) {
        self.waiting.clear();
        self.chain.roll_back();
    }
}

#[cfg(test)]
mod tests {
    use ledger::{
        Amount, BLOCK_OPERATIONS, Balance, Currency, OperationId, OperationKind, Side, Timestamp,
        WalletId,
    };

    use super::*;

    fn row(number: u64) -> Row {
        let side = |wallet| Side {
            wallet: WalletId::new(wallet).unwrap(),
            balance: Balance::ZERO,
            previous: None,
        };
        let transfer = Transfer {
            id: OperationId::new(number).unwrap(),
            kind: OperationKind::Transfer,
            debit: side(1),
            credit: side(2),
            amount: Amount::from_minor(1).unwrap(),
            details: None,
            external_id: None,
            time: Timestamp::from_micros(0),
        };
        Row { transfer, key: None, mark: number }
    }

    fn chain() -> Chain {
        Chain::new(Currency::parse("RUB").unwrap())
    }

    /// Pushes rows of these numbers; the links and blocks that come back, in order.
    fn push(
        hasher: &mut Hasher,
        numbers: std::ops::RangeInclusive<u64>,
    ) -> (Vec<Link>, Vec<Block>) {
        let (mut links, mut blocks) = (Vec::new(), Vec::new());
        let mut take = |mut hashed: Hashed, spares: Spares| {
            assert_eq!(hashed.rows.len(), hashed.links.len());
            links.append(&mut hashed.links);
            blocks.append(&mut hashed.blocks);
            spares.take_back(hashed.rows);
        };
        for number in numbers {
            if let Some(hashed) = hasher.push(row(number)) {
                take(hashed, hasher.spares());
            }
        }
        take(hasher.finish(), hasher.spares());
        (links, blocks)
    }

    /// The same without lists.
    fn plain(chain: &mut Chain, count: u64) -> (Vec<Link>, Vec<Block>) {
        let extend = |number| {
            let (_, block) = chain.extend(&row(number).transfer, number);
            (chain.last(), block)
        };
        let (links, blocks): (_, Vec<_>) = (1..=count).map(extend).unzip();
        (links, blocks.into_iter().flatten().collect())
    }

    #[test]
    fn in_lists_it_is_the_same_chain() {
        let list = ROWS_AT_ONCE as u64;
        for count in [1, list - 1, list, list + 1, 2 * list, 5 * list + 300] {
            let (mut expected, mut hasher) = (chain(), Hasher::new(chain()));
            let found = push(&mut hasher, 1..=count);
            assert_eq!(found, plain(&mut expected, count));
            assert_eq!(found.1.len() as u64, count / BLOCK_OPERATIONS);
            assert_eq!(hasher.commit(), expected.last());
        }
    }

    #[test]
    fn a_roll_back_forgets_what_waits_and_what_is_hashed() {
        let list = ROWS_AT_ONCE as u64;
        for lost in [1, list, 2 * list + 7] {
            for (committed, marked) in [(300, 300), (256, 300), (300, 2 * list), (0, 511)] {
                let mut hasher = Hasher::new(chain());
                push(&mut hasher, 1..=committed);
                hasher.commit();
                push(&mut hasher, committed + 1..=marked);
                let mark = hasher.mark();
                for number in marked + 1..=marked + lost {
                    hasher.push(row(number + 1_000_000));
                }
                // What is final is the first batch alone, or the second too.
                let kept = if lost % 2 == 0 { committed } else { marked };
                if kept == marked {
                    hasher.commit_to(mark);
                }
                hasher.roll_back();
                let mut expected = chain();
                let expected = plain(&mut expected, 3_000);
                let (links, blocks) = push(&mut hasher, kept + 1..=3_000);
                assert_eq!(links, expected.0[usize::try_from(kept).unwrap()..]);
                let whole = usize::try_from(kept / BLOCK_OPERATIONS).unwrap();
                assert_eq!(blocks, expected.1[whole..]);
            }
        }
    }
}

//! Owns how the chain over the book is kept and verified: a link in each row, a block each 256 rows.
//!
//! Never: the hash itself (that is the ledger's). Bounds: verifying one row reads the row before it;
//! a start reads at most 255 rows before those that it replays.

use ledger::{
    BLOCK_OPERATIONS, Block, Chain, Currency, Hash, Link, OperationId, Record, link_after,
};
use rusqlite::{Connection, OptionalExtension};

use crate::file::key_mark::KeyMarker;
use crate::file::rows::{self, KeptTransfer};

/// What does not fit the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainDamage {
    #[error("operation {0} stands where operation {1} should")]
    OutOfOrder(OperationId, u64),
    #[error("operation {0} is not what was recorded: its row was changed")]
    Changed(OperationId),
    #[error("operation {0} is missing")]
    Missing(u64),
    #[error("the chain's block {0} is missing")]
    BlockMissing(u64),
    #[error(
        "the chain's block {block} does not fit its operations, {first} to {last}: it was changed, \
         or one of them was, together with its link"
    )]
    BlockChanged { block: u64, first: u64, last: u64 },
}

/// What rows are verified with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links {
    currency: Currency,
    marker: KeyMarker,
}

impl Links {
    /// Those of a file.
    pub(crate) fn of(connection: &Connection, currency: Currency) -> rusqlite::Result<Self> {
        Ok(Self { currency, marker: KeyMarker::of(connection)? })
    }

    pub(crate) fn marker(&self) -> KeyMarker {
        self.marker
    }

    /// The facts of a row as they are hashed.
    pub(crate) fn record(&self, kept: &KeptTransfer) -> Record {
        Record::of(&kept.transfer, self.currency, self.mark(kept))
    }

    /// Whether a row is what was recorded: with the link of the row before it, its own follows.
    pub(crate) fn verify(
        &self,
        connection: &Connection,
        kept: &KeptTransfer,
    ) -> rusqlite::Result<Result<(), ChainDamage>> {
        let id = kept.transfer.id;
        let Some(previous) = link(connection, id.get() - 1)? else {
            return Ok(Err(ChainDamage::Missing(id.get() - 1)));
        };
        let fits = link_after(previous, &self.record(kept)) == kept.link;
        Ok(if fits { Ok(()) } else { Err(ChainDamage::Changed(id)) })
    }

    fn mark(&self, kept: &KeptTransfer) -> u64 {
        let wallet = kept.transfer.debit.wallet.get().cast_signed();
        match &kept.key {
            Some(key) => self.marker.mark(wallet, key),
            None => self.marker.blind(kept.transfer.id.get().cast_signed()),
        }
    }
}

/// A chain under verification: takes the rows one after another.
pub(crate) struct Verifier {
    pub(crate) chain: Chain,
    links: Links,
}

impl Verifier {
    /// One that starts with the block in which the operation after `mark` stands.
    pub(crate) fn from(
        connection: &Connection,
        links: Links,
        mark: u64,
    ) -> rusqlite::Result<Result<Self, ChainDamage>> {
        let blocks = mark / BLOCK_OPERATIONS;
        let before = blocks * BLOCK_OPERATIONS;
        let Some(link) = link(connection, before)? else {
            return Ok(Err(ChainDamage::Missing(before)));
        };
        let chain = Chain::after(links.currency, blocks, link);
        Ok(Ok(Self { chain, links }))
    }

    /// Takes the next row. Gives its hash, and the block that it makes whole.
    pub(crate) fn take(
        &mut self,
        kept: &KeptTransfer,
    ) -> Result<(Hash, Option<Block>), ChainDamage> {
        let expected = self.chain.operations() + 1;
        if kept.transfer.id.get() != expected {
            return Err(ChainDamage::OutOfOrder(kept.transfer.id, expected));
        }
        let taken = self.extend(kept);
        if self.chain.last() == kept.link {
            Ok(taken)
        } else {
            Err(ChainDamage::Changed(kept.transfer.id))
        }
    }

    fn extend(&mut self, kept: &KeptTransfer) -> (Hash, Option<Block>) {
        self.chain.extend(&kept.transfer, self.links.mark(kept))
    }
}

/// Compares the root over a block's operations with the one that is kept.
pub(crate) fn compare(kept: Option<Hash>, found: Block) -> Result<(), ChainDamage> {
    match kept {
        Some(root) if root == found.root => Ok(()),
        Some(_) => Err(ChainDamage::BlockChanged {
            block: found.number + 1,
            first: found.number * BLOCK_OPERATIONS + 1,
            last: (found.number + 1) * BLOCK_OPERATIONS,
        }),
        None => Err(ChainDamage::BlockMissing(found.number + 1)),
    }
}

/// Appends a block.
pub(crate) fn insert_block(connection: &Connection, block: Block) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO chain_block (block, root) VALUES (?, ?)")?
        .execute(((block.number + 1).cast_signed(), block.root))
        .map(|_| ())
}

/// The root of the block of a number, counted from 0.
pub(crate) fn block_root(connection: &Connection, number: u64) -> rusqlite::Result<Option<Hash>> {
    connection
        .prepare_cached("SELECT root FROM chain_block WHERE block = ?")?
        .query_row([(number + 1).cast_signed()], |row| row.get(0))
        .optional()
}

/// The link of an operation, or what stands for it before the first.
pub(crate) fn link(connection: &Connection, operation: u64) -> rusqlite::Result<Option<Link>> {
    if operation == 0 {
        return Ok(Some(0));
    }
    connection
        .prepare_cached("SELECT chain FROM transfer WHERE operation_id = ?")?
        .query_row([operation.cast_signed()], |row| row.get(0).map(i64::cast_unsigned))
        .optional()
}

/// Writes the chain of a file that has none yet.
pub(crate) fn make(connection: &Connection, currency: Currency) -> rusqlite::Result<()> {
    let links = Links::of(connection, currency)?;
    let mut verifier = Verifier { chain: Chain::new(currency), links };
    let mut update = connection.prepare("UPDATE transfer SET chain = ? WHERE operation_id = ?")?;
    let mut select = connection.prepare(rows::SELECT_KEPT_AFTER)?;
    let mut found = select.query([0])?;
    while let Some(row) = found.next()? {
        let kept = rows::read_kept(row)?;
        let (_, block) = verifier.extend(&kept);
        let link = verifier.chain.last();
        update.execute((link.cast_signed(), kept.transfer.id.get().cast_signed()))?;
        if let Some(block) = block {
            insert_block(connection, block)?;
        }
    }
    Ok(())
}

//! Owns the reading side of the chain: checkpoints, and the proofs that receipts carry.
//!
//! Never: a hash taken on trust where its operations are read anyway. Bounds: a receipt reads its
//! own block and the last one, at most 256 rows each, and one kept hash for each 256 operations of the
//! last 65 536; above that, hashes are remembered, 32 bytes for each 65 536 operations.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ledger::{
    BLOCK_OPERATIONS, Checkpoint, Hash, Nodes, OperationId, Receipt, WalletId, root_of, tree_path,
    tree_root,
};
use rusqlite::Connection;

use crate::file::chain::{self, Links, Verifier};
use crate::file::rows;
use crate::read::readers::ReadError;

/// How many blocks a remembered node spans: a power of two.
const SPAN_BLOCKS: u64 = 256;
const SPAN_OPERATIONS: u64 = SPAN_BLOCKS * BLOCK_OPERATIONS;

/// The nodes over whole spans, from the first on. They never change, so they are worked out once.
#[derive(Default)]
pub(crate) struct Spans(Mutex<Vec<Hash>>);

/// What the whole book is now.
pub(crate) fn checkpoint(
    connection: &Connection,
    links: Links,
    spans: &Spans,
) -> Result<Checkpoint, ReadError> {
    let operations = rows::newest_operation(connection)?;
    Ok(Checkpoint {
        operations,
        root: tree_root(&mut Tree::new(connection, links, spans), 0, operations)?,
    })
}

/// The proof that an operation of the wallet is in the book as of when it had so many operations.
pub(crate) fn receipt(
    connection: &Connection,
    links: Links,
    spans: &Spans,
    (wallet, operation): (WalletId, OperationId),
    as_of: Option<u64>,
) -> Result<Option<Receipt>, ReadError> {
    let newest = rows::newest_operation(connection)?;
    let operations = as_of.unwrap_or(newest);
    if operation.get() > operations || operations > newest {
        return Ok(None);
    }
    let Some(kept) = rows::select_kept(connection, operation.get().cast_signed())? else {
        return Err(ReadError::Damaged(format!("operation {operation} is missing")));
    };
    if kept.transfer.side(wallet).is_none() {
        return Ok(None);
    }
    let mut tree = Tree::new(connection, links, spans);
    let leaf = operation.get() - 1;
    let proof = tree_path(&mut tree, leaf, (0, operations))?;
    let root = tree_root(&mut tree, 0, operations)?;
    let previous = chain::link(connection, leaf)?.ok_or_else(|| missing(leaf))?;
    let record = links.record(&kept);
    let receipt = Receipt { record, previous, proof, checkpoint: Checkpoint { operations, root } };
    // What does not hold must not be given out, and says that something here is damaged.
    receipt.verify().map_err(|error| ReadError::Damaged(error.to_string()))?;
    Ok(Some(receipt))
}

/// The Merkle tree over the book, as one state shows it.
struct Tree<'t> {
    connection: &'t Connection,
    links: Links,
    spans: &'t Spans,
    /// The hashes of the block that was read last.
    leaves: Option<(u64, Vec<Hash>)>,
}

impl<'t> Tree<'t> {
    fn new(connection: &'t Connection, links: Links, spans: &'t Spans) -> Self {
        Self { connection, links, spans, leaves: None }
    }

    /// The hashes of operations that are in one block, which is read and verified.
    fn leaves(&mut self, first: u64, count: u64) -> Result<&[Hash], ReadError> {
        let block = first / BLOCK_OPERATIONS;
        if self.leaves.as_ref().is_none_or(|(read, _)| *read != block) {
            self.leaves = Some((block, self.read_block(block)?));
        }
        let from = usize::try_from(first % BLOCK_OPERATIONS).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        let hashes =
            self.leaves.as_ref().and_then(|(_, hashes)| hashes.get(Range { start: from, end: to }));
        hashes.ok_or_else(|| missing(first))
    }

    fn read_block(&self, block: u64) -> Result<Vec<Hash>, ReadError> {
        let mark = block * BLOCK_OPERATIONS;
        let mut verifier = Verifier::from(self.connection, self.links, mark)?.map_err(damaged)?;
        let mut select = self.connection.prepare_cached(rows::SELECT_KEPT_AFTER)?;
        let mut found = select.query([mark.cast_signed()])?;
        let mut hashes = Vec::new();
        while (hashes.len() as u64) < BLOCK_OPERATIONS
            && let Some(row) = found.next()?
        {
            let kept = rows::read_kept(row)?;
            let (hash, whole) = verifier.take(&kept).map_err(damaged)?;
            hashes.push(hash);
            if let Some(found) = whole {
                let root = chain::block_root(self.connection, found.number)?;
                chain::compare(root, found).map_err(damaged)?;
            }
        }
        Ok(hashes)
    }

    fn block(&self, number: u64) -> Result<Hash, ReadError> {
        let root = chain::block_root(self.connection, number)?;
        root.ok_or_else(|| missing(number * BLOCK_OPERATIONS))
    }

    fn span(&self, number: u64) -> Result<Hash, ReadError> {
        let mut spans = self.spans.0.lock().unwrap_or_else(PoisonError::into_inner);
        while spans.len() as u64 <= number {
            let first = spans.len() as u64 * SPAN_BLOCKS;
            let blocks = (first..first + SPAN_BLOCKS).map(|number| self.block(number));
            spans.push(root_of(&blocks.collect::<Result<Vec<_>, _>>()?));
        }
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        spans.get(index).copied().ok_or_else(|| missing(number * SPAN_OPERATIONS))
    }
}

impl Nodes for Tree<'_> {
    type Error = ReadError;

    fn node(&mut self, first: u64, count: u64) -> Result<Option<Hash>, ReadError> {
        Ok(match count {
            BLOCK_OPERATIONS => Some(self.block(first / BLOCK_OPERATIONS)?),
            SPAN_OPERATIONS => Some(self.span(first / SPAN_OPERATIONS)?),
            part if part < BLOCK_OPERATIONS => Some(root_of(self.leaves(first, part)?)),
            _ => None,
        })
    }
}

fn damaged(damage: impl std::fmt::Display) -> ReadError {
    ReadError::Damaged(damage.to_string())
}

fn missing(leaf: u64) -> ReadError {
    ReadError::Damaged(format!("the chain has no hash of operation {}", leaf + 1))
}

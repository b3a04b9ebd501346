//! Owns the proof that an operation is in the book, which anybody can verify without the book.
//!
//! Never: a balance, a key, or another operation's facts: only hashes of them. Bounds: one hash for
//! each doubling of the book's size, which is at most [`ID_MAX`].

use ct_merkle::{HashableLeaf, InclusionProof, RootHash};
use sha2::Sha256;
use sha2::digest::Update;

use crate::ID_MAX;
use crate::chain::{Hash, Link, Record, encode_leaf, node_hash, root_of};

/// What the whole book was at some moment, in one hash. Whoever keeps one can tell later whether
/// anything before it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many operations the book had.
    pub operations: u64,
    /// The root of the Merkle tree over them; all zeros when there was none.
    pub root: Hash,
}

/// An operation with the proof that it is in the book of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The operation.
    pub record: Record,
    /// The link of the operation before it; 0 for the first.
    pub previous: Link,
    /// The hashes that lead from the operation to the root (RFC 6962, section 2.1.1).
    pub proof: Vec<Hash>,
    /// The book that it is in.
    pub checkpoint: Checkpoint,
}

/// The receipt proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The operation is later than the checkpoint.
    #[error("operation {operation} is not among the {operations} of the checkpoint")]
    NotCovered {
        /// The operation.
        operation: u64,
        /// How many the checkpoint covers.
        operations: u64,
    },
    /// The checkpoint is of more operations than a book can have.
    #[error("no book has {operations} operations")]
    NoSuchBook {
        /// How many the checkpoint covers.
        operations: u64,
    },
    /// The hashes do not lead to the checkpoint's root.
    #[error(
        "the receipt does not lead to the checkpoint: the operation is not in that book as it stands here"
    )]
    DoesNotLeadToRoot,
}

struct Leaf(Vec<u8>);

impl HashableLeaf for Leaf {
    fn hash<H: Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

impl Receipt {
    /// Verifies that the operation, exactly as it stands here, is in the checkpoint's book. Whether
    /// that is the book's true checkpoint, only one that came another way tells.
    pub fn verify(&self) -> Result<(), ReceiptError> {
        let Checkpoint { operations, root } = self.checkpoint;
        let operation = self.record.operation.get();
        if operation > operations {
            return Err(ReceiptError::NotCovered { operation, operations });
        }
        // Where a tree's places cannot be counted in 64 bits, the library may panic or never end.
        if operations > ID_MAX {
            return Err(ReceiptError::NoSuchBook { operations });
        }
        let mut leaf = Vec::new();
        encode_leaf(self.previous, &self.record, &mut leaf);
        let proof = InclusionProof::<Sha256>::try_from_bytes(self.proof.concat())
            .map_err(|_| ReceiptError::DoesNotLeadToRoot)?;
        RootHash::<Sha256>::new(root.into(), operations)
            .verify_inclusion(&Leaf(leaf), operation - 1, &proof)
            .map_err(|_| ReceiptError::DoesNotLeadToRoot)
    }
}

/// The root over a range of a tree's leaves, from wherever its nodes are kept.
pub trait Nodes {
    /// Why a node could not be had.
    type Error;

    /// The root over the leaves from `first` (counted from 0), `count` of them: a whole block or a
    /// part of one, or a greater power of two where the implementor keeps that. `None` where it must be
    /// put together from its halves.
    fn node(&mut self, first: u64, count: u64) -> Result<Option<Hash>, Self::Error>;
}

/// The root over `count` leaves from `first` on.
pub fn tree_root<N: Nodes>(nodes: &mut N, first: u64, count: u64) -> Result<Hash, N::Error> {
    if count == 0 {
        return Ok(root_of(&[]));
    }
    if let Some(node) = nodes.node(first, count)? {
        return Ok(node);
    }
    let half = left_half(count);
    let left = tree_root(nodes, first, half)?;
    Ok(node_hash(&left, &tree_root(nodes, first + half, count - half)?))
}

/// The path from a leaf to the root over `count` leaves from `first` on, the leaf's sibling first.
pub fn tree_path<N: Nodes>(
    nodes: &mut N,
    leaf: u64,
    (first, count): (u64, u64),
) -> Result<Vec<Hash>, N::Error> {
    if count <= 1 {
        return Ok(Vec::new());
    }
    let half = left_half(count);
    let (left, right) = ((first, half), (first + half, count - half));
    let (inside, beside) = if leaf < right.0 { (left, right) } else { (right, left) };
    let mut path = tree_path(nodes, leaf, inside)?;
    path.push(tree_root(nodes, beside.0, beside.1)?);
    Ok(path)
}

/// The greatest power of two below `count`, which is at least 2 wherever this is asked.
fn left_half(count: u64) -> u64 {
    1 << (count.max(2) - 1).ilog2()
}

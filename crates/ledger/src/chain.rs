//! Owns the running hash over the book: each operation's hash covers the one before it, so that one
//! that is changed, missing, doubled or moved shows.
//!
//! Never: a balance in a hash (balances follow from the operations, and a receipt must not tell
//! one party's balance to the other), or where the hashes are kept. Bounds: constant work an
//! operation; one block of hashes, [`BLOCK_OPERATIONS`], in memory.
//!
//! The hash of operation *n* is `SHA-256(0x00 ‖ link of n-1 ‖ record of n)`, and its link is the first 8
//! bytes of that. The link stands in the operation's row: with the row before it, each row can be
//! verified by itself. The whole hash is, at the same time, the leaf hash of a Merkle tree (RFC 6962)
//! whose leaves are `link of n-1 ‖ record of n`: chain and tree cost one hash, and the tree's root is as
//! hard to forge as SHA-256. Whole blocks of leaves are nodes of that tree, and are kept.

use crate::{
    Amount, Currency, Details, ExternalId, OperationId, OperationKind, Timestamp, Transfer,
    WalletId, sha256,
};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What an operation hands to the next: the first 8 bytes of its hash, big-endian; 0 before the
/// first.
pub type Link = u64;

/// How many operations a block has: a power of two, so that a block is a node of the Merkle tree.
pub const BLOCK_OPERATIONS: u64 = 256;

/// What stands before a leaf's and before a node's bytes (RFC 6962, section 2.1), so that neither
/// can be passed for the other.
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// The facts of an operation that are hashed: all of them but the balances, which follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order of all operations.
    pub operation: OperationId,
    /// Whether it brought money in or moved it.
    pub kind: OperationKind,
    /// The wallet that paid.
    pub debit: WalletId,
    /// The wallet that was paid.
    pub credit: WalletId,
    /// How much.
    pub amount: Amount,
    /// In what.
    pub currency: Currency,
    /// When.
    pub time: Timestamp,
    /// What the engine says of the idempotency key, or of the lack of one, without telling it. As
    /// nobody can guess it, nobody can guess the other facts and see from a hash that they are right.
    pub key_mark: u64,
    /// What the sender wrote.
    pub details: Option<Details>,
    /// The payment provider's own id.
    pub external_id: Option<ExternalId>,
}

impl Record {
    /// The facts of a transfer.
    #[must_use]
    pub fn of(transfer: &Transfer, currency: Currency, key_mark: u64) -> Self {
        Self {
            operation: transfer.id,
            kind: transfer.kind,
            debit: transfer.debit.wallet,
            credit: transfer.credit.wallet,
            amount: transfer.amount,
            currency,
            time: transfer.time,
            key_mark,
            details: transfer.details.clone(),
            external_id: transfer.external_id.clone(),
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            operation: self.operation,
            kind: self.kind,
            debit: self.debit,
            credit: self.credit,
            amount: self.amount,
            currency: self.currency,
            time: self.time,
            key_mark: self.key_mark,
            details: self.details.as_ref(),
            external_id: self.external_id.as_ref(),
        }
    }

    /// Appends the bytes that are hashed.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        self.facts().encode(bytes);
    }
}

/// A record where it stands: the texts are not copied.
struct Facts<'f> {
    operation: OperationId,
    kind: OperationKind,
    debit: WalletId,
    credit: WalletId,
    amount: Amount,
    currency: Currency,
    time: Timestamp,
    key_mark: u64,
    details: Option<&'f Details>,
    external_id: Option<&'f ExternalId>,
}

impl Facts<'_> {
    /// Numbers are big-endian; lengths stand before texts, so no two records have the same bytes.
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.operation.get().to_be_bytes());
        bytes.push(match self.kind {
            OperationKind::Deposit => 1,
            OperationKind::Transfer => 2,
        });
        bytes.extend_from_slice(&self.debit.get().to_be_bytes());
        bytes.extend_from_slice(&self.credit.get().to_be_bytes());
        bytes.extend_from_slice(&self.amount.minor().to_be_bytes());
        bytes.extend_from_slice(&self.time.micros().to_be_bytes());
        bytes.extend_from_slice(&self.key_mark.to_be_bytes());
        encode_text(self.currency.code(), bytes);
        encode_text(self.details.map_or("", Details::as_str), bytes);
        encode_text(self.external_id.map_or("", ExternalId::as_str), bytes);
    }
}

/// None is as good as empty here: neither details nor external ids are ever empty.
fn encode_text(text: &str, bytes: &mut Vec<u8>) {
    // Texts are bounded far below: details by 200 characters of at most 4 bytes.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// A whole block of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Its place: block 0 has the operations from 1 to [`BLOCK_OPERATIONS`].
    pub number: u64,
    /// The node of the Merkle tree over its operations.
    pub root: Hash,
}

/// A state of the chain since the last commit.
#[derive(Debug, Clone)]
pub struct ChainMark {
    operations: u64,
    last: Link,
    open: Vec<Hash>,
}

/// The running hash. As the [`Book`](crate::Book), it takes effect at once, and is made final by
/// [`commit`](Self::commit) or undone by [`roll_back`](Self::roll_back).
#[derive(Debug, Clone)]
pub struct Chain {
    currency: Currency,
    operations: u64,
    last: Link,
    /// The hashes of the block that is not whole yet.
    open: Vec<Hash>,
    committed: (u64, Link),
    /// What was open at the last commit, when a block has become whole since, or may have.
    open_at_commit: Option<Vec<Hash>>,
    buffer: Vec<u8>,
}

impl Chain {
    /// The chain of a book without operations.
    #[must_use]
    pub fn new(currency: Currency) -> Self {
        Self::after(currency, 0, 0)
    }

    /// The chain after so many whole blocks, of which the last ends with this link.
    #[must_use]
    pub fn after(currency: Currency, blocks: u64, last: Link) -> Self {
        let operations = blocks * BLOCK_OPERATIONS;
        Self {
            currency,
            operations,
            last,
            open: Vec::new(),
            committed: (operations, last),
            open_at_commit: None,
            buffer: Vec::new(),
        }
    }

    /// How many operations it covers.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// The link of the newest operation.
    #[must_use]
    pub fn last(&self) -> Link {
        self.last
    }

    /// The hashes of the block that is not whole yet.
    #[must_use]
    pub fn open(&self) -> &[Hash] {
        &self.open
    }

    /// Takes the next operation. Gives its hash, and the block if it makes one whole.
    pub fn extend(&mut self, transfer: &Transfer, key_mark: u64) -> (Hash, Option<Block>) {
        let facts = Facts {
            operation: transfer.id,
            kind: transfer.kind,
            debit: transfer.debit.wallet,
            credit: transfer.credit.wallet,
            amount: transfer.amount,
            currency: self.currency,
            time: transfer.time,
            key_mark,
            details: transfer.details.as_ref(),
            external_id: transfer.external_id.as_ref(),
        };
        let hash = hash_of(self.last, &facts, &mut self.buffer);
        self.last = link_of(&hash);
        self.operations += 1;
        self.open.push(hash);
        if (self.open.len() as u64) < BLOCK_OPERATIONS {
            return (hash, None);
        }
        let whole = std::mem::take(&mut self.open);
        let root = root_of(&whole);
        let number = self.operations / BLOCK_OPERATIONS - 1;
        if self.open_at_commit.is_none() {
            // The first block that is full since the commit: what was open then is its beginning.
            let before = usize::try_from(self.committed.0 % BLOCK_OPERATIONS).unwrap_or(0);
            self.open_at_commit = Some(whole.into_iter().take(before).collect());
        }
        (hash, Some(Block { number, root }))
    }

    /// Makes everything since the last commit final.
    pub fn commit(&mut self) {
        self.committed = (self.operations, self.last);
        self.open_at_commit = None;
    }

    /// Remembers it as it is now.
    #[must_use]
    pub fn mark(&self) -> ChainMark {
        ChainMark { operations: self.operations, last: self.last, open: self.open.clone() }
    }

    /// Makes everything up to a mark final that was set after the last commit; what came after it can still be
    /// undone.
    pub fn commit_to(&mut self, ChainMark { operations, last, open }: ChainMark) {
        self.committed = (operations, last);
        self.open_at_commit = Some(open);
    }

    /// Undoes everything since the last commit.
    pub fn roll_back(&mut self) {
        (self.operations, self.last) = self.committed;
        match self.open_at_commit.take() {
            Some(open) => self.open = open,
            None => {
                let before = self.committed.0 % BLOCK_OPERATIONS;
                self.open.truncate(usize::try_from(before).unwrap_or(0));
            }
        }
    }
}

/// The link of an operation that follows the one with the link `previous`.
#[must_use]
pub fn link_after(previous: Link, record: &Record) -> Link {
    link_of(&leaf_hash(previous, record, &mut Vec::new()))
}

/// The link of an operation of this hash.
#[must_use]
pub fn link_of(hash: &Hash) -> Link {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    Link::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The leaf of the Merkle tree that stands for an operation, as its bytes.
pub(crate) fn encode_leaf(previous: Link, record: &Record, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&previous.to_be_bytes());
    record.encode(bytes);
}

/// The whole hash of an operation that follows the one with the link `previous`: a leaf of the tree.
/// The buffer is only there to be used again.
pub fn leaf_hash(previous: Link, record: &Record, buffer: &mut Vec<u8>) -> Hash {
    hash_of(previous, &record.facts(), buffer)
}

fn hash_of(previous: Link, facts: &Facts<'_>, buffer: &mut Vec<u8>) -> Hash {
    buffer.clear();
    buffer.push(LEAF);
    buffer.extend_from_slice(&previous.to_be_bytes());
    facts.encode(buffer);
    sha256::of_buffer(buffer)
}

/// The hash of a node from its two children's.
#[must_use]
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256::of_two(NODE, left, right)
}

/// The root over hashes (RFC 6962, section 2.1): a tree whose left half is the greatest power of
/// two. Of nothing it is all zeros.
#[must_use]
pub fn root_of(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    let mut length = level.len();
    while length > 1 {
        // Pairs from the left; what is left over at the end moves up as it is.
        for pair in 0..length.div_ceil(2) {
            let node = match level.get(2 * pair..length.min(2 * pair + 2)) {
                Some([left, right]) => node_hash(left, right),
                rest => rest.and_then(<[Hash]>::first).copied().unwrap_or_default(),
            };
            if let Some(place) = level.get_mut(pair) {
                *place = node;
            }
        }
        length = length.div_ceil(2);
    }
    level.first().copied().unwrap_or_default()
}

//! Owns the reading of the rows, chunk by chunk, and the check of each against the chain.
//!
//! Never: a state of the book; chunks are read on several threads, and a row needs only the link of
//! the one before it. Bounds: [`CHUNK_OPERATIONS`] rows a chunk, one short transaction each.

use std::ops::RangeInclusive;

use ledger::{
    BLOCK_OPERATIONS, Block, Hash, Link, OperationId, Transfer, leaf_hash, link_of, root_of,
};
use rusqlite::{Connection, ErrorCode, Row};

use super::findings::{Findings, Place};
use super::{CheckError, external_ids};
use crate::file::chain::{self, ChainDamage, Links};
use crate::file::open_error::told;
use crate::file::rows;
use crate::read::readers::within_one_state;

/// How many operations a chunk has: whole blocks.
pub(super) const CHUNK_OPERATIONS: u64 = 32 * BLOCK_OPERATIONS;

/// The columns of a row, as [`rows::read_kept`] counts them.
const COLUMNS: [&str; 14] = [
    "operation_id",
    "kind",
    "debit_wallet_id",
    "credit_wallet_id",
    "amount_minor",
    "debit_balance_minor",
    "credit_balance_minor",
    "debit_previous_id",
    "credit_previous_id",
    "time_us",
    "details",
    "external_id",
    "idempotency_key",
    "chain",
];

/// A row that could be read, without its texts.
pub(super) struct ReadRow {
    pub(super) transfer: Transfer,
    /// Whether it is what was recorded, as far as the chain tells: balances and back-pointers are
    /// not in it.
    pub(super) fits_chain: bool,
    /// The mark of its idempotency key.
    pub(super) key_mark: Option<u64>,
}

/// Some rows, in their order, checked against the chain.
pub(super) struct Chunk {
    pub(super) ids: RangeInclusive<u64>,
    pub(super) rows: Vec<ReadRow>,
    /// Ids that are not among the rows, and are named already.
    pub(super) unread: Vec<RangeInclusive<u64>>,
    /// The roots over the whole blocks as the rows have it; `None` where one is missing.
    pub(super) blocks: Vec<Option<Hash>>,
    /// The root over the operations of the last block, up to the end of the book.
    pub(super) open: Option<Hash>,
    /// The root over those of the published checkpoint's last block.
    pub(super) published: Option<Hash>,
    pub(super) external_ids: external_ids::Sum,
    pub(super) findings: Findings,
}

/// Reads chunks.
pub(super) struct ChunkReader {
    connection: Connection,
    links: Links,
    /// How many operations the book has.
    operations: u64,
    /// How many the published checkpoint covers.
    published: u64,
    buffer: Vec<u8>,
}

/// The operations of a block as far as they were read.
struct OpenBlock {
    leaves: Vec<Hash>,
    /// Whether all of them were there so far.
    whole: bool,
    /// Whether all of them fit the chain so far.
    fits: bool,
}

impl OpenBlock {
    fn new() -> Self {
        Self { leaves: Vec::with_capacity(256), whole: true, fits: true }
    }
}

impl ChunkReader {
    pub(super) fn new(
        connection: Connection,
        links: Links,
        operations: u64,
        published: u64,
    ) -> Self {
        Self { connection, links, operations, published, buffer: Vec::new() }
    }

    /// Reads the chunk of a number, counted from 0.
    pub(super) fn read(&mut self, number: u64) -> Result<Chunk, CheckError> {
        let first = number * CHUNK_OPERATIONS + 1;
        let last = (number + 1).saturating_mul(CHUNK_OPERATIONS).min(self.operations);
        let mut chunk = Chunk {
            ids: first..=last,
            rows: Vec::with_capacity(usize::try_from(last - first + 1).unwrap_or(0)),
            unread: Vec::new(),
            blocks: Vec::new(),
            open: None,
            published: None,
            external_ids: external_ids::Sum::default(),
            findings: Findings::default(),
        };
        let Self { connection, links, published, buffer, .. } = self;
        let what = (*links, *published);
        within_one_state(connection, |connection| {
            Self::read_rows(connection, what, buffer, &mut chunk)
        })?;
        Ok(chunk)
    }

    fn read_rows(
        connection: &Connection,
        (links, published): (Links, u64),
        buffer: &mut Vec<u8>,
        chunk: &mut Chunk,
    ) -> Result<(), CheckError> {
        let (first, last) = (*chunk.ids.start(), *chunk.ids.end());
        let mut block = OpenBlock::new();
        let mut previous = or_damage(chain::link(connection, first - 1), first, chunk)?.flatten();
        let mut select = connection.prepare_cached(rows::SELECT_KEPT_AFTER)?;
        let mut found = select.query([(first - 1).cast_signed()])?;
        let mut next = first;
        while next <= last {
            let Some(row) = or_damage(found.next(), next, chunk)? else {
                // The rest of the chunk cannot be read.
                chunk.unread.push(next..=last);
                for id in next..=last {
                    block.whole = false;
                    Self::end(connection, chunk, &mut block, id, published)?;
                }
                break;
            };
            let id = row.map(|row| row.get::<_, u64>(0)).transpose()?;
            let id = id.filter(|id| *id <= last).unwrap_or(last + 1);
            while next < id && next <= last {
                // Missing: named when the book comes to it, together with its neighbours.
                (previous, block.whole) = (None, false);
                Self::end(connection, chunk, &mut block, next, published)?;
                next += 1;
            }
            let Some(row) = row.filter(|_| next <= last) else { break };
            let link: Option<Link> = row.get(13).ok().map(i64::cast_unsigned);
            match rows::read_kept(row) {
                Ok(kept) => {
                    let record = links.record(&kept);
                    let hash = previous.map(|previous| leaf_hash(previous, &record, buffer));
                    let fits = hash.as_ref().map(link_of) == Some(kept.link);
                    match hash {
                        Some(hash) => block.leaves.push(hash),
                        None => block.whole = false,
                    }
                    if hash.is_some() && !fits {
                        block.fits = false;
                        chunk.findings.add("operation_changed", Place::Operation(id), changed(id));
                    }
                    chunk.external_ids.add(links, &kept.transfer);
                    let key_mark = kept.key.is_some().then_some(record.key_mark);
                    chunk.rows.push(ReadRow {
                        transfer: Transfer { details: None, external_id: None, ..kept.transfer },
                        fits_chain: fits,
                        key_mark,
                    });
                }
                Err(error) => {
                    let detail = unreadable(row, id, error)?;
                    chunk.findings.add("operation_unreadable", Place::Operation(id), detail);
                    chunk.unread.push(id..=id);
                    block.whole = false;
                }
            }
            previous = link;
            Self::end(connection, chunk, &mut block, id, published)?;
            next += 1;
        }
        if block.whole && !block.leaves.is_empty() {
            chunk.open = Some(root_of(&block.leaves));
        }
        Ok(())
    }

    /// Ends an operation's turn, and its block's if it is the last one in it.
    fn end(
        connection: &Connection,
        chunk: &mut Chunk,
        block: &mut OpenBlock,
        id: u64,
        published: u64,
    ) -> Result<(), CheckError> {
        if id == published && block.whole {
            chunk.published = Some(root_of(&block.leaves));
        }
        if !id.is_multiple_of(BLOCK_OPERATIONS) {
            return Ok(());
        }
        let OpenBlock { leaves, whole, fits } = std::mem::replace(block, OpenBlock::new());
        let root = whole.then(|| root_of(&leaves));
        chunk.blocks.push(root);
        let number = id / BLOCK_OPERATIONS - 1;
        let Some(kept) = or_damage(chain::block_root(connection, number), id, chunk)? else {
            return Ok(());
        };
        // Where an operation is named, its block need not be: of course it does not fit.
        let damage = match (root, kept) {
            (Some(_), None) => Some(ChainDamage::BlockMissing(number + 1)),
            (Some(root), kept) if fits => chain::compare(kept, Block { number, root }).err(),
            _ => None,
        };
        if let Some(damage) = damage {
            let code = match damage {
                ChainDamage::BlockMissing(_) => "block_missing",
                _ => "block_changed",
            };
            let first = Place::Operation(number * BLOCK_OPERATIONS + 1);
            chunk.findings.add(code, first, damage.to_string());
        }
        Ok(())
    }
}

fn changed(id: u64) -> String {
    match id {
        1 => "operation 1 is not what was recorded: its row was changed".to_owned(),
        id => format!(
            "operation {id} is not what was recorded: its row was changed, or the link in the row \
             of operation {}",
            id - 1
        ),
    }
}

/// What is wrong with a row that no book would have written.
fn unreadable(row: &Row<'_>, id: u64, error: rusqlite::Error) -> Result<String, CheckError> {
    let column = match &error {
        rusqlite::Error::FromSqlConversionFailure(column, ..)
        | rusqlite::Error::InvalidColumnType(column, ..)
        | rusqlite::Error::IntegralValueOutOfRange(column, _) => *column,
        _ => return Err(error.into()),
    };
    let name = COLUMNS.get(column).unwrap_or(&"?");
    let value = row.get_ref(column).map(|value| format!("{value:?}")).unwrap_or_default();
    let value: String = value.chars().take(100).collect();
    Ok(format!("operation {id} cannot be read: {name} holds {value}"))
}

/// A damaged page is a finding, and there is no answer; every other failure ends the check.
fn or_damage<T>(
    result: rusqlite::Result<T>,
    at: u64,
    chunk: &mut Chunk,
) -> Result<Option<T>, CheckError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_damage(&error) => {
            let detail = format!("the file cannot be read at operation {at}: {}", told(&error));
            chunk.findings.add("file_damaged", Place::Operation(at), detail);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether an error says that the file is broken: SQLite's words, or a value where no book would have
/// written it.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt) | None)
}

/// Whether an id is in one of some ranges.
pub(super) fn among(ranges: &[RangeInclusive<u64>], id: Option<OperationId>) -> bool {
    id.is_some_and(|id| ranges.iter().any(|range| range.contains(&id.get())))
}

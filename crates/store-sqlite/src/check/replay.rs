//! Owns the replay of all rows, in their order, through the ledger's own book, from nothing.
//!
//! Never: a rule of its own. Bounds: the book, and 16 bytes a wallet for what the wallet table said.

use std::ops::RangeInclusive;

use ledger::{
    BLOCK_OPERATIONS, Book, Checkpoint, Damage, Hash, OperationId, OperationKind, Side, Timestamp,
    Transfer, WalletKind, WalletState, root_of,
};
use rusqlite::Connection;

use super::chunks::{Chunk, ReadRow, among};
use super::findings::{Findings, Place};
use super::keys::Keys;
use super::people::Wallets;
use super::{CheckError, Start, external_ids};

/// Gaps in the ids that are remembered, so that what follows from them is not named again.
const GAPS_MAX: usize = 1_000;

pub(super) struct Replay<'f> {
    book: Book,
    time: Timestamp,
    wallets: Wallets,
    mark: u64,
    operations: u64,
    gaps: Vec<RangeInclusive<u64>>,
    tree: Tree,
    open: Option<Hash>,
    published: Option<Checkpoint>,
    /// The root at the published checkpoint's number of operations.
    published_root: Option<Hash>,
    keys: Keys,
    external_ids: external_ids::Sum,
    findings: &'f mut Findings,
}

impl<'f> Replay<'f> {
    pub(super) fn new(
        start: &Start,
        wallets: Wallets,
        published: Option<Checkpoint>,
        findings: &'f mut Findings,
    ) -> Self {
        let mut book = Book::new();
        for number in 1..=wallets.count() {
            let kind = if number == 1 { WalletKind::System } else { WalletKind::Person };
            book.open_wallet(kind);
        }
        Self {
            book,
            time: Timestamp::from_micros(i64::MIN),
            wallets,
            mark: start.mark,
            operations: start.operations,
            gaps: Vec::new(),
            tree: Tree::default(),
            open: None,
            published,
            published_root: published.filter(|it| it.operations == 0).map(|_| root_of(&[])),
            keys: Keys::default(),
            external_ids: external_ids::Sum::default(),
            findings,
        }
    }

    /// How many operations the published checkpoint covers.
    pub(super) fn published_operations(&self) -> u64 {
        self.published.map_or(0, |published| published.operations)
    }

    /// Takes the next chunk.
    pub(super) fn take(&mut self, chunk: Chunk) -> Result<(), CheckError> {
        self.findings.append(chunk.findings);
        self.external_ids.add_all(chunk.external_ids);
        for row in &chunk.rows {
            self.skip_to(row.transfer.id.get(), &chunk.unread);
            self.replay(row);
            if let Some(mark) = row.key_mark {
                self.keys.add(mark, row.transfer.id.get())?;
            }
        }
        self.skip_to(chunk.ids.end() + 1, &chunk.unread);
        self.note_published(chunk.published);
        for block in chunk.blocks {
            self.tree.push(block);
            self.note_published(chunk.published);
        }
        self.open = chunk.open;
        Ok(())
    }

    /// The last gap is named when the book is at its end.
    fn skip_to(&mut self, id: u64, unread: &[RangeInclusive<u64>]) {
        let next = self.book.last_operation().map_or(0, OperationId::get) + 1;
        if id <= next {
            return;
        }
        let mut first = next;
        for named in unread.iter().filter(|named| (next..id).contains(named.start())) {
            self.name_gap(first..=named.start() - 1);
            first = named.end() + 1;
        }
        self.name_gap(first..=id - 1);
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(next..=id - 1);
        }
        self.book.restore_mark(OperationId::new(id - 1), self.time);
    }

    fn name_gap(&mut self, gap: RangeInclusive<u64>) {
        let (first, last) = (*gap.start(), *gap.end());
        let detail = match last.checked_sub(first) {
            None => return,
            Some(0) => format!("operation {first} is missing"),
            Some(_) => format!("operations {first} to {last} are missing"),
        };
        self.findings.add("operation_missing", Place::Operation(first), detail);
    }

    fn replay(&mut self, row: &ReadRow) {
        let transfer = &row.transfer;
        let id = transfer.id;
        if transfer.time < self.time {
            let detail = format!("operation {id} is earlier than the one before it");
            self.findings.add("time_goes_back", Place::Operation(id.get()), detail);
        }
        self.time = self.time.max(transfer.time);
        let [debit, credit] = [transfer.debit, transfer.credit];
        let before = [debit, credit].map(|side| self.book.wallet(side.wallet));
        // What the book has after it, which is what the row says unless that does not follow.
        let mut after = [debit, credit];
        if let Err(damage) = self.book.replay(transfer) {
            self.name(transfer, &damage);
            let mut adopted = transfer.clone();
            // Where the chain vouches for the amount, a balance that does not follow is what was
            // changed; where it does not, the amount may be. And where the wallet's operation before
            // this one is another than the row says, the row may know more than the book.
            if row.fits_chain {
                let [debit, credit] = before;
                let same = |state: &WalletState, side: Side| state.last == side.previous;
                let debit = debit.filter(|debit| same(debit, transfer.debit));
                if let Some(balance) = debit.and_then(|it| it.balance.debited(transfer.amount)) {
                    adopted.debit.balance = balance;
                }
                let credit = credit.filter(|credit| same(credit, transfer.credit));
                if let Some(balance) = credit.and_then(|it| it.balance.credited(transfer.amount)) {
                    adopted.credit.balance = balance;
                }
            }
            self.book.adopt(&adopted);
            after = [adopted.debit, adopted.credit];
        }
        for side in after {
            let swept = self.wallets.swept(side.wallet, id, side.balance, self.mark);
            if let Some(detail) = swept {
                let place = Place::Wallet(side.wallet.get());
                self.findings.add("wallet_differs", place, detail);
            }
        }
    }

    /// Whether the operation before this one of its wallet is not there.
    fn follows_gap(&self, side: &Side) -> bool {
        among(&self.gaps, side.previous)
    }

    fn name(&mut self, transfer: &Transfer, damage: &Damage) {
        let place = Place::Operation(transfer.id.get());
        match damage {
            // What follows a gap cannot follow from what is there: the gap is named.
            Damage::DoesNotFollow(_, wallet)
                if transfer.side(*wallet).is_some_and(|side| self.follows_gap(side)) => {}
            Damage::WalletMissing(..) => {
                self.findings.add("wallet_unknown", place, damage.to_string());
            }
            Damage::DoesNotFollow(..) if breaks_rules(transfer) => {
                let detail = format!("operation {} breaks a rule: {damage}", transfer.id);
                self.findings.add("operation_against_rules", place, detail);
            }
            _ => self.findings.add("operation_does_not_follow", place, damage.to_string()),
        }
    }

    /// Looks for rows whose ids no operation can have.
    pub(super) fn check_strays(&mut self, connection: &Connection) -> Result<(), CheckError> {
        // New operations are appended after the start, densely: only what is far off is a stray.
        let mut select =
            connection.prepare("SELECT operation_id FROM transfer WHERE operation_id < 1")?;
        let mut found = select.query(())?;
        while let Some(row) = found.next()? {
            let id: i64 = row.get(0)?;
            let detail = format!("there is a row with the impossible operation id {id}");
            self.findings.add("operation_stray", Place::Whole, detail);
        }
        // In one statement, so of one state: a block is appended with the last of its operations.
        let (newest, kept): (i64, u64) = connection.query_row(
            "WITH newest (id) AS (SELECT coalesce(max(operation_id), 0) FROM transfer)
             SELECT id, (SELECT count(*) FROM chain_block WHERE block < 1 OR block > max(id, 0) / ?)
             FROM newest",
            [BLOCK_OPERATIONS.cast_signed()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if newest > super::rows_max(connection)?.cast_signed() {
            let detail = format!(
                "there is a row with the operation id {newest}, far beyond what the file can hold; \
                 rows above {} were not checked",
                self.operations
            );
            self.findings.add("operation_stray", Place::Whole, detail);
        }
        if kept > 0 {
            let detail = format!("the chain has {kept} blocks of operations that are not there");
            self.findings.add("block_stray", Place::Whole, detail);
        }
        Ok(())
    }

    pub(super) fn external_ids(&self) -> &external_ids::Sum {
        &self.external_ids
    }

    pub(super) fn findings(&mut self) -> &mut Findings {
        self.findings
    }

    /// Looks for keys that took effect twice. How many operations have one.
    pub(super) fn check_keys(&mut self, connection: &Connection) -> Result<u64, CheckError> {
        std::mem::take(&mut self.keys).check(connection, self.findings)
    }

    /// Ends the replay: the whole must fit. Gives the root over all operations.
    pub(super) fn finish(mut self) -> Option<Hash> {
        for (wallet, detail) in self.wallets.unmet() {
            self.findings.add("wallet_differs", Place::Wallet(wallet), detail);
        }
        if let Err(damage) = self.book.check() {
            let (code, place) = match damage {
                Damage::BelowZero(wallet) => ("wallet_below_zero", Place::Wallet(wallet.get())),
                _ => ("sum_not_zero", Place::Whole),
            };
            self.findings.add(code, place, damage.to_string());
        }
        let open = !self.operations.is_multiple_of(BLOCK_OPERATIONS);
        let root = match (open, self.open) {
            (true, None) => None,
            (true, Some(open)) => self.tree.root(Some(open)),
            (false, _) => self.tree.root(None),
        };
        self.compare_published();
        root
    }

    fn note_published(&mut self, part: Option<Hash>) {
        let Some(Checkpoint { operations, .. }) = self.published else { return };
        if operations == 0 || self.tree.blocks != operations / BLOCK_OPERATIONS {
            return;
        }
        if operations.is_multiple_of(BLOCK_OPERATIONS) {
            self.published_root = self.tree.root(None);
        } else if part.is_some() {
            self.published_root = self.tree.root(part);
        }
    }

    fn compare_published(&mut self) {
        let Some(Checkpoint { operations, root }) = self.published else { return };
        let detail = match self.published_root {
            Some(found) if found == root => return,
            _ if operations > self.operations => format!(
                "the checkpoint is of {operations} operations, and the book has {}: some are gone",
                self.operations
            ),
            _ => format!(
                "the first {operations} operations are not those of the checkpoint: at least one of \
                 them was changed since"
            ),
        };
        self.findings.add("checkpoint_differs", Place::Whole, detail);
    }
}

/// Whether a transfer would be refused whatever the state before it.
fn breaks_rules(transfer: &Transfer) -> bool {
    let bank = transfer.debit.wallet == ledger::WalletId::FIRST;
    transfer.debit.wallet == transfer.credit.wallet
        || (transfer.kind == OperationKind::Deposit) != bank
        || (!bank && transfer.debit.balance.minor() < 0)
}

/// The Merkle tree over whole blocks, as far as they came: the roots of its whole left parts.
#[derive(Default)]
struct Tree {
    blocks: u64,
    /// The greatest first: how many blocks each spans, and its root.
    parts: Vec<(u64, Hash)>,
    /// Whether a block was missing.
    broken: bool,
}

impl Tree {
    fn push(&mut self, block: Option<Hash>) {
        self.blocks += 1;
        let Some(root) = block else {
            self.broken = true;
            return;
        };
        let mut part = (1, root);
        while let Some((span, left)) = self.parts.pop_if(|(span, _)| *span == part.0) {
            part = (span * 2, root_of(&[left, part.1]));
        }
        self.parts.push(part);
    }

    /// The root over the blocks and what comes after them.
    fn root(&self, open: Option<Hash>) -> Option<Hash> {
        if self.broken {
            return None;
        }
        let parts = self.parts.iter().rev().map(|(_, root)| *root);
        let root = open.into_iter().chain(parts).reduce(|right, left| root_of(&[left, right]));
        Some(root.unwrap_or_default())
    }
}

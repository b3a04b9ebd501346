//! Owns what is remembered under idempotency keys: how a key leads to the row of its decision.
//!
//! Never: the decision itself. That stands in the rows, in the commit of its effect; what is here
//! can be made again from them, and each hit is compared with the key in the row. Bounds: about
//! [`RECENT_ENTRIES_MAX`] entries in a table of the writer's, with 32 bytes for each, as many while they are
//! being written, and the runs of the [`shelf`].
//!
//! An index in the data file would dirty a page of its own for nearly every random key. Here, keys
//! are marks of 8 bytes in a table in memory; a full table becomes a sorted file beside the data
//! file, and a filter in memory says of nearly every new key that no file has it.

mod filter;
pub(crate) mod keeper;
#[cfg(test)]
mod model;
mod run;
pub(crate) mod shelf;
mod table;
#[cfg(test)]
mod tests;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ledger::{IdempotencyKey, Link, Operation, Outcome, Rejection, Transfer};
use rusqlite::{Connection, OptionalExtension, ffi};

use self::filter::Probe;
use self::run::{Entry, Place, RowRef, RunError, Span};
use self::shelf::{Frozen, Horizon, Shelf, ShelfError, View, set_aside_if_damaged};
use self::table::Table;
use crate::file::batch_record;
use crate::file::chain::{self, Links};
use crate::file::rows::{self, KeptTransfer};

/// A table of so many entries is frozen and becomes a run: what a start has to read again.
const RECENT_ENTRIES_MAX: usize = if cfg!(test) { 1 << 6 } else { 1 << 17 };
/// So is one of fewer entries after so many operations, so that a start never reads more of them.
const RECENT_OPERATIONS_MAX: u64 = 1 << 18;
/// The writer waits when its table has so many entries and the last is still being written.
const RECENT_ENTRIES_LIMIT: usize = 8 * RECENT_ENTRIES_MAX;

const RECENT_OPERATIONS_LIMIT: u64 = 8 * RECENT_OPERATIONS_MAX;

/// What is known of an operation's key before it is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyAhead {
    pub(crate) mark: u64,
    /// Whether a file may have it; false only if none has.
    pub(crate) in_runs: bool,
}

/// What was decided under a key.
pub(crate) enum Recorded {
    Transfer(Transfer),
    Refusal(Operation, Rejection),
    /// The batch of this number.
    Batch(u64),
}

impl Recorded {
    /// The same decision for the same request; another request may not use the key.
    pub(crate) fn answer(self, operation: &Operation) -> Outcome {
        match self {
            Self::Transfer(transfer) if transfer.fulfils(operation) => {
                Outcome::replayed(Ok(transfer))
            }
            Self::Refusal(refused, rejection) if refused == *operation => {
                Outcome::replayed(Err(rejection))
            }
            _ => Outcome::new(Err(Rejection::IdempotencyKeyReused)),
        }
    }
}

/// What was known at some moment since the last commit.
pub(crate) struct KeysMark {
    entries: usize,
    place: Place,
    forgotten: u64,
}

/// The way from keys to rows; with whoever decides.
pub(crate) struct Keys {
    links: Links,
    recent: Table,
    /// An empty table, for its memory: fresh memory costs a fault at each first touch of a page.
    spare: Option<Table>,
    /// What `recent` has since the last commit.
    uncommitted: Vec<Entry>,
    /// `recent` has the keys of the rows after this place, up to `now`.
    after: Place,
    committed: Place,
    now: Place,
    view: View,
    version: u64,
    shelf: Arc<Shelf>,
    /// Refusals up to this one are deleted; and once the open batch is committed.
    forgotten_refusal: u64,
    forgotten_at_commit: u64,
    found: Vec<RowRef>,
}

impl Keys {
    /// What the files and the rows of a data directory say. Reads the rows that no file has yet:
    /// after an orderly time at most [`RECENT_OPERATIONS_MAX`].
    pub(crate) fn open(
        dir: &Path,
        connection: &Connection,
        links: Links,
        window: Duration,
    ) -> Result<Self, ShelfError> {
        let horizon = Horizon { window }.place(connection)?;
        let (shelf, covered) = Shelf::open(dir, connection, horizon)?;
        let shelf = Arc::new(shelf);
        let mut keys = Self {
            links,
            recent: Table::with_room_for(RECENT_ENTRIES_MAX),
            spare: Some(Table::with_room_for(RECENT_ENTRIES_MAX)),
            uncommitted: Vec::new(),
            after: covered,
            committed: covered,
            now: covered,
            view: shelf.view(),
            version: shelf.version(),
            shelf,
            forgotten_refusal: 0,
            forgotten_at_commit: 0,
            found: Vec::new(),
        };
        keys.fill(connection)?;
        Ok(keys)
    }

    /// The runs, for whoever keeps them.
    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf)
    }

    fn fill(&mut self, connection: &Connection) -> Result<(), ShelfError> {
        let mut link = chain::link(connection, self.committed.operation)?.unwrap_or_default();
        let mut patience = 0;
        let mut refusals = connection.prepare(
            "SELECT refusal_id, debit_wallet_id, idempotency_key FROM refusal
             WHERE refusal_id > ? ORDER BY refusal_id",
        )?;
        let mut found = refusals.query([self.committed.refusal.cast_signed()])?;
        while let Some(row) = found.next()? {
            let number: u64 = row.get(0)?;
            let key = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            let mark = self.links.marker().mark(row.get(1)?, key);
            self.remember(Entry { mark, row: RowRef::refusal(number) });
            self.now.refusal = number;
            self.freeze_if_full(link, &mut patience)?;
        }
        // No number is given twice, also where the newest were deleted.
        self.now.refusal = self.now.refusal.max(shelf::refusals_ever(connection)?);
        let mut transfers = connection.prepare(
            "SELECT operation_id, debit_wallet_id, idempotency_key, chain FROM transfer
             WHERE operation_id > ? ORDER BY operation_id",
        )?;
        let mut found = transfers.query([self.committed.operation.cast_signed()])?;
        while let Some(row) = found.next()? {
            let number: u64 = row.get(0)?;
            if let Some(key) = row.get_ref(2)?.as_str_or_null().map_err(rusqlite::Error::from)? {
                let mark = self.links.marker().mark(row.get(1)?, key);
                self.remember(Entry { mark, row: RowRef::transfer(number) });
            }
            self.now.operation = number;
            link = row.get::<_, i64>(3)?.cast_unsigned();
            self.freeze_if_full(link, &mut patience)?;
        }
        self.commit(link);
        Ok(())
    }

    /// Makes a run of a full table; at a start there is nobody else yet to do it. Where there was no room for one, it
    /// is not tried again for each row that comes after it: `patience` tells for how many it is not.
    fn freeze_if_full(&mut self, link: Link, patience: &mut usize) -> Result<(), ShelfError> {
        if !self.is_full() {
            return Ok(());
        }
        if let Some(rows) = patience.checked_sub(1) {
            *patience = rows;
            return Ok(());
        }
        self.commit(link);
        match self.shelf.write_frozen() {
            // The table stays in memory: reads must go on, and it is tried again later.
            Err(error) if error.may_pass() => *patience = RECENT_ENTRIES_MAX,
            written => written?,
        }
        self.look_at_shelf();
        Ok(())
    }

    /// Finds out which of these may be in a run.
    pub(crate) fn look_ahead(&self, keys: &mut [Option<KeyAhead>]) {
        self.touch(keys);
        for KeyAhead { mark, in_runs } in keys.iter_mut().flatten() {
            let probe = Probe::of(*mark);
            // Each is asked, whatever the last one said: what is asked for does not wait for what is known.
            *in_runs = self.view.runs.iter().fold(false, |any, run| any | run.may_have(&probe));
        }
    }

    /// Fetches what the looks need. Nothing here depends on what was fetched, so that the waits overlap.
    fn touch(&self, keys: &[Option<KeyAhead>]) {
        let marks = || keys.iter().flatten().map(|key| key.mark);
        let mut seen = 0;
        for run in &self.view.runs {
            seen = marks().fold(seen, |seen, mark| seen ^ run.touch(mark));
        }
        for table in tables(&self.recent, &self.view) {
            seen = marks().fold(seen, |seen, mark| seen ^ table.touch(mark));
        }
        black_box(seen);
    }

    /// Whether anything may have been decided under a key of this mark, in the open batch or any
    /// earlier one: then [`find`](Self::find) is to be asked.
    pub(crate) fn look(&mut self, key: KeyAhead) -> rusqlite::Result<bool> {
        self.found.clear();
        self.look_for(key).map_err(set_aside)?;
        Ok(!self.found.is_empty())
    }

    /// What was decided under this key of the wallet, whose mark was looked for just now.
    pub(crate) fn find(
        &mut self,
        connection: &Connection,
        wallet: i64,
        (key, mark): (&IdempotencyKey, u64),
    ) -> rusqlite::Result<Option<Recorded>> {
        while let Some(row) = self.found.pop() {
            if let Some(recorded) = self.read(connection, row, mark, (wallet, key))? {
                self.found.clear();
                return Ok(Some(recorded));
            }
        }
        Ok(None)
    }

    /// Puts the rows that may be under a mark into `found`.
    fn look_for(&mut self, KeyAhead { mark, in_runs }: KeyAhead) -> Result<(), RunError> {
        for table in tables(&self.recent, &self.view) {
            self.found.extend(table.find(mark));
        }
        if in_runs {
            let probe = Probe::of(mark);
            for run in self.view.runs.iter().filter(|run| run.may_have(&probe)) {
                run.find(mark, &mut self.found)?;
            }
        }
        Ok(())
    }

    /// The decision in a row of this mark, if it was made under this very key. The row must be what was
    /// recorded: a key that was changed in it would else be a key that was never used.
    fn read(
        &self,
        connection: &Connection,
        row: RowRef,
        mark: u64,
        (wallet, key): (i64, &IdempotencyKey),
    ) -> rusqlite::Result<Option<Recorded>> {
        let number = row.number().cast_signed();
        if row.is_refusal() {
            let found = connection
                .prepare_cached(rows::SELECT_REFUSAL)?
                .query_row([number], |found| {
                    let payer = found.get(2)?;
                    let kept = found.get_ref(rows::REFUSAL_KEY)?.as_str()?;
                    if self.links.marker().mark(payer, kept) != mark {
                        return Err(rows::damaged_refusal(row.number(), rows::REFUSAL_KEY));
                    }
                    if (payer, kept) != (wallet, key.as_str()) {
                        return Ok(None);
                    }
                    if rows::is_batch_key(found)? {
                        return Ok(Some(Recorded::Batch(row.number())));
                    }
                    let (operation, rejection) = rows::read_refusal(found)?;
                    Ok(Some(Recorded::Refusal(operation, rejection)))
                })
                .optional()?;
            return match found {
                Some(recorded) => Ok(recorded),
                // Older than the window, and deleted.
                None if row.number() <= self.shelf.forgettable_refusal() => Ok(None),
                None => Err(rows::damaged_refusal(row.number(), 0)),
            };
        }
        let Some(kept) = rows::select_kept(connection, number)? else {
            return Err(rows::damaged(row.number(), 0));
        };
        let same = |kept: &KeptTransfer| {
            kept.key.as_deref() == Some(key.as_str())
                && kept.transfer.debit.wallet.get().cast_signed() == wallet
        };
        let is_same = same(&kept);
        let transfer = verified(connection, self.links, kept)?;
        Ok(is_same.then_some(Recorded::Transfer(transfer)))
    }

    /// A transfer was appended, under a key of this mark, or without one.
    pub(crate) fn appended(&mut self, operation: u64, mark: Option<u64>) {
        if let Some(mark) = mark {
            self.remember(Entry { mark, row: RowRef::transfer(operation) });
        }
        self.now.operation = operation;
    }

    /// A refusal, or a batch, is to be recorded under a key of this mark: the number that it gets.
    pub(crate) fn refused(&mut self, mark: u64) -> rusqlite::Result<u64> {
        // As SQLite has it where it numbers rows by itself.
        let full = || rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None);
        let number = i64::try_from(self.now.refusal + 1).map_err(|_| full())?.cast_unsigned();
        self.remember(Entry { mark, row: RowRef::refusal(number) });
        self.now.refusal = number;
        Ok(number)
    }

    fn look_at_shelf(&mut self) {
        // In this order: what changes in between is looked at again.
        self.version = self.shelf.version();
        let before = std::mem::replace(&mut self.view, self.shelf.view());
        if self.view.frozen.is_none()
            && let Some(Frozen { mut table, .. }) = before.frozen.and_then(Arc::into_inner)
            && table.capacity() <= 4 * RECENT_ENTRIES_MAX
        {
            table.clear();
            self.spare = Some(table);
        }
    }

    fn remember(&mut self, entry: Entry) {
        self.recent.insert(entry);
        self.uncommitted.push(entry);
    }

    /// Looks whether there are other files by now, and whether a full table was written.
    pub(crate) fn catch_up(&mut self) {
        if self.version != self.shelf.version() {
            self.look_at_shelf();
        }
    }

    /// Whether there is room for a batch; waits for it unless the disk is full.
    pub(crate) fn make_room(&mut self) -> bool {
        self.catch_up();
        let behind = self.now.operation - self.after.operation;
        let small = self.recent.len() < RECENT_ENTRIES_LIMIT && behind < RECENT_OPERATIONS_LIMIT;
        small || self.shelf.wait_for_room()
    }

    /// Deletes some refusals that are older than the window, in the open transaction.
    pub(crate) fn forget(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        const REFUSALS_AT_ONCE: usize = 256;
        let forgettable = self.shelf.forgettable_refusal();
        if self.forgotten_refusal >= forgettable {
            return Ok(());
        }
        let mut delete = connection.prepare_cached(
            "DELETE FROM refusal WHERE refusal_id IN
                 (SELECT refusal_id FROM refusal WHERE refusal_id <= ? ORDER BY refusal_id LIMIT ?)",
        )?;
        let deleted = delete.execute((forgettable.cast_signed(), REFUSALS_AT_ONCE))?;
        batch_record::forget(connection, forgettable)?;
        if deleted < REFUSALS_AT_ONCE {
            self.forgotten_at_commit = forgettable;
        }
        Ok(())
    }

    /// Makes everything since the last commit final. `link` is the newest operation's.
    pub(crate) fn commit(&mut self, link: Link) {
        self.uncommitted.clear();
        self.committed = self.now;
        self.forgotten_refusal = self.forgotten_at_commit;
        if !self.is_full() {
            return;
        }
        let table = std::mem::replace(&mut self.recent, Table::with_room_for(0));
        let forgotten = Place::default();
        let span = Span { after: self.after, upto: self.committed, link, forgotten };
        match self.shelf.hand_over(Frozen { table, span }) {
            Ok(()) => {
                let new = || Table::with_room_for(RECENT_ENTRIES_MAX);
                self.recent = self.spare.take().unwrap_or_else(new);
                self.after = self.committed;
                self.look_at_shelf();
            }
            // The last is still being written: this one grows a little more.
            Err(Frozen { table, .. }) => self.recent = table,
        }
    }

    /// Remembers what is known as of now.
    pub(crate) fn mark(&self) -> KeysMark {
        let Self { uncommitted, now, forgotten_at_commit, .. } = self;
        KeysMark { entries: uncommitted.len(), place: *now, forgotten: *forgotten_at_commit }
    }

    /// Makes everything up to a mark final that was set since the last commit.
    pub(crate) fn commit_to(&mut self, KeysMark { entries, place, forgotten }: KeysMark) {
        self.uncommitted.drain(..entries.min(self.uncommitted.len()));
        self.committed = place;
        self.forgotten_refusal = forgotten;
    }

    /// Undoes everything since the last commit.
    pub(crate) fn roll_back(&mut self) {
        for entry in self.uncommitted.drain(..) {
            self.recent.remove(entry);
        }
        self.now = self.committed;
        self.forgotten_at_commit = self.forgotten_refusal;
    }

    /// Whether the next commit hands the table over, by then without anything that is not final.
    /// [`commit_to`](Self::commit_to) never does: it is not to be used while the table is full, or that would grow on.
    pub(crate) fn is_full(&self) -> bool {
        self.recent.len() >= RECENT_ENTRIES_MAX
            || self.now.operation - self.after.operation >= RECENT_OPERATIONS_MAX
    }
}

/// The keys in memory: the newest, and those that are being written.
fn tables<'t>(recent: &'t Table, view: &'t View) -> impl Iterator<Item = &'t Table> {
    std::iter::once(recent).chain(view.frozen.iter().map(|frozen| &frozen.table))
}

/// What a damaged run does: the file goes, so that the next start makes it again, and the engine
/// halts, because a key that is in it would be paid twice.
fn set_aside(error: RunError) -> rusqlite::Error {
    let error = ShelfError::from(error);
    set_aside_if_damaged(&error);
    rows::damage(error)
}

/// A recorded transfer, to be answered again: only if it is what was recorded.
pub(crate) fn verified(
    connection: &Connection,
    links: Links,
    kept: KeptTransfer,
) -> rusqlite::Result<Transfer> {
    match links.verify(connection, &kept)? {
        Ok(()) => Ok(kept.transfer),
        Err(damage) => Err(rows::damage(damage)),
    }
}

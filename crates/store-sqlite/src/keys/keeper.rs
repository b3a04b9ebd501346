//! Owns the thread that keeps the runs few: it writes what the writer has frozen, merges runs of about a
//! size, and lets go of what is older than the keys' window.
//!
//! Never: a wait of the writer for a merge (what is frozen is written in between). Bounds: each run is more
//! than a third of all that are newer, but for the three newest, so there are few: of full tables at most 20 with 50
//! million entries; also while a merge goes on, between whose entries those that came after are merged.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::run::{Entry, Place, Reader, Run, RunError, Span};
use super::shelf::{ENTRIES_BETWEEN_PAUSES, Horizon, Shelf, ShelfError, set_aside_if_damaged};

/// So many entries are merged before it is looked whether something frozen waits.
const ENTRIES_BETWEEN_LOOKS: u64 = if cfg!(test) { 256 } else { 65_536 };
/// So many runs of about a size, or more, become one. Of fewer, each entry would be written more often; of more, there
/// would be more runs to look into.
const MERGED_RUNS_MIN: usize = 4;
/// So many runs that together are at most so small a part of what is to be merged are merged before it.
const PILE_RUNS_MIN: usize = 8;
const PILE_SHARE: u64 = 8;
/// How long to wait before the disk is tried again when it is full, or when no more files may be open.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);
/// How long no merge is tried after one for which there was no room though there had seemed to be.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(60);

/// The thread's state.
pub(crate) struct Keeper {
    pub(crate) shelf: Arc<Shelf>,
    /// Reads only.
    pub(crate) connection: Connection,
    pub(crate) horizon: Horizon,
    no_merge_until: Cell<Option<Instant>>,
}

impl Keeper {
    pub(crate) fn new(shelf: Arc<Shelf>, connection: Connection, horizon: Horizon) -> Self {
        Self { shelf, connection, horizon, no_merge_until: Cell::new(None) }
    }

    /// Works until the shelf is closed, or until the storage fails: then with the reason. A lack that may pass
    /// is waited for.
    pub(crate) fn run(&self) -> Result<(), String> {
        loop {
            match self.keep() {
                Ok(()) => {
                    self.shelf.set_disk_full(false);
                    if !self.shelf.wait_for_frozen() {
                        return Ok(());
                    }
                }
                Err(error) if error.may_pass() => {
                    self.shelf.set_disk_full(self.shelf.view().frozen.is_some());
                    std::thread::sleep(FULL_DISK_PAUSE);
                    if self.shelf.is_closed() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    set_aside_if_damaged(&error);
                    return Err(error.to_string());
                }
            }
        }
    }

    /// Does all that there is to do now.
    pub(super) fn keep(&self) -> Result<(), ShelfError> {
        self.shelf.write_frozen()?;
        let horizon = self.horizon.place(&self.connection)?;
        self.shelf.forget(horizon)?;
        self.merge_due(None, horizon)
    }

    /// Merges what is due among the runs after this one. A merge that is interrupted because the service
    /// stops leaves what was due.
    fn merge_due(&self, after: Option<&Arc<Run>>, horizon: Place) -> Result<(), ShelfError> {
        loop {
            let runs = self.shelf.view().runs;
            let newer = match after {
                None => Some(runs.as_slice()),
                Some(after) => {
                    let at = runs.iter().position(|run| Arc::ptr_eq(run, after));
                    at.and_then(|at| runs.get(at + 1..))
                }
            };
            match newer.and_then(due) {
                Some(inputs) if !self.shelf.is_closed() && self.has_room(&inputs)? => {
                    self.merge(&inputs, horizon)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Without room for a merge there are more runs, which costs looks. Tried nevertheless, it would fill the disk
    /// again and again, and others would be refused for want of the room that it gives back.
    fn has_room(&self, inputs: &[Arc<Run>]) -> Result<bool, ShelfError> {
        if self.no_merge_until.get().is_some_and(|until| Instant::now() < until) {
            return Ok(false);
        }
        let bytes = inputs.iter().map(|run| run.bytes).sum();
        Ok(self.shelf.has_room(bytes)?)
    }

    /// Makes one run of several that join, without what is older than the window.
    fn merge(&self, inputs: &[Arc<Run>], horizon: Place) -> Result<(), ShelfError> {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return Ok(()) };
        let forgotten = inputs.iter().fold(horizon, |place, run| place.max(run.span.forgotten));
        let span = Span { after: first.span.after, forgotten, ..last.span };
        let entries_max = inputs.iter().map(|run| run.entries).sum();
        let merged = self.shelf.write(entries_max, span, |writer| {
            let mut readers: Vec<_> = inputs.iter().map(|run| run.read()).collect();
            let mut heads = BinaryHeap::new();
            for (at, reader) in readers.iter_mut().enumerate() {
                heads.extend(reader.next()?.map(|entry| Reverse((entry, at))));
            }
            let mut seen: u64 = 0;
            while let Some(entry) = least(&mut heads, &mut readers)? {
                if !entry.row.is_within(horizon) {
                    writer.push(entry)?;
                }
                seen += 1;
                if seen.is_multiple_of(ENTRIES_BETWEEN_PAUSES as u64) {
                    self.shelf.pause_if_due();
                }
                if seen.is_multiple_of(ENTRIES_BETWEEN_LOOKS) {
                    self.shelf.write_frozen()?;
                    // A merge of millions takes long: what comes meanwhile must not become many.
                    self.merge_due(Some(last), horizon)?;
                    if self.shelf.is_closed() {
                        return Err(io::Error::from(io::ErrorKind::Interrupted).into());
                    }
                }
            }
            Ok(())
        });
        let merged = match merged {
            Ok(merged) => merged,
            // The service stops: the inputs are as good.
            Err(ShelfError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(());
            }
            // Somebody else has taken the room, or it is less than the system says.
            Err(error) if error.may_pass() => {
                self.no_merge_until.set(Instant::now().checked_add(NO_ROOM_PAUSE));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.shelf.replace(inputs, merged)
    }
}

impl Drop for Keeper {
    /// However it ends: nobody writes any more, and the writer would wait for that.
    fn drop(&mut self) {
        self.shelf.close();
    }
}

/// The newest runs that are to become one.
fn due(runs: &[Arc<Run>]) -> Option<Vec<Arc<Run>>> {
    let sizes: Vec<_> = runs.iter().map(|run| run.entries).collect();
    let count = due_count(&sizes);
    (count > 0).then(|| runs.iter().skip(runs.len() - count).cloned().collect())
}

/// How many of the newest runs are to become one, by their sizes, oldest first: the most, but at least
/// [`MERGED_RUNS_MIN`], of which the oldest is no more than that part of all. But where many small ones have
/// piled up, those first: that is soon done, and the rest may take long.
fn due_count(sizes: &[u64]) -> usize {
    let newest = || {
        (1_usize..).zip(sizes.iter().rev()).scan(0, |sum, (count, size)| {
            *sum += size;
            Some((count, *size, *sum))
        })
    };
    let due = newest().filter(|(count, oldest, sum)| {
        *count >= MERGED_RUNS_MIN && oldest * MERGED_RUNS_MIN as u64 <= *sum
    });
    let Some((count, _, sum)) = due.last() else { return 0 };
    let pile = newest().take_while(|(_, _, newest)| *newest <= sum / PILE_SHARE).count();
    if pile >= PILE_RUNS_MIN { pile } else { count }
}

/// The least entry of all. A head is a run's next entry, and the place of its reader.
fn least(
    heads: &mut BinaryHeap<Reverse<(Entry, usize)>>,
    readers: &mut [Reader<'_>],
) -> Result<Option<Entry>, RunError> {
    let Some(mut head) = heads.peek_mut() else { return Ok(None) };
    let Reverse((entry, at)) = *head;
    let next = match readers.get_mut(at) {
        Some(reader) => reader.next()?,
        None => None,
    };
    match next {
        Some(next) => *head = Reverse((next, at)),
        None => drop(PeekMut::pop(head)),
    }
    Ok(Some(entry))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread::JoinHandle;

    use ledger::Currency;
    use rustix::process::{Resource, Rlimit};

    use super::super::filter::Filter;
    use super::super::run::RowRef;
    use super::super::shelf::{FILTERS_BYTES, Frozen, filter_bits_max};
    use super::super::table::Table;
    use super::*;
    use crate::file::schema;

    const RUN_ENTRIES: u64 = 1_000;

    /// A keeper of so many runs, each of other keys.
    fn keeper(dir: &Path, runs: u64) -> Keeper {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, Currency::parse("RUB").ok(), 0).unwrap();
        let (shelf, _) = Shelf::open(dir, &connection, Place::default()).unwrap();
        for number in 0..runs {
            let entries = number * RUN_ENTRIES + 1..=(number + 1) * RUN_ENTRIES;
            let place = |operation| Place { operation, refusal: 0 };
            let (after, upto) = (place(entries.start() - 1), place(*entries.end()));
            let mut table = Table::with_room_for(RUN_ENTRIES as usize);
            for row in entries {
                let mark = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let entry = Entry { mark, row: RowRef::transfer(row) };
                table.insert(entry);
            }
            let span = Span { after, upto, link: 0, forgotten: Place::default() };
            assert!(shelf.hand_over(Frozen { table, span }).is_ok());
            shelf.write_frozen().unwrap();
        }
        let horizon = Horizon { window: Duration::MAX };
        Keeper::new(Arc::new(shelf), connection, horizon)
    }

    fn entries(run: &Run) -> Vec<Entry> {
        let mut reader = run.read();
        std::iter::from_fn(|| reader.next().unwrap()).collect()
    }

    /// What a thread said that had to end soon.
    fn ended<T>(thread: JoinHandle<T>) -> Option<T> {
        let began = Instant::now();
        while !thread.is_finished() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.is_finished().then(|| thread.join().unwrap())
    }

    /// The newest row of each of so many runs, as their spans have it.
    fn with_rows(keeper: &Keeper, runs: u64) {
        let insert = "INSERT INTO transfer (operation_id, kind, debit_wallet_id, credit_wallet_id, \
            amount_minor, debit_balance_minor, credit_balance_minor, time_us, chain) \
            VALUES (?, 1, 1, 2, 1, -1, 1, 1, 0)";
        for number in 1..=runs {
            keeper.connection.execute(insert, [number * RUN_ENTRIES]).unwrap();
        }
    }

    fn sizes(keeper: &Keeper) -> Vec<u64> {
        keeper.shelf.view().runs.iter().map(|run| run.entries / RUN_ENTRIES).collect()
    }

    #[test]
    fn runs_of_about_a_size_are_merged_and_a_pile_of_small_ones_before_a_great_one() {
        let counts: [(usize, &[u64]); 11] = [
            (0, &[]),
            (0, &[5]),
            (0, &[5, 5, 5]),
            (4, &[5, 5, 5, 5]),
            (4, &[31, 5, 5, 5, 5]),
            (4, &[16, 16, 4, 4, 4, 4]),
            (7, &[16, 16, 16, 4, 4, 4, 4]),
            (5, &[100, 5, 5, 5, 5, 3]),
            (8, &[16, 16, 16, 16, 1, 1, 1, 1, 1, 1, 1, 1]),
            // A run may be of operations without a key.
            (0, &[100, 0, 0, 0]),
            (4, &[100, 0, 0, 0, 0]),
        ];
        for (count, sizes) in counts {
            assert_eq!(due_count(sizes), count, "{sizes:?}");
        }
    }

    #[test]
    fn however_many_keys_there_are_the_filters_of_merged_runs_fit_their_memory() {
        const FROZEN: u64 = 1 << 17;
        let filter_bytes =
            |entries, all| Filter::for_entries(entries, filter_bits_max(all)).blocks() * 64;
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut most = 0;
        for frozen in 1..=4_000 {
            let bytes = filter_bytes(FROZEN, frozen * FROZEN);
            runs.push((FROZEN, bytes));
            loop {
                let sizes: Vec<_> = runs.iter().map(|(entries, _)| *entries).collect();
                let at = runs.len() - due_count(&sizes);
                if at == runs.len() {
                    break;
                }
                let entries = runs.drain(at..).map(|(entries, _)| entries).sum();
                runs.push((entries, filter_bytes(entries, frozen * FROZEN)));
            }
            most = most.max(runs.iter().map(|(_, bytes)| bytes).sum());
        }
        assert!(most <= FILTERS_BYTES, "{most}");
        // And it is made use of.
        assert!(most > FILTERS_BYTES / 2, "{most}");
    }

    #[test]
    fn while_a_run_is_being_merged_those_after_it_are_merged_without_it() {
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = keeper(dir.path(), 5);
        let first = keeper.shelf.view().runs.first().cloned().unwrap();
        keeper.merge_due(Some(&first), Place::default()).unwrap();
        assert_eq!(sizes(&keeper), [1, 4]);
        keeper.merge(&keeper.shelf.view().runs, Place::default()).unwrap();
        assert_eq!(sizes(&keeper), [5]);
        let run = keeper.shelf.view().runs.first().cloned().unwrap();
        let mut rows = Vec::new();
        let mut last = 0;
        for entry in entries(&run) {
            assert!(last < entry.mark);
            last = entry.mark;
            rows.push(entry.row.number());
        }
        rows.sort_unstable();
        assert!(rows.into_iter().eq(1..=5 * RUN_ENTRIES));
    }

    #[test]
    fn without_room_nothing_is_merged() {
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = keeper(dir.path(), 4);
        assert!(!keeper.shelf.has_room(u64::MAX).unwrap());
        keeper.no_merge_until.set(Instant::now().checked_add(NO_ROOM_PAUSE));
        keeper.merge_due(None, Place::default()).unwrap();
        assert_eq!(sizes(&keeper), [1, 1, 1, 1]);
        keeper.no_merge_until.set(Some(Instant::now()));
        keeper.merge_due(None, Place::default()).unwrap();
        assert_eq!(sizes(&keeper), [4]);
    }

    /// In a process of its own, for it must not be others that lack files.
    #[test]
    fn without_files_to_open_nothing_is_lost_and_it_is_tried_again() {
        const CHILD: &str = "KOPECK_TEST_WITHOUT_FILES";
        if std::env::var_os(CHILD).is_none() {
            let name =
                "keys::keeper::tests::without_files_to_open_nothing_is_lost_and_it_is_tried_again";
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let child = child.args(["--exact", name]).env(CHILD, "1").output().unwrap();
            let said = String::from_utf8_lossy(&child.stdout);
            assert!(child.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = keeper(dir.path(), 3);
        let place = |operation| Place { operation, refusal: 0 };
        let (after, upto) = (place(3 * RUN_ENTRIES), place(4 * RUN_ENTRIES));
        let span = Span { after, upto, link: 0, forgotten: Place::default() };
        assert!(keeper.shelf.hand_over(Frozen { table: Table::with_room_for(1), span }).is_ok());
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let few = Rlimit { current: Some(64), ..limit };
        rustix::process::setrlimit(Resource::Nofile, few).unwrap();
        let free = || std::iter::from_fn(|| std::fs::File::open("/dev/null").ok());
        let mut taken: Vec<_> = free().collect();
        for _ in 0..2 {
            let error = keeper.keep().unwrap_err();
            assert!(error.may_pass(), "{error}");
            assert!(keeper.shelf.view().frozen.is_some());
            // The directory can be opened, and then no run.
            taken.pop();
        }
        taken.extend(free());
        let shelf = Arc::clone(&keeper.shelf);
        let working = std::thread::spawn(move || keeper.run());
        // Whoever needs room is told that there is none, and does not wait for it.
        let waiting = std::thread::spawn({
            let shelf = Arc::clone(&shelf);
            move || shelf.wait_for_room()
        });
        assert_eq!(ended(waiting), Some(false));
        drop(taken);
        while shelf.view().frozen.is_some() && !working.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        shelf.close();
        working.join().unwrap().unwrap();
        assert!(shelf.view().frozen.is_none());
    }

    #[test]
    fn who_waits_for_room_does_not_wait_for_a_keeper_that_has_failed() {
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = keeper(dir.path(), 0);
        let table = Table::with_room_for(1);
        assert!(keeper.shelf.hand_over(Frozen { table, span: Span::default() }).is_ok());
        let shelf = Arc::clone(&keeper.shelf);
        let waiting = std::thread::spawn(move || shelf.wait_for_room());
        drop(dir);
        assert!(std::thread::spawn(move || keeper.run()).join().unwrap().is_err());
        assert_eq!(ended(waiting), Some(false));
    }

    #[test]
    fn where_the_run_that_is_being_merged_is_gone_nothing_is_known_to_be_newer() {
        let (dir, another) = (tempfile::TempDir::new().unwrap(), tempfile::TempDir::new().unwrap());
        let gone = keeper(another.path(), 1).shelf.view().runs.first().cloned().unwrap();
        let keeper = keeper(dir.path(), 4);
        keeper.merge_due(Some(&gone), Place::default()).unwrap();
        assert_eq!(sizes(&keeper), [1, 1, 1, 1]);
        keeper.merge_due(None, Place::default()).unwrap();
        assert_eq!(sizes(&keeper), [4]);
    }

    #[test]
    fn after_a_kill_before_the_inputs_of_a_merge_are_deleted_a_start_deletes_them() {
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = keeper(dir.path(), 5);
        let read = |run: &Arc<Run>| (run.path().to_owned(), std::fs::read(run.path()).unwrap());
        let inputs: Vec<_> = keeper.shelf.view().runs.iter().map(read).collect();
        keeper.merge_due(None, Place::default()).unwrap();
        for (path, bytes) in inputs {
            std::fs::write(path, bytes).unwrap();
        }
        with_rows(&keeper, 5);
        let (shelf, covered) =
            Shelf::open(dir.path(), &keeper.connection, Place::default()).unwrap();
        let left = shelf.view().runs;
        assert_eq!(left.iter().map(|run| run.entries).collect::<Vec<_>>(), [5 * RUN_ENTRIES]);
        assert_eq!(covered.operation, 5 * RUN_ENTRIES);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_merged_lets_go_of_what_is_older_than_the_window() {
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = keeper(dir.path(), 4);
        let horizon = Place { operation: 1_500, refusal: 0 };
        keeper.merge_due(None, horizon).unwrap();
        let run = keeper.shelf.view().runs.first().cloned().unwrap();
        assert_eq!((run.entries, run.span.forgotten), (2_500, horizon));
        assert!(entries(&run).iter().all(|entry| !entry.row.is_within(horizon)));
        // With a longer window, it lacks some: then it is made again of the rows.
        with_rows(&keeper, 4);
        for (horizon, runs) in [(horizon, 1), (Place { operation: 1_499, refusal: 0 }, 0)] {
            let (shelf, covered) = Shelf::open(dir.path(), &keeper.connection, horizon).unwrap();
            assert_eq!(shelf.view().runs.len(), runs);
            assert_eq!(covered, if runs == 1 { run.span.upto } else { horizon });
        }
    }

    #[test]
    fn a_run_that_knows_of_more_refusals_than_there_ever_were_is_of_another_history() {
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = keeper(dir.path(), 0);
        let upto = Place { operation: 0, refusal: 7 };
        let span = Span { upto, ..Span::default() };
        assert!(keeper.shelf.hand_over(Frozen { table: Table::with_room_for(1), span }).is_ok());
        keeper.shelf.write_frozen().unwrap();
        let runs = || {
            let shelf = Shelf::open(dir.path(), &keeper.connection, Place::default()).unwrap().0;
            shelf.view().runs.len()
        };
        let ever = "INSERT INTO sqlite_sequence VALUES ('refusal', 7)";
        keeper.connection.execute(ever, ()).unwrap();
        assert_eq!(runs(), 1);
        keeper.connection.execute("UPDATE sqlite_sequence SET seq = 6", ()).unwrap();
        assert_eq!(runs(), 0);
    }

    #[test]
    fn what_has_become_older_than_the_window_may_be_deleted() {
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = keeper(dir.path(), 2);
        keeper.shelf.forget(Place { operation: RUN_ENTRIES, refusal: 7 }).unwrap();
        assert_eq!((sizes(&keeper), keeper.shelf.forgettable_refusal()), (vec![1], 7));
    }
}

//! Owns random histories of keys against a plain list: batches and roll backs, runs that are written and merged, a
//! window that moves on, starts with runs that are damaged, gone, or were there before.
//!
//! Never: threads; what the keeper does is done between two steps.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use proptest::prelude::*;
use proptest::sample::Index;

use super::keeper::Keeper;
use super::tests::begin_book;
use super::*;

const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Clone)]
enum Step {
    /// So many rows, of which some are refused and some have no key; whether they are committed.
    Batch(Vec<u8>, bool),
    /// The same, and so many transfers more that are decided before those are committed; whether each is.
    TwoBatches(Vec<u8>, u8, bool, bool),
    /// What the writer has frozen is written, and no more.
    Write,
    /// All that the keeper does.
    Keep,
    /// Rows up to some place have become older than the window.
    Age(Index, Index),
    /// The runs as they are now may come back.
    Save,
    Start(Files),
}

/// What became of the runs before a start.
#[derive(Debug, Clone)]
enum Files {
    AsTheyWere,
    OneGone(Index),
    OneDamaged(Index, Index),
    SavedComeBack,
}

fn step() -> impl Strategy<Value = Step> {
    let files = prop_oneof![
        Just(Files::AsTheyWere),
        any::<Index>().prop_map(Files::OneGone),
        any::<(Index, Index)>().prop_map(|(file, byte)| Files::OneDamaged(file, byte)),
        Just(Files::SavedComeBack),
    ];
    let rows = || prop::collection::vec(0..10_u8, 1..100);
    let commits = || prop::bool::weighted(0.8);
    prop_oneof![
        6 => (rows(), commits()).prop_map(|(rows, commits)| Step::Batch(rows, commits)),
        6 => (rows(), 1..100_u8, commits(), commits())
            .prop_map(|(rows, more, first, second)| Step::TwoBatches(rows, more, first, second)),
        3 => Just(Step::Write),
        4 => Just(Step::Keep),
        1 => any::<(Index, Index)>().prop_map(|(operation, refusal)| Step::Age(operation, refusal)),
        1 => Just(Step::Save),
        2 => files.prop_map(Step::Start),
    ]
}

struct World {
    dir: tempfile::TempDir,
    connection: Connection,
    links: Links,
    keys: Keys,
    keeper: Keeper,
    /// Every row that has a key, as long as it is within the window.
    rows: Vec<(u64, RowRef)>,
    last: Place,
    old: Place,
    saved: Vec<(PathBuf, Vec<u8>)>,
}

fn connect(dir: &Path) -> Connection {
    let connection = Connection::open(dir.join("db")).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY").unwrap();
    connection
}

fn start(dir: &Path, connection: &Connection, links: Links) -> (Keys, Keeper) {
    let keys = Keys::open(dir, connection, links, WINDOW).unwrap();
    let keeper = Keeper::new(keys.shelf(), connect(dir), Horizon { window: WINDOW });
    (keys, keeper)
}

impl World {
    fn new() -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let mut connection = connect(dir.path());
        let links = begin_book(&mut connection);
        let (keys, keeper) = start(dir.path(), &connection, links);
        let (last, old) = (Place::default(), Place::default());
        Self {
            dir,
            connection,
            links,
            keys,
            keeper,
            rows: Vec::new(),
            last,
            old,
            saved: Vec::new(),
        }
    }

    fn runs(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir.path()).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension() == Some("run".as_ref())).collect()
    }

    fn restart(&mut self) {
        let (keys, keeper) = start(self.dir.path(), &self.connection, self.links);
        (self.keys, self.keeper) = (keys, keeper);
    }

    /// With `more`, those are handed over too, before the first are committed, and then whether they are.
    fn batch(&mut self, kinds: &[u8], commits: bool, more: Option<(u8, bool)>) {
        if self.keys.recent.len() > 4 * RECENT_ENTRIES_MAX {
            self.keeper.shelf.write_frozen().unwrap();
        }
        assert!(self.keys.make_room());
        let time = i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
        let transaction = self.connection.unchecked_transaction().unwrap();
        let (mut last, mut rows) = (self.last, Vec::new());
        for kind in kinds {
            if *kind < 2 {
                last.refusal += 1;
                let key = format!("r{}", last.refusal);
                let mark = self.links.marker().mark(1, &key);
                let insert = "INSERT INTO refusal VALUES (NULL, 1, 1, 2, 1, ?, NULL, ?, NULL, 'x')";
                transaction.execute(insert, (time, key)).unwrap();
                assert_eq!(transaction.last_insert_rowid().cast_unsigned(), last.refusal);
                assert_eq!(self.keys.refused(mark).unwrap(), last.refusal);
                rows.push((mark, RowRef::refusal(last.refusal)));
                continue;
            }
            last.operation += 1;
            let key = (*kind > 2).then(|| format!("t{}", last.operation));
            let mark = key.as_deref().map(|key| self.links.marker().mark(1, key));
            let insert = "INSERT INTO transfer VALUES (?1, 1, 1, 2, 1, 0, 0, NULL, NULL, ?2, NULL, ?3, NULL, ?1)";
            transaction.execute(insert, (last.operation.cast_signed(), time, key)).unwrap();
            self.keys.appended(last.operation, mark);
            rows.extend(mark.map(|mark| (mark, RowRef::transfer(last.operation))));
        }
        self.keys.forget(&transaction).unwrap();
        rows.iter().for_each(|row| assert!(knows(&mut self.keys, *row).unwrap()));
        let more = more.filter(|_| !self.keys.is_full());
        let ahead = more.map(|more| (more, self.keys.mark()));
        let mut more = Vec::new();
        if let Some(((count, _), _)) = &ahead {
            for operation in last.operation + 1..=last.operation + u64::from(*count) {
                let mark = self.links.marker().mark(1, &format!("t{operation}"));
                self.keys.appended(operation, Some(mark));
                more.push((mark, RowRef::transfer(operation)));
            }
            rows.iter().chain(&more).for_each(|row| assert!(knows(&mut self.keys, *row).unwrap()));
        }
        if commits {
            transaction.commit().unwrap();
            self.last = last;
            self.rows.extend(rows);
        } else {
            transaction.rollback().unwrap();
            self.roll_back();
            let gone = rows.iter().chain(&more);
            gone.for_each(|row| assert!(!knows(&mut self.keys, *row).unwrap_or(false)));
            return;
        }
        let Some(((_, commits), mark)) = ahead else {
            self.keys.commit(last.operation);
            return;
        };
        self.keys.commit_to(mark);
        if !commits {
            self.roll_back();
            more.iter().for_each(|row| assert!(!knows(&mut self.keys, *row).unwrap_or(false)));
            return;
        }
        let insert = "INSERT INTO transfer VALUES (?1, 1, 1, 2, 1, 0, 0, NULL, NULL, ?2, NULL, ?3, NULL, ?1)";
        for (_, row) in &more {
            let operation = row.number().cast_signed();
            let key = format!("t{operation}");
            self.connection.execute(insert, (operation, time, key)).unwrap();
            self.last.operation = row.number();
        }
        self.keys.commit(self.last.operation);
        self.rows.extend(more);
    }

    fn roll_back(&mut self) {
        self.keys.roll_back();
        assert!(self.keys.now.is_within(self.last), "{:?}", self.keys.now);
    }

    fn age(&mut self, operation: Index, refusal: Index) {
        let to = |index: Index, last| index.index(usize::try_from(last).unwrap() + 1) as u64;
        let to = Place {
            operation: to(operation, self.last.operation),
            refusal: to(refusal, self.last.refusal),
        };
        self.old = self.old.max(to);
        for (table, id, number) in
            [("transfer", "operation_id", to.operation), ("refusal", "refusal_id", to.refusal)]
        {
            let update = format!("UPDATE {table} SET time_us = 0 WHERE {id} <= ?");
            self.connection.execute(&update, [number.cast_signed()]).unwrap();
        }
        self.rows.retain(|(_, row)| !row.is_within(self.old));
    }

    /// Where a run turns out to be damaged the engine halts, and starts again without it.
    fn survive<T>(&mut self, met: Result<T, ShelfError>) {
        if let Err(error) = met {
            assert!(matches!(error, ShelfError::Run(RunError::Damaged { .. })), "{error}");
            set_aside_if_damaged(&error);
            self.restart();
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Batch(rows, commits) => self.batch(&rows, commits, None),
            Step::TwoBatches(rows, more, first, second) => {
                self.batch(&rows, first, Some((more, second)));
            }
            Step::Write => self.keeper.shelf.write_frozen().unwrap(),
            Step::Keep => {
                let kept = self.keeper.keep();
                self.survive(kept);
            }
            Step::Age(operation, refusal) => self.age(operation, refusal),
            Step::Save => {
                let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
                self.saved = self.runs().into_iter().map(read).collect();
            }
            Step::Start(files) => {
                let runs = self.runs();
                match files {
                    Files::OneGone(one) if !runs.is_empty() => {
                        fs::remove_file(one.get(&runs)).unwrap();
                    }
                    Files::OneDamaged(one, byte) if !runs.is_empty() => {
                        let path = one.get(&runs);
                        let mut bytes = fs::read(path).unwrap();
                        let at = byte.index(bytes.len());
                        bytes[at] ^= 16;
                        fs::write(path, bytes).unwrap();
                    }
                    Files::SavedComeBack => {
                        self.saved.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
                    }
                    _ => {}
                }
                self.restart();
            }
        }
        if self.keys.version != self.keeper.shelf.version() {
            self.keys.look_at_shelf();
        }
        // Each damage is met once.
        for _ in 0..2 {
            let all: Result<Vec<_>, _> = self
                .rows
                .iter()
                .map(|row| knows(&mut self.keys, *row).map(|it| (*row, it)))
                .collect();
            match all {
                Ok(all) => all.into_iter().for_each(|(row, known)| assert!(known, "{row:?}")),
                Err(error) => self.survive::<()>(Err(error.into())),
            }
        }
    }
}

fn knows(keys: &mut Keys, (mark, row): (u64, RowRef)) -> Result<bool, RunError> {
    let mut ahead = [Some(KeyAhead { mark, in_runs: true })];
    keys.look_ahead(&mut ahead);
    let [Some(ahead)] = ahead else { return Ok(false) };
    keys.found.clear();
    keys.look_for(ahead)?;
    Ok(keys.found == [row])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn every_key_within_the_window_leads_to_its_row(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
    }
}

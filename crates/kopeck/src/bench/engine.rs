//! Owns the runs on the engine itself, in this process: batches of operations, no HTTP.
//!
//! Never: an operation made while it is measured; each round's are made before. Bounds:
//! [`BATCHES_AHEAD`] batches are under way at a time, so that the engine never waits for the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ledger::{Ledger, LedgerError, Outcome, Pending, Submission};
use store_sqlite::{Observer, SqliteStore};

use super::load::{Round, Used, go_on};
use super::machine::{Machine, Taken};
use super::prefill::{self, transfer};
use super::scenario::{Chooser, Scenario, Shares};
use super::tally::{SLICE, Tally};
use super::usage::{SELF, Usage};
use super::work::Work;

/// How many batches are handed in before the answer to the first is awaited.
const BATCHES_AHEAD: usize = 3;

/// Counts what the engine does.
#[derive(Debug, Default)]
pub(super) struct Counts {
    commits: AtomicU64,
    checkpoints: AtomicU64,
}

impl Observer for Counts {
    fn batch(&self, _: usize, _: Duration, committed: Result<(), &LedgerError>) {
        self.commits.fetch_add(u64::from(committed.is_ok()), Ordering::Relaxed);
    }

    fn checkpoint(&self, _: Duration) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
    }
}

/// The engine, opened on a benchmark's data.
pub(super) struct Engine {
    pub(super) store: SqliteStore,
    counts: Arc<Counts>,
    runtime: tokio::runtime::Runtime,
}

/// What to hand in.
#[derive(Debug, Clone)]
pub(super) struct Batches {
    pub(super) scenario: Scenario,
    pub(super) batch: usize,
    /// Operations a round, rounded up to whole batches.
    pub(super) operations: usize,
    pub(super) keys: bool,
    pub(super) wallets: usize,
    pub(super) shares: Shares,
}

impl Batches {
    /// How many.
    pub(super) fn count(&self) -> usize {
        self.operations.div_ceil(self.batch).max(1)
    }

    /// New ones, of what nobody has handed in before.
    pub(super) fn make(&self) -> anyhow::Result<Vec<Vec<Submission>>> {
        let people = match self.scenario {
            Scenario::Zipf => self.shares.len(),
            _ => self.wallets,
        };
        let shares = Arc::clone(&self.shares);
        let mut chooser = Chooser::new(self.scenario, (people, people), shares, fastrand::u64(..));
        (0..self.count())
            .map(|_| {
                go_on()?;
                (0..self.batch).map(|_| transfer(&mut chooser, self.keys)).collect()
            })
            .collect()
    }
}

impl Engine {
    /// Opens it.
    pub(super) fn open(work: &Work) -> anyhow::Result<Self> {
        let counts = Arc::new(Counts::default());
        let store = prefill::open(work, Arc::clone(&counts) as Arc<dyn Observer>)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Self { store, counts, runtime })
    }

    /// How many operations its book has.
    pub(super) fn operations(&self) -> anyhow::Result<u64> {
        Ok(self.runtime.block_on(self.store.checkpoint())?.operations)
    }

    /// Hands everything in, and measures.
    pub(super) fn run(&self, wanted: &Batches) -> anyhow::Result<Round> {
        go_on()?;
        let batches = wanted.make()?;
        let (before, machine) = (self.usage(), Machine::now());
        let began = Instant::now();
        let mut tally = Tally::new(Duration::from_secs(600));
        let mut waiting: VecDeque<(Instant, Pending<Vec<Outcome>>)> = VecDeque::new();
        let mut newest = began;
        self.runtime.block_on(async {
            for batch in batches {
                go_on()?;
                tally.asked += 1;
                waiting.push_back((Instant::now(), self.store.submit(batch)));
                if waiting.len() > BATCHES_AHEAD
                    && let Some((since, oldest)) = waiting.pop_front()
                {
                    take(&mut tally, &oldest.await?, (began, since), &mut newest)?;
                }
            }
            while let Some((since, oldest)) = waiting.pop_front() {
                take(&mut tally, &oldest.await?, (began, since), &mut newest)?;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        let seconds = began.elapsed().as_secs_f64();
        // The last slice is not a whole one and would look like a slump.
        tally.slices.truncate((seconds / SLICE.as_secs_f64()) as usize);
        let server = self.usage().since(before);
        let taken = Taken::since(machine, server.processor);
        Ok(Round { seconds, tally, used: Used { server, taken, ..Used::default() } })
    }

    fn usage(&self) -> Usage {
        Usage {
            commits: Some(self.counts.commits.load(Ordering::Relaxed)),
            checkpoints: Some(self.counts.checkpoints.load(Ordering::Relaxed)),
            ..Usage::of(SELF)
        }
    }
}

fn take(
    tally: &mut Tally,
    outcomes: &[Outcome],
    (began, since): (Instant, Instant),
    newest: &mut Instant,
) -> anyhow::Result<()> {
    prefill::expect_accepted(outcomes)?;
    let now = Instant::now();
    let done = outcomes.iter().filter(|outcome| !outcome.replayed).count() as u64;
    tally.replayed += outcomes.len() as u64 - done;
    tally.acknowledged += done;
    tally.counted += done;
    let nanos = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX);
    tally.latencies.saturating_record(nanos);
    tally.pause = tally.pause.max(now - *newest);
    *newest = now;
    let slice = (now - began).as_millis() / SLICE.as_millis();
    if let Some(slice) = usize::try_from(slice).ok().and_then(|at| tally.slices.get_mut(at)) {
        *slice += done;
    }
    Ok(())
}

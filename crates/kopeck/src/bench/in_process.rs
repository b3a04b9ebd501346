//! Owns the order of what is measured without HTTP: the engine in this process, in turns with what it is
//! measured against, a bare log and a bare file.
//!
//! Never: a server. Bounds: one book open at a time, and one more in memory where there is a bare log.

use std::sync::Arc;
use std::time::Duration;

use super::bare_log::BareLog;
use super::book::judge;
use super::checks::Told;
use super::document::Document;
use super::engine::{Batches, Engine};
use super::home::Home;
use super::load::{Round, Used, go_on};
use super::measure::{WALLETS, describe};
use super::options::{Measure, Place};
use super::raw;
use super::run::Run;
use super::scenario::zipf_shares;
use super::tally::Tally;
use super::turns::in_turn;
use super::work::{Size, Work};

/// Operations a batch, when nobody says how many.
const BATCH: usize = 8_192;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// The engine.
    Engine,
    /// The same operations by its book and its chain, over a bare file.
    Log,
    /// Records of about a row's size, appended to a bare file.
    Raw,
}

impl On {
    /// Without rounds yet.
    pub(super) fn with(self, batches: &Batches) -> Measured {
        let on = match self {
            Self::Engine => "engine",
            Self::Log => "log",
            Self::Raw => "raw",
        };
        let scenario = match self {
            Self::Engine | Self::Log => batches.scenario.name(),
            Self::Raw => "append and fsync",
        };
        let run = Run {
            on,
            scenario: scenario.to_owned(),
            batch: batches.batch,
            connections: 0,
            asked_rate: None,
            rounds: Vec::new(),
        };
        Measured { on: self, batches: batches.clone(), run }
    }
}

/// What is measured, with what, and what came of it.
pub(super) struct Measured {
    on: On,
    batches: Batches,
    pub(super) run: Run,
}

/// Measures what was asked for.
pub(super) fn measure(wanted: &Measure, place: &Place) -> anyhow::Result<Document> {
    let wallets = wanted.wallets.unwrap_or(WALLETS);
    let operations = wanted.stored_operations;
    let size = Size { wallets, sessions: 0, operations, hot_operations: 0 };
    let home = Home::new(place)?;
    let mut document = Document::new();
    document.set("book", describe(size));
    document.set("keys", if wanted.no_keys { "none" } else { "a random UUID each" });
    document.set(
        "rounds",
        format!("{} of {} operations, in whole batches", wanted.rounds, wanted.operations),
    );
    let work = home.book("engine", size)?;
    let sizes = if wanted.batch.is_empty() { &[BATCH] } else { wanted.batch.as_slice() };
    let people = usize::try_from(wallets)?;
    let shares = zipf_shares(people);
    let mut all = Vec::new();
    for &batch in sizes {
        let batches = |&scenario| Batches {
            scenario,
            batch,
            operations: wanted.operations,
            keys: !wanted.no_keys,
            wallets: people,
            shares: Arc::clone(&shares),
        };
        let scenarios: Vec<_> = wanted.scenario.iter().map(batches).collect();
        all.extend(scenarios.iter().flat_map(|one| [On::Engine, On::Log].map(|on| on.with(one))));
        all.extend(scenarios.last().map(|last| On::Raw.with(last)));
    }
    rounds((&home, &work), &mut all, wanted.rounds, &mut document)?;
    document.runs = all.into_iter().map(|measured| measured.run).collect();
    Ok(document)
}

/// So many rounds of each, in turns, on a book that is looked at in the end.
pub(super) fn rounds(
    (home, work): (&Home, &Work),
    all: &mut [Measured],
    rounds: usize,
    document: &mut Document,
) -> anyhow::Result<()> {
    let engine = Engine::open(work)?;
    let (before, mut told) = (engine.operations()?, Told::default());
    let mut log = None;
    for number in 1..=rounds {
        let in_this_order: Vec<_> = in_turn(number, all.iter_mut().collect());
        for Measured { on, batches, run } in in_this_order {
            run.rounds.push(match on {
                On::Engine => {
                    let round = engine.run(batches)?;
                    told.add(&round.tally);
                    round
                }
                On::Log => {
                    let log = match &mut log {
                        Some(log) => log,
                        none => none.insert(BareLog::new(work.size().wallets, go_on)?),
                    };
                    of_all(batches, log.time(home.path(), &batches.make()?, go_on)?)
                }
                On::Raw => {
                    let size = (batches.batch, batches.count());
                    of_all(batches, raw::time(home.path(), size, go_on)?)
                }
            });
        }
    }
    engine.store.close();
    judge(work, (told, before), document)
}

/// A round of which only the whole was timed.
fn of_all(batches: &Batches, took: Duration) -> Round {
    let mut tally = Tally::new(Duration::ZERO);
    tally.counted = (batches.count() * batches.batch) as u64;
    Round { seconds: took.as_secs_f64(), tally, used: Used::default() }
}

//! Owns the targets of the engine alone, beside a bare file.
//!
//! Never: HTTP. Bounds: one book open at a time.

use std::sync::Arc;

use super::BATCH;
use super::sizes::engine_size;
use crate::bench::book::judge;
use crate::bench::checks::Told;
use crate::bench::document::{Document, Limit, Target};
use crate::bench::engine::{Batches, Engine};
use crate::bench::home::Home;
use crate::bench::measure::{engine_run, raw_round};
use crate::bench::options::Targets;
use crate::bench::run::{Run, Spread};
use crate::bench::scenario::Scenario;
use crate::bench::table::whole;
use crate::bench::turns::in_turn;
use crate::bench::work::Work;

/// Operations that the engine is given each round.
const ENGINE_OPERATIONS: usize = 1_000_000;

/// The engine alone beside a bare file, on a book with an operation a wallet, and on the large one.
pub(super) fn engine(
    wanted: &Targets,
    home: &Home,
    large: &Work,
    document: &mut Document,
) -> anyhow::Result<()> {
    let small = home.book("engine", engine_size(wanted))?;
    let batches = Batches {
        scenario: Scenario::Uniform,
        batch: BATCH,
        operations: ENGINE_OPERATIONS.min(usize::try_from(wanted.rows)?),
        keys: true,
        wallets: usize::try_from(wanted.wallets)?,
        shares: Arc::default(),
    };
    let mut raw = engine_run(None, &batches);
    let (alone, told) = engine_rounds(wanted, (&small, &batches), || {
        raw.rounds.push(raw_round(home.path(), &batches)?);
        Ok(())
    })?;
    let (mut on_large, told_large) = engine_rounds(wanted, (large, &batches), || Ok(()))?;
    on_large.scenario = format!("{}, large book", on_large.scenario);
    let (wallets, rows) = (whole(wanted.wallets as f64), whole(wanted.rows as f64));
    let what = format!("engine, batches of 8 192, {wallets} wallets ÷ raw file");
    let ratio = Spread::ratio(&alone, &raw);
    document.targets.push(Target::new(&what, "", ratio, Limit::AtLeast(0.5)));
    for (run, what) in [
        (&alone, "the engine's rate".to_owned()),
        (&on_large, format!("the engine's rate with {rows} rows before")),
    ] {
        document.targets.push(Target::new(&what, "/s", run.rate(), Limit::AtLeast(700_000.0)));
    }
    document.runs.extend([alone, on_large, raw]);
    judge(&small, told, document)?;
    judge(large, told_large, document)
}

/// Rounds of the engine on a book, in turns with something else.
fn engine_rounds(
    wanted: &Targets,
    (work, batches): (&Work, &Batches),
    mut beside: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(Run, (Told, u64))> {
    let engine = Engine::open(work)?;
    let (before, mut told) = (engine.operations()?, Told::default());
    let mut run = engine_run(Some(Scenario::Uniform), batches);
    for number in 1..=wanted.rounds {
        for the_engine in in_turn(number, [true, false]) {
            if the_engine {
                let round = engine.run(batches)?;
                told.add(&round.tally);
                run.rounds.push(round);
            } else {
                beside()?;
            }
        }
    }
    engine.store.close();
    Ok((run, (told, before)))
}

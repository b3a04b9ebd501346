//! Owns the targets of the engine alone, beside a bare file, and beside its own book and chain over one.
//!
//! Never: HTTP. Bounds: one book open at a time.

use std::sync::Arc;

use super::BATCH;
use super::sizes::engine_size;
use crate::bench::document::{Document, Limit, Target};
use crate::bench::engine::Batches;
use crate::bench::home::Home;
use crate::bench::in_process::{On, rounds};
use crate::bench::options::Targets;
use crate::bench::run::Spread;
use crate::bench::scenario::Scenario;
use crate::bench::table::whole;
use crate::bench::work::Work;

/// Operations that the engine is given each round.
const ENGINE_OPERATIONS: usize = 1_000_000;

/// The engine alone beside these, on a book with an operation a wallet, and on the large one.
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
    let mut all = [On::Engine, On::Log, On::Raw].map(|on| on.with(&batches));
    rounds((home, &small), &mut all, wanted.rounds, document)?;
    let [alone, log, raw] = all.map(|measured| measured.run);
    let mut all = [On::Engine.with(&batches)];
    rounds((home, large), &mut all, wanted.rounds, document)?;
    let [mut on_large] = all.map(|measured| measured.run);
    on_large.scenario = format!("{}, large book", on_large.scenario);
    let (wallets, rows) = (whole(wanted.wallets as f64), whole(wanted.rows as f64));
    for (other, what) in [(&raw, "raw file"), (&log, "the same by book and chain over a raw file")]
    {
        let what = format!("engine, batches of 8 192, {wallets} wallets ÷ {what}");
        let ratio = Spread::ratio(&alone, other);
        document.targets.push(Target::new(&what, "", ratio, Limit::AtLeast(0.5)));
    }
    for (run, what) in [
        (&alone, "the engine's rate".to_owned()),
        (&on_large, format!("the engine's rate with {rows} rows before")),
    ] {
        document.targets.push(Target::new(&what, "/s", run.rate(), Limit::AtLeast(700_000.0)));
    }
    document.runs.extend([alone, on_large, log, raw]);
    Ok(())
}

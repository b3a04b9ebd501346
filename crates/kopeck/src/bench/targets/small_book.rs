//! Owns the targets that a small book is enough for: transfers beside a server without a disk and a bare one,
//! latency beside that without a disk, pauses, and batches.
//!
//! Never: two servers under load at a time. Bounds: three servers, of which two idle.

use anyhow::Context;

use super::{BATCH, base_load, in_shorter_rounds, once};
use crate::bench::book::Book;
use crate::bench::document::{Document, Limit, Target};
use crate::bench::home::Home;
use crate::bench::load::Load;
use crate::bench::measure::run_of;
use crate::bench::options::Targets;
use crate::bench::requests::What;
use crate::bench::run::Spread;
use crate::bench::scenario::Scenario;
use crate::bench::server::Kind;
use crate::bench::turns::in_turn;

/// Connections that send batches.
const BATCH_CONNECTIONS: usize = 4;

/// Transfers beside a null engine, beside a bare server, and with one hot wallet.
pub(super) fn beside_others(
    wanted: &Targets,
    home: &Home,
    (book, null): (&mut Book, &mut Book),
    document: &mut Document,
) -> anyhow::Result<()> {
    let wanted = &in_shorter_rounds(wanted);
    let size = null.work.size();
    let mut bare = Book::start(Kind::Bare, home.book("bare", size)?, &wanted.service)?;
    let load = base_load(wanted, &book.crowd);
    let hot = Load { scenario: Scenario::HotBoth, ..load.clone() };
    let mut compared = [
        (Kind::Kopeck, &load, "transfers"),
        (Kind::Null, &load, "null engine"),
        (Kind::Bare, &load, "bare server"),
        (Kind::Kopeck, &hot, "one hot wallet"),
    ]
    .map(|(kind, load, what)| (kind, load, what, run_of(kind, load)));
    for number in 1..=wanted.rounds {
        for (kind, load, what, run) in in_turn(number, compared.each_mut()) {
            let book = match kind {
                Kind::Kopeck => &mut *book,
                Kind::Null => &mut *null,
                Kind::Bare => &mut bare,
            };
            let title = format!("{what}, {number}/{}", wanted.rounds);
            run.rounds.push(book.round(load, &title)?);
        }
    }
    let runs = compared.map(|(.., run)| run);
    let [transfers, without_disk, without_all, one_hot] = &runs;
    let ratio = Spread::ratio;
    document.targets.extend([
        Target::new(
            "single durable transfers over HTTP, 64 connections ÷ null engine",
            "",
            ratio(transfers, without_disk),
            Limit::AtLeast(0.85),
        ),
        Target::new(
            "the same ÷ a bare POST with JSON and no session",
            "",
            ratio(transfers, without_all),
            Limit::AtLeast(0.7),
        ),
        Target::new(
            "one hot wallet in every transfer ÷ uniform",
            "",
            ratio(one_hot, transfers),
            Limit::AtLeast(0.95),
        ),
    ]);
    document.runs.extend(runs);
    bare.server.stop()
}

/// Latency at half of the greatest rate; and that of a null engine at the same rate, which has no disk to wait
/// for: what it waits for is the machine's.
pub(super) fn at_half_of_the_rate(
    wanted: &Targets,
    (book, null): (&mut Book, &mut Book),
    document: &mut Document,
) -> anyhow::Result<()> {
    let load = base_load(wanted, &book.crowd);
    let greatest = document.runs.first().context("nothing was measured")?.rate().median;
    let half = Load { rate: Some((greatest / 2.0).max(1.0)), ..load };
    let mut run = run_of(Kind::Kopeck, &half);
    let mut without_disk = run_of(Kind::Null, &half);
    for number in 1..=wanted.rounds {
        let both = [(&mut *book, &mut run, ""), (&mut *null, &mut without_disk, ", null engine")];
        for (book, run, on) in in_turn(number, both) {
            let title = format!("half of the greatest rate{on}, {number}/{}", wanted.rounds);
            run.rounds.push(book.round(&half, &title)?);
        }
    }
    let each = Spread::of(run.rounds.iter().map(|round| round.tally.millis(0.99)));
    let all = Spread { median: run.millis(0.99), ..each };
    let note = format!(
        "at a fixed rate, from when a request was due; all rounds together; a null engine at the same rate: \
         {:.2} ms",
        without_disk.millis(0.99)
    );
    let what = "p99 at half of the greatest rate, 64 connections";
    document.targets.push(Target::new(what, "ms", all, Limit::AtMost(5.0)).note(note));
    document.runs.extend([run, without_disk]);
    Ok(())
}

/// The longest pause under full load.
pub(super) fn full_load(
    wanted: &Targets,
    book: &mut Book,
    document: &mut Document,
) -> anyhow::Result<()> {
    let full = Load { measured: wanted.pause_seconds, ..base_load(wanted, &book.crowd) };
    let mut run = run_of(Kind::Kopeck, &full);
    run.scenario = "uniform, for the pauses".to_owned();
    run.rounds.push(book.round(&full, "full load, looking for pauses")?);
    let pause = once(run.pause().as_secs_f64() * 1e3);
    let checkpoints = run.checkpoints().unwrap_or(0);
    let note = format!("in {:?}, with {checkpoints} checkpoints", wanted.pause_seconds);
    let what = "longest time without any acknowledgement under full load";
    document.targets.push(Target::new(what, "ms", pause, Limit::AtMost(50.0)).note(note));
    document.runs.push(run);
    Ok(())
}

/// Batches over HTTP.
pub(super) fn batches(
    wanted: &Targets,
    book: &mut Book,
    document: &mut Document,
) -> anyhow::Result<()> {
    let load = base_load(wanted, &book.crowd);
    let load = Load { what: What::Batch(BATCH), connections: BATCH_CONNECTIONS, ..load };
    let mut run = run_of(Kind::Kopeck, &load);
    for number in 1..=wanted.rounds {
        let title = format!("batches over HTTP, {number}/{}", wanted.rounds);
        run.rounds.push(book.round(&load, &title)?);
        if run.counted() == 0 {
            // It will not get better.
            break;
        }
    }
    let what = "batches of 8 192 over HTTP, client included";
    let errors = run.errors();
    let target = Target::new(what, "/s", run.rate(), Limit::AtLeast(300_000.0));
    let note = match errors.is_empty() {
        true => format!("{BATCH_CONNECTIONS} connections"),
        false => format!("errors: {errors:?}"),
    };
    document.targets.push(target.note(note));
    document.runs.push(run);
    Ok(())
}

//! Owns `kopeck bench targets`: every promise about speed that has a number, shown in one run.
//!
//! Never: a figure from another run or another machine. What is compared is measured in turns, in the
//! same run. Bounds: five books, as large as was asked for, and two of people alone for what is measured
//! against; a server each, and one at a time under load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::asker::Asker;
use super::book::{Book, judge};
use super::checks::Told;
use super::document::{Document, Limit, Target};
use super::engine::{Batches, Engine};
use super::home::Home;
use super::load::{Load, Round};
use super::measure::{describe, engine_run, raw_round, run_of};
use super::options::{Client, Targets};
use super::requests::{Crowd, What, write_payment};
use super::run::{Run, Spread};
use super::scenario::{Scenario, uuid};
use super::server::{Kind, Server};
use super::table::whole;
use super::threads;
use super::turns::in_turn;
use super::usage::Usage;
use super::work::{Size, Work};

/// How many people pay, in each book.
const PAYERS: u64 = 10_000;
/// In the small book everybody has this many operations on average, so that a first page of history is
/// as full as in the large one.
const OPERATIONS_EACH: u64 = 40;
/// Connections, where the target says no other number.
const CONNECTIONS: usize = 64;
/// Connections that send batches.
const BATCH_CONNECTIONS: usize = 4;
/// Operations a batch.
const BATCH: usize = 8_192;
/// Operations that the engine is given each round.
const ENGINE_OPERATIONS: usize = 1_000_000;
/// How often a long history is asked for while others pay, a second.
const PAGES_PER_SECOND: f64 = 20.0;
/// The book that the large one is compared with. The first small one has tens of millions of operations by
/// then, from what was measured on it.
const STILL_SMALL: &str = "still-small";
/// How often the service is killed.
const KILLS: usize = 3;

/// Measures everything.
pub(super) fn measure(wanted: &Targets) -> anyhow::Result<Document> {
    announce(wanted);
    let home = Home::new(&wanted.place)?;
    home.require_room_for(&largest_books(wanted))?;
    let (service, client) = threads::placed((&wanted.service, &wanted.client), home.path());
    let wanted = &Targets { service, client, ..wanted.clone() };
    let mut document = Document::new();
    let small = small_size(wanted);
    document.set("small book", describe(small));
    document.set("large book", describe(large_size(wanted)));
    document.set("rounds", format!("{} of {:?}", wanted.rounds, wanted.seconds));
    wanted.client.describe(&mut document);
    let mut book = Book::start(Kind::Kopeck, home.book("small", small)?, &wanted.service)?;
    book.server.describe(&mut document);
    base_load(wanted, &book.crowd).meet_everybody(&book.server)?;
    beside_others(wanted, &home, &mut book, &mut document)?;
    alone(wanted, &mut book, &mut document)?;
    batches(wanted, &mut book, &mut document)?;
    book.finish(&mut document)?;
    let mut large =
        Book::start(Kind::Kopeck, home.book("large", large_size(wanted))?, &wanted.service)?;
    base_load(wanted, &large.crowd).meet_everybody(&large.server)?;
    large_beside_small(wanted, &home, &mut large, &mut document)?;
    long_history(wanted, &mut large, &mut document)?;
    let large = killed(wanted, large, &mut document)?;
    let large = large.finish(&mut document)?;
    engine(wanted, &home, &large, &mut document)?;
    if !wanted.place.keep {
        // Its room is needed for the next.
        std::fs::remove_dir_all(large.home())?;
    }
    memory(wanted, &home, &mut document)?;
    Ok(document)
}

fn small_size(wanted: &Targets) -> Size {
    let wallets = PAYERS.min(wanted.wallets);
    let operations = wallets * OPERATIONS_EACH / 2;
    Size { wallets, sessions: wallets, operations, hot_operations: 0 }
}

fn large_size(wanted: &Targets) -> Size {
    Size {
        wallets: wanted.wallets,
        sessions: PAYERS.min(wanted.wallets),
        operations: wanted.rows,
        hot_operations: wanted.history,
    }
}

fn engine_size(wanted: &Targets) -> Size {
    Size { sessions: 0, operations: wanted.wallets, hot_operations: 0, ..large_size(wanted) }
}

fn many_size(wanted: &Targets) -> Size {
    let wallets = wanted.many_wallets;
    Size { wallets, sessions: PAYERS.min(wallets), operations: 0, hot_operations: 0 }
}

/// Those that lie on the disk together when most is on it. The large one goes before that of many wallets
/// is made, if nothing is kept.
fn largest_books(wanted: &Targets) -> Vec<(&'static str, Size)> {
    let large = ("large", large_size(wanted));
    let many = ("many", many_size(wanted));
    let either = match wanted.place.keep {
        true => vec![large, many],
        false if large.1.disk_bytes() > many.1.disk_bytes() => vec![large],
        false => vec![many],
    };
    let small = small_size(wanted);
    let beside = Size { operations: 0, ..small };
    let others = [
        ("small", small),
        (STILL_SMALL, small),
        ("null", beside),
        ("bare", beside),
        ("engine", engine_size(wanted)),
    ];
    either.into_iter().chain(others).collect()
}

fn announce(wanted: &Targets) {
    let bytes = largest_books(wanted)
        .iter()
        .map(|(_, size)| size.disk_bytes())
        .fold(0, u64::saturating_add);
    let gigabytes = bytes as f64 / 1e9;
    crate::complain(format_args!(
        "kopeck bench: everything in one run: {} operations and {} wallets, then {} wallets. That takes \
         minutes, and up to about {:.0} GB of disk. Smaller: --rows 2000000 --wallets 100000 \
         --many-wallets 500000 --history 100000 --rounds 3 --seconds 3 --pause-seconds 15",
        whole(wanted.rows as f64),
        whole(wanted.wallets as f64),
        whole(wanted.many_wallets as f64),
        gigabytes.max(1.0),
    ));
}

fn base_load(wanted: &Targets, crowd: &Arc<Crowd>) -> Load {
    Load {
        scenario: Scenario::Uniform,
        what: What::Single,
        connections: CONNECTIONS,
        client: wanted.client.clone(),
        keys: true,
        warm_up: Duration::from_secs(1).min(wanted.seconds),
        measured: wanted.seconds,
        rate: None,
        crowd: Arc::clone(crowd),
        shares: Arc::default(),
    }
}

/// Transfers beside a null engine, beside a bare server, and with one hot wallet.
fn beside_others(
    wanted: &Targets,
    home: &Home,
    book: &mut Book,
    document: &mut Document,
) -> anyhow::Result<()> {
    let size = Size { operations: 0, ..book.work.size() };
    let mut null = Book::start(Kind::Null, home.book("null", size)?, &wanted.service)?;
    let mut bare = Book::start(Kind::Bare, home.book("bare", size)?, &wanted.service)?;
    let load = base_load(wanted, &book.crowd);
    base_load(wanted, &null.crowd).meet_everybody(&null.server)?;
    let hot = Load { scenario: Scenario::HotBoth, ..load.clone() };
    let mut compared = [
        (Kind::Kopeck, &load, "transfers"),
        (Kind::Null, &load, "null engine"),
        (Kind::Kopeck, &hot, "one hot wallet"),
        (Kind::Bare, &load, "bare server"),
    ]
    .map(|(kind, load, what)| (kind, load, what, run_of(kind, load)));
    for number in 1..=wanted.rounds {
        for (kind, load, what, run) in in_turn(number, compared.each_mut()) {
            let book = match kind {
                Kind::Kopeck => &mut *book,
                Kind::Null => &mut null,
                Kind::Bare => &mut bare,
            };
            let title = format!("{what}, {number}/{}", wanted.rounds);
            run.rounds.push(book.round(load, &title)?);
        }
    }
    let runs = compared.map(|(.., run)| run);
    let [transfers, without_disk, one_hot, without_all] = &runs;
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
    null.server.stop()?;
    bare.server.stop()
}

/// Latency at half of the greatest rate, and the longest pause at the full one.
fn alone(wanted: &Targets, book: &mut Book, document: &mut Document) -> anyhow::Result<()> {
    let load = base_load(wanted, &book.crowd);
    let greatest = document.runs.first().context("nothing was measured")?.rate().median;
    let half = Load { rate: Some((greatest / 2.0).max(1.0)), ..load.clone() };
    let mut run = run_of(Kind::Kopeck, &half);
    for number in 1..=wanted.rounds {
        let title = format!("half of the greatest rate, {number}/{}", wanted.rounds);
        run.rounds.push(book.round(&half, &title)?);
    }
    let each = Spread::of(run.rounds.iter().map(|round| round.tally.millis(0.99)));
    let all = Spread { median: run.millis(0.99), ..each };
    let note = "at a fixed rate, from when a request was due; all rounds together";
    let what = "p99 at half of the greatest rate, 64 connections";
    document.targets.push(Target::new(what, "ms", all, Limit::AtMost(5.0)).note(note));
    document.runs.push(run);
    let full = Load { measured: wanted.pause_seconds, ..load };
    let mut run = run_of(Kind::Kopeck, &full);
    run.scenario = "uniform, for the pauses".to_owned();
    run.rounds.push(book.round(&full, "full load, looking for pauses")?);
    let pause = one(run.pause().as_secs_f64() * 1e3);
    let checkpoints = run.checkpoints().unwrap_or(0);
    let note = format!("in {:?}, with {checkpoints} checkpoints", wanted.pause_seconds);
    let what = "longest time without any acknowledgement under full load";
    document.targets.push(Target::new(what, "ms", pause, Limit::AtMost(50.0)).note(note));
    document.runs.push(run);
    Ok(())
}

/// Batches over HTTP.
fn batches(wanted: &Targets, book: &mut Book, document: &mut Document) -> anyhow::Result<()> {
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

/// The large book and a small one in turns, for writing and for reading.
fn large_beside_small(
    wanted: &Targets,
    home: &Home,
    large: &mut Book,
    document: &mut Document,
) -> anyhow::Result<()> {
    let work = home.book(STILL_SMALL, small_size(wanted))?;
    let mut small = Book::start(Kind::Kopeck, work, &wanted.service)?;
    base_load(wanted, &small.crowd).meet_everybody(&small.server)?;
    let pay = base_load(wanted, &small.crowd);
    let read = Load { what: What::History, ..pay.clone() };
    let rows = whole(wanted.rows as f64);
    for (load, what) in [(pay, "writes"), (read, "the first page of history")] {
        let mut runs = [run_of(Kind::Kopeck, &load), run_of(Kind::Kopeck, &load)];
        let [on_large, on_small] = &mut runs;
        for (run, book) in [(&mut *on_large, "large"), (&mut *on_small, "small")] {
            run.scenario = format!("{}, {book} book", run.scenario);
        }
        for number in 1..=wanted.rounds {
            let title = |book: &str| format!("{what}, {book} book, {number}/{}", wanted.rounds);
            let both =
                [(&mut *on_small, &mut small, "small"), (&mut *on_large, &mut *large, "large")];
            for (run, book, name) in in_turn(number, both) {
                run.rounds.push(book.round(&load, &title(name))?);
            }
        }
        let ratio = Spread::ratio(on_large, on_small);
        let wallets = whole(wanted.wallets as f64);
        let what = format!("{what}: {rows} rows, {wallets} wallets ÷ a small book");
        document.targets.push(Target::new(&what, "", ratio, Limit::AtLeast(0.9)));
        document.runs.extend(runs);
    }
    small.finish(document).map(drop)
}

/// Pages with history of a wallet with very many operations, while everybody pays.
fn long_history(wanted: &Targets, large: &mut Book, document: &mut Document) -> anyhow::Result<()> {
    let full = base_load(wanted, &large.crowd);
    let page = Load {
        what: What::HotHistory,
        connections: 1,
        client: Client { client_threads: Some(1), ..full.client.anywhere() },
        rate: Some(PAGES_PER_SECOND),
        ..full.clone()
    };
    let mut runs =
        [run_of(Kind::Kopeck, &full), run_of(Kind::Kopeck, &full), run_of(Kind::Kopeck, &page)];
    let [without, with, pages] = &mut runs;
    without.scenario = "uniform, without long pages".to_owned();
    with.scenario = "uniform, beside long pages".to_owned();
    for number in 1..=wanted.rounds {
        let title = |what: &str| format!("{what} long pages, {number}/{}", wanted.rounds);
        for beside in in_turn(number, [false, true]) {
            if beside {
                let (paid, read) = both(large, (&full, &title("beside")), &page)?;
                with.rounds.push(paid);
                pages.rounds.push(read);
            } else {
                without.rounds.push(large.round(&full, &title("without"))?);
            }
        }
    }
    let (before, beside) = (without.pause(), with.pause());
    let operations = whole(wanted.history as f64);
    let note = format!(
        "longest pause {:.1} ms beside pages, {:.1} ms without; a page itself: p99 {:.1} ms under full load",
        beside.as_secs_f64() * 1e3,
        before.as_secs_f64() * 1e3,
        pages.millis(0.99),
    );
    let what = format!("pause that pages of a wallet with {operations} operations add");
    document.targets.push(
        Target::new(&what, "ms", pause_added(with, without, pages), Limit::AtMost(5.0)).note(note),
    );
    let ratio = Spread::ratio(with, without);
    document.targets.push(Target::new(
        "writes beside such pages ÷ without",
        "",
        ratio,
        Limit::AtLeast(0.95),
    ));
    document.runs.extend(runs);
    Ok(())
}

/// What the pages add to the writers' longest pauses, in milliseconds, round by round: one long pause of
/// the disk's in a round without pages must not hide what pages do in every other. Not a number if there
/// was no page.
fn pause_added(with: &Run, without: &Run, pages: &Run) -> Spread {
    if pages.counted() == 0 {
        return one(f64::NAN);
    }
    let millis = |round: &Round| round.tally.pause.as_secs_f64() * 1e3;
    let both = with.rounds.iter().zip(&without.rounds);
    Spread::of(both.map(|(with, without)| millis(with) - millis(without)))
}

/// Payments and pages at the same time.
fn both(
    book: &mut Book,
    (full, title): (&Load, &str),
    page: &Load,
) -> anyhow::Result<(Round, Round)> {
    let server = &book.server;
    let (paid, read) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| page.run(server, "pages"));
        let paid = full.run(server, title);
        (paid, reading.join())
    });
    let paid = paid?;
    book.told.add(&paid.tally);
    let read = read.map_err(|_| anyhow::anyhow!("the reading thread panicked"))??;
    // What was used at the same time was used by both; it is told once.
    Ok((paid, Round { server: Usage::default(), client: Usage::default(), ..read }))
}

/// The service is killed after full load, and started: how long until it acknowledges.
fn killed(wanted: &Targets, large: Book, document: &mut Document) -> anyhow::Result<Book> {
    let load = Load { measured: Duration::from_secs(2), ..base_load(wanted, &large.crowd) };
    let mut book = large;
    let mut seconds = Vec::new();
    for number in 1..=KILLS {
        book.round(&load, &format!("load before a kill, {number}/{KILLS}"))?;
        let Book { work, crowd, server, before, mut told, sample } = book;
        server.kill()?;
        let began = Instant::now();
        let server = Server::start(Kind::Kopeck, &work, &wanted.service)?;
        first_payment(&server, &crowd)?;
        seconds.push(began.elapsed().as_secs_f64());
        told.acknowledged += 1;
        book = Book { work, crowd, server, before, told, sample };
    }
    let spread = Spread::of(seconds);
    let worst = Spread { median: spread.max, ..spread };
    let what = format!(
        "start after SIGKILL to the first acknowledgement, {} rows, {} wallets",
        whole(wanted.rows as f64),
        whole(wanted.wallets as f64)
    );
    let target = Target::new(&what, "s", worst, Limit::AtMost(2.0));
    document.targets.push(target.note(format!("the longest of {KILLS}")));
    Ok(book)
}

fn first_payment(server: &Server, crowd: &Crowd) -> anyhow::Result<()> {
    let mut request = Vec::new();
    let payer = crowd.people.first().context("nobody can pay")?;
    let (host, key) = (server.address().to_string(), uuid(fastrand::u128(..)));
    write_payment(&mut request, (&host, &payer.cookie), (false, crowd.wallet(1)), Some(&key));
    let mut asker = Asker::new(server.address())?;
    let status = asker.send(&request)?.status;
    anyhow::ensure!(status == 200, "the first payment was answered with {status}");
    Ok(())
}

/// The engine alone beside a bare file, on a book with an operation a wallet, and on the large one.
fn engine(
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

/// How much memory very many wallets take.
fn memory(wanted: &Targets, home: &Home, document: &mut Document) -> anyhow::Result<()> {
    let size = many_size(wanted);
    let mut book = Book::start(Kind::Kopeck, home.book("many", size)?, &wanted.service)?;
    let load = base_load(wanted, &book.crowd);
    let mut run = run_of(Kind::Kopeck, &load);
    run.scenario = "uniform, very many wallets".to_owned();
    run.rounds.push(book.round(&load, "very many wallets")?);
    document.runs.push(run);
    let peak = book.server.memory_peak_bytes().map_or(f64::NAN, |bytes| bytes as f64 / 1e9);
    let what = format!("memory at {} wallets, the most ever (VmHWM)", whole(size.wallets as f64));
    document.targets.push(Target::new(&what, "GB", one(peak), Limit::AtMost(1.0)));
    book.finish(document).map(drop)
}

/// A number that was measured once.
fn one(value: f64) -> Spread {
    Spread { median: value, min: value, max: value }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Tally;
    use super::*;

    #[test]
    fn a_pause_that_pages_make_is_found_beside_a_longer_one_of_the_disk() {
        let run = |counted: u64, pauses: [u64; 3]| {
            let round = |pause| {
                let pause = Duration::from_millis(pause);
                let tally = Tally { counted, pause, ..Tally::new(Duration::ZERO) };
                let unused = Usage::default();
                Round { seconds: 1.0, tally, server: unused, client: unused }
            };
            Run {
                on: "kopeck",
                scenario: "uniform".to_owned(),
                batch: 1,
                connections: 64,
                asked_rate: None,
                rounds: pauses.map(round).to_vec(),
            }
        };
        let without = run(9, [2, 60, 3]);
        let pages = run(1, [1, 1, 1]);
        assert_eq!(pause_added(&run(9, [22, 25, 23]), &without, &pages).median, 20.0);
        assert_eq!(pause_added(&run(9, [3, 3, 60]), &without, &pages).median, 1.0);
        let unread = pause_added(&without, &without, &run(0, [0, 0, 0]));
        assert!(!Target::new("x", "ms", unread, Limit::AtMost(5.0)).is_met());
    }
}

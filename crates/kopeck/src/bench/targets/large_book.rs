//! Owns the targets of a large book: beside a small one, with pages of a long history, and a start after a
//! kill; and of one with very many wallets.
//!
//! Never: a kill of anything but its own server. Bounds: two servers, and one at a time under load.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::sizes::{many_size, small_size};
use super::{STILL_SMALL, base_load, in_shorter_rounds, once};
use crate::bench::asker::Asker;
use crate::bench::book::Book;
use crate::bench::document::{Document, Limit, Target};
use crate::bench::home::Home;
use crate::bench::load::{Load, Round, Used};
use crate::bench::measure::run_of;
use crate::bench::options::{Client, Targets};
use crate::bench::requests::{Crowd, What, write_payment};
use crate::bench::run::{Run, Spread};
use crate::bench::scenario::uuid;
use crate::bench::server::{Kind, Server};
use crate::bench::table::whole;
use crate::bench::turns::in_turn;

/// How often a long history is asked for while others pay, a second.
const PAGES_PER_SECOND: f64 = 20.0;
/// How often the service is killed.
const KILLS: usize = 3;

/// The large book and a small one in turns, for writing and for reading.
pub(super) fn large_beside_small(
    wanted: &Targets,
    home: &Home,
    large: &mut Book,
    document: &mut Document,
) -> anyhow::Result<()> {
    let wanted = &in_shorter_rounds(wanted);
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
pub(super) fn long_history(
    wanted: &Targets,
    large: &mut Book,
    document: &mut Document,
) -> anyhow::Result<()> {
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
        return once(f64::NAN);
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
    Ok((paid, Round { used: Used::default(), ..read }))
}

/// The service is killed after full load, and started: how long until it acknowledges.
pub(super) fn killed(
    wanted: &Targets,
    large: Book,
    document: &mut Document,
) -> anyhow::Result<Book> {
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

/// How much memory very many wallets take.
pub(super) fn memory(wanted: &Targets, home: &Home, document: &mut Document) -> anyhow::Result<()> {
    let size = many_size(wanted);
    let mut book = Book::start(Kind::Kopeck, home.book("many", size)?, &wanted.service)?;
    let load = base_load(wanted, &book.crowd);
    let mut run = run_of(Kind::Kopeck, &load);
    run.scenario = "uniform, very many wallets".to_owned();
    run.rounds.push(book.round(&load, "very many wallets")?);
    document.runs.push(run);
    let peak = book.server.memory_peak_bytes().map_or(f64::NAN, |bytes| bytes as f64 / 1e9);
    let what = format!("memory at {} wallets, the most ever (VmHWM)", whole(size.wallets as f64));
    document.targets.push(Target::new(&what, "GB", once(peak), Limit::AtMost(1.0)));
    book.finish(document).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::Tally;

    #[test]
    fn a_pause_that_pages_make_is_found_beside_a_longer_one_of_the_disk() {
        let run = |counted: u64, pauses: [u64; 3]| {
            let round = |pause| {
                let pause = Duration::from_millis(pause);
                let tally = Tally { counted, pause, ..Tally::new(Duration::ZERO) };
                Round { seconds: 1.0, tally, used: Used::default() }
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

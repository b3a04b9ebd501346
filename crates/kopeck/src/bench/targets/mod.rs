//! Owns `kopeck bench targets`: every promise about speed that has a number, shown in one run.
//!
//! Never: a figure from another run or another machine. What is compared is measured in turns, in the
//! same run. Bounds: five books, as large as was asked for, and two of people alone for what is measured
//! against; a server each, and one at a time under load.

mod engine;
mod large_book;
mod sizes;
mod small_book;

use std::sync::Arc;
use std::time::Duration;

use super::book::Book;
use super::document::Document;
use super::home::Home;
use super::load::Load;
use super::measure::describe;
use super::options::Targets;
use super::requests::{Crowd, What};
use super::run::Spread;
use super::scenario::Scenario;
use super::server::Kind;
use super::table::whole;
use super::threads;
use sizes::{large_size, largest_books, people_size, small_size};

/// Connections, where the target says no other number.
const CONNECTIONS: usize = 64;
/// Operations a batch.
const BATCH: usize = 8_192;
/// The book that the large one is compared with. The first small one has tens of millions of operations by
/// then, from what was measured on it.
const STILL_SMALL: &str = "still-small";
/// Rates of one server ÷ another are of rounds of so long at most: what makes a machine slower for some seconds meets
/// more of them alike, and the median is of more.
const ROUND_MAX: Duration = Duration::from_secs(1);

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
    let (rounds, seconds) = shorter(wanted.rounds, wanted.seconds);
    document.set("rounds of one server ÷ another", format!("{rounds} of {seconds:?}"));
    wanted.client.describe(&mut document);
    let mut book = Book::start(Kind::Kopeck, home.book("small", small)?, &wanted.service)?;
    book.server.describe(&mut document);
    base_load(wanted, &book.crowd).meet_everybody(&book.server)?;
    let mut null =
        Book::start(Kind::Null, home.book("null", people_size(wanted))?, &wanted.service)?;
    base_load(wanted, &null.crowd).meet_everybody(&null.server)?;
    small_book::beside_others(wanted, &home, (&mut book, &mut null), &mut document)?;
    small_book::at_half_of_the_rate(wanted, (&mut book, &mut null), &mut document)?;
    null.server.stop()?;
    small_book::full_load(wanted, &mut book, &mut document)?;
    small_book::batches(wanted, &mut book, &mut document)?;
    book.finish(&mut document)?;
    let mut large =
        Book::start(Kind::Kopeck, home.book("large", large_size(wanted))?, &wanted.service)?;
    base_load(wanted, &large.crowd).meet_everybody(&large.server)?;
    large_book::large_beside_small(wanted, &home, &mut large, &mut document)?;
    large_book::long_history(wanted, &mut large, &mut document)?;
    let large = large_book::killed(wanted, large, &mut document)?;
    let large = large.finish(&mut document)?;
    engine::engine(wanted, &home, &large, &mut document)?;
    if !wanted.place.keep {
        // Its room is needed for the next.
        std::fs::remove_dir_all(large.home())?;
    }
    large_book::memory(wanted, &home, &mut document)?;
    Ok(document)
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

/// The same time in rounds of [`ROUND_MAX`] at most, and as many more of them.
fn in_shorter_rounds(wanted: &Targets) -> Targets {
    let (rounds, seconds) = shorter(wanted.rounds, wanted.seconds);
    Targets { rounds, seconds, ..wanted.clone() }
}

fn shorter(rounds: usize, seconds: Duration) -> (usize, Duration) {
    let of_each = seconds.as_nanos().div_ceil(ROUND_MAX.as_nanos());
    let of_each = u16::try_from(of_each).unwrap_or(u16::MAX).max(1);
    (rounds.saturating_mul(usize::from(of_each)), seconds / u32::from(of_each))
}

fn base_load(wanted: &Targets, crowd: &Arc<Crowd>) -> Load {
    Load {
        scenario: Scenario::Uniform,
        what: What::Single,
        connections: CONNECTIONS,
        client: wanted.client.clone(),
        keys: true,
        warm_up: Duration::from_secs(1).min(wanted.seconds / 2),
        measured: wanted.seconds,
        rate: None,
        crowd: Arc::clone(crowd),
        shares: Arc::default(),
    }
}

/// A number that was measured once.
fn once(value: f64) -> Spread {
    Spread { median: value, min: value, max: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_time_in_rounds_of_a_second_at_most() {
        let millis = Duration::from_millis;
        assert_eq!(shorter(5, millis(4_000)), (20, ROUND_MAX));
        assert_eq!(shorter(3, millis(2_500)), (9, millis(2_500) / 3));
        assert_eq!(shorter(1, millis(300)), (1, millis(300)));
        assert_eq!(shorter(usize::MAX, millis(1_001)), (usize::MAX, millis(1_001) / 2));
    }
}

//! Owns the order of a benchmark over HTTP: books, servers, rounds in turns, checks.
//!
//! Never: a judgement on a figure. Bounds: each combination of what was asked for, as many rounds as
//! were asked for.

use std::sync::Arc;

use anyhow::Context;

use super::book::Book;
use super::checks::{self, Told};
use super::document::Document;
use super::home::Home;
use super::load::Load;
use super::options::{Measure, Place};
use super::requests::{Crowd, What};
use super::run::Run;
use super::scenario::{Scenario, Shares, zipf_shares};
use super::server::{Kind, Server};
use super::tally::Tally;
use super::turns::in_turn;
use super::work::Size;
use super::{remote, threads};
use crate::api::BODIES_PER_USER_MAX;

/// Wallets, when nobody says how many.
pub(super) const WALLETS: u64 = 100_000;
/// People that sign up at a service elsewhere, when nobody says how many.
const PEOPLE_ELSEWHERE: u64 = 64;
/// How many people are logged in at most, when nobody says how many.
const SESSIONS_MAX: u64 = 100_000;

/// Measures over HTTP.
pub(super) fn http(wanted: &Measure, place: &Place) -> anyhow::Result<Document> {
    match &wanted.url {
        Some(url) => elsewhere(wanted, url),
        None => here(wanted, place),
    }
}

/// On private servers.
fn here(wanted: &Measure, place: &Place) -> anyhow::Result<Document> {
    let wallets = wanted.wallets.unwrap_or(WALLETS);
    let sessions = wanted.sessions.unwrap_or(wallets.min(SESSIONS_MAX));
    let size = Size { wallets, sessions, operations: wanted.stored_operations, hot_operations: 0 };
    let home = Home::new(place)?;
    let (service, client) = threads::placed((&wanted.service, &wanted.client), home.path());
    let wanted = &Measure { service, client, ..wanted.clone() };
    let mut document = Document::new();
    document.set("book", describe(size));
    let beside = Size { operations: 0, ..size };
    let others = wanted.beside.iter().filter(|kind| **kind != Kind::Kopeck);
    let books = others.map(|kind| (kind.name(), beside)).chain([("book", size)]);
    home.require_room_for(&books.collect::<Vec<_>>())?;
    let work = home.book("book", size)?;
    let crowd = Arc::new(work.crowd()?);
    let mut servers =
        vec![(Server::start(Kind::Kopeck, &work, &wanted.service)?, Arc::clone(&crowd))];
    for kind in wanted.beside.iter().filter(|kind| **kind != Kind::Kopeck) {
        // A server each: two cannot have the same data directory.
        let beside = home.book(kind.name(), beside)?;
        servers.push((Server::start(*kind, &beside, &wanted.service)?, Arc::new(beside.crowd()?)));
    }
    let told = measure_all(wanted, &servers, &mut document)?;
    let mut servers = servers.into_iter();
    let (server, _) = servers.next().context("no server")?;
    for (other, _) in servers {
        other.stop()?;
    }
    let AllTold { before, told, sample } = told;
    Book { work, crowd, server, before, told, sample }.finish(&mut document)?;
    Ok(document)
}

/// On a service that somebody else runs.
fn elsewhere(wanted: &Measure, url: &str) -> anyhow::Result<Document> {
    let server = Server::elsewhere(remote::address(url)?);
    let people = wanted.wallets.unwrap_or(PEOPLE_ELSEWHERE);
    let crowd = remote::crowd(server.address(), people);
    let crowd = Arc::new(crowd.with_context(|| format!("{url} cannot be measured"))?);
    let mut document = Document::new();
    document.set("service", url);
    document.set("people", people);
    let balances = checks::balances(&server, &crowd)?;
    let servers = [(server, Arc::clone(&crowd))];
    let told = measure_all(wanted, &servers, &mut document)?;
    let [(server, _)] = servers;
    document.findings.push(checks::replays(&server, &crowd, &told.sample.sample)?);
    let after = server.operations()?;
    document.findings.push(checks::one_effect_each(told.told, told.before, after));
    document.findings.push(checks::kept_between(&balances, &checks::balances(&server, &crowd)?));
    Ok(document)
}

/// What the checks must know of all the runs on the service itself.
pub(super) struct AllTold {
    /// Operations in the book before.
    pub(super) before: u64,
    pub(super) told: Told,
    /// The last run's that has a sample, which is sent again.
    pub(super) sample: Tally,
}

/// Each combination, round by round. The first of the servers is the service itself; each has people
/// of its own.
fn measure_all(
    wanted: &Measure,
    servers: &[(Server, Arc<Crowd>)],
    document: &mut Document,
) -> anyhow::Result<AllTold> {
    let (first, crowd) = servers.first().context("no server")?;
    let shares = zipf_shares(crowd.wallets);
    let batches = if wanted.batch.is_empty() { &[1] } else { wanted.batch.as_slice() };
    if wanted.beside.contains(&Kind::Bare) {
        document.notes.extend(left_out_of_bare(&wanted.scenario, batches));
    }
    let mut planned = Vec::new();
    for &scenario in &wanted.scenario {
        for &batch in batches {
            let (connections, note) = taken_connections(&wanted.connections, (scenario, batch));
            document.notes.extend(note);
            for connections in connections {
                for (server, crowd) in servers {
                    let load = load(wanted, (scenario, batch, connections), crowd, &shares);
                    if can(server.kind(), (scenario, batch)) {
                        let run = run_of(server.kind(), &load);
                        planned.push((server, load, run));
                    }
                }
            }
        }
    }
    for (server, crowd) in servers.iter().filter(|(server, _)| server.kind() != Kind::Bare) {
        let (_, load, _) = planned.first().context("nothing to measure")?;
        Load { crowd: Arc::clone(crowd), ..load.clone() }.meet_everybody(server)?;
    }
    let before = first.operations()?;
    let (mut told, mut sample) = (Told::default(), Tally::new(std::time::Duration::ZERO));
    for round in 1..=wanted.rounds {
        for (server, load, run) in in_turn(round, planned.iter_mut().collect::<Vec<_>>()) {
            let Run { on, scenario, connections, .. } = &run;
            let of = wanted.rounds;
            let title = format!("{on}, {scenario}, {connections} connections, {round}/{of}");
            let measured = load.run(server, &title)?;
            if server.kind() == Kind::Kopeck {
                told.add(&measured.tally);
                if !measured.tally.sample.is_empty() {
                    sample.clone_from(&measured.tally);
                }
            }
            run.rounds.push(measured);
        }
    }
    document.set("keys", if wanted.no_keys { "none" } else { "a random UUID each" });
    document.set("rounds", format!("{} of {:?}", wanted.rounds, wanted.seconds));
    first.describe(document);
    wanted.client.describe(document);
    document.runs.extend(planned.into_iter().map(|(_, _, run)| run));
    Ok(AllTold { before, told, sample })
}

/// With how many connections something is measured, of those that were asked for; and why not with all, if
/// not. More batches of one payer would be refused, and refusals are not what is to be measured.
fn taken_connections(
    asked: &[usize],
    (scenario, batch): (Scenario, usize),
) -> (Vec<usize>, Option<String>) {
    if batch <= 1 || !scenario.has_one_payer() {
        return (asked.to_vec(), None);
    }
    let mut taken = Vec::new();
    for connections in asked.iter().map(|asked| (*asked).min(BODIES_PER_USER_MAX)) {
        if !taken.contains(&connections) {
            taken.push(connections);
        }
    }
    let less = asked.iter().any(|asked| *asked > BODIES_PER_USER_MAX);
    let note = less.then(|| {
        format!(
            "{}, batches of {batch}: {BODIES_PER_USER_MAX} connections at most, because the service \
             takes no more batches of one payer at a time",
            scenario.name()
        )
    });
    (taken, note)
}

fn load(
    wanted: &Measure,
    (scenario, batch, connections): (Scenario, usize, usize),
    crowd: &Arc<Crowd>,
    shares: &Shares,
) -> Load {
    Load {
        scenario,
        what: if batch <= 1 { What::Single } else { What::Batch(batch) },
        connections,
        client: wanted.client.clone(),
        keys: !wanted.no_keys,
        warm_up: wanted.warm_up_seconds,
        measured: wanted.seconds,
        rate: wanted.rate,
        crowd: Arc::clone(crowd),
        shares: Arc::clone(shares),
    }
}

/// What is measured against has not everything that the service has.
fn can(kind: Kind, (scenario, batch): (Scenario, usize)) -> bool {
    let by_the_bank = matches!(scenario, Scenario::BankToOne | Scenario::BankToMany);
    kind != Kind::Bare || (batch <= 1 && !by_the_bank)
}

/// What is said where something that was asked for is not measured on a bare POST. A line that is not in the
/// table is easily taken for one that nobody asked for.
fn left_out_of_bare(scenarios: &[Scenario], batches: &[usize]) -> Option<String> {
    let mut all =
        scenarios.iter().flat_map(|scenario| batches.iter().map(|batch| (*scenario, *batch)));
    let left_out = all.any(|load| !can(Kind::Bare, load));
    left_out.then(|| "bare: only single transfers; it has no batches and no bank".to_owned())
}

/// A run without rounds yet.
pub(super) fn run_of(kind: Kind, load: &Load) -> Run {
    Run {
        on: kind.name(),
        scenario: match load.what {
            What::Single | What::Batch(_) => load.scenario.name().to_owned(),
            What::History => "first page of history".to_owned(),
            What::HotHistory => "first page of a long history".to_owned(),
            What::Everybody => "everybody".to_owned(),
        },
        batch: if let What::Batch(batch) = load.what { batch } else { 1 },
        connections: load.connections,
        asked_rate: load.rate,
        rounds: Vec::new(),
    }
}

/// A book's size in words.
pub(super) fn describe(size: Size) -> String {
    let number = |count: u64| super::table::whole(count as f64);
    format!(
        "{} wallets, {} of them logged in, {} operations",
        number(size.wallets),
        number(size.sessions),
        number(size.operations.max(size.wallets))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_batches_of_one_payer_are_sent_at_a_time_than_the_service_takes() {
        let asked = [4, 64, 256];
        let taken = |scenario, batch| taken_connections(&asked, (scenario, batch));
        for scenario in [Scenario::BankToMany, Scenario::HotOut, Scenario::HotBoth] {
            let (connections, note) = taken(scenario, 100);
            assert_eq!(connections, [4, 16]);
            let note = note.unwrap();
            assert!(
                note.starts_with(&format!("{}, batches of 100: 16 ", scenario.name())),
                "{note}"
            );
            assert_eq!(taken(scenario, 1), (asked.to_vec(), None));
        }
        assert_eq!(taken(Scenario::Uniform, 100), (asked.to_vec(), None));
        let few = taken_connections(&[16], (Scenario::HotOut, 100));
        assert_eq!(few, (vec![16], None));
    }

    #[test]
    fn what_a_bare_post_cannot_do_is_said_to_be_left_out() {
        let (bank, people) = ([Scenario::BankToOne], [Scenario::Uniform, Scenario::HotBoth]);
        assert_eq!(left_out_of_bare(&people, &[1]), None);
        for left_out in [left_out_of_bare(&people, &[1, 64]), left_out_of_bare(&bank, &[1])] {
            assert!(left_out.unwrap().starts_with("bare: only single transfers"));
        }
    }
}

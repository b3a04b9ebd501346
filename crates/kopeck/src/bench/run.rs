//! Owns the figures of several rounds of the same: medians, spreads, sums.
//!
//! Never: a measurement. Bounds: all rounds are kept, a few kilobytes each.

use std::collections::BTreeMap;
use std::time::Duration;

use super::load::{Round, Used};
use super::machine::Taken;
use super::tally::{Latencies, latencies, millis};
use super::usage::Usage;

/// With more errors than this share of what was sent, a rate says little.
const ERRORS_SHARE_MAX: f64 = 0.01;

/// A rate that was asked for is not reached if more than this share of it is missing.
const RATE_MISSED_SHARE_MAX: f64 = 0.05;

/// Where whoever else was on the machine took more than this share of all its processors, it was not the
/// server alone that was measured. The system's own threads, which sync for it, have some hundredths.
const OTHERS_SHARE_MAX: f64 = 0.1;

/// The same of what the host of a virtual machine kept.
const HOST_SHARE_MAX: f64 = 0.02;

/// Rounds of the same load on the same server.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// On which server or engine.
    pub(super) on: &'static str,
    /// Who pays whom, or what is read.
    pub(super) scenario: String,
    /// Operations a request.
    pub(super) batch: usize,
    /// Connections; 0 without HTTP.
    pub(super) connections: usize,
    /// Requests a second that were asked for, if they were.
    pub(super) asked_rate: Option<f64>,
    /// One or more.
    pub(super) rounds: Vec<Round>,
}

/// The middle of some values, and the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of no values it is 0.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        let median = (at(last / 2) + at(values.len() / 2).max(at(last / 2))) / 2.0;
        Self { median, min: at(0), max: at(last) }
    }

    /// One divided by the other, round by round: what changes the machine's mood changes both.
    pub(super) fn ratio(one: &Run, other: &Run) -> Self {
        Self::of(
            one.rounds.iter().zip(&other.rounds).map(|(one, other)| {
                if other.rate() > 0.0 { one.rate() / other.rate() } else { 0.0 }
            }),
        )
    }
}

impl Run {
    /// What it is, in words that tell it from the other runs of a benchmark.
    pub(super) fn name(&self) -> String {
        let over = match self.connections {
            0 => String::new(),
            1 => ", 1 connection".to_owned(),
            connections => format!(", {connections} connections"),
        };
        let rate = self.asked_rate.map_or(String::new(), |rate| format!(", {rate:.0} a second"));
        format!("{}{over}{rate}", self.name_at_any_load())
    }

    /// What it has in common with runs at another number of connections or another rate.
    pub(super) fn name_at_any_load(&self) -> String {
        let batch =
            if self.batch > 1 { format!(", batches of {}", self.batch) } else { String::new() };
        format!("{} {}{batch}", self.on, self.scenario)
    }

    /// What whoever reads its rate must not overlook.
    pub(super) fn warnings(&self) -> Vec<String> {
        let name = self.name();
        let share = self.errors_share();
        let refused = (share > ERRORS_SHARE_MAX).then(|| {
            format!(
                "{name}: {:.1} % of what was sent was refused or failed; this is not what the server can do",
                share * 100.0
            )
        });
        let missed = self.missed_rate().map(|reached| {
            format!(
                "{name}: {reached:.0} a second were answered; server and client together do not do what was asked \
                 for with these connections, and latencies grow with time"
            )
        });
        let shared = |who: &str, taken: Option<f64>, most: f64| {
            let taken = taken.filter(|taken| *taken > most)?;
            Some(format!(
                "{name}: {who} took {:.0} % of all processors in one of its rounds; this is not what a quiet \
                 machine does",
                taken * 100.0
            ))
        };
        let taken = self.taken();
        let others =
            shared("other programs and the system's threads", taken.by_others, OTHERS_SHARE_MAX);
        let host = shared("the host of this virtual machine", taken.by_host, HOST_SHARE_MAX);
        [refused, missed, others, host].into_iter().flatten().collect()
    }

    /// What whoever else was there took in the round in which it was most.
    pub(super) fn taken(&self) -> Taken {
        let most = |of: fn(&Taken) -> Option<f64>| {
            self.rounds.iter().filter_map(|round| of(&round.used.taken)).reduce(f64::max)
        };
        Taken { by_others: most(|taken| taken.by_others), by_host: most(|taken| taken.by_host) }
    }

    /// Requests a second that were answered, if they are clearly fewer than were asked for.
    fn missed_rate(&self) -> Option<f64> {
        let seconds: f64 = self.rounds.iter().map(|round| round.seconds).sum();
        let asked = self.asked_rate? * seconds;
        let answered = self.counted() as f64 / self.batch.max(1) as f64;
        // At the edge of each round one may be on the other side.
        let edges = self.rounds.len() as f64;
        (answered + edges < asked * (1.0 - RATE_MISSED_SHARE_MAX)).then(|| answered / seconds)
    }

    /// Of all operations that were sent, the share that was refused or failed.
    fn errors_share(&self) -> f64 {
        let errors = self.errors_total();
        let done = |round: &Round| round.tally.acknowledged + round.tally.replayed;
        let sent = errors + self.rounds.iter().map(done).sum::<u64>();
        if sent == 0 { 0.0 } else { errors as f64 / sent as f64 }
    }

    /// Acknowledged operations a second.
    pub(super) fn rate(&self) -> Spread {
        Spread::of(self.rounds.iter().map(Round::rate))
    }

    /// The latencies of all rounds together.
    pub(super) fn latencies(&self) -> Latencies {
        let mut all = latencies();
        for round in &self.rounds {
            // All have the same bounds.
            let _ = all.add(&round.tally.latencies);
        }
        all
    }

    /// A latency that this share of the requests did not exceed, in milliseconds; not a number if none was
    /// timed.
    pub(super) fn millis(&self, share: f64) -> f64 {
        millis(&self.latencies(), share)
    }

    /// The longest time without any acknowledgement.
    pub(super) fn pause(&self) -> Duration {
        self.rounds.iter().map(|round| round.tally.pause).max().unwrap_or_default()
    }

    /// Operations within the measured time.
    pub(super) fn counted(&self) -> u64 {
        self.rounds.iter().map(|round| round.tally.counted).sum()
    }

    /// What was refused or failed, by code.
    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (code, count) in self.rounds.iter().flat_map(|round| &round.tally.errors) {
            *all.entry(code.clone()).or_default() += count;
        }
        all
    }

    /// How many of the errors there were.
    pub(super) fn errors_total(&self) -> u64 {
        self.rounds.iter().map(|round| round.tally.errors_total()).sum()
    }

    /// Processors that the server, and the client, kept busy on average.
    pub(super) fn processors(&self) -> (Option<f64>, Option<f64>) {
        let seconds: f64 = self.rounds.iter().map(|round| round.seconds).sum();
        let busy = |usage: Option<Usage>| Some(usage?.processor?.as_secs_f64() / seconds);
        (busy(self.used(|used| used.server)), busy(self.used(|used| used.client)))
    }

    /// Bytes that the server wrote, for each operation.
    pub(super) fn bytes_each(&self) -> Option<f64> {
        self.each(self.used(|used| used.server)?.written_bytes?)
    }

    /// Fsyncs of the server, for each operation.
    pub(super) fn fsyncs_each(&self) -> Option<f64> {
        self.each(self.used(|used| used.server)?.fsyncs()?)
    }

    /// Checkpoints of the server.
    pub(super) fn checkpoints(&self) -> Option<u64> {
        self.used(|used| used.server)?.checkpoints
    }

    fn each(&self, total: u64) -> Option<f64> {
        let counted = self.counted();
        (counted > 0).then(|| total as f64 / counted as f64)
    }

    fn used(&self, of: impl Fn(&Used) -> Usage) -> Option<Usage> {
        self.rounds.iter().map(|round| of(&round.used)).reduce(Usage::and)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Tally;
    use super::*;

    fn run(rates: &[u64]) -> Run {
        let round = |rate: &u64| {
            let tally = Tally { counted: 2 * rate, ..Tally::new(Duration::from_secs(2)) };
            let used = Usage { written_bytes: Some(2 * rate * 50), ..Usage::default() };
            Round { seconds: 2.0, tally, used: Used { server: used, ..Used::default() } }
        };
        Run {
            on: "kopeck",
            scenario: "uniform".to_owned(),
            batch: 1,
            connections: 1,
            asked_rate: None,
            rounds: rates.iter().map(round).collect(),
        }
    }

    #[test]
    fn more_errors_than_one_in_a_hundred_are_warned_of() {
        let with = |errors: u64, acknowledged: u64| {
            let mut run = run(&[100]);
            let tally = &mut run.rounds[0].tally;
            tally.acknowledged = acknowledged;
            tally.errors.insert("overloaded".to_owned(), errors);
            run.warnings()
        };
        assert_eq!(with(1, 99), [""; 0]);
        let [warning] = with(3, 97).try_into().unwrap();
        assert!(warning.starts_with("kopeck uniform, 1 connection: 3.0 % "), "{warning}");
        assert_eq!(with(0, 0), [""; 0]);
    }

    #[test]
    fn what_others_and_a_host_took_is_warned_of() {
        let with = |taken: [(f64, f64); 2]| {
            let mut run = run(&[100, 100]);
            for (round, (by_others, by_host)) in run.rounds.iter_mut().zip(taken) {
                round.used.taken = Taken { by_others: Some(by_others), by_host: Some(by_host) };
            }
            run.warnings()
        };
        assert_eq!(with([(0.09, 0.01), (0.1, 0.02)]), [""; 0]);
        let [others] = with([(0.43, 0.0), (0.05, 0.0)]).try_into().unwrap();
        assert!(others.contains("other programs and the system's threads took 43 %"), "{others}");
        let [host] = with([(0.0, 0.03), (0.0, 0.501)]).try_into().unwrap();
        assert!(host.contains("the host of this virtual machine took 50 %"), "{host}");
        assert_eq!(run(&[100]).warnings(), [""; 0], "what is not known is not warned of");
    }

    #[test]
    fn a_rate_that_was_not_reached_is_warned_of() {
        let at =
            |asked: f64, rates: &[u64]| Run { asked_rate: Some(asked), ..run(rates) }.warnings();
        assert_eq!(at(1_000.0, &[960, 950]), [""; 0]);
        let [warning] = at(1_000.0, &[900, 900]).try_into().unwrap();
        assert!(warning.contains("1000 a second: 900 a second were answered"), "{warning}");
        // One request more or less is no miss.
        assert_eq!(at(1.5, &[1]), [""; 0]);
        let batches = Run { batch: 100, ..run(&[100_000]) };
        assert_eq!(Run { asked_rate: Some(1_000.0), ..batches.clone() }.warnings(), [""; 0]);
        assert_eq!(Run { asked_rate: Some(2_000.0), ..batches }.warnings().len(), 1);
    }

    #[test]
    fn medians_spreads_and_ratios_round_by_round() {
        let (fast, slow) = (run(&[100, 300, 200]), run(&[200, 300, 800]));
        assert_eq!(fast.rate(), Spread { median: 200.0, min: 100.0, max: 300.0 });
        assert_eq!(run(&[100, 200]).rate().median, 150.0);
        let ratio = Spread::ratio(&fast, &slow);
        assert_eq!(ratio, Spread { median: 0.5, min: 0.25, max: 1.0 });
        assert_eq!(Spread::of([]), Spread::default());
        assert_eq!((fast.bytes_each(), fast.fsyncs_each()), (Some(50.0), None));
        assert!(fast.millis(0.99).is_nan(), "nothing was timed");
        assert_eq!(fast.processors(), (None, None));
    }
}

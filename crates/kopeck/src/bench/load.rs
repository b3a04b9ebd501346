//! Owns a run of load against a server: its threads, its time, what it used.
//!
//! Never: what the figures mean. Bounds: a run ends by itself at its time; nothing is sent after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};

use super::client::{self, Shared, Span, Thread};
use super::machine::{Machine, Taken};
use super::options::Client;
use super::progress;
use super::requests::{Crowd, Requests, What};
use super::scenario::{Chooser, Scenario, Shares};
use super::server::Server;
use super::tally::Tally;
use super::usage::{SELF, Usage};

/// Somebody wants the benchmark to end: what runs ends soon, and nothing is begun.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);

/// An error when somebody wants the benchmark to end.
pub(super) fn go_on() -> anyhow::Result<()> {
    unless(&STOP)
}

fn unless(stop: &AtomicBool) -> anyhow::Result<()> {
    ensure!(!stop.load(Ordering::Relaxed), "stopped");
    Ok(())
}

/// An error where somebody was not answered, unless it is that nobody waited for the answer.
fn all_answered(tally: &Tally, stop: &AtomicBool) -> anyhow::Result<()> {
    unless(stop)?;
    let errors = &tally.errors;
    ensure!(errors.is_empty(), "not everybody is known to the server: {errors:?}");
    Ok(())
}

/// What to send, to whom, how long.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) scenario: Scenario,
    pub(super) what: What,
    pub(super) connections: usize,
    pub(super) client: Client,
    pub(super) keys: bool,
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
    /// Requests a second; without, as many as go.
    pub(super) rate: Option<f64>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) shares: Shares,
}

/// What one run of load gave.
#[derive(Debug, Clone)]
pub(super) struct Round {
    /// How long it was measured, in seconds.
    pub(super) seconds: f64,
    /// What the client saw.
    pub(super) tally: Tally,
    /// What it used.
    pub(super) used: Used,
}

/// What was used in a round, and what others took meanwhile.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    /// By the server, or the engine.
    pub(super) server: Usage,
    /// By the client, where it is a process of its own.
    pub(super) client: Usage,
    /// By whoever else was on the machine.
    pub(super) taken: Taken,
}

impl Round {
    /// Acknowledged operations a second.
    pub(super) fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.tally.counted as f64 / self.seconds } else { 0.0 }
    }
}

impl Load {
    /// Sends it, and measures.
    pub(super) fn run(&self, server: &Server, title: &str) -> anyhow::Result<Round> {
        go_on()?;
        self.measure(server, title).map_err(|error| server.explained(error))
    }

    fn measure(&self, server: &Server, title: &str) -> anyhow::Result<Round> {
        let address = server.address();
        let threads = self.client.threads().clamp(1, self.connections.max(1));
        let begin = Instant::now();
        let mut streams = client::connect(address, self.connections.max(1))?;
        let begin = begin.max(Instant::now()) + Duration::from_millis(20);
        let from = begin + self.warm_up;
        let span = Span { begin, from, until: from + self.measured };
        let shared = Shared { span, newest: AtomicU64::new(0), stop: &STOP };
        let interval = self.rate.map(|rate| {
            Duration::try_from_secs_f64(threads as f64 / rate.max(0.001)).unwrap_or(Duration::MAX)
        });
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            for number in 0..threads {
                // As many for each thread, as far as that goes.
                let share = streams.len().div_ceil(threads - number);
                let own = streams.split_off(streams.len() - share);
                let requests = self.requests(server, (number, threads));
                let thread = Thread::new(address, own, requests, interval, &shared)?;
                let named = std::thread::Builder::new().name(format!("client-{number}"));
                let placed = move || {
                    self.client.stay()?;
                    thread.run()
                };
                running.push(named.spawn_scoped(scope, placed)?);
            }
            // Before its time a thread ends only if something went wrong, which it tells then.
            let goes_on = || !running.iter().any(ScopedJoinHandle::is_finished);
            let used = self.watch(server, &span, (title, &goes_on))?;
            let mut tally = Tally::new(self.measured);
            for thread in running {
                tally.add(thread.join().map_err(|_| anyhow!("a client's thread panicked"))??);
            }
            let newest = Duration::from_nanos(shared.newest.load(Ordering::Relaxed));
            tally.pause = tally.pause.max(self.measured.saturating_sub(newest));
            go_on()?;
            Ok(Round { seconds: self.measured.as_secs_f64(), tally, used })
        })
    }

    /// Asks for everybody's wallet once, so that every session is known to the server.
    pub(super) fn meet_everybody(&self, server: &Server) -> anyhow::Result<()> {
        let all = Self {
            what: What::Everybody,
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(60),
            rate: None,
            ..self.clone()
        };
        let connections = all.connections.clamp(1, 64);
        let round = Self { connections, ..all }.run_quietly(server)?;
        all_answered(&round, &STOP)
    }

    fn run_quietly(&self, server: &Server) -> anyhow::Result<Tally> {
        go_on()?;
        let begin = Instant::now();
        let span = Span { begin, from: begin, until: begin + self.measured };
        let shared = Shared { span, newest: AtomicU64::new(0), stop: &STOP };
        let streams = client::connect(server.address(), self.connections)?;
        let requests = self.requests(server, (0, 1));
        Ok(Thread::new(server.address(), streams, requests, None, &shared)?.run()?)
    }

    fn requests(&self, server: &Server, (number, threads): (usize, usize)) -> Requests {
        let crowd = Arc::clone(&self.crowd);
        let sizes = match self.scenario {
            Scenario::Zipf => {
                let first = |many: usize| many.min(super::scenario::ZIPF_WALLETS_MAX);
                (first(crowd.people.len()), first(crowd.wallets))
            }
            _ => (crowd.people.len(), crowd.wallets),
        };
        let chooser =
            Chooser::new(self.scenario, sizes, Arc::clone(&self.shares), fastrand::u64(..));
        let (what, keys) = (self.what, self.keys);
        Requests::new(server.address(), crowd, chooser, (what, keys), (number, threads))
    }

    /// Waits for the run's end and reads what was used within its time.
    fn watch(
        &self,
        server: &Server,
        span: &Span,
        (title, goes_on): (&str, &dyn Fn() -> bool),
    ) -> anyhow::Result<Used> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let bar = progress::timed(title, millis(span.until - span.begin));
        let wait_for = |moment: Instant| {
            while Instant::now() < moment && !STOP.load(Ordering::Relaxed) && goes_on() {
                let left = moment.saturating_duration_since(Instant::now());
                std::thread::sleep(left.min(Duration::from_millis(250)));
                bar.set_position(millis(span.begin.elapsed()));
            }
        };
        wait_for(span.from);
        let (served, sent, machine) = (server.usage()?, Usage::of(SELF), Machine::now());
        wait_for(span.until);
        let (server, client) = (server.usage()?.since(served), Usage::of(SELF).since(sent));
        let taken = Taken::since(machine, server.and(client).processor);
        bar.finish_and_clear();
        Ok(Used { server, client, taken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_ends_it_is_not_told_that_the_server_failed() {
        let mut tally = Tally::new(Duration::ZERO);
        tally.lost(1, "no answer before the end", true);
        let said =
            |stopped| all_answered(&tally, &AtomicBool::new(stopped)).unwrap_err().to_string();
        assert_eq!(said(true), "stopped");
        assert!(said(false).starts_with("not everybody is known"), "{}", said(false));
    }
}

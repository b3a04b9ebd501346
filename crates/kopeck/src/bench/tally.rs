//! Owns what the client counts: answers, latencies, the longest pause, the rate over time.
//!
//! Never: a judgement. Bounds: one number for each [`SLICE`] of the run, a few thousand for the
//! latencies, [`SAMPLE_MAX`] payments to be sent again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::answer::Answer;
use super::client::Shared;
use super::requests::{Payment, Written};

/// How finely the rate over time is known.
pub(super) const SLICE: Duration = Duration::from_millis(100);
/// How many payments are kept to be sent again.
const SAMPLE_MAX: usize = 64;
/// Of how many payments one is kept, when there are enough.
const SAMPLE_EVERY: u64 = 64;
/// The greatest latency that is told apart, in nanoseconds.
const LATENCY_NANOS_MAX: u64 = 120_000_000_000;

/// Latencies in nanoseconds, with three digits.
pub(super) type Latencies = Histogram<u64>;

/// A histogram of latencies.
pub(super) fn latencies() -> Latencies {
    // With constants that are sound it does not fail; without bounds it grows by itself.
    Histogram::new_with_bounds(1_000, LATENCY_NANOS_MAX, 3)
        .or_else(|_| Histogram::new(3))
        .unwrap_or_else(|error| unreachable!("{error}"))
}

/// A latency that this share of the requests did not exceed, in milliseconds. Where none was timed there is
/// none, and no target is met by it.
pub(super) fn millis(latencies: &Latencies, share: f64) -> f64 {
    if latencies.is_empty() { f64::NAN } else { latencies.value_at_quantile(share) as f64 / 1e6 }
}

/// What a thread, or all of them together, saw.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Requests that were sent.
    pub(super) asked: u64,
    /// Operations that were acknowledged, warming up and the end included.
    pub(super) acknowledged: u64,
    /// Operations that were acknowledged within the run's time.
    pub(super) counted: u64,
    /// Operations whose outcome nobody told.
    pub(super) unknown: u64,
    /// Acknowledgements of something that was done before.
    pub(super) replayed: u64,
    /// Operations that were refused or failed, by code.
    pub(super) errors: BTreeMap<String, u64>,
    /// From the moment a request was sent (or due, at a fixed rate) to its answer; those that were sent (or
    /// due) within the run's time, whenever they were answered: the slowest are the last.
    pub(super) latencies: Latencies,
    /// The longest time without any acknowledgement.
    pub(super) pause: Duration,
    /// Operations that were acknowledged in each [`SLICE`].
    pub(super) slices: Vec<u64>,
    /// Some payments with what was answered.
    pub(super) sample: Vec<(Payment, u64)>,
}

impl Tally {
    /// Nothing yet, of a run of this time.
    pub(super) fn new(run: Duration) -> Self {
        let slices = run.as_millis().div_ceil(SLICE.as_millis().max(1));
        Self {
            asked: 0,
            acknowledged: 0,
            counted: 0,
            unknown: 0,
            replayed: 0,
            errors: BTreeMap::new(),
            latencies: latencies(),
            pause: Duration::ZERO,
            slices: vec![0; usize::try_from(slices).unwrap_or(0)],
            sample: Vec::new(),
        }
    }

    /// Takes an answer that came `now` to what was sent, or due, at `since`.
    pub(super) fn take(
        &mut self,
        answer: &Answer<'_>,
        written: &Written,
        (since, now): (Instant, Instant),
        shared: &Shared,
    ) {
        let operations = u64::from(written.operations);
        if answer.status != 200 {
            let code = answer.text("code").unwrap_or("no code").to_owned();
            if code == "outcome_unknown" {
                self.unknown += operations;
            }
            *self.errors.entry(code).or_default() += operations;
            return;
        }
        // A batch tells how many of its operations went through.
        let done = if operations > 1 { answer.number("succeeded").unwrap_or(0) } else { 1 };
        if done < operations {
            self.refused_in_batch(answer, operations - done);
        }
        if answer.replayed {
            self.replayed += done;
            return;
        }
        self.acknowledged += done;
        // Some of them, later ones over earlier ones: each costs a look into the answer. Of a batch it is the
        // last, whose number stands last if none was refused.
        if done == operations
            && (self.sample.len() < SAMPLE_MAX || self.acknowledged.is_multiple_of(SAMPLE_EVERY))
            && let Some(payment) = written.payment
            && let Some(operation) = answer.number("operation_id")
        {
            let at = usize::try_from(self.acknowledged / SAMPLE_EVERY).unwrap_or(0) % SAMPLE_MAX;
            if self.sample.len() < SAMPLE_MAX {
                self.sample.push((payment, operation));
            } else if let Some(older) = self.sample.get_mut(at) {
                *older = (payment, operation);
            }
        }
        let span = &shared.span;
        if since >= span.from && since < span.until {
            let nanos = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(nanos);
        }
        if now < span.from || now >= span.until {
            return;
        }
        self.counted += done;
        let at = now - span.from;
        let slice = at.as_millis() / SLICE.as_millis();
        if let Some(slice) =
            usize::try_from(slice).ok().and_then(|slice| self.slices.get_mut(slice))
        {
            *slice += done;
        }
        let at = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let before = shared.newest.fetch_max(at, Ordering::Relaxed);
        self.pause = self.pause.max(Duration::from_nanos(at.saturating_sub(before)));
    }

    /// Counts what was refused of a batch, each by its code if it is told.
    fn refused_in_batch(&mut self, answer: &Answer<'_>, refused: u64) {
        let codes: Vec<_> = answer.texts("code").collect();
        if codes.len() as u64 != refused {
            *self.errors.entry("refused".to_owned()).or_default() += refused;
            return;
        }
        for code in codes {
            match self.errors.get_mut(code) {
                Some(count) => *count += 1,
                None => drop(self.errors.insert(code.to_owned(), 1)),
            }
        }
    }

    /// Counts what was not answered. If it was all sent, nobody can know its outcome.
    pub(super) fn lost(&mut self, operations: u32, why: &str, sent: bool) {
        self.unknown += if sent { u64::from(operations) } else { 0 };
        *self.errors.entry(why.to_owned()).or_default() += u64::from(operations);
    }

    /// Adds what another thread saw of the same run.
    pub(super) fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.acknowledged += other.acknowledged;
        self.counted += other.counted;
        self.unknown += other.unknown;
        self.replayed += other.replayed;
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
        self.pause = self.pause.max(other.pause);
        for (slice, more) in self.slices.iter_mut().zip(other.slices) {
            *slice += more;
        }
        let room = SAMPLE_MAX.saturating_sub(self.sample.len());
        self.sample.extend(other.sample.into_iter().take(room));
    }

    /// Operations that were refused, failed, or of which nobody knows.
    pub(super) fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    /// A latency that this share of the requests did not exceed, in milliseconds; not a number if none was
    /// timed.
    pub(super) fn millis(&self, share: f64) -> f64 {
        millis(&self.latencies, share)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::super::client::Span;
    use super::super::scenario::Payer;
    use super::*;

    static STOP: AtomicBool = AtomicBool::new(false);

    fn shared() -> Shared {
        let begin = Instant::now();
        let from = begin + Duration::from_secs(1);
        let span = Span { begin, from, until: from + Duration::from_secs(1) };
        Shared { span, newest: AtomicU64::new(0), stop: &STOP }
    }

    fn answer(status: u16, body: &[u8]) -> Answer<'_> {
        Answer { status, replayed: false, cookie: None, body, bytes: 0 }
    }

    #[test]
    fn only_what_was_answered_within_the_time_counts_and_all_of_it_is_known() {
        let shared = shared();
        let mut tally = Tally::new(Duration::from_secs(1));
        let payment = Payment { payer: Payer::Bank, to: 2, key: [b'k'; 36] };
        let one = Written { operations: 1, payment: Some(payment) };
        let ok = answer(200, br#"{"operation_id":7}"#);
        let at = |millis| shared.span.begin + Duration::from_millis(millis);
        for (since, now) in
            [(500, 600), (900, 1_100), (1_150, 1_160), (1_500, 1_760), (1_990, 2_100)]
        {
            tally.take(&ok, &one, (at(since), at(now)), &shared);
        }
        assert_eq!((tally.acknowledged, tally.counted, tally.latencies.len()), (5, 3, 3));
        assert_eq!(tally.slices, [0, 2, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(tally.pause, Duration::from_millis(600));
        assert!((tally.millis(1.0) - 260.0).abs() < 1.0, "{}", tally.millis(1.0));
        assert_eq!(tally.sample.last(), Some(&(payment, 7)));
        assert_eq!(tally.errors_total(), 0);
    }

    #[test]
    fn refusals_replays_and_what_nobody_knows_are_no_acknowledgements() {
        let shared = shared();
        let mut tally = Tally::new(Duration::from_secs(1));
        let moment = (shared.span.from, shared.span.from + Duration::from_millis(1));
        let written = |operations| Written { operations, payment: None };
        let refused = answer(422, br#"{"code":"insufficient_funds"}"#);
        tally.take(&refused, &written(1), moment, &shared);
        let unknown = answer(503, br#"{"code":"outcome_unknown"}"#);
        tally.take(&unknown, &written(1), moment, &shared);
        let replayed = Answer { replayed: true, ..answer(200, b"{}") };
        tally.take(&replayed, &written(1), moment, &shared);
        let batch = answer(200, br#"{"results":[{"status":"OK"}],"succeeded":7,"refused":3}"#);
        tally.take(&batch, &written(10), moment, &shared);
        let payment = Some(Payment { payer: Payer::Bank, to: 2, key: [b'k'; 36] });
        let coded =
            br#"{"results":[{"operation_id":5},{"code":"no_money"}],"succeeded":1,"refused":1}"#;
        let two = Written { operations: 2, payment };
        tally.take(&answer(200, coded), &two, moment, &shared);
        assert!(tally.sample.is_empty(), "the last was not done");
        tally.lost(4, "broken", true);
        tally.lost(9, "broken", false);
        assert_eq!((tally.acknowledged, tally.replayed, tally.unknown), (8, 1, 5));
        let errors: Vec<_> = tally.errors.iter().map(|(code, n)| (code.as_str(), *n)).collect();
        assert_eq!(
            errors,
            [
                ("broken", 13),
                ("insufficient_funds", 1),
                ("no_money", 1),
                ("outcome_unknown", 1),
                ("refused", 3)
            ]
        );
        let done =
            br#"{"results":[{"operation_id":5},{"operation_id":6}],"succeeded":2,"refused":0}"#;
        tally.take(&answer(200, done), &two, moment, &shared);
        assert_eq!(tally.sample.first().map(|(_, operation)| *operation), Some(6));
    }
}

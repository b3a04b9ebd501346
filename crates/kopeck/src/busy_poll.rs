//! Owns busy polling: while many operations are under way, a thread that speaks HTTP looks for the next
//! request and the next outcome again and again, and does not sleep.
//!
//! A commit takes less time than it costs three threads to sleep and wake for each other, and a thread that
//! slept may find its processor taken. Never: without load, where it would burn a processor to no end; with one
//! processor, which the thread that writes needs. Bounds: it begins with load that lasts, and ends when for
//! `stay` no operation came or was answered, so that a disk that hangs is not waited for like that, or when most of the
//! looks' time was in vain. It does not end for having few under way: that is how it goes on, where syncs are quick.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// With fewer operations under way there is time to sleep; and at half of the greatest rate a polling
/// thread was seen to make rare waits of 10 ms longer.
const UNDER_WAY_MIN: u64 = 40;

/// Load counts when it has lasted so long: what gathers behind a slow sync is gone before.
const LASTING: Duration = Duration::from_millis(20);
/// And when so many operations came in it while many were under way.
const LASTING_OPERATIONS: u64 = 400;

/// Looks are worth it while of so long at least a half went to what was found. At full load it is three quarters or
/// more; at half of the greatest rate it would be less than two fifths.
const WORTH: Duration = Duration::from_millis(20);

/// Knows how many operations are under way, and polls when they are many.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    stay: Duration,
    /// How many operations came, and how many are over: the others are under way.
    came: AtomicU64,
    over: AtomicU64,
    /// How many operations came while many were under way.
    under_load: AtomicU64,
    /// Load was noticed, and need not be told of.
    noticed: AtomicBool,
    begin: Notify,
}

/// An operation under way; over when it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'b>(&'b BusyPoll);

impl BusyPoll {
    /// Polls for so long after the newest operation that came under load; zero: never. Nor with one processor.
    pub(crate) fn new(stay: Duration, processors: usize) -> Self {
        Self {
            stay: if processors == 1 { Duration::ZERO } else { stay },
            came: AtomicU64::new(0),
            over: AtomicU64::new(0),
            under_load: AtomicU64::new(0),
            noticed: AtomicBool::new(false),
            begin: Notify::new(),
        }
    }

    /// An operation begins.
    pub(crate) fn enter(&self) -> UnderWay<'_> {
        // Nothing is published by these numbers: a stale one costs a moment of sleep, or of polling.
        let came = self.came.fetch_add(1, Ordering::Relaxed) + 1;
        // Others that came later may be over already.
        if came.saturating_sub(self.over.load(Ordering::Relaxed)) >= UNDER_WAY_MIN {
            self.under_load.fetch_add(1, Ordering::Relaxed);
            if !self.noticed.load(Ordering::Relaxed) {
                self.begin.notify_one();
            }
        }
        UnderWay(self)
    }

    /// Polls whenever there is load; meanwhile the gauge is 1. Never ends, but for a `stay` of zero.
    pub(crate) async fn run(&self, polling: &Gauge) {
        while !self.stay.is_zero() {
            self.begin.notified().await;
            self.noticed.store(true, Ordering::Relaxed);
            while self.load_lasts().await {
                polling.set(1);
                self.poll().await;
                polling.set(0);
            }
            self.noticed.store(false, Ordering::Relaxed);
        }
    }

    async fn load_lasts(&self) -> bool {
        let before = self.under_load.load(Ordering::Relaxed);
        tokio::time::sleep(LASTING).await;
        self.under_load.load(Ordering::Relaxed) - before >= LASTING_OPERATIONS
    }

    /// Changes with each operation that comes or is over.
    fn turns(&self) -> u64 {
        self.came.load(Ordering::Relaxed) + self.over.load(Ordering::Relaxed)
    }

    async fn poll(&self) {
        let began = Instant::now();
        let (mut seen, mut found, mut looked) = (self.turns(), began, began);
        let (mut since, mut in_vain) = (began, Duration::ZERO);
        while looked - found < self.stay {
            // The runtime does all else that there is to do first, and then asks for events without
            // waiting for any.
            tokio::task::yield_now().await;
            let (turns, now) = (self.turns(), Instant::now());
            if turns == seen {
                in_vain += now - looked;
            } else {
                (seen, found) = (turns, now);
            }
            looked = now;
            if now - since >= WORTH {
                if in_vain * 2 > now - since {
                    return;
                }
                (since, in_vain) = (now, Duration::ZERO);
            }
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.over.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn busy_poll(stay: Duration) -> Arc<BusyPoll> {
        Arc::new(BusyPoll::new(stay, 2))
    }

    /// Lets it run; the gauge tells whether it polls.
    fn start(busy_poll: &Arc<BusyPoll>) -> (tokio::task::JoinHandle<()>, Gauge) {
        let (running, gauge) = (Arc::clone(busy_poll), Gauge::default());
        let polling = gauge.clone();
        (tokio::spawn(async move { running.run(&polling).await }), gauge)
    }

    /// So much load as lasts, once it is noticed.
    async fn load(busy_poll: &BusyPoll) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        for _ in 0..LASTING_OPERATIONS {
            drop(busy_poll.enter());
        }
    }

    /// Lets time pass in which the polling task would begin.
    async fn turn() {
        tokio::time::sleep(2 * LASTING).await;
    }

    #[tokio::test]
    async fn polls_only_while_many_are_under_way() {
        let busy_poll = busy_poll(Duration::from_secs(60 * 60));
        let (task, polling) = start(&busy_poll);
        let mut few: Vec<_> = (1..UNDER_WAY_MIN).map(|_| busy_poll.enter()).collect();
        // One after another is not many at once.
        drop(few.pop());
        few.push(busy_poll.enter());
        turn().await;
        assert_eq!(polling.get(), 0);
        let many = busy_poll.enter();
        turn().await;
        // It does not last.
        assert_eq!(polling.get(), 0);
        drop(busy_poll.enter());
        load(&busy_poll).await;
        while polling.get() == 0 {
            tokio::task::yield_now().await;
        }
        drop((few, many));
        let [came, over] =
            [&busy_poll.came, &busy_poll.over].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(came - over, 0);
        task.abort();
    }

    #[tokio::test]
    async fn sleeps_again_when_nothing_more_comes_and_wakes_for_the_next_load() {
        let busy_poll = busy_poll(Duration::from_millis(100));
        let (task, polling) = start(&busy_poll);
        for _ in 0..3 {
            // These hang, as they would on a disk that does.
            let hanging: Vec<_> = (0..UNDER_WAY_MIN).map(|_| busy_poll.enter()).collect();
            load(&busy_poll).await;
            while polling.get() == 0 {
                tokio::task::yield_now().await;
            }
            while polling.get() == 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            turn().await;
            assert_eq!(polling.get(), 0);
            drop(hanging);
        }
        task.abort();
    }

    /// Begins with many, and goes on with one at a time while each look finds something.
    #[tokio::test]
    async fn goes_on_with_few_under_way_as_long_as_looks_are_worth_it() {
        let busy_poll = busy_poll(Duration::from_secs(60 * 60));
        let (task, polling) = start(&busy_poll);
        let many: Vec<_> = (0..UNDER_WAY_MIN).map(|_| busy_poll.enter()).collect();
        load(&busy_poll).await;
        while polling.get() == 0 {
            drop(busy_poll.enter());
            tokio::task::yield_now().await;
        }
        drop(many);
        let began = Instant::now();
        while began.elapsed() < 4 * WORTH {
            drop(busy_poll.enter());
            tokio::task::yield_now().await;
            assert_eq!(polling.get(), 1);
        }
        // What comes now and then is well within the stay, but most looks are in vain.
        while polling.get() == 1 {
            drop(busy_poll.enter());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        task.abort();
    }

    #[tokio::test]
    async fn a_stay_of_zero_is_never_and_so_is_one_processor() {
        for never in [BusyPoll::new(Duration::ZERO, 2), BusyPoll::new(Duration::from_secs(1), 1)] {
            let ended = tokio::time::timeout(LASTING, never.run(&Gauge::default())).await;
            ended.unwrap();
        }
    }
}

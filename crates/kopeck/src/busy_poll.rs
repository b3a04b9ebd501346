//! Owns busy polling: while many operations are under way, a thread that speaks HTTP looks for the next
//! request and the next outcome again and again, and does not sleep.
//!
//! A commit takes less time than it costs three threads to sleep and wake for each other, and a thread that
//! slept may find its processor taken. Never: without load, where it would burn a processor to no
//! end; one processor, which the thread that writes needs. Bounds: it ends when for `stay` no operation
//! came while [`UNDER_WAY_MIN`] were under way, so that a disk that hangs is not waited for like that.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// With fewer operations under way there is time to sleep; and at half of the greatest rate a polling thread
/// was seen to make rare waits of 10 ms longer.
const UNDER_WAY_MIN: usize = 40;

/// Knows how many operations are under way, and polls when they are many.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    stay: Duration,
    under_way: AtomicUsize,
    /// How many operations came while many were under way.
    under_load: AtomicU64,
    polling: AtomicBool,
    begin: Notify,
}

/// An operation under way; over when it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'b>(&'b BusyPoll);

impl BusyPoll {
    /// Polls for so long after the newest operation that came under load; zero: never.
    pub(crate) fn new(stay: Duration) -> Self {
        let one = std::thread::available_parallelism().is_ok_and(|all| all.get() == 1);
        Self {
            stay: if one { Duration::ZERO } else { stay },
            under_way: AtomicUsize::new(0),
            under_load: AtomicU64::new(0),
            polling: AtomicBool::new(false),
            begin: Notify::new(),
        }
    }

    /// An operation begins.
    pub(crate) fn enter(&self) -> UnderWay<'_> {
        // Nothing is published by these numbers: a stale one costs a moment of sleep, or of polling.
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        if before + 1 >= UNDER_WAY_MIN {
            self.under_load.fetch_add(1, Ordering::Relaxed);
            if !self.polling.load(Ordering::Relaxed) {
                self.begin.notify_one();
            }
        }
        UnderWay(self)
    }

    /// Polls whenever there is load. Never ends, but for a `stay` of zero.
    pub(crate) async fn run(&self) {
        while !self.stay.is_zero() {
            self.begin.notified().await;
            self.polling.store(true, Ordering::Relaxed);
            self.poll().await;
            self.polling.store(false, Ordering::Relaxed);
        }
    }

    async fn poll(&self) {
        let (mut seen, mut since) = (self.under_load.load(Ordering::Relaxed), Instant::now());
        while since.elapsed() < self.stay {
            // The runtime does all else that there is to do first, and then asks for events without
            // waiting for any.
            tokio::task::yield_now().await;
            let now = self.under_load.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// As on a machine with processors enough, whatever this one has.
    fn busy_poll(stay: Duration) -> Arc<BusyPoll> {
        Arc::new(BusyPoll { stay, ..BusyPoll::new(stay) })
    }

    fn is_polling(busy_poll: &BusyPoll) -> bool {
        busy_poll.polling.load(Ordering::Relaxed)
    }

    /// Lets the polling task have its turn.
    async fn turn() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn polls_only_while_many_are_under_way() {
        let busy_poll = busy_poll(Duration::from_secs(60 * 60));
        let running = Arc::clone(&busy_poll);
        let task = tokio::spawn(async move { running.run().await });
        let mut few: Vec<_> = (1..UNDER_WAY_MIN).map(|_| busy_poll.enter()).collect();
        // One after another is not many at once.
        drop(few.pop());
        few.push(busy_poll.enter());
        turn().await;
        assert!(!is_polling(&busy_poll));
        let many = busy_poll.enter();
        turn().await;
        assert!(is_polling(&busy_poll));
        drop((few, many));
        assert_eq!(busy_poll.under_way.load(Ordering::Relaxed), 0);
        task.abort();
    }

    #[tokio::test]
    async fn sleeps_again_when_nothing_more_comes_and_wakes_for_the_next_load() {
        let busy_poll = busy_poll(Duration::from_millis(1));
        let running = Arc::clone(&busy_poll);
        let task = tokio::spawn(async move { running.run().await });
        for _ in 0..3 {
            // These hang, as they would on a disk that does.
            let hanging: Vec<_> = (0..UNDER_WAY_MIN).map(|_| busy_poll.enter()).collect();
            turn().await;
            while is_polling(&busy_poll) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let polled = busy_poll.under_load.load(Ordering::Relaxed);
            drop(hanging);
            assert!(polled > 0);
        }
        task.abort();
    }

    #[tokio::test]
    async fn a_stay_of_zero_is_never() {
        busy_poll(Duration::ZERO).run().await;
    }
}

//! Owns how a thread makes way for those that somebody waits for: it is nice, and stands still for a
//! moment now and then.
//!
//! Never: standing still for long. Bounds: a pause of [`PAUSE`] after [`WORK`] at the most often, so half
//! of a processor is left to it.
//!
//! Niceness alone is not enough: Linux lets a thread that it has chosen run for some milliseconds, however
//! nice it is, while another waits for that processor.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// On a scale that ends at 19. Linux gives a thread of this niceness a tenth of what it gives others.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// So long a thread in the background works without a pause.
const WORK: Duration = Duration::from_micros(200);

/// Whoever waits for the processor gets it meanwhile.
const PAUSE: Duration = Duration::from_micros(200);

thread_local! {
    /// Since when the thread has worked without a pause, if it is in the background.
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Puts the calling thread into the background. Where the system does not let it be nice, its pauses
/// remain.
pub(crate) fn enter() {
    SINCE.set(Some(Instant::now()));
    // Linux takes the number of a thread for that thread alone; elsewhere niceness is the process's.
    #[cfg(target_os = "linux")]
    {
        let thread = rustix::thread::gettid();
        let _ = rustix::process::setpriority_process(Some(thread), NICENESS);
    }
}

/// To be called often by work that a thread in the background may do. Does nothing on other threads.
pub(crate) fn pause_if_due() {
    if SINCE.get().is_some_and(|since| since.elapsed() >= WORK) {
        std::thread::sleep(PAUSE);
        SINCE.set(Some(Instant::now()));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;
    use rustix::thread::gettid;

    use super::*;

    #[test]
    fn only_the_calling_thread_makes_way() {
        let before = getpriority_process(Some(gettid())).unwrap();
        let inside = std::thread::spawn(|| {
            enter();
            getpriority_process(Some(gettid())).unwrap()
        });
        assert_eq!(inside.join().unwrap(), NICENESS.max(before));
        assert_eq!(getpriority_process(Some(gettid())).unwrap(), before);
    }
}

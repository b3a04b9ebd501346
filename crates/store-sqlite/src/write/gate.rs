//! Owns the moments in which the writer pauses: a gate it passes once a batch, that another shuts.
//!
//! Never: starving whoever wants to shut it. A plain mutex would: a busy writer takes it again
//! before the other has woken up. Bounds: the writer waits only while the gate is shut.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A gate between the writer and whoever needs it to pause.
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    writing: bool,
    shut: bool,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), changed: Condvar::new() }
    }

    /// Runs a batch; waits first while the gate is shut.
    pub(crate) fn pass<T>(&self, batch: impl FnOnce() -> T) -> T {
        let open = self.changed.wait_while(self.lock(), |state| state.shut);
        open.unwrap_or_else(PoisonError::into_inner).writing = true;
        let _leave = OnDrop(|| {
            let mut state = self.lock();
            state.writing = false;
            if state.shut {
                self.changed.notify_all();
            }
        });
        batch()
    }

    /// Runs `pause` between two batches, while the writer waits.
    pub(crate) fn shut<T>(&self, pause: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        // From here on the writer does not begin another batch.
        state.shut = true;
        drop(self.changed.wait_while(state, |state| state.writing));
        let _open = OnDrop(|| {
            self.lock().shut = false;
            self.changed.notify_all();
        });
        pause()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs when it is dropped, also by a panic.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_busy_writer_lets_the_other_in_and_never_runs_beside_it() {
        let gate = Arc::new(Gate::new());
        let inside = Arc::new(AtomicU32::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (gate, inside, stop) = (Arc::clone(&gate), Arc::clone(&inside), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    gate.pass(|| {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            })
        };
        for _ in 0..200 {
            gate.shut(|| {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                std::thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
            });
        }
        stop.store(true, Ordering::SeqCst);
        writer.join().unwrap();
    }
}

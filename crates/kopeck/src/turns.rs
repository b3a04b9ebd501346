//! Owns counting how many turns each one has at a time, so that nobody takes all there are.
//!
//! Never: waiting for a turn. Bounds: who has none is not remembered.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Counts<K> = Mutex<HashMap<K, usize>>;

/// How many turns each one has now.
#[derive(Debug)]
pub(crate) struct Turns<K>(Arc<Counts<K>>);

/// One of somebody's turns; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<K: Eq + Hash> {
    whose: K,
    counts: Arc<Counts<K>>,
}

impl<K: Copy + Eq + Hash> Turns<K> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// One more turn, if who asks has fewer than `turns_max`; that is 1 at least.
    pub(crate) fn take(&self, whose: K, turns_max: usize) -> Option<Turn<K>> {
        let mut counts = lock(&self.0);
        let count = counts.entry(whose).or_default();
        if *count >= turns_max.max(1) {
            return None;
        }
        *count += 1;
        Some(Turn { whose, counts: Arc::clone(&self.0) })
    }
}

impl<K: Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.whose);
            }
        }
    }
}

fn lock<K>(counts: &Counts<K>) -> MutexGuard<'_, HashMap<K, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_one_has_turns_of_their_own_up_to_the_bound() {
        let turns = Turns::new();
        let first = turns.take('a', 2);
        let second = turns.take('a', 2);
        assert!(first.is_some() && second.is_some());
        assert!(turns.take('a', 2).is_none());
        assert!(turns.take('b', 2).is_some());
        drop(first);
        assert!(turns.take('a', 2).is_some());
    }

    #[test]
    fn who_has_none_is_not_remembered() {
        let turns = Turns::new();
        drop(turns.take('a', 0));
        assert!(lock(&turns.0).is_empty());
    }
}

//! Owns the way work reaches a thread: a bounded queue that hands over all that waits at once.
//!
//! Never: waiting to be let in (a full queue refuses), or waiting for a batch to fill. Bounds: the
//! summed weight of what waits, given at the start.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Why an item was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too much is waiting.
    Full,
    /// Nothing is taken in any more.
    Closed,
}

/// A bounded queue with many producers; its consumers take all that waits, up to a weight.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    weight_max: usize,
}

struct State<T> {
    items: VecDeque<(usize, T)>,
    weight: usize,
    consumers_waiting: usize,
    closed: bool,
}

impl<T> State<T> {
    fn hand_over(&mut self, batch: &mut Vec<T>, weight_max: usize) {
        let mut taken = 0;
        while let Some((weight, _)) = self.items.front() {
            if taken > 0 && taken + weight > weight_max {
                break;
            }
            taken += weight;
            batch.extend(self.items.pop_front().map(|(_, item)| item));
        }
        self.weight -= taken;
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(weight_max: usize) -> Self {
        let state =
            State { items: VecDeque::new(), weight: 0, consumers_waiting: 0, closed: false };
        Self { state: Mutex::new(state), ready: Condvar::new(), weight_max }
    }

    /// Appends an item, or says why not. An item heavier than the whole queue is let in when the
    /// queue is empty, or it never would be.
    pub(crate) fn push(&self, weight: usize, item: T) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if !state.items.is_empty() && state.weight + weight > self.weight_max {
            return Err(Refused::Full);
        }
        state.weight += weight;
        state.items.push_back((weight, item));
        let wake = state.consumers_waiting > 0;
        drop(state);
        if wake {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits until something is there, then moves all that waits, up to `weight_max` but at least
    /// one item, to the end of `batch`. False when the queue is closed and empty.
    pub(crate) fn take(&self, batch: &mut Vec<T>, weight_max: usize) -> bool {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return false;
            }
            state.consumers_waiting += 1;
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.consumers_waiting -= 1;
        }
        state.hand_over(batch, weight_max);
        true
    }

    /// The same without waiting, if so much waits already and the first item is one that `suits`. False when
    /// nothing was taken.
    pub(crate) fn take_if(
        &self,
        batch: &mut Vec<T>,
        weight_min: usize,
        weight_max: usize,
        suits: impl Fn(&T) -> bool,
    ) -> bool {
        let mut state = self.lock();
        let takes =
            state.weight >= weight_min && state.items.front().is_some_and(|(_, item)| suits(item));
        if takes {
            state.hand_over(batch, weight_max);
        }
        takes
    }

    /// Lets nothing in any more. What waits is still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
    }

    /// The summed weight of what waits.
    pub(crate) fn weight(&self) -> usize {
        self.lock().weight
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code that can panic runs under the lock, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn hands_over_all_that_waits_up_to_the_weight_in_order() {
        let queue = Queue::new(10);
        for number in 1..=4 {
            queue.push(2, number).unwrap();
        }
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, 5));
        assert_eq!(batch, [1, 2]);
        assert!(queue.take(&mut batch, 100));
        assert_eq!(batch, [1, 2, 3, 4]);
        assert_eq!(queue.weight(), 0);
    }

    #[test]
    fn refuses_when_full_and_takes_again_when_emptied() {
        let queue = Queue::new(3);
        queue.push(2, 'a').unwrap();
        assert_eq!(queue.push(2, 'b'), Err(Refused::Full));
        queue.push(1, 'c').unwrap();
        assert!(queue.take(&mut Vec::new(), 1));
        queue.push(2, 'd').unwrap();
    }

    #[test]
    fn lets_a_giant_in_alone() {
        let queue = Queue::new(3);
        queue.push(5, 'a').unwrap();
        assert_eq!(queue.push(1, 'b'), Err(Refused::Full));
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, 1));
        assert_eq!(batch, ['a']);
    }

    #[test]
    fn takes_ahead_only_what_is_much_and_suits() {
        let queue = Queue::new(100);
        let mut batch = Vec::new();
        let mut take = |weight_min, suits: fn(&char) -> bool| {
            queue.take_if(&mut batch, weight_min, 4, suits);
            batch.drain(..).collect::<String>()
        };
        assert_eq!(take(0, |_| true), "");
        for item in ['a', 'b', 'c'] {
            queue.push(2, item).unwrap();
        }
        assert_eq!(take(7, |_| true), "");
        assert_eq!(take(6, |item| *item != 'a'), "");
        assert_eq!(take(6, |item| *item == 'a'), "ab");
        queue.push(9, 'd').unwrap();
        queue.close();
        assert_eq!(take(1, |_| true), "c");
        assert_eq!(take(1, |_| true), "d");
        assert_eq!(queue.weight(), 0);
    }

    #[test]
    fn closed_hands_out_what_waits_and_then_ends() {
        let queue = Queue::new(3);
        queue.push(1, 'a').unwrap();
        queue.close();
        assert_eq!(queue.push(1, 'b'), Err(Refused::Closed));
        assert!(queue.take(&mut Vec::new(), 1));
        assert!(!queue.take(&mut Vec::new(), 1));
    }

    #[test]
    fn every_item_of_many_producers_arrives_once() {
        let queue = Arc::new(Queue::new(1_000_000));
        let consumer = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let mut all = Vec::new();
                while queue.take(&mut all, 64) {}
                all
            })
        };
        let producers: Vec<_> = (0..4)
            .map(|producer| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || {
                    for number in 0..1_000 {
                        queue.push(1, producer * 1_000 + number).unwrap();
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        queue.close();
        let mut all = consumer.join().unwrap();
        all.sort_unstable();
        assert_eq!(all, (0..4_000).collect::<Vec<_>>());
    }
}

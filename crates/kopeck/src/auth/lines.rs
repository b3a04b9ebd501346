//! Owns the lines in which networks, or sites of them, wait, so that however much one of them asks for, only
//! a few of it stand before everybody else.
//!
//! Never: a wait without end (who waits bounds it), or a network that nobody waits for remembered. Bounds:
//! `places` of a network are let through at a time; as many wait as the throttle has let in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

type Networks = Mutex<HashMap<IpAddr, Line>>;

/// A line for each network that has somebody in it.
#[derive(Debug)]
pub(super) struct Lines {
    networks: Arc<Networks>,
    places: usize,
}

#[derive(Debug)]
struct Line {
    places: Arc<Semaphore>,
    /// How many wait or were let through.
    people: usize,
}

/// One of a network's places; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    // Given back in this order: a line without people has all its places.
    _place: OwnedSemaphorePermit,
    _present: Present,
}

/// Somebody is in a network's line, also when the wait is given up.
#[derive(Debug)]
struct Present {
    network: IpAddr,
    networks: Arc<Networks>,
}

impl Lines {
    /// Lets `places` of each network through at a time; that is 1 at least.
    pub(super) fn new(places: usize) -> Self {
        Self { networks: Arc::default(), places: places.clamp(1, Semaphore::MAX_PERMITS) }
    }

    /// Waits for one of the network's places; who came first goes first.
    pub(super) async fn wait(&self, network: IpAddr) -> Option<Place> {
        let (present, places) = self.join(network);
        let place = places.acquire_owned().await.ok()?;
        Some(Place { _place: place, _present: present })
    }

    fn join(&self, network: IpAddr) -> (Present, Arc<Semaphore>) {
        let mut networks = lock(&self.networks);
        let new = || Line { places: Arc::new(Semaphore::new(self.places)), people: 0 };
        let line = networks.entry(network).or_insert_with(new);
        line.people += 1;
        (Present { network, networks: Arc::clone(&self.networks) }, Arc::clone(&line.places))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut networks = lock(&self.networks);
        if let Some(line) = networks.get_mut(&self.network) {
            line.people -= 1;
            if line.people == 0 {
                networks.remove(&self.network);
            }
        }
    }
}

fn lock(networks: &Networks) -> MutexGuard<'_, HashMap<IpAddr, Line>> {
    networks.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_network_waits_for_its_own_and_nobody_is_remembered() {
        let lines = Lines::new(2);
        let (busy, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = lines.wait(busy).await.unwrap();
        let second = lines.wait(busy).await.unwrap();
        assert!(tokio::time::timeout(MOMENT, lines.wait(busy)).await.is_err());
        let third = lines.wait(other).await.unwrap();
        drop(first);
        let fourth = lines.wait(busy).await.unwrap();
        assert!(tokio::time::timeout(MOMENT, lines.wait(busy)).await.is_err());
        assert_eq!(lock(&lines.networks).len(), 2);
        drop((second, third, fourth));
        assert!(lock(&lines.networks).is_empty());
    }
}

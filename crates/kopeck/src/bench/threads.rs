//! Owns the client's threads: how many, and on which processors they stay.
//!
//! Never: a thread of the server's, which is a process of its own and started by none of them.

use std::io;
use std::path::Path;

use super::document::Document;
use super::options::Client;
use crate::processors::{OfTwo, Processors};

impl Client {
    /// With its place, if nobody said it. With two processors that is the one to which the interrupts of
    /// the disk that has `dir` come, where the server's writer is woken too; the server's busiest thread
    /// has the other. With more, there is room enough for both.
    pub(super) fn placed(&self, dir: &Path) -> Self {
        let place = || OfTwo::of(dir).map(|two| two.interrupted).unwrap_or_default();
        let processors = self.client_processors.clone().unwrap_or_else(place);
        Self { client_processors: Some(processors), ..self.clone() }
    }

    /// Somewhere else, anywhere: one more client, which is not to be in this one's way.
    pub(super) fn anywhere(&self) -> Self {
        Self { client_processors: None, ..self.clone() }
    }

    /// How many: if nobody says it, one keeps up with three processors of server.
    pub(super) fn threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.client_threads.unwrap_or(processors.div_ceil(4)).max(1)
    }

    /// Keeps the calling thread where the client's threads are to be.
    pub(super) fn stay(&self) -> io::Result<()> {
        self.client_processors.as_ref().map_or(Ok(()), Processors::stay)
    }

    /// Says where they are.
    pub(super) fn describe(&self, document: &mut Document) {
        let processors = self.client_processors.clone().unwrap_or_default();
        let listed = processors.numbers().iter().map(usize::to_string).collect::<Vec<_>>();
        let listed = (!listed.is_empty()).then(|| listed.join(", "));
        document.set("client", place(listed.as_deref()));
    }
}

/// Where threads are, in words.
pub(super) fn place(processors: Option<&str>) -> String {
    match processors {
        None => "on any processor".to_owned(),
        Some(listed) => format!("kept to processor {listed}"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_was_said_that_the_client_is_to_be() {
        let last = Processors::allowed().numbers().last().unwrap().to_string();
        let client_processors: Option<Processors> = Some(last.parse().unwrap());
        let chosen = Client { client_threads: None, client_processors: client_processors.clone() };
        let placed = chosen.placed(Path::new("nowhere"));
        assert_eq!(placed.client_processors, client_processors);
        let there = std::thread::spawn(move || {
            placed.stay().unwrap();
            Processors::allowed()
        });
        assert_eq!(Some(there.join().unwrap()), client_processors);
    }

    #[test]
    fn nobody_is_kept_where_they_may_be_on_any() {
        let before = Processors::allowed();
        let any = Client { client_threads: None, client_processors: Some("any".parse().unwrap()) };
        let home = tempfile::tempdir().unwrap();
        for free in [any.placed(home.path()), any.anywhere()] {
            free.stay().unwrap();
            assert_eq!(Processors::allowed(), before);
        }
    }

    #[test]
    fn by_default_it_is_one_of_two_or_any() {
        let home = tempfile::tempdir().unwrap();
        let client = Client { client_threads: None, client_processors: None };
        let placed = client.placed(home.path()).client_processors.unwrap();
        let all = Processors::allowed();
        assert!(placed.numbers().len() <= usize::from(all.numbers().len() == 2));
        assert!(placed.numbers().iter().all(|processor| all.numbers().contains(processor)));
    }
}

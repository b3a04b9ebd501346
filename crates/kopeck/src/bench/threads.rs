//! Owns the client's threads: how many, and on which processors they stay.
//!
//! Never: a thread of the server's, which is a process of its own and started by none of them. Bounds:
//! processors are chosen on Linux only; elsewhere that is an error.

use std::io;

use super::document::Document;
use super::options::Client;

impl Client {
    /// How many: if nobody says it, one keeps up with three processors of server.
    pub(super) fn threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.client_threads.unwrap_or(processors.div_ceil(4)).max(1)
    }

    /// Keeps the calling thread where the client's threads are to be.
    pub(super) fn stay(&self) -> io::Result<()> {
        let processors = &self.client_processors;
        if processors.is_empty() { Ok(()) } else { stay_on(processors) }
    }

    /// Says where they are if that is not as usual.
    pub(super) fn describe(&self, document: &mut Document) {
        if !self.client_processors.is_empty() {
            document.set("client", format!("kept to processors {:?}", self.client_processors));
        }
    }
}

/// The number of a processor on which a thread of ours may stay: one tries it.
pub(super) fn parse_processor(text: &str) -> Result<usize, String> {
    let processor = text.parse::<usize>().map_err(|error| error.to_string())?;
    let tried = std::thread::spawn(move || stay_on(&[processor])).join();
    match tried.unwrap_or_else(|_| Err(io::ErrorKind::Other.into())) {
        Ok(()) => Ok(processor),
        Err(error) => Err(format!("no thread can stay on this processor: {error}")),
    }
}

#[cfg(target_os = "linux")]
fn stay_on(processors: &[usize]) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    for &processor in processors {
        if processor >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(processor);
    }
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(not(target_os = "linux"))]
fn stay_on(_: &[usize]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::thread::{CpuSet, sched_getaffinity};

    use super::*;

    fn allowed() -> rustix::io::Result<Vec<usize>> {
        let set = sched_getaffinity(None)?;
        Ok((0..CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect())
    }

    #[test]
    fn a_thread_stays_where_it_was_asked_to_and_no_other_does() {
        let before = allowed().unwrap();
        let last = *before.last().unwrap();
        let client_processors = vec![parse_processor(&last.to_string()).unwrap()];
        let chosen = Client { client_threads: None, client_processors };
        let there = std::thread::spawn(move || {
            chosen.stay().unwrap();
            allowed().unwrap()
        });
        assert_eq!(there.join().unwrap(), [last]);
        assert_eq!(allowed().unwrap(), before);
    }

    #[test]
    fn processors_that_are_not_there_are_refused() {
        for none in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX] {
            let error = parse_processor(&none.to_string()).unwrap_err();
            assert!(error.starts_with("no thread can stay on this processor: "), "{error}");
        }
        for text in ["", "-1", "0-1", "first"] {
            assert!(parse_processor(text).is_err(), "{text}");
        }
    }
}

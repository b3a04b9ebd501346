//! Owns the client's threads: how many, and on which processors they stay.
//!
//! Never: a thread of the server's, which is a process of its own and started by none of them. Bounds:
//! processors are chosen on Linux only; elsewhere that is an error.

use std::io;
use std::path::Path;
use std::str::FromStr;

use super::document::Document;
use super::interrupts::processor_of_the_disk;
use super::options::Client;

/// On which processors a thread may be; none of them: on any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Processors(Vec<usize>);

impl FromStr for Processors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::default());
        }
        text.split(',').map(parse_processor).collect::<Result<_, _>>().map(Self)
    }
}

impl Client {
    /// With its place, if nobody said it. With two processors that is the one to which the interrupts of
    /// the disk that has `dir` come, where the server's writer is woken too: the server's busiest thread
    /// then has the other, as it would if the client were elsewhere. With more, there is room enough for
    /// both.
    pub(super) fn placed(&self, dir: &Path) -> Self {
        let place = || Processors(interrupted_of_two(dir).into_iter().collect());
        let processors = self.client_processors.clone().unwrap_or_else(place);
        Self { client_processors: Some(processors), ..self.clone() }
    }

    /// Somewhere else, anywhere: one more client, which is not to be in this one's way.
    pub(super) fn anywhere(&self) -> Self {
        Self { client_processors: None, ..self.clone() }
    }

    fn processors(&self) -> &[usize] {
        self.client_processors.as_ref().map_or(&[], |processors| &processors.0)
    }

    /// How many: if nobody says it, one keeps up with three processors of server.
    pub(super) fn threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.client_threads.unwrap_or(processors.div_ceil(4)).max(1)
    }

    /// Keeps the calling thread where the client's threads are to be.
    pub(super) fn stay(&self) -> io::Result<()> {
        let processors = self.processors();
        if processors.is_empty() { Ok(()) } else { stay_on(processors) }
    }

    /// Says where they are.
    pub(super) fn describe(&self, document: &mut Document) {
        let listed = self.processors().iter().map(usize::to_string).collect::<Vec<_>>();
        document.set(
            "client",
            match listed.as_slice() {
                [] => "on any processor".to_owned(),
                listed => format!("kept to processor {}", listed.join(", ")),
            },
        );
    }
}

/// The one of two processors to which the disk's interrupts come, whichever of them asks it.
fn interrupted_of_two(dir: &Path) -> Option<usize> {
    let two: [usize; 2] = allowed().ok()?.try_into().ok()?;
    let [from_one, from_other] = two.map(|processor| {
        let asked = || stay_on(&[processor]).ok().and_then(|()| processor_of_the_disk(dir));
        std::thread::scope(|scope| scope.spawn(asked).join().ok().flatten())
    });
    from_one.filter(|found| two.contains(found) && from_other == Some(*found))
}

/// The number of a processor on which a thread of ours may stay: one tries it.
fn parse_processor(text: &str) -> Result<usize, String> {
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

/// The processors on which this thread may be.
#[cfg(target_os = "linux")]
fn allowed() -> io::Result<Vec<usize>> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect())
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> io::Result<Vec<usize>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn stay_on(_: &[usize]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::thread::CpuSet;

    use super::*;

    #[test]
    fn a_thread_stays_where_it_was_asked_to_and_no_other_does() {
        let before = allowed().unwrap();
        let last = *before.last().unwrap();
        let client_processors = Some(last.to_string().parse().unwrap());
        let chosen = Client { client_threads: None, client_processors };
        assert_eq!(chosen.placed(Path::new("nowhere")).processors(), [last], "it was said");
        let there = std::thread::spawn(move || {
            chosen.stay().unwrap();
            allowed().unwrap()
        });
        assert_eq!(there.join().unwrap(), [last]);
        assert_eq!(allowed().unwrap(), before);
    }

    #[test]
    fn nobody_is_kept_where_they_may_be_on_any() {
        let before = allowed().unwrap();
        let any = Client { client_threads: None, client_processors: Some("any".parse().unwrap()) };
        let home = tempfile::tempdir().unwrap();
        for free in [any.placed(home.path()), any.anywhere()] {
            free.stay().unwrap();
            assert_eq!(allowed().unwrap(), before);
        }
    }

    #[test]
    fn by_default_it_is_one_of_two_or_any() {
        let home = tempfile::tempdir().unwrap();
        let client = Client { client_threads: None, client_processors: None };
        let placed = client.placed(home.path());
        let all = allowed().unwrap();
        assert!(placed.processors().len() <= usize::from(all.len() == 2));
        assert!(placed.processors().iter().all(|processor| all.contains(processor)));
        assert!(std::fs::read_dir(home.path()).unwrap().next().is_none(), "nothing is left behind");
    }

    #[test]
    fn processors_that_are_not_there_are_refused() {
        for none in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX] {
            let error = parse_processor(&none.to_string()).unwrap_err();
            assert!(error.starts_with("no thread can stay on this processor: "), "{error}");
        }
        for text in ["", "-1", "0-1", "first", "0,", "0,any", "Any"] {
            assert!(text.parse::<Processors>().is_err(), "{text}");
        }
    }
}

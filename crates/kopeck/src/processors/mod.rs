//! Owns on which processors a thread may be, and which of two the disk interrupts.
//!
//! Never: another thread than the one that calls. Bounds: processors are chosen on Linux only; elsewhere that
//! is an error.

mod interrupts;

use std::path::Path;
use std::str::FromStr;
use std::{fmt, io};

use self::interrupts::processor_of_the_disk;

/// On which processors a thread may be; none of them: on any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Processors(Vec<usize>);

impl FromStr for Processors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::default());
        }
        text.split(',').map(parse_processor).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("any");
        }
        f.write_str(&self.0.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
    }
}

impl Processors {
    /// All on which the calling thread may be; none where that is not known.
    pub(crate) fn allowed() -> Self {
        Self(allowed().unwrap_or_default())
    }

    /// Keeps the calling thread to these, and whoever it starts from now on.
    pub(crate) fn stay(&self) -> io::Result<()> {
        if self.0.is_empty() { Ok(()) } else { stay_on(&self.0) }
    }

    /// Those that are not among the others.
    pub(crate) fn without(&self, others: &Self) -> Self {
        let left = self.0.iter().filter(|processor| !others.0.contains(processor));
        Self(left.copied().collect())
    }

    /// Their numbers, from 0.
    pub(crate) fn numbers(&self) -> &[usize] {
        &self.0
    }
}

/// Two processors, of which the disk interrupts one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfTwo {
    /// What waits for the disk is woken here.
    pub(crate) interrupted: Processors,
    pub(crate) other: Processors,
}

impl OfTwo {
    /// The two on which the calling thread may be, if they are two, and the disk that has `dir` interrupts
    /// the same one whichever of them asks it.
    pub(crate) fn of(dir: &Path) -> Option<Self> {
        let two: [usize; 2] = allowed().ok()?.try_into().ok()?;
        let [from_one, from_other] = two.map(|processor| {
            let asked = || stay_on(&[processor]).ok().and_then(|()| processor_of_the_disk(dir));
            std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().spawn_scoped(scope, asked).ok()?;
                thread.join().ok().flatten()
            })
        });
        let interrupted = from_one.filter(|_| from_one == from_other)?;
        let other = two.into_iter().find(|&processor| processor != interrupted)?;
        let one = |processor| Processors(vec![processor]);
        two.contains(&interrupted)
            .then(|| Self { interrupted: one(interrupted), other: one(other) })
    }
}

/// The number of a processor on which a thread of ours may stay: one tries it.
fn parse_processor(text: &str) -> Result<usize, String> {
    let processor = text.parse::<usize>();
    let processor = processor.map_err(|_| format!("`{text}` is no processor's number"))?;
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
        let before = Processors::allowed();
        let last = *before.numbers().last().unwrap();
        let chosen: Processors = last.to_string().parse().unwrap();
        let there = std::thread::spawn(move || {
            chosen.stay().unwrap();
            Processors::allowed()
        });
        assert_eq!(there.join().unwrap().numbers(), [last]);
        assert_eq!(Processors::allowed(), before);
    }

    #[test]
    fn nobody_is_kept_where_they_may_be_on_any() {
        let before = Processors::allowed();
        let any: Processors = "any".parse().unwrap();
        any.stay().unwrap();
        assert_eq!(Processors::allowed(), before);
    }

    #[test]
    fn of_two_each_is_one_and_nothing_is_left_behind() {
        let home = tempfile::tempdir().unwrap();
        let before = Processors::allowed();
        if let Some(OfTwo { interrupted, other }) = OfTwo::of(home.path()) {
            let mut both = [interrupted.numbers(), other.numbers()].concat();
            both.sort_unstable();
            assert_eq!(both, before.numbers());
        }
        assert_eq!(Processors::allowed(), before);
        assert!(std::fs::read_dir(home.path()).unwrap().next().is_none());
        assert_eq!(OfTwo::of(Path::new("nowhere")), None);
        let one = std::thread::spawn(move || {
            Processors(vec![before.numbers()[0]]).stay().unwrap();
            OfTwo::of(home.path())
        });
        assert_eq!(one.join().unwrap(), None, "one is not two");
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

//! Owns the threads that speak HTTP: how many there are, which runtime they run, and where the only one stays.
//!
//! Never: another thread kept there, such as one that hashes passwords: whatever else the runtime starts may be
//! wherever this process may. Bounds: one thread stays; several are where the system puts them.
//!
//! With two processors the system likes to put the client, the thread that writes and this one on the processor
//! that the disk interrupts, since each of them wakes the next, while the other one idles: answers then
//! wait for a processor, and seldom for the disk.

use std::fmt;
use std::num::NonZero;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::runtime::{Builder, Runtime};

use crate::processors::{OfTwo, Processors};

/// The name of the only one.
pub(crate) const NAME: &str = "kopeck-http";

/// How long a start looks at most for the processor that the disk interrupts: it takes a tenth of a second, but a
/// disk may hang.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// How long what still runs may take when the service is done.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// Where the only one is to stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// With two processors, of which the disk interrupts one, on the other; else anywhere.
    Auto,
    /// Where somebody said.
    On(Processors),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::On) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::On(these) => these.fmt(f),
        }
    }
}

impl Place {
    /// Whether it names processors: then it is for one thread.
    pub(crate) fn is_for_one(&self) -> bool {
        matches!(self, Self::On(these) if !these.numbers().is_empty())
    }
}

/// The threads that speak HTTP.
#[derive(Debug)]
pub(crate) struct HttpThreads {
    processors: usize,
    count: usize,
    place: Place,
    /// Whether one was put somewhere. Until then every thread is left alone, and goes where the process
    /// goes.
    put: Arc<AtomicBool>,
}

impl HttpThreads {
    /// So many; 0 leaves a processor to the thread that writes.
    pub(crate) fn new(count: usize, place: Place) -> anyhow::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let count = match count {
            0 => processors.max(2) - 1,
            count => count,
        };
        ensure!(
            count == 1 || !place.is_for_one(),
            "--http-processors is for one thread, and there are {count}: see --http-threads"
        );
        Ok(Self { processors, count, place, put: Arc::default() })
    }

    /// How many processors the process may use. Whoever asks the system from the thread that stays is told of one.
    pub(crate) fn processors(&self) -> usize {
        self.processors
    }

    /// Runs the service on them until it is done, and whatever is still there then for a second at most. The only
    /// thread has nobody to share its tasks with, and a runtime that knows it; of several, this one waits.
    pub(crate) fn run<F: Future<Output: Send>>(
        &self,
        service: impl FnOnce() -> F + Send,
    ) -> anyhow::Result<F::Output> {
        let runtime = self.runtime()?;
        let done = if self.count == 1 {
            let only = std::thread::Builder::new().name(NAME.to_owned());
            std::thread::scope(|scope| {
                let only = only.spawn_scoped(scope, || runtime.block_on(service()))?;
                only.join().map_err(|_| anyhow!("the thread that speaks HTTP panicked"))
            })?
        } else {
            runtime.block_on(service())
        };
        runtime.shutdown_timeout(SHUTDOWN_MAX);
        Ok(done)
    }

    fn runtime(&self) -> std::io::Result<Runtime> {
        let all = Processors::allowed();
        let put = Arc::clone(&self.put);
        let mut builder = match self.count {
            1 => Builder::new_current_thread(),
            count => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(count);
                builder
            }
        };
        builder
            // A thread begins where the one that started it stays.
            .on_thread_start(move || {
                if put.load(Ordering::SeqCst) {
                    drop(all.stay());
                }
            })
            .enable_all()
            .build()
    }

    /// Keeps the only thread of the runtime that calls where it is to stay, and tells which processors are left to
    /// others. `dir` is on the disk that counts.
    pub(crate) async fn stay(&self, dir: &Path) -> anyhow::Result<Processors> {
        let any = Processors::default();
        let place = match &self.place {
            Place::On(these) => these.clone(),
            Place::Auto if self.count == 1 => {
                let dir = dir.to_owned();
                let looked = tokio::task::spawn_blocking(move || OfTwo::of(&dir));
                let found = tokio::time::timeout(LOOK_MAX, looked).await;
                let found = found.ok().and_then(Result::ok).flatten();
                found.map(|two| two.other).unwrap_or_default()
            }
            Place::Auto => return Ok(any),
        };
        if place.numbers().is_empty() {
            tracing::info!("the thread that speaks HTTP may be on any processor");
            return Ok(any);
        }
        let all = Processors::allowed();
        let processors = place.numbers().to_vec();
        // This thread is the one, and starts no other before this is done.
        let stayed = place.stay();
        self.put.store(stayed.is_ok(), Ordering::SeqCst);
        if self.place != Place::Auto {
            stayed.context("cannot keep the thread for HTTP to a processor")?;
        } else if stayed.is_err() {
            return Ok(any);
        }
        tracing::info!(?processors, "the thread that speaks HTTP stays where it was put");
        Ok(all.without(&place))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    async fn of_the_one() -> Option<Processors> {
        tokio::spawn(async { Processors::allowed() }).await.ok()
    }

    #[test]
    fn the_only_thread_stays_and_what_it_starts_does_not() {
        let all = Processors::allowed();
        let (last, others) = all.numbers().split_last().unwrap();
        let last: Place = last.to_string().parse().unwrap();
        let threads = HttpThreads::new(1, last.clone()).unwrap();
        let done = threads.run(async || {
            assert_eq!(of_the_one().await, Some(all.clone()));
            let left = threads.stay(Path::new("nowhere")).await.unwrap();
            assert_eq!(left.numbers(), others);
            assert_eq!(of_the_one().await.map(Place::On), Some(last));
            let started = tokio::spawn(async {
                tokio::task::spawn_blocking(Processors::allowed).await.unwrap()
            });
            assert_eq!(started.await.unwrap(), all);
        });
        done.unwrap();
        assert_eq!(Processors::allowed(), all);
    }

    #[test]
    fn by_itself_it_stays_on_one_of_two_or_nowhere() {
        let home = tempfile::tempdir().unwrap();
        let all = Processors::allowed();
        for (count, dir) in [(1, home.path()), (1, Path::new("nowhere")), (2, home.path())] {
            let threads = HttpThreads::new(count, Place::Auto).unwrap();
            let (left, stays) = threads
                .run(async || (threads.stay(dir).await.unwrap(), of_the_one().await.unwrap()))
                .unwrap();
            if stays == all {
                assert_eq!(left, Processors::default());
            } else {
                assert!(count == 1 && dir == home.path() && all.numbers().len() == 2);
                assert_eq!((stays.numbers().len(), left), (1, all.without(&stays)));
            }
        }
    }

    #[test]
    fn several_threads_are_not_kept_to_a_processor() {
        let one = Place::On("0".parse().unwrap());
        let error = HttpThreads::new(2, one.clone()).unwrap_err().to_string();
        assert!(error.contains("there are 2"), "{error}");
        assert!(HttpThreads::new(1, one).is_ok());
        assert!(HttpThreads::new(2, "any".parse().unwrap()).is_ok());
        assert!("somewhere".parse::<Place>().is_err());
        for text in ["auto", "any", "0"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
    }
}

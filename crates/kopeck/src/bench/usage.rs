//! Owns what the system says of a process: what it has used, and where a thread of it is kept.
//!
//! Never: a guess. Where the system has no `/proc`, the figures are not there. Bounds: three small
//! files a reading.

use std::time::Duration;

use store_sqlite::COPIES_A_CHECKPOINT;

/// Linux counts processor time in hundredths of a second for everybody who asks.
const TICKS_PER_SECOND: u64 = 100;

/// What was used up to some moment; the difference of two is what was used between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processor time, of the program and of the system for it.
    pub(super) processor: Option<Duration>,
    /// Bytes that went to the disk (`write_bytes` less `cancelled_write_bytes`).
    pub(super) written_bytes: Option<u64>,
    /// Commits of the engine: one fsync of the log each.
    pub(super) commits: Option<u64>,
    /// Checkpoints of the engine.
    pub(super) checkpoints: Option<u64>,
}

/// The system's name for this process.
pub(super) const SELF: &str = "self";

impl Usage {
    /// Reads what the process has used; what the engine counts is not known here.
    pub(super) fn of(process: &str) -> Self {
        Self {
            processor: read(process, "stat").as_deref().and_then(processor),
            written_bytes: read(process, "io").as_deref().and_then(|text| {
                let cancelled = field(text, "cancelled_write_bytes:").unwrap_or(0);
                field(text, "write_bytes:").map(|written| written.saturating_sub(cancelled))
            }),
            commits: None,
            checkpoints: None,
        }
    }

    /// What was used since an earlier reading.
    pub(super) fn since(self, earlier: Self) -> Self {
        fn less<T>(now: Option<T>, then: Option<T>, less: fn(T, T) -> T) -> Option<T> {
            Some(less(now?, then?))
        }
        Self {
            processor: less(self.processor, earlier.processor, Duration::saturating_sub),
            written_bytes: less(self.written_bytes, earlier.written_bytes, u64::saturating_sub),
            commits: less(self.commits, earlier.commits, u64::saturating_sub),
            checkpoints: less(self.checkpoints, earlier.checkpoints, u64::saturating_sub),
        }
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        fn sum<T: std::ops::Add<Output = T>>(one: Option<T>, other: Option<T>) -> Option<T> {
            Some(one? + other?)
        }
        Self {
            processor: sum(self.processor, other.processor),
            written_bytes: sum(self.written_bytes, other.written_bytes),
            commits: sum(self.commits, other.commits),
            checkpoints: sum(self.checkpoints, other.checkpoints),
        }
    }

    /// Fsyncs of the engine: one a commit, and [`CHECKPOINT_FSYNCS`] a checkpoint.
    pub(super) fn fsyncs(self) -> Option<u64> {
        Some(self.commits? + CHECKPOINT_FSYNCS * self.checkpoints?)
    }
}

/// A checkpoint copies the log in parts, and syncs the log before each and the data file after it; then the
/// rest with the gate shut, and the log's head when it starts again. Fewer where parts run together, more
/// where the log grows meanwhile.
pub(super) const CHECKPOINT_FSYNCS: u64 = 2 * COPIES_A_CHECKPOINT + 3;

/// The most memory that a process ever had at a time, in bytes.
pub(super) fn memory_peak_bytes(process: &str) -> Option<u64> {
    field(&read(process, "status")?, "VmHWM:").map(|kib| kib * 1_024)
}

/// The processors to which a process's thread of this name is kept, of all on which the process may be.
pub(super) fn kept_to(process: &str, name: &str) -> Option<String> {
    let processors = |file: &str| {
        let status = read(process, file)?;
        word(&status, "Cpus_allowed_list:").map(str::to_owned)
    };
    let all = processors("status")?;
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let mut threads = threads.map(|thread| format!("task/{}", thread.file_name().display()));
    let named = |thread: &String| {
        read(process, &format!("{thread}/comm")).is_some_and(|comm| comm.trim_end() == name)
    };
    let some = processors(&format!("{}/status", threads.find(named)?))?;
    (some != all).then_some(some)
}

fn read(process: &str, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{process}/{file}")).ok()
}

/// The 14th and 15th field of `stat`, counted behind the name, which may have blanks in it.
fn processor(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND))
}

/// Time as the system counts it.
pub(super) fn ticks(time: Duration) -> u64 {
    (time.as_secs_f64() * TICKS_PER_SECOND as f64) as u64
}

fn field(text: &str, name: &str) -> Option<u64> {
    word(text, name)?.parse().ok()
}

/// What stands behind a name, up to the next blank.
fn word<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_as_the_system_writes_them() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(processor(stat), Some(Duration::from_secs(3)));
        let io = "rchar: 1\nwchar: 2\nwrite_bytes: 4096\ncancelled_write_bytes: 96\n";
        assert_eq!(field(io, "write_bytes:"), Some(4_096));
        assert_eq!(field(io, "cancelled_write_bytes:"), Some(96));
        assert_eq!(field("VmHWM:\t  12 kB\n", "VmHWM:"), Some(12));
        assert_eq!(field(io, "read_bytes:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_is_kept_to_a_processor_is_found() {
        use std::sync::mpsc::channel;

        use crate::processors::Processors;

        let last = Processors::allowed().numbers().last().unwrap().to_string();
        let (ready, when_ready) = channel();
        let (done, when_done) = channel::<()>();
        let one: Processors = last.parse().unwrap();
        let stays = move || {
            one.stay().unwrap();
            ready.send(()).unwrap();
            when_done.recv().unwrap_err();
        };
        let thread = std::thread::Builder::new().name("stays".to_owned()).spawn(stays).unwrap();
        when_ready.recv().unwrap();
        let found = kept_to(SELF, "stays");
        drop(done);
        thread.join().unwrap();
        let several = Processors::allowed().numbers().len() > 1;
        assert_eq!(found, several.then_some(last));
        assert_eq!(kept_to(SELF, "no such thread"), None);
        assert_eq!(kept_to("no such process", "stays"), None);
    }

    #[test]
    fn what_is_not_known_stays_so() {
        let known = Usage {
            processor: Some(Duration::from_secs(3)),
            written_bytes: Some(10),
            commits: Some(4),
            checkpoints: Some(2),
        };
        let earlier = Usage { processor: Some(Duration::from_secs(1)), ..Usage::default() };
        let since = known.since(earlier);
        assert_eq!(since.processor, Some(Duration::from_secs(2)));
        assert_eq!((since.written_bytes, since.fsyncs()), (None, None));
        assert_eq!(known.fsyncs(), Some(4 + 2 * CHECKPOINT_FSYNCS));
        assert_eq!(Usage::of("no such process"), Usage::default());
    }
}

//! Owns what the machine's processors did for others while something was measured.
//!
//! Never: a guess. Where the system has no `/proc/stat`, the figures are not there. Bounds: one small file a
//! reading.

use std::time::Duration;

use super::usage::ticks;

/// What all processors together have done up to some moment, in the system's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    /// Everything, doing nothing too.
    all: u64,
    /// Programs, and the system for them and for itself, without interrupts.
    busy: u64,
    /// Time that the host of a virtual machine did not give it, though it had something to do.
    stolen: u64,
}

/// Shares of all the processors' time that whatever was measured did not have.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Taken {
    /// What other programs and the system's own threads used.
    pub(super) by_others: Option<f64>,
    /// What the host of a virtual machine kept.
    pub(super) by_host: Option<f64>,
}

impl Machine {
    /// As it is now.
    pub(super) fn now() -> Option<Self> {
        Self::read(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// The line of all processors: user, nice, system, idle, iowait, irq, softirq, steal; what guests of its
    /// own had is in the first two already.
    fn read(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let fields = line.split_whitespace().map(str::parse);
        let fields = fields.collect::<Result<Vec<u64>, _>>().ok()?;
        let [user, nice, system, _, _, _, _, stolen] = *fields.first_chunk()?;
        let all = fields.iter().take(8).sum();
        Some(Self { all, busy: user + nice + system, stolen })
    }
}

impl Taken {
    /// From a moment until now, in which those who are measured used so much.
    pub(super) fn since(before: Option<Machine>, own: Option<Duration>) -> Self {
        Self::between((before, Machine::now()), own)
    }

    fn between((before, after): (Option<Machine>, Option<Machine>), own: Option<Duration>) -> Self {
        let (Some(before), Some(after)) = (before, after) else { return Self::default() };
        let all = after.all.saturating_sub(before.all);
        let share = |ticks: u64| (all > 0).then(|| ticks as f64 / all as f64);
        let busy = after.busy.saturating_sub(before.busy);
        Self {
            by_others: own.and_then(|own| share(busy.saturating_sub(ticks(own)))),
            by_host: share(after.stolen.saturating_sub(before.stolen)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_ours_was_taken() {
        let before = Machine::read("cpu  100 10 50 800 20 5 15 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n");
        let after = Machine::read("cpu  180 20 80 900 20 10 30 60 0 0\n");
        assert_eq!(before, Some(Machine { all: 1_000, busy: 160, stolen: 0 }));
        let taken = |own| Taken::between((before, after), own);
        let shares = |by_others, by_host| Taken { by_others, by_host };
        assert_eq!(taken(Some(Duration::from_secs(1))), shares(Some(20.0 / 300.0), Some(0.2)));
        // The system counts a process and all of them in different ways: less than nothing is nothing.
        assert_eq!(taken(Some(Duration::from_secs(2))), shares(Some(0.0), Some(0.2)));
        assert_eq!(taken(None), shares(None, Some(0.2)));
        assert_eq!(Taken::between((None, after), Some(Duration::ZERO)), Taken::default());
        assert_eq!(Taken::between((after, after), Some(Duration::ZERO)), Taken::default());
        for stat in ["", "cpu  1 2 3\n", "cpu  a 2 3 4 5 6 7 8\n"] {
            assert_eq!(Machine::read(stat), None, "{stat}");
        }
    }
}

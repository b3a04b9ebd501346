//! Owns which processor the interrupts of the disk come to: what waits for the disk is woken there.
//!
//! Never: a guess from names. Some small writes are synced, and the line of `/proc/interrupts` that grew
//! most is the disk's. A disk may have a line for each processor that asks it, so this is only what
//! interrupts the one that calls. Bounds: [`SYNCS`] of them, or as many as begin in [`TIME`], into a file
//! without a name; Linux.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// So many are told from what else happens meanwhile.
const SYNCS: u64 = 64;
/// A disk that takes longer for them tells nothing: whoever waits for it has time anyway.
const TIME: Duration = Duration::from_millis(100);

/// The processor, if one takes them all, or nearly, when the disk is asked from where this runs.
pub(super) fn processor_of_the_disk(dir: &Path) -> Option<usize> {
    let before = std::fs::read_to_string("/proc/interrupts").ok()?;
    sync_often(dir).ok()?;
    let after = std::fs::read_to_string("/proc/interrupts").ok()?;
    busiest(&before, &after)
}

fn sync_often(dir: &Path) -> std::io::Result<()> {
    let mut file = tempfile::tempfile_in(dir)?;
    let began = Instant::now();
    for _ in 0..SYNCS {
        file.write_all(b"interrupts")?;
        file.sync_all()?;
        if began.elapsed() > TIME {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Of the line that grew most, and by [`SYNCS`] at least, the processor for which it grew, if that is
/// nearly all.
fn busiest(before: &str, after: &str) -> Option<usize> {
    let old = |name: &str| counts(before).find(|(other, _)| *other == name);
    let grown = counts(after).map(|(name, now)| {
        let then = old(name).map(|(_, then)| then).unwrap_or_default();
        let less =
            |(column, now): (usize, u64)| now - then.get(column).copied().unwrap_or(0).min(now);
        now.into_iter().enumerate().map(less).collect::<Vec<_>>()
    });
    let line = grown.max_by_key(|line| line.iter().sum::<u64>())?;
    let all = line.iter().sum::<u64>();
    let (column, most) = line.into_iter().enumerate().max_by_key(|(_, count)| *count)?;
    let processor = after.lines().next()?.split_whitespace().nth(column)?;
    let processor = processor.strip_prefix("CPU")?.parse().ok();
    processor.filter(|_| most >= SYNCS && most * 10 >= all * 9)
}

/// Devices' lines have numbers for names: how often each came to each processor. Others, such as the
/// timer's, belong to every processor.
fn counts(text: &str) -> impl Iterator<Item = (&str, Vec<u64>)> {
    text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let name = name.trim();
        name.bytes().all(|byte| byte.is_ascii_digit()).then(|| {
            (name, rest.split_whitespace().map_while(|count| count.parse().ok()).collect())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interrupts(disk: [u64; 2], network: [u64; 2]) -> String {
        format!(
            "           CPU0       CPU1\n 36:          {}       {}  PCI-MSIX  virtio1-req.0\n \
             38:          {}          {}  PCI-MSIX  virtio2-input.0\nLOC:      {}      70000   Local timer\n",
            disk[0],
            disk[1],
            network[0],
            network[1],
            100_000 + 10 * disk[1],
        )
    }

    #[test]
    fn it_is_the_one_whose_devices_line_grew_most() {
        let before = interrupts([5, 5_000], [9_000, 0]);
        let found = |disk, network| busiest(&before, &interrupts(disk, network));
        assert_eq!(found([5, 5_128], [9_030, 0]), Some(1));
        assert_eq!(found([133, 5_001], [9_030, 0]), Some(0));
        let other = interrupts([5, 5_128], [9_030, 0]).replace("CPU1", "CPU3");
        assert_eq!(busiest(&before, &other), Some(3), "not all of them are there");
    }

    #[test]
    fn it_is_none_when_no_line_tells() {
        let before = interrupts([5, 5_000], [9_000, 0]);
        let found = |disk, network| busiest(&before, &interrupts(disk, network));
        assert_eq!(found([5, 5_000], [9_000, 0]), None, "no interrupt at all");
        assert_eq!(found([5, 5_040], [9_030, 0]), None, "too few");
        assert_eq!(found([69, 5_064], [9_000, 0]), None, "to both of them");
        assert_eq!(busiest(&before, ""), None);
        assert_eq!(busiest(&before, "36:\n37: x\nnothing"), None);
    }
}

//! Owns the question what this machine can do to a service: which faults can be made here at all.
//!
//! Never: a fault quietly left out. What is missing is named, and the campaign counts as skipped.
//! Bounds: each question is asked of the machine itself, in a temporary directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::disk::{PowerDisk, SmallDisk};

/// Something that a fault needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A disk whose power can be cut: root, loop devices, ext4, `xfs_io`.
    PowerDisk,
    /// A disk that can be filled: root.
    SmallDisk,
    /// System calls that fail: `strace`, and the right to trace.
    Strace,
    /// A clock of the process's own: libfaketime.
    Faketime,
}

/// Why the machine cannot serve one of these needs; `None` if it can serve all.
#[must_use]
pub fn lacks(needs: &[Need], work_dir: &Path) -> Option<String> {
    needs
        .iter()
        .find_map(|need| match need {
            Need::PowerDisk => power_disk(work_dir).err(),
            Need::SmallDisk => SmallDisk::new(work_dir, 64).err(),
            Need::Strace => strace().err(),
            Need::Faketime => {
                faketime().is_none().then(|| anyhow::anyhow!("there is no libfaketime"))
            }
        })
        .map(|error| format!("{error:#}"))
}

fn power_disk(work_dir: &Path) -> anyhow::Result<()> {
    let mut disk = PowerDisk::new(work_dir, 16)?;
    disk.cut_power()?;
    disk.come_back()
}

fn strace() -> anyhow::Result<()> {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-e", "trace=fsync", "-o", "/dev/null"]);
    let status = command.arg("true").stderr(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "strace cannot trace here: {status}");
    Ok(())
}

/// The library that gives a process a clock of its own, in its form for programs with threads.
#[must_use]
pub fn faketime() -> Option<PathBuf> {
    const NAME: &str = "faketime/libfaketimeMT.so.1";
    let mut dirs = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")];
    // Debian has a directory an architecture.
    dirs.extend(std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path()));
    dirs.into_iter().map(|dir| dir.join(NAME)).find(|library| library.exists())
}

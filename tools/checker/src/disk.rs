//! Owns the disks that faults happen to: one whose power can be cut, one that can be filled.
//!
//! Never: a disk of anybody else's; each lies in a directory of its own, and is unmounted when it is
//! dropped, also by a panic. Bounds: the size that was asked for. Calls block for some milliseconds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::mount::UnmountFlags;
use tempfile::TempDir;

/// How long a disk may be held by somebody who looks at it just now.
const UNMOUNT_MAX: Duration = Duration::from_secs(10);

/// An ext4 file system in a file, on a loop device. What was synced survives a cut, what was not
/// is gone: the file system is shut down without flushing anything, not even its journal.
#[derive(Debug)]
pub struct PowerDisk {
    home: TempDir,
    mounted: bool,
}

impl PowerDisk {
    /// Makes one in a new directory in `work_dir`.
    ///
    /// # Errors
    /// When the machine cannot: see [`crate::machine`].
    pub fn new(work_dir: &Path, mebibytes: u64) -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("power-disk-").tempdir_in(work_dir)?;
        let disk = Self { home, mounted: false };
        File::create(disk.image())?.set_len(mebibytes << 20)?;
        // Whole from the start, so that nothing but the service's own writes is under way later.
        let whole = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", whole]).arg(disk.image()))?;
        fs::create_dir(disk.path())?;
        let mut disk = disk;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.home.path().join("mounted")
    }

    /// A directory beside the disk, which no cut touches: for logs.
    #[must_use]
    pub fn beside(&self) -> &Path {
        self.home.path()
    }

    /// From this moment nothing reaches the disk any more, and nothing that waits to be written will.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(self.path()))
    }

    /// Mounts it again after a cut. Nobody may have a file open on it.
    ///
    /// # Errors
    /// When the system refuses: the state is then kept for a look.
    pub fn come_back(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        self.mount()
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn mount(&mut self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.path()))?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        unmount(&self.path())?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = rustix::mount::unmount(self.path(), UnmountFlags::DETACH);
        }
    }
}

/// A tmpfs of a fixed size.
#[derive(Debug)]
pub struct SmallDisk {
    home: TempDir,
}

impl SmallDisk {
    /// Makes one in a new directory in `work_dir`.
    ///
    /// # Errors
    /// When the machine cannot: see [`crate::machine`].
    pub fn new(work_dir: &Path, kibibytes: u64) -> anyhow::Result<Self> {
        let disk =
            Self { home: tempfile::Builder::new().prefix("small-disk-").tempdir_in(work_dir)? };
        fs::create_dir(disk.path())?;
        let size = format!("size={kibibytes}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "kopeck-checker"]).arg(disk.path());
        run(&mut mount)?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.home.path().join("mounted")
    }

    /// A directory beside the disk, which never fills: for logs.
    #[must_use]
    pub fn beside(&self) -> &Path {
        self.home.path()
    }

    /// Somebody else's file takes all the room but for so many KiB.
    ///
    /// # Errors
    /// When writing fails for another reason than a full disk.
    pub fn fill(&self, but_kibibytes: u64) -> anyhow::Result<()> {
        let mut ballast = File::options().create(true).append(true).open(self.ballast())?;
        let block = [1; 4_096];
        loop {
            match ballast.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        let full = ballast.metadata()?.len();
        ballast.set_len(full.saturating_sub(but_kibibytes << 10))?;
        Ok(())
    }

    /// Takes that file away.
    ///
    /// # Errors
    /// When it is not there.
    pub fn free(&self) -> anyhow::Result<()> {
        fs::remove_file(self.ballast()).context("there is nothing to free")
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.path(), UnmountFlags::DETACH);
    }
}

/// Patient: whoever lists mounts or indexes files may hold it for a moment.
fn unmount(path: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        match rustix::mount::unmount(path, UnmountFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::BUSY) if began.elapsed() < UNMOUNT_MAX => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => bail!("cannot unmount {}: {error}", path.display()),
        }
    }
}

/// Runs a program to its end; what it said is the error when it failed.
fn run(command: &mut Command) -> anyhow::Result<()> {
    // Where some of these programs are, and not everybody's path leads.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.env("PATH", path);
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{command:?} ended with {}: {}", output.status, said.trim())
}

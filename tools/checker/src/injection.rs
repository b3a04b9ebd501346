//! Owns system calls that fail: the service runs under `strace`, which makes the N-th call of a kind
//! on one file fail, without its having been carried out.
//!
//! Never: a tracer between us and the service. `strace -D` traces from the side, so the process that
//! was started is the service itself. Bounds: one failure a thread and kind of call (strace counts
//! for each thread apart); a service that stops at the first sees only one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::process::{Child, Command};

const ATTACH_MAX: Duration = Duration::from_secs(10);

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// `fsync` and `fdatasync`.
    Syncs,
    /// `write`, `pwrite64` and `pwritev`.
    Writes,
    /// `read` and `pread64`.
    Reads,
}

impl Calls {
    /// The names that strace knows them by, separated by commas.
    #[must_use]
    pub fn names(self) -> &'static str {
        match self {
            Self::Syncs => "fsync,fdatasync",
            Self::Writes => "write,pwrite64,pwritev",
            Self::Reads => "read,pread64",
        }
    }

    /// How they fail. Of reads, as ext4 says it where its own tree is damaged: EIO SQLite takes for a damage of the
    /// data file, and that is another way through the service.
    fn error(self) -> &'static str {
        match self {
            Self::Syncs | Self::Writes => "EIO",
            Self::Reads => "EUCLEAN",
        }
    }
}

/// The N-th of these calls on one of these files fails.
#[derive(Debug, Clone)]
pub struct Injection {
    /// The calls.
    pub calls: Calls,
    /// Files and directories. They need not be there yet, but their directories must.
    pub files: Vec<PathBuf>,
    /// Counted from 1, for each thread apart.
    pub nth: u64,
    /// Where strace writes what it saw.
    pub trace: PathBuf,
}

/// A tracer at one thread of a running process. Dropped, it lets go of it.
#[derive(Debug)]
pub struct Attached {
    _strace: Child,
}

impl Injection {
    /// What `kopeck` is put behind, so that its start is under it, and all its threads.
    #[must_use]
    pub fn wrapper(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            ["strace", "-D", "-f", "--seccomp-bpf"].map(OsString::from).to_vec();
        words.extend(self.options());
        words
    }

    /// Puts one thread of a running process under it, by the thread's name; the count begins now.
    ///
    /// # Errors
    /// When there is no such thread, or strace cannot trace it.
    pub async fn attach(&self, pid: u32, thread: &str) -> anyhow::Result<Attached> {
        let task = find_thread(pid, thread)?;
        self.attach_to(&task, false).await
    }

    /// Puts all threads of a running process under it.
    ///
    /// # Errors
    /// When strace cannot trace it.
    pub async fn attach_all(&self, pid: u32) -> anyhow::Result<Attached> {
        self.attach_to(&PathBuf::from(format!("/proc/{pid}/task/{pid}")), true).await
    }

    async fn attach_to(&self, task: &Path, all: bool) -> anyhow::Result<Attached> {
        let id = task.file_name().context("a thread without a number")?;
        let mut command = Command::new("strace");
        if all {
            command.arg("-f");
        }
        command.arg("-p").arg(id).args(self.options());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut strace = command.kill_on_drop(true).spawn().context("cannot run strace")?;
        let siblings = task.parent().context("a thread without a process")?;
        let began = Instant::now();
        while !is_traced(task)? || (all && !all_traced(siblings)?) {
            ensure!(strace.try_wait()?.is_none(), "strace cannot trace {}", task.display());
            ensure!(began.elapsed() < ATTACH_MAX, "strace does not get hold of {}", task.display());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Attached { _strace: strace })
    }

    fn options(&self) -> Vec<OsString> {
        let names = self.calls.names();
        let mut words: Vec<OsString> =
            vec!["-qq".into(), "-y".into(), "-o".into(), self.trace.clone().into()];
        for file in &self.files {
            words.extend(["-P".into(), file.clone().into()]);
        }
        // These kinds are always written down, so that one sees where a failure struck.
        let always = [Calls::Syncs, Calls::Writes].into_iter().filter(|calls| *calls != self.calls);
        let traced = always.chain([self.calls]).map(Calls::names).collect::<Vec<_>>().join(",");
        words.extend(["-e".into(), format!("trace={traced}").into()]);
        let (error, nth) = (self.calls.error(), self.nth);
        words.extend(["-e".into(), format!("inject={names}:error={error}:when={nth}").into()]);
        words
    }

    /// What strace saw so far.
    #[must_use]
    pub fn seen(&self) -> String {
        let bytes = std::fs::read(&self.trace).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The call that failed, if one has, as strace wrote it.
    #[must_use]
    pub fn failed_call(&self) -> Option<String> {
        self.seen().lines().find(|line| line.contains("(INJECTED)")).map(str::to_owned)
    }

    /// Whether a call has failed. `false` also when nothing was traced yet.
    #[must_use]
    pub fn struck(&self) -> bool {
        self.failed_call().is_some()
    }
}

fn find_thread(pid: u32, name: &str) -> anyhow::Result<PathBuf> {
    // The system keeps no more of a name.
    const NAME_BYTES_MAX: usize = 15;
    let known = name.get(..NAME_BYTES_MAX).unwrap_or(name);
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == known) {
            return Ok(task);
        }
    }
    bail!("process {pid} has no thread {name}")
}

fn all_traced(tasks: &Path) -> anyhow::Result<bool> {
    for task in std::fs::read_dir(tasks)? {
        // A thread that has ended meanwhile needs no tracer.
        if is_traced(&task?.path()).is_ok_and(|traced| !traced) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_traced(task: &Path) -> anyhow::Result<bool> {
    let status = std::fs::read_to_string(task.join("status")).context("the thread is gone")?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    Ok(tracer.is_some_and(|tracer| tracer.trim() != "0"))
}

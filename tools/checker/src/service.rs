//! Owns the service under test as a process: starting it, under a wrapper if need be, killing it,
//! waiting for it, and what it logged.
//!
//! Never: a request to it, or a look at its data. Bounds: a start may take [`START_MAX`], an end that
//! was asked for [`STOP_MAX`]; dropped, the process is killed and waited for.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// The bank of every service that is started here.
pub const BANK_EMAIL: &str = "bank@localhost.ru";
/// Its password.
pub const BANK_PASS: &str = "the bank's password";

/// How long a start may take: far more than any does, so that only a start that hangs is given up.
pub const START_MAX: Duration = Duration::from_secs(60);
/// How long an end that was asked for, or that a fault must bring about, may take.
pub const STOP_MAX: Duration = Duration::from_secs(30);

const FREEZE_MAX: Duration = Duration::from_secs(10);

/// How much of a log is quoted, in bytes from its end.
const QUOTE_BYTES: usize = 16_384;

/// How the service is started. Each start appends to the same log.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The binary.
    pub kopeck: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// Where its standard error goes.
    pub log: PathBuf,
    /// Further options of `kopeck serve`.
    pub options: Vec<OsString>,
    /// A program with arguments, before which `kopeck` is put. It must *become* the service (exec):
    /// the process that is started here is the one that is killed.
    pub wrapper: Vec<OsString>,
    /// Further variables of its environment, which else has PATH and the bank's only.
    pub environment: Vec<(OsString, OsString)>,
}

/// Why a start gave no service.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It ended before it listened.
    #[error("the start ended with {status}; its log ends:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it logged in this start.
        log: String,
    },
    /// It neither listened nor ended.
    #[error("no start within {START_MAX:?}; its log ends:\n{0}")]
    Hangs(String),
    /// It could not be run at all.
    #[error("{0:#}")]
    Impossible(#[from] anyhow::Error),
}

impl Setup {
    /// Without a wrapper: the data in `data` below `home` unless [`data`](Self::data) is changed, the
    /// log beside it.
    #[must_use]
    pub fn new(kopeck: &Path, home: &Path) -> Self {
        Self {
            kopeck: kopeck.to_owned(),
            data: home.join("data"),
            log: home.join("log"),
            options: Vec::new(),
            wrapper: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Starts it on a free port and waits until it says where it listens.
    ///
    /// # Errors
    /// See [`StartError`]; whatever was started has ended.
    pub async fn start(&self) -> Result<Service, StartError> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let log_starts = log.metadata().context("cannot see the log")?.len();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut service = Service { child, address, log: self.log.clone(), log_starts };
        let output = service.child.stdout.take().context("standard output is not piped")?;
        match tokio::time::timeout(START_MAX, listening(output)).await {
            Ok(Some(address)) => {
                service.address = address;
                Ok(service)
            }
            Ok(None) => match service.wait(STOP_MAX).await? {
                Some(status) => Err(StartError::Ended { status, log: service.said() }),
                None => Err(StartError::Hangs(service.said())),
            },
            Err(_) => Err(StartError::Hangs(service.said())),
        }
    }

    fn command(&self) -> Command {
        let mut words =
            self.wrapper.iter().map(OsString::as_os_str).chain([self.kopeck.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_else(|| self.kopeck.as_os_str()));
        command.args(words);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&self.data);
        command.args(&self.options);
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs([("BANK_EMAIL", BANK_EMAIL), ("BANK_PASS", BANK_PASS)]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Reads what it says up to the line with its address, then reads on for ever, so that it is never
/// held up by a full pipe. `None` when it ends before.
async fn listening(output: ChildStdout) -> Option<SocketAddr> {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Some((_, rest)) = line.split_once("http://") else { continue };
        let address: String =
            rest.chars().take_while(|char| !matches!(char, '/' | '"' | ' ')).collect();
        if let Ok(address) = address.parse() {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(address);
        }
    }
    None
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    log_starts: u64,
}

impl Service {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the service has ended")
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot see the service")
    }

    /// Waits until it has ended by itself; `None` if it does not in this time.
    ///
    /// # Errors
    /// When the system does not say.
    pub async fn wait(&mut self, max: Duration) -> anyhow::Result<Option<ExitStatus>> {
        match tokio::time::timeout(max, self.child.wait()).await {
            Ok(status) => Ok(Some(status.context("cannot wait for the service")?)),
            Err(_) => Ok(None),
        }
    }

    /// SIGKILL, and waits until it is gone. It may have ended before.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if self.ended()?.is_none() {
            self.child.kill().await.context("cannot kill the service")?;
        }
        Ok(())
    }

    /// Stops it in the middle of whatever it does (SIGSTOP), and waits until no thread of it can do
    /// anything any more but end a system call that it is in.
    ///
    /// # Errors
    /// When it is gone, or does not come to a halt.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        let tasks = format!("/proc/{}/task", self.pid()?);
        let began = Instant::now();
        while !all_frozen(Path::new(&tasks))? {
            anyhow::ensure!(began.elapsed() < FREEZE_MAX, "it cannot be frozen");
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        Ok(())
    }

    /// SIGTERM, and waits until it has ended; killed if it does not.
    ///
    /// # Errors
    /// When it does not end within [`STOP_MAX`], or the system refuses.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        if let Some(status) = self.wait(STOP_MAX).await? {
            return Ok(status);
        }
        self.kill().await?;
        anyhow::bail!("it did not stop within {STOP_MAX:?}; its log ends:\n{}", self.said())
    }

    /// Sends a signal to it.
    ///
    /// # Errors
    /// When it is gone, or the system refuses.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid =
            i32::try_from(self.pid()?).ok().and_then(Pid::from_raw).context("no process id")?;
        rustix::process::kill_process(pid, signal).context("cannot send a signal")
    }

    /// What it has logged since this start; the end of it, if that is long.
    #[must_use]
    pub fn said(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut log = File::open(&self.log)?;
            log.seek(SeekFrom::Start(self.log_starts))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            let quoted = bytes.split_off(bytes.len().saturating_sub(QUOTE_BYTES));
            Ok(String::from_utf8_lossy(&quoted).into_owned())
        };
        read().unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }
}

/// Stopped, or in a system call that cannot be interrupted, after which it stops.
fn all_frozen(tasks: &Path) -> anyhow::Result<bool> {
    for task in std::fs::read_dir(tasks)? {
        // A thread may end while we look.
        let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else { continue };
        // The state comes after the name, which is in brackets and may hold anything.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if !matches!(state, Some('T' | 't' | 'D')) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Drop for Service {
    /// Waits too: what it has open keeps a disk from being unmounted.
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < STOP_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

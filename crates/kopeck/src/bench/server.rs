//! Owns the server under test: a private one, started from this very executable on loopback, or one
//! that somebody else runs.
//!
//! Never: a signal to a process that was not started here. Bounds: a start may take as long as reading
//! a large book does ([`START_MAX`]); what is not stopped is killed when it is dropped, and ends by itself
//! when this process does.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::asker::Asker;
use super::document::Document;
use super::load::go_on;
use super::options::Service;
use super::threads;
use super::usage::{self, Usage};
use super::work::Work;
use crate::http_threads;

const START_MAX: Duration = Duration::from_secs(300);
const STOP_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether somebody wants the benchmark to end while a server starts.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How much of a log is told when a server does not start.
const LAST_WORDS_LINES: usize = 3;
const LAST_WORDS_BYTES: u64 = 4 * 1_024;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The service itself.
    Kopeck,
    /// The same service over an engine that keeps nothing.
    Null,
    /// JSON in and JSON out.
    Bare,
}

impl Kind {
    /// Its name, as in the tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kopeck => "kopeck",
            Self::Null => "null",
            Self::Bare => "bare",
        }
    }
}

/// A server to be measured.
pub(super) struct Server {
    kind: Kind,
    address: SocketAddr,
    /// Only a private one has it.
    child: Option<Child>,
    /// Its log, and where in it this start begins.
    log: Option<(PathBuf, u64)>,
}

impl Server {
    /// Starts a private one on a benchmark's data.
    pub(super) fn start(kind: Kind, work: &Work, service: &Service) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        let log_path = work.home().join(format!("{}.log", kind.name()));
        let log = File::options().create(true).append(true).open(&log_path)?;
        let log_from = log.metadata()?.len();
        let sessions = work.size().sessions.saturating_mul(2).max(1_024);
        let mut command = Command::new(program);
        // The other end of its input is here, so that it ends when this process does.
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        // Of its own, so that Ctrl-C is this process's to deal with.
        command.process_group(0);
        command.args(["bench-stand-in", "--as", kind.name(), "--work-dir"]).arg(work.home());
        if kind == Kind::Kopeck {
            command.arg("--data").arg(work.data());
        }
        command.args(["--listen", "127.0.0.1:0", "--log-format", "json", "--log", "warn"]);
        command.args(["--sessions-cached", &sessions.to_string()]);
        if kind != Kind::Bare {
            // That one has several threads.
            command.args(["--http-processors", &service.http_processors.to_string()]);
            if service.http_processors.is_for_one() {
                command.args(["--http-threads", "1"]);
            }
        }
        let mut child = command.spawn().context("cannot start the server")?;
        match greeting(&mut child) {
            Ok(address) => {
                Ok(Self { kind, address, child: Some(child), log: Some((log_path, log_from)) })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let why = last_words(&log_path, log_from).unwrap_or_else(|| error.to_string());
                bail!("the server did not start (see {}): {why}", log_path.display())
            }
        }
    }

    /// One that runs already.
    pub(super) fn elsewhere(address: SocketAddr) -> Self {
        Self { kind: Kind::Kopeck, address, child: None, log: None }
    }

    /// What went wrong, with what became of the server if it has ended meanwhile: its log goes with the data.
    pub(super) fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(pid) = self.child.as_ref().and_then(pid) else { return error };
        // Its connections are gone a moment before it is.
        std::thread::sleep(Duration::from_millis(200));
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Ok(Some(ended)) = waitid(WaitId::Pid(pid), look) else { return error };
        let how = match (ended.exit_status(), ended.terminating_signal()) {
            (Some(status), _) => format!("status {status}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no status".to_owned(),
        };
        let words = self.log.as_ref().and_then(|(log, from)| last_words(log, *from));
        let words = words.map_or(String::new(), |words| format!(": {words}"));
        error.context(format!("the server ({}) has ended with {how}{words}", self.kind.name()))
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says where its threads for HTTP and for writing are, if that can be known.
    pub(super) fn describe(&self, document: &mut Document) {
        let Some(child) = &self.child else { return };
        let process = child.id().to_string();
        for (whose, name) in [("HTTP thread", http_threads::NAME), ("writer", "kopeck-writer")] {
            let kept = usage::kept_to(&process, name);
            document.set(whose, threads::place(kept.as_deref()));
        }
    }

    /// What it has used so far.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        let own = match &self.child {
            Some(child) => Usage::of(&child.id().to_string()),
            None => Usage::default(),
        };
        if self.kind == Kind::Bare {
            return Ok(own);
        }
        let mut asker = Asker::new(self.address)?;
        let text = asker.get("/metrics", "")?.body.to_vec();
        let text = String::from_utf8_lossy(&text);
        let metric = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        Ok(Usage {
            commits: metric("kopeck_commit_seconds_count "),
            checkpoints: metric("kopeck_checkpoint_seconds_count "),
            ..own
        })
    }

    /// The most memory it ever had, in bytes.
    pub(super) fn memory_peak_bytes(&self) -> Option<u64> {
        usage::memory_peak_bytes(&self.child.as_ref()?.id().to_string())
    }

    /// How many operations its book has. What it says may be a second old.
    pub(super) fn operations(&self) -> anyhow::Result<u64> {
        std::thread::sleep(Duration::from_millis(1_100));
        let mut asker = Asker::new(self.address)?;
        let answer = asker.get("/api/checkpoint", "")?;
        answer.number("operations").context("a checkpoint without a number of operations")
    }

    /// Kills it, as a power cut would (SIGKILL).
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Stops it, as an operator would (SIGTERM); it must end well. Somebody else's is left alone.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        kill_process(pid(&child).context("no such process")?, Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_MAX {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "the server ended with {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        bail!("the server did not stop within {STOP_MAX:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// The last lines of a log, of what was written from a place on; nothing if there are none.
fn last_words(log: &Path, from: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let to = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(from.max(to.saturating_sub(LAST_WORDS_BYTES)))).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST_WORDS_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LAST_WORDS_LINES)..)?;
    (!last.is_empty()).then(|| last.join("\n"))
}

/// Where it listens, when it says so. Its output is read on to the end, so that it never waits for it.
fn greeting(child: &mut Child) -> anyhow::Result<SocketAddr> {
    let output = child.stdout.take().context("no standard output")?;
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let began = Instant::now();
    loop {
        go_on()?;
        let line = match receive.recv_timeout(LOOK_EVERY) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) if began.elapsed() < START_MAX => continue,
            Err(_) => bail!("it did not say where it listens"),
        };
        if let Some((_, rest)) = line.split_once("http://") {
            let ends = |character| matches!(character, '/' | '"' | ' ');
            let address = rest.split(ends).next().unwrap_or_default();
            return address.parse().with_context(|| format!("not an address: {address}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_those_of_this_start() {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("kopeck.log");
        std::fs::write(&log, "of an earlier start\n").unwrap();
        let from = std::fs::metadata(&log).unwrap().len();
        assert_eq!(last_words(&log, from), None);
        std::fs::write(&log, "of an earlier start\n1\n2\n\n3\n4\n").unwrap();
        assert_eq!(last_words(&log, from).unwrap(), "2\n3\n4");
        assert_eq!(last_words(&home.path().join("none"), 0), None);
    }
}

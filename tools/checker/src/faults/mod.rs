//! Owns the campaigns: each breaks one thing, over and over, and compares what is left with what was
//! acknowledged.
//!
//! Never: a fault that is only said to happen (see `tests/machinery.rs`), or a machine's lack passed
//! over. Bounds: each campaign by its count; its data in a directory of its own, which is left behind
//! only when something was found wrong.

mod bit_rot;
mod burst;
mod clock;
mod full_disk;
mod io_error;
mod key_files;
mod kill;
mod logins;
mod network;
mod power_cut;
mod stage;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use indicatif::ProgressBar;

use crate::machine::{self, Need};
use crate::results::{Line, Tally};

/// How many requests are under way at a time, in a load.
const TASKS: usize = 32;

/// Whether the service takes `Idempotency-Key`.
const KEYS: bool = true;

/// What a campaign is told.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The service's binary.
    pub kopeck: PathBuf,
    /// Where its directories are made.
    pub work_dir: PathBuf,
    /// How many rounds: what a round is, the campaign says.
    pub count: u64,
    /// What all chance in it follows from.
    pub seed: u64,
    /// Small or whole.
    pub form: Form,
    /// How long after a kill the first acknowledgement may take.
    pub first_acknowledgement_max: Duration,
    /// Shows how far it is.
    pub progress: ProgressBar,
}

impl Plan {
    /// The form's own counts and patience, by chance; in the system's temporary directory, or in memory
    /// where no disk plays a part.
    #[must_use]
    pub fn new(campaign: Campaign, form: Form, kopeck: PathBuf) -> Self {
        Self {
            kopeck,
            work_dir: campaign.work_dir(),
            count: campaign.count(form),
            seed: fastrand::u64(..1 << 48),
            form,
            first_acknowledgement_max: match form {
                Form::Short => Duration::from_secs(15),
                Form::Long => Duration::from_secs(2),
            },
            progress: ProgressBar::hidden(),
        }
    }
}

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For every change: minutes, on a slow machine, in a debug build. Judges no timing.
    Short,
    /// For a release.
    Long,
}

/// The campaigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Campaign {
    /// SIGKILL under load. A round is one kill.
    Kill,
    /// The power goes under load. A round is one cut.
    PowerCut,
    /// Kill, start, retry what was unknown, then the power goes. A round is one of these.
    RetryThenCut,
    /// The N-th sync or write fails, for every N. A round is one failure; the count is the greatest N.
    IoError,
    /// The disk fills and is freed. A round is once.
    FullDisk,
    /// Damages a byte of the data file, and cuts the log short. A round is one damaged copy.
    BitRot,
    /// The clock is a day behind or ahead. A round is one day in one direction, there and back.
    Clock,
    /// A network that delays, resets, half-closes, truncates. A round is a second.
    Network,
    /// 64 orders at once through one wallet, with duplicate keys. A round is one burst.
    Burst,
    /// Killed, or the power goes, while files of keys are written and merged. A round is one of these.
    KeyFiles,
    /// 500 wrong logins a second while transfers go on. A round is some seconds of them.
    Logins,
}

impl Campaign {
    /// Its name on the command line and in the results.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// How many rounds it has if nothing else is said.
    #[must_use]
    pub fn count(self, form: Form) -> u64 {
        let (short, long) = match self {
            Self::Kill | Self::PowerCut => (20, 1_000),
            Self::RetryThenCut => (5, 200),
            Self::IoError => (u64::MAX, u64::MAX),
            Self::FullDisk => (3, 50),
            Self::BitRot => (100, u64::MAX),
            Self::Clock => (2, 20),
            Self::Network => (10, 600),
            Self::Burst => (50, 5_000),
            Self::KeyFiles => (3, 100),
            Self::Logins => (1, 20),
        };
        match form {
            Form::Short => short,
            Form::Long => long,
        }
    }

    /// Where its directories are made if nothing else is said.
    fn work_dir(self) -> PathBuf {
        const MEMORY: &str = "/dev/shm";
        match self {
            Self::BitRot if Path::new(MEMORY).is_dir() => MEMORY.into(),
            _ => std::env::temp_dir(),
        }
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::PowerCut | Self::RetryThenCut | Self::KeyFiles => &[Need::PowerDisk],
            Self::IoError => &[Need::Strace, Need::PowerDisk],
            Self::FullDisk => &[Need::SmallDisk],
            Self::Clock => &[Need::Faketime],
            Self::Kill | Self::BitRot | Self::Network | Self::Burst | Self::Logins => &[],
        }
    }

    /// Runs it. What the machine cannot do is skipped, and the tally says why.
    ///
    /// # Errors
    /// When the campaign itself could not be carried out; what it found wrong is in the tally.
    pub async fn run(self, plan: &Plan) -> anyhow::Result<Tally> {
        if let Some(why) = machine::lacks(self.needs(), &plan.work_dir) {
            return Ok(Tally::skipped(why));
        }
        match self {
            Self::Kill => kill::run(plan).await,
            Self::PowerCut => power_cut::run(plan).await,
            Self::RetryThenCut => power_cut::run_after_retry(plan).await,
            Self::IoError => io_error::run(plan).await,
            Self::FullDisk => full_disk::run(plan).await,
            Self::BitRot => bit_rot::run(plan).await,
            Self::Clock => clock::run(plan).await,
            Self::Network => network::run(plan).await,
            Self::Burst => burst::run(plan).await,
            Self::KeyFiles => key_files::run(plan).await,
            Self::Logins => logins::run(plan).await,
        }
    }

    /// Runs it, and says what is appended to the results. A campaign that could not be carried out
    /// is a violation: it has shown nothing.
    ///
    /// # Errors
    /// When the binary cannot be run.
    pub async fn report(self, plan: &Plan, commit: &str) -> anyhow::Result<Line> {
        let version = crate::results::version(&plan.kopeck)?;
        let started = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let began = Instant::now();
        let tally = match self.run(plan).await {
            Ok(tally) => tally,
            Err(error) => {
                let mut tally = Tally::default();
                tally.violation(format!("not carried out: {error:#}"));
                tally
            }
        };
        Ok(Line {
            campaign: self.name(),
            verdict: tally.verdict().to_owned(),
            seed: plan.seed,
            commit: commit.to_owned(),
            version,
            started,
            seconds: began.elapsed().as_secs_f64(),
            tally,
        })
    }
}

/// A directory for a campaign's data. It goes when the campaign ends, unless it is evidence.
struct Home(tempfile::TempDir);

impl Home {
    fn new(plan: &Plan, name: &str) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix(&format!("checker-{name}-")).tempdir_in(&plan.work_dir);
        let whole = dir.and_then(|dir| Ok((dir.path().canonicalize()?, dir)));
        let cannot = || format!("cannot make a directory in {}", plan.work_dir.display());
        whole.with_context(cannot).map(|(_, dir)| Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves the log, the history and whatever else is there behind if something was wrong.
    fn keep_if_wrong(&mut self, mut tally: Tally) -> Tally {
        if !tally.violations.is_empty() {
            self.0.disable_cleanup(true);
            tally.set("left_behind", self.path().display().to_string());
        }
        tally
    }
}

//! Owns what can be asked of `kopeck bench`, with units and defaults.
//!
//! Never: a secret on the command line; a service elsewhere gets the bank's credentials by environment.
//! Bounds: each option says its own.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ledger::SUBMISSIONS_MAX;

use super::scenario::Scenario;
use super::server::Kind;
use crate::http_threads;
use crate::processors::Processors;

/// What to measure.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Wanted {
    #[command(subcommand)]
    pub(super) preset: Option<Preset>,
    #[command(flatten)]
    pub(super) measure: Measure,
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What is measured by name.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Preset {
    /// Everything that kopeck has set itself as a target, in one run: needs minutes and, with
    /// 50 million rows, about 15 GB of disk; says so first.
    Targets(Targets),
}

/// What to measure, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct Measure {
    /// Who pays whom: one or several, in turns.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "uniform")]
    pub(super) scenario: Vec<Scenario>,

    /// Connections, each with one request at a time: one number or several.
    #[arg(long, value_delimiter = ',', default_value = "64", value_name = "COUNT")]
    pub(super) connections: Vec<usize>,

    /// Operations a request: 1 is single requests, more goes to `/api/transfers/batch`. One number or
    /// several; with --engine, operations a batch [default: 1; with --engine: 8192].
    #[arg(long, value_delimiter = ',', value_parser = parse_batch, value_name = "COUNT")]
    pub(super) batch: Vec<usize>,

    /// What it is measured against, in the same run and in turns.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SERVER")]
    pub(super) beside: Vec<Kind>,

    /// The engine alone, in this process, without HTTP; beside it a bare file (raw).
    #[arg(long, conflicts_with_all = ["url", "rate", "beside", "connections", "client_processors",
        "http_processors"])]
    pub(super) engine: bool,

    /// How often each is measured, in turns; the figures are medians.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub(super) rounds: usize,

    /// How long each is measured each time.
    #[arg(long, default_value = "5", value_parser = parse_seconds, value_name = "SECONDS")]
    pub(super) seconds: Duration,

    /// How long it is under load before it is measured, each time.
    #[arg(long, default_value = "1", value_parser = parse_seconds, value_name = "SECONDS")]
    pub(super) warm_up_seconds: Duration,

    /// Requests at this rate, whether they are answered or not; latencies count from when a request
    /// was due.
    #[arg(long, value_name = "REQUESTS_PER_SECOND")]
    pub(super) rate: Option<f64>,

    /// With --engine: operations a round.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    pub(super) operations: usize,

    /// Wallets; with --url, at most 1 000 people sign up [default: 100000; with --url: 64].
    #[arg(long, value_name = "COUNT")]
    pub(super) wallets: Option<u64>,

    /// How many of them are logged in and pay, 100 000 at most by default.
    #[arg(long, value_name = "COUNT")]
    pub(super) sessions: Option<u64>,

    /// Operations that are in the book before it begins; each wallet is paid in once in any case.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub(super) stored_operations: u64,

    /// Sends no idempotency keys.
    #[arg(long)]
    pub(super) no_keys: bool,

    #[command(flatten)]
    pub(super) service: Service,
    #[command(flatten)]
    pub(super) client: Client,

    /// Drives a service that runs already (`http://ADDRESS:PORT`): people sign up there and are paid in
    /// by the bank, whose credentials are in BANK_EMAIL and BANK_PASS.
    #[arg(long, conflicts_with_all = ["beside", "stored_operations", "sessions", "work_dir",
        "http_processors"])]
    pub(super) url: Option<String>,
}

/// The private server.
#[derive(Debug, Clone, Args)]
pub(super) struct Service {
    /// Where its only thread for HTTP stays, as for `kopeck serve`: processors by number from 0, `any` or
    /// `auto`. With numbers it has only one. Linux only.
    #[arg(long, default_value = "auto", value_name = "NUMBERS")]
    pub(super) http_processors: http_threads::Place,
}

/// The client's threads.
#[derive(Debug, Clone, Args)]
pub(super) struct Client {
    /// Threads of the client [default: one for each four processors].
    #[arg(long, value_name = "COUNT")]
    pub(super) client_threads: Option<usize>,

    /// Keeps the client's threads to these processors, by number from 0, or lets them be on `any`
    /// [default: with two processors, the one to which the disk's interrupts come; else any]. On any,
    /// the system often puts them beside the server's busiest thread, where no client from elsewhere
    /// is. Linux only.
    #[arg(long, value_name = "NUMBERS|any")]
    pub(super) client_processors: Option<Processors>,
}

/// Where the data are made.
#[derive(Debug, Clone, Args)]
pub(super) struct Place {
    /// The directory to work in, on the disk that is to be measured. By default one of its own in the
    /// current directory.
    #[arg(long, value_name = "DIR")]
    pub(super) work_dir: Option<PathBuf>,

    /// Keeps the data, to be used again with the same --work-dir and sizes.
    #[arg(long, requires = "work_dir")]
    pub(super) keep: bool,
}

/// What is said in the end.
#[derive(Debug, Clone, Args)]
pub(super) struct Output {
    /// Prints one JSON document and no table.
    #[arg(long)]
    pub(super) json: bool,

    /// Writes a page with the tables and plots.
    #[arg(long, value_name = "FILE.html")]
    pub(super) report: Option<PathBuf>,
}

/// How much of everything the targets are shown with.
#[derive(Debug, Clone, Args)]
pub(super) struct Targets {
    /// Operations in the large book.
    #[arg(long, default_value_t = 50_000_000, value_name = "COUNT")]
    pub(super) rows: u64,

    /// Wallets in the large book.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    pub(super) wallets: u64,

    /// Wallets in the book whose memory is measured.
    #[arg(long, default_value_t = 10_000_000, value_name = "COUNT")]
    pub(super) many_wallets: u64,

    /// Operations of the one wallet whose history is asked for.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    pub(super) history: u64,

    /// How often what is compared is measured, in turns.
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    pub(super) rounds: usize,

    /// How long each is measured each time.
    #[arg(long, default_value = "5", value_parser = parse_seconds, value_name = "SECONDS")]
    pub(super) seconds: Duration,

    /// How long full load lasts in which the longest pause is looked for.
    #[arg(long, default_value = "60", value_parser = parse_seconds, value_name = "SECONDS")]
    pub(super) pause_seconds: Duration,

    #[command(flatten)]
    pub(super) service: Service,
    #[command(flatten)]
    pub(super) client: Client,
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) output: Output,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    let fits = (0.1..=3_600.0).contains(&seconds);
    if fits { Ok(Duration::from_secs_f64(seconds)) } else { Err("from 0.1 to 3600".to_owned()) }
}

fn parse_batch(text: &str) -> Result<usize, String> {
    let batch = text.parse().ok().filter(|batch| (1..=SUBMISSIONS_MAX).contains(batch));
    batch.ok_or_else(|| format!("a whole number from 1 to {SUBMISSIONS_MAX}"))
}

//! Owns what can be asked of `kopeck bench`, with units and defaults.
//!
//! Never: a secret on the command line; a service elsewhere gets the bank's credentials by environment; nor
//! another number than the one that was asked for: what is out of bounds is refused. Bounds: each option
//! says its own.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use ledger::SUBMISSIONS_MAX;

use super::measure::WALLETS;
use super::remote::PEOPLE_MAX;
use super::scenario::Scenario;
use super::server::Kind;
use crate::http_threads;
use crate::processors::Processors;

/// Wallets of a book. Somebody must pay somebody; each takes some hundred bytes of memory.
const WALLETS_RANGE: RangeInclusive<u64> = 2..=100_000_000;
/// Operations of a book. The disk has an end before.
const STORED_MAX: u64 = 10_000_000_000;
/// Connections. The service closes more than 2 048 from one address, and single questions need some.
const CONNECTIONS_RANGE: RangeInclusive<u64> = 1..=2_000;
/// Operations that are in memory before a round of the engine begins, some hundred bytes each.
const OPERATIONS_RANGE: RangeInclusive<u64> = 1..=20_000_000;
const ROUNDS_RANGE: RangeInclusive<u64> = 1..=1_000;
const THREADS_RANGE: RangeInclusive<u64> = 1..=256;
/// Requests a second. More than a million are far beyond what the client can send.
const RATE_RANGE: RangeInclusive<f64> = 0.1..=1_000_000.0;
/// The targets are about books that are worth the name.
const TARGET_WALLETS_RANGE: RangeInclusive<u64> = 100..=100_000_000;
const TARGET_ROWS_RANGE: RangeInclusive<u64> = 1_000..=STORED_MAX;
const TARGET_HISTORY_RANGE: RangeInclusive<u64> = 100..=STORED_MAX;

fn count(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

fn count_u64(range: RangeInclusive<u64>) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(range)
}

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

    /// Connections, each with one request at a time: one number or several, 2 000 at most. Batches of one
    /// payer go over 16 at most.
    #[arg(long, value_delimiter = ',', default_value = "64", value_parser = count(CONNECTIONS_RANGE),
        value_name = "COUNT")]
    pub(super) connections: Vec<usize>,

    /// Operations a request: 1 is single requests, more goes to `/api/transfers/batch`. One number or
    /// several; with --engine, operations a batch [default: 1; with --engine: 8192].
    #[arg(long, value_delimiter = ',', value_parser = parse_batch, value_name = "COUNT")]
    pub(super) batch: Vec<usize>,

    /// What it is measured against, in the same run and in turns.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SERVER")]
    pub(super) beside: Vec<Kind>,

    /// The engine alone, in this process, without HTTP; beside it the same operations over a bare
    /// file (log), and a bare file alone (raw).
    #[arg(long, conflicts_with_all = ["url", "rate", "beside", "connections", "client_processors",
        "client_threads", "http_processors", "seconds", "warm_up_seconds", "sessions"])]
    pub(super) engine: bool,

    /// How often each is measured, in turns; the figures are medians.
    #[arg(long, default_value = "3", value_parser = count(ROUNDS_RANGE), value_name = "COUNT")]
    pub(super) rounds: usize,

    /// How long each is measured each time.
    #[arg(long, default_value = "5", value_parser = parse_seconds, value_name = "SECONDS")]
    pub(super) seconds: Duration,

    /// How long it is under load before it is measured, each time.
    #[arg(long, default_value = "1", value_parser = parse_seconds, value_name = "SECONDS")]
    pub(super) warm_up_seconds: Duration,

    /// Requests at this rate, whether they are answered or not; latencies count from when a request
    /// was due.
    #[arg(long, value_parser = parse_rate, value_name = "REQUESTS_PER_SECOND")]
    pub(super) rate: Option<f64>,

    /// With --engine, in place of a time: operations a round, 20 million at most, and as many more as fill
    /// the last batch.
    #[arg(long, requires = "engine", default_value = "1000000", value_parser = count(OPERATIONS_RANGE),
        value_name = "COUNT")]
    pub(super) operations: usize,

    /// Wallets, from 2 to 100 million; with --url, at most 1 000 people sign up [default: 100000; with
    /// --url: 64].
    #[arg(long, value_parser = count_u64(WALLETS_RANGE), value_name = "COUNT")]
    pub(super) wallets: Option<u64>,

    /// How many of them are logged in and pay, 100 000 at most by default.
    #[arg(long, value_parser = count_u64(WALLETS_RANGE), value_name = "COUNT")]
    pub(super) sessions: Option<u64>,

    /// Operations that are in the book before it begins; each wallet is paid in once in any case.
    #[arg(long, default_value = "0", value_parser = count_u64(0..=STORED_MAX), value_name = "COUNT")]
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
    #[arg(long, value_parser = count(THREADS_RANGE), value_name = "COUNT")]
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
    #[arg(long, default_value = "50000000", value_parser = count_u64(TARGET_ROWS_RANGE),
        value_name = "COUNT")]
    pub(super) rows: u64,

    /// Wallets in the large book.
    #[arg(long, default_value = "1000000", value_parser = count_u64(TARGET_WALLETS_RANGE),
        value_name = "COUNT")]
    pub(super) wallets: u64,

    /// Wallets in the book whose memory is measured.
    #[arg(long, default_value = "10000000", value_parser = count_u64(TARGET_WALLETS_RANGE),
        value_name = "COUNT")]
    pub(super) many_wallets: u64,

    /// Operations of the one wallet whose history is asked for; with a first one of every wallet, at most
    /// as many as there are in the large book.
    #[arg(long, default_value = "1000000", value_parser = count_u64(TARGET_HISTORY_RANGE),
        value_name = "COUNT")]
    pub(super) history: u64,

    /// How often what is compared is measured, in turns.
    #[arg(long, default_value = "5", value_parser = count(ROUNDS_RANGE), value_name = "COUNT")]
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

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().map_err(|error| error.to_string())?;
    let (least, most) = (RATE_RANGE.start(), RATE_RANGE.end());
    if RATE_RANGE.contains(&rate) { Ok(rate) } else { Err(format!("from {least} to {most}")) }
}

impl Wanted {
    /// What is said in the end.
    pub(super) fn output(&self) -> &Output {
        match &self.preset {
            Some(Preset::Targets(targets)) => &targets.output,
            None => &self.output,
        }
    }

    /// What was asked for that cannot be together, if anything.
    pub(super) fn contradiction(&self) -> Option<String> {
        match &self.preset {
            Some(Preset::Targets(targets)) => targets.contradiction(),
            None => self.measure.contradiction(),
        }
    }
}

impl Measure {
    fn contradiction(&self) -> Option<String> {
        if let Some(twice) = self.twice() {
            return Some(format!("{twice} has the same twice"));
        }
        if self.url.is_some() && self.wallets.is_some_and(|wallets| wallets > PEOPLE_MAX) {
            return Some(format!("with --url, --wallets is {PEOPLE_MAX} at most"));
        }
        let wallets = self.wallets.unwrap_or(WALLETS);
        let more = self.sessions.filter(|sessions| *sessions > wallets)?;
        Some(format!("--sessions {more} are more than there are wallets ({wallets})"))
    }

    /// Which option names something twice. Two runs of one name cannot be told apart, and two servers of one
    /// kind cannot have the same data.
    fn twice(&self) -> Option<&'static str> {
        let lists = [
            ("--scenario", has_twice(&self.scenario)),
            ("--connections", has_twice(&self.connections)),
            ("--batch", has_twice(&self.batch)),
            ("--beside", has_twice(&self.beside)),
        ];
        lists.into_iter().find_map(|(name, twice)| twice.then_some(name))
    }
}

fn has_twice<T: PartialEq>(values: &[T]) -> bool {
    values
        .iter()
        .enumerate()
        .any(|(place, value)| values.iter().take(place).any(|one| one == value))
}

impl Targets {
    fn contradiction(&self) -> Option<String> {
        let Self { rows, wallets, history, .. } = *self;
        let needed = wallets.saturating_add(history);
        (needed > rows).then(|| {
            format!("--wallets {wallets} and --history {history} need --rows {needed} at least, not {rows}")
        })
    }
}

fn parse_batch(text: &str) -> Result<usize, String> {
    let batch = text.parse().ok().filter(|batch| (1..=SUBMISSIONS_MAX).contains(batch));
    batch.ok_or_else(|| format!("a whole number from 1 to {SUBMISSIONS_MAX}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::config::{Cli, Command};

    /// Whether it is taken as it stands, without a contradiction.
    fn is_taken(arguments: &str) -> bool {
        let all = ["kopeck", "bench"].into_iter().chain(arguments.split_whitespace());
        match Cli::try_parse_from(all).map(|cli| cli.command) {
            Ok(Some(Command::Bench(wanted))) => wanted.contradiction().is_none(),
            _ => false,
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_and_not_changed() {
        for taken in [
            "",
            "--wallets 2 --sessions 2 --rounds 1 --connections 1,2000 --rate 0.1 --client-threads 1",
            "--wallets 100000000 --stored-operations 10000000000",
            "--engine --operations 20000000 --batch 1,8192 --rounds 1",
            "--beside null,bare --scenario zipf,uniform",
            "--url http://x --wallets 1000",
            "targets",
            "targets --rows 1000 --wallets 100 --many-wallets 100 --history 100 --rounds 1",
            "targets --rows 2000000 --wallets 100000 --many-wallets 500000 --history 100000",
        ] {
            assert!(is_taken(taken), "{taken}");
        }
        for refused in [
            "--wallets 0",
            "--wallets 1",
            "--wallets 99999999999999999",
            "--stored-operations 18446744073709551615",
            "--sessions 1",
            "--wallets 10 --sessions 11",
            "--rounds 0",
            "--connections 0",
            "--connections 1,0",
            "--connections 2001",
            "--rate 0",
            "--rate NaN",
            "--rate inf",
            "--rate -1",
            "--client-threads 0",
            "--operations 5",
            "--engine --operations 0",
            "--engine --seconds 3",
            "--engine --warm-up-seconds 3",
            "--engine --sessions 3",
            "--engine --client-threads 1",
            "--beside null,null",
            "--beside null --beside null",
            "--connections 4,64,4",
            "--scenario zipf,zipf",
            "--batch 1,1",
            "--url http://x --wallets 1001",
            "targets --wallets 1",
            "targets --many-wallets 1",
            "targets --rows 1",
            "targets --history 0",
            "targets --rounds 0",
            "targets --rows 1000 --wallets 500 --history 501",
        ] {
            assert!(!is_taken(refused), "{refused}");
        }
    }
}

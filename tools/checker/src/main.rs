//! The command line: `checker kill --count 1000`, `checker all --long`.
//!
//! Owns the choice of campaigns, and where their results go. Exit status 0: nothing was found wrong;
//! 1: something was, or a campaign could not be carried out; 130: stopped by Ctrl-C, everything that
//! was mounted or started is gone.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use checker::faults::{Campaign, Form, Plan};
use checker::results::{Line, commit, table};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

/// Breaks a running kopeck in many ways and compares what is left with what was acknowledged.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The campaign, or `all` of them one after another.
    #[arg(value_parser = parse_campaigns, value_name = "CAMPAIGN")]
    campaigns: Campaigns,

    /// The binary to test.
    #[arg(long, default_value = "target/release/kopeck", value_name = "FILE")]
    kopeck: PathBuf,

    /// The counts for every change, which judge no timing (the default).
    #[arg(long, conflicts_with = "long")]
    short: bool,

    /// The counts for a release: hours.
    #[arg(long)]
    long: bool,

    /// How many rounds, in place of the form's own count.
    #[arg(long)]
    count: Option<u64>,

    /// What all chance follows from; one is made up if none is given.
    #[arg(long)]
    seed: Option<u64>,

    /// The file that a line is appended to for each campaign.
    #[arg(long, default_value = "target/faults.jsonl", value_name = "FILE")]
    results: PathBuf,

    /// Where disks and data directories are made [default: the system's temporary directory;
    /// /dev/shm for bit-rot, which has nothing to do with a disk].
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,

    /// The commit that the binary was built from [default: the one that is checked out].
    #[arg(long)]
    commit: Option<String>,

    /// How many seconds after a kill the first acknowledgement may take [default: 2 with --long, 15
    /// without].
    #[arg(long, value_name = "SECONDS")]
    first_acknowledgement_max: Option<f64>,
}

#[derive(Debug, Clone)]
struct Campaigns(Vec<Campaign>);

fn parse_campaigns(text: &str) -> Result<Campaigns, String> {
    if text == "all" {
        return Ok(Campaigns(Campaign::value_variants().to_vec()));
    }
    Campaign::from_str(text, false).map(|campaign| Campaigns(vec![campaign])).map_err(|_| {
        let names: Vec<String> =
            Campaign::value_variants().iter().map(|campaign| campaign.name()).collect();
        format!("must be `all` or one of {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("checker: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            done = run(options) => match done {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => {
                    eprintln!("checker: {error:#}");
                    ExitCode::FAILURE
                }
            },
            // Dropping what runs kills the service and unmounts the disks.
            _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        }
    })
}

/// Whether nothing was found wrong.
async fn run(options: Options) -> anyhow::Result<bool> {
    let form = if options.long { Form::Long } else { Form::Short };
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 48));
    let commit = options.commit.clone().unwrap_or_else(commit);
    println!("seed {seed}, commit {commit}, binary {}", options.kopeck.display());
    let mut lines = Vec::new();
    for campaign in &options.campaigns.0 {
        let plan = plan(*campaign, form, seed, &options);
        let line = campaign.report(&plan, &commit).await?;
        plan.progress.finish_and_clear();
        line.append(&options.results)?;
        tell(&line);
        lines.push(line);
    }
    println!("\n{}", table(&lines));
    println!("appended to {}", options.results.display());
    Ok(lines.iter().all(|line| line.tally.violations.is_empty()))
}

fn plan(campaign: Campaign, form: Form, seed: u64, options: &Options) -> Plan {
    let mut plan = Plan::new(campaign, form, options.kopeck.clone());
    plan.seed = seed;
    plan.progress = progress(&campaign.name());
    if let Some(dir) = &options.work_dir {
        plan.work_dir.clone_from(dir);
    }
    plan.count = options.count.unwrap_or(plan.count);
    if let Some(seconds) = options.first_acknowledgement_max {
        let max = Duration::try_from_secs_f64(seconds);
        plan.first_acknowledgement_max = max.unwrap_or(Duration::MAX);
    }
    plan
}

fn progress(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = "{prefix:>14} {bar:30} {pos}/{len} {elapsed_precise} (left {eta}) {msg}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()));
    bar.set_prefix(name.to_owned());
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    bar
}

fn tell(line: &Line) {
    let Line { campaign, verdict, seconds, tally, .. } = line;
    println!("{campaign}: {verdict}, {} rounds in {seconds:.1} s", tally.count);
    if let Some(why) = &tally.skipped {
        println!("SKIPPED: {campaign}: {why}");
    }
    for (figure, value) in &tally.figures {
        println!("  {figure}: {value}");
    }
    for violation in &tally.violations {
        println!("  VIOLATION: {violation}");
    }
}

//! Owns `kopeck bench`: what the service and its engine can do on this machine, measured by whoever
//! wants to know, checked, and told as a table, as JSON and as a page.
//!
//! Never: data that a benchmark did not make, a network beyond the service that was named, a load
//! without an end. Bounds: everything runs for the time and with the sizes that were asked for; data
//! are removed at the end unless they are to be kept.

mod answer;
mod asker;
mod bare_log;
mod book;
mod checks;
mod client;
mod connect;
mod document;
mod engine;
mod home;
mod in_process;
mod load;
mod machine;
mod measure;
mod options;
mod page_file;
mod plot;
mod prefill;
mod progress;
mod raw;
mod remote;
mod report;
mod requests;
mod run;
mod scenario;
mod server;
pub(crate) mod stand_in;
mod table;
mod tally;
mod targets;
mod tether;
mod threads;
mod turns;
mod usage;
mod work;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Context;
use clap::CommandFactory as _;
use clap::error::ErrorKind;

use self::document::Document;
use self::load::STOP;
pub(crate) use self::options::Wanted;
use self::options::{Output, Preset};
use self::page_file::PageFile;
use crate::config::Cli;

/// Measures, and says what was found. Status 1: a check failed, or it could not be measured; a target
/// that is missed is no failure. Status 2: what was asked for makes no sense.
pub(crate) fn run(wanted: Wanted) -> ExitCode {
    if let Some(contradiction) = wanted.contradiction() {
        let mut cli = Cli::command();
        cli.build();
        let mut bench = cli.find_subcommand("bench").cloned().unwrap_or(cli);
        bench.error(ErrorKind::ArgumentConflict, contradiction).exit();
    }
    match measure_and_say(wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            crate::complain("kopeck: a check of the benchmark's own result failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            crate::complain(format_args!("kopeck: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether the checks of what was measured hold.
fn measure_and_say(wanted: Wanted) -> anyhow::Result<bool> {
    let Output { json, report } = wanted.output().clone();
    let page_file = report.as_deref().map(PageFile::open).transpose()?;
    let document = measure(wanted)?;
    let written = page_file.map(|file| file.write(&report::page(&document))).transpose();
    print(&document, json).context("cannot write to standard output")?;
    written?;
    Ok(document.is_sound())
}

/// Runs it so that a signal stops it; a second one ends the process at once.
fn measure(wanted: Wanted) -> anyhow::Result<Document> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = crate::signals::stop()?;
        tokio::spawn(async move {
            stop.await;
            STOP.store(true, Ordering::Relaxed);
        });
        let work = move || match wanted.preset {
            Some(Preset::Targets(targets)) => targets::measure(&targets),
            None if wanted.measure.engine => in_process::measure(&wanted.measure, &wanted.place),
            None => measure::http(&wanted.measure, &wanted.place),
        };
        tokio::task::spawn_blocking(work).await?
    })
}

fn print(document: &Document, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", document.json())?;
    } else {
        write!(out, "{}", table::text(document))?;
    }
    out.flush()
}

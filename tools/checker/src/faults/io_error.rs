//! A disk that breaks: the N-th sync, or the N-th write, fails with EIO and is not carried out; and
//! then the power goes. For every N: over the first start ever, a start after a kill, some batches,
//! and a checkpoint. And the N-th read, over a start and while statements are read.
//!
//! After the failure nothing more is acknowledged, and the service ends with a status that says so.
//! (What were acknowledged after a failed sync would be lost with the power: the audit would say.)

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::stage::Stage;
use super::{Form, Home, Plan, TASKS};
use rustix::process::Signal;

use crate::disk::PowerDisk;
use crate::injection::{Calls, Injection};
use crate::machine::{self, Need};
use crate::results::Tally;
use crate::service::{STOP_MAX, Setup, StartError};

/// Acknowledgements that are waited for when no write to the batches' files fails any more.
const BATCH_ACKNOWLEDGEMENTS: u64 = 6;
/// The same while statements are read: some reads a hundred acknowledgements.
const STATEMENT_ACKNOWLEDGEMENTS: u64 = 1_000;
/// Few at a time make small batches, and these a long log: a checkpoint is due sooner.
const CHECKPOINT_TASKS: usize = 3;
/// How long it may take until a checkpoint is due.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(120);
/// A checkpoint that has written and synced, and is silent for so long, is over.
const CHECKPOINT_SILENCE: Duration = Duration::from_millis(400);
const FILES: [&str; 2] = ["kopeck.db", "kopeck.db-wal"];

/// When the failure strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Start,
    Batch,
    Checkpoint,
    Stop,
    Statement,
}

/// Runs it. A round is one failure; with a count, the greatest N of each sweep.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "io-error")?;
    let mut disk = match machine::lacks(&[Need::PowerDisk], &plan.work_dir) {
        None => Some(PowerDisk::new(home.path(), 1_024)?),
        Some(why) => {
            eprintln!("SKIPPED: a power cut after each failure: {why}");
            None
        }
    };
    let root = disk.as_ref().map_or_else(|| home.path().to_owned(), PowerDisk::path);
    let setup = Setup { data: root.join("data"), ..Setup::new(&plan.kopeck, home.path()) };
    let mut stage = Stage::open(plan, setup).await?;
    plan.progress.set_length(0);
    for calls in [Calls::Syncs, Calls::Writes] {
        first_starts(&mut stage, home.path(), calls).await?;
        for moment in [Moment::Start, Moment::Batch, Moment::Checkpoint, Moment::Stop] {
            sweep(&mut stage, &mut disk, home.path(), moment, calls).await?;
        }
    }
    for moment in [Moment::Start, Moment::Statement] {
        sweep(&mut stage, &mut disk, home.path(), moment, Calls::Reads).await?;
    }
    let tally = stage.close().await?;
    Ok(home.keep_if_wrong(tally))
}

/// Every N, until there is no N-th call.
async fn sweep(
    stage: &mut Stage<'_>,
    disk: &mut Option<PowerDisk>,
    trace: &Path,
    moment: Moment,
    calls: Calls,
) -> anyhow::Result<()> {
    let mut nth = 1;
    while nth <= stage.plan.count {
        if stage.tally.is_full() {
            return Ok(());
        }
        let injection = injection(&stage.setup.data, trace, calls, nth);
        match moment {
            Moment::Start => at_start(stage, &injection).await?,
            Moment::Batch => in_batch(stage, &injection).await?,
            Moment::Checkpoint => in_checkpoint(stage, &injection).await?,
            Moment::Stop => at_stop(stage, &injection).await?,
            Moment::Statement => in_statement(stage, &injection).await?,
        }
        let failed_call = injection.failed_call();
        let struck = failed_call.is_some();
        if let Some(call) = failed_call {
            stage.tally.add(&name(moment, calls), 1);
            check_no_second_try(&mut stage.tally, &injection.seen());
            must_have_ended(stage, &format!("{moment:?}, {calls:?} {nth}"), &call).await?;
        }
        stage.end_load().await;
        stage.bury().await?;
        if let Some(disk) = disk {
            disk.cut_power()?;
            disk.come_back()?;
        }
        let began = Instant::now();
        stage.start().await?;
        stage.first_acknowledgement(began).await?;
        stage.end_round().await?;
        if !struck {
            // It was a round without a failure.
            stage.tally.count -= 1;
            ensure!(nth > 1, "{moment:?}: none of {calls:?} was seen: {}", injection.seen());
            return Ok(());
        }
        nth = next(nth, stage.plan.form, moment, calls);
    }
    Ok(())
}

/// Every N; in the short form only some of a checkpoint's hundreds of writes, each of which costs a
/// load that makes a checkpoint due. Of reads, of which there is no end, only some.
fn next(nth: u64, form: Form, moment: Moment, calls: Calls) -> u64 {
    let many = matches!((moment, calls), (Moment::Checkpoint | Moment::Stop, Calls::Writes));
    let some = calls == Calls::Reads || many && form == Form::Short;
    if some { nth * 2 } else { nth + 1 }
}

fn name(moment: Moment, calls: Calls) -> String {
    format!("{moment:?}_{calls:?}").to_lowercase()
}

fn injection(data: &Path, trace: &Path, calls: Calls, nth: u64) -> Injection {
    let trace = trace.join("trace");
    let _ = fs::remove_file(&trace);
    let mut files: Vec<PathBuf> = FILES.iter().map(|file| data.join(file)).collect();
    files.push(data.to_owned());
    files.extend(data.parent().map(Path::to_owned));
    Injection { calls, files, nth, trace }
}

/// Killed under load, it starts; or does not, and says why.
async fn at_start(stage: &mut Stage<'_>, injection: &Injection) -> anyhow::Result<()> {
    stage.begin_load(TASKS);
    stage.load_for(Duration::from_millis(20), 20).await?;
    stage.kill().await?;
    stage.end_load().await;
    stage.setup.wrapper = injection.wrapper();
    let started = stage.setup.start().await;
    stage.setup.wrapper.clear();
    match started {
        Ok(service) => stage.adopt(service),
        Err(error) => check_refusal(&mut stage.tally, injection, error)?,
    }
    Ok(())
}

/// Only a failed call is a reason, and it is said.
fn check_refusal(
    tally: &mut Tally,
    injection: &Injection,
    error: StartError,
) -> anyhow::Result<()> {
    let (calls, nth) = (injection.calls, injection.nth);
    match error {
        StartError::Ended { status, log } => {
            if status.code() != Some(1) || !log.contains("kopeck: ") {
                tally.violation(format!("{calls:?} {nth} of a start: {status}, {log}"));
            }
            ensure!(injection.struck(), "a start without a failure ended with {status}: {log}");
            Ok(())
        }
        other => Err(other.into()),
    }
}

async fn in_batch(stage: &mut Stage<'_>, injection: &Injection) -> anyhow::Result<()> {
    let pid = stage.service()?.pid()?;
    let attached = injection.attach(pid, "kopeck-writer").await?;
    stage.begin_load(2);
    stage.acknowledges(BATCH_ACKNOWLEDGEMENTS).await?;
    drop(attached);
    Ok(())
}

async fn in_checkpoint(stage: &mut Stage<'_>, injection: &Injection) -> anyhow::Result<()> {
    let pid = stage.service()?.pid()?;
    let attached = injection.attach(pid, "kopeck-checkpoint").await?;
    stage.begin_load(CHECKPOINT_TASKS);
    let began = Instant::now();
    let (mut seen, mut since) = (0, Instant::now());
    while stage.service()?.ended()?.is_none() {
        let calls = injection.seen();
        if calls.len() > seen {
            (seen, since) = (calls.len(), Instant::now());
        }
        let over = calls.contains("sync(") && calls.contains("write");
        if over && since.elapsed() > CHECKPOINT_SILENCE {
            break;
        }
        ensure!(began.elapsed() < CHECKPOINT_WAIT_MAX, "no checkpoint: {calls}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(attached);
    Ok(())
}

/// Asked to stop, it writes what lags behind, and says if it could not.
async fn at_stop(stage: &mut Stage<'_>, injection: &Injection) -> anyhow::Result<()> {
    stage.begin_load(2);
    stage.acknowledges(BATCH_ACKNOWLEDGEMENTS).await?;
    stage.end_load().await;
    let service = stage.service()?;
    let attached = injection.attach_all(service.pid()?).await?;
    service.signal(Signal::TERM)?;
    let status = service.wait(STOP_MAX).await?;
    ensure!(status.is_some(), "asked to stop, it does not: {}", service.said());
    drop(attached);
    Ok(())
}

/// Pages of history are read meanwhile, by two threads; one of them meets a disk that cannot be read.
async fn in_statement(stage: &mut Stage<'_>, injection: &Injection) -> anyhow::Result<()> {
    let pid = stage.service()?.pid()?;
    let attached = injection.attach(pid, "kopeck-reader-1").await?;
    stage.begin_load(TASKS);
    stage.acknowledges(STATEMENT_ACKNOWLEDGEMENTS).await?;
    drop(attached);
    Ok(())
}

/// By itself, with the status and the sentence of a service whose storage failed.
async fn must_have_ended(stage: &mut Stage<'_>, what: &str, call: &str) -> anyhow::Result<()> {
    if !stage.is_running() {
        // The start was refused already.
        return Ok(());
    }
    if may_be_passed_over(call) && stage.service()?.ended()?.is_none() {
        stage.tally.add("directory_syncs_passed_over", 1);
        return Ok(());
    }
    let (status, said) = stage.ends(STOP_MAX).await?;
    let halted = said.contains("halted");
    if status.is_none_or(|status| status.code() != Some(1)) || !halted {
        stage.tally.violation(format!("{what}: {call}, and it ended with {status:?}: {said}"));
    }
    Ok(())
}

/// A sync that failed tells nothing any more: one that succeeds after it may have lost what the
/// first was for. So there must be none on the same file.
fn check_no_second_try(tally: &mut Tally, calls: &str) {
    let mut failed: Option<(&str, &str)> = None;
    for call in calls.lines().filter(|call| call.contains("sync(")) {
        let Some(file) = file_of(call).filter(|file| is_file(file)) else { continue };
        match failed {
            None if call.contains("(INJECTED)") => failed = Some((file, call)),
            Some((path, first)) if path == file => {
                tally.violation(format!("a sync failed and was tried again: {first}, then {call}"));
                return;
            }
            _ => {}
        }
    }
}

/// SQLite syncs the directory when a connection syncs its log for the first time, and does not look
/// how that went: the service does so itself at its start, and then looks. So a directory's sync that
/// fails may be passed over; what the power cut leaves must be right all the same.
fn may_be_passed_over(call: &str) -> bool {
    call.contains("sync(") && file_of(call).is_some_and(|file| !is_file(file))
}

/// As strace writes a call: `1234 fsync(12</path>) = 0`.
fn file_of(call: &str) -> Option<&str> {
    Some(call.split_once('<')?.1.split_once('>')?.0)
}

fn is_file(path: &str) -> bool {
    FILES.iter().any(|file| path.ends_with(file))
}

/// The first start of all, in a directory that is not there yet.
async fn first_starts(stage: &mut Stage<'_>, home: &Path, calls: Calls) -> anyhow::Result<()> {
    for nth in 1..=stage.plan.count {
        if stage.tally.is_full() {
            return Ok(());
        }
        let dir = home.join(format!("first-{calls:?}-{nth}"));
        fs::create_dir(&dir)?;
        let mut setup = Setup::new(&stage.plan.kopeck, &dir);
        let injection = injection(&setup.data, home, calls, nth);
        setup.wrapper = injection.wrapper();
        match setup.start().await {
            Ok(mut service)
                if injection.failed_call().is_some_and(|call| may_be_passed_over(&call)) =>
            {
                stage.tally.add("directory_syncs_passed_over", 1);
                service.kill().await?;
            }
            Ok(mut service) if injection.struck() => {
                let status = service.wait(STOP_MAX).await?;
                let said = service.said();
                if status.is_none_or(|status| status.code() != Some(1)) {
                    let call = injection.failed_call().unwrap_or_default();
                    let what = format!("a first start: {call}\nand it ended with {status:?}");
                    stage.tally.violation(format!("{what}: {said}"));
                }
            }
            Ok(mut service) => {
                service.kill().await?;
                ensure!(nth > 1, "a first start has none of {calls:?}");
                return Ok(fs::remove_dir_all(&dir)?);
            }
            Err(error) => check_refusal(&mut stage.tally, &injection, error)?,
        }
        setup.wrapper.clear();
        let mut service = setup.start().await.context("after a first start that failed")?;
        service.kill().await?;
        stage.tally.restarts += 1;
        stage.tally.count += 1;
        stage.plan.progress.inc(1);
        stage.tally.add(&format!("first_{calls:?}").to_lowercase(), 1);
        fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

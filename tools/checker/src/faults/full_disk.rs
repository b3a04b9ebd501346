//! The disk fills under load, and is freed. Writes are refused, surely not done; reads go on; and
//! writes resume by themselves. A service that stops instead must say so, and recover when started.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::stage::Stage;
use super::{Form, Home, Plan, TASKS};
use crate::client::Reply;
use crate::disk::SmallDisk;
use crate::results::Tally;
use crate::service::{STOP_MAX, Setup};

/// How long a load may go on before it meets the full disk, or after it was freed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs it. A round is the disk full once, and freed.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "full-disk")?;
    let mebibytes = match plan.form {
        Form::Short => 96,
        Form::Long => 512,
    };
    let disk = SmallDisk::new(home.path(), mebibytes << 10)?;
    let setup = Setup { data: disk.path().join("data"), ..Setup::new(&plan.kopeck, home.path()) };
    let mut stage = Stage::open(plan, setup).await?;
    for _ in 0..plan.count {
        stage.begin_load(TASKS);
        let moment = Duration::from_millis(stage.rng.u64(20..200));
        stage.load_for(moment, 20).await?;
        disk.fill(stage.rng.u64(0..96))?;
        let halted = fill_up(&mut stage).await?;
        disk.free()?;
        if halted {
            stage.end_load().await;
            stage.bury().await?;
            stage.start().await?;
        } else {
            resume(&mut stage).await?;
            stage.end_load().await;
        }
        stage.end_round().await?;
        if stage.is_wrong() {
            break;
        }
    }
    let tally = stage.close().await?;
    Ok(home.keep_if_wrong(tally))
}

/// Goes on until writes are refused for want of room, and looks whether reads go on. `true` when
/// the service stopped instead.
async fn fill_up(stage: &mut Stage<'_>) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut refusals = 0;
    while refusals < 10 {
        if stage.service()?.ended()?.is_some() {
            return halted(stage).await;
        }
        if began.elapsed() > PATIENCE {
            stage.tally.violation("the disk is full, and writes are not refused");
            return Ok(false);
        }
        let shared = Arc::clone(&stage.world.shared);
        let somebody = shared.people.first().context("nobody is there")?;
        let order = shared.deposit(somebody.session.wallet, 1);
        match shared.attempt(order).await.1 {
            Reply::Unknown { why } if why.contains("storage_full") => {
                if !why.starts_with("503 ") {
                    stage.tally.violation(format!("a refusal for want of room was {why}"));
                }
                refusals += 1;
                stage.tally.add("refusals_seen", 1);
                if !shared.read(somebody, 5).await && stage.service()?.ended()?.is_none() {
                    stage.tally.violation("a read on a full disk was not answered");
                }
            }
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    Ok(false)
}

/// It may stop, if it says so.
async fn halted(stage: &mut Stage<'_>) -> anyhow::Result<bool> {
    stage.tally.add("halts", 1);
    let (status, said) = stage.ends(STOP_MAX).await?;
    let status = status.context("it ended, and did not")?;
    if status.code() != Some(1) || !said.contains("halted") {
        stage.tally.violation(format!("on a full disk it ended with {status}: {said}"));
    }
    Ok(true)
}

/// There is room again: the same process writes again.
async fn resume(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let freed = Instant::now();
    if !stage.acknowledges(20).await? {
        let said = stage.service()?.said();
        stage.tally.violation(format!("freed, the disk was not written to again: {said}"));
    }
    let ms = u64::try_from(freed.elapsed().as_millis())?;
    let slowest = stage.tally.figures.get("slowest_resume_ms").and_then(|ms| ms.as_u64());
    stage.tally.set("slowest_resume_ms", ms.max(slowest.unwrap_or(0)));
    Ok(())
}

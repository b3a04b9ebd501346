//! The power goes at a random moment under load: what was not synced is gone. Also the same right
//! after a start that has answered what was unknown: that must not be taken back either.

use std::time::{Duration, Instant};

use super::stage::Stage;
use super::{Form, Home, Plan, TASKS};
use crate::audit::Audit;
use crate::disk::PowerDisk;
use crate::results::Tally;
use crate::service::Setup;

/// Runs it. A round is one cut.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "power-cut")?;
    let mut disk = disk(plan, &home)?;
    let mut stage = Stage::open(plan, on(&disk, plan, &home)).await?;
    for _ in 0..plan.count {
        stage.begin_load(TASKS);
        let moment = Duration::from_millis(stage.rng.u64(20..500));
        stage.load_for(moment, 20).await?;
        let cut = Instant::now();
        lose_power(&mut stage, &mut disk).await?;
        stage.start().await?;
        stage.first_acknowledgement(cut).await?;
        stage.end_round().await?;
        if stage.is_wrong() {
            break;
        }
    }
    let tally = stage.close().await?;
    Ok(home.keep_if_wrong(tally))
}

/// Kill, start, ask again what was unknown; and before anything else is done, the power goes. What
/// the second asking was told must be there. A round is one kill and one cut.
pub(super) async fn run_after_retry(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "retry-then-cut")?;
    let mut disk = disk(plan, &home)?;
    let mut stage = Stage::open(plan, on(&disk, plan, &home)).await?;
    for _ in 0..plan.count {
        stage.begin_load(TASKS);
        let moment = Duration::from_millis(stage.rng.u64(20..300));
        stage.load_for(moment, 20).await?;
        stage.kill().await?;
        stage.end_load().await;
        stage.start().await?;
        stage.world.retry_unknown().await?;
        lose_power(&mut stage, &mut disk).await?;
        stage.start().await?;
        stage.audit(Audit::New).await?;
        stage.end_round().await?;
        if stage.is_wrong() {
            break;
        }
    }
    let tally = stage.close().await?;
    Ok(home.keep_if_wrong(tally))
}

fn disk(plan: &Plan, home: &Home) -> anyhow::Result<PowerDisk> {
    let mebibytes = match plan.form {
        Form::Short => 256,
        Form::Long => 16 * 1_024,
    };
    PowerDisk::new(home.path(), mebibytes)
}

/// The data on the disk, the log beside it.
pub(super) fn on(disk: &PowerDisk, plan: &Plan, home: &Home) -> Setup {
    Setup { data: disk.path().join("data"), ..Setup::new(&plan.kopeck, home.path()) }
}

/// Nobody may be told anything after the cut: so the service is gone before it, or frozen. Frozen,
/// it may be in the middle of a sync, which then is torn.
///
/// (A service that runs on would prove nothing: a sync that is under way while ext4 is shut down may
/// return success though its data are gone, which no sync does when the power goes.)
async fn lose_power(stage: &mut Stage<'_>, disk: &mut PowerDisk) -> anyhow::Result<()> {
    if stage.rng.bool() {
        stage.service()?.freeze().await?;
        disk.cut_power()?;
        stage.kill().await?;
        stage.tally.add("frozen_first", 1);
    } else {
        stage.kill().await?;
        disk.cut_power()?;
    }
    stage.end_load().await;
    disk.come_back()
}

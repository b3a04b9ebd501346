//! A clock that is wrong: set back a day or forward a day, between two starts and while the service
//! runs. Nothing that was done before may be done again, and nobody may be logged out.
//!
//! The clock is the process's own, by libfaketime; the machine's is not touched.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};

use super::stage::Stage;
use super::{Home, Plan, TASKS};
use crate::machine;
use crate::results::Tally;
use crate::service::Setup;

/// Runs it. A round is a day in one direction, there and back again.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "clock")?;
    let clock = home.path().join("clock");
    set(&clock, "+0")?;
    let library = machine::faketime().context("there is no libfaketime")?;
    let mut setup = Setup::new(&plan.kopeck, home.path());
    setup.environment = vec![
        ("LD_PRELOAD".into(), library.into()),
        ("FAKETIME_TIMESTAMP_FILE".into(), clock.clone().into()),
        // The file is looked at for each call; timers run as they do.
        ("FAKETIME_NO_CACHE".into(), "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
    ];
    // A key is remembered for its window, by the clock. Two days of jumps are well within this one.
    setup.options.push("--idempotency-window-hours=168".into());
    let mut stage = Stage::open(plan, setup).await?;
    let began = chrono::Utc::now();
    for round in 0..plan.count {
        let day = if round % 2 == 0 { "-1d" } else { "+1d" };
        // While it runs.
        stage.begin_load(TASKS);
        stage.load_for(Duration::from_millis(300), 50).await?;
        set(&clock, day)?;
        stage.load_for(Duration::from_millis(300), 50).await?;
        restart(&mut stage).await?;
        stage.look().await?;
        // Between two starts.
        set(&clock, "+0")?;
        stage.begin_load(TASKS);
        stage.load_for(Duration::from_millis(300), 50).await?;
        stage.kill().await?;
        stage.end_load().await;
        set(&clock, day)?;
        stage.start().await?;
        stage.begin_load(TASKS);
        stage.load_for(Duration::from_millis(300), 50).await?;
        set(&clock, "+0")?;
        restart(&mut stage).await?;
        if day == "+1d" {
            must_have_jumped(&mut stage, began).await?;
        }
        stage.end_round().await?;
        if stage.is_wrong() {
            break;
        }
    }
    for pid in &stage.pids {
        // What libfaketime leaves of a process that was killed.
        for name in ["faketime_shm_", "sem.faketime_sem_"] {
            let _ = fs::remove_file(format!("/dev/shm/{name}{pid}"));
        }
    }
    let tally = stage.close().await?;
    Ok(home.keep_if_wrong(tally))
}

/// A clock that was not believed would prove nothing.
async fn must_have_jumped(stage: &mut Stage<'_>, began: DateTime<Utc>) -> anyhow::Result<()> {
    let page = stage.world.shared.bank.session.page(1, None).await;
    let page = page.map_err(|unread| anyhow::anyhow!("the bank's wallet: {unread:?}"))?;
    let newest = page.entries.first().context("the bank paid nothing in")?;
    let dated: DateTime<Utc> = newest.timestamp.parse().context("not a time")?;
    ensure!(dated > began + Duration::from_secs(23 * 60 * 60), "the clock did not jump: {dated}");
    Ok(())
}

async fn restart(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let killed = Instant::now();
    stage.kill().await?;
    stage.end_load().await;
    stage.start().await?;
    stage.first_acknowledgement(killed).await
}

/// By renaming, so that nobody ever reads half of it.
fn set(clock: &Path, offset: &str) -> anyhow::Result<()> {
    let new = clock.with_extension("new");
    fs::write(&new, format!("{offset}\n"))?;
    Ok(fs::rename(new, clock)?)
}

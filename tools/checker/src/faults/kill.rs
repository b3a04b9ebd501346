//! SIGKILL at a random moment under load. The page cache outlives the process, so this finds what a
//! process keeps in its memory too long, and what its next start makes of a half-written log.

use std::time::{Duration, Instant};

use super::stage::Stage;
use super::{Home, Plan, TASKS};
use crate::results::Tally;
use crate::service::Setup;

/// Runs it. A round is one kill.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "kill")?;
    let mut stage = Stage::open(plan, Setup::new(&plan.kopeck, home.path())).await?;
    for _ in 0..plan.count {
        stage.begin_load(TASKS);
        let moment = Duration::from_millis(stage.rng.u64(20..500));
        stage.load_for(moment, 20).await?;
        let killed = Instant::now();
        stage.kill().await?;
        stage.end_load().await;
        stage.start().await?;
        stage.first_acknowledgement(killed).await?;
        stage.end_round().await?;
        if stage.is_wrong() {
            break;
        }
    }
    let tally = stage.close().await?;
    Ok(home.keep_if_wrong(tally))
}

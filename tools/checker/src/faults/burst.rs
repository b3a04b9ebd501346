//! 64 orders at the same moment through one wallet, keys sent several times over, more money asked
//! for than there is.

use super::stage::Stage;
use super::{Home, Plan};
use crate::results::Tally;
use crate::service::Setup;

/// So many bursts between two audits.
const BURSTS_BETWEEN_AUDITS: u64 = 25;

/// Runs it. A round is one burst.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "burst")?;
    let mut stage = Stage::open(plan, Setup::new(&plan.kopeck, home.path())).await?;
    while stage.tally.count < plan.count && !stage.is_wrong() {
        stage.world.burst(stage.tally.count).await;
        stage.tally.count += 1;
        plan.progress.inc(1);
        if stage.tally.count.is_multiple_of(BURSTS_BETWEEN_AUDITS) {
            stage.look().await?;
        }
    }
    let tally = stage.close().await?;
    Ok(home.keep_if_wrong(tally))
}

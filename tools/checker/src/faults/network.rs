//! A network that delays, resets after the request was sent, closes one half and cuts answers short.
//! What the sender was not told, it asks again; nothing is done twice.

use std::time::{Duration, Instant};

use super::stage::Stage;
use super::{Home, Plan, TASKS};
use crate::proxy::Proxy;
use crate::results::Tally;
use crate::service::Setup;

/// How long the load runs between two audits.
const ROUND_MAX: Duration = Duration::from_secs(5);

/// Runs it. A round is a second.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "network")?;
    let mut stage = Stage::open(plan, Setup::new(&plan.kopeck, home.path())).await?;
    let service = stage.service()?.address();
    let proxy = Proxy::start(service, plan.seed).await?;
    let duration = Duration::from_secs(plan.count);
    let began = Instant::now();
    while began.elapsed() < duration && !stage.is_wrong() {
        let round = ROUND_MAX.min(duration.saturating_sub(began.elapsed()));
        stage.address.set(&format!("http://{}", proxy.address()));
        stage.begin_load(TASKS);
        stage.load_for(round, 20).await?;
        stage.end_load().await;
        // What is compared must be what is there, not what came through.
        stage.address.set(&format!("http://{service}"));
        stage.look().await?;
        stage.tally.count = began.elapsed().as_secs().min(plan.count);
        plan.progress.set_position(stage.tally.count);
    }
    stage.tally.set("proxy", serde_json::to_value(proxy.mishaps())?);
    let tally = stage.close().await?;
    Ok(home.keep_if_wrong(tally))
}

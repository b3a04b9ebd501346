//! 500 wrong logins a second, with many e-mail addresses, while transfers go on: from one address,
//! which is soon refused without a hash, and from many, each of whose passwords is hashed. Every
//! transfer is still right, and in the long form the time of the slowest hundredth at most doubles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::task::JoinSet;

use super::stage::Stage;
use super::{Form, Home, Plan};
use crate::client::Reply;
use crate::history::{Must, Order};
use crate::results::Tally;
use crate::service::Setup;
use crate::world::Shared;

const LOGINS_PER_SECOND: u64 = 500;
const TICK: Duration = Duration::from_millis(20);
/// E-mail addresses that are tried: some are somebody's.
const EMAILS: u64 = 5_000;
/// So many send transfers, each with a pause after an answer: a busy service, not a full one.
const SENDERS: u64 = 16;
const PAUSE: Duration = Duration::from_millis(10);
const P99_RATIO_MAX: f64 = 2.0;

/// What goes on beside the transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Beside {
    Nothing,
    OneAddress,
    ManyAddresses,
}

/// Runs it. A round is each of the three for some seconds.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    raise_open_files()?;
    let mut home = Home::new(plan, "logins")?;
    let mut setup = Setup::new(&plan.kopeck, home.path());
    // The logins say from where they come, as a proxy does.
    setup.options.push("--trusted-proxy=127.0.0.1".into());
    let mut stage = Stage::open(plan, setup).await?;
    let duration = match plan.form {
        Form::Short => Duration::from_secs(2),
        Form::Long => Duration::from_secs(5),
    };
    let mut times: BTreeMap<Beside, Vec<Duration>> = BTreeMap::new();
    while stage.tally.count < plan.count && !stage.is_wrong() {
        for beside in [Beside::Nothing, Beside::OneAddress, Beside::ManyAddresses] {
            let taken = transfers_beside(&mut stage, beside, duration).await?;
            times.entry(beside).or_default().extend(taken);
        }
        stage.end_round().await?;
    }
    judge(&mut stage, times);
    let tally = stage.close().await?;
    Ok(home.keep_if_wrong(tally))
}

/// A login that waits for its turn holds a connection.
fn raise_open_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit on open files")
}

fn judge(stage: &mut Stage<'_>, times: BTreeMap<Beside, Vec<Duration>>) {
    let mut quiet = None;
    for (beside, mut taken) in times {
        taken.sort_unstable();
        let Some(p99) = taken.get(taken.len() * 99 / 100).map(Duration::as_secs_f64) else {
            stage.tally.violation(format!("no transfers beside {beside:?}"));
            continue;
        };
        let name = format!("{beside:?}").to_lowercase();
        stage.tally.set(&format!("transfers_beside_{name}"), taken.len());
        stage.tally.set(&format!("p99_ms_beside_{name}"), (p99 * 1e5).round() / 100.0);
        let quiet = *quiet.get_or_insert(p99);
        let ratio = p99 / quiet;
        if beside != Beside::Nothing {
            stage.tally.set(&format!("p99_ratio_{name}"), (ratio * 100.0).round() / 100.0);
        }
        if stage.plan.form == Form::Long && ratio > P99_RATIO_MAX {
            stage.tally.violation(format!(
                "beside logins from {beside:?} the p99 of transfers is {ratio:.2} times as long"
            ));
        }
    }
}

/// How long each transfer took.
async fn transfers_beside(
    stage: &mut Stage<'_>,
    beside: Beside,
    duration: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let until = Instant::now() + duration;
    let mut sending = JoinSet::new();
    for _ in 0..SENDERS {
        sending.spawn(transfers(Arc::clone(&stage.world.shared), stage.rng.fork(), until));
    }
    let logins = match beside {
        Beside::Nothing => BTreeMap::new(),
        _ => wrong_logins(&stage.address.get(), beside, stage.rng.fork(), until).await?,
    };
    for (answer, count) in logins {
        stage.tally.add(&format!("logins_{answer}"), count);
        if answer == "200" {
            stage.tally.violation("a wrong password was let in");
        }
    }
    let mut taken = Vec::new();
    for (times, unknown) in sending.join_all().await {
        taken.extend(times);
        if let Some(why) = unknown {
            stage.tally.violation(format!("a transfer beside {beside:?} was not answered: {why}"));
        }
    }
    Ok(taken)
}

/// Whoever is not answered stops, and says so.
async fn transfers(
    shared: Arc<Shared>,
    mut rng: fastrand::Rng,
    until: Instant,
) -> (Vec<Duration>, Option<String>) {
    let mut taken = Vec::new();
    while Instant::now() < until {
        let wallet = |index: usize| shared.people.get(index).map_or(0, |one| one.session.wallet);
        let from = rng.usize(..shared.people.len());
        let to = (from + rng.usize(1..shared.people.len())) % shared.people.len();
        let order = Order {
            deposit: false,
            from: wallet(from),
            to: wallet(to),
            amount: rng.i64(1..=300),
            must: Must::Decide,
        };
        let sent = Instant::now();
        let (_, reply) = shared.attempt(order).await;
        taken.push(sent.elapsed());
        if let Reply::Unknown { why } = reply {
            return (taken, Some(why));
        }
        tokio::time::sleep(PAUSE).await;
    }
    (taken, None)
}

/// How often each status was answered. What is not answered when the time is over is given up.
async fn wrong_logins(
    url: &str,
    beside: Beside,
    mut rng: fastrand::Rng,
    until: Instant,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut answers = BTreeMap::new();
    let mut trying = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    let at_a_tick = LOGINS_PER_SECOND * u64::try_from(TICK.as_millis())? / 1_000;
    while Instant::now() < until {
        ticks.tick().await;
        for _ in 0..at_a_tick {
            let claim = json!({"email": format!("person{}@example.org", rng.u64(..EMAILS)),
                               "password": "not the password"});
            let mut request = client.post(format!("{url}/api/login")).json(&claim);
            if beside == Beside::ManyAddresses {
                let [a, b, c] = [rng.u8(..), rng.u8(..), rng.u8(..)];
                request = request.header("X-Forwarded-For", format!("10.{a}.{b}.{c}"));
            }
            trying.spawn(async move {
                match request.send().await {
                    Ok(answer) => answer.status().as_u16().to_string(),
                    Err(_) => "broken".to_owned(),
                }
            });
            *answers.entry("sent".to_owned()).or_default() += 1;
        }
        while let Some(answer) = trying.try_join_next() {
            *answers.entry(answer?).or_default() += 1;
        }
    }
    answers.insert("given_up".to_owned(), trying.len() as u64);
    trying.shutdown().await;
    Ok(answers)
}

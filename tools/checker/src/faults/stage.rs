//! Owns what most campaigns share: a service on a data directory, a world of wallets in it, and the
//! steps of a round: load, kill, start, first acknowledgement, audit.
//!
//! Never: a fault (those are the campaigns'), or a service that ended by itself unnoticed. Bounds:
//! one service and one load at a time.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Form, KEYS, Plan};
use crate::results::Tally;
use crate::service::{Service, Setup};
use crate::{Address, Audit, Load, LoadOptions, World, WorldOptions};

/// How long the service may be silent under load before that counts as an end.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A service, its world, and the tally of what happens to them.
pub(super) struct Stage<'p> {
    pub(super) plan: &'p Plan,
    /// How the next start is done.
    pub(super) setup: Setup,
    pub(super) world: World,
    pub(super) tally: Tally,
    pub(super) rng: fastrand::Rng,
    pub(super) address: Address,
    /// Every process that was started.
    pub(super) pids: Vec<u32>,
    service: Option<Service>,
    load: Option<Load>,
}

impl<'p> Stage<'p> {
    /// Starts the service for the first time, and makes the bank's and the people's wallets.
    pub(super) async fn open(plan: &'p Plan, mut setup: Setup) -> anyhow::Result<Self> {
        // Hundreds of people sign up from one address at once.
        setup.options.push("--sign-ups-per-address=1000000/0.001".into());
        let service = setup.start().await?;
        let address = Address::new(&service.url());
        let options = WorldOptions {
            cold: match plan.form {
                Form::Short => 24,
                Form::Long => 1_000,
            },
            seed: plan.seed,
            keys: KEYS,
            history: setup.log.parent().map(|dir| dir.join("history.jsonl")),
            ..WorldOptions::default()
        };
        let world = World::prepare(&address, options).await?;
        plan.progress.set_length(plan.count);
        Ok(Self {
            plan,
            setup,
            world,
            tally: Tally::default(),
            rng: fastrand::Rng::with_seed(plan.seed),
            address,
            pids: service.pid().into_iter().collect(),
            service: Some(service),
            load: None,
        })
    }

    /// Starts the service once more; the world follows it.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let service = self.setup.start().await?;
        self.adopt(service);
        Ok(())
    }

    /// A service that was started elsewhere, on the same data.
    pub(super) fn adopt(&mut self, service: Service) {
        self.tally.restarts += 1;
        self.pids.extend(service.pid());
        self.address.set(&service.url());
        self.service = Some(service);
    }

    /// Whether a service was started and not yet ended by us.
    pub(super) fn is_running(&self) -> bool {
        self.service.is_some()
    }

    /// The running service.
    pub(super) fn service(&mut self) -> anyhow::Result<&mut Service> {
        self.service.as_mut().context("no service is running")
    }

    /// Starts the load.
    pub(super) fn begin_load(&mut self, tasks: usize) {
        let load = self.world.start_load(LoadOptions { tasks, ..LoadOptions::default() });
        self.load = Some(load);
    }

    /// Ends the load; whatever is under way is waited for.
    pub(super) async fn end_load(&mut self) {
        if let Some(load) = self.load.take() {
            load.stop().await;
        }
    }

    /// How many operations the load has been told are done.
    pub(super) fn acknowledged(&self) -> u64 {
        self.load.as_ref().map_or(0, Load::acknowledged)
    }

    /// Waits for so many more acknowledgements. `false` if the service ended first, or fell silent.
    pub(super) async fn acknowledges(&mut self, more: u64) -> anyhow::Result<bool> {
        let goal = self.acknowledged() + more;
        let (mut seen, mut since) = (self.acknowledged(), Instant::now());
        while self.acknowledged() < goal {
            if self.service()?.ended()?.is_some() {
                return Ok(false);
            }
            if self.acknowledged() > seen {
                (seen, since) = (self.acknowledged(), Instant::now());
            } else if since.elapsed() > SILENCE_MAX {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(true)
    }

    /// A load that is fair: it must go on for a while, and acknowledge.
    pub(super) async fn load_for(&mut self, duration: Duration, more: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        let went_on = self.acknowledges(more).await?;
        tokio::time::sleep(duration.saturating_sub(began.elapsed())).await;
        if !went_on {
            let said = self.service()?.said();
            self.tally.violation(format!("it fell silent, or ended by itself: {said}"));
        }
        Ok(())
    }

    /// SIGKILL. It must have been alive until then.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        let service = self.service.as_mut().context("no service is running")?;
        if let Some(status) = service.ended()? {
            let said = service.said();
            self.tally.violation(format!("it had ended by itself with {status}: {said}"));
        }
        service.kill().await?;
        self.service = None;
        Ok(())
    }

    /// SIGKILL, dead or alive.
    pub(super) async fn bury(&mut self) -> anyhow::Result<()> {
        if let Some(mut service) = self.service.take() {
            service.kill().await?;
        }
        Ok(())
    }

    /// SIGTERM: it must end with 0.
    pub(super) async fn terminate(&mut self) -> anyhow::Result<()> {
        let mut service = self.service.take().context("no service is running")?;
        let status = service.terminate().await?;
        if !status.success() {
            let said = service.said();
            self.tally.violation(format!("asked to stop, it ended with {status}: {said}"));
        }
        Ok(())
    }

    /// How it ended by itself, `None` if it did not in this time; and what it logged.
    pub(super) async fn ends(
        &mut self,
        max: Duration,
    ) -> anyhow::Result<(Option<ExitStatus>, String)> {
        let service = self.service()?;
        let status = service.wait(max).await?;
        Ok((status, service.said()))
    }

    /// A short load after a start: how long after `since` the first acknowledgement came.
    pub(super) async fn first_acknowledgement(&mut self, since: Instant) -> anyhow::Result<()> {
        self.begin_load(4);
        let came = self.acknowledges(1).await?;
        let elapsed = since.elapsed();
        self.end_load().await;
        self.tally.first_acknowledgement(elapsed);
        if !came || elapsed > self.plan.first_acknowledgement_max {
            self.tally.violation(format!("the first acknowledgement took {elapsed:.1?}"));
        }
        Ok(())
    }

    /// Compares what is there with what was acknowledged; then lets go of every doubt by asking
    /// again.
    pub(super) async fn audit(&mut self, what: Audit) -> anyhow::Result<()> {
        let report = self.world.audit(what).await?;
        for violation in report.violations.iter().map(ToString::to_string) {
            // An audit that failed settles nothing: the next one finds the same.
            if !self.tally.violations.contains(&violation) && !self.tally.is_full() {
                self.tally.violation(violation);
            }
        }
        Ok(())
    }

    /// Looks at what is new, then asks again what is unknown, and looks at that.
    pub(super) async fn look(&mut self) -> anyhow::Result<()> {
        self.audit(Audit::New).await?;
        self.resolve().await
    }

    /// Sends what is unknown again, and looks once more.
    pub(super) async fn resolve(&mut self) -> anyhow::Result<()> {
        let retried = self.world.retry_unknown().await?;
        if retried.sent > 0 { self.audit(Audit::New).await } else { Ok(()) }
    }

    /// Something was found wrong: the campaign stops there, so that what is left behind shows it.
    pub(super) fn is_wrong(&self) -> bool {
        !self.tally.violations.is_empty()
    }

    /// A round is over: every hundredth time everything is read back, not only what is new.
    pub(super) async fn end_round(&mut self) -> anyhow::Result<()> {
        const FULL_EVERY: u64 = 100;
        self.tally.count += 1;
        self.plan.progress.inc(1);
        let what =
            if self.tally.count.is_multiple_of(FULL_EVERY) { Audit::Full } else { Audit::New };
        self.audit(what).await?;
        self.resolve().await
    }

    /// The last audit, of everything; and a clean stop.
    pub(super) async fn close(mut self) -> anyhow::Result<Tally> {
        if !self.is_wrong() {
            self.resolve().await?;
            self.audit(Audit::Full).await?;
            self.terminate().await?;
        }
        self.tally.acknowledged = self.world.history().acknowledged();
        self.tally.unknown = self.world.history().unknown();
        Ok(self.tally)
    }
}

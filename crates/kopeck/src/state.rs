//! Owns the state that every handler sees.
//!
//! Never: an engine by name (handlers know the contracts only). Bounds: what is here is made once,
//! at start.

use std::ops::Deref;
use std::sync::Arc;

use ledger::{Ledger, People};
use tokio::sync::watch;

use crate::api::{Batches, LastCheckpoint};
use crate::auth::password::Passwords;
use crate::auth::throttle::Throttle;
use crate::auth::{Auth, Expiry, Sessions};
use crate::busy_poll::BusyPoll;
use crate::config::Serve;
use crate::money::Teller;
use crate::statement::Downloads;
use crate::telemetry::Metrics;

/// What every handler sees. A clone is a pointer.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Shared>);

/// The one thing that all clones of [`AppState`] point to.
pub(crate) struct Shared {
    /// The ledger.
    pub(crate) ledger: Arc<dyn Ledger>,
    /// Users, credentials, sessions.
    pub(crate) people: Arc<dyn People>,
    /// Signing up, logging in and out, and who is logged in.
    pub(crate) auth: Auth,
    /// The way to the ledger for whoever moves money.
    pub(crate) teller: Teller,
    /// The room that batches have.
    pub(crate) batches: Batches,
    /// The statements that are being downloaded.
    pub(crate) downloads: Downloads,
    /// The checkpoint that everybody may ask for.
    pub(crate) last_checkpoint: LastCheckpoint,
    /// The options; the currency is in `config.place`.
    pub(crate) config: Serve,
    /// The metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// Set when the service is about to stop: from then on it is not ready.
    pub(crate) stopping: watch::Sender<bool>,
    /// Where request ids start in this process.
    pub(crate) request_id_base: u64,
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    /// Puts it together. Errors: no randomness, or the password hash does not work here.
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        people: Arc<dyn People>,
        config: Serve,
        metrics: Arc<Metrics>,
        processors: usize,
    ) -> anyhow::Result<Self> {
        let expiry =
            Expiry { idle: config.session_idle_days, absolute: config.session_absolute_days };
        let hashes_max = match config.password_hashes_max {
            0 => processors.div_ceil(2),
            limit => limit,
        };
        let throttle = Throttle::new(
            config.sign_ups_per_address,
            config.failed_logins_per_address,
            config.failed_logins_per_email,
            config.failed_logins_per_email_everywhere,
        );
        let auth = Auth::new(
            Arc::clone(&people),
            Passwords::new(hashes_max, config.password_wait_seconds)?,
            Sessions::new(Arc::clone(&people), config.sessions_cached, expiry),
            throttle,
        );
        let busy_poll = BusyPoll::new(config.busy_poll_microseconds, processors);
        let teller = Teller::new(Arc::clone(&ledger), busy_poll, Arc::clone(&metrics));
        Ok(Self(Arc::new(Shared {
            auth,
            teller,
            ledger,
            people,
            batches: Batches::new(&config),
            downloads: Downloads::new(),
            last_checkpoint: LastCheckpoint::default(),
            config,
            metrics,
            stopping: watch::Sender::new(false),
            request_id_base: getrandom::u64()?,
        })))
    }
}

//! Owns the state that every handler sees, and the one route table.
//!
//! Never: an engine by name (handlers know the contracts only). Bounds: what is here is made once,
//! at start.

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use ledger::{Ledger, People};

use crate::auth::password::Passwords;
use crate::auth::throttle::Throttle;
use crate::auth::{Expiry, Sessions};
use crate::config::Serve;
use crate::edge::edge;
use crate::health::{self, Health};
use crate::telemetry::Metrics;
use crate::{api, web};

/// What every handler sees. A clone is a pointer.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Shared>);

/// The one thing that all clones of [`AppState`] point to.
pub(crate) struct Shared {
    /// The ledger.
    pub(crate) ledger: Arc<dyn Ledger>,
    /// Users, credentials, sessions.
    pub(crate) people: Arc<dyn People>,
    /// Who is logged in.
    pub(crate) sessions: Sessions,
    /// Hashes passwords.
    pub(crate) passwords: Passwords,
    /// The patience with guessing.
    pub(crate) throttle: Throttle,
    /// The options; the currency is in `config.place`.
    pub(crate) config: Serve,
    /// The metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// Whether the service can do its work.
    pub(crate) health: Health,
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
    ) -> anyhow::Result<Self> {
        let expiry =
            Expiry { idle: config.session_idle_days, absolute: config.session_absolute_days };
        let hashes_max = match config.password_hashes_max {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            limit => limit,
        };
        let throttle = Throttle::new(
            config.sign_ups_per_address,
            config.failed_logins_per_address,
            config.failed_logins_per_email,
        );
        Ok(Self(Arc::new(Shared {
            sessions: Sessions::new(Arc::clone(&people), config.sessions_cached, expiry),
            passwords: Passwords::new(hashes_max, config.password_wait_seconds)?,
            throttle,
            ledger,
            people,
            config,
            metrics,
            health: Health::default(),
            request_id_base: getrandom::u64()?,
        })))
    }
}

/// Every route there is.
pub(crate) fn router(state: AppState) -> Router {
    Router::new()
        .merge(api::routes())
        .route("/api", any(api::not_found))
        .route("/api/", any(api::not_found))
        .route("/api/{*rest}", any(api::not_found))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .merge(web::routes())
        .layer(from_fn_with_state(state.clone(), edge))
        .with_state(state)
}

//! Owns what orchestrators ask: is it alive, is it ready, what do the metrics say.
//!
//! Never: a dependency in `/livez`: a service that waits for its disk must not be killed for it.
//! Bounds: `/readyz` waits [`READY_WAIT_MAX`] for the engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, header};

use crate::app::AppState;
use crate::problem::{Code, Problem};

const READY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Whether the service means to go on.
#[derive(Debug, Default)]
pub(crate) struct Health {
    stopping: AtomicBool,
}

impl Health {
    /// From now on `/readyz` says no.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// The process runs.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// The engine answers and has not halted.
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<&'static str, Problem> {
    let not_ready = || Problem::new(Code::NotReady).retry_after(Duration::from_secs(5));
    if state.health.stopping.load(Ordering::Relaxed) {
        return Err(not_ready().detail("the service is stopping"));
    }
    match tokio::time::timeout(READY_WAIT_MAX, state.people.bank()).await {
        Ok(Ok(_)) => Ok("ok\n"),
        Ok(Err(error)) => {
            Err(not_ready().detail("the engine cannot be read").privately(error.to_string()))
        }
        Err(_) => Err(not_ready().detail("the engine does not answer")),
    }
}

/// The metrics, for Prometheus.
pub(crate) async fn metrics(
    State(state): State<AppState>,
) -> ([(HeaderName, &'static str); 1], String) {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.metrics.text())
}

//! Owns the metrics and their text for Prometheus.
//!
//! Never: an allocation or a clock reading of its own on the way of a request, a label that a client
//! can choose. Bounds: label values come from the route table, the codes and the known methods.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode};
use ledger::{BatchOutcome, BatchRefusal, LedgerError, Rejection};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The upper bounds that OpenTelemetry advises for the duration of a request, in seconds, with two
/// smaller ones: most of ours are there.
const REQUEST_SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// How often the log tells at most that batches are refused: on a disk that is nearly full, small ones may be committed
/// between large ones that are refused.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The code of what was done.
const OK: &str = "ok";

type Requests = Family<RequestLabels, Histogram, fn() -> Histogram>;

/// Every metric of the service.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: OnceLock<Registry>,
    requests: Requests,
    /// The transfer that was paid: of all requests there are most of these, so its histogram is looked up
    /// once.
    usual: OnceLock<(RequestLabels, Histogram)>,
    outcomes: Family<OutcomeLabels, Counter>,
    /// The outcome that there are most of.
    ok: Counter,
    batch_operations: Histogram,
    commit_seconds: Histogram,
    batches_refused: Counter,
    /// Whether the log told that batches are refused, and not since that they are committed again.
    refusing: AtomicBool,
    /// When it told of the former.
    told: Mutex<Option<Instant>>,
    checkpoint_seconds: Histogram,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// 1 while a thread looks for requests without sleeping.
    pub(crate) busy_polling: Gauge,
}

/// A route of the route table.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// One that is known without the table.
    Known(&'static str),
    /// One that the table found.
    Matched(MatchedPath),
}

impl Route {
    /// Its pattern, as the table has it.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Known(path) => path,
            Self::Matched(path) => path.as_str(),
        }
    }
}

/// Of which route, which method, and how answered.
#[derive(Debug, Clone)]
struct RequestLabels {
    route: Option<Route>,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OutcomeLabels {
    code: &'static str,
}

/// A gauge that is read when somebody asks.
pub(crate) struct Asked {
    /// Its name, without the prefix.
    pub(crate) name: &'static str,
    /// What it tells.
    pub(crate) help: &'static str,
    /// Reads it.
    pub(crate) read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let outcomes = Family::<OutcomeLabels, Counter>::default();
        Self {
            registry: OnceLock::new(),
            requests: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            usual: OnceLock::new(),
            ok: outcomes.get_or_create_owned(&OutcomeLabels { code: OK }),
            outcomes,
            batch_operations: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
            batches_refused: Counter::default(),
            refusing: AtomicBool::new(false),
            told: Mutex::default(),
            checkpoint_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            connections: Gauge::default(),
            busy_polling: Gauge::default(),
        }
    }

    /// Makes them readable at `/metrics`, with some that are read when asked for. To be called once.
    pub(crate) fn publish(&self, asked: Vec<Asked>) {
        let mut registry = Registry::default();
        registry.register_with_unit(
            "http_server_request_duration",
            "Requests by route, method and status",
            Unit::Seconds,
            self.requests.clone(),
        );
        let kopeck = registry.sub_registry_with_prefix("kopeck");
        kopeck.register(
            "outcomes",
            "Operations by the code of their outcome",
            self.outcomes.clone(),
        );
        kopeck.register(
            "batch_operations",
            "Operations in a batch of one commit",
            self.batch_operations.clone(),
        );
        kopeck.register_with_unit(
            "commit",
            "Time to write a batch and make it durable, and to decide what was not decided before",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        kopeck.register(
            "batches_refused",
            "Batches that could not be committed",
            self.batches_refused.clone(),
        );
        kopeck.register_with_unit(
            "checkpoint",
            "Time to move the write-ahead log into the data file",
            Unit::Seconds,
            self.checkpoint_seconds.clone(),
        );
        kopeck.register("connections", "Connections that are open", self.connections.clone());
        kopeck.register(
            "busy_polling",
            "Whether a thread looks for requests without sleeping, because load lasts",
            self.busy_polling.clone(),
        );
        for gauge in asked {
            kopeck.register_collector(Box::new(gauge));
        }
        let _ = self.registry.set(registry);
    }

    /// Counts a request that was answered.
    pub(crate) fn count_request(
        &self,
        route: Option<Route>,
        method: &Method,
        status: StatusCode,
        elapsed: Duration,
    ) {
        let labels = RequestLabels { route, method: known_method(method), status: status.as_u16() };
        let elapsed = elapsed.as_secs_f64();
        if labels.is_usual() {
            let found = || (labels.clone(), self.requests.get_or_create_owned(&labels));
            let (usual, seconds) = self.usual.get_or_init(found);
            if *usual == labels {
                return seconds.observe(elapsed);
            }
        }
        self.requests.get_or_create(&labels).observe(elapsed);
    }

    /// Counts an operation's outcome.
    pub(crate) fn count_outcome(&self, code: &'static str) {
        if code == OK {
            self.ok.inc();
        } else {
            self.outcomes.get_or_create(&OutcomeLabels { code }).inc();
        }
    }

    /// Counts the outcomes of a batch: of each operation, or of the whole when nothing was done.
    pub(crate) fn count_batch(&self, outcome: &Result<BatchOutcome, LedgerError>) {
        let mut counts = BTreeMap::<&'static str, u64>::new();
        match outcome {
            Err(error) => drop(counts.insert(error.code(), 1)),
            Ok(BatchOutcome { replayed: true, .. }) => drop(counts.insert("replayed", 1)),
            Ok(BatchOutcome { decision: Err(BatchRefusal::KeyReused), .. }) => {
                counts.insert(Rejection::IdempotencyKeyReused.code(), 1);
            }
            Ok(BatchOutcome {
                decision: Err(BatchRefusal::Operation { rejection, .. }), ..
            }) => {
                counts.insert(rejection.code(), 1);
            }
            Ok(BatchOutcome { decision: Ok(outcomes), .. }) => {
                for outcome in outcomes {
                    let code = match (&outcome.decision, outcome.replayed) {
                        (_, true) => "replayed",
                        (Ok(_), false) => OK,
                        (Err(rejection), false) => rejection.code(),
                    };
                    *counts.entry(code).or_default() += 1;
                }
            }
        }
        for (code, count) in counts {
            self.outcomes.get_or_create(&OutcomeLabels { code }).inc_by(count);
        }
    }

    /// Whether the log is to tell of a batch that is refused.
    fn begins_to_refuse(&self, now: Instant) -> bool {
        if self.refusing.load(Relaxed) {
            return false;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now.duration_since(told) < TELL_EVERY) {
            return false;
        }
        *told = Some(now);
        self.refusing.store(true, Relaxed);
        true
    }

    /// The text for Prometheus (OpenMetrics 1.0).
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(registry) = self.registry.get() {
            // Writing into a string cannot fail.
            let _ = prometheus_client::encoding::text::encode(&mut text, registry);
        }
        text
    }
}

impl store_sqlite::Observer for Metrics {
    fn batch(&self, operations: usize, elapsed: Duration, committed: Result<(), &LedgerError>) {
        match committed {
            Ok(()) => {
                // A batch is at most some thousands: exact in a float.
                self.batch_operations
                    .observe(u32::try_from(operations).map_or(f64::MAX, f64::from));
                self.commit_seconds.observe(elapsed.as_secs_f64());
                if self.refusing.load(Relaxed) {
                    self.refusing.store(false, Relaxed);
                    tracing::info!("batches are committed again");
                }
            }
            Err(reason) => {
                self.batches_refused.inc();
                // Once, and not for every request: the log may be on the disk that is full.
                if self.begins_to_refuse(Instant::now()) {
                    tracing::error!(%reason, "a batch could not be committed");
                }
            }
        }
    }

    fn checkpoint(&self, elapsed: Duration) {
        self.checkpoint_seconds.observe(elapsed.as_secs_f64());
    }
}

impl RequestLabels {
    fn is_usual(&self) -> bool {
        matches!(self.route, Some(Route::Known(_))) && self.status == 200
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("", Route::as_str)
    }
}

impl PartialEq for RequestLabels {
    fn eq(&self, other: &Self) -> bool {
        self.status == other.status && self.method == other.method && self.route() == other.route()
    }
}

impl Eq for RequestLabels {}

impl Hash for RequestLabels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.route().hash(state);
        self.method.hash(state);
        self.status.hash(state);
    }
}

impl EncodeLabelSet for RequestLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        ("http_route", self.route()).encode(encoder.encode_label())?;
        ("http_request_method", self.method).encode(encoder.encode_label())?;
        ("http_response_status_code", self.status).encode(encoder.encode_label())
    }
}

impl EncodeLabelSet for OutcomeLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        ("code", self.code).encode(encoder.encode_label())
    }
}

use prometheus_client::encoding::EncodeLabel;

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Collector for Asked {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::try_from((self.read)()).unwrap_or(i64::MAX));
        let encoder = encoder.encode_descriptor(
            self.name,
            self.help,
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        gauge.encode(encoder)
    }
}

/// Clients may make up methods; labels must not grow with them.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use store_sqlite::Observer;

    use super::*;

    #[test]
    fn refusals_between_commits_are_told_of_now_and_then() {
        let metrics = Metrics::new();
        let commit = || metrics.batch(1, Duration::ZERO, Ok(()));
        let start = Instant::now();
        assert!(metrics.begins_to_refuse(start));
        assert!(!metrics.begins_to_refuse(start + 2 * TELL_EVERY), "they are still refused");
        commit();
        assert!(!metrics.begins_to_refuse(start + TELL_EVERY / 2));
        commit();
        assert!(metrics.begins_to_refuse(start + TELL_EVERY));
    }
}

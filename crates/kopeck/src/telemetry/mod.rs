//! Owns what the service tells its operators: the log and the metrics.
//!
//! Never: a secret, a password, a token; a log line for each ordinary request (that is what metrics
//! are for). Bounds: each file's own.

mod log;
mod metrics;

pub(crate) use log::start_log;
pub(crate) use metrics::{Asked, Metrics, Route};

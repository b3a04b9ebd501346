//! Owns the reading of the wall clock for sessions, and the text of a moment on the wire.
//!
//! Never: the time of an operation (that is the engine's). Bounds: microseconds.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use ledger::Timestamp;

/// The moment it is.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The moment a while before another.
pub(crate) fn before(moment: Timestamp, ago: Duration) -> Timestamp {
    let ago = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(moment.micros().saturating_sub(ago))
}

/// RFC 3339 in UTC with microseconds.
pub(crate) fn rfc3339(moment: Timestamp) -> String {
    let time = DateTime::<Utc>::from_timestamp_micros(moment.micros()).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

//! Owns the reading of the wall clock for sessions, what a start says of it, and the text of a moment on the
//! wire.
//!
//! Never: the time of an operation (that is the engine's). Bounds: microseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use ledger::Timestamp;

/// The first moment that HTTP cannot write, which has four digits for the year: 10000-01-01T00:00:00Z, since 1970.
const END: Duration = Duration::from_secs(253_402_300_800);
/// A clock that is behind by less is one that is set right now and then.
const BEHIND_MAX: Duration = Duration::from_secs(60);

/// Refuses a clock by which no answer could be dated: each has a date, and nobody can write this one.
pub(crate) fn ensure_writable(now: SystemTime) -> anyhow::Result<()> {
    let writable = now.duration_since(UNIX_EPOCH).is_ok_and(|since| since < END);
    anyhow::ensure!(
        writable,
        "the system's clock is set to before 1970 or after 9999; set it right, then start again"
    );
    Ok(())
}

/// Says what follows where operations are dated later than the clock is now: it is wrong, or was.
pub(crate) fn warn_if_behind(latest: Timestamp, now: Timestamp) {
    if before(latest, BEHIND_MAX) > now {
        tracing::warn!(
            latest = rfc3339(latest),
            clock = rfc3339(now),
            "the clock is behind the latest operation: until it has caught up, every operation is dated \
             with that one's time, and the idempotency keys used meanwhile are kept; the clock is wrong \
             now, or was when that operation was made"
        );
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_no_date_can_be_made_of_is_refused() {
        let refused =
            |now: SystemTime| ensure_writable(now).is_err_and(|it| it.to_string().contains("1970"));
        assert!(refused(UNIX_EPOCH - Duration::from_micros(1)));
        assert!(!refused(UNIX_EPOCH));
        assert!(!refused(SystemTime::now()));
        assert!(!refused(UNIX_EPOCH + END - Duration::from_micros(1)));
        assert!(refused(UNIX_EPOCH + END));
    }
}

//! Owns the signals by which this process is asked to stop.
//!
//! Never: what is done then. Bounds: one stop; whoever asks again, but not in the same moment, ends the process at once.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Within what time two signals are one: `timeout` sends its signal to the process, then to the whole group.
const ONE_SIGNAL_MAX: Duration = Duration::from_millis(250);

/// Resolves at SIGTERM, at Ctrl-C, and when the terminal goes (SIGHUP). A second one ends the process at once, but not
/// one that came with the first.
pub(crate) fn stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Listened for, it would no longer be ignored.
    let mut hangup = hears_hangups().then(|| signal(SignalKind::hangup())).transpose()?;
    let (send, receive) = oneshot::channel();
    tokio::spawn(async move {
        let mut send = Some(send);
        let mut first = None;
        loop {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hung_up => {}
            }
            let first = *first.get_or_insert_with(Instant::now);
            match send.take() {
                Some(send) => drop(send.send(())),
                None if first.elapsed() < ONE_SIGNAL_MAX => {}
                // The data are safe whenever the process ends; only answers may be lost.
                None => std::process::exit(130),
            }
        }
    });
    Ok(async move {
        if receive.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Whether whoever started this process lets it end when the terminal is gone: `nohup` does not. Where the system does
/// not tell, nothing is changed.
fn hears_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status");
    status.ok().as_deref().and_then(ignored).is_some_and(|signals| signals & 1 == 0)
}

/// The signals that are ignored: the first of them, SIGHUP, is the last bit.
fn ignored(status: &str) -> Option<u64> {
    let signals = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(signals.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::ignored;

    #[test]
    fn what_is_ignored_is_read_as_the_system_writes_it() {
        assert_eq!(ignored("SigBlk:\t0\nSigIgn:\t0000000000001001\n"), Some(0x1001));
        assert_eq!(ignored("SigBlk:\t0\n"), None);
    }
}

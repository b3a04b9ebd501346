//! The command line: `kopeck` serves; its other commands do what they say.
//!
//! Owns the order of starting and stopping, and nothing else. `anyhow` is at home here: errors at
//! start end in a sentence for a person.

#![forbid(unsafe_code)]
// They panic where nobody reads any more.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod auth;
mod bank;
mod bench;
mod body;
mod busy_poll;
mod clock;
mod commands;
mod config;
mod edge;
mod environment;
mod extract;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod health;
mod hex;
mod http_threads;
mod idempotency;
mod money;
mod problem;
mod processors;
mod receipt;
mod routes;
mod server;
mod sheet;
mod signals;
mod state;
mod statement;
mod telemetry;
mod turns;
mod unseen;
mod unsupported;
mod web;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use ledger::{Currency, LedgerError};
use store_sqlite::{Observer, Options, Recovered, SqliteStore};
use tokio::task::JoinHandle;

use crate::config::{Bank, Cli, Command, Directory, LogFormat, Place, Probe, Serve};
use crate::environment::BankEnvironment;
use crate::http_threads::HttpThreads;
use crate::processors::Processors;
use crate::routes::Routes;
use crate::state::AppState;
use crate::telemetry::{Asked, Metrics};

/// How often sessions that ended by themselves are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long answers may take to leave when the engine has halted.
const HALT_FLUSH: Duration = Duration::from_secs(1);
/// How long the engine's threads may take to end when it has halted.
const HALT_CLOSE_MAX: Duration = Duration::from_secs(2);
/// How long they may take in any case: a disk that hangs says nothing.
const CLOSE_MAX: Duration = Duration::from_secs(60);
/// How many operations may wait when only the bank's password is set.
const QUEUE_OF_ONE: usize = 1_024;

/// Does what the command line says, until it is done. Errors go to standard error in a sentence.
pub fn run() -> ExitCode {
    let cli = Cli::read();
    let done = match cli.command {
        None => start(cli.serve),
        Some(Command::Serve(options)) => start(*options),
        Some(Command::Bank(Bank::SetPassword(directory))) => set_password(directory),
        Some(Command::Health(probe)) => ask_health(probe),
        Some(Command::Backup(wanted)) => commands::backup::run(wanted),
        Some(Command::Restore(wanted)) => commands::restore::run(wanted),
        Some(Command::Export(wanted)) => commands::export::run(wanted),
        Some(Command::Checkpoint(wanted)) => commands::checkpoint::run(&wanted),
        Some(Command::BenchStandIn(wanted)) => bench::stand_in::run(&wanted),
        // Their statuses say more than that something failed.
        Some(Command::Check(wanted)) => return commands::check::run(wanted),
        Some(Command::Bench(wanted)) => return bench::run(*wanted),
        Some(Command::VerifyReceipt(wanted)) => return commands::verify_receipt::run(&wanted),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("kopeck: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says it on standard error. That nobody can read it there changes nothing.
fn complain(what: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{what}");
}

fn start(options: Serve) -> anyhow::Result<()> {
    telemetry::start_log(options.log_format, &options.log)?;
    clock::ensure_writable(SystemTime::now())?;
    let threads = HttpThreads::new(options.http_threads, options.http_processors.clone())?;
    threads.run(|| serve(options, &threads))?
}

async fn serve(options: Serve, threads: &HttpThreads) -> anyhow::Result<()> {
    // From the first moment, so that a signal during the recovery is not lost.
    let stop = signals::stop()?;
    let bank = BankEnvironment::read()?;
    let listen = options.listen;
    let cannot_listen = || format!("cannot listen on {listen}");
    // A first start that cannot listen, or whose bank cannot be made, leaves no data file, of this currency for ever.
    // Where there is one, another process may have it and the address, and that is said first; and what the
    // environment says of the bank does not count any more.
    if !store_sqlite::has_data_file(&options.place.directory.data) {
        bank::check(&bank)?;
        drop(server::bind(listen).with_context(cannot_listen)?);
    }
    let metrics = Arc::new(Metrics::new());
    let (store, recovered) = open(
        options.place.directory.data.clone(),
        Some(options.place.currency),
        (options.queue_operations_max, Some(options.idempotency_window_hours)),
        Arc::clone(&metrics) as Arc<dyn Observer>,
    )
    .await?;
    clock::warn_if_behind(recovered.latest, clock::now());
    let data = options.place.directory.data.clone();
    metrics.publish(gauges(&store, options.idempotency_window_hours));
    let (ledger, people) = (Arc::new(store.clone()), Arc::new(store.clone()));
    let state = AppState::new(ledger, people, options, metrics, threads.processors())?;
    // Behind the caches, which ask the system how many processors there are.
    keep_writer_on(&store, threads.stay(&data).await?);
    // Before the bank is made: its password is shown once, so nothing may fail between the two.
    let listener = server::listen(listen).with_context(cannot_listen)?;
    let made = bank::ensure(&*state.people, &state.auth.passwords, bank).await?;
    if let Some(made) = made {
        // Who writes may wait for who reads, and signals are to be heard meanwhile.
        let shown = tokio::task::spawn_blocking(move || show(&made)).await?;
        shown.context(
            "standard output: the bank was made, but its password could not be shown; set another \
             with `kopeck bank set-password`",
        )?;
    }
    // A full disk, say, on which standard output is a file, keeps nobody from the money.
    let address = listener.local_addr()?;
    let said = state.clone();
    let said =
        tokio::task::spawn_blocking(move || announce(&said.config, address, &recovered)).await?;
    if let Err(error) = said {
        tracing::warn!(%error, %address, "standard output does not take what a start has to say");
    }
    tokio::spawn(forget_sessions(state.clone()));
    let polled = state.clone();
    tokio::spawn(async move { polled.teller.busy_poll.run(&polled.metrics.busy_polling).await });

    let stopped = async {
        tokio::select! {
            () = stop => {
                tracing::info!("stopping: finishing what was accepted");
                state.config.shutdown_seconds
            }
            reason = store.halted() => {
                tracing::error!(reason, "the engine halted; the service stops. The next start recovers, or names what is damaged");
                HALT_FLUSH
            }
        }
    };
    let routes = Routes::new(state.clone());
    server::serve(listener, move |request| routes.clone().answer(request), &state, stopped).await;
    close(store).await
}

/// Keeps the thread that writes off the processor of the one that speaks HTTP, where they would wait for each other.
fn keep_writer_on(store: &SqliteStore, processors: Processors) {
    if processors.numbers().is_empty() {
        return;
    }
    store.on_writer(move || match processors.stay() {
        Ok(()) => {
            let processors = processors.numbers();
            tracing::info!(?processors, "the thread that writes stays on the others");
        }
        Err(error) => tracing::warn!(%error, "the thread that writes may be on any processor"),
    });
}

/// What is read when somebody asks for the metrics.
fn gauges(store: &SqliteStore, key_window: Duration) -> Vec<Asked> {
    let (queue, keys) = (store.clone(), store.clone());
    vec![
        Asked {
            name: "queue_operations",
            help: "Operations that wait for the ledger.",
            read: Box::new(move || queue.queue_depth() as u64),
        },
        Asked {
            name: "idempotency_keys_in_files",
            help: "Idempotency keys that are remembered, but for the newest, which are in memory.",
            read: Box::new(move || keys.keys_in_files()),
        },
        Asked {
            name: "idempotency_window_seconds",
            help: "How long an idempotency key is remembered, at least.",
            read: Box::new(move || key_window.as_secs()),
        },
    ]
}

/// Ends the engine. It may also have halted while the service was stopping, or halt now.
async fn close(store: SqliteStore) -> anyhow::Result<()> {
    let closing = store.clone();
    let closed = tokio::task::spawn_blocking(move || closing.close());
    let closed = within(closed, store.halted(), HALT_CLOSE_MAX, CLOSE_MAX).await;
    if matches!(closed, Ok(false)) {
        // A disk that fails may also hang. What was acknowledged is safe; nothing else is waited for.
        tracing::error!("the engine's threads do not end and are left behind");
    }
    match store.halt_reason() {
        Some(reason) => anyhow::bail!("the engine halted: {reason}"),
        None if closed? => Ok(()),
        None => anyhow::bail!("the engine did not stop within {CLOSE_MAX:?}"),
    }
}

/// Whether the engine has closed within its time, which is short once it has halted.
async fn within(
    mut closed: JoinHandle<()>,
    halted: impl Future<Output = String>,
    halted_max: Duration,
    close_max: Duration,
) -> anyhow::Result<bool> {
    tokio::select! {
        biased;
        closed = &mut closed => return Ok(closed.map(|()| true)?),
        _ = halted => {}
        () = tokio::time::sleep(close_max) => return Ok(false),
    }
    // How a thread ends that belongs to what has halted does not matter.
    Ok(tokio::time::timeout(halted_max, closed).await.is_ok())
}

async fn open(
    dir: PathBuf,
    currency: Option<Currency>,
    (queue_operations_max, key_window): (usize, Option<Duration>),
    observer: Arc<dyn Observer>,
) -> anyhow::Result<(SqliteStore, Recovered)> {
    let runtime = tokio::runtime::Handle::current();
    let deliver = Arc::new(move |answers: Box<dyn FnOnce() + Send>| {
        runtime.spawn(async move { answers() });
    });
    let options = Options { dir, currency, queue_operations_max, key_window, observer, deliver };
    Ok(tokio::task::spawn_blocking(move || SqliteStore::open(options)).await??)
}

/// Says on standard output the bank's password, which is kept nowhere.
fn show(bank::Made { email, password }: &bank::Made) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "The bank was made. This is shown once:")?;
    writeln!(out, "  e-mail    {email}\n  password  {}", password.reveal())?;
    out.flush()
}

/// Says on standard output where it listens, where the data lie, and what was recovered.
fn announce(options: &Serve, address: SocketAddr, recovered: &Recovered) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let url = format!("http://{address}/");
    let Place { directory: Directory { data }, currency } = &options.place;
    let Recovered { created, wallets, operations, replayed, latest: _, elapsed } = recovered;
    // The bank's is there by now.
    let wallets = wallets.max(&1);
    let text = match options.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        format => format == LogFormat::Text,
    };
    if text {
        let version = env!("CARGO_PKG_VERSION");
        let fresh = if *created { ", new" } else { "" };
        writeln!(out, "kopeck {version}")?;
        writeln!(out, "  listening on  {url}")?;
        writeln!(out, "  data in       {} ({currency}{fresh})", data.display())?;
        writeln!(
            out,
            "  recovered     {wallets} wallets, {operations} operations ({replayed} replayed) in \
             {elapsed:.1?}"
        )?;
    } else {
        // For whoever parses the log, as the lines of that are.
        let line = serde_json::json!({
            "timestamp": clock::rfc3339(clock::now()),
            "level": "INFO",
            "target": env!("CARGO_CRATE_NAME"),
            "message": "listening",
            "version": env!("CARGO_PKG_VERSION"),
            "url": url,
            "data": data.display().to_string(),
            "currency": currency.code(),
            "created": created,
            "wallets": wallets,
            "operations": operations,
            "replayed": replayed,
            "recovery_seconds": elapsed.as_secs_f64(),
        });
        writeln!(out, "{line}")?;
    }
    out.flush()
}

async fn forget_sessions(state: AppState) {
    let mut every = tokio::time::interval(FORGET_EVERY);
    loop {
        every.tick().await;
        match state.auth.sessions.forget_ended().await {
            // A stop that came first is nothing to warn of: the next start forgets them.
            Ok(()) | Err(LedgerError::Closed) => {}
            Err(error) => tracing::warn!(%error, "could not forget ended sessions"),
        }
    }
}

fn ask_health(probe: Probe) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(health::ask(probe.listen))
}

fn set_password(directory: Directory) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let unobserved = Arc::new(store_sqlite::Unobserved);
        let (store, _) = open(directory.data, None, (QUEUE_OF_ONE, None), unobserved).await?;
        let set = bank::set_password(&store).await;
        tokio::task::spawn_blocking(move || store.close()).await?;
        let bank = set?;
        // It is, whether or not anybody can be told.
        let mut out = std::io::stdout().lock();
        let said = "is set; its sessions are closed.";
        let _ = writeln!(out, "The password of the bank ({}) {said}", bank.email);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn an_engine_that_does_not_close_is_left_behind() {
        const SHORT: Duration = Duration::from_millis(10);
        const LONG: Duration = Duration::from_secs(60);
        let never = || tokio::spawn(pending());
        let halt = || ready("the disk failed".to_owned());
        assert!(within(tokio::spawn(ready(())), pending(), LONG, LONG).await.unwrap());
        assert!(within(tokio::spawn(ready(())), halt(), LONG, LONG).await.unwrap());
        // It halts when it is already closing.
        let late = async {
            tokio::time::sleep(SHORT).await;
            "the disk failed".to_owned()
        };
        assert!(!within(never(), late, SHORT, LONG).await.unwrap());
        // It hangs, and never says so.
        assert!(!within(never(), pending(), LONG, SHORT).await.unwrap());
    }
}

//! What a backup costs: its time, and the rate and the log of the engine that goes on beside it.
//!
//! `cargo bench -p store-sqlite --bench backup -- [--wallets N] [--operations N] [--batch N]
//! [--rounds N] [--dir DIR]`
//!
//! In turns, in one run, over the same growing file: the engine alone; beside a backup; beside
//! SQLite's `VACUUM INTO`, which is the other way to copy a file that is in use.

#![allow(missing_docs)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Failed, Random, options, submission};
use ledger::{Ledger, OperationKind, Submission};
use store_sqlite::{Backup, SqliteStore, Step, Watch, backup};

/// How long the engine is measured when nothing runs beside it.
const ALONE: Duration = Duration::from_secs(5);

struct Settings {
    wallets: u64,
    operations: u64,
    batch: usize,
    rounds: usize,
    dir: PathBuf,
}

impl Settings {
    fn read() -> Result<Self, Failed> {
        let mut settings = Self {
            wallets: 100_000,
            operations: 5_000_000,
            batch: 64,
            rounds: 3,
            dir: std::env::temp_dir(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--wallets" => settings.wallets = value()?.parse()?,
                "--operations" => settings.operations = value()?.parse()?,
                "--batch" => settings.batch = value()?.parse()?,
                "--rounds" => settings.rounds = value()?.parse()?,
                "--dir" => settings.dir = value()?.into(),
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(settings)
    }
}

fn main() -> Result<(), Failed> {
    let settings = Settings::read()?;
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let data = dir.path().join("data");
    let store = SqliteStore::open(options(&data)?)?.0;
    populate(&store, &settings)?;
    println!(
        "{} wallets, {} operations, batches of {}",
        settings.wallets, settings.operations, settings.batch
    );
    println!(
        "{:>12} {:>10} {:>12} {:>14} {:>12}",
        "", "seconds", "transfers/s", "log, MB", "copy, MB"
    );
    let file = dir.path().join("copy.db");
    for _ in 0..settings.rounds {
        beside(
            &store,
            &settings,
            &data,
            "alone",
            || {
                std::thread::sleep(ALONE);
                Ok(())
            },
            &file,
        )?;
        beside(
            &store,
            &settings,
            &data,
            "backup",
            || {
                let phases = Arc::new(Phases { began: Instant::now(), said: Mutex::default() });
                let watch: Arc<dyn Watch> = Arc::clone(&phases) as _;
                let wanted = Backup {
                    data: &data,
                    file: &file,
                    replace: false,
                    log_grows_bytes_max: u64::MAX,
                };
                backup(&wanted, &watch)?;
                let said = phases.said.lock().map_err(|_| "a panic")?;
                println!("{:>12} {said:.2?}", "");
                Ok(())
            },
            &file,
        )?;
        beside(
            &store,
            &settings,
            &data,
            "vacuum into",
            || {
                let connection = rusqlite::Connection::open(data.join("kopeck.db"))?;
                connection.execute("VACUUM INTO ?", [file.to_str().ok_or("no such name")?])?;
                std::fs::File::open(&file)?.sync_all()?;
                Ok(())
            },
            &file,
        )?;
    }
    store.close();
    Ok(())
}

/// When each part of a backup after the first began.
struct Phases {
    began: Instant,
    said: Mutex<Vec<(Step, Duration)>>,
}

impl Watch for Phases {
    fn step(&self, step: Step) {
        if !matches!(step, Step::Copying { .. })
            && let Ok(mut said) = self.said.lock()
        {
            said.push((step, self.began.elapsed()));
        }
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Runs `work` while transfers go on, and says what became of both.
fn beside(
    store: &SqliteStore,
    settings: &Settings,
    data: &Path,
    name: &str,
    work: impl FnOnce() -> Result<(), Failed>,
    file: &Path,
) -> Result<(), Failed> {
    let log = || std::fs::metadata(data.join("kopeck.db-wal")).map_or(0, |log| log.len());
    // The log starts again soon after the last one who kept it from it has gone.
    let rate = |stop: &AtomicBool, done: &AtomicU64| drive(store, settings, stop, done);
    let (stop, done, longest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    let elapsed = std::thread::scope(|scope| -> Result<Duration, Failed> {
        let driver = scope.spawn(|| rate(&stop, &done));
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                longest.fetch_max(log(), Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let worked = work();
        let elapsed = began.elapsed();
        stop.store(true, Relaxed);
        driver.join().map_err(|_| "the driver panicked")??;
        worked.map(|()| elapsed)
    })?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{name:>12} {:>10.2} {:>12.0} {:>14.1} {:>12.1}",
        elapsed.as_secs_f64(),
        done.load(Relaxed) as f64 / elapsed.as_secs_f64(),
        megabytes(longest.load(Relaxed)),
        megabytes(std::fs::metadata(file).map_or(0, |file| file.len())),
    );
    let _ = std::fs::remove_file(file);
    Ok(())
}

/// Sends batches, two ahead, until it is told to stop.
fn drive(
    store: &SqliteStore,
    settings: &Settings,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut batch = || -> Result<Vec<Submission>, Failed> {
        (0..settings.batch)
            .map(|_| submission(OperationKind::Transfer, random.pair(settings.wallets), 1))
            .collect()
    };
    let mut ahead = store.submit(batch()?);
    while !stop.load(Relaxed) {
        let next = store.submit(batch()?);
        for outcome in runtime.block_on(ahead)? {
            outcome.decision?;
        }
        done.fetch_add(settings.batch as u64, Relaxed);
        ahead = next;
    }
    runtime.block_on(ahead)?;
    Ok(())
}

fn populate(store: &SqliteStore, settings: &Settings) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(common::sign_up(store, settings.wallets, &"x".repeat(97)))?;
    let mut random = Random(7);
    let mut number = 2;
    let mut left = settings.operations;
    while left > 0 {
        let batch: Result<Vec<_>, _> = (0..left.min(8_192))
            .map(|_| {
                if number <= settings.wallets {
                    number += 1;
                    return submission(OperationKind::Deposit, (1, number - 1), 1_000_000);
                }
                submission(OperationKind::Transfer, random.pair(settings.wallets), 1)
            })
            .collect();
        let outcomes = runtime.block_on(store.submit(batch?))?;
        left -= outcomes.len() as u64;
        for outcome in outcomes {
            outcome.decision?;
        }
    }
    Ok(())
}

//! The check of a whole data file: operations a second.
//!
//! `cargo bench -p store-sqlite --bench check -- --dir DIR [--wallets N] [--operations N] [--keys]
//! [--rounds N]`
//!
//! Makes the file in DIR if there is none: deposits to every wallet, then transfers between random
//! wallets, each with details, and with `--keys` each with a random idempotency key. Then checks it,
//! round after round, and says the time and the processor's seconds.

#![allow(missing_docs)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod common;

use std::path::PathBuf;
use std::time::Instant;

use common::{Failed, Random, options};
use ledger::{IdempotencyKey, Ledger, OperationKind, Submission};
use store_sqlite::{Check, SqliteStore, Unwatched, check};

/// How many are handed in at once.
const BATCH: u64 = 8_192;

struct Settings {
    dir: PathBuf,
    wallets: u64,
    operations: u64,
    keys: bool,
    rounds: usize,
}

impl Settings {
    fn read() -> Result<Self, Failed> {
        let mut settings = Self {
            dir: PathBuf::new(),
            wallets: 1_000_000,
            operations: 10_000_000,
            keys: false,
            rounds: 5,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--dir" => settings.dir = value()?.into(),
                "--wallets" => settings.wallets = value()?.parse()?,
                "--operations" => settings.operations = value()?.parse()?,
                "--keys" => settings.keys = true,
                "--rounds" => settings.rounds = value()?.parse()?,
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        if settings.dir.as_os_str().is_empty() {
            return Err("--dir says where the file is, or is to be made".into());
        }
        Ok(settings)
    }
}

fn main() -> Result<(), Failed> {
    let settings = Settings::read()?;
    if !settings.dir.join("kopeck.db").exists() {
        let began = Instant::now();
        make(&settings)?;
        println!("made in {:.0?}", began.elapsed());
    }
    for _ in 0..settings.rounds {
        let before = processor_seconds()?;
        let checked = check(&Check { data: &settings.dir, published: None }, &Unwatched)?;
        let seconds = checked.elapsed.as_secs_f64();
        println!(
            "{} operations ({} with keys), {} wallets: {seconds:.2} s, {:.0} operations/s, \
             {:.2} processor seconds; sound: {}",
            checked.operations,
            checked.keys,
            checked.wallets,
            checked.operations as f64 / seconds,
            processor_seconds()? - before,
            checked.is_sound(),
        );
    }
    Ok(())
}

fn make(settings: &Settings) -> Result<(), Failed> {
    let store = SqliteStore::open(options(&settings.dir)?)?.0;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        common::sign_up(&store, settings.wallets, "-").await?;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut done = 0;
        while done < settings.operations {
            let batch = BATCH.min(settings.operations - done);
            let submissions = (done..done + batch)
                .map(|number| submission(settings, number, &mut random))
                .collect::<Result<Vec<_>, _>>()?;
            for outcome in store.submit(submissions).await? {
                outcome.decision?;
            }
            done += batch;
        }
        Ok::<_, Failed>(())
    })?;
    store.close();
    Ok(())
}

/// First everybody is paid, then everybody pays.
fn submission(settings: &Settings, number: u64, random: &mut Random) -> Result<Submission, Failed> {
    let people = settings.wallets - 1;
    let (kind, debit, credit, minor) = if number < people {
        (OperationKind::Deposit, 1, number + 2, 100_000)
    } else {
        let from = random.next() % people;
        let to = (from + 1 + random.next() % (people - 1)) % people;
        (OperationKind::Transfer, from + 2, to + 2, 1)
    };
    let key = format!(
        "{:08x}-{:04x}-4000-8000-{:012x}",
        random.next() as u32,
        random.next() as u16,
        number
    );
    let key = settings.keys.then(|| IdempotencyKey::parse(&key)).transpose()?;
    Ok(Submission { key, ..common::submission(kind, (debit, credit), minor)? })
}

/// What this process has used, in user and system mode together.
fn processor_seconds() -> Result<f64, Failed> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    // Linux counts in hundredths of a second for everybody who asks.
    Ok(ticks as f64 / 100.0)
}

//! The engine alone, without HTTP: durable transfers a second, in batches, fsync on.
//!
//! `cargo bench -p store-sqlite --bench engine -- [--wallets N] [--batch N] [--operations N]
//! [--rounds N] [--dir DIR]`
//!
//! Every transfer is checked against the balance, hashed into the chain, and has details and a time
//! in its row. In one run, in turns: uniform pairs over all wallets; the same with a random UUID as
//! idempotency key on every transfer; one hot wallet in every transfer; then beside them the limit: a
//! bare file to which the same number of bytes is appended, with the same fsyncs. The last column is
//! the share of a uniform transfer's time that hashing it takes alone.

#![allow(missing_docs)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod common;

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{Failed, Random, options, submission};
use ledger::{
    Balance, Chain, Currency, IdempotencyKey, Ledger, Operation, OperationId, OperationKind,
    Outcome, Page, Pending, Side, Submission, Timestamp, Transfer, WalletId,
};
use store_sqlite::SqliteStore;

/// How many batches are handed in before the answer to the first is awaited.
const BATCHES_AHEAD: usize = 3;

struct Settings {
    wallets: u64,
    batch: usize,
    operations: usize,
    rounds: usize,
    dir: PathBuf,
}

impl Settings {
    fn read() -> Result<Self, Failed> {
        let mut settings = Self {
            wallets: 1_000_000,
            batch: 8_192,
            operations: 2_000_000,
            rounds: 5,
            dir: std::env::temp_dir(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--wallets" => settings.wallets = value()?.parse()?,
                "--batch" => settings.batch = value()?.parse()?,
                "--operations" => settings.operations = value()?.parse()?,
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
    let store = open(dir.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        println!(
            "{} wallets, batches of {}, {} operations a round",
            settings.wallets, settings.batch, settings.operations
        );
        populate(&store, settings.wallets).await?;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        println!(
            "{:>12} {:>12} {:>12} {:>12} {:>9} {:>9} {:>9} {:>9}",
            "uniform/s",
            "with keys/s",
            "one hot/s",
            "raw file/s",
            "keys/uni",
            "hot/uni",
            "uni/raw",
            "chain/uni"
        );
        let mut table = Vec::new();
        for _ in 0..settings.rounds {
            let uniform =
                drive(&store, &settings, || (random.pair(settings.wallets), None)).await?;
            let keyed = drive(&store, &settings, || {
                let pair = random.pair(settings.wallets);
                (pair, Some(random.key()))
            })
            .await?;
            let mut out = false;
            let hot = drive(&store, &settings, || {
                out = !out;
                let other = 3 + random.next() % (settings.wallets - 2);
                (if out { (2, other) } else { (other, 2) }, None)
            })
            .await?;
            let raw = raw(dir.path(), &settings)?;
            // The share of an operation's time that its hash takes, on the writer's thread.
            let chain = uniform / chain(&settings)?;
            let row =
                [uniform, keyed, hot, raw, keyed / uniform, hot / uniform, uniform / raw, chain];
            print(row, "");
            table.push(row);
        }
        let median = |column: usize| {
            let mut values: Vec<f64> =
                table.iter().filter_map(|row| row.get(column)).copied().collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        print([0, 1, 2, 3, 4, 5, 6, 7].map(median), "  (medians)");
        Ok::<_, Failed>(())
    })?;
    store.close();
    let began = Instant::now();
    let (store, recovered) = SqliteStore::open(options(dir.path())?)?;
    println!("reopened after a clean stop in {:?}: {recovered:?}", began.elapsed());
    store.close();
    Ok(())
}

fn print(row: [f64; 8], note: &str) {
    let [uniform, keyed, hot, raw, keys_ratio, hot_ratio, raw_ratio, chain_share] = row;
    println!(
        "{uniform:>12.0} {keyed:>12.0} {hot:>12.0} {raw:>12.0} {keys_ratio:>9.2} {hot_ratio:>9.2} \
         {raw_ratio:>9.2} {chain_share:>9.3}{note}"
    );
}

fn open(dir: &Path) -> Result<SqliteStore, Failed> {
    Ok(SqliteStore::open(options(dir)?)?.0)
}

/// Makes the bank and the wallets, and puts a thousand roubles on each.
async fn populate(store: &SqliteStore, wallets: u64) -> Result<(), Failed> {
    let began = Instant::now();
    common::sign_up(store, wallets, "-").await?;
    println!("signed up in {:?}", began.elapsed());
    let began = Instant::now();
    let numbers: Vec<u64> = (2..=wallets).collect();
    for chunk in numbers.chunks(8_192) {
        let batch = chunk
            .iter()
            .map(|number| submission(OperationKind::Deposit, (1, *number), 100_000))
            .collect::<Result<_, _>>()?;
        check(&store.submit(batch).await?)?;
    }
    println!("paid in in {:?}", began.elapsed());
    Ok(())
}

fn check(outcomes: &[Outcome]) -> Result<(), Failed> {
    for outcome in outcomes {
        if let Err(rejection) = &outcome.decision {
            return Err(format!("refused: {rejection}").into());
        }
    }
    Ok(())
}

/// Durable transfers a second.
async fn drive(
    store: &SqliteStore,
    settings: &Settings,
    mut next: impl FnMut() -> ((u64, u64), Option<IdempotencyKey>),
) -> Result<f64, Failed> {
    let batches: Vec<Vec<Submission>> = (0..settings.operations / settings.batch)
        .map(|_| {
            (0..settings.batch)
                .map(|_| {
                    let (pair, key) = next();
                    Ok(Submission { key, ..submission(OperationKind::Transfer, pair, 1)? })
                })
                .collect::<Result<_, Failed>>()
        })
        .collect::<Result<_, Failed>>()?;
    let operations = batches.len() * settings.batch;
    let began = Instant::now();
    let mut waiting: VecDeque<Pending<Vec<Outcome>>> = VecDeque::new();
    for batch in batches {
        waiting.push_back(store.submit(batch));
        if waiting.len() > BATCHES_AHEAD
            && let Some(oldest) = waiting.pop_front()
        {
            check(&oldest.await?)?;
        }
    }
    for last in waiting {
        check(&last.await?)?;
    }
    let rate = operations as f64 / began.elapsed().as_secs_f64();
    let statement =
        store.statement(WalletId::FIRST, Page { from: None, limit: 1 }).await?.ok_or("no bank")?;
    if statement.balance.minor() != -100_000 * (settings.wallets.cast_signed() - 1) {
        return Err("money was lost or made".into());
    }
    Ok(rate)
}

/// The limit: appends 100 bytes an operation to a bare file, one fsync a batch.
fn raw(dir: &Path, settings: &Settings) -> Result<f64, Failed> {
    let path = dir.join("raw");
    let mut file = File::create(&path)?;
    let bytes = vec![b'x'; 100 * settings.batch];
    let began = Instant::now();
    for _ in 0..settings.operations / settings.batch {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    let operations = settings.operations / settings.batch * settings.batch;
    let rate = operations as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// Hashes a second: what the chain alone takes.
fn chain(settings: &Settings) -> Result<f64, Failed> {
    let Operation { debit, credit, amount, details, .. } =
        submission(OperationKind::Transfer, (2, 3), 1)?.operation;
    let side = |wallet| Side { wallet, balance: Balance::ZERO, previous: None };
    let mut transfer = Transfer {
        id: OperationId::FIRST,
        kind: OperationKind::Transfer,
        debit: side(debit),
        credit: side(credit),
        amount,
        details,
        external_id: None,
        time: Timestamp::from_micros(0),
    };
    let mut chain = Chain::new(Currency::parse("RUB")?);
    let began = Instant::now();
    for number in 1..=settings.operations as u64 {
        transfer.id = OperationId::new(number).ok_or("no such id")?;
        std::hint::black_box(chain.extend(&transfer, number));
    }
    Ok(settings.operations as f64 / began.elapsed().as_secs_f64())
}

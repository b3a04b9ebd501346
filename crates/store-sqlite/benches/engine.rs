//! The engine alone, without HTTP: durable transfers a second, in batches, fsync on.
//!
//! `cargo bench -p store-sqlite --bench engine -- [--wallets N] [--batch N] [--operations N]
//! [--rounds N] [--only LOAD] [--dir DIR] [--data DIR] [--kill]`
//!
//! Every transfer is checked against the balance and hashed into the chain, and has a time in its row.
//! In one run, in turns: `plain`, uniform pairs over all wallets; `keyed`, the same with a random
//! UUID as idempotency key on every transfer; `refused`, that with one of 64 transfers of more than its
//! payer has; `hot`, one wallet in every transfer; then beside them the limits: a bare file to which
//! records of as many bytes are appended, each with its checksum, with the same fsyncs, and what the
//! hash of the chain takes alone.
//!
//! For each: transfers a second, what of a processor the writer's thread took for one (where the
//! system says so), and the longest time without an acknowledgement. With `--data` the directory is kept
//! and used again; the time of its start, up to the first acknowledgement, is printed. `--kill` ends
//! the process in the midst of the load, as SIGKILL would.

#![allow(missing_docs)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod common;

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Failed, Random, options, submission};
use ledger::{
    Balance, Chain, Currency, Ledger, Operation, OperationId, OperationKind, Outcome, Page,
    Pending, Side, Submission, Timestamp, Transfer, WalletId,
};
use store_sqlite::SqliteStore;

/// How many batches are handed in before the answer to the first is awaited.
const BATCHES_AHEAD: usize = 3;

/// What a record takes in the data file, in bytes: with a key, and without.
const RECORD_BYTES: [usize; 2] = [100, 62];

/// More than anybody has, in minor units.
const TOO_MUCH: i64 = 1_000_000_000_000;

struct Settings {
    wallets: u64,
    batch: usize,
    operations: usize,
    rounds: usize,
    only: Option<String>,
    dir: PathBuf,
    data: Option<PathBuf>,
    kill: bool,
}

impl Settings {
    fn read() -> Result<Self, Failed> {
        let mut settings = Self {
            wallets: 1_000_000,
            batch: 8_192,
            operations: 2_000_000,
            rounds: 5,
            only: None,
            dir: std::env::temp_dir(),
            data: None,
            kill: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--wallets" => settings.wallets = value()?.parse()?,
                "--batch" => settings.batch = value()?.parse()?,
                "--operations" => settings.operations = value()?.parse()?,
                "--rounds" => settings.rounds = value()?.parse()?,
                "--only" => settings.only = Some(value()?),
                "--dir" => settings.dir = value()?.into(),
                "--data" => settings.data = Some(value()?.into()),
                "--kill" => settings.kill = true,
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(settings)
    }
}

fn main() -> Result<(), Failed> {
    let settings = Settings::read()?;
    let temporary = tempfile::tempdir_in(&settings.dir)?;
    let dir = settings.data.as_deref().unwrap_or(temporary.path());
    let began = Instant::now();
    let (store, recovered) = SqliteStore::open(options(dir)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        if recovered.wallets == 0 {
            populate(&store, settings.wallets).await?;
        } else {
            check(&store.submit(vec![submission(OperationKind::Deposit, (1, 2), 1)?]).await?)?;
            println!("first acknowledgement {:?} after the start: {recovered:?}", began.elapsed());
        }
        println!(
            "{} wallets, batches of {}, {} operations a round",
            settings.wallets, settings.batch, settings.operations
        );
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ recovered.operations);
        for round in 0..settings.rounds {
            for load in ["plain", "keyed", "refused", "hot"] {
                if settings.only.as_ref().is_none_or(|only| only == load) {
                    drive(&store, &settings, &mut random, load, round).await?.print(load);
                }
            }
            if settings.only.is_none() {
                println!("raw file: {:.0}/s", raw(dir, &settings, RECORD_BYTES[1], true)?);
                println!(
                    "with as many bytes as a key takes: {:.0}/s, without fsync: {:.0}/s",
                    raw(dir, &settings, RECORD_BYTES[0], true)?,
                    raw(dir, &settings, RECORD_BYTES[0], false)?
                );
                println!("chain alone: {:.0}/s", chain(&settings)?);
            }
        }
        Ok::<_, Failed>(())
    })?;
    store.close();
    let began = Instant::now();
    let (store, recovered) = SqliteStore::open(options(dir)?)?;
    println!("reopened after a clean stop in {:?}: {recovered:?}", began.elapsed());
    store.close();
    Ok(())
}

/// What a load came to.
struct Measured {
    rate: f64,
    /// Of the writer's thread and of all, for one transfer.
    writer: Option<Duration>,
    process: Option<Duration>,
    longest_wait: Duration,
}

impl Measured {
    fn print(&self, load: &str) {
        let nanos = |time: Option<Duration>| time.map_or(0, |time| time.as_nanos());
        println!(
            "{load:>6}: {:>8.0}/s, writer {:>5} ns, all threads {:>5} ns, longest wait {:.1} ms",
            self.rate,
            nanos(self.writer),
            nanos(self.process),
            self.longest_wait.as_secs_f64() * 1e3
        );
    }
}

/// How long a thread of this process has had a processor; all of them, without a name.
fn processor_time(name: Option<&str>) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let task = task.ok()?.path();
        let comm = std::fs::read_to_string(task.join("comm")).ok()?;
        if name.is_none_or(|name| comm.trim_end() == name) {
            let times = std::fs::read_to_string(task.join("schedstat")).ok()?;
            sum += Duration::from_nanos(times.split(' ').next()?.parse().ok()?);
        }
    }
    Some(sum)
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

/// Batches of a load, made before the time runs.
fn batches(
    settings: &Settings,
    random: &mut Random,
    load: &str,
) -> Result<Vec<Vec<Submission>>, Failed> {
    let mut out = false;
    let mut next = || {
        let pair = random.pair(settings.wallets);
        let other = 3 + random.next() % (settings.wallets - 2);
        out = !out;
        match load {
            "keyed" | "refused" => (pair, Some(random.key())),
            "hot" => (if out { (2, other) } else { (other, 2) }, None),
            _ => (pair, None),
        }
    };
    let mut batch = || {
        (0..settings.batch)
            .map(|number| {
                let (pair, key) = next();
                let amount = if load == "refused" && number % 64 == 63 { TOO_MUCH } else { 1 };
                let mut submission = submission(OperationKind::Transfer, pair, amount)?;
                (submission.operation.details, submission.key) = (None, key);
                Ok(submission)
            })
            .collect::<Result<_, Failed>>()
    };
    (0..settings.operations / settings.batch).map(|_| batch()).collect()
}

async fn drive(
    store: &SqliteStore,
    settings: &Settings,
    random: &mut Random,
    load: &str,
    round: usize,
) -> Result<Measured, Failed> {
    let batches = batches(settings, random, load)?;
    let kill_at = (settings.kill && round + 1 == settings.rounds).then_some(batches.len() - 1);
    let operations = u32::try_from(batches.len() * settings.batch)?;
    let times = || (processor_time(Some("kopeck-writer")), processor_time(None));
    let before = times();
    let began = Instant::now();
    let (mut longest_wait, mut answered) = (Duration::ZERO, began);
    let mut waiting: VecDeque<Pending<Vec<Outcome>>> = VecDeque::new();
    let mut batches = batches.into_iter().enumerate();
    loop {
        let batch = batches.next();
        let more = batch.is_some();
        if let Some((number, batch)) = batch {
            waiting.push_back(store.submit(batch));
            if kill_at == Some(number) {
                std::process::abort();
            }
        }
        if (waiting.len() > BATCHES_AHEAD || !more)
            && let Some(oldest) = waiting.pop_front()
        {
            let outcomes = oldest.await?;
            if load == "refused" {
                let refused = outcomes.iter().filter(|outcome| outcome.decision.is_err()).count();
                if refused != settings.batch / 64 {
                    return Err(format!("{refused} were refused").into());
                }
            } else {
                check(&outcomes)?;
            }
            longest_wait = longest_wait.max(answered.elapsed());
            answered = Instant::now();
        } else if !more {
            break;
        }
    }
    let rate = f64::from(operations) / began.elapsed().as_secs_f64();
    let after = times();
    let took = |after: Option<Duration>, before| Some((after? - before?) / operations);
    let statement =
        store.statement(WalletId::FIRST, Page { from: None, limit: 1 }).await?.ok_or("no bank")?;
    if statement.balance.minor() > -100_000 * (settings.wallets.cast_signed() - 1) {
        return Err("money was lost".into());
    }
    Ok(Measured {
        rate,
        writer: took(after.0, before.0),
        process: took(after.1, before.1),
        longest_wait,
    })
}

/// The limit: appends records of so many bytes to a bare file, each with its checksum, one fsync a batch.
fn raw(dir: &Path, settings: &Settings, record_bytes: usize, sync: bool) -> Result<f64, Failed> {
    let path = dir.join("raw");
    let mut file = File::create(&path)?;
    let mut records = vec![b'x'; record_bytes * settings.batch];
    let began = Instant::now();
    for batch in 0..settings.operations / settings.batch {
        for record in records.chunks_exact_mut(record_bytes) {
            let (head, record) = record.split_at_mut(4);
            record.fill(u8::try_from(batch % 251)?);
            head.copy_from_slice(&crc32fast::hash(record).to_le_bytes());
        }
        file.write_all(&records)?;
        if sync {
            file.sync_data()?;
        }
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

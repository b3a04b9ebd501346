//! The engine alone, without HTTP: durable transfers a second, in batches, fsync on.
//!
//! `cargo bench -p store-sqlite --bench engine -- [--wallets N] [--batch N] [--operations N]
//! [--rounds N] [--dir DIR]`
//!
//! Every transfer is checked against the balance and has details and a time in its row. In one run,
//! in turns: uniform pairs over all wallets, and one hot wallet in every transfer; then beside them
//! the limit: a bare file to which the same number of bytes is appended, with the same fsyncs.

#![allow(missing_docs)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ledger::{
    Amount, Currency, Details, Ledger, NewUser, Operation, OperationKind, Outcome, Page, Pending,
    People, Role, Submission, WalletId,
};
use store_sqlite::{Options, SqliteStore, Unobserved, deliver_here};

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
    fn read() -> Result<Self, Box<dyn std::error::Error>> {
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
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
            "{:>14} {:>14} {:>14} {:>10} {:>10}",
            "uniform/s", "one hot/s", "raw file/s", "hot/uni", "uni/raw"
        );
        let mut table = Vec::new();
        for _ in 0..settings.rounds {
            let uniform = drive(&store, &settings, || random.pair(settings.wallets)).await?;
            let mut out = false;
            let hot = drive(&store, &settings, || {
                out = !out;
                let other = 3 + random.next() % (settings.wallets - 2);
                if out { (2, other) } else { (other, 2) }
            })
            .await?;
            let raw = raw(dir.path(), &settings)?;
            println!(
                "{uniform:>14.0} {hot:>14.0} {raw:>14.0} {:>10.2} {:>10.2}",
                hot / uniform,
                uniform / raw
            );
            table.push([uniform, hot, raw, hot / uniform, uniform / raw]);
        }
        let median = |column: usize| {
            let mut values: Vec<f64> =
                table.iter().filter_map(|row| row.get(column)).copied().collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        println!(
            "{:>14.0} {:>14.0} {:>14.0} {:>10.2} {:>10.2}  (medians)",
            median(0),
            median(1),
            median(2),
            median(3),
            median(4)
        );
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    store.close();
    let began = Instant::now();
    let (store, recovered) = SqliteStore::open(options(dir.path())?)?;
    println!("reopened after a clean stop in {:?}: {recovered:?}", began.elapsed());
    store.close();
    Ok(())
}

fn options(dir: &Path) -> Result<Options, Box<dyn std::error::Error>> {
    Ok(Options {
        dir: dir.to_owned(),
        currency: Some(Currency::parse("RUB")?),
        queue_operations_max: 1_000_000,
        observer: Arc::new(Unobserved),
        deliver: deliver_here(),
    })
}

fn open(dir: &Path) -> Result<SqliteStore, Box<dyn std::error::Error>> {
    Ok(SqliteStore::open(options(dir)?)?.0)
}

/// Makes the bank and the wallets, and puts a thousand roubles on each.
async fn populate(store: &SqliteStore, wallets: u64) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let mut waiting = VecDeque::new();
    for number in 1..=wallets {
        let email = format!("{number}@localhost");
        waiting.push_back(store.sign_up(NewUser {
            role: if number == 1 { Role::Bank } else { Role::Person },
            name: "somebody".to_owned(),
            email_key: email.clone(),
            email,
            password_hash: "-".to_owned(),
        }));
        if waiting.len() > 20_000
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.await??;
        }
    }
    for last in waiting {
        last.await??;
    }
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

fn submission(
    kind: OperationKind,
    (debit, credit): (u64, u64),
    amount_minor: i64,
) -> Result<Submission, Box<dyn std::error::Error>> {
    Ok(Submission {
        operation: Operation {
            kind,
            debit: WalletId::new(debit).ok_or("no such id")?,
            credit: WalletId::new(credit).ok_or("no such id")?,
            amount: Amount::from_minor(amount_minor)?,
            details: Details::parse("for the tea")?,
        },
        key: None,
    })
}

fn check(outcomes: &[Outcome]) -> Result<(), Box<dyn std::error::Error>> {
    for outcome in outcomes {
        if let Err(rejection) = outcome {
            return Err(format!("refused: {rejection}").into());
        }
    }
    Ok(())
}

/// Durable transfers a second.
async fn drive(
    store: &SqliteStore,
    settings: &Settings,
    mut pair: impl FnMut() -> (u64, u64),
) -> Result<f64, Box<dyn std::error::Error>> {
    let batches: Vec<Vec<Submission>> = (0..settings.operations / settings.batch)
        .map(|_| {
            (0..settings.batch)
                .map(|_| submission(OperationKind::Transfer, pair(), 1))
                .collect::<Result<_, _>>()
        })
        .collect::<Result<_, _>>()?;
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
fn raw(dir: &Path, settings: &Settings) -> Result<f64, Box<dyn std::error::Error>> {
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

/// xorshift64*: the same pairs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// Two different wallets, neither of them the bank's.
    fn pair(&mut self, wallets: u64) -> (u64, u64) {
        let from = 2 + self.next() % (wallets - 1);
        let to = 2 + self.next() % (wallets - 2);
        (from, if to >= from { to + 1 } else { to })
    }
}

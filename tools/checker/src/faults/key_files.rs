//! The service is killed, or the power goes, while it writes a file of keys or merges several into one. No key
//! may be forgotten by that: whatever was done under it must not be done again.
//!
//! Far more keys than elsewhere are needed for it, so they are sent in batches, and what is kept of each is
//! the operation that was told. The directory is looked at, but only to choose the moment.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::power_cut::on;
use super::{Form, Home, Plan};
use crate::client::{Address, BatchItem, Http, Session};
use crate::disk::PowerDisk;
use crate::results::Tally;
use crate::service::{BANK_EMAIL, BANK_PASS, Service};
use crate::violation::{Code, Violation};

/// As many as a batch may have.
const BATCH: usize = 8_192;
/// A file of keys that is larger than this is made of several.
const MERGED_BYTES_MIN: u64 = 3 << 20;
/// How long a file of keys is waited for; and for how much of it one that is made of several.
const PATIENCE: Duration = Duration::from_secs(180);
const PATIENCE_FOR_MERGES: Duration = Duration::from_secs(20);
/// How many batches are asked about again after each start, but for those whose outcome is unknown.
const ASKED_AGAIN: usize = 8;
/// More than any call takes, on a slow machine and in a debug build.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs it. A round is one kill or cut, and the start after it.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "key-files")?;
    let mebibytes = match plan.form {
        Form::Short => 2 * 1_024,
        Form::Long => 32 * 1_024,
    };
    let mut disk = PowerDisk::new(home.path(), mebibytes)?;
    let setup = on(&disk, plan, &home);
    let mut service = setup.start().await?;
    let mut keys = Keys::open(&service, plan.seed).await?;
    let mut tally = Tally::default();
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    plan.progress.set_length(plan.count);
    while tally.count < plan.count && tally.violations.is_empty() {
        let (sent, died) = tokio::join!(
            keys.send_until_it_is_gone(&mut tally.violations),
            die(&mut service, &setup.data, &mut disk, &mut rng),
        );
        sent?;
        died?.count(&mut tally);
        service = setup.start().await?;
        tally.restarts += 1;
        keys.address.set(&service.url());
        keys.ask_again(&mut rng, &mut tally).await?;
        tally.count += 1;
        plan.progress.inc(1);
    }
    if tally.violations.is_empty() {
        keys.ask_all_again(&mut tally.violations).await?;
        let status = service.terminate().await?;
        ensure!(status.success(), "asked to stop, it ended with {status}: {}", service.said());
    }
    tally.acknowledged = keys.told.len() as u64;
    Ok(home.keep_if_wrong(tally))
}

/// What was done under each key.
struct Keys {
    address: Address,
    bank: Session,
    /// The one that is paid.
    somebody: Session,
    tag: String,
    /// The operation that was told, by the key's number.
    told: Vec<u64>,
    /// Keys that were sent, of which nothing was told.
    unknown: Range<usize>,
}

impl Keys {
    async fn open(service: &Service, seed: u64) -> anyhow::Result<Self> {
        let address = Address::new(&service.url());
        let http = Http::new(address.clone(), TIMEOUT)?;
        let bank = http.log_in(BANK_EMAIL, BANK_PASS).await.context("the bank cannot log in")?;
        let somebody = http.join("somebody@localhost.ru", "somebody's password").await?;
        let tag = format!("{seed:x}");
        Ok(Self { address, bank, somebody, tag, told: Vec::new(), unknown: 0..0 })
    }

    /// One new batch after another, until one is not answered.
    async fn send_until_it_is_gone(&mut self, wrong: &mut Vec<String>) -> anyhow::Result<()> {
        loop {
            let keys = self.told.len()..self.told.len() + BATCH;
            self.unknown = keys.clone();
            let Some(items) = self.send(keys).await? else { return Ok(()) };
            if let Some(replayed) = items.iter().find(|item| item.replayed) {
                let what = "its key was never sent before";
                wrong.push(
                    Violation::new(Code::ReplayUnasked, what).at(replayed.operation_id).to_string(),
                );
            }
            self.told.extend(items.iter().map(|item| item.operation_id));
            self.unknown = 0..0;
        }
    }

    /// What is unknown, the newest and some others; and whether the wallet has what all of them came to.
    async fn ask_again(
        &mut self,
        rng: &mut fastrand::Rng,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let unknown = std::mem::take(&mut self.unknown);
        if !unknown.is_empty() {
            let items = self.send(unknown).await?.context("no answer")?;
            tally.unknown += items.len() as u64;
            tally
                .add("unknown_were_done", items.iter().filter(|item| item.replayed).count() as u64);
            self.told.extend(items.iter().map(|item| item.operation_id));
        }
        let batches = self.told.len() / BATCH;
        let newest = (batches.saturating_sub(2)..batches).collect::<Vec<_>>();
        let others = (0..ASKED_AGAIN).map(|_| rng.usize(..batches.max(1)));
        for batch in newest.into_iter().chain(others) {
            self.ask(batch * BATCH..(batch + 1) * BATCH, &mut tally.violations).await?;
        }
        self.must_be_paid(&mut tally.violations).await
    }

    /// Every key there is, and that no two of them are one operation.
    async fn ask_all_again(&mut self, wrong: &mut Vec<String>) -> anyhow::Result<()> {
        for first in (0..self.told.len()).step_by(BATCH) {
            self.ask(first..first + BATCH, wrong).await?;
        }
        let mut operations = self.told.clone();
        operations.sort_unstable();
        if let Some([twice, _]) = operations.array_windows().find(|[one, next]| one == next) {
            let what = "it was told for two keys";
            wrong.push(Violation::new(Code::ReplayDiffers, what).at(*twice).to_string());
        }
        self.must_be_paid(wrong).await
    }

    /// All of these must be answered as before, and marked so.
    async fn ask(&self, keys: Range<usize>, wrong: &mut Vec<String>) -> anyhow::Result<()> {
        let told = self.told.get(keys.clone()).context("keys that were never told of")?;
        let items = self.send(keys.clone()).await?.context("no answer")?;
        let differs = items.iter().zip(told).zip(keys).find_map(|((item, told), key)| {
            let BatchItem { operation_id, replayed } = *item;
            let code = match (operation_id == *told, replayed) {
                (true, true) => return None,
                (true, false) => Code::ReplayUnmarked,
                (false, true) => Code::ReplayDiffers,
                (false, false) => Code::Doubled,
            };
            let what = format!("key {key} was told as operation {told}, and is now {operation_id}");
            Some(Violation::new(code, what).at(*told))
        });
        wrong.extend(differs.map(|violation| violation.to_string()));
        Ok(())
    }

    /// The wallet has one minor unit for each key.
    async fn must_be_paid(&self, wrong: &mut Vec<String>) -> anyhow::Result<()> {
        let page = self.somebody.page(1, None).await;
        let page = page.map_err(|unread| anyhow::anyhow!("the wallet: {unread:?}"))?;
        if usize::try_from(page.balance).ok() != Some(self.told.len()) {
            let what = format!("{} keys came to a balance of {}", self.told.len(), page.balance);
            wrong.push(
                Violation::new(Code::BalanceWrong, what).in_wallet(page.wallet_id).to_string(),
            );
        }
        Ok(())
    }

    /// Sends a deposit of a minor unit under each of these keys. `None`: no answer, or one that says that
    /// nobody knows.
    async fn send(&self, keys: Range<usize>) -> anyhow::Result<Option<Vec<BatchItem>>> {
        let (wallet, tag, wanted) = (self.somebody.wallet, &self.tag, keys.len());
        let operations = keys.map(|key| {
            format!(r#"{{"wallet_id":{wallet},"amount":0.01,"idempotency_key":"{tag}-{key}"}}"#)
        });
        let operations = operations.collect::<Vec<_>>().join(",");
        let items = self.bank.batch(&operations).await?;
        ensure!(items.as_ref().is_none_or(|items| items.len() == wanted), "results are missing");
        Ok(items)
    }
}

/// How the service went.
#[derive(Debug)]
struct Death {
    how: &'static str,
    /// How large the file was that was being written, if one was.
    unfinished_bytes: Option<u64>,
}

impl Death {
    fn count(&self, tally: &mut Tally) {
        tally.add(self.how, 1);
        if let Some(bytes) = self.unfinished_bytes {
            let figure = if bytes >= MERGED_BYTES_MIN { "while_merging" } else { "while_writing" };
            tally.add(figure, 1);
        }
    }
}

/// Waits for a moment at which a file of keys is written, every other time for one that is made of several, and
/// ends the service then: it is killed, with the power gone after it or not, or the power goes.
async fn die(
    service: &mut Service,
    data: &Path,
    disk: &mut PowerDisk,
    rng: &mut fastrand::Rng,
) -> anyhow::Result<Death> {
    let began = Instant::now();
    let wanted = if rng.bool() { MERGED_BYTES_MIN } else { 0 };
    tokio::time::sleep(Duration::from_millis(rng.u64(100..1_000))).await;
    loop {
        let unfinished = unfinished_bytes(data)?;
        let enough = unfinished.is_some_and(|bytes| bytes >= wanted);
        if enough || (unfinished.is_some() && began.elapsed() > PATIENCE_FOR_MERGES) {
            break;
        }
        ensure!(began.elapsed() < PATIENCE, "no file of keys was written: {}", service.said());
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    tokio::time::sleep(Duration::from_micros(rng.u64(..20_000))).await;
    if let Some(status) = service.ended()? {
        anyhow::bail!("it had ended by itself with {status}: {}", service.said());
    }
    let how = *rng.choice(&["killed", "killed_then_cut", "frozen_then_cut"]).context("no way")?;
    if how == "frozen_then_cut" {
        service.freeze().await?;
    } else {
        service.kill().await?;
    }
    let unfinished_bytes = unfinished_bytes(data)?;
    if how != "killed" {
        disk.cut_power()?;
        service.kill().await?;
        disk.come_back()?;
    }
    Ok(Death { how, unfinished_bytes })
}

/// How large the file is that is being written, the largest if there are several.
fn unfinished_bytes(data: &Path) -> anyhow::Result<Option<u64>> {
    let mut largest = None;
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "tmp") {
            // It may have been finished meanwhile.
            largest = largest.max(entry.metadata().ok().map(|file| file.len()));
        }
    }
    Ok(largest)
}

//! Damage to the files: a byte of the data file changed, and the log cut short.
//!
//! After each, one of two things must be: the damage is named and the service does not serve, or
//! everything that is read back is exactly right. A log that is cut short has lost what was in it,
//! and nobody can know; but what is left must be the history's beginning, whole and unchanged.
//!
//! A round is one damaged copy: the bytes of the data file, each changed once, then the log at each
//! of its lengths. With a count, so many of each, by chance. Each copy costs a start of the service,
//! so the starts are cheap: in memory, and without the bank's password, which a start would compare.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::task::JoinSet;

use super::{Home, KEYS, Plan};
use crate::client::{Address, Entry, Http, Page, Reply, Request, Session, Unread};
use crate::results::Tally;
use crate::service::{BANK_EMAIL, BANK_PASS, Service, Setup, StartError};

/// So many copies are looked at side by side: one is started while another one is asked.
const WORKERS: usize = 4;
const CALL_MAX: Duration = Duration::from_secs(20);
/// How long a service that met damage may take to stop.
const HALT_MAX: Duration = Duration::from_secs(20);
/// Set to nothing, it is not set, and a start need not hash it to say whether it is still right.
const BANK_PASS_VARIABLE: &str = "BANK_PASS";
const DATA_FILE: &str = "kopeck.db";
const LOG_FILE: &str = "kopeck.db-wal";
const PAGE_ENTRIES: usize = 100;

/// Where a copy is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// This byte of the data file is XORed with this.
    Flip { offset: usize, mask: u8 },
    /// The log keeps so many bytes.
    Cut { bytes: usize },
}

/// What came of a damaged copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The start refused it, by a sentence.
    NamedAtStart,
    /// It was met later: a 5xx, and the service stopped by itself with a sentence.
    NamedLater,
    /// A 5xx with the damage in the log, while the service goes on for others.
    NamedInPart,
    /// A session was not known any more.
    LoggedOut,
    /// Everything is right, up to this operation.
    Right { operations: usize },
}

/// The undamaged state, and what is read from it.
struct Original {
    dir: PathBuf,
    sessions: Vec<Session>,
    /// By session, newest first.
    pages: Vec<Page>,
    /// A keyed request that was done, and its answer.
    done: (Order, Reply),
    operations: usize,
}

#[derive(Debug, Clone)]
struct Order {
    payer: usize,
    deposit: bool,
    wallet: u64,
    amount: i64,
    details: String,
    key: String,
}

/// Runs it.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let mut home = Home::new(plan, "bit-rot")?;
    let mut tally = Tally::default();
    let (stopped, killed) = prepare(plan, home.path(), &mut tally).await?;
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let flips = choose_flips(&stopped.dir.join(DATA_FILE), plan.count, &mut rng)?;
    let cuts = choose_cuts(&killed.dir.join(LOG_FILE), plan.count, &mut rng)?;
    tally.set("data_file_bytes", fs::metadata(stopped.dir.join(DATA_FILE))?.len());
    tally.set("log_bytes", fs::metadata(killed.dir.join(LOG_FILE))?.len());
    plan.progress.set_length((flips.len() + cuts.len()) as u64);
    survey(plan, home.path(), stopped, flips, &mut tally).await?;
    survey(plan, home.path(), killed, cuts, &mut tally).await?;
    Ok(home.keep_if_wrong(tally))
}

/// Two states of one history: after a clean stop everything is in the data file, after a kill the
/// rest of it is in the log.
async fn prepare(
    plan: &Plan,
    home: &Path,
    tally: &mut Tally,
) -> anyhow::Result<(Original, Original)> {
    let setup = Setup::new(&plan.kopeck, &home.join("original"));
    fs::create_dir(home.join("original"))?;
    let mut service = setup.start().await?;
    let http = http(&service)?;
    let mut sessions = vec![http.log_in(BANK_EMAIL, BANK_PASS).await?];
    for name in ["anna", "boris"] {
        sessions.push(http.join(&format!("{name}@example.org"), "Pa$$w0rd").await?);
    }
    let mut done = None;
    for number in 0..12 {
        let order = order(&sessions, number);
        let reply = send(&sessions, &order).await?;
        ensure!(matches!(reply, Reply::Ok { .. }), "{order:?} was answered {reply:?}");
        done = Some((order, reply));
        tally.acknowledged += 1;
    }
    let done = done.context("nothing was done")?;
    service.terminate().await?;
    let stopped = keep(&setup, home, "stopped", &sessions, &done).await?;
    // A few more, which the log has, and not the data file.
    let mut service = setup.start().await?;
    let sessions = at(&sessions, &service)?;
    for number in 12..16 {
        let reply = send(&sessions, &order(&sessions, number)).await?;
        ensure!(matches!(reply, Reply::Ok { .. }), "{reply:?}");
        tally.acknowledged += 1;
    }
    service.kill().await?;
    let killed = keep(&setup, home, "killed", &sessions, &done).await?;
    Ok((stopped, killed))
}

/// The bank pays Anna, Anna pays Boris, Boris pays Anna.
fn order(sessions: &[Session], number: usize) -> Order {
    let payer = number % 3;
    let payee = if payer == 1 { 2 } else { 1 };
    Order {
        payer,
        deposit: payer == 0,
        wallet: sessions.get(payee).map_or(0, |session| session.wallet),
        amount: [10_000, 731, 245].get(payer).copied().unwrap_or(1),
        details: format!("number {number}, за обед"),
        key: format!("key-{number}"),
    }
}

async fn send(sessions: &[Session], order: &Order) -> anyhow::Result<Reply> {
    let Order { payer, deposit, wallet, amount, details, key } = order;
    let request = Request {
        deposit: *deposit,
        wallet_id: *wallet,
        amount: *amount,
        details,
        external_id: None,
        key: KEYS.then_some(key),
    };
    Ok(sessions.get(*payer).context("nobody pays")?.order(&request).await)
}

/// Copies the state aside and reads everything from one more copy of it.
async fn keep(
    setup: &Setup,
    home: &Path,
    name: &str,
    sessions: &[Session],
    done: &(Order, Reply),
) -> anyhow::Result<Original> {
    let dir = home.join(name);
    copy(&setup.data, &dir)?;
    let copied = Setup { data: home.join(format!("{name}-read")), ..setup.clone() };
    copy(&dir, &copied.data)?;
    let mut service = copied.start().await?;
    let sessions = at(sessions, &service)?;
    let mut pages = Vec::new();
    for session in &sessions {
        match session.page(PAGE_ENTRIES, None).await {
            Ok(page) => pages.push(page),
            Err(unread) => bail!("the undamaged state cannot be read: {unread:?}"),
        }
    }
    service.kill().await?;
    let newest = pages.iter().filter_map(|page| page.entries.first()).map(|it| it.operation_id);
    let operations = usize::try_from(newest.max().unwrap_or(0))?;
    Ok(Original { dir, sessions, pages, done: done.clone(), operations })
}

fn http(service: &Service) -> anyhow::Result<Http> {
    Http::new(Address::new(&format!("http://{}", service.address())), CALL_MAX)
}

/// The same people, at another service that has the same data.
fn at(sessions: &[Session], service: &Service) -> anyhow::Result<Vec<Session>> {
    let http = http(service)?;
    Ok(sessions.iter().map(|session| session.at(&http)).collect())
}

/// Without the shared memory of the log, which is made anew, and the lock.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to)?;
    for file in [DATA_FILE, LOG_FILE] {
        if from.join(file).exists() {
            fs::copy(from.join(file), to.join(file))?;
        }
    }
    Ok(())
}

/// Every byte once, each by a change of its own; by chance if not all: half of them where there is
/// something.
fn choose_flips(file: &Path, count: u64, rng: &mut fastrand::Rng) -> anyhow::Result<Vec<Damage>> {
    let bytes = fs::read(file)?;
    let written: Vec<usize> = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte != 0)
        .map(|(offset, _)| offset)
        .collect();
    ensure!(!written.is_empty(), "the data file is empty");
    let offsets: Vec<usize> = match usize::try_from(count) {
        Ok(count) if count < bytes.len() => (0..count)
            .map(|number| match number % 2 {
                0 => rng.usize(..bytes.len()),
                _ => rng.choice(&written).copied().unwrap_or(0),
            })
            .collect(),
        _ => (0..bytes.len()).collect(),
    };
    let mut flip = |offset| {
        let mask = rng.choice([0x01, 0x80, 0xff, rng.clone().u8(1..)]).unwrap_or(0xff);
        Damage::Flip { offset, mask }
    };
    Ok(offsets.into_iter().map(&mut flip).collect())
}

fn choose_cuts(file: &Path, count: u64, rng: &mut fastrand::Rng) -> anyhow::Result<Vec<Damage>> {
    let length = usize::try_from(fs::metadata(file)?.len())?;
    let mut cuts: Vec<usize> = match usize::try_from(count / 4) {
        Ok(count) if count < length => (0..count).map(|_| rng.usize(..length)).collect(),
        _ => (0..length).collect(),
    };
    cuts.push(length);
    cuts.sort_unstable();
    Ok(cuts.into_iter().map(|bytes| Damage::Cut { bytes }).collect())
}

/// Looks at all the damaged copies, some side by side.
async fn survey(
    plan: &Plan,
    home: &Path,
    original: Original,
    damages: Vec<Damage>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let (original, damages) = (Arc::new(original), Arc::new(damages));
    let next = Arc::new(AtomicUsize::new(0));
    let (send, mut receive) = tokio::sync::mpsc::channel(WORKERS);
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let dir = home.join(format!("worker-{number}"));
        fs::create_dir_all(&dir)?;
        let mut setup = Setup::new(&plan.kopeck, &dir);
        setup.environment.push((BANK_PASS_VARIABLE.into(), "".into()));
        let (original, damages) = (Arc::clone(&original), Arc::clone(&damages));
        let (next, send) = (Arc::clone(&next), send.clone());
        workers.spawn(async move {
            while let Some(damage) = damages.get(next.fetch_add(1, Relaxed)).copied() {
                let end = look(&setup, &original, damage).await;
                if send.send((damage, end)).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(send);
    let mut kept = Vec::new();
    while let Some((damage, end)) = receive.recv().await {
        tally.count += 1;
        tally.restarts += 1;
        plan.progress.inc(1);
        match end {
            Ok(end) => count(tally, damage, &end, &mut kept),
            Err(wrong) => tally.violation(format!("{damage:?}: {wrong:#}")),
        }
        if tally.is_full() {
            break;
        }
    }
    check_order(&mut kept, original.operations, tally);
    Ok(())
}

fn count(tally: &mut Tally, damage: Damage, end: &End, kept: &mut Vec<(usize, usize)>) {
    let what = match damage {
        Damage::Flip { .. } => "flips",
        Damage::Cut { .. } => "cuts",
    };
    let came_of = match end {
        End::NamedAtStart => "named_at_start",
        End::NamedLater => "named_later",
        End::NamedInPart => "named_in_part",
        End::LoggedOut => "logged_out",
        End::Right { .. } => "harmless",
    };
    tally.add(&format!("{what}_{came_of}"), 1);
    if let (Damage::Cut { bytes }, End::Right { operations }) = (damage, end) {
        kept.push((bytes, *operations));
    }
}

/// A longer log holds no less, and the whole log all.
fn check_order(kept: &mut [(usize, usize)], operations: usize, tally: &mut Tally) {
    kept.sort_unstable();
    for pair in kept.windows(2) {
        if let [(bytes, had), (more, has)] = pair
            && has < had
        {
            tally.violation(format!(
                "a log of {bytes} bytes gives {had} operations, one of {more} bytes {has}"
            ));
        }
    }
    match kept.last() {
        Some((_, has)) if *has != operations && !tally.is_full() => {
            tally.violation(format!("the whole log gives {has} operations of {operations}"));
        }
        _ => {}
    }
}

/// Damages a copy and looks what comes of it. An error is what must not be.
async fn look(setup: &Setup, original: &Original, damage: Damage) -> anyhow::Result<End> {
    copy(&original.dir, &setup.data)?;
    spoil(&setup.data, damage)?;
    let _ = fs::remove_file(&setup.log);
    let mut service = match setup.start().await {
        Ok(service) => service,
        Err(StartError::Ended { status, log }) => {
            // Neither a panic nor a signal is a sentence.
            ensure!(status.code() == Some(1), "the start ended with {status}: {log}");
            ensure!(log.contains("kopeck: "), "the start did not say what is wrong: {log}");
            return Ok(End::NamedAtStart);
        }
        Err(other) => return Err(other.into()),
    };
    let sessions = at(&original.sessions, &service)?;
    let looked = match damage {
        Damage::Flip { .. } => read_all_and_go_on(&sessions, original).await,
        Damage::Cut { .. } => read_beginning(&sessions, original).await,
    };
    let end = match looked? {
        Seen::Right { operations } => End::Right { operations },
        Seen::Status401 => End::LoggedOut,
        Seen::Unanswered(why) => named(&mut service, &why).await?,
    };
    service.kill().await?;
    Ok(end)
}

fn spoil(data: &Path, damage: Damage) -> anyhow::Result<()> {
    match damage {
        Damage::Flip { offset, mask } => {
            let mut bytes = fs::read(data.join(DATA_FILE))?;
            *bytes.get_mut(offset).context("beyond the file")? ^= mask;
            fs::write(data.join(DATA_FILE), bytes)?;
        }
        Damage::Cut { bytes } => {
            let log = fs::File::options().write(true).open(data.join(LOG_FILE))?;
            log.set_len(bytes as u64)?;
        }
    }
    Ok(())
}

/// What was seen of a damaged state that started.
enum Seen {
    Right { operations: usize },
    Status401,
    Unanswered(String),
}

/// A 5xx, or no answer: then the damage must be named.
async fn named(service: &mut Service, why: &str) -> anyhow::Result<End> {
    let status = service.wait(HALT_MAX).await?;
    let said = service.said();
    match status {
        Some(status) => {
            ensure!(status.code() == Some(1), "it ended with {status} after {why}: {said}");
            ensure!(said.contains("halted"), "it ended after {why}, and did not say why: {said}");
            Ok(End::NamedLater)
        }
        None => {
            ensure!(said.contains("ERROR"), "it answered {why}, and logged nothing: {said}");
            Ok(End::NamedInPart)
        }
    }
}

/// The history and all balances are as they were, each its own owner's; a key finds its answer; more
/// than there is cannot be paid; and one transfer more does what it must.
async fn read_all_and_go_on(sessions: &[Session], original: &Original) -> anyhow::Result<Seen> {
    for (session, expected) in sessions.iter().zip(&original.pages) {
        match session.page(PAGE_ENTRIES, None).await {
            Ok(page) => {
                ensure!(page.wallet_id == session.wallet, "{}'s wallet was served", page.wallet_id);
                check_page(&page, expected.balance, &expected.entries)?;
            }
            Err(unread) => return not_served(unread),
        }
    }
    for (payer, page) in original.pages.iter().enumerate().skip(1) {
        let amount = page.balance + 1;
        let too_much = Order { amount, key: "too-much".to_owned(), ..order(sessions, payer) };
        match send(sessions, &too_much).await? {
            Reply::Unknown { why } => return Ok(Seen::Unanswered(why)),
            Reply::Fail { code, .. } if code == "insufficient_funds" => {}
            other => bail!("more than there is was paid: {other:?}"),
        }
    }
    let (order, answer) = &original.done;
    if KEYS {
        match (send(sessions, order).await?, answer) {
            (Reply::Unknown { why }, _) => return Ok(Seen::Unanswered(why)),
            (
                Reply::Ok { operation_id, balance, replayed: true, .. },
                Reply::Ok { operation_id: id, balance: told, .. },
            ) if operation_id == *id && balance == *told => {}
            (other, _) => bail!("a key was answered {other:?} instead of {answer:?}"),
        }
    }
    go_on(sessions, original).await
}

/// Names the first thing that is not as it must be.
fn check_page(page: &Page, balance: i64, entries: &[Entry]) -> anyhow::Result<()> {
    let wallet = page.wallet_id;
    ensure!(page.balance == balance, "wallet {wallet}: served {}, not {balance}", page.balance);
    for (served, entry) in page.entries.iter().zip(entries) {
        ensure!(served == entry, "wallet {wallet}: served {served:?}, not {entry:?}");
    }
    let (served, all) = (page.entries.len(), entries.len());
    ensure!(served == all, "wallet {wallet}: served {served} entries, not {all}");
    ensure!(!page.has_more, "wallet {wallet}: says that there are more entries");
    Ok(())
}

fn not_served(unread: Unread) -> anyhow::Result<Seen> {
    match unread {
        Unread::Unknown(why) => Ok(Seen::Unanswered(why)),
        Unread::Odd(why) if why.starts_with("401") => Ok(Seen::Status401),
        Unread::Odd(why) => bail!("served {why}"),
    }
}

/// Anna pays Boris once more.
async fn go_on(sessions: &[Session], original: &Original) -> anyhow::Result<Seen> {
    let more = order(sessions, 100);
    let (payer, payee) = (1, 2);
    let operations = original.operations;
    let balance = |index: usize| original.pages.get(index).map_or(0, |page| page.balance);
    match send(sessions, &more).await? {
        Reply::Unknown { why } => return Ok(Seen::Unanswered(why)),
        Reply::Ok { operation_id, balance: told, .. } => {
            ensure!(operation_id == operations as u64 + 1, "operation {operation_id} came next");
            ensure!(told == balance(payer) - more.amount, "a transfer left {told}");
        }
        other => bail!("a transfer that is possible was answered {other:?}"),
    }
    for (index, change) in [(payer, -more.amount), (payee, more.amount)] {
        let (session, expected) =
            sessions.get(index).zip(original.pages.get(index)).context("nobody")?;
        match session.page(PAGE_ENTRIES, None).await {
            Ok(page) => {
                let newest = page.entries.first().cloned().context("a history without entries")?;
                let entries = [vec![newest], expected.entries.clone()].concat();
                check_page(&page, expected.balance + change, &entries)?;
            }
            Err(unread) => return not_served(unread),
        }
    }
    Ok(Seen::Right { operations })
}

/// The history up to some operation, the same for all wallets.
async fn read_beginning(sessions: &[Session], original: &Original) -> anyhow::Result<Seen> {
    let mut pages = Vec::new();
    for session in sessions {
        match session.page(PAGE_ENTRIES, None).await {
            Ok(page) => pages.push(page),
            Err(unread) => return not_served(unread),
        }
    }
    let newest = pages.iter().filter_map(|page| page.entries.first()).map(|it| it.operation_id);
    let newest = newest.max().unwrap_or(0);
    for (page, whole) in pages.iter().zip(&original.pages) {
        let beginning: Vec<_> =
            whole.entries.iter().filter(|entry| entry.operation_id <= newest).cloned().collect();
        check_page(page, beginning.first().map_or(0, |entry| entry.balance), &beginning)?;
    }
    Ok(Seen::Right { operations: usize::try_from(newest)? })
}

//! Owns the making of a benchmark's book: people, sessions, money and operations, straight through the
//! engine.
//!
//! Never: a password (nobody in it can log in with one), or a server. Bounds: [`AHEAD`] writes that
//! concern people, [`BATCHES_AHEAD`] batches of operations wait at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use ledger::{
    Amount, Currency, IdempotencyKey, Ledger, NewUser, Operation, OperationKind, Outcome, Pending,
    People, Role, SUBMISSIONS_MAX, Session, Submission, UserId, WalletId,
};
use store_sqlite::{Observer, Options, SqliteStore, Unobserved, deliver_here};

use super::load::go_on;
use super::progress;
use super::scenario::{Chooser, Payer, Scenario};
use super::work::{Size, Work};
use crate::clock;

/// How many writes that concern people are handed in before the first is awaited.
const AHEAD: usize = 20_000;
/// How many batches of operations are handed in before the first is awaited.
const BATCHES_AHEAD: usize = 3;
/// What everybody has at first, in minor units: enough for a hundred million payments.
const MONEY_MINOR: i64 = 100_000_000;
/// What everybody has together at most: the bank's balance is bounded too.
const MONEY_ALL_MINOR: i64 = 400_000_000_000_000;

/// Opens the engine on a benchmark's data.
pub(super) fn open(work: &Work, observer: Arc<dyn Observer>) -> anyhow::Result<SqliteStore> {
    let options = Options {
        dir: work.data(),
        currency: Some(Currency::parse("RUB")?),
        queue_operations_max: 1_000_000,
        key_window: Some(Duration::from_secs(24 * 60 * 60)),
        observer,
        deliver: deliver_here(),
    };
    Ok(SqliteStore::open(options)?.0)
}

/// Makes everything that the work's size says, unless it is there; closes the engine again.
pub(super) fn fill(work: &mut Work, title: &str) -> anyhow::Result<()> {
    if work.is_made() {
        return Ok(());
    }
    let store = open(work, Arc::new(Unobserved))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let filled = runtime.block_on(async {
        people(&store, work, title).await?;
        sessions(&store, work, title).await?;
        money(&store, work, title).await
    });
    store.close();
    filled?;
    ensure!(store.halt_reason().is_none(), "the engine halted");
    work.set_made()
}

/// A payment of so many minor units, without a note.
pub(super) fn payment(
    kind: OperationKind,
    (debit, credit): (u64, u64),
    minor: i64,
    key: Option<[u8; 36]>,
) -> anyhow::Result<Submission> {
    let wallet = |number| WalletId::new(number).context("no such wallet");
    let key = key.map(|key| IdempotencyKey::parse(&String::from_utf8_lossy(&key))).transpose()?;
    let operation = Operation {
        kind,
        debit: wallet(debit)?,
        credit: wallet(credit)?,
        amount: Amount::from_minor(minor)?,
        details: None,
        external_id: None,
    };
    Ok(Submission { operation, key })
}

/// What everybody is paid in at first, in minor units.
pub(super) fn first_payment_minor(wallets: u64) -> i64 {
    let each = MONEY_ALL_MINOR / i64::try_from(wallets.max(1)).unwrap_or(i64::MAX);
    each.clamp(1, MONEY_MINOR)
}

/// The outcomes of a batch must all be acceptances.
pub(super) fn expect_accepted(outcomes: &[Outcome]) -> anyhow::Result<()> {
    for outcome in outcomes {
        if let Err(rejection) = &outcome.decision {
            anyhow::bail!("refused: {rejection}");
        }
    }
    Ok(())
}

/// Hands in and awaits, a bounded number at a time.
struct Ahead<T> {
    waiting: VecDeque<Pending<T>>,
    max: usize,
    bar: ProgressBar,
    each: u64,
}

impl<T> Ahead<T> {
    fn new(max: usize, each: u64, bar: ProgressBar) -> Self {
        Self { waiting: VecDeque::new(), max, bar, each }
    }

    async fn push(&mut self, pending: Pending<T>) -> anyhow::Result<Option<T>> {
        go_on()?;
        self.waiting.push_back(pending);
        if self.waiting.len() > self.max { self.pop().await } else { Ok(None) }
    }

    async fn pop(&mut self) -> anyhow::Result<Option<T>> {
        let Some(oldest) = self.waiting.pop_front() else {
            self.bar.finish_and_clear();
            return Ok(None);
        };
        let answer = oldest.await?;
        self.bar.inc(self.each);
        Ok(Some(answer))
    }
}

async fn people(store: &SqliteStore, work: &Work, title: &str) -> anyhow::Result<()> {
    let wallets = work.size().wallets + 1;
    let bar = progress::counted(&format!("{title}: people"), wallets);
    let mut ahead = Ahead::new(AHEAD, 1, bar);
    for number in 1..=wallets {
        let email = format!("{number}@bench.localhost");
        let user = NewUser {
            role: if number == 1 { Role::Bank } else { Role::Person },
            name: "somebody".to_owned(),
            email_key: email.clone(),
            email,
            // No password's hash looks like this.
            password_hash: "-".to_owned(),
        };
        if let Some(done) = ahead.push(store.sign_up(user, None)).await? {
            done?;
        }
    }
    while let Some(done) = ahead.pop().await? {
        done?;
    }
    Ok(())
}

async fn sessions(store: &SqliteStore, work: &Work, title: &str) -> anyhow::Result<()> {
    let sessions = work.size().sessions;
    let bar = progress::counted(&format!("{title}: sessions"), sessions);
    let mut ahead = Ahead::new(AHEAD, 1, bar);
    let now = clock::now();
    // People are numbered as their wallets are.
    for number in 1..sessions + 2 {
        let user = UserId::new(number).context("no such user")?;
        let token_hash = work.token(number)?.hash();
        ahead
            .push(store.open_session(Session { token_hash, user, opened: now, seen: now }, None))
            .await?;
    }
    while ahead.pop().await?.is_some() {}
    Ok(())
}

async fn money(store: &SqliteStore, work: &Work, title: &str) -> anyhow::Result<()> {
    let Size { wallets, operations, hot_operations, .. } = work.size();
    let total = wallets.max(operations);
    let bar = progress::counted(&format!("{title}: operations"), total);
    let mut ahead = Ahead::new(BATCHES_AHEAD, SUBMISSIONS_MAX as u64, bar);
    let (mut deposited, mut transferred) = (0_u64, 0_u64);
    let minor = first_payment_minor(wallets);
    let people = usize::try_from(wallets)?;
    // Not the same seed: it would give some keys twice.
    let seed = || fastrand::u64(..);
    let mut uniform = Chooser::new(Scenario::Uniform, (people, people), Arc::default(), seed());
    let mut hot = Chooser::new(Scenario::HotBoth, (people, people), Arc::default(), seed());
    while deposited + transferred < total {
        let batch = (SUBMISSIONS_MAX as u64).min(total - deposited - transferred);
        let submissions = (0..batch).map(|_| {
            if deposited < wallets {
                deposited += 1;
                return payment(OperationKind::Deposit, (1, deposited + 1), minor, None);
            }
            transferred += 1;
            let chooser = if transferred <= hot_operations { &mut hot } else { &mut uniform };
            transfer(chooser, true)
        });
        let submissions = submissions.collect::<Result<_, _>>()?;
        if let Some(outcomes) = ahead.push(store.submit(submissions)).await? {
            expect_accepted(&outcomes)?;
        }
    }
    while let Some(outcomes) = ahead.pop().await? {
        expect_accepted(&outcomes)?;
    }
    Ok(())
}

/// A transfer, or a deposit, of one minor unit between wallets of a chooser's choice.
pub(super) fn transfer(chooser: &mut Chooser, keys: bool) -> anyhow::Result<Submission> {
    let payer = chooser.payer();
    let payee = chooser.payee(payer) as u64 + 2;
    let key = keys.then(|| chooser.key());
    match payer {
        Payer::Bank => payment(OperationKind::Deposit, (1, payee), 1, key),
        Payer::Person(person) => {
            payment(OperationKind::Transfer, (person as u64 + 2, payee), 1, key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_is_made_as_it_was_asked_for_and_is_sound() {
        let home = tempfile::tempdir().unwrap();
        let size = Size { wallets: 50, sessions: 10, operations: 9_000, hot_operations: 100 };
        let mut work = Work::open(home.path(), size).unwrap();
        fill(&mut work, "test").unwrap();
        let wanted = store_sqlite::Check { data: &work.data(), published: None };
        let checked = store_sqlite::check(&wanted, &store_sqlite::Unwatched).unwrap();
        assert!(checked.is_sound());
        assert_eq!((checked.wallets, checked.users, checked.operations), (51, 51, 9_000));
        assert_eq!(checked.keys, 9_000 - 50);
    }

    #[test]
    fn nobody_is_paid_more_than_all_together_may_have() {
        assert_eq!(first_payment_minor(1), MONEY_MINOR);
        assert_eq!(first_payment_minor(10_000_000), 40_000_000);
    }
}

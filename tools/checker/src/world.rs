//! Owns the checker's world: the bank, the people, what was sent, and the book.
//!
//! Never: more than one load and one audit at a time. Bounds: [`WorldOptions`] says how many wallets
//! there are; sessions are opened once and outlive the service's restarts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::task::JoinSet;

use crate::book::Book;
use crate::client::{Address, Http, Reply, Session, Unread};
use crate::history::{Attempt, History, Must, Names, Order, Read};
use crate::violation::{Code, Violation};

/// How many sign up at a time: each costs the service a password hash.
const SIGN_UPS_AT_ONCE: usize = 8;
/// How many orders are sent at a time when a world is prepared, or doubts are settled.
const ORDERS_AT_ONCE: usize = 16;
/// How long an unknown outcome is asked for again.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How a world is made.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// Wallets that half of all orders go through.
    pub hot: usize,
    /// The others.
    pub cold: usize,
    /// What chances are drawn from.
    pub seed: u64,
    /// Whether orders carry an `Idempotency-Key`, and deposits now and then an `external_id`.
    pub keys: bool,
    /// The bank's e-mail address.
    pub bank_email: String,
    /// The bank's password.
    pub bank_password: String,
    /// Where everything sent and answered is written as JSON Lines.
    pub history: Option<PathBuf>,
    /// After so long without an answer an outcome is unknown.
    pub timeout: Duration,
    /// What a hot wallet gets at first, in minor units.
    pub hot_money: i64,
    /// What a cold wallet gets at first, in minor units.
    pub cold_money: i64,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            hot: 8,
            cold: 92,
            seed: 1,
            keys: true,
            bank_email: "bank@localhost.ru".to_owned(),
            bank_password: "the bank's password".to_owned(),
            history: None,
            timeout: Duration::from_secs(10),
            hot_money: 1_000_000,
            cold_money: 10_000,
        }
    }
}

/// Somebody with a wallet, and what is known of it.
#[derive(Debug)]
pub struct Account {
    /// Logged in.
    pub session: Session,
    /// The newest operation of this wallet that somebody was told of.
    newest: AtomicU64,
    /// The balance that was told last, in minor units. Others may have changed it since.
    balance: AtomicI64,
}

impl Account {
    fn new(session: Session) -> Self {
        Self { session, newest: AtomicU64::new(0), balance: AtomicI64::new(0) }
    }

    /// The balance that was told last, in minor units.
    pub(crate) fn balance_told(&self) -> i64 {
        self.balance.load(SeqCst)
    }
}

/// What load and audits share.
#[derive(Debug)]
pub struct Shared {
    pub(crate) options: WorldOptions,
    pub(crate) http: Http,
    pub(crate) bank: Account,
    /// The hot ones first.
    pub(crate) people: Vec<Account>,
    pub(crate) history: History,
    by_wallet: HashMap<u64, usize>,
    /// Tasks of loads that run.
    pub(crate) loads: AtomicUsize,
    /// Loads that were started: each draws other chances.
    pub(crate) rounds: AtomicU64,
}

/// The bank, the people, and the checker's own book.
#[derive(Debug)]
pub struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) book: Arc<Book>,
}

/// What came of sending everything unknown again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retried {
    /// How many were sent again.
    pub sent: usize,
    /// Done, of these.
    pub done: usize,
    /// Refused, of these.
    pub refused: usize,
}

impl World {
    /// Signs everybody up and gives them money. The service must be new: whatever nobody here has
    /// sent is a violation.
    ///
    /// Start the service with `--sign-ups-per-address` large enough, or this waits.
    pub async fn prepare(address: &Address, options: WorldOptions) -> anyhow::Result<Self> {
        let http = Http::new(address.clone(), options.timeout)?;
        let bank = http.log_in(&options.bank_email, &options.bank_password).await;
        let bank = bank.context("the bank cannot log in")?;
        let people = sign_up_all(&http, options.hot + options.cold).await?;
        let by_wallet = people.iter().zip(0..).map(|(person, index)| (person.wallet, index));
        let tag = format!("{:x}", options.seed);
        let shared = Arc::new(Shared {
            by_wallet: by_wallet.collect(),
            history: History::new(&tag, options.history.as_deref())
                .context("the history's file cannot be written")?,
            bank: Account::new(bank),
            people: people.into_iter().map(Account::new).collect(),
            loads: AtomicUsize::new(0),
            rounds: AtomicU64::new(0),
            options,
            http,
        });
        let world = Self { shared, book: Arc::default() };
        world.first_deposits().await?;
        Ok(world)
    }

    /// Where the service is.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.shared.http.address()
    }

    /// What was sent and is not settled.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    /// What was read back and found right.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The wallets, the hot ones first, without the bank's.
    #[must_use]
    pub fn wallets(&self) -> Vec<u64> {
        self.shared.people.iter().map(|person| person.session.wallet).collect()
    }

    /// Sends everything unknown again under its name, until all of it is decided. What has no name
    /// stays unknown. An error when something is still unknown after a minute.
    pub async fn retry_unknown(&self) -> anyhow::Result<Retried> {
        self.expect_no_load()?;
        let (pending, _) = self.shared.history.unsettled();
        let unknown = pending.into_iter().filter(|it| it.outcome().is_none() && it.has_name());
        let mut unknown = unknown.collect::<Vec<_>>().into_iter();
        let mut retried = Retried { sent: unknown.len(), ..Retried::default() };
        let mut sending = JoinSet::new();
        loop {
            while sending.len() < ORDERS_AT_ONCE
                && let Some(attempt) = unknown.next()
            {
                sending.spawn(send_until_decided(Arc::clone(&self.shared), attempt));
            }
            match sending.join_next().await {
                None => return Ok(retried),
                Some(done) => match done?? {
                    true => retried.done += 1,
                    false => retried.refused += 1,
                },
            }
        }
    }

    pub(crate) fn expect_no_load(&self) -> anyhow::Result<()> {
        if self.shared.loads.load(SeqCst) > 0 {
            bail!("stop the load first");
        }
        Ok(())
    }

    async fn first_deposits(&self) -> anyhow::Result<()> {
        let Shared { options, people, .. } = &*self.shared;
        let mut orders = people.iter().enumerate().map(|(index, person)| {
            let amount = if index < options.hot { options.hot_money } else { options.cold_money };
            self.shared.deposit(person.session.wallet, amount)
        });
        let mut sending = JoinSet::new();
        loop {
            while sending.len() < ORDERS_AT_ONCE
                && let Some(order) = orders.next()
            {
                let shared = Arc::clone(&self.shared);
                sending.spawn(async move { shared.attempt(order).await.1 });
            }
            match sending.join_next().await {
                Some(Ok(Reply::Ok { .. })) => {}
                Some(reply) => bail!("a first deposit failed: {reply:?}"),
                None => return Ok(()),
            }
        }
    }
}

/// Whether it was done.
async fn send_until_decided(shared: Arc<Shared>, attempt: Arc<Attempt>) -> anyhow::Result<bool> {
    let began = Instant::now();
    loop {
        match shared.again(&attempt, false).await {
            Reply::Ok { .. } => return Ok(true),
            Reply::Fail { .. } => return Ok(false),
            Reply::Odd { status, body } => bail!("attempt {}: {status} {body}", attempt.number),
            Reply::Unknown { why } if began.elapsed() > RETRY_MAX => {
                bail!("attempt {} is still unknown after {RETRY_MAX:?}: {why}", attempt.number);
            }
            Reply::Unknown { .. } => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn sign_up_all(http: &Http, count: usize) -> anyhow::Result<Vec<Session>> {
    let mut sessions: Vec<Option<Session>> = vec![None; count];
    let mut joining = JoinSet::new();
    let mut waiting = 0..count;
    loop {
        while joining.len() < SIGN_UPS_AT_ONCE
            && let Some(index) = waiting.next()
        {
            let http = http.clone();
            joining.spawn(async move {
                let email = format!("person{index}@example.org");
                (index, http.join(&email, "Pa$$w0rd").await)
            });
        }
        let Some(joined) = joining.join_next().await else { break };
        let (index, session) = joined?;
        if let Some(place) = sessions.get_mut(index) {
            *place = Some(session.with_context(|| format!("person {index} cannot sign up"))?);
        }
    }
    Ok(sessions.into_iter().flatten().collect())
}

impl Shared {
    /// The bank and everybody.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Account> {
        std::iter::once(&self.bank).chain(&self.people)
    }

    /// Whose wallet it is, if it is of this world.
    pub(crate) fn account(&self, wallet: u64) -> Option<&Account> {
        if wallet == self.bank.session.wallet {
            return Some(&self.bank);
        }
        self.people.get(*self.by_wallet.get(&wallet)?)
    }

    /// A deposit that no rule is against.
    pub(crate) fn deposit(&self, to: u64, amount: i64) -> Order {
        let from = self.bank.session.wallet;
        Order { deposit: true, from, to, amount, must: Must::Accept }
    }

    /// The key that goes with a text: none when the world has no keys.
    pub(crate) fn key_for(&self, details: &str) -> Option<String> {
        // Spread, as random keys are, and the same for the same seed.
        let hash = details.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        let number = details.split(' ').next().unwrap_or_default();
        self.options.keys.then(|| format!("{hash:016x}-{number}"))
    }

    /// Sends an order once, with a key if this world has keys.
    pub(crate) async fn attempt(&self, order: Order) -> (Arc<Attempt>, Reply) {
        let names = |details: &str| Names { key: self.key_for(details), external_id: None };
        self.attempt_as(order, names).await
    }

    /// Sends an order once, under these names.
    pub(crate) async fn attempt_as(
        &self,
        order: Order,
        names: impl FnOnce(&str) -> Names,
    ) -> (Arc<Attempt>, Reply) {
        let attempt = self.history.invoke(order, names);
        let reply = self.send(&attempt, false).await;
        (attempt, reply)
    }

    /// Sends an attempt once more, under its names or, if it has one, under its external id alone.
    pub(crate) async fn again(&self, attempt: &Arc<Attempt>, without_key: bool) -> Reply {
        self.history.invoke_again(attempt);
        self.send(attempt, without_key).await
    }

    /// The attempt must have been written down.
    pub(crate) async fn send(&self, attempt: &Arc<Attempt>, without_key: bool) -> Reply {
        let Order { deposit, from, to, .. } = attempt.order;
        let sender = self.account(from).unwrap_or(&self.bank);
        let mut request = attempt.request();
        if without_key && request.external_id.is_some() {
            request.key = None;
        }
        // Dropped before its end, the outcome is unknown: that is written down too.
        let mut pending = Unanswered { history: &self.history, attempt, open: true };
        let reply = sender.session.order(&request).await;
        pending.open = false;
        if let Reply::Ok { operation_id, balance, .. } = &reply {
            for wallet in [from, to] {
                if let Some(account) = self.account(wallet) {
                    account.newest.fetch_max(*operation_id, SeqCst);
                }
            }
            if let Some(told) = self.account(if deposit { to } else { from }) {
                told.balance.store(*balance, SeqCst);
            }
        }
        self.history.answer(attempt, &reply);
        reply
    }

    /// Reads the newest operations of a wallet. False when there was no answer.
    pub(crate) async fn read(&self, account: &Account, limit: usize) -> bool {
        let must_show = account.newest.load(SeqCst);
        let sent_seq = self.history.tick();
        let wallet = account.session.wallet;
        match account.session.page(limit, None).await {
            Ok(page) if page.wallet_id == wallet => {
                if let Some(newest) = page.entries.first() {
                    account.newest.fetch_max(newest.operation_id, SeqCst);
                }
                account.balance.store(page.balance, SeqCst);
                self.history.read(Read { must_show, sent_seq, page });
                true
            }
            Ok(page) => {
                let what = format!("it was shown wallet {}", page.wallet_id);
                let violation = Violation::new(Code::UnexpectedAnswer, what);
                self.history.report(violation.in_wallet(wallet));
                true
            }
            Err(Unread::Odd(answer)) => {
                let what = format!("a read was answered: {answer}");
                let violation = Violation::new(Code::UnexpectedAnswer, what);
                self.history.report(violation.in_wallet(wallet));
                true
            }
            Err(Unread::Unknown(_)) => false,
        }
    }
}

/// Notes that nobody waits for an answer any more.
struct Unanswered<'a> {
    history: &'a History,
    attempt: &'a Arc<Attempt>,
    open: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.open {
            let why = "the checker did not wait any longer".to_owned();
            self.history.answer(self.attempt, &Reply::Unknown { why });
        }
    }
}

//! Owns the load: what is asked of the service while it is broken.
//!
//! Never: a stop that hangs, or a wait that hides a mistake. Bounds: as many requests at a time as
//! there are tasks (and one more in a twin); each by its time-out. Chances come from the seed; what
//! is picked of what was answered before depends on the service's timing as well.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Reply;
use crate::history::{Attempt, Must, Names, Order};
use crate::world::{Account, Shared, World};

/// How long requests under way may take when the load is stopped; then their outcome is unknown.
const STOP_MAX: Duration = Duration::from_secs(3);
/// A wallet that nobody has: far above those of any world, and within what an id may be.
const NOBODYS_WALLET: u64 = 4_000_000_000;
/// More than anybody has, in minor units.
const TOO_MUCH: i64 = 900_000_000_000_000;
const PAUSE_AFTER_UNKNOWN_MIN: Duration = Duration::from_millis(5);
const PAUSE_AFTER_UNKNOWN_MAX: Duration = Duration::from_millis(200);

/// What load is made.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// How many send at the same time.
    pub tasks: usize,
    /// How long each waits after an answer.
    pub pause: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { tasks: 32, pause: Duration::ZERO }
    }
}

/// Load that runs. Dropped, it is cut off.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    before: u64,
}

impl World {
    /// Starts load; it runs until it is told to stop. While the service is away it waits, and goes
    /// on when the service is back.
    #[must_use]
    pub fn start_load(&self, options: LoadOptions) -> Load {
        let (stop, stopped) = watch::channel(false);
        let before = self.shared.history.acknowledged();
        let mut tasks = JoinSet::new();
        let round = self.shared.rounds.fetch_add(1, SeqCst);
        for task in 0..options.tasks as u64 {
            let seed = self.shared.options.seed ^ round.rotate_left(40) ^ task.rotate_left(20);
            let sender = Sender {
                shared: Arc::clone(&self.shared),
                rng: fastrand::Rng::with_seed(seed),
                stopped: stopped.clone(),
                running: Running::new(&self.shared),
            };
            tasks.spawn(sender.run(options.pause));
        }
        Load { shared: Arc::clone(&self.shared), stop, tasks, before }
    }

    /// Sends 64 orders at the same time through one hot wallet, each of them four times under one
    /// key, together more than the wallet has; then each key once more for another order.
    ///
    /// Returns when all are answered. `round` chooses the wallet and the amounts.
    pub async fn burst(&self, round: u64) {
        const ORDERS: usize = 16;
        const TIMES: usize = 4;
        let shared = &self.shared;
        let mut rng = fastrand::Rng::with_seed(shared.options.seed ^ round.rotate_left(32));
        let _running = Running::new(shared);
        let Some(hot) = shared.people.get(rng.usize(0..shared.options.hot.max(1))) else { return };
        shared.read(hot, 1).await;
        let share = (hot.balance_told() / ORDERS as i64).max(1);
        let mut sending = JoinSet::new();
        let mut attempts = Vec::new();
        for _ in 0..ORDERS {
            let other = pick(&mut rng, &shared.people);
            let Some(other) = other.filter(|other| other.session.wallet != hot.session.wallet)
            else {
                continue;
            };
            let [from, to] = [hot, other].map(|account| account.session.wallet);
            // Three in four pay out, up to thrice the wallet's share: not all of them can be done.
            let (amount, must) = (rng.i64(1..=3 * share), Must::Decide);
            let order = match rng.u8(0..4) {
                0 => shared.deposit(from, amount),
                _ => Order { deposit: false, from, to, amount, must },
            };
            let names = |details: &str| Names { key: shared.key_for(details), external_id: None };
            attempts.push(shared.history.invoke(order, names));
        }
        // All are written down, then all are sent.
        let times = if shared.options.keys { TIMES } else { 1 };
        for nth in 0..times {
            for attempt in &attempts {
                if nth > 0 {
                    shared.history.invoke_again(attempt);
                }
            }
        }
        for attempt in attempts.iter().cycle().take(attempts.len() * times) {
            let (shared, attempt) = (Arc::clone(shared), Arc::clone(attempt));
            sending.spawn(async move { shared.send(&attempt, false).await });
        }
        while sending.join_next().await.is_some() {}
        if shared.options.keys {
            for attempt in attempts.iter().filter(|attempt| attempt.outcome().is_some()) {
                reuse_key(shared, attempt, &mut rng).await;
            }
        }
    }
}

impl Load {
    /// How many attempts were acknowledged as done since this load was started.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.history.acknowledged() - self.before
    }

    /// Waits until so many attempts were acknowledged since this load was started.
    pub async fn wait_acknowledged(&self, count: u64, within: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.acknowledged() < count {
            if began.elapsed() > within {
                let acknowledged = self.acknowledged();
                bail!("{acknowledged} acknowledgements within {within:?}, and not {count}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Stops: what is under way is waited for, but not for long. Gives the acknowledgements.
    pub async fn stop(mut self) -> u64 {
        self.stop.send_replace(true);
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, rest).await.is_err() {
            // What is dropped notes that its outcome is unknown.
            self.tasks.shutdown().await;
        }
        self.acknowledged()
    }
}

/// Counts in the loads that run.
#[derive(Debug)]
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.loads.fetch_add(1, SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.loads.fetch_sub(1, SeqCst);
    }
}

/// One task of a load.
struct Sender {
    shared: Arc<Shared>,
    rng: fastrand::Rng,
    stopped: watch::Receiver<bool>,
    running: Running,
}

impl Sender {
    async fn run(mut self, pause: Duration) {
        let mut patience = PAUSE_AFTER_UNKNOWN_MIN;
        while !self.is_stopped() {
            if self.send_something().await {
                patience = PAUSE_AFTER_UNKNOWN_MIN;
                if !pause.is_zero() {
                    self.rest(pause).await;
                }
                continue;
            }
            // The service is away, or full. Each of these orders is one more to be asked for later,
            // so not too many of them.
            self.rest(patience).await;
            patience = (patience * 2).min(PAUSE_AFTER_UNKNOWN_MAX);
            while !self.is_stopped() && !self.shared.http.address().is_open().await {
                self.rest(Duration::from_millis(10)).await;
            }
        }
        drop(self.running);
    }

    /// Whether the load is to end. A load that was dropped is.
    fn is_stopped(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    async fn rest(&mut self, duration: Duration) {
        let _ = tokio::time::timeout(duration, self.stopped.changed()).await;
    }

    /// One order or one read. False when nobody knows what came of it.
    async fn send_something(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let keys = shared.options.keys;
        match self.rng.u8(0..100) {
            0..15 => {
                let bank = self.rng.u8(0..20) == 0;
                let account = if bank { Some(&shared.bank) } else { self.somebody(&shared) };
                let Some(account) = account else { return true };
                shared.read(account, self.rng.usize(1..=20)).await
            }
            15..24 => self.pay_in(&shared).await,
            24..32 if keys => self.send_again(&shared).await,
            32..35 if keys => match shared.history.remembered(self.rng.usize(..)) {
                Some(attempt) => known(&reuse_key(&shared, &attempt, &mut self.rng).await),
                None => true,
            },
            35..39 if keys => self.send_twins(&shared).await,
            dice => {
                let Some(order) = self.transfer(&shared, dice) else { return true };
                known(&shared.attempt(order).await.1)
            }
        }
    }

    /// Half of the time one of the hot wallets.
    fn somebody<'s>(&mut self, shared: &'s Shared) -> Option<&'s Account> {
        let (hot, cold) = shared.people.split_at_checked(shared.options.hot)?;
        match cold.is_empty() || self.rng.bool() {
            true => pick(&mut self.rng, hot),
            false => pick(&mut self.rng, cold),
        }
    }

    /// Mostly small; also everything that the sender had, and what must be refused.
    fn transfer(&mut self, shared: &Shared, dice: u8) -> Option<Order> {
        let (sender, receiver) = (self.somebody(shared)?, self.somebody(shared)?);
        let [from, mut to] = [sender, receiver].map(|account| account.session.wallet);
        let mut amount = self.rng.i64(1..=3_000);
        let mut must = Must::Decide;
        match dice {
            // Several may try to take all of a hot wallet at the same time: one can have it.
            85..90 => amount = sender.balance_told().max(1),
            90..94 => (amount, must) = (TOO_MUCH, Must::Refuse("insufficient_funds")),
            94..97 => to = from,
            97..99 => to = NOBODYS_WALLET + self.rng.u64(..1_000),
            // People may pay to the bank's wallet.
            99 => to = shared.bank.session.wallet,
            _ => {}
        }
        if to == from {
            must = Must::Refuse("sender_is_receiver");
        } else if to >= NOBODYS_WALLET {
            must = Must::Refuse("wallet_not_found");
        }
        Some(Order { deposit: false, from, to, amount, must })
    }

    async fn pay_in(&mut self, shared: &Shared) -> bool {
        let Some(account) = self.somebody(shared) else { return true };
        let order = shared.deposit(account.session.wallet, self.rng.i64(1..=10_000));
        let external = shared.options.keys && self.rng.u8(0..3) == 0;
        // A webhook of a payment provider knows its own id only.
        let keyed = !external || self.rng.bool();
        let names = |details: &str| Names {
            key: shared.key_for(details).filter(|_| keyed),
            external_id: external.then(|| external_id_for(details)),
        };
        known(&shared.attempt_as(order, names).await.1)
    }

    /// A name that was used before, with the same request: the same outcome again.
    async fn send_again(&mut self, shared: &Shared) -> bool {
        let Some(attempt) = shared.history.remembered(self.rng.usize(..)) else { return true };
        known(&shared.again(&attempt, self.rng.bool()).await)
    }

    /// Twice at the same time under one name.
    async fn send_twins(&mut self, shared: &Shared) -> bool {
        let dice = self.rng.u8(39..90);
        let Some(order) = self.transfer(shared, dice) else { return true };
        let names = |details: &str| Names { key: shared.key_for(details), external_id: None };
        let attempt = shared.history.invoke(order, names);
        shared.history.invoke_again(&attempt);
        let (one, other) = tokio::join!(shared.send(&attempt, false), shared.send(&attempt, false));
        known(&one) && known(&other)
    }
}

/// A key or an external id that was used before, for another request: refused, and nothing is done.
async fn reuse_key(shared: &Shared, used: &Attempt, rng: &mut fastrand::Rng) -> Reply {
    let mut order = used.order;
    order.amount += rng.i64(1..=100);
    let names = match (&used.names.key, &used.names.external_id) {
        (Some(key), _) => Names { key: Some(key.clone()), external_id: None },
        (None, external_id) => Names { key: None, external_id: external_id.clone() },
    };
    let code = match names.key {
        Some(_) => "idempotency_key_reused",
        None => "external_id_reused",
    };
    order.must = Must::Refuse(code);
    shared.attempt_as(order, |_| names).await.1
}

/// Unique for the bank, and with characters that such ids have.
fn external_id_for(details: &str) -> String {
    let number = details.split(' ').next().unwrap_or_default();
    format!("pay_{number}:{{\"x\"}}")
}

fn pick<'a>(rng: &mut fastrand::Rng, accounts: &'a [Account]) -> Option<&'a Account> {
    accounts.get(rng.usize(..accounts.len().max(1)))
}

fn known(reply: &Reply) -> bool {
    !matches!(reply, Reply::Unknown { .. })
}

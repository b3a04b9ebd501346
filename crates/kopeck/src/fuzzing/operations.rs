//! Owns the door to the book: a life of opening, asking, committing and rolling back, beside a naive
//! book that keeps nothing but its history, and a recovery from what was recorded.
//!
//! Never: a balance that the naive book keeps; it adds the history up each time. Bounds:
//! [`STEPS_MAX`] steps, [`WALLETS_MAX`] wallets.

use ledger::{
    Amount, Balance, Book, Damage, MINOR_UNITS_MAX, Operation, OperationId, OperationKind,
    Rejection, Side, Timestamp, Transfer, WalletId, WalletKind, WalletState,
};

const STEPS_MAX: usize = 200;
const WALLETS_MAX: usize = 16;

/// The bytes say what is done, and at the end from where and how it is recovered.
pub fn operations(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (mut book, mut naive) = (Book::new(), Naive::default());
    let mut committed = naive.clone();
    for _ in 0..STEPS_MAX {
        let Some(step) = bytes.next() else { break };
        match step % 16 {
            0 if naive.wallets.len() < WALLETS_MAX => {
                let system = naive.wallets.is_empty() || bytes.number() % 8 == 0;
                let kind = if system { WalletKind::System } else { WalletKind::Person };
                naive.wallets.push(kind);
                let number = book.open_wallet(kind).map(WalletId::get);
                assert_eq!(number, Some(naive.wallets.len() as u64));
            }
            1 | 2 => {
                book.commit();
                committed = naive.clone();
            }
            3 => {
                book.roll_back();
                naive = committed.clone();
                compare(&book, &naive);
            }
            _ => {
                let operation = bytes.operation();
                let now = bytes.number() * 1_000 - 10_000;
                let decided = book.decide(&operation, Timestamp::from_micros(now));
                assert_eq!(decided, naive.decide(&operation, now), "{operation:?}");
                compare_wallet(&book, &naive, operation.debit);
                compare_wallet(&book, &naive, operation.credit);
            }
        }
    }
    compare(&book, &naive);
    recover(&naive, &mut bytes);
}

fn compare(book: &Book, naive: &Naive) {
    assert_eq!(book.wallets(), naive.wallets.len() as u64);
    let last = naive.history.last();
    assert_eq!(book.last_operation(), last.map(|transfer| transfer.id));
    let mut sum = 0;
    for wallet in naive.every_wallet() {
        compare_wallet(book, naive, wallet);
        sum += naive.balance(wallet, naive.history.len());
    }
    assert_eq!(sum, 0);
}

fn compare_wallet(book: &Book, naive: &Naive, wallet: WalletId) {
    let state = book.wallet(wallet);
    assert_eq!(state, naive.state(wallet, naive.history.len()), "wallet {wallet}");
    let below_zero = state.is_some_and(|state| state.balance < Balance::ZERO);
    assert!(!below_zero || state.is_some_and(|state| state.kind == WalletKind::System));
}

/// A start: wallets of different ages, the transfers after the oldest, and then with one changed.
fn recover(naive: &Naive, bytes: &mut Bytes<'_>) {
    let moments = naive.history.len() + 1;
    let mark = bytes.below(moments);
    let wallets: Vec<WalletState> = naive
        .every_wallet()
        .map(|wallet| naive.state(wallet, mark + bytes.below(moments - mark)).unwrap())
        .collect();
    let mut transfers = naive.history[mark..].to_vec();
    let mut book = restore(naive, &wallets, mark);
    assert_eq!(replay(&mut book, &transfers), Ok(()));
    compare(&book, naive);
    book.roll_back();
    compare(&book, naive);

    if transfers.is_empty() {
        return;
    }
    let at = bytes.below(transfers.len());
    let replayed = [transfers[at].debit, transfers[at].credit]
        .iter()
        .all(|side| wallets[index(side.wallet)].last < Some(transfers[at].id));
    let changed = change(&mut transfers, at, bytes);
    let mut book = restore(naive, &wallets, mark);
    let found = replay(&mut book, &transfers);
    if changed && replayed {
        assert!(found.is_err(), "a changed transfer went unnoticed: {:?}", transfers[at]);
    }
    if found.is_ok() {
        let states = (1..=book.wallets()).filter_map(|n| book.wallet(WalletId::new(n)?));
        let person_below =
            |state: &WalletState| state.kind == WalletKind::Person && state.balance < Balance::ZERO;
        let (states, mut sum): (Vec<WalletState>, i64) = (states.collect(), 0);
        assert!(!states.iter().any(person_below));
        states.iter().for_each(|state| sum += state.balance.minor());
        assert_eq!(sum, 0);
    }
}

fn restore(naive: &Naive, wallets: &[WalletState], mark: usize) -> Book {
    let mut book = Book::new();
    for state in wallets {
        book.restore_wallet(*state).unwrap();
    }
    let last = mark.checked_sub(1).map(|index| &naive.history[index]);
    let time = last.map_or_else(Timestamp::default, |transfer| transfer.time);
    book.restore_mark(last.map(|transfer| transfer.id), time);
    book
}

fn replay(book: &mut Book, transfers: &[Transfer]) -> Result<(), Damage> {
    transfers.iter().try_for_each(|transfer| book.replay(transfer))?;
    book.check()
}

/// Does something to the record; `false` when that changes nothing that could be noticed.
fn change(transfers: &mut Vec<Transfer>, at: usize, bytes: &mut Bytes<'_>) -> bool {
    let before = transfers.clone();
    let (what, by) = (bytes.number(), bytes.number() - 128);
    let Transfer { kind, debit, credit, amount, .. } = &mut transfers[at];
    match what % 8 {
        0 => *amount = Amount::from_minor(amount.minor() + by).unwrap_or(*amount),
        1 => debit.balance = moved(debit.balance, by),
        2 => credit.balance = moved(credit.balance, by),
        3 => debit.previous = OperationId::new(by.unsigned_abs()),
        4 => credit.previous = OperationId::new(by.unsigned_abs()),
        5 => {
            *kind = match kind {
                OperationKind::Deposit => OperationKind::Transfer,
                OperationKind::Transfer => OperationKind::Deposit,
            }
        }
        6 => std::mem::swap(debit, credit),
        // A record that only ends early is a whole record of an earlier moment.
        _ if at + 1 < transfers.len() => drop(transfers.remove(at)),
        _ => {}
    }
    *transfers != before
}

fn moved(balance: Balance, by: i64) -> Balance {
    Balance::from_minor(balance.minor() + by).unwrap_or(balance)
}

fn index(wallet: WalletId) -> usize {
    usize::try_from(wallet.get()).unwrap() - 1
}

/// The naive book: who the wallets belong to, and every accepted transfer.
#[derive(Debug, Clone, Default)]
struct Naive {
    wallets: Vec<WalletKind>,
    history: Vec<Transfer>,
}

impl Naive {
    fn every_wallet(&self) -> impl Iterator<Item = WalletId> {
        (1..=self.wallets.len() as u64).filter_map(WalletId::new)
    }

    fn kind(&self, wallet: WalletId) -> Option<WalletKind> {
        self.wallets.get(index(wallet)).copied()
    }

    /// What a wallet holds after so many transfers.
    fn balance(&self, wallet: WalletId, moment: usize) -> i128 {
        let moved = self.history[..moment].iter().map(|transfer| {
            let amount = i128::from(transfer.amount.minor());
            let credited = i128::from(transfer.credit.wallet == wallet);
            amount * (credited - i128::from(transfer.debit.wallet == wallet))
        });
        moved.sum()
    }

    fn newest(&self, wallet: WalletId, moment: usize) -> Option<OperationId> {
        let touching = self.history[..moment]
            .iter()
            .rev()
            .find(|transfer| transfer.debit.wallet == wallet || transfer.credit.wallet == wallet);
        touching.map(|transfer| transfer.id)
    }

    fn state(&self, wallet: WalletId, moment: usize) -> Option<WalletState> {
        let balance = i64::try_from(self.balance(wallet, moment)).unwrap();
        let balance = Balance::from_minor(balance).unwrap();
        Some(WalletState { kind: self.kind(wallet)?, balance, last: self.newest(wallet, moment) })
    }

    fn decide(&mut self, operation: &Operation, now: i64) -> Result<Transfer, Rejection> {
        if let Some(refusal) = Rejection::ALL.into_iter().find(|one| self.holds(*one, operation)) {
            return Err(refusal);
        }
        let moment = self.history.len();
        let amount = i128::from(operation.amount.minor());
        let side = |wallet, change| {
            let balance = i64::try_from(self.balance(wallet, moment) + change).unwrap();
            let balance = Balance::from_minor(balance).unwrap();
            Side { wallet, balance, previous: self.newest(wallet, moment) }
        };
        let latest = self.history.last().map_or_else(Timestamp::default, |last| last.time);
        let transfer = Transfer {
            id: OperationId::new(moment as u64 + 1).unwrap(),
            kind: operation.kind,
            debit: side(operation.debit, -amount),
            credit: side(operation.credit, amount),
            amount: operation.amount,
            details: None,
            external_id: None,
            time: latest.max(Timestamp::from_micros(now)),
        };
        self.history.push(transfer.clone());
        Ok(transfer)
    }

    /// Whether a rule refuses an operation, whatever the other rules say.
    fn holds(&self, rule: Rejection, operation: &Operation) -> bool {
        let Operation { kind, debit, credit, amount, .. } = operation;
        let amount = i128::from(amount.minor());
        let (payer, payee) = (self.kind(*debit), self.kind(*credit));
        let balance = |wallet| self.balance(wallet, self.history.len());
        let limit = i128::from(MINOR_UNITS_MAX);
        let person_pays = payer == Some(WalletKind::Person);
        match rule {
            Rejection::NotTheBank => *kind == OperationKind::Deposit && person_pays,
            Rejection::SenderIsReceiver => debit == credit,
            Rejection::WalletNotFound => payer.is_none() || payee.is_none(),
            Rejection::BankMustDeposit => {
                *kind == OperationKind::Transfer && payer == Some(WalletKind::System)
            }
            Rejection::InsufficientFunds => person_pays && balance(*debit) < amount,
            Rejection::BalanceLimit => {
                balance(*debit) - amount < -limit || balance(*credit) + amount > limit
            }
            // The rest is about a request's form and keys, of which the book knows nothing.
            _ => false,
        }
    }
}

/// The fuzzer's bytes; when they are used up, zeros.
struct Bytes<'d>(&'d [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> i64 {
        i64::from(self.next().unwrap_or_default())
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.next().unwrap_or_default()) % bound
    }

    fn operation(&mut self) -> Operation {
        let choice = self.number();
        let kind = if choice % 2 == 0 { OperationKind::Deposit } else { OperationKind::Transfer };
        // A few small numbers, so that they meet; one or two of them are not there.
        let wallet = |number: i64| WalletId::new(number.unsigned_abs() % 9 + 1).unwrap();
        let (debit, credit) = (wallet(self.number()), wallet(self.number()));
        let minor = match choice / 2 % 8 {
            0..=4 => self.number() + 1,
            5 => MINOR_UNITS_MAX - self.number(),
            6 => MINOR_UNITS_MAX / 2 + self.number(),
            _ => MINOR_UNITS_MAX / 256 * self.number() + 1,
        };
        let amount = Amount::from_minor(minor).unwrap();
        Operation { kind, debit, credit, amount, details: None, external_id: None }
    }
}

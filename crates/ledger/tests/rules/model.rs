//! Random operations against a naive book: a map of `i128`s and rules written down one by one.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{
    Amount, Balance, Book, MINOR_UNITS_MAX, Operation, OperationId, OperationKind, Rejection, Side,
    Timestamp, Transfer, WalletId, WalletKind, WalletState,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

/// Failing seeds are printed and kept in a file beside the tests, which is committed with the fix.
pub(crate) fn config(cases: u32) -> Config {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules/regressions.txt");
    let persistence = FileFailurePersistence::Direct(file);
    Config {
        cases,
        // Some cases are skipped because they change nothing; with any number of cases.
        max_global_rejects: u32::MAX,
        failure_persistence: Some(Box::new(persistence)),
        ..Config::default()
    }
}

/// What may happen to a book.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The next wallet is opened.
    Open(WalletKind),
    /// An operation is asked for, at a time.
    Ask(Operation, i64),
    /// Operations are asked for of which all are to be done or none, at a time.
    AskForAll(Vec<Operation>, i64),
    /// The state is remembered as it is now.
    Mark,
    /// All up to the mark is final, if one was set since the last commit.
    CommitToMark,
    /// All so far is final.
    Commit,
    /// All since the last commit is undone.
    RollBack,
}

/// Amounts that matter: small ones that add up, and ones around the limits.
fn amounts() -> impl Strategy<Value = Amount> {
    let minor = prop_oneof![
        6 => 1_i64..=300,
        2 => 1..=MINOR_UNITS_MAX,
        1 => MINOR_UNITS_MAX - 300..=MINOR_UNITS_MAX,
        1 => Just(MINOR_UNITS_MAX / 2),
    ];
    minor.prop_map(|minor| Amount::from_minor(minor).unwrap())
}

/// Deposits come mostly from wallet 1, which [`steps`] makes a bank; the rest is between any two of
/// few wallets, some of which are not there.
pub(crate) fn operations() -> impl Strategy<Value = Operation> {
    let wallet = || prop_oneof![9 => 1_u64..=7, 1 => 1_u64..=12];
    let deposit = prop_oneof![8 => Just(1_u64), 1 => wallet()]
        .prop_map(|debit| (OperationKind::Deposit, debit));
    let transfer = wallet().prop_map(|debit| (OperationKind::Transfer, debit));
    (prop_oneof![2 => deposit, 3 => transfer], wallet(), amounts()).prop_map(
        |((kind, debit), credit, amount)| Operation {
            kind,
            debit: WalletId::new(debit).unwrap(),
            credit: WalletId::new(credit).unwrap(),
            amount,
            details: None,
            external_id: None,
        },
    )
}

/// A life of a book: a bank and three people first, then anything.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let open = prop_oneof![1 => Just(WalletKind::System), 6 => Just(WalletKind::Person)];
    let any = prop_oneof![
        2 => open.prop_map(Step::Open),
        30 => (operations(), -50_i64..1_000).prop_map(|(operation, now)| Step::Ask(operation, now)),
        4 => (prop::collection::vec(operations(), 1..6), -50_i64..1_000)
            .prop_map(|(operations, now)| Step::AskForAll(operations, now)),
        3 => Just(Step::Mark),
        2 => Just(Step::CommitToMark),
        3 => Just(Step::Commit),
        2 => Just(Step::RollBack),
    ];
    prop::collection::vec(any, 1..120).prop_map(|any| {
        let mut steps = vec![
            Step::Open(WalletKind::System),
            Step::Open(WalletKind::Person),
            Step::Open(WalletKind::Person),
            Step::Open(WalletKind::Person),
            Step::Commit,
        ];
        steps.extend(any);
        steps
    })
}

/// The naive book. Wallets are plain numbers; money is `i128` and never wraps.
#[derive(Debug, Clone, Default, PartialEq)]
struct Naive {
    balances: BTreeMap<u64, i128>,
    banks: BTreeSet<u64>,
    /// Every accepted operation, oldest first: debit, credit, amount.
    history: Vec<(u64, u64, i128)>,
    latest: i64,
}

impl Naive {
    fn open(&mut self, kind: WalletKind) -> u64 {
        let number = self.balances.len() as u64 + 1;
        self.balances.insert(number, 0);
        if kind == WalletKind::System {
            self.banks.insert(number);
        }
        number
    }

    /// All refusals that hold, in no order.
    fn refusals(&self, operation: &Operation) -> Vec<Rejection> {
        let limit = i128::from(MINOR_UNITS_MAX);
        let (debit, credit) = (operation.debit.get(), operation.credit.get());
        let amount = i128::from(operation.amount.minor());
        let is_deposit = operation.kind == OperationKind::Deposit;
        let balance = |wallet| self.balances.get(&wallet).copied();
        let is_bank = |wallet| self.banks.contains(&wallet);
        let is_person = |wallet| balance(wallet).is_some() && !is_bank(wallet);

        let mut refusals = Vec::new();
        let mut refuse_if = |holds, refusal| {
            if holds {
                refusals.push(refusal);
            }
        };
        let too_little = balance(debit).is_some_and(|balance| balance < amount);
        refuse_if(is_person(debit) && too_little, Rejection::InsufficientFunds);
        let too_low = balance(debit).is_some_and(|balance| balance - amount < -limit);
        let too_high = balance(credit).is_some_and(|balance| balance + amount > limit);
        refuse_if(too_low || too_high, Rejection::BalanceLimit);
        refuse_if(balance(debit).is_none(), Rejection::WalletNotFound);
        refuse_if(balance(credit).is_none(), Rejection::WalletNotFound);
        refuse_if(debit == credit, Rejection::SenderIsReceiver);
        refuse_if(is_deposit && is_person(debit), Rejection::NotTheBank);
        refuse_if(!is_deposit && is_bank(debit), Rejection::BankMustDeposit);
        refusals
    }

    fn decide(&mut self, operation: &Operation, now: i64) -> Result<Transfer, Rejection> {
        if let Some(refusal) = self.refusals(operation).into_iter().min() {
            return Err(refusal);
        }
        let amount = i128::from(operation.amount.minor());
        let debit = self.side(operation.debit, -amount);
        let credit = self.side(operation.credit, amount);
        self.history.push((operation.debit.get(), operation.credit.get(), amount));
        self.latest = self.latest.max(now);
        Ok(Transfer {
            id: OperationId::new(self.history.len() as u64).unwrap(),
            kind: operation.kind,
            debit,
            credit,
            amount: operation.amount,
            details: None,
            external_id: None,
            time: Timestamp::from_micros(self.latest),
        })
    }

    /// All, or the first that is refused, by its place; tried on a copy of everything.
    fn decide_all(
        &mut self,
        operations: &[Operation],
        now: i64,
    ) -> Result<Vec<Transfer>, (usize, Rejection)> {
        let mut tried = self.clone();
        let mut transfers = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            transfers.push(tried.decide(operation, now).map_err(|refusal| (index, refusal))?);
        }
        *self = tried;
        Ok(transfers)
    }

    fn side(&mut self, wallet: WalletId, change: i128) -> Side {
        let previous = self.newest(wallet.get());
        let balance = self.balances.get_mut(&wallet.get()).unwrap();
        *balance += change;
        let balance = Balance::from_minor(i64::try_from(*balance).unwrap()).unwrap();
        Side { wallet, balance, previous }
    }

    /// A wallet's newest operation, found by going through the whole history.
    fn newest(&self, wallet: u64) -> Option<OperationId> {
        let touches = |&(debit, credit, _): &(u64, u64, i128)| debit == wallet || credit == wallet;
        let index = self.history.iter().rposition(touches)?;
        OperationId::new(index as u64 + 1)
    }

    fn state(&self, wallet: u64) -> Option<WalletState> {
        let balance = i64::try_from(*self.balances.get(&wallet)?).unwrap();
        let kind =
            if self.banks.contains(&wallet) { WalletKind::System } else { WalletKind::Person };
        let balance = Balance::from_minor(balance).unwrap();
        Some(WalletState { kind, balance, last: self.newest(wallet) })
    }
}

/// All or none, as an engine does it: with a mark.
fn ask_for_all(
    book: &mut Book,
    operations: &[Operation],
    now: Timestamp,
) -> Result<Vec<Transfer>, (usize, Rejection)> {
    let mark = book.mark();
    let mut transfers = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        match book.decide(operation, now) {
            Ok(transfer) => transfers.push(transfer),
            Err(refusal) => {
                book.roll_back_to(mark);
                return Err((index, refusal));
            }
        }
    }
    Ok(transfers)
}

/// Everything a reader can see is the same in both, and the promises hold.
fn compare(book: &Book, naive: &Naive) -> Result<(), TestCaseError> {
    prop_assert_eq!(book.wallets(), naive.balances.len() as u64);
    prop_assert_eq!(book.last_operation(), OperationId::new(naive.history.len() as u64));
    let mut sum = 0;
    for number in 1..=book.wallets() + 2 {
        let state = book.wallet(WalletId::new(number).unwrap());
        prop_assert_eq!(state, naive.state(number), "wallet {}", number);
        let Some(state) = state else { continue };
        prop_assert!(state.kind == WalletKind::System || state.balance >= Balance::ZERO);
        sum += i128::from(state.balance.minor());
    }
    prop_assert_eq!(sum, 0);
    // The naive balances follow from the naive history alone, too: the model checks itself.
    for (wallet, balance) in &naive.balances {
        let moved = naive.history.iter().map(|&(debit, credit, amount)| {
            amount * (i128::from(credit == *wallet) - i128::from(debit == *wallet))
        });
        prop_assert_eq!(*balance, moved.sum::<i128>());
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn the_book_decides_as_the_naive_one(steps in steps()) {
        let mut book = Book::new();
        let mut naive = Naive::default();
        let mut committed = naive.clone();
        let mut marked = None;
        for step in steps {
            match step {
                Step::Open(kind) => {
                    let wallet = book.open_wallet(kind);
                    prop_assert_eq!(wallet.map(WalletId::get), Some(naive.open(kind)));
                }
                Step::Ask(operation, now) => {
                    let outcome = book.decide(&operation, Timestamp::from_micros(now));
                    prop_assert_eq!(outcome, naive.decide(&operation, now), "{:?}", operation);
                }
                Step::AskForAll(operations, now) => {
                    let found = ask_for_all(&mut book, &operations, Timestamp::from_micros(now));
                    prop_assert_eq!(found, naive.decide_all(&operations, now), "{:?}", operations);
                }
                Step::Mark => marked = Some((book.mark(), naive.clone())),
                Step::CommitToMark => {
                    if let Some((mark, then)) = marked.take() {
                        book.commit_to(mark);
                        committed = then;
                    }
                }
                Step::Commit => {
                    book.commit();
                    committed = naive.clone();
                    marked = None;
                }
                Step::RollBack => {
                    book.roll_back();
                    naive = committed.clone();
                    marked = None;
                }
            }
            compare(&book, &naive)?;
        }
    }
}

/// The random operations are worth something only if they meet every rule of the book.
#[test]
fn random_operations_meet_every_rule() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut met = BTreeSet::new();
    let mut accepted = 0;
    let mut all_or_none = [0; 3];
    for _ in 0..200 {
        let mut naive = Naive::default();
        for step in steps().new_tree(&mut runner).unwrap().current() {
            match step {
                Step::Open(kind) => drop(naive.open(kind)),
                Step::Ask(operation, now) => match naive.decide(&operation, now) {
                    Ok(_) => accepted += 1,
                    Err(rejection) => drop(met.insert(rejection)),
                },
                Step::AskForAll(operations, now) => {
                    match naive.decide_all(&operations, now) {
                        Ok(_) => all_or_none[0] += 1,
                        Err((0, _)) => all_or_none[1] += 1,
                        // Something was done that had to be undone.
                        Err(_) => all_or_none[2] += 1,
                    }
                }
                Step::Mark | Step::CommitToMark | Step::Commit | Step::RollBack => {}
            }
        }
    }
    assert!(accepted > 1_000, "{accepted} accepted");
    assert!(all_or_none.iter().all(|count| *count > 50), "{all_or_none:?}");
    let expected = [
        Rejection::NotTheBank,
        Rejection::SenderIsReceiver,
        Rejection::WalletNotFound,
        Rejection::BankMustDeposit,
        Rejection::InsufficientFunds,
        Rejection::BalanceLimit,
    ];
    assert_eq!(met, BTreeSet::from(expected));
}

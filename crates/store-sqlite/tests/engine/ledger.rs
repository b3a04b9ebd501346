//! Money through the engine: outcomes, histories, restarts, against a model that keeps its own book.

use std::collections::BTreeMap;

use ledger::{EntryKind, Ledger, LedgerError, OperationId, OperationKind, Page, Rejection};
use proptest::prelude::*;
use store_sqlite::{Check, Unwatched, check};

use crate::support::{Engine, submission, wait, wallet};

#[test]
fn the_seeds_example_ends_with_104_50() {
    let engine = Engine::with_people(1);
    let deposit = engine.deposit(2, 11_560).unwrap();
    assert_eq!((deposit.id.get(), deposit.credit.balance.minor()), (1, 11_560));
    let transfer = engine.transfer(2, 1, 1_110).unwrap();
    assert_eq!((transfer.id.get(), transfer.debit.balance.minor()), (2, 10_450));
    assert_eq!(engine.balance(2), 10_450);
    assert_eq!(engine.balance(1), -10_450);
}

#[test]
fn refusals_change_nothing_and_take_no_number() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 100).unwrap();
    assert_eq!(engine.transfer(2, 3, 101), Err(Rejection::InsufficientFunds));
    assert_eq!(engine.transfer(2, 99, 1), Err(Rejection::WalletNotFound));
    assert_eq!(engine.transfer(2, 2, 1), Err(Rejection::SenderIsReceiver));
    assert_eq!(engine.transfer(1, 2, 1), Err(Rejection::BankMustDeposit));
    let not_the_bank = engine.submit(submission(OperationKind::Deposit, 2, 3, 1));
    assert_eq!(not_the_bank.decision, Err(Rejection::NotTheBank));
    assert_eq!(engine.transfer(2, 3, 100).unwrap().id.get(), 2);
}

#[test]
fn a_history_is_newest_first_and_its_pages_join_without_gap_or_overlap() {
    let engine = Engine::with_people(3);
    engine.deposit(2, 1_000).unwrap();
    for minor in 1..=7 {
        engine.transfer(2, 3, minor).unwrap();
        engine.deposit(4, minor).unwrap();
    }
    engine.transfer(3, 2, 5).unwrap();
    let whole = engine.statement(2, None, 100);
    assert_eq!(whole.next, None);
    assert_eq!(whole.owner.get(), 2);
    assert_eq!(whole.entries.len(), 9);
    assert_eq!(whole.entries[0].kind, EntryKind::TransferIn);
    assert_eq!(whole.entries[8].kind, EntryKind::Deposit);
    assert_eq!(whole.entries[0].balance, whole.balance);
    assert!(whole.entries.windows(2).all(|pair| pair[0].operation > pair[1].operation));
    for limit in 1..=10 {
        let (mut joined, mut from) = (Vec::new(), None);
        loop {
            let page = engine.statement(2, from, limit);
            assert_eq!(page.balance, whole.balance);
            joined.extend(page.entries);
            from = page.next.map(OperationId::get);
            if from.is_none() {
                break;
            }
        }
        assert_eq!(joined, whole.entries, "in pages of {limit}");
    }
}

#[test]
fn a_page_cannot_start_at_an_operation_of_others() {
    let engine = Engine::with_people(2);
    engine.deposit(3, 100).unwrap();
    engine.deposit(2, 100).unwrap();
    for from in [1, 3, 1_000] {
        let page = Page { from: OperationId::new(from), limit: 5 };
        let result = wait(engine.store.statement(wallet(2), page));
        assert_eq!(result, Err(LedgerError::NoSuchEntry), "from {from}");
    }
    let page = Page { from: None, limit: 5 };
    assert_eq!(wait(engine.store.statement(wallet(4), page)), Ok(None));
}

#[test]
fn each_of_a_batch_sees_those_before_it() {
    let engine = Engine::with_people(2);
    let outcomes = wait(engine.store.submit(vec![
        submission(OperationKind::Transfer, 2, 3, 1),
        submission(OperationKind::Deposit, 1, 2, 10),
        submission(OperationKind::Transfer, 2, 3, 10),
        submission(OperationKind::Transfer, 2, 3, 1),
    ]))
    .unwrap();
    let codes: Vec<_> =
        outcomes.iter().map(|outcome| outcome.decision.as_ref().err().copied()).collect();
    let insufficient = Some(Rejection::InsufficientFunds);
    assert_eq!(codes, [insufficient, None, None, insufficient]);
}

#[test]
fn what_is_called_on_the_writer_runs_on_its_thread_until_the_engine_is_closed() {
    let engine = Engine::with_people(1);
    let (told, called) = std::sync::mpsc::channel();
    let tell = told.clone();
    engine.store.on_writer(move || {
        tell.send(std::thread::current().name().map(str::to_owned)).unwrap();
    });
    assert_eq!(called.recv().unwrap().as_deref(), Some("kopeck-writer"));
    engine.deposit(2, 1).unwrap();
    engine.store.close();
    engine.store.on_writer(move || told.send(None).unwrap());
    // The sender is gone with what was never called.
    assert!(called.recv().is_err());
}

#[test]
fn what_was_handed_in_is_finished_before_a_clean_stop() {
    let engine = Engine::with_people(1);
    let waiting: Vec<_> = (0..500)
        .map(|_| engine.store.submit(vec![submission(OperationKind::Deposit, 1, 2, 1)]))
        .collect();
    engine.store.close();
    for answer in waiting {
        wait(answer).unwrap().remove(0).decision.unwrap();
    }
    let late = engine.store.submit(vec![submission(OperationKind::Deposit, 1, 2, 1)]);
    assert_eq!(wait(late), Err(LedgerError::Closed));
    let engine = engine.reopen().unwrap();
    assert_eq!(engine.balance(2), 500);
    assert_eq!(engine.recovered.replayed, 0, "a clean stop leaves nothing to replay");
}

/// What a reader is told was committed, and it finds it, however busy the writer is on that wallet.
#[test]
fn a_hot_wallet_can_be_read_while_it_is_written() {
    let engine = Engine::with_people(1);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = 0;
                while last < 3_000 && engine.store.halt_reason().is_none() {
                    let statement = engine.statement(2, None, 3);
                    let minor = statement.balance.minor();
                    assert!(minor >= last, "{minor} after {last}");
                    assert_eq!(statement.entries.first().map_or(0, |it| it.balance.minor()), minor);
                    last = minor;
                }
            });
        }
        scope.spawn(|| {
            for minor in 1..=3_000 {
                let paid = wait(engine.store.submit(vec![deposit_of_one()]));
                if engine.store.halt_reason().is_some() {
                    return;
                }
                paid.unwrap().remove(0).decision.unwrap();
                if minor % 100 == 0 {
                    assert_eq!(engine.balance(2), minor, "what was answered is seen at once");
                }
            }
        });
    });
    assert_eq!(engine.store.halt_reason(), None);
}

fn deposit_of_one() -> ledger::Submission {
    submission(OperationKind::Deposit, 1, 2, 1)
}

/// A step of a random life of an engine.
#[derive(Debug, Clone)]
enum Step {
    Deposit(u64, i64),
    Transfer(u64, u64, i64),
    SignUp,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let minor = prop_oneof![1..200_i64, 1..=ledger::MINOR_UNITS_MAX];
    prop::collection::vec(
        prop_oneof![
            4 => (1..8_u64, minor.clone()).prop_map(|(to, minor)| Step::Deposit(to, minor)),
            12 => (1..8_u64, 1..8_u64, minor)
                .prop_map(|(from, to, minor)| Step::Transfer(from, to, minor)),
            1 => Just(Step::SignUp),
            1 => Just(Step::Reopen),
        ],
        1..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_book_kept_by_hand(steps in steps()) {
        let mut engine = Engine::with_people(2);
        let mut people = 3;
        let mut balances: BTreeMap<u64, i64> = (1..=3).map(|wallet| (wallet, 0)).collect();
        let mut entries: BTreeMap<u64, Vec<(u64, i64)>> = BTreeMap::new();
        for step in steps {
            let (outcome, from, to, minor) = match step {
                Step::SignUp => {
                    people += 1;
                    let email = format!("{people}@localhost");
                    let user = engine.sign_up(&email, ledger::Role::Person).unwrap();
                    prop_assert_eq!(user.wallet.get(), people);
                    balances.insert(people, 0);
                    continue;
                }
                Step::Reopen => {
                    engine = engine.reopen().unwrap();
                    continue;
                }
                Step::Deposit(to, minor) => (engine.deposit(to, minor), 1, to, minor),
                Step::Transfer(from, to, minor) => {
                    (engine.transfer(from, to, minor), from, to, minor)
                }
            };
            let Ok(receipt) = outcome else { continue };
            prop_assert_ne!(from, to);
            *balances.get_mut(&from).unwrap() -= minor;
            *balances.get_mut(&to).unwrap() += minor;
            prop_assert!(from == 1 || balances[&from] >= 0, "wallet {} overdrawn", from);
            for wallet in [from, to] {
                let entry = (receipt.id.get(), balances[&wallet]);
                entries.entry(wallet).or_default().push(entry);
            }
        }
        prop_assert_eq!(balances.values().sum::<i64>(), 0);
        for (wallet, balance) in balances {
            let statement = engine.statement(wallet, None, 1_000);
            prop_assert_eq!(statement.balance.minor(), balance);
            let mut found: Vec<_> = statement
                .entries
                .iter()
                .map(|entry| (entry.operation.get(), entry.balance.minor()))
                .collect();
            found.reverse();
            prop_assert_eq!(found, entries.remove(&wallet).unwrap_or_default());
        }
    }
}

/// Rows are appended several a statement, and balances swept 250 wallets a row: all numbers around
/// those, and whatever lies in between.
#[test]
fn every_size_of_a_batch_and_every_block_of_wallets_is_kept() {
    const PEOPLE: u64 = 502;
    let engine = Engine::with_people(PEOPLE);
    let mut expected = vec![0; usize::try_from(PEOPLE).unwrap() + 2];
    let mut operations = 0;
    for size in [1, 31, 32, 33, 64, 65, 300, 2_500] {
        let wallets: Vec<u64> = (0..size).map(|index| 2 + (index * 7 + size) % PEOPLE).collect();
        let batch =
            wallets.iter().map(|to| submission(OperationKind::Deposit, 1, *to, 5)).collect();
        for (outcome, to) in wait(engine.store.submit(batch)).unwrap().iter().zip(wallets) {
            operations += 1;
            assert_eq!(outcome.decision.as_ref().unwrap().id.get(), operations);
            expected[usize::try_from(to).unwrap()] += 5;
        }
    }
    let balances = |engine: &Engine| -> Vec<i64> {
        (2..2 + PEOPLE).map(|wallet| engine.balance(wallet)).collect()
    };
    assert_eq!(balances(&engine), expected[2..]);
    let engine = engine.reopen().unwrap();
    assert_eq!((engine.recovered.operations, engine.recovered.replayed), (operations, 0));
    assert_eq!(balances(&engine), expected[2..]);
    let checked = check(&Check { data: engine.dir(), published: None }, &Unwatched).unwrap();
    assert_eq!(checked.damages_total, 0, "{checked:?}");
}

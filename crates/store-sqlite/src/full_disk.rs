//! What happens when there is no room: refused whole, read on, resumed by itself.
//!
//! SQLite's own limit on the pages of the file gives the same error as a full disk, at the same
//! place: when a page is to be added.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ledger::{
    Amount, Currency, Ledger, LedgerError, NewUser, Operation, OperationKind, Outcome, Page,
    People, Role, Submission, WalletId,
};

use crate::{Options, SqliteStore, Unobserved};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn open(dir: &std::path::Path) -> SqliteStore {
    let options = Options {
        dir: dir.to_owned(),
        currency: Currency::parse("RUB").unwrap(),
        queue_operations_max: 100_000,
        observer: Arc::new(Unobserved),
    };
    SqliteStore::open(options).unwrap().0
}

fn sign_up(store: &SqliteStore, number: u64, role: Role) -> Result<(), LedgerError> {
    let email = format!("{number}@localhost");
    let user = NewUser {
        role,
        name: "x".repeat(100),
        email_key: email.clone(),
        email,
        password_hash: "x".repeat(100),
    };
    wait(store.sign_up(user)).map(|user| drop(user.unwrap()))
}

fn deposits(store: &SqliteStore, count: usize) -> Result<Vec<Outcome>, LedgerError> {
    let operation = Operation {
        kind: OperationKind::Deposit,
        debit: WalletId::FIRST,
        credit: WalletId::new(2).unwrap(),
        amount: Amount::from_minor(1).unwrap(),
        details: None,
    };
    wait(store.submit(vec![Submission { operation, key: None }; count]))
}

fn balance(store: &SqliteStore) -> i64 {
    let page = Page { from: None, limit: 1_000 };
    let statement = wait(store.statement(WalletId::new(2).unwrap(), page)).unwrap().unwrap();
    let entries = i64::try_from(statement.entries.len()).unwrap();
    assert_eq!(entries, statement.balance.minor(), "every deposit was of one kopeck");
    statement.balance.minor()
}

#[test]
fn a_full_disk_refuses_the_batch_whole_and_resumes_when_there_is_room() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = open(dir.path());
    sign_up(&store, 1, Role::Bank).unwrap();
    sign_up(&store, 2, Role::Person).unwrap();
    deposits(&store, 10).unwrap();
    // SQLite takes a limit below today's size for today's size.
    store.limit_pages(1);
    for _ in 0..3 {
        assert_eq!(deposits(&store, 500), Err(LedgerError::StorageFull));
        assert_eq!(balance(&store), 10, "reads go on, and see nothing of it");
    }
    let mut number = 3;
    while sign_up(&store, number, Role::Person).is_ok() {
        number += 1;
    }
    store.limit_pages(1_000_000);
    let outcomes = deposits(&store, 500).unwrap();
    let first = outcomes.first().unwrap().as_ref().unwrap();
    assert_eq!(first.transfer.id.get(), 11, "the refused batches took no numbers");
    assert_eq!(balance(&store), 510);
    sign_up(&store, number, Role::Person).unwrap();
    assert_eq!(store.wallets(), number, "the refused sign-up took no wallet");
    store.close();
    let store = open(dir.path());
    assert_eq!(balance(&store), 510);
    assert_eq!(store.wallets(), number);
}

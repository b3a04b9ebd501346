//! What happens when there is no room: refused whole, read on, resumed by itself.
//!
//! SQLite's own limit on the pages of the file gives the same error as a full disk, at the same
//! place: when a page is to be added.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use ledger::{
    Amount, Currency, ExternalId, IdempotencyKey, Ledger, LedgerError, NewUser, Operation,
    OperationKind, Outcome, Page, People, Role, Submission, WalletId,
};

use crate::{Check, Options, Recovered, SqliteStore, Unobserved, Unwatched, check, deliver_here};

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn open(dir: &std::path::Path) -> (SqliteStore, Recovered) {
    let options = Options {
        dir: dir.to_owned(),
        currency: Currency::parse("RUB").ok(),
        queue_operations_max: 100_000,
        observer: Arc::new(Unobserved),
        key_window: Some(std::time::Duration::from_secs(24 * 60 * 60)),
        deliver: deliver_here(),
    };
    SqliteStore::open(options).unwrap()
}

/// The number of the new user's wallet.
fn sign_up(store: &SqliteStore, number: u64, role: Role) -> Result<u64, LedgerError> {
    wait(store.sign_up(new_user(number, role), None)).map(|user| user.unwrap().wallet.get())
}

pub(crate) fn new_user(number: u64, role: Role) -> NewUser {
    let email = format!("{number}@localhost");
    NewUser {
        role,
        name: "x".repeat(100),
        email_key: email.clone(),
        email,
        password_hash: "x".repeat(100),
    }
}

/// Wallet 2 is the person's.
pub(crate) fn with_the_bank_and_a_person() -> (tempfile::TempDir, SqliteStore) {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    sign_up(&store, 1, Role::Bank).unwrap();
    sign_up(&store, 2, Role::Person).unwrap();
    (dir, store)
}

/// One deposit under a key, then `unkeyed` others, in one batch.
fn keyed(store: &SqliteStore, unkeyed: usize) -> Result<Outcome, LedgerError> {
    let mut submissions = vec![deposit(); unkeyed + 1];
    submissions[0].key = Some(IdempotencyKey::parse("once").unwrap());
    wait(store.submit(submissions)).map(|mut outcomes| outcomes.remove(0))
}

pub(crate) fn deposit() -> Submission {
    let operation = Operation {
        kind: OperationKind::Deposit,
        debit: WalletId::FIRST,
        credit: WalletId::new(2).unwrap(),
        amount: Amount::from_minor(1).unwrap(),
        details: None,
        external_id: None,
    };
    Submission { operation, key: None }
}

fn deposits(store: &SqliteStore, count: usize) -> Result<Vec<Outcome>, LedgerError> {
    wait(store.submit(vec![deposit(); count]))
}

fn balance(store: &SqliteStore) -> i64 {
    let page = Page { from: None, limit: 1_000 };
    let statement = wait(store.statement(WalletId::new(2).unwrap(), page)).unwrap().unwrap();
    let entries = i64::try_from(statement.entries.len()).unwrap();
    assert_eq!(entries, statement.balance.minor(), "every deposit was of one kopeck");
    statement.balance.minor()
}

#[test]
fn a_key_of_a_refused_batch_is_free_again() {
    let (_dir, store) = with_the_bank_and_a_person();
    store.limit_pages(1);
    assert_eq!(keyed(&store, 500), Err(LedgerError::StorageFull));
    store.limit_pages(1_000_000);
    let first = keyed(&store, 0).unwrap();
    assert!(!first.replayed, "nothing of the refused batch is there");
    assert!(keyed(&store, 0).unwrap().replayed);
    assert_eq!(balance(&store), 1);
}

#[test]
fn a_full_disk_refuses_the_batch_whole_and_resumes_when_there_is_room() {
    let (dir, store) = with_the_bank_and_a_person();
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
    let first = outcomes.first().unwrap().decision.as_ref().unwrap();
    assert_eq!(first.id.get(), 11, "the refused batches took no numbers");
    assert_eq!(balance(&store), 510);
    let wallet = sign_up(&store, number, Role::Person).unwrap();
    assert_eq!(wallet, number, "the refused sign-up took no wallet");
    store.close();
    let (store, recovered) = open(dir.path());
    assert_eq!(balance(&store), 510);
    assert_eq!(recovered.wallets, number);
}

#[test]
fn everybody_whose_batch_found_no_room_is_told_that_nothing_was_done() {
    let (_dir, store) = with_the_bank_and_a_person();
    store.limit_pages(1);
    // All are handed in before any is waited for, so most of them share a batch. An id of its own is looked
    // for in the file, so each of them meets the full disk itself.
    let mut number = 0;
    let mut waiting = Vec::new();
    for operations in [1, 2].into_iter().cycle().take(2_000) {
        let submissions = std::iter::repeat_with(|| {
            number += 1;
            let mut submission = deposit();
            submission.operation.external_id = ExternalId::parse(&number.to_string()).ok();
            submission
        });
        waiting.push(store.submit(submissions.take(operations).collect()));
    }
    let outcomes: Vec<_> = waiting.into_iter().map(wait).collect();
    let refused = outcomes.iter().filter(|outcome| outcome.is_err());
    assert!(refused.clone().count() > 0);
    for outcome in refused {
        assert_eq!(*outcome, Err(LedgerError::StorageFull));
    }
    let done = outcomes.iter().flatten().map(|outcomes| i64::try_from(outcomes.len()).unwrap());
    assert_eq!(balance(&store), done.sum::<i64>());
    store.limit_pages(1_000_000);
    let mut numbers = (0..500)
        .map(|_| store.submit(vec![deposit()]))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|one| wait(one).unwrap().remove(0).decision.unwrap().id.get());
    let first = numbers.next().unwrap();
    assert!(numbers.eq(first + 1..first + 500), "in the order in which they were handed in");
}

#[test]
fn what_is_refused_right_after_a_start_leaves_the_chain_as_it_was() {
    let (dir, store) = with_the_bank_and_a_person();
    // Not a whole block of the chain.
    deposits(&store, 10).unwrap();
    store.close();
    let (store, _) = open(dir.path());
    store.limit_pages(1);
    assert_eq!(deposits(&store, 500), Err(LedgerError::StorageFull));
    store.limit_pages(1_000_000);
    deposits(&store, 10).unwrap();
    assert_eq!(balance(&store), 20);
    store.close();
    let (store, recovered) = open(dir.path());
    assert_eq!((recovered.operations, balance(&store)), (20, 20));
}

#[test]
fn what_was_swept_in_a_refused_batch_is_swept_again() {
    let (dir, store) = with_the_bank_and_a_person();
    for number in 3..=300 {
        sign_up(&store, number, Role::Person).unwrap();
    }
    // The writer is busy with the first, so what comes meanwhile shares a batch. It has an id at its end, for
    // which the rows before it are written; then there is no more room, which the sweep needs for wallet 300.
    let first = store.submit(vec![deposit(); 8_000]);
    let mut last = deposit();
    last.operation.credit = WalletId::new(300).unwrap();
    last.operation.external_id = ExternalId::parse("last").ok();
    let mut refused = vec![deposit(); 2_100];
    refused.push(last);
    let refused = store.submit(refused);
    store.limit_pages(1);
    wait(first).unwrap();
    assert_eq!(wait(refused), Err(LedgerError::StorageFull));
    store.limit_pages(1_000_000);
    for _ in 0..3 {
        deposits(&store, 2_100).unwrap();
    }
    store.close();
    let checked = check(&Check { data: dir.path(), published: None }, &Unwatched).unwrap();
    assert!(checked.is_sound() && checked.operations == 8_000 + 3 * 2_100, "{checked:?}");
    open(dir.path());
}

//! A keyed operation takes effect at most once, and is answered alike every time.

use ledger::{Ledger, OperationKind, Rejection};

use crate::support::{Engine, keyed, submission, wait};

fn ten(to: u64) -> ledger::Submission {
    submission(OperationKind::Transfer, 2, to, 10)
}

#[test]
fn the_same_request_takes_effect_once_also_after_a_restart() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 100).unwrap();
    let first = engine.submit(keyed(ten(3), "a")).unwrap();
    assert!(!first.replayed);
    let again = engine.submit(keyed(ten(3), "a")).unwrap();
    assert!(again.replayed);
    assert_eq!(again.transfer, first.transfer);
    let engine = engine.reopen().unwrap();
    let after = engine.submit(keyed(ten(3), "a")).unwrap();
    assert!(after.replayed);
    assert_eq!(after.transfer, first.transfer);
    assert_eq!(engine.balance(2), 90);
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    let engine = Engine::with_people(3);
    engine.deposit(2, 100).unwrap();
    engine.submit(keyed(ten(3), "a")).unwrap();
    let other = engine.submit(keyed(ten(4), "a"));
    assert_eq!(other, Err(Rejection::IdempotencyKeyReused));
    assert_eq!(engine.balance(2), 90);
}

#[test]
fn keys_belong_to_the_wallet_that_pays() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 100).unwrap();
    engine.submit(keyed(ten(3), "a")).unwrap();
    let back = keyed(submission(OperationKind::Transfer, 3, 2, 10), "a");
    assert!(!engine.submit(back).unwrap().replayed);
    assert_eq!(engine.balance(2), 100);
}

#[test]
fn doubles_within_one_batch_are_found() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 100).unwrap();
    let doubles = vec![keyed(ten(3), "a"), keyed(ten(3), "a"), keyed(ten(3), "b")];
    let outcomes = wait(engine.store.submit(doubles)).unwrap();
    let replayed: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().replayed).collect();
    assert_eq!(replayed, [false, true, false]);
    assert_eq!(engine.balance(2), 80);
}

#[test]
fn a_refused_request_may_be_sent_again_under_its_key() {
    let engine = Engine::with_people(2);
    assert_eq!(engine.submit(keyed(ten(3), "a")), Err(Rejection::InsufficientFunds));
    engine.deposit(2, 100).unwrap();
    assert!(!engine.submit(keyed(ten(3), "a")).unwrap().replayed);
}

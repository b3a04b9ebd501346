//! Batches: all or none, or each on its own; and the same answer again under a key.

use ledger::{
    Batch, BatchKey, BatchMode, BatchOutcome, BatchRefusal, ExternalId, Fingerprint,
    IdempotencyKey, Ledger, LedgerError, OperationKind, Rejection, Submission,
};
use store_sqlite::{Check, Unwatched, check};

use crate::support::{DAY, Engine, connect, keyed, submission, wait, wallet};

use BatchMode::{Atomic, Independent};

fn pay(to: u64, minor: i64) -> Submission {
    submission(OperationKind::Transfer, 2, to, minor)
}

fn paid_in(to: u64, minor: i64, external_id: &str) -> Submission {
    let mut deposit = submission(OperationKind::Deposit, 1, to, minor);
    deposit.operation.external_id = Some(ExternalId::parse(external_id).unwrap());
    deposit
}

fn batch(mode: BatchMode, submissions: &[Submission]) -> Batch {
    Batch { mode, submissions: submissions.to_vec(), key: None }
}

/// The same under a key of wallet 2.
fn under(key: &str, batch: Batch) -> Batch {
    let mut fingerprint = Fingerprint::new(batch.mode);
    batch.submissions.iter().for_each(|submission| fingerprint.add(submission));
    let key = BatchKey {
        wallet: wallet(2),
        key: IdempotencyKey::parse(key).unwrap(),
        fingerprint: fingerprint.finish(),
    };
    Batch { key: Some(key), ..batch }
}

fn ask(engine: &Engine, batch: Batch) -> BatchOutcome {
    wait(engine.store.submit_batch(batch)).unwrap()
}

/// The codes of the outcomes, `ok` for none, with `=` before what was decided earlier.
fn codes(outcome: &BatchOutcome) -> String {
    let outcomes = outcome.decision.as_ref().unwrap().iter();
    let words: Vec<_> = outcomes
        .map(|outcome| {
            let code = outcome.decision.as_ref().map_or_else(|refused| refused.code(), |_| "ok");
            format!("{}{code}", if outcome.replayed { "=" } else { "" })
        })
        .collect();
    words.join(" ")
}

fn refused(index: usize, rejection: Rejection) -> BatchOutcome {
    BatchOutcome::new(Err(BatchRefusal::Operation { index, rejection }))
}

fn engine_with(minor: i64) -> Engine {
    let engine = Engine::with_people(3);
    engine.deposit(2, minor).unwrap();
    engine
}

/// The file must be sound, whatever was done.
fn assert_sound(engine: &Engine) {
    let checked = check(&Check { data: engine.dir(), published: None }, &Unwatched).unwrap();
    assert!(checked.is_sound(), "{:?}", checked.damages);
}

#[test]
fn of_an_atomic_batch_all_is_done_in_its_order() {
    let engine = engine_with(100);
    let all = [pay(3, 60), submission(OperationKind::Transfer, 3, 4, 50), pay(4, 40)];
    let done = ask(&engine, batch(Atomic, &all));
    assert_eq!(codes(&done), "ok ok ok");
    let ids: Vec<_> =
        done.decision.unwrap().into_iter().map(|it| it.decision.unwrap().id.get()).collect();
    assert_eq!(ids, [2, 3, 4]);
    let engine = engine.reopen().unwrap();
    assert_eq!([2, 3, 4].map(|number| engine.balance(number)), [0, 10, 90]);
    assert_sound(&engine);
}

#[test]
fn of_an_atomic_batch_nothing_is_done_when_one_cannot_be() {
    let engine = engine_with(100);
    let too_much = [pay(3, 60), keyed(pay(4, 30), "k"), pay(3, 11), pay(3, 1)];
    assert_eq!(ask(&engine, batch(Atomic, &too_much)), refused(2, Rejection::InsufficientFunds));
    let nowhere = [pay(9, 60)];
    assert_eq!(ask(&engine, batch(Atomic, &nowhere)), refused(0, Rejection::WalletNotFound));
    assert_eq!([2, 3, 4].map(|number| engine.balance(number)), [100, 0, 0]);
    // The next operation stands where the first of them would have stood, and its key is free.
    let next = engine.submit(keyed(pay(3, 1), "k"));
    assert_eq!((next.decision.unwrap().id.get(), next.replayed), (2, false));
    let engine = engine.reopen().unwrap();
    assert_eq!(engine.balance(2), 99);
    assert_sound(&engine);
}

#[test]
fn a_refused_batch_leaves_what_was_decided_before_it_in_the_same_commit() {
    let engine = engine_with(100);
    // Handed in at once, so that some of them share a commit.
    let waiting: Vec<_> = (0..50)
        .flat_map(|_| {
            let single = engine.store.submit(vec![pay(3, 1)]);
            let refused = engine.store.submit_batch(batch(Atomic, &[pay(3, 1), pay(3, 1_000)]));
            [
                Box::pin(async { single.await.map(|_| ()) }) as ledger::Pending<()>,
                Box::pin(async { refused.await.map(|refused| assert!(refused.decision.is_err())) }),
            ]
        })
        .collect();
    waiting.into_iter().for_each(|answer| wait(answer).unwrap());
    assert_eq!(engine.balance(2), 50);
    assert_eq!(engine.statement(3, None, 100).entries.len(), 50);
    assert_sound(&engine);
}

#[test]
fn of_an_independent_batch_each_is_decided_on_its_own() {
    let engine = engine_with(100);
    let each = [pay(3, 60), pay(3, 60), pay(9, 1), keyed(pay(4, 40), "a"), keyed(pay(4, 40), "a")];
    let done = ask(&engine, batch(Independent, &each));
    assert_eq!(codes(&done), "ok insufficient_funds wallet_not_found ok =ok");
    assert_eq!([2, 3, 4].map(|number| engine.balance(number)), [0, 60, 40]);
    assert!(engine.submit(keyed(pay(4, 40), "a")).replayed, "a key of a batch's is a single one's");
    assert_sound(&engine);
}

#[test]
fn names_used_twice_within_an_atomic_batch() {
    let engine = engine_with(100);
    let twice = [keyed(pay(3, 10), "a"), pay(3, 1), keyed(pay(3, 10), "a")];
    let done = ask(&engine, batch(Atomic, &twice));
    assert_eq!(codes(&done), "ok ok =ok");
    let done = done.decision.unwrap();
    assert_eq!(done[0].decision, done[2].decision);
    let another = [keyed(pay(3, 10), "b"), keyed(pay(3, 11), "b")];
    let reused = refused(1, Rejection::IdempotencyKeyReused);
    assert_eq!(ask(&engine, batch(Atomic, &another)), reused);
    let told_twice = [paid_in(3, 5, "p"), keyed(paid_in(3, 5, "p"), "c"), paid_in(3, 5, "q")];
    assert_eq!(codes(&ask(&engine, batch(Atomic, &told_twice))), "ok =ok ok");
    let told_otherwise = [paid_in(3, 5, "r"), paid_in(4, 5, "r")];
    let reused = refused(1, Rejection::ExternalIdReused);
    assert_eq!(ask(&engine, batch(Atomic, &told_otherwise)), reused);
    assert_eq!([2, 3, 4].map(|number| engine.balance(number)), [89, 21, 0]);
    assert_sound(&engine);
}

#[test]
fn an_atomic_batch_meets_what_was_decided_before_under_its_operations_names() {
    let engine = engine_with(100);
    engine.submit(keyed(pay(3, 10), "done")).decision.unwrap();
    engine.submit(keyed(pay(3, 1_000), "refused")).decision.unwrap_err();
    engine.submit(paid_in(3, 5, "p")).decision.unwrap();
    let all = [pay(4, 1), keyed(pay(3, 10), "done"), paid_in(3, 5, "p")];
    assert_eq!(codes(&ask(&engine, batch(Atomic, &all))), "ok =ok =ok");
    let all = [pay(4, 1), keyed(pay(3, 1_000), "refused")];
    assert_eq!(ask(&engine, batch(Atomic, &all)), refused(1, Rejection::InsufficientFunds));
    let all = [pay(4, 1), paid_in(3, 6, "p")];
    assert_eq!(ask(&engine, batch(Atomic, &all)), refused(1, Rejection::ExternalIdReused));
    assert_eq!([2, 3, 4].map(|number| engine.balance(number)), [89, 15, 1]);
}

#[test]
fn the_same_batch_under_its_key_is_done_once_and_answered_alike_also_after_a_restart() {
    let engine = engine_with(100);
    engine.submit(keyed(pay(3, 1), "before")).decision.unwrap();
    let asked = [
        under("atomic", batch(Atomic, &[pay(3, 10), keyed(pay(3, 1), "before"), pay(4, 10)])),
        under("refused", batch(Atomic, &[pay(3, 10), pay(3, 1_000)])),
        under(
            "each",
            batch(Independent, &[pay(3, 10), pay(9, 1), pay(9, 1), pay(4, 10), pay(3, 1)]),
        ),
        under("none", batch(Independent, &[])),
    ];
    let first: Vec<_> = asked.iter().map(|batch| ask(&engine, batch.clone())).collect();
    assert_eq!(codes(&first[0]), "ok =ok ok");
    assert_eq!(first[1], refused(1, Rejection::InsufficientFunds));
    assert_eq!(codes(&first[2]), "ok wallet_not_found wallet_not_found ok ok");
    let balances = [2, 3, 4].map(|number| engine.balance(number));
    assert_eq!(balances, [58, 22, 20]);
    engine.deposit(2, 10_000).unwrap();
    let mut engine = engine;
    for _ in 0..2 {
        for (batch, first) in asked.iter().zip(&first) {
            let again = ask(&engine, batch.clone());
            assert_eq!(again.decision, first.decision);
            assert!(again.replayed && !first.replayed);
        }
        assert_eq!(engine.balance(2), balances[0] + 10_000);
        assert_eq!(engine.balance(3), balances[1]);
        assert_sound(&engine);
        engine = engine.reopen().unwrap();
    }
}

#[test]
fn another_batch_under_the_same_key_changes_nothing() {
    let engine = engine_with(100);
    let first = under("k", batch(Atomic, &[pay(3, 10), pay(4, 10)]));
    ask(&engine, first.clone()).decision.unwrap();
    let others = [
        batch(Independent, &[pay(3, 10), pay(4, 10)]),
        batch(Atomic, &[pay(4, 10), pay(3, 10)]),
        batch(Atomic, &[pay(3, 10)]),
        batch(Atomic, &[pay(3, 10), pay(4, 11)]),
        batch(Atomic, &[pay(3, 10), keyed(pay(4, 10), "x")]),
    ];
    for other in others {
        let other = ask(&engine, under("k", other));
        assert_eq!(other, BatchOutcome::new(Err(BatchRefusal::KeyReused)));
    }
    assert!(ask(&engine, first).replayed, "the first still stands");
    assert_eq!(engine.balance(2), 80);
}

#[test]
fn keys_of_batches_and_of_operations_share_a_namespace() {
    let engine = engine_with(100);
    engine.submit(keyed(pay(3, 10), "single")).decision.unwrap();
    engine.submit(keyed(pay(3, 1_000), "refused")).decision.unwrap_err();
    for used in ["single", "refused"] {
        let reused = ask(&engine, under(used, batch(Atomic, &[pay(3, 10)])));
        assert_eq!(reused.decision, Err(BatchRefusal::KeyReused));
    }
    ask(&engine, under("batch", batch(Atomic, &[pay(3, 10)]))).decision.unwrap();
    let engine = engine.reopen().unwrap();
    let single = engine.submit(keyed(pay(3, 10), "batch"));
    assert_eq!(single.decision, Err(Rejection::IdempotencyKeyReused));
    // Wallet 3 has keys of its own.
    let own = keyed(submission(OperationKind::Transfer, 3, 2, 1), "batch");
    assert!(engine.submit(own.clone()).decision.is_ok());
    // The whole is named first, so an operation of it may not bear the same name.
    let same = [pay(3, 1), keyed(pay(3, 1), "same")];
    let reused = refused(1, Rejection::IdempotencyKeyReused);
    assert_eq!(ask(&engine, under("same", batch(Atomic, &same))), reused);
    let each =
        ask(&engine, under("same-2", batch(Independent, &[keyed(pay(3, 1), "same-2"), pay(3, 1)])));
    assert_eq!(codes(&each), "idempotency_key_reused ok");
    assert_sound(&engine);
}

#[test]
fn a_batch_twice_in_one_commit_is_done_once() {
    let engine = engine_with(100);
    let asked = under("k", batch(Independent, &[pay(3, 1), pay(9, 1)]));
    let waiting: Vec<_> = (0..20).map(|_| engine.store.submit_batch(asked.clone())).collect();
    let found: Vec<_> = waiting.into_iter().map(|answer| wait(answer).unwrap()).collect();
    assert_eq!(found.iter().filter(|outcome| !outcome.replayed).count(), 1);
    assert!(found.iter().all(|outcome| outcome.decision == found[0].decision));
    assert_eq!(engine.balance(3), 1);
    // A head that went back to an old operation would show here.
    engine.transfer(2, 3, 5).unwrap();
    assert!(ask(&engine, asked).replayed);
    assert_eq!(engine.balance(3), 6);
}

#[test]
fn a_batch_is_forgotten_after_its_window() {
    let engine = engine_with(100);
    let asked = under("k", batch(Atomic, &[pay(3, 1)]));
    ask(&engine, asked.clone()).decision.unwrap();
    engine.submit(keyed(pay(3, 1_000), "refused")).decision.unwrap_err();
    let past = |engine: Engine| {
        let day = i64::try_from(DAY.as_micros()).unwrap();
        let older = move |connection: &rusqlite::Connection| {
            connection.execute("UPDATE refusal SET time_us = time_us - 2 * ?", [day]).unwrap();
        };
        engine.reopen_after(older).unwrap()
    };
    let engine = past(engine);
    let count = |engine: &Engine, table: &str| -> u64 {
        let count = format!("SELECT count(*) FROM {table}");
        connect(engine.dir()).query_row(&count, (), |row| row.get(0)).unwrap()
    };
    assert_eq!((count(&engine, "batch"), count(&engine, "refusal")), (1, 2));
    engine.deposit(2, 1).unwrap();
    assert_eq!((count(&engine, "batch"), count(&engine, "refusal")), (0, 0));
    assert_sound(&engine);
    let engine = engine.reopen().unwrap();
    assert!(!ask(&engine, asked).replayed);
    assert_eq!((count(&engine, "batch"), engine.balance(3)), (1, 2));
}

#[test]
fn a_whole_batch_of_8192_with_keys() {
    const COUNT: usize = ledger::SUBMISSIONS_MAX;
    let engine = engine_with(1_000_000);
    let all: Vec<_> = (0..COUNT).map(|number| keyed(pay(3, 1), &format!("k{number}"))).collect();
    for mode in [Atomic, Independent] {
        let key = format!("{mode:?}");
        let asked = under(&key, batch(mode, &all));
        let first = ask(&engine, asked.clone());
        assert_eq!(first.decision.as_ref().unwrap().len(), COUNT);
        assert_eq!(ask(&engine, asked).decision, first.decision);
    }
    assert_eq!(engine.balance(3), COUNT as i64);
    let mut too_much = all.clone();
    too_much[COUNT - 1] = pay(3, 1_000_000);
    let refusal = refused(COUNT - 1, Rejection::InsufficientFunds);
    let fresh: Vec<_> = too_much.into_iter().map(|it| Submission { key: None, ..it }).collect();
    assert_eq!(ask(&engine, batch(Atomic, &fresh)), refusal);
    assert_eq!(engine.balance(3), COUNT as i64);
    assert_sound(&engine);
}

#[test]
fn a_closed_engine_does_nothing() {
    let engine = engine_with(100);
    engine.store.close();
    let closed = wait(engine.store.submit_batch(batch(Atomic, &[pay(3, 1)])));
    assert_eq!(closed, Err(LedgerError::Closed));
}

#[test]
fn a_damaged_record_is_named() {
    for (damage, code) in [
        ("UPDATE batch SET outcomes = 'nonsense'", "batch_unreadable"),
        ("UPDATE batch SET outcomes = '1:wallet_not_found'", "batch_unreadable"),
        ("UPDATE batch SET outcomes = '2-99'", "batch_differs"),
        ("UPDATE batch SET outcomes = '1'", "batch_differs"),
        ("UPDATE batch SET fingerprint = x'00'", "batch_unreadable"),
        ("DELETE FROM batch", "batch_unreadable"),
        ("DELETE FROM refusal", "batch_unreadable"),
    ] {
        let engine = engine_with(100);
        ask(&engine, under("k", batch(Independent, &[pay(3, 1), pay(3, 1)])));
        let engine = engine.reopen_after(|connection| {
            connection.execute_batch(damage).unwrap();
        });
        let engine = engine.unwrap();
        let checked = check(&Check { data: engine.dir(), published: None }, &Unwatched).unwrap();
        let codes: Vec<_> = checked.damages.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [code], "{damage}");
    }
}

#[test]
fn a_record_of_other_operations_is_not_told() {
    let engine = engine_with(100);
    let first = under("first", batch(Independent, &[pay(3, 1), pay(3, 2)]));
    assert!(!ask(&engine, first.clone()).replayed);
    ask(&engine, batch(Independent, &[pay(4, 5), pay(4, 6)]));
    assert!(ask(&engine, first.clone()).replayed);
    let shift = "UPDATE batch SET outcomes = '4-5'";
    assert_eq!(connect(engine.dir()).execute(shift, ()).unwrap(), 1);
    let error = wait(engine.store.submit_batch(first)).unwrap_err();
    assert!(matches!(error, LedgerError::OutcomeUnknown(_)), "{error}");
    assert!(wait(engine.store.halted()).contains("batch"));
}

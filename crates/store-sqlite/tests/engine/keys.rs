//! A keyed operation takes effect at most once, and is answered alike every time.

use ledger::{
    Batch, BatchKey, BatchMode, ExternalId, Hash, IdempotencyKey, Ledger, OperationKind, People,
    Rejection, Role, SignUpRefusal, Submission,
};

use crate::support::{DAY, Engine, connect, keyed, new_user, submission, wait, wallet};

fn ten(to: u64) -> Submission {
    submission(OperationKind::Transfer, 2, to, 10)
}

fn paid_in(to: u64, minor: i64, external_id: &str) -> Submission {
    let mut deposit = submission(OperationKind::Deposit, 1, to, minor);
    deposit.operation.external_id = Some(ExternalId::parse(external_id).unwrap());
    deposit
}

#[test]
fn the_same_request_takes_effect_once_also_after_a_restart() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 100).unwrap();
    let first = engine.submit(keyed(ten(3), "a"));
    assert!(!first.replayed);
    let again = engine.submit(keyed(ten(3), "a"));
    assert!(again.replayed);
    assert_eq!(again.decision, first.decision);
    let engine = engine.reopen().unwrap();
    let after = engine.submit(keyed(ten(3), "a"));
    assert!(after.replayed);
    assert_eq!(after.decision, first.decision);
    assert_eq!(engine.balance(2), 90);
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    let engine = Engine::with_people(3);
    engine.deposit(2, 100).unwrap();
    engine.submit(keyed(ten(3), "a")).decision.unwrap();
    let mut said_otherwise = ten(3);
    said_otherwise.operation.details = None;
    let mut more = ten(3);
    more.operation.amount = ledger::Amount::from_minor(11).unwrap();
    for other in [ten(4), said_otherwise, more] {
        let other = engine.submit(keyed(other, "a"));
        assert_eq!(other.decision, Err(Rejection::IdempotencyKeyReused));
        assert!(!other.replayed);
    }
    assert_eq!(engine.balance(2), 90);
    assert!(engine.submit(keyed(ten(3), "a")).replayed, "the first still stands");
    engine.submit(keyed(paid_in(2, 5, "pay-1"), "b")).decision.unwrap();
    for other in [paid_in(2, 5, "pay-2"), submission(OperationKind::Deposit, 1, 2, 5)] {
        let other = engine.submit(keyed(other, "b"));
        assert_eq!(other.decision, Err(Rejection::IdempotencyKeyReused));
    }
    assert_eq!(engine.balance(2), 95);
}

#[test]
fn keys_belong_to_the_wallet_that_pays() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 100).unwrap();
    engine.submit(keyed(ten(3), "a")).decision.unwrap();
    let back = keyed(submission(OperationKind::Transfer, 3, 2, 10), "a");
    let back = engine.submit(back);
    assert!(back.decision.is_ok() && !back.replayed);
    assert_eq!(engine.balance(2), 100);
}

#[test]
fn doubles_within_one_batch_are_found() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 100).unwrap();
    let doubles = vec![
        keyed(ten(3), "a"),
        keyed(ten(3), "a"),
        keyed(ten(3), "b"),
        keyed(ten(9), "c"),
        keyed(ten(9), "c"),
        keyed(ten(3), "c"),
    ];
    let outcomes = wait(engine.store.submit(doubles)).unwrap();
    let found: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| (outcome.decision.map(|_| ()), outcome.replayed))
        .collect();
    let not_found = Err(Rejection::WalletNotFound);
    let reused = Err(Rejection::IdempotencyKeyReused);
    let expected = [
        (Ok(()), false),
        (Ok(()), true),
        (Ok(()), false),
        (not_found, false),
        (not_found, true),
        (reused, false),
    ];
    assert_eq!(found, expected);
    assert_eq!(engine.balance(2), 80);
}

#[test]
fn a_refusal_stands_under_its_key_whatever_changes() {
    let engine = Engine::with_people(2);
    let refused = engine.submit(keyed(ten(3), "a"));
    assert_eq!(refused.decision, Err(Rejection::InsufficientFunds));
    assert!(!refused.replayed);
    engine.deposit(2, 100).unwrap();
    let engine = engine.reopen().unwrap();
    let again = engine.submit(keyed(ten(3), "a"));
    assert_eq!(again.decision, Err(Rejection::InsufficientFunds));
    assert!(again.replayed);
    let other = engine.submit(keyed(ten(4), "a"));
    assert_eq!(other.decision, Err(Rejection::IdempotencyKeyReused));
    assert!(!engine.submit(keyed(ten(3), "b")).replayed);
    assert_eq!(engine.balance(2), 90);
}

#[test]
fn a_payment_from_outside_is_brought_in_once() {
    let engine = Engine::with_people(3);
    let refused = engine.submit(paid_in(9, 50, "pay-1"));
    assert_eq!(refused.decision, Err(Rejection::WalletNotFound));
    let first = engine.submit(paid_in(2, 50, "pay-1"));
    assert!(first.decision.is_ok() && !first.replayed, "a refused payment may come again");
    let engine = engine.reopen().unwrap();
    let mut again = paid_in(2, 50, "pay-1");
    again.operation.details = None;
    let again = engine.submit(again);
    assert!(again.replayed, "whatever is written beside it");
    assert_eq!(again.decision, first.decision);
    for other in [paid_in(2, 51, "pay-1"), paid_in(3, 50, "pay-1")] {
        let other = engine.submit(other);
        assert_eq!(other.decision, Err(Rejection::ExternalIdReused));
    }
    let keyed_again = engine.submit(keyed(paid_in(2, 50, "pay-1"), "k"));
    assert!(keyed_again.replayed, "an idempotency key beside it changes nothing");
    assert!(!engine.submit(paid_in(2, 50, "pay-2")).replayed);
    assert_eq!(engine.balance(2), 100);
    let entry = engine.statement(2, None, 1).entries.remove(0);
    assert_eq!(entry.external_id.unwrap().as_str(), "pay-2");
}

#[test]
fn a_sign_up_is_recorded_under_its_key() {
    let engine = Engine::with_people(0);
    let key = |text| IdempotencyKey::parse(text).unwrap();
    let sign_up = |email, key_text| {
        wait(engine.store.sign_up(new_user(email, Role::Person), Some(key(key_text)))).unwrap()
    };
    let record = |text| wait(engine.store.sign_up_record(key(text))).unwrap();
    assert_eq!(record("a"), None);
    let ann = sign_up("ann@localhost", "a").unwrap();
    assert_eq!(sign_up("bob@localhost", "a"), Err(SignUpRefusal::KeyUsed));
    assert_eq!(sign_up("ann@localhost", "b"), Err(SignUpRefusal::EmailTaken));
    let found = record("a").unwrap();
    assert_eq!((found.email.as_str(), found.user.as_ref()), ("ann@localhost", Some(&ann)));
    assert_eq!(found.name, ann.name);
    let found = record("b").unwrap();
    assert_eq!((found.email.as_str(), found.user), ("ann@localhost", None));
}

/// So many that the keys' table becomes a file, or two of them, which is too few to be merged.
const MANY: usize = 300_000;
/// So many that their files are merged: five, where a start makes them anew.
const MANY_MERGED: usize = 700_000;

/// Deposits under the keys `k0`, `k1` and so on.
fn many(engine: &Engine, range: std::ops::Range<usize>) {
    for chunk in range.collect::<Vec<_>>().chunks(8_192) {
        let batch = chunk.iter().map(|number| one(*number)).collect();
        let outcomes = wait(engine.store.submit(batch)).unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.decision.is_ok() && !outcome.replayed));
    }
}

fn one(number: usize) -> Submission {
    keyed(submission(OperationKind::Deposit, 1, 2, 1), &format!("k{number}"))
}

fn run_files(engine: &Engine) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(engine.dir()).unwrap().map(|file| file.unwrap().path());
    let mut runs: Vec<_> = files.filter(|path| path.extension() == Some("run".as_ref())).collect();
    runs.sort();
    runs
}

/// Opens it again: a start writes the full tables that had not become a file, so none of [`MANY`] keys' is
/// written or deleted any more.
fn settled(engine: Engine) -> Engine {
    let engine = engine.reopen().unwrap();
    assert!(!run_files(&engine).is_empty());
    engine
}

/// A refusal, and a batch of one, each under a key. Whether both had been decided before.
fn refused_before(engine: &Engine) -> bool {
    let refused = engine.submit(keyed(ten(9), "refused"));
    assert_eq!(refused.decision, Err(Rejection::WalletNotFound));
    let key = IdempotencyKey::parse("whole").unwrap();
    let key = Some(BatchKey { wallet: wallet(2), key, fingerprint: Hash::default() });
    let batch = Batch { mode: BatchMode::Independent, submissions: vec![ten(9)], key };
    let batch = wait(engine.store.submit_batch(batch)).unwrap();
    assert_eq!(batch.decision.unwrap()[0].decision, refused.decision);
    assert_eq!(batch.replayed, refused.replayed);
    batch.replayed
}

/// One by one, and many at once, which are looked at ahead.
fn check_all_known(engine: &Engine, count: usize) {
    let numbers = || (0..count).step_by(997).chain([count - 1]);
    let at_once = wait(engine.store.submit(numbers().map(one).collect())).unwrap();
    let one_by_one = numbers().map(|number| engine.submit(one(number)));
    for (again, number) in at_once.into_iter().chain(one_by_one).zip(numbers().chain(numbers())) {
        assert!(again.replayed, "k{number}");
        let operation = again.decision.unwrap().id.get();
        assert_eq!(operation, number as u64 + 1);
    }
    assert!(refused_before(engine));
    assert!(!engine.submit(one(count)).replayed, "a new key is new");
}

#[test]
fn keys_that_went_to_files_are_known_there_and_after_a_restart_without_the_files() {
    let engine = Engine::with_people(1);
    assert!(!refused_before(&engine));
    many(&engine, 0..MANY_MERGED);
    // The last table may still be being written.
    while run_files(&engine).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    check_all_known(&engine, MANY_MERGED);
    let engine = engine.reopen().unwrap();
    check_all_known(&engine, MANY_MERGED + 1);
    assert!(engine.store.keys_in_files() > 0);
    // Lost files are made again from the rows.
    let engine = engine
        .reopen_after_files(|dir| {
            for file in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
                if file.extension() == Some("run".as_ref()) {
                    std::fs::remove_file(file).unwrap();
                }
            }
        })
        .unwrap();
    while run_files(&engine).len() != 1 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    check_all_known(&engine, MANY_MERGED + 2);
    // So is one that is damaged where a start looks; and leftovers are cleared away.
    let engine = engine
        .reopen_after_files(|dir| {
            let engine_files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
            let run = engine_files.into_iter().find(|it| it.extension() == Some("run".as_ref()));
            let run = run.unwrap();
            let mut bytes = std::fs::read(&run).unwrap();
            bytes[9] ^= 1;
            std::fs::write(&run, bytes).unwrap();
            std::fs::write(dir.join("keys-00000099.tmp"), "half").unwrap();
        })
        .unwrap();
    check_all_known(&engine, MANY_MERGED + 3);
    assert!(!engine.dir().join("keys-00000099.tmp").exists());
}

#[test]
fn files_of_another_history_are_not_believed() {
    let other = Engine::with_people(1);
    many(&other, 0..MANY);
    let other = settled(other);
    let engine = Engine::with_people(1);
    many(&engine, 10_000_000..10_000_000 + MANY);
    let foreign = run_files(&other);
    let engine = engine
        .reopen_after_files(|dir| {
            for file in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
                if file.extension() == Some("run".as_ref()) {
                    std::fs::remove_file(file).unwrap();
                }
            }
            for file in &foreign {
                std::fs::copy(file, dir.join(file.file_name().unwrap())).unwrap();
            }
        })
        .unwrap();
    assert!(engine.submit(one(10_000_000)).replayed);
    assert!(!engine.submit(one(0)).replayed);
}

#[test]
fn a_damaged_file_is_met_once_and_made_again() {
    let engine = Engine::with_people(1);
    assert!(!refused_before(&engine));
    many(&engine, 0..MANY);
    let engine = settled(engine);
    // The first block of entries, which a start does not read.
    let run = run_files(&engine).remove(0);
    let mut bytes = std::fs::read(&run).unwrap();
    for at in (5_000..bytes.len() - 1_000_000).step_by(4_096) {
        bytes[at] ^= 1;
    }
    std::fs::write(&run, bytes).unwrap();
    let error = wait(engine.store.submit((0..1_000).map(one).collect())).unwrap_err();
    assert!(error.to_string().contains("is damaged in its entries"), "{error}");
    // The waiter is told first; that it halts is said a moment later.
    assert!(wait(engine.store.halted()).contains("is damaged in its entries"));
    let engine = engine.reopen().unwrap();
    check_all_known(&engine, MANY);
}

/// Whether a key is still known. One that is not takes effect.
fn knows(engine: &Engine, number: usize) -> bool {
    engine.submit(one(number)).replayed
}

#[test]
fn keys_are_forgotten_after_their_window_and_known_again_when_it_grows() {
    let engine = Engine::with_people(1);
    many(&engine, 0..MANY);
    let refused = keyed(submission(OperationKind::Transfer, 2, 9, 1), "refused");
    assert!(!engine.submit(refused.clone()).replayed);
    // The time in the rows cannot be changed; so the window is.
    let engine = engine.reopen_with_window(Some(std::time::Duration::from_micros(1)));
    while engine.store.keys_in_files() > 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(!knows(&engine, 0), "whole files that are older than the window are let go of");
    many(&engine, 10_000_000..10_000_000 + MANY);
    let left = |engine: &Engine| -> i64 {
        connect(engine.dir())
            .query_row("SELECT count(*) FROM refusal", (), |row| row.get(0))
            .unwrap()
    };
    while left(&engine) > 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        engine.fill(1);
    }
    let engine = engine.reopen_with_window(Some(DAY));
    assert!(knows(&engine, 1) && knows(&engine, MANY / 2) && knows(&engine, 10_000_000));
    assert!(!engine.submit(refused.clone()).replayed, "refusals that were deleted are gone");
    assert!(engine.submit(refused).replayed);
}

/// So many refusals, each under a key of its own.
fn refuse(engine: &Engine, count: usize) {
    let many = (0..count).map(|number| keyed(ten(9), &format!("refused-{number}"))).collect();
    let outcomes = wait(engine.store.submit(many)).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.decision.is_err()));
}

#[test]
fn however_many_refusals_are_too_old_all_are_forgotten_some_with_each_batch() {
    let engine = Engine::with_people(2);
    refuse(&engine, 600);
    let older = format!("UPDATE refusal SET time_us = time_us - {}", 2 * DAY.as_micros());
    let engine = engine.reopen_after(|file| file.execute_batch(&older).unwrap()).unwrap();
    let count = || -> usize {
        let count = "SELECT count(*) FROM refusal";
        connect(engine.dir()).query_row(count, (), |row| row.get(0)).unwrap()
    };
    for left in [344, 88, 0] {
        engine.fill(1);
        assert_eq!(count(), left);
    }
}

/// What is found by its time stands in that order, also when the clock was set back.
#[test]
fn no_refusal_is_dated_before_the_one_before_it() {
    let engine = Engine::with_people(2);
    refuse(&engine, 1);
    let later = format!("UPDATE refusal SET time_us = time_us + {}", DAY.as_micros());
    let engine = engine.reopen_after(|file| file.execute_batch(&later).unwrap()).unwrap();
    engine.submit(keyed(ten(9), "another")).decision.unwrap_err();
    let times: i64 = connect(engine.dir())
        .query_row("SELECT max(time_us) - min(time_us) FROM refusal", (), |row| row.get(0))
        .unwrap();
    assert_eq!(times, 0);
}

#[test]
fn maintenance_leaves_the_window_as_it_was() {
    let week = 7 * DAY;
    let engine = Engine::with_people(1).reopen_with_window(Some(week)).reopen_with_window(None);
    let kept: u64 = connect(engine.dir())
        .query_row("SELECT key_window_us FROM ledger", (), |row| row.get(0))
        .unwrap();
    assert_eq!(u128::from(kept), week.as_micros());
}

#[test]
fn a_book_that_ends_before_what_a_file_knows_is_damaged() {
    let engine = Engine::with_people(1);
    many(&engine, 0..MANY);
    while run_files(&engine).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let cut = "DELETE FROM transfer WHERE operation_id > 1000;
               DELETE FROM chain_block WHERE block > 3;
               UPDATE ledger SET sweep_operation_id = 0;
               UPDATE swept SET balance_minor = 0, last_operation_id = NULL;";
    let error = engine.reopen_after(|file| file.execute_batch(cut).unwrap()).err().unwrap();
    assert!(error.to_string().contains("ends with operation 1000, but"), "{error}");
}

/// As where a directory was copied while the engine ran, and the files of keys last.
#[test]
fn nor_is_the_log_of_such_a_book_moved_into_it() {
    let engine = Engine::with_people(1);
    many(&engine, 0..1_000);
    let copied = engine.as_after_a_kill();
    many(&engine, 1_000..MANY);
    while run_files(&engine).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for run in run_files(&engine) {
        std::fs::copy(&run, copied.path().join(run.file_name().unwrap())).unwrap();
    }
    let left =
        || ["kopeck.db", "kopeck.db-wal"].map(|it| std::fs::read(copied.path().join(it)).unwrap());
    let before = left();
    // Nor is another window written down in it.
    let opened = crate::support::open_with(copied.path(), "RUB", Some(2 * DAY));
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("ends with operation 1000, but"), "{error}");
    assert!(left() == before, "both are there as they were copied");
}

/// A key that is not what it was would else be a key that was never used, and its request done again.
#[test]
fn a_key_that_was_changed_in_its_row_is_damage() {
    let check = |amount: i64, edit: &str, damage: &str| {
        let engine = Engine::with_people(2);
        engine.deposit(2, 100).unwrap();
        let request = keyed(submission(OperationKind::Transfer, 2, 3, amount), "first");
        assert!(!engine.submit(request.clone()).replayed);
        connect(engine.dir()).execute(edit, ()).unwrap();
        let error = wait(engine.store.submit(vec![request])).unwrap_err();
        assert!(error.to_string().contains(damage), "{error}");
        assert!(wait(engine.store.halted()).contains(damage));
    };
    let transfer = "UPDATE transfer SET idempotency_key = 'other' WHERE operation_id = 2";
    check(60, transfer, "operation 2");
    check(60, "DELETE FROM transfer WHERE operation_id = 2", "operation 2");
    check(600, "UPDATE refusal SET idempotency_key = 'other'", "refusal 1 is damaged");
    check(600, "UPDATE refusal SET debit_wallet_id = 3", "refusal 1 is damaged");
    check(600, "DELETE FROM refusal", "refusal 1 is damaged");
}

//! What becomes of large batches under way when another one fails, or the engine ends: each is done whole, or told
//! that nothing of it was done.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod model;

use std::cell::Cell;

use ledger::{IdempotencyKey, Ledger, LedgerError, Outcome, SUBMISSIONS_MAX, Submission};
use rusqlite::Connection;

use crate::write::full_disk::{deposit, open, wait, with_the_bank_and_a_person};
use crate::write::writer::Failure;
use crate::{Check, Unwatched, check};

/// What a commit meets.
pub(crate) type Meets = Box<dyn FnOnce() -> Result<(), Failure> + Send>;

thread_local! {
    /// What the writer's next commit meets.
    pub(crate) static AT_COMMIT: Cell<Option<Meets>> = const { Cell::new(None) };
}

/// As many deposits as there are numbers, the first under a key; more keys would have to be handed over before the next
/// batch is decided.
fn large(numbers: std::ops::Range<usize>) -> Vec<Submission> {
    let mut deposits = vec![deposit(); numbers.len()];
    deposits[0].key = IdempotencyKey::parse(&numbers.start.to_string()).ok();
    deposits
}

/// The first number, if all were done anew.
fn first_of(outcomes: &[Outcome]) -> Option<u64> {
    assert!(outcomes.iter().all(|outcome| !outcome.replayed));
    outcomes.first()?.decision.as_ref().ok().map(|transfer| transfer.id.get())
}

#[test]
fn a_batch_decided_on_top_of_one_that_found_no_room_is_refused_with_it() {
    let (dir, store) = with_the_bank_and_a_person();
    let size = SUBMISSIONS_MAX;
    let lists = [
        large(0..size),
        large(size..2 * size - 1),
        large(2 * size..3 * size),
        large(3 * size..4 * size),
    ];
    let [first, second, third, fourth] = lists.clone();
    // The second is decided on top of the first while that is committed; the disk is found full by the commit of the
    // second, when the third is decided on top of that.
    let hold = store.hold();
    let first = store.submit(first);
    let second = store.submit(second);
    store.at_commit(|_| Err(Failure::Refused(LedgerError::StorageFull)));
    let [third, fourth] = [third, fourth].map(|list| store.submit(list));
    drop(hold);
    let first = first_of(&wait(first).unwrap());
    assert_eq!(wait(second), Err(LedgerError::StorageFull));
    assert_eq!(wait(third), Err(LedgerError::StorageFull));
    let fourth = first_of(&wait(fourth).unwrap());
    let second = first_of(&wait(store.submit(lists[1].clone())).unwrap());
    let all = size as u64;
    // What was refused took no numbers and no keys.
    assert_eq!([first, fourth, second], [Some(1), Some(1 + all), Some(1 + 2 * all)]);
    for (list, is_done) in lists.iter().zip([true, true, false, true]) {
        let again = wait(store.submit(vec![list[0].clone()])).unwrap();
        assert_eq!(again[0].replayed, is_done, "{:?}", list[0].key);
    }
    store.close();
    let checked = check(&Check { data: dir.path(), published: None }, &Unwatched).unwrap();
    assert!(checked.is_sound() && checked.operations == 3 * all, "{checked:?}");
    open(dir.path());
}

#[test]
fn what_was_decided_on_top_of_a_batch_that_nobody_knows_of_was_surely_not_done() {
    let (dir, store) = with_the_bank_and_a_person();
    let size = SUBMISSIONS_MAX;
    let hold = store.hold();
    let first = store.submit(large(0..size));
    let second = store.submit(large(size..2 * size - 1));
    store.at_commit(|_| Err(Failure::Unknown("planted".to_owned())));
    let third = store.submit(large(2 * size..3 * size));
    drop(hold);
    assert_eq!(first_of(&wait(first).unwrap()), Some(1));
    assert!(matches!(wait(second), Err(LedgerError::OutcomeUnknown(_))));
    assert_eq!(wait(third), Err(LedgerError::Closed));
    assert_eq!(wait(store.halted()), "planted");
    store.close();
    let (_store, recovered) = open(dir.path());
    assert_eq!(recovered.operations, size as u64);
}

/// The rows of a batch that is on top of a durable one were written, or were not.
#[test]
fn a_batch_that_fails_while_it_is_written_is_unknown_whatever_it_was_decided_on_top_of() {
    let (dir, store) = with_the_bank_and_a_person();
    let size = SUBMISSIONS_MAX;
    let fails = format!(
        "CREATE TRIGGER planted AFTER INSERT ON transfer WHEN new.operation_id > {size}
         BEGIN SELECT RAISE(FAIL, 'planted'); END"
    );
    Connection::open(dir.path().join("kopeck.db")).unwrap().execute_batch(&fails).unwrap();
    let hold = store.hold();
    let [first, second, third] =
        [0, 1, 2].map(|list| store.submit(large(size * list..size * (list + 1))));
    drop(hold);
    assert_eq!(first_of(&wait(first).unwrap()), Some(1));
    assert!(matches!(wait(second), Err(LedgerError::OutcomeUnknown(_))));
    assert_eq!(wait(third), Err(LedgerError::Closed));
}

/// Else it would grow for as long as large batches follow each other.
#[test]
fn a_full_table_of_keys_is_handed_over_before_more_is_decided_on_top_of_it() {
    let (_dir, store) = with_the_bank_and_a_person();
    let size = SUBMISSIONS_MAX;
    let key = |number: usize| IdempotencyKey::parse(&number.to_string()).ok();
    let all_keyed = |numbers: std::ops::Range<usize>| {
        numbers.map(|number| Submission { key: key(number), ..deposit() }).collect()
    };
    let hold = store.hold();
    let first = store.submit(all_keyed(0..size));
    let second = store.submit(all_keyed(size..2 * size - 1));
    let (tell, told) = std::sync::mpsc::channel();
    let other = store.clone();
    store.at_commit(move |_| {
        tell.send(other.keys_in_files()).unwrap();
        Ok(())
    });
    drop(hold);
    assert_eq!(first_of(&wait(first).unwrap()), Some(1));
    assert_eq!(first_of(&wait(second).unwrap()), Some(1 + size as u64));
    assert_eq!(told.recv(), Ok(size as u64));
}

#[test]
fn a_stop_finishes_what_was_handed_in() {
    let (dir, store) = with_the_bank_and_a_person();
    let hold = store.hold();
    let waiting: Vec<_> =
        (0..4).map(|number| store.submit(large(5_000 * number..5_000 * (number + 1)))).collect();
    drop(hold);
    store.close();
    let firsts = waiting.into_iter().map(|one| first_of(&wait(one).unwrap()));
    assert!(firsts.eq([1, 5_001, 10_001, 15_001].map(Some)));
    let (_store, recovered) = open(dir.path());
    assert_eq!((recovered.operations, recovered.replayed), (20_000, 0));
}

#[test]
fn a_batch_under_way_when_the_engine_halts_is_surely_not_done() {
    let (dir, store) = with_the_bank_and_a_person();
    let size = SUBMISSIONS_MAX;
    let hold = store.hold();
    let first = store.submit(large(0..size - 1));
    // When the first is committed, the second is decided already.
    store.at_commit(|halt| {
        halt.halt("planted".to_owned());
        Ok(())
    });
    let second = store.submit(large(size..2 * size));
    drop(hold);
    assert_eq!(first_of(&wait(first).unwrap()), Some(1));
    assert_eq!(wait(second), Err(LedgerError::Closed));
    store.close();
    let (_store, recovered) = open(dir.path());
    assert_eq!(recovered.operations, size as u64 - 1);
}

/// Whoever waited is told that nobody knows, and whoever comes later that nothing was done; the next start has all that
/// was acknowledged and nothing of the rest, and takes that under the same keys.
#[test]
fn where_whoever_decides_panics_the_engine_halts_and_the_next_start_goes_on() {
    let size = SUBMISSIONS_MAX;
    let unknown = LedgerError::OutcomeUnknown("the writer has stopped".to_owned());
    // The decider, on top of a batch under way or of none; and the writer, which has taken what comes behind it too.
    let (by_decider, by_writer) =
        ("the thread that decides has ended", "the writer thread panicked");
    for (before, with_it, reason, behind_it) in [
        (Some(large(0..size)), large(size..2 * size - 1), by_decider, &LedgerError::Closed),
        (None, large(size..2 * size - 1), by_decider, &LedgerError::Closed),
        (None, large(size..size + 1), by_writer, &unknown),
    ] {
        let (dir, store) = with_the_bank_and_a_person();
        let hold = store.hold();
        // It is a batch of its own.
        while store.queue_depth() > 0 {
            std::thread::yield_now();
        }
        let before = before.map(|list| (store.submit(list.clone()), list));
        let lost = store.submit(with_it.clone());
        store.panic();
        let behind = store.submit(vec![deposit()]);
        drop(hold);
        let done = before.map(|(answer, list)| {
            assert_eq!(first_of(&wait(answer).unwrap()), Some(1));
            list
        });
        assert_eq!((wait(lost).as_ref(), wait(behind).as_ref()), (Err(&unknown), Err(behind_it)));
        assert_eq!(wait(store.halted()), reason);
        assert_eq!(wait(store.submit(with_it.clone())), Err(LedgerError::Closed));
        store.close();
        drop(store);
        let (store, recovered) = open(dir.path());
        let operations = done.iter().flatten().count() as u64;
        assert_eq!(recovered.operations, operations);
        if let Some(list) = done {
            assert!(wait(store.submit(vec![list[0].clone()])).unwrap()[0].replayed);
        }
        assert_eq!(first_of(&wait(store.submit(with_it)).unwrap()), Some(operations + 1));
        store.close();
        let checked = check(&Check { data: dir.path(), published: None }, &Unwatched).unwrap();
        assert!(checked.is_sound(), "{checked:?}");
    }
}

#[test]
fn a_batch_that_was_decided_while_another_program_held_the_file_is_refused() {
    let (dir, store) = with_the_bank_and_a_person();
    let other = Connection::open(dir.path().join("kopeck.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let list = large(0..5_000);
    assert_eq!(wait(store.submit(list.clone())), Err(LedgerError::DataFileLocked));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(first_of(&wait(store.submit(list)).unwrap()), Some(1));
}

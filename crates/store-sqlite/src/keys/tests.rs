//! What the table of the newest keys does by itself; random histories of it are in [`model`](super::model).

use ledger::Currency;

use super::*;
use crate::file::schema;

fn mark(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn knows(keys: &mut Keys, number: u64) -> bool {
    let mut ahead = [Some(KeyAhead { mark: mark(number), in_runs: true })];
    keys.look_ahead(&mut ahead);
    ahead.into_iter().flatten().all(|key| keys.look(key).unwrap())
}

/// Begins a book, and gives what its rows are verified with.
pub(super) fn begin_book(connection: &mut Connection) -> Links {
    let currency = Currency::parse("RUB").unwrap();
    schema::migrate(connection, Some(currency), 0).unwrap();
    Links::of(connection, currency).unwrap()
}

#[test]
fn what_cannot_be_handed_over_yet_is_known_and_handed_over_later() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut connection = Connection::open_in_memory().unwrap();
    let links = begin_book(&mut connection);
    let mut keys = Keys::open(dir.path(), &connection, links, Duration::MAX).unwrap();
    let shelf = keys.shelf();
    let full = RECENT_ENTRIES_MAX as u64;
    let append = |keys: &mut Keys, numbers: std::ops::RangeInclusive<u64>| {
        numbers.for_each(|number| keys.appended(number, Some(mark(number))));
    };
    append(&mut keys, 1..=full);
    keys.commit(1);
    assert_eq!((keys.recent.len() as u64, shelf.entries()), (0, full));
    // Nobody has written those yet.
    append(&mut keys, full + 1..=2 * full);
    keys.commit(2);
    assert_eq!((keys.recent.len() as u64, shelf.entries()), (full, full));
    append(&mut keys, 2 * full + 1..=2 * full + 100);
    keys.roll_back();
    assert_eq!((keys.now, keys.now.operation), (keys.committed, 2 * full));
    let known = [1, full, full + 1, 2 * full];
    assert!(known.into_iter().all(|number| knows(&mut keys, number)));
    assert!((2 * full + 1..=2 * full + 100).all(|number| !knows(&mut keys, number)));
    shelf.write_frozen().unwrap();
    append(&mut keys, 2 * full + 1..=2 * full + 1);
    keys.commit(3);
    assert_eq!((keys.recent.len() as u64, shelf.entries()), (0, 2 * full + 1));
    shelf.write_frozen().unwrap();
    assert!(keys.make_room());
    assert!(keys.spare.is_some());
    assert!(known.into_iter().chain([2 * full + 1]).all(|number| knows(&mut keys, number)));
    let run_rows: Vec<_> = shelf.view().runs.iter().map(|run| run.entries).collect();
    assert_eq!(run_rows, [full, full + 1]);
}

#[test]
fn no_number_of_a_refusal_is_given_twice() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut connection = Connection::open_in_memory().unwrap();
    let links = begin_book(&mut connection);
    let open = || Keys::open(dir.path(), &connection, links, Duration::MAX).unwrap();
    // The newest are deleted.
    connection.execute("INSERT INTO sqlite_sequence VALUES ('refusal', 7)", ()).unwrap();
    let mut keys = open();
    assert_eq!([1, 2].map(|key| keys.refused(mark(key)).unwrap()), [8, 9]);
    keys.roll_back();
    assert_eq!(keys.refused(mark(3)).unwrap(), 8);
    connection.execute("UPDATE sqlite_sequence SET seq = ?", [i64::MAX]).unwrap();
    let none = open().refused(mark(1)).unwrap_err();
    assert_eq!(none.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
}

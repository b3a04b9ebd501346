//! The chain over the book: kept with every row, gone on with after every start, and read out as
//! receipts that hold.

use ledger::{Checkpoint, Ledger, OperationId, Receipt};
use rusqlite::Connection;
use store_sqlite::OpenError;
use tempfile::TempDir;

use crate::support::{Engine, connect, open, open_in, wait, wallet};

fn checkpoint(engine: &Engine) -> Checkpoint {
    wait(engine.store.checkpoint()).unwrap()
}

fn receipt(engine: &Engine, of: u64, operation: u64, as_of: Option<u64>) -> Option<Receipt> {
    let operation = OperationId::new(operation).unwrap();
    wait(engine.store.receipt(wallet(of), operation, as_of)).unwrap()
}

#[test]
fn receipts_hold_now_and_against_every_checkpoint_there_was() {
    let engine = Engine::with_people(2);
    assert_eq!(checkpoint(&engine), Checkpoint { operations: 0, root: [0; 32] });
    let mut published = Vec::new();
    for count in [1, 1, 1, 252, 1, 1, 254, 1, 1, 500] {
        engine.fill(count);
        published.push(checkpoint(&engine));
    }
    let newest = published.last().unwrap().operations;
    assert_eq!(newest, 1_013);
    let engine = engine.reopen().unwrap();
    assert_eq!(checkpoint(&engine), *published.last().unwrap());
    for operation in [1, 2, 3, 255, 256, 257, 511, 512, 513, 1_000, 1_013] {
        for checkpoint in &published {
            let receipt = receipt(&engine, 3, operation, Some(checkpoint.operations));
            if operation > checkpoint.operations {
                assert_eq!(receipt, None);
                continue;
            }
            let receipt = receipt.unwrap();
            assert_eq!(receipt.checkpoint, *checkpoint);
            assert_eq!(receipt.record.operation.get(), operation);
            receipt.verify().unwrap();
        }
        receipt(&engine, 3, operation, None).unwrap().verify().unwrap();
    }
    assert_eq!(receipt(&engine, 2, 1, None), None, "of others");
    assert_eq!(receipt(&engine, 3, 1_014, None), None, "not yet");
    assert_eq!(receipt(&engine, 3, 1, Some(1_014)), None, "not yet");
}

#[test]
fn a_refused_batch_leaves_nothing_in_the_chain() {
    let engine = Engine::with_people(2);
    engine.fill(255);
    engine.transfer(2, 3, 1).unwrap_err();
    engine.fill(2);
    let engine = engine.reopen().unwrap();
    engine.fill(1);
    receipt(&engine, 3, 258, None).unwrap().verify().unwrap();
}

#[test]
fn a_changed_block_is_named_by_whoever_meets_it() {
    let tamper = |statement: &'static str| {
        let engine = Engine::with_people(2);
        engine.fill(600);
        let published = checkpoint(&engine);
        let engine = engine.reopen_after(|file| file.execute_batch(statement).unwrap()).unwrap();
        (engine, published)
    };
    let failed = |(engine, _): (Engine, Checkpoint), operation| {
        let operation = OperationId::new(operation).unwrap();
        wait(engine.store.receipt(wallet(3), operation, None)).unwrap_err().to_string()
    };
    let error = failed(tamper("DELETE FROM chain_block WHERE block = 1"), 600);
    assert!(error.contains("no hash of operation 1"), "{error}");
    let changed = "UPDATE chain_block SET root = zeroblob(32) WHERE block = 1";
    let error = failed(tamper(changed), 200);
    assert!(error.contains("block 1 does not fit its operations, 1 to 256"), "{error}");
    // From afar, it is told by the checkpoint that somebody has kept.
    let (engine, published) = tamper(changed);
    let receipt = receipt(&engine, 3, 600, Some(600)).unwrap();
    assert_ne!(receipt.checkpoint, published);
}

#[test]
fn a_start_verifies_the_last_block_and_goes_on_with_it() {
    let opened = |statement: &'static str| {
        let engine = Engine::with_people(2);
        engine.fill(600);
        let engine = engine.reopen_after(|file| file.execute_batch(statement).unwrap());
        engine.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(opened(""), "");
    let error = opened("UPDATE transfer SET amount_minor = 2 WHERE operation_id = 513");
    assert!(error.contains("operation 513 is not what was recorded"), "{error}");
    let error = opened("UPDATE transfer SET idempotency_key = 'x' WHERE operation_id = 590");
    assert!(error.contains("operation 590 is not what was recorded"), "{error}");
}

/// A file of version 1 as that version wrote it: no chain, no external ids.
pub(crate) fn old_file(operations: u64) -> TempDir {
    let dir = TempDir::new().unwrap();
    let file = Connection::open(dir.path().join("kopeck.db")).unwrap();
    file.execute_batch(include_str!("../../src/file/schema.sql")).unwrap();
    // The view is nearly the same in all versions.
    let engine = Engine::with_people(0);
    let select = "SELECT sql FROM sqlite_schema WHERE name = 'statement'";
    let view: String = connect(engine.dir()).query_row(select, (), |row| row.get(0)).unwrap();
    file.execute_batch(&view.replace("FROM swept AS w", "FROM wallet AS w")).unwrap();
    file.execute_batch(
        "PRAGMA application_id = 1263489099;
         PRAGMA user_version = 1;
         INSERT INTO ledger (currency, exponent, created_us) VALUES ('RUB', 2, 0);
         INSERT INTO user VALUES (1, 1, 'bank', 'b', 'b', 'b', '-', 0),
                                 (2, 2, 'person', 'p', 'p', 'p', '-', 0);
         INSERT INTO wallet VALUES (1, 1, 1, 0, 0, NULL), (2, 2, 0, 0, 0, NULL);",
    )
    .unwrap();
    for id in 1..=operations.cast_signed() {
        let previous = (id > 1).then_some(id - 1);
        file.execute(
            "INSERT INTO transfer VALUES (?1, 1, 1, 2, 1, -?1, ?1, ?2, ?2, ?1, 'tea', 'key-' || ?1)",
            (id, previous),
        )
        .unwrap();
    }
    dir
}

#[test]
fn a_file_of_version_1_gets_its_chain() {
    let dir = old_file(300);
    let wrong = open_in(dir.path(), "USD").err().unwrap();
    assert!(matches!(wrong, OpenError::CurrencyDiffers { .. }), "{wrong}");
    let (store, recovered) = open(dir.path()).unwrap();
    assert_eq!((recovered.operations, recovered.created), (300, false));
    let operation = OperationId::new(300).unwrap();
    let receipt = wait(store.receipt(wallet(2), operation, None)).unwrap().unwrap();
    receipt.verify().unwrap();
    store.close();
    drop(store);
    let (unchained, blocks): (i64, i64) = connect(dir.path())
        .query_row(
            "SELECT count(*) FILTER (WHERE chain = 0), (SELECT count(*) FROM chain_block) FROM transfer",
            (),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!((unchained, blocks), (0, 1));
}

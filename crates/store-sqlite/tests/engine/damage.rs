//! A damaged record is named at the start, or when it is read, and never served.

use ledger::{Ledger, LedgerError, Page};
use rusqlite::Connection;
use store_sqlite::OpenError;

use crate::support::{Engine, connect, wait, wallet};

/// An engine whose wallet table knows nothing of its operations, so that a start replays them all.
fn damaged(statement: &'static str) -> Result<Engine, OpenError> {
    let engine = Engine::with_people(2);
    engine.deposit(2, 1_000).unwrap();
    engine.transfer(2, 3, 10).unwrap();
    engine.transfer(3, 2, 4).unwrap();
    engine.reopen_after(|file| {
        let unswept = "UPDATE swept SET balance_minor = 0, last_operation_id = NULL;
                       UPDATE ledger SET sweep_operation_id = 0;";
        file.execute_batch(unswept).unwrap();
        file.execute_batch(statement).unwrap();
    })
}

fn check(statement: &'static str, named: &str) {
    match damaged(statement) {
        Ok(_) => panic!("opened after {statement}"),
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains(named), "{statement}: {error}");
        }
    }
}

#[test]
fn an_undamaged_file_replays() {
    let engine = damaged("").unwrap();
    assert_eq!(engine.recovered.replayed, 3);
    assert_eq!((engine.balance(1), engine.balance(2), engine.balance(3)), (-1_000, 994, 6));
}

#[test]
fn what_does_not_follow_is_named_by_its_operation() {
    let at = "WHERE operation_id = 2";
    check(leak(format!("UPDATE transfer SET amount_minor = 11 {at}")), "operation 2 ");
    check(leak(format!("UPDATE transfer SET amount_minor = 0 {at}")), "operation 2 ");
    check(leak(format!("UPDATE transfer SET debit_balance_minor = 989 {at}")), "operation 2 ");
    check(leak(format!("UPDATE transfer SET credit_balance_minor = 9 {at}")), "operation 2 ");
    check(leak(format!("UPDATE transfer SET credit_wallet_id = 9 {at}")), "operation 2 ");
    check(leak(format!("UPDATE transfer SET credit_wallet_id = 1 {at}")), "operation 2 ");
    check(leak(format!("UPDATE transfer SET debit_previous_id = NULL {at}")), "operation 2 ");
    check(leak(format!("UPDATE transfer SET kind = 7 {at}")), "operation 2 ");
    check(leak(format!("DELETE FROM transfer {at}")), "operation 3 stands where operation 2");
    check("DELETE FROM transfer WHERE operation_id = 1", "operation 2 stands where operation 1");
}

#[test]
fn a_mark_that_covers_more_than_the_wallets_have_is_named() {
    let mark = |mark: u64| leak(format!("UPDATE ledger SET sweep_operation_id = {mark}"));
    check(mark(1), "wallet 1 is not as it was after operation 1");
    check(mark(3), "wallet 1 is not as it was after operation 1");
    let swept = "UPDATE ledger SET sweep_operation_id = 2;
                 UPDATE swept SET balance_minor = -1000, last_operation_id = 1 WHERE wallet_id = 1;
                 UPDATE swept SET balance_minor = 10, last_operation_id = 2 WHERE wallet_id = 3;";
    let third = |rest: &str| leak(format!("{swept}{rest} WHERE wallet_id = 2"));
    check(
        third("UPDATE swept SET balance_minor = 1000, last_operation_id = 1"),
        "wallet 2 is not as it was after operation 2",
    );
    check(
        third("UPDATE swept SET balance_minor = 991, last_operation_id = 2"),
        "wallet 2 is not as it was after operation 2",
    );
    let engine = damaged(third("UPDATE swept SET balance_minor = 994, last_operation_id = 3"));
    assert_eq!(engine.unwrap().recovered.replayed, 1);
}

#[test]
fn so_is_a_mark_at_the_end_of_a_block_of_the_chain() {
    let engine = Engine::with_people(2);
    engine.fill(256);
    // A wallet is as it was one operation before: it sums to zero all the same.
    let before = "UPDATE swept SET balance_minor = -255, last_operation_id = 255 WHERE wallet_id = 1;
                  UPDATE swept SET balance_minor = 255, last_operation_id = 255 WHERE wallet_id = 3;";
    let error = engine.reopen_after(|file| file.execute_batch(before).unwrap()).err().unwrap();
    assert!(error.to_string().contains("wallet 1 is not as it was after operation 256"), "{error}");
}

fn leak(statement: String) -> &'static str {
    statement.leak()
}

#[test]
fn a_wallet_table_that_does_not_fit_is_named() {
    let rows_of = |people, statement: &'static str, named: &str| {
        let engine = Engine::with_people(people);
        engine.deposit(2, 1_000).unwrap();
        let error = engine
            .reopen_after(|file: &Connection| file.execute_batch(statement).unwrap())
            .err()
            .expect(statement)
            .to_string();
        assert!(error.contains(named), "{statement}: {error}");
    };
    let rows = |statement, named: &str| rows_of(2, statement, named);
    rows("UPDATE swept SET balance_minor = 1 WHERE wallet_id = 3", "sum to 1 minor units");
    rows(
        "UPDATE swept SET balance_minor = 1001 WHERE wallet_id = 2",
        "wallet 2 is not as it was after operation 1",
    );
    rows("DELETE FROM wallet WHERE wallet_id = 2", "wallet 3 in its place");
    rows("DELETE FROM wallet WHERE wallet_id = 3", "wallet 3 in its place");
    rows("UPDATE swept SET last_operation_id = 2 WHERE wallet_id = 2", "operation 2");
    rows("DELETE FROM transfer", "operation 1 is missing");
    rows("UPDATE wallet SET system = 0 WHERE wallet_id = 1", "wallet 1");
    rows_of(
        3,
        "UPDATE swept SET balance_minor = -1 WHERE wallet_id = 3;
         UPDATE swept SET balance_minor = 1 WHERE wallet_id = 4",
        "wallet 3 is below zero",
    );
    rows("DELETE FROM ledger", "damaged");
    rows("INSERT INTO swept_block VALUES (2, zeroblob(16))", "wallet 4 in its place");
    rows("UPDATE swept_block SET states = x'00'", "block 1 of the wallets' balances");
}

#[test]
fn a_block_of_the_chain_that_was_changed_is_named() {
    let engine = Engine::with_people(2);
    engine.fill(300);
    let changed = "UPDATE swept SET balance_minor = 0, last_operation_id = NULL;
                   UPDATE ledger SET sweep_operation_id = 0;
                   UPDATE chain_block SET root = zeroblob(32)";
    let error = engine.reopen_after(|file| file.execute_batch(changed).unwrap()).err().unwrap();
    assert!(error.to_string().contains("block 1 does not fit its operations"), "{error}");
}

#[test]
fn a_wallet_without_its_user_is_named() {
    let engine = Engine::with_people(2);
    let gone = "DELETE FROM user WHERE user_id = 3";
    let error = engine.reopen_after(|file| file.execute_batch(gone).unwrap()).err().unwrap();
    assert!(error.to_string().contains("wallet 3 in its place"), "{error}");
}

#[test]
fn damage_met_by_a_reader_halts_the_engine() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 1_000).unwrap();
    engine.transfer(2, 3, 10).unwrap();
    connect(engine.dir()).execute("DELETE FROM transfer WHERE operation_id = 1", ()).unwrap();
    let halted = engine.store.halted();
    let page = Page { from: None, limit: 10 };
    let error = wait(engine.store.statement(wallet(2), page)).unwrap_err();
    assert!(
        matches!(&error, LedgerError::Unreadable(why) if why.contains("operation 1 is missing"))
    );
    assert!(wait(halted).contains("operation 1 is missing"));
    assert!(engine.store.halt_reason().is_some());
    // The reason is said first; that nothing more is taken follows.
    let refused = loop {
        match wait(engine.store.submit(vec![])) {
            Ok(outcomes) => assert_eq!(outcomes, []),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, LedgerError::Closed);
}

#[test]
fn a_row_that_was_changed_long_ago_is_not_served() {
    let tampered = |statement: &'static str| {
        let engine = Engine::with_people(2);
        engine.deposit(2, 1_000).unwrap();
        engine.transfer(2, 3, 10).unwrap();
        engine.transfer(2, 3, 20).unwrap();
        engine.fill(300);
        // After a clean stop the wallet table holds everything: the start reads the last block only.
        let engine = engine.reopen_after(|file| file.execute_batch(statement).unwrap()).unwrap();
        let page = Page { from: None, limit: 10 };
        wait(engine.store.statement(wallet(2), page)).unwrap_err().to_string()
    };
    for (statement, named) in [
        ("UPDATE transfer SET amount_minor = 11 WHERE operation_id = 2", "operation 2 is not"),
        ("UPDATE transfer SET amount_minor = 999 WHERE operation_id = 1", "operation 1 is not"),
        ("UPDATE transfer SET details = 'x' WHERE operation_id = 2", "operation 2 is not"),
        ("UPDATE transfer SET time_us = time_us + 1 WHERE operation_id = 2", "operation 2 is not"),
        ("UPDATE transfer SET chain = 7 WHERE operation_id = 2", "operation 3 is not"),
        ("UPDATE transfer SET debit_balance_minor = 991 WHERE operation_id = 2", "operation 3"),
        ("UPDATE transfer SET debit_wallet_id = 3 WHERE operation_id = 2", "operation 2 is not"),
    ] {
        let error = tampered(statement);
        assert!(error.contains(named), "{statement}: {error}");
    }
}

#[test]
fn what_halted_over_damage_sweeps_nothing_under_the_carpet() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 1_000).unwrap();
    engine.transfer(2, 3, 10).unwrap();
    connect(engine.dir())
        .execute("UPDATE transfer SET amount_minor = 11 WHERE operation_id = 2", ())
        .unwrap();
    let page = Page { from: None, limit: 10 };
    wait(engine.store.statement(wallet(2), page)).unwrap_err();
    let not_swept = |file: &Connection| {
        let mark = file.query_row("SELECT sweep_operation_id FROM ledger", (), |row| row.get(0));
        assert_eq!(mark, Ok(0));
    };
    let error = engine.reopen_after(not_swept).err().expect("a damaged file opened").to_string();
    assert!(error.contains("operation 2 "), "{error}");
}

//! The book and histories, told beside a running engine.

use std::io;

use ledger::{Entry, Page, Transfer};
use store_sqlite::{Export, ExportError};

use crate::support::{Engine, connect, wait, wallet};
use ledger::{Ledger, OperationKind};

fn history(export: &Export, number: u64) -> Result<Vec<Entry>, ExportError> {
    let mut entries = Vec::new();
    export.history(wallet(number), |entry| {
        entries.push(entry.clone());
        Ok(())
    })?;
    Ok(entries)
}

fn operations(export: &Export) -> Result<Vec<Transfer>, ExportError> {
    let mut all = Vec::new();
    export.operations(export.newest()?, |transfer| {
        all.push(transfer.clone());
        Ok(())
    })?;
    Ok(all)
}

#[test]
fn a_history_is_told_from_its_beginning_as_the_statement_has_it() {
    let engine = Engine::with_people(3);
    // More than two stretches for the bank, and not a whole number of them.
    for round in 0..9 {
        let batch = (0..1_000)
            .map(|n| crate::support::submission(OperationKind::Deposit, 1, 2 + (n + round) % 2, 5))
            .collect();
        wait(engine.store.submit(batch)).unwrap();
    }
    engine.transfer(2, 3, 7).unwrap();
    let export = Export::open(engine.dir()).unwrap();
    for number in 1..=4 {
        let told = history(&export, number).unwrap();
        let mut expected = Vec::new();
        let mut page = Page { from: None, limit: 1_000 };
        loop {
            let statement = wait(engine.store.statement(wallet(number), page)).unwrap().unwrap();
            expected.extend(statement.entries);
            if statement.next.is_none() {
                break;
            }
            page.from = statement.next;
        }
        expected.reverse();
        assert!(told == expected, "wallet {number}: {} of {}", told.len(), expected.len());
    }
    assert!(matches!(history(&export, 5), Err(ExportError::NoSuchWallet(_))));
    let all = operations(&export).unwrap();
    assert_eq!(all.len(), 9_001);
    assert!(all.iter().zip(1..).all(|(transfer, id)| transfer.id.get() == id));
}

#[test]
fn what_comes_later_is_not_told() {
    let engine = Engine::with_people(1);
    engine.deposit(2, 1).unwrap();
    let export = Export::open(engine.dir()).unwrap();
    let newest = export.newest().unwrap();
    let mut told = 0;
    export
        .operations(newest, |_| {
            engine.deposit(2, 1).unwrap();
            told += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(told, 1);
    let mut told = 0;
    export
        .history(wallet(2), |_| {
            engine.deposit(2, 1).unwrap();
            told += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(told, 2);
}

#[test]
fn an_empty_book_is_told_too() {
    let engine = Engine::with_people(1);
    let export = Export::open(engine.dir()).unwrap();
    assert_eq!(operations(&export).unwrap(), []);
    assert_eq!(history(&export, 2).unwrap(), []);
}

#[test]
fn whoever_takes_can_stop() {
    let engine = Engine::with_people(1);
    engine.deposit(2, 1).unwrap();
    let export = Export::open(engine.dir()).unwrap();
    let full = || Err(io::Error::from(io::ErrorKind::StorageFull));
    assert!(matches!(export.history(wallet(2), |_| full()), Err(ExportError::Taker(_))));
    let newest = export.newest().unwrap();
    assert!(matches!(export.operations(newest, |_| full()), Err(ExportError::Taker(_))));
}

#[test]
fn damage_is_named_and_not_told() {
    let damaged = |sql: &str| {
        let engine = Engine::with_people(2);
        for _ in 0..3 {
            engine.deposit(2, 100).unwrap();
        }
        connect(engine.dir()).execute_batch(sql).unwrap();
        let export = Export::open(engine.dir()).unwrap();
        let said = |error: Option<ExportError>| error.map(|error| error.to_string());
        (said(history(&export, 2).err()), said(operations(&export).err()))
    };
    let (of_wallet, of_all) = damaged("DELETE FROM transfer WHERE operation_id = 2");
    assert!(of_wallet.unwrap().contains("operation 2 is missing"));
    assert!(of_all.unwrap().contains("operation 3 stands where operation 2 should"));
    let (of_wallet, of_all) =
        damaged("UPDATE transfer SET amount_minor = 99 WHERE operation_id = 2");
    assert!(of_wallet.unwrap().contains("operation 2 is not what was recorded"));
    assert!(of_all.unwrap().contains("operation 2 is not what was recorded"));
    let (of_wallet, of_all) = damaged("UPDATE transfer SET details = 'x' WHERE operation_id = 2");
    assert!(of_wallet.unwrap().contains("operation 2 is not what was recorded"));
    assert!(of_all.unwrap().contains("operation 2 is not what was recorded"));
    let (of_wallet, of_all) = damaged("UPDATE transfer SET kind = 9 WHERE operation_id = 2");
    assert!(of_wallet.unwrap().contains("operation 2"));
    assert!(of_all.unwrap().contains("operation 2"));
    // Balances are not in the chain, but a history has them.
    let balance = "UPDATE transfer SET credit_balance_minor = 201 WHERE operation_id = 2";
    let (of_wallet, _) = damaged(balance);
    assert!(of_wallet.unwrap().contains("operation 3 does not follow"));
}

#[test]
fn a_block_of_the_chain_that_does_not_fit_is_named() {
    let engine = Engine::with_people(2);
    engine.fill(300);
    connect(engine.dir()).execute_batch("UPDATE chain_block SET root = zeroblob(32)").unwrap();
    let error = operations(&Export::open(engine.dir()).unwrap()).err().unwrap().to_string();
    assert!(error.contains("block 1 does not fit its operations"), "{error}");
}

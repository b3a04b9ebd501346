//! The check of a whole data file: it names what was changed, and nothing else; a file that nobody
//! touched is sound, also while it is written to.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ledger::{
    Amount, Balance, Chain, Checkpoint, Currency, Details, IdempotencyKey, Ledger, OperationId,
    OperationKind, People, Record, Role, Side, Timestamp, Transfer, link_after,
};
use rusqlite::Connection;
use store_sqlite::{Check, CheckError, Checked, Export, Place, Unwatched, check};
use tempfile::TempDir;

use crate::support::{
    Engine, change_free_pages, connect, keyed, new_user, submission, wait, wallet,
};

/// 305 operations: one block of the chain, and a bit. Keys, external ids, a refusal, a sign-up
/// under a key.
fn engine() -> Engine {
    let engine = Engine::with_people(2);
    let key = IdempotencyKey::parse("s").unwrap();
    wait(engine.store.sign_up(new_user("4@localhost", Role::Person), Some(key))).unwrap().unwrap();
    let paid_in = |to, minor, external_id| {
        let mut deposit = submission(OperationKind::Deposit, 1, to, minor);
        deposit.operation.external_id = Some(ledger::ExternalId::parse(external_id).unwrap());
        deposit
    };
    let pay = |from, to, minor| submission(OperationKind::Transfer, from, to, minor);
    engine.submit(paid_in(2, 1_000, "pay-1")).decision.unwrap();
    engine.submit(keyed(pay(2, 3, 10), "a")).decision.unwrap();
    engine.transfer(3, 2, 4).unwrap();
    engine.submit(keyed(pay(4, 3, 1), "c")).decision.unwrap_err();
    engine.fill(300);
    engine.submit(keyed(pay(2, 3, 20), "b")).decision.unwrap();
    engine.submit(paid_in(2, 50, "pay-2")).decision.unwrap();
    engine
}

fn checked(dir: &Path, published: Option<Checkpoint>) -> Checked {
    check(&Check { data: dir, published }, &Unwatched).unwrap()
}

/// The findings, a line each: the code, and where.
fn lines(checked: &Checked) -> Vec<String> {
    let line = |place: &Place| match place {
        Place::Operation(id) => format!(" operation {id}"),
        Place::Wallet(id) => format!(" wallet {id}"),
        Place::User(id) => format!(" user {id}"),
        Place::Whole => String::new(),
    };
    assert_eq!(checked.damages.len() as u64, checked.damages_total, "{checked:?}");
    checked.damages.iter().map(|found| format!("{}{}", found.code, line(&found.place))).collect()
}

/// Files that are tampered with, each a copy of the same one.
struct Table {
    original: TempDir,
}

impl Table {
    fn new() -> Self {
        let engine = engine();
        let original = TempDir::new().unwrap();
        // The copy is made with SQLite's own means, so that it is whole whatever the log holds.
        let to = original.path().join("kopeck.db");
        connect(engine.dir()).execute("VACUUM INTO ?", [to.to_str().unwrap()]).unwrap();
        Self { original }
    }

    fn copy(&self) -> TempDir {
        let copy = TempDir::new().unwrap();
        let name = "kopeck.db";
        std::fs::copy(self.original.path().join(name), copy.path().join(name)).unwrap();
        copy
    }

    /// What is found after `tamper`, exactly.
    #[track_caller]
    fn check_after(&self, what: &str, tamper: impl FnOnce(&Connection), expected: &[&str]) {
        let copy = self.copy();
        let file = connect(copy.path());
        tamper(&file);
        drop(file);
        let checked = checked(copy.path(), None);
        let details: Vec<_> = checked.damages.iter().map(|found| &found.detail).collect();
        assert_eq!(lines(&checked), expected, "{what}: {details:#?}");
    }

    #[track_caller]
    fn check(&self, statements: &str, expected: &[&str]) {
        self.check_after(statements, |file| file.execute_batch(statements).unwrap(), expected);
    }
}

#[test]
fn a_file_that_nobody_touched_is_sound() {
    let engine = engine();
    let published = wait(engine.store.checkpoint()).unwrap();
    let sound = |checked: &Checked| {
        assert_eq!(lines(checked), Vec::<String>::new());
        assert!(checked.is_sound());
        assert_eq!((checked.operations, checked.wallets, checked.users), (305, 4, 4));
        assert_eq!((checked.keys, checked.root), (2, Some(published.root)));
    };
    sound(&checked(engine.dir(), None));
    sound(&checked(engine.dir(), Some(published)));
    let engine = engine.reopen().unwrap();
    sound(&checked(engine.dir(), None));
    let dir = engine.dir().to_owned();
    engine.store.close();
    sound(&checked(&dir, None));
    let nothing = Engine::with_people(0);
    let checked = checked(nothing.dir(), None);
    assert!(checked.is_sound());
    assert_eq!((checked.operations, checked.root), (0, Some([0; 32])));
}

#[test]
fn a_file_is_sound_while_an_engine_writes_to_it() {
    let engine = Engine::with_people(2);
    engine.fill(3_000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 4;
            while !done.load(Ordering::Relaxed) {
                engine.fill(700);
                engine.sign_up(&format!("{number}@localhost"), Role::Person).unwrap();
                engine.deposit(number, 5).unwrap();
                number += 1;
            }
        });
        let mut operations = 0;
        for _ in 0..12 {
            let published = wait(engine.store.checkpoint()).unwrap();
            let checked = checked(engine.dir(), Some(published));
            assert_eq!(lines(&checked), Vec::<String>::new());
            assert!(checked.operations >= published.operations.max(operations));
            operations = checked.operations;
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn each_column_of_a_row_that_was_changed_is_named_by_its_id() {
    let table = Table::new();
    table.check("", &[]);
    let set = |change: &str, expected: &[&str]| {
        let statement = format!("UPDATE transfer SET {change} WHERE operation_id = 2");
        table.check(&statement, expected);
    };
    let changed = ["operation_changed operation 2"];
    let moved = ["operation_changed operation 2", "operation_does_not_follow operation 2"];
    let unreadable = ["operation_unreadable operation 2"];
    set("amount_minor = amount_minor + 1", &moved);
    set("amount_minor = amount_minor - 1", &moved);
    set("amount_minor = 0", &unreadable);
    set("kind = 1", &["operation_changed operation 2", "operation_against_rules operation 2"]);
    set("kind = 7", &unreadable);
    set("details = 'for nothing'", &changed);
    set("details = NULL", &changed);
    // Read as the service reads a request, these would be the same text as before.
    set("details = details || ' '", &unreadable);
    set("details = char(160) || details", &unreadable);
    set("details = 'two' || char(10) || 'lines'", &unreadable);
    set("details = CAST(X'ff' AS TEXT)", &unreadable);
    set("time_us = time_us + 1", &changed);
    set("time_us = 0", &["operation_changed operation 2", "time_goes_back operation 2"]);
    set("idempotency_key = 'z'", &changed);
    set("idempotency_key = NULL", &changed);
    set("debit_balance_minor = 991", &["operation_does_not_follow operation 2"]);
    set("credit_balance_minor = 9", &["operation_does_not_follow operation 2"]);
    set("debit_balance_minor = -1000000000000000", &unreadable);
    set("debit_previous_id = NULL", &["operation_does_not_follow operation 2"]);
    set("credit_previous_id = 1", &["operation_does_not_follow operation 2"]);
    set("chain = chain + 1", &["operation_changed operation 2", "operation_changed operation 3"]);
    set(
        "credit_wallet_id = 9",
        &[
            "operation_changed operation 2",
            "wallet_unknown operation 2",
            "operation_does_not_follow operation 3",
        ],
    );
    set(
        "operation_id = 1000",
        &[
            "operation_missing operation 2",
            "operation_missing operation 306",
            "time_goes_back operation 1000",
            "operation_does_not_follow operation 1000",
            "sum_not_zero",
        ],
    );
}

#[test]
fn an_external_id_that_was_changed_is_named() {
    let table = Table::new();
    let statement = "UPDATE transfer SET external_id = 'pay-3' WHERE operation_id = 1";
    table.check(statement, &["operation_changed operation 1"]);
    let statement = "UPDATE transfer SET external_id = 'pay-1' WHERE operation_id = 305";
    let expected = ["operation_changed operation 305", "external_id_index"];
    table.check_after(statement, |file| behind_indexes(file, "transfer", statement), &expected);
}

/// Changes a table without its indexes.
fn behind_indexes(file: &Connection, table: &str, change: &str) {
    let path = file.path().unwrap();
    file.execute_batch(&format!(
        "PRAGMA writable_schema = ON;
         CREATE TEMP TABLE kept AS SELECT * FROM sqlite_schema WHERE tbl_name = '{table}';
         DELETE FROM sqlite_schema WHERE type = 'index' AND tbl_name = '{table}';
         UPDATE sqlite_schema SET sql = replace(sql, 'UNIQUE', '') WHERE name = '{table}';"
    ))
    .unwrap();
    Connection::open(path).unwrap().execute_batch(change).unwrap();
    let again = Connection::open(path).unwrap();
    again.execute_batch("PRAGMA writable_schema = ON").unwrap();
    let mut select = file.prepare("SELECT type, name, tbl_name, rootpage, sql FROM kept").unwrap();
    let mut kept = select.query(()).unwrap();
    again.execute("DELETE FROM sqlite_schema WHERE tbl_name = ?", [table]).unwrap();
    while let Some(row) = kept.next().unwrap() {
        let text = |column| row.get::<_, Option<String>>(column).unwrap();
        let page: i64 = row.get(3).unwrap();
        again
            .execute(
                "INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)",
                (text(0), text(1), text(2), page, text(4)),
            )
            .unwrap();
    }
}

#[test]
fn rows_that_are_gone_or_too_many_or_elsewhere_are_named() {
    let table = Table::new();
    let missing = |id| format!("operation_missing operation {id}");
    for id in [1, 2, 3, 100, 256, 257] {
        let copy = table.copy();
        connect(copy.path())
            .execute_batch(&format!("DELETE FROM transfer WHERE operation_id = {id}"))
            .unwrap();
        let found = lines(&checked(copy.path(), None));
        assert_eq!(found[0], missing(id));
        // What was paid there is missing in the sum; nothing else is named.
        let rest: Vec<_> = found[1..].iter().filter(|line| *line != "sum_not_zero").collect();
        assert!(rest.is_empty() || id == 1, "{id}: {found:?}");
    }
    table.check(
        "DELETE FROM transfer WHERE operation_id BETWEEN 10 AND 200",
        &["operation_missing operation 10"],
    );
    // From the end: the rest fits together, but the wallet table knows of what is gone.
    table.check(
        "DELETE FROM transfer WHERE operation_id = 305;
         UPDATE swept SET last_operation_id = 305, balance_minor = 1014 WHERE wallet_id = 2",
        &["wallet_differs wallet 2"],
    );
    // Two rows, each in the other's place.
    table.check(
        "UPDATE transfer SET operation_id = -1 WHERE operation_id = 10;
         UPDATE transfer SET operation_id = 10 WHERE operation_id = 11;
         UPDATE transfer SET operation_id = 11 WHERE operation_id = -1;",
        &[
            "operation_changed operation 10",
            "operation_changed operation 11",
            "operation_changed operation 12",
            "operation_does_not_follow operation 10",
            "operation_does_not_follow operation 11",
            "operation_does_not_follow operation 12",
        ],
    );
    // A row once more, and all after it one further.
    let copy = table.copy();
    connect(copy.path())
        .execute_batch(
            "UPDATE transfer SET operation_id = -operation_id WHERE operation_id > 300;
             UPDATE transfer SET operation_id = 1 - operation_id WHERE operation_id < 0;
             INSERT INTO transfer SELECT 301, kind, debit_wallet_id, credit_wallet_id, amount_minor,
                 debit_balance_minor, credit_balance_minor, debit_previous_id, credit_previous_id,
                 time_us, details, NULL, NULL, chain FROM transfer WHERE operation_id = 300;",
        )
        .unwrap();
    assert_eq!(lines(&checked(copy.path(), None))[0], "operation_changed operation 301");
    table.check(
        "INSERT INTO transfer (kind, debit_wallet_id, credit_wallet_id, amount_minor,
             debit_balance_minor, credit_balance_minor, debit_previous_id, credit_previous_id,
             time_us)
         SELECT 2, 2, 4, 5, credit_balance_minor - 5, 5, 305, NULL, time_us
         FROM transfer WHERE operation_id = 305",
        &["operation_changed operation 306"],
    );
    table.check(
        "INSERT INTO transfer SELECT -5, kind, debit_wallet_id, credit_wallet_id, amount_minor,
             debit_balance_minor, credit_balance_minor, debit_previous_id, credit_previous_id,
             time_us, details, NULL, NULL, chain FROM transfer WHERE operation_id = 300",
        &["operation_stray"],
    );
}

#[test]
fn a_wallet_table_that_does_not_fit_is_named() {
    let table = Table::new();
    // The table lags behind: nothing of it is swept yet.
    table.check(
        "UPDATE swept SET balance_minor = 7 WHERE wallet_id = 2",
        &["wallet_differs wallet 2"],
    );
    table.check(
        "UPDATE swept SET balance_minor = 990, last_operation_id = 2 WHERE wallet_id = 2",
        &[],
    );
    table.check(
        "UPDATE swept SET balance_minor = 991, last_operation_id = 2 WHERE wallet_id = 2",
        &["wallet_differs wallet 2"],
    );
    for last in [4, 306, -1] {
        let statement = format!("UPDATE swept SET last_operation_id = {last} WHERE wallet_id = 2");
        table.check(&statement, &["wallet_differs wallet 2"]);
    }
    // Said to hold everything up to operation 2, but does not.
    table.check(
        "UPDATE ledger SET sweep_operation_id = 2",
        &["wallet_differs wallet 1", "wallet_differs wallet 2", "wallet_differs wallet 3"],
    );
    let swept = "UPDATE ledger SET sweep_operation_id = 2;
                 UPDATE swept SET balance_minor = -1000, last_operation_id = 1 WHERE wallet_id = 1;
                 UPDATE swept SET balance_minor = 10, last_operation_id = 2 WHERE wallet_id = 3;";
    table.check(swept, &["wallet_differs wallet 2"]);
    let later = "UPDATE swept SET balance_minor = 994, last_operation_id = 3 WHERE wallet_id = 2";
    table.check(&format!("{swept}{later}"), &[]);
    let earlier =
        "UPDATE swept SET balance_minor = 1000, last_operation_id = 1 WHERE wallet_id = 2";
    table.check(&format!("{swept}{earlier}"), &["wallet_differs wallet 2"]);
    table.check(
        "UPDATE ledger SET sweep_operation_id = 306",
        &[
            "mark_differs",
            "wallet_differs wallet 1",
            "wallet_differs wallet 2",
            "wallet_differs wallet 3",
        ],
    );
    table.check("INSERT INTO swept_block VALUES (9, zeroblob(16))", &["swept_stray wallet 5"]);
    table.check(
        "REPLACE INTO swept_block VALUES (1, x'00')",
        &["file_damaged", "wallet_differs wallet 1"],
    );
    table.check("UPDATE wallet SET system = 1 WHERE wallet_id = 2", &["wallet_kind wallet 2"]);
    table.check("UPDATE wallet SET system = 0 WHERE wallet_id = 1", &["wallet_kind wallet 1"]);
    table.check("UPDATE wallet SET user_id = 3 WHERE wallet_id = 2", &["wallet_owner wallet 2"]);
    table.check("DELETE FROM wallet WHERE wallet_id = 2", &["wallet_missing wallet 2"]);
    table.check("DELETE FROM wallet WHERE wallet_id = 4", &["user_stray user 4"]);
    table.check(
        "UPDATE wallet SET wallet_id = 5000000000 WHERE wallet_id = 4",
        &["wallet_missing wallet 4", "user_stray user 4"],
    );
}

#[test]
fn users_that_do_not_fit_are_named() {
    let table = Table::new();
    table.check("UPDATE user SET wallet_id = 3 WHERE user_id = 2", &["user_wallet user 2"]);
    table.check("UPDATE user SET role = 'bank' WHERE user_id = 2", &["user_role user 2"]);
    table.check("UPDATE user SET role = 'person' WHERE user_id = 1", &["user_role user 1"]);
    table.check("DELETE FROM user WHERE user_id = 2", &["user_missing user 2"]);
    table.check(
        "DELETE FROM user WHERE user_id = 4",
        &["user_missing user 4", "sign_up_differs user 4"],
    );
    table.check(
        "INSERT INTO user VALUES (9, 2, 'person', 'n', 'e', 'e', '-', 0)",
        &["user_stray user 9"],
    );
    // Two of one e-mail address, behind the index's back.
    let double = "UPDATE user SET email_key = '2@localhost' WHERE user_id = 3";
    table.check_after(double, |file| behind_indexes(file, "user", double), &["table_damaged"]);
}

#[test]
fn blocks_refusals_and_the_schema_are_checked_too() {
    let table = Table::new();
    table.check("DELETE FROM chain_block", &["block_missing operation 1"]);
    table.check("UPDATE chain_block SET root = zeroblob(32)", &["block_changed operation 1"]);
    table.check("INSERT INTO chain_block VALUES (2, zeroblob(32))", &["block_stray"]);
    table.check("UPDATE refusal SET code = 'because'", &["refusal_unreadable"]);
    table.check("UPDATE refusal SET amount_minor = -1", &["refusal_unreadable"]);
    table.check("UPDATE refusal SET idempotency_key = ''", &["refusal_unreadable"]);
    let again = "INSERT INTO refusal SELECT NULL, kind, debit_wallet_id, credit_wallet_id, amount_minor, time_us,
                     details, 'd', external_id, code FROM refusal;";
    table.check(again, &[]);
    let earlier = "UPDATE refusal SET time_us = time_us - 1 WHERE idempotency_key = 'd'";
    table.check(&format!("{again}{earlier}"), &["time_goes_back"]);
    table.check(
        "CREATE TRIGGER thief AFTER INSERT ON transfer BEGIN UPDATE wallet SET opened_us = 0; END",
        &["schema_differs"],
    );
    table.check("DROP INDEX transfer_external_id", &["schema_differs"]);
    table.check("UPDATE ledger SET exponent = 0", &["ledger_differs"]);
    // A start would refuse these.
    table.check("UPDATE ledger SET key_window_us = -1", &["ledger_differs"]);
    table.check("UPDATE ledger SET sweep_operation_id = -1", &["mark_differs"]);
    table.check("DROP VIEW statement; CREATE VIEW statement AS SELECT 1", &["schema_differs"]);
}

/// What stands in the chain for the lack of a key, as docs/data-file.md has it.
#[test]
fn a_list_of_free_pages_that_names_one_twice_is_damaged() {
    let copy = Table::new().copy();
    let file = copy.path().join("kopeck.db");
    change_free_pages(&file, |pages| pages);
    assert!(checked(copy.path(), None).is_sound());
    change_free_pages(&file, |[_, second]| [second; 2]);
    let found = lines(&checked(copy.path(), None));
    assert!(!found.is_empty() && found.iter().all(|code| code == "table_damaged"), "{found:?}");
}

fn blind(file: &Connection, operation: u64) -> u64 {
    let secret: [u8; 16] =
        file.query_row("SELECT key_secret FROM ledger", (), |row| row.get(0)).unwrap();
    let mut hasher = siphasher::sip::SipHasher13::new_with_key(&secret);
    std::hash::Hasher::write(&mut hasher, &operation.to_be_bytes());
    std::hash::Hasher::finish(&hasher)
}

/// The file's own secret and rows, as an attacker who has the file sees them: the links after a
/// changed row are made again, up to an operation.
fn relink(file: &Connection, from: u64, upto: u64) {
    let previous = |id: u64| -> u64 {
        let select = "SELECT chain FROM transfer WHERE operation_id = ?";
        let link: i64 =
            file.query_row(select, [id.cast_signed()], |row| row.get(0)).unwrap_or_default();
        link.cast_unsigned()
    };
    for id in from..=upto {
        let key_mark = blind(file, id);
        let record: Record = file
            .query_row(
                "SELECT kind, debit_wallet_id, credit_wallet_id, amount_minor, time_us, details
                 FROM transfer WHERE operation_id = ? AND idempotency_key IS NULL",
                [id.cast_signed()],
                |row| {
                    let kind: i64 = row.get(0)?;
                    Ok(Record {
                        operation: OperationId::new(id).unwrap(),
                        kind: match kind {
                            1 => OperationKind::Deposit,
                            _ => OperationKind::Transfer,
                        },
                        debit: wallet(row.get(1)?),
                        credit: wallet(row.get(2)?),
                        amount: Amount::from_minor(row.get(3)?).unwrap(),
                        currency: Currency::parse("RUB").unwrap(),
                        time: Timestamp::from_micros(row.get(4)?),
                        key_mark,
                        details: Details::parse(&row.get::<_, String>(5)?).unwrap(),
                        external_id: None,
                    })
                },
            )
            .unwrap();
        let link = link_after(previous(id - 1), &record).cast_signed();
        file.execute("UPDATE transfer SET chain = ? WHERE operation_id = ?", (link, id)).unwrap();
    }
}

#[test]
fn who_makes_the_links_again_is_found_by_the_next_row_the_block_or_the_checkpoint() {
    let table = Table::new();
    let noted = |file: &Connection, upto: u64| {
        let statement = "UPDATE transfer SET details = 'a lie' WHERE operation_id = 50";
        file.execute_batch(statement).unwrap();
        relink(file, 50, upto);
    };
    table.check_after("one", |file| noted(file, 50), &["operation_changed operation 51"]);
    table.check_after("a few", |file| noted(file, 60), &["operation_changed operation 61"]);
    table.check_after(
        "the block's",
        |file| noted(file, 256),
        &["block_changed operation 1", "operation_changed operation 257"],
    );
    // All of them, and the block: then the file agrees with itself, and only who has kept a
    // checkpoint knows.
    let engine = Engine::with_people(2);
    engine.fill(300);
    let published = wait(engine.store.checkpoint()).unwrap();
    engine.fill(10);
    engine.store.close();
    let file = connect(engine.dir());
    assert!(checked(engine.dir(), Some(published)).is_sound());
    noted(&file, 310);
    assert_eq!(lines(&checked(engine.dir(), None)), ["block_changed operation 1"]);
    file.execute("UPDATE chain_block SET root = ?", [block_root(&file)]).unwrap();
    assert_eq!(lines(&checked(engine.dir(), None)), Vec::<String>::new());
    assert_eq!(lines(&checked(engine.dir(), Some(published))), ["checkpoint_differs"]);
    // A file that is shorter than what was published has lost something.
    let later = Checkpoint { operations: 311, ..published };
    assert_eq!(lines(&checked(engine.dir(), Some(later))), ["checkpoint_differs"]);
}

/// The Merkle root over the first block.
fn block_root(file: &Connection) -> [u8; 32] {
    let mut select = file
        .prepare("SELECT operation_id, amount_minor, time_us, details FROM transfer LIMIT 256")
        .unwrap();
    let mut chain = Chain::new(Currency::parse("RUB").unwrap());
    let mut root = None;
    let mut rows = select.query(()).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let side = |number| Side { wallet: wallet(number), balance: Balance::ZERO, previous: None };
        let transfer = Transfer {
            id: OperationId::new(row.get(0).unwrap()).unwrap(),
            kind: OperationKind::Deposit,
            debit: side(1),
            credit: side(3),
            amount: Amount::from_minor(row.get(1).unwrap()).unwrap(),
            details: Details::parse(&row.get::<_, String>(3).unwrap()).unwrap(),
            external_id: None,
            time: Timestamp::from_micros(row.get(2).unwrap()),
        };
        let mark = blind(file, transfer.id.get());
        root = chain.extend(&transfer, mark).1.map(|block| block.root);
    }
    root.unwrap()
}

#[test]
fn money_that_is_made_in_step_is_found_by_the_chain_and_the_rules() {
    let table = Table::new();
    // Both balances of a row shifted, and all later ones of both wallets with them.
    table.check(
        "UPDATE transfer SET debit_balance_minor = debit_balance_minor + 5
             WHERE operation_id >= 2 AND debit_wallet_id = 2;
         UPDATE transfer SET credit_balance_minor = credit_balance_minor + 5
             WHERE operation_id >= 2 AND credit_wallet_id = 2;",
        &[
            "operation_does_not_follow operation 2",
            "operation_does_not_follow operation 3",
            "operation_does_not_follow operation 304",
            "operation_does_not_follow operation 305",
        ],
    );
    // An amount, with the balances that follow from it.
    table.check(
        "UPDATE transfer SET amount_minor = amount_minor + 1,
             debit_balance_minor = debit_balance_minor - 1,
             credit_balance_minor = credit_balance_minor + 1 WHERE operation_id = 305;",
        &["operation_changed operation 305"],
    );
}

#[test]
fn a_key_that_took_effect_twice_is_named() {
    let engine = engine();
    // As an engine would do it that had forgotten the key.
    engine.submit(keyed(submission(OperationKind::Transfer, 2, 3, 10), "d")).decision.unwrap();
    engine.submit(keyed(submission(OperationKind::Transfer, 2, 3, 10), "e")).decision.unwrap();
    engine.store.close();
    let double = |key: &str, gap_us: i64| {
        connect(engine.dir())
            .execute(
                "UPDATE transfer SET idempotency_key = ?, time_us = time_us + ?
                 WHERE operation_id = 307",
                (key, gap_us),
            )
            .unwrap();
        lines(&checked(engine.dir(), None))
    };
    let changed = "operation_changed operation 307";
    assert_eq!(double("e", 0), Vec::<String>::new());
    assert_eq!(double("d", 0), [changed, "key_doubled operation 307"]);
    assert_eq!(double("d", 86_399_000_000), [changed, "key_doubled operation 307"]);
    assert_eq!(double("d", 2_000_000), [changed], "a day later it may be used again");
}

#[test]
fn a_file_that_cannot_be_read_is_damaged_or_refused() {
    let table = Table::new();
    let copy = table.copy();
    let file = copy.path().join("kopeck.db");
    // A page in the middle of the rows.
    let page: i64 = connect(copy.path())
        .query_row(
            "SELECT pageno FROM dbstat WHERE name = 'transfer' AND pagetype = 'leaf' LIMIT 1 OFFSET 2",
            (),
            |row| row.get(0),
        )
        .unwrap_or(8);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = usize::try_from(page - 1).unwrap() * 4_096;
    bytes[at..at + 100].fill(0xff);
    std::fs::write(&file, &bytes).unwrap();
    let found = checked(copy.path(), None);
    assert!(!found.is_sound());
    assert!(lines(&found)[0].starts_with("file_damaged"), "{found:?}");
    // SQLite says the same where the disk cannot read the page.
    let may_be_the_disk = "malformed, or the disk cannot read it";
    assert!(found.damages.iter().any(|it| it.detail.contains(may_be_the_disk)), "{found:?}");
    let export = Export::open(copy.path()).unwrap();
    let newest = export.newest().unwrap();
    let error = export.operations(newest, |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains(may_be_the_disk), "{error}");
    let refused = |dir: &Path| {
        let failed = check(&Check { data: dir, published: None }, &Unwatched).unwrap_err();
        assert!(!dir.join("kopeck.lock").exists());
        failed
    };
    let empty = TempDir::new().unwrap();
    assert!(matches!(refused(empty.path()), CheckError::NotThere(_)));
    connect(empty.path()).execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(refused(empty.path()).to_string().contains("not kopeck's"));
    let copy = table.copy();
    connect(copy.path()).execute_batch("PRAGMA user_version = 1").unwrap();
    assert!(matches!(refused(copy.path()), CheckError::Older(_)));
    connect(copy.path()).execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(refused(copy.path()).to_string().contains("newer"));
}

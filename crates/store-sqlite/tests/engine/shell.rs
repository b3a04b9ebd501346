//! The file as a person with the `sqlite3` shell sees it, while the engine runs.

use crate::support::{Engine, connect};

#[test]
fn the_statement_view_shows_a_history_in_units_whatever_the_sweep_has_done() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 11_560).unwrap();
    engine.transfer(2, 3, 1_110).unwrap();
    let rows = |engine: &Engine, wallet: u64| -> Vec<String> {
        let file = connect(engine.dir());
        let mut select = file
            .prepare(
                "SELECT operation_id || ' ' || type || ' ' || amount || ' ' || balance || ' '
                     || currency || ' ' || counterparty_wallet_id || ' ' || details
                 FROM statement WHERE wallet_id = ?",
            )
            .unwrap();
        let rows = select.query_map([wallet.cast_signed()], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let of_two =
        ["2 transfer_out -11.10 104.50 RUB 3 за чай", "1 deposit +115.60 115.60 RUB 1 за чай"];
    assert_eq!(rows(&engine, 2), of_two);
    assert_eq!(rows(&engine, 3), ["2 transfer_in +11.10 11.10 RUB 2 за чай"]);
    assert_eq!(rows(&engine, 1), ["1 deposit -115.60 -115.60 RUB 2 за чай"]);
    let swept = |engine: &Engine| -> Vec<(i64, Option<i64>)> {
        let file = connect(engine.dir());
        let mut select =
            file.prepare("SELECT balance_minor, last_operation_id FROM swept").unwrap();
        let rows = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(swept(&engine), [(0, None); 3]);
    // The clean stop has swept everything; then there is something new again.
    let engine = engine.reopen().unwrap();
    assert_eq!(swept(&engine), [(-11_560, Some(1)), (10_450, Some(2)), (1_110, Some(2))]);
    assert_eq!(rows(&engine, 2), of_two);
    engine.transfer(2, 3, 1).unwrap();
    assert_eq!(rows(&engine, 2)[0], "3 transfer_out -0.01 104.49 RUB 3 за чай");
    assert_eq!(rows(&engine, 2).len(), 3);
}

#[test]
fn times_are_written_as_rfc_3339() {
    let engine = Engine::with_people(1);
    let receipt = engine.deposit(2, 1).unwrap();
    let time: String = connect(engine.dir())
        .query_row("SELECT time FROM statement WHERE wallet_id = 2", (), |row| row.get(0))
        .unwrap();
    assert_eq!(time.len(), "2026-01-01T00:00:00.000000Z".len());
    let micros = receipt.time.micros() % 1_000_000;
    assert!(time.ends_with(&format!(".{micros:06}Z")), "{time}");
}

#[test]
fn a_reader_that_stays_does_not_stop_the_writer() {
    let engine = Engine::with_people(1);
    engine.deposit(2, 1).unwrap();
    let file = connect(engine.dir());
    file.execute_batch("BEGIN; SELECT count(*) FROM transfer;").unwrap();
    for _ in 0..50 {
        engine.deposit(2, 1).unwrap();
    }
    let seen: i64 = file.query_row("SELECT count(*) FROM transfer", (), |row| row.get(0)).unwrap();
    assert_eq!(seen, 1, "a reader sees one state");
    assert_eq!(engine.balance(2), 51);
}

/// The queries of docs/data-file.md, as they stand there.
#[test]
fn the_documented_queries_answer() {
    let engine = Engine::with_people(2);
    engine.deposit(2, 11_560).unwrap();
    engine.transfer(2, 3, 1_110).unwrap();
    let file = connect(engine.dir());
    let page = include_str!("../../../../docs/data-file.md");
    let queries: Vec<String> = page
        .split("\n\n")
        .filter(|block| block.starts_with("    SELECT") || block.starts_with("    WITH"))
        .map(|query| query.replace("test1@localhost.ru", "2@localhost"))
        .collect();
    let rows = |query: &String| -> Vec<String> {
        let mut select = file.prepare(query).unwrap();
        let last = select.column_count() - 1;
        let rows = select.query_map((), |row| {
            let value: rusqlite::types::Value = row.get(last)?;
            Ok(format!("{value:?}"))
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    let answers: Vec<_> = queries.iter().map(rows).collect();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0].len(), 2);
    assert_eq!(answers[1], ["Text(\"104.50\")"]);
    assert_eq!(answers[2], Vec::<String>::new());
    // The last one is worth its name: it finds what it is there to find.
    file.execute("UPDATE transfer SET amount_minor = 1111 WHERE operation_id = 2", ()).unwrap();
    assert_eq!(rows(&queries[2]), ["Integer(2)", "Integer(2)"]);
}

//! SIGKILL in the middle of load: what was acknowledged is there, whatever moment it hits.
//!
//! The child is this test binary again, told by its environment to be one.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ledger::{Ledger, OperationKind, Page, People, Role};
use tempfile::TempDir;

use crate::support::{connect, new_user, open, submission, wait, wallet};

const CHILD: &str = "KOPECK_TEST_KILLED_CHILD";
const WALLETS: u64 = 20;
const KILLS: u64 = 10;

/// Not a test of its own: the load that is killed. Prints each acknowledged operation.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let (store, recovered) = open(Path::new(&dir)).unwrap();
    for number in recovered.wallets + 1..=WALLETS {
        let role = if number == 1 { Role::Bank } else { Role::Person };
        wait(store.sign_up(new_user(&format!("{number}@localhost"), role), None)).unwrap().unwrap();
    }
    let mut number = recovered.operations;
    loop {
        let batch: Vec<_> = (0..100)
            .map(|_| {
                number += 1;
                match number % 7 {
                    0 => submission(OperationKind::Deposit, 1, 2 + number % 19, 1_000),
                    step => submission(
                        OperationKind::Transfer,
                        2 + (number * step) % 19,
                        2 + (number * 5 + 1) % 19,
                        (number % 50 + 1).cast_signed(),
                    ),
                }
            })
            .collect();
        let outcomes = wait(store.submit(batch)).unwrap();
        let mut lines = String::new();
        for receipt in outcomes.iter().flat_map(|outcome| &outcome.decision) {
            let transfer = receipt;
            lines += &format!(
                "ok {} {} {} {}\n",
                transfer.id,
                transfer.debit.wallet,
                transfer.credit.wallet,
                transfer.amount.minor()
            );
        }
        // One write, so that a kill leaves at most the last line cut short.
        if std::io::stdout().write_all(lines.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn everything_acknowledged_is_there_after_every_kill() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = BTreeMap::new();
    for kill in 0..KILLS {
        let before = acknowledged.len();
        run_and_kill(dir.path(), Duration::from_millis(40 + kill * 37 % 200), &mut acknowledged);
        assert!(acknowledged.len() > before, "the child did nothing");
        check(dir.path(), &acknowledged);
    }
}

fn run_and_kill(dir: &Path, after: Duration, acknowledged: &mut BTreeMap<i64, [i64; 3]>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("ok") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended by itself");
    }
    let killer = std::thread::spawn(move || {
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    loop {
        let whole = line.ends_with('\n');
        let fields: Vec<i64> =
            line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        if let (true, true, [id, debit, credit, minor]) = (whole, line.starts_with("ok"), &*fields)
        {
            let clash = acknowledged.insert(*id, [*debit, *credit, *minor]);
            assert_eq!(clash, None, "operation {id} was acknowledged twice");
        }
        line.clear();
        if output.read_line(&mut line).unwrap() == 0 {
            break;
        }
    }
    killer.join().unwrap();
}

fn check(dir: &Path, acknowledged: &BTreeMap<i64, [i64; 3]>) {
    let (store, recovered) = open(dir).unwrap();
    // Two slices of the sweep and the batches that make them due.
    assert!(recovered.replayed <= 2 * 2_048 + 2 * 100, "{recovered:?}");
    let file = connect(dir);
    let mut select = file
        .prepare(
            "SELECT operation_id, debit_wallet_id, credit_wallet_id, amount_minor FROM transfer",
        )
        .unwrap();
    let mut balances = BTreeMap::<i64, i64>::new();
    let mut found = BTreeMap::new();
    let rows = select
        .query_map((), |row| {
            Ok((row.get::<_, i64>(0)?, [row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?]))
        })
        .unwrap();
    for (id, fields) in rows.map(Result::unwrap) {
        let [debit, credit, minor] = fields;
        let left = balances.entry(debit).or_default();
        *left -= minor;
        assert!(debit == 1 || *left >= 0, "operation {id} overdrew wallet {debit}");
        *balances.entry(credit).or_default() += minor;
        found.insert(id, fields);
    }
    assert_eq!(recovered.operations, found.len() as u64);
    for (id, fields) in acknowledged {
        assert_eq!(found.get(id), Some(fields), "operation {id} was acknowledged");
    }
    assert_eq!(balances.values().sum::<i64>(), 0);
    for number in 1..=WALLETS {
        let page = Page { from: None, limit: 1 };
        let statement = wait(store.statement(wallet(number), page)).unwrap().unwrap();
        let expected = balances.get(&number.cast_signed()).copied().unwrap_or_default();
        assert_eq!(statement.balance.minor(), expected, "wallet {number}");
    }
    store.close();
}

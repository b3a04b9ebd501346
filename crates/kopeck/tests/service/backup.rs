//! `kopeck backup`, `kopeck restore`, `kopeck export`: the real binary beside a service under load.
//!
//! The short form runs with the others. The long one, as many times as you like:
//! `KOPECK_BACKUPS=100 cargo test -p kopeck --test service -- --nocapture backup::restored`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use serde_json::Value;

use crate::harness::{Person, Service, kopeck};

/// How many backups are made and restored when nothing else is said.
const BACKUPS: u64 = 5;
const PEOPLE: u64 = 4;

/// Runs the command in a directory, whose data are the service's there.
fn run(home: &Path, arguments: &[&str]) -> Output {
    kopeck(home).args(arguments).output().unwrap()
}

#[track_caller]
fn ok(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "nothing is drawn where there is no terminal");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// Everybody pays the next one until told to stop; how many were acknowledged.
async fn load(people: &[Person], stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) {
    let paying = people.iter().zip(0..).map(|(person, number)| {
        let client = person.client.clone();
        let to = 2 + (number + 1) % PEOPLE;
        let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            while !stop.load(SeqCst) {
                client.transfer(to, "0.01").await.expect_ok();
                acknowledged.fetch_add(1, SeqCst);
            }
        })
    });
    for task in paying.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_at_random_points_under_load_it_is_a_prefix() {
    let count = std::env::var("KOPECK_BACKUPS").map_or(BACKUPS, |count| count.parse().unwrap());
    let service = Service::start();
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(service.sign_up_with(&format!("p{number}"), "1000").await);
    }
    let home = service.data().parent().unwrap().to_owned();
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let loading = tokio::spawn({
        let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        async move { load(&people, stop, acknowledged).await }
    });
    let mut restored = Vec::new();
    for number in 0..count {
        // Something new each time, so that no two backups are of one state.
        let before = acknowledged.load(SeqCst);
        while acknowledged.load(SeqCst) < before + 1 + number * 7 % 13 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let before = PEOPLE + acknowledged.load(SeqCst);
        let (home, file) = (home.clone(), format!("backup-{number}.db"));
        let histories = tokio::task::spawn_blocking(move || {
            let said = ok(&home, &["backup", &file, "--json"]);
            let said: Value = serde_json::from_str(&said).unwrap();
            let operations = said["operations"].as_u64().unwrap();
            assert!(operations >= before, "acknowledged before the backup began, so it is in it");
            assert_eq!(said["wallets"], 1 + PEOPLE);
            let data = format!("restored-{number}");
            ok(&home, &["restore", &file, "--data", &data, "--json"]);
            let histories = ok(&home, &["export", "--all", "--format", "jsonl", "--data", &data]);
            assert_eq!(histories.lines().count() as u64, operations);
            (operations, histories)
        });
        restored.push(histories.await.unwrap());
    }
    stop.store(true, SeqCst);
    loading.await.unwrap();
    let last = ok(&home, &["export", "--all", "--format", "jsonl"]);
    assert_eq!(last.lines().count() as u64, PEOPLE + acknowledged.load(SeqCst));
    for (operations, histories) in &restored {
        assert!(last.starts_with(histories), "{operations} operations are no prefix");
    }
    for number in 0..count {
        // Each is sound, and the service's own book, chain and all, begins with it.
        let data = format!("restored-{number}");
        ok(&home, &["check", "--data", &data]);
        let checkpoint = ok(&home, &["checkpoint", "--data", &data]);
        std::fs::write(home.join("checkpoint"), checkpoint).unwrap();
        ok(&home, &["check", "--checkpoint", "checkpoint"]);
    }
    let counts: Vec<u64> = restored.iter().map(|(operations, _)| *operations).collect();
    assert!(counts.is_sorted_by(|one, next| one < next), "each is of a state of its own");
    println!("{count} backups restored, of so many operations: {counts:?}");
    let data = home.join(format!("restored-{}", count - 1));
    starts_on(&service, &data, &restored[restored.len() - 1].1).await;
}

/// The service starts on restored data, everybody has what the history says, and it goes on.
async fn starts_on(service: &Service, data: &Path, histories: &str) {
    let restored = service.start_again_with(&["--data", data.to_str().unwrap()]);
    let mut balances = BTreeMap::new();
    for line in histories.lines() {
        // By its text: a float has no place here.
        let row: BTreeMap<String, &serde_json::value::RawValue> =
            serde_json::from_str(line).unwrap();
        for side in ["debit", "credit"] {
            let wallet: u64 = row[&format!("{side}_wallet_id")].get().parse().unwrap();
            balances.insert(wallet, row[&format!("{side}_balance")].get().to_owned());
        }
    }
    for number in 0..PEOPLE {
        let client = restored.client();
        client.log_in(&format!("p{number}@example.org")).await;
        assert_eq!(&client.balance().await, &balances[&(2 + number)]);
    }
    let bank = restored.bank().await;
    let done = bank.deposit(2, "1").await.expect_ok();
    assert_eq!(done.body["operation_id"], 1 + histories.lines().count() as u64);
}

#[tokio::test]
async fn what_the_commands_refuse_is_said_in_a_sentence() {
    let mut service = Service::start();
    let anna = service.sign_up_with("anna", "5").await;
    let home = service.data().parent().unwrap().to_owned();
    let said = ok(&home, &["backup", "one.db"]);
    assert!(said.starts_with("Backed up to one.db, checked.\n  operations  1 "), "{said}");
    assert!(refused(&home, &["backup", "one.db"]).contains("one.db is there already"));
    ok(&home, &["backup", "one.db", "--force"]);
    assert!(refused(&home, &["backup", "data/one.db"]).contains("lies in a data directory"));
    assert!(refused(&home, &["backup", "two.db", "--data", "no"]).contains("no data file"));
    assert!(refused(&home, &["restore", "one.db"]).contains("in use by another kopeck"));
    assert!(refused(&home, &["restore", "no.db", "--data", "new"]).contains("no data file"));
    let said = ok(&home, &["restore", "one.db", "--data", "new"]);
    assert!(said.contains("everybody logs in anew"), "{said}");
    assert!(refused(&home, &["restore", "one.db", "--data", "new"]).contains("is there already"));
    let said = ok(&home, &["restore", "one.db", "--data", "as-json", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["data"], &said["file"]), (&Value::from("as-json"), &Value::Null));
    assert!(refused(&home, &["export", "--wallet", "9"]).contains("there is no wallet 9"));
    // Nor into the folder of a data file whose name is a link.
    for folder in ["disk", "linked"] {
        std::fs::create_dir(home.join(folder)).unwrap();
    }
    std::fs::copy(home.join("one.db"), home.join("disk/book.db")).unwrap();
    std::os::unix::fs::symlink("../disk/book.db", home.join("linked/kopeck.db")).unwrap();
    for command in
        [&["backup", "disk/book.db"][..], &["export", "--all", "--output", "disk/book.db"]]
    {
        let said = refused(&home, &[command, &["--data", "linked", "--force"]].concat());
        assert!(said.contains("lies in a data directory"), "{said}");
    }

    // A session outlives a restore only if it is asked to.
    service.kill();
    ok(&home, &["restore", "one.db", "--data", "kept", "--keep-sessions"]);
    for (data, status) in [("new", 401), ("kept", 200)] {
        let restored = service.start_again_with(&["--data", data]);
        let client = restored.resume(&anna.client);
        assert_eq!(client.get("/api/wallet").await.status, status, "{data}");
    }
}

#[tokio::test]
async fn exports_are_files_or_streams() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "5").await;
    anna.client.transfer(1, "1.5").await.expect_ok();
    let home = service.data().parent().unwrap().to_owned();
    let rows = |text: &str| -> Vec<String> {
        let rows = text.split_terminator("\r\n").skip(1);
        rows.map(|row| row.rsplit_once(',').unwrap().0.to_owned()).collect()
    };
    let of_anna = ok(&home, &["export", "--wallet", "2"]);
    let oldest_first = ["1,deposit,5.00,5.00,RUB,1,,", "2,transfer_out,1.50,3.50,RUB,1,,"];
    assert_eq!(rows(&of_anna), oldest_first);
    // The same columns and rows as a person gets from the API, the other way round.
    let mut statement = rows(&anna.client.get("/api/statement.csv").await.expect_ok().text);
    statement.reverse();
    assert_eq!(statement, oldest_first);
    let all = ok(&home, &["export", "--all"]);
    assert_eq!(
        rows(&all),
        ["1,deposit,1,2,5.00,-5.00,5.00,RUB,,", "2,transfer,2,1,1.50,3.50,-3.50,RUB,,"]
    );

    assert_eq!(ok(&home, &["export", "--all", "--bom", "--output", "all.csv"]), "");
    assert_eq!(std::fs::read_to_string(home.join("all.csv")).unwrap(), format!("\u{feff}{all}"));
    let again = ["export", "--all", "--output", "all.csv"];
    assert!(refused(&home, &again).contains("all.csv: is there already"));
    ok(&home, &[&again[..], &["--force"]].concat());
    assert_eq!(std::fs::read_to_string(home.join("all.csv")).unwrap(), all);
    assert_eq!(run(&home, &["export"]).status.code(), Some(2), "whose history?");
    assert_eq!(run(&home, &["export", "--all", "--wallet", "2"]).status.code(), Some(2));
    // Whoever reads may stop: `head` does.
    let head =
        format!("set -o pipefail; '{}' export --all | head -c 1", env!("CARGO_BIN_EXE_kopeck"));
    let head = std::process::Command::new("bash")
        .args(["-c", &head])
        .env("KOPECK_DATA", service.data())
        .output()
        .unwrap();
    assert!(head.status.success() && head.stderr.is_empty(), "{head:?}");
}

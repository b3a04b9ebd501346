//! Storage that fails, seen from outside: a disk that breaks, a disk that is full.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Client, PASSWORD, Service, kopeck};

/// Pays in one rouble at a time until it is not answered with OK; how often it was, and the answer.
async fn pay_until_refused(bank: &Client, wallet: u64) -> (u64, crate::harness::Answer) {
    for paid in 0.. {
        let answer = bank.deposit(wallet, "1").await;
        if answer.status != 200 {
            return (paid, answer);
        }
    }
    unreachable!("it ends by returning")
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_it_says_unknown_ends_and_recovers() {
    let mut service = Service::start_with_files_of_at_most(400);
    let anna = service.sign_up("anna").await;
    let bank = service.bank().await;
    let (paid, answer) = pay_until_refused(&bank, anna.wallet).await;
    assert!(paid > 0);
    let answer = answer.expect_problem(503, "outcome_unknown");
    assert_eq!(answer.header("retry-after"), "", "what retries by itself could pay twice");
    assert!(!service.wait().success(), "it ends with a status that says so");
    let halted =
        "the engine halted; the service stops. The next start recovers, or names what is damaged";
    assert!(service.log().contains(halted), "{}", service.log());

    // Without the limit it recovers: what was acknowledged, and at most the one that is unknown.
    let service = service.start_again();
    let balance = service.bank().await.balance().await;
    let expected = [format!("-{paid}.00"), format!("-{}.00", paid + 1)];
    assert!(expected.contains(&balance), "{balance} after {paid}");
    service.bank().await.deposit(anna.wallet, "1").await.expect_ok();
}

/// A small file system of its own, unmounted when it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this may not be done: it takes root.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "kopeck-test"])
            .arg(dir.path())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_reads_on_and_resumes_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("NOT TESTED: a full disk. Mounting a small file system takes root.");
        return;
    };
    let data = disk.path().join("data");
    let mut service = Service::start_with(&["--data", data.to_str().unwrap()]);
    let anna = service.sign_up("anna").await;
    let bank = service.bank().await;
    bank.deposit(anna.wallet, "1").await.expect_ok();

    // Somebody else fills the disk, but for a little.
    let ballast = disk.path().join("ballast");
    let fill = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k", &format!("of={}", ballast.display())])
        .output()
        .unwrap();
    assert!(!fill.status.success(), "dd ends when the disk is full");
    let (paid, answer) = pay_until_refused(&bank, anna.wallet).await;
    let answer = answer.expect_problem(503, "storage_full");
    assert_ne!(answer.header("retry-after"), "");
    let log = service.log();
    assert!(log.contains("could not be committed") && log.contains("the disk is full"), "{log}");
    for _ in 0..3 {
        bank.deposit(anna.wallet, "1").await.expect_problem(503, "storage_full");
        assert_eq!(anna.client.balance().await, format!("{}.00", paid + 1), "reads go on");
    }
    // Started again on the full disk, it still reads and refuses.
    let paid_before = format!("{}.00", paid + 1);
    service.kill();
    let mut service = service.start_again();
    let bank = service.resume(&bank);
    let anna_client = service.resume(&anna.client);
    assert_eq!(anna_client.balance().await, paid_before);
    // The log went into the data file, so there may be a little room again.
    let (more, answer) = pay_until_refused(&bank, anna.wallet).await;
    answer.expect_problem(503, "storage_full");
    let paid = paid + more;
    std::fs::remove_file(ballast).unwrap();
    bank.deposit(anna.wallet, "1").await.expect_ok();
    assert_eq!(anna_client.balance().await, format!("{}.00", paid + 2));
    service.kill();
    let service = service.start_again();
    assert_eq!(service.bank().await.balance().await, format!("-{}.00", paid + 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_file_that_another_program_holds_is_said_to_be_and_let_go_of_again() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "1").await;
    let bank = service.bank().await;
    let shell = rusqlite::Connection::open(service.data().join("kopeck.db")).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = bank.deposit(anna.wallet, "1").await.expect_problem(503, "data_file_locked");
    assert_ne!(refused.header("retry-after"), "");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("another program holds the data file; nothing was done"),
        "{detail}"
    );
    let log = service.log();
    assert!(
        log.contains("could not be committed") && log.contains("another program holds"),
        "{log}"
    );
    assert_eq!(anna.client.balance().await, "1.00", "reads go on");
    shell.execute_batch("ROLLBACK").unwrap();
    bank.deposit(anna.wallet, "1").await.expect_ok();
    assert!(service.log().contains("batches are committed again"), "{}", service.log());
    assert_eq!(anna.client.balance().await, "2.00");
}

/// What cannot be written, for whatever reason, is told of once: the log may be on the disk that is full.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_whose_use_cannot_be_noted_fill_no_log() {
    let mut service = Service::start_with(&["--sessions-cached", "1"]);
    let people = [service.sign_up("anna").await, service.sign_up("boris").await];
    service.stop();
    let shell = rusqlite::Connection::open(service.data().join("kopeck.db")).unwrap();
    shell.execute_batch("UPDATE session SET seen_us = seen_us - 3600000000").unwrap();
    let service = service.start_again();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..3 {
        for person in &people {
            assert_eq!(service.resume(&person.client).balance().await, "0.00");
        }
    }
    let refused = || service.log().contains("another program holds the data file");
    for _ in 0..100 {
        if refused() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    shell.execute_batch("ROLLBACK").unwrap();
    service.sign_up("carl").await;
    assert!(refused() && !service.log().contains("a session was used"), "{}", service.log());
}

/// Nothing was done, it says, so the session is as it was: also for whoever wanted another in its place, or
/// wanted it closed and asks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_the_log_in_and_the_log_out_that_were_refused() {
    let service = Service::start();
    let email = service.sign_up("anna").await.email;
    let claim = json!({"email": email, "password": PASSWORD});
    let logged_in = service.client().post("/api/login", &claim).await.expect_ok();
    let cookie = logged_in.header("set-cookie").split(';').next().unwrap();
    let ask = async |service: &Service, method, path, body: &Value| {
        let client = service.client();
        let request = client.request(method, path).header("cookie", cookie).json(body);
        client.send(request).await
    };
    let nothing = Value::Null;
    let shell = rusqlite::Connection::open(service.data().join("kopeck.db")).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    for (path, body) in [("/api/login", &claim), ("/api/logout", &nothing)] {
        let refused = ask(&service, "POST", path, body).await;
        refused.expect_problem(503, "data_file_locked");
        ask(&service, "GET", "/api/wallet", &nothing).await.expect_ok();
    }
    shell.execute_batch("ROLLBACK").unwrap();
    ask(&service, "POST", "/api/logout", &nothing).await.expect_ok();
    let service = service.kill_and_start_again();
    let gone = ask(&service, "GET", "/api/wallet", &nothing).await;
    gone.expect_problem(401, "not_logged_in");
}

#[test]
fn a_file_that_is_no_database_is_said_to_be_none_once() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    std::fs::write(home.path().join("data/kopeck.db"), "words, words ".repeat(999)).unwrap();
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["backup", "one"], &["check"]] {
        let output = kopeck(home.path()).args(command).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.matches("not a database").count(), 1, "{said}");
    }
}

/// As where one may not look into it (root, as which the tests may run, may look into everything).
#[test]
fn data_that_cannot_be_looked_for_are_not_said_to_be_missing() {
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("data", home.path().join("data")).unwrap();
    let check = |arguments: &[&str]| {
        let output = kopeck(home.path()).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(error.contains("Too many levels of symbolic links"), "{arguments:?}: {error}");
    };
    check(&["check"]);
    check(&["checkpoint"]);
    check(&["backup", "copy.db"]);
    check(&["export", "--all"]);
    check(&["bank", "set-password"]);
    check(&["restore", "data", "--data", "new"]);
}

//! `kopeck check` and `kopeck checkpoint`: the real binary, beside a service and without one.

use std::fs::File;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Service, kopeck};

fn run(home: &Path, arguments: &[&str]) -> Output {
    kopeck(home).args(arguments).output().unwrap()
}

/// The status and what was said as JSON.
fn check(home: &Path, arguments: &[&str]) -> (i32, Value) {
    let all: Vec<&str> = ["check", "--json"].iter().chain(arguments).copied().collect();
    let output = run(home, &all);
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), said)
}

fn edit(home: &Path, statement: &str) {
    let file = rusqlite::Connection::open(home.join("data/kopeck.db")).unwrap();
    file.execute_batch(statement).unwrap();
}

#[tokio::test]
async fn a_service_is_checked_while_it_runs_and_an_edited_row_is_named() {
    let mut service = Service::start();
    let home = service.data().parent().unwrap().to_owned();
    let anna = service.sign_up_with("anna", "10").await;
    let boris = service.sign_up("boris").await;
    anna.client.transfer(boris.wallet, "2.50").await.expect_ok();
    let printed = run(&home, &["checkpoint"]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    let receipt = anna.client.get("/api/operations/2/receipt").await.expect_ok().body;
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), receipt["checkpoint"]);
    std::fs::write(home.join("published"), &printed).unwrap();
    let (status, said) = check(&home, &["--checkpoint", "published"]);
    assert_eq!(status, 0, "{said}");
    let seconds = said["seconds"].as_f64().unwrap();
    let expected = json!({
        "sound": true, "operations": 2, "wallets": 3, "users": 3, "keys": 0,
        "root": receipt["checkpoint"]["root"], "damages": [], "damages_total": 0,
        "seconds": seconds,
    });
    assert_eq!(said, expected);
    let text = run(&home, &["check"]);
    assert!(text.status.success() && text.stdout.starts_with(b"Sound"));
    assert!(text.stderr.is_empty(), "nothing is drawn where there is no terminal");
    // It has disturbed nobody.
    anna.client.transfer(boris.wallet, "0.01").await.expect_ok();
    assert!(service.stop().success());
    let (status, _) = check(&home, &["--checkpoint", "published"]);
    assert_eq!(status, 0);
    edit(&home, "UPDATE transfer SET amount_minor = amount_minor + 1 WHERE operation_id = 2");
    let (status, said) = check(&home, &[]);
    assert_eq!((status, &said["sound"]), (1, &json!(false)));
    assert_eq!(said["damages"][0]["code"], "operation_changed");
    assert_eq!(said["damages"][0]["operation_id"], 2);
    let text = run(&home, &["check"]);
    assert_eq!(text.status.code(), Some(1));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("operation_changed: operation 2 is not what was recorded"), "{text}");
}

#[tokio::test]
async fn the_status_is_what_was_found_also_when_nobody_reads_on() {
    let mut service = Service::start();
    let home = service.data().parent().unwrap().to_owned();
    let anna = service.sign_up_with("anna", "10").await;
    assert!(service.stop().success());
    let unread = |arguments: &[&str], errors_too: bool| {
        let mut command = kopeck(&home);
        command.args(arguments).stdout(std::io::pipe().unwrap().1).stdin(Stdio::null());
        if errors_too {
            command.stderr(std::io::pipe().unwrap().1);
        }
        command.status().unwrap().code()
    };
    let onto_a_full_disk = |arguments: &[&str]| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = kopeck(&home).args(arguments).stdout(full).output().unwrap();
        assert!(output.stderr.starts_with(b"kopeck: standard output: "), "{output:?}");
        output.status.code()
    };
    assert_eq!(unread(&["check"], true), Some(0));
    assert_eq!(onto_a_full_disk(&["check"]), Some(2), "it could not be told");
    // 0 says that it is there.
    assert_eq!(onto_a_full_disk(&["backup", "made"]), Some(0));
    assert!(home.join("made").exists());
    assert_eq!(unread(&["backup", "made", "--force"], true), Some(0));
    assert_eq!(onto_a_full_disk(&["restore", "made", "--data", "restored"]), Some(0));
    assert!(home.join("restored/kopeck.db").exists());
    let wallet = anna.wallet.to_string();
    let export = ["export", "--wallet", &wallet];
    assert_eq!(unread(&export, true), Some(0));
    edit(&home, "UPDATE transfer SET amount_minor = amount_minor + 1 WHERE operation_id = 1");
    for arguments in [&["check"][..], &["check", "--json"]] {
        assert_eq!(unread(arguments, false), Some(1), "{arguments:?}");
        assert_eq!(unread(arguments, true), Some(1), "{arguments:?}");
        assert_eq!(onto_a_full_disk(arguments), Some(1), "{arguments:?}");
    }
    assert_eq!(unread(&export, true), Some(1));
    assert_eq!(unread(&["verify-receipt", "missing"], true), Some(1));
    std::fs::remove_file(home.join("data/kopeck.db")).unwrap();
    assert_eq!(unread(&["check"], true), Some(2));
    assert_eq!(unread(&["backup", "copy"], true), Some(1));
}

#[test]
fn what_cannot_be_checked_is_not_called_sound_or_damaged() {
    let home = tempfile::TempDir::new().unwrap();
    let status = |arguments: &[&str]| {
        let output = run(home.path(), arguments);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = status(&["check"]);
    assert!(code == Some(2) && said.contains("there is no data file"), "{said}");
    assert!(!home.path().join("data").exists(), "nothing is made");
    assert_eq!(status(&["check", "--nonsense"]).0, Some(2));
    std::fs::create_dir(home.path().join("data")).unwrap();
    edit(home.path(), "CREATE TABLE other (x)");
    let (code, said) = status(&["check"]);
    assert!(code == Some(2) && said.contains("not kopeck's"), "{said}");
    std::fs::write(home.path().join("data/kopeck.db"), "a letter to a friend, of some length")
        .unwrap();
    assert_eq!(status(&["check"]).0, Some(2));
    assert_eq!(status(&["check", "--checkpoint", "missing"]).0, Some(2));
    assert_eq!(status(&["checkpoint"]).0, Some(1));
}

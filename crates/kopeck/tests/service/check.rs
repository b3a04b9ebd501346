//! `kopeck check` and `kopeck checkpoint`: the real binary, beside a service and without one.

use std::path::Path;
use std::process::Output;

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

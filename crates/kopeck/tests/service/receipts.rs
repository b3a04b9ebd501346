//! `GET /api/checkpoint`, `GET /api/operations/{operation_id}/receipt`, and `kopeck verify-receipt`,
//! which needs neither the service nor its data.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Service, kopeck};

fn run(home: &Path, arguments: &[&str]) -> Output {
    kopeck(home).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn a_receipt_is_for_those_who_had_a_part_in_it() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "10").await;
    let boris = service.sign_up("boris").await;
    let carla = service.sign_up("carla").await;
    let body = json!({"wallet_id": boris.wallet, "amount": "2.50", "details": "за чай"});
    anna.client.post("/api/wallet_to_wallet", &body).await.expect_ok();
    let path = "/api/operations/2/receipt";
    let receipt = anna.client.get(path).await.expect_ok();
    assert_eq!(boris.client.get(path).await.expect_ok().text, receipt.text);
    let body = &receipt.body;
    let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    let expected = [
        "amount",
        "checkpoint",
        "credit_wallet_id",
        "currency",
        "debit_wallet_id",
        "details",
        "external_id",
        "key_mark",
        "operation_id",
        "previous",
        "proof",
        "time_us",
        "timestamp",
        "type",
    ];
    assert_eq!(fields, expected, "and never a balance");
    assert_eq!(receipt.number("amount"), "2.50");
    assert_eq!((&body["type"], &body["currency"]), (&json!("transfer"), &json!("RUB")));
    assert_eq!((&body["debit_wallet_id"], &body["credit_wallet_id"]), (&json!(2), &json!(3)));
    assert_eq!(body["details"], "за чай");
    // Without a key it is blinded all the same.
    assert_ne!(body["key_mark"], "0000000000000000");
    let checkpoint = service.client().get("/api/checkpoint").await.expect_ok().body;
    assert_eq!(body["checkpoint"], checkpoint, "everybody may ask for it");
    // Others see no difference to what is not there.
    let missing = (404, "operation_not_found");
    let others = carla.client.get(path).await.expect_problem(missing.0, missing.1);
    for nothing in ["3", "0", "-1", "x", "02", "9007199254740993", "%ff", "1%2F2"] {
        let path = format!("/api/operations/{nothing}/receipt");
        let answer = carla.client.get(&path).await.expect_problem(missing.0, missing.1);
        assert_eq!(answer.text, others.text, "{nothing}");
    }
    service.client().get(path).await.expect_problem(401, "not_logged_in");
    for too_many in ["3", "9007199254740991", "9007199254740992", "99999999999999999999999"] {
        let too_many = format!("{path}?operations={too_many}");
        anna.client.get(&too_many).await.expect_problem(missing.0, missing.1);
    }
    let twice = "operations=2&operations=2";
    let bad = ["operations=1", "operations=x", "operations=", "operations=02", "operations=-2"];
    for bad in bad.into_iter().chain([twice, "n=2"]) {
        let answer = anna.client.get(&format!("{path}?{bad}")).await;
        answer.expect_problem(400, "malformed_query");
    }
    anna.client.post(path, &json!({})).await.expect_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_checkpoint_is_worked_out_once_in_a_while() {
    let service = Service::start();
    let client = service.client();
    let empty = client.get("/api/checkpoint").await.expect_ok().body;
    assert_eq!(empty, json!({"operations": 0, "root": "0".repeat(64)}));
    service.sign_up_with("anna", "10").await;
    // Whatever was given out before, soon it is the newest.
    let began = std::time::Instant::now();
    loop {
        let checkpoint = client.get("/api/checkpoint").await.expect_ok().body;
        if checkpoint["operations"] == 1 {
            break;
        }
        assert_eq!(checkpoint, empty);
        assert!(began.elapsed().as_secs() < 20, "it stays old");
    }
}

#[tokio::test]
async fn a_receipt_is_verified_offline_and_against_what_was_published() {
    let service = Service::start();
    let bank = service.bank().await;
    let anna = service.sign_up("anna").await;
    let paid_in = json!({
        "wallet_id": anna.wallet, "amount": "115.6", "details": "\u{202e}tea", "external_id": "pay-1",
    });
    bank.post("/api/external_to_wallet", &paid_in).await.expect_ok();
    anna.client.transfer(1, "1").await.expect_ok();
    let home = tempfile::TempDir::new().unwrap();
    let file = |name: &str, body: &Value| {
        let path = home.path().join(name);
        std::fs::write(&path, body.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let published = anna.client.get("/api/operations/2/receipt").await.expect_ok().body;
    let published = file("published", &published["checkpoint"]);
    anna.client.transfer(1, "2").await.expect_ok();
    // As text: the exact amount is in the number's own digits.
    let then = anna.client.get("/api/operations/1/receipt?operations=2").await.expect_ok().text;
    let now = anna.client.get("/api/operations/1/receipt").await.expect_ok().text;
    let text_file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (then, now) = (text_file("then", &then), text_file("now", &now));
    let verify = |arguments: &[&str]| {
        let all: Vec<&str> = ["verify-receipt"].iter().chain(arguments).copied().collect();
        let output = run(home.path(), &all);
        (output.status.code().unwrap(), said(&output))
    };
    let (status, text) = verify(&[&then, "--checkpoint", &published]);
    assert_eq!(status, 0, "{text}");
    assert!(
        text.starts_with("Proven: 115.60 RUB was paid in to wallet 2 by the bank at 20"),
        "{text}"
    );
    assert!(
        text.contains(r#"note "\u{202e}tea", with the external id "pay-1". This is operation 1"#)
    );
    assert!(text.contains("the book of 2 operations with the root "), "{text}");
    let (status, text) = verify(&[&then]);
    assert!(
        status == 0 && text.contains("proven only if the root is that of a published"),
        "{text}"
    );
    let (status, text) = verify(&[&now, "--checkpoint", &published]);
    assert!(status == 1 && text.contains("?operations=2"), "{text}");
    let (status, text) = verify(&[&then, "--checkpoint", &published, "--json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &answer["valid"]), (0, &json!(true)));
    assert_eq!(answer["checkpoint_compared"], true);
    assert!(text.contains("\"receipt\":{") && text.contains("\"amount\":115.60,"), "{text}");
    // A forged root, a changed amount, and what is no receipt.
    let forged =
        std::fs::read_to_string(&published).unwrap().replace("\"root\":\"", "\"root\":\"0");
    let forged = text_file("forged", &forged);
    assert_eq!(verify(&[&then, "--checkpoint", &forged]).0, 1);
    let zeros = file("zeros", &json!({"operations": 2, "root": "0".repeat(64)}));
    let (status, text) = verify(&[&then, "--checkpoint", &zeros]);
    assert!(status == 1 && text.contains("the roots differ"), "{text}");
    let changed = std::fs::read_to_string(&then).unwrap().replace("115.60", "115.61");
    let (status, text) = verify(&[&text_file("changed", &changed)]);
    assert!(status == 1 && text.contains("does not lead to the checkpoint"), "{text}");
    let (status, text) = verify(&[&text_file("changed", &changed), "--json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &answer["valid"]), (1, &json!(false)));
    for nothing in ["{}", "", "[1]"] {
        assert_eq!(verify(&[&text_file("nothing", nothing)]).0, 1);
    }
    let (_, text) = verify(&[&text_file("nothing", "{}")]);
    assert_eq!(text.matches("missing field").count(), 1, "{text}");
    assert_eq!(verify(&["missing"]).0, 1);
    // As many operations as no book has.
    let text = std::fs::read_to_string(&then).unwrap();
    for operations in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 53] {
        let to = format!("\"operations\":{operations}");
        let absurd = text.replace("\"operations\":2", &to);
        assert_ne!(absurd, text);
        let (status, said) = verify(&[&text_file("absurd", &absurd)]);
        assert!(status == 1 && said.contains("`operations` holds what no book does"), "{said}");
    }
    // Through a pipe.
    let mut command = kopeck(home.path());
    command.args(["verify-receipt", "-", "--checkpoint", &published]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(&then).unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// The program in docs/data-file.md, which has nothing of kopeck's in it, on receipts of books of many
/// shapes.
#[tokio::test]
async fn the_documented_program_verifies_receipts() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "10").await;
    for number in 0..6 {
        let body = json!({"wallet_id": 1, "amount": "0.01", "details": "за чай"});
        let request = anna.client.request("POST", "/api/wallet_to_wallet").json(&body);
        let request = request.header("Idempotency-Key", format!("key-{number}"));
        anna.client.send(request).await.expect_ok();
    }
    let page = include_str!("../../../../docs/data-file.md");
    let program = page.split_once("```python\n").unwrap().1.split_once("```").unwrap().0;
    let verify = |receipt: &str| {
        let mut command = std::process::Command::new("python3");
        command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().ok()?;
        child.stdin.take().unwrap().write_all(receipt.as_bytes()).unwrap();
        Some(said(&child.wait_with_output().unwrap()).trim() == "True")
    };
    for operations in 1..=7 {
        for operation in 1..=operations {
            let path = format!("/api/operations/{operation}/receipt?operations={operations}");
            let receipt = anna.client.get(&path).await.expect_ok().text;
            let Some(verified) = verify(&receipt) else {
                eprintln!("SKIPPED: there is no python3 to run the documented program with");
                return;
            };
            assert!(verified, "{receipt}");
            assert_eq!(verify(&receipt.replace("\"amount\":", "\"amount\":1")), Some(false));
        }
    }
}

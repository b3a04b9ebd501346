//! `/livez`, `/readyz`, `/metrics`; starting, stopping, and one process a directory.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Service, kopeck};

#[tokio::test]
async fn probes_answer() {
    let service = Service::start();
    let client = service.client();
    for path in ["/livez", "/readyz"] {
        assert_eq!(client.get(path).await.expect_ok().text, "ok\n");
    }
}

#[tokio::test]
async fn the_health_command_tells_by_its_status() {
    let mut service = Service::start();
    let address = service.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let home = tempfile::TempDir::new().unwrap();
    let ask = |listen: String| {
        let asked = kopeck(home.path()).args(["health", "--listen", &listen]).output().unwrap();
        (asked.status.success(), String::from_utf8(asked.stderr).unwrap())
    };
    assert!(ask(address.clone()).0);
    assert!(ask(format!("0.0.0.0:{port}")).0, "an address for all is asked on this machine");
    service.kill();
    let (healthy, said) = ask(address);
    assert!(!healthy && said.contains("is not healthy"), "{said}");
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "5").await;
    for _ in 0..3 {
        anna.client.transfer(1, "1").await.expect_ok();
    }
    anna.client.transfer(1, "9").await.expect_problem(422, "insufficient_funds");
    anna.client.transfer(1, "-9").await.expect_problem(422, "amount_not_positive");
    anna.client.get("/api/nothing/made-up-by-the-client").await;
    let answer = anna.client.get("/metrics").await.expect_ok();
    for line in [
        "kopeck_outcomes_total{code=\"ok\"} 4",
        "kopeck_outcomes_total{code=\"insufficient_funds\"} 1",
        "kopeck_outcomes_total{code=\"amount_not_positive\"} 1",
        "kopeck_queue_operations 0",
        "http_server_request_duration_seconds_count{http_route=\"/api/wallet_to_wallet\",\
         http_request_method=\"POST\",http_response_status_code=\"422\"} 2",
        "http_server_request_duration_seconds_count{http_route=\"/api/wallet_to_wallet\",\
         http_request_method=\"POST\",http_response_status_code=\"200\"} 3",
        "# UNIT kopeck_commit_seconds seconds",
        "# TYPE kopeck_batch_operations histogram",
        "# TYPE kopeck_checkpoint_seconds histogram",
        "# EOF",
    ] {
        assert!(answer.text.contains(line), "{line} is not in\n{}", answer.text);
    }
    assert!(!answer.text.contains("made-up"), "a label that a client chose");
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
}

#[tokio::test]
async fn it_says_where_and_what_at_start() {
    let service = Service::start();
    let line: Value = serde_json::from_str(&service.greeting).unwrap();
    assert_eq!((line["created"].clone(), line["operations"].clone()), (json!(true), json!(0)));
    assert_eq!(line["wallets"], 1, "the bank has been made");
    service.sign_up_with("anna", "5").await;
    let service = service.kill_and_start_again();
    let line: Value = serde_json::from_str(&service.greeting).unwrap();
    assert_eq!((line["wallets"].clone(), line["operations"].clone()), (json!(2), json!(1)));
    assert_eq!(line["currency"], "RUB");
    assert_eq!(
        (line["level"].clone(), line["message"].clone()),
        (json!("INFO"), json!("listening"))
    );
    let time = chrono::DateTime::parse_from_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
    assert!((chrono::Utc::now() - time.to_utc()).num_seconds().abs() < 60, "{time}");

    let text = Service::start_with(&["--log-format", "text"]);
    assert!(text.greeting.contains("  listening on  http://127.0.0.1:"), "{}", text.greeting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_was_accepted() {
    let mut service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let all_paid = Arc::new(AtomicU32::new(0));
    let paying = (0..8).map(|_| {
        let (client, mut paid) = (anna.client.clone(), 0_u32);
        let all_paid = Arc::clone(&all_paid);
        tokio::spawn(async move {
            loop {
                let request = client.request("POST", "/api/wallet_to_wallet");
                let request = request.json(&json!({"wallet_id": 1, "amount": "0.01"}));
                match client.try_send(request).await {
                    Ok(answer) if answer.status == 200 => {
                        paid += 1;
                        all_paid.fetch_add(1, Relaxed);
                    }
                    Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
                    // It has stopped. What was sent and not answered must not have been done:
                    // the balance tells.
                    Err(_) => return paid,
                }
            }
        })
    });
    let paying: Vec<_> = paying.collect();
    while all_paid.load(Relaxed) < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stopped = tokio::task::block_in_place(|| service.stop());
    assert!(stopped.success(), "{stopped}");
    let mut paid = 0;
    for task in paying {
        paid += task.await.unwrap();
    }
    assert!(paid > 0);
    let service = service.start_again();
    let bank = service.bank().await;
    let balance = bank.balance().await;
    assert_eq!(balance, format!("-{}.{:02}", (10_000 - paid) / 100, (10_000 - paid) % 100));
}

#[tokio::test]
async fn one_process_a_directory() {
    let service = Service::start();
    let home = service.data().parent().unwrap().to_owned();
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["bank", "set-password"][..]] {
        let second = kopeck(&home).args(arguments).output().unwrap();
        assert!(!second.status.success());
        let error = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(error.contains("in use by another kopeck"), "{error}");
    }
    service.client().get("/readyz").await.expect_ok();
}

#[tokio::test]
async fn another_currency_is_refused() {
    let mut service = Service::start();
    assert!(service.stop().success());
    let home = service.data().parent().unwrap().to_owned();
    let other = kopeck(&home).args(["--listen", "127.0.0.1:0", "--currency", "USD"]).output();
    let other = other.unwrap();
    assert!(!other.status.success());
    let error = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(error.contains("RUB"), "{error}");
}

#[tokio::test]
async fn a_clock_that_was_ahead_is_told_of_and_time_stands_still() {
    let mut service = Service::start();
    let anna = service.sign_up("anna").await;
    let pay = json!({"wallet_id": 1, "amount": 1});
    let request = anna.client.request("POST", "/api/wallet_to_wallet").json(&pay);
    let refused = anna.client.send(request.header("idempotency-key", "k")).await;
    refused.expect_problem(422, "insufficient_funds");
    assert!(service.stop().success());
    // As a clock in 2150 would have dated it.
    let file = rusqlite::Connection::open(service.data().join("kopeck.db")).unwrap();
    file.execute_batch("UPDATE refusal SET time_us = 5680281600000000").unwrap();
    drop(file);
    assert!(!service.log().contains("the clock is behind"), "{}", service.log());
    let service = service.start_again();
    let log = service.log();
    assert!(log.contains("WARN") && log.contains("the clock is behind"), "{log}");
    assert!(log.contains("2150-01-01T00:00:00"), "{log}");
    let bank = service.bank().await;
    bank.deposit(anna.wallet, "1").await.expect_ok();
    let wallet = bank.get("/api/wallet").await.expect_ok();
    assert!(wallet.text.contains("2150-01-01T00:00:00"), "{}", wallet.text);
}

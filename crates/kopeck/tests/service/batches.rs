//! Batches as one JSON object, as a client meets them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Service};

pub(crate) const BATCH: &str = "/api/transfers/batch";

/// Before this, what a client has done must have been seen. Far more than it takes.
pub(crate) const SEEN_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn ask(client: &Client, mode: &str, operations: Value) -> Answer {
    client.post(BATCH, &json!({"mode": mode, "operations": operations})).await
}

async fn keyed(client: &Client, key: &str, mode: &str, operations: Value) -> Answer {
    let request = client.request("POST", BATCH).header("idempotency-key", key);
    client.send(request.json(&json!({"mode": mode, "operations": operations}))).await
}

/// The codes of the results, `OK` where there is none, with `=` before what was decided earlier.
fn codes(answer: &Answer) -> String {
    let results = answer.body["results"].as_array().unwrap().iter();
    let words: Vec<_> = results
        .map(|result| {
            let code = result["code"].as_str().or(result["status"].as_str()).unwrap();
            format!("{}{code}", if result["replayed"] == true { "=" } else { "" })
        })
        .collect();
    words.join(" ")
}

pub(crate) fn counts(answer: &Answer) -> (u64, u64) {
    let count = |name: &str| answer.body[name].as_u64().unwrap();
    (count("succeeded"), count("refused"))
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == "true"
}

#[tokio::test]
async fn each_on_its_own_with_a_result_each() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up("boris").await;
    let answer = ask(
        &anna.client,
        "independent",
        json!([
            {"wallet_id": boris.wallet, "amount": 60.5, "details": "tea \"and\" sugar"},
            {"type": "transfer", "wallet_id": boris.wallet, "amount": "60.00"},
            {"wallet_id": boris.wallet, "amount": 0.001},
            {"wallet_id": boris.wallet, "amount": 1, "tip": 1},
            7,
            {"type": "deposit", "wallet_id": boris.wallet, "amount": 1},
            {"wallet_id": boris.wallet, "amount": 1, "external_id": "x"},
            {"wallet_id": boris.wallet, "amount": 1, "idempotency_key": "a b"},
            {"type": "loan", "wallet_id": boris.wallet, "amount": 1},
            {"type": null, "wallet_id": boris.wallet, "amount": 1, "idempotency_key": "k"},
            {"wallet_id": boris.wallet, "amount": 1.0, "idempotency_key": "k", "details": null},
            {"wallet_id": boris.wallet, "amount": 2, "idempotency_key": "k"},
        ]),
    )
    .await
    .expect_ok();
    assert_eq!(
        codes(&answer),
        "OK insufficient_funds amount_too_precise unknown_field wrong_type not_the_bank \
         unknown_field idempotency_key_malformed wrong_type OK =OK idempotency_key_reused"
    );
    assert_eq!(counts(&answer), (3, 9));
    assert!(!is_replayed(&answer));
    let first = &answer.body["results"][0];
    assert_eq!(
        (&first["wallet_id"], first["operation_id"].as_u64()),
        (&json!(anna.wallet), Some(2))
    );
    assert!(answer.text.contains(r#""balance":39.50}"#), "{}", answer.text);
    assert_eq!(answer.body["results"][2]["field"], "amount");
    assert_eq!(anna.client.balance().await, "38.50");
    assert_eq!(boris.client.balance().await, "61.50");
    let history = anna.client.get("/api/wallet").await.expect_ok();
    assert_eq!(history.body["operations"][1]["details"], "tea \"and\" sugar");
    let single =
        anna.client.request("POST", "/api/wallet_to_wallet").header("idempotency-key", "k");
    let single = single.json(&json!({"wallet_id": boris.wallet, "amount": 1}));
    assert!(is_replayed(&anna.client.send(single).await.expect_ok()), "a key of its own is one");
}

#[tokio::test]
async fn all_or_none() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up("boris").await;
    let pay = |amount: Value| json!({"wallet_id": boris.wallet, "amount": amount});
    let done =
        ask(&anna.client, "atomic", json!([pay(json!(30)), pay(json!(20))])).await.expect_ok();
    assert_eq!((codes(&done), counts(&done)), ("OK OK".to_owned(), (2, 0)));
    for (operations, status, code, index) in [
        (json!([pay(json!(30)), pay(json!(20.01))]), 422, "insufficient_funds", 1),
        (
            json!([pay(json!(1)), pay(json!(1)), {"wallet_id": 99, "amount": 1}]),
            422,
            "wallet_not_found",
            2,
        ),
        (json!([{"wallet_id": anna.wallet, "amount": 1}]), 422, "sender_is_receiver", 0),
        (json!([pay(json!(1)), pay(json!(-1))]), 422, "amount_not_positive", 1),
        (json!([pay(json!(1)), {"amount": 1}]), 400, "missing_field", 1),
        (json!([pay(json!(1)), []]), 400, "wrong_type", 1),
        // The form of all is read before a rule is asked of one.
        (json!([pay(json!(51)), pay(json!(-1))]), 422, "amount_not_positive", 1),
        (json!([pay(json!(51)), {"wallet_id": 0, "amount": 1}]), 422, "wallet_not_found", 1),
        (json!([{"type": "deposit", "wallet_id": 1, "amount": 1}]), 403, "not_the_bank", 0),
    ] {
        let refused = ask(&anna.client, "atomic", operations).await.expect_problem(status, code);
        assert_eq!(refused.body["index"], index, "{code}");
    }
    assert_eq!(anna.client.balance().await, "50.00");
    assert_eq!(boris.client.balance().await, "50.00");
    let history = boris.client.get("/api/wallet").await.expect_ok();
    assert_eq!(history.body["operations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_bank_deposits() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let bank = service.bank().await;
    let told = json!({"wallet_id": anna.wallet, "amount": 5, "external_id": "pay_1"});
    let answer = ask(
        &bank,
        "independent",
        json!([
            told, {"type": "deposit", "wallet_id": anna.wallet, "amount": 7}, told,
            {"wallet_id": anna.wallet, "amount": 6, "external_id": "pay_1"},
            {"type": "transfer", "wallet_id": anna.wallet, "amount": 1},
            {"wallet_id": anna.wallet, "amount": 6, "external_id": "a b"},
        ]),
    )
    .await
    .expect_ok();
    assert_eq!(
        codes(&answer),
        "OK OK =OK external_id_reused bank_must_deposit external_id_malformed"
    );
    assert_eq!(answer.body["results"][1]["wallet_id"], anna.wallet, "the wallet that was paid");
    assert_eq!(answer.body["results"][1]["balance"], 12.0);
    let transfer = json!([{"type": "transfer", "wallet_id": anna.wallet, "amount": 1}]);
    ask(&bank, "atomic", transfer).await.expect_problem(422, "bank_must_deposit");
    assert_eq!(anna.client.balance().await, "12.00");
}

#[tokio::test]
async fn a_batch_under_a_key_is_done_once_and_answered_alike() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up("boris").await;
    let pay = |amount: f64| json!({"wallet_id": boris.wallet, "amount": amount});
    let each = json!([pay(10.0), {"wallet_id": 99, "amount": 1}, pay(0.001), pay(1.0)]);
    let all = json!([pay(10.0), pay(1_000.0)]);
    let first = keyed(&anna.client, "each", "independent", each.clone()).await.expect_ok();
    let refused = keyed(&anna.client, "all", "atomic", all.clone()).await;
    let refused = refused.expect_problem(422, "insufficient_funds");
    assert_eq!(refused.body["index"], 1);
    assert!(!is_replayed(&first) && !is_replayed(&refused));
    service.bank().await.deposit(anna.wallet, "5000").await.expect_ok();
    let service = service.kill_and_start_again();
    let client = service.resume(&anna.client);
    let again = keyed(&client, "\"each\"", "independent", each.clone()).await.expect_ok();
    assert!(is_replayed(&again));
    assert_eq!(again.text, first.text);
    let again = keyed(&client, "all", "atomic", all.clone()).await;
    let again = again.expect_problem(422, "insufficient_funds");
    assert!(is_replayed(&again));
    assert_eq!(again.text, refused.text);
    // Written otherwise, it is the same; asked for otherwise, it is not.
    let same = format!(
        r#"{{"operations": [{{"amount": "10.00", "wallet_id": {0}.0}}, {{"amount": 1e3,
           "type": "transfer", "wallet_id": {0}}}], "mode": "atomic"}}"#,
        boris.wallet
    );
    let same = client.request("POST", BATCH).header("idempotency-key", "all").body(same);
    let same = client.send(same.header("content-type", "application/json")).await;
    assert!(is_replayed(&same.expect_problem(422, "insufficient_funds")));
    for (key, mode, other) in [
        ("each", "atomic", json!([pay(10.0)])),
        (
            "each",
            "independent",
            json!([pay(10.0), {"wallet_id": 99, "amount": 1}, pay(0.002), pay(1.0)]),
        ),
        ("all", "atomic", json!([pay(1_000.0), pay(10.0)])),
    ] {
        let other = keyed(&client, key, mode, other).await;
        other.expect_problem(422, "idempotency_key_reused");
    }
    let single = client.request("POST", "/api/wallet_to_wallet").header("idempotency-key", "each");
    let single = client.send(single.json(&pay(10.0))).await;
    single.expect_problem(422, "idempotency_key_reused");
    assert_eq!(service.resume(&boris.client).balance().await, "11.00");
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let service = Service::start_with(&["--batch-bytes-max", "1000000"]);
    let anna = service.sign_up_with("anna", "100").await;
    let pay = r#"{"wallet_id": 1, "amount": 1}"#;
    for (body, status, code, field) in [
        (r#"{"mode": "atomic", "operations": []}"#.to_owned(), 422, "batch_empty", "operations"),
        (format!(r#"{{"operations": [{pay}]}}"#), 400, "missing_field", "mode"),
        (format!(r#"{{"mode": "both", "operations": [{pay}]}}"#), 400, "wrong_type", "mode"),
        (r#"{"mode": "atomic"}"#.to_owned(), 400, "missing_field", "operations"),
        (r#"{"mode": "atomic", "operations": 7}"#.to_owned(), 400, "wrong_type", "operations"),
        (
            format!(r#"{{"mode": "atomic", "operations": [{pay}], "x": 1}}"#),
            400,
            "unknown_field",
            "x",
        ),
        (format!("[{pay}]"), 400, "wrong_type", ""),
        (format!(r#"{{"mode": "atomic", "operations": [{pay}"#), 400, "malformed_json", ""),
        (String::new(), 400, "malformed_json", ""),
    ] {
        let answer = anna.client.post_text(BATCH, body.clone()).await.expect_problem(status, code);
        assert_eq!(answer.body["field"].as_str().unwrap_or_default(), field, "{body}");
        let names_both = answer.text.contains("`mode` must be `atomic` or `independent`");
        assert_eq!(names_both, (code, field) == ("wrong_type", "mode"), "{}", answer.text);
    }
    let many = |count: usize, one: &str| {
        format!(r#"{{"mode": "independent", "operations": [{}]}}"#, vec![one; count].join(","))
    };
    let too_many = anna.client.post_text(BATCH, many(8_193, pay)).await;
    too_many.expect_problem(422, "batch_too_large");
    let too_big = many(1, pay) + &" ".repeat(1_000_000);
    anna.client.post_text(BATCH, too_big).await.expect_problem(413, "body_too_large");
    let request = anna.client.request("POST", BATCH).header("content-type", "text/plain");
    anna.client.send(request.body(pay)).await.expect_problem(415, "unsupported_media_type");
    let nobody = service.client().post_text(BATCH, many(1, pay)).await;
    nobody.expect_problem(401, "not_logged_in");
    anna.client.get(BATCH).await.expect_problem(405, "method_not_allowed");
    assert_eq!(anna.client.balance().await, "100.00");
}

/// A place in an operation is no place in the body.
#[tokio::test]
async fn a_malformed_operation_says_where() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let bad = r#"{"wallet_id": 1, "amount": 1, "details": "\ud800"}"#;
    let batch =
        format!(r#"{{"mode": "atomic", "operations": [{{"wallet_id": 1, "amount": 1}}, {bad}]}}"#);
    let refused = anna.client.post_text(BATCH, batch).await.expect_problem(400, "malformed_json");
    assert_eq!(refused.body["index"], 1);
    let single = anna.client.post_text("/api/wallet_to_wallet", bad).await;
    let single = single.expect_problem(400, "malformed_json").body["detail"].clone();
    let expected = single.as_str().unwrap().replace(" of the body", " of the operation");
    assert_eq!(refused.body["detail"], expected);
    assert!(expected.contains(" at line 1 column "), "{expected}");
}

#[tokio::test]
async fn as_many_as_fit() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "10000").await;
    let boris = service.sign_up("boris").await;
    let pay = json!({"wallet_id": boris.wallet, "amount": 0.5});
    for (mode, balance) in [("atomic", "4096.00"), ("independent", "8192.00")] {
        let answer =
            ask(&anna.client, mode, Value::Array(vec![pay.clone(); 8_192])).await.expect_ok();
        assert_eq!(counts(&answer), (8_192, 0));
        let results = answer.body["results"].as_array().unwrap();
        let ids = results.iter().map(|result| result["operation_id"].as_u64().unwrap());
        assert!(ids.clone().zip(ids.skip(1)).all(|(one, next)| one + 1 == next));
        assert_eq!(boris.client.balance().await, balance);
    }
    let metrics = service.client().get("/metrics").await.text;
    assert!(metrics.contains(r#"outcomes_total{code="ok"} 16385"#), "{metrics}");
}

/// A client that is told nothing sends its batch again under the same key, for as long as it takes.
#[tokio::test]
async fn keyed_batches_are_done_once_through_kills() {
    const KILLS: u64 = 6;
    let mut service = Service::start();
    let anna = service.sign_up_with("anna", "100000").await;
    let boris = service.sign_up("boris").await;
    let pay = json!({"wallet_id": boris.wallet, "amount": 1});
    let operations = Value::Array(vec![pay; 50]);
    let mut sent = 0;
    for kill in 0..KILLS {
        let client = service.resume(&anna.client);
        let sender = tokio::spawn({
            let operations = operations.clone();
            async move {
                let mut number = sent;
                loop {
                    let mode = if number % 2 == 0 { "atomic" } else { "independent" };
                    let body = json!({"mode": mode, "operations": operations});
                    let request = client.request("POST", BATCH).json(&body);
                    let request = request.header("idempotency-key", format!("b{number}"));
                    match client.try_send(request).await {
                        Ok(answer) => assert_eq!(counts(&answer.expect_ok()), (50, 0)),
                        // Unknown: the same again when the service is back.
                        Err(_) => return number,
                    }
                    number += 1;
                }
            }
        });
        tokio::time::sleep(std::time::Duration::from_millis(150 + kill * 37)).await;
        service.kill();
        sent = sender.await.unwrap();
        service = service.start_again();
    }
    assert!(sent > KILLS, "it did next to nothing");
    let client = service.resume(&anna.client);
    let mode = if sent % 2 == 0 { "atomic" } else { "independent" };
    let last = keyed(&client, &format!("b{sent}"), mode, operations.clone()).await.expect_ok();
    assert_eq!(counts(&last), (50, 0));
    let balance = service.resume(&boris.client).balance().await;
    assert_eq!(balance, format!("{}.00", (sent + 1) * 50));
    let first = keyed(&client, "b0", "atomic", operations).await.expect_ok();
    assert!(is_replayed(&first), "from before all the kills");
    assert_eq!(service.resume(&boris.client).balance().await, balance);
}

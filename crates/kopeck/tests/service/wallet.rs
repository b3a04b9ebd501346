//! `GET /api/wallet`: the balance and the history, page by page.

use serde_json::{Value, json};

use crate::harness::Service;

#[tokio::test]
async fn a_new_wallet_is_empty() {
    let service = Service::start();
    let person = service.sign_up("anna").await;
    let answer = person.client.get("/api/wallet").await.expect_ok();
    assert_eq!(
        answer.text,
        r#"{"wallet_id":2,"user_id":2,"balance":0.00,"currency":"RUB","operations":[],"has_more":false,"next_cursor":null}"#
    );
    service.client().get("/api/wallet").await.expect_problem(401, "not_logged_in");
}

#[tokio::test]
async fn pages_hold_every_operation_once_newest_first() {
    let service = Service::start();
    let bank = service.bank().await;
    let anna = service.sign_up("anna").await;
    let boris = service.sign_up("boris").await;
    for amount in 1..=25 {
        bank.deposit(anna.wallet, &amount.to_string()).await.expect_ok();
        if amount % 5 == 0 {
            anna.client.transfer(boris.wallet, "1.05").await.expect_ok();
        }
    }
    for limit in [1, 7, 20, 30, 100] {
        let mut operations = Vec::new();
        let mut path = format!("/api/wallet?limit={limit}");
        loop {
            let page = anna.client.get(&path).await.expect_ok().body;
            let found = page["operations"].as_array().unwrap();
            assert!(found.len() <= limit);
            operations.extend(found.iter().cloned());
            assert_eq!(page["has_more"], !page["next_cursor"].is_null());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/api/wallet?limit={limit}&cursor={cursor}");
        }
        let ids: Vec<_> = operations
            .iter()
            .map(|operation| operation["operation_id"].as_u64().unwrap())
            .collect();
        assert_eq!(ids, (1..=30).rev().collect::<Vec<_>>(), "limit {limit}");
        check_history(&operations);
    }
    let page = anna.client.get("/api/wallet").await.expect_ok().body;
    assert_eq!(page["operations"].as_array().unwrap().len(), 20);
    let page = boris.client.get("/api/wallet").await.expect_ok().body;
    assert_eq!(page["operations"][0]["type"], "transfer_in");
    assert_eq!(page["operations"][0]["counterparty_wallet_id"], anna.wallet);
}

/// Each balance follows from the one before it.
fn check_history(operations: &[Value]) {
    let minor = |value: &Value| (value.as_f64().unwrap() * 100.0).round();
    let mut balance = 0.0;
    for operation in operations.iter().rev() {
        match operation["type"].as_str().unwrap() {
            "transfer_out" => balance -= minor(&operation["amount"]),
            _ => balance += minor(&operation["amount"]),
        }
        assert_eq!(minor(&operation["balance"]), balance);
        let time = operation["timestamp"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    }
}

#[tokio::test]
async fn queries_are_read_strictly() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "10").await;
    let boris = service.sign_up_with("boris", "10").await;
    let get = async |query: &str| anna.client.get(&format!("/api/wallet?{query}")).await;
    for query in [
        "limit=abc",
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=1.0",
        "limit=",
        "limit",
        "limit=1&limit=1",
        "cursor=x",
        "cursor=0",
        "cursor=-1",
        "cursor=",
        "page=1",
        "%ff=%00",
    ] {
        get(query).await.expect_problem(400, "malformed_query");
    }
    get("cursor=1").await.expect_ok();
    // Another's entry, and one that nobody has.
    for query in ["cursor=2", "cursor=99"] {
        get(query).await.expect_problem(400, "cursor_unknown");
    }
    boris.client.get("/api/wallet?cursor=2").await.expect_ok();
    let answer = anna.client.post("/api/wallet", &json!({})).await;
    let answer = answer.expect_problem(405, "method_not_allowed");
    assert!(answer.header("allow").contains("GET"));
}

//! `POST /api/external_to_wallet` and `POST /api/wallet_to_wallet`: money moves, exactly.

use serde_json::json;

use crate::harness::{BANK_EMAIL, BANK_PASS, Service};

#[tokio::test]
async fn the_example_of_the_seed() {
    let service = Service::start();
    let person = service.client();
    let wanted = json!({"name": "test1", "email": "test1@localhost.ru", "password": "Pa$$w0rd"});
    person.post("/api/signup", &wanted).await.expect_ok();
    let bank = service.client();
    let claim = json!({"email": BANK_EMAIL, "password": BANK_PASS});
    bank.post("/api/login", &claim).await.expect_ok();

    let details = "Перевод из Тинькофф";
    let body = json!({"wallet_id": 2, "amount": 115.6, "details": details});
    let paid = bank.post("/api/external_to_wallet", &body).await.expect_ok();
    assert_eq!(paid.text, r#"{"status":"OK","operation_id":1,"wallet_id":2,"balance":115.60}"#);
    let paid = person.post("/api/wallet_to_wallet", &json!({"wallet_id": 1, "amount": 11.1})).await;
    assert_eq!(paid.text, r#"{"status":"OK","operation_id":2,"wallet_id":2,"balance":104.50}"#);

    let wallet = person.get("/api/wallet").await.expect_ok();
    assert_eq!(
        (wallet.number("balance").as_str(), wallet.number("wallet_id").as_str()),
        ("104.50", "2")
    );
    let operations = wallet.body["operations"].as_array().unwrap();
    assert_eq!(operations[0]["type"], "transfer_out");
    assert_eq!(operations[0]["details"], json!(null));
    assert_eq!(operations[1]["type"], "deposit");
    assert_eq!(operations[1]["details"], details);
    assert_eq!(operations[1]["counterparty_wallet_id"], 1);
}

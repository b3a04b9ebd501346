//! Idempotency keys and external ids, as a client meets them.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, PASSWORD, Service};

const TRANSFER: &str = "/api/wallet_to_wallet";
const DEPOSIT: &str = "/api/external_to_wallet";

async fn keyed(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    client.send(client.request("POST", path).header("idempotency-key", key).json(body)).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == "true"
}

#[tokio::test]
async fn the_same_request_is_done_once_and_answered_alike() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let pay = json!({"wallet_id": 1, "amount": 30, "details": "tea"});
    let first = keyed(&anna.client, TRANSFER, "k1", &pay).await.expect_ok();
    assert!(!is_replayed(&first));
    let again = keyed(&anna.client, TRANSFER, "\"k1\"", &pay).await.expect_ok();
    assert!(is_replayed(&again), "with quotation marks it is the same key");
    assert_eq!(again.text, first.text);
    let service = service.kill_and_start_again();
    let client = service.resume(&anna.client);
    let again = keyed(&client, TRANSFER, "k1", &pay).await.expect_ok();
    assert!(is_replayed(&again));
    assert_eq!(again.text, first.text);
    assert_eq!(client.balance().await, "70.00");
}

#[tokio::test]
async fn a_refusal_is_answered_alike_even_when_it_would_go_well_now() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let pay = json!({"wallet_id": 1, "amount": 30});
    let first = keyed(&anna.client, TRANSFER, "k1", &pay).await;
    let first = first.expect_problem(422, "insufficient_funds");
    assert!(!is_replayed(&first));
    service.bank().await.deposit(anna.wallet, "100").await.expect_ok();
    let again = keyed(&anna.client, TRANSFER, "k1", &pay).await;
    let again = again.expect_problem(422, "insufficient_funds");
    assert!(is_replayed(&again));
    assert_eq!(again.text, first.text);
    assert_eq!(anna.client.balance().await, "100.00");
}

#[tokio::test]
async fn another_request_under_a_used_key_changes_nothing() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let pay = json!({"wallet_id": 1, "amount": 30});
    keyed(&anna.client, TRANSFER, "k1", &pay).await.expect_ok();
    for other in [
        json!({"wallet_id": 1, "amount": 31}),
        json!({"wallet_id": 9, "amount": 30}),
        json!({"wallet_id": 1, "amount": 30, "details": "tea"}),
    ] {
        let answer = keyed(&anna.client, TRANSFER, "k1", &other).await;
        let answer = answer.expect_problem(422, "idempotency_key_reused");
        assert!(!is_replayed(&answer));
    }
    assert_eq!(anna.client.balance().await, "70.00");
}

#[tokio::test]
async fn a_request_that_was_never_understood_leaves_its_key_free() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let wrong = json!({"wallet_id": 1, "amount": 0.001});
    let answer = keyed(&anna.client, TRANSFER, "k1", &wrong).await;
    answer.expect_problem(422, "amount_too_precise");
    let right = json!({"wallet_id": 1, "amount": 1});
    let answer = keyed(&anna.client, TRANSFER, "k1", &right).await.expect_ok();
    assert!(!is_replayed(&answer));
}

#[tokio::test]
async fn keys_are_each_users_own() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up_with("boris", "100").await;
    let pay = json!({"wallet_id": 1, "amount": 30});
    for client in [&anna.client, &boris.client] {
        assert!(!is_replayed(&keyed(client, TRANSFER, "k1", &pay).await.expect_ok()));
        assert_eq!(client.balance().await, "70.00");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_pay_once_and_all_get_the_answer() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let pay = json!({"wallet_id": 1, "amount": 30});
    let answers = join_all((0..64).map(|_| keyed(&anna.client, TRANSFER, "k1", &pay))).await;
    let first = answers.iter().filter(|answer| !is_replayed(answer)).count();
    assert_eq!(first, 1);
    let texts: Vec<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    assert_eq!(anna.client.balance().await, "70.00");
}

#[tokio::test]
async fn malformed_keys_are_refused() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let pay = json!({"wallet_id": 1, "amount": 30});
    for malformed in ["", "\"\"", "a b", &"k".repeat(256)] {
        for path in [TRANSFER, DEPOSIT, "/api/signup"] {
            let answer = keyed(&anna.client, path, malformed, &pay).await;
            answer.expect_problem(400, "idempotency_key_malformed");
        }
    }
    let request = anna.client.request("POST", TRANSFER).header("idempotency-key", "a");
    let request = request.header("idempotency-key", "b").json(&pay);
    anna.client.send(request).await.expect_problem(400, "idempotency_key_malformed");
    assert_eq!(anna.client.balance().await, "100.00");
}

#[tokio::test]
async fn a_webhook_that_comes_twice_credits_once() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let bank = service.bank().await;
    let told = json!({"wallet_id": anna.wallet, "amount": 50, "external_id": "pay_1"});
    let first = bank.post(DEPOSIT, &told).await.expect_ok();
    let again = bank.post(DEPOSIT, &told).await.expect_ok();
    assert!(!is_replayed(&first) && is_replayed(&again));
    assert_eq!(again.text, first.text);
    let other = json!({"wallet_id": anna.wallet, "amount": 51, "external_id": "pay_1"});
    bank.post(DEPOSIT, &other).await.expect_problem(422, "external_id_reused");
    for malformed in ["", "a b", "номер", &"x".repeat(256)] {
        let body = json!({"wallet_id": anna.wallet, "amount": 1, "external_id": malformed});
        bank.post(DEPOSIT, &body).await.expect_problem(422, "external_id_malformed");
    }
    let misplaced = json!({"wallet_id": 1, "amount": 1, "external_id": "pay_2"});
    anna.client.post(TRANSFER, &misplaced).await.expect_problem(400, "unknown_field");
    let wallet = anna.client.get("/api/wallet").await.expect_ok();
    assert_eq!(wallet.body["operations"][0]["external_id"], "pay_1");
    assert_eq!(wallet.number("balance"), "50.00");
}

#[tokio::test]
async fn a_sign_up_sent_twice_makes_one_user_who_is_logged_in() {
    let service = Service::start();
    let wanted =
        |email: &str, password: &str| json!({"name": "Anna", "email": email, "password": password});
    let anna = wanted("anna@example.org", PASSWORD);
    let first = keyed(&service.client(), "/api/signup", "s1", &anna).await.expect_ok();
    let client = service.client();
    let again = keyed(&client, "/api/signup", "s1", &anna).await.expect_ok();
    assert!(!is_replayed(&first) && is_replayed(&again));
    assert_eq!(again.text, first.text);
    assert_eq!(client.balance().await, "0.00", "the second try is logged in too");
    let mut renamed = anna.clone();
    renamed["name"] = json!("Hannah");
    for other in
        [wanted("boris@example.org", PASSWORD), wanted("anna@example.org", "another one"), renamed]
    {
        let answer = keyed(&service.client(), "/api/signup", "s1", &other).await;
        answer.expect_problem(422, "idempotency_key_reused");
    }
    for replayed in [false, true] {
        let answer = keyed(&service.client(), "/api/signup", "s2", &anna).await;
        let answer = answer.expect_problem(409, "email_taken");
        assert_eq!(is_replayed(&answer), replayed);
    }
}

/// The later one finds out when its password is hashed already, and is answered as the first.
#[tokio::test]
async fn a_sign_up_sent_twice_at_once_makes_one_user_too() {
    let service = Service::start();
    let anna = json!({"name": "Anna", "email": "anna@example.org", "password": PASSWORD});
    let (one, other) = (service.client(), service.client());
    let (first, second) = tokio::join!(
        keyed(&one, "/api/signup", "s1", &anna),
        keyed(&other, "/api/signup", "s1", &anna)
    );
    let (first, second) = (first.expect_ok(), second.expect_ok());
    assert_eq!(first.text, second.text);
    assert!(is_replayed(&first) != is_replayed(&second));
    assert_eq!((one.balance().await, other.balance().await), ("0.00".into(), "0.00".into()));
}

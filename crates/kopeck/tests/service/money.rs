//! `POST /api/external_to_wallet` and `POST /api/wallet_to_wallet`: money moves, exactly.

use serde_json::json;

use crate::harness::{BANK_EMAIL, BANK_PASS, Client, Service, hidden};

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

#[tokio::test]
async fn a_tenth_added_ten_times_is_exactly_one() {
    let service = Service::start();
    let bank = service.bank().await;
    let anna = service.sign_up("anna").await;
    let boris = service.sign_up("boris").await;
    for _ in 0..10 {
        bank.deposit(anna.wallet, "0.1").await.expect_ok();
    }
    assert_eq!(anna.client.balance().await, "1.00");
    for _ in 0..10 {
        anna.client.transfer(boris.wallet, "\"0.1\"").await.expect_ok();
    }
    assert_eq!(anna.client.balance().await, "0.00");
    assert_eq!(boris.client.balance().await, "1.00");
    assert_eq!(bank.balance().await, "-1.00");
}

#[tokio::test]
async fn the_greatest_amounts_are_exact() {
    let service = Service::start();
    let bank = service.bank().await;
    let anna = service.sign_up("anna").await;
    let boris = service.sign_up("boris").await;
    let paid = bank.deposit(anna.wallet, "9999999999999.99").await.expect_ok();
    assert_eq!(paid.number("balance"), "9999999999999.99");
    let refused = bank.deposit(boris.wallet, "0.01").await;
    refused.expect_problem(422, "balance_limit");
    let paid = anna.client.transfer(boris.wallet, "9999999999999.98").await.expect_ok();
    assert_eq!(paid.number("balance"), "0.01");
    assert_eq!(bank.balance().await, "-9999999999999.99");
}

#[tokio::test]
async fn rules_refuse_with_their_codes() {
    let service = Service::start();
    let bank = service.bank().await;
    let anna = service.sign_up_with("anna", "5").await;
    let boris = service.sign_up("boris").await;
    let pay = async |wallet, amount: &str| anna.client.transfer(wallet, amount).await;
    pay(boris.wallet, "5.01").await.expect_problem(422, "insufficient_funds");
    pay(anna.wallet, "1").await.expect_problem(422, "sender_is_receiver");
    pay(99, "1").await.expect_problem(422, "wallet_not_found");
    pay(0, "1").await.expect_problem(422, "wallet_not_found");
    let answer = bank.deposit(99, "1").await.expect_problem(422, "wallet_not_found");
    assert_eq!(answer.body["field"], "wallet_id");
    bank.deposit(1, "1").await.expect_problem(422, "sender_is_receiver");
    bank.transfer(anna.wallet, "1").await.expect_problem(422, "bank_must_deposit");
    let long = json!({"wallet_id": boris.wallet, "amount": 1, "details": "я".repeat(201)});
    let answer = anna.client.post("/api/wallet_to_wallet", &long).await;
    answer.expect_problem(422, "details_too_long");
    let control = json!({"wallet_id": boris.wallet, "amount": 1, "details": "a\u{0}b"});
    let answer = anna.client.post("/api/wallet_to_wallet", &control).await;
    answer.expect_problem(422, "details_malformed");
    assert_eq!(anna.client.balance().await, "5.00");
    // Nobody would see that there is a note.
    let unseen = json!({"wallet_id": boris.wallet, "amount": 1, "details": "\u{200b} \u{feff}"});
    anna.client.post("/api/wallet_to_wallet", &unseen).await.expect_ok();
    let newest = boris.client.get("/api/wallet").await.expect_ok().body["operations"][0].clone();
    assert!(newest["details"].is_null(), "{newest}");
    bank.deposit(anna.wallet, "1").await.expect_ok();
    let noted = json!({"wallet_id": boris.wallet, "amount": 5, "details": "я".repeat(200)});
    anna.client.post("/api/wallet_to_wallet", &noted).await.expect_ok();
    assert_eq!(boris.client.balance().await, "6.00");
}

#[tokio::test]
async fn only_the_bank_brings_money_in() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let deposit = async |text: &str| anna.client.post_text("/api/external_to_wallet", text).await;
    // First of all refusals, but for the form.
    for text in [
        r#"{"wallet_id": 2, "amount": 1}"#,
        r#"{"wallet_id": 99, "amount": -1}"#,
        r#"{"wallet_id": "x", "amount": null}"#,
    ] {
        deposit(text).await.expect_problem(403, "not_the_bank");
    }
    deposit("{").await.expect_problem(400, "malformed_json");
    deposit("{}").await.expect_problem(400, "missing_field");
    for path in ["/api/external_to_wallet", "/api/wallet_to_wallet"] {
        let answer = service.client().post_text(path, "{").await;
        let answer = answer.expect_problem(401, "not_logged_in");
        assert!(answer.text.contains("log in with `POST /api/login`"), "{}", answer.text);
    }
    assert_eq!(anna.client.balance().await, "0.00");
}

/// Somebody else logs in while a form stands open in another tab of the same browser: it is not theirs to
/// send, and its key, which is anna's own, would not keep it from being paid twice.
#[tokio::test]
async fn a_form_that_was_made_for_another_wallet_is_not_sent() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up_with("boris", "100").await;
    let page = anna.client.get("/").await.expect_ok().text;
    let send = async |client: &Client, page: &str| {
        let mut form = vec![("to", "1".to_owned()), ("amount", "7".to_owned())];
        form.extend(["form_token", "key", "wallet"].map(|name| (name, hidden(page, name))));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = client.request("POST", "/send").header("accept-language", "en");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        client.send(request.body(body)).await
    };
    assert_eq!(send(&anna.client, &page).await.status, 303);
    let answer = send(&boris.client, &page).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text.contains("Another wallet is open"), "{}", answer.text);
    assert!(!answer.text.contains("paid once"), "{}", answer.text);
    assert!(answer.text.contains("name=\"amount\" type=\"text\" value=\"\""), "{}", answer.text);
    assert_ne!(hidden(&answer.text, "key"), hidden(&page, "key"));
    assert_eq!(boris.client.balance().await, "100.00");
    assert_eq!(send(&boris.client, &answer.text).await.status, 303);
    assert_eq!(boris.client.balance().await, "93.00");
    assert_eq!(anna.client.balance().await, "93.00");
}

/// The language may be switched in another tab while a form stands open: with three digits after the
/// point, the same text is a thousandfold amount in the other language.
#[tokio::test]
async fn an_amount_is_read_in_the_language_of_its_own_page() {
    let service = Service::start_with(&["--currency", "KWD"]);
    let anna = service.sign_up_with("anna", "9000").await;
    let page = async |language: &str| {
        let request = anna.client.request("GET", "/").header("accept-language", language);
        anna.client.send(request).await.expect_ok().text
    };
    let send = async |page: &str, page_language: Option<&str>, now: &str, to: &str| {
        let mut form = vec![("to", to.to_owned()), ("amount", "1,500".to_owned())];
        form.extend(["form_token", "key"].map(|name| (name, hidden(page, name))));
        form.extend(page_language.map(|language| ("language", language.to_owned())));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = anna.client.request("POST", "/send").header("accept-language", now);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        anna.client.send(request.body(body)).await
    };
    let (english, russian) = (page("en").await, page("ru").await);
    assert_eq!(hidden(&english, "language"), "en");
    assert_eq!(hidden(&russian, "language"), "ru");
    let mut balance = 9_000_000;
    for (language, now, paid) in [
        (Some("ru"), "en", 1_500),
        (Some("en"), "ru", 1_500_000),
        (Some("ru"), "ru", 1_500),
        (Some("en"), "en", 1_500_000),
        (None, "ru", 1_500),
        (None, "en", 1_500_000),
        (Some("xx"), "ru", 1_500),
    ] {
        let answer = send(&page(now).await, language, now, "1").await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        balance -= paid;
        let shown = format!("{}.{:03}", balance / 1_000, balance % 1_000);
        assert_eq!(anna.client.balance().await, shown, "typed in {language:?}, sent in {now}");
    }
    // A form that comes back does so in the language of now, and means what it meant.
    for (language, now, shown) in [("ru", "en", "1.500"), ("en", "ru", "1\u{a0}500,000")] {
        let answer = send(&page(language).await, Some(language), now, "99").await;
        assert_eq!((answer.status, answer.header("content-language")), (422, now));
        assert_eq!(hidden(&answer.text, "language"), now);
        let amount = format!("name=\"amount\" type=\"text\" value=\"{shown}\"");
        assert!(answer.text.contains(&amount), "{}", answer.text);
    }
}

//! Bad input: each a clear 4xx, none a 500, and nothing changed.

use crate::harness::Service;

const PATHS: [&str; 2] = ["/api/external_to_wallet", "/api/wallet_to_wallet"];

#[tokio::test]
async fn bad_bodies() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up("boris").await;
    let bank = service.bank().await;
    let nines = "9".repeat(10_000);
    let amount = |text: &str| format!(r#"{{"wallet_id": {}, "amount": {text}}}"#, boris.wallet);
    let table = [
        (amount("0.001"), 422, "amount_too_precise"),
        (amount("1.000"), 422, "amount_too_precise"),
        (amount("-1"), 422, "amount_not_positive"),
        (amount("0"), 422, "amount_not_positive"),
        (amount("-0.0"), 422, "amount_not_positive"),
        (amount("1e400"), 422, "amount_too_large"),
        (amount("1e-400"), 422, "amount_too_precise"),
        (amount(&nines), 422, "amount_too_large"),
        (amount(&format!("\"{nines}\"")), 422, "amount_too_large"),
        (amount("\"abc\""), 422, "amount_malformed"),
        (amount("\"NaN\""), 422, "amount_malformed"),
        (amount("\"\""), 422, "amount_malformed"),
        (amount("\"1,5\""), 422, "amount_malformed"),
        (amount("\"٣\""), 422, "amount_malformed"),
        (amount("abc"), 400, "malformed_json"),
        (amount("NaN"), 400, "malformed_json"),
        (amount("Infinity"), 400, "malformed_json"),
        (amount("+1"), 400, "malformed_json"),
        (amount("01"), 400, "malformed_json"),
        (amount("1."), 400, "malformed_json"),
        (amount("null"), 400, "wrong_type"),
        (amount("true"), 400, "wrong_type"),
        (amount("[1]"), 400, "wrong_type"),
        (amount("{\"a\": 1}"), 400, "wrong_type"),
        (amount("1, \"amount\": 2"), 400, "duplicate_field"),
        (amount("1, \"currency\": \"USD\""), 400, "unknown_field"),
        (amount("1, \"details\": 5"), 400, "wrong_type"),
        (amount("1, \"details\": \"\\ud800\""), 400, "malformed_json"),
        (format!("{} x", amount("1")), 400, "malformed_json"),
        (r#"{"wallet_id": "3", "amount": 1}"#.to_owned(), 400, "wrong_type"),
        (r#"{"wallet_id": 3.5, "amount": 1}"#.to_owned(), 400, "wrong_type"),
        (r#"{"wallet_id": null, "amount": 1}"#.to_owned(), 400, "wrong_type"),
        (r#"{"wallet_id": -3, "amount": 1}"#.to_owned(), 422, "wallet_not_found"),
        (format!(r#"{{"wallet_id": {nines}, "amount": 1}}"#), 422, "wallet_not_found"),
        (r#"{"wallet_id": 3}"#.to_owned(), 400, "missing_field"),
        (r#"{"amount": 1}"#.to_owned(), 400, "missing_field"),
        ("{}".to_owned(), 400, "missing_field"),
        ("[3, 1]".to_owned(), 400, "wrong_type"),
        ("1".to_owned(), 400, "wrong_type"),
        ("null".to_owned(), 400, "wrong_type"),
        (String::new(), 400, "malformed_json"),
        ("{".to_owned(), 400, "malformed_json"),
        ("[".repeat(10_000), 400, "malformed_json"),
        (amount(&"[".repeat(10_000)), 400, "malformed_json"),
        ("wallet_id=3&amount=1".to_owned(), 400, "malformed_json"),
    ];
    for (client, path) in [(&bank, PATHS[0]), (&anna.client, PATHS[1])] {
        for (body, status, code) in &table {
            client.post_text(path, body.as_str()).await.expect_problem(*status, code);
        }
        let request = client.request("POST", path).header("content-type", "application/json");
        client.send(request.body(vec![b'{', 0xff])).await.expect_problem(400, "malformed_json");
        client.send(client.request("POST", path)).await.expect_problem(400, "malformed_json");
    }
    assert_eq!(anna.client.balance().await, "100.00");
    assert_eq!(boris.client.balance().await, "0.00");
    assert_eq!(bank.balance().await, "-100.00");
    assert!(!service.log().contains("ERROR"), "{}", service.log());
}

#[tokio::test]
async fn media_types() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "text/json"] {
        let request = anna.client.request("POST", PATHS[1]).header("content-type", kind);
        let answer = anna.client.send(request.body(r#"{"wallet_id": 1, "amount": 1}"#)).await;
        answer.expect_problem(415, "unsupported_media_type");
    }
    let request = anna.client.request("POST", PATHS[1]);
    let request = request.header("content-type", "application/vnd.kopeck+json; charset=utf-8");
    let answer = anna.client.send(request.body(r#"{"wallet_id": 1, "amount": 1}"#)).await;
    answer.expect_problem(422, "insufficient_funds");
}

#[tokio::test]
async fn bodies_are_utf_8_and_say_nothing_else() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "1").await;
    let single = r#"{"wallet_id": 1, "amount": 0.01}"#;
    let batch = format!(r#"{{"mode": "atomic", "operations": [{single}]}}"#);
    let lines = format!("{single}\n");
    for (path, kind, body) in [
        (PATHS[1], "application/json", single),
        (PATHS[1], "application/vnd.kopeck+json", single),
        ("/api/transfers/batch", "application/json", &batch),
        ("/api/transfers/batch", "application/jsonl", &lines),
    ] {
        let send = async |charset: &str| {
            let kind = format!("{kind}; charset={charset}");
            let request = anna.client.request("POST", path).header("content-type", kind);
            anna.client.send(request.body(body.to_owned())).await
        };
        for other in ["latin1", "UTF-16", "\"koi8-r\""] {
            let refused = send(other).await.expect_problem(415, "unsupported_media_type");
            assert!(refused.body["detail"].as_str().unwrap().contains("utf-8"), "{}", refused.text);
        }
        for utf_8 in ["utf-8", "\"UTF-8\""] {
            send(utf_8).await.expect_ok();
        }
    }
    assert_eq!(anna.client.balance().await, "0.92");
}

/// What is packed is not unpacked, and what only says that it is packed is not taken.
#[tokio::test]
async fn packed_bodies_are_refused() {
    const GZIP: [u8; 22] =
        [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 174, 5, 0, 67, 191, 166, 163, 2, 0, 0, 0];
    let service = Service::start();
    let anna = service.sign_up_with("anna", "1").await;
    let bank = service.bank().await;
    let pay = r#"{"wallet_id": 1, "amount": 0.01}"#;
    let deposit = format!(r#"{{"wallet_id": {}, "amount": 0.01}}"#, anna.wallet);
    let batch = format!(r#"{{"mode": "atomic", "operations": [{pay}]}}"#);
    let claim =
        format!(r#"{{"email": "{}", "password": "{}"}}"#, anna.email, crate::harness::PASSWORD);
    let wanted = r#"{"name": "b", "email": "b@example.org", "password": "Pa$$w0rd"}"#;
    let (json, lines) = ("application/json", "application/jsonl");
    let form = "application/x-www-form-urlencoded";
    let nobody = service.client();
    for (client, path, kind, body) in [
        (&anna.client, PATHS[1], json, pay),
        (&bank, PATHS[0], json, &deposit),
        (&anna.client, "/api/transfers/batch", json, &batch),
        (&anna.client, "/api/transfers/batch", lines, pay),
        (&nobody, "/api/login", json, &claim),
        (&nobody, "/api/signup", json, wanted),
        (&anna.client, "/api/logout", json, "{}"),
        (&anna.client, "/send", form, "to=1&amount=1"),
        (&nobody, "/login", form, "email=a&password=b"),
    ] {
        let send = async |coding: &str, body: Vec<u8>| {
            let request = client.request("POST", path).header("content-type", kind);
            client.send(request.header("content-encoding", coding).body(body)).await
        };
        for coding in ["gzip", "identity, br", "no-such"] {
            for body in [GZIP.to_vec(), body.into()] {
                let refused = send(coding, body).await;
                let refused = refused.expect_problem(415, "unsupported_content_encoding");
                assert_eq!(refused.header("accept-encoding"), "identity", "{path}");
            }
        }
        if path != "/api/logout" {
            let taken = send("identity", body.into()).await;
            assert!(taken.status == 200 || kind == form && taken.status != 415, "{}", taken.text);
        }
    }
    assert_eq!(anna.client.balance().await, "0.98");
    let request = anna.client.request("POST", "/send").header("accept", "text/html");
    let page = anna.client.send(request.header("content-encoding", "gzip").body("to=1")).await;
    assert_eq!(page.status, 415);
    assert!(page.header("content-type").starts_with("text/html"), "{}", page.text);
}

/// Who is still sending hears it too.
#[tokio::test]
async fn a_long_packed_body_is_refused() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let request = anna.client.request("POST", "/api/transfers/batch");
    let request = request.header("content-type", "application/jsonl");
    let request = request.header("content-encoding", "gzip").body(vec![0; 8_000_000]);
    let refused = anna.client.send(request).await;
    refused.expect_problem(415, "unsupported_content_encoding");
}

#[tokio::test]
async fn bodies_are_bounded() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let body = format!(r#"{{"wallet_id": 1, "amount": 1, "details": "{}"}}"#, "x".repeat(70_000));
    anna.client.post_text(PATHS[1], body).await.expect_problem(413, "body_too_large");
}

#[tokio::test]
async fn unknown_routes_and_methods() {
    let service = Service::start();
    let client = service.client();
    for path in ["/api", "/api/", "/api/nothing", "/api/wallet/", "/api/wallet/2"] {
        for method in ["GET", "POST", "DELETE", "PROPFIND"] {
            let answer = client.send(client.request(method, path)).await;
            answer.expect_problem(404, "not_found");
        }
    }
    for path in ["/api/signup", "/api/login", "/api/logout", PATHS[0], PATHS[1]] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = client.send(client.request(method, path)).await;
            let answer = answer.expect_problem(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), "POST");
        }
    }
}

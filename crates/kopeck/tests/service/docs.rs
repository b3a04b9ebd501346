//! `/api/openapi.json` and `/docs`: the description, against the handlers.
//!
//! Every answer in all other modules is checked against it too (see `contract`).

use serde_json::{Value, json};

use crate::harness::Service;

#[tokio::test]
async fn every_route_is_described_and_answers() {
    let service = Service::start();
    let client = service.client();
    let description = client.get("/api/openapi.json").await.expect_ok().body;
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut described = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.push(format!("{method} {path}"));
            let answer = client.send(client.request(&method.to_uppercase(), path)).await;
            let named = operation["responses"].get(answer.status.to_string()).is_some();
            for (status, response) in operation["responses"].as_object().unwrap() {
                let waits = status == "429" || status == "503";
                assert_eq!(
                    response["headers"]["Retry-After"].is_object(),
                    waits,
                    "{method} {path}"
                );
            }
            assert!(named && answer.status != 404 && answer.status != 405, "{method} {path}");
        }
    }
    described.sort();
    assert_eq!(
        described,
        [
            "get /api/checkpoint",
            "get /api/operations/{operation_id}/receipt",
            "get /api/statement.csv",
            "get /api/statement.jsonl",
            "get /api/wallet",
            "post /api/external_to_wallet",
            "post /api/login",
            "post /api/logout",
            "post /api/signup",
            "post /api/transfers/batch",
            "post /api/wallet_to_wallet",
        ]
    );
    check_references(&description, &description);
}

/// Other programs take their names from it, and `/docs` its order.
#[tokio::test]
async fn the_description_speaks_for_itself() {
    let service = Service::start();
    let description = service.client().get("/api/openapi.json").await.expect_ok().body;
    let mut names = Vec::new();
    for operation in description["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
    {
        // There it is no Markdown.
        let summary = operation["summary"].as_str().unwrap();
        assert!(!summary.contains(['`', '\n']), "{summary}");
        names.push(operation["operationId"].as_str().unwrap());
    }
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "batch",
            "checkpoint",
            "external_to_wallet",
            "log_in",
            "log_out",
            "receipt",
            "sign_up",
            "statement_csv",
            "statement_json_lines",
            "wallet",
            "wallet_to_wallet",
        ]
    );
    let tags =
        description["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap());
    assert_eq!(tags.collect::<Vec<_>>(), ["account", "wallet", "money", "receipts"]);
    let replayed = |path: &str| -> Vec<String> {
        let responses = &description["paths"][path]["post"]["responses"];
        let named = responses
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, response)| response["headers"]["Idempotency-Replayed"].is_object());
        named.map(|(status, _)| status.clone()).collect()
    };
    assert_eq!(replayed("/api/signup"), ["200", "409"]);
    assert_eq!(replayed("/api/login"), [""; 0]);
    for path in ["/api/external_to_wallet", "/api/wallet_to_wallet", "/api/transfers/batch"] {
        assert_eq!(replayed(path), ["200", "422"], "{path}");
    }
}

/// Every reference leads somewhere.
fn check_references(part: &Value, whole: &Value) {
    match part {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(whole.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            fields.values().for_each(|field| check_references(field, whole));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(item, whole)),
        _ => {}
    }
}

#[tokio::test]
async fn the_request_schemas_fit_the_examples() {
    let service = Service::start();
    let description = service.client().get("/api/openapi.json").await.expect_ok().body;
    let fits = |path: &str, body: Value| {
        let schema = &description["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            ["schema"];
        assert!(schema.is_object());
        let whole = json!({"components": description["components"], "allOf": [schema]});
        jsonschema::validator_for(&whole).unwrap().is_valid(&body)
    };
    for amount in [json!(115.6), json!("115.60"), json!(1)] {
        assert!(fits("/api/wallet_to_wallet", json!({"wallet_id": 2, "amount": amount})));
    }
    let noted = json!({"wallet_id": 2, "amount": 1, "details": "Перевод из Тинькофф"});
    assert!(fits("/api/external_to_wallet", noted));
    for bad in [
        json!({"wallet_id": 2}),
        json!({"wallet_id": 2, "amount": null}),
        json!({"wallet_id": "2", "amount": 1}),
        json!({"wallet_id": 2, "amount": 1, "x": 1}),
    ] {
        assert!(!fits("/api/wallet_to_wallet", bad));
    }
    let wanted = json!({"name": "test1", "email": "test1@localhost.ru", "password": "Pa$$w0rd"});
    assert!(fits("/api/signup", wanted));
}

/// What the schema of a request takes, the service takes, and nothing else.
#[tokio::test]
async fn a_schema_and_the_service_take_the_same() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let description = anna.client.get("/api/openapi.json").await.expect_ok().body;
    let batched = &description["components"]["schemas"]["BatchOperation"];
    let path = "/api/wallet_to_wallet";
    let single =
        &description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let is_valid = |schema: &Value, body: &str| {
        let whole = json!({"components": description["components"], "allOf": [schema]});
        let body = serde_json::from_str(body).unwrap();
        jsonschema::validator_for(&whole).unwrap().is_valid(&body)
    };
    for (fields, taken) in [
        (r#""wallet_id": 1, "details": null"#, true),
        (r#""wallet_id": 1.0"#, true),
        (r#""wallet_id": 1e0"#, true),
        (r#""wallet_id": 10e-1"#, true),
        (r#""wallet_id": 15e-1"#, false),
        (r#""wallet_id": 1.5"#, false),
        (r#""wallet_id": null"#, false),
        (r#""wallet_id": "1""#, false),
        (r#""wallet_id": 1, "details": 1"#, false),
        (r#""wallet_id": 1, "note": "x""#, false),
    ] {
        let body = format!(r#"{{{fields}, "amount": 0.01}}"#);
        assert_eq!(is_valid(single, &body), taken, "{body}");
        let answer = anna.client.post_text(path, body.as_str()).await;
        assert_eq!(answer.status, if taken { 200 } else { 400 }, "{body}: {}", answer.text);
    }
    for (fields, taken) in [
        (r#""wallet_id": 1"#, true),
        (r#""wallet_id": 1, "type": null"#, true),
        (r#""wallet_id": 1, "type": "transfer""#, true),
        (r#""wallet_id": 1, "type": "loan""#, false),
        (r#""wallet_id": 1, "type": {"transfer": null}"#, false),
        (r#""wallet_id": 1, "details": null"#, true),
        (r#""wallet_id": 1, "external_id": null"#, true),
        (r#""wallet_id": 1, "idempotency_key": null"#, true),
        (r#""wallet_id": 1e0"#, true),
        (r#""wallet_id": 15e-1"#, false),
        (r#""wallet_id": 1, "note": "x""#, false),
    ] {
        let body = format!(r#"{{{fields}, "amount": 0.01}}"#);
        assert_eq!(is_valid(batched, &body), taken, "{body}");
        let batch = format!(r#"{{"mode": "atomic", "operations": [{body}]}}"#);
        let answer = anna.client.post_text("/api/transfers/batch", batch).await;
        assert_eq!(answer.status, if taken { 200 } else { 400 }, "{body}: {}", answer.text);
    }
    let batch = &description["components"]["schemas"]["Batch"];
    let one = r#"{"wallet_id": 1, "amount": 0.01}"#;
    for (fields, taken) in [
        (r#""mode": "independent""#, true),
        (r#""mode": "both""#, false),
        (r#""mode": "atomic", "key": "x""#, false),
    ] {
        let body = format!(r#"{{{fields}, "operations": [{one}]}}"#);
        assert_eq!(is_valid(batch, &body), taken, "{body}");
        let answer = anna.client.post_text("/api/transfers/batch", body.as_str()).await;
        assert_eq!(answer.status, if taken { 200 } else { 400 }, "{body}: {}", answer.text);
    }
}

/// Where the currency has its point decides which amount is the greatest.
#[tokio::test]
async fn the_greatest_amount_is_the_one_that_is_taken() {
    for (currency, greatest, above) in [
        ("RUB", "9999999999999.99", "10000000000000"),
        ("JPY", "999999999999999", "1000000000000000"),
        ("KWD", "999999999999.999", "1000000000000"),
    ] {
        let service = Service::start_with(&["--currency", currency]);
        let anna = service.sign_up("anna").await;
        let bank = service.bank().await;
        let description = bank.get("/api/openapi.json").await.expect_ok().body;
        let amount = &description["components"]["schemas"]["Amount"];
        let said = amount["description"].as_str().unwrap();
        assert!(said.contains(&format!("At most {greatest},")), "{said}");
        let schema = jsonschema::validator_for(amount).unwrap();
        let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert!(schema.is_valid(&number(greatest)) && !schema.is_valid(&number(above)), "{amount}");
        let refused = bank.deposit(anna.wallet, above).await;
        let refused = refused.expect_problem(422, "amount_too_large");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("9999999999999.99 where two stand after the point"), "{detail}");
        let paid = bank.deposit(anna.wallet, greatest).await.expect_ok();
        assert_eq!(paid.number("balance"), greatest);
    }
}

#[tokio::test]
async fn the_pages_load_nothing_from_elsewhere() {
    let service = Service::start();
    let client = service.client();
    let page = client.get("/docs/").await.expect_ok();
    assert!(page.header("content-type").starts_with("text/html"));
    let assets = page
        .text
        .split(['"', '\''])
        .filter(|text| [".js", ".css", ".png"].iter().any(|end| text.ends_with(end)));
    let mut count = 0;
    for asset in assets {
        count += 1;
        assert!(!asset.contains("//"), "{asset} is elsewhere");
        let path = format!("/docs/{}", asset.trim_start_matches("./"));
        client.get(&path).await.expect_ok();
    }
    assert!(count >= 4, "{}", page.text);
    let start = client.get("/docs/swagger-initializer.js").await.expect_ok();
    assert!(start.text.contains("/api/openapi.json"), "{}", start.text);
    assert!(
        !start.text.contains("//validator") && !start.text.contains("https://"),
        "{}",
        start.text
    );
}

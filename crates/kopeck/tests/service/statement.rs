//! `/api/statement.csv`, `/api/statement.jsonl`, `/statement.csv`: a whole history as a file.

use serde_json::{Value, json};

use crate::harness::{Client, Service};

/// Every operation of the caller's history, newest first, as `/api/wallet` has it.
async fn operations(client: &Client) -> Vec<Value> {
    let (mut operations, mut path) = (Vec::new(), "/api/wallet?limit=100".to_owned());
    loop {
        let page = client.get(&path).await.expect_ok().body;
        operations.extend(page["operations"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/wallet?limit=100&cursor={cursor}"),
            None => return operations,
        }
    }
}

#[tokio::test]
async fn a_statement_has_everything_and_is_exact() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "9999999999999.99").await;
    let bank = service.bank().await;
    for details in [Some("=HYPERLINK(\"//example.org\")"), Some("чай, два"), None] {
        let body = json!({"wallet_id": 1, "amount": "0.07", "details": details});
        anna.client.post("/api/wallet_to_wallet", &body).await.expect_ok();
    }
    let body = json!({"wallet_id": anna.wallet, "amount": "0.01", "external_id": "-pay-7"});
    bank.post("/api/external_to_wallet", &body).await.expect_ok();

    let lines = anna.client.get("/api/statement.jsonl").await.expect_ok();
    assert_eq!(lines.header("content-type"), "application/jsonl");
    assert_eq!(
        lines.header("content-disposition"),
        "attachment; filename=\"kopeck-wallet-2.jsonl\""
    );
    let expected = operations(&anna.client).await;
    let found: Vec<Value> = lines
        .text
        .lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let operation = line.as_object_mut().unwrap();
            assert_eq!(operation.remove("currency").unwrap(), "RUB");
            // Where there is none, the wallet's page leaves it out.
            if operation["external_id"].is_null() {
                operation.remove("external_id");
            }
            line
        })
        .collect();
    assert_eq!(found, expected);
    assert!(lines.text.contains("\"amount\":9999999999999.99,"), "{}", lines.text);

    let sheet = anna.client.get("/api/statement.csv").await.expect_ok();
    assert_eq!(sheet.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(sheet.header("content-disposition"), "attachment; filename=\"kopeck-wallet-2.csv\"");
    let rows: Vec<&str> = sheet.text.split_terminator("\r\n").collect();
    assert_eq!(
        rows[0],
        "operation_id,type,amount,balance,currency,counterparty_wallet_id,details,external_id,timestamp"
    );
    let found: Vec<&str> = rows[1..].iter().map(|row| row.rsplit_once(',').unwrap().0).collect();
    assert_eq!(
        found,
        [
            "5,deposit,0.01,9999999999999.79,RUB,1,,'-pay-7",
            "4,transfer_out,0.07,9999999999999.78,RUB,1,,",
            "3,transfer_out,0.07,9999999999999.85,RUB,1,\"чай, два\",",
            "2,transfer_out,0.07,9999999999999.92,RUB,1,\"'=HYPERLINK(\"\"//example.org\"\")\",",
            "1,deposit,9999999999999.99,9999999999999.99,RUB,1,,",
        ]
    );
    let sheet = bank.get("/api/statement.csv").await.expect_ok();
    assert!(sheet.text.contains("1,deposit,9999999999999.99,-9999999999999.99,RUB,2,,,"));
}

#[tokio::test]
async fn a_long_statement_is_whole_and_has_no_operation_of_later() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "1000").await;
    let paying: Vec<_> = (0..8)
        .map(|_| {
            let client = anna.client.clone();
            tokio::spawn(async move {
                for _ in 0..150 {
                    client.transfer(1, "0.01").await.expect_ok();
                }
            })
        })
        .collect();
    for task in paying {
        task.await.unwrap();
    }
    // The first page is read before the first byte; what is done then is not in it.
    let mut response = anna.client.request("GET", "/api/statement.jsonl").send().await.unwrap();
    anna.client.transfer(1, "0.01").await.expect_ok();
    let mut text = String::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let ids: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["operation_id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (1..=1_201).rev().collect::<Vec<u64>>());
}

/// A download that nobody reads goes on for as long as more does not fit in the sockets.
#[tokio::test]
async fn sixteen_downloads_of_one_user_at_a_time() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "1000").await;
    let boris = service.sign_up("boris").await;
    // Far more than sockets take: what has gone into them is over for the service.
    let pay = json!({"wallet_id": boris.wallet, "amount": "0.01", "details": "д".repeat(200)});
    let batch = json!({"mode": "atomic", "operations": vec![pay; 8_192]});
    for _ in 0..4 {
        anna.client.post("/api/transfers/batch", &batch).await.expect_ok();
    }
    let mut held = Vec::new();
    for path in
        ["/api/statement.csv", "/api/statement.jsonl", "/statement.csv"].iter().cycle().take(16)
    {
        let response = anna.client.request("GET", path).send().await.unwrap();
        assert_eq!(response.status(), 200);
        held.push(response);
    }
    let path = "/api/statement.jsonl?from=2999-01-01";
    let refused = anna.client.get(path).await.expect_problem(503, "overloaded");
    let detail = "at most 16 downloads of one user at a time; try again";
    assert_eq!(refused.body["detail"], detail);
    assert_eq!(refused.header("retry-after"), "1");
    let page = anna.client.get("/statement.csv").await;
    assert_eq!((page.status, page.header("retry-after")), (503, "1"));
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    boris.client.get(path).await.expect_ok();
    drop(held);
    // When the service sees that they are gone, is up to the machine.
    let start = std::time::Instant::now();
    while anna.client.get(path).await.status != 200 {
        assert!(start.elapsed().as_secs() < 60, "the turns are not given back");
    }
}

#[tokio::test]
async fn a_period_is_told_in_days() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "5").await;
    let count = async |query: &str| {
        let path = format!("/api/statement.jsonl?{query}");
        anna.client.get(&path).await.expect_ok().text.lines().count()
    };
    let operation = &operations(&anna.client).await[0];
    let today = &operation["timestamp"].as_str().unwrap()[..10];
    assert_eq!(count(&format!("from={today}&to={today}")).await, 1);
    assert_eq!(count("from=2026-01-01").await, 1);
    assert_eq!(count("to=2020-01-01").await, 0);
    assert_eq!(count("from=9999-01-01").await, 0);
    let client = &anna.client;
    let bad = client.get("/api/statement.csv?from=yesterday").await;
    let bad = bad.expect_problem(400, "malformed_query").body;
    assert_eq!(bad["field"], "from");
    assert_eq!(bad["detail"], "`from` must be a day such as 2026-01-31, in UTC");
    let bad = client.get("/api/statement.jsonl?from=2026-01-02&to=2026-01-01").await;
    let bad = bad.expect_problem(400, "malformed_query").body;
    assert_eq!(
        (&bad["field"], bad["detail"].as_str().unwrap().starts_with("`to` ")),
        (&json!("to"), true)
    );
    client.get("/api/statement.jsonl?cursor=1").await.expect_problem(400, "malformed_query");
}

#[tokio::test]
async fn nobody_elses() {
    let service = Service::start();
    let stranger = service.client();
    for path in ["/api/statement.csv", "/api/statement.jsonl"] {
        stranger.get(path).await.expect_problem(401, "not_logged_in");
    }
    let page = stranger.get("/statement.csv").await;
    assert_eq!((page.status, page.header("location")), (303, "/login"));
}

#[tokio::test]
async fn the_pages_file_is_for_a_spreadsheet_of_its_language() {
    let service = Service::start_with(&["--time-zone", "Europe/Moscow"]);
    let anna = service.sign_up_with("anna", "1234.5").await;
    let body = json!({"wallet_id": 1, "amount": "11.10", "details": "=чай; -два"});
    anna.client.post("/api/wallet_to_wallet", &body).await.expect_ok();
    let ask = async |client: &Client, language: &str| {
        let request = client.request("GET", "/statement.csv").header("accept-language", language);
        let answer = client.send(request).await.expect_ok();
        assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
        // The time's digits are the clock's.
        let times = answer.text.split_terminator("\r\n").map(|row| {
            let digits = |part: &str| part.len() == 19 && part.starts_with("20");
            let separator = if language == "ru" { ';' } else { ',' };
            let parts = row.split(separator).map(|part| if digits(part) { "TIME" } else { part });
            parts.collect::<Vec<_>>().join(&separator.to_string())
        });
        times.collect::<Vec<_>>()
    };
    assert_eq!(
        ask(&anna.client, "ru").await,
        [
            "\u{feff}Номер операции;Время (Europe/Moscow);Операция;Сумма;Баланс после;Валюта;Сообщение",
            "2;TIME;На кошелёк 1;-11,10;1223,40;RUB;\"'=чай; '-два\"",
            "1;TIME;Пополнение от банка;1234,50;1234,50;RUB;",
        ]
    );
    assert_eq!(
        ask(&anna.client, "en").await,
        [
            "\u{feff}Operation,Time (Europe/Moscow),What,Amount,Balance after,Currency,Note",
            "2,TIME,To wallet 1,-11.10,1223.40,RUB,'=чай; '-два",
            "1,TIME,Paid in by the bank,1234.50,1234.50,RUB,",
        ]
    );
    assert_eq!(
        ask(&service.bank().await, "en").await[1..],
        [
            "2,TIME,From wallet 2,11.10,-1223.40,RUB,'=чай; '-два",
            "1,TIME,Paid into wallet 2,-1234.50,-1234.50,RUB,",
        ]
    );
}

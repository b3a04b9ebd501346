//! SIGKILL in the middle of load, ten times over, seen from outside.
//!
//! The test keeps its own book: what it sent, and what it was told. A request that got no answer is
//! *unknown*: it may be there once, or not at all. Every attempt carries a text of its own in the
//! details, by which it is found again in the histories.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, PASSWORD, Service};

const KILLS: u64 = 10;
const PEOPLE: u64 = 6;
const ACKNOWLEDGED_BEFORE_KILL: u64 = 30;

/// What became of an attempt, as far as its sender knows.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Acknowledged { operation: u64, balance: String },
    Refused,
    Unknown,
}

#[derive(Debug, Clone)]
struct Attempt {
    from: u64,
    to: u64,
    /// Whole units, so that the exact text is the number with `.00`.
    amount: u64,
    fate: Fate,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_operation_outlives_ten_kills() {
    let mut service = Service::start();
    for number in 2..2 + PEOPLE {
        assert_eq!(service.sign_up(&number.to_string()).await.wallet, number);
    }
    let mut book = BTreeMap::new();
    for kill in 0..KILLS {
        let clients = log_in_all(&service).await;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let senders: Vec<_> = (1..2 + PEOPLE)
            .zip(clients)
            .map(|(wallet, client)| {
                tokio::spawn(send(client, wallet, kill, Arc::clone(&acknowledged)))
            })
            .collect();
        while acknowledged.load(Relaxed) < ACKNOWLEDGED_BEFORE_KILL {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(kill * 61 % 150)).await;
        service.kill();
        for sender in senders {
            for (name, attempt) in sender.await.unwrap() {
                assert!(book.insert(name, attempt).is_none());
            }
        }
        service = service.start_again();
        check(&service, &book).await;
    }
}

/// The bank first, then everybody: wallet `n` is at index `n - 1`.
async fn log_in_all(service: &Service) -> Vec<Client> {
    let mut clients = vec![service.bank().await];
    for number in 2..2 + PEOPLE {
        let client = service.client();
        let claim = json!({"email": format!("{number}@example.org"), "password": PASSWORD});
        client.post("/api/login", &claim).await.expect_ok();
        clients.push(client);
    }
    clients
}

/// Sends until the service is gone.
async fn send(
    client: Client,
    from: u64,
    kill: u64,
    acknowledged: Arc<AtomicU64>,
) -> Vec<(String, Attempt)> {
    let mut attempts = Vec::new();
    for number in 0.. {
        let name = format!("{kill}-{from}-{number}");
        let to = 2 + (from + number) % PEOPLE;
        let amount = if from == 1 { 100 } else { 1 + number % 30 };
        let path = if from == 1 { "/api/external_to_wallet" } else { "/api/wallet_to_wallet" };
        let body = json!({"wallet_id": to, "amount": amount, "details": name});
        let answer = client.try_send(client.request("POST", path).json(&body)).await;
        let fate = match answer {
            Ok(answer) if answer.status == 200 => Fate::Acknowledged {
                operation: answer.body["operation_id"].as_u64().unwrap(),
                balance: answer.number("balance"),
            },
            Ok(answer) if answer.status == 422 => Fate::Refused,
            Ok(answer) => panic!("{}", answer.text),
            Err(_) => Fate::Unknown,
        };
        acknowledged.fetch_add(u64::from(matches!(fate, Fate::Acknowledged { .. })), Relaxed);
        let gone = fate == Fate::Unknown;
        attempts.push((name, Attempt { from, to, amount, fate }));
        if gone {
            break;
        }
    }
    attempts
}

async fn check(service: &Service, book: &BTreeMap<String, Attempt>) {
    // By wallet, then by the attempt's name.
    let mut histories = BTreeMap::new();
    let mut sum = 0;
    for (wallet, client) in (1..).zip(log_in_all(service).await) {
        let operations = history(&client).await;
        sum += check_history(wallet, &operations, &client.balance().await);
        let by_name: BTreeMap<String, Value> = operations
            .into_iter()
            .map(|operation| (operation["details"].as_str().unwrap().to_owned(), operation))
            .collect();
        histories.insert(wallet, by_name);
    }
    assert_eq!(sum, 0, "all wallets together");
    for (name, attempt) in book {
        let [sent, got] = [attempt.from, attempt.to]
            .map(|wallet| histories.get_mut(&wallet).unwrap().remove(name));
        match &attempt.fate {
            _ if attempt.from == attempt.to => assert_eq!(sent, None, "{name}"),
            Fate::Refused => assert_eq!((sent, got), (None, None), "{name} was refused"),
            Fate::Unknown if sent.is_none() && got.is_none() => {}
            fate => {
                let (sent, got) = (sent.expect(name), got.expect(name));
                assert_eq!(sent["operation_id"], got["operation_id"], "{name}");
                for (side, other) in [(&sent, attempt.to), (&got, attempt.from)] {
                    assert_eq!(side["amount"].as_f64(), Some(attempt.amount as f64), "{name}");
                    assert_eq!(side["counterparty_wallet_id"], other, "{name}");
                }
                if let Fate::Acknowledged { operation, balance } = fate {
                    assert_eq!(sent["operation_id"], *operation, "{name}");
                    let told = if attempt.from == 1 { &got } else { &sent };
                    let told = told["balance"].as_f64().unwrap();
                    assert_eq!(format!("{told:.2}"), *balance, "{name}");
                }
            }
        }
    }
    for (wallet, rest) in histories {
        assert_eq!(rest.keys().next(), None, "wallet {wallet} has what nobody sent");
    }
}

/// Newest first, over all pages.
async fn history(client: &Client) -> Vec<Value> {
    let mut operations = Vec::new();
    let mut path = "/api/wallet?limit=100".to_owned();
    loop {
        let page = client.get(&path).await.expect_ok().body;
        operations.extend(page["operations"].as_array().unwrap().iter().cloned());
        if page["has_more"] == false {
            return operations;
        }
        path = format!("/api/wallet?limit=100&cursor={}", page["next_cursor"].as_str().unwrap());
    }
}

/// Replays a history from its beginning; gives the wallet's balance in whole units.
fn check_history(wallet: u64, operations: &[Value], balance: &str) -> i64 {
    let (mut units, mut last) = (0, 0);
    for operation in operations.iter().rev() {
        let id = operation["operation_id"].as_u64().unwrap();
        assert!(id > last, "wallet {wallet}: {id} after {last}");
        last = id;
        let amount = operation["amount"].as_f64().unwrap() as i64;
        let comes_in = match operation["type"].as_str().unwrap() {
            "transfer_in" => true,
            "transfer_out" => false,
            "deposit" => wallet != 1,
            other => panic!("{other}"),
        };
        units += if comes_in { amount } else { -amount };
        assert_eq!(operation["balance"].as_f64(), Some(units as f64), "wallet {wallet}, {id}");
        assert!(wallet == 1 || units >= 0, "wallet {wallet} is below zero after {id}");
    }
    assert_eq!(format!("{units}.00"), balance, "wallet {wallet}");
    units
}

//! Batches whose body comes slowly, or whose answer is not read: what they hold, and for how long.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use crate::batches::{BATCH, SEEN_MAX, ask, counts};
use crate::harness::{Client, Service};

/// The cookie of a new session.
async fn cookie(service: &Service, email: &str) -> String {
    let claim = json!({"email": email, "password": crate::harness::PASSWORD});
    let logged_in = service.client().post("/api/login", &claim).await.expect_ok();
    logged_in.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// Begins a batch whose body does not come.
fn hold(service: &Service, cookie: &str) -> TcpStream {
    let head = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: 8000000\r\n\r\n"
    );
    let mut stream = TcpStream::connect(service.url().strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(SEEN_MAX)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // The word to go on comes when the body is read, so the user's turn is taken.
    let mut word = [0; 25];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(word, *b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// Four users who send as many slow bodies as they may keep nobody else from a place.
#[tokio::test]
async fn slow_bodies_hold_their_own_places_only() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let mut held = Vec::new();
    for name in ["boris", "carla", "dora", "egor"] {
        let person = service.sign_up(name).await;
        let cookie = cookie(&service, &person.email).await;
        for _ in 0..16 {
            let mut stream = hold(&service, &cookie);
            // Something of it, so that it is not only the beginning that costs nothing.
            stream.write_all(&[b' '; 100_000]).unwrap();
            held.push(stream);
        }
    }
    let pay = json!({"wallet_id": 1, "amount": 0.01, "details": "д".repeat(200)});
    for count in [1, 8_192] {
        let batch = ask(&anna.client, "atomic", Value::Array(vec![pay.clone(); count])).await;
        assert_eq!(counts(&batch.expect_ok()), (count as u64, 0));
    }
    drop(held);
}

/// A batch whose body does not come holds its user's turn; who sends one too many is told what there is too
/// much of.
#[tokio::test]
async fn sixteen_batches_of_one_user_at_a_time() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up_with("boris", "100").await;
    let cookie = cookie(&service, &anna.email).await;
    let hold = |_| hold(&service, &cookie);
    let pay = async |client: &Client| {
        ask(client, "atomic", json!([{"wallet_id": 1, "amount": 0.01}])).await
    };
    let mut held: Vec<_> = (0..15).map(hold).collect();
    pay(&anna.client).await.expect_ok();
    held.push(hold(15));
    let refused = pay(&anna.client).await.expect_problem(503, "overloaded");
    let detail = "at most 16 batches of one user at a time; nothing was done, try again";
    assert_eq!(refused.body["detail"], detail);
    assert_eq!(refused.header("retry-after"), "1");
    pay(&boris.client).await.expect_ok();
    drop(held);
    // When the service sees that they are gone, is up to the machine.
    let start = Instant::now();
    while pay(&anna.client).await.status != 200 {
        assert!(start.elapsed() < SEEN_MAX, "the places are not given back");
    }
}

/// Its head was read while there was a session.
#[tokio::test]
async fn who_logs_out_before_the_body_has_come_moves_nothing() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let cookie = cookie(&service, &anna.email).await;
    let mut stream = hold(&service, &cookie);
    let anybody = service.client();
    let log_out = anybody.request("POST", "/api/logout").header("cookie", &cookie);
    anybody.send(log_out).await.expect_ok();
    let operations = json!([{"wallet_id": 1, "amount": 1}]);
    let body = json!({"mode": "atomic", "operations": operations}).to_string();
    let spaces = vec![b' '; 8_000_000 - body.len()];
    stream.write_all(&[body.as_bytes(), &spaces].concat()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(status, *b"HTTP/1.1 401");
    assert_eq!(anna.client.balance().await, "100.00");
}

/// A batch of so many operations that cannot be read, of which the answer is twice as long.
fn with_a_long_answer(count: usize) -> String {
    let unknown = format!(r#"{{"wallet_id": 1, "amount": 1, "{}": 1}}"#, "\u{1f4b0}".repeat(200));
    let unknown = vec![unknown; count].join(",");
    format!(r#"{{"mode": "independent", "operations": [{unknown}]}}"#)
}

/// Sends a batch and reads no more of its answer than the status.
fn ask_and_not_read(service: &Service, cookie: &str, body: &str) -> (String, TcpStream) {
    let head = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let address = service.url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SEEN_MAX)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    (String::from_utf8(status.to_vec()).unwrap(), stream)
}

/// Who does not read answers has no more of them in memory than turns.
#[tokio::test]
async fn an_answer_that_is_not_taken_holds_its_turn() {
    // Far more than the system takes of an answer that nobody reads.
    const COUNT: usize = 4_000;
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let cookie = cookie(&service, &anna.email).await;
    let body = with_a_long_answer(COUNT);
    let mut unread = Vec::new();
    for _ in 0..16 {
        let (status, stream) = ask_and_not_read(&service, &cookie, &body);
        assert_eq!(status, "HTTP/1.1 200");
        unread.push(stream);
    }
    let one = json!([{"wallet_id": 1, "amount": 1}]);
    let refused = ask(&anna.client, "independent", one.clone()).await;
    refused.expect_problem(503, "overloaded");
    let mut answer = String::new();
    unread.pop().unwrap().read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(&format!("\"succeeded\":0,\"refused\":{COUNT}}}")));
    ask(&anna.client, "independent", one).await.expect_ok();
}

/// Nor have many users together more than is meant for all, and what is refused for it was not done.
#[tokio::test]
async fn answers_that_are_not_taken_have_an_end_for_all_users_together() {
    // On a busy machine the first of them would else be given up on before the last is asked for.
    let patient = ["--answer-timeout-seconds", "600"];
    let service = Service::start_with(&[&["--batch-bytes-max", "3000000"], &patient[..]].concat());
    let anna = service.sign_up_with("anna", "100").await;
    let body = with_a_long_answer(3_400);
    let mut unread = Vec::new();
    let mut refused = 'all: loop {
        // Each of about 6 MB, and there is room for 64 of 3 MB.
        assert!(unread.len() < 48, "there is no end to it");
        let person = service.sign_up(&format!("person{}", unread.len())).await;
        let cookie = cookie(&service, &person.email).await;
        for _ in 0..16 {
            let (status, stream) = ask_and_not_read(&service, &cookie, &body);
            if status != "HTTP/1.1 200" {
                break 'all stream;
            }
            unread.push(stream);
        }
    };
    assert!(unread.len() > 16, "{}", unread.len());
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("answers to batches of all users together"), "{answer}");
    let pays = body.replace("]}", r#", {"wallet_id": 1, "amount": 1}]}"#);
    let refused = anna.client.post_text(BATCH, pays.clone()).await;
    refused.expect_problem(503, "overloaded");
    let small = json!([{"wallet_id": 1, "amount": 0.01}]);
    ask(&anna.client, "atomic", small).await.expect_ok();
    assert_eq!(anna.client.balance().await, "99.99");
    unread.truncate(16);
    // When the service sees that they are gone, is up to the machine.
    let start = Instant::now();
    while anna.client.post_text(BATCH, pays.clone()).await.status != 200 {
        assert!(start.elapsed() < SEEN_MAX, "the room is not given back");
    }
    assert_eq!(anna.client.balance().await, "98.99");
}

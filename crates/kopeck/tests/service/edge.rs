//! What every answer and every connection has in common.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{PASSWORD, Service};

/// Before this, what a client has done must have been seen. Far more than it takes.
const SEEN_MAX: Duration = Duration::from_secs(30);

#[tokio::test]
async fn security_headers_are_on_every_answer() {
    let service = Service::start();
    let client = service.client();
    for (method, path) in [
        ("GET", "/api/wallet"),
        ("GET", "/api/nothing"),
        ("PUT", "/api/login"),
        ("GET", "/livez"),
        ("GET", "/metrics"),
        ("GET", "/docs/"),
        ("GET", "/nothing"),
        ("GET", "/api/openapi.json"),
        ("GET", "/"),
        ("GET", "/signup"),
    ] {
        let answer = client.send(client.request(method, path)).await;
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("http") && !policy.contains('*'), "{path}: {policy}");
        assert!(path.starts_with("/docs") || !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(!answer.header("permissions-policy").is_empty(), "{path}");
        assert!(!answer.header("referrer-policy").is_empty(), "{path}");
        assert_eq!(answer.header("x-request-id").len(), 16, "{path}");
        assert_eq!(answer.header("strict-transport-security"), "", "{path}");
    }
}

#[tokio::test]
async fn other_sites_change_nothing() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "5").await;
    let send = async |headers: &[(&str, &str)]| {
        let body = json!({"wallet_id": 1, "amount": 1});
        let mut request = anna.client.request("POST", "/api/wallet_to_wallet").json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        anna.client.send(request).await
    };
    for headers in [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        send(headers).await.expect_problem(403, "cross_site_request");
    }
    assert_eq!(anna.client.balance().await, "5.00");
    send(&[("sec-fetch-site", "same-origin")]).await.expect_ok();
    send(&[("origin", service.url())]).await.expect_ok();
    send(&[]).await.expect_ok();
    let request = anna.client.request("GET", "/api/wallet").header("sec-fetch-site", "cross-site");
    anna.client.send(request).await.expect_ok();
}

#[tokio::test]
async fn a_trusted_proxy_says_who_and_how() {
    let trusting = Service::start_with(&[
        "--trusted-proxy",
        "127.0.0.0/8,::1",
        "--sign-ups-per-address",
        "1/1000",
    ]);
    let strict = Service::start_with(&["--sign-ups-per-address", "1/1000"]);
    let sign_up = async |service: &Service, name: &str, address: &str| {
        let client = service.client();
        let body = json!({"name": "a", "email": format!("{name}@b.ru"), "password": PASSWORD});
        let request = client.request("POST", "/api/signup").json(&body);
        let request = request.header("x-forwarded-for", format!("6.6.6.6, {address}"));
        client.send(request.header("x-forwarded-proto", "https")).await
    };
    let answer = sign_up(&trusting, "a", "192.0.2.1").await.expect_ok();
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-kopeck_session=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    assert!(!answer.header("strict-transport-security").is_empty());
    sign_up(&trusting, "b", "192.0.2.1").await.expect_problem(429, "too_many_attempts");
    sign_up(&trusting, "c", "192.0.2.2").await.expect_ok();

    let answer = sign_up(&strict, "a", "192.0.2.1").await.expect_ok();
    assert!(!answer.header("set-cookie").contains("Secure"));
    assert!(answer.header("strict-transport-security").is_empty());
    sign_up(&strict, "b", "192.0.2.2").await.expect_problem(429, "too_many_attempts");
}

#[tokio::test]
async fn a_proxy_that_nobody_told_of_is_told_of_once() {
    const SAID: &str = "set --trusted-proxy";
    let ask = async |service: &Service| {
        let client = service.client();
        for _ in 0..3 {
            let request = client.request("GET", "/api/wallet");
            client.send(request.header("x-forwarded-for", "192.0.2.1")).await;
        }
        service.log().matches(SAID).count()
    };
    assert_eq!(ask(&Service::start()).await, 1);
    assert_eq!(ask(&Service::start_with(&["--trusted-proxy", "::ffff:127.0.0.1"])).await, 0);
}

#[tokio::test]
async fn people_see_pages_and_programs_problems() {
    let service = Service::start();
    let client = service.client();
    let send = async |method: &str, path: &str, accept: &str| {
        let request = client.request(method, path).header("accept", accept);
        client.send(request.header("sec-fetch-site", "cross-site")).await
    };
    let answer = send("POST", "/login", "text/html,*/*").await;
    assert_eq!(answer.status, 403);
    assert!(answer.header("content-type").starts_with("text/html"), "{}", answer.text);
    let answer = send("POST", "/login", "*/*").await;
    answer.expect_problem(403, "cross_site_request");
    let answer = send("POST", "/api/login", "text/html").await;
    answer.expect_problem(403, "cross_site_request");
    let answer = send("GET", "/nothing", "text/html").await;
    assert_eq!(answer.status, 404);
    assert!(answer.header("content-type").starts_with("text/html"), "{}", answer.text);
}

/// RFC 9112, section 3.2.
#[tokio::test]
async fn a_request_says_once_whom_it_asks() {
    let service = Service::start();
    for (head, status) in [
        ("GET /livez HTTP/1.1\r\n", 400),
        ("GET /livez HTTP/1.1\r\nhost: x\r\n", 200),
        ("GET /livez HTTP/1.1\r\nhost: \r\n", 200),
        ("GET /livez HTTP/1.1\r\nhost: x\r\nhost: x\r\n", 400),
        ("GET http://x/livez HTTP/1.1\r\n", 400),
        ("GET /livez HTTP/1.0\r\n", 200),
        ("GET /livez HTTP/1.0\r\nhost: x\r\nhost: y\r\n", 400),
        // By the short way.
        ("POST /api/wallet_to_wallet HTTP/1.1\r\n", 400),
        ("POST /api/wallet_to_wallet HTTP/1.1\r\norigin: http://x\r\n", 400),
        ("POST /api/wallet_to_wallet HTTP/1.1\r\nhost: x\r\n", 401),
    ] {
        let (answer, _) = talk(&service, &format!("{head}connection: close\r\n\r\n"));
        let (said, _) = answer.split_once("\r\n").unwrap();
        assert_eq!(said.split(' ').nth(1).unwrap(), status.to_string(), "{head}: {answer}");
        let problem = answer.contains("application/problem+json");
        assert_eq!(problem && answer.contains("\"malformed_request\""), status == 400, "{answer}");
    }
}

#[tokio::test]
async fn a_page_is_found_with_a_slash_behind_it() {
    let service = Service::start();
    let client = service.client();
    for page in ["/signup", "/login", "/logout"] {
        let answer = client.get(&format!("{page}/")).await;
        assert_eq!((answer.status, answer.header("location")), (308, page));
        assert_eq!(client.post(&format!("{page}/"), &json!({})).await.status, 405, "{page}");
    }
    assert_eq!(client.get("/nothing/").await.status, 404);
}

/// Sends `text` and gives back what comes until the service closes the connection.
fn talk(service: &Service, text: &str) -> (String, Duration) {
    let address = service.url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let (start, mut answer) = (Instant::now(), Vec::new());
    stream.read_to_end(&mut answer).unwrap();
    (String::from_utf8(answer).unwrap(), start.elapsed())
}

#[test]
fn slow_clients_are_let_go() {
    let service =
        Service::start_with(&["--header-timeout-seconds", "1", "--body-timeout-seconds", "1"]);
    for head in ["", "POST /api/login HTTP/1.1\r\nhost: x\r\n"] {
        let (_, waited) = talk(&service, head);
        assert!(waited < Duration::from_secs(10), "{head:?}: {waited:?}");
    }
    let head = "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    let (answer, _) = talk(&service, head);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("request_timeout"), "{answer}");
}

/// A request whose head still lacks its end.
fn begin_to_ask(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SEEN_MAX)).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n").unwrap();
    // The beginning of it must have been read.
    std::thread::sleep(Duration::from_millis(300));
    stream
}

/// Who asks in the last moment is told to ask another one, and is waited for.
#[test]
fn it_is_not_ready_when_it_stops() {
    for signal in ["TERM", "INT", "HUP"] {
        stops_in_order(Service::start_with_a_terminal(), signal);
    }
    let service = Service::start_with_nohup();
    service.ask_to_stop_by("HUP");
    stops_in_order(service, "TERM");
}

fn stops_in_order(mut service: Service, signal: &str) {
    let address = service.url().strip_prefix("http://").unwrap();
    let mut stream = begin_to_ask(address);
    service.ask_to_stop_by(signal);
    let start = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < SEEN_MAX, "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(100));
    stream.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"detail\":\"the service is stopping\""), "{answer}");
    assert!(service.wait().success());
}

/// `timeout` asks the process, and at once its whole group.
#[test]
fn two_signals_at_once_are_one_and_a_later_one_ends_it() {
    for (apart, status) in [("", 0), ("1", 130)] {
        let mut service = Service::start();
        let mut stream = begin_to_ask(service.url().strip_prefix("http://").unwrap());
        service.ask_to_stop_twice(apart);
        // Where it has ended, nobody takes the rest.
        let _ = stream.write_all(b"\r\n");
        assert_eq!(service.wait().code(), Some(status), "{apart:?} seconds apart");
    }
}

#[test]
fn connections_are_bounded() {
    let service = Service::start_with(&["--connections-per-address-max", "3"]);
    let address = service.url().strip_prefix("http://").unwrap().to_owned();
    // They are accepted in their order, so the fourth meets the three.
    let held: Vec<_> = (0..3).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let (answer, _) = talk(&service, "");
    assert_eq!(answer, "", "the fourth is closed");
    drop(held);
    // When the service sees that they are closed, is up to the machine.
    let start = Instant::now();
    let answer = loop {
        match ask_whether_it_lives(&address) {
            Ok(answer) if !answer.is_empty() => break answer,
            // Closed unread, which may be a reset.
            _ => assert!(start.elapsed() < SEEN_MAX, "the places are not given back"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn connections_leave_files_for_the_data() {
    let service = Service::start_with_open_files_of_at_most(320);
    let address = service.url().strip_prefix("http://").unwrap().to_owned();
    let mut held: Vec<_> = (0..64).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut waiting = TcpStream::connect(&address).unwrap();
    waiting.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let answer = waiting.read(&mut [0; 12]);
    assert!(answer.is_err(), "the 65th is not accepted: {answer:?}");
    held.pop();
    waiting.set_read_timeout(Some(SEEN_MAX)).unwrap();
    let mut answer = [0; 12];
    waiting.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(service.log().contains("too few open files"));
}

fn ask_whether_it_lives(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SEEN_MAX))?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A transfer as a person at a raw socket writes it; the session goes with it.
fn raw_deposit(session: &str) -> String {
    let body = r#"{"wallet_id": 2, "amount": 0.01}"#;
    format!(
        "POST /api/external_to_wallet HTTP/1.1\r\nhost: x\r\ncookie: {session}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What was done is answered, whatever else the client sends or no longer sends.
#[tokio::test]
async fn what_moved_money_is_answered() {
    let service = Service::start_with(&["--header-timeout-seconds", "2"]);
    service.sign_up("anna").await;
    let claim = json!({"email": crate::harness::BANK_EMAIL, "password": crate::harness::BANK_PASS});
    let logged_in = service.client().post("/api/login", &claim).await.expect_ok();
    let session = logged_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let deposit = raw_deposit(&session);
    for (rest, answers) in [
        ("".to_owned(), 1),
        ("\r\n".to_owned(), 1),
        ("POST /api/external_to".to_owned(), 1),
        ("not even HTTP\r\n\r\n".to_owned(), 1),
        (deposit.clone(), 2),
    ] {
        let (answer, _) = talk(&service, &format!("{deposit}{rest}"));
        let found = answer.matches("HTTP/1.1 200 OK").count();
        assert_eq!(found, answers, "after {rest:?}: {answer}");
    }

    let address = service.url().strip_prefix("http://").unwrap();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(deposit.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "half closed: {answer}");
    }
    assert_eq!(service.bank().await.balance().await, "-0.26");
}

#[test]
fn what_is_not_http_is_told_so() {
    let service = Service::start_with(&["--header-timeout-seconds", "2"]);
    for (text, status) in [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), "400"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(70_000)), "431"),
    ] {
        let (answer, _) = talk(&service, &text);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn what_is_expected_is_to_go_on_or_refused() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "1").await;
    let send = async |expect: &str| {
        let request = anna.client.request("POST", "/api/wallet_to_wallet").header("expect", expect);
        anna.client.send(request.json(&json!({"wallet_id": 1, "amount": 0.01}))).await
    };
    for other in ["200-ok", "100-continue, 200-ok", "x"] {
        send(other).await.expect_problem(417, "expectation_failed");
    }
    assert_eq!(anna.client.balance().await, "1.00");
    send("100-continue").await.expect_ok();
    let request = anna.client.request("GET", "/api/wallet").header("expect", "x");
    anna.client.send(request).await.expect_problem(417, "expectation_failed");
}

/// Who is still sending hears it too, and who waits for a word before the body is not told to go on.
#[tokio::test]
async fn what_is_refused_for_its_head_is_told() {
    // More than the system takes for a service that does not read.
    const BYTES: usize = 4_000_000;
    let service = Service::start_with(&["--batch-bytes-max", "1000000"]);
    let anna = service.sign_up("anna").await;
    let claim = json!({"email": anna.email, "password": crate::harness::PASSWORD});
    let logged_in = service.client().post("/api/login", &claim).await.expect_ok();
    let cookie = logged_in.header("set-cookie").split(';').next().unwrap();
    let batch = "/api/transfers/batch";
    let (json, lines) = ("application/json", "application/jsonl\r\nidempotency-key: a");
    for (path, cookie, content_type, code) in [
        ("/api/login", "", json, "body_too_large"),
        (batch, "", json, "not_logged_in"),
        (batch, cookie, json, "body_too_large"),
        (batch, cookie, "text/plain", "unsupported_media_type"),
        (batch, cookie, "application/json\r\nidempotency-key:", "idempotency_key_malformed"),
        (batch, cookie, lines, "idempotency_key_misplaced"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {cookie}\r\n\
             content-type: {content_type}\r\ncontent-length: {BYTES}\r\n"
        );
        let sending = talk(&service, &format!("{head}\r\n{}", " ".repeat(BYTES))).0;
        let waiting = talk(&service, &format!("{head}expect: 100-continue\r\n\r\n")).0;
        for answer in [sending, waiting] {
            assert!(answer.starts_with("HTTP/1.1 4"), "{code}: {answer}");
            assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{code}: {answer}");
        }
    }
}

/// Who sends chunks does not say beforehand how many, and is still sending when there are too many.
#[test]
fn too_many_chunks_are_told() {
    const BYTES: usize = 4_000_000;
    let service = Service::start();
    let head = "POST /api/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = format!("{BYTES:x}\r\n{}\r\n0\r\n\r\n", " ".repeat(BYTES));
    let (answer, _) = talk(&service, &format!("{head}{chunks}"));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"code\":\"body_too_large\""), "{answer}");
}

#[test]
fn chunks_are_the_one_transfer_coding() {
    let service = Service::start();
    let ask = |headers: &str| {
        let head = "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
        let chunks = "2\r\n{}\r\n0\r\n\r\n";
        talk(&service, &format!("{head}\r\nconnection: close\r\n{headers}\r\n\r\n{chunks}")).0
    };
    let read = ask("transfer-encoding: chunked");
    assert!(read.starts_with("HTTP/1.1 400 ") && read.contains("missing_field"), "{read}");
    for other in [
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, chunked",
    ] {
        let refused = ask(other);
        assert!(refused.starts_with("HTTP/1.1 501 "), "{other}: {refused}");
        assert!(refused.contains("unsupported_transfer_encoding"), "{other}: {refused}");
    }
    let refused = ask("transfer-encoding: gzip");
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

/// Two lengths of one body: the chunks count, and nothing behind them is a request.
#[test]
fn a_length_beside_chunks_ends_the_connection() {
    let service = Service::start();
    for (first, second) in [
        ("content-length: 4", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 4"),
    ] {
        let (answer, _) = talk(
            &service,
            &format!(
                "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 {first}\r\n{second}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n\
                 GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ),
        );
        assert!(answer.contains("missing_field"), "{first}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{first}: {answer}");
    }
}

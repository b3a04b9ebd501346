//! Batches as JSON Lines, streamed both ways.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use crate::harness::{Client, Service};

const BATCH: &str = "/api/transfers/batch";
const LINES: &str = "application/jsonl";
/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(60);

/// So many lines of an answer are held against the description.
const CHECKED_MAX: usize = 200;

/// An import whose lines are sent one by one, or many at once, as the test likes.
struct Import {
    client: Client,
    /// `None` in it breaks the body off.
    send: Option<mpsc::Sender<Option<Bytes>>>,
    response: reqwest::Response,
    buffer: String,
    ended: bool,
    /// The service may be gone before all it had to say has come.
    may_break_off: bool,
    /// How many lines were held against the description.
    checked: usize,
}

impl Import {
    async fn begin(client: &Client) -> Self {
        let (send, mut receive) = mpsc::channel::<Option<Bytes>>(64);
        let frames = stream::poll_fn(move |context| {
            receive.poll_recv(context).map(|it| {
                it.map(|it| it.map(Frame::data).ok_or(std::io::Error::other("broken off")))
            })
        });
        let request = client.request("POST", BATCH).header("content-type", LINES);
        let request = request.body(reqwest::Body::wrap(StreamBody::new(frames)));
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &LINES.parse().unwrap())
        );
        Self {
            client: client.clone(),
            send: Some(send),
            response,
            buffer: String::new(),
            ended: false,
            may_break_off: false,
            checked: 0,
        }
    }

    async fn send(&self, text: impl Into<String>) {
        let text: String = text.into();
        self.send.as_ref().unwrap().send(Some(text.into())).await.unwrap();
    }

    fn end(&mut self) {
        self.send = None;
    }

    /// The next line of the answer, checked against the description; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.buffer.split_once('\n') {
                let value: Value = serde_json::from_str(line).unwrap();
                self.buffer = rest.to_owned();
                if value["status"] == "ended" {
                    // Who goes on sending is listened to for a while only, and then cut off.
                    self.end();
                }
                // The first ones will do: that is slow.
                if self.checked < CHECKED_MAX {
                    self.checked += 1;
                    self.client.check_component("BatchLine", &value).await;
                }
                return Some(value);
            }
            if self.ended {
                assert_eq!(self.buffer, "", "a line without an end");
                return None;
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk()).await.unwrap();
            match chunk {
                Ok(Some(chunk)) => self.buffer.push_str(std::str::from_utf8(&chunk).unwrap()),
                Ok(None) => self.ended = true,
                Err(_) if self.may_break_off => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn expect(&mut self, index: u64, status: &str, code: Option<&str>) {
        let line = self.next().await.unwrap();
        let found = (line["index"].as_u64(), line["status"].as_str(), line["code"].as_str());
        assert_eq!(found, (Some(index), Some(status), code), "{line}");
    }
}

fn pay(wallet: u64, amount: &str) -> String {
    format!("{{\"wallet_id\": {wallet}, \"amount\": {amount}}}\n")
}

#[tokio::test]
async fn a_byte_order_mark_is_passed_over_where_a_stream_begins() {
    const MARK: &str = "\u{feff}";
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let pay = pay(1, "1");
    for (text, codes) in [
        (format!("{MARK}{pay}{pay}"), &[None, None][..]),
        (format!("{MARK}\r\n{pay}"), &[None]),
        (format!("{MARK}{}", pay.trim_end()), &[None]),
        (MARK.to_owned(), &[]),
        (format!("{MARK}{MARK}{pay}{pay}"), &[Some("malformed_json"), None]),
        (format!("{pay}{MARK}{pay}"), &[None, Some("malformed_json")]),
        (format!("\n{MARK}{pay}"), &[Some("malformed_json")]),
    ] {
        let mut import = Import::begin(&anna.client).await;
        // One byte for itself: the mark may come in parts.
        let (first, rest) = text.as_bytes().split_at(1);
        for part in [first, rest] {
            let send = import.send.as_ref().unwrap();
            send.send(Some(Bytes::copy_from_slice(part))).await.unwrap();
        }
        import.end();
        for (index, code) in (0..).zip(codes) {
            import.expect(index, if code.is_some() { "refused" } else { "OK" }, *code).await;
        }
        assert_eq!(import.next().await, None, "{text:?}");
    }
    let body = format!("{MARK}{pay}");
    let single = anna.client.post_text("/api/wallet_to_wallet", body).await;
    single.expect_problem(400, "malformed_json");
    let body = format!("{MARK}{{\"mode\": \"atomic\", \"operations\": [{pay}]}}");
    anna.client.post_text(BATCH, body).await.expect_problem(400, "malformed_json");
}

#[tokio::test]
async fn each_line_is_answered_while_the_request_goes_on() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up("boris").await;
    let mut import = Import::begin(&anna.client).await;
    import.send(pay(boris.wallet, "10")).await;
    import.expect(0, "OK", None).await;
    assert_eq!(boris.client.balance().await, "10.00", "done before the request has ended");
    // A line in three pieces, with pauses, and another with its beginning.
    for piece in ["{\"wallet_id\": 3, ", "\"amount\"", ": 5}\n{\"wallet_id\""] {
        import.send(piece).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    import.expect(1, "OK", None).await;
    import.send(": 3, \"amount\": 0.5}\r\n\n  \n").await;
    import.expect(2, "OK", None).await;
    import.send("nonsense\n{}\n[1]\n\"\n").await;
    import.expect(3, "refused", Some("malformed_json")).await;
    import.expect(4, "refused", Some("missing_field")).await;
    import.expect(5, "refused", Some("wrong_type")).await;
    import.expect(6, "refused", Some("malformed_json")).await;
    import.send(pay(99, "1") + &pay(3, "1000") + &pay(3, "0") + pay(3, "1").trim_end()).await;
    import.expect(7, "refused", Some("wallet_not_found")).await;
    import.expect(8, "refused", Some("insufficient_funds")).await;
    import.expect(9, "refused", Some("amount_not_positive")).await;
    import.end();
    import.expect(10, "OK", None).await;
    assert_eq!(import.next().await, None);
    assert_eq!(boris.client.balance().await, "16.50");
}

#[tokio::test]
async fn keys_of_lines_and_deposits_of_the_bank() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let bank = service.bank().await;
    for round in 0..2 {
        let mut import = Import::begin(&bank).await;
        import
            .send(
                json!({"wallet_id": anna.wallet, "amount": 5, "idempotency_key": "k"}).to_string()
                    + "\n",
            )
            .await;
        import
            .send(
                json!({"wallet_id": anna.wallet, "amount": 5, "external_id": "p"}).to_string()
                    + "\n",
            )
            .await;
        import.end();
        for _ in 0..2 {
            let line = import.next().await.unwrap();
            assert_eq!((&line["status"], line["replayed"] == true), (&json!("OK"), round == 1));
            assert_eq!(line["wallet_id"], anna.wallet);
        }
        assert_eq!(import.next().await, None);
    }
    assert_eq!(anna.client.balance().await, "10.00");
    for kind in
        ["application/x-ndjson", "application/jsonlines", "Application/JSONL; charset=utf-8"]
    {
        let request = bank.request("POST", BATCH).header("content-type", kind);
        let answer = bank.send(request.body(pay(anna.wallet, "1"))).await.expect_ok();
        assert_eq!(answer.header("content-type"), LINES);
        assert_eq!(answer.text.lines().count(), 1);
    }
    let request = bank.request("POST", BATCH).header("content-type", LINES);
    let keyed = request.header("idempotency-key", "k").body(pay(anna.wallet, "1"));
    bank.send(keyed).await.expect_problem(400, "idempotency_key_misplaced");
    let request = bank.request("POST", BATCH).header("content-type", LINES);
    assert_eq!(bank.send(request.body("")).await.expect_ok().text, "", "nothing is nothing");
    assert_eq!(anna.client.balance().await, "13.00");
}

#[tokio::test]
async fn sixteen_imports_of_one_user_at_a_time() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up_with("boris", "100").await;
    let mut imports = Vec::new();
    for _ in 0..16 {
        imports.push(Import::begin(&anna.client).await);
    }
    let one_more = async |client: &Client| {
        let request = client.request("POST", BATCH).header("content-type", LINES);
        client.send(request.body(pay(1, "1"))).await
    };
    let refused = one_more(&anna.client).await.expect_problem(503, "overloaded");
    let detail = "at most 16 imports of one user at a time; nothing was done, try again";
    assert_eq!(refused.body["detail"], detail);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(anna.client.balance().await, "100.00");
    one_more(&boris.client).await.expect_ok();
    let mut ended = imports.pop().unwrap();
    ended.end();
    assert_eq!(ended.next().await, None);
    // When the service is done with it, is up to the machine.
    let start = std::time::Instant::now();
    while one_more(&anna.client).await.status != 200 {
        assert!(start.elapsed() < SOON, "the turn is not given back");
    }
    imports[0].send(pay(1, "1")).await;
    imports[0].expect(0, "OK", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_lines() {
    const COUNT: u64 = 20_000;
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100000").await;
    let boris = service.sign_up("boris").await;
    let mut import = Import::begin(&anna.client).await;
    let send = import.send.take().unwrap();
    let wallet = boris.wallet;
    let sender = tokio::spawn(async move {
        for index in 0..COUNT {
            let line = if index % 1_000 == 7 { "x\n".to_owned() } else { pay(wallet, "0.01") };
            send.send(Some(line.into())).await.unwrap();
        }
    });
    for index in 0..COUNT {
        let line = import.next().await.unwrap();
        let status = if index % 1_000 == 7 { "refused" } else { "OK" };
        assert_eq!((line["index"].as_u64(), &line["status"]), (Some(index), &json!(status)));
    }
    assert_eq!(import.next().await, None);
    sender.await.unwrap();
    assert_eq!(boris.client.balance().await, "199.80");
}

#[tokio::test]
async fn an_import_ends_early_with_a_reason() {
    let service = Service::start_with(&["--body-timeout-seconds", "1"]);
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up("boris").await;
    // Too long a line, in one piece and without an end.
    for end in ["}\n", ""] {
        let mut import = Import::begin(&anna.client).await;
        import
            .send(
                pay(boris.wallet, "1") + &format!("{{{:20000}{end}", "") + &pay(boris.wallet, "1"),
            )
            .await;
        import.expect(0, "OK", None).await;
        import.expect(1, "ended", Some("line_too_long")).await;
        assert_eq!(import.next().await, None);
    }
    // Silence.
    let mut import = Import::begin(&anna.client).await;
    import.send(pay(boris.wallet, "1") + "{\"wallet_id\": 3").await;
    import.expect(0, "OK", None).await;
    import.expect(1, "ended", Some("request_timeout")).await;
    assert_eq!(import.next().await, None);
    // Logged out meanwhile.
    let mut import = Import::begin(&anna.client).await;
    import.send(pay(boris.wallet, "1")).await;
    import.expect(0, "OK", None).await;
    anna.client.send(anna.client.request("POST", "/api/logout")).await.expect_ok();
    import.send(pay(boris.wallet, "1")).await;
    import.expect(1, "ended", Some("not_logged_in")).await;
    assert_eq!(import.next().await, None);
    assert_eq!(boris.client.balance().await, "4.00");
}

#[tokio::test]
async fn a_stop_ends_an_import_between_two_lines() {
    let mut service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up("boris").await;
    let mut import = Import::begin(&anna.client).await;
    import.send(pay(boris.wallet, "1") + "{\"wallet_id\"").await;
    import.expect(0, "OK", None).await;
    service.ask_to_stop();
    import.expect(1, "ended", Some("closing")).await;
    assert_eq!(import.next().await, None);
    assert!(service.wait().success());
    let service = service.start_again();
    assert_eq!(service.resume(&boris.client).balance().await, "1.00");
}

#[tokio::test]
async fn a_body_that_breaks_off_does_what_was_whole() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up("boris").await;
    let mut import = Import::begin(&anna.client).await;
    import.send(pay(boris.wallet, "1")).await;
    import.expect(0, "OK", None).await;
    // All of it but its end: it may have been meant to go on.
    import.send(pay(boris.wallet, "2").trim_end()).await;
    import.send.take().unwrap().send(None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(boris.client.balance().await, "1.00");
}

/// Broken off on the way there, while the way back stands: so the service goes on, and says it.
#[tokio::test]
async fn a_last_line_without_its_end_is_not_done_when_the_body_breaks_off() {
    let service = Service::start();
    let cookie = session_cookie(&service).await;
    let bank = service.bank().await;
    bank.deposit(2, "100").await.expect_ok();
    let (first, last) = (pay(1, "1"), pay(1, "2"));
    let lines = format!("{first}{}", last.trim_end());
    let head = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\ncontent-type: {LINES}\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    let address = service.url().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let text = format!("{head}{:x}\r\n{lines}\r\n", lines.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer.matches("\"status\":\"OK\"").count(), 1, "{answer}");
    let ended = r#"{"index":1,"status":"ended","code":"malformed_request""#;
    assert!(answer.contains(ended), "{answer}");
    assert_eq!(bank.balance().await, "-99.00");
}

/// A client that sends and never reads is held up, costs little memory, and is let go.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_held_up_and_let_go() {
    let service = Service::start_with(&["--answer-timeout-seconds", "2"]);
    let anna = service.sign_up_with("anna", "100").await;
    let cookie = session_cookie(&service).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = service.url().strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let head = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\ncontent-type: {LINES}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let lines = "x\n".repeat(4_000);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    // Each line of 2 bytes has an answer of a hundred: what would be held of them is far more than
    // what the sockets take.
    let sent = async {
        for sent in 0..100_000_u64 {
            if stream.write_all(chunk.as_bytes()).await.is_err() {
                return sent;
            }
        }
        panic!("nothing holds the sender up");
    };
    let sent = tokio::time::timeout(SOON, sent).await.expect("it is not let go");
    assert!(sent < 2_000, "{sent} chunks were taken without an answer being read");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(anna.client.balance().await, "100.00");
}

/// Who asks whether to go on is told so, before anything is answered.
#[tokio::test]
async fn a_client_that_waits_for_a_word_gets_it() {
    let service = Service::start();
    let mut stream = told_to_go_on(&service).await;
    stream.write_all(b"x\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.contains("malformed_json"), "{answer}");
}

/// Of who was told to go on and says nothing, a stop does not wait for the first line.
#[tokio::test]
async fn a_stop_ends_an_import_before_its_first_line() {
    let mut service = Service::start();
    let mut stream = told_to_go_on(&service).await;
    service.ask_to_stop();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.contains(r#"{"index":0,"status":"ended","code":"closing""#), "{answer}");
    assert!(service.wait().success());
}

/// Begins an import of two bytes, of which none has come.
async fn told_to_go_on(service: &Service) -> tokio::net::TcpStream {
    let cookie = session_cookie(service).await;
    let address: std::net::SocketAddr =
        service.url().strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\ncontent-type: {LINES}\r\n\
         content-length: 2\r\nconnection: close\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut word = [0; 25];
    tokio::time::timeout(SOON, stream.read_exact(&mut word)).await.unwrap().unwrap();
    assert_eq!(std::str::from_utf8(&word).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// A session as a raw client sends it.
async fn session_cookie(service: &Service) -> String {
    let client = service.client();
    let wanted =
        json!({"name": "raw", "email": "raw@example.org", "password": crate::harness::PASSWORD});
    let answer = client.post("/api/signup", &wanted).await.expect_ok();
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// Single requests are refused when the queue is full; lines wait, and take room from each other only
/// until they are done.
#[tokio::test(flavor = "multi_thread")]
async fn imports_wait_for_a_full_queue() {
    const COUNT: u64 = 6_000;
    let service = Service::start_with(&["--queue-operations-max", "1"]);
    let anna = service.sign_up_with("anna", "1000").await;
    let boris = service.sign_up("boris").await;
    let imports: Vec<_> = (0..8)
        .map(|_| {
            let (client, wallet) = (anna.client.clone(), boris.wallet);
            tokio::spawn(async move {
                let mut import = Import::begin(&client).await;
                import.send(pay(wallet, "0.01").repeat(COUNT as usize)).await;
                import.end();
                for index in 0..COUNT {
                    import.expect(index, "OK", None).await;
                }
                assert_eq!(import.next().await, None);
            })
        })
        .collect();
    for import in imports {
        import.await.unwrap();
    }
    assert_eq!(boris.client.balance().await, "480.00");
}

/// However many imports wait, and however small the queue is.
#[tokio::test(flavor = "multi_thread")]
async fn imports_leave_half_of_the_queue_to_single_requests() {
    let service = Service::start_with(&["--queue-operations-max", "4096"]);
    let anna = service.sign_up_with("anna", "1000").await;
    let boris = service.sign_up_with("boris", "2").await;
    let shell = rusqlite::Connection::open(service.data().join("kopeck.db")).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let pay_one = |client: &Client| {
        let client = client.clone();
        tokio::spawn(async move { client.transfer(1, "1").await })
    };
    // The writer has this one, and waits; everything else is in the queue.
    let first = pay_one(&boris.client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut imports = Vec::new();
    for _ in 0..2 {
        let mut import = Import::begin(&anna.client).await;
        import.send(pay(1, "0.01").repeat(3_000)).await;
        import.end();
        imports.push(import);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let metrics = service.client().get("/metrics").await.text;
    let (_, waiting) = metrics.split_once("\nkopeck_queue_operations ").unwrap();
    let waiting: u64 = waiting.lines().next().unwrap().parse().unwrap();
    assert!((1..=2_048).contains(&waiting), "{waiting} of imports wait");
    let second = pay_one(&boris.client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    shell.execute_batch("ROLLBACK").unwrap();
    first.await.unwrap().expect_ok();
    second.await.unwrap().expect_ok();
    for mut import in imports {
        for index in 0..3_000 {
            import.expect(index, "OK", None).await;
        }
    }
}

/// Nobody was refused anything.
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_wait_for_a_full_queue_are_not_counted_as_refused() {
    let service = Service::start_with(&["--queue-operations-max", "1"]);
    let anna = service.sign_up_with("anna", "1000").await;
    let shell = rusqlite::Connection::open(service.data().join("kopeck.db")).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut import = Import::begin(&anna.client).await;
    import.send(pay(1, "0.01").repeat(6_000)).await;
    import.end();
    // One chunk is with the writer, the next in the queue, and the third tries again and again.
    tokio::time::sleep(Duration::from_millis(500)).await;
    shell.execute_batch("ROLLBACK").unwrap();
    for index in 0..6_000 {
        import.expect(index, "OK", None).await;
    }
    let metrics = service.client().get("/metrics").await.text;
    assert!(metrics.contains(r#"outcomes_total{code="ok"} 6001"#), "{metrics}");
    assert!(!metrics.contains(r#"code="overloaded""#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_breaks_leaves_no_line_in_doubt_that_is_not_named() {
    let mut service = Service::start_with_files_of_at_most(600);
    let anna = service.sign_up("anna").await;
    let bank = service.bank().await;
    let mut import = Import::begin(&bank).await;
    // It has a second for its last words: on a busy machine, they may be lost.
    import.may_break_off = true;
    let send = import.send.take().unwrap();
    let line = json!({"wallet_id": anna.wallet, "amount": 1, "details": "д".repeat(200)});
    let sender = tokio::spawn(async move {
        // Until nobody listens any more.
        while send.send(Some(format!("{line}\n").into())).await.is_ok() {}
    });
    let (mut done, mut unknown, mut refused) = (0, 0, 0);
    let ended = loop {
        let Some(line) = import.next().await else { break None };
        let index = line["index"].as_u64();
        match line["status"].as_str().unwrap() {
            "OK" => done += 1,
            "unknown" => unknown += 1,
            "refused" => refused += 1,
            _ => break Some(line),
        }
        assert_eq!(index, Some(done + unknown + refused - 1));
    };
    assert!(done > 0);
    if let Some(ended) = &ended {
        let named = (&ended["status"], &ended["code"]);
        assert_eq!(named, (&json!("ended"), &json!("outcome_unknown")));
        assert_eq!(ended["index"], done + unknown + refused);
        assert!(unknown > 0);
    }
    assert!(!service.wait().success());
    sender.abort();
    let service = service.start_again();
    let balance = service.bank().await.balance().await;
    let paid: u64 =
        balance.strip_prefix('-').unwrap().strip_suffix(".00").unwrap().parse().unwrap();
    let in_doubt = if ended.is_some() { unknown } else { u64::MAX - done };
    assert!((done..=done + in_doubt).contains(&paid), "{paid} of {done} and {unknown}");
}

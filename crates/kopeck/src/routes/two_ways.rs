//! Owns the comparison of the two ways to a transfer's handler: whatever is sent, both answer the same.
//!
//! Never: a word on what is right; the tests of the whole service have that. Bounds: [`CONNECTIONS`], each with what
//! is made up for it and an ordinary transfer behind that.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use fastrand::Rng;
use ledger::{Amount, NewUser, Role, User};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Routes;
use crate::auth::Caller;
use crate::config::{Cli, Command};
use crate::money::Order;
use crate::server;
use crate::state::AppState;
use crate::telemetry::Metrics;

const CONNECTIONS: usize = 2_000;
const SEED: u64 = 20_261_130;

/// Stands for a token, in what is sent: each service has tokens of its own.
const TOKEN: &str = "<token>";
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// A service of its own, whose second user has money.
struct Side {
    address: SocketAddr,
    token: String,
    state: AppState,
    _home: tempfile::TempDir,
}

impl Side {
    async fn start(by_table: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let arguments =
            ["kopeck", "serve", "--body-bytes-max", "4096", "--trusted-proxy", "127.0.0.1"];
        let Some(Command::Serve(config)) = Cli::parse_from(arguments).command else {
            panic!("not serve")
        };
        let metrics = Arc::new(Metrics::new());
        metrics.publish(Vec::new());
        let window = Some(config.idempotency_window_hours);
        let (place, observer) = (home.path().join("data"), Arc::clone(&metrics));
        let opened =
            crate::open(place, Some(config.place.currency), (1_024, window), observer).await;
        let store = Arc::new(opened.unwrap().0);
        let state = AppState::new(Arc::clone(&store) as _, store, *config, metrics, 2).unwrap();
        let bank = user(&state, Role::Bank).await;
        let person = user(&state, Role::Person).await;
        user(&state, Role::Person).await;
        let token = state.auth.sessions.open(bank.clone(), None).await.unwrap();
        let amount = Amount::from_minor(10_000_000).unwrap();
        let order = Order { to: person.wallet, amount, details: None, external_id: None };
        let caller = Caller { user: Arc::new(bank), token };
        state.teller.deposit(&caller, order, None).await.unwrap();
        let token = state.auth.sessions.open(person, None).await.unwrap().reveal();
        let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (routes, served) = (Routes::new(state.clone()), state.clone());
        tokio::spawn(async move {
            let answer = move |request| {
                let routes = routes.clone();
                async move {
                    if by_table {
                        routes.answer_by_table(request).await
                    } else {
                        routes.answer(request).await
                    }
                }
            };
            server::serve(listener, answer, &served, pending()).await;
        });
        Self { address, token, state, _home: home }
    }

    /// Everything that is answered on one connection, but for what differs between any two answers.
    async fn ask(&self, sent: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let sent = replace(sent, TOKEN.as_bytes(), self.token.as_bytes());
        // Who is refused for the head may find the connection closed before everything is sent.
        let _ = stream.write_all(&sent).await;
        let _ = stream.shutdown().await;
        let mut answered = Vec::new();
        let read = tokio::time::timeout(ANSWER_WAIT_MAX, stream.read_to_end(&mut answered)).await;
        assert!(read.is_ok(), "no end: {}", String::from_utf8_lossy(&sent));
        let answered = String::from_utf8_lossy(&answered);
        answered.split("\r\n\r\n").map(comparable).collect()
    }

    /// What was counted: requests by route, method and status, and outcomes.
    fn counted(&self) -> Vec<String> {
        let text = self.state.metrics.text();
        let counted = |line: &&str| {
            line.starts_with("http_server_request_duration_seconds_count")
                || line.starts_with("kopeck_outcomes")
        };
        let mut lines: Vec<String> = text.lines().filter(counted).map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// A head's lines, but for those that differ between any two answers. Who writes a length, the table or hyper, says it
/// in another place.
fn comparable(lines: &str) -> String {
    let differs = |line: &str| line.starts_with("x-request-id: ") || line.starts_with("date: ");
    let mut lines: Vec<&str> = lines.split("\r\n").filter(|line| !differs(line)).collect();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

async fn user(state: &AppState, role: Role) -> User {
    let name = fastrand::u64(..).to_string();
    let (email, password_hash) = (format!("{name}@example.org"), "none".to_owned());
    let new = NewUser { role, name, email_key: email.clone(), email, password_hash };
    state.people.sign_up(new, None).await.unwrap().unwrap()
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

fn one<'t>(rng: &mut Rng, of: &[&'t str]) -> &'t str {
    of[rng.usize(..of.len())]
}

/// The first one mostly, for a request with everything wrong is refused for the first thing alone.
fn mostly<'t>(rng: &mut Rng, first: &'t str, of: &[&'t str]) -> &'t str {
    if rng.u8(..8) > 0 { first } else { one(rng, of) }
}

/// A body, nearly always of JSON.
fn body(rng: &mut Rng) -> Vec<u8> {
    let wallet = mostly(rng, "3", &WALLETS);
    let amount = mostly(rng, "0.01", &AMOUNTS);
    let mut members = vec![format!("\"wallet_id\":{wallet}"), format!("\"amount\":{amount}")];
    if rng.bool() {
        members.push(format!("\"details\":{}", one(rng, &DETAILS)));
    }
    match rng.u8(..24) {
        0 => members.push(members[rng.usize(..members.len())].clone()),
        1 => drop(members.remove(rng.usize(..members.len()))),
        2 => members.push(one(rng, &MEMBERS).to_owned()),
        3 => members.push(format!("\"x{}\":1", "y".repeat(rng.usize(..5_000)))),
        _ => {}
    }
    rng.shuffle(&mut members);
    let space = mostly(rng, "", &[" ", "\r\n\t ", "\u{a0}", "\u{feff}"]);
    let mut text =
        format!("{space}{{{space}{}{space}}}{space}", members.join(&format!("{space},{space}")))
            .into_bytes();
    for _ in 0..rng.u8(..24).saturating_sub(21) {
        let at = rng.usize(..text.len());
        match rng.u8(..3) {
            0 => text[at] = rng.u8(..),
            1 => drop(text.remove(at)),
            _ => text.truncate(at + 1),
        }
    }
    text
}

/// A request; it may be that it does not end where it says.
fn request(rng: &mut Rng) -> Vec<u8> {
    let method = mostly(rng, "POST", &METHODS);
    let target = mostly(rng, super::api::TRANSFER, &TARGETS);
    let version = mostly(rng, "HTTP/1.1", &["HTTP/1.0", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", ""]);
    let mut lines = vec![mostly(rng, "Host: kopeck.example", &HOSTS).to_owned()];
    lines.push(mostly(rng, "Content-Type: application/json", &TYPES).to_owned());
    lines.push(mostly(rng, "Cookie: kopeck_session=<token>", &COOKIES).to_owned());
    for of in [&KEYS[..], &ORIGINS, &OTHERS] {
        if rng.u8(..3) == 0 {
            lines.push(one(rng, of).to_owned());
        }
    }
    if rng.u8(..16) == 0 {
        lines.push(lines[rng.usize(..lines.len())].clone());
    }
    let body = body(rng);
    let body = match rng.u8(..16) {
        0 => Vec::new(),
        1..5 => {
            lines.push("Transfer-Encoding: chunked".to_owned());
            chunked(rng, &body)
        }
        5 => {
            let length = (body.len() + rng.usize(..9)).saturating_sub(4);
            lines.push(format!("Content-Length: {length}"));
            body
        }
        6 => {
            lines.push(one(rng, &LENGTHS).to_owned());
            body
        }
        _ => {
            lines.push(format!("Content-Length: {}", body.len()));
            body
        }
    };
    rng.shuffle(&mut lines);
    let head = format!("{method} {target} {version}\r\n{}\r\n\r\n", lines.join("\r\n"));
    let head = match rng.u8(..12) {
        0 => head.to_lowercase().replacen("post", "POST", 1).replacen("http/", "HTTP/", 1),
        1 => head.replace("\r\n", "\n"),
        2 => head.replace(": ", ":"),
        _ => head,
    };
    [head.into_bytes(), body].concat()
}

fn chunked(rng: &mut Rng, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let extension = mostly(rng, "", &[";a=b", ";x=\"y\"", " "]);
    for piece in body.chunks(rng.usize(1..64)) {
        out.extend_from_slice(format!("{:x}{extension}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(
        mostly(rng, "0\r\n\r\n", &["0\r\nA: b\r\n\r\n", "", "0\r\n", "z\r\n\r\n"]).as_bytes(),
    );
    out
}

const WALLETS: [&str; 20] = [
    "1",
    "2",
    "4",
    "0",
    "-0",
    "-3",
    "03",
    "3.0",
    "3e0",
    "\"3\"",
    "\"03\"",
    "\"\"",
    "null",
    "true",
    "[3]",
    "{}",
    "9007199254740991",
    "9007199254740992",
    "18446744073709551616",
    "\"\\u0033\"",
];
const AMOUNTS: [&str; 32] = [
    "1",
    "1.0",
    "0.10",
    "1e0",
    "1E-2",
    "1e+1",
    "1.001",
    "0.010",
    "0",
    "0.00",
    "-0",
    "-1",
    "01",
    ".5",
    "5.",
    "+1",
    "1,5",
    "1e400",
    "\"1\"",
    "\"0.01\"",
    "\" 1\"",
    "\"1e0\"",
    "\"\"",
    "\"\\u0031\"",
    "null",
    "true",
    "[1]",
    "{\"a\":1}",
    "NaN",
    "9999999999999.99",
    "99999999999999.99",
    "1234567890123456789012345678901234567890",
];
const DETAILS: [&str; 10] = [
    "null",
    "\"\"",
    "\"x\"",
    "\" x \"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\"a\\u0000b\"",
    "\"\\n\"",
    "5",
    "[\"x\"]",
];
const MEMBERS: [&str; 8] = [
    "\"Amount\":1",
    "\"amo\\u0075nt\":1",
    "\"external_id\":\"x\"",
    "\"\":1",
    "\"x\":[[[[[[[[1]]]]]]]]",
    "\"amount \":1",
    "\"type\":\"transfer\"",
    "\"idempotency_key\":\"k\"",
];
const METHODS: [&str; 8] = ["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "post", "POSTS", "TRACE"];
const TARGETS: [&str; 16] = [
    "/api/wallet_to_wallet?",
    "/api/wallet_to_wallet?a=b",
    "/api/wallet_to_wallet/",
    "//api/wallet_to_wallet",
    "/api//wallet_to_wallet",
    "/api/wallet%5Fto%5Fwallet",
    "/api/wallet_to_wallet%20",
    "/api/Wallet_to_wallet",
    "/api/./wallet_to_wallet",
    "/api/wallet_to_wallet;a",
    "http://kopeck.example/api/wallet_to_wallet",
    "HTTP://other.example/api/wallet_to_wallet?a",
    "/api/wallet_to_wallet#a",
    "*",
    "/api/wallet_to_wallet?%zz",
    "kopeck.example:80",
];
const HOSTS: [&str; 6] = [
    "X: y",
    "Host: ",
    "Host: other.example",
    "Host: a b",
    "HOST: kopeck.example",
    "Host: kopeck.example\r\nHost: a",
];
const TYPES: [&str; 16] = [
    "X: y",
    "Content-Type: ",
    "Content-Type: text/plain",
    "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: Application/JSON",
    "Content-Type: application/json;charset=utf-8",
    "Content-Type: application/json; a=b",
    "Content-Type: application/json; charset=\"UTF-8\"",
    "Content-Type: application/json; charset=latin1",
    "Content-Type: application/problem+json",
    "Content-Type: application/+json",
    "Content-Type: application/jsonl",
    "Content-Type: application/json,application/json",
    "Content-Type: application/json ;",
    "Content-Type: \u{e9}",
    "Content-Type: text/plain\r\nContent-Type: application/json",
];
const COOKIES: [&str; 14] = [
    "X: y",
    "Cookie: ",
    "Cookie: kopeck_session=",
    "Cookie: kopeck_session=x",
    "Cookie: a=b; kopeck_session=<token>; c",
    "Cookie: kopeck_session=<token>; kopeck_session=<token>",
    "Cookie: kopeck_session=\"<token>\"",
    "Cookie: kopeck_session=<token>\r\nCookie: a=b",
    "Cookie: kopeck_session=<token>\r\nCookie: kopeck_session=x",
    "Cookie: __Host-kopeck_session=<token>",
    "Cookie: __Host-kopeck_session=<token>\r\nX-Forwarded-Proto: https",
    "Cookie: kopeck_session=<token>\r\nX-Forwarded-Proto: https",
    "Cookie: KOPECK_SESSION=<token>",
    "Cookie: ;;=;\u{e9}=\u{e9};kopeck_session=<token>",
];
const KEYS: [&str; 12] = [
    "Idempotency-Key: a",
    "Idempotency-Key: b",
    "Idempotency-Key: c",
    "idempotency-key: \"a\"",
    "Idempotency-Key:  a ",
    "Idempotency-Key: ",
    "Idempotency-Key: \"\"",
    "Idempotency-Key: \"",
    "Idempotency-Key: a b",
    "Idempotency-Key: \u{e9}",
    "Idempotency-Key: a\r\nIdempotency-Key: a",
    "Idempotency-Key: a,b",
];
const ORIGINS: [&str; 10] = [
    "Origin: http://kopeck.example",
    "Origin: https://KOPECK.example",
    "Origin: null",
    "Origin: http://evil.example",
    "Origin: kopeck.example",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Site: none",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-site\r\nOrigin: http://kopeck.example",
];
const OTHERS: [&str; 16] = [
    "Connection: close",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "Expect: x",
    "Content-Encoding: gzip",
    "Content-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Accept: text/html",
    "Accept: application/xml",
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-For: x",
    "Upgrade: h2c\r\nConnection: Upgrade",
    "Accept-Language: ru",
    "X-HTTP-Method-Override: GET",
    " folded: x",
    "Na me: x",
];
const LENGTHS: [&str; 6] = [
    "Content-Length: x",
    "Content-Length: -1",
    "Content-Length: +5",
    "Content-Length: 99999",
    "Content-Length: 5, 5",
    "Content-Length: 18446744073709551616",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_is_answered_alike_past_the_table_and_by_it() {
    let (short, table) = tokio::join!(Side::start(false), Side::start(true));
    let body = r#"{"wallet_id":3,"amount":"0.02"}"#;
    let next = format!(
        "POST {} HTTP/1.1\r\nHost: kopeck.example\r\nContent-Type: application/json\r\n\
         Cookie: kopeck_session={TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
        super::api::TRANSFER,
        body.len()
    );
    let mut rng = Rng::with_seed(SEED);
    let mut paid = 0;
    for number in 0..CONNECTIONS {
        let sent = [request(&mut rng), next.as_bytes().to_vec()].concat();
        let (short, table) = tokio::join!(short.ask(&sent), table.ask(&sent));
        assert_eq!(short, table, "{number}: {}", String::from_utf8_lossy(&sent));
        paid += short.matches("HTTP/1.1 200 OK").count();
    }
    assert!(
        paid > CONNECTIONS / 2,
        "most of what was sent was refused: {paid} of {} paid",
        2 * CONNECTIONS
    );
    assert_eq!(short.counted(), table.counted());
    assert!(short.counted().len() > 10, "{:?}", short.counted());
}

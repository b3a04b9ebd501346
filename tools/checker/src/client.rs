//! Owns the way to the service: sessions that outlive its restarts, and typed calls.
//!
//! Never: a doubt taken for a failure. A transport error, a time-out, a body that broke off and any
//! 5xx are *unknown*: the service may have done it. Nothing is sent twice behind the caller's back.
//! Bounds: each call by the time-out given at the start.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, RETRY_AFTER, SET_COOKIE};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::book::minor_units;

/// Where the service listens now: `http://host:port`. Clones share it, since a restart moves it.
#[derive(Debug, Clone)]
pub struct Address(Arc<RwLock<String>>);

impl Address {
    /// The service is at `url`, without a slash at the end.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self(Arc::new(RwLock::new(url.to_owned())))
    }

    /// The service has moved.
    pub fn set(&self, url: &str) {
        url.clone_into(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Where it is.
    #[must_use]
    pub fn get(&self) -> String {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether somebody accepts connections there.
    pub async fn is_open(&self) -> bool {
        let url = self.get();
        let host = url.trim_start_matches("http://");
        tokio::net::TcpStream::connect(host).await.is_ok()
    }
}

/// What came of an order to move money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was done.
    Ok {
        /// The operation's place in the order of all.
        operation_id: u64,
        /// Whose balance is told.
        wallet_id: u64,
        /// That wallet's balance after it, in minor units.
        balance: i64,
        /// The service says that this was the answer to an earlier request.
        replayed: bool,
    },
    /// A rule refused it (422).
    Fail {
        /// The stable name of the refusal.
        code: String,
        /// The service says that this was the answer to an earlier request.
        replayed: bool,
    },
    /// It may have been done or not.
    Unknown {
        /// What was seen of it.
        why: String,
    },
    /// An answer that no correct service gives to these requests.
    Odd {
        /// The HTTP status.
        status: u16,
        /// The body, or its beginning.
        body: String,
    },
}

/// What came of an operation of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchItem {
    /// The operation's place in the order of all.
    pub operation_id: u64,
    /// The service says that this was the answer to an earlier request.
    pub replayed: bool,
}

/// A page of a wallet's history as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The wallet.
    pub wallet_id: u64,
    /// Its balance, in minor units.
    pub balance: i64,
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// Where the next page starts.
    pub next_cursor: Option<String>,
}

/// One side of an operation, as its wallet shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The operation's place in the order of all.
    pub operation_id: u64,
    /// What it means to the wallet.
    pub kind: EntryKind,
    /// Minor units.
    pub amount: i64,
    /// The wallet's balance after it, in minor units.
    pub balance: i64,
    /// The wallet on the other side.
    pub counterparty: u64,
    /// The sender's note.
    pub details: Option<String>,
    /// The payment provider's own id.
    pub external_id: Option<String>,
    /// RFC 3339, in UTC, as it was written.
    pub timestamp: String,
}

/// What an operation means to a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Money came in from outside; the bank's own wallet shows what it brought in.
    Deposit,
    /// Another wallet paid this one.
    TransferIn,
    /// This wallet paid another one.
    TransferOut,
}

/// Why a page was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// No answer, or one that says: not now.
    Unknown(String),
    /// An answer that no correct service gives.
    Odd(String),
}

/// What is sent to move money. `None` fields are left out.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// A deposit, and not a transfer.
    pub deposit: bool,
    /// The wallet that is paid.
    pub wallet_id: u64,
    /// Minor units.
    pub amount: i64,
    /// The note.
    pub details: &'r str,
    /// The payment provider's own id.
    pub external_id: Option<&'r str>,
    /// The `Idempotency-Key` header.
    pub key: Option<&'r str>,
}

/// The calls that need no session, and what all sessions share.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    address: Address,
}

/// Somebody who is logged in. The cookie is kept here, so it outlives the service's process.
#[derive(Debug, Clone)]
pub struct Session {
    http: Http,
    cookie: String,
    /// The wallet of who is logged in.
    pub wallet: u64,
}

impl Http {
    /// A client of the service at `address`; every call is given up after `timeout`.
    pub fn new(address: Address, timeout: Duration) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(timeout)
            .build()?;
        Ok(Self { client, address })
    }

    /// Where the service is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Signs up, or logs in who has signed up before. Waits when told to come again later.
    pub async fn join(&self, email: &str, password: &str) -> anyhow::Result<Session> {
        let wanted = json!({"name": email, "email": email, "password": password});
        match self.enter("/api/signup", &wanted).await {
            Ok(session) => Ok(session),
            Err(_) => self.log_in(email, password).await,
        }
    }

    /// Logs in. Waits when told to come again later.
    pub async fn log_in(&self, email: &str, password: &str) -> anyhow::Result<Session> {
        self.enter("/api/login", &json!({"email": email, "password": password})).await
    }

    async fn enter(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<Session> {
        const WAIT_MAX: Duration = Duration::from_secs(300);
        let began = Instant::now();
        loop {
            let url = format!("{}{path}", self.address.get());
            let sent = self.client.post(url).json(body).send().await;
            let wait = match sent {
                Ok(answer) if answer.status().as_u16() == 200 => return self.entered(answer).await,
                Ok(answer) if matches!(answer.status().as_u16(), 429 | 503) => {
                    let seconds = answer.headers().get(RETRY_AFTER);
                    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
                    Duration::from_secs(seconds.unwrap_or(1))
                }
                Ok(answer) => bail!("{path}: {} {}", answer.status(), answer.text().await?),
                Err(error) if began.elapsed() > WAIT_MAX => return Err(error.into()),
                Err(_) => Duration::from_millis(200),
            };
            if began.elapsed() > WAIT_MAX {
                bail!("{path}: told to come again later for {WAIT_MAX:?}");
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn entered(&self, answer: reqwest::Response) -> anyhow::Result<Session> {
        #[derive(Deserialize)]
        struct Body {
            wallet_id: u64,
        }
        let cookie = answer.headers().get(SET_COOKIE).and_then(|value| value.to_str().ok());
        let pair = cookie.and_then(|cookie| cookie.split(';').next());
        let cookie = pair.context("no session cookie was set")?.to_owned();
        let body: Body = answer.json().await?;
        Ok(Session { http: self.clone(), cookie, wallet: body.wallet_id })
    }
}

impl Session {
    /// The same session, at another service that has the same data.
    #[must_use]
    pub fn at(&self, http: &Http) -> Self {
        Self { http: http.clone(), ..self.clone() }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.http.address.get());
        self.http.client.post(url).header(COOKIE, &self.cookie)
    }

    /// Sends one request to move money, once.
    pub async fn order(&self, request: &Request<'_>) -> Reply {
        let path = match request.deposit {
            true => "/api/external_to_wallet",
            false => "/api/wallet_to_wallet",
        };
        let mut sent = self.post(path);
        if let Some(key) = request.key {
            sent = sent.header("Idempotency-Key", key);
        }
        let sent = sent.header(CONTENT_TYPE, "application/json").body(body(request)).send();
        match whole(sent.await).await {
            Ok(answer) => read_reply(&answer),
            Err(why) => Reply::Unknown { why },
        }
    }

    /// Sends a batch, whose operations are given as JSON with commas between, once. `None`: it may have been done
    /// or not.
    ///
    /// # Errors
    /// When the answer is not that all of them are done.
    pub async fn batch(&self, operations: &str) -> anyhow::Result<Option<Vec<BatchItem>>> {
        let body = format!(r#"{{"mode":"independent","operations":[{operations}]}}"#);
        let sent = self.post("/api/transfers/batch");
        let sent = sent.header(CONTENT_TYPE, "application/json").body(body).send();
        match whole(sent.await).await {
            Ok(answer) if answer.status >= 500 => Ok(None),
            Ok(answer) => read_batch(&answer.text).map(Some).with_context(|| {
                let beginning: String = answer.text.chars().take(500).collect();
                format!("a batch was answered: {} {beginning}", answer.status)
            }),
            Err(_) => Ok(None),
        }
    }

    /// Reads a page of the own wallet's history.
    pub async fn page(&self, limit: usize, cursor: Option<&str>) -> Result<Page, Unread> {
        let url = self.http.address.get();
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let url = format!("{url}/api/wallet?limit={limit}{cursor}");
        let sent = self.http.client.get(url).header(COOKIE, &self.cookie).send();
        let answer = whole(sent.await).await.map_err(Unread::Unknown)?;
        match answer.status {
            200 => read_page(&answer.text).ok_or_else(|| Unread::Odd(answer.text.clone())),
            500.. => Err(Unread::Unknown(format!("{} {}", answer.status, answer.text))),
            status => Err(Unread::Odd(format!("{status} {}", answer.text))),
        }
    }
}

/// An answer that came whole.
struct Whole {
    status: u16,
    headers: HeaderMap,
    text: String,
}

async fn whole(sent: reqwest::Result<reqwest::Response>) -> Result<Whole, String> {
    let answer = sent.map_err(|error| told(&error))?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.map_err(|error| told(&error))?;
    Ok(Whole { status, headers, text })
}

/// The error with its causes: the first alone only says that something went wrong.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Written by hand where it matters: the amount is exact text and never passes through a float.
fn body(request: &Request<'_>) -> String {
    let Request { wallet_id, amount, details, external_id, .. } = request;
    let amount = crate::book::Units(*amount);
    let details = json!(details);
    let external = external_id.map(|id| format!(r#","external_id":{}"#, json!(id)));
    let external = external.unwrap_or_default();
    format!(r#"{{"wallet_id":{wallet_id},"amount":{amount},"details":{details}{external}}}"#)
}

#[derive(Deserialize)]
struct MovedBody<'b> {
    status: &'b str,
    operation_id: u64,
    wallet_id: u64,
    #[serde(borrow)]
    balance: &'b RawValue,
}

#[derive(Deserialize)]
struct ProblemBody {
    code: String,
}

fn read_reply(answer: &Whole) -> Reply {
    let replayed = answer.headers.get("idempotency-replayed");
    let replayed = replayed.is_some_and(|value| value == "true");
    let odd = || Reply::Odd {
        status: answer.status,
        body: answer.text.chars().take(500).collect::<String>(),
    };
    match answer.status {
        200 => {
            let Ok(moved) = serde_json::from_str::<MovedBody<'_>>(&answer.text) else {
                return odd();
            };
            let MovedBody { status, operation_id, wallet_id, balance } = moved;
            match minor_units(balance.get()) {
                Some(balance) if status == "OK" => {
                    Reply::Ok { operation_id, wallet_id, balance, replayed }
                }
                _ => odd(),
            }
        }
        422 => match serde_json::from_str::<ProblemBody>(&answer.text) {
            Ok(ProblemBody { code }) => Reply::Fail { code, replayed },
            Err(_) => odd(),
        },
        // 408: the body did not come in time, says the service; somebody on the way may be to blame.
        408 | 500.. => Reply::Unknown { why: format!("{} {}", answer.status, answer.text) },
        _ => odd(),
    }
}

#[derive(Deserialize)]
struct BatchBody<'b> {
    #[serde(borrow)]
    results: Vec<BatchItemBody<'b>>,
}

#[derive(Deserialize)]
struct BatchItemBody<'b> {
    status: &'b str,
    operation_id: u64,
    #[serde(default)]
    replayed: bool,
}

fn read_batch(text: &str) -> anyhow::Result<Vec<BatchItem>> {
    let BatchBody { results } = serde_json::from_str(text)?;
    let items = results.into_iter().map(|BatchItemBody { status, operation_id, replayed }| {
        anyhow::ensure!(status == "OK", "operation {operation_id} is {status}");
        Ok(BatchItem { operation_id, replayed })
    });
    items.collect()
}

#[derive(Deserialize)]
struct PageBody<'b> {
    wallet_id: u64,
    #[serde(borrow)]
    balance: &'b RawValue,
    #[serde(borrow)]
    operations: Vec<EntryBody<'b>>,
    has_more: bool,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct EntryBody<'b> {
    operation_id: u64,
    #[serde(rename = "type")]
    kind: EntryKind,
    #[serde(borrow)]
    amount: &'b RawValue,
    #[serde(borrow)]
    balance: &'b RawValue,
    counterparty_wallet_id: u64,
    details: Option<String>,
    #[serde(default)]
    external_id: Option<String>,
    timestamp: String,
}

fn read_page(text: &str) -> Option<Page> {
    let page: PageBody<'_> = serde_json::from_str(text).ok()?;
    let entries = page.operations.into_iter().map(|entry| {
        Some(Entry {
            operation_id: entry.operation_id,
            kind: entry.kind,
            amount: minor_units(entry.amount.get())?,
            balance: minor_units(entry.balance.get())?,
            counterparty: entry.counterparty_wallet_id,
            details: entry.details,
            external_id: entry.external_id,
            timestamp: entry.timestamp,
        })
    });
    Some(Page {
        wallet_id: page.wallet_id,
        balance: minor_units(page.balance.get())?,
        entries: entries.collect::<Option<_>>()?,
        has_more: page.has_more,
        next_cursor: page.next_cursor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, text: &str) -> Reply {
        let headers = HeaderMap::new();
        read_reply(&Whole { status, headers, text: text.to_owned() })
    }

    #[test]
    fn what_an_answer_says() {
        let ok = r#"{"status":"OK","operation_id":7,"wallet_id":2,"balance":-0.05}"#;
        let done = Reply::Ok { operation_id: 7, wallet_id: 2, balance: -5, replayed: false };
        assert_eq!(reply(200, ok), done);
        let fail = Reply::Fail { code: "insufficient_funds".to_owned(), replayed: false };
        assert_eq!(reply(422, r#"{"code":"insufficient_funds"}"#), fail);
        // A doubt is a doubt, whatever the body claims.
        for (status, text) in [(500, ""), (503, r#"{"code":"overloaded"}"#), (504, ok)] {
            assert!(matches!(reply(status, text), Reply::Unknown { .. }), "{status}");
        }
        let rounded = ok.replace("-0.05", "-0.1");
        for (status, text) in [(200, ""), (200, rounded.as_str()), (401, ""), (302, ""), (422, "")]
        {
            assert!(matches!(reply(status, text), Reply::Odd { .. }), "{status} {text}");
        }
    }

    #[test]
    fn what_a_batch_says() {
        let done = r#"{"status":"OK","results":[{"status":"OK","operation_id":7,"balance":0.01},
            {"status":"OK","operation_id":3,"replayed":true}]}"#;
        let items = [(7, false), (3, true)];
        let items = items.map(|(operation_id, replayed)| BatchItem { operation_id, replayed });
        assert_eq!(read_batch(done).unwrap(), items);
        for odd in ["", "{}", &done.replace("OK\",\"operation_id\":3", "refused\",\"code\":\"x")] {
            assert!(read_batch(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_request_is_written_exactly() {
        let mut request = Request {
            deposit: true,
            wallet_id: 2,
            amount: 10_000_000_000_001,
            details: "a \"b\"",
            external_id: None,
            key: None,
        };
        assert_eq!(
            body(&request),
            r#"{"wallet_id":2,"amount":100000000000.01,"details":"a \"b\""}"#
        );
        request.external_id = Some("x");
        assert!(body(&request).ends_with(r#","external_id":"x"}"#));
    }
}

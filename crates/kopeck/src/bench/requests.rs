//! Owns the bytes of the requests that the client sends, and who sends them.
//!
//! Never: a socket or an answer. Bounds: one request is written at a time, into a buffer that is used
//! again; a batch has at most as many operations as was asked for.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use super::scenario::{Chooser, Payer};

/// How much is paid each time: one minor unit, so that nobody runs out of money.
const AMOUNT: &str = "0.01";

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// The wallet.
    pub(super) wallet: u64,
    /// `name=value` of the session's cookie.
    pub(super) cookie: String,
}

/// Everybody a run knows.
#[derive(Debug)]
pub(super) struct Crowd {
    /// The bank.
    pub(super) bank: Person,
    /// Those who can pay.
    pub(super) people: Vec<Person>,
    /// How many wallets can be paid. Those who cannot pay come after those who can, and their wallets
    /// are numbered from 2 on without a gap.
    pub(super) wallets: usize,
}

impl Crowd {
    /// The number of somebody's wallet.
    pub(super) fn wallet(&self, person: usize) -> u64 {
        self.people.get(person).map_or(person as u64 + 2, |known| known.wallet)
    }

    pub(super) fn payer(&self, payer: Payer) -> &Person {
        match payer {
            Payer::Bank => &self.bank,
            Payer::Person(person) => self.people.get(person).unwrap_or(&self.bank),
        }
    }

    /// The bank and two people, for a service that a test makes up.
    #[cfg(test)]
    pub(super) fn of_two() -> Self {
        let person = |wallet| Person { wallet, cookie: "x=y".to_owned() };
        Self { bank: person(1), people: vec![person(2), person(3)], wallets: 2 }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// One payment a request.
    Single,
    /// So many payments a request.
    Batch(usize),
    /// A random person's wallet with the first page of its history.
    History,
    /// The first page of the history of the first person's wallet, as long as a page can be.
    HotHistory,
    /// Everybody's wallet once, so that every session is in the server's memory.
    Everybody,
}

/// A request that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// How many operations it asks for.
    pub(super) operations: u32,
    /// What it was, if it was a payment with a key: enough to send it again. Of a batch, its last one.
    pub(super) payment: Option<Payment>,
}

/// A payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Payment {
    /// Who pays.
    pub(super) payer: Payer,
    /// The wallet that is paid.
    pub(super) to: u64,
    /// The request's key.
    pub(super) key: [u8; 36],
}

/// Writes one request after another.
pub(super) struct Requests {
    host: String,
    crowd: Arc<Crowd>,
    chooser: Chooser,
    what: What,
    keys: bool,
    body: Vec<u8>,
    /// Who is asked for next by [`What::Everybody`], and how many threads share that.
    next: usize,
    threads: usize,
}

impl Requests {
    /// Requests to `address`; with `keys`, each payment has a key of its own.
    pub(super) fn new(
        address: SocketAddr,
        crowd: Arc<Crowd>,
        chooser: Chooser,
        (what, keys): (What, bool),
        (thread, threads): (usize, usize),
    ) -> Self {
        let host = address.to_string();
        Self { host, crowd, chooser, what, keys, body: Vec::new(), next: thread, threads }
    }

    /// Writes the next request over what is in `out`; `None` when there is nothing more to ask.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) -> Option<Written> {
        out.clear();
        match self.what {
            What::Single => Some(self.single(out)),
            What::Batch(operations) => Some(self.batch(out, operations)),
            What::History => {
                let Payer::Person(person) = self.chooser.payer() else { return None };
                self.history(out, person, "/api/wallet?limit=20")
            }
            What::HotHistory => self.history(out, 0, "/api/wallet?limit=100"),
            What::Everybody => {
                let person = self.next;
                self.next += self.threads;
                self.history(out, person, "/api/wallet?limit=1")
            }
        }
    }

    fn single(&mut self, out: &mut Vec<u8>) -> Written {
        let payer = self.chooser.payer();
        let to = self.crowd.wallet(self.chooser.payee(payer));
        let payment = self.keys.then(|| Payment { payer, to, key: self.chooser.key() });
        write_payment(
            out,
            (&self.host, &self.crowd.payer(payer).cookie),
            (payer == Payer::Bank, to),
            payment.as_ref().map(|payment| &payment.key),
        );
        Written { operations: 1, payment }
    }

    fn batch(&mut self, out: &mut Vec<u8>, operations: usize) -> Written {
        let payer = self.chooser.payer();
        let kind = if payer == Payer::Bank { "deposit" } else { "transfer" };
        let body = &mut self.body;
        body.clear();
        body.extend_from_slice(br#"{"mode":"independent","operations":["#);
        let mut payment = None;
        for number in 0..operations {
            let separator = if number == 0 { "" } else { "," };
            let to = self.crowd.wallet(self.chooser.payee(payer));
            // Writing into memory cannot fail.
            let _ =
                write!(body, r#"{separator}{{"type":"{kind}","wallet_id":{to},"amount":{AMOUNT}"#);
            if self.keys {
                let key = self.chooser.key();
                body.extend_from_slice(br#","idempotency_key":""#);
                body.extend_from_slice(&key);
                body.push(b'"');
                payment = Some(Payment { payer, to, key });
            }
            body.push(b'}');
        }
        body.extend_from_slice(b"]}");
        let _ = write!(
            out,
            "POST /api/transfers/batch HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.host,
            self.crowd.payer(payer).cookie,
            body.len(),
        );
        out.extend_from_slice(body);
        Written { operations: u32::try_from(operations).unwrap_or(u32::MAX), payment }
    }

    fn history(&self, out: &mut Vec<u8>, person: usize, path: &str) -> Option<Written> {
        let cookie = &self.crowd.people.get(person)?.cookie;
        write_get(out, (&self.host, cookie), path);
        Some(Written { operations: 1, payment: None })
    }
}

/// Writes a request that reads.
pub(super) fn write_get(out: &mut Vec<u8>, (host, cookie): (&str, &str), path: &str) {
    let _ = write!(out, "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
}

/// Writes one payment: a deposit or a transfer, from whoever the cookie logs in.
pub(super) fn write_payment(
    out: &mut Vec<u8>,
    (host, cookie): (&str, &str),
    (deposit, to): (bool, u64),
    key: Option<&[u8; 36]>,
) {
    let path = if deposit { "external_to_wallet" } else { "wallet_to_wallet" };
    let (before, between) = (r#"{"wallet_id":"#, r#","amount":"#);
    let (mut to_text, mut length) = (itoa::Buffer::new(), itoa::Buffer::new());
    let to = to_text.format(to);
    let length = length.format(before.len() + to.len() + between.len() + AMOUNT.len() + 1);
    // Piece by piece: formatting costs a client that is to be light a tenth of its time.
    for piece in ["POST /api/", path, " HTTP/1.1\r\nHost: ", host, "\r\nCookie: ", cookie] {
        out.extend_from_slice(piece.as_bytes());
    }
    if let Some(key) = key {
        out.extend_from_slice(b"\r\nIdempotency-Key: ");
        out.extend_from_slice(key);
    }
    let head = ["\r\nContent-Type: application/json\r\nContent-Length: ", length, "\r\n\r\n"];
    for piece in head.into_iter().chain([before, to, between, AMOUNT, "}"]) {
        out.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::scenario::{Scenario, zipf_shares};
    use super::*;

    fn requests(scenario: Scenario, what: What, keys: bool) -> Requests {
        let person = |wallet: u64| Person { wallet, cookie: format!("kopeck_session=of-{wallet}") };
        let people = vec![person(2), person(3)];
        let crowd = Arc::new(Crowd { bank: person(1), people, wallets: 9 });
        let chooser = Chooser::new(scenario, (2, 9), zipf_shares(9), 7);
        let address = SocketAddr::from(([127, 0, 0, 1], 5000));
        Requests::new(address, crowd, chooser, (what, keys), (0, 1))
    }

    /// The head, and the body as JSON; the head must tell the body's length.
    fn parts(request: &[u8]) -> (String, Value) {
        let text = std::str::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
        (head.to_owned(), serde_json::from_str(body).unwrap())
    }

    #[test]
    fn a_payment_is_written_as_a_client_would() {
        let mut out = b"what was there before".to_vec();
        let written = requests(Scenario::HotIn, What::Single, true).write(&mut out).unwrap();
        let (head, body) = parts(&out);
        assert_eq!(body, serde_json::json!({"wallet_id": 2, "amount": 0.01}));
        let payment = written.payment.unwrap();
        assert_eq!((payment.payer, payment.to), (Payer::Person(1), 2));
        let key = std::str::from_utf8(&payment.key).unwrap();
        for line in [
            "POST /api/wallet_to_wallet HTTP/1.1\r\nHost: 127.0.0.1:5000\r\n",
            "\r\nCookie: kopeck_session=of-3\r\n",
            &format!("\r\nIdempotency-Key: {key}"),
        ] {
            assert!(head.contains(line), "{line} is not in {head}");
        }
        let written = requests(Scenario::BankToOne, What::Single, false).write(&mut out).unwrap();
        let (head, _) = parts(&out);
        assert!(head.starts_with("POST /api/external_to_wallet HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains("Idempotency-Key") && written.payment.is_none());
    }

    #[test]
    fn a_batch_comes_from_one_person_with_a_key_for_each_operation() {
        let mut out = Vec::new();
        let written = requests(Scenario::Uniform, What::Batch(100), true).write(&mut out).unwrap();
        assert_eq!(written.operations, 100);
        let (head, body) = parts(&out);
        assert!(head.starts_with("POST /api/transfers/batch HTTP/1.1\r\n"), "{head}");
        assert_eq!(body["mode"], "independent");
        let operations = body["operations"].as_array().unwrap();
        let keys: std::collections::HashSet<_> =
            operations.iter().map(|one| one["idempotency_key"].as_str().unwrap()).collect();
        assert_eq!((operations.len(), keys.len()), (100, 100));
        let last = written.payment.unwrap();
        assert_eq!(operations[99]["wallet_id"], last.to);
        assert_eq!(operations[99]["idempotency_key"].as_str().unwrap().as_bytes(), last.key);
        assert!(operations.iter().all(|one| one["type"] == "transfer" && one["amount"] == 0.01));
        requests(Scenario::BankToMany, What::Batch(2), false).write(&mut out).unwrap();
        let (_, body) = parts(&out);
        assert_eq!(body["operations"][1]["type"], "deposit");
        assert!(body["operations"][1].get("idempotency_key").is_none());
    }

    #[test]
    fn everybody_is_asked_for_once() {
        let mut out = Vec::new();
        let mut requests = requests(Scenario::Uniform, What::Everybody, true);
        for wallet in [2, 3] {
            requests.write(&mut out).unwrap();
            let text = String::from_utf8(out.clone()).unwrap();
            assert!(text.contains(&format!("of-{wallet}\r\n")), "{text}");
        }
        assert_eq!(requests.write(&mut out), None);
    }
}

//! Owns single questions to a service: one connection, one request after another, waited for.
//!
//! Never: load, and no TLS: an address of plain HTTP. Bounds: from the first byte of a request to the last
//! of its answer it may take [`ANSWER_WAIT_MAX`]; whoever wants the benchmark to end waits [`LOOK_EVERY`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::answer::{self, Answer, BODY_BYTES_MAX};
use super::connect::connect;
use super::load::STOP;

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether somebody wants the benchmark to end.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A connection to a service.
pub(super) struct Asker {
    stream: TcpStream,
    host: String,
    /// How long an answer is waited for.
    wait_max: Duration,
    /// Somebody wants the benchmark to end.
    stop: &'static AtomicBool,
    input: Vec<u8>,
    used: usize,
}

impl Asker {
    /// Connects.
    pub(super) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Self::with(address, ANSWER_WAIT_MAX, &STOP)
    }

    fn with(
        address: SocketAddr,
        wait_max: Duration,
        stop: &'static AtomicBool,
    ) -> anyhow::Result<Self> {
        let stream = connect(address)?;
        stream.set_read_timeout(Some(LOOK_EVERY.min(wait_max)))?;
        stream.set_write_timeout(Some(LOOK_EVERY.min(wait_max)))?;
        let host = address.to_string();
        Ok(Self { stream, host, wait_max, stop, input: Vec::new(), used: 0 })
    }

    /// Sends a request that is written out, and waits for the answer.
    pub(super) fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.input.drain(..self.used);
        self.used = 0;
        let began = Instant::now();
        let mut rest = request;
        while !rest.is_empty() {
            let written = self.go_on(began, |stream| stream.write(rest))?;
            rest = rest.get(written..).unwrap_or_default();
        }
        let bytes = loop {
            if let Some(answer) = answer::read(&self.input)? {
                break answer.bytes;
            }
            ensure!(self.input.len() < 2 * BODY_BYTES_MAX, "an answer without an end");
            let mut part = [0; 16_384];
            let read = self.go_on(began, |stream| stream.read(&mut part))?;
            self.input.extend_from_slice(part.get(..read).unwrap_or_default());
        };
        self.used = bytes;
        answer::read(&self.input)?.context("an answer that is gone")
    }

    /// Reads or writes something, at least one byte; as long as there is time.
    fn go_on(
        &mut self,
        began: Instant,
        mut act: impl FnMut(&mut TcpStream) -> io::Result<usize>,
    ) -> anyhow::Result<usize> {
        loop {
            ensure!(!self.stop.load(Ordering::Relaxed), "stopped");
            match act(&mut self.stream) {
                Ok(0) => bail!("{} closed the connection before it had answered", self.host),
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A read or write that took its time, by either name.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    let (host, wait_max) = (&self.host, self.wait_max);
                    ensure!(
                        began.elapsed() < wait_max,
                        "{host} does not answer within {wait_max:?}"
                    );
                }
                Err(error) => return Err(error).context(format!("{} cannot be asked", self.host)),
            }
        }
    }

    /// Asks for a path, as whoever the cookie logs in; the answer must be 200.
    pub(super) fn get(&mut self, path: &str, cookie: &str) -> anyhow::Result<Answer<'_>> {
        let mut request = Vec::new();
        super::requests::write_get(&mut request, (&self.host, cookie), path);
        let answer = self.send(&request)?;
        expect_ok(path, answer)
    }

    /// Posts JSON; the answer must be 200.
    pub(super) fn post(
        &mut self,
        path: &str,
        cookie: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<Answer<'_>> {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        expect_ok(path, self.send(request.as_bytes())?)
    }
}

fn expect_ok<'a>(path: &str, answer: Answer<'a>) -> anyhow::Result<Answer<'a>> {
    if answer.status != 200 {
        // A page of somebody else's has many lines.
        let said = String::from_utf8_lossy(answer.body);
        let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.chars().take(300).collect();
        bail!("{path} was answered with {}: {said}", answer.status);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn why(asked: anyhow::Result<Answer<'_>>) -> String {
        format!("{:#}", asked.unwrap_err())
    }

    #[test]
    fn who_accepts_and_never_answers_is_named_after_a_time() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let mut asker = Asker::with(address, Duration::from_millis(300), &STOP).unwrap();
        let said = why(asker.get("/livez", ""));
        assert_eq!(said, format!("{address} does not answer within 300ms"));
        // Nor is a request taken that fits into no buffer.
        let mut asker = Asker::with(address, Duration::from_millis(300), &STOP).unwrap();
        let said = why(asker.send(&vec![b'x'; 64 * 1_024 * 1_024]));
        assert!(said.contains("does not answer within 300ms"), "{said}");
    }

    #[test]
    fn whoever_wants_an_end_need_not_wait_for_an_answer() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut asker =
            Asker::with(silent.local_addr().unwrap(), Duration::from_secs(600), &STOP).unwrap();
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            STOP.store(true, Ordering::Relaxed);
        });
        assert_eq!(why(asker.get("/livez", "")), "stopped");
    }

    #[test]
    fn who_does_not_listen_is_named() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let said = format!("{:#}", Asker::new(address).err().unwrap());
        assert!(said.contains(&format!("cannot connect to {address}")), "{said}");
    }
}

//! Owns single questions to a service: one connection, one request after another, waited for.
//!
//! Never: load, and no TLS: an address of plain HTTP. Bounds: an answer is waited for
//! [`ANSWER_WAIT_MAX`].

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::answer::{self, Answer, BODY_BYTES_MAX};

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

/// A connection to a service.
pub(super) struct Asker {
    stream: TcpStream,
    host: String,
    input: Vec<u8>,
    used: usize,
}

impl Asker {
    /// Connects.
    pub(super) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("nobody listens on {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
        Ok(Self { stream, host: address.to_string(), input: Vec::new(), used: 0 })
    }

    /// Sends a request that is written out, and waits for the answer.
    pub(super) fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.input.drain(..self.used);
        self.used = 0;
        self.stream.write_all(request)?;
        let bytes = loop {
            if let Some(answer) = answer::read(&self.input)? {
                break answer.bytes;
            }
            ensure!(self.input.len() < 2 * BODY_BYTES_MAX, "an answer without an end");
            let mut part = [0; 16_384];
            let read = self.stream.read(&mut part)?;
            ensure!(read > 0, "the connection was closed in the middle of an answer");
            self.input.extend_from_slice(part.get(..read).unwrap_or_default());
        };
        self.used = bytes;
        answer::read(&self.input)?.context("an answer that is gone")
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
        let said: String = String::from_utf8_lossy(answer.body).chars().take(300).collect();
        bail!("{path} was answered with {}: {said}", answer.status);
    }
    Ok(answer)
}

//! Owns the lines of a body that comes little by little.
//!
//! Never: more than what is asked for and the beginning of a line.
//! Bounds: a line of [`LINE_BYTES_MAX`]; a silence of `idle_max`.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::body::discard;

/// The longest line, in bytes. The longest operation with every character escaped is shorter.
pub(super) const LINE_BYTES_MAX: usize = 16_384;

/// What some programs begin a file of UTF-8 with. RFC 8259, section 8.1: it may be passed over.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A body of lines.
pub(super) struct Lines {
    body: Body,
    buffer: Vec<u8>,
    /// Of the buffer, so many bytes are taken.
    taken: usize,
    /// Whether no line was taken yet.
    is_beginning: bool,
    end: Option<End>,
    idle_max: Duration,
    /// When something came last, or when it was last waited for anew.
    heard: Instant,
}

/// How the body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As it should: the last line may lack its end.
    Whole,
    /// It broke off: what is there of a last line is nothing.
    Broken,
    /// Nothing came for too long.
    Idle,
    /// A line is too long to be read.
    LineTooLong,
}

impl Lines {
    pub(super) fn new(body: Body, idle_max: Duration) -> Self {
        let heard = Instant::now();
        Self { body, buffer: Vec::new(), taken: 0, is_beginning: true, end: None, idle_max, heard }
    }

    /// It was not the client who kept silent until now.
    pub(super) fn restart_clock(&mut self) {
        self.heard = Instant::now();
    }

    /// Waits until there is a line, and until so many bytes have come or the body has ended; or says how
    /// it ended. May be given up at any time: nothing is lost.
    pub(super) async fn wait(&mut self, bytes: usize) -> Result<(), End> {
        loop {
            let has_line = self.has_line();
            let come = self.buffer.len() - self.taken;
            if has_line && (come >= bytes || self.end.is_some()) {
                return Ok(());
            }
            if !has_line && come > LINE_BYTES_MAX {
                self.end = Some(End::LineTooLong);
            }
            if let Some(end) = self.end {
                return Err(end);
            }
            let deadline = self.heard + self.idle_max;
            match tokio::time::timeout_at(deadline, self.body.frame()).await {
                Ok(frame) => self.take_in(frame.map(|frame| frame.map(|it| it.into_data()))),
                Err(_) => self.end = Some(End::Idle),
            }
        }
    }

    fn take_in<T>(&mut self, frame: Option<Result<Result<Bytes, T>, axum::Error>>) {
        self.heard = Instant::now();
        match frame {
            Some(Ok(Ok(data))) => {
                self.buffer.drain(..self.taken);
                self.taken = 0;
                self.buffer.extend_from_slice(&data);
            }
            // Trailers say nothing here.
            Some(Ok(Err(_))) => {}
            Some(Err(_)) => self.end = Some(End::Broken),
            None => self.end = Some(End::Whole),
        }
    }

    /// Takes the next line, without its end, of those that are there already.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let rest = self.buffer.get(self.taken..)?;
        let length = match memchr::memchr(b'\n', rest) {
            Some(length) => length,
            None if self.end == Some(End::Whole) && !rest.is_empty() => rest.len(),
            None => return None,
        };
        if length > LINE_BYTES_MAX {
            self.end = Some(End::LineTooLong);
            return None;
        }
        let start = self.taken;
        self.taken = (start + length + 1).min(self.buffer.len());
        let is_first = std::mem::replace(&mut self.is_beginning, false);
        let line = self.buffer.get(start..start + length)?;
        Some(line.strip_prefix(BYTE_ORDER_MARK).filter(|_| is_first).unwrap_or(line))
    }

    /// Reads what still comes, and lets it go.
    pub(super) async fn discard(&mut self) {
        self.buffer = Vec::new();
        self.taken = 0;
        discard(std::mem::take(&mut self.body)).await;
    }

    /// Whether [`next`](Self::next) has something to say.
    fn has_line(&self) -> bool {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        match self.end {
            Some(End::Whole) => !rest.is_empty(),
            Some(End::LineTooLong) => false,
            _ => memchr::memchr(b'\n', rest).is_some(),
        }
    }
}

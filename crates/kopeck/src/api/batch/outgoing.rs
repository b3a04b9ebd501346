//! Owns a whole batch's answer on its way: the user's turn lasts until the client has taken nearly all of it.
//!
//! Never: a turn that outlives the answer. Bounds: hyper takes [`PIECE_BYTES`] at a time, when the piece
//! before is with the system; who takes nothing is cut off by the answer timeout.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use ledger::UserId;

use crate::turns::Turn;

const PIECE_BYTES: usize = 65_536;

/// What is not sent yet. An answer can be twice as long as its body: without the turn, a user whose clients do not
/// read could have one in memory for every connection.
#[derive(Debug)]
pub(super) struct Outgoing {
    rest: Bytes,
    turn: Option<Turn<UserId>>,
}

impl Outgoing {
    pub(super) fn new(answer: Vec<u8>, turn: Turn<UserId>) -> Self {
        Self { rest: answer.into(), turn: Some(turn) }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        if self.rest.is_empty() {
            // Before the last piece is sent: who has read it may ask for the next turn at once.
            self.turn = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::turns::Turns;

    #[test]
    fn the_turn_ends_with_the_last_piece() {
        for bytes in [1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let turns = Turns::new();
            let answer: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            let turn = turns.take(UserId::FIRST, 1).unwrap();
            let mut outgoing = Outgoing::new(answer.clone(), turn);
            assert_eq!(outgoing.size_hint().exact(), Some(bytes as u64));
            let mut sent = Vec::new();
            while sent.len() < bytes {
                assert!(turns.take(UserId::FIRST, 1).is_none(), "{} of {bytes}", sent.len());
                let frame = outgoing.frame().now_or_never().flatten().unwrap().unwrap();
                sent.extend_from_slice(&frame.into_data().unwrap());
                assert_eq!(outgoing.is_end_stream(), sent.len() == bytes);
            }
            assert_eq!(sent, answer);
            assert!(turns.take(UserId::FIRST, 1).is_some());
        }
    }
}

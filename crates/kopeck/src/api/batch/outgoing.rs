//! Owns a whole batch's answer on its way: the user's turn, and the answer's room among those of all users, last until
//! the client has taken nearly all of it.
//!
//! Never: a turn or a room that outlives the answer; a batch handed in whose answer has no room. Bounds: hyper takes
//! a piece at a time, when the piece before is with the system; who takes nothing is cut off by the answer
//! timeout; all answers together are as long as [`ANSWERS`] of the greatest bodies. A small one needs no room.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use ledger::UserId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::permits;
use crate::body::{next_piece, pieces_of};
use crate::problem::Problem;
use crate::turns::Turn;

/// All answers that are not taken yet are together as long as so many of the greatest bodies.
const ANSWERS: usize = 64;

/// The room that the answers of all users have.
#[derive(Debug)]
pub(super) struct Answers {
    pieces: Arc<Semaphore>,
    pieces_max: usize,
    unreserved_bytes_max: usize,
}

/// An answer's room, which ends with it.
#[derive(Debug)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl Answers {
    /// Beside bodies of at most `body_bytes_max`; an answer of at most `unreserved_bytes_max` needs no room.
    pub(super) fn new(body_bytes_max: usize, unreserved_bytes_max: usize) -> Self {
        let pieces_max = pieces_of(body_bytes_max).saturating_mul(ANSWERS);
        let pieces_max = pieces_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { pieces: Arc::new(Semaphore::new(pieces_max)), pieces_max, unreserved_bytes_max }
    }

    /// Room for an answer of at most so many bytes, if there is some. Nobody waits for it, in a place that others
    /// want: there is room for far more than there are places, unless answers are not read.
    pub(super) fn room(&self, bytes: usize) -> Result<Room, Problem> {
        if bytes <= self.unreserved_bytes_max {
            return Ok(Room(None));
        }
        let pieces = permits(pieces_of(bytes).min(self.pieces_max));
        let room = Arc::clone(&self.pieces).try_acquire_many_owned(pieces);
        let full = "too many bytes of answers to batches of all users together are not read yet";
        Ok(Room(Some(room.map_err(|_| super::too_many(full.to_owned()))?)))
    }
}

impl Room {
    /// Gives back what is not needed for so many bytes.
    fn shrink(&mut self, bytes: usize) {
        if let Some(room) = &mut self.0 {
            let spare = room.num_permits().saturating_sub(pieces_of(bytes));
            drop(room.split(spare));
        }
    }
}

/// What is not sent yet. An answer can be twice as long as its body: without the turn, a user whose clients do not
/// read could have one in memory for every connection; without the room, many users could.
#[derive(Debug)]
pub(super) struct Outgoing {
    rest: Bytes,
    held: Option<(Turn<UserId>, Room)>,
}

impl Outgoing {
    pub(super) fn new(answer: Vec<u8>, turn: Turn<UserId>, mut room: Room) -> Self {
        room.shrink(answer.len());
        Self { rest: answer.into(), held: Some((turn, room)) }
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
        let piece = next_piece(&mut self.rest);
        if self.rest.is_empty() {
            // Before the last piece is sent: who has read it may ask for the next turn at once.
            self.held = None;
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
    use crate::body::PIECE_BYTES;
    use crate::turns::Turns;

    #[test]
    fn the_turn_ends_with_the_last_piece() {
        for bytes in [1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let turns = Turns::new();
            let answer: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            let turn = turns.take(UserId::FIRST, 1).unwrap();
            let mut outgoing = Outgoing::new(answer.clone(), turn, Room(None));
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

    #[test]
    fn answers_have_room_together_until_they_are_sent() {
        const SMALL: usize = PIECE_BYTES / 2;
        let answers = Answers::new(PIECE_BYTES, SMALL);
        let room = |bytes| answers.room(bytes).ok();
        let turns = Turns::new();
        let sent = |bytes, room| {
            Outgoing::new(vec![0; bytes], turns.take(UserId::FIRST, 9).unwrap(), room)
        };
        // It was thought to be longer, and leaves what it does not need.
        let mut first = sent(PIECE_BYTES + 1, room(9 * PIECE_BYTES).unwrap());
        assert_eq!(answers.pieces.available_permits(), ANSWERS - 2);
        let second = sent(1, room(SMALL + 1).unwrap());
        let all = room((ANSWERS - 3) * PIECE_BYTES).unwrap();
        assert!(room(SMALL + 1).is_none());
        assert!(room(SMALL).is_some(), "a small one needs none");
        assert!(first.frame().now_or_never().is_some() && room(SMALL + 1).is_none());
        assert!(first.frame().now_or_never().is_some() && room(2 * PIECE_BYTES).is_some());
        drop((second, all));
        assert_eq!(answers.pieces.available_permits(), ANSWERS);
        assert!(room(usize::MAX).is_some(), "longer than all: then it is alone");
    }
}

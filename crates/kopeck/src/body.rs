//! Owns the reading of a whole body, and of what still comes of one that was refused; and the handing out of a long one
//! a piece after another.
//!
//! Never: a look at what is in it. Bounds: whoever asks for it bounds it; what was refused is read for
//! [`LINGER_MAX`]; a piece has [`PIECE_BYTES`].

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

/// How long a client that was told the end is listened to.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// So much of an answer is given to hyper at a time, and of a batch's body or answer granted.
pub(crate) const PIECE_BYTES: usize = 65_536;

/// In how many pieces so many bytes are.
pub(crate) fn pieces_of(bytes: usize) -> usize {
    bytes.div_ceil(PIECE_BYTES)
}

/// Takes the next piece off what is left.
pub(crate) fn next_piece(rest: &mut Bytes) -> Bytes {
    rest.split_to(rest.len().min(PIECE_BYTES))
}

/// A body that is given out in pieces. hyper copies what it is given, and keeps the room for it as long as the
/// connection: in one piece, a long body is once more in memory for each client that does not read, or has read and
/// says nothing.
#[derive(Debug)]
pub(crate) struct Pieces {
    body: Body,
    rest: Bytes,
}

impl Pieces {
    pub(crate) fn of(body: Body) -> Body {
        Body::new(Self { body, rest: Bytes::new() })
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(next_piece(&mut self.rest)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

/// All of a body. One that comes in one piece, as all small ones do, is not copied.
pub(crate) async fn read_whole<B: HttpBody<Data = Bytes>>(body: B) -> Result<Bytes, B::Error> {
    let mut body = pin!(body);
    let Some(first) = body.frame().await else { return Ok(Bytes::new()) };
    let first = first?.into_data().unwrap_or_default();
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut all = Vec::from(first);
    while let Some(frame) = body.frame().await {
        all.extend_from_slice(&frame?.into_data().unwrap_or_default());
    }
    Ok(all.into())
}

/// Reads what still comes of a body that was refused, and lets it go. Were the connection closed on what a
/// client still sends, it could not read what it was told.
pub(crate) async fn discard(mut body: Body) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(LINGER_MAX, all).await;
}

/// The same of a body that was refused for the request's head. Who waits for a word before it is sent is told
/// at once.
pub(crate) async fn discard_unread(headers: &HeaderMap, body: Body) {
    if !headers.contains_key(header::EXPECT) {
        discard(body).await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::HeaderMap;
    use futures_util::{FutureExt, stream};
    use http_body_util::{Empty, Full, StreamBody};

    use super::*;

    async fn pieces(pieces: &[&'static str]) -> Bytes {
        let frames = pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data((*piece).into())));
        let frames = frames.chain([Ok(Frame::trailers(HeaderMap::new()))]).collect::<Vec<_>>();
        read_whole(StreamBody::new(stream::iter(frames))).await.unwrap()
    }

    #[tokio::test]
    async fn is_all_of_it_however_it_comes() {
        assert_eq!(read_whole(Empty::new()).await.unwrap(), "");
        assert_eq!(read_whole(Full::from("kopeck")).await.unwrap(), "kopeck");
        assert_eq!(pieces(&[]).await, "");
        assert_eq!(pieces(&["kopeck"]).await, "kopeck");
        assert_eq!(pieces(&["k", "", "ope", "ck"]).await, "kopeck");
        assert_eq!(pieces(&["", "kopeck"]).await, "kopeck");
    }

    #[tokio::test]
    async fn is_nothing_when_it_breaks_off() {
        let frames = [Ok(Frame::data(Bytes::from("kop"))), Err("broke off")];
        assert_eq!(read_whole(StreamBody::new(stream::iter(frames))).await, Err("broke off"));
        let frames = [Ok(Frame::data(Bytes::new())), Err("broke off")];
        assert_eq!(read_whole(StreamBody::new(stream::iter(frames))).await, Err("broke off"));
        let frames = [Err::<Frame<Bytes>, _>("broke off")];
        assert_eq!(read_whole(StreamBody::new(stream::iter(frames))).await, Err("broke off"));
    }

    #[tokio::test]
    async fn a_long_one_is_given_out_in_pieces() {
        let long: Vec<u8> = (0..2 * PIECE_BYTES + 1).map(|at| at as u8).collect();
        let mut body = Pieces::of(Body::from(long.clone()));
        let mut given = Vec::new();
        for piece in [PIECE_BYTES, PIECE_BYTES, 1] {
            assert!(!body.is_end_stream());
            assert_eq!(body.size_hint().exact(), Some((long.len() - given.len()) as u64));
            let frame = body.frame().now_or_never().flatten().unwrap().unwrap();
            let data = frame.into_data().unwrap();
            assert_eq!(data.len(), piece);
            given.extend_from_slice(&data);
        }
        assert_eq!(given, long);
        assert!(body.is_end_stream() && Pieces::of(Body::empty()).is_end_stream());
        let two = [Ok::<_, Infallible>(Bytes::from(long.clone())), Ok("kopeck".into())];
        let body = Pieces::of(Body::from_stream(stream::iter(two)));
        assert_eq!(read_whole(body).await.unwrap(), [&long[..], b"kopeck"].concat());
        let broken = [Ok(Bytes::from("kop")), Err("broke off")];
        let body = Pieces::of(Body::from_stream(stream::iter(broken)));
        assert!(read_whole(body).await.is_err());
    }
}

//! Owns the reading of a whole body, and of what still comes of one that was refused.
//!
//! Never: a look at what is in it. Bounds: whoever asks for it bounds it; what was refused is read for
//! [`LINGER_MAX`].

use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;

/// How long a client that was told the end is listened to.
const LINGER_MAX: Duration = Duration::from_secs(1);

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
    use futures_util::stream;
    use http_body_util::{Empty, Full, StreamBody};
    use hyper::body::Frame;

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
}

//! Owns the reading of a whole batch's body, and how many bytes of such bodies there are in all.
//!
//! Never: a byte granted before it has come, but for the rest of a body that had to wait for one: a body
//! that does not come holds nothing but its user's own turn. Bounds: `batch_bytes_max` a body, within the
//! body timeout; of all that is granted, [`BODIES`] and [`SPARES`] of the greatest bodies. A body as small
//! as any other request's may be needs no grant.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::permits;
use crate::body::{discard, pieces_of};
use crate::problem::{Code, Problem};

/// So many of the greatest bodies fit in what is granted piece by piece.
const BODIES: usize = 56;
/// So many more may be read to their end when all of that is granted: if each waited for the others'
/// pieces, none would ever be whole.
const SPARES: usize = 8;

/// The bytes of whole batches' bodies in memory.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes_max: usize,
    ungranted_bytes_max: usize,
    timeout: Duration,
    pieces: Arc<Semaphore>,
    spares: Arc<Semaphore>,
}

/// A body in memory, and the grant for it, which ends with it.
#[derive(Debug)]
pub(super) struct Incame {
    pub(super) bytes: Bytes,
    _grant: Grant,
}

/// What a body may hold.
#[derive(Debug, Default)]
struct Grant {
    pieces: Option<OwnedSemaphorePermit>,
    spare: Option<OwnedSemaphorePermit>,
}

impl Incoming {
    /// For bodies of at most `bytes_max`; those of at most `ungranted_bytes_max` need no grant.
    pub(super) fn new(bytes_max: usize, ungranted_bytes_max: usize, timeout: Duration) -> Self {
        let pieces = pieces_of(bytes_max).saturating_mul(BODIES).min(Semaphore::MAX_PERMITS);
        Self {
            bytes_max,
            ungranted_bytes_max,
            timeout,
            pieces: Arc::new(Semaphore::new(pieces)),
            spares: Arc::new(Semaphore::new(SPARES)),
        }
    }

    /// Refuses a body that says itself that it is too long.
    pub(super) fn check(&self, body: &Body) -> Result<(), Problem> {
        let fits = body.size_hint().lower() <= self.bytes_max as u64;
        if fits { Ok(()) } else { Err(self.too_large()) }
    }

    /// Reads a body, or says why it is not read to its end.
    pub(super) async fn read(&self, mut body: Body) -> Result<Incame, Problem> {
        let mut grant = Grant::default();
        let read = self.read_granted(&mut body, &mut grant).await;
        match read {
            Ok(bytes) => Ok(Incame { bytes, _grant: grant }),
            Err((problem, goes_on)) => {
                drop(grant);
                if goes_on {
                    discard(body).await;
                }
                Err(problem)
            }
        }
    }

    /// With the problem, whether more of the body may come.
    async fn read_granted(
        &self,
        body: &mut Body,
        grant: &mut Grant,
    ) -> Result<Bytes, (Problem, bool)> {
        let whole = body.size_hint().upper().and_then(|upper| usize::try_from(upper).ok());
        let whole = whole.map_or(self.bytes_max, |whole| whole.min(self.bytes_max));
        let mut deadline = Instant::now() + self.timeout;
        let (mut first, mut all) = (Bytes::new(), Vec::new());
        loop {
            let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Ok(if all.is_empty() { first } else { all.into() }),
                Ok(Some(Err(_))) => {
                    let detail = "the body broke off or is malformed";
                    return Err((Problem::new(Code::MalformedRequest).detail(detail), false));
                }
                Err(_) => return Err((Problem::new(Code::RequestTimeout), false)),
            };
            let data = frame.into_data().unwrap_or_default();
            let come = first.len().max(all.len()) + data.len();
            if come > self.bytes_max {
                return Err((self.too_large(), true));
            }
            let waits = Instant::now();
            self.cover(grant, come, whole).await.map_err(|problem| (problem, true))?;
            // It was not the client who kept anybody waiting.
            deadline += waits.elapsed();
            if come == data.len() {
                // What comes in one piece, as all small ones do, is not copied.
                first = data;
            } else {
                if all.is_empty() {
                    all = Vec::from(std::mem::take(&mut first));
                }
                all.extend_from_slice(&data);
            }
        }
    }

    /// Has so many bytes granted, of a body that may become as long as `whole`. Where there are none, it
    /// waits for all the rest together, or for a spare.
    async fn cover(&self, grant: &mut Grant, come: usize, whole: usize) -> Result<(), Problem> {
        if come <= self.ungranted_bytes_max || grant.spare.is_some() {
            return Ok(());
        }
        let has = grant.pieces.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = |bytes: usize| permits(pieces_of(bytes).saturating_sub(has));
        if missing(come) == 0 {
            return Ok(());
        }
        if let Ok(more) = Arc::clone(&self.pieces).try_acquire_many_owned(missing(come)) {
            grant.add(more);
            return Ok(());
        }
        let rest = missing(whole.max(come));
        let wait = async {
            tokio::select! {
                biased;
                more = Arc::clone(&self.pieces).acquire_many_owned(rest) => {
                    more.ok().map(|more| grant.add(more))
                }
                spare = Arc::clone(&self.spares).acquire_owned() => {
                    spare.ok().map(|spare| grant.spare = Some(spare))
                }
            }
        };
        let granted = tokio::time::timeout(super::PLACE_WAIT_MAX, wait).await.ok().flatten();
        granted.ok_or_else(|| {
            super::too_many(
                "too many bytes of batches of all users together are on their way".to_owned(),
            )
        })
    }

    fn too_large(&self) -> Problem {
        let detail = format!(
            "the body of a batch has at most {} bytes; send more as JSON Lines, or in parts",
            self.bytes_max
        );
        Problem::new(Code::BodyTooLarge).detail(detail)
    }
}

impl Grant {
    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.pieces {
            Some(pieces) => pieces.merge(more),
            None => self.pieces = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;
    use crate::body::PIECE_BYTES;

    const BYTES_MAX: usize = 4 * PIECE_BYTES;
    const SMALL: usize = PIECE_BYTES / 2;

    fn incoming() -> Incoming {
        Incoming::new(BYTES_MAX, SMALL, Duration::from_secs(30))
    }

    fn free(incoming: &Incoming) -> (usize, usize) {
        (incoming.pieces.available_permits(), incoming.spares.available_permits())
    }

    /// A body of so many bytes, in pieces, that then ends or goes on without anything coming.
    fn body(bytes: usize, ends: bool) -> Body {
        let pieces = vec![0; bytes];
        let pieces: Vec<_> = pieces.chunks(10_000).map(Bytes::copy_from_slice).collect();
        let pieces = stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
        if ends {
            Body::from_stream(pieces)
        } else {
            Body::from_stream(pieces.chain(stream::pending()))
        }
    }

    #[tokio::test]
    async fn a_body_is_whole_and_gives_back_what_it_had() {
        let incoming = incoming();
        let all = free(&incoming);
        for bytes in [0, 1, 10_000, SMALL, SMALL + 1, PIECE_BYTES, BYTES_MAX] {
            let read = incoming.read(body(bytes, true)).await.unwrap();
            assert_eq!(read.bytes.len(), bytes);
            let taken = if bytes > SMALL { bytes.div_ceil(PIECE_BYTES) } else { 0 };
            assert_eq!(all.0 - free(&incoming).0, taken, "{bytes}");
            drop(read);
            assert_eq!(free(&incoming), all, "{bytes}");
        }
        let refused = incoming.read(body(BYTES_MAX + 1, true)).await.unwrap_err();
        assert_eq!(refused.code(), "body_too_large");
        let said = |bytes| incoming.check(&Body::from(vec![0; bytes]));
        assert!(said(BYTES_MAX).is_ok() && incoming.check(&body(BYTES_MAX + 1, true)).is_ok());
        assert_eq!(said(BYTES_MAX + 1).unwrap_err().code(), "body_too_large");
        assert_eq!(free(&incoming), all);
    }

    #[tokio::test]
    async fn who_sends_little_holds_nothing_of_others() {
        let incoming = incoming();
        let all = free(&incoming);
        let mut silent: Vec<_> =
            (0..10 * BODIES).map(|_| Box::pin(incoming.read(body(SMALL, false)))).collect();
        for body in &mut silent {
            assert!(body.now_or_never().is_none());
        }
        assert_eq!(free(&incoming), all);
        incoming.read(body(BYTES_MAX, true)).await.unwrap();
    }

    /// It is the others who keep it waiting.
    #[tokio::test]
    async fn a_wait_for_a_grant_is_not_counted_as_the_clients() {
        const TIMEOUT: Duration = Duration::from_millis(400);
        let incoming = Incoming::new(BYTES_MAX, SMALL, TIMEOUT);
        let (pieces, spares) = free(&incoming);
        let held = (
            incoming.pieces.acquire_many(permits(pieces)).await.unwrap(),
            incoming.spares.acquire_many(permits(spares)).await.unwrap(),
        );
        let first = Ok::<_, Infallible>(Bytes::from(vec![0; PIECE_BYTES]));
        let rest = stream::once(async {
            tokio::time::sleep(TIMEOUT / 10).await;
            Ok(Bytes::from_static(b"rest"))
        });
        let body = Body::from_stream(stream::iter([first]).chain(rest));
        let others = async {
            tokio::time::sleep(2 * TIMEOUT).await;
            drop(held);
        };
        let (read, ()) = tokio::join!(incoming.read(body), others);
        assert_eq!(read.unwrap().bytes.len(), PIECE_BYTES + 4);
    }

    /// Each has come nearly to its end when nothing more is granted piece by piece.
    #[tokio::test]
    async fn bodies_that_wait_for_each_other_become_whole() {
        let incoming = incoming();
        let most = BYTES_MAX - PIECE_BYTES;
        let stuck = free(&incoming).0 / pieces_of(most);
        let mut slow: Vec<_> =
            (0..stuck).map(|_| Box::pin(incoming.read(body(most, false)))).collect();
        for body in &mut slow {
            assert!(body.now_or_never().is_none());
        }
        assert!(free(&incoming).0 < pieces_of(most));
        let spares: Vec<_> =
            (0..SPARES).map(|_| incoming.read(body(BYTES_MAX, true)).now_or_never()).collect();
        assert!(spares.iter().all(|read| matches!(read, Some(Ok(_)))));
        let mut waits = Box::pin(incoming.read(body(BYTES_MAX, true)));
        assert!((&mut waits).now_or_never().is_none(), "there is an end to it");
        let small = incoming.read(body(SMALL, true)).now_or_never();
        assert!(matches!(small, Some(Ok(_))), "small ones need no grant");
        slow.truncate(stuck - 2);
        waits.await.unwrap();
    }
}

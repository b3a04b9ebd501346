//! Owns the moving of money in batches: as one JSON object, or as JSON Lines without an end.
//!
//! Never: a decision (the ledger decides), or a body that the edge has read: this route reads its own,
//! after the caller is known. Bounds: [`BODIES_PER_USER_MAX`] whole batches of one user at a time from
//! their first byte until the client has their answer, [`BODIES_MAX`] in all from their last; the bytes that
//! [`Incoming`] grants, and those of answers that have room in [`Answers`]; [`IMPORTS_PER_USER_MAX`] imports
//! of one user; of what may wait for the ledger, batches take half at most, so that single requests find
//! room beside any import.

pub(super) mod describe;
mod incoming;
mod lines;
mod outgoing;
pub(crate) mod read;
mod stream;
mod whole;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use ledger::{BatchOutcome, IdempotencyKey, LedgerError, UserId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use self::describe::{BatchAnswer, BatchBody};
use self::incoming::Incoming;
use self::outgoing::Answers;
use super::json::MediaType;
use super::openapi::{BatchProblems, KeyParameter};
use crate::auth::Caller;
use crate::body::discard_unread;
use crate::config::Serve;
use crate::idempotency::{IDEMPOTENCY_KEY, Key};
use crate::problem::{Code, Problem};
use crate::state::AppState;
use crate::turns::{Turn, Turns};

/// The route, whose bodies the edge leaves alone.
pub(crate) const PATH: &str = "/api/transfers/batch";

/// Whole batches that are worked on at a time, from when their body has come until they are answered.
const BODIES_MAX: usize = 64;
/// Of one user so many, from their first byte on until their answer is taken; more are refused
/// (`overloaded`).
pub(crate) const BODIES_PER_USER_MAX: usize = 16;

/// Bodies of lines of one user that are read at a time; more are refused (`overloaded`).
const IMPORTS_PER_USER_MAX: usize = 16;

/// How long a whole batch waits for room for its bytes, and then for a place, before it is refused with 503.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(10);

/// The media types of JSON Lines: the registered one first, and what others call it.
const LINES_TYPES: [&str; 3] =
    ["application/jsonl", "application/x-ndjson", "application/jsonlines"];

/// What becomes of operations that were handed in.
type Outcomes = Result<BatchOutcome, LedgerError>;

/// The room that batches have.
#[derive(Debug)]
pub(crate) struct Batches {
    incoming: Incoming,
    answers: Answers,
    places: Semaphore,
    by_user: Turns<UserId>,
    imports: Turns<UserId>,
    room: Arc<Semaphore>,
    room_operations: usize,
}

impl Batches {
    /// Of the queue they have half, or room for one chunk of an import if that is more. A whole batch that is larger
    /// has all of it to itself.
    pub(crate) fn new(config: &Serve) -> Self {
        let half = (config.queue_operations_max / 2).max(stream::CHUNK_OPERATIONS_MAX);
        let room_operations = half.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self {
            incoming: Incoming::new(
                config.batch_bytes_max,
                config.body_bytes_max,
                config.body_timeout_seconds,
            ),
            answers: Answers::new(config.batch_bytes_max, config.body_bytes_max),
            places: Semaphore::new(BODIES_MAX),
            by_user: Turns::new(),
            imports: Turns::new(),
            room: Arc::new(Semaphore::new(room_operations)),
            room_operations,
        }
    }

    /// A user's turn with one more whole body, if there are not too many of theirs already: nobody takes
    /// all the places.
    fn turn(&self, user: UserId) -> Result<Turn<UserId>, Problem> {
        let turn = self.by_user.take(user, BODIES_PER_USER_MAX);
        turn.ok_or_else(|| too_many_batches("one user", BODIES_PER_USER_MAX))
    }

    /// A user's turn with one more body of lines: a connection each, so nobody takes all of those either.
    fn import(&self, user: UserId) -> Result<Turn<UserId>, Problem> {
        self.imports.take(user, IMPORTS_PER_USER_MAX).ok_or_else(|| {
            too_many(format!("at most {IMPORTS_PER_USER_MAX} imports of one user at a time"))
        })
    }

    /// Waits for room for so many operations, first come, first served. Dropped, it is free again.
    async fn room(&self, operations: usize) -> OwnedSemaphorePermit {
        let operations = operations.min(self.room_operations);
        match Arc::clone(&self.room).acquire_many_owned(permits(operations)).await {
            Ok(room) => room,
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Waits for an outcome in a task, so that the room is taken until the ledger is done, and no longer: whether the client
/// goes away before, or takes what comes late.
fn wait_in_room(
    pending: impl Future<Output = Outcomes> + Send + 'static,
    room: OwnedSemaphorePermit,
) -> JoinHandle<Outcomes> {
    tokio::spawn(async move {
        let outcome = pending.await;
        drop(room);
        outcome
    })
}

/// The outcome that a task has waited for.
async fn outcome_of(task: &mut JoinHandle<Outcomes>) -> Outcomes {
    task.await.unwrap_or_else(|error| {
        Err(LedgerError::OutcomeUnknown(format!("a batch's task failed: {error}")))
    })
}

/// Looks once more whether the caller is logged in, before operations are handed in: their text, or room for them, may
/// have been waited for.
async fn check_session(state: &AppState, caller: &Caller) -> Result<(), Problem> {
    let user = state.auth.sessions.find(&caller.token).await?;
    user.map(drop).ok_or_else(Problem::not_logged_in)
}

/// As a semaphore counts.
fn permits(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// There is too much of something; nothing was done.
fn too_many(what: String) -> Problem {
    Problem::overloaded(format!("{what}; nothing was done, try again"))
}

fn too_many_batches(whose: &str, max: usize) -> Problem {
    too_many(format!("at most {max} batches of {whose} at a time"))
}

/// What a request's head asks for.
enum Begun {
    Whole(Caller, Option<IdempotencyKey>, Turn<UserId>),
    Lines(Caller, Turn<UserId>),
}

/// Reads the head, or says why the body is not read.
fn begin(
    batches: &Batches,
    caller: Caller,
    key: Option<IdempotencyKey>,
    request: &Request,
) -> Result<Begun, Problem> {
    let media_type = MediaType::of(request.headers());
    let is_json = media_type.is_json();
    if !is_json && !LINES_TYPES.iter().any(|lines| media_type.is(lines)) {
        return Err(Problem::new(Code::UnsupportedMediaType).detail(
            "a batch is JSON, with `Content-Type: application/json`, or JSON Lines, with \
             `Content-Type: application/jsonl`",
        ));
    }
    media_type.check_charset()?;
    let user = caller.user.id;
    if is_json {
        let turn = batches.turn(user)?;
        batches.incoming.check(request.body())?;
        return Ok(Begun::Whole(caller, key, turn));
    }
    if key.is_some() {
        let detail = format!(
            "lines have keys of their own, in `idempotency_key`: no {IDEMPOTENCY_KEY} here"
        );
        return Err(Problem::new(Code::IdempotencyKeyMisplaced).detail(detail));
    }
    Ok(Begun::Lines(caller, batches.import(user)?))
}

/// Many transfers from the caller's wallet, or many deposits by the bank.
///
/// **As JSON**, up to 8 192 operations: all or none (`atomic`), or each on its own, with a result each
/// in the same order (`independent`). `Idempotency-Key` is a name for the whole, `idempotency_key` one
/// for an operation; they are of one kind, so a name that was used for either is used. An atomic batch
/// that cannot be done is answered with the problem of the first operation that cannot be, and its
/// `index`, malformed ones before all others; nothing of it is done, and nothing is kept under the keys
/// of its operations. In an independent batch, an operation that is malformed has its own result. At most 16 batches of one user
/// at a time, each until its answer has ended: one more is refused with `overloaded`.
///
/// **As JSON Lines** (`application/jsonl`), without an end: an operation a line, each on its own. For
/// each line comes a line of the answer, in order and with its `index` (blank lines do not count),
/// while the request is still being sent: read while you send, or both sides wait. Where the answer
/// ends early, its last line has the `status` `ended`, the reason's `code`, and the `index` of the
/// first line of which nothing was done and nothing said. At most 16 imports of one user at a time, each
/// until its answer has ended: one more is refused with `overloaded`.
#[utoipa::path(
    post, path = "/api/transfers/batch", tag = "money", security(("session" = [])),
    request_body(description = "The operations", content(
        (BatchBody = "application/json"), (String = "application/jsonl"),
    )),
    params(KeyParameter),
    responses(
        (status = 200, description = "What became of each operation. Of JSON Lines, a `BatchLine` each.",
         content((BatchAnswer = "application/json"), (String = "application/jsonl")),
         headers(("Idempotency-Replayed" = Option<String>, description = "`true`: this was answered before"))),
        BatchProblems,
    ),
)]
pub(super) async fn batch(
    State(state): State<AppState>,
    caller: Result<Caller, Problem>,
    key: Result<Key, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let begun = match (caller, key) {
        (Ok(caller), Ok(Key(key))) => begin(&state.batches, caller, key, &request),
        (Err(problem), _) | (_, Err(problem)) => Err(problem),
    };
    let (parts, body) = request.into_parts();
    match begun {
        Ok(Begun::Whole(caller, key, turn)) => {
            whole::answer(&state, &caller, key, turn, body).await
        }
        Ok(Begun::Lines(caller, turn)) => {
            let expects_word = parts.headers.contains_key(header::EXPECT);
            Ok(stream::answer(state, caller, turn, body, expects_word).await)
        }
        Err(problem) => {
            discard_unread(&parts.headers, body).await;
            Err(problem)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_taken_until_the_ledger_is_done_whoever_has_gone() {
        let all = Arc::new(Semaphore::new(1));
        let room = Arc::clone(&all).acquire_owned().await.unwrap();
        let (done, pending) = tokio::sync::oneshot::channel();
        drop(wait_in_room(async { pending.await.unwrap() }, room));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(all.available_permits(), 0);
        done.send(Ok(BatchOutcome::new(Ok(Vec::new())))).unwrap();
        drop(all.acquire().await);
    }
}

//! Owns a batch as one JSON object: read whole, handed in at once, answered in one piece.
//!
//! Never: more of an array than is asked for in memory, or a thread that speaks HTTP held for all of it but for
//! finding where its operations are: that is one reading, of 25 ms for 8 MiB of objects and of 60 ms for
//! millions of numbers in their place. (The threads for blocking work make way for everybody else, for
//! they hash passwords: a batch would wait behind a flood of logins there.)
//! Bounds: those of [`Incoming`](super::incoming::Incoming) for the body, [`SUBMISSIONS_MAX`]
//! operations, [`BODIES_MAX`](super::BODIES_MAX) of them at a time.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use ledger::{
    Batch, BatchKey, BatchMode, BatchOutcome, BatchRefusal, Fingerprint, IdempotencyKey,
    LedgerError, Outcome, Rejection, SUBMISSIONS_MAX, Submission, UserId,
};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::outgoing::Outgoing;
use super::{read, write};
use crate::api::{digits, json};
use crate::auth::Caller;
use crate::idempotency::Replayed;
use crate::problem::{Code, Problem};
use crate::state::AppState;
use crate::turns::Turn;

/// What stands around the results of an answer has no more bytes.
const FRAME_BYTES_MAX: usize = 80;

/// A batch as it is written. [`BatchBody`](super::describe::BatchBody) describes it.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'b> {
    mode: Mode,
    #[serde(borrow)]
    operations: Operations<'b>,
}

/// A mode as it is written.
#[derive(Debug, Clone, Copy)]
struct Mode(BatchMode);

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*read::Text::deserialize(deserializer)?.0 {
            "atomic" => Ok(Self(BatchMode::Atomic)),
            "independent" => Ok(Self(BatchMode::Independent)),
            other => Err(D::Error::unknown_variant(other, &["atomic", "independent"])),
        }
    }
}

/// The texts of as many operations as a batch may have; the rest is only counted.
#[derive(Debug)]
struct Operations<'b> {
    texts: Vec<&'b RawValue>,
    count: usize,
}

impl<'de: 'b, 'b> Deserialize<'de> for Operations<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Operations<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of operations")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while texts.len() < SUBMISSIONS_MAX {
                    match list.next_element()? {
                        Some(text) => texts.push(text),
                        None => return Ok(Operations { count: texts.len(), texts }),
                    }
                }
                let mut count = texts.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Operations { texts, count })
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

/// How many bytes were worked through since others had the thread.
#[derive(Debug, Default)]
struct Stretch(usize);

impl Stretch {
    /// A long text may be read four times, if something is wrong with it.
    const BYTES_MAX: usize = 65_536;
    /// What the shortest operation counts.
    const OPERATION_BYTES: usize = 128;

    /// Before the next operation: lets others have the thread, if it is their turn.
    async fn go_on(&mut self, bytes: usize) {
        self.0 += bytes.max(Self::OPERATION_BYTES);
        if self.0 >= Self::BYTES_MAX {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// What was read of a batch: the operations, and in place of those that could not be read, by index,
/// what is wrong.
struct Form {
    mode: BatchMode,
    submissions: Vec<Submission>,
    /// As the answer has it.
    refused: Vec<(usize, Vec<u8>)>,
    key: Option<BatchKey>,
    /// The answer has no more bytes.
    answer_bytes_max: usize,
}

/// Answers a batch. The user's turn ends with the answer.
pub(super) async fn answer(
    state: &AppState,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    turn: Turn<UserId>,
    body: Body,
) -> Result<Response, Problem> {
    // The place is for a body that has come: who sends slowly keeps it from nobody.
    let body = state.batches.incoming.read(body).await?;
    let place = tokio::time::timeout(super::PLACE_WAIT_MAX, state.batches.places.acquire()).await;
    let place = place.ok().and_then(Result::ok);
    let _place =
        place.ok_or_else(|| super::too_many_batches("all users together", super::BODIES_MAX))?;
    let Form { mode, submissions, refused, key, answer_bytes_max } =
        read_form(state, caller, key, &body.bytes).await?;
    drop(body);
    // Before anything is done: afterwards it is too late to refuse it.
    let answer_room = state.batches.answers.room(answer_bytes_max)?;
    let outcome = if submissions.is_empty() && key.is_none() {
        BatchOutcome::new(Ok(Vec::new()))
    } else {
        let room = state.batches.room(submissions.len());
        let room = tokio::time::timeout(super::PLACE_WAIT_MAX, room).await;
        let room = room.map_err(|_| state.teller.overloaded())?;
        super::check_session(state, caller).await?;
        let pending = state.teller.submit_batch(Batch { mode, submissions, key });
        match super::outcome_of(&mut super::wait_in_room(pending, room)).await {
            Err(LedgerError::Overloaded) => return Err(state.teller.overloaded().into()),
            outcome => outcome?,
        }
    };
    let replayed = outcome.replayed;
    match outcome.decision {
        Ok(outcomes) => {
            let body = results(state, &outcomes, refused).await;
            let mut response = Response::new(Body::new(Outgoing::new(body, turn, answer_room)));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            Ok((Replayed(replayed), response).into_response())
        }
        Err(BatchRefusal::KeyReused) => Err(Rejection::IdempotencyKeyReused.into()),
        Err(BatchRefusal::Operation { index, rejection }) => {
            Err(Problem::from(rejection).index(index).replayed(replayed))
        }
    }
}

async fn read_form(
    state: &AppState,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    body: &[u8],
) -> Result<Form, Problem> {
    if body.is_empty() {
        return Err(Problem::new(Code::MalformedJson).detail("the body is missing"));
    }
    let Asked { mode: Mode(mode), operations: Operations { texts, count } } = json::read(body)?;
    if count == 0 {
        return Err(Problem::new(Code::BatchEmpty).field("operations"));
    }
    if count > SUBMISSIONS_MAX {
        let detail = format!(
            "a batch has at most {SUBMISSIONS_MAX} operations, not {count}; send more as JSON Lines, or \
             in parts"
        );
        return Err(Problem::new(Code::BatchTooLarge).detail(detail).field("operations"));
    }
    let currency = state.ledger.currency();
    let mut fingerprint = key.as_ref().map(|_| Fingerprint::new(mode));
    let mut submissions = Vec::with_capacity(texts.len());
    let mut refused = Vec::new();
    let mut answer_bytes_max = FRAME_BYTES_MAX;
    let mut stretch = Stretch::default();
    for (index, text) in texts.iter().enumerate() {
        stretch.go_on(text.get().len()).await;
        match read::operation(text.get(), &caller.user, currency) {
            Ok(submission) => {
                if let Some(fingerprint) = &mut fingerprint {
                    fingerprint.add(&submission);
                }
                answer_bytes_max += write::OUTCOME_BYTES_MAX + 1;
                submissions.push(submission);
            }
            Err(error) => {
                let problem = read::refused(state, error);
                if mode == BatchMode::Atomic {
                    return Err(problem.index(index));
                }
                if let Some(fingerprint) = &mut fingerprint {
                    fingerprint.add_unreadable(text.get());
                }
                let mut result = Vec::new();
                write::problem(&mut result, None, write::Status::Refused, &problem, false);
                answer_bytes_max += result.len() + 1;
                refused.push((index, result));
            }
        }
    }
    let key = key.zip(fingerprint).map(|(key, fingerprint)| BatchKey {
        wallet: caller.user.wallet,
        key,
        fingerprint: fingerprint.finish(),
    });
    Ok(Form { mode, submissions, refused, key, answer_bytes_max })
}

/// The answer's body: the outcomes, and between them, in their places, what could not be read.
async fn results(
    state: &AppState,
    outcomes: &[Outcome],
    refused: Vec<(usize, Vec<u8>)>,
) -> Vec<u8> {
    const RESULT_BYTES: usize = 96;
    let currency = state.ledger.currency();
    let count = outcomes.len() + refused.len();
    let mut out = Vec::with_capacity(FRAME_BYTES_MAX + count * RESULT_BYTES);
    out.extend_from_slice(b"{\"status\":\"OK\",\"results\":[");
    let mut outcomes = outcomes.iter();
    let mut refused = refused.into_iter().peekable();
    let mut succeeded = 0;
    let mut stretch = Stretch::default();
    for index in 0..count {
        stretch.go_on(0).await;
        if index > 0 {
            out.push(b',');
        }
        if let Some((_, result)) = refused.next_if(|(place, _)| *place == index) {
            out.extend_from_slice(&result);
        } else if let Some(outcome) = outcomes.next() {
            succeeded += u64::from(write::outcome(&mut out, None, outcome, currency));
        }
    }
    out.extend_from_slice(b"],\"succeeded\":");
    digits::number(&mut out, succeeded);
    out.extend_from_slice(b",\"refused\":");
    digits::number(&mut out, count as u64 - succeeded);
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Stretch;

    #[test]
    fn long_operations_are_read_a_few_at_a_time() {
        for (bytes, together) in [(0, 511), (60, 511), (16_384, 3), (262_144, 0)] {
            let mut stretch = Stretch::default();
            for _ in 0..3 {
                let went_on = (0..).take_while(|_| stretch.go_on(bytes).now_or_never().is_some());
                assert_eq!(went_on.count(), together, "{bytes}");
            }
        }
    }
}

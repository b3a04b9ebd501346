//! Owns batches without an end: an operation a line, a result a line, both at the same time.
//!
//! Never: a line held back while nothing is in flight, or read before there is room for it: what the
//! ledger or the client does not take yet stays in the client's socket. Bounds: [`CHUNKS_MAX`] chunks
//! of at most [`CHUNK_OPERATIONS_MAX`] operations in flight; those of [`Lines`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::{FutureExt, stream};
use ledger::{Batch, BatchMode, BatchOutcome, LedgerError, Outcome, Submission, UserId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::lines::{End, LINE_BYTES_MAX, Lines};
use super::{Outcomes, check_session, outcome_of, read, wait_in_room, write};
use crate::auth::Caller;
use crate::problem::{Code, Problem};
use crate::state::AppState;
use crate::statement::JSON_LINES;
use crate::turns::Turn;

/// Operations that are handed in at once, at most.
pub(super) const CHUNK_OPERATIONS_MAX: usize = 1_024;

/// While a chunk is in flight, the next waits for it, or until so much of it has come: a client that sends
/// line by line would else have a commit for every few lines.
const CHUNK_BYTES: usize = 65_536;

/// Chunks that wait for the ledger: more than one, so that it never waits for the next.
const CHUNKS_MAX: usize = 4;

/// How long to wait before a full queue is asked again.
const OVERLOADED_PAUSE: Duration = Duration::from_millis(20);

type Pending = Pin<Box<dyn Future<Output = Outcomes> + Send>>;

/// Lines that were read together and handed in.
struct Chunk {
    /// The first one's index.
    first: u64,
    lines: u64,
    /// In place of those that could not be read, by index, what is wrong.
    refused: VecDeque<(u64, Problem)>,
    outcome: JoinHandle<Outcomes>,
}

/// An import on its way.
struct Import {
    state: AppState,
    caller: Caller,
    lines: Lines,
    /// The next line's.
    index: u64,
    in_flight: VecDeque<Chunk>,
    /// Why nothing more is read; `None` as the reason when all was read.
    stopped: Option<Option<Problem>>,
    stopping: watch::Receiver<bool>,
    said_end: bool,
    /// The user's turn, which ends with the answer.
    _turn: Turn<UserId>,
}

/// Answers a body of lines while it comes.
pub(super) async fn answer(
    state: AppState,
    caller: Caller,
    turn: Turn<UserId>,
    body: Body,
    expects_word: bool,
) -> Response {
    let lines = Lines::new(body, state.config.body_timeout_seconds);
    let stopping = state.stopping.subscribe();
    let in_flight = VecDeque::with_capacity(CHUNKS_MAX);
    let (index, stopped, said_end) = (0, None, false);
    let mut import =
        Import { state, caller, lines, index, in_flight, stopped, stopping, said_end, _turn: turn };
    if expects_word {
        // Who sends `Expect: 100-continue` is told to go on when the body is read, but only before
        // the answer has begun. What came of it, or a stop, is found below once more.
        tokio::select! {
            _ = import.lines.wait(0) => {}
            () = is_stopping(&mut import.stopping) => {}
        }
    }
    let results = stream::unfold(import, async |mut import| {
        let results = import.next().await?;
        Some((Ok::<_, Infallible>(results), import))
    });
    let mut response = Response::new(Body::from_stream(results));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON_LINES));
    response
}

impl Import {
    /// The next results; `None` at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        // Until now it was the client who did not take results.
        self.lines.restart_clock();
        loop {
            if self.stopped.is_some() && self.in_flight.is_empty() {
                return self.say_end().await;
            }
            let reads = self.stopped.is_none() && self.in_flight.len() < CHUNKS_MAX;
            let bytes = if self.in_flight.is_empty() { 0 } else { CHUNK_BYTES };
            tokio::select! {
                biased;
                outcome = first(&mut self.in_flight) => {
                    let chunk = self.in_flight.pop_front();
                    self.lines.restart_clock();
                    if let Some(results) = chunk.map(|chunk| self.results(chunk, outcome)) {
                        return Some(results);
                    }
                }
                () = is_stopping(&mut self.stopping), if self.stopped.is_none() => {
                    self.stopped = Some(Some(LedgerError::Closed.into()));
                }
                read = self.lines.wait(bytes), if reads => match read {
                    Ok(()) => self.take_chunk().await,
                    Err(end) => self.stopped = Some(reason(end)),
                },
            }
        }
    }

    /// Hands in the lines that are there.
    async fn take_chunk(&mut self) {
        if let Err(problem) = check_session(&self.state, &self.caller).await {
            return self.stopped = Some(Some(problem));
        }
        let currency = self.state.ledger.currency();
        let first = self.index;
        let mut submissions = Vec::new();
        let mut refused = VecDeque::new();
        while submissions.len() + refused.len() < CHUNK_OPERATIONS_MAX
            && let Some(line) = self.lines.next()
        {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let text = std::str::from_utf8(line).map_err(|_| {
                Problem::new(Code::MalformedJson).detail("the line is not UTF-8").into()
            });
            match text.and_then(|text| read::operation(text, &self.caller.user, currency)) {
                Ok(submission) => submissions.push(submission),
                Err(error) => {
                    refused.push_back((self.index, read::refused(&self.state, error)));
                }
            }
            self.index += 1;
        }
        let lines = self.index - first;
        if lines == 0 {
            return;
        }
        let room = self.state.batches.room(submissions.len()).await;
        let pending = match Self::hand_in(&self.state, &self.caller, submissions).await {
            Ok(pending) => pending,
            Err(problem) => {
                self.index = first;
                return self.stopped = Some(Some(problem));
            }
        };
        let outcome = wait_in_room(pending, room);
        self.in_flight.push_back(Chunk { first, lines, refused, outcome });
        // It was we who waited, for room.
        self.lines.restart_clock();
    }

    /// Hands in operations; where there is no room for them, again a little later.
    async fn hand_in(
        state: &AppState,
        caller: &Caller,
        submissions: Vec<Submission>,
    ) -> Result<Pending, Problem> {
        if submissions.is_empty() {
            return Ok(Box::pin(ready(Ok(BatchOutcome::new(Ok(Vec::new()))))));
        }
        loop {
            check_session(state, caller).await?;
            let submissions = submissions.clone();
            let batch = Batch { mode: BatchMode::Independent, submissions, key: None };
            let mut pending: Pending = Box::pin(state.teller.submit_batch(batch));
            match (&mut pending).now_or_never() {
                None => return Ok(pending),
                Some(Err(LedgerError::Overloaded)) => {
                    tokio::time::sleep(OVERLOADED_PAUSE).await;
                }
                Some(outcome) => return Ok(Box::pin(ready(outcome))),
            }
        }
    }

    /// The results of a chunk, a line each.
    fn results(&mut self, mut chunk: Chunk, outcome: Outcomes) -> Vec<u8> {
        const RESULT_BYTES: usize = 112;
        let outcomes = outcome.and_then(|outcome| {
            let none = |_| LedgerError::OutcomeUnknown("the engine gave no outcomes".to_owned());
            outcome.decision.map_err(none)
        });
        let (mut outcomes, failure) = match outcomes {
            Ok(outcomes) => (outcomes.into_iter(), None),
            Err(error) => {
                let unknown = matches!(error, LedgerError::OutcomeUnknown(_));
                if unknown {
                    tracing::error!(%error, "an import ends with operations whose outcome is unknown");
                }
                let status = if unknown { write::Status::Unknown } else { write::Status::Refused };
                self.stop(error.clone().into(), unknown);
                (Vec::<Outcome>::new().into_iter(), Some((status, Problem::from(error))))
            }
        };
        let currency = self.state.ledger.currency();
        let lines = usize::try_from(chunk.lines).unwrap_or_default();
        let mut out = Vec::with_capacity(lines * RESULT_BYTES);
        for index in chunk.first..chunk.first + chunk.lines {
            let here = Some(index);
            if chunk.refused.front().is_some_and(|(place, _)| *place == index) {
                let refused = chunk.refused.pop_front();
                if let Some((_, problem)) = refused {
                    write::problem(&mut out, here, write::Status::Refused, &problem, false);
                }
            } else if let Some((status, problem)) = &failure {
                write::problem(&mut out, here, *status, problem, false);
            } else if let Some(outcome) = outcomes.next() {
                write::outcome(&mut out, here, &outcome, currency);
            }
            out.push(b'\n');
        }
        out
    }

    /// Reads nothing more. The first reason stays, unless a graver one comes.
    fn stop(&mut self, problem: Problem, is_graver: bool) {
        if is_graver || !matches!(self.stopped, Some(Some(_))) {
            self.stopped = Some(Some(problem));
        }
    }

    /// Says why it ends before the end, once, and listens a little longer.
    async fn say_end(&mut self) -> Option<Vec<u8>> {
        let problem = self.stopped.as_ref()?.as_ref()?;
        if self.said_end {
            self.lines.discard().await;
            return None;
        }
        let mut out = Vec::new();
        write::problem(&mut out, Some(self.index), write::Status::Ended, problem, false);
        out.push(b'\n');
        self.said_end = true;
        Some(out)
    }
}

/// Waits for the oldest chunk's outcome; for ever where there is none.
async fn first(in_flight: &mut VecDeque<Chunk>) -> Outcomes {
    match in_flight.front_mut() {
        Some(chunk) => outcome_of(&mut chunk.outcome).await,
        None => std::future::pending().await,
    }
}

/// Waits until the service is to stop.
async fn is_stopping(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Why a body is not read to its end, if it is not.
fn reason(end: End) -> Option<Problem> {
    match end {
        End::Whole => None,
        End::Broken => {
            Some(Problem::new(Code::MalformedRequest).detail("the body broke off or is malformed"))
        }
        End::Idle => Some(Problem::new(Code::RequestTimeout).detail("no line came in time")),
        End::LineTooLong => {
            let detail = format!("a line has at most {LINE_BYTES_MAX} bytes");
            Some(Problem::new(Code::LineTooLong).detail(detail))
        }
    }
}

//! Owns the thread on which large batches are decided while the writer writes: the rows of this one as they come,
//! or those before it, and waits for the disk.
//!
//! Never: the data file. What only that can tell is left to the writer, and all that comes behind it. Bounds: one batch
//! at a time.
//!
//! Nor a small batch: to wake a thread for it costs more than to decide it.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use ledger::{
    BatchOutcome, IdempotencyKey, Operation, Outcome, Rejection, Submission, Timestamp, Transfer,
    WalletId,
};

use crate::keys::{KeyAhead, Recorded};
use crate::write::batch;
use crate::write::decide::{Decide, Found};
use crate::write::state::{Mark, Put, State, Step, ToFile};
use crate::write::work::{Decided, Singles, Work};

/// So many operations are worth the thread.
pub(crate) const OPERATIONS_MIN: usize = 1_024;

/// The thread has ended, and the state with it: nothing more can be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that decides has ended")]
pub(crate) struct DeciderGone;

/// What is to be decided, the first of it last.
struct Job {
    state: Box<State>,
    batch: Vec<Work>,
    now: Timestamp,
}

/// What comes back of it, one piece after another.
pub(crate) enum Part {
    ToFile(ToFile),
    Done(Box<Done>),
}

/// The end of a batch, as far as it could be decided without the file.
pub(crate) struct Done {
    pub(crate) state: Box<State>,
    pub(crate) decided: Vec<Decided>,
    pub(crate) begun: Option<Begun>,
    /// What was not begun, the first one last.
    pub(crate) left: Vec<Work>,
    /// The state is good for a roll back only.
    pub(crate) failed: Option<rusqlite::Error>,
}

/// Work that somebody else goes on with, and the outcomes that there are.
pub(crate) struct Begun {
    pub(crate) work: Work,
    pub(crate) outcomes: Vec<Outcome>,
}

/// A batch that the thread has, and the state with it.
pub(crate) struct Lent {
    pub(crate) operations: usize,
    pub(crate) now: Timestamp,
    /// What the state was at the end of the batch before, if that was under way then.
    before: Option<Mark>,
    /// Whether that one is durable by now.
    durable: bool,
}

impl Lent {
    /// Whether it is on top of a batch that is not durable.
    pub(crate) fn is_behind_another(&self) -> bool {
        self.before.is_some() && !self.durable
    }
}

/// The thread, and what it has.
pub(crate) struct Decider {
    lent: Option<Lent>,
    jobs: Option<SyncSender<Job>>,
    parts: Receiver<Part>,
    thread: Option<JoinHandle<()>>,
}

impl Decider {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, to_do) = sync_channel(1);
        let (give, parts) = channel();
        let work = move || {
            for job in to_do {
                let done = Part::Done(Box::new(decide(job, &give)));
                if give.send(done).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("kopeck-decider".to_owned()).spawn(work)?;
        Ok(Self { lent: None, jobs: Some(jobs), parts, thread: Some(thread) })
    }

    /// Hands a batch over, the first of it last, and the state with it; and what that was at the end of the batch
    /// before, if that is not durable yet.
    pub(crate) fn begin(
        &mut self,
        state: Box<State>,
        batch: Vec<Work>,
        now: Timestamp,
        before: Option<Mark>,
    ) -> Result<(), DeciderGone> {
        let operations = batch.iter().map(Work::weight).sum();
        self.lent = Some(Lent { operations, now, before, durable: false });
        let jobs = self.jobs.as_ref().ok_or(DeciderGone)?;
        jobs.send(Job { state, batch, now }).map_err(|_| DeciderGone)
    }

    /// What it has.
    pub(crate) fn lent(&self) -> Option<&Lent> {
        self.lent.as_ref()
    }

    /// The batch before the one that it has is durable.
    pub(crate) fn settle(&mut self) {
        if let Some(lent) = &mut self.lent {
            lent.durable = true;
        }
    }

    /// Waits for the next piece. With the last one the state is back: what came before the batch is final in it, if it
    /// is durable.
    pub(crate) fn next(&mut self) -> Result<Part, DeciderGone> {
        let mut part = self.parts.recv().map_err(|_| DeciderGone)?;
        if let Part::Done(done) = &mut part
            && let Some(Lent { before: Some(mark), durable: true, .. }) = self.lent.take()
        {
            done.state.commit_to(mark);
        }
        Ok(part)
    }
}

impl Drop for Decider {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked took the state with it: the writer halts for the lack of it.
            let _ = thread.join();
        }
    }
}

/// Whether the thread can do anything with it.
pub(crate) fn suits(work: &Work) -> bool {
    #[cfg(test)]
    if matches!(work, Work::Panic) {
        return true;
    }
    matches!(work, Work::One(..) | Work::Submit(..) | Work::Batch(..))
}

/// Whether this much is worth the thread, of which this comes first.
pub(crate) fn is_worth_it(first: Option<&Work>, batch: &[Work]) -> bool {
    first.is_some_and(suits) && batch.iter().map(Work::weight).sum::<usize>() >= OPERATIONS_MIN
}

fn decide(Job { state, mut batch, now }: Job, parts: &Sender<Part>) -> Done {
    let mut aside = Aside { state, now, parts, begun: None };
    let (mut decided, mut failed) = (Vec::new(), None);
    while let Some(work) = batch.pop_if(|work| suits(work)) {
        match aside.handle(work, &mut batch) {
            Ok(Some(done)) => decided.push(done),
            Ok(None) => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    if failed.is_none() {
        failed = aside.flush().err();
    }
    let Aside { state, begun, .. } = aside;
    Done { state, decided, begun, left: batch, failed }
}

/// Decides what can be decided without the file.
struct Aside<'a> {
    state: Box<State>,
    now: Timestamp,
    parts: &'a Sender<Part>,
    begun: Option<Begun>,
}

impl Aside<'_> {
    /// `None` if it stays begun, or waits on; so it does on a failure. `waiting` is what comes after it, the next one
    /// last.
    fn handle(&mut self, work: Work, waiting: &mut Vec<Work>) -> rusqlite::Result<Option<Decided>> {
        let mut outcomes = Vec::new();
        let (decision, work) = match work {
            Work::One(submission, reply) => {
                return self.handle_each(Singles::of(submission, reply, waiting), waiting);
            }
            Work::Submit(mut submissions, reply) => {
                match self.decide_all(&mut submissions, &mut outcomes, |_| false) {
                    Ok(true) => return Ok(Some(Decided::Submit(outcomes, reply))),
                    decision => (decision.map(|_| ()), Work::Submit(submissions, reply)),
                }
            }
            Work::Batch(mut batch, reply) => {
                match batch::decide_aside(self, &mut batch, &mut outcomes) {
                    Ok(Some(decision)) => {
                        return Ok(Some(Decided::Batch(BatchOutcome::new(decision), reply)));
                    }
                    decision => (decision.map(|_| ()), Work::Batch(batch, reply)),
                }
            }
            #[cfg(test)]
            Work::Panic => panic!("planted"),
            other => (Ok(()), other),
        };
        self.begun = Some(Begun { work, outcomes });
        decision.map(|()| None)
    }

    /// Single operations, up to the first that is left; that one and those after it wait on.
    fn handle_each(
        &mut self,
        Singles { mut submissions, mut replies }: Singles,
        waiting: &mut Vec<Work>,
    ) -> rusqlite::Result<Option<Decided>> {
        let mut outcomes = Vec::new();
        let all = self.decide_all(&mut submissions, &mut outcomes, |_| false);
        let left = submissions.split_off(outcomes.len()).into_iter();
        let left = left.zip(replies.split_off(outcomes.len()));
        waiting.extend(left.rev().map(|(submission, reply)| Work::One(submission, reply)));
        all.map(|_| (!outcomes.is_empty()).then_some(Decided::Each(outcomes, replies)))
    }
}

impl Decide for Aside<'_> {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    #[inline]
    fn with_put<T>(&mut self, work: impl FnOnce(&mut State, Put<'_>) -> T) -> T {
        let Self { state, parts, .. } = self;
        work(state, &mut |written| {
            // Without a writer there is nothing to go on for.
            let _ = parts.send(Part::ToFile(written));
            Ok(())
        })
    }

    #[inline]
    fn decide(
        &mut self,
        submission: &mut Submission,
        ahead: Option<KeyAhead>,
    ) -> rusqlite::Result<Option<Outcome>> {
        let now = self.now;
        Ok(match self.with_put(|state, put| state.decide(submission, ahead, now, put))? {
            Step::Decided(outcome) => Some(outcome),
            Step::Seen | Step::Named => None,
        })
    }

    fn recorded(
        &mut self,
        _: WalletId,
        _: &IdempotencyKey,
        ahead: KeyAhead,
    ) -> rusqlite::Result<Found<Recorded>> {
        let seen = self.state.keys.look(ahead)?;
        Ok(if seen { Found::InFile } else { Found::Nothing })
    }

    fn brought_in(
        &mut self,
        operation: &Operation,
    ) -> rusqlite::Result<Found<Result<Transfer, Rejection>>> {
        let named = operation.external_id.is_some();
        Ok(if named { Found::InFile } else { Found::Nothing })
    }
}

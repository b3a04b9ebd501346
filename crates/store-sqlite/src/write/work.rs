//! Owns what the writer is asked to do, and how whoever asked is answered.
//!
//! Never: a decision. Bounds: an answer each; the waiter may have gone away, and then nobody wants it.

use ledger::{
    Batch, BatchOutcome, IdempotencyKey, LedgerError, NewUser, Outcome, Session, SignUpRefusal,
    Submission, TokenHash, User,
};
use tokio::sync::oneshot;

use crate::file::people::PeopleWrite;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// What the writer is asked to do.
pub(crate) enum Work {
    /// A single operation, as most are: decided together with those that wait beside it.
    One(Submission, Reply<Outcome>),
    Submit(Vec<Submission>, Reply<Vec<Outcome>>),
    Batch(Batch, Reply<BatchOutcome>),
    SignUp(NewUser, Option<IdempotencyKey>, Reply<Result<User, SignUpRefusal>>),
    OpenSession(Session, Option<TokenHash>, Reply<Vec<TokenHash>>),
    People(PeopleWrite, Reply<()>),
    /// Something else to be done on its thread.
    Call(Box<dyn FnOnce() + Send>),
    /// Lets a test run out of room: at most this many pages in the file.
    #[cfg(test)]
    LimitPages(u64),
    /// What the commit that this is in meets.
    #[cfg(test)]
    AtCommit(crate::write::under_way::Meets),
    /// Whoever decides it panics.
    #[cfg(test)]
    Panic,
}

/// Single operations beside each other, and as many replies.
pub(crate) struct Singles {
    pub(crate) submissions: Vec<Submission>,
    pub(crate) replies: Vec<Reply<Outcome>>,
}

impl Singles {
    /// The first of them, and those that follow it at the end of `waiting`.
    pub(crate) fn of(
        submission: Submission,
        reply: Reply<Outcome>,
        waiting: &mut Vec<Work>,
    ) -> Self {
        let all = 1 + waiting.len();
        let (mut submissions, mut replies) = (Vec::with_capacity(all), Vec::with_capacity(all));
        submissions.push(submission);
        replies.push(reply);
        let is_one = |work: &mut Work| matches!(work, Work::One(..));
        while let Some(Work::One(submission, reply)) = waiting.pop_if(is_one) {
            submissions.push(submission);
            replies.push(reply);
        }
        Self { submissions, replies }
    }
}

impl Work {
    /// How much of a batch it is.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Submit(submissions, _) => submissions.len().max(1),
            Self::Batch(batch, _) => batch.submissions.len().max(1),
            _ => 1,
        }
    }

    /// Tells whoever waits for this work that it was not done.
    pub(crate) fn refuse(self, error: &LedgerError) {
        match self {
            Self::One(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Submit(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Batch(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::SignUp(_, _, reply) => drop(reply.send(Err(error.clone()))),
            Self::OpenSession(_, _, reply) => drop(reply.send(Err(error.clone()))),
            Self::People(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Call(_) => {}
            #[cfg(test)]
            Self::LimitPages(_) | Self::AtCommit(_) | Self::Panic => {}
        }
    }
}

/// Work that is decided and waits for its batch to be durable.
pub(crate) enum Decided {
    /// As many replies as there were single operations beside each other, an outcome for each.
    Each(Vec<Outcome>, Vec<Reply<Outcome>>),
    Submit(Vec<Outcome>, Reply<Vec<Outcome>>),
    Batch(BatchOutcome, Reply<BatchOutcome>),
    SignUp(Result<User, SignUpRefusal>, Reply<Result<User, SignUpRefusal>>),
    OpenSession(Vec<TokenHash>, Reply<Vec<TokenHash>>),
    People(Reply<()>),
}

impl Decided {
    /// The waiter may have gone away: then nobody wants the answer.
    pub(crate) fn answer(self) {
        match self {
            Self::Each(outcomes, replies) => {
                replies
                    .into_iter()
                    .zip(outcomes)
                    .for_each(|(reply, outcome)| drop(reply.send(Ok(outcome))));
            }
            Self::Submit(outcomes, reply) => drop(reply.send(Ok(outcomes))),
            Self::Batch(outcome, reply) => drop(reply.send(Ok(outcome))),
            Self::SignUp(user, reply) => drop(reply.send(Ok(user))),
            Self::OpenSession(closed, reply) => drop(reply.send(Ok(closed))),
            Self::People(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// Tells whoever waits that it is not durable.
    pub(crate) fn refuse(self, error: &LedgerError) {
        match self {
            Self::Each(_, replies) => {
                replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
            }
            Self::Submit(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Batch(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::SignUp(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::OpenSession(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::People(reply) => drop(reply.send(Err(error.clone()))),
        }
    }
}

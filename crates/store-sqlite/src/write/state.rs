//! Owns what a decision changes in memory: the book, the chain and the keys, made final together or undone
//! together; and the decisions for which that is enough.
//!
//! Never: the data file. An operation whose decision is to be looked up there is left as it came; what is to be written
//! there is handed on. Bounds: an undo step for each wallet touched and each key, while their commits are under way.

use ledger::{
    BatchKey, BatchMode, Book, ChainMark, IdempotencyKey, Operation, Outcome, Rejection,
    Submission, Timestamp, Transfer,
};

use crate::file::batch_record::{Decision, NewRecord};
use crate::file::chain::Links;
use crate::file::rows::Refusal;
use crate::keys::{KeyAhead, Keys, KeysMark};
use crate::write::hasher::{Hashed, Hasher, Row};

/// What is to be written to the file.
pub(crate) enum ToFile {
    Rows(Hashed),
    Refusal(Box<Refusal>),
    Batch(Box<NewRecord>),
}

/// Where it goes.
pub(crate) type Put<'p> = &'p mut dyn FnMut(ToFile) -> rusqlite::Result<()>;

/// Everything that decides; one thread has it at a time.
pub(crate) struct State {
    pub(crate) book: Book,
    pub(crate) hasher: Hasher,
    pub(crate) links: Links,
    pub(crate) keys: Keys,
}

/// What came of an operation without the data file.
pub(crate) enum Step {
    Decided(Outcome),
    /// Its key may have been used: what the keys have [found](Keys::find) is to be read.
    Seen,
    /// It has an id of the payment provider's, which is to be looked for; so is its key.
    Named,
}

/// How it was between two batches of which neither is final.
pub(crate) struct Mark {
    book: ledger::Mark,
    chain: ChainMark,
    keys: KeysMark,
}

impl State {
    /// Decides an operation, of whose key so much is known, if nothing is to be looked up for it in the data file. If
    /// something is, nothing has changed. The key is taken out of what was decided.
    #[inline]
    pub(crate) fn decide(
        &mut self,
        Submission { operation, key }: &mut Submission,
        ahead: Option<KeyAhead>,
        now: Timestamp,
        put: Put<'_>,
    ) -> rusqlite::Result<Step> {
        #[cfg(feature = "planted-faults")]
        {
            *key = crate::planted::ignore(key.take());
        }
        if operation.external_id.is_some() {
            return Ok(Step::Named);
        }
        if key.is_some()
            && let Some(ahead) = ahead
            && self.keys.look(ahead)?
        {
            return Ok(Step::Seen);
        }
        let key = key.take().zip(ahead.map(|ahead| ahead.mark));
        self.decide_anew(operation, key, now, put).map(Step::Decided)
    }

    /// Decides an operation that was never decided before, with its key and the key's mark, and takes in what comes of
    /// it.
    #[inline]
    pub(crate) fn decide_anew(
        &mut self,
        operation: &Operation,
        key: Option<(IdempotencyKey, u64)>,
        now: Timestamp,
        put: Put<'_>,
    ) -> rusqlite::Result<Outcome> {
        let decision = self.book.decide(operation, now);
        match &decision {
            Ok(transfer) => {
                self.append(transfer, key, put)?;
                #[cfg(feature = "planted-faults")]
                {
                    crate::planted::drop_credit(&mut self.book, transfer);
                    crate::planted::show_early(transfer);
                }
            }
            Err(rejection) => self.refuse(operation, key, *rejection, now, put)?,
        }
        Ok(Outcome::new(decision))
    }

    /// Takes a refusal into the keys, if it is under one, with the key's mark. Then it goes on its way to the file.
    pub(crate) fn refuse(
        &mut self,
        operation: &Operation,
        key: Option<(IdempotencyKey, u64)>,
        rejection: Rejection,
        time: Timestamp,
        put: Put<'_>,
    ) -> rusqlite::Result<()> {
        let Some((key, mark)) = key else { return Ok(()) };
        let number = self.keys.refused(mark)?;
        let operation = operation.clone();
        put(ToFile::Refusal(Box::new(Refusal { number, operation, key, rejection, time })))
    }

    /// Takes a batch under a key of its own, and what became of it, into the keys. It goes on its way to the file.
    pub(crate) fn record(
        &mut self,
        (key, mark): (&BatchKey, u64),
        mode: BatchMode,
        decision: &Decision,
        time: Timestamp,
        put: Put<'_>,
    ) -> rusqlite::Result<()> {
        let number = self.keys.refused(mark)?;
        put(ToFile::Batch(Box::new(NewRecord::new(number, key, mode, decision, time))))
    }

    /// Takes an accepted operation, and its key, into the chain and the keys. Its row goes on its way to the file.
    #[inline]
    pub(crate) fn append(
        &mut self,
        transfer: &Transfer,
        key: Option<(IdempotencyKey, u64)>,
        put: Put<'_>,
    ) -> rusqlite::Result<()> {
        let (key, mark) = key.unzip();
        let blind = || self.links.marker().blind(transfer.id.get().cast_signed());
        let hashed = mark.unwrap_or_else(blind);
        let row = Row { transfer: transfer.clone(), key, mark: hashed };
        self.keys.appended(transfer.id.get(), mark);
        self.hasher.push(row).map_or(Ok(()), |hashed| put(ToFile::Rows(hashed)))
    }

    /// Everything that was decided goes on its way to the file.
    pub(crate) fn flush(&mut self, put: Put<'_>) -> rusqlite::Result<()> {
        put(ToFile::Rows(self.hasher.finish()))
    }

    /// Makes everything since the last commit final; it is all flushed.
    pub(crate) fn commit(&mut self) {
        self.book.commit();
        let link = self.hasher.commit();
        self.keys.commit(link);
    }

    /// Remembers it as it is now, all flushed, for a commit that ends here while the next batch is decided. Where the
    /// keys are [full](Keys::is_full), that commit is to have its end first.
    pub(crate) fn mark(&self) -> Mark {
        Mark { book: self.book.mark(), chain: self.hasher.mark(), keys: self.keys.mark() }
    }

    /// Makes everything up to a mark final, that was set since the last commit.
    pub(crate) fn commit_to(&mut self, Mark { book, chain, keys }: Mark) {
        self.book.commit_to(book);
        self.hasher.commit_to(chain);
        self.keys.commit_to(keys);
    }

    /// Undoes everything since the last commit.
    pub(crate) fn roll_back(&mut self) {
        self.book.roll_back();
        self.hasher.roll_back();
        self.keys.roll_back();
    }
}

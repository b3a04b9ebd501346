//! Owns what the writer does with a batch: all or none, or each on its own; and its answer again,
//! under its key.
//!
//! Never: a row of an atomic batch before all of it is accepted, so nothing has to be undone in the
//! file; a decision of its own (the book's). Bounds: the outcomes of one batch in memory, and of an
//! atomic one the places of its keys.

use std::collections::HashMap;

use ledger::{
    Batch, BatchKey, BatchMode, BatchOutcome, BatchRefusal, Outcome, Rejection, Submission,
    Transfer, WalletId,
};

use crate::batch_record::{self, Part, RecordDamage};
use crate::keys::{self, Recorded};
use crate::look_ahead::{KeyAhead, OPERATIONS_AHEAD};
use crate::rows;
use crate::writer::Desk;

/// What became of a batch.
type Decision = Result<Vec<Outcome>, BatchRefusal>;

/// The operations of an open atomic batch that were decided anew, by the names that they bear: no row
/// has them yet.
#[derive(Default)]
struct Named<'s> {
    keys: HashMap<(WalletId, &'s str), usize>,
    external_ids: HashMap<(WalletId, &'s str), usize>,
}

impl Desk<'_, '_> {
    /// Decides a batch, or answers it as the first time.
    pub(crate) fn batch(&mut self, batch: Batch) -> rusqlite::Result<BatchOutcome> {
        let Batch { mode, submissions, key } = batch;
        let Some(key) = key else {
            return Ok(BatchOutcome::new(self.decide_batch(mode, submissions, None)?));
        };
        let wallet = key.wallet.get().cast_signed();
        let mark = self.links.marker().mark(wallet, key.key.as_str());
        match self.recorded(key.wallet, &key.key, KeyAhead { mark, in_runs: true })? {
            Some(Recorded::Batch(number)) => return self.batch_again(number, &key, &submissions),
            Some(_) => return Ok(BatchOutcome::new(Err(BatchRefusal::KeyReused))),
            None => {}
        }
        let decision = self.decide_batch(mode, submissions, Some(&key))?;
        let number = batch_record::insert(self.connection, &key, mode, &decision, self.now)?;
        self.keys.refused(number, mark);
        Ok(BatchOutcome::new(decision))
    }

    fn decide_batch(
        &mut self,
        mode: BatchMode,
        submissions: Vec<Submission>,
        key: Option<&BatchKey>,
    ) -> rusqlite::Result<Decision> {
        match mode {
            BatchMode::Atomic => self.all_or_none(&submissions, key),
            BatchMode::Independent => {
                self.submit_all(submissions, |submission| uses(submission, key)).map(Ok)
            }
        }
    }

    fn all_or_none(
        &mut self,
        submissions: &[Submission],
        key: Option<&BatchKey>,
    ) -> rusqlite::Result<Decision> {
        let mark = self.book.mark();
        let mut named = Named::default();
        let mut outcomes = Vec::with_capacity(submissions.len());
        let mut marks = Vec::with_capacity(submissions.len());
        let mut keys = Vec::new();
        for some in submissions.chunks(OPERATIONS_AHEAD) {
            self.look_ahead(some, &mut keys);
            for (submission, ahead) in some.iter().zip(keys.drain(..)) {
                let index = outcomes.len();
                let outcome = match uses(submission, key) {
                    true => Outcome::new(Err(Rejection::IdempotencyKeyReused)),
                    false => self.decide_within(submission, ahead, &named, &outcomes)?,
                };
                if let Err(rejection) = outcome.decision {
                    self.book.roll_back_to(mark);
                    return Ok(Err(BatchRefusal::Operation { index, rejection }));
                }
                if !outcome.replayed {
                    let Submission { operation, key } = submission;
                    let debit = operation.debit;
                    named.keys.extend(key.as_ref().map(|key| ((debit, key.as_str()), index)));
                    let external_id = operation.external_id.as_ref();
                    named.external_ids.extend(external_id.map(|id| ((debit, id.as_str()), index)));
                }
                outcomes.push(outcome);
                marks.push(ahead.map(|ahead| ahead.mark));
            }
        }
        for ((Submission { key, .. }, mark), outcome) in
            submissions.iter().zip(marks).zip(&outcomes)
        {
            if let Outcome { decision: Ok(transfer), replayed: false } = outcome {
                self.append(transfer, key.clone().zip(mark))?;
            }
        }
        Ok(Ok(outcomes))
    }

    /// Decides one operation of an atomic batch, of which `outcomes` are those before it.
    fn decide_within(
        &mut self,
        Submission { operation, key }: &Submission,
        ahead: Option<KeyAhead>,
        named: &Named<'_>,
        outcomes: &[Outcome],
    ) -> rusqlite::Result<Outcome> {
        let before = |index: Option<&usize>| -> Option<&Transfer> {
            index.and_then(|index| outcomes.get(*index)?.decision.as_ref().ok())
        };
        if let Some((key, ahead)) = key.as_ref().zip(ahead) {
            let recorded = match before(named.keys.get(&(operation.debit, key.as_str()))) {
                Some(transfer) => Some(Recorded::Transfer(transfer.clone())),
                None => self.recorded(operation.debit, key, ahead)?,
            };
            if let Some(recorded) = recorded {
                return Ok(recorded.answer(operation));
            }
        }
        let same = operation.external_id.as_ref();
        let same =
            same.and_then(|id| before(named.external_ids.get(&(operation.debit, id.as_str()))));
        let brought_in = match same {
            Some(transfer) if transfer.pays_as(operation) => Some(Ok(transfer.clone())),
            Some(_) => Some(Err(Rejection::ExternalIdReused)),
            None => self.brought_in(operation)?,
        };
        Ok(match brought_in {
            Some(Ok(transfer)) => Outcome::replayed(Ok(transfer)),
            Some(Err(rejection)) => Outcome::new(Err(rejection)),
            None => Outcome::new(self.book.decide(operation, self.now)),
        })
    }

    /// The recorded answer, if it is the same request.
    fn batch_again(
        &self,
        number: u64,
        key: &BatchKey,
        submissions: &[Submission],
    ) -> rusqlite::Result<BatchOutcome> {
        let record = batch_record::select(self.connection, number)?;
        if record.fingerprint != key.fingerprint {
            return Ok(BatchOutcome::new(Err(BatchRefusal::KeyReused)));
        }
        let decision = match record.outcomes {
            Err(refusal) => Err(refusal),
            Ok(parts) => {
                let mut outcomes = Vec::new();
                for part in parts {
                    self.read_part(number, part, &mut outcomes)?;
                }
                // It is the same request, so these are the outcomes of its operations, or the row is
                // not what was recorded.
                if outcomes.len() != submissions.len()
                    || !outcomes.iter().zip(submissions).all(|(outcome, submission)| {
                        let transfer = outcome.decision.as_ref().ok();
                        transfer.is_none_or(|transfer| transfer.pays_as(&submission.operation))
                    })
                {
                    return Err(rows::damage(RecordDamage(number)));
                }
                Ok(outcomes)
            }
        };
        Ok(BatchOutcome { decision, replayed: true })
    }

    fn read_part(
        &self,
        number: u64,
        part: Part,
        outcomes: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        match part {
            Part::Refused { rejection, count, replayed } => {
                outcomes.extend((0..count).map(|_| Outcome { decision: Err(rejection), replayed }));
            }
            Part::Done { first, last, replayed } => {
                for operation in first..=last {
                    let kept = rows::select_kept(self.connection, operation.cast_signed())?;
                    let kept = kept.ok_or_else(|| rows::damage(RecordDamage(number)))?;
                    let transfer = keys::verified(self.connection, self.links, kept)?;
                    outcomes.push(Outcome { decision: Ok(transfer), replayed });
                }
            }
        }
        Ok(())
    }
}

/// Whether an operation bears the key of the whole, which is used by then.
fn uses(submission: &Submission, whole: Option<&BatchKey>) -> bool {
    whole.is_some_and(|whole| {
        submission.operation.debit == whole.wallet && submission.key.as_ref() == Some(&whole.key)
    })
}

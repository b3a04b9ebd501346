//! Owns what is done with a batch: all or none, or each on its own; and its answer again,
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

use crate::file::batch_record::{self, Decision, Part, RecordDamage};
use crate::file::chain::Links;
use crate::file::rows;
use crate::keys::{self, KeyAhead, Recorded};
use crate::write::decide::{Decide, Found};
use crate::write::desk::Desk;
use crate::write::look_ahead::OPERATIONS_AHEAD;

/// The operations of an open atomic batch that were decided anew, by the names that they bear: no row
/// has them yet.
#[derive(Default)]
struct Named<'s> {
    keys: HashMap<(WalletId, &'s str), usize>,
    external_ids: HashMap<(WalletId, &'s str), usize>,
}

impl Desk<'_, '_> {
    /// Decides a batch, or answers it as the first time; or goes on with one of which there are `outcomes`.
    pub(crate) fn batch(
        &mut self,
        batch: Batch,
        outcomes: Vec<Outcome>,
    ) -> rusqlite::Result<BatchOutcome> {
        let Batch { mode, submissions, key } = batch;
        let Some(key) = key else {
            return Ok(BatchOutcome::new(self.decide_batch(mode, submissions, outcomes, None)?));
        };
        let ahead = look_for(&key, self.state.links);
        if outcomes.is_empty() {
            match self.recorded_in_file(key.wallet, &key.key, ahead)? {
                Some(Recorded::Batch(number)) => {
                    return self.batch_again(number, &key, &submissions);
                }
                Some(_) => return Ok(BatchOutcome::new(Err(BatchRefusal::KeyReused))),
                None => {}
            }
        }
        let decision = self.decide_batch(mode, submissions, outcomes, Some(&key))?;
        self.record((&key, ahead.mark), mode, &decision)?;
        Ok(BatchOutcome::new(decision))
    }

    fn decide_batch(
        &mut self,
        mode: BatchMode,
        submissions: Vec<Submission>,
        outcomes: Vec<Outcome>,
        key: Option<&BatchKey>,
    ) -> rusqlite::Result<Decision> {
        match mode {
            BatchMode::Atomic => {
                let decision = all_or_none(self, &submissions, key)?;
                // The file is at hand, so nothing was left to it.
                decision.ok_or(rusqlite::Error::QueryReturnedNoRows)
            }
            BatchMode::Independent => {
                self.submit_all(submissions, outcomes, |submission| uses(submission, key)).map(Ok)
            }
        }
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
                    let transfer = keys::verified(self.connection, self.state.links, kept)?;
                    outcomes.push(Outcome { decision: Ok(transfer), replayed });
                }
            }
        }
        Ok(())
    }
}

/// Decides a batch without the file, if it can be; else `None`, and then there is an outcome for each operation that
/// was decided.
pub(crate) fn decide_aside(
    desk: &mut impl Decide,
    Batch { mode, submissions, key }: &mut Batch,
    outcomes: &mut Vec<Outcome>,
) -> rusqlite::Result<Option<Decision>> {
    let whole = key.as_ref();
    let key = whole.map(|key| (key, look_for(key, desk.state().links)));
    if let Some((key, ahead)) = key
        && !matches!(desk.recorded(key.wallet, &key.key, ahead)?, Found::Nothing)
    {
        return Ok(None);
    }
    let decision = match mode {
        BatchMode::Atomic => all_or_none(desk, submissions, whole)?,
        BatchMode::Independent => desk
            .decide_all(submissions, outcomes, |submission| uses(submission, whole))?
            .then(|| Ok(std::mem::take(outcomes))),
    };
    if let Some((decision, (key, ahead))) = decision.as_ref().zip(key) {
        desk.record((key, ahead.mark), *mode, decision)?;
    }
    Ok(decision)
}

/// Decides operations of which all are done or none is. `None` if only the file can tell, and then none is done.
fn all_or_none(
    desk: &mut impl Decide,
    submissions: &[Submission],
    key: Option<&BatchKey>,
) -> rusqlite::Result<Option<Decision>> {
    let mark = desk.state().book.mark();
    let mut named = Named::default();
    let mut outcomes = Vec::with_capacity(submissions.len());
    let mut marks = Vec::with_capacity(submissions.len());
    let mut keys = Vec::new();
    for some in submissions.chunks(OPERATIONS_AHEAD) {
        desk.state().look_ahead(some, &mut keys);
        for (submission, ahead) in some.iter().zip(keys.drain(..)) {
            let index = outcomes.len();
            let outcome = match uses(submission, key) {
                true => Some(Outcome::new(Err(Rejection::IdempotencyKeyReused))),
                false => decide_within(desk, submission, ahead, &named, &outcomes)?,
            };
            let Some(outcome) = outcome else {
                desk.state().book.roll_back_to(mark);
                return Ok(None);
            };
            if let Err(rejection) = outcome.decision {
                desk.state().book.roll_back_to(mark);
                return Ok(Some(Err(BatchRefusal::Operation { index, rejection })));
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
    for ((Submission { key, .. }, mark), outcome) in submissions.iter().zip(marks).zip(&outcomes) {
        if let Outcome { decision: Ok(transfer), replayed: false } = outcome {
            desk.append(transfer, key.clone().zip(mark))?;
        }
    }
    Ok(Some(Ok(outcomes)))
}

/// Decides one operation of an atomic batch, of which `outcomes` are those before it. `None` if only the file can
/// tell.
fn decide_within(
    desk: &mut impl Decide,
    Submission { operation, key }: &Submission,
    ahead: Option<KeyAhead>,
    named: &Named<'_>,
    outcomes: &[Outcome],
) -> rusqlite::Result<Option<Outcome>> {
    let before = |index: Option<&usize>| -> Option<&Transfer> {
        index.and_then(|index| outcomes.get(*index)?.decision.as_ref().ok())
    };
    if let Some((key, ahead)) = key.as_ref().zip(ahead) {
        let recorded = match before(named.keys.get(&(operation.debit, key.as_str()))) {
            Some(transfer) => Found::This(Recorded::Transfer(transfer.clone())),
            None => desk.recorded(operation.debit, key, ahead)?,
        };
        match recorded {
            Found::Nothing => {}
            Found::This(recorded) => return Ok(Some(recorded.answer(operation))),
            Found::InFile => return Ok(None),
        }
    }
    let same = operation.external_id.as_ref();
    let same = same.and_then(|id| before(named.external_ids.get(&(operation.debit, id.as_str()))));
    let brought_in = match same {
        Some(transfer) if transfer.pays_as(operation) => Found::This(Ok(transfer.clone())),
        Some(_) => Found::This(Err(Rejection::ExternalIdReused)),
        None => desk.brought_in(operation)?,
    };
    Ok(match brought_in {
        Found::This(Ok(transfer)) => Some(Outcome::replayed(Ok(transfer))),
        Found::This(Err(rejection)) => Some(Outcome::new(Err(rejection))),
        Found::InFile => None,
        Found::Nothing => {
            let now = desk.now();
            Some(Outcome::new(desk.state().book.decide(operation, now)))
        }
    })
}

/// What is known of a batch's key before it is looked for.
fn look_for(key: &BatchKey, links: Links) -> KeyAhead {
    let wallet = key.wallet.get().cast_signed();
    KeyAhead { mark: links.marker().mark(wallet, key.key.as_str()), in_runs: true }
}

/// Whether an operation bears the key of the whole, which is used by then.
fn uses(submission: &Submission, whole: Option<&BatchKey>) -> bool {
    whole.is_some_and(|whole| {
        submission.operation.debit == whole.wallet && submission.key.as_ref() == Some(&whole.key)
    })
}

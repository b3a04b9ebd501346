//! Random histories of batches, large and small, of which some find no room, against plain maps: what is refused leaves
//! nothing behind, no number, no key, no wallet, and what is answered is as if it had never been asked for.
//!
//! Never: which of them is refused. That is the storage's own matter, and taken as it comes.

use std::collections::HashMap;

use ledger::{
    Batch, BatchKey, BatchMode, BatchRefusal, ExternalId, Fingerprint, IdempotencyKey, Ledger,
    LedgerError, Outcome, Pending, People, Rejection, Role, SUBMISSIONS_MAX, Submission, WalletId,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::write::full_disk::{deposit, new_user, open, wait, with_the_bank_and_a_person};
use crate::write::writer::Failure;
use crate::{Check, SqliteStore, Unwatched, check};

const NAMES: usize = 7;
/// Keyed deposits begin before this number.
const KEYED_MAX: usize = 2_000;

#[derive(Debug, Clone)]
enum Step {
    /// So many deposits, and others at some places among them.
    List(usize, Vec<(usize, One)>),
    /// So many deposits from a number on, each under a key of its own; every third is refused.
    Keyed(usize, usize),
    /// A batch under a key, which tells what is in it; or the same without the key.
    Batch(usize, bool),
    SignUp,
    /// The commit that this is in finds no room.
    NoRoom,
    /// From here on there is no room for the file to grow, or there is again.
    Limit(bool),
}

/// What comes between two rounds.
#[derive(Debug, Clone, Copy)]
enum Between {
    Nothing,
    Stop,
    Kill,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![4 => Just(Between::Nothing), 1 => Just(Between::Stop), 1 => Just(Between::Kill)]
}

/// Of which kind an operation is, and under which of few names; of a name, it is always the same.
type One = (usize, usize);

fn step() -> impl Strategy<Value = Step> {
    // With some that nearly fill a commit, those behind them are decided on top of it.
    let count = prop_oneof![3 => 1_024..2_500_usize, 2 => 0..40_usize, 3 => 5_000..SUBMISSIONS_MAX];
    let among = || prop::collection::vec((0..1_500_usize, (0..5_usize, 0..NAMES)), 0..4);
    prop_oneof![
        8 => (count, among()).prop_map(|(count, among)| Step::List(count, among)),
        3 => (0..KEYED_MAX, 1..1_300_usize).prop_map(|(first, count)| Step::Keyed(first, count)),
        4 => (0..NAMES, any::<bool>()).prop_map(|(number, keyed)| Step::Batch(number, keyed)),
        1 => Just(Step::SignUp),
        2 => Just(Step::NoRoom),
        1 => any::<bool>().prop_map(Step::Limit),
    ]
}

fn one((kind, number): One) -> Submission {
    let mut one = deposit();
    if kind < 2 {
        one.key = IdempotencyKey::parse(&format!("{kind}-{number}")).ok();
    }
    match kind {
        1 | 2 => one.operation.credit = WalletId::new(9_999).unwrap(),
        3 => one.operation.external_id = ExternalId::parse(&number.to_string()).ok(),
        _ => {}
    }
    one
}

fn list(count: usize, among: &[(usize, One)]) -> Vec<Submission> {
    let mut list = vec![deposit(); count];
    among.iter().for_each(|(place, other)| list.insert((*place).min(list.len()), one(*other)));
    list
}

fn keyed(first: usize, count: usize) -> Vec<Submission> {
    let keyed = |number: usize| {
        let mut one = deposit();
        one.key = IdempotencyKey::parse(&format!("keyed-{number}")).ok();
        if number.is_multiple_of(3) {
            one.operation.credit = WalletId::new(9_999).unwrap();
        }
        one
    };
    (first..first + count).map(keyed).collect()
}

fn batch(number: usize, keyed: bool) -> Batch {
    let mode = if number.is_multiple_of(2) { BatchMode::Atomic } else { BatchMode::Independent };
    let count = [1_500, 20, 1_024][number % 3];
    // Some batches are refused for what is among it, and some are not.
    let places = 0..(number % 4).max(1);
    let among: Vec<_> =
        places.map(|place| (300 * place, ((place + number / 2) % 5, number))).collect();
    let key = IdempotencyKey::parse(&format!("batch-{number}")).ok().filter(|_| keyed);
    let fingerprint = Fingerprint::new(mode).finish();
    let key = key.map(|key| BatchKey { wallet: WalletId::FIRST, key, fingerprint });
    Batch { mode, submissions: list(count, &among), key }
}

/// An operation's number or why not, and whether it was said before.
type Said = (Result<u64, Rejection>, bool);

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    List(Vec<Said>),
    Batch(Result<Vec<Said>, BatchRefusal>, bool),
    Wallet(u64),
}

#[derive(Debug, Clone, Default)]
struct Naive {
    operations: u64,
    wallets: u64,
    keys: HashMap<IdempotencyKey, Result<u64, Rejection>>,
    payments: HashMap<ExternalId, u64>,
    batches: HashMap<IdempotencyKey, Result<Vec<Said>, BatchRefusal>>,
}

impl Naive {
    fn one(&mut self, Submission { operation, key }: Submission) -> Said {
        if let Some(said) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return (*said, true);
        }
        if let Some(number) = operation.external_id.as_ref().and_then(|id| self.payments.get(id)) {
            return (Ok(*number), true);
        }
        let decision = match operation.credit.get() {
            9_999 => Err(Rejection::WalletNotFound),
            _ => {
                self.operations += 1;
                Ok(self.operations)
            }
        };
        self.keys.extend(key.map(|key| (key, decision)));
        self.payments.extend(operation.external_id.map(|id| (id, self.operations)));
        (decision, false)
    }

    fn list(&mut self, submissions: Vec<Submission>) -> Vec<Said> {
        submissions.into_iter().map(|one| self.one(one)).collect()
    }

    fn answer(&mut self, step: &Step) -> Answer {
        match step {
            Step::List(count, among) => Answer::List(self.list(list(*count, among))),
            Step::Keyed(first, count) => Answer::List(self.list(keyed(*first, *count))),
            Step::Batch(number, keyed) => {
                let Batch { mode, submissions, key } = batch(*number, *keyed);
                let key = key.map(|key| key.key);
                if let Some(said) = key.as_ref().and_then(|key| self.batches.get(key)) {
                    return Answer::Batch(said.clone(), true);
                }
                let mut tried = self.clone();
                let all = tried.list(submissions);
                let refused = all.iter().enumerate().find_map(|(index, (decision, _))| {
                    Some(BatchRefusal::Operation { index, rejection: decision.err()? })
                });
                let said = match refused {
                    Some(refusal) if mode == BatchMode::Atomic => Err(refusal),
                    _ => {
                        *self = tried;
                        Ok(all)
                    }
                };
                self.batches.extend(key.map(|key| (key, said.clone())));
                Answer::Batch(said, false)
            }
            _ => {
                self.wallets += 1;
                Answer::Wallet(self.wallets)
            }
        }
    }
}

fn said(outcomes: Vec<Outcome>) -> Vec<Said> {
    let said = |Outcome { decision, replayed }| {
        let number = |transfer: ledger::Transfer| transfer.id.get();
        (decision.map(number), replayed)
    };
    outcomes.into_iter().map(said).collect()
}

/// Hands it in, if there is an answer to it.
fn ask(store: &SqliteStore, step: &Step, people: u64) -> Option<Pending<Answer>> {
    let list = |submissions| -> Option<Pending<Answer>> {
        let answer = store.submit(submissions);
        Some(Box::pin(async { Ok(Answer::List(said(answer.await?))) }))
    };
    match step {
        Step::List(count, among) => list(self::list(*count, among)),
        Step::Keyed(first, count) => list(keyed(*first, *count)),
        Step::Batch(number, keyed) => {
            let answer = store.submit_batch(batch(*number, *keyed));
            Some(Box::pin(async {
                let ledger::BatchOutcome { decision, replayed } = answer.await?;
                Ok(Answer::Batch(decision.map(said), replayed))
            }))
        }
        Step::SignUp => {
            let answer = store.sign_up(new_user(people, Role::Person), None);
            Some(Box::pin(async { Ok(Answer::Wallet(answer.await?.unwrap().wallet.get())) }))
        }
        Step::NoRoom => {
            store.at_commit(|_| Err(Failure::Refused(LedgerError::StorageFull)));
            None
        }
        Step::Limit(limit) => {
            store.limit_pages(if *limit { 1 } else { 1_000_000 });
            None
        }
    }
}

/// A copy of what a kill would leave now, when the writer has nothing to do.
fn as_after_a_kill(dir: &TempDir) -> TempDir {
    let left = TempDir::new().unwrap();
    for file in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap()) {
        // Files of keys that are being merged may be gone by now, and are made again.
        let _ = std::fs::copy(file.path(), left.path().join(file.file_name()));
    }
    left
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn what_finds_no_room_was_never_asked_for(
        rounds in prop::collection::vec((prop::collection::vec(step(), 1..9), between()), 1..6),
    ) {
        let (mut dir, mut store) = with_the_bank_and_a_person();
        let mut naive = Naive { wallets: 2, ..Naive::default() };
        // Two people are there.
        let mut asked = 2;
        for (round, between) in rounds {
            // All of a round waits together.
            let hold = store.hold();
            let waiting: Vec<_> = round
                .iter()
                .filter_map(|step| {
                    asked += 1;
                    Some((step, ask(&store, step, asked)?))
                })
                .collect();
            drop(hold);
            for (step, answer) in waiting {
                match wait(answer) {
                    Err(error) => prop_assert_eq!(error, LedgerError::StorageFull),
                    Ok(answer) => prop_assert_eq!(answer, naive.answer(step)),
                }
            }
            let left = match between {
                Between::Nothing => continue,
                Between::Stop => None,
                Between::Kill => Some(as_after_a_kill(&dir)),
            };
            store.close();
            dir = left.unwrap_or(dir);
            store = open(dir.path()).0;
        }
        store.close();
        let checked = check(&Check { data: dir.path(), published: None }, &Unwatched).unwrap();
        prop_assert!(checked.is_sound(), "{:?}", checked);
        let (store, recovered) = open(dir.path());
        prop_assert_eq!((recovered.operations, recovered.wallets), (naive.operations, naive.wallets));
        // Every name is known, or not, as it is to the other.
        let all = (0..NAMES).flat_map(|number| (0..5).map(move |kind| (0, (kind, number)))).collect();
        let lists = [Step::List(0, all), Step::Keyed(0, KEYED_MAX)];
        for step in (0..NAMES).map(|number| Step::Batch(number, true)).chain(lists) {
            let answer = ask(&store, &step, 0).map(wait);
            prop_assert_eq!(answer, Some(Ok(naive.answer(&step))));
        }
    }
}

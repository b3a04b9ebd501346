//! Random lives of an engine, with keys, payments, batches, clean stops and crashes, against a naive one:
//! maps, and the rules written down one by one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ledger::{
    Batch, BatchKey, BatchMode, BatchOutcome, BatchRefusal, ExternalId, Fingerprint,
    IdempotencyKey, Ledger, MINOR_UNITS_MAX, Operation, OperationKind, Outcome, Pending, Rejection,
    Role, Submission, Transfer, WalletId,
};
use proptest::prelude::*;
use store_sqlite::{Check, Unwatched, check};

use crate::support::{Engine, submission, wait};

const PEOPLE: u64 = 4;

/// What a client may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Request {
    Submit(Vec<Submission>),
    /// Perhaps under a key, which is that of the wallet that pays in all of them.
    Batch(BatchMode, Vec<Submission>, Option<IdempotencyKey>),
}

/// What may happen to an engine.
#[derive(Debug, Clone)]
enum Step {
    /// These are handed in before any is answered.
    Ask(Vec<Request>),
    /// An earlier request is sent again, counted from the newest one.
    Again(usize),
    SignUp,
    Reopen,
    /// The engine goes on from what a kill would have left.
    Crash,
}

/// Few names, so that they are used again and again.
fn keys() -> impl Strategy<Value = Option<IdempotencyKey>> {
    prop_oneof![2 => Just(""), 1 => Just("a"), 1 => Just("b"), 1 => Just("c"), 1 => Just("d")]
        .prop_map(|key| IdempotencyKey::parse(key).ok())
}

/// Deposits come mostly from wallet 1, the bank; the rest is between few wallets, some of which are not
/// there.
fn submissions() -> impl Strategy<Value = Submission> {
    let wallets = || prop_oneof![9 => 1..=1 + PEOPLE, 1 => 1..=9_u64];
    let minor = || prop_oneof![4 => 1..4_i64, 2 => 1..200_i64, 2 => 1..=MINOR_UNITS_MAX];
    let deposit = (prop_oneof![8 => Just(1), 1 => wallets()], wallets(), minor(), 0..6_usize)
        .prop_map(|(debit, credit, minor, external_id)| {
            let mut deposit = submission(OperationKind::Deposit, debit, credit, minor);
            let names = ["x", "y"].get(external_id);
            deposit.operation.external_id = names.and_then(|name| ExternalId::parse(name).ok());
            deposit
        });
    let transfer = (wallets(), wallets(), minor()).prop_map(|(debit, credit, minor)| {
        submission(OperationKind::Transfer, debit, credit, minor)
    });
    (prop_oneof![2 => deposit, 3 => transfer], keys())
        .prop_map(|(submission, key)| Submission { key, ..submission })
}

/// Deposits of the bank that are all accepted, but for those that bear the name of another.
fn payments() -> impl Strategy<Value = Vec<Submission>> {
    let payment = (2..=1 + PEOPLE, 1..3_i64, any::<bool>());
    (0..20_u64, prop::collection::vec(payment, 2..4)).prop_map(|(number, some)| {
        let payments = some.into_iter().map(|(credit, minor, next)| {
            let mut deposit = submission(OperationKind::Deposit, 1, credit, minor);
            let name = format!("payment-{}", number + u64::from(next));
            deposit.operation.external_id = Some(ExternalId::parse(&name).unwrap());
            deposit
        });
        payments.collect()
    })
}

fn requests() -> impl Strategy<Value = Request> {
    let some = || prop::collection::vec(submissions(), 1..8);
    let mode = || prop_oneof![Just(BatchMode::Atomic), Just(BatchMode::Independent)];
    prop_oneof![
        3 => submissions().prop_map(|one| Request::Submit(vec![one])),
        2 => some().prop_map(Request::Submit),
        2 => (mode(), prop_oneof![some(), payments()])
            .prop_map(|(mode, some)| Request::Batch(mode, some, None)),
        3 => (mode(), some(), keys()).prop_map(|(mode, mut some, key)| {
            let payer = some[0].operation.debit;
            some.iter_mut().for_each(|one| one.operation.debit = payer);
            Request::Batch(mode, some, key)
        }),
    ]
}

/// So many operations that one thread decides while another writes, under keys that are used again now and then.
fn large_requests() -> impl Strategy<Value = Request> {
    let modes =
        prop_oneof![Just(None), Just(Some(BatchMode::Atomic)), Just(Some(BatchMode::Independent))];
    // The operation that may be refused, or have been seen before, stands at its place among deposits.
    let among = prop::collection::vec((submissions(), 0..1_500_usize), 0..3);
    let fillers = (1_024..2_100_usize, 0..12_u32, any::<bool>());
    (modes, fillers, among, keys()).prop_map(|(mode, (count, first, named), among, key)| {
        let mut some: Vec<_> = (0..count)
            .map(|number| {
                let to = 2 + number as u64 % PEOPLE;
                let key = format!("{}", 200 * first as usize + number);
                let key = named.then(|| IdempotencyKey::parse(&key).unwrap());
                Submission { key, ..submission(OperationKind::Deposit, 1, to, 1) }
            })
            .collect();
        for (one, place) in among {
            some.insert(place.min(some.len()), one);
        }
        match mode {
            None => Request::Submit(some),
            Some(mode) => {
                // The bank's, as most of them are.
                some.iter_mut().for_each(|one| one.operation.debit = WalletId::FIRST);
                Request::Batch(mode, some, key)
            }
        }
    })
}

fn large_steps() -> impl Strategy<Value = Vec<Step>> {
    let some = prop_oneof![3 => large_requests(), 1 => requests()];
    let any = prop_oneof![
        8 => prop::collection::vec(some, 1..6).prop_map(Step::Ask),
        2 => (0..6_usize).prop_map(Step::Again),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(any, 1..6)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = prop_oneof![
        12 => prop::collection::vec(requests(), 1..5).prop_map(Step::Ask),
        5 => (0..12_usize).prop_map(Step::Again),
        1 => Just(Step::SignUp),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(any, 1..40)
}

/// An answer: the operation's number or why not, and whether it was given before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    decision: Result<usize, Rejection>,
    replayed: bool,
}

type BatchAnswer = Result<Vec<Answer>, BatchRefusal>;

/// What was said under a key.
#[derive(Debug, Clone)]
enum Said {
    Operation(Operation, Result<usize, Rejection>),
    Batch(BatchMode, Vec<Submission>, BatchAnswer),
}

/// The naive engine. Money is `i128` and never wraps; operations are numbered from 1.
#[derive(Debug, Clone, Default)]
struct Naive {
    /// That of wallet 1, the bank, is the first.
    balances: Vec<i128>,
    /// Every operation that was done, and the balances of its two sides after it.
    done: Vec<(Operation, i128, i128)>,
    said: HashMap<(WalletId, IdempotencyKey), Said>,
    payments: HashMap<(WalletId, ExternalId), usize>,
}

impl Naive {
    fn with_people(people: u64) -> Self {
        Self { balances: vec![0; 1 + usize::try_from(people).unwrap()], ..Self::default() }
    }

    fn balance(&mut self, wallet: WalletId) -> Option<&mut i128> {
        self.balances.get_mut(usize::try_from(wallet.get()).unwrap() - 1)
    }

    /// All refusals of the book that hold, in no order.
    fn refusals(&mut self, operation: &Operation) -> Vec<Rejection> {
        let limit = i128::from(MINOR_UNITS_MAX);
        let amount = i128::from(operation.amount.minor());
        let debit = self.balance(operation.debit).copied();
        let credit = self.balance(operation.credit).copied();
        let by_bank = operation.debit.get() == 1;
        let is_deposit = operation.kind == OperationKind::Deposit;
        let is_person = debit.is_some() && !by_bank;
        let too_little = debit.is_some_and(|debit| debit < amount);
        let too_low = debit.is_some_and(|debit| debit - amount < -limit);
        let too_high = credit.is_some_and(|credit| credit + amount > limit);
        let all = [
            (is_deposit && is_person, Rejection::NotTheBank),
            (operation.debit == operation.credit, Rejection::SenderIsReceiver),
            (debit.is_none() || credit.is_none(), Rejection::WalletNotFound),
            (!is_deposit && by_bank, Rejection::BankMustDeposit),
            (is_person && too_little, Rejection::InsufficientFunds),
            (too_low || too_high, Rejection::BalanceLimit),
        ];
        all.into_iter().filter_map(|(holds, refusal)| holds.then_some(refusal)).collect()
    }

    /// The operation's number, from 1.
    fn book(&mut self, operation: &Operation) -> Result<usize, Rejection> {
        if let Some(refusal) = self.refusals(operation).into_iter().min() {
            return Err(refusal);
        }
        let mut moved = |wallet, change| {
            let balance = self.balance(wallet).unwrap();
            *balance += change;
            *balance
        };
        let amount = i128::from(operation.amount.minor());
        let (debit, credit) = (moved(operation.debit, -amount), moved(operation.credit, amount));
        self.done.push((operation.clone(), debit, credit));
        Ok(self.done.len())
    }

    /// One operation, perhaps within a batch under a key of its own.
    fn submit(
        &mut self,
        Submission { operation, key }: &Submission,
        whole: Option<&(WalletId, IdempotencyKey)>,
    ) -> Answer {
        let fresh = |decision| Answer { decision, replayed: false };
        let again = |decision| Answer { decision, replayed: true };
        let key = key.clone().map(|key| (operation.debit, key));
        if key.is_some() && key.as_ref() == whole {
            return fresh(Err(Rejection::IdempotencyKeyReused));
        }
        match key.as_ref().and_then(|key| self.said.get(key)) {
            Some(Said::Operation(said, decision)) if said == operation => return again(*decision),
            Some(_) => return fresh(Err(Rejection::IdempotencyKeyReused)),
            None => {}
        }
        let payment = operation.external_id.clone().map(|id| (operation.debit, id));
        let decision = match payment.as_ref().and_then(|payment| self.payments.get(payment)) {
            Some(number) => {
                let (paid, ..) = &self.done[number - 1];
                let same = |it: &Operation| (it.kind, it.debit, it.credit, it.amount);
                if same(paid) == same(operation) {
                    return again(Ok(*number));
                }
                Err(Rejection::ExternalIdReused)
            }
            None => self.book(operation),
        };
        if let (Some(payment), Ok(number)) = (payment, decision) {
            self.payments.insert(payment, number);
        }
        if let Some(key) = key {
            self.said.insert(key, Said::Operation(operation.clone(), decision));
        }
        fresh(decision)
    }

    /// The answer, and whether it was given before.
    fn batch(
        &mut self,
        mode: BatchMode,
        submissions: &[Submission],
        key: Option<&IdempotencyKey>,
    ) -> (BatchAnswer, bool) {
        let key = key.map(|key| (submissions[0].operation.debit, key.clone()));
        match key.as_ref().and_then(|key| self.said.get(key)) {
            Some(Said::Batch(said_mode, said, answer))
                if (*said_mode, said.as_slice()) == (mode, submissions) =>
            {
                return (answer.clone(), true);
            }
            Some(_) => return (Err(BatchRefusal::KeyReused), false),
            None => {}
        }
        let mut tried = self.clone();
        let answers: Vec<_> =
            submissions.iter().map(|one| tried.submit(one, key.as_ref())).collect();
        let refused = answers.iter().enumerate().find_map(|(index, answer)| {
            answer.decision.err().map(|rejection| BatchRefusal::Operation { index, rejection })
        });
        let answer = match refused {
            Some(refusal) if mode == BatchMode::Atomic => Err(refusal),
            _ => {
                *self = tried;
                Ok(answers)
            }
        };
        if let Some(key) = key {
            self.said.insert(key, Said::Batch(mode, submissions.to_vec(), answer.clone()));
        }
        (answer, false)
    }

    /// What comes of a request, as words: of which kind, and `=` before what was said earlier.
    fn words(&mut self, request: &Request) -> Vec<String> {
        let word = |kind: &str, Answer { decision, replayed }: Answer| {
            let code = decision.map_or_else(Rejection::code, |_| "ok");
            format!("{kind} {}{code}", if replayed { "=" } else { "" })
        };
        match request {
            Request::Submit(some) => {
                some.iter().map(|one| word("single", self.submit(one, None))).collect()
            }
            Request::Batch(mode, some, key) => {
                let (answer, again) = self.batch(*mode, some, key.as_ref());
                let kind = format!("{}{mode:?}", if again { "again " } else { "" });
                match answer {
                    Ok(answers) => answers.into_iter().map(|it| word(&kind, it)).collect(),
                    Err(BatchRefusal::KeyReused) => vec!["whole key used".to_owned()],
                    Err(BatchRefusal::Operation { index, rejection }) => {
                        let (decision, replayed) =
                            (Err(rejection), self.refused_before(&some[index]));
                        vec![word(&kind, Answer { decision, replayed })]
                    }
                }
            }
        }
    }

    /// Whether a refusal stands under the operation's own key.
    fn refused_before(&self, Submission { operation, key }: &Submission) -> bool {
        let said = key.clone().and_then(|key| self.said.get(&(operation.debit, key)));
        matches!(said, Some(Said::Operation(said, Err(_))) if said == operation)
    }

    /// A wallet's history as a statement tells it, newest first: numbers, amounts, balances.
    fn history(&self, number: u64) -> Vec<(u64, i64, i128)> {
        let sides = (1_u64..).zip(&self.done).filter_map(|(id, (operation, debit, credit))| {
            let balance = match number {
                _ if operation.debit.get() == number => debit,
                _ if operation.credit.get() == number => credit,
                _ => return None,
            };
            Some((id, operation.amount.minor(), *balance))
        });
        let mut history: Vec<_> = sides.collect();
        history.reverse();
        history
    }
}

/// What the engine answered.
enum Found {
    Submit(Vec<Outcome>),
    Batch(BatchOutcome),
}

fn hand_in(engine: &Engine, request: &Request) -> Pending<Found> {
    match request.clone() {
        Request::Submit(submissions) => {
            let answer = engine.store.submit(submissions);
            Box::pin(async { answer.await.map(Found::Submit) })
        }
        Request::Batch(mode, submissions, key) => {
            let mut fingerprint = Fingerprint::new(mode);
            submissions.iter().for_each(|submission| fingerprint.add(submission));
            let fingerprint = fingerprint.finish();
            let wallet = submissions[0].operation.debit;
            let key = key.map(|key| BatchKey { wallet, key, fingerprint });
            let answer = engine.store.submit_batch(Batch { mode, submissions, key });
            Box::pin(async { answer.await.map(Found::Batch) })
        }
    }
}

/// Both engines side by side, and each operation as it was answered first.
struct Pair {
    engine: Engine,
    naive: Naive,
    first: Vec<Transfer>,
}

impl Pair {
    fn ask(&mut self, requests: &[Request]) -> Result<(), TestCaseError> {
        let waiting: Vec<_> =
            requests.iter().map(|request| hand_in(&self.engine, request)).collect();
        for (request, answer) in requests.iter().zip(waiting) {
            match (request, wait(answer).unwrap()) {
                (Request::Submit(submissions), Found::Submit(outcomes)) => {
                    let expected: Vec<_> =
                        submissions.iter().map(|one| self.naive.submit(one, None)).collect();
                    self.compare(&expected, &outcomes)?;
                }
                (Request::Batch(mode, submissions, key), Found::Batch(outcome)) => {
                    let (expected, replayed) = self.naive.batch(*mode, submissions, key.as_ref());
                    prop_assert_eq!(outcome.replayed, replayed);
                    match (expected, outcome.decision) {
                        (Ok(expected), Ok(outcomes)) => self.compare(&expected, &outcomes)?,
                        (expected, found) => prop_assert_eq!(expected.err(), found.err()),
                    }
                }
                _ => prop_assert!(false, "an answer to another request"),
            }
        }
        Ok(())
    }

    fn compare(&mut self, expected: &[Answer], found: &[Outcome]) -> Result<(), TestCaseError> {
        prop_assert_eq!(expected.len(), found.len());
        for (expected, outcome) in expected.iter().zip(found) {
            let number = |transfer: &Transfer| usize::try_from(transfer.id.get()).unwrap();
            let answer = Answer {
                decision: outcome.decision.as_ref().map(number).map_err(|refusal| *refusal),
                replayed: outcome.replayed,
            };
            prop_assert_eq!(*expected, answer);
            let Ok(transfer) = &outcome.decision else { continue };
            if let Some(first) = self.first.get(number(transfer) - 1) {
                prop_assert_eq!(transfer, first, "told otherwise than at first");
                continue;
            }
            let (operation, debit, credit) = &self.naive.done[number(transfer) - 1];
            prop_assert!(transfer.fulfils(operation), "{:?} for {:?}", transfer, operation);
            let minor = |side: ledger::Side| i128::from(side.balance.minor());
            prop_assert_eq!((minor(transfer.debit), minor(transfer.credit)), (*debit, *credit));
            self.first.push(transfer.clone());
        }
        Ok(())
    }

    /// Everything a reader can see is the same in both, and the file is sound.
    fn compare_all(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.naive.balances.iter().sum::<i128>(), 0);
        for (number, balance) in (1..).zip(&self.naive.balances) {
            prop_assert!(number == 1 || *balance >= 0, "wallet {} overdrawn", number);
            let mut found = Vec::new();
            let mut page = self.engine.statement(number, None, 1_000);
            prop_assert_eq!(i128::from(page.balance.minor()), *balance);
            loop {
                found.extend(page.entries.iter().map(|entry| {
                    let balance = i128::from(entry.balance.minor());
                    (entry.operation.get(), entry.amount.minor(), balance)
                }));
                let Some(next) = page.next else { break };
                page = self.engine.statement(number, Some(next.get()), 1_000);
            }
            prop_assert_eq!(found, self.naive.history(number));
        }
        let checked = check(&Check { data: self.engine.dir(), published: None }, &Unwatched);
        let checked = checked.unwrap();
        prop_assert!(checked.is_sound(), "{:?}", checked.damages);
        Ok(())
    }
}

/// The engine on what a kill would have left.
fn crashed(engine: &Engine) -> Engine {
    Engine::on(Arc::new(engine.as_after_a_kill())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_answers_as_the_naive_one(steps in steps()) {
        live(steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn so_it_does_where_batches_are_large(steps in large_steps()) {
        live(steps)?;
    }
}

fn live(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut pair = Pair {
        engine: Engine::with_people(PEOPLE),
        naive: Naive::with_people(PEOPLE),
        first: Vec::new(),
    };
    let mut asked: Vec<Request> = Vec::new();
    for step in steps {
        match step {
            Step::Ask(requests) => {
                pair.ask(&requests)?;
                asked.extend(requests);
            }
            Step::Again(back) => {
                let request = asked.iter().rev().nth(back).cloned();
                pair.ask(&Vec::from_iter(request))?;
            }
            Step::SignUp => {
                pair.naive.balances.push(0);
                let people = pair.naive.balances.len();
                let email = format!("{people}@localhost");
                let user = pair.engine.sign_up(&email, Role::Person).unwrap();
                prop_assert_eq!(user.wallet.get(), people as u64);
            }
            Step::Reopen => pair.engine = pair.engine.reopen().unwrap(),
            Step::Crash => pair.engine = crashed(&pair.engine),
        }
    }
    pair.compare_all()?;
    pair.engine = crashed(&pair.engine);
    pair.compare_all()
}

/// The random requests are worth something only if they meet every answer there is.
#[test]
fn random_requests_meet_every_answer() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..300 {
        let mut naive = Naive::with_people(PEOPLE);
        let mut asked: Vec<Request> = Vec::new();
        for step in steps().new_tree(&mut runner).unwrap().current() {
            let requests = match step {
                Step::Ask(requests) => {
                    asked.extend(requests.clone());
                    requests
                }
                Step::Again(back) => Vec::from_iter(asked.iter().rev().nth(back).cloned()),
                Step::SignUp | Step::Reopen | Step::Crash => continue,
            };
            requests.iter().for_each(|request| met.extend(naive.words(request)));
        }
    }
    let book = [
        "not_the_bank",
        "sender_is_receiver",
        "wallet_not_found",
        "bank_must_deposit",
        "insufficient_funds",
        "balance_limit",
    ];
    let fresh = ["ok", "idempotency_key_reused", "external_id_reused"];
    for answer in book.iter().chain(&fresh) {
        for request in ["single", "Independent", "Atomic"] {
            assert!(met.contains(&format!("{request} {answer}")), "{request} {answer} in {met:?}");
        }
    }
    for request in ["single =", "Independent =", "Atomic =", "again Independent ", "again Atomic "]
    {
        for answer in ["ok", "insufficient_funds"] {
            assert!(met.contains(&format!("{request}{answer}")), "{request}{answer} in {met:?}");
        }
    }
    assert!(met.contains("whole key used"), "{met:?}");
}

//! Owns what was sent and what came of it: written down before it is sent, in memory and, as JSON
//! Lines, in a file for people to look at afterwards.
//!
//! Never: a doubt turned into a failure, or an outcome that changes unnoticed: two tries of one
//! attempt that were told different things are a violation. Bounds: attempts are forgotten when an
//! audit has settled them, but for [`REMEMBERED_MAX`] that are sent again later; the file is moved
//! aside at [`FILE_BYTES_MAX`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::json;

use crate::book::Units;
use crate::client::{Page, Reply, Request};
use crate::violation::{Code, Violation};

/// How many decided attempts are remembered to be sent again.
const REMEMBERED_MAX: usize = 4_096;
/// How many violations are kept: the first ones tell the story.
const VIOLATIONS_MAX: usize = 200;
const FILE_BYTES_MAX: u64 = 256 * 1_024 * 1_024;

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// A deposit, and not a transfer.
    pub deposit: bool,
    /// The wallet that pays: the bank's for a deposit.
    pub from: u64,
    /// The wallet that is paid.
    pub to: u64,
    /// Minor units.
    pub amount: i64,
    /// The only thing a correct service can answer, if there is but one.
    pub must: Must,
}

/// What a correct service must answer to an order, as far as that is known when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Must {
    /// It depends on the balance: done, or `insufficient_funds`.
    Decide,
    /// Done: there is no rule against it.
    Accept,
    /// Refused with this code, whatever the state.
    Refuse(&'static str),
}

/// By what name an order can be sent twice and be done once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// The `Idempotency-Key`.
    pub key: Option<String>,
    /// The payment provider's own id.
    pub external_id: Option<String>,
}

/// Something that was sent, once or several times under one name.
#[derive(Debug)]
pub struct Attempt {
    /// Its place among the attempts.
    pub number: u64,
    /// What was asked.
    pub order: Order,
    /// Its names.
    pub names: Names,
    /// The text by which it is found again; no other attempt has it.
    pub details: String,
    /// When it was first sent.
    pub sent_seq: u64,
    /// The newest operation that was known to somebody before this was sent: if this is accepted,
    /// it comes later.
    pub floor: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tries: u64,
    outcome: Option<Outcome>,
    /// Tries that were answered as the first of their name.
    at_first_hand: u64,
    /// Where an audit found it, and the balance it told the sender: what later answers must say.
    settled: Option<(u64, i64)>,
}

/// What came of an attempt, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was answered.
    pub answer: Answer,
    /// When it was first answered.
    pub answered_seq: u64,
}

/// A definite answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done: the operation, and the balance that was told, in minor units.
    Ok {
        /// The operation's place in the order of all.
        operation_id: u64,
        /// The balance that was told, in minor units.
        balance: i64,
    },
    /// Refused, with its stable code.
    Fail(String),
}

/// A read whose content an audit compares with what is there for good.
#[derive(Debug, Clone)]
pub struct Read {
    /// The newest operation of the wallet that was known to somebody before the read was sent.
    pub must_show: u64,
    /// When it was sent.
    pub sent_seq: u64,
    /// What it showed.
    pub page: Page,
}

impl Attempt {
    /// What was sent.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        Request {
            deposit: self.order.deposit,
            wallet_id: self.order.to,
            amount: self.order.amount,
            details: &self.details,
            external_id: self.names.external_id.as_deref(),
            key: self.names.key.as_deref(),
        }
    }

    /// What came of it; `None` as long as that is unknown.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.state().outcome.clone()
    }

    /// Whether an audit has found it already.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state().settled.is_some()
    }

    /// Whether it can be sent again without being done twice.
    #[must_use]
    pub fn has_name(&self) -> bool {
        self.names != Names::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Everything that was sent and is not settled yet.
#[derive(Debug)]
pub struct History {
    tag: String,
    sequence: AtomicU64,
    numbers: AtomicU64,
    /// The newest operation that somebody was told of.
    newest: AtomicU64,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    pending: Mutex<BTreeMap<u64, Arc<Attempt>>>,
    reads: Mutex<Vec<Read>>,
    remembered: Mutex<Vec<Arc<Attempt>>>,
    violations: Mutex<Vec<Violation>>,
    file: Option<Mutex<Lines>>,
}

impl History {
    /// An empty one. `tag` begins each attempt's text. Lines go to `file`, if there is one.
    pub fn new(tag: &str, file: Option<&Path>) -> std::io::Result<Self> {
        Ok(Self {
            tag: tag.to_owned(),
            sequence: AtomicU64::new(1),
            numbers: AtomicU64::new(1),
            newest: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            pending: Mutex::default(),
            reads: Mutex::default(),
            remembered: Mutex::default(),
            violations: Mutex::default(),
            file: file.map(Lines::open).transpose()?.map(Mutex::new),
        })
    }

    /// The next sequence number: one clock for all that is sent and answered.
    pub fn tick(&self) -> u64 {
        self.sequence.fetch_add(1, SeqCst)
    }

    /// The number that the next attempt will have.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.numbers.load(SeqCst)
    }

    /// How many attempts were acknowledged as done, each counted once.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(SeqCst)
    }

    /// How many tries had an unknown outcome.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown.load(SeqCst)
    }

    /// Somebody was told of an operation: what is sent from now on comes after it.
    pub fn know(&self, operation_id: u64) {
        self.newest.fetch_max(operation_id, SeqCst);
    }

    /// Writes an attempt down. It must be sent only after this.
    ///
    /// `names` is asked with the attempt's number and its text.
    pub fn invoke(&self, order: Order, names: impl FnOnce(&str) -> Names) -> Arc<Attempt> {
        let number = self.numbers.fetch_add(1, SeqCst);
        let details = self.details(number);
        let attempt = Arc::new(Attempt {
            number,
            order,
            names: names(&details),
            details,
            floor: self.newest.load(SeqCst),
            sent_seq: self.tick(),
            state: Mutex::default(),
        });
        lock(&self.pending).insert(number, Arc::clone(&attempt));
        self.write_invoke(&attempt, 1, attempt.sent_seq);
        attempt.state().tries = 1;
        attempt
    }

    /// Writes down that an attempt is sent once more.
    pub fn invoke_again(&self, attempt: &Attempt) {
        let nth = {
            let mut state = attempt.state();
            state.tries += 1;
            state.tries
        };
        self.write_invoke(attempt, nth, self.tick());
    }

    /// Writes down what came of a try.
    pub fn answer(&self, attempt: &Arc<Attempt>, reply: &Reply) {
        let seq = self.tick();
        self.write_answer(attempt, reply, seq);
        let (answer, replayed) = match reply {
            Reply::Ok { operation_id, wallet_id, balance, replayed } => {
                self.know(*operation_id);
                self.check_told_wallet(attempt, *wallet_id, *operation_id);
                let answer = Answer::Ok { operation_id: *operation_id, balance: *balance };
                (answer, *replayed)
            }
            Reply::Fail { code, replayed } => (Answer::Fail(code.clone()), *replayed),
            Reply::Unknown { .. } => {
                self.unknown.fetch_add(1, SeqCst);
                return;
            }
            Reply::Odd { status, body } => {
                let what = format!("attempt {} was answered {status} {body}", attempt.number);
                return self.report(Violation::of_attempt(
                    Code::UnexpectedAnswer,
                    attempt.number,
                    what,
                ));
            }
        };
        self.decide(attempt, answer, replayed, seq);
    }

    /// Keeps a read for the next audit.
    pub fn read(&self, read: Read) {
        let Read { must_show, sent_seq, page } = &read;
        let newest = page.entries.first().map(|entry| entry.operation_id);
        self.write(|seq| {
            json!({"seq": seq, "event": "read", "sent_seq": sent_seq, "wallet": page.wallet_id,
                   "must_show": must_show, "balance": Units(page.balance).to_string(),
                   "newest": newest, "entries": page.entries.len()})
        });
        if let Some(newest) = newest {
            self.know(newest);
        }
        lock(&self.reads).push(read);
    }

    /// Notes a violation that was seen at once.
    pub fn report(&self, violation: Violation) {
        self.write(|seq| json!({"seq": seq, "event": "violation", "violation": violation}));
        let mut violations = lock(&self.violations);
        if violations.len() < VIOLATIONS_MAX {
            violations.push(violation);
        }
    }

    /// What was seen at once, so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.violations).clone()
    }

    /// A decided attempt that can be sent again, chosen by `dice`.
    #[must_use]
    pub fn remembered(&self, dice: usize) -> Option<Arc<Attempt>> {
        let remembered = lock(&self.remembered);
        let index = dice.checked_rem(remembered.len())?;
        remembered.get(index).cloned()
    }

    /// Everything that no audit has settled, by number, and all reads.
    #[must_use]
    pub fn unsettled(&self) -> (Vec<Arc<Attempt>>, Vec<Read>) {
        (lock(&self.pending).values().cloned().collect(), lock(&self.reads).clone())
    }

    /// An audit has found everything right. `found`: the attempts that are there, each with its
    /// operation and the balance that its sender is told. What is decided is forgotten, what is
    /// unknown stays until it is.
    pub fn settle(&self, found: &BTreeMap<u64, (u64, i64)>, reads: usize) {
        lock(&self.reads).drain(..reads);
        lock(&self.pending).retain(|number, attempt| {
            let mut state = attempt.state();
            if let Some(found) = found.get(number) {
                state.settled = Some(*found);
            }
            let sent_again = attempt.names != Names::default();
            state.outcome.is_none() && (state.settled.is_none() || sent_again)
        });
        if let Some(file) = &self.file {
            lock(file).move_aside_if_large();
        }
    }

    /// The text of an attempt: unique, and now and then not only ASCII.
    #[must_use]
    pub fn details(&self, number: u64) -> String {
        let tag = &self.tag;
        match number % 5 {
            0 => format!("{tag}/{number} за \"обед\" ✓"),
            _ => format!("{tag}/{number}"),
        }
    }

    /// The number of the attempt that has this text.
    #[must_use]
    pub fn number_of(&self, details: &str) -> Option<u64> {
        let rest = details.strip_prefix(&self.tag)?.strip_prefix('/')?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let number = digits.parse().ok().filter(|number| *number < self.next_number())?;
        (self.details(number) == details).then_some(number)
    }

    /// All tries of one attempt must be told the same, and one at most at first hand.
    fn decide(&self, attempt: &Arc<Attempt>, answer: Answer, replayed: bool, seq: u64) {
        let number = attempt.number;
        let mut state = attempt.state();
        let mut found = Vec::new();
        if replayed && state.tries == 1 {
            let what = format!("attempt {number} was sent once and answered as a replay");
            found.push(Violation::of_attempt(Code::ReplayUnasked, number, what));
        }
        if !replayed && is_recorded(&answer) {
            state.at_first_hand += 1;
            if state.at_first_hand == 2 && attempt.has_name() {
                let what = format!("attempt {number} was answered twice, not marked as a replay");
                found.push(Violation::of_attempt(Code::ReplayUnmarked, number, what));
            }
        }
        let settled =
            state.settled.map(|(operation_id, balance)| Answer::Ok { operation_id, balance });
        let before = state.outcome.as_ref().map(|outcome| outcome.answer.clone()).or(settled);
        if let Some(before) = before.filter(|before| *before != answer) {
            let what = format!("attempt {number}: {before:?} at first, {answer:?} when sent again");
            found.push(Violation::of_attempt(Code::ReplayDiffers, number, what));
        }
        found.extend(check_must(attempt, &answer));
        let first = state.outcome.is_none();
        if first {
            state.outcome = Some(Outcome { answer: answer.clone(), answered_seq: seq });
        }
        drop(state);
        if first && matches!(answer, Answer::Ok { .. }) {
            self.acknowledged.fetch_add(1, SeqCst);
        }
        if first && attempt.has_name() && is_recorded(&answer) {
            self.remember(attempt);
        }
        found.into_iter().for_each(|violation| self.report(violation));
    }

    /// Replaces one at a changing place when full, so that some are old and most are new.
    fn remember(&self, attempt: &Arc<Attempt>) {
        let mut remembered = lock(&self.remembered);
        if remembered.len() < REMEMBERED_MAX {
            remembered.push(Arc::clone(attempt));
            return;
        }
        let place = usize::try_from(attempt.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40);
        let place = place.unwrap_or_default() % REMEMBERED_MAX;
        if let Some(slot) = remembered.get_mut(place) {
            *slot = Arc::clone(attempt);
        }
    }

    /// A deposit tells the balance of who is paid, a transfer that of who pays.
    fn check_told_wallet(&self, attempt: &Attempt, wallet_id: u64, operation_id: u64) {
        let Order { deposit, from, to, .. } = attempt.order;
        let expected = if deposit { to } else { from };
        if wallet_id != expected {
            let what = format!("attempt {} told of wallet {wallet_id}", attempt.number);
            let violation = Violation::of_attempt(Code::Changed, attempt.number, what);
            self.report(violation.at(operation_id));
        }
    }

    fn write_invoke(&self, attempt: &Attempt, nth: u64, seq: u64) {
        let Attempt { number, order, names, details, floor, .. } = attempt;
        self.write(|_| {
            json!({"seq": seq, "event": "invoke", "attempt": number, "try": nth,
                   "kind": if order.deposit { "deposit" } else { "transfer" },
                   "from": order.from, "to": order.to, "amount": Units(order.amount).to_string(),
                   "details": details, "key": names.key, "external_id": names.external_id,
                   "must": order.must, "floor": floor})
        });
        if let Some(file) = &self.file {
            lock(file).flush();
        }
    }

    fn write_answer(&self, attempt: &Attempt, reply: &Reply, seq: u64) {
        let number = attempt.number;
        self.write(|_| match reply {
            Reply::Ok { operation_id, balance, replayed, .. } => {
                json!({"seq": seq, "event": "ok", "attempt": number, "operation_id": operation_id,
                       "balance": Units(*balance).to_string(), "replayed": replayed})
            }
            Reply::Fail { code, replayed } => {
                json!({"seq": seq, "event": "fail", "attempt": number, "code": code,
                       "replayed": replayed})
            }
            Reply::Unknown { why } => {
                json!({"seq": seq, "event": "unknown", "attempt": number, "why": why})
            }
            Reply::Odd { status, body } => {
                json!({"seq": seq, "event": "odd", "attempt": number, "status": status,
                       "body": body})
            }
        });
    }

    fn write(&self, line: impl FnOnce(u64) -> serde_json::Value) {
        if let Some(file) = &self.file {
            let line = line(self.sequence.load(SeqCst));
            lock(file).write(&line);
        }
    }
}

/// Whether the service keeps this answer under the attempt's name.
fn is_recorded(answer: &Answer) -> bool {
    !matches!(answer, Answer::Fail(code) if code.ends_with("_reused"))
}

fn check_must(attempt: &Attempt, answer: &Answer) -> Option<Violation> {
    let wrong = match (attempt.order.must, answer) {
        (Must::Decide, Answer::Fail(code)) => code != "insufficient_funds",
        (Must::Accept, Answer::Fail(_)) | (Must::Refuse(_), Answer::Ok { .. }) => true,
        (Must::Refuse(must), Answer::Fail(code)) => code != must,
        (Must::Decide | Must::Accept, Answer::Ok { .. }) => false,
    };
    let (number, order) = (attempt.number, attempt.order);
    let what = || format!("attempt {number} ({order:?}) was answered {answer:?}");
    wrong.then(|| Violation::of_attempt(Code::AgainstTheRules, number, what()))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has failed the campaign already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file for people. What cannot be written is lost: the checker's truth is in memory.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    out: BufWriter<File>,
    bytes: u64,
}

impl Lines {
    fn open(path: &Path) -> std::io::Result<Self> {
        let out = BufWriter::new(File::options().create(true).append(true).open(path)?);
        Ok(Self { path: path.to_owned(), out, bytes: 0 })
    }

    fn write(&mut self, line: &serde_json::Value) {
        let line = format!("{line}\n");
        self.bytes += line.len() as u64;
        let _ = self.out.write_all(line.as_bytes());
    }

    fn flush(&mut self) {
        let _ = self.out.flush();
    }

    fn move_aside_if_large(&mut self) {
        if self.bytes < FILE_BYTES_MAX {
            return;
        }
        self.flush();
        let mut old = self.path.clone().into_os_string();
        old.push(".old");
        if std::fs::rename(&self.path, PathBuf::from(old)).is_ok()
            && let Ok(new) = Self::open(&self.path)
        {
            *self = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(operation_id: u64, balance: i64, replayed: bool) -> Reply {
        Reply::Ok { operation_id, wallet_id: 2, balance, replayed }
    }

    fn fail(code: &str, replayed: bool) -> Reply {
        Reply::Fail { code: code.to_owned(), replayed }
    }

    fn unknown() -> Reply {
        Reply::Unknown { why: "gone".to_owned() }
    }

    /// Sends one keyed attempt of wallet 2 as often as there are replies.
    fn check(must: Must, replies: &[Reply], expected: &[Code]) {
        let history = History::new("t", None).unwrap();
        let order = Order { deposit: false, from: 2, to: 3, amount: 100, must };
        let key = |details: &str| Names { key: Some(details.to_owned()), external_id: None };
        let attempt = history.invoke(order, key);
        for (nth, reply) in replies.iter().enumerate() {
            if nth > 0 {
                history.invoke_again(&attempt);
            }
            history.answer(&attempt, reply);
        }
        let codes: Vec<_> = history.violations().iter().map(|violation| violation.code).collect();
        assert_eq!(codes, expected, "{must:?} {replies:?}");
    }

    #[test]
    fn all_tries_are_told_the_same() {
        let poor = "insufficient_funds";
        for (replies, expected) in [
            (vec![ok(7, 1, false)], vec![]),
            (vec![ok(7, 1, false), ok(7, 1, true)], vec![]),
            (vec![unknown(), ok(7, 1, true), ok(7, 1, true)], vec![]),
            (vec![fail(poor, false), fail(poor, true)], vec![]),
            (vec![ok(7, 1, true)], vec![Code::ReplayUnasked]),
            (vec![ok(7, 1, false), ok(7, 1, false)], vec![Code::ReplayUnmarked]),
            (vec![ok(7, 1, false), ok(7, 2, true)], vec![Code::ReplayDiffers]),
            (vec![ok(7, 1, false), fail(poor, true)], vec![Code::ReplayDiffers]),
            (vec![fail(poor, false), ok(7, 1, true)], vec![Code::ReplayDiffers]),
            (
                vec![ok(7, 1, false), ok(8, 0, false)],
                vec![Code::ReplayUnmarked, Code::ReplayDiffers],
            ),
        ] {
            check(Must::Decide, &replies, &expected);
        }
    }

    #[test]
    fn what_has_one_right_answer_must_get_it() {
        let wrong = [Code::AgainstTheRules];
        check(Must::Decide, &[fail("wallet_not_found", false)], &wrong);
        check(Must::Accept, &[fail("insufficient_funds", false)], &wrong);
        check(Must::Refuse("sender_is_receiver"), &[ok(1, 1, false)], &wrong);
        check(Must::Refuse("sender_is_receiver"), &[fail("wallet_not_found", false)], &wrong);
        check(Must::Refuse("sender_is_receiver"), &[fail("sender_is_receiver", false)], &[]);
        let reused = "idempotency_key_reused";
        check(Must::Refuse(reused), &[fail(reused, false), fail(reused, false)], &[]);
        let odd = Reply::Odd { status: 401, body: String::new() };
        check(Must::Decide, &[odd], &[Code::UnexpectedAnswer]);
    }

    #[test]
    fn an_attempt_is_found_by_its_text() {
        let history = History::new("a", None).unwrap();
        let order = Order { deposit: false, from: 2, to: 3, amount: 1, must: Must::Decide };
        for number in 1..=10 {
            assert_eq!(history.invoke(order, |_| Names::default()).number, number);
            assert_eq!(history.number_of(&history.details(number)), Some(number));
        }
        for text in ["", "a", "a/", "a/11", "b/1", "a/1 ", "a/01", "a/5"] {
            assert_eq!(history.number_of(text), None, "{text}");
        }
    }

    #[test]
    fn the_file_has_the_invocation_before_anything_comes_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let history = History::new("a", Some(&path)).unwrap();
        let order = Order { deposit: true, from: 1, to: 2, amount: 115, must: Must::Accept };
        let attempt = history.invoke(order, |_| Names::default());
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&line["event"], &line["amount"]), (&json!("invoke"), &json!("1.15")));
        history.answer(&attempt, &unknown());
        drop(history);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().nth(1).unwrap().contains(r#""event":"unknown""#), "{text}");
    }
}

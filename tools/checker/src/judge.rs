//! Owns the verdict: what was read back, held against what was sent and what was told.
//!
//! Never: I/O, or mercy with a first mistake: everything that is wrong is named, each with its ids.
//! Bounds: [`VIOLATIONS_MAX`] violations; what was settled before is looked at again only where it
//! was read again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::book::{Book, Extended, Operation, Units};
use crate::client::{Entry, EntryKind};
use crate::history::{Answer, Attempt, History, Must, Read};
use crate::violation::{Code, Violation};

/// More than these say nothing new.
const VIOLATIONS_MAX: usize = 1_000;

/// A wallet's history as it was read back, newest first. What the book has of it is compared while
/// it is read and not kept, so that a long history takes no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    wallet: u64,
    /// Its own balance, in minor units.
    balance: i64,
    /// What the newest operation says, in minor units.
    newest_balance: i64,
    /// The operation that was read last.
    last_id: Option<u64>,
    /// What the book does not have yet.
    new: Vec<Entry>,
    /// How many of the wallet's operations in the book are older than all that was read.
    left: usize,
    violations: Vec<Violation>,
}

impl View {
    /// A wallet that says it has `balance`.
    #[must_use]
    pub fn new(book: &Book, wallet: u64, balance: i64) -> Self {
        let left = book.of_wallet(wallet).len();
        let (new, violations) = (Vec::new(), Vec::new());
        Self { wallet, balance, newest_balance: 0, last_id: None, new, left, violations }
    }

    /// The wallet.
    #[must_use]
    pub fn wallet(&self) -> u64 {
        self.wallet
    }

    /// The operation that was read last.
    #[must_use]
    pub fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// The next older entry.
    pub fn take(&mut self, book: &Book, entry: Entry) {
        let id = entry.operation_id;
        match self.last_id.replace(id) {
            None => self.newest_balance = entry.balance,
            Some(last) if last <= id => {
                let what = format!("operation {id} is shown as older than {last}");
                self.add(Violation::new(Code::PageMalformed, what));
            }
            Some(_) => {}
        }
        if id > book.len() {
            return self.new.push(entry);
        }
        self.skip_to(book, id);
        let known = book.of_wallet(self.wallet);
        let there = self.left.checked_sub(1).and_then(|index| known.get(index)) == Some(&id);
        self.left -= usize::from(there);
        let operation = book.operation(id).filter(|_| there);
        if !operation.is_some_and(|operation| operation.is_shown_as(self.wallet, &entry)) {
            let what = format!("was {operation:?}, is {entry:?}");
            self.add(Violation::new(Code::HistoryChanged, what).at(id));
        }
    }

    /// No more is read; `whole`: because there is no more.
    pub fn end(&mut self, book: &Book, whole: bool) {
        let known = book.of_wallet(self.wallet);
        if whole {
            self.skip_to(book, 0);
        } else if self.left == known.len()
            && let Some(last) = known.last()
        {
            self.skip_to(book, last - 1);
        }
        if self.newest_balance != self.balance {
            let [balance, newest] = [self.balance, self.newest_balance].map(Units);
            let what = format!("it says {balance}, its newest operation says {newest}");
            self.add(Violation::new(Code::WalletBalanceWrong, what));
        }
    }

    /// What the book has after operation `id` was not shown.
    fn skip_to(&mut self, book: &Book, id: u64) {
        let known = book.of_wallet(self.wallet);
        while let Some(index) = self.left.checked_sub(1)
            && let Some(skipped) = known.get(index).filter(|skipped| **skipped > id)
        {
            let what = "it was read back before";
            self.add(Violation::new(Code::Lost, what).at(*skipped));
            self.left = index;
        }
    }

    fn add(&mut self, violation: Violation) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation.in_wallet(self.wallet));
        }
    }
}

/// All that a verdict is made from.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'e> {
    /// What was settled before.
    pub book: &'e Book,
    /// Knows which texts were sent.
    pub history: &'e History,
    /// The bank's wallet: the only one that may be below zero.
    pub bank: u64,
    /// Every wallet.
    pub views: &'e [View],
    /// Everything that was sent and is not settled.
    pub pending: &'e [Arc<Attempt>],
    /// What was read meanwhile.
    pub reads: &'e [Read],
}

/// What the evidence says.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Everything that is wrong.
    pub violations: Vec<Violation>,
    /// What is new since the book, by id.
    pub new: BTreeMap<u64, Operation>,
    /// Which attempts are there: the operation, and the balance that the sender is told.
    pub found: BTreeMap<u64, (u64, i64)>,
}

/// Judges.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    for view in evidence.views {
        view.violations.iter().for_each(|violation| verdict.add(violation.clone()));
    }
    pair_sides(evidence, &mut verdict);
    check_replay(evidence, &mut verdict);
    check_attempts(evidence, &mut verdict);
    let new = std::mem::take(&mut verdict.new);
    let all = Extended::new(evidence.book, &new);
    check_refusals(evidence, &all, &mut verdict);
    for read in evidence.reads {
        check_read(&all, read, &mut verdict);
    }
    verdict.new = new;
    verdict
}

impl Verdict {
    fn add(&mut self, violation: Violation) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }
}

/// What the two wallets of an operation show.
#[derive(Default)]
struct Sides<'e> {
    debit: Option<(u64, &'e Entry)>,
    credit: Option<(u64, &'e Entry)>,
}

/// Makes operations of entries; both sides must say the same.
fn pair_sides(evidence: &Evidence<'_>, verdict: &mut Verdict) {
    let mut all: BTreeMap<u64, Sides<'_>> = BTreeMap::new();
    for view in evidence.views {
        for entry in &view.new {
            let pays = match entry.kind {
                EntryKind::Deposit => view.wallet == evidence.bank,
                EntryKind::TransferOut => true,
                EntryKind::TransferIn => false,
            };
            let sides = all.entry(entry.operation_id).or_default();
            let side = if pays { &mut sides.debit } else { &mut sides.credit };
            if let Some((other, _)) = side.replace((view.wallet, entry)) {
                let what = format!("wallets {other} and {} are on one side of it", view.wallet);
                let violation = Violation::new(Code::SidesDisagree, what);
                verdict.add(violation.at(entry.operation_id));
            }
        }
    }
    let mut expected = evidence.book.len() + 1;
    for (id, sides) in all {
        if id != expected {
            let what = format!("operations {expected} to {} are missing", id - 1);
            verdict.add(Violation::new(Code::Gap, what).at(expected));
        }
        expected = id + 1;
        match make_operation(id, &sides) {
            Ok(operation) => drop(verdict.new.insert(id, operation)),
            Err(violation) => verdict.add(violation),
        }
    }
    let sum: i128 = evidence.views.iter().map(|view| i128::from(view.balance)).sum();
    if sum != 0 {
        let what = format!("all wallets together have {sum} minor units");
        verdict.add(Violation::new(Code::SumNotZero, what));
    }
}

fn make_operation(id: u64, sides: &Sides<'_>) -> Result<Operation, Violation> {
    let ((from, debit), (to, credit)) = match (sides.debit, sides.credit) {
        (Some(debit), Some(credit)) => (debit, credit),
        (Some((wallet, entry)), None) | (None, Some((wallet, entry))) => {
            let what = format!("its other wallet does not show it: {entry:?}");
            return Err(Violation::new(Code::OneSided, what).at(id).in_wallet(wallet));
        }
        (None, None) => return Err(Violation::new(Code::OneSided, "no wallet shows it").at(id)),
    };
    let operation = Operation {
        id,
        from,
        to,
        deposit: debit.kind == EntryKind::Deposit,
        amount: debit.amount,
        from_balance: debit.balance,
        to_balance: credit.balance,
        details: debit.details.clone().unwrap_or_default().into(),
        external_id: debit.external_id.as_deref().map(Into::into),
        timestamp: debit.timestamp.as_str().into(),
    };
    // A missing note would be no attempt's: that is found later.
    let noted = debit.details.is_some() || credit.details.is_some();
    if noted && !(operation.is_shown_as(from, debit) && operation.is_shown_as(to, credit)) {
        let what = format!("wallet {from} shows {debit:?}, wallet {to} shows {credit:?}");
        return Err(Violation::new(Code::SidesDisagree, what).at(id));
    }
    Ok(operation)
}

/// Replays what is new, in its order, on the balances of the book.
fn check_replay(evidence: &Evidence<'_>, verdict: &mut Verdict) {
    let book = evidence.book;
    let mut balances: HashMap<u64, i64> = HashMap::new();
    let mut violations = Vec::new();
    let newest = book.operation(book.len());
    let mut time = newest.map_or_else(String::new, |newest| newest.timestamp.to_string());
    for operation in verdict.new.values() {
        let Operation { id, from, to, amount, from_balance, to_balance, timestamp, .. } = operation;
        for (wallet, change, shown) in
            [(*from, -amount, *from_balance), (*to, *amount, *to_balance)]
        {
            let balance = balances.entry(wallet).or_insert_with(|| book.balance(wallet));
            let after = i128::from(*balance) + i128::from(change);
            if after != i128::from(shown) {
                let [before, change, shown] = [*balance, change, shown].map(Units);
                let what = format!("{before} and {change} make {shown}");
                let violation = Violation::new(Code::BalanceWrong, what);
                violations.push(violation.at(*id).in_wallet(wallet));
            }
            // Each mistake is named once: from here on as it is shown.
            *balance = shown;
            if shown < 0 && wallet != evidence.bank {
                let what = format!("it has {}", Units(shown));
                violations.push(Violation::new(Code::BelowZero, what).at(*id).in_wallet(wallet));
            }
        }
        // Fixed width and UTC, so text compares as time.
        if **timestamp < *time {
            let what = format!("{timestamp} after {time}");
            violations.push(Violation::new(Code::TimeWentBack, what).at(*id));
        }
        timestamp.as_ref().clone_into(&mut time);
    }
    violations.into_iter().for_each(|violation| verdict.add(violation));
}

/// Everything that is there was sent, and is as it was sent; everything acknowledged is there.
fn check_attempts(evidence: &Evidence<'_>, verdict: &mut Verdict) {
    let pending: HashMap<u64, &Arc<Attempt>> =
        evidence.pending.iter().map(|attempt| (attempt.number, attempt)).collect();
    let mut found: BTreeMap<u64, (u64, i64)> = BTreeMap::new();
    let mut violations = Vec::new();
    for operation in verdict.new.values() {
        let Some(number) = evidence.history.number_of(&operation.details) else {
            let what = format!("{operation:?}");
            violations.push(Violation::new(Code::Unsent, what).at(operation.id));
            continue;
        };
        let attempt = pending.get(&number).filter(|attempt| !attempt.is_settled());
        let Some(attempt) = attempt else {
            let before = evidence.book.operations().find(|it| it.details == operation.details);
            let (code, what) = match before {
                Some(before) => (Code::Doubled, format!("it is also operation {}", before.id)),
                None => (Code::RefusedApplied, "it was settled that it is not there".to_owned()),
            };
            violations.push(Violation::of_attempt(code, number, what).at(operation.id));
            continue;
        };
        let told = match operation.deposit {
            true => operation.to_balance,
            false => operation.from_balance,
        };
        if let Some((before, _)) = found.insert(number, (operation.id, told)) {
            let what = format!("it is also operation {before}");
            let violation = Violation::of_attempt(Code::Doubled, number, what);
            violations.push(violation.at(operation.id));
            continue;
        }
        check_attempt(attempt, operation, told, &mut violations);
    }
    for attempt in evidence.pending {
        if let Some(Answer::Ok { operation_id, .. }) = attempt.outcome().map(|it| it.answer)
            && !found.contains_key(&attempt.number)
            && !attempt.is_settled()
        {
            let what = format!("acknowledged, and not there: {:?}", attempt.order);
            let violation = Violation::of_attempt(Code::Lost, attempt.number, what);
            violations.push(violation.at(operation_id));
        }
    }
    violations.into_iter().for_each(|violation| verdict.add(violation));
    verdict.found = found;
}

/// An attempt against the operation that it became.
fn check_attempt(
    attempt: &Attempt,
    operation: &Operation,
    told: i64,
    violations: &mut Vec<Violation>,
) {
    let mut add = |code, what: String| {
        violations.push(Violation::of_attempt(code, attempt.number, what).at(operation.id));
    };
    let order = attempt.order;
    let sent = (order.deposit, order.from, order.to, order.amount);
    let there = (operation.deposit, operation.from, operation.to, operation.amount);
    if sent != there || attempt.names.external_id.as_deref() != operation.external_id.as_deref() {
        add(Code::Changed, format!("sent {order:?} {:?}, is {operation:?}", attempt.names));
    }
    if operation.id <= attempt.floor {
        let floor = attempt.floor;
        add(Code::OutOfOrder, format!("sent after operation {floor} was known"));
    }
    if let Must::Refuse(code) = order.must {
        add(Code::AgainstTheRules, format!("it had to be refused: {code}"));
    }
    match attempt.outcome().map(|outcome| outcome.answer) {
        Some(Answer::Fail(code)) => add(Code::RefusedApplied, format!("refused with {code}")),
        Some(Answer::Ok { operation_id, balance })
            if (operation_id, balance) != (operation.id, told) =>
        {
            let [balance, told] = [balance, told].map(Units);
            add(Code::Changed, format!("told {operation_id} and {balance}, is {told}"));
        }
        Some(Answer::Ok { .. }) | None => {}
    }
}

/// Who was refused for want of money must have had too little at some moment between the sending
/// and the answer: a service that refuses everything loses no money either.
fn check_refusals(evidence: &Evidence<'_>, all: &Extended<'_>, verdict: &mut Verdict) {
    let ids: HashMap<u64, u64> =
        verdict.found.iter().map(|(number, (id, _))| (*number, *id)).collect();
    // By the time of sending: the least id of all that were sent from then on.
    let mut ceilings: Vec<(u64, u64)> = evidence
        .pending
        .iter()
        .filter_map(|attempt| Some((attempt.sent_seq, *ids.get(&attempt.number)?)))
        .collect();
    ceilings.sort_unstable();
    let mut least = u64::MAX;
    for (_, id) in ceilings.iter_mut().rev() {
        least = least.min(*id);
        *id = least;
    }
    for attempt in evidence.pending {
        let Some(outcome) = attempt.outcome() else { continue };
        if outcome.answer != Answer::Fail("insufficient_funds".to_owned()) {
            continue;
        }
        let later = ceilings.partition_point(|(sent_seq, _)| *sent_seq < outcome.answered_seq);
        let end = ceilings.get(later).map_or(u64::MAX, |(_, id)| id.saturating_sub(1));
        let (wallet, amount) = (attempt.order.from, attempt.order.amount);
        let then = all.of_wallet(wallet, attempt.floor, end);
        let then = then.filter_map(|id| Some(all.operation(id)?.balance_of(wallet)));
        let least = then.fold(all.balance_at(wallet, attempt.floor), i64::min);
        if least >= amount {
            let [amount, least] = [amount, least].map(Units);
            let what = format!("{amount} was refused while there was at least {least}");
            let violation = Violation::of_attempt(Code::RefusedWithoutReason, attempt.number, what);
            verdict.add(violation.in_wallet(wallet));
        }
    }
}

/// A read shows a run of the wallet's history that ends no earlier than what was known before it.
fn check_read(all: &Extended<'_>, read: &Read, verdict: &mut Verdict) {
    let Read { must_show, page, .. } = read;
    let wallet = page.wallet_id;
    let mut add = |code, id: u64, what: String| {
        verdict.add(Violation::new(code, what).at(id).in_wallet(wallet));
    };
    let newest = page.entries.first().map_or(0, |entry| entry.operation_id);
    let oldest = page.entries.last().map_or(0, |entry| entry.operation_id);
    if newest < *must_show {
        add(Code::ReadStale, *must_show, format!("it was known; the newest shown is {newest}"));
    }
    if page.balance != page.entries.first().map_or(0, |entry| entry.balance) {
        add(Code::ReadDiffers, newest, format!("the balance read is {}", Units(page.balance)));
    }
    for entry in &page.entries {
        let id = entry.operation_id;
        match all.operation(id) {
            None => add(Code::ReadDirty, id, format!("it was read, and is not there: {entry:?}")),
            Some(operation) if operation.is_shown_as(wallet, entry) => {}
            Some(operation) => {
                add(Code::ReadDiffers, id, format!("read as {entry:?}, is {operation:?}"));
            }
        }
    }
    let Some(before) = oldest.checked_sub(1) else {
        // Nothing was shown.
        if page.has_more {
            add(Code::ReadDiffers, 0, "more is to come after nothing".to_owned());
        }
        return;
    };
    let mut there: Vec<u64> = all.of_wallet(wallet, before, newest).collect();
    there.reverse();
    if !page.entries.iter().map(|entry| entry.operation_id).eq(there.iter().copied()) {
        let what = format!("operations {newest} to {oldest} were read, there are {there:?}");
        add(Code::ReadDiffers, newest, what);
    }
    if page.has_more != all.newest(wallet, before).is_some() {
        add(Code::ReadDiffers, oldest, format!("has_more was {}", page.has_more));
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;

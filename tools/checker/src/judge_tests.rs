//! The judge against doctored histories: each mistake must be found, and by its name.

use super::*;
use crate::client::{Page, Reply};
use crate::history::{Names, Order};

/// The bank's wallet.
const BANK: u64 = 1;
const WALLETS: [u64; 4] = [1, 2, 3, 4];

/// What was sent, in this order, and what came of it. What is `there` happened; `unknown` did not.
/// An attempt is sent when all before it were answered.
const SENT: &str = "
    1  ok             1>2  100.00
    2  ok             1>3   50.00
    3  ok             2>3   10.00
    4  insufficient   4>2    0.01
    5  unknown there  3>4    5.00
    6  ok             2>4   90.00
    7  insufficient   2>3    0.01
    8  unknown        3>2    1.00
    9  sender         3>3    1.00
    10 ok             4>1   95.00
";

/// An operation as it really happened, before any wallet shows it.
#[derive(Debug, Clone)]
struct Happened {
    from: u64,
    to: u64,
    amount: i64,
    note: Option<String>,
    external_id: Option<String>,
}

/// What a wallet shows.
struct Shown {
    wallet: u64,
    balance: i64,
    entries: Vec<Entry>,
}

/// The case: what was sent, what happened, and how it is shown.
struct Case {
    history: History,
    attempts: Vec<Arc<Attempt>>,
    happened: Vec<Happened>,
    book: Book,
    /// Changes to what the wallets show, after all.
    shown: Vec<(String, Vec<String>)>,
    reads: Vec<Read>,
}

impl Case {
    fn new(settled: u64) -> Self {
        let history = History::new("t", None).unwrap();
        let mut case = Self {
            history,
            attempts: Vec::new(),
            happened: Vec::new(),
            book: Book::default(),
            shown: Vec::new(),
            reads: Vec::new(),
        };
        let mut balances: HashMap<u64, i64> = HashMap::new();
        for line in SENT.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<_> = line.split_whitespace().collect();
            let (from, to) = words[words.len() - 2].split_once('>').unwrap();
            let [from, to]: [u64; 2] = [from, to].map(|wallet| wallet.parse().unwrap());
            let amount = crate::book::minor_units(words[words.len() - 1]).unwrap();
            let must = if words[1] == "sender" {
                Must::Refuse("sender_is_receiver")
            } else {
                Must::Decide
            };
            let order = Order { deposit: from == BANK, from, to, amount, must };
            let attempt = case.history.invoke(order, |details| Names {
                key: Some(details.to_owned()),
                external_id: (from == BANK).then(|| format!("x-{details}")),
            });
            if words[1] == "ok" || words[2] == "there" {
                *balances.entry(from).or_default() -= amount;
                *balances.entry(to).or_default() += amount;
                case.happened.push(Happened {
                    from,
                    to,
                    amount,
                    note: Some(attempt.details.clone()),
                    external_id: attempt.names.external_id.clone(),
                });
            }
            let operation_id = case.happened.len() as u64;
            let told = if from == BANK { to } else { from };
            let fail = |code: &str| Reply::Fail { code: code.to_owned(), replayed: false };
            let reply = match words[1] {
                "ok" => Reply::Ok {
                    operation_id,
                    wallet_id: told,
                    balance: balances[&told],
                    replayed: false,
                },
                "insufficient" => fail("insufficient_funds"),
                "sender" => fail("sender_is_receiver"),
                _ => Reply::Unknown { why: String::new() },
            };
            case.history.answer(&attempt, &reply);
            case.attempts.push(attempt);
            if settled > case.book.len() && settled == operation_id {
                case.settle();
            }
        }
        case
    }

    /// An audit finds everything right that has happened so far.
    fn settle(&mut self) {
        let operations = self.operations();
        let found = operations.iter().map(|operation| {
            let number = self.history.number_of(&operation.details).unwrap();
            let told = if operation.deposit { operation.to } else { operation.from };
            (number, (operation.id, operation.balance_of(told)))
        });
        self.history.settle(&found.collect(), 0);
        self.book.append(operations);
    }

    fn operations(&self) -> Vec<Operation> {
        let mut balances: HashMap<u64, i64> = HashMap::new();
        let operations = self.happened.iter().zip(1..).map(|(it, id)| {
            *balances.entry(it.from).or_default() -= it.amount;
            *balances.entry(it.to).or_default() += it.amount;
            Operation {
                id,
                from: it.from,
                to: it.to,
                deposit: it.from == BANK,
                amount: it.amount,
                from_balance: balances[&it.from],
                to_balance: balances[&it.to],
                details: it.note.clone().unwrap_or_default().into(),
                external_id: it.external_id.as_deref().map(Into::into),
                timestamp: format!("2026-01-01T00:00:{id:02}.000000Z").into(),
            }
        });
        operations.collect()
    }

    fn views(&self, whole: bool) -> Vec<View> {
        let operations = self.operations();
        let shown = WALLETS.into_iter().map(|wallet| {
            let mine = |it: &&Operation| it.from == wallet || it.to == wallet;
            let entries: Vec<_> =
                operations.iter().rev().filter(mine).map(|it| entry(it, wallet)).collect();
            let balance = entries.first().map_or(0, |entry| entry.balance);
            Shown { wallet, balance, entries }
        });
        let mut shown: Vec<_> = shown.collect();
        for (what, numbers) in &self.shown {
            doctor_shown(&mut shown, what, numbers);
        }
        let views = shown.into_iter().map(|Shown { wallet, balance, entries }| {
            let anchor = self.book.of_wallet(wallet).last().copied();
            let mut view = View::new(&self.book, wallet, balance);
            let read = |entry: &Entry| whole || Some(entry.operation_id) >= anchor;
            for entry in entries.into_iter().filter(read) {
                view.take(&self.book, entry);
            }
            view.end(&self.book, whole);
            view
        });
        views.collect()
    }

    /// Wallet 2 as it is read from operation `newest` on, `limit` entries.
    fn read(&mut self, wallet: u64, must_show: u64, newest: u64, limit: usize) {
        let operations = self.operations();
        let mine = |it: &&Operation| (it.from == wallet || it.to == wallet) && it.id <= newest;
        let entries: Vec<_> =
            operations.iter().rev().filter(mine).map(|it| entry(it, wallet)).collect();
        let page = Page {
            wallet_id: wallet,
            balance: entries.first().map_or(0, |entry| entry.balance),
            has_more: entries.len() > limit,
            next_cursor: None,
            entries: entries.into_iter().take(limit).collect(),
        };
        self.reads.push(Read { must_show, sent_seq: 0, page });
    }

    /// Changes what happened, or what is shown of it, as told by a few words.
    fn doctor(&mut self, words: &str) {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let number = |at: usize| words[at].parse::<usize>().unwrap();
        match words[0].as_str() {
            "undo" => drop(self.happened.remove(number(1) - 1)),
            "cut" => self.happened.truncate(number(1) - 1),
            "repeat" => self.happened.push(self.happened[number(1) - 1].clone()),
            "swap" => self.happened.swap(number(1) - 1, number(2) - 1),
            "amount" => {
                self.happened[number(1) - 1].amount = crate::book::minor_units(&words[2]).unwrap();
            }
            "to" => self.happened[number(1) - 1].to = words[2].parse().unwrap(),
            "note" => self.happened[number(1) - 1].note = Some(words[2].clone()),
            "external" => self.happened[number(1) - 1].external_id = None,
            "apply" => {
                let attempt = &self.attempts[number(1) - 1];
                self.happened.push(Happened {
                    from: attempt.order.from,
                    to: attempt.order.to,
                    amount: attempt.order.amount,
                    note: Some(attempt.details.clone()),
                    external_id: None,
                });
            }
            "again" => {
                let attempt = Arc::clone(&self.attempts[number(1) - 1]);
                self.history.invoke_again(&attempt);
                let balance = crate::book::minor_units(&words[3]).unwrap();
                let (operation_id, wallet_id) = (words[2].parse().unwrap(), attempt.order.from);
                let reply = Reply::Ok { operation_id, wallet_id, balance, replayed: true };
                self.history.answer(&attempt, &reply);
            }
            "read" => self.read(number(1) as u64, number(2) as u64, number(3) as u64, number(4)),
            "unread" => self.reads[0].page.entries.remove(number(1)).amount = 0,
            "more" => self.reads[0].page.has_more ^= true,
            _ => self.shown.push((words[0].clone(), words[1..].to_vec())),
        }
    }

    fn codes(&self, whole: bool) -> Vec<String> {
        let views = self.views(whole);
        let (pending, _) = self.history.unsettled();
        let evidence = Evidence {
            book: &self.book,
            history: &self.history,
            bank: BANK,
            views: &views,
            pending: &pending,
            reads: &self.reads,
        };
        let verdict = judge(&evidence);
        let seen = self.history.violations();
        let all = seen.iter().chain(&verdict.violations);
        let mut codes: Vec<_> = all.map(|violation| violation.code.name()).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

fn entry(operation: &Operation, wallet: u64) -> Entry {
    let pays = operation.from == wallet;
    Entry {
        operation_id: operation.id,
        kind: match (operation.deposit, pays) {
            (true, _) => EntryKind::Deposit,
            (false, true) => EntryKind::TransferOut,
            (false, false) => EntryKind::TransferIn,
        },
        amount: operation.amount,
        balance: operation.balance_of(wallet),
        counterparty: if pays { operation.to } else { operation.from },
        details: Some(operation.details.to_string()).filter(|details| !details.is_empty()),
        external_id: operation.external_id.as_deref().map(str::to_owned),
        timestamp: operation.timestamp.to_string(),
    }
}

/// Changes what wallets show: `words` begin with the operation or the wallet.
fn doctor_shown(views: &mut [Shown], what: &str, words: &[String]) {
    let id: u64 = words[0].parse().unwrap();
    let money = |at: usize| crate::book::minor_units(&words[at]).unwrap();
    let wallet = |at: usize| words[at].parse::<usize>().unwrap() - 1;
    let entries = |views: &mut [Shown], at: usize, change: &dyn Fn(&mut Entry)| {
        let entries = &mut views[at].entries;
        entries.iter_mut().filter(|entry| entry.operation_id == id).for_each(change);
    };
    match what {
        "hide" => views[wallet(1)].entries.retain(|entry| entry.operation_id != id),
        "balance" => entries(views, wallet(1), &|entry| entry.balance = money(2)),
        "side-amount" => entries(views, wallet(1), &|entry| entry.amount = money(2)),
        "side-note" => entries(views, wallet(1), &|entry| entry.details = Some("else".to_owned())),
        "notes" => (0..4).for_each(|at| entries(views, at, &|entry| entry.details = None)),
        "time" => (0..4).for_each(|at| {
            entries(views, at, &|entry| {
                "2026-01-01T00:00:00.000000Z".clone_into(&mut entry.timestamp)
            });
        }),
        "renumber" => (0..4).for_each(|at| {
            entries(views, at, &|entry| entry.operation_id = words[1].parse().unwrap());
        }),
        "wallet" => views[wallet(0)].balance = money(1),
        "reverse" => views[wallet(0)].entries.reverse(),
        // The credit never came: neither now nor in the balances after it.
        "credit" => {
            let view = &mut views[wallet(1)];
            let lost = view.entries.iter().find(|entry| entry.operation_id == id).unwrap().amount;
            view.entries.retain(|entry| entry.operation_id != id);
            let later = view.entries.iter_mut().filter(|entry| entry.operation_id > id);
            later.for_each(|entry| entry.balance -= lost);
            view.balance -= lost;
        }
        other => panic!("{other}"),
    }
}

/// `doctoring; doctoring => codes`, for operations none of which was settled before.
fn check(cases: &str) {
    check_after(0, false, cases);
}

/// The same after an audit that settled the first operations; `whole`: everything is read again.
fn check_after(settled: u64, whole: bool, cases: &str) {
    let mut wrong = String::new();
    for line in cases.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (doctorings, expected) = line.split_once("=>").unwrap();
        let mut case = Case::new(settled);
        let doctorings = doctorings.split(';').map(str::trim).filter(|it| !it.is_empty());
        doctorings.for_each(|words| case.doctor(words));
        let codes = case.codes(whole || settled == 0).join(" ");
        if codes != expected.trim() {
            wrong.push_str(&format!("{line}\n  but: {codes}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_right_is_found_right() {
    check("=>");
    for settled in 0..=6 {
        check_after(settled, false, "=>");
        check_after(settled, true, "=>");
    }
    // What is unknown may come later.
    check("apply 8 =>");
    check_after(6, false, "apply 8 =>");
    // What was unknown and is there may be told of when it is sent again.
    check("again 5 4 55.00 =>");
    check_after(6, false, "again 5 4 55.00 =>");
}

#[test]
fn what_was_acknowledged_is_there_once_as_it_was_sent() {
    check(
        "
        undo 6           => lost
        cut 6            => lost
        cut 2            => lost refused_without_reason
        undo 2           => changed lost out_of_order refused_without_reason
        repeat 3         => below_zero doubled
        note 3 t/1       => doubled lost
        amount 3 9.00    => changed refused_without_reason
        to 3 4           => changed refused_without_reason
        external 1       => changed
        again 5 9 55.00  => changed
        again 5 4 54.00  => changed
        again 8 6 1.00   => lost
        ",
    );
}

#[test]
fn what_is_there_was_sent_and_not_refused() {
    check(
        "
        note 3 nobody  => lost unsent
        note 3 t/99    => lost unsent
        notes 3        => lost unsent
        apply 4        => below_zero refused_applied
        apply 7        => below_zero refused_applied
        apply 9        => one_sided
        ",
    );
}

#[test]
fn what_was_answered_before_comes_before() {
    check(
        "
        swap 1 2     => changed out_of_order
        swap 5 6     => below_zero changed out_of_order refused_without_reason
        renumber 6 7 => changed gap
        time 3       => time_went_back
        reverse 2    => page_malformed wallet_balance_wrong
        ",
    );
}

#[test]
fn both_wallets_agree_and_the_sums_are_right() {
    check(
        "
        hide 3 2             => balance_wrong lost one_sided
        hide 6 4             => lost one_sided wallet_balance_wrong
        credit 3 3           => balance_wrong lost one_sided sum_not_zero
        credit 4 4           => below_zero changed one_sided sum_not_zero
        balance 3 2 1.00     => balance_wrong changed
        side-amount 3 2 1.00 => balance_wrong lost sides_disagree
        side-note 3 2        => balance_wrong lost sides_disagree
        wallet 2 1.00        => sum_not_zero wallet_balance_wrong
        amount 5 10.00       => below_zero changed refused_without_reason
        ",
    );
}

#[test]
fn a_read_shows_what_was_known_and_nothing_else() {
    check(
        "
        read 2 0 0 5                  =>
        read 2 3 3 1                  =>
        read 2 3 3 2                  =>
        read 2 3 5 20                 =>
        apply 8; read 2 0 7 20        =>
        read 2 5 3 1                  => read_stale
        read 2 1 0 5                  => read_stale
        read 2 3 5 20; unread 1       => read_differs
        read 2 3 5 2; more            => read_differs
        read 2 0 0 5; more            => read_differs
        read 2 3 5 20; amount 3 9.00  => changed read_differs refused_without_reason
        read 2 3 6 2; cut 5           => lost read_differs read_dirty refused_without_reason
        apply 8; read 2 0 7 9; undo 7 => read_differs read_dirty
        ",
    );
}

#[test]
fn what_was_settled_stays() {
    let cases = "
        undo 2           => balance_wrong changed history_changed lost out_of_order refused_without_reason
        cut 4            => lost refused_without_reason
        cut 5            => lost refused_without_reason
        repeat 3         => below_zero doubled
        apply 4          => below_zero refused_applied
        amount 3 9.00    => balance_wrong changed history_changed refused_without_reason
        swap 4 5         => balance_wrong doubled history_changed lost refused_without_reason
        hide 3 2         => lost
        hide 4 4         => lost
        balance 3 2 1.00 => history_changed
        wallet 2 1.00    => sum_not_zero wallet_balance_wrong
        credit 5 4       => below_zero changed lost one_sided refused_without_reason sum_not_zero
        time 5           => time_went_back
        again 5 4 54.00  => replay_differs
        ";
    check_after(4, true, cases);
    // Only the newest that is known of each wallet is read again: what is older shows in the end.
    check_after(4, false, "amount 2 51.00 => balance_wrong history_changed");
    check_after(4, false, "hide 1 2 =>");
    check_after(4, true, "hide 1 2 => lost");
}

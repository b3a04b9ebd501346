//! A book rebuilt from what was recorded: wallet states of different ages, and transfers.
//!
//! Whatever mix of older and newer states a sweep left behind, the same book comes back. Whatever
//! was done to a transfer that is replayed, it is noticed.

use ledger::{
    Amount, Balance, Book, Damage, Operation, OperationId, OperationKind, Side, Timestamp,
    Transfer, WalletId, WalletKind, WalletState,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::model::{config, operations};

const WALLETS: usize = 7;

/// A life that was recorded in full: every transfer, and every wallet's state after each.
#[derive(Debug)]
struct Record {
    /// `states[n]` are the wallets after `n` operations.
    states: Vec<Vec<WalletState>>,
    transfers: Vec<Transfer>,
}

impl Record {
    /// Runs the operations, refused ones included, over a bank and people.
    fn of(operations: &[Operation]) -> Self {
        let mut book = Book::new();
        for number in 1..=WALLETS {
            let kind = if number == 1 { WalletKind::System } else { WalletKind::Person };
            book.open_wallet(kind).unwrap();
        }
        let mut record = Self { states: vec![states(&book)], transfers: Vec::new() };
        for (operation, now) in operations.iter().zip(0..) {
            if let Ok(transfer) = book.decide(operation, Timestamp::from_micros(now)) {
                record.transfers.push(transfer);
                record.states.push(states(&book));
            }
        }
        record
    }

    /// A book restored from the given wallets, whose oldest is as of operation `mark`.
    fn restore(&self, wallets: &[WalletState], mark: usize) -> Book {
        let mut book = Book::new();
        for state in wallets {
            book.restore_wallet(*state).unwrap();
        }
        let last = mark.checked_sub(1).map(|index| &self.transfers[index]);
        let time = last.map_or_else(Timestamp::default, |transfer| transfer.time);
        book.restore_mark(last.map(|transfer| transfer.id), time);
        book
    }

    /// Wallets as a sweep leaves them: each as of some moment at or after the mark.
    fn swept(&self, mark: usize, ages: &[Index]) -> Vec<WalletState> {
        let moments = self.states.len() - mark;
        let wallets = 0..WALLETS;
        wallets.map(|wallet| self.states[mark + ages[wallet].index(moments)][wallet]).collect()
    }
}

fn states(book: &Book) -> Vec<WalletState> {
    (1..=book.wallets())
        .map(|number| book.wallet(WalletId::new(number).unwrap()).unwrap())
        .collect()
}

/// Replays the transfers and checks the whole, as a start does.
fn recover(book: &mut Book, transfers: &[Transfer]) -> Result<(), Damage> {
    transfers.iter().try_for_each(|transfer| book.replay(transfer))?;
    book.check()
}

/// What somebody, or a bad disk, may do to a record.
#[derive(Debug, Clone)]
enum Tampering {
    Amount(i64),
    DebitBalance(i64),
    CreditBalance(i64),
    DebitPrevious(i64),
    CreditPrevious(i64),
    DebitWallet(u64),
    CreditWallet(u64),
    Kind,
    SidesSwapped,
    Missing,
    Doubled,
    OutOfOrder,
}

fn tamperings() -> impl Strategy<Value = Tampering> {
    let change = || prop_oneof![-3_i64..=-1, 1_i64..=3, Just(1_000_000), Just(-1_000_000)];
    let wallet = || 1..=WALLETS as u64 + 1;
    prop_oneof![
        change().prop_map(Tampering::Amount),
        change().prop_map(Tampering::DebitBalance),
        change().prop_map(Tampering::CreditBalance),
        change().prop_map(Tampering::DebitPrevious),
        change().prop_map(Tampering::CreditPrevious),
        wallet().prop_map(Tampering::DebitWallet),
        wallet().prop_map(Tampering::CreditWallet),
        Just(Tampering::Kind),
        Just(Tampering::SidesSwapped),
        Just(Tampering::Missing),
        Just(Tampering::Doubled),
        Just(Tampering::OutOfOrder),
    ]
}

impl Tampering {
    /// Does it to the transfer at `at`; `false` when it can't be done there or changes nothing.
    fn apply(&self, transfers: &mut Vec<Transfer>, at: usize) -> bool {
        let before = transfers.clone();
        let Transfer { kind, debit, credit, amount, .. } = &mut transfers[at];
        match *self {
            Self::Amount(by) => change_amount(amount, by),
            Self::DebitBalance(by) => change_balance(debit, by),
            Self::CreditBalance(by) => change_balance(credit, by),
            Self::DebitPrevious(by) => change_previous(debit, by),
            Self::CreditPrevious(by) => change_previous(credit, by),
            Self::DebitWallet(number) => change_wallet(debit, number),
            Self::CreditWallet(number) => change_wallet(credit, number),
            Self::Kind => {
                *kind = match kind {
                    OperationKind::Deposit => OperationKind::Transfer,
                    OperationKind::Transfer => OperationKind::Deposit,
                }
            }
            Self::SidesSwapped => std::mem::swap(debit, credit),
            Self::Missing => {
                // A record that only ends early is a whole record of an earlier moment.
                if at + 1 < transfers.len() {
                    transfers.remove(at);
                }
            }
            Self::Doubled => transfers.insert(at, transfers[at].clone()),
            Self::OutOfOrder => {
                if at + 1 < transfers.len() {
                    transfers.swap(at, at + 1);
                }
            }
        }
        *transfers != before
    }
}

fn change_amount(amount: &mut Amount, by: i64) {
    *amount = Amount::from_minor(amount.minor() + by).unwrap_or(*amount);
}

fn change_balance(side: &mut Side, by: i64) {
    side.balance = Balance::from_minor(side.balance.minor() + by).unwrap_or(side.balance);
}

/// Two wallets without a history can't be told apart: only a checksum in the store can.
fn change_wallet(side: &mut Side, number: u64) {
    if side.previous.is_some() {
        side.wallet = WalletId::new(number).unwrap();
    }
}

fn change_previous(side: &mut Side, by: i64) {
    let number = side.previous.map_or(0, OperationId::get).checked_add_signed(by);
    side.previous = number.map_or(side.previous, OperationId::new);
}

/// Whether the transfer is replayed onto both of its wallets; else one of them holds it already.
fn is_replayed(transfer: &Transfer, wallets: &[WalletState]) -> bool {
    [transfer.debit.wallet, transfer.credit.wallet].iter().all(|wallet| {
        let state = wallets[usize::try_from(wallet.get()).unwrap() - 1];
        state.last < Some(transfer.id)
    })
}

fn lives() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operations(), 4..80)
}

fn ages() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), WALLETS)
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn the_same_book_comes_back(
        life in lives(),
        next in lives(),
        mark in any::<Index>(),
        ages in ages(),
    ) {
        let record = Record::of(&life);
        let mark = mark.index(record.states.len());
        let mut recovered = record.restore(&record.swept(mark, &ages), mark);
        prop_assert_eq!(recover(&mut recovered, &record.transfers[mark..]), Ok(()));
        prop_assert_eq!(&states(&recovered), record.states.last().unwrap());
        prop_assert_eq!(
            recovered.last_operation(),
            record.transfers.last().map(|transfer| transfer.id)
        );
        // It goes on as if nothing had happened, and what was recovered is final.
        let mut all = life.clone();
        all.extend(next.iter().cloned());
        let expected = Record::of(&all);
        let decided: Vec<_> = all.iter().zip(0..).skip(life.len()).filter_map(|(operation, now)| {
            recovered.decide(operation, Timestamp::from_micros(now)).ok()
        }).collect();
        prop_assert_eq!(&decided[..], &expected.transfers[record.transfers.len()..]);
        recovered.roll_back();
        prop_assert_eq!(&states(&recovered), record.states.last().unwrap());
    }

    #[test]
    fn tampering_with_a_replayed_transfer_is_noticed(
        life in lives(),
        mark in any::<Index>(),
        ages in prop::option::of(ages()),
        at in any::<Index>(),
        tampering in tamperings(),
    ) {
        let record = Record::of(&life);
        let mark = mark.index(record.states.len());
        let wallets = match ages {
            Some(ages) => record.swept(mark, &ages),
            None => record.states[mark].clone(),
        };
        let mut transfers = record.transfers[mark..].to_vec();
        // What every wallet held already when it was recorded is not read again.
        let replayed: Vec<usize> =
            (0..transfers.len()).filter(|at| is_replayed(&transfers[*at], &wallets)).collect();
        prop_assume!(!replayed.is_empty());
        let at = replayed[at.index(replayed.len())];
        prop_assume!(tampering.apply(&mut transfers, at));
        let mut book = record.restore(&wallets, mark);
        let found = recover(&mut book, &transfers);
        prop_assert!(found.is_err(), "{:?} at {} went unnoticed", tampering, at);
    }

    /// A wallet's own recorded state is held against the transfer it points to, and against the
    /// sum.
    #[test]
    fn tampering_with_a_wallet_is_noticed(
        life in lives(),
        mark in any::<Index>(),
        ages in ages(),
        wallet in 0..WALLETS,
        by in prop_oneof![-3_i64..=-1, 1_i64..=3],
    ) {
        let record = Record::of(&life);
        let mark = mark.index(record.states.len());
        let mut wallets = record.swept(mark, &ages);
        let balance = Balance::from_minor(wallets[wallet].balance.minor() + by);
        prop_assume!(balance.is_some());
        wallets[wallet].balance = balance.unwrap();
        let mut book = record.restore(&wallets, mark);
        prop_assert!(recover(&mut book, &record.transfers[mark..]).is_err());
    }

    /// A wallet that was recorded right after a transfer is held against that transfer's side.
    #[test]
    fn tampering_with_the_side_of_a_newer_wallet_is_noticed(
        life in lives(),
        mark in any::<Index>(),
        at in any::<Index>(),
        credit in any::<bool>(),
        by in prop_oneof![-3_i64..=-1, 1_i64..=3],
    ) {
        let record = Record::of(&life);
        prop_assume!(!record.transfers.is_empty());
        let mark = mark.index(record.transfers.len());
        let at = mark + at.index(record.transfers.len() - mark);
        let mut transfers = record.transfers[mark..].to_vec();
        let tampered = &mut transfers[at - mark];
        let side = if credit { &mut tampered.credit } else { &mut tampered.debit };
        let before = side.balance;
        change_balance(side, by);
        prop_assume!(side.balance != before);
        let newer = usize::try_from(side.wallet.get()).unwrap() - 1;
        let mut wallets = record.states[mark].clone();
        wallets[newer] = record.states[at + 1][newer];
        let mut book = record.restore(&wallets, mark);
        prop_assert!(recover(&mut book, &transfers).is_err());
    }

    /// A record that ends early is noticed when a wallet was recorded later than that.
    #[test]
    fn a_lost_end_is_noticed_by_a_newer_wallet(life in lives(), mark in any::<Index>()) {
        let record = Record::of(&life);
        prop_assume!(!record.transfers.is_empty());
        let mark = mark.index(record.transfers.len());
        let mut wallets = record.states[mark].clone();
        let lost = record.transfers.last().unwrap();
        let newer = usize::try_from(lost.credit.wallet.get()).unwrap() - 1;
        wallets[newer] = record.states.last().unwrap()[newer];
        let mut book = record.restore(&wallets, mark);
        let rest = &record.transfers[mark..record.transfers.len() - 1];
        prop_assert_eq!(
            recover(&mut book, rest),
            Err(Damage::OperationMissing(lost.credit.wallet, lost.id))
        );
    }
}

/// One recorded deposit and one transfer, after which wallet 2 holds 6 and wallet 3 holds 4.
fn short_record() -> Record {
    let operation = |kind, debit, credit, minor| Operation {
        kind,
        debit: WalletId::new(debit).unwrap(),
        credit: WalletId::new(credit).unwrap(),
        amount: Amount::from_minor(minor).unwrap(),
        details: None,
        external_id: None,
    };
    Record::of(&[
        operation(OperationKind::Deposit, 1, 2, 10),
        operation(OperationKind::Transfer, 2, 3, 4),
    ])
}

#[test]
fn damage_is_named() {
    let record = short_record();
    let [first, second] = &record.transfers[..] else { panic!("both are accepted") };
    let recovered = |mark: usize, tamper: &dyn Fn(&mut Vec<WalletState>, &mut Vec<Transfer>)| {
        let (mut wallets, mut transfers) =
            (record.states[mark].clone(), record.transfers[mark..].to_vec());
        tamper(&mut wallets, &mut transfers);
        let mut book = record.restore(&wallets, mark);
        recover(&mut book, &transfers).map_err(|damage| damage.to_string())
    };
    let says = |text: &str| Err(text.to_owned());
    assert_eq!(recovered(0, &|_, _| {}), Ok(()));
    assert_eq!(
        recovered(0, &|_, transfers| drop(transfers.remove(0))),
        says("operation 2 stands where operation 1 should")
    );
    assert_eq!(
        recovered(0, &|_, transfers| transfers.insert(0, first.clone())),
        says("operation 1 stands where operation 2 should")
    );
    assert_eq!(
        recovered(1, &|wallets, _| wallets.truncate(2)),
        says("operation 2 names wallet 3, which does not exist")
    );
    assert_eq!(
        recovered(1, &|_, transfers| transfers[0].debit.previous = None),
        says("operation 2 does not follow from the state of wallet 2 before it")
    );
    assert_eq!(
        recovered(2, &|wallets, _| {
            wallets[2].balance = Balance::from_minor(-4).unwrap();
        }),
        says("wallet 3 is below zero")
    );
    assert_eq!(
        recovered(2, &|wallets, _| wallets[2].balance = Balance::ZERO),
        says("the balances of all wallets sum to -4 minor units instead of zero")
    );
    assert_eq!(
        recovered(1, &|wallets, transfers| {
            wallets[2] = record.states[2][2];
            transfers.clear();
        }),
        says(&format!("wallet 3 points to operation {}, which does not exist", second.id))
    );
}

/// Although each follows from the state before it, and nobody is below zero in the end.
#[test]
fn a_record_of_what_the_rules_never_accept_is_damage() {
    let transfer = |id, kind, sides: [(u64, i64, u64); 2], minor| {
        let [debit, credit] = sides.map(|(wallet, balance, previous)| Side {
            wallet: WalletId::new(wallet).unwrap(),
            balance: Balance::from_minor(balance).unwrap(),
            previous: OperationId::new(previous),
        });
        let (id, amount) = (OperationId::new(id).unwrap(), Amount::from_minor(minor).unwrap());
        let time = Timestamp::default();
        Transfer { id, kind, debit, credit, amount, details: None, external_id: None, time }
    };
    let paid_in = |id, bank, (balance, previous)| {
        let sides = [(1, bank, id - 1), (2, balance, previous)];
        transfer(id, OperationKind::Deposit, sides, 10)
    };
    let pay = |minor, sides| transfer(2, OperationKind::Transfer, sides, minor);
    let mut after = paid_in(3, -20, (6, 2));
    after.debit.previous = OperationId::new(1);
    let says = |transfers: &[Transfer]| {
        let none = Record::of(&[]);
        recover(&mut none.restore(&none.states[0], 0), transfers)
    };
    let first = paid_in(1, -10, (10, 0));
    assert_eq!(says(std::slice::from_ref(&first)), Ok(()));
    let payer = WalletId::new(2).unwrap();
    for broken in [pay(14, [(2, -4, 1), (3, 14, 0)]), pay(4, [(2, 6, 1), (2, 6, 1)])] {
        let found = says(&[first.clone(), broken.clone(), after.clone()]);
        assert_eq!(found, Err(Damage::DoesNotFollow(broken.id, payer)));
    }
}

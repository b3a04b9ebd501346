//! What the book accepts and refuses, as text tables.
//!
//! A line opens a wallet (`bank -5.00`, `person 5.00`, numbered from 1 in order) or asks for an
//! operation and says what must come of it, with the balances of payer and payee after it:
//!
//! ```text
//! transfer 2 -> 3 1.20 : ok 3.80 1.20
//! transfer 2 -> 3 9.99 : insufficient_funds
//! ```
//!
//! Amounts are in RUB. `commit` and `roll_back` are lines of their own.

use ledger::{
    Amount, Balance, Book, Currency, Operation, OperationId, OperationKind, Rejection, Timestamp,
    WalletId, WalletKind, WalletState,
};

/// Runs a table line by line against a book.
fn check(table: &str) {
    let mut book = Book::new();
    let mut setting_up = true;
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["bank", balance] => restore(&mut book, WalletKind::System, balance),
            ["person", balance] => restore(&mut book, WalletKind::Person, balance),
            ["commit"] => book.commit(),
            ["roll_back"] => book.roll_back(),
            [kind, debit, "->", credit, amount, ":", ref expected @ ..] => {
                if setting_up {
                    book.check().unwrap();
                    setting_up = false;
                }
                let found = run(&mut book, kind, [debit, credit], amount);
                assert_eq!(found, expected.join(" "), "at `{line}`");
            }
            _ => panic!("not a line of the format: `{line}`"),
        }
    }
    let sum: i128 = (1..=book.wallets())
        .map(|number| i128::from(book.wallet(wallet(number)).unwrap().balance.minor()))
        .sum();
    assert_eq!(sum, 0);
}

fn restore(book: &mut Book, kind: WalletKind, balance: &str) {
    let balance = Balance::from_minor(minor(balance)).unwrap();
    book.restore_wallet(WalletState { kind, balance, last: None }).unwrap();
}

/// Asks for one operation; says `ok` with both balances, or the refusal's code. A refusal must
/// leave everything as it was.
fn run(book: &mut Book, kind: &str, sides: [&str; 2], amount: &str) -> String {
    let [debit, credit] = sides.map(|number| wallet(number.parse().unwrap()));
    let kind = match kind {
        "deposit" => OperationKind::Deposit,
        "transfer" => OperationKind::Transfer,
        _ => panic!("not an operation: {kind}"),
    };
    let amount = Amount::parse(amount, rub()).unwrap();
    let before = photograph(book);
    let operation = Operation { kind, debit, credit, amount, details: None, external_id: None };
    match book.decide(&operation, Timestamp::default()) {
        Ok(transfer) => {
            assert!(transfer.fulfils(&operation));
            assert_eq!(book.wallet(debit).unwrap().balance, transfer.debit.balance);
            assert_eq!(book.wallet(credit).unwrap().balance, transfer.credit.balance);
            let [debit, credit] =
                [transfer.debit, transfer.credit].map(|side| side.balance.in_units(rub()));
            format!("ok {debit} {credit}")
        }
        Err(rejection) => {
            assert_eq!(photograph(book), before, "a refusal changed something");
            rejection.code().to_owned()
        }
    }
}

fn photograph(book: &Book) -> (Option<OperationId>, Vec<Option<WalletState>>) {
    let wallets = (1..=book.wallets()).map(|number| book.wallet(wallet(number))).collect();
    (book.last_operation(), wallets)
}

fn wallet(number: u64) -> WalletId {
    WalletId::new(number).unwrap()
}

fn rub() -> Currency {
    Currency::parse("RUB").unwrap()
}

/// Reads `-1.20` as -120.
fn minor(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap();
    assert_eq!(fraction.len(), 2, "kopecks are written out: {text}");
    format!("{whole}{fraction}").parse().unwrap()
}

#[test]
fn the_bank_brings_money_in_and_people_pass_it_on() {
    check(
        "bank      0.00
         person    0.00
         person    0.00
         deposit   1 -> 2 115.6  : ok -115.60 115.60
         transfer  2 -> 3 11.1   : ok 104.50 11.10
         transfer  3 -> 2 11.10  : ok 0.00 115.60
         transfer  2 -> 3 115.61 : insufficient_funds
         transfer  2 -> 3 115.60 : ok 0.00 115.60
         transfer  2 -> 3 0.01   : insufficient_funds",
    );
}

#[test]
fn a_person_may_give_money_back_to_the_bank() {
    check(
        "bank      -5.00
         person     5.00
         transfer  2 -> 1 5 : ok 0.00 0.00",
    );
}

#[test]
fn a_deposit_comes_from_the_bank_alone() {
    check(
        "bank      -5.00
         person     5.00
         person     0.00
         deposit   2 -> 3 1 : not_the_bank
         deposit   2 -> 1 1 : not_the_bank
         transfer  1 -> 2 1 : bank_must_deposit",
    );
}

#[test]
fn a_wallet_that_is_not_there_neither_pays_nor_is_paid() {
    check(
        "bank      -5.00
         person     5.00
         transfer  2 -> 3 1 : wallet_not_found
         transfer  3 -> 2 1 : wallet_not_found
         deposit   1 -> 3 1 : wallet_not_found
         deposit   3 -> 2 1 : wallet_not_found
         deposit   9007199254740991 -> 2 1 : wallet_not_found",
    );
}

#[test]
fn balances_stop_at_fifteen_digits_on_both_sides() {
    check(
        "bank     -9999999999999.98
         person    9999999999999.97
         person    0.01
         deposit   1 -> 2 0.02 : balance_limit
         deposit   1 -> 2 0.01 : ok -9999999999999.99 9999999999999.98
         deposit   1 -> 2 0.01 : balance_limit
         transfer  3 -> 2 0.01 : ok 0.00 9999999999999.99
         transfer  2 -> 3 9999999999999.99 : ok 0.00 9999999999999.99",
    );
    check(
        "bank     -9999999999999.99
         bank     -0.01
         person    9999999999999.99
         person    0.01
         transfer  4 -> 3 0.01 : balance_limit
         deposit   2 -> 3 0.01 : balance_limit
         deposit   1 -> 4 0.01 : balance_limit
         deposit   2 -> 4 0.01 : ok -0.02 0.02",
    );
}

#[test]
fn a_roll_back_goes_to_the_last_commit_and_no_further() {
    check(
        "bank      0.00
         person    0.00
         person    0.00
         deposit   1 -> 2 10 : ok -10.00 10.00
         commit
         transfer  2 -> 3 4  : ok 6.00 4.00
         transfer  3 -> 2 1  : ok 3.00 7.00
         transfer  2 -> 3 8  : insufficient_funds
         roll_back
         transfer  2 -> 3 4  : ok 6.00 4.00
         roll_back
         roll_back
         transfer  2 -> 3 10 : ok 0.00 10.00",
    );
}

/// Every pair of the book's refusals that can hold at once, the winner on the right. The pairs that
/// are missing exclude each other: a deposit is not a transfer, and the bank is never short of
/// funds.
#[test]
fn of_two_refusals_the_earlier_is_given() {
    let pairs = [
        ("deposit  3 -> 3 1", "not_the_bank", "sender_is_receiver"),
        ("deposit  3 -> 9 1", "not_the_bank", "wallet_not_found"),
        ("deposit  3 -> 4 2", "not_the_bank", "insufficient_funds"),
        ("deposit  3 -> 5 1", "not_the_bank", "balance_limit"),
        ("transfer 9 -> 9 1", "sender_is_receiver", "wallet_not_found"),
        ("deposit  9 -> 9 1", "sender_is_receiver", "wallet_not_found"),
        ("transfer 1 -> 1 1", "sender_is_receiver", "bank_must_deposit"),
        ("transfer 4 -> 4 1", "sender_is_receiver", "insufficient_funds"),
        ("deposit  1 -> 1 1", "sender_is_receiver", "balance_limit"),
        ("transfer 5 -> 5 1", "sender_is_receiver", "balance_limit"),
        ("transfer 1 -> 9 1", "wallet_not_found", "bank_must_deposit"),
        ("transfer 9 -> 1 1", "wallet_not_found", "bank_must_deposit"),
        ("transfer 4 -> 9 1", "wallet_not_found", "insufficient_funds"),
        ("deposit  1 -> 9 1", "wallet_not_found", "balance_limit"),
        ("transfer 2 -> 5 1", "bank_must_deposit", "balance_limit"),
        ("transfer 1 -> 3 1", "bank_must_deposit", "balance_limit"),
        ("transfer 4 -> 5 1", "insufficient_funds", "balance_limit"),
    ];
    for (operation, winner, loser) in pairs {
        let position =
            |code| Rejection::ALL.iter().position(|rejection| rejection.code() == code).unwrap();
        assert!(position(winner) < position(loser), "{winner} is not listed before {loser}");
        check(&format!(
            "bank   -9999999999999.99
             bank   -1.00
             person  1.00
             person  0.00
             person  9999999999999.99
             {operation} : {winner}"
        ));
    }
}

#[test]
fn all_refusals_are_listed_in_the_order_of_their_variants() {
    assert!(Rejection::ALL.is_sorted());
    let mut codes: Vec<_> = Rejection::ALL.iter().map(|rejection| rejection.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Rejection::ALL.len(), "a code is given to two refusals");
    for rejection in Rejection::ALL {
        // `code` must follow from the name of the variant, so that neither is renamed alone.
        let name = format!("{rejection:?}");
        assert_eq!(rejection.code().replace('_', ""), name.to_lowercase());
    }
}

#[test]
fn time_never_goes_back() {
    let mut book = Book::new();
    let bank = book.open_wallet(WalletKind::System).unwrap();
    let person = book.open_wallet(WalletKind::Person).unwrap();
    let operation = Operation {
        kind: OperationKind::Deposit,
        debit: bank,
        credit: person,
        amount: Amount::from_minor(1).unwrap(),
        details: None,
        external_id: None,
    };
    let times = [5, 3, -7, 6, 6].map(|micros| {
        book.decide(&operation, Timestamp::from_micros(micros)).unwrap().time.micros()
    });
    assert_eq!(times, [5, 5, 5, 6, 6]);
    book.roll_back();
    assert_eq!(book.wallets(), 0, "nothing was committed, so nothing stays");
}

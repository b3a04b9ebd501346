//! Owns the check of the wallet table, of users, of sign-ups under a key, and of refusals.
//!
//! Never: a word on passwords or sessions. Bounds: 16 bytes a wallet; users are read in chunks.

use ledger::{Balance, IdempotencyKey, OperationId, WalletId};
use rusqlite::Connection;

use super::CheckError;
use super::chunks::is_damage;
use super::findings::{Findings, Place};
use crate::file::open_error::told;
use crate::file::rows;
use crate::file::swept::{self, Kept};

/// Rows of users and refusals that are read at once.
const ROWS_MAX: u64 = 8_192;

/// Of an id: its wallet is settled, all is as it should be or was named.
const SETTLED: u64 = 1 << 63;

/// In place of an id: something is wrong with the wallet, and was named. Ahead of every operation.
const NAMED: u64 = u64::MAX;

/// What the wallet table said when the check began. It lags behind, so each wallet is compared when
/// the replay comes to the operation that the table knows as its newest.
#[derive(Default)]
pub(super) struct Wallets(Vec<Swept>);

struct Swept {
    balance: Balance,
    /// Its newest operation, 0 for none; with [`SETTLED`] when that was met.
    last: u64,
}

impl Wallets {
    /// Reads the table, in the open transaction.
    pub(super) fn read(
        connection: &Connection,
        findings: &mut Findings,
    ) -> Result<Self, CheckError> {
        let mut wallets = Self::default();
        let mut select = connection
            .prepare("SELECT wallet_id, user_id, system FROM wallet ORDER BY wallet_id")?;
        let mut found = select.query(())?;
        let mut kept = swept::Reader::new(connection)?;
        while let Some(row) = or_damage(found.next(), "wallet", findings)?.flatten() {
            let number: i64 = row.get(0)?;
            let number = number.cast_unsigned();
            let expected = wallets.count() + 1;
            if number != expected {
                let detail = format!("wallet {number} stands where wallet {expected} should");
                findings.add("wallet_missing", Place::Wallet(expected), detail);
                if number < expected || number - expected > ROWS_MAX {
                    // Far off: going on would only repeat it.
                    break;
                }
                let none = || Swept { balance: Balance::ZERO, last: NAMED };
                wallets.0.extend((expected..number).map(|_| none()));
            }
            let place = Place::Wallet(number);
            let (user, system): (i64, i64) = (row.get(1)?, row.get(2)?);
            if user.cast_unsigned() != number {
                let detail = format!("wallet {number} is said to be user {user}'s");
                findings.add("wallet_owner", place, detail);
            }
            if (system == 1) != (number == 1) {
                let detail = match number {
                    1 => "the bank's wallet is not marked as one that may go below zero",
                    _ => "a person's wallet is marked as one that may go below zero",
                };
                findings.add("wallet_kind", place, format!("wallet {number}: {detail}"));
            }
            let state = or_damage(kept.kept(number), "swept_block", findings)?;
            let state = state.and_then(Kept::state);
            let fits = state.filter(|(balance, last)| last.is_some() || *balance == Balance::ZERO);
            wallets.0.push(match fits {
                Some((balance, last)) => Swept { balance, last: last.map_or(0, OperationId::get) },
                None => {
                    let detail = format!(
                        "wallet {number} has a balance or an operation that no book would write"
                    );
                    findings.add("wallet_differs", place, detail);
                    Swept { balance: Balance::ZERO, last: NAMED }
                }
            });
        }
        let of = or_damage(swept::wallets_kept(connection), "swept_block", findings)?.unwrap_or(0);
        if of > wallets.count() {
            let detail = format!("balances are kept of {of} wallets");
            findings.add("swept_stray", Place::Wallet(wallets.count() + 1), detail);
        }
        Ok(wallets)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The replay has come to an operation of a wallet, which has this balance now. What is wrong
    /// with the table, if it is.
    pub(super) fn swept(
        &mut self,
        wallet: WalletId,
        operation: OperationId,
        balance: Balance,
        mark: u64,
    ) -> Option<String> {
        let index = usize::try_from(wallet.get() - 1).ok()?;
        let swept = self.0.get_mut(index)?;
        let id = operation.get();
        let last = swept.last & !SETTLED;
        if id == last {
            swept.last |= SETTLED;
            return (balance != swept.balance).then(|| {
                let kept = swept.balance.minor();
                let minor = balance.minor();
                format!(
                    "wallet {wallet} is kept with {kept} minor units after operation {id}, and had \
                     {minor}"
                )
            });
        }
        if id > last && id <= mark {
            swept.last = NAMED;
            return Some(format!(
                "wallet {wallet} is kept without operation {id}, although the table is said to hold \
                 all up to {mark}"
            ));
        }
        None
    }

    /// The wallets whose newest operation was never met.
    pub(super) fn unmet(&self) -> impl Iterator<Item = (u64, String)> + use<> {
        let unmet = |(number, swept): (u64, &Swept)| {
            let last = swept.last;
            (last != 0 && last & SETTLED == 0).then(|| {
                let detail = format!(
                    "wallet {number} points to operation {last}, which is not one of its own"
                );
                (number, detail)
            })
        };
        let found: Vec<_> = (1..).zip(&self.0).filter_map(unmet).collect();
        found.into_iter()
    }
}

/// Checks that user n has wallet n, and that the bank is the first and only one. How many there are.
pub(super) fn check_users(
    connection: &Connection,
    wallets: &Wallets,
    findings: &mut Findings,
) -> Result<u64, CheckError> {
    let mut users = 0;
    while users < wallets.count() {
        let (before, count) = (users, ROWS_MAX.min(wallets.count() - users));
        let mut select = connection.prepare_cached(
            "SELECT user_id, wallet_id, role FROM user WHERE user_id > ? ORDER BY user_id LIMIT ?",
        )?;
        let mut found = select.query([before.cast_signed(), count.cast_signed()])?;
        while let Some(row) = or_damage(found.next(), "user", findings)?.flatten() {
            let number: i64 = row.get(0)?;
            let number = number.cast_unsigned();
            if number != users + 1 {
                if number > wallets.count() {
                    break;
                }
                let detail = format!("user {number} stands where user {} should", users + 1);
                findings.add("user_missing", Place::User(users + 1), detail);
            }
            users = number;
            let wallet: i64 = row.get(1)?;
            if wallet.cast_unsigned() != number {
                let detail = format!("user {number} is said to have wallet {wallet}");
                findings.add("user_wallet", Place::User(number), detail);
            }
            let bank = row.get_ref(2)?.as_bytes().is_ok_and(|role| role == b"bank");
            if bank != (number == 1) {
                let detail = match number {
                    1 => "user 1 is not the bank".to_owned(),
                    number => format!("user {number} is said to be a bank"),
                };
                findings.add("user_role", Place::User(number), detail);
            }
        }
        if users == before {
            let detail = format!("user {} is missing, or the wallet is too many", users + 1);
            findings.add("user_missing", Place::User(users + 1), detail);
            break;
        }
    }
    // Everybody has a wallet; somebody who has just signed up has one now.
    let mut select = connection.prepare(
        "SELECT user_id FROM user WHERE user_id < 1 OR
             (user_id > ?1 AND user_id NOT IN (SELECT wallet_id FROM wallet WHERE wallet_id > ?1))",
    )?;
    let mut found = select.query([wallets.count().cast_signed()])?;
    while let Some(row) = found.next()? {
        let number: i64 = row.get(0)?;
        let detail = format!("user {number} has no wallet");
        findings.add("user_stray", Place::User(number.cast_unsigned()), detail);
    }
    Ok(users)
}

/// Checks that sign-ups under a key made users that are there.
pub(super) fn check_sign_ups(
    connection: &Connection,
    findings: &mut Findings,
) -> Result<(), CheckError> {
    let mut select = connection.prepare(
        "SELECT user_id FROM sign_up_key AS recorded WHERE user_id IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM user WHERE user.user_id = recorded.user_id)",
    )?;
    let mut found = select.query(())?;
    while let Some(row) = or_damage(found.next(), "sign_up_key", findings)?.flatten() {
        let number: i64 = row.get(0)?;
        let detail = format!("a sign-up is recorded with user {number}, who is not there");
        findings.add("sign_up_differs", Place::User(number.cast_unsigned()), detail);
    }
    Ok(())
}

/// Checks that every recorded refusal can be given again, under a key that somebody can have used, and that their
/// numbers follow time: by that it is found which are older than the keys' window, and deleted.
pub(super) fn check_refusals(
    connection: &Connection,
    findings: &mut Findings,
) -> Result<(), CheckError> {
    let (mut last, mut time_us) = (i64::MIN, i64::MIN);
    loop {
        let mut select = connection.prepare_cached(rows::SELECT_REFUSALS_AFTER)?;
        let mut found = select.query((last, ROWS_MAX.cast_signed()))?;
        let before = last;
        while let Some(row) = or_damage(found.next(), "refusal", findings)?.flatten() {
            last = row.get(0)?;
            let then_us = row.get(rows::REFUSAL_TIME)?;
            if then_us < time_us {
                let detail = format!("refusal {last} is earlier than the one before it");
                findings.add("time_goes_back", Place::Whole, detail);
            }
            time_us = time_us.max(then_us);
            let key = row.get_ref(rows::REFUSAL_KEY)?.as_str().ok();
            if key.is_none_or(|key| IdempotencyKey::parse(key).is_err()) {
                let detail = format!("refusal {last} stands under a key that nobody can have used");
                findings.add("refusal_unreadable", Place::Whole, detail);
            }
            if rows::is_batch_key(row)? {
                continue;
            }
            if let Err(error) = rows::read_refusal(row) {
                let detail = format!("refusal {last} cannot be given again: {error}");
                findings.add("refusal_unreadable", Place::Whole, detail);
            }
        }
        if last == before {
            return Ok(());
        }
    }
}

/// A damaged page of a table is a finding; every other failure ends the check.
pub(super) fn or_damage<T>(
    result: rusqlite::Result<T>,
    table: &str,
    findings: &mut Findings,
) -> Result<Option<T>, CheckError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_damage(&error) => {
            let detail = format!("the table {table} cannot be read whole: {}", told(&error));
            findings.add("file_damaged", Place::Whole, detail);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

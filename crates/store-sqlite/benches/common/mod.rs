//! Owns what the benchmarks share: the engine's options, the people, a transfer, chance.
//!
//! Each of them uses a part of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ledger::{
    Amount, Currency, Details, IdempotencyKey, NewUser, Operation, OperationKind, People, Role,
    Submission, WalletId,
};
use store_sqlite::{Options, SqliteStore, Unobserved, deliver_here};

/// Whatever went wrong ends the benchmark.
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// How many sign-ups are handed in before the answer to the first is awaited.
const SIGN_UPS_AHEAD: usize = 20_000;

/// An engine in roubles that takes as much as is handed in.
pub(crate) fn options(dir: &Path) -> Result<Options, Failed> {
    Ok(Options {
        dir: dir.to_owned(),
        currency: Some(Currency::parse("RUB")?),
        queue_operations_max: 1_000_000,
        key_window: Some(Duration::from_secs(24 * 60 * 60)),
        observer: Arc::new(Unobserved),
        deliver: deliver_here(),
    })
}

/// Makes the bank and people, so many wallets in all.
pub(crate) async fn sign_up(
    store: &SqliteStore,
    wallets: u64,
    password_hash: &str,
) -> Result<(), Failed> {
    let mut waiting = VecDeque::new();
    for number in 1..=wallets {
        let email = format!("{number}@localhost");
        let user = NewUser {
            role: if number == 1 { Role::Bank } else { Role::Person },
            name: "somebody".to_owned(),
            email_key: email.clone(),
            email,
            password_hash: password_hash.to_owned(),
        };
        waiting.push_back(store.sign_up(user, None));
        if waiting.len() > SIGN_UPS_AHEAD
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.await??;
        }
    }
    for last in waiting {
        last.await??;
    }
    Ok(())
}

/// A movement with a note, without a key.
pub(crate) fn submission(
    kind: OperationKind,
    (debit, credit): (u64, u64),
    amount_minor: i64,
) -> Result<Submission, Failed> {
    Ok(Submission {
        operation: Operation {
            kind,
            debit: WalletId::new(debit).ok_or("no such id")?,
            credit: WalletId::new(credit).ok_or("no such id")?,
            amount: Amount::from_minor(amount_minor)?,
            details: Details::parse("for the tea")?,
            external_id: None,
        },
        key: None,
    })
}

/// xorshift64*: the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// A key as clients make them: a random UUID.
    pub(crate) fn key(&mut self) -> IdempotencyKey {
        let [a, b, c] = [(); 3].map(|()| self.next());
        let text = format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a & 0xffff_ffff,
            b & 0xffff,
            (b >> 16) & 0xfff,
            (b >> 28) & 0xfff,
            c & 0xffff_ffff_ffff
        );
        IdempotencyKey::parse(&text).unwrap_or_else(|error| unreachable!("{error}"))
    }

    /// Two different wallets, neither of them the bank's.
    pub(crate) fn pair(&mut self, wallets: u64) -> (u64, u64) {
        let from = 2 + self.next() % (wallets - 1);
        let to = 2 + self.next() % (wallets - 2);
        (from, if to >= from { to + 1 } else { to })
    }
}

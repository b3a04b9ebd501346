//! Owns *log*: the same operations as the engine's, decided by the same book and hashed into the same chain, and
//! then appended to a bare file with one fsync a batch: what an engine could make at most whose file costs no
//! more than its bytes.
//!
//! Never: a key looked for, an index, a page, a reader, a start. Bounds: 16 bytes a wallet; the bare file's.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ledger::{
    Book, Chain, Currency, OperationKind, SUBMISSIONS_MAX, Submission, Timestamp, Transfer,
    WalletKind,
};

use super::prefill::{first_payment_minor, payment};
use super::raw::RawFile;
use crate::clock;

/// A book in memory, its chain, and no file but while it is measured.
pub(super) struct BareLog {
    book: Book,
    chain: Chain,
}

impl BareLog {
    /// The bank and so many people, who have been paid what they have in the engine's book; as long as it is to `go_on`.
    pub(super) fn new(
        wallets: u64,
        go_on: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let mut log = Self { book: Book::new(), chain: Chain::new(Currency::parse("RUB")?) };
        let minor = first_payment_minor(wallets);
        log.book.open_wallet(WalletKind::System);
        let now = clock::now();
        for wallet in 2..wallets + 2 {
            log.book.open_wallet(WalletKind::Person);
            let paid = payment(OperationKind::Deposit, (1, wallet), minor, None)?;
            log.decide(&paid, now)?;
            // What is not final can be undone, which takes more memory than what is.
            if wallet.is_multiple_of(SUBMISSIONS_MAX as u64) {
                go_on()?;
                log.commit();
            }
        }
        log.commit();
        Ok(log)
    }

    /// How long they take, in a bare file in this directory, as long as it is to `go_on`.
    pub(super) fn time(
        &mut self,
        dir: &Path,
        batches: &[Vec<Submission>],
        go_on: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Duration> {
        let mut file = RawFile::create(dir)?;
        let began = Instant::now();
        for batch in batches {
            go_on()?;
            self.write(&mut file, batch)?;
        }
        let took = began.elapsed();
        file.remove()?;
        Ok(took)
    }

    /// Makes a batch durable, and takes it for done.
    fn write(&mut self, file: &mut RawFile, batch: &[Submission]) -> anyhow::Result<()> {
        let now = clock::now();
        for submission in batch {
            let transfer = self.decide(submission, now)?;
            let link = self.chain.last();
            file.append(|record| encode(&transfer, link, submission, record));
        }
        file.sync()?;
        self.commit();
        Ok(())
    }

    fn decide(&mut self, submission: &Submission, now: Timestamp) -> anyhow::Result<Transfer> {
        let transfer = self.book.decide(&submission.operation, now).context("refused")?;
        self.chain.extend(&transfer, key_mark(submission, &transfer));
        Ok(transfer)
    }

    fn commit(&mut self) {
        self.book.commit();
        self.chain.commit();
    }
}

/// What stands for the key in the chain, by as much work as in the engine.
fn key_mark(submission: &Submission, transfer: &Transfer) -> u64 {
    let mut hasher = DefaultHasher::new();
    match &submission.key {
        Some(key) => {
            hasher.write(&transfer.debit.wallet.get().to_be_bytes());
            hasher.write(key.as_str().as_bytes());
        }
        None => hasher.write(&transfer.id.get().to_be_bytes()),
    }
    hasher.finish()
}

/// A row's numbers, and its key. Whoever is paid and pays is in it with the balance after it, and the operation
/// before it.
fn encode(transfer: &Transfer, link: u64, submission: &Submission, record: &mut Vec<u8>) {
    let Transfer { id, debit, credit, amount, time, .. } = transfer;
    record.extend_from_slice(&id.get().to_le_bytes());
    for side in [debit, credit] {
        record.extend_from_slice(&side.wallet.get().to_le_bytes());
        record.extend_from_slice(&side.balance.minor().to_le_bytes());
        record.extend_from_slice(&side.previous.map_or(0, ledger::OperationId::get).to_le_bytes());
    }
    record.extend_from_slice(&amount.minor().to_le_bytes());
    record.extend_from_slice(&time.micros().to_le_bytes());
    record.extend_from_slice(&link.to_le_bytes());
    record.extend_from_slice(submission.key.as_ref().map_or("", |key| key.as_str()).as_bytes());
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::raw::{FILE, records};
    use super::*;

    /// Of one without a key.
    const RECORD_BYTES: usize = 80;

    fn go_on() -> anyhow::Result<()> {
        Ok(())
    }

    fn pays(debit: u64, credit: u64, minor: i64) -> Submission {
        payment(OperationKind::Transfer, (debit, credit), minor, None).unwrap()
    }

    #[test]
    fn every_operation_is_decided_hashed_and_in_the_file() {
        let home = tempfile::tempdir().unwrap();
        let mut log = BareLog::new(3, go_on).unwrap();
        let before = log.chain.last();
        let mut file = RawFile::create(home.path()).unwrap();
        log.write(&mut file, &[pays(2, 3, 5), pays(3, 4, 7)]).unwrap();
        log.write(&mut file, &[pays(2, 4, 1)]).unwrap();
        let bytes = std::fs::read(home.path().join(FILE)).unwrap();
        let rows: Vec<Vec<i64>> = records(&bytes, RECORD_BYTES)
            .into_iter()
            .map(|record| {
                record
                    .chunks(8)
                    .map(|number| i64::from_le_bytes(number.try_into().unwrap()))
                    .collect()
            })
            .collect();
        let had = first_payment_minor(3);
        let facts: Vec<_> = rows.iter().map(|row| &row[..8]).collect();
        assert_eq!(facts[0], [4, 2, had - 5, 1, 3, had + 5, 2, 5]);
        assert_eq!(facts[1], [5, 3, had - 2, 4, 4, had + 7, 3, 7]);
        assert_eq!(facts[2], [6, 2, had - 6, 4, 4, had + 8, 5, 1]);
        let links: Vec<_> =
            rows.iter().map(|row| u64::from_ne_bytes(row[9].to_ne_bytes())).collect();
        assert_eq!(links.last(), Some(&log.chain.last()));
        assert!(!links.contains(&before) && links[0] != links[1] && links[1] != links[2]);
        assert_eq!((log.book.check(), log.chain.operations()), (Ok(()), 6));
    }

    #[test]
    fn what_nobody_can_pay_is_an_error_and_no_figure() {
        let home = tempfile::tempdir().unwrap();
        let mut log = BareLog::new(2, go_on).unwrap();
        let too_much = pays(2, 3, first_payment_minor(2) + 1);
        assert!(log.time(home.path(), &[vec![too_much]], go_on).is_err());
        let key = Some(*b"0c0ffee0-0000-4000-8000-000000000000");
        let keyed = payment(OperationKind::Deposit, (1, 2), 1, key).unwrap();
        assert!(log.time(home.path(), &[vec![keyed]], go_on).unwrap() > Duration::ZERO);
        assert!(!home.path().join(FILE).exists());
    }

    #[test]
    fn it_is_stopped_where_it_takes_long_and_leaves_no_file() {
        let home = tempfile::tempdir().unwrap();
        let asked = Cell::new(0);
        let twice = || {
            asked.set(asked.get() + 1);
            anyhow::ensure!(asked.get() < 3, "stopped");
            Ok(())
        };
        assert!(BareLog::new(3 * SUBMISSIONS_MAX as u64, twice).is_err());
        let mut log = BareLog::new(2, go_on).unwrap();
        asked.set(0);
        let batches = vec![vec![pays(2, 3, 1)]; 5];
        assert_eq!(log.time(home.path(), &batches, twice).unwrap_err().to_string(), "stopped");
        // Two were done, after two deposits.
        assert_eq!(log.chain.operations(), 4);
        assert!(!home.path().join(FILE).exists());
    }
}

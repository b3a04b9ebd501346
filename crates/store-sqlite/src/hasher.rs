//! Owns the chain while batches are written: rows get their links here, and where there are many, on a
//! thread of their own while the writer inserts those before them.
//!
//! Never: a row in the file, or a row out of its order. Bounds: twice [`ROWS_A_JOB`] rows wait, and there is
//! memory for [`SPARE_MAX`] more lists of them. The chain is in one place at a time: it goes to the thread with
//! the rows, and comes back with them.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use ledger::{Block, Chain, IdempotencyKey, Link, Transfer};

/// So many rows are worth waking a thread for: it costs them less than one of them costs to hash.
const ROWS_A_JOB: usize = 1_024;

/// So many lists of rows are kept for their memory: while one is filled, one is hashed and one inserted.
const SPARE_MAX: usize = 3;

/// A transfer on its way into the file.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) transfer: Transfer,
    pub(crate) key: Option<IdempotencyKey>,
    /// What is hashed in place of the key.
    pub(crate) mark: u64,
}

/// Rows with their links, and the blocks that they made whole. The links stand beside the rows: what only one
/// processor writes need not be fetched from the other.
#[derive(Debug, Default)]
pub(crate) struct Hashed {
    pub(crate) rows: Vec<Row>,
    pub(crate) links: Vec<Link>,
    pub(crate) blocks: Vec<Block>,
}

impl Hashed {
    fn of(rows: Vec<Row>) -> Self {
        Self { rows, ..Self::default() }
    }

    fn append(&mut self, mut next: Self) {
        self.rows.append(&mut next.rows);
        self.links.append(&mut next.links);
        self.blocks.append(&mut next.blocks);
    }
}

/// The thread has ended, and the chain with it: nothing more can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that hashes has ended")]
pub(crate) struct HasherGone;

/// What goes to the thread and comes back.
struct Job {
    chain: Chain,
    hashed: Hashed,
}

/// The chain, and who extends it. As the chain itself, it takes effect at once and is made final or undone.
pub(crate) struct Hasher {
    /// `None` while the thread has it.
    chain: Option<Chain>,
    last: Link,
    waiting: Vec<Row>,
    /// For their memory: what is new has to be fetched before it can be written to.
    spare: Vec<Vec<Row>>,
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Hasher {
    /// Takes the chain over, and starts the thread.
    pub(crate) fn start(chain: Chain) -> io::Result<Self> {
        let (jobs, to_do) = sync_channel::<Job>(1);
        let (give_back, done) = sync_channel(1);
        let work = move || {
            for mut job in to_do {
                extend(&mut job.chain, &mut job.hashed);
                if give_back.send(job).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("kopeck-hasher".to_owned()).spawn(work)?;
        let last = chain.last();
        let (jobs, thread) = (Some(jobs), Some(thread));
        let (waiting, spare) = (Vec::new(), Vec::new());
        Ok(Self { chain: Some(chain), last, waiting, spare, jobs, done, thread })
    }

    /// Takes the next row. Now and then, rows come back that are hashed.
    pub(crate) fn push(&mut self, row: Row) -> Result<Option<Hashed>, HasherGone> {
        self.waiting.push(row);
        if self.waiting.len() < ROWS_A_JOB {
            return Ok(None);
        }
        let hashed = self.collect()?;
        let mut empty = self.spare.pop().unwrap_or_default();
        empty.reserve(ROWS_A_JOB);
        let rows = std::mem::replace(&mut self.waiting, empty);
        let chain = self.chain.take().ok_or(HasherGone)?;
        let job = Job { chain, hashed: Hashed::of(rows) };
        let jobs = self.jobs.as_ref().ok_or(HasherGone)?;
        jobs.send(job).map_err(|_| HasherGone)?;
        Ok(hashed)
    }

    /// Takes the memory of rows back that are in the file.
    pub(crate) fn take_back(&mut self, mut rows: Vec<Row>) {
        if rows.capacity() > 0 && self.spare.len() < SPARE_MAX {
            rows.clear();
            self.spare.push(rows);
        }
    }

    /// All rows that did not come back yet, hashed.
    pub(crate) fn finish(&mut self) -> Result<Hashed, HasherGone> {
        let mut all = self.collect()?.unwrap_or_default();
        let chain = self.chain.as_mut().ok_or(HasherGone)?;
        if !self.waiting.is_empty() {
            let empty = self.spare.pop().unwrap_or_default();
            let mut rest = Hashed::of(std::mem::replace(&mut self.waiting, empty));
            extend(chain, &mut rest);
            if all.rows.is_empty() { all = rest } else { all.append(rest) }
        }
        self.last = chain.last();
        Ok(all)
    }

    /// Makes everything since the last commit final; it is all hashed. Gives the newest link.
    pub(crate) fn commit(&mut self) -> Link {
        if let Some(chain) = &mut self.chain {
            chain.commit();
        }
        self.last
    }

    /// Undoes everything since the last commit. If the thread has ended there is nothing to go on with,
    /// and the next row says so.
    pub(crate) fn roll_back(&mut self) {
        self.waiting.clear();
        let _ = self.collect();
        if let Some(chain) = &mut self.chain {
            chain.roll_back();
            self.last = chain.last();
        }
    }

    /// Waits for what the thread has.
    fn collect(&mut self) -> Result<Option<Hashed>, HasherGone> {
        if self.chain.is_some() {
            return Ok(None);
        }
        let Job { chain, hashed } = self.done.recv().map_err(|_| HasherGone)?;
        self.chain = Some(chain);
        Ok(Some(hashed))
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked took the chain with it: the writer halts for the lack of it.
            let _ = thread.join();
        }
    }
}

fn extend(chain: &mut Chain, Hashed { rows, links, blocks }: &mut Hashed) {
    links.reserve(rows.len());
    for row in rows.iter() {
        let (_, block) = chain.extend(&row.transfer, row.mark);
        links.push(chain.last());
        blocks.extend(block);
    }
}

#[cfg(test)]
mod tests {
    use ledger::{
        Amount, BLOCK_OPERATIONS, Balance, Currency, OperationId, OperationKind, Side, Timestamp,
        WalletId,
    };

    use super::*;

    fn row(number: u64) -> Row {
        let side = |wallet| Side {
            wallet: WalletId::new(wallet).unwrap(),
            balance: Balance::ZERO,
            previous: None,
        };
        let transfer = Transfer {
            id: OperationId::new(number).unwrap(),
            kind: OperationKind::Transfer,
            debit: side(1),
            credit: side(2),
            amount: Amount::from_minor(1).unwrap(),
            details: None,
            external_id: None,
            time: Timestamp::from_micros(0),
        };
        Row { transfer, key: None, mark: number }
    }

    fn chain() -> Chain {
        Chain::new(Currency::parse("RUB").unwrap())
    }

    /// Pushes rows of these numbers; what comes back, in order.
    fn push(hasher: &mut Hasher, numbers: std::ops::RangeInclusive<u64>) -> Hashed {
        let mut all = Hashed::default();
        for number in numbers {
            if let Some(hashed) = hasher.push(row(number)).unwrap() {
                all.append(hashed);
            }
        }
        all.append(hasher.finish().unwrap());
        assert_eq!(all.rows.len(), all.links.len());
        all
    }

    #[test]
    fn on_the_thread_or_here_it_is_the_same_chain() {
        let job = ROWS_A_JOB as u64;
        for count in [1, job - 1, job, job + 1, 2 * job, 5 * job + 300] {
            let mut plain = chain();
            let mut expected = Hashed::of((1..=count).map(row).collect());
            extend(&mut plain, &mut expected);
            let mut hasher = Hasher::start(chain()).unwrap();
            let found = push(&mut hasher, 1..=count);
            assert_eq!(found.links, expected.links);
            assert_eq!(found.blocks, expected.blocks);
            assert_eq!(found.blocks.len() as u64, count / BLOCK_OPERATIONS);
            assert_eq!(hasher.commit(), plain.last());
        }
    }

    #[test]
    fn a_roll_back_forgets_what_waits_and_what_the_thread_has() {
        let job = ROWS_A_JOB as u64;
        for lost in [1, job, 2 * job + 7] {
            let mut hasher = Hasher::start(chain()).unwrap();
            let kept = push(&mut hasher, 1..=300).links.pop().unwrap();
            assert_eq!(hasher.commit(), kept);
            for number in 301..=300 + lost {
                hasher.push(row(number + 1_000_000)).unwrap();
            }
            hasher.roll_back();
            assert_eq!(hasher.commit(), kept);
            let mut plain = chain();
            let mut expected = Hashed::of((1..=2_000).map(row).collect());
            extend(&mut plain, &mut expected);
            let again = push(&mut hasher, 301..=2_000);
            assert_eq!(again.links.last(), Some(&plain.last()));
            assert_eq!(again.blocks, expected.blocks[1..]);
        }
    }
}

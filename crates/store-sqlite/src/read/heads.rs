//! Owns what readers may know of a wallet: its newest *committed* operation.
//!
//! Never: a balance (the operation's row carries it, so the two cannot disagree), or anything not
//! yet on stable storage. Bounds: 8 bytes a wallet, in segments that double, so that growing never
//! moves or locks what is there.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::{OperationId, WalletId};

/// The first segment holds 2^FIRST_BITS wallets, each further one twice as many as the one before.
const FIRST_BITS: u32 = 12;
const SEGMENTS: usize = 42;

/// The newest committed operation of every wallet.
pub(crate) struct Heads {
    segments: [OnceLock<Box<[AtomicU64]>>; SEGMENTS],
}

impl Heads {
    pub(crate) fn new() -> Self {
        Self { segments: [const { OnceLock::new() }; SEGMENTS] }
    }

    /// The wallet's newest committed operation, if it has any.
    pub(crate) fn get(&self, wallet: WalletId) -> Option<OperationId> {
        let (segment, index) = locate(wallet);
        let head = self.segments.get(segment)?.get()?.get(index)?;
        OperationId::new(head.load(Ordering::Acquire))
    }

    /// Publishes a committed operation. Only the writer's thread does.
    pub(crate) fn publish(&self, wallet: WalletId, operation: OperationId) {
        let (segment, index) = locate(wallet);
        let Some(cell) = self.segments.get(segment) else { return };
        let heads = cell.get_or_init(|| {
            let len = 1_usize << (FIRST_BITS as usize + segment);
            (0..len).map(|_| AtomicU64::new(0)).collect()
        });
        if let Some(head) = heads.get(index) {
            head.store(operation.get(), Ordering::Release);
        }
    }
}

fn locate(wallet: WalletId) -> (usize, usize) {
    // Counting from 2^FIRST_BITS, the top bit of a number names its segment.
    let number = wallet.get() - 1 + (1 << FIRST_BITS);
    let top = number.ilog2();
    let index = number - (1 << top);
    ((top - FIRST_BITS) as usize, usize::try_from(index).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wallet_has_a_place_of_its_own() {
        let heads = Heads::new();
        let wallet = |number| WalletId::new(number).unwrap();
        let numbers = [1, 2, 4_095, 4_096, 4_097, 12_288, 12_289, 1_000_000];
        for number in numbers {
            assert_eq!(heads.get(wallet(number)), None);
            heads.publish(wallet(number), OperationId::new(number * 10).unwrap());
        }
        for number in numbers {
            assert_eq!(heads.get(wallet(number)), OperationId::new(number * 10));
        }
        assert_eq!(heads.get(wallet(ledger::ID_MAX)), None);
    }
}

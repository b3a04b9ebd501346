//! The chain over the book, and the receipts that it gives: what is in the book is proven, and
//! nothing else is.

use ledger::{
    Amount, BLOCK_OPERATIONS, Balance, Block, Chain, Checkpoint, Currency, Details, ExternalId,
    Hash, ID_MAX, Link, Nodes, OperationId, OperationKind, Receipt, ReceiptError, Record, Side,
    Timestamp, Transfer, WalletId, link_after, root_of, tree_path, tree_root,
};
use proptest::prelude::*;

fn rub() -> Currency {
    Currency::parse("RUB").unwrap()
}

/// The transfer of a number; each is a little different.
fn transfer(number: u64) -> Transfer {
    let side = |wallet| Side {
        wallet: WalletId::new(wallet).unwrap(),
        balance: Balance::ZERO,
        previous: None,
    };
    Transfer {
        id: OperationId::new(number).unwrap(),
        kind: OperationKind::Transfer,
        debit: side(2 + number % 3),
        credit: side(5 + number % 5),
        amount: Amount::from_minor(1 + i64::try_from(number).unwrap()).unwrap(),
        details: number.is_multiple_of(2).then(|| Details::parse("за чай").unwrap().unwrap()),
        external_id: number.is_multiple_of(7).then(|| ExternalId::parse("pay_1").unwrap()),
        time: Timestamp::from_micros(1_000),
    }
}

struct Chained {
    chain: Chain,
    links: Vec<Link>,
    hashes: Vec<Hash>,
    blocks: Vec<Block>,
}

/// A chain of so many, with all that it ever said.
fn chain_of(count: u64) -> Chained {
    let mut chain = Chain::new(rub());
    let (mut links, mut hashes, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=count {
        let (hash, block) = chain.extend(&transfer(number), number);
        links.push(chain.last());
        hashes.push(hash);
        blocks.extend(block);
    }
    chain.commit();
    Chained { chain, links, hashes, blocks }
}

/// Nodes from hashes in memory; whole blocks come from where blocks are kept.
struct InMemory<'h>(&'h [Hash], &'h [Block]);

impl Nodes for InMemory<'_> {
    type Error = ();

    fn node(&mut self, first: u64, count: u64) -> Result<Option<Hash>, ()> {
        if first.is_multiple_of(BLOCK_OPERATIONS) && count == BLOCK_OPERATIONS {
            return Ok(Some(self.1[usize::try_from(first / count).unwrap()].root));
        }
        let range = usize::try_from(first).unwrap()..usize::try_from(first + count).unwrap();
        Ok((count < BLOCK_OPERATIONS).then(|| root_of(&self.0[range])))
    }
}

fn receipt(number: u64, operations: u64, chained: &Chained) -> Receipt {
    let mut nodes = InMemory(&chained.hashes, &chained.blocks);
    let root = tree_root(&mut nodes, 0, operations).unwrap();
    let previous = match number {
        1 => 0,
        later => chained.links[usize::try_from(later).unwrap() - 2],
    };
    Receipt {
        record: Record::of(&transfer(number), rub(), number),
        previous,
        proof: tree_path(&mut nodes, number - 1, (0, operations)).unwrap(),
        checkpoint: Checkpoint { operations, root },
    }
}

#[test]
fn every_operation_is_proven_in_every_book_that_has_it() {
    let chained = chain_of(1_100);
    let sizes = (1..=40).chain([255, 256, 257, 511, 512, 513, 767, 769, 1_024, 1_025, 1_100]);
    for operations in sizes {
        for number in
            (1..=operations).filter(|number| number % 37 == 0 || *number < 20).chain([operations])
        {
            let receipt = receipt(number, operations, &chained);
            assert_eq!(receipt.verify(), Ok(()), "{number} of {operations}");
        }
    }
}

#[test]
fn nothing_else_is_proven() {
    let chained = chain_of(700);
    let good = receipt(300, 700, &chained);
    let check = |what: &str, forge: &dyn Fn(&mut Receipt)| {
        let mut forged = good.clone();
        forge(&mut forged);
        assert_ne!(forged, good, "{what}");
        assert!(forged.verify().is_err(), "{what}");
    };
    check("amount", &|it| it.record.amount = Amount::from_minor(302).unwrap());
    check("kind", &|it| it.record.kind = OperationKind::Deposit);
    check("debit", &|it| it.record.debit = WalletId::new(9).unwrap());
    check("credit", &|it| it.record.credit = WalletId::new(9).unwrap());
    check("currency", &|it| it.record.currency = Currency::parse("USD").unwrap());
    check("time", &|it| it.record.time = Timestamp::from_micros(1_001));
    check("key", &|it| it.record.key_mark = 0);
    check("details", &|it| it.record.details = None);
    check("external id", &|it| it.record.external_id = ExternalId::parse("x").ok());
    check("operation", &|it| it.record.operation = OperationId::new(301).unwrap());
    check("previous", &|it| it.previous ^= 1);
    check("proof shortened", &|it| it.proof.truncate(1));
    check("proof lengthened", &|it| it.proof.push([0; 32]));
    check("proof changed", &|it| it.proof[0][0] ^= 1);
    check("root", &|it| it.checkpoint.root[31] ^= 1);
    check("another book", &|it| it.checkpoint = receipt(300, 699, &chained).checkpoint);
    let mut later = good.clone();
    later.checkpoint.operations = 299;
    let not_covered = ReceiptError::NotCovered { operation: 300, operations: 299 };
    assert_eq!(later.verify(), Err(not_covered));
}

/// A forger may write any number: the greatest that a book can have is verified like any other.
#[test]
fn a_book_of_more_operations_than_there_can_be_is_refused_at_once() {
    let mut forged = receipt(300, 700, &chain_of(700));
    forged.checkpoint.operations = ID_MAX;
    assert_eq!(forged.verify(), Err(ReceiptError::DoesNotLeadToRoot));
    for operations in [ID_MAX + 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        forged.checkpoint.operations = operations;
        assert_eq!(forged.verify(), Err(ReceiptError::NoSuchBook { operations }));
    }
}

#[test]
fn a_chain_goes_on_from_its_last_whole_block() {
    let Chained { chain: whole, links, hashes, .. } = chain_of(600);
    let mut resumed = Chain::after(rub(), 2, links[511]);
    for number in 513..=600 {
        let (hash, _) = resumed.extend(&transfer(number), number);
        assert_eq!(hash, hashes[usize::try_from(number).unwrap() - 1]);
    }
    assert_eq!((resumed.operations(), resumed.last()), (600, whole.last()));
    assert_eq!(resumed.open(), whole.open());
    assert_eq!(resumed.open(), &hashes[512..]);
}

#[test]
fn every_fact_counts_and_so_does_the_order() {
    let link_of = |change: &dyn Fn(&mut Transfer), mark| {
        let mut transfer = transfer(1);
        change(&mut transfer);
        let mut chain = Chain::new(rub());
        chain.extend(&transfer, mark);
        chain.last()
    };
    let plain = link_of(&|_| {}, 1);
    let first = chain_of(1);
    assert_eq!(plain, first.links[0]);
    assert_eq!(plain, link_after(0, &Record::of(&transfer(1), rub(), 1)));
    assert_eq!(plain.to_be_bytes(), first.hashes[0][..8]);
    assert_ne!(plain, link_of(&|it| it.amount = Amount::from_minor(3).unwrap(), 1));
    assert_ne!(plain, link_of(&|_| {}, 2));
    // The same letters, parted otherwise between two texts.
    let texts = |details: &str, external_id: &str| {
        let details = Details::parse(details).unwrap();
        let external_id = ExternalId::parse(external_id).ok();
        link_of(&|it| (it.details, it.external_id) = (details.clone(), external_id.clone()), 1)
    };
    assert_ne!(texts("ab", "c"), texts("a", "bc"));
    let mut swapped = Chain::new(rub());
    swapped.extend(&transfer(2), 2);
    swapped.extend(&transfer(1), 1);
    assert_ne!(swapped.last(), chain_of(2).chain.last());
}

proptest! {
    /// Whatever is undone, the chain stands as if it had never been.
    #[test]
    fn roll_back_leaves_nothing(
        steps in prop::collection::vec((0_u64..700, 0_u64..700, 0..4), 1..6),
    ) {
        let mut chain = Chain::new(rub());
        let mut kept = 0;
        for (count, more, ends) in steps {
            for number in kept + 1..=kept + count {
                chain.extend(&transfer(number), number);
            }
            let mark = chain.mark();
            for number in kept + count + 1..=kept + count + more {
                chain.extend(&transfer(number), number);
            }
            // All is kept, nothing, what there was at the mark, or first that and then all.
            if ends >= 2 {
                chain.commit_to(mark);
                kept += count;
            }
            match ends {
                0 => kept += count + more,
                3 => kept += more,
                _ => chain.roll_back(),
            }
            if ends % 3 == 0 {
                chain.commit();
            }
            let expected = chain_of(kept).chain;
            prop_assert_eq!(chain.operations(), kept);
            prop_assert_eq!(chain.last(), expected.last());
            prop_assert_eq!(chain.open(), expected.open());
        }
    }
}

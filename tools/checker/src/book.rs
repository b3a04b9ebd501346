//! Owns the checker's own book: every operation that was read back and found right, and what each
//! wallet holds after it. Naive on purpose: a list, and additions.
//!
//! Never: a float, or a line of the ledger's code. Bounds: about 200 bytes an operation, for as
//! long as the campaign runs, so that at its end the first operation can be compared with what is read.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::client::{Entry, EntryKind};

/// Reads exact decimal text with two digits after the point, such as `-115.60`, as minor units.
///
/// `None` for every other form: an exponent, fewer or more digits, a leading zero.
#[must_use]
pub fn minor_units(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.')?;
    let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || leading_zero || fraction.len() != 2 {
        return None;
    }
    if !digits_only(whole) || !digits_only(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let fraction: i64 = fraction.parse().ok()?;
    whole.checked_mul(100)?.checked_add(fraction)?.checked_mul(sign)
}

/// Minor units as decimal text: `-115.60`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Units(pub i64);

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", magnitude / 100, magnitude % 100)
    }
}

/// An operation that was read back from both its wallets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its place in the order of all.
    pub id: u64,
    /// The wallet that paid.
    pub from: u64,
    /// The wallet that was paid.
    pub to: u64,
    /// A deposit, and not a transfer.
    pub deposit: bool,
    /// Minor units.
    pub amount: i64,
    /// What the payer has after it, in minor units.
    pub from_balance: i64,
    /// What the paid one has after it, in minor units.
    pub to_balance: i64,
    /// The note, by which it is known who sent it.
    pub details: Box<str>,
    /// The payment provider's own id.
    pub external_id: Option<Box<str>>,
    /// As it was written.
    pub timestamp: Box<str>,
}

impl Operation {
    /// What `wallet` has after it, in minor units.
    #[must_use]
    pub fn balance_of(&self, wallet: u64) -> i64 {
        if wallet == self.from { self.from_balance } else { self.to_balance }
    }

    /// Whether `entry` is how `wallet` must show it.
    #[must_use]
    pub fn is_shown_as(&self, wallet: u64, entry: &Entry) -> bool {
        let pays = wallet == self.from;
        let kind = match (self.deposit, pays) {
            (true, _) => EntryKind::Deposit,
            (false, true) => EntryKind::TransferOut,
            (false, false) => EntryKind::TransferIn,
        };
        entry.operation_id == self.id
            && entry.kind == kind
            && entry.amount == self.amount
            && entry.balance == self.balance_of(wallet)
            && entry.counterparty == if pays { self.to } else { self.from }
            && entry.details.as_deref() == Some(&*self.details)
            && entry.external_id.as_deref() == self.external_id.as_deref()
            && *entry.timestamp == *self.timestamp
    }
}

/// All that was read back and found right.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// Operation `n` is at index `n - 1`: ids have no gaps.
    operations: Vec<Operation>,
    /// Each wallet's operations, ascending.
    wallets: HashMap<u64, Vec<u64>>,
}

impl Book {
    /// How many operations there are; also the newest one's id.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.operations.len() as u64
    }

    /// Whether nothing was read back yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// An operation by its id.
    #[must_use]
    pub fn operation(&self, id: u64) -> Option<&Operation> {
        self.operations.get(usize::try_from(id.checked_sub(1)?).ok()?)
    }

    /// All, in their order.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter()
    }

    /// A wallet's operations, ascending.
    #[must_use]
    pub fn of_wallet(&self, wallet: u64) -> &[u64] {
        self.wallets.get(&wallet).map_or(&[], Vec::as_slice)
    }

    /// What a wallet has after all of it, in minor units.
    #[must_use]
    pub fn balance(&self, wallet: u64) -> i64 {
        let last = self.of_wallet(wallet).last();
        let last = last.and_then(|id| self.operation(*id));
        last.map_or(0, |operation| operation.balance_of(wallet))
    }

    /// Appends operations that were found right, ascending and without a gap.
    pub fn append(&mut self, operations: impl IntoIterator<Item = Operation>) {
        for operation in operations {
            for wallet in [operation.from, operation.to] {
                self.wallets.entry(wallet).or_default().push(operation.id);
            }
            self.operations.push(operation);
        }
    }
}

/// The book and what was read since, seen as one: judged before it is appended.
#[derive(Debug)]
pub struct Extended<'b> {
    book: &'b Book,
    /// By id.
    pub new: &'b BTreeMap<u64, Operation>,
    wallets: HashMap<u64, Vec<u64>>,
}

impl<'b> Extended<'b> {
    /// The book, and operations after its last one.
    #[must_use]
    pub fn new(book: &'b Book, new: &'b BTreeMap<u64, Operation>) -> Self {
        let mut wallets: HashMap<u64, Vec<u64>> = HashMap::new();
        for operation in new.values() {
            for wallet in [operation.from, operation.to] {
                wallets.entry(wallet).or_default().push(operation.id);
            }
        }
        Self { book, new, wallets }
    }

    /// An operation by its id.
    #[must_use]
    pub fn operation(&self, id: u64) -> Option<&'b Operation> {
        self.book.operation(id).or_else(|| self.new.get(&id))
    }

    /// A wallet's operations after `after` and up to `to`, ascending.
    pub fn of_wallet(&self, wallet: u64, after: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
        let old = self.book.of_wallet(wallet);
        let new = self.wallets.get(&wallet).map_or(&[][..], Vec::as_slice);
        let from = |ids: &[u64]| ids.partition_point(|id| *id <= after);
        let old = old.iter().skip(from(old));
        let new = new.iter().skip(from(new));
        old.chain(new).copied().take_while(move |id| *id <= to)
    }

    /// The newest operation of a wallet up to `to`.
    #[must_use]
    pub fn newest(&self, wallet: u64, to: u64) -> Option<u64> {
        let last = |ids: &[u64]| {
            let upto = ids.partition_point(|id| *id <= to);
            ids.get(upto.checked_sub(1)?).copied()
        };
        let new = self.wallets.get(&wallet).and_then(|ids| last(ids));
        new.or_else(|| last(self.book.of_wallet(wallet)))
    }

    /// What a wallet had right after operation `at`, in minor units.
    #[must_use]
    pub fn balance_at(&self, wallet: u64, at: u64) -> i64 {
        let newest = self.newest(wallet, at).and_then(|id| self.operation(id));
        newest.map_or(0, |operation| operation.balance_of(wallet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_text() {
        for (text, minor) in [
            ("0.00", Some(0)),
            ("-0.05", Some(-5)),
            ("115.60", Some(11_560)),
            ("-9999999999999.99", Some(-999_999_999_999_999)),
            ("1", None),
            ("1.5", None),
            ("1.500", None),
            ("01.00", None),
            (".50", None),
            ("1e2", None),
            ("1.0e", None),
            ("--1.00", None),
            ("\"1.00\"", None),
            ("99999999999999999999.00", None),
        ] {
            assert_eq!(minor_units(text), minor, "{text}");
        }
        for minor in [0, 5, -5, 99, -100, 123_456, i64::MAX / 100, -99_999] {
            assert_eq!(minor_units(&Units(minor).to_string()), Some(minor));
        }
    }

    #[test]
    fn the_book_and_what_is_new_are_one() {
        let operation = |id, from, to, from_balance, to_balance| Operation {
            id,
            from,
            to,
            deposit: from == 1,
            amount: 100,
            from_balance,
            to_balance,
            details: format!("{id}").into(),
            external_id: None,
            timestamp: "".into(),
        };
        let mut book = Book::default();
        book.append([operation(1, 1, 2, -100, 100), operation(2, 2, 3, 0, 100)]);
        let new = BTreeMap::from([(3, operation(3, 3, 2, 0, 100))]);
        let all = Extended::new(&book, &new);
        assert_eq!((book.len(), book.balance(2), book.balance(9)), (2, 0, 0));
        assert_eq!(all.of_wallet(2, 0, 3).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(all.of_wallet(2, 1, 2).collect::<Vec<_>>(), [2]);
        let balances: Vec<_> = (0..4).map(|at| all.balance_at(2, at)).collect();
        assert_eq!(balances, [0, 100, 0, 100]);
        assert_eq!((all.newest(1, 3), all.newest(9, 3)), (Some(1), None));
        assert_eq!(all.operation(3).map(|operation| operation.from), Some(3));
    }
}
